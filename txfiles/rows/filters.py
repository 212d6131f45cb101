"""Filters: what a caller writes, checked against the table and turned into one Arrow expression.

A row for which a filter is unknown (null) does not match.

Source: specs/4-semantics.md, "Filters".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core import foreign
from txfiles.core.messages import few, nearest, one_line, one_of, shown, text
from txfiles.errors import InputError, SchemaMismatchError, UnsupportedTypeError
from txfiles.rows import types
from txfiles.rows.given import as_column, is_null
from txfiles.rows.typenames import type_text

Condition = tuple[str, str, Any]
"""(column, op, value): a scalar of the column's type, an array of them for in / not in, None for is null."""

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda field, value: field == value,
    "!=": lambda field, value: field != value,
    "<": lambda field, value: field < value,
    "<=": lambda field, value: field <= value,
    ">": lambda field, value: field > value,
    ">=": lambda field, value: field >= value,
    "in": lambda field, values: field.isin(values),
    "not in": lambda field, values: ~field.isin(values) & field.is_valid(),
    "is null": lambda field, _: field.is_null(),
    "is not null": lambda field, _: field.is_valid(),
}
_WORDS = ("=", *_COMPARISONS)
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_UNKNOWN_FIELD = re.compile(r"FieldRef\.Name\((.*?)\)")


@dataclass(frozen=True, eq=False)
class Filter:
    """A filter that fits a schema.

    Attributes:
        expression: true for the rows that match.
        columns: the columns that it looks at.
        conditions: what it was made of, normalised (``=`` is ``==``, values are of the column's type), all of
            which must hold; None if the caller gave an Arrow expression.
    """

    expression: pc.Expression
    columns: tuple[str, ...]
    conditions: tuple[Condition, ...] | None

    def rows(self, table: pa.Table) -> pa.Table:
        """The rows that match.

        Raises:
            InputError: an expression that fits the types and fails on a value, such as a division by zero.
        """
        try:
            return table.filter(self.expression)
        except pa.ArrowException as error:
            raise InputError(
                f"the filter {one_line(self.expression)} fails on a row: {one_line(error)}",
                hint="write it so that it has a value for every row, or read first and filter afterwards",
            ) from error


def parse(given: Any, schema: pa.Schema) -> Filter | None:
    """Check a filter and make it ready.

    Args:
        given: None; an Arrow expression; or a list of (column, op, value), all of which must hold. Ops are
            ``= == != < <= > >= in "not in" "is null" "is not null"``. A value has the column's type, or one
            that casts to it without loss, or is its text form.
        schema: the table's.
    Raises:
        InputError: an unknown column or operator, or a value or expression that does not fit.
    """
    if given is None:
        return None
    if isinstance(given, pc.Expression):
        return _of_expression(given, schema)
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise _not_a_filter(given)
    conditions = tuple(_condition(item, schema) for item in given)
    expression = pc.scalar(value=True)
    for number, (name, op, value) in enumerate(conditions):
        one = _COMPARISONS[op](pc.field(name), value)
        _bind(one, schema)
        expression = expression & one if number else one
    return Filter(expression, tuple(dict.fromkeys(name for name, _, _ in conditions)), conditions)


def _of_expression(expression: pc.Expression, schema: pa.Schema) -> Filter:
    written = str(expression)
    if "FieldPath(" in _TEXT.sub("", written):
        raise InputError(
            f"the filter {one_line(written)} names a column by its position",
            hint="name it: pyarrow.compute.field('name')",
        )
    _bind(expression, schema)
    # Arrow does not tell which columns an expression has: they are those that it cannot be bound without.
    used = tuple(name for name in schema.names if name in written and not _binds(expression, _without(schema, name)))
    return Filter(expression, used, None)


def _without(schema: pa.Schema, name: str) -> pa.Schema:
    return pa.schema([field for field in schema if field.name != name])


def _binds(expression: pc.Expression, schema: pa.Schema) -> bool:
    try:
        schema.empty_table().filter(expression)
    except pa.ArrowInvalid:
        return False
    return True


def _bind(expression: pc.Expression, schema: pa.Schema) -> None:
    """Raise unless the expression can be evaluated on rows of the schema, and is true or false for each of them."""
    try:
        schema.empty_table().filter(expression)
    except pa.ArrowNotImplementedError as error:
        raise UnsupportedTypeError(
            f"the filter {one_line(expression)} does not fit the table: {one_line(error)}",
            hint="compare columns of numbers, text, dates or times with values of their own type",
        ) from error
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        unknown = _UNKNOWN_FIELD.search(str(error))
        if unknown and unknown[1] not in schema.names:
            raise _no_column(unknown[1], schema) from error
        raise InputError(
            f"the filter {one_line(expression)} does not fit the table: {one_line(error)}",
            hint=f"the table's columns are {few(schema.names)}",
        ) from error


def _condition(item: Any, schema: pa.Schema) -> Condition:
    if isinstance(item, str | bytes) or not isinstance(item, Sequence) or len(item) not in (2, 3):
        raise _not_a_filter(item)
    name, op = item[0], " ".join(text(item[1]).lower().split())
    if not isinstance(name, str) or name not in schema.names:
        raise _no_column(name, schema)
    if op not in _WORDS:
        meant = foreign.meant("operator", op, _WORDS)
        raise InputError(
            f"the operator {shown(item[1])} of the filter on {name!r} is unknown{meant}",
            hint=f"use {one_of(_WORDS)}",
            column=name,
        )
    if op in ("is null", "is not null"):
        return name, op, None
    if len(item) == 2:  # noqa: PLR2004 - (column, op) without a value
        raise _not_a_filter(item)
    t = types.normalise(schema.field(name).type)
    if op in ("in", "not in"):
        return name, op, _members(_values(_listed(item[2], name, op), t, name))
    return name, "==" if op == "=" else op, _values([item[2]], t, name)[0]


def _listed(value: Any, name: str, op: str) -> Any:
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return value
    is_one = isinstance(value, str | bytes | bytearray | memoryview | Mapping) or getattr(value, "ndim", 1) != 1
    if isinstance(value, Iterable) and not is_one:
        return list(value)
    raise InputError(
        f"the filter on {name!r} compares with {op!r} and {shown(value)}",
        hint=f"{op!r} needs a list of values",
        column=name,
    )


def _values(values: Any, t: pa.DataType, name: str) -> pa.Array:
    """Values in the column's type. Raises `InputError` for null and for what does not fit."""
    nulls = values.null_count if isinstance(values, pa.Array | pa.ChunkedArray) else sum(map(is_null, values))
    if nulls:
        raise InputError(
            f"the filter on {name!r} compares with null, which no row equals",
            hint=f"use ({name!r}, 'is null', None) or ({name!r}, 'is not null', None)",
            column=name,
        )
    try:
        return as_column(values, t, name, texts=True)
    except (InputError, SchemaMismatchError) as error:
        raise type(error)(
            f"the filter on {name!r} has a value that does not fit its type {type_text(t)}: {error.message}",
            hint=f"give values of type {type_text(t)}",  # what a cast advises is about writing
            **{**error.evidence, "column": name},
        ) from error


def _members(values: pa.Array) -> pa.Array:
    """The values by which Arrow's set look-up says what ``==`` would: it takes NaN for equal, and 0.0 for not -0.0."""
    if not pa.types.is_floating(values.type):
        return values
    numbers = values.to_numpy(zero_copy_only=False)
    zeros = np.array([0.0, -0.0], numbers.dtype) if (numbers == 0).any() else numbers[:0]
    return pa.array(np.concatenate([numbers[~np.isnan(numbers)], zeros]), values.type)


def _no_column(name: object, schema: pa.Schema) -> InputError:
    return InputError(
        f"the filter names the column {shown(name)}, which the table does not have{nearest(text(name), schema.names)}",
        hint=f"its columns are {few(schema.names)}",
        column=name,
    )


def _not_a_filter(given: object) -> InputError:
    return InputError(
        f"{shown(given)} is not a filter",
        hint="give a pyarrow.compute expression, or a list such as [('country', '=', 'DE'), ('age', '>=', 18)]",
    )
