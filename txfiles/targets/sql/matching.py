"""Rows of a table that a filter or keys name, counted and deleted under the table's lock.

A filter that the database cannot tell is told by Arrow, on the columns that it looks at: the rows to go are those that
have the same values in them.

Source: specs/10-sql.md, "Filters".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from txfiles.errors import DuplicateKeyError, NullKeyError
from txfiles.rows.filters import Filter
from txfiles.rows.uniqueness import standing_keys
from txfiles.targets.sql import statements
from txfiles.targets.sql.conditions import EVERY, NO, Where, where_of
from txfiles.targets.sql.database import Database
from txfiles.targets.sql.reading import fetch
from txfiles.targets.sql.statements import CHOSEN, Shape
from txfiles.targets.sql.types import encode


def matching(db: Database, shape: Shape, given: Filter) -> list[Where]:
    """Conditions of which exactly one holds for each row that a filter matches, and none for another row."""
    where = where_of(shape, given)
    if where.whole:
        return [where]
    if not given.columns:
        return [EVERY if given.rows(_one_row(shape.columns)).num_rows else NO]
    part = replace(shape, columns=pa.schema([shape.columns.field(name) for name in given.columns]))
    sql = statements.select(part, given.columns, f"WHERE {where.sql}")
    found = [given.rows(rows) for rows in fetch(db, part.columns, sql, where.parameters)]
    rows = pa.concat_tables([part.columns.empty_table(), *found])
    if not rows.num_rows:
        return []
    if not any(pa.types.is_floating(one.type) for one in part.columns):  # 0.0 and -0.0 would be one value
        names = [f"c{number}" for number, _ in enumerate(given.columns)]  # Arrow would read "." as a path
        rows = rows.rename_columns(names).group_by(names).aggregate([]).rename_columns(list(given.columns))
    choose(db, part, rows)
    return [
        Where(f"({where.sql}) AND {statements.among(part, CHOSEN, nulls, exact=True)}", where.parameters)
        for nulls in _null_patterns(rows)
    ]


def with_keys(db: Database, shape: Shape, keys: pa.Table) -> list[Where]:
    """The condition of the rows that have some keys, none of which is null."""
    part = replace(shape, columns=keys.schema)
    choose(db, part, keys)
    return [Where(statements.among(part, CHOSEN, (), exact=False))]


def choose(db: Database, shape: Shape, rows: pa.Table) -> None:
    """Load values into a temporary table of the shape's columns."""
    db.run(statements.create_batch(shape, CHOSEN))
    columns = {
        shape.staged(name): encode(rows[name], name, db.dialect.wire(rows[name].type)) for name in shape.columns.names
    }
    db.dialect.load(db, shape.temporary(CHOSEN), pa.table({"n": pa.array(np.arange(rows.num_rows)), **columns}))
    db.dialect.analyze(db, shape.temporary(CHOSEN))


def count(db: Database, shape: Shape, conditions: list[Where]) -> int:
    """How many rows there are."""
    sql = f"SELECT count(*) FROM {shape.target} AS t WHERE "
    return sum(int(db.rows(sql + one.sql, one.parameters)[0][0]) for one in conditions)


def delete(db: Database, shape: Shape, conditions: list[Where]) -> int:
    """Delete them; returns how many there were."""
    deleted = count(db, shape, conditions)
    if deleted:
        for one in conditions:
            db.run(db.dialect.delete(shape.target, one.sql), one.parameters)
    return deleted


def refuse_keys_that_stay(db: Database, shape: Shape, *, new: bool) -> None:
    """Keep keys unique where an overwrite of a part names them. What it replaces is deleted already.

    Args:
        db: the connection.
        shape: of the table.
        new: whether the keys are new to the table: then the rows that stay must have them, once.
    Raises:
        DuplicateKeyError, NullKeyError: nothing was written.
    """
    names = ", ".join(shape.keys)
    if new and (nulls := int(db.rows(statements.null_key(shape))[0][0])):
        raise NullKeyError(
            f"{nulls} rows that stay in the table have a null in {names}",
            hint="choose other keys, or overwrite the whole table",
            column=shape.keys[0],
            count=nulls,
        )
    if new and db.rows(statements.repeated_key(shape)):
        raise DuplicateKeyError(
            f"rows that stay in the table repeat a key in {names}",
            hint="choose other keys, or overwrite the whole table",
            count=1,
            keys=[],
        )
    standing = int(db.rows(statements.count_keys_there(shape))[0][0])
    if standing:
        first = pa.concat_tables(fetch(db, key_columns(shape), statements.keys_there(shape, 1)))
        raise standing_keys(first, shape.keys, standing)


def key_columns(shape: Shape) -> pa.Schema:
    """The keys' Arrow types by name."""
    return pa.schema([shape.columns.field(key) for key in shape.keys])


def _one_row(schema: pa.Schema) -> pa.Table:
    return pa.table([pa.nulls(1, one.type) for one in schema], schema=schema)


def _null_patterns(rows: pa.Table) -> Iterator[frozenset[str]]:
    """Each set of columns that are null together in a row."""
    masks = np.stack([column.is_null().to_numpy() for column in rows.columns], axis=1)
    for mask in np.unique(masks, axis=0):
        yield frozenset(name for name, is_null in zip(rows.column_names, mask, strict=True) if is_null)
