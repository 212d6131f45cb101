"""`table.json`: the table's identity, created once, before everything else.

Source: specs/2-layout.md.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from txfiles.core import codec, names
from txfiles.errors import CorruptTableError, StoreError, UnsupportedTableError
from txfiles.store.port import Put, Store

SMALL_FILE_LIMIT_BYTES = 64 * 1024
"""`table.json` and the hint have a few hundred bytes; a larger one is not ours."""


class TableFile(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `table.json`."""

    format_version: int
    table_id: Annotated[str, msgspec.Meta(pattern=names.TABLE_ID_PATTERN)]


def table_id(store: Store, *, folder: str = names.LOG_FOLDER) -> str | None:
    """The id in `table.json`; None if there is no such file.

    Args:
        store: the table's.
        folder: the log's, or the one that it was moved to.

    Raises:
        CorruptTableError: it is damaged.
        UnsupportedTableError: a later format version.
    """
    name = folder + names.TABLE_FILE.removeprefix(names.LOG_FOLDER)
    data = store.get(name, limit=SMALL_FILE_LIMIT_BYTES)
    if data is None:
        return None
    try:
        found = msgspec.json.decode(data, type=TableFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptTableError(
            f"{store.root}/{name} is damaged: {error}", hint="restore the file from a backup"
        ) from error
    if found.format_version != codec.FORMAT_VERSION:
        raise UnsupportedTableError(
            f"the table at {store.root} has format version {found.format_version}", hint="upgrade txfiles"
        )
    return str(found.table_id)


def claim_table_id(store: Store, fresh_id: str) -> str:
    """The id of the table that is being created: ours if we are first, otherwise the existing one."""
    body = msgspec.json.encode(TableFile(format_version=codec.FORMAT_VERSION, table_id=fresh_id))
    try:
        put = store.put_if_absent(names.TABLE_FILE, msgspec.json.format(body, indent=1) + b"\n")
    except StoreError as error:
        error.committed = "no"  # whatever the outcome: at most a name is claimed, and nothing is committed
        raise
    if put is Put.CREATED:
        return fresh_id
    found = table_id(store)
    if found is None:
        raise StoreError(
            f"{store.root}/{names.TABLE_FILE} could be neither created nor read", hint="run the same call again"
        )
    return found
