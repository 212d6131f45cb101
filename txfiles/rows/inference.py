"""Input columns in the types that `schema=` says, and the parsing of CSV text by a type that is known.

Parsing by a declared type is lenient ('001' is a fine int64), but never guesses: a grammar per type decides what is
text of that type, and Arrow's cast whether the value fits. Inference is in `guess`.

Source: specs/4-semantics.md, "CSV types".
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.messages import few, nearest
from txfiles.core.search import first_bad
from txfiles.errors import SchemaMismatchError, UnsupportedTypeError
from txfiles.rows.casts import cast_lossless
from txfiles.rows.dedup import refuse_ambiguous
from txfiles.rows.text import from_text
from txfiles.rows.typenames import type_text

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
_OFFSET = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_WHOLE_UP_TO = {16: 2.0**11, 32: 2.0**24, 64: 2.0**53}
"""By the bits of a float: up to here each whole number is one."""


def check_names(types: pa.Schema | None, names: list[str]) -> None:
    """Refuse a `schema=` that names a column that the input does not have.

    Raises:
        SchemaMismatchError: names the column and the nearest one.
    """
    for name in types.names if types is not None else ():
        if name not in names:
            raise SchemaMismatchError(
                f"schema= names column {name!r}, which the input does not have{nearest(name, names)}",
                hint=f"the input has {few(names)}",
                column=name,
            )


def declare(table: pa.Table, types: pa.Schema | None) -> pa.Table:
    """The table with the types of `schema=`, for inputs that have types of their own.

    Raises:
        SchemaMismatchError: an unknown name, or a type pair that never mixes.
        LossyCastError: a value does not fit, or is a float that may be one of several integers: that is all the
            protection that a key has, once it is an integer.
    """
    if types is None:
        return table
    check_names(types, table.column_names)
    for field in types:
        at = table.column_names.index(field.name)
        if table.schema.field(at).type != field.type:
            refuse_ambiguous(table.column(at), field.type, field.name)
            table = table.set_column(at, field, cast_lossless(table.column(at), field.type, name=field.name))
    return table


def parse(text: pa.Array, to: pa.DataType) -> pa.Array:
    """Values from CSV text, nulls kept.

    Args:
        text: string.
        to: a plain type.
    Raises:
        ValueError: a value is not text of that type, or does not fit it; `is_text_of` tells which.
        UnsupportedTypeError: CSV text cannot hold that type.
    """
    if to == text.type:
        return text
    if not is_text_of(text, to):
        raise ValueError(f"not every value is text of {to}")
    if pa.types.is_floating(to):
        return _floats(text, to)
    if pa.types.is_integer(to):
        return pc.utf8_ltrim(text, "+").cast(to)
    if pa.types.is_boolean(to) or pa.types.is_date(to) or pa.types.is_decimal(to):
        return text.cast(to)
    if pa.types.is_timestamp(to):
        return _timestamps(text, to)
    return from_text(text, to)


def is_text_of(text: pa.Array, to: pa.DataType) -> bool:
    """Whether each value is spelt like a value of the type, whether it fits or not.

    Raises:
        UnsupportedTypeError: CSV text cannot hold that type.
    """
    return all_match(text, _grammar(to))


def first_unfit(text: pa.Array, to: pa.DataType) -> int:
    """The position of the first value that `parse` refuses; there is one.

    Cost: O(n) in all: halves are tried.
    """
    return first_bad(len(text), lambda start, end: parses(text.slice(start, end - start), to))


def _grammar(to: pa.DataType) -> str:
    for is_it, grammar in _GRAMMARS:
        if is_it(to):
            return grammar
    raise UnsupportedTypeError(
        f"CSV text cannot hold {type_text(to)}", hint="pass such columns as Parquet or as a DataFrame"
    )


def _is_naive(to: pa.DataType) -> bool:
    return pa.types.is_timestamp(to) and to.tz is None


_GRAMMARS: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (pa.types.is_string, r"(?s:.*)"),
    (pa.types.is_binary, _BASE64),
    (pa.types.is_fixed_size_binary, _BASE64),
    (pa.types.is_integer, r"[+-]?[0-9]+"),
    (pa.types.is_floating, rf"{_NUMBER}|[+-]?(?i:inf|infinity|nan)"),
    (pa.types.is_decimal, _NUMBER),
    (pa.types.is_boolean, r"(?i:true|false)"),
    (pa.types.is_date, _DATE),
    (pa.types.is_time, _CLOCK),
    (pa.types.is_duration, "-?[0-9]+"),
    (_is_naive, rf"{_DATE}(?:[T ]{_CLOCK})?"),
    (pa.types.is_timestamp, rf"{_DATE}[T ]{_CLOCK}{_OFFSET}"),
    (pa.types.is_null, r"[^\s\S]"),
)


def all_match(text: pa.Array, grammar: str) -> bool:
    """Whether each text that is not null matches as a whole."""
    return bool(pc.all(pc.match_substring_regex(text, rf"\A(?:{grammar})\z"), min_count=0).as_py())


def parses(text: pa.Array, to: pa.DataType) -> bool:
    """Whether `parse` takes each text."""
    try:
        parse(text, to)
    except ValueError:
        return False
    return True


def _timestamps(text: pa.Array, to: pa.DataType) -> pa.Array:
    try:
        return text.cast(to)
    except pa.ArrowInvalid:
        # Slower, but it reads all that fits: more digits than the unit has where they are zeros.
        return from_text(text, to)


def _floats(text: pa.Array, to: pa.DataType) -> pa.Array:
    values = text.cast(to)
    infinite = pc.and_(pc.is_inf(values), pc.match_substring_regex(text, "[0-9]"))
    if pc.any(infinite).as_py():
        raise ValueError(f"a number is too large for {to}")
    wide = values.cast(pa.float64())
    large = pc.and_(
        pc.greater_equal(pc.abs(wide), _WHOLE_UP_TO[to.bit_width]), pc.match_substring_regex(text, r"^[+-]?[0-9]+$")
    )
    if pc.any(large).as_py():
        for digits, value in zip(text.filter(large).to_pylist(), wide.filter(large).to_pylist(), strict=True):
            if int(digits) != int(value):
                raise ValueError(f"{digits} is not exact in {to}")
    return values
