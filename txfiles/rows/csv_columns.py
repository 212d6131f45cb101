"""One column of CSV text as values of its type; a text that is not one is an error with its position and the way out.

Source: specs/4-semantics.md, "CSV types".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.messages import shown
from txfiles.core.schema import Inferred
from txfiles.errors import LossyCastError, UnreadableInputError, UnsupportedTypeError
from txfiles.rows.guess import MARKERS, common_types, first_unlike, infer, pointed, without
from txfiles.rows.inference import first_unfit, is_text_of, parse
from txfiles.rows.types import to_spec
from txfiles.rows.widening import widen

Place = Callable[[int], tuple[str, int]]


@dataclass(frozen=True)
class Texts:
    """How the text of a column is read.

    Attributes:
        nulls: markers that are null.
        decimal: the decimal point of numbers.
        held: how the table's type was inferred; a text that would not be inferred as that type is refused.
    """

    nulls: tuple[str, ...] = ()
    decimal: str = "."
    held: Inferred | None = None


def typed_column(
    column: pa.Field, text: pa.Array, how: Texts, nulled: Counter[tuple[str, str]], place: Place
) -> pa.Array:
    """The values of one column of one block.

    Args:
        column: its name and type.
        text: its text.
        how: to read it.
        nulled: counts the markers that became null, by column and marker.
        place: the file and row of a row of the block.
    Raises:
        UnreadableInputError: a text is not one of the type.
        LossyCastError: a value does not fit the type.
        UnsupportedTypeError: CSV text cannot hold the type.
    """
    if pa.types.is_string(column.type):
        return text
    values = without(text, how.nulls)
    if how.nulls and values is not text:
        for marker in how.nulls:
            nulled[column.name, marker] += int(pc.sum(pc.equal(text, marker)).as_py() or 0)
    if not (pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type)):
        values = pointed(values, how.decimal)
    if how.held is not None:
        unlike = first_unlike(values, column.type)
        if unlike is not None:
            raise _unlike_inferred(column, how.held, (text[unlike].as_py(), values[unlike].as_py()), place(unlike))
    try:
        return parse(values, column.type)
    except UnsupportedTypeError as error:
        raise UnsupportedTypeError(f"column {column.name!r}: {error.message}", hint=error.hint) from error
    except ValueError as error:
        at = first_unfit(values, column.type)
        kind = LossyCastError if is_text_of(values.slice(at, 1), column.type) else UnreadableInputError
        path, row = place(at)
        value = text[at].as_py()
        raise kind(
            f"{path!r}: column {column.name!r}, row {row}: {shown(value)} is not {_named(column.type)}",
            hint=_way_out(column, value, values[at].as_py()),
            path=path,
            column=column.name,
            row=row,
            value=value,
        ) from error


def _unlike_inferred(
    column: pa.Field, held: Inferred, texts: tuple[str, str], place: tuple[str, int]
) -> UnreadableInputError:
    """The error for a text, as given and with its decimal point, that inference would not have given the type."""
    (given, value), (path, row) = texts, place
    types = common_types(value, column.type)
    ways = [_overwrite(column.name, kind) for kind in types]
    if held.how == "exact" and not held.nulls:
        ways[-1] = f"schema={{{column.name!r}: 'string'}} with schema_mode='merge' keeps the text of old and new rows"
    if given in MARKERS:
        ways.insert(0, f"csv={{'na_values': [{given!r}]}} reads it as null")
    said = f"schema={{{column.name!r}: {to_spec(column.type)!r}}}"
    lenient = [f"{said} accepts it"] if _reads(value, column.type) else []
    return UnreadableInputError(
        f"{path!r}: column {column.name!r}, row {row}: {shown(given)} cannot be restored exactly from "
        f"{_named(column.type)}, and the table's type was inferred from text that can",
        hint="; or ".join([*ways, *lenient]),
        path=path,
        column=column.name,
        row=row,
        value=given,
        types=tuple(types),
    )


def _way_out(column: pa.Field, given: str, value: str) -> str:
    """What to do with a text that is not of a declared type."""
    if given in MARKERS:
        return f"csv={{'na_values': [{given!r}]}} reads it as null"
    guess = infer(pa.chunked_array([pa.array([value], pa.string())])).type
    wider = widen(column.type, guess)
    if wider is not None and wider != column.type and _reads(value, wider):
        return f"correct it, or pass schema={{{column.name!r}: {to_spec(wider)!r}}} with schema_mode='merge'"
    kind = "float64" if pa.types.is_integer(column.type) and _reads(value, pa.float64()) else "string"
    return f"correct it; or {_overwrite(column.name, kind)}"


def _overwrite(name: str, kind: str) -> str:
    return (
        f"schema={{{name!r}: {kind!r}}} with mode='overwrite', schema_mode='overwrite' writes the table anew from all "
        "its files"
    )


def _reads(value: str, to: pa.DataType) -> bool:
    try:
        parse(pa.array([value], pa.string()), to)
    except ValueError:
        return False
    return True


def _named(kind: pa.DataType) -> str:
    spec: Any = to_spec(kind)
    return spec if isinstance(spec, str) else shown(spec)
