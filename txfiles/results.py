"""What calls return: frozen facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from txfiles.core import times
from txfiles.core.manifest import Manifest, Metrics


@dataclass(frozen=True, kw_only=True)
class WriteResult:
    """What a write or a delete did.

    ``rows_in = inserted + updated + unchanged + skipped + stale + deduplicated``; a count that a backend
    cannot know is None.

    Attributes:
        version: the version committed, or the one that the write was decided against.
        committed: whether this call made a version.
        already_committed: the batch id had been committed before; every count is 0.
        mode: as asked for; ``delete`` for a delete, ``restore`` for a restore.
        rows_in: rows given.
        rows_inserted: rows added.
        rows_updated: rows that replaced one with the same key.
        rows_unchanged: rows that were in the table already, equal in every column.
        rows_skipped: rows of a known key under append_once.
        rows_stale: rows older than the table's row of that key.
        rows_deduplicated: rows dropped as duplicates inside the batch.
        rows_deleted: rows removed without a replacement.
        files_added: data files added.
        files_removed: data files superseded.
        files_scanned: data files in which keys or rows were looked for.
        files_pruned: live files that did not have to be opened.
        bytes_written: bytes of the added files.
        attempts: how many times the write was planned.
        elapsed: seconds.
        commit_id: of this call's commit, for `txfiles.resolve`; None if it made none.
        schema_inferred: types that were inferred from a CSV input, otherwise None.
        notes: how the input was interpreted beyond what was asked for, one sentence each.
        dry_run: nothing was written.
    """

    version: int | None
    committed: bool
    already_committed: bool
    mode: str
    rows_in: int | None = 0
    rows_inserted: int | None = 0
    rows_updated: int | None = 0
    rows_unchanged: int | None = 0
    rows_skipped: int | None = 0
    rows_stale: int | None = 0
    rows_deduplicated: int | None = 0
    rows_deleted: int | None = 0
    files_added: int | None = 0
    files_removed: int | None = 0
    files_scanned: int | None = 0
    files_pruned: int | None = 0
    bytes_written: int | None = 0
    attempts: int = 1
    elapsed: float = 0.0
    commit_id: str | None = None
    schema_inferred: Any = None
    notes: tuple[str, ...] = ()
    dry_run: bool = field(default=False, init=False)


@dataclass(frozen=True, kw_only=True)
class Plan(WriteResult):
    """What a write or a delete would do; nothing was written.

    `bytes_written` is an estimate, and so is `files_added`: a file that reaches its target size is split.

    Attributes:
        files_to_rewrite: data files of which some rows would be replaced and the others kept.
        compaction: what `Table.compact` would do before it, if that is worth it; see `Table.worth_compacting`.
    """

    files_to_rewrite: int | None = 0
    dry_run: bool = field(default=True, init=False)
    compaction: CompactResult | None = None


@dataclass(frozen=True, kw_only=True)
class TransactionResult(WriteResult):
    """What a transaction did: the rows of all its operations together, and the files of its one commit.

    Attributes:
        parts: what each operation did to the version that those before it made; none if the batch id was committed
            before.
    """

    parts: tuple[WriteResult, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VacuumResult:
    """What a vacuum deleted, or under `dry_run` would delete.

    Attributes:
        version: the vacuum's commit, or the version that it was decided against.
        committed: whether it made a version; it makes none if there is nothing to delete.
        deleted: names relative to the table's root.
        bytes: their size.
        dry_run: nothing was deleted.
    """

    version: int
    committed: bool
    deleted: tuple[str, ...]
    bytes: int
    dry_run: bool


@dataclass(frozen=True, kw_only=True)
class CompactResult:
    """What a compaction joined, or under `dry_run` would join: then the files and bytes after it are an estimate.

    Attributes:
        version: the compaction's commit, or the version that it was decided against.
        committed: whether it made a version; it makes none if there is nothing to join.
        files_before: small files that were joined.
        files_after: files that hold their rows now.
        bytes_before: of the files that were joined.
        bytes_after: of the files that hold their rows now.
        rows: how many rows they have.
        rows_dropped: deleted rows that were still in the files that were joined.
        groups: how many times neighbours were joined into one file, or one was written anew.
        groups_skipped: those that were given up because another commit had removed one of their files or marked rows
            of it.
        dry_run: nothing was written.
        commit_id: of this call's commit, for `txfiles.resolve`; None if it made none.
    """

    version: int
    committed: bool
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    rows: int
    rows_dropped: int
    groups: int
    groups_skipped: int
    dry_run: bool
    commit_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class AdoptResult:
    """What a folder has become, or under `dry_run` would become.

    Attributes:
        version: 0, the version that names all files; None under `dry_run`.
        committed: whether there is a table now.
        format: of the files.
        files: data files of the table.
        rows: how many they have.
        bytes: their size; none was copied.
        schema: the columns of the table.
        partition_by: its partition columns, outermost first.
        keys: its keys, which were checked.
        timestamp_col: the column that says which row is newer.
        ignored: names of the files in the folder that are not the table's: markers, metadata, other formats.
        notes: what was decided beyond what was asked for, one sentence each.
        dry_run: nothing was written.
        commit_id: of this call's commit, for `txfiles.resolve`; None if it made none.
        elapsed: seconds.
    """

    version: int | None
    committed: bool
    format: str
    files: int
    rows: int
    bytes: int
    schema: Any
    partition_by: tuple[str, ...]
    keys: tuple[str, ...]
    timestamp_col: str | None
    ignored: tuple[str, ...]
    notes: tuple[str, ...]
    dry_run: bool
    commit_id: str | None = None
    elapsed: float = 0.0


@dataclass(frozen=True, kw_only=True)
class IndexResult:
    """The key index of a version, and what a build or a drop has done to it.

    Attributes:
        action: as asked for: show, build, drop or check.
        version: the version that it is of; that of the commit, if there was one.
        committed: whether this call made a version; it makes none if there is nothing to do.
        key_index: the table's property: on, auto or off.
        runs: how many files it consists of.
        keys: how many keys they hold.
        bytes: their size.
        files_covered: live data files that it covers; keys in them are found without searching them.
        files_not_covered: the other live data files.
        problems: for each run that cannot be used, which and why. They cost time, and change no answer.
        commit_id: of this call's commit, for `txfiles.resolve`; None if it made none.
    """

    action: str
    version: int
    committed: bool
    key_index: str
    runs: int
    keys: int
    bytes: int
    files_covered: int
    files_not_covered: int
    problems: tuple[str, ...] = ()
    commit_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class DetachResult:
    """The plain folder that a detach has left, or under `dry_run` would leave.

    Attributes:
        version: the last one; None if an earlier call had taken the log away and this one finished that.
        committed: whether this call made it.
        rows: how many rows the folder holds; None where `version` is, and where the log cannot be read any more.
        files: in how many data files.
        files_rewritten: how many were written anew, because a plain reader would have seen other rows or columns.
        files_deleted: how many files were deleted: superseded data files, and those of the log.
        bytes_deleted: their size.
        notes: what plain readers see otherwise, and what was left behind, one sentence each.
        dry_run: nothing was written.
        commit_id: of this call's commit, for `txfiles.resolve`; None if it made none.
    """

    version: int | None
    committed: bool
    rows: int | None
    files: int | None
    files_rewritten: int
    files_deleted: int
    bytes_deleted: int
    notes: tuple[str, ...]
    dry_run: bool
    commit_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What became of a commit. `version` is None if it was not committed."""

    committed: bool
    version: int | None


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One version in `Table.history`. Counts as in `WriteResult`; `restored_version` is the one a restore restored."""

    version: int
    time: datetime
    operation: str
    keys: tuple[str, ...]
    batch_id: str | None
    commit_id: str
    read_version: int | None
    rows_in: int
    rows_inserted: int
    rows_updated: int
    rows_unchanged: int
    rows_skipped: int
    rows_stale: int
    rows_deduplicated: int
    rows_deleted: int
    files_added: int
    files_removed: int
    bytes_written: int
    user_metadata: dict[str, str]
    library: str
    writer: str
    columns: tuple[str, ...] = ()
    restored_version: int | None = None


def counts(metrics: Metrics) -> dict[str, int]:
    """The counts of a commit, by the names they have in every result."""
    return {name: getattr(metrics, name) for name in Metrics.__struct_fields__}


def commit_record(manifest: Manifest) -> Commit:
    """A manifest as the history shows it."""
    operation = manifest.operation
    return Commit(
        version=manifest.version,
        time=times.moment(manifest.time_us),
        operation=operation.name,
        keys=operation.keys,
        columns=operation.columns,
        batch_id=operation.batch_id,
        commit_id=manifest.commit_id,
        read_version=operation.read_version,
        user_metadata=dict(operation.user_metadata),
        library=operation.library,
        writer=operation.writer,
        restored_version=manifest.restore.version if manifest.restore else None,
        **counts(manifest.metrics),
    )
