"""Casts that change no value, judged value by value, and the wider type that holds two.

Which types ever mix is decided by the types alone (`check_castable`), so that an empty batch is
judged like a full one; whether a value survives is decided by the value. Arrow's safe cast is not
that judge: it rounds float64 to float32, refuses integers over 2**53 that a double holds exactly,
and asks for 19 digits of a decimal that takes an int64, whatever it holds.

Every converter takes an array and a type, and returns the converted array and a flag per row: whether that row
survived. If one did not, the array may hold anything there, since nobody will use it. What hides under a null is left
out on the way down, so any lost row is an error.

Source: specs/4-semantics.md, "Casts".
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.messages import short
from txfiles.errors import LossyCastError, SchemaMismatchError, UnsupportedTypeError
from txfiles.rows.equality import same
from txfiles.rows.lists import flat_lists, offsets
from txfiles.rows.parse import per_day
from txfiles.rows.text import shown
from txfiles.rows.typenames import type_text
from txfiles.rows.types import decode, normalise
from txfiles.rows.widening import MAX_DIGITS, bounds, children, fill_null_types, kind, widen

__all__ = ["cast_lossless", "check_castable", "exact_or_null", "fill_null_types", "is_castable", "widen"]

Mask = npt.NDArray[np.bool_]
Converted = tuple[Any, Mask]

_is = pa.types
_MS_PER_DAY = 86_400_000
_INT64 = np.iinfo(np.int64)


def cast_lossless(column: pa.ChunkedArray, to: pa.DataType, *, name: str) -> pa.ChunkedArray:
    """The column in another type, every value the same.

    Args:
        column: n values of any type and encoding, in any chunks (a plain array will do).
        to: the type of the result; its normal form is taken.
        name: the column's name, for messages.
    Returns:
        n values of exactly the normal type, perhaps in more chunks; null in the fields of a struct that `column`
        lacks, at any depth.
    Raises:
        SchemaMismatchError: types that never mix.
        LossyCastError: a value that would change; names the first one and its row, from 0.
        UnsupportedTypeError: one value is larger than an array of the type can hold (2 GiB).
    Cost: O(bytes), vectorised; nothing is copied where the types are equal.
    """
    to = normalise(to)
    check_castable(column.type, to, name=name)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if column.type.equals(to, check_metadata=True) and not _holds(to, _is.is_date64):
        return pa.chunked_array(chunks, to)
    done: list[Any] = []
    row = 0
    for chunk in chunks:
        for values, good in _in_pieces(chunk, to, name):
            if not good.all():
                _raise_lossy(column, row + int(np.argmin(good)), to, name)
            done.append(values)
            row += len(values)
    return pa.chunked_array(done, to)


def is_castable(given: pa.DataType, to: pa.DataType) -> bool:
    """Whether values of one type can ever be in a column of the other."""
    return _clash(normalise(given), normalise(to)) is None


def as_decimals(column: pa.ChunkedArray, to: pa.DataType, *, name: str) -> pa.ChunkedArray:
    """Floats as the decimals that their shortest texts are; NaN is null, as pandas means it.

    Args:
        column: n floats.
        to: a decimal type.
        name: the column's name, for messages.
    Raises:
        LossyCastError: a float whose shortest text has more decimals than the type, an infinity, or a negative zero.
    Cost: O(n), through text.
    """
    done: list[Any] = []
    row = 0
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        values = _nan_as_null(decode(chunk))
        text = values.cast(pa.string())
        form = rf"^-?[0-9]{{1,{to.precision - to.scale}}}(?:\.[0-9]{{1,{to.scale}}})?$" if to.scale else r"^-?[0-9]+$"
        plain = pc.if_else(pc.match_substring_regex(text, "e"), _without_exponent(text), text)
        good = pc.and_(pc.match_substring_regex(plain, form), pc.not_equal(plain, "-0"))
        if not pc.all(good, min_count=0).as_py():
            _raise_lossy(column, row + int(np.argmin(pc.fill_null(good, fill_value=True))), to, name)
        done.append(plain.cast(to))
        row += len(chunk)
    return pa.chunked_array(done, to)


def _nan_as_null(a: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_nan(a), pa.scalar(None, a.type), a)


def _without_exponent(text: pa.Array) -> pa.Array:
    """Numbers in plain notation, one by one; few are written with an exponent."""
    found = [None if t is None else t if "e" not in t else f"{Decimal(t):f}" for t in text.to_pylist()]
    return pa.array(found, pa.string())


def exact_or_null(column: pa.ChunkedArray, to: pa.DataType, *, name: str) -> pa.ChunkedArray:
    """The column in another type, with null for each value that would change. See `cast_lossless`."""
    to = normalise(to)
    check_castable(column.type, to, name=name)
    done: list[Any] = []
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        for values, good in _in_pieces(chunk, to, name):
            done.append(values if good.all() else pc.if_else(pa.array(good), values, pa.scalar(None, to)))
    return pa.chunked_array(done, to)


def check_castable(given: pa.DataType, to: pa.DataType, *, name: str) -> None:
    """Refuse a type whose values can never be in a column of the other.

    Raises:
        SchemaMismatchError: they never mix.
    """
    hint = _clash(normalise(given), normalise(to))
    if hint is not None:
        raise SchemaMismatchError(
            f"column {name!r} holds {short(type_text(given))}, which cannot become {short(type_text(to))}",
            hint=hint,
            column=name,
            given=type_text(given),
            wanted=type_text(to),
        )


def _raise_lossy(column: Any, row: int, to: pa.DataType, name: str) -> None:
    value = shown(column.slice(row, 1))
    raise LossyCastError(
        f"column {name!r}: {short(type_text(column.type))} cannot be cast to {short(type_text(to))} without loss: "
        f"row {row} holds {value}",
        hint=_way_out(column.type, to),
        column=name,
        row=row,
        value=value,
    )


def _way_out(given: pa.DataType, to: pa.DataType) -> str:
    wider = widen(to, given)
    if wider is not None and wider != normalise(to):
        return f"change the value, or widen the column to {short(type_text(wider))} with schema_mode='merge'"
    return "change the value, or write the table anew with mode='overwrite', schema_mode='overwrite'"


def _in_pieces(chunk: pa.Array, to: pa.DataType, name: str) -> list[Converted]:
    """One chunk, in halves (and halves of them) if one array of the normal type cannot hold it."""
    try:
        return [_convert(chunk, to)]
    except (pa.ArrowInvalid, pa.ArrowCapacityError) as error:
        if len(chunk) <= 1:
            raise UnsupportedTypeError(
                f"column {name!r} holds a value that one array of {short(type_text(to))} cannot: {error}",
                hint="one value takes at most 2 GiB",
                column=name,
            ) from error
    middle = len(chunk) // 2
    return _in_pieces(chunk.slice(0, middle), to, name) + _in_pieces(chunk.slice(middle), to, name)


def _holds(t: pa.DataType, kind: Callable[[pa.DataType], bool]) -> bool:
    return kind(t) or any(_holds(t.field(i).type, kind) for i in range(t.num_fields))


# ---- which types mix -------------------------------------------------------------------------


def _clash(given: pa.DataType, to: pa.DataType) -> str | None:
    """What to do if two normal types never mix; None if they may."""
    if given == to or _is.is_null(given):
        return None
    if _is.is_nested(given) or _is.is_nested(to):
        return _nested_clash(given, to)
    if _is.is_timestamp(given) and _is.is_timestamp(to):
        if (given.tz is None) == (to.tz is None):
            return None
        return "give the time a zone" if given.tz is None else "convert to the zone meant, then drop the zone"
    if _is.is_fixed_size_binary(given) and _is.is_fixed_size_binary(to):
        return f"give values of {to.byte_width} bytes"
    if _rule(given, to) is None:
        return f"convert the column to {type_text(to)} before the write, so that its meaning is explicit"
    return None


def _nested_clash(given: pa.DataType, to: pa.DataType) -> str | None:
    pairs = children(given, to)
    if pairs is None:
        return f"give values of the shape {short(type_text(to))}"
    return next((hint for one, other in pairs if (hint := _clash(one, other)) is not None), None)


def _rule(given: pa.DataType, to: pa.DataType) -> Callable[[Any, Any], Converted] | None:
    return _RULES.get((kind(given), kind(to)))


# ---- converters ------------------------------------------------------------------------------


def _convert(a: pa.Array, to: pa.DataType) -> Converted:
    """An array whose type mixes with `to`, at any level of nesting, encoded or not."""
    a = decode(a)
    t = a.type
    if _is.is_null(t):
        return pa.nulls(len(a), to), np.ones(len(a), np.bool_)
    if _is.is_struct(t):
        return _convert_struct(a, to)
    if _is.is_nested(t):
        return _convert_list(a, to)
    rule = _rule(t, to)
    if rule is None or (t == to and not _is.is_date64(t)):
        return a, np.ones(len(a), np.bool_)
    values, good = rule(a, to)
    return values, good | ~_flags(a.is_valid())


def _convert_struct(a: pa.Array, to: pa.DataType) -> Converted:
    good = np.ones(len(a), np.bool_)
    given = dict(zip([f.name for f in a.type], a.flatten(), strict=True))  # null where the struct is
    converted = []
    for field in to:
        if field.name not in given:  # a field that was added since
            converted.append(pa.nulls(len(a), field.type))
            continue
        values, kept = _convert(given[field.name], field.type)
        converted.append(values)
        good &= kept
    return pa.StructArray.from_arrays(converted, fields=list(to), mask=a.is_null()), good


def _convert_list(a: pa.Array, to: pa.DataType) -> Converted:
    """Lists of fixed size or not, and maps: their items in one go; a list is as good as all its items."""
    lengths, items = flat_lists(a)
    entry = pa.struct([to.key_field.with_name("key"), to.item_field.with_name("value")]) if _is.is_map(to) else None
    converted, kept = _convert(items, entry or to.value_type)
    if not kept.all():
        lost, ends = np.concatenate(([0], np.cumsum(~kept))), np.cumsum(lengths)
        return pa.nulls(len(a), to), lost[ends] == lost[ends - lengths]
    missing = a.is_null()
    if _is.is_map(to):
        key, value = converted.field(0), converted.field(1)
        values = pa.MapArray.from_arrays(offsets(lengths), key, value, type=to, mask=missing)
    elif _is.is_fixed_size_list(to):
        values = _fixed_lists(converted, missing, to)
    else:
        values = pa.ListArray.from_arrays(offsets(lengths), converted, type=to, mask=missing)
    return values, np.ones(len(a), np.bool_)


def _fixed_lists(items: pa.Array, missing: pa.Array, to: pa.DataType) -> pa.Array:
    """Fixed-size lists from the items of those that are present: a null one takes room too."""
    absent = np.repeat(_flags(missing), to.list_size)
    positions = np.maximum(np.cumsum(~absent) - 1, 0)
    return pa.FixedSizeListArray.from_arrays(items.take(pa.array(positions, mask=absent)), type=to, mask=missing)


def _integer_to_integer(a: pa.Array, to: pa.DataType) -> Converted:
    low, high = bounds(to)
    own_low, own_high = bounds(a.type)
    good = _between(a, max(low, own_low), min(high, own_high))
    return _without(a, good).cast(to), good


def _float_to_float(a: pa.Array, to: pa.DataType) -> Converted:
    values = a.cast(to, safe=False)
    return values, same(a, values.cast(a.type, safe=False))


def _integer_to_float(a: pa.Array, to: pa.DataType) -> Converted:
    doubles = a.cast(pa.float64(), safe=False)
    back, fits = _float_to_integer(doubles, a.type)
    good = fits & same(a, back)
    values, exact = _float_to_float(doubles, to)
    return values, good & exact


def _float_to_integer(a: pa.Array, to: pa.DataType) -> Converted:
    low, high = bounds(to)
    doubles = _numbers(a.cast(pa.float64()))
    # Both limits are powers of two (or 0), so they are exact doubles, which `high` itself may not be.
    whole = (doubles >= float(low)) & (doubles < float(high + 1)) & (np.floor(doubles) == doubles)
    good = whole & ~((doubles == 0) & np.signbit(doubles))
    return _without(a.cast(pa.float64()), good).cast(to, safe=False), good


def _integer_to_decimal(a: pa.Array, to: pa.DataType) -> Converted:
    return _decimal_to_decimal(a.cast(pa.decimal128(20, 0)), to)  # 20 digits hold every uint64


def _decimal_to_integer(a: pa.Array, to: pa.DataType) -> Converted:
    whole, good = _decimal_to_decimal(a, pa.decimal256(76, 0))
    low, high = (pa.scalar(bound).cast(pa.decimal128(20, 0)).cast(whole.type) for bound in _bounds_scalars(to))
    good &= _flags(pc.and_(pc.greater_equal(whole, low), pc.less_equal(whole, high)))
    return _without(whole, good).cast(to), good


def _decimal_to_decimal(a: pa.Array, to: pa.DataType) -> Converted:
    """First the digits before the point, then those after it: Arrow judges the former only in a safe cast."""
    t = a.type
    good = np.ones(len(a), np.bool_)
    if to.precision - to.scale < t.precision - t.scale:
        limit = pa.scalar("1" + "0" * (to.precision - to.scale)).cast(t)
        good = _flags(pc.less(pc.abs(a), limit))
    wide = _without(a, good)
    if to.scale < t.scale:
        cut = wide.cast(pa.decimal256(MAX_DIGITS[256], to.scale), safe=False)
        good &= same(wide, cut.cast(pa.decimal256(MAX_DIGITS[256], t.scale)).cast(t))
        wide = _without(cut, good)
    return wide.cast(to), good


def _ticks_to_ticks(a: pa.Array, to: pa.DataType) -> Converted:
    """Times as counts of a unit: multiplied, or divided where nothing is left over."""
    ticks, good = _rescaled(a.view(_storage(a.type)).cast(pa.int64()), per_day(a.type), per_day(to))
    low, high = bounds(_storage(to))
    good &= _between(ticks, low, high)
    if _is.is_date64(to):
        good &= _numbers(ticks) % _MS_PER_DAY == 0
    return _without(ticks, good).cast(_storage(to)).view(to), good


def _rescaled(ticks: pa.Array, per_day: int, wanted: int) -> Converted:
    counts = _numbers(ticks)
    if wanted >= per_day:
        factor = wanted // per_day
        good = (counts >= -(-_INT64.min // factor)) & (counts <= _INT64.max // factor)
        scaled = np.where(good, counts, 0) * factor
    else:
        scaled, rest = np.divmod(counts, per_day // wanted)
        good = rest == 0
    return pa.array(scaled, mask=~_flags(ticks.is_valid())), good


def _binary_to_binary(a: pa.Array, to: pa.DataType) -> Converted:
    if not _is.is_fixed_size_binary(to):
        return a.cast(to), np.ones(len(a), np.bool_)
    good = np.ones(len(a), np.bool_)
    if _is.is_binary(a.type):
        good = _flags(pc.equal(pc.binary_length(a), to.byte_width))
    return _without(a, good).cast(to), good


_RULES: dict[tuple[str, str], Callable[[Any, Any], Converted]] = {
    ("integer", "integer"): _integer_to_integer,
    ("float", "float"): _float_to_float,
    ("integer", "float"): _integer_to_float,
    ("float", "integer"): _float_to_integer,
    ("integer", "decimal"): _integer_to_decimal,
    ("decimal", "integer"): _decimal_to_integer,
    ("decimal", "decimal"): _decimal_to_decimal,
    ("timestamp", "timestamp"): _ticks_to_ticks,
    ("date", "date"): _ticks_to_ticks,
    ("time", "time"): _ticks_to_ticks,
    ("duration", "duration"): _ticks_to_ticks,
    ("binary", "binary"): _binary_to_binary,
}


# ---- small parts -----------------------------------------------------------------------------


def _flags(a: pa.Array) -> Mask:
    """Booleans as numpy has them, null as False."""
    flags: Mask = pc.fill_null(a, False).to_numpy(zero_copy_only=False)
    return flags


def _numbers(a: pa.Array) -> npt.NDArray[Any]:
    numbers: npt.NDArray[Any] = a.fill_null(0).to_numpy(zero_copy_only=False)
    return numbers


def _without(a: pa.Array, good: Mask) -> pa.Array:
    """Null instead of what would not survive, so that the cast of the others cannot fail."""
    return a if good.all() else pc.if_else(pa.array(good), a, pa.scalar(None, a.type))


def _bounds_scalars(t: pa.DataType) -> tuple[Any, Any]:
    low, high = bounds(t)
    return pa.scalar(low, t), pa.scalar(high, t)


def _between(a: pa.Array, low: int, high: int) -> Mask:
    bounds = pa.scalar(low, a.type), pa.scalar(high, a.type)
    return _flags(pc.and_(pc.greater_equal(a, bounds[0]), pc.less_equal(a, bounds[1])))


def _storage(t: pa.DataType) -> pa.DataType:
    return pa.int32() if _is.is_date32(t) or _is.is_time32(t) else pa.int64()
