"""What the log remembers of a call: whether its batch id is known, and whether its commit is there.

Source: specs/9-targets.md, "Delta".
"""

from __future__ import annotations

from txfiles.core.manifest import TableMetadata
from txfiles.core.messages import plain
from txfiles.errors import BatchIdMismatchError
from txfiles.options import Request
from txfiles.targets.delta.client import BATCHES
from txfiles.targets.delta.snapshot import Snapshot
from txfiles.verbs import DeleteOptions

Asked = Request | DeleteOptions


def version_of(base: Snapshot | None) -> int:
    """The version that a call is planned on; -1 if there is no table yet."""
    return -1 if base is None else base.version


def find_commit(head: Snapshot | None, commit_id: str, base: Snapshot | None) -> int | None:
    """Where a call's commit is between the version that it was planned on and another; None if it is not.

    Raises:
        StoreError: the log cannot be read.
    """
    if head is None:
        return None
    entries = head.log(head.version - version_of(base))
    return next((entry.version for entry in entries if entry.is_of(commit_id)), None)


def known_batch(request: Asked, base: Snapshot | None) -> tuple[int | None] | None:
    """Where the request's batch id was committed: a version, or None in a tuple if the log no longer says; else None.

    Raises:
        BatchIdMismatchError: it was committed in another mode, or with other keys.
    """
    if base is None or request.batch_id is None:
        return None
    batch_id = plain(request.batch_id)
    with base.client.failures("read"):
        if base.handle.transaction_version(BATCHES + batch_id) is None:
            return None
    for entry in base.log():
        meta = entry.meta
        if meta.get("batch_id") != batch_id or "step" in meta:
            continue
        then, keys = meta.get("keys") or [], keys_of(request, base, base.table)
        if meta.get("operation") != request.mode or set(then) != set(keys):
            raise BatchIdMismatchError(
                f"batch id {batch_id!r} was committed to {base.client.url} in version {entry.version} as "
                f"{meta.get('operation')} with keys {then}, not {request.mode} with keys {list(keys)}",
                hint="a batch id names one delivery; give this one another",
                version=entry.version,
            )
        return (entry.version,)
    return (None,)


def keys_of(request: Asked, base: Snapshot | None, table: TableMetadata) -> tuple[str, ...]:
    """The keys that a call works with."""
    recorded_keys = base.table.keys if base else table.keys
    if isinstance(request, DeleteOptions):
        return recorded_keys if request.scope == "keys" else ()
    if request.mode == "append" or (request.mode == "overwrite" and not request.keys):
        return ()
    return request.keys or recorded_keys
