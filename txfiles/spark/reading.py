"""A version of a table as a Spark frame.

Spark's own vectorised reader gets the list of live Parquet files if it would see exactly the table in them: no row is
marked, no column was renamed or widened since, and it has every type. Otherwise tasks read shares of the files as any
reader of ours does, and hand the rows over in Arrow. Nothing is collected on the driver.

Source: specs/13-spark-source.md, "Reading".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from txfiles import environment
from txfiles.core.manifest import ADOPTED_FILES, TableMetadata
from txfiles.errors import NeedsLiveViewError
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading import live, scan
from txfiles.rows import filters, types
from txfiles.spark import jobs
from txfiles.spark.snapshots import with_files
from txfiles.spark.types import arrow_schema, ddl, fitted, quoted, spark_types
from txfiles.store import open_store
from txfiles.store.common import missing

BATCH_ROWS = 65_536
"""Rows handed to Spark at a time: the JVM holds a copy of them beside ours."""

SHARE_BYTES_MOST = 128 * 1024 * 1024
"""Data files that one task reads, as Spark's own `spark.sql.files.maxPartitionBytes`; a larger file is one share."""

SHARE_BYTES_LEAST = 4 * 1024 * 1024
"""Less is not worth a task, as Spark's own `spark.sql.files.openCostInBytes` has it."""

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
"""What Spark takes for null in a path; to a table it may also be an empty text, or that very text."""

READER_OPTIONS = {"ignoreMissingFiles": "false", "ignoreCorruptFiles": "false", "datetimeRebaseMode": "CORRECTED"}
"""Against settings of a session under which rows would be missing, or dates before 1582 be others."""

_GLOB = re.compile(r"[{}\[\]*?,\\]")

_CACHE = SnapshotCache()
"""What a worker keeps from one task to the next."""


@dataclass(frozen=True)
class Wanted:
    """What is to be read.

    Attributes:
        columns: which columns, in which order; None is all.
        where: a filter as in `scan.read`.
        storage_options: with which executors open the store.
    """

    columns: Sequence[str] | None = None
    where: Any = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """The columns in the table's types. Raises `InputError` if there is no such column."""
        of_table = types.arrow_schema(snapshot.state.table.columns)
        names = scan.check_columns(of_table, self.columns)
        return pa.schema([of_table.field(name).remove_metadata() for name in names])


@dataclass(frozen=True)
class Share:
    """What one task reads; it pickles.

    Attributes:
        root: the table's folder or URL.
        snapshot: the version, with the share's files only.
        wanted: what is to be read of them.
        target: the types that Spark gets.
    """

    root: str
    snapshot: Snapshot
    wanted: Wanted
    target: pa.Schema

    def read(self) -> Iterator[pa.RecordBatch]:
        """The rows, in Spark's types.

        Raises:
            CorruptTableError: a file is missing or damaged.
            LossyCastError: Spark cannot hold a value.
        """
        wanted = self.wanted
        session = Session(open_store(self.root, wanted.storage_options), environment.real(), _CACHE)
        _, batches = scan.stream(session, self.snapshot, self.target.names, wanted.where, BATCH_ROWS)
        for batch in batches:
            yield fitted(batch, self.target)


def frame(spark: Any, session: Session, snapshot: Snapshot, wanted: Wanted) -> Any:
    """The rows of a snapshot as a Spark frame.

    Args:
        spark: the session.
        session: where the files are.
        snapshot: what to read.
        wanted: which rows and columns of it.
    Raises:
        InputError: as `scan.read`.
        UnsupportedTypeError: Spark has no type for a column.
    Cost: on the driver, nothing is read but the list of files; Spark looks at each file that its own reader gets.
    """
    schema = wanted.schema(snapshot)
    shared = shares(session, snapshot, wanted, jobs.slots(spark) * jobs.TASKS_A_SLOT)
    if not shared:
        return spark.createDataFrame([], ddl(schema))
    if wanted.where is None and is_plain(session, snapshot, schema):
        return _plain(spark, session, snapshot, schema.names)

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from shared[number].read()

    return spark.range(0, len(shared), 1, len(shared)).mapInArrow(task, ddl(schema))


def shares(session: Session, snapshot: Snapshot, wanted: Wanted, tasks: int) -> list[Share]:
    """The files that may hold a matching row, cut by size into shares for about so many tasks.

    Raises:
        InputError: as `scan.read`.
        UnsupportedTypeError: Spark has no type for a column.
    """
    table = snapshot.state.table
    target = arrow_schema(wanted.schema(snapshot))
    found = filters.parse(wanted.where, types.arrow_schema(table.columns))
    files = snapshot.files
    if found is not None:
        files = files.filter(pa.array(scan.may_match(files, table, found)))
    return [Share(session.store.root, with_files(snapshot, some), wanted, target) for some in _cut(files, tasks)]


def _cut(files: pa.Table, tasks: int) -> list[pa.Table]:
    """Files that follow each other, in groups of about the same size."""
    ends = np.cumsum(files["bytes"].to_numpy())
    if not len(ends):
        return []
    each = min(SHARE_BYTES_MOST, max(SHARE_BYTES_LEAST, -(-int(ends[-1]) // tasks)))
    group = (ends - 1) // each
    firsts = np.flatnonzero(np.diff(group, prepend=-1))
    # Taken and not sliced: a slice would pickle with all files.
    return [
        files.take(pa.array(np.arange(first, end))) for first, end in zip(firsts, [*firsts[1:], len(ends)], strict=True)
    ]


def is_plain(session: Session, snapshot: Snapshot, schema: pa.Schema) -> bool:
    """Whether Spark's own reader sees exactly the table's rows in its files, for these columns."""
    table = snapshot.state.table
    if ADOPTED_FILES in table.required_features and table.partition_by:  # folders may be spelt as Spark does not
        return False
    if table.format != "parquet" or not session.store.root.startswith("/"):  # it has no drivers of buckets
        return False
    if not all(found.native for found in spark_types(schema)):
        return False
    try:
        live.refuse_plain_readers(snapshot, session.store.root)
    except NeedsLiveViewError:
        return False
    return _partitions_are_plain(table, snapshot.files)


def _partitions_are_plain(table: TableMetadata, files: pa.Table) -> bool:
    """Whether Spark finds the same values in paths as the log has."""
    schema = types.arrow_schema(table.columns)
    kinds = [schema.field(name).type for name in table.partition_by]
    is_ = pa.types
    if not all(is_.is_string(t) or is_.is_signed_integer(t) or is_.is_date32(t) for t in kinds):
        return False
    texts = set(files["partition"].combine_chunks().flatten().to_pylist())
    return not texts & {"", NULL_PARTITION}


def _plain(spark: Any, session: Session, snapshot: Snapshot, columns: Sequence[str]) -> Any:
    table = snapshot.state.table
    schema = types.arrow_schema(table.columns)
    stored = [name for name in schema.names if name in columns or name in table.partition_by]
    files = [live.data_name(path) for path in snapshot.files["path"].to_pylist()]
    reader = (
        spark.read.format("parquet")
        .schema(ddl(pa.schema([schema.field(name) for name in stored])))
        .options(basePath=_uri(session.store.root), **READER_OPTIONS)
    )
    try:
        found = reader.load([_GLOB.sub(r"\\\g<0>", _uri(session.store.url(name))) for name in files])
        _ = found.schema  # a Connect session looks at the files no sooner
    except Exception as error:
        for name in files:
            if session.store.stat(name) is None:
                raise missing(session.store.url(name)) from error
        raise
    return found.select(*map(quoted, columns))


def _uri(path: str) -> str:
    """A local path with its scheme: Spark's default file system may be another one."""
    return f"file://{path}"
