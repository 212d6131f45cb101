"""Spark SQL as text: names, types, literals, filters, and comparisons that hold for the same values as txfiles' own.

Pure functions: nothing here runs a statement, or knows pyspark.

Source: specs/9-targets.md, "Delta from Spark".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from txfiles.errors import OptionError
from txfiles.rows.filters import Filter
from txfiles.rows.text import to_text
from txfiles.rows.widening import FieldPath
from txfiles.spark.types import SAME, quoted

_OPERATORS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def text(value: str) -> str:
    """A literal of text, whatever characters it has."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def type_name(t: pa.DataType) -> str:
    """Spark's name of a type that a Delta table can hold."""
    is_ = pa.types
    if t in SAME:
        return SAME[t]
    if is_.is_decimal(t):
        return f"DECIMAL({t.precision},{t.scale})"
    if is_.is_list(t):
        return f"ARRAY<{type_name(t.value_type)}>"
    if is_.is_map(t):
        return f"MAP<{type_name(t.key_type)},{type_name(t.item_type)}>"
    assert is_.is_struct(t), t
    return f"STRUCT<{', '.join(f'{quoted(one.name)}: {type_name(one.type)}' for one in t)}>"


def columns(schema: pa.Schema) -> str:
    """A schema as Spark reads it."""
    return ", ".join(f"{quoted(field.name)} {type_name(field.type)}" for field in schema)


def as_text(column: str, t: pa.DataType) -> str:
    """An expression for a value of a column as text that `from_text` reads, whatever the session's time zone."""
    if pa.types.is_binary(t):
        return f"hex({column})"
    if pa.types.is_timestamp(t) and t.tz is not None:
        return f"CAST(unix_micros({column}) AS STRING)"
    return f"CAST({column} AS STRING)"


def from_text(value: str, t: pa.DataType) -> str:
    """The literal of a value that `as_text` has told."""
    if pa.types.is_binary(t):
        return f"X'{value}'"
    if pa.types.is_timestamp(t) and t.tz is not None:
        return f"timestamp_micros({int(value)})"
    return f"CAST({text(value)} AS {type_name(t)})"


def literal(value: pa.Scalar) -> str:
    """A value of a column's type."""
    t, is_ = value.type, pa.types
    if is_.is_binary(t):
        return f"X'{value.as_py().hex()}'"
    if is_.is_timestamp(t) and t.tz is not None:
        return f"timestamp_micros({value.cast(pa.int64()).as_py()})"
    found = str(to_text(pa.array([value.as_py()], t))[0].as_py())
    return f"CAST({text(found.replace('T', ' ') if is_.is_timestamp(t) else found)} AS {type_name(t)})"


# ---- comparisons


def comparable(value: str, t: pa.DataType, depth: int = 0) -> str:
    """An expression that is `<=>` another's for the same values as `rows.equality.same`, and that has an order.

    Spark takes 0.0 and -0.0 for equal, and compares no maps.
    """
    is_ = pa.types
    if not _needs_care(t):
        return value
    if is_.is_floating(t):
        return f"struct({value}, CAST({value} AS STRING))"
    item = f"x{depth}"
    if is_.is_list(t):
        return f"transform({value}, {item} -> {comparable(item, t.value_type, depth + 1)})"
    if is_.is_map(t):
        parts = [
            comparable(f"{item}.{part}", of, depth + 1) for part, of in (("key", t.key_type), ("value", t.item_type))
        ]
        return f"transform(map_entries({value}), {item} -> struct({', '.join(parts)}))"
    parts = [comparable(f"{value}.{quoted(one.name)}", one.type, depth) for one in t]
    return f"IF({value} IS NULL, NULL, struct({', '.join(parts)}))"


def _needs_care(t: pa.DataType) -> bool:
    if pa.types.is_floating(t) or pa.types.is_map(t):
        return True
    return any(_needs_care(t.field(number).type) for number in range(t.num_fields))


def time(value: str, t: pa.DataType) -> str:
    """A value of a timestamp column as `rows.dedup.older` orders it: null and NaN are oldest."""
    return f"nullif({value}, CAST('NaN' AS {type_name(t)}))" if pa.types.is_floating(t) else value


def filled(given: str, stored: str, t: pa.DataType, paths: Sequence[FieldPath]) -> str:
    """A struct with some of its fields taken from another; a null struct stays null.

    Args:
        given: the struct.
        stored: the other.
        t: their type.
        paths: of the fields, below the struct; one that leads through a list or a map is left as it is.
    """
    fields = []
    for one in t:
        name = quoted(one.name)
        below = [path[1:] for path in paths if path[0] == one.name]
        value = f"{given}.{name}"
        if () in below:
            value = f"{stored}.{name}"
        elif below and pa.types.is_struct(one.type):
            value = filled(value, f"{stored}.{name}", one.type, below)
        fields.append(f"{text(one.name)}, {value}")
    return f"IF({given} IS NULL, NULL, named_struct({', '.join(fields)}))"


# ---- filters


def condition(where: Filter, schema: pa.Schema) -> str:
    """A filter that is true for the same rows; for others it is false or null.

    Raises:
        OptionError: it is an Arrow expression.
    """
    if where.conditions is None:
        raise OptionError(
            "replace_where is an Arrow expression, which Spark cannot evaluate in a Delta table",
            hint="give it as a list of (column, op, value), or pass the rows in this process instead of Spark's",
        )
    return " AND ".join(f"({_one(name, op, value, schema)})" for name, op, value in where.conditions) or "true"


def _one(name: str, op: str, value: Any, schema: pa.Schema) -> str:
    column, floating = quoted(name), pa.types.is_floating(schema.field(name).type)
    if op == "is null":
        return f"{column} IS NULL"
    if op == "is not null":
        return f"{column} IS NOT NULL"
    if op in ("in", "not in"):
        values: Iterable[pa.Scalar] = value
        listed = ", ".join(map(literal, values))
        if not listed:
            return "false" if op == "in" else f"{column} IS NOT NULL"
        return f"{column} {'NOT IN' if op == 'not in' else 'IN'} ({listed})"
    compared = f"{column} {_OPERATORS[op]} {literal(value)}"
    if not floating:
        return compared
    # To Spark, NaN is equal to itself and greater than all others; to Arrow, it is neither.
    if value.as_py() != value.as_py():
        return f"{column} IS NOT NULL" if op == "!=" else "false"
    return compared if op == "!=" else f"{compared} AND NOT isnan({column})"
