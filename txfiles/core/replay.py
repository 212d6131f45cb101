"""What a version is: the fold of its manifests. Everything except the list of files, which is an Arrow table.

Source: specs/5-commit.md, "Replay".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import msgspec

from txfiles.core import names, properties
from txfiles.core.manifest import (
    ADOPTED_FILES,
    DELETION_VECTORS,
    Add,
    BatchId,
    CheckpointRef,
    ColumnStats,
    Manifest,
    Restore,
    RunRef,
    TableMetadata,
)
from txfiles.core.schema import became_text
from txfiles.errors import CorruptTableError


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """Where a batch id was committed, and as what. Its keys are column ids: a key may be renamed before a retry."""

    version: int
    mode: str
    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class State:
    """A version without its files.

    Attributes:
        version: its number.
        table_id: of the table.
        commit_id: of the commit that made it.
        sha256: of its manifest's file, which the next manifest repeats.
        time_us: its commit time, microseconds since 1970.
        table: what the table is.
        batch_ids: remembered batch ids, oldest first.
        oldest_readable_version: older versions have lost files to a vacuum.
        checkpoint: the newest that its manifest names.
        columns_since: the version that last changed a column's name, type or place, or added or dropped one: files
            added before it may have other columns than the table.
        names_since: the version that last renamed or dropped a column: files added before it may have a column of
            another one's name.
        unique_keys: it is known that no two rows have the same key; False means nothing.
        runs: of the key index. None of them changes an answer, so one that is not known here is not missed.
    """

    version: int
    table_id: str
    commit_id: str
    sha256: str
    time_us: int
    table: TableMetadata
    batch_ids: Mapping[str, BatchRecord]
    oldest_readable_version: int
    checkpoint: CheckpointRef | None
    columns_since: int = 0
    names_since: int = 0
    unique_keys: bool = False
    runs: tuple[RunRef, ...] = ()


KEEP_KEYS_UNIQUE = frozenset({"compact", "delete"})
"""Operations that name no keys and whose new files hold only rows of the version before."""

KEYED = frozenset({"append_once", "upsert", "overwrite", "adopt"})
"""Operations that, if they name keys, add no key that is there or twice. Those of later releases are not known to."""

KEEP_IN_PARTS = frozenset({"append_once", "upsert", "delete", "set"})
"""Operations of a transaction that add no key that is there; an upsert has keys, and a transaction changes none."""


def apply(state: State | None, manifest: Manifest, sha256: str, *, table_id: str) -> State:
    """The state after `manifest`, which must be the successor of `state` (None: version 0).

    Raises:
        CorruptTableError: the chain of hashes, the table's id or the order of times is broken.
    """
    where = names.manifest(manifest.version)
    _check_chain(state, manifest, where, table_id)
    table = manifest.table or (state.table if state else None)
    if table is None:  # pragma: no cover - decode refuses a version 0 without a table
        raise CorruptTableError(f"{where} does not describe the table")
    if state is not None and not set(state.table.required_features) <= set(table.required_features):
        raise CorruptTableError(
            f"{where} drops a required feature that older files still need",
            hint="restore all of _txfiles/ from one backup",
            file=where,
        )
    if state is not None and state.table.csv_dialect not in (None, table.csv_dialect):
        raise CorruptTableError(
            f"{where} changes how adopted CSV files are read",
            hint="restore all of _txfiles/ from one backup",
            file=where,
        )
    marks = bool(manifest.mark) or any(add.vector is not None for add in manifest.add)
    if marks and DELETION_VECTORS not in table.required_features:
        raise CorruptTableError(
            f"{where} marks rows, which the table does not require its readers to understand",
            hint="restore all of _txfiles/ from one backup",
            file=where,
        )
    if ADOPTED_FILES not in table.required_features and _names_adopted(manifest):
        raise CorruptTableError(
            f"{where} names files of other tools, which the table does not require its readers to understand",
            hint="restore all of _txfiles/ from one backup",
            file=where,
        )
    late = manifest.restore is not None and any(
        found.version > manifest.restore.version for found in manifest.restore.remember
    )
    if late or any(add.added_version is not None and add.added_version >= manifest.version for add in manifest.add):
        raise CorruptTableError(
            f"{where} brings back what no version before it had",
            hint="restore all of _txfiles/ from one backup",
            file=where,
        )
    whole = state.oldest_readable_version if state else 0
    return State(
        version=manifest.version,
        table_id=manifest.table_id,
        commit_id=manifest.commit_id,
        sha256=sha256,
        time_us=manifest.time_us,
        table=table,
        batch_ids=_remember(state.batch_ids if state else {}, manifest, table),
        oldest_readable_version=manifest.vacuum.oldest_readable_version if manifest.vacuum else whole,
        checkpoint=manifest.checkpoint,
        columns_since=_columns_since(state, manifest, table),
        names_since=_names_since(state, manifest, table),
        unique_keys=_unique_keys(state, manifest, table),
        runs=_runs(state, manifest, table),
    )


def _names_adopted(manifest: Manifest) -> bool:
    """Whether a commit brings back or deletes data files that the table did not name itself.

    `codec` has confined them to the folder, and refused other adds. What a commit removes or marks is live.
    """
    deletes = manifest.vacuum.deletes if manifest.vacuum else ()
    adds = manifest.add if manifest.operation.name == "restore" else ()
    return not (
        all(names.is_data_path(add.path, manifest.table_id) for add in adds)
        and all(names.is_deletable(path, manifest.table_id) for path in deletes)
    )


def _runs(state: State | None, manifest: Manifest, table: TableMetadata) -> tuple[RunRef, ...]:
    """The runs of the key index after a commit; none outlives the keys that it holds.

    A release that does not know runs leaves them out of its checkpoints, so one that is removed may be gone already.
    """
    known = state.runs if state is not None and same_key_codes(state.table, table) else ()
    if not manifest.index:
        return known
    found = {run.name: run for run in known}
    for action in manifest.index:
        if action.remove is not None:
            found.pop(action.remove, None)
    return (*found.values(), *(action.add for action in manifest.index if action.add is not None))


def _columns_since(state: State | None, manifest: Manifest, table: TableMetadata) -> int:
    """The version that last changed a column; a restore brings the columns of its version back, and the files too."""
    if manifest.restore is not None:
        return manifest.restore.columns_since
    return state.columns_since if state and not _other_columns(state.table, table) else manifest.version


def _names_since(state: State | None, manifest: Manifest, table: TableMetadata) -> int:
    """Likewise for the version that last changed a name."""
    if manifest.restore is not None:
        return manifest.restore.names_since
    return state.names_since if state and _same_names(state.table, table) else manifest.version


def _other_columns(before: TableMetadata, after: TableMetadata) -> bool:
    """Whether a plain reader sees a difference between files of the one and files of the other."""
    return [(column.id, column.name, column.type) for column in before.columns] != [
        (column.id, column.name, column.type) for column in after.columns
    ]


def _same_names(before: TableMetadata, after: TableMetadata) -> bool:
    """Whether reading a file of the one by the names of the other finds the right columns, though perhaps not all."""
    names = {column.id: column.name for column in after.columns}
    return all(names.get(column.id) == column.name for column in before.columns)


def _unique_keys(state: State | None, manifest: Manifest, table: TableMetadata) -> bool:
    """Whether no key is in the table twice, as far as its operations tell.

    A keyed write adds no key that is there. An overwrite that names keys replaces all rows, or checks those that stay
    if the keys are new.
    """
    operation = manifest.operation
    if manifest.restore is not None:
        return bool(table.keys) and manifest.restore.unique_keys
    same_keys = state is not None and state.table.ids(state.table.keys) == table.ids(table.keys)
    known = bool(
        operation.name in KEEP_KEYS_UNIQUE
        or (operation.name in KEYED and bool(operation.keys))
        or (operation.name == "transaction" and operation.parts and KEEP_IN_PARTS.issuperset(operation.parts))
    )
    if not table.keys or (manifest.add and not known):
        return False
    if operation.name == "overwrite" and operation.keys and (operation.scope == "table" or not same_keys):
        return True
    return bool(operation.keys) if state is None else same_keys and state.unique_keys


def same_key_codes(before: TableMetadata, after: TableMetadata) -> bool:
    """Whether key ranges recorded for one table action hold for another: the same keys, and none became text.

    Nor may one that was text have become its former type again, by a restore.
    """
    texts = became_text(before.columns, after.columns) | became_text(after.columns, before.columns)
    keys = after.ids(after.keys)
    return before.ids(before.keys) == keys and texts.isdisjoint(keys)


def with_columns(add: Add, before: TableMetadata, after: TableMetadata) -> Add:
    """A file as a later table action sees it: it keeps the columns that it was written with."""
    if add.columns is not None or before.stored_ids == after.stored_ids:
        return add
    return msgspec.structs.replace(add, columns=before.stored_ids)


def follower(before: TableMetadata, after: TableMetadata) -> Callable[[Add], Add]:
    """What makes of a file what a later table action sees: its own columns, and no bounds that are in another order."""
    ids, keys = became_text(before.columns, after.columns), not same_key_codes(before, after)

    def followed(add: Add) -> Add:
        found = with_columns(add, before, after)
        return without_bounds(found, ids, keys=keys) if ids else found

    return followed


def without_bounds(add: Add, ids: Collection[int], *, keys: bool) -> Add:
    """A file without the bounds of some columns, and without its key range if `keys`; its null counts stay."""
    texts = {str(column) for column in ids}
    stats = {name: ColumnStats(nulls=found.nulls) if name in texts else found for name, found in add.stats.items()}
    return msgspec.structs.replace(add, stats=stats, key_range=None if keys else add.key_range)


def _check_chain(state: State | None, manifest: Manifest, where: str, table_id: str) -> None:
    if manifest.table_id != table_id:
        why = f"it belongs to table {manifest.table_id}, this is {table_id}"
    elif manifest.version != (state.version + 1 if state else 0):
        why = f"it is version {manifest.version}, expected {state.version + 1 if state else 0}"
    elif manifest.parent_sha256 != (state.sha256 if state else None):
        why = "its predecessor is not the one that it was written after"
    elif state is not None and manifest.time_us <= state.time_us:
        why = "it is not later than its predecessor"
    elif state is not None and state.table.is_detached:
        why = f"version {state.version} detached the table, and no version may follow"
    elif manifest.vacuum is not None and not (
        (state.oldest_readable_version if state else 0) <= manifest.vacuum.oldest_readable_version <= manifest.version
    ):
        why = "its oldest readable version is impossible"
    else:
        return
    raise CorruptTableError(
        f"{where} does not continue the log: {why}", hint="restore all of _txfiles/ from one backup", file=where
    )


def _remember(known: Mapping[str, BatchRecord], manifest: Manifest, table: TableMetadata) -> Mapping[str, BatchRecord]:
    operation = manifest.operation
    kept = properties.integer(table.properties, "batch_ids_kept")
    if manifest.restore is not None:
        known = restored(known, manifest.restore)
    if operation.batch_id is None and len(known) <= kept:
        return known
    ids = dict(known)
    if operation.batch_id is not None:
        ids.pop(operation.batch_id, None)
        ids[operation.batch_id] = BatchRecord(manifest.version, operation.name, _key_ids(table, operation.keys))
    for oldest in list(ids)[: max(0, len(ids) - kept)]:
        del ids[oldest]
    return ids


def restored(known: Mapping[str, BatchRecord], restore: Restore) -> Mapping[str, BatchRecord]:
    """The batch ids of a version, oldest first, after a restore."""
    gone = frozenset(restore.forget)
    ids = {name: found for name, found in known.items() if name not in gone}
    ids |= {found.id: BatchRecord(found.version, found.mode, found.keys) for found in restore.remember}
    return dict(sorted(ids.items(), key=lambda item: item[1].version))


def batch_id_changes(
    known: Mapping[str, BatchRecord], wanted: Mapping[str, BatchRecord]
) -> tuple[tuple[str, ...], tuple[BatchId, ...]]:
    """What a restore forgets and remembers, so that the batch ids of one version become those of another."""
    forget = tuple(name for name in known if name not in wanted)
    remember = tuple(
        BatchId(id=name, version=found.version, mode=found.mode, keys=found.keys)
        for name, found in wanted.items()
        if known.get(name) != found
    )
    return forget, remember


def _key_ids(table: TableMetadata, keys: Collection[str]) -> tuple[int, ...]:
    """The ids of an operation's keys, which a keyed write always leaves in the table; a forged one may not."""
    known = {column.name for column in table.columns}
    return table.ids([name for name in keys if name in known])
