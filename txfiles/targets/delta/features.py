"""What a Delta table may ask of its writers, and what of it txfiles does.

Source: specs/9-targets.md, "Delta".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from txfiles.errors import UnsupportedTableError
from txfiles.targets.delta.snapshot import Snapshot

_COMPUTED = ("delta.invariants", "delta.generationExpression", "delta.identity.start", "delta.identity.step")
_LENGTH = "__CHAR_VARCHAR_TYPE_STRING"
"""What Spark says of a text whose length it limits."""


def require_writable(base: Snapshot, *, rewrites: bool, removes: bool = False) -> None:
    """Refuse a table that asks more of its writers than files with the right columns.

    Args:
        base: the table.
        rewrites: whether files of which rows stay are written anew.
        removes: whether files go.
    Raises:
        UnsupportedTableError: names what it asks.
    """
    base.require_own_files()
    asked = None
    said = {name.decode() for field in _nested(base.described) for name in field.metadata or {}}
    if not base.is_plain:
        asked = "deletion vectors or column mapping"
    elif any(name.startswith("delta.constraints.") for name in base.configuration):
        asked = "check constraints"
    elif not said.isdisjoint(_COMPUTED):
        asked = "computed columns or invariants"
    elif _LENGTH in said:
        asked = "columns of char(n) or varchar(n)"
    elif rewrites and base.configuration.get("delta.enableChangeDataFeed", "").lower() == "true":
        asked = "a change data feed"
    elif removes and base.configuration.get("delta.appendOnly", "").lower() == "true":
        raise UnsupportedTableError(
            f"the Delta table at {base.client.url} is append-only (delta.appendOnly): its rows stay as they are",
            hint="append, or use append_once",
        )
    if asked is not None:
        raise UnsupportedTableError(
            f"the Delta table at {base.client.url} has {asked}, which txfiles does not write",
            hint="write this table with deltalake or Spark",
        )


def _nested(fields: Iterable[pa.Field]) -> Iterator[pa.Field]:
    """Fields, and those inside of them at any depth."""
    for field in fields:
        yield field
        yield from _nested(field.type.field(number) for number in range(field.type.num_fields))
