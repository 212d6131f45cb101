"""A log that was left: who may still read it, what is said to whom, and how it is taken away.

The last manifest of a detached table requires the feature `detached`. Until `table.json` is gone, the log can be read,
and nothing is committed. After that, only names are left of it: a local folder is moved away in one step and removed;
on an object store the manifests stay, so that a writer that is still under way cannot create one of their numbers
again.

Source: specs/17-detach.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from txfiles.core import names
from txfiles.core.manifest import Manifest
from txfiles.core.replay import State
from txfiles.core.times import format_us
from txfiles.errors import CorruptTableError, TableDetachedError
from txfiles.log import manifests
from txfiles.store import port
from txfiles.store.port import DELETED_AT_ONCE, Entry, Store


class Tombstones(NamedTuple):
    """What is left of a log without `table.json`: its newest manifest, which detached the table, and some others.

    Attributes:
        last: the newest manifest.
        versions: of all manifests that are left, ascending.
    """

    last: Manifest
    versions: tuple[int, ...]


def refuse_writes(root: str, state: State) -> None:
    """Raises `TableDetachedError` if no version may follow."""
    if state.table.is_detached:
        raise error(root, state.version, state.time_us, finished=False)


def error(root: str, version: int, time_us: int, *, finished: bool) -> TableDetachedError:
    """The error for a call on a detached table.

    Args:
        root: where it is.
        version: that detached it.
        time_us: its commit time.
        finished: whether its log can no longer be read.
    """
    then = format_us(time_us)
    if finished:
        hint = (
            "read its data files with any reader; once no writer of the table runs any more, `txfiles detach --purge` "
            "removes what is left of the log, and `txfiles adopt` makes the folder a table again"
        )
    else:
        hint = "`txfiles detach` run again finishes it; after that, `txfiles adopt` makes the folder a table again"
    return TableDetachedError(
        f"the table at {root} was detached at {then} (version {version}): its folder is plain, and takes no commit",
        hint=hint,
        version=version,
        time=then,
    )


def tombstones(store: Store) -> Tombstones | None:
    """What is left of the log of a table that was detached; None if its log is whole, or there is none.

    Raises:
        CorruptTableError: there are manifests and no `table.json`, and the newest is damaged or did not detach a table.
    Cost: one listing of the log, and its newest manifest. Ask only where `table.json` is missing.
    """
    found = [names.manifest_version(entry.name) for entry in store.list_from(names.MANIFEST_DIR)]
    versions = tuple(sorted(version for version in found if version is not None))
    if not versions:
        return None
    last = manifests.summary(store, versions[-1])
    if last.table is None or not last.table.is_detached:
        raise CorruptTableError(
            f"{store.root} has a log but no {names.TABLE_FILE}", hint="restore that file from a backup"
        )
    return Tombstones(last, versions)


def refuse_tombstones(store: Store) -> None:
    """Raises `TableDetachedError` if the log was taken away after a detach, or `CorruptTableError` as `tombstones`."""
    found = tombstones(store)
    if found is not None:
        raise error(store.root, found.last.version, found.last.time_us, finished=True)


def own_log(store: Store, table_id: str, *, folder: str = names.LOG_FOLDER) -> list[Entry]:
    """The files in the log's folder, or in the one that it was moved to, that are the table's own. Cost: a listing."""
    return [
        entry
        for entry in store.list_from(folder + "/")
        if names.is_log_name(names.LOG_FOLDER + entry.name.removeprefix(folder), table_id)
    ]


def delete(store: Store, entries: Sequence[Entry], done: Callable[[int], None] = lambda _: None) -> None:
    """Delete files, in that order. One that is gone is not an error. `done` is told how many were deleted."""
    for start in range(0, len(entries), DELETED_AT_ONCE):
        some = entries[start : start + DELETED_AT_ONCE]
        store.delete_many([entry.name for entry in some])
        done(len(some))


def moved_logs(store: Store) -> list[tuple[str, str]]:
    """The folders to which logs were moved and that are still there, each with its table's id."""
    found = ((folder, names.removed_log_of(folder)) for folder in port.top_folders(store))
    return [(folder, table_id) for folder, table_id in found if table_id is not None]
