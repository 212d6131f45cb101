"""Kinds of types, and the wider type that holds the values of two types.

Everything here looks at types alone, never at values, so that a table's schema does not depend on rows.

Source: specs/4-semantics.md, "Widening".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from txfiles.rows.parse import PER_SECOND
from txfiles.rows.types import normalise

_is = pa.types
MAX_DIGITS = {128: 38, 256: 76}
"""Digits of a decimal, by its bits."""

MANTISSA_BITS = {16: 11, 32: 24, 64: 53}
"""By the bits of a float: up to 2 to this power each whole number is one."""
# Unsigned ones hold nothing negative, so a signed operand never ends there.
_INTEGERS = (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.int8(), pa.int16(), pa.int32(), pa.int64())


def children(given: pa.DataType, to: pa.DataType) -> list[tuple[pa.DataType, pa.DataType]] | None:
    """The pairs of child types of two nested types, struct fields by name; None if the shapes differ.

    A struct may lack fields of the other, which are null then; it may not have more, which would be lost.
    """
    if given.id != to.id or not _is.is_nested(given):
        return None
    if _is.is_struct(given):
        fields, wanted = {f.name: f.type for f in given}, {f.name: f.type for f in to}
        if not fields.keys() <= wanted.keys() or len(fields) < given.num_fields:
            return None
        return [(t, wanted[name]) for name, t in fields.items()]
    if _is.is_fixed_size_list(given) and given.list_size != to.list_size:
        return None
    if _is.is_map(given):
        return [(given.key_type, to.key_type), (given.item_type, to.item_type)]
    return [(given.value_type, to.value_type)]


def kind(t: pa.DataType) -> str:
    """Types that share their rules share a kind."""
    kinds: dict[str, Callable[[pa.DataType], bool]] = {
        "integer": _is.is_integer,
        "float": _is.is_floating,
        "decimal": _is.is_decimal,
        "timestamp": _is.is_timestamp,
        "date": _is.is_date,
        "time": _is.is_time,
        "duration": _is.is_duration,
        "binary": lambda t: _is.is_binary(t) or _is.is_fixed_size_binary(t),
    }
    return next((kind for kind, fits in kinds.items() if fits(t)), str(t))


def bounds(t: pa.DataType) -> tuple[int, int]:
    """The least and the greatest value of an integer type."""
    limits = np.iinfo(t.to_pandas_dtype())
    return int(limits.min), int(limits.max)


def widen(table_type: pa.DataType, batch_type: pa.DataType) -> pa.DataType | None:
    """The type that holds every value of both, by type alone, so that the schema never depends on rows.

    Returns:
        The table's type if it holds all that the batch's type can; a wider one if there is one
        in the same or a safe family; None if there is none (the table's type stays, values are judged).
        Nested types of one shape widen part by part, and a part of type null takes the other's type. A struct has
        the fields of both: the table's, then those that the batch adds.
    """
    table, batch = normalise(table_type), normalise(batch_type)
    if table == batch or _is.is_null(batch):
        return table
    if _is.is_null(table):
        return batch
    if _is.is_nested(table):
        return _rebuilt(table, batch, widen, grows=True)
    pair = (kind(table), kind(batch))
    if pair in _WIDER:
        return _WIDER[pair](table, batch)
    return None


def fill_null_types(table_type: pa.DataType, batch_type: pa.DataType) -> pa.DataType:
    """The table's type with every part that is of type null (so far only nulls) taken from the batch's."""
    table, batch = normalise(table_type), normalise(batch_type)
    if _is.is_null(table):
        return batch
    return _rebuilt(table, batch, fill_null_types, grows=False) or table


FieldPath = tuple[str | None, ...]
"""A column's name, and those of the fields below it; None goes to the items of a list or the entries of a map."""


def field_differences(
    table_type: pa.DataType, batch_type: pa.DataType, path: FieldPath
) -> tuple[list[FieldPath], list[FieldPath]]:
    """Struct fields, at any depth, that a batch's type lacks, and those that it has too many.

    Args:
        table_type: a type of a table.
        batch_type: the batch's type of the same column.
        path: of the column.
    """
    table, batch = normalise(table_type), normalise(batch_type)
    if table.id != batch.id or not _is.is_nested(table):
        return [], []
    mine, given = ({t.field(at).name: t.field(at).type for at in range(t.num_fields)} for t in (table, batch))
    missing: list[FieldPath] = []
    extra: list[FieldPath] = []
    if _is.is_struct(table):
        missing += [(*path, name) for name in mine if name not in given]
        extra += [(*path, name) for name in given if name not in mine]
        inner = [(mine[name], given[name], (*path, name)) for name in mine if name in given]
    else:  # one child, whatever it is called
        inner = [(*pair, (*path, None)) for pair in zip(mine.values(), given.values(), strict=True)]
    for one, other, below in inner:
        found = field_differences(one, other, below)
        missing += found[0]
        extra += found[1]
    return missing, extra


def path_text(path: FieldPath) -> str:
    """A path for messages: ``column.field``, ``column[].field`` where there is a list or a map between."""
    return "".join("[]" if name is None else f".{name}" for name in path)[1:]


def _rebuilt(
    table: pa.DataType, batch: pa.DataType, joined: Callable[[Any, Any], pa.DataType | None], *, grows: bool
) -> pa.DataType | None:
    """A nested type with its parts joined with those of a type of the same shape; None if the shapes differ.

    Args:
        table: the nested type.
        batch: the other one.
        joined: what two parts become; None leaves the part as it is.
        grows: whether structs take fields that only the other one has.
    """
    if table.id != batch.id or not _is.is_nested(table):
        return None
    if _is.is_fixed_size_list(table) and table.list_size != batch.list_size:
        return None
    if _is.is_struct(table):
        mine, given = {f.name: f.type for f in table}, {f.name: f.type for f in batch}
        fields = {name: (joined(t, given[name]) or t) if name in given else t for name, t in mine.items()}
        return pa.struct([*fields.items(), *((name, t) for name, t in given.items() if grows and name not in mine)])
    if _is.is_map(table):
        key, item = table.key_type, table.item_type
        return pa.map_(joined(key, batch.key_type) or key, joined(item, batch.item_type) or item)
    value = joined(table.value_type, batch.value_type) or table.value_type
    return pa.list_(value, table.list_size) if _is.is_fixed_size_list(table) else pa.list_(value)


def _wider_integer(table: pa.DataType, batch: pa.DataType) -> pa.DataType | None:
    low, high = min(bounds(table)[0], bounds(batch)[0]), max(bounds(table)[1], bounds(batch)[1])
    return next((t for t in (table, *_INTEGERS) if bounds(t)[0] <= low and high <= bounds(t)[1]), None)


def _wider_float(table: pa.DataType, batch: pa.DataType) -> pa.DataType:
    return table if table.bit_width >= batch.bit_width else batch


def _float_for(number: pa.DataType, integer: pa.DataType, *, keep: bool) -> pa.DataType | None:
    """float64 where it holds every value of the integer type; where `keep`, the float type itself if that does."""
    bits = max(-bounds(integer)[0], bounds(integer)[1] + 1).bit_length() - 1
    if keep and bits <= MANTISSA_BITS[number.bit_width]:
        return number
    return pa.float64() if bits <= MANTISSA_BITS[64] else None


def _wider_decimal(table: pa.DataType, batch: pa.DataType) -> pa.DataType | None:
    scale = max(table.scale, batch.scale)
    precision = max(table.precision - table.scale, batch.precision - batch.scale) + scale
    bits = max(table.bit_width, batch.bit_width)
    if precision == table.precision and scale == table.scale:
        return table
    if precision > MAX_DIGITS[bits]:
        return None
    make = pa.decimal128 if _is.is_decimal128(table) and _is.is_decimal128(batch) else pa.decimal256
    return make(precision, scale)


def _decimal_if_fits(table: pa.DataType, batch: pa.DataType) -> pa.DataType | None:
    low, high = bounds(batch)
    return table if 10 ** (table.precision - table.scale) > max(-low, high) else None


def _table_if(fits: Callable[[Any, Any], bool]) -> Callable[[Any, Any], pa.DataType | None]:
    return lambda table, batch: table if fits(table, batch) else None


_WIDER: dict[tuple[str, str], Callable[[Any, Any], pa.DataType | None]] = {
    ("integer", "integer"): _wider_integer,
    ("float", "float"): _wider_float,
    ("integer", "float"): lambda table, batch: _float_for(batch, table, keep=False),
    ("float", "integer"): lambda table, batch: _float_for(table, batch, keep=True),
    ("decimal", "decimal"): _wider_decimal,
    ("decimal", "integer"): _decimal_if_fits,
    # Units and zones stay the table's: the values are judged.
    ("timestamp", "timestamp"): _table_if(lambda table, batch: (table.tz is None) == (batch.tz is None)),
    ("date", "date"): _table_if(lambda table, batch: _is.is_date64(table)),
    ("time", "time"): _table_if(lambda table, batch: PER_SECOND[table.unit] >= PER_SECOND[batch.unit]),
    ("duration", "duration"): _table_if(lambda table, batch: PER_SECOND[table.unit] == PER_SECOND[batch.unit]),
    ("binary", "binary"): _table_if(lambda table, batch: _is.is_binary(table)),
}
