"""Types: which ones a table can hold, and how the log spells them.

A table's types are *normal*: Arrow's encodings of one and the same type (dictionary, run-end,
``large_``, ``_view``) are not distinguished here. `normalise` maps a type to its normal form.

Source: specs/3-manifest.md, "Types".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from txfiles.core.messages import short, shown
from txfiles.core.schema import Column, TypeSpec
from txfiles.errors import CorruptTableError, UnsupportedTypeError
from txfiles.rows.lists import flat_lists, offsets, small_offsets
from txfiles.rows.typenames import type_text

MAX_DEPTH = 32
"""How deep a type may nest: Parquet readers stop at 100 levels, of which one list or map takes up to three."""

MAX_WIDTH = 1 << 20
"""Bytes or items that one row of a fixed-size type takes: a null takes them too, so a hostile type would eat memory."""

MAX_FIELD_ID = 2**31 - 1
"""A Parquet field id is an int32."""

_UNITS = ("s", "ms", "us", "ns")
_SIMPLE: dict[str, Any] = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date32": pa.date32(),
    "date64": pa.date64(),
    **{f"time32[{unit}]": pa.time32(unit) for unit in ("s", "ms")},
    **{f"time64[{unit}]": pa.time64(unit) for unit in ("us", "ns")},
    **{f"timestamp[{unit}]": pa.timestamp(unit) for unit in _UNITS},
    **{f"duration[{unit}]": pa.duration(unit) for unit in _UNITS},
}
_NAMES: dict[Any, str] = {t: name for name, t in _SIMPLE.items()}

# Sets of Arrow's type ids: a small write asks of each column a dozen times what it is, and `pa.types.is_…` one after
# the other take microseconds.
_INTEGERS = frozenset(t.id for name, t in _SIMPLE.items() if name.lstrip("u").startswith("int"))
_PARTITION = _INTEGERS | {
    t.id for t in (pa.string(), pa.bool_(), pa.date32(), pa.date64(), pa.timestamp("us"), pa.decimal128(1))
}
_KEY = _PARTITION | {pa.binary().id, pa.binary(1).id}
_ORDERABLE = _KEY | {
    *(_SIMPLE[name].id for name in ("float16", "float32", "float64", "time32[s]", "time64[us]", "duration[us]")),
    pa.decimal256(1).id,
}
_SCALAR = _ORDERABLE | {pa.null().id}
"""All normal types that do not nest."""

_ZONE = r"[A-Za-z0-9_+\-/:]{1,64}"
_ZONED = re.compile(rf"timestamp\[(s|ms|us|ns), ({_ZONE})\]")
_FIXED_BINARY = re.compile(r"fixed_size_binary\[([1-9][0-9]{0,6})\]")
_DECIMAL = re.compile(r"decimal(128|256)\(([1-9][0-9]?), (0|[1-9][0-9]?)\)")


# ---- normal forms ----------------------------------------------------------------------------


def normalise(t: pa.DataType) -> pa.DataType:
    """The type without its encodings, at every level: what a table records for it.

    Fields lose their metadata and become nullable. Types that no table holds come back as they are
    (`to_spec` refuses them).

    Raises:
        UnsupportedTypeError: nested deeper than `MAX_DEPTH`.
    """
    return t if t.id in _SCALAR else _normalise(t, 1)


def _normalise(t: pa.DataType, depth: int) -> pa.DataType:
    if depth > MAX_DEPTH:
        raise UnsupportedTypeError(f"a type nests deeper than {MAX_DEPTH} levels")
    is_ = pa.types
    if is_.is_dictionary(t) or is_.is_run_end_encoded(t):
        return _normalise(t.value_type, depth + 1)
    if is_.is_large_string(t) or is_.is_string_view(t):
        return pa.string()
    if is_.is_large_binary(t) or is_.is_binary_view(t):
        return pa.binary()
    if is_.is_decimal32(t) or is_.is_decimal64(t):
        return pa.decimal128(t.precision, t.scale)
    if is_.is_list(t) or is_.is_large_list(t) or is_.is_list_view(t) or is_.is_large_list_view(t):
        return pa.list_(_normalise(t.value_type, depth + 1))
    if is_.is_fixed_size_list(t):
        return pa.list_(_normalise(t.value_type, depth + 1), t.list_size)
    if is_.is_struct(t):
        return pa.struct([pa.field(f.name, _normalise(f.type, depth + 1)) for f in t])
    if is_.is_map(t):
        return pa.map_(_normalise(t.key_type, depth + 1), _normalise(t.item_type, depth + 1))
    return t


def decode(a: pa.Array) -> pa.Array:
    """The same values without the outermost encoding; children keep theirs.

    Raises:
        pa.ArrowInvalid: more than 2 GiB of text or items, which an array of the normal type cannot hold.
    """
    t, is_ = a.type, pa.types
    if t.id in _SCALAR:
        return a
    if is_.is_dictionary(t):
        return decode(a.dictionary_decode())
    if is_.is_run_end_encoded(t):
        # Arrow's own kernel knows neither views nor dictionaries as values.
        runs = np.asarray(a.run_ends).searchsorted(np.arange(a.offset, a.offset + len(a)), side="right")
        return decode(a.values).take(pa.array(runs))
    if is_.is_large_string(t) or is_.is_large_binary(t):
        return small_offsets(a)
    if is_.is_string_view(t) or is_.is_binary_view(t):
        # By way of large offsets: Arrow's direct cast lets offsets of int32 wrap beyond 2 GiB.
        return small_offsets(a.cast(pa.large_string() if is_.is_string_view(t) else pa.large_binary()))
    if is_.is_decimal32(t) or is_.is_decimal64(t):
        return a.cast(pa.decimal128(t.precision, t.scale))
    if is_.is_large_list(t) or is_.is_list_view(t) or is_.is_large_list_view(t):
        # Arrow's own cast makes an invalid array of a sliced list view.
        lengths, values = flat_lists(a)
        return pa.ListArray.from_arrays(offsets(lengths), values, type=pa.list_(values.type), mask=a.is_null())
    return a


# ---- the log's spelling ----------------------------------------------------------------------


def to_spec(t: pa.DataType) -> TypeSpec:
    """How the log spells a type; encodings are dropped first.

    Raises:
        UnsupportedTypeError: no table can hold it (unions, intervals, extension types, empty structs, …).
    """
    t = normalise(t)
    fault = _fault(t)
    if fault:
        hint = (
            f"cast it to its storage type {type_text(t.storage_type)}" if isinstance(t, pa.BaseExtensionType) else None
        )
        raise UnsupportedTypeError(fault, hint=hint or "cast or drop the column before the write", type=type_text(t))
    return _spell(t)


def _spell(t: pa.DataType) -> TypeSpec:
    is_ = pa.types
    if t in _NAMES:
        return _NAMES[t]
    if is_.is_timestamp(t):
        return f"timestamp[{t.unit}, {t.tz}]"
    if is_.is_fixed_size_binary(t):
        return f"fixed_size_binary[{t.byte_width}]"
    if is_.is_decimal(t):
        return f"decimal{t.bit_width}({t.precision}, {t.scale})"
    if is_.is_list(t):
        return {"list": _spell(t.value_type)}
    if is_.is_fixed_size_list(t):
        return {"fixed_size_list": _spell(t.value_type), "size": t.list_size}
    if is_.is_map(t):
        return {"map": [_spell(t.key_type), _spell(t.item_type)]}
    return {"struct": [{"name": f.name, "type": _spell(f.type)} for f in t]}


def _fault(t: pa.DataType) -> str | None:
    """Why no table can hold a normal type; None if one can. Parquet sets the rules of scale and width."""
    is_ = pa.types
    if t in _NAMES:
        return None
    if is_.is_timestamp(t):
        return None if re.fullmatch(_ZONE, t.tz) else f"{t.tz!r} is not the name of a time zone"
    if is_.is_fixed_size_binary(t):
        return None if 1 <= t.byte_width <= MAX_WIDTH else f"{t} is not of 1 to {MAX_WIDTH} bytes"
    if is_.is_decimal(t):
        return None if 0 <= t.scale <= t.precision else f"{t} has a scale that is negative or over its precision"
    if is_.is_list(t):
        return _fault(t.value_type)
    if is_.is_fixed_size_list(t):
        return _fault(t.value_type) or _width_fault(t)
    if is_.is_map(t):
        if is_.is_null(t.key_type):
            return f"{type_text(t)} has keys of type null"
        return _fault(t.key_type) or _fault(t.item_type)
    if is_.is_struct(t):
        return _struct_fault(t)
    return f"a table cannot hold the type {type_text(t)}"


def _struct_fault(t: pa.DataType) -> str | None:
    names = [f.name for f in t]
    if not names:
        return "a struct has no fields"
    if "" in names:
        return "a struct has a field without a name"
    if len(set(names)) < len(names):
        return f"a struct has several fields named {next(n for n in names if names.count(n) > 1)!r}"
    return next((fault for f in t if (fault := _fault(f.type))), None) or _width_fault(t)


def _width_fault(t: pa.DataType) -> str | None:
    fits = 1 <= _width(t) <= MAX_WIDTH
    return None if fits else f"{short(type_text(t))} does not take 1 to {MAX_WIDTH} bytes or items a row"


def _width(t: pa.DataType) -> int:
    """Bytes or items that a row takes even if nothing is stored in it."""
    if pa.types.is_fixed_size_list(t):
        return int(t.list_size) * _width(t.value_type)
    if pa.types.is_struct(t):
        return sum(_width(f.type) for f in t)
    return int(t.byte_width) if pa.types.is_fixed_size_binary(t) else 1


def from_spec(spec: object) -> pa.DataType:
    """The type that `to_spec` spelled so. Strict: the text may come from a hostile manifest.

    Raises:
        CorruptTableError: anything but the exact spelling of a type that a table can hold.
    """
    try:
        t = _build(spec, 1)
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise CorruptTableError(f"{shown(spec)} is not a type: {error}") from error
    fault = _fault(t)
    if fault:
        raise CorruptTableError(f"the log holds a type that no table can have: {fault}")
    return t


def _build(spec: object, depth: int) -> pa.DataType:
    if depth > MAX_DEPTH:
        raise CorruptTableError(f"the log holds a type that nests deeper than {MAX_DEPTH} levels")
    if isinstance(spec, str):
        return _build_scalar(spec)
    match spec:
        case {"list": item, **rest} if not rest:
            return pa.list_(_build(item, depth + 1))
        case {"fixed_size_list": item, "size": size, **rest} if not rest and type(size) is int and size > 0:
            return pa.list_(_build(item, depth + 1), size)
        case {"map": [key, item], **rest} if not rest:
            return pa.map_(_build(key, depth + 1), _build(item, depth + 1))
        case {"struct": [*fields], **rest} if not rest:
            return pa.struct([_build_field(field, depth) for field in fields])
    raise CorruptTableError(f"{shown(spec)} is not a type")


def _build_field(field: object, depth: int) -> pa.Field:
    match field:
        case {"name": str(name), "type": spec, **rest} if not rest:
            return pa.field(name, _build(spec, depth + 1))
    raise CorruptTableError(f"{shown(field)} is not a field of a struct")


def _build_scalar(text: str) -> pa.DataType:
    if text in _SIMPLE:
        return _SIMPLE[text]
    if found := _ZONED.fullmatch(text):
        return pa.timestamp(found[1], found[2])
    if found := _FIXED_BINARY.fullmatch(text):
        return pa.binary(int(found[1]))
    if found := _DECIMAL.fullmatch(text):
        make = pa.decimal128 if found[1] == "128" else pa.decimal256
        return make(int(found[2]), int(found[3]))
    raise CorruptTableError(f"{shown(text)} is not a type")


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of a table's columns, each with its id as the Parquet field id.

    Raises:
        CorruptTableError: an invalid type, or a name or an id that occurs twice or cannot be written.
    """
    names, ids = [c.name for c in columns], [c.id for c in columns]
    if len(set(names)) < len(names) or len(set(ids)) < len(ids):
        raise CorruptTableError("the log holds two columns with the same name or id")
    if any(not 0 <= i <= MAX_FIELD_ID for i in ids):
        raise CorruptTableError("the log holds a column whose id is negative or over 32 bits")
    try:
        return pa.schema([pa.field(c.name, from_spec(c.type), metadata=_field_id(c.id)) for c in columns])
    except UnicodeEncodeError as error:
        raise CorruptTableError(f"the log holds a column name that is not Unicode text: {error}") from error


def _field_id(column_id: int) -> dict[bytes, bytes]:
    return {b"PARQUET:field_id": str(column_id).encode()}


# ---- what a type is good for -----------------------------------------------------------------


def is_key_type(t: pa.DataType) -> bool:
    """Whether a column of the type can be (part of) a key."""
    return normalise(t).id in _KEY


def is_partition_type(t: pa.DataType) -> bool:
    """Whether a table can be partitioned by a column of the type."""
    return normalise(t).id in _PARTITION


def is_orderable(t: pa.DataType) -> bool:
    """Whether values of the type have an order, as a timestamp column and min/max need."""
    return normalise(t).id in _ORDERABLE


def is_scalar(t: pa.DataType) -> bool:
    """Whether values of the type have a text form."""
    return normalise(t).id in _SCALAR
