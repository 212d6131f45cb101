"""What Spark can hold of a table: its type for each of Arrow's, as DDL, and the cast that loses nothing.

DDL is how a schema is told without importing pyspark. Spark has microseconds, signed integers and decimals of at most
38 digits: what fits is widened, what may fit is cast value by value, and what never fits is refused by name.

Source: specs/13-spark-source.md, "Reading".
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from txfiles.errors import LossyCastError, UnsupportedTypeError
from txfiles.rows.typenames import type_text

SAME = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "STRING",
    pa.binary(): "BINARY",
    pa.date32(): "DATE",
    pa.timestamp("us"): "TIMESTAMP_NTZ",
    pa.timestamp("us", "UTC"): "TIMESTAMP",
}
"""Types that Spark has too, and reads from Parquet files itself."""

_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
}
"""The type of Spark's that holds every value of one that it lacks."""

DECIMAL_DIGITS = 38
"""Spark's widest decimal."""

_is = pa.types


@dataclass(frozen=True)
class SparkType:
    """A type as Spark has it.

    Attributes:
        ddl: its name.
        arrow: its rows in Arrow, exactly as Spark demands them.
        native: whether Spark's own Parquet reader reads the column so.
    """

    ddl: str
    arrow: pa.DataType
    native: bool = False


def quoted(name: str) -> str:
    """A column's name in DDL and in `select`, where a bare dot would mean a field."""
    return "`" + name.replace("`", "``") + "`"


def spark_types(schema: pa.Schema) -> list[SparkType]:
    """Spark's type for each column of a table.

    Raises:
        UnsupportedTypeError: Spark has no type for one; it is named.
    """
    return [_spark_type(field.type, field.name) for field in schema]


def ddl(schema: pa.Schema) -> str:
    """The schema as Spark's DDL."""
    return ", ".join(
        f"{quoted(name)} {found.ddl}" for name, found in zip(schema.names, spark_types(schema), strict=True)
    )


def arrow_schema(schema: pa.Schema) -> pa.Schema:
    """The schema that rows have when they are handed to Spark."""
    return pa.schema(
        [pa.field(name, found.arrow) for name, found in zip(schema.names, spark_types(schema), strict=True)]
    )


def fitted(rows: pa.RecordBatch, target: pa.Schema) -> pa.RecordBatch:
    """Rows of a table in the types that Spark has for them.

    Raises:
        LossyCastError: a value is not in the range or precision of Spark's type.
    """
    return pa.record_batch(
        [_cast(column, field) for column, field in zip(rows.columns, target, strict=True)], schema=target
    )


def _cast(column: pa.Array, field: pa.Field) -> pa.Array:
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except pa.ArrowInvalid as error:
        raise LossyCastError(
            f"column {field.name!r} has type {type_text(column.type)} and a value that Spark cannot hold as "
            f"{type_text(field.type)}: {error}",
            hint=_ways_out(field.name),
            column=field.name,
            type=type_text(column.type),
        ) from error


def _spark_type(t: pa.DataType, column: str) -> SparkType:
    if t in SAME:
        return SparkType(SAME[t], t, native=True)
    if t in _WIDER:
        wider = _spark_type(_WIDER[t], column)
        return SparkType(wider.ddl, wider.arrow)
    if _is.is_timestamp(t):
        # An instant is the same whatever zone it is shown in, so Spark's reader may read it; other units it may not.
        same = _spark_type(pa.timestamp("us", "UTC" if t.tz else None), column)
        return SparkType(same.ddl, same.arrow, native=t.unit == "us")
    if _is.is_decimal(t) and t.precision <= DECIMAL_DIGITS:
        held = pa.decimal128(t.precision, t.scale)
        return SparkType(f"DECIMAL({t.precision}, {t.scale})", held, native=t == held)
    if _is.is_duration(t):
        return SparkType("INTERVAL DAY TO SECOND", pa.duration("us"))
    if _is.is_fixed_size_binary(t):
        return SparkType("BINARY", pa.binary())
    if _is.is_null(t):
        return SparkType("VOID", t)
    return _nested(t, column)


def _nested(t: pa.DataType, column: str) -> SparkType:
    if _is.is_list(t) or _is.is_fixed_size_list(t):
        item = _spark_type(t.value_type, column)
        return SparkType(f"ARRAY<{item.ddl}>", pa.list_(item.arrow), native=item.native and _is.is_list(t))
    if _is.is_map(t):
        key, item = _spark_type(t.key_type, column), _spark_type(t.item_type, column)
        return SparkType(f"MAP<{key.ddl}, {item.ddl}>", pa.map_(key.arrow, item.arrow), key.native and item.native)
    if _is.is_struct(t):
        fields = [(field.name, _spark_type(field.type, column)) for field in t]
        return SparkType(
            "STRUCT<" + ", ".join(f"{quoted(name)}: {found.ddl}" for name, found in fields) + ">",
            pa.struct([(name, found.arrow) for name, found in fields]),
            all(found.native for _, found in fields),
        )
    raise UnsupportedTypeError(
        f"column {column!r} has type {type_text(t)}, which Spark does not have",
        hint=_ways_out(column),
        column=column,
        type=type_text(t),
    )


def _ways_out(column: str) -> str:
    return f"read it without {column!r} (columns=[…]), or with to_arrow()"
