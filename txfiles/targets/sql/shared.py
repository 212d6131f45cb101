"""SQL as text for a batch that several processes load: the shared table, and how the batch is made of it.

Each attempt of a task has a number, `a`, and its rows have numbers of their own, `n`. Only the rows of attempts that
were reported count: an attempt may be run again, or twice at once, and commit what nobody will ask for.

Source: specs/10-sql.md, "Rows from Spark".
"""

from __future__ import annotations

import re

from txfiles.targets.sql import statements
from txfiles.targets.sql.dialects.sharing import Sharing
from txfiles.targets.sql.statements import BATCH, Shape

PREFIX = "txfiles_staged_"
OURS = re.compile(PREFIX + "[0-9a-f]{32}")
"""The names of shared tables; no other table is dropped."""

ACCEPTED = "txfiles_attempts"
"""The temporary table of the attempts that count."""


def target(shape: Shape, name: str) -> str:
    """A table of the target's schema in a statement."""
    return f"{shape.dialect.quote(shape.schema)}.{shape.dialect.quote(name)}"


def create(shape: Shape, name: str) -> str:
    """Make a shared table."""
    assert isinstance(shape.dialect, Sharing)
    return shape.dialect.create_shared(target(shape, name), f"a BIGINT, n BIGINT, {statements.staging_columns(shape)}")


def count(shape: Shape, name: str) -> str:
    """Count the rows that count."""
    return f"SELECT count(*) FROM {_rows(shape, name)}"


def collect(shape: Shape, name: str, *, unique: bool, timestamp_col: str | None) -> str:
    """Put the rows that count into the batch, those of one key once.

    Args:
        shape: of the table.
        name: of the shared table.
        unique: whether keys are to be unique.
        timestamp_col: the newest row of a key wins, and of equally new ones the greatest; None: any of them.
    """
    keys = ", ".join(f"s.{shape.staged(key)}" for key in shape.keys)
    columns = ", ".join(f"s.{shape.staged(one)}" for one in shape.columns.names)
    into = f"INSERT INTO {shape.temporary(BATCH)} SELECT row_number() OVER (ORDER BY"
    if not unique:
        return f"{into} s.a, s.n) - 1, {columns} FROM {_rows(shape, name)}"
    order = ", ".join((*_newest_first(shape, timestamp_col), "s.a", "s.n"))
    ranked = f"SELECT s.*, row_number() OVER (PARTITION BY {keys} ORDER BY {order}) AS r FROM {_rows(shape, name)}"
    return f"{into} {keys}) - 1, {columns} FROM ({ranked}) AS s WHERE s.r = 1"


def count_different(shape: Shape, name: str) -> str:
    """Count the keys that have a row which differs from that in the batch."""
    return f"SELECT count(DISTINCT s.n) {_different(shape, name)}"


def different(shape: Shape, name: str, most: int) -> str:
    """Some of these keys."""
    by = ", ".join(("s.n", *(f"s.{shape.staged(key)}" for key in shape.keys)))
    query = f"SELECT {statements.read_keys(shape)} {_different(shape, name)} GROUP BY {by} ORDER BY s.n"
    return shape.dialect.limited(query, most)


def _rows(shape: Shape, name: str) -> str:
    """The rows `s` that count."""
    return f"{target(shape, name)} AS s WHERE s.a IN (SELECT a FROM {shape.temporary(ACCEPTED)})"


def _newest_first(shape: Shape, timestamp_col: str | None) -> list[str]:
    """The order of the rows of one key: null and NaN are oldest, but null is the greatest of a column's values."""
    if timestamp_col is None:
        return []
    assert isinstance(shape.dialect, Sharing)
    time = shape.dialect.ordered(f"s.{shape.staged(timestamp_col)}", shape.columns.field(timestamp_col).type)
    order = [f"({time}) IS NULL", f"{time} DESC"]
    for one in shape.columns:
        if one.name not in shape.keys:
            column = f"s.{shape.staged(one.name)}"
            order += [f"({column} IS NULL) DESC", *(f"{by} DESC" for by in shape.dialect.ranked(column, one.type))]
    return order


def _different(shape: Shape, name: str) -> str:
    dialect = shape.dialect
    pairs = {
        one.name: (f"x.{shape.staged(one.name)}", f"s.{shape.staged(one.name)}", one.type) for one in shape.columns
    }
    on = " AND ".join(dialect.equal(*pairs[key]) for key in shape.keys)
    same = " AND ".join(dialect.same(*pair) for column, pair in pairs.items() if column not in shape.keys)
    return (
        f"FROM {target(shape, name)} AS x JOIN {shape.temporary(BATCH)} AS s ON {on} "
        f"WHERE x.a IN (SELECT a FROM {shape.temporary(ACCEPTED)}) AND NOT ({same or '1 = 1'})"
    )
