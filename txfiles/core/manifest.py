"""The nouns of the log: what one commit says, as frozen values. `core.codec` turns them into bytes and back.

Source: specs/3-manifest.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from txfiles.core import names, times
from txfiles.core.csv_dialect import CsvDialect
from txfiles.core.schema import Column, ColumnId

PARTITION_VALUE_LIMIT = names.SEGMENT_LIMIT_BYTES
"""Characters of a partition value: it is part of a folder's name, and reading repeats it in each row of its file."""

PARTS_LIMIT = 10_000
"""Parts of a checkpoint: enough for some hundred million files."""

DELETION_VECTORS = "deletion_vectors"
"""The required feature of a table that has, or once had, marked rows."""

DETACHED = "detached"
"""The required feature of a table that was left: no version follows the one that brings it."""
ADOPTED_FILES = "adopted_files"
"""The required feature of a table that was made of files which other tools had written and named."""

COLUMN_MAPPING = "column_mapping"
"""The required feature of a table of which a column was renamed, dropped or moved: files have other names than it."""

INDEX_ACTIONS_LIMIT = 10_000
"""Actions on runs of one commit, and runs of a checkpoint: with some millions of keys each, more than any table has."""

OPERATIONS_LIMIT = 1_000
"""Operations of one transaction: each is planned again after a lost race, so more are a batch that wants one write."""

COUNT_LIMIT = 2**62
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_LIMIT)]
Time = Annotated[int, msgspec.Meta(ge=-COUNT_LIMIT, le=COUNT_LIMIT)]
# `$` alone would also match before a newline at the end.
Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
HashOrNone = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$(?!\n)")]
Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")]
KeyBound = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){0,64}$(?!\n)")]
Bound = Annotated[str, msgspec.Meta(max_length=2_000)]
PropertyValue = str | int | float | bool


class ColumnStats(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one file holds in one column. An absent bound means "may hold anything".

    Attributes:
        nulls: number of nulls.
        min: text of a lower bound of the values that are not null.
        max: text of an upper bound of them.
        exact: whether both bounds are values of the file, not cut outward.
    """

    nulls: Count
    min: Bound | None = None
    max: Bound | None = None
    exact: bool = True


class KeyRange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The smallest and greatest key of one file, as canonical key bytes (specs/7-keys.md) in hex.

    Attributes:
        columns: the ids of the keys, in the order in which they were encoded.
        min: a lower bound, at most 64 bytes.
        max: an upper bound, at most 64 bytes; None is unbounded.
        exact: whether both bounds are keys of the file, not cut outward.
    """

    columns: tuple[ColumnId, ...]
    min: KeyBound
    max: KeyBound | None = None
    exact: bool = True


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """The deletion vector of a live file: which of its rows are not in the table any more.

    Attributes:
        file: the last segment of the name of the file that holds it, with the other vectors of its commit.
        offset: where it begins there.
        bytes: its length.
        sha256: of these bytes.
        rows: how many rows of the data file it marks.
    """

    file: Annotated[str, msgspec.Meta(pattern=names.VECTOR_PATTERN)]
    offset: Count
    bytes: Count
    sha256: Hash
    rows: Annotated[int, msgspec.Meta(ge=1, le=COUNT_LIMIT)]


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A live file has this vector from this version on: all rows that are marked in it, those marked before too."""

    path: Annotated[str, msgspec.Meta(max_length=8_192)]
    vector: Vector


class Add(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A data file that belongs to the table from this version on.

    Attributes:
        path: relative to the table's root, URL-encoded.
        rows: physical rows.
        bytes: size of the file.
        sha256: of the whole file; empty for an adopted file that was not read as a whole.
        footer_bytes: length of the Parquet footer with its length and magic, 0 for CSV.
        footer_sha256: of those bytes, empty for CSV.
        partition: text of each partition column's value, in the table's order; null is null.
        stats: per column id (as text).
        key_range: where the table had keys when the file was written.
        columns: ids of the file's own columns, in the file's order; absent where they are the table's at that version,
            less those of the partition. A file is read through it by position, never by names found in it.
        place: path of a file removed by the same commit, whose place in the row order it takes; absent: it comes last.
        vector: the rows of it that are marked already; absent: none.
        vector: the rows of it that are marked already; absent: none.
        modified_us: of an adopted file: its last change when it was adopted, by the store's clock.
        added_version: of a file that comes back: the version that first added it; absent: this one.
    """

    path: Annotated[str, msgspec.Meta(max_length=8_192)]
    rows: Count
    bytes: Count
    sha256: HashOrNone = ""
    footer_bytes: Count = 0
    footer_sha256: HashOrNone = ""
    partition: tuple[Annotated[str, msgspec.Meta(max_length=PARTITION_VALUE_LIMIT)] | None, ...] = ()
    stats: dict[str, ColumnStats] = {}
    key_range: KeyRange | None = None
    columns: tuple[ColumnId, ...] | None = None
    place: Annotated[str, msgspec.Meta(max_length=8_192)] | None = None
    vector: Vector | None = None
    modified_us: Time | None = None
    added_version: Count | None = None


class Remove(msgspec.Struct, frozen=True, kw_only=True):
    """A data file that no longer belongs to the table from this version on."""

    path: Annotated[str, msgspec.Meta(max_length=8_192)]


class RunKey(msgspec.Struct, frozen=True, kw_only=True):
    """Which keys an index run holds. Two runs are comparable if and only if these are equal.

    Attributes:
        columns: ids of the key columns, in the order of the code.
        kinds: of their codes, as `keys.kinds` names them; another width or unit of a column is the same kind.
        code: the version of key codes.
        secret: which secret the digests were made with, as `digests.secret_id` names it.
    """

    columns: tuple[Count, ...]
    kinds: tuple[str, ...]
    code: Count
    secret: Id


class RunRef(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the key index that belongs to the table from this version on.

    Attributes:
        name: the last segment of its name.
        run: its id, which its file repeats.
        bytes: its size.
        entries: keys in it.
        files: how many data files it covers.
        footer_bytes: of its last part, which is all that opening reads.
        footer_sha256: of that part.
        key: which keys it holds.
    """

    name: Annotated[str, msgspec.Meta(pattern=names.INDEX_RUN_PATTERN)]
    run: Id
    bytes: Count
    entries: Count
    files: Count
    footer_bytes: Count
    footer_sha256: Hash
    key: RunKey

    @property
    def path(self) -> str:
        """Its name below the table's root, which is spelt as it is in a path."""
        return names.INDEX_DIR + self.name


class IndexAction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change to the key index: a run that is added, or one that is removed by name. Neither changes an answer.

    Attributes:
        add: the run.
        remove: the last segment of the other one's name.
    """

    add: RunRef | None = None
    remove: Annotated[str, msgspec.Meta(pattern=names.INDEX_RUN_PATTERN)] | None = None


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked for, by whom.

    Attributes:
        name: append, append_once, upsert, overwrite, delete, restore, compact, set, index, vacuum, rename, drop,
            reorder, widen, adopt, detach or transaction.
        read_version: the version that the operation was planned on; None for a table's creation.
        keys: the keys of a keyed write, by the names that the caller used: it is history, not what the table is.
        batch_id: the caller's name for the batch.
        scope: of an overwrite: ``table``, ``partitions`` or ``filter``; of a delete: ``filter`` or ``keys``; of
            an index: ``build`` or ``drop``; of a compact: ``plain`` before a detach.
        library: name and version of the writing library.
        writer: host and process of the writer.
        columns: of a rename the old name and the new one, of a drop or widen the column, of a reorder all.
        user_metadata: the caller's own facts.
        parts: of a transaction: the names of its operations, in order.
    """

    name: str
    read_version: Count | None = None
    keys: tuple[str, ...] = ()
    batch_id: str | None = None
    scope: str | None = None
    library: str = ""
    writer: str = ""
    columns: tuple[str, ...] = ()
    user_metadata: dict[str, str] = {}
    parts: Annotated[tuple[str, ...], msgspec.Meta(max_length=OPERATIONS_LIMIT)] = ()


class Metrics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows by outcome, and files. `rows_in` is the sum of all but `rows_deleted`."""

    rows_in: Count = 0
    rows_inserted: Count = 0
    rows_updated: Count = 0
    rows_unchanged: Count = 0
    rows_skipped: Count = 0
    rows_stale: Count = 0
    rows_deduplicated: Count = 0
    rows_deleted: Count = 0
    files_added: Count = 0
    files_removed: Count = 0
    bytes_written: Count = 0


class TableMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the table is: `codec.TableAction` with names of columns for `partition_by`, `keys` and `timestamp_col`."""

    format: str
    columns: tuple[Column, ...]
    last_column_id: Count
    partition_by: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    timestamp_col: str | None = None
    properties: dict[str, PropertyValue] = {}
    required_features: tuple[str, ...] = ()
    csv_dialect: CsvDialect | None = None
    extra: dict[str, Any] = {}

    def ids(self, columns: Iterable[str]) -> tuple[int, ...]:
        """The ids of some of its columns."""
        by_name = {column.name: column.id for column in self.columns}
        return tuple(by_name[name] for name in columns)

    @property
    def is_detached(self) -> bool:
        """Whether the table was left, so that no version may follow."""
        return DETACHED in self.required_features

    @property
    def stored_ids(self) -> tuple[int, ...]:
        """The ids of the columns in a data file written for this table, in the file's order."""
        return tuple(column.id for column in self.columns if column.name not in self.partition_by)


class CheckpointRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The newest checkpoint known to a manifest's writer.

    Attributes:
        version: the version that it holds.
        id: the unique part of its name.
        bytes: its size.
        sha256: its hash.
        parts: names of the files beside it that hold most of a long list of files, in row order.
    """

    version: Count
    id: Id
    bytes: Count
    sha256: Hash
    parts: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=names.PART_PATTERN)], ...], msgspec.Meta(max_length=PARTS_LIMIT)
    ] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all its files, below the table's root."""
        return names.checkpoint(self.version, self.id), *(names.CHECKPOINT_DIR + part for part in self.parts)


class SidecarRef(msgspec.Struct, frozen=True, kw_only=True):
    """The file that holds the actions if they are too many for the manifest."""

    name: Annotated[str, msgspec.Meta(pattern=names.SIDECAR_PATTERN)]
    bytes: Count
    sha256: Hash


class Vacuum(msgspec.Struct, frozen=True, kw_only=True):
    """What a vacuum is about to delete, exactly.

    Attributes:
        oldest_readable_version: from this version on, all versions are readable.
        deletes: data files (URL-encoded, relative) and own temporary files.
    """

    oldest_readable_version: Count
    deletes: tuple[Annotated[str, msgspec.Meta(max_length=8_192)], ...] = ()


class BatchId(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch id that comes back: where it was committed, and as what.

    Attributes:
        id: the caller's name for the batch.
        version: that committed it.
        mode: of that write.
        keys: ids of its key columns.
    """

    id: str
    version: Count
    mode: str
    keys: tuple[ColumnId, ...] = ()


class Restore(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a restore takes over from the version that it restores, besides files and the `table` action.

    Attributes:
        version: that version.
        columns_since: as `replay.State` has it there.
        names_since: likewise.
        unique_keys: likewise.
        forget: batch ids of the version before that the restored one does not know.
        remember: those that it knows, and the version before does not, or knows from another commit.
    """

    version: Count
    columns_since: Count = 0
    names_since: Count = 0
    unique_keys: bool = False
    forget: tuple[str, ...] = ()
    remember: tuple[BatchId, ...] = ()


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest has besides its `table`."""

    format_version: int
    version: Count
    table_id: Annotated[str, msgspec.Meta(pattern=names.TABLE_ID_PATTERN)]
    commit_id: Id
    parent_sha256: Hash | None
    time: Annotated[str, msgspec.Meta(pattern=times.PATTERN)]
    operation: Operation
    metrics: Metrics
    checkpoint: CheckpointRef | None = None
    vacuum: Vacuum | None = None
    restore: Restore | None = None
    add: tuple[Add, ...] = ()
    remove: tuple[Remove, ...] = ()
    mark: tuple[Mark, ...] = ()
    index: Annotated[tuple[IndexAction, ...], msgspec.Meta(max_length=INDEX_ACTIONS_LIMIT)] = ()
    sidecar: SidecarRef | None = None


class Manifest(Commit, frozen=True, kw_only=True):
    """One commit. See specs/3-manifest.md for a worked example."""

    table: TableMetadata | None = None

    @property
    def time_us(self) -> int:
        """Commit time, microseconds since 1970."""
        return times.parse_us(self.time)


class Actions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The content of a sidecar; `forget` and `remember` are those of a restore."""

    add: tuple[Add, ...] = ()
    remove: tuple[Remove, ...] = ()
    mark: tuple[Mark, ...] = ()
    deletes: tuple[Annotated[str, msgspec.Meta(max_length=8_192)], ...] = ()
    forget: tuple[str, ...] = ()
    remember: tuple[BatchId, ...] = ()
