"""Inferring the type of a CSV column: only if nothing that may be an identifier changes.

A column is, in this order, integers (`7`, not `007` or `+7`), one fixed number of decimals (`10.10`, `9.99`), numbers
whose value a double preserves (`.39`, `5e-04`; not `1.10` beside `1.9`, nor 25 digits), booleans, dates, or times in
one form; otherwise it is text. Among numbers and times, one unquoted marker such as NA is null.

For types inferred by *exact text*, each stored value determines its text; for the others, only the value is preserved.
The log records which it was, and `first_unlike` applies the same rule to later files, so that the order of loads never
decides what a column holds.

Source: specs/4-semantics.md, "CSV types".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.schema import Inferred
from txfiles.core.search import first_bad
from txfiles.rows.inference import all_match, parses

MARKERS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", r"\N", ".")
"""Texts that mean a missing number or time, as R, pandas, SQL dumps and SAS write it."""

FIRST = 64
"""Values that are tried before a whole column: most wrong guesses end here."""

_INTEGER = r"0|-?[1-9][0-9]*"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_DOUBLE = r"-?(?:(?:(?:0|[1-9][0-9]*)(?:\.(?:0|[0-9]*[1-9]))?|\.[0-9]*[1-9])(?:[eE][+-]?[0-9]+)?|[iI]nf)"
"""No leading zero, no plus sign, and no decimals that end in 0, except for the `.0` of a whole number."""
_DIGITS = 38
"""Of the decimals that are inferred: all that decimal128 has."""
_SAFE_DIGITS = 15
"""A double preserves a decimal number with this many significant digits; from 17 on it may not."""
_SAFE_SIZE = (1e-290, 1e290)
"""And between these sizes, beyond which doubles lose digits or end."""

Fits = Callable[[pa.Array], bool]


@dataclass(frozen=True)
class Guess:
    """The type that was inferred for a column.

    Attributes:
        type: string where in doubt, null where there is no value.
        inferred: what the log records; None for string and null, which hold any text anyway.
        nulled: how many values were a marker and are null.
    """

    type: pa.DataType
    inferred: Inferred | None = None
    nulled: int = 0


def infer(column: pa.ChunkedArray, *, quoted: Collection[str] = (), exact: bool = False, decimal: str = ".") -> Guess:
    """The type of CSV text.

    Args:
        column: n texts in any chunks.
        quoted: markers that occur in quotes in this column, and so are text.
        exact: whether only exact text will do (of a key, say): no doubles, no markers.
        decimal: the decimal point of numbers.
    Cost: O(n) for the type that is taken; a wrong guess mostly ends within the first values.
    """
    if column.null_count == len(column):
        return Guess(pa.null())
    chunks = [pointed(chunk, decimal) for chunk in column.chunks]
    found = _fitting(chunks, exact=exact)
    if found is not None:
        return Guess(found, Inferred(how=how_inferred(found, decimal)))
    marker = None if exact else _only_marker(column)
    if marker is None or marker in quoted:
        return Guess(pa.string())
    chunks = [pointed(without(chunk, (marker,)), decimal) for chunk in column.chunks]
    found = _fitting(chunks, exact=False) if any(chunk.null_count < len(chunk) for chunk in chunks) else None
    if found is None or pa.types.is_boolean(found):
        return Guess(pa.string())
    nulled = sum(chunk.null_count for chunk in chunks) - column.null_count
    return Guess(found, Inferred(how=how_inferred(found, decimal), nulls=(marker,)), nulled)


def without(text: pa.Array, nulls: Collection[str]) -> pa.Array:
    """The texts with these as null."""
    if not nulls:
        return text
    gone = pc.is_in(text, value_set=pa.array(nulls, pa.string()))
    return pc.if_else(gone, pa.scalar(None, pa.string()), text) if pc.any(gone, min_count=0).as_py() else text


def first_unlike(text: pa.Array, to: pa.DataType) -> int | None:
    """The position of the first text that would not be inferred as the type; None if there is none.

    Cost: O(n); O(n) more if there is one: halves are tried.
    """
    fits = _test_of(to)
    if fits(text):
        return None
    return first_bad(len(text), lambda start, end: fits(text.slice(start, end - start)))


def common_types(text: str, to: pa.DataType) -> list[str]:
    """What a column of an inferred type could be declared as, to take this text too: text always, a number if it is."""
    one = pa.array([text])
    numbers = (pa.types.is_integer(to) or pa.types.is_decimal(to)) and _is_double(one)
    return [*(["float64"] if numbers else []), "string"]


def pointed(text: pa.Array, decimal: str) -> pa.Array:
    """Numbers with the decimal point that is parsed; a point within them becomes the comma that is not."""
    if decimal == ".":
        return text
    numbers = pc.match_substring_regex(text, r"^[-+0-9.,eE]+$")
    swapped = text
    for old, new in ((".", " "), (",", "."), (" ", ",")):
        swapped = pc.replace_substring(swapped, old, new)
    return pc.if_else(numbers, swapped, text)


def how_inferred(found: pa.DataType, decimal: str) -> Literal["exact", "value"]:
    """Whether a value of an inferred type determines its text, if numbers had that decimal point."""
    by_value = pa.types.is_floating(found) or pa.types.is_timestamp(found)
    return "value" if by_value or (pa.types.is_decimal(found) and decimal != ".") else "exact"


def _only_marker(column: pa.ChunkedArray) -> str | None:
    found: set[str] = set()
    for chunk in column.chunks:
        hits = pc.is_in(chunk, value_set=pa.array(MARKERS, pa.string()))
        if pc.any(hits, min_count=0).as_py():
            found.update(pc.unique(chunk.filter(hits)).to_pylist())
        if len(found) > 1:
            return None
    return found.pop() if found else None


def _fitting(chunks: Sequence[pa.Array], *, exact: bool) -> pa.DataType | None:
    """The first candidate that every text fits."""
    sample = next(chunk for chunk in chunks if chunk.null_count < len(chunk)).drop_null()[0].as_py()
    for one in candidates(sample):
        if exact and pa.types.is_floating(one.type):
            continue
        if all(one.fits(values) for values in _values(chunks)):
            return one.type
    return None


def _values(chunks: Sequence[pa.Array]) -> Iterator[pa.Array]:
    for chunk in chunks:
        yield chunk.slice(0, FIRST)
        yield chunk


@dataclass(frozen=True)
class Candidate:
    """A type that a column may have.

    Attributes:
        type: the type.
        form: tells it from others of that type.
        fits: whether each of some texts has that form.
    """

    type: pa.DataType
    form: str
    fits: Fits


def candidates(sample: str) -> Iterator[Candidate]:
    """Types in the order of preference; the sample is a text of the column.

    Every one that fits a text is among those of that text, so the sample never decides.
    """
    yield Candidate(pa.int64(), "int", _is_integer)
    whole, point, decimals = sample.partition(".")
    if point and len(whole.lstrip("-")) + len(decimals) <= _DIGITS:
        yield Candidate(
            pa.decimal128(_DIGITS, len(decimals)), f"decimal {len(decimals)}", partial(_is_decimal, scale=len(decimals))
        )
    # Whole numbers are all written as 1 or all as 1.0: version numbers are not.
    yield Candidate(pa.float64(), "double 1", lambda text: not _any(pc.ends_with(text, ".0")) and _is_double(text))
    yield Candidate(pa.float64(), "double 1.0", lambda text: not _any_match(text, r"^-?[0-9]+$") and _is_double(text))
    yield Candidate(pa.bool_(), "bool", _is_boolean)
    yield Candidate(pa.date32(), "date", partial(_is_calendar, form=_DATE, to=pa.date32()))
    for zone, suffix in _ZONES:
        to = pa.timestamp("us", zone)
        for separator in ("T", " "):
            for fraction in _FRACTIONS:
                form = rf"{_DATE}{separator}{_CLOCK}{fraction}{suffix}"
                yield Candidate(to, form, partial(_is_calendar, form=form, to=to))


_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}"
_ZONES = ((None, ""), ("UTC", "Z"), ("UTC", r"\+00:00"))
_FRACTIONS = (
    "",
    *(rf"\.[0-9]{{{digits}}}" for digits in range(1, 7)),
    # As short as it can be; and six digits or none, as Python writes it.
    r"(?:\.[0-9]{0,5}[1-9])?",
    r"(?:\.(?:" + "|".join(rf"[0-9]{{{5 - zeros}}}[1-9]0{{{zeros}}}" for zeros in range(6)) + "))?",
)


def _test_of(to: pa.DataType) -> Fits:
    """Whether texts would be inferred as the type, whatever the form of the column's other values."""
    if pa.types.is_integer(to):
        return _is_integer
    if pa.types.is_decimal(to):
        return partial(_is_decimal, scale=to.scale)
    if pa.types.is_floating(to):
        return _is_double
    if pa.types.is_boolean(to):
        return _is_boolean
    if pa.types.is_date(to):
        return partial(_is_calendar, form=_DATE, to=pa.date32())
    suffix = "" if to.tz is None else r"(?:Z|\+00:00)"
    return partial(_is_calendar, form=rf"{_DATE}[T ]{_CLOCK}(?:\.[0-9]{{1,6}})?{suffix}", to=to)


def _is_integer(text: pa.Array) -> bool:
    return all_match(text, _INTEGER) and parses(text, pa.int64())


def _is_decimal(text: pa.Array, scale: int) -> bool:
    """Whether each text is what a decimal of this scale is written as; a negative zero is not."""
    whole = rf"(?:0|[1-9][0-9]{{0,{max(0, _DIGITS - scale - 1)}}})" if scale < _DIGITS else "0"
    form = rf"-?{whole}\.[0-9]{{{scale}}}" if scale else whole
    return all_match(text, form) and not _any_match(text, r"^-[0.]*$") and parses(text, pa.decimal128(_DIGITS, scale))


def _is_double(text: pa.Array) -> bool:
    """Whether each text is a number whose value comes back: the double's shortest form has the same decimal value."""
    if not all_match(text, _DOUBLE):
        return False
    values = text.cast(pa.float64())
    shortest = values.cast(pa.string())
    rest = pc.not_equal(text, shortest)
    text, values = text.filter(rest), values.filter(rest)
    if not len(text):
        return True
    digits = pc.utf8_ltrim(pc.replace_substring_regex(text, r"[eE].*$|[-.]", ""), "0")
    size = np.abs(np.asarray(values))
    # A text of zeros alone is 0, and one that becomes 0 has lost its digits.
    zero = np.asarray(pc.equal(digits, ""))
    safe = np.asarray(pc.less_equal(pc.utf8_length(digits), _SAFE_DIGITS)) & (
        zero | (size >= _SAFE_SIZE[0]) & (size <= _SAFE_SIZE[1])
    )
    doubtful = pa.array(~safe)
    return all(
        Decimal(given) == Decimal(repr(value))
        for given, value in zip(text.filter(doubtful).to_pylist(), values.filter(doubtful).to_pylist(), strict=True)
    )


def _any_match(text: pa.Array, pattern: str) -> bool:
    return _any(pc.match_substring_regex(text, pattern))


def _any(flags: pa.Array) -> bool:
    return bool(pc.any(flags, min_count=0).as_py())


def _is_boolean(text: pa.Array) -> bool:
    return all_match(text, "true|false")


def _is_calendar(text: pa.Array, form: str, to: pa.DataType) -> bool:
    # Year 0 is outside of Python's calendar: text is safer than a date that most tools cannot show.
    return all_match(text, form) and not pc.any(pc.starts_with(text, "0000")).as_py() and parses(text, to)
