"""Filters as conditions of SQL that hold for the same rows.

A condition of a list, ``(column, op, value)``, becomes one of the database's where both compare alike; the others, and
Arrow expressions, are left to Arrow.

Source: specs/10-sql.md, "Filters".
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from txfiles.errors import LossyCastError
from txfiles.rows.filters import Condition, Filter
from txfiles.targets.sql.statements import Shape
from txfiles.targets.sql.types import encode

MOST_VALUES = 1_000
"""Of an ``in``: databases take only so many parameters."""

_WORDS = {"==": "=", "!=": "<>", "in": "IN", "not in": "NOT IN"}


@dataclass(frozen=True)
class Where:
    """A condition on the rows `t` of a table, which holds for all rows that a filter matches.

    Attributes:
        sql: the condition.
        parameters: its values, in order.
        whole: whether it holds for no other row.
    """

    sql: str
    parameters: tuple[Any, ...] = ()
    whole: bool = True


EVERY, NO = Where("1 = 1"), Where("1 = 0")


def where_of(shape: Shape, given: Filter | None) -> Where:
    """A filter, as far as the database can tell."""
    if given is None:
        return EVERY
    if given.conditions is None:
        return Where(EVERY.sql, whole=False)
    rendered = [_rendered(shape, one) for one in given.conditions]
    known = _few_enough(shape, [one for one in rendered if one is not None])
    return Where(
        " AND ".join(f"({one.sql})" for one in known) or EVERY.sql,
        tuple(value for one in known for value in one.parameters),
        whole=len(known) == len(rendered),
    )


def _few_enough(shape: Shape, known: list[Where]) -> list[Where]:
    """The first conditions, whose parameters a statement takes."""
    most = shape.dialect.most_parameters
    counts = accumulate(len(one.parameters) for one in known)
    return [one for one, count in zip(known, counts, strict=True) if most is None or count <= most]


def _rendered(shape: Shape, condition: Condition) -> Where | None:
    name, op, value = condition
    column = f"t.{shape.dialect.quote(name)}"
    if value is None:
        return Where(f"{column} {op.upper()}")
    several = isinstance(value, pa.Array)
    values = value if several else pa.repeat(value, 1)
    if not len(values):
        return NO if op == "in" else Where(f"{column} IS NOT NULL")
    found = _parameters(shape, name, values)
    if found is None:
        return None
    marks = ", ".join([shape.dialect.mark] * len(found))
    word, t = _WORDS.get(op, op), shape.columns.field(name).type
    sql = shape.dialect.compared(column, word, f"({marks})" if several else marks, t)
    return None if sql is None else Where(sql, found)


def _parameters(shape: Shape, name: str, values: pa.Array) -> tuple[Any, ...] | None:
    """Values as the driver takes them; None if they are too many, infinite, or of no value that the column can have."""
    dialect = shape.dialect
    if pa.types.is_floating(values.type):
        values = values.cast(pa.float64())
        if not pc.all(pc.is_finite(values)).as_py():
            return None
        values = pc.add(values, 0.0).cast(shape.columns.field(name).type)  # -0.0 is 0.0 to a comparison
    if len(values) > MOST_VALUES:
        return None
    column = pa.chunked_array([values])
    try:
        dialect.check_values(column, name, key=False)
        return tuple(encode(column, name, dialect.wire(column.type)).to_pylist())
    except LossyCastError:
        return None
