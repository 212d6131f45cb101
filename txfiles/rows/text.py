"""The one text form of values: what the log, CSV files, JSON and messages write. `rows.parse` is its inverse.

ISO 8601 dates and times with the digits of their unit (zoned ones in UTC with Z; years beyond four digits with a
sign, as in ``+12000-01-01`` and ``-0044-03-15``), ``true``/``false``, base64 binary, plain decimals with all digits of
their scale, durations as a count of their unit. Floats are the shortest text that is the same value as a double, for
narrower ones too: their column may become a wider one, and its texts are then read as such.

Source: specs/3-manifest.md, "Text form of values".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.messages import SHOWN, json_number, short
from txfiles.core.search import first_bad
from txfiles.errors import InputError, TxFilesError, UnsupportedTypeError
from txfiles.rows import base64
from txfiles.rows.lists import flat_lists, small_offsets
from txfiles.rows.parse import DAY_2000, ERA_DAYS, FOUR_DIGITS, parse, per_day
from txfiles.rows.typenames import type_text
from txfiles.rows.types import decode, is_scalar, normalise

_MOST_SHOWN = 20
"""Items of a list or fields of a struct that a message shows."""


def to_text(a: pa.Array | pa.ChunkedArray, form: pa.DataType | None = None) -> pa.Array:
    """Values in their text form; null stays null.

    An invalid value (a time of 24:00) gets some text too, but one that nothing reads back.

    Args:
        a: values of any type that does not nest, encoded or not.
        form: string, the default, or large_string, if the text may exceed 2 GiB.
    Raises:
        UnsupportedTypeError: a nested type.
    Cost: O(bytes), vectorised; years beyond four digits one by one.
    """
    form = form or pa.string()
    t = normalise(a.type)
    if not is_scalar(t):
        raise UnsupportedTypeError(f"values of type {short(type_text(t))} have no text form", type=type_text(t))
    texts = [_text(decode(chunk), form) for chunk in (a.chunks if isinstance(a, pa.ChunkedArray) else [a])]
    if len(texts) == 1:
        return texts[0]
    return pa.concat_arrays(texts) if texts else pa.array([], form)


def _text(a: pa.Array, form: pa.DataType) -> pa.Array:
    t, is_ = a.type, pa.types
    if is_.is_timestamp(t) or is_.is_date(t):
        return _calendar(a, form)
    if is_.is_duration(t):
        return a.view(pa.int64()).cast(form)
    if is_.is_floating(t):
        return a.cast(pa.float64()).cast(form)
    if is_.is_decimal(t):
        return _plain_decimal(a.cast(form), t.scale)
    if is_.is_binary(t) or is_.is_fixed_size_binary(t):
        encoded = base64.encode(a)
        return encoded if encoded.type == form else small_offsets(encoded)
    return a.cast(form)


def _calendar(a: pa.Array, form: pa.DataType) -> pa.Array:
    """Dates and timestamps. The calendar repeats every 400 years: far years are written as near ones, then renamed."""
    t, of_day = a.type, per_day(a.type)
    missing = a.is_null().to_numpy(zero_copy_only=False)
    counts = a.view(f"int{t.bit_width}").fill_null(0).to_numpy(zero_copy_only=False)
    days, rest = np.divmod(counts.astype(np.int64, copy=False), of_day)
    beyond = (days < FOUR_DIGITS[0]) | (days > FOUR_DIGITS[1])
    eras = (days[beyond] - DAY_2000) // ERA_DAYS
    days[beyond] -= eras * ERA_DAYS
    if pa.types.is_date(t):
        near = pa.array(days, mask=missing).cast(pa.int32()).view(pa.date32())
    else:
        near = pa.array(days * of_day + rest, mask=missing).view(pa.timestamp(t.unit))
    text = pc.replace_substring(near.cast(form), " ", "T", max_replacements=1)
    if pa.types.is_timestamp(t) and t.tz is not None:
        text = pc.binary_join_element_wise(text, pa.scalar("Z", form), pa.scalar("", form))
    if not len(eras):
        return text
    far = text.filter(pa.array(beyond)).to_pylist()
    renamed = [f"{int(near[:4]) + 400 * era:+05d}{near[4:]}" for near, era in zip(far, eras.tolist(), strict=True)]
    return pc.replace_with_mask(text, pa.array(beyond), pa.array(renamed, form))


def _plain_decimal(text: pa.Array, scale: int) -> pa.Array:
    """``1.23E-18`` (Arrow's form of a decimal below 1e-6) as ``0.000…123``, `scale` digits after the point."""
    small = pc.match_substring(text, "E")
    if not pc.any(small, min_count=0).as_py():
        return text
    zero, minus, nothing = (pa.scalar(part, text.type) for part in ("0.", "-0.", ""))
    digits = pc.utf8_lpad(pc.replace_substring_regex(text, r"^-|\.|E.*$", ""), scale, "0")
    plain = pc.binary_join_element_wise(pc.if_else(pc.starts_with(text, "-"), minus, zero), digits, nothing)
    return pc.if_else(small, plain, text)


def from_text(a: pa.Array | pa.ChunkedArray, t: pa.DataType, *, error: type[TxFilesError] = InputError) -> pa.Array:
    """Values from their text form: the inverse of `to_text`; null stays null.

    It accepts more than `to_text` writes: a date alone or a blank for the T in a timestamp, an offset such as
    ``+01:00`` in a zoned one. Nothing is rounded, except for floats: digits that the type cannot hold are an error.

    Args:
        a: texts.
        t: the type of the result, normalised first.
        error: what to raise; a reader of the log passes `CorruptTableError`.
    Raises:
        UnsupportedTypeError: a nested type.
        InputError: (or `error`) a text that is not a value of the type; names it and its row.
    Cost: O(bytes), vectorised.
    """
    t = normalise(t)
    if not is_scalar(t):
        raise UnsupportedTypeError(f"values of type {short(type_text(t))} have no text form", type=type_text(t))
    chunks = a.chunks if isinstance(a, pa.ChunkedArray) else [a]
    text = pa.concat_arrays([decode(chunk) for chunk in chunks] or [pa.array([], pa.string())])
    try:
        return parse(text, t)
    except pa.ArrowInvalid as invalid:
        row = first_bad(len(text), lambda start, end: _parses(text.slice(start, end - start), t))
        value = shown(text.slice(row, 1))
        raise error(f"{value} is not a value of type {type_text(t)} (row {row})", value=value, row=row) from invalid


def _parses(text: pa.Array, t: pa.DataType) -> bool:
    """Whether each text is a value of the type."""
    try:
        parse(text, t)
    except pa.ArrowInvalid:
        return False
    return True


# ---- JSON, messages, Python ------------------------------------------------------------------


def to_json(a: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Values of any type as JSON has them, so that none loses a digit.

    Null, booleans, text and numbers are JSON's own, integers whatever their size; ``NaN``, ``Infinity`` and
    ``-Infinity``, which JSON does not have, are text, and all else is the text of `to_text`. Lists are arrays, structs
    objects, maps arrays of pairs.

    Cost: O(bytes), vectorised up to the Python objects.
    """
    if isinstance(a, pa.ChunkedArray):
        return [value for chunk in a.chunks for value in to_json(chunk)]
    a = decode(a)
    t, is_ = a.type, pa.types
    if is_.is_nested(t):
        found = _json_rows(a)
        return [value if valid else None for value, valid in zip(found, a.is_valid().to_pylist(), strict=True)]
    if is_.is_floating(t):
        return [value if value is None else json_number(value) for value in a.cast(pa.float64()).to_pylist()]
    exact = is_.is_boolean(t) or is_.is_integer(t) or is_.is_string(t) or is_.is_null(t)
    values: list[Any] = (a if exact else to_text(a)).to_pylist()
    return values


def _json_rows(a: pa.Array) -> list[Any]:
    if pa.types.is_struct(a.type):
        names = [field.name for field in a.type]
        return [dict(zip(names, row, strict=True)) for row in zip(*map(to_json, a.flatten()), strict=True)]
    lengths, items = flat_lists(a)
    if pa.types.is_map(a.type):
        found: list[Any] = [list(pair) for pair in zip(*map(to_json, items.flatten()), strict=True)]
    else:
        found = to_json(items)
    ends = np.cumsum(lengths).tolist()
    return [found[end - length : end] for length, end in zip(lengths.tolist(), ends, strict=True)]


def shown(one: pa.Array | pa.ChunkedArray | pa.Scalar) -> str:
    """One value (a scalar, or an array of one) for a message: short, and even if it is invalid for its type."""
    if isinstance(one, pa.Scalar):
        one = pa.array([one], one.type)
    a = decode(next(chunk for chunk in (one.chunks if isinstance(one, pa.ChunkedArray) else [one]) if len(chunk)))
    t, is_ = a.type, pa.types
    if a.null_count:
        return "null"
    if is_.is_struct(t):
        parts = [f"{field.name}: {shown(part)}" for field, part in zip(t, a.flatten()[:_MOST_SHOWN], strict=False)]
        return short("{" + ", ".join(parts) + "}")
    if is_.is_nested(t):
        items = flat_lists(a)[1]
        return short("[" + ", ".join(shown(items.slice(i, 1)) for i in range(min(len(items), _MOST_SHOWN))) + "]")
    if is_.is_string(t):
        return short(repr(_bytes(a).decode("utf-8", "backslashreplace")))
    if is_.is_binary(t) or is_.is_fixed_size_binary(t):
        return short(repr(_bytes(a)))
    if is_.is_date64(t):
        a = a.view(pa.timestamp("ms"))  # what it holds beyond the day is what is wrong with it
    return short(to_text(a)[0].as_py())


def _bytes(a: pa.Array) -> bytes:
    """As many of the only value's bytes as a message shows."""
    return bytes(a[0].as_buffer()[: 4 * SHOWN])


def to_python(one: pa.Array | pa.ChunkedArray) -> Any:
    """One value (an array of one) as a Python object; its text if Python has none, as for years beyond 9999."""
    try:
        return one[0].as_py()
    except (ValueError, OverflowError):
        return to_text(one)[0].as_py()
