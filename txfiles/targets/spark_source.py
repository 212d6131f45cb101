"""The only module that imports pyspark: txfiles as a data source of Spark's, read and written.

Spark creates and calls these classes in Python processes of its own, so each method opens the table itself; what
pickles from one to the next are places, versions and shares of files.

Source: specs/13-spark-source.md, "Data Source".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from pyspark.sql import datasource, types

from txfiles.arguments import public
from txfiles.errors import InputError, SchemaMismatchError
from txfiles.rows import filters
from txfiles.rows import types as table_types
from txfiles.spark import frames, reading
from txfiles.spark.reading import Share, Wanted
from txfiles.spark.types import ddl, spark_types
from txfiles.spark.written import Written
from txfiles.targets import spark_options, spark_writing
from txfiles.targets.files.target import FILES, FilesTable
from txfiles.targets.protocol import Place
from txfiles.targets.spark_writing import Writing

PUSHDOWN = "spark.sql.python.filterPushdown.enabled"
"""Where this is off, as it is unless somebody turns it on, Spark refuses to read with a reader that takes filters."""

TASKS = 64
"""Into how many shares a large table is cut; Spark does not tell here how many run together."""

_COMPARISONS = {
    "EqualTo": "==",
    "EqualNullSafe": "==",
    "GreaterThan": ">",
    "GreaterThanOrEqual": ">=",
    "LessThan": "<",
    "LessThanOrEqual": "<=",
    "In": "in",
}


@public
def register_spark(spark: Any) -> None:
    """Make `spark.read.format("txfiles")` and `df.write.format("txfiles")` known to a session.

    Filters reach the files if `spark.sql.python.filterPushdown.enabled` is on now; after changing it, call this again.

    Args:
        spark: a `SparkSession` of Spark 4.
    """
    pushes = str(spark.conf.get(PUSHDOWN, "false")).lower() == "true"
    spark.dataSource.register(FilteringDataSource if pushes else DataSource)


class DataSource(datasource.DataSource):
    """A table of Parquet or CSV files at the version that was the newest when the frame was made, or a given one."""

    _version: int | None = None

    @classmethod
    def name(cls) -> str:
        """As `format` has it."""
        return "txfiles"

    def schema(self) -> str:
        """The columns as DDL. Which version it is stays fixed from here on."""
        table = _open(self.options)
        self._version = table.state.version
        return ddl(_wanted(self.options).schema(table.snapshot))

    def reader(self, schema: types.StructType) -> Reader:
        """A reader of some or all columns."""
        table = _open(self.options, self._version)
        wanted = replace(_wanted(self.options), columns=schema.fieldNames())
        _refuse_other_types(wanted.schema(table.snapshot), frames.arrow_schema(schema))
        return self._reader(table.place, table.state.version, wanted)

    def _reader(self, place: Place, version: int, wanted: Wanted) -> Reader:
        return Reader(place, version, wanted)

    def writer(self, schema: types.StructType, overwrite: bool) -> Writer:  # noqa: FBT001 - as Spark calls it
        """A writer of a frame."""
        options = spark_options.to_write(self.options, overwrite=overwrite)
        place = replace(_place(self.options, options.storage_options), lock=options.lock)
        return Writer(spark_writing.begin(place, options, frames.arrow_schema(schema)))


class FilteringDataSource(DataSource):
    """The same for sessions in which Spark hands filters over."""

    def _reader(self, place: Place, version: int, wanted: Wanted) -> Reader:
        return FilteringReader(place, version, wanted)


@dataclass
class Part(datasource.InputPartition):
    """What one task reads."""

    share: Share


class Reader(datasource.DataSourceReader):
    """Reads a version of a table.

    Args:
        place: where it is.
        version: which.
        wanted: which rows and columns of it.
    """

    def __init__(self, place: Place, version: int, wanted: Wanted) -> None:
        self._place = place
        self._version = version
        self._wanted = wanted

    def partitions(self) -> list[datasource.InputPartition]:
        """The live files that may hold a matching row, in shares."""
        table = self._table()
        return [Part(share) for share in reading.shares(table.session, table.snapshot, self._wanted, TASKS)]

    def read(self, partition: datasource.InputPartition) -> Iterator[pa.RecordBatch]:
        """The rows of a share; if there is none, Spark calls this with a partition of its own."""
        return partition.share.read() if isinstance(partition, Part) else iter(())

    def _table(self) -> FilesTable:
        return _at(FILES.open(self._place), self._version)


class FilteringReader(Reader):
    """Reads no files that cannot match, and leaves out rows that do not."""

    def pushFilters(self, filters: list[datasource.Filter]) -> list[datasource.Filter]:  # noqa: N802 - Spark's name
        """Take what is certain of some filters. Spark checks them all again."""
        schema = table_types.arrow_schema(self._table().snapshot.state.table.columns)
        found = [item for one in filters if (item := _condition(one, schema)) is not None]
        self._wanted = replace(self._wanted, where=[*(self._wanted.where or ()), *found] or None)
        return filters


def _condition(given: datasource.Filter, schema: pa.Schema) -> tuple[str, str, Any] | None:
    """A filter that holds for each row for which Spark's does; None if that is not certain.

    Spark takes NaN for the greatest number, and equal to itself; so nothing is said of floats.
    """
    op = _COMPARISONS.get(type(given).__name__)
    name = ".".join(getattr(given, "attribute", ()))
    if op is None or len(given.attribute) != 1 or name not in schema.names:
        return None
    kind, value = schema.field(name).type, given.value
    if pa.types.is_nested(kind) or spark_types(pa.schema([schema.field(name)]))[0].arrow != kind:
        return None
    if pa.types.is_floating(kind) or value is None:
        return None
    condition = (name, op, [one for one in value if one is not None] if op == "in" else value)
    try:
        filters.parse([condition], schema)
    except InputError:  # a value that no row can have, say: Spark knows what to make of it
        return None
    return condition


@dataclass
class Message(datasource.WriterCommitMessage):
    """What a task has written."""

    written: Written


class Writer(datasource.DataSourceArrowWriter):
    """Writes a frame, in one commit.

    Args:
        writing: what does the work.
    """

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def write(self, iterator: Iterator[pa.RecordBatch]) -> Message:
        """The body of a task."""
        return Message(self._writing.write(iterator))

    def commit(self, messages: list[datasource.WriterCommitMessage | None]) -> None:
        """Commit what all tasks have written."""
        self._writing.commit([one.written for one in messages if isinstance(one, Message)])

    def abort(self, messages: list[datasource.WriterCommitMessage | None]) -> None:
        """Delete what the others have written if a task failed."""
        self._writing.abort([one.written if isinstance(one, Message) else None for one in messages])


def _place(options: Mapping[str, str], storage_options: Mapping[str, Any] | None) -> Place:
    return Place(os.path.expanduser(spark_options.path_of(options)), storage_options)


def _wanted(options: Mapping[str, str]) -> Wanted:
    given = spark_options.to_read(options)
    return Wanted(given.get("columns"), given.get("filter"), given.get("storage_options"))


def _open(options: Mapping[str, str], version: int | None = None) -> FilesTable:
    """The version that the options name, unless it is fixed already."""
    given = spark_options.to_read(options)
    table = FILES.open(_place(options, given.get("storage_options")))
    if version is not None:
        return _at(table, version)
    if "version" in given or "timestamp" in given:
        return table.at(given.get("version"), given.get("timestamp"))
    return table


def _at(table: FilesTable, version: int) -> FilesTable:
    return table if table.state.version == version else table.at(version, None)


def _refuse_other_types(schema: pa.Schema, asked: pa.Schema) -> None:
    """Refuse a schema of the user's own under which values would have other types."""
    for field, found, wanted in zip(schema, spark_types(schema), asked, strict=True):
        if found.arrow != wanted.type:
            raise SchemaMismatchError(
                f"the schema says that column {field.name!r} is {wanted.type}, the table has {found.ddl}",
                hint="leave .schema(…) out, and cast the frame",
                column=field.name,
            )
