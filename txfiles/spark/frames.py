"""A Spark frame as the source of a write: its schema in Arrow's types, and its rows only on executors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pyarrow as pa

from txfiles.errors import UnsupportedTypeError
from txfiles.options import Request, no_progress
from txfiles.rows.source import NO_RULES, Batch, TextRules
from txfiles.spark import jobs

Item = TypeVar("Item")
Result = TypeVar("Result")

Fit = Callable[[pa.Table], pa.Table]
"""Gives rows the types that the caller has declared; a function of a module, so that it pickles."""

SIMPLE: dict[str, pa.DataType] = {
    "binary": pa.binary(),
    "boolean": pa.bool_(),
    "byte": pa.int8(),
    "char": pa.string(),
    "date": pa.date32(),
    "double": pa.float64(),
    "float": pa.float32(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "short": pa.int16(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
    "timestamp_ntz": pa.timestamp("us"),
    "varchar": pa.string(),
    "void": pa.null(),
}
"""Arrow's type for each of Spark's that has no parameters. An instant is kept as UTC, whatever the session's zone."""


class SparkSource:
    """The rows of a Spark frame. What is read of it on the driver is the schema alone: `read` gives no rows.

    Attributes:
        frame: it.
        schema: in Arrow's types.
        fit: gives rows the types that the caller has declared.
        memory: what a call keeps from one pass to the next, such as its staged rows.
    """

    def __init__(self, frame: Any, fit: Fit) -> None:
        self.frame = frame
        self.schema = arrow_schema(frame.schema)
        self.fit = fit
        self.memory: dict[str, Any] = {}
        self._at_end: list[Callable[[], None]] = []

    def read(self, known: pa.Schema | None, rules: TextRules = NO_RULES) -> Batch:
        """The columns, without rows."""
        del known, rules  # the types are the data's own
        return Batch(self.fit(self.schema.empty_table()))

    @property
    def tasks(self) -> int:
        """How many tasks are worth while. No job."""
        return jobs.TASKS_A_SLOT * jobs.slots(self.frame.sparkSession)

    def over_rows(
        self, function: Callable[[Iterator[pa.RecordBatch]], Result], done: Callable[[Result], None]
    ) -> list[Result]:
        """See `jobs.over_rows`."""
        return jobs.over_rows(self.frame, function, done)

    def over_items(
        self, function: Callable[[Item], Result], items: Sequence[Item], done: Callable[[Result], None]
    ) -> list[Result]:
        """See `jobs.over_items`."""
        return jobs.over_items(self.frame.sparkSession, function, items, done)

    def at_end(self, function: Callable[[], None]) -> None:
        """Call a function when the call is over."""
        self._at_end.append(function)

    def close(self) -> None:
        """Delete what was staged."""
        while self._at_end:
            self._at_end.pop()()


class Rows:
    """A task's rows as the source of a write."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    def read(self, known: pa.Schema | None, rules: TextRules = NO_RULES) -> Batch:
        """As in `rows.source`."""
        del known, rules
        return Batch(self._rows)

    def close(self) -> None:
        """Nothing was opened."""


def without_rows(request: Request) -> Request:
    """A request as tasks are told it: it pickles, and each of them gives it rows of its own."""
    return replace(request, source=None, progress=no_progress)  # type: ignore[arg-type]


def arrow_schema(schema: Any) -> pa.Schema:
    """A Spark schema in Arrow's types.

    Args:
        schema: a `pyspark.sql.types.StructType`.
    Raises:
        UnsupportedTypeError: a column is of a type that no table can hold.
    """
    return pa.schema([(field.name, _arrow_type(field.dataType, field.name)) for field in schema.fields])


def _arrow_type(t: Any, column: str) -> pa.DataType:
    name = t.typeName()
    if name in SIMPLE:
        return SIMPLE[name]
    if name == "decimal":
        return pa.decimal128(t.precision, t.scale)
    if name == "daytimeinterval" or name.startswith("interval day"):
        return pa.duration("us")
    if name == "array":
        return pa.list_(_arrow_type(t.elementType, column))
    if name == "map":
        return pa.map_(_arrow_type(t.keyType, column), _arrow_type(t.valueType, column))
    if name == "struct":
        return pa.struct([(field.name, _arrow_type(field.dataType, column)) for field in t.fields])
    raise UnsupportedTypeError(
        f"column {column!r} has Spark's type {t.simpleString()}, which no table can hold",
        hint="cast it to another type first, such as string",
        column=column,
        type=t.simpleString(),
    )


def chunks(batches: Iterable[pa.RecordBatch], schema: pa.Schema, fit: Fit, most_bytes: int) -> Iterator[pa.Table]:
    """The rows of one of Spark's partitions in the source's types, many at a time.

    Args:
        batches: as Spark gives them.
        schema: what the source says that they are.
        fit: see `SparkSource`.
        most_bytes: about so many are in memory at a time.
    """
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= most_bytes:
            yield fit(_joined(waiting, schema))
            waiting, size = [], 0
    if waiting:
        yield fit(_joined(waiting, schema))


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    # Spark labels instants with the session's zone, and says of some columns that they have no nulls.
    table = pa.Table.from_batches(batches)
    return table.rename_columns(schema.names).cast(schema)
