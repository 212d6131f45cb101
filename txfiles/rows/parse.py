"""Scalar values from their text form, a whole column at once. The form is defined in `rows.text`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.rows import base64

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Ticks of a unit of time in a second."""

FOUR_DIGITS = (-719_528, 2_932_896)
"""The first and last day, from 1970-01-01 on, of the years 0 to 9999, which have no sign."""

ERA_DAYS, ERA_YEARS, DAY_2000 = 146_097, 400, 10_957
"""The calendar repeats every 400 years; the day on which one of these begins."""


def per_day(t: pa.DataType) -> int:
    """Ticks of a type of dates or times in a day."""
    if pa.types.is_date(t):
        return 86_400_000 if pa.types.is_date64(t) else 1
    return 86_400 * PER_SECOND[t.unit]


def parse(text: pa.Array, t: pa.DataType) -> pa.Array:
    """All texts as values; null stays null.

    Raises:
        pa.ArrowInvalid: a text is not a value of the type; does not say which.
    """
    is_ = pa.types
    parsers: tuple[tuple[Callable[[Any], Any], Callable[[Any, Any], Any]], ...] = (
        (is_.is_integer, _parse_integer),
        (is_.is_floating, _parse_float),
        (is_.is_decimal, _parse_decimal),
        (is_.is_timestamp, _parse_timestamp),
        (is_.is_time, _parse_time),
        (is_.is_duration, lambda text, t: _parse_integer(text, pa.int64()).view(t)),
        (is_.is_date, _parse_date),
        (is_.is_binary, base64.decode),
        (is_.is_fixed_size_binary, base64.decode),
        (is_.is_null, lambda text, t: _only_nulls(text)),
    )
    for fits, parse in parsers:
        if fits(t):
            return parse(text, t)
    return text.cast(t)


def _require(text: pa.Array, pattern: str) -> None:
    if not pc.all(pc.match_substring_regex(text, pattern), min_count=0).as_py():
        raise pa.ArrowInvalid(f"a text does not match {pattern}")


def _only_nulls(text: pa.Array) -> pa.Array:
    if text.null_count < len(text):
        raise pa.ArrowInvalid("a text is not null")
    return pa.nulls(len(text))


def _parse_integer(text: pa.Array, t: pa.DataType) -> pa.Array:
    _require(text, "^-?[0-9]+$")  # Arrow would read 0x10 as 16.
    return text.cast(t)


def _parse_float(text: pa.Array, t: pa.DataType) -> pa.Array:
    values = text.cast(t)
    # Arrow reads 1e400 as infinity.
    infinite = pc.is_inf(values.cast(pa.float64()))
    if not pc.any(infinite).as_py():
        return values
    named = pc.match_substring_regex(text, "^[+-]?inf(inity)?$", ignore_case=True)
    if not pc.all(pc.or_(pc.invert(infinite), named), min_count=0).as_py():
        raise pa.ArrowInvalid("a number is beyond the type")
    return values


def _parse_decimal(text: pa.Array, t: pa.DataType) -> pa.Array:
    _require(text, r"^-?[0-9]+(\.[0-9]+)?$")
    return text.cast(t)


def _parse_time(text: pa.Array, t: pa.DataType) -> pa.Array:
    moments = _parse_timestamp(pc.binary_join_element_wise("1970-01-01", text, "T"), pa.timestamp(t.unit))
    return moments.view(pa.int64()).cast(pa.int32() if pa.types.is_time32(t) else pa.int64()).view(t)


_SIGNED_YEAR = r"(?:\+[1-9][0-9]{4,11}|-[0-9]{4,12})"
_SIGNED = re.compile(rf"({_SIGNED_YEAR})(-.*)", re.DOTALL)
_MOMENT = (
    rf"^(?P<base>(?:[0-9]{{4}}|{_SIGNED_YEAR})"
    r"-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}(?::[0-9]{2}(?::[0-9]{2})?)?)?)"
    r"(?P<fraction>(?:\.[0-9]{1,9})?)(?P<zone>(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)$"
)


def _parse_date(text: pa.Array, t: pa.DataType) -> pa.Array:
    near, eras = _near(text)
    days = near.cast(pa.date32())
    if not eras:
        return days.cast(t)
    moved = _moved(_zero_for_null(days.view(pa.int32()).cast(pa.int64())), eras, ERA_DAYS)
    ticks = moved * per_day(t)
    if (ticks // per_day(t) != moved).any():
        raise pa.ArrowInvalid(f"a day that {t} cannot hold")
    return pa.array(ticks, mask=_missing(text)).cast(pa.int32() if pa.types.is_date32(t) else pa.int64()).view(t)


def _parse_timestamp(text: pa.Array, t: pa.DataType) -> pa.Array:
    """Seconds by Arrow, the fraction here: Arrow's parser loses the first second that nanoseconds can hold."""
    parts = pc.extract_regex(text, _MOMENT)
    if parts.null_count > text.null_count:
        raise pa.ArrowInvalid("a text is not an ISO 8601 time")
    base, fraction, zone = (pc.struct_field(parts, [i]) for i in range(3))
    base, eras = _near(base)
    bare = pc.and_(pc.not_equal(fraction, ""), pc.not_equal(pc.binary_length(base), len("2013-01-01T10:00:00")))
    if pc.any(bare, min_count=0).as_py():
        raise pa.ArrowInvalid("a fraction of something else than seconds")
    moments = pc.binary_join_element_wise(base, zone, "").cast(pa.timestamp("s", t.tz and "UTC"))
    digits = pc.utf8_rpad(pc.utf8_slice_codeunits(fraction, 1), 9, "0")
    nanoseconds = _zero_for_null(digits.cast(pa.int64()))
    seconds = _moved(_zero_for_null(moments.view(pa.int64())), eras, ERA_DAYS * 86_400)
    per_second = PER_SECOND[t.unit]
    part, rest = np.divmod(nanoseconds, 10**9 // per_second)
    # Wraps modulo 2**64, so the sum is right wherever the true one fits, and the floor tells whether it does.
    total = seconds * np.int64(per_second) + part
    if rest.any() or (total // per_second != seconds).any():
        raise pa.ArrowInvalid(f"a time that {t} cannot hold")
    return pa.array(total, mask=_missing(text)).view(t)


def _near(text: pa.Array) -> tuple[pa.Array, dict[int, int]]:
    """Dates of signed years as those of the years 2000 to 2399, with how many times 400 years each was moved."""
    signed = pc.match_substring_regex(text, "^[+-]")
    if not pc.any(signed, min_count=0).as_py():
        return text, {}
    found, eras = text.to_pylist(), {}
    for position in pc.indices_nonzero(signed).to_pylist():
        match = _SIGNED.fullmatch(found[position])
        if match is None:
            raise pa.ArrowInvalid("a signed year of other than 4 to 12 digits")
        eras[position], year = divmod(int(match[1]) - 2000, ERA_YEARS)
        found[position] = f"{2000 + year}{match[2]}"
    return pa.array(found, text.type), eras


def _moved(counts: npt.NDArray[np.int64], eras: dict[int, int], era: int) -> npt.NDArray[np.int64]:
    """The counts, those of some rows moved by as many eras."""
    if not eras:
        return counts
    moved = counts.copy()
    try:
        for position, number in eras.items():
            moved[position] = int(counts[position]) + number * era
    except OverflowError as error:
        raise pa.ArrowInvalid("a time beyond 64 bits of seconds") from error
    return moved


def _zero_for_null(a: pa.Array) -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = a.fill_null(0).to_numpy(zero_copy_only=False)
    return values


def _missing(a: pa.Array) -> npt.NDArray[np.bool_]:
    missing: npt.NDArray[np.bool_] = a.is_null().to_numpy(zero_copy_only=False)
    return missing
