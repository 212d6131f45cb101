"""SQL as text: pure functions of a dialect and a table's columns. Values travel as parameters, never in a text.

The batch is staged in a temporary table whose columns are `c0`, `c1`, … (so that no name of the caller clashes) and
`n`, the row's number. A second temporary table holds the fate of each row: ``i`` inserted, ``c`` changed, ``u``
unchanged, ``s`` stale, ``k`` known (skipped); and how many rows of the target have its key.

Source: specs/10-sql.md, "One write".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from txfiles.targets.sql.dialects.base import Dialect

BATCH, FATES, FOUND, CHANGED = "txfiles_batch", "txfiles_fates", "txfiles_found", "txfiles_changed"
CHOSEN = "txfiles_chosen"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What statements about a table need to know.

    Attributes:
        dialect: the database's ways.
        schema: the table's.
        table: its name.
        columns: Arrow types by name, in order.
        keys: the columns that identify a row; may be empty.
        missing: columns that the batch lacks: updated rows keep theirs.
        timestamp_col: by which rows are older; None if age does not count.
    """

    dialect: Dialect
    schema: str
    table: str
    columns: pa.Schema
    keys: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    timestamp_col: str | None = None

    @property
    def target(self) -> str:
        """The table's name in a statement."""
        return f"{self.dialect.quote(self.schema)}.{self.dialect.quote(self.table)}"

    def staged(self, name: str) -> str:
        """A column of the staging table."""
        return f"c{self.columns.get_field_index(name)}"

    def type(self, name: str) -> str:
        """A column's type in the database."""
        return self.dialect.column_type(self.columns.field(name).type, name, key=name in self.keys)

    def pairs(self, name: str) -> tuple[str, str]:
        """A column of row `t` of the target, and of row `s` of the batch."""
        return f"t.{self.dialect.quote(name)}", f"s.{self.staged(name)}"

    @property
    def on(self) -> str:
        """Whether row `s` of the batch has the key of row `t` of the target."""
        return " AND ".join(" = ".join(self.pairs(key)) for key in self.keys)


def create(shape: Shape) -> str:
    """Make the table."""
    quote = shape.dialect.quote
    columns = ", ".join(f"{quote(name)} {shape.type(name)}" for name in shape.columns.names)
    return f"CREATE TABLE {shape.target} ({columns})"


def key_list(shape: Shape) -> str:
    """The key columns, for an index or a conflict."""
    return ", ".join(map(shape.dialect.quote, shape.keys))


def create_batch(shape: Shape, name: str = BATCH) -> str:
    """Make the staging table, or one like it."""
    columns = ", ".join(f"{shape.staged(column)} {shape.type(column)}" for column in shape.columns.names)
    return f"CREATE TEMPORARY TABLE {name} (n {shape.dialect.row_number}, {columns})"


def fates_of_upsert(shape: Shape) -> str:
    """Make the table of hits: one row for each pair of a batch row and a row of the target, or for an unknown key."""
    return f"CREATE TEMPORARY TABLE {FOUND} AS SELECT s.n AS n, {_fate(shape)} AS fate {_joined(shape)}"


def _fate(shape: Shape) -> str:
    key, _ = shape.pairs(shape.keys[0])
    cases = [f"WHEN {key} IS NULL THEN 'i'"]
    if shape.timestamp_col is not None:
        stored, given = shape.pairs(shape.timestamp_col)
        older = shape.dialect.older(given, stored, shape.columns.field(shape.timestamp_col).type)
        cases.append(f"WHEN {older} THEN 's'")
    compared = [
        shape.dialect.same(f"s.{shape.staged(name)}", f"t.{shape.dialect.quote(name)}", shape.columns.field(name).type)
        for name in shape.columns.names
        if name not in (*shape.missing, *shape.keys)
    ]
    return f"CASE {' '.join(cases)} WHEN {' AND '.join(compared) or '1 = 1'} THEN 'u' ELSE 'c' END"


def _joined(shape: Shape) -> str:
    return f"FROM {BATCH} AS s LEFT JOIN {shape.target} AS t ON {shape.on}"


def _known(shape: Shape) -> str:
    return f"EXISTS (SELECT 1 FROM {shape.target} AS t WHERE {shape.on})"


def count_by_index(shape: Shape, *, known: bool) -> str:
    """How many rows have each fate, where each key is in the target once at most; `known`: of an append_once."""
    fate = f"CASE WHEN {_known(shape)} THEN 'k' ELSE 'i' END AS fate FROM {BATCH} AS s"
    found = fate if known else f"{_fate(shape)} AS fate {_joined(shape)}"
    return f"SELECT fate, count(*), count(*) FROM (SELECT {found}) AS f GROUP BY fate"


def join_fates() -> str:
    """Make the table of fates from the hits: a key that the target has several times is as old as its newest row."""
    fate = (
        "CASE WHEN count(*) = 1 THEN max(fate) WHEN sum(CASE WHEN fate = 's' THEN 1 ELSE 0 END) > 0 THEN 's' "
        "WHEN sum(CASE WHEN fate = 'u' THEN 1 ELSE 0 END) > 0 THEN 'u' ELSE 'c' END"
    )
    return f"CREATE TEMPORARY TABLE {FATES} AS SELECT n, {fate} AS fate, count(*) AS hits FROM {FOUND} GROUP BY n"


def fates_of_append_once(shape: Shape) -> str:
    """Make the table of fates of rows of which only the unknown keys count."""
    return (
        f"CREATE TEMPORARY TABLE {FATES} AS SELECT s.n AS n, CASE WHEN {_known(shape)} THEN 'k' ELSE 'i' END AS fate, "
        f"1 AS hits FROM {BATCH} AS s"
    )


def count_fates() -> str:
    """How many rows have each fate, and how many rows of the target they met."""
    return f"SELECT fate, count(*), sum(hits) FROM {FATES} GROUP BY fate"


def insert_all(shape: Shape) -> str:
    """Add every row of the batch."""
    return f"INSERT INTO {shape.target} ({_names(shape)}) SELECT {_staged(shape)} FROM {BATCH} AS s ORDER BY s.n"


def insert_new(shape: Shape) -> str:
    """Add the rows of unknown keys, and those that replace several rows. Another unique index raises."""
    return (
        f"INSERT INTO {shape.target} ({_names(shape)}) SELECT {_staged(shape)} FROM {BATCH} AS s JOIN {FATES} AS f "
        f"ON f.n = s.n WHERE f.fate = 'i' OR {_replaces_several()} ORDER BY s.n"
    )


def upsert(shape: Shape, *, everything: bool) -> str:
    """Add the rows of unknown keys and update the changed ones, by a unique index on the keys.

    Args:
        shape: of the table.
        everything: whether each row of the batch is one of these.
    """
    quote = shape.dialect.quote
    sets = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in _written(shape))
    source = f"FROM {BATCH} AS s WHERE 1 = 1" if everything else f"{_joined(shape)} WHERE {_fate(shape)} IN ('i', 'c')"
    return _insert(shape, source) + (f" DO UPDATE SET {sets}" if sets else " DO NOTHING")


def insert_unknown(shape: Shape) -> str:
    """Add the rows of unknown keys, by a unique index on the keys. Another unique index raises."""
    return _insert(shape, f"FROM {BATCH} AS s WHERE 1 = 1") + " DO NOTHING"


def _insert(shape: Shape, source: str) -> str:
    return (
        f"INSERT INTO {shape.target} ({_names(shape)}) SELECT {_staged(shape)} {source} ON CONFLICT ({key_list(shape)})"
    )


def change(shape: Shape) -> list[str]:
    """Replace the rows that have another value, each the only one of its key."""
    dialect, quote = shape.dialect, shape.dialect.quote
    batch, where = f"{BATCH} AS s JOIN {FATES} AS f ON f.n = s.n", "f.fate = 'c' AND f.hits = 1"
    if dialect.updates:
        sets = [(quote(name), f"s.{shape.staged(name)}") for name in _written(shape)]
        return [dialect.update(shape.target, sets, batch, shape.on, where)] if sets else []
    values = ", ".join(
        f"t.{quote(name)} AS {shape.staged(name)}" if name in shape.missing else f"s.{shape.staged(name)}"
        for name in shape.columns.names
    )
    return [
        (
            f"CREATE TEMPORARY TABLE {CHANGED} AS SELECT {values} FROM {batch} JOIN {shape.target} AS t ON {shape.on} "
            f"WHERE {where}"
        ),
        dialect.delete(shape.target, f"EXISTS (SELECT 1 FROM {batch} WHERE {shape.on} AND {where})"),
        f"INSERT INTO {shape.target} ({_names(shape)}) SELECT {_staged(shape)} FROM {CHANGED} AS s",
    ]


def delete_several(shape: Shape) -> str:
    """Delete the rows of keys that the target has several times."""
    where = (
        f"EXISTS (SELECT 1 FROM {BATCH} AS s JOIN {FATES} AS f ON f.n = s.n WHERE {shape.on} AND {_replaces_several()})"
    )
    return shape.dialect.delete(shape.target, where)


def select(shape: Shape, columns: Sequence[str], rest: str = "") -> str:
    """Read columns of the table, as `t`."""
    read = ", ".join(
        shape.dialect.selected(f"t.{shape.dialect.quote(name)}", shape.columns.field(name).type) for name in columns
    )
    return f"SELECT {read} FROM {shape.target} AS t {rest}"


def among(shape: Shape, chosen: str, nulls: Collection[str], *, exact: bool) -> str:
    """Whether row `t` has the values of a row of another table, null in some columns and not in the others.

    Args:
        shape: the columns that are compared.
        chosen: the other table, made by `create_batch`.
        nulls: the columns that are null.
        exact: whether to tell 0.0 from -0.0.
    """
    of_target, of_chosen, tests = [], [], []
    for name in shape.columns.names:
        stored, given = shape.pairs(name)
        if name in nulls:
            tests.append(f"{stored} IS NULL")
            continue
        t = shape.columns.field(name).type
        of_target.append(shape.dialect.exact(stored, t) if exact else stored)
        of_chosen.append(shape.dialect.exact(given, t) if exact else given)
    if of_target:
        same = [f"s.{shape.staged(name)} IS {'NULL' if name in nulls else 'NOT NULL'}" for name in shape.columns.names]
        found = f"SELECT {', '.join(of_chosen)} FROM {chosen} AS s WHERE {' AND '.join(same)}"
        tests.append(f"({', '.join(of_target)}) IN ({found})")
    return " AND ".join(tests)


def null_key(shape: Shape) -> str:
    """Count the rows of the table that have a null among the keys."""
    tests = " OR ".join(f"{shape.dialect.quote(key)} IS NULL" for key in shape.keys)
    return f"SELECT count(*) FROM {shape.target} WHERE {tests}"


def keys_there(shape: Shape) -> str:
    """The numbers of the rows of the batch whose keys the table has."""
    return f"SELECT s.n FROM {BATCH} AS s WHERE {_known(shape)} ORDER BY s.n"


def repeated_key(shape: Shape) -> str:
    """Find a key that the table has several times."""
    return f"SELECT 1 FROM {shape.target} GROUP BY {key_list(shape)} HAVING count(*) > 1 LIMIT 1"


def _written(shape: Shape) -> list[str]:
    return [name for name in shape.columns.names if name not in (*shape.keys, *shape.missing)]


def _names(shape: Shape) -> str:
    return ", ".join(map(shape.dialect.quote, shape.columns.names))


def _staged(shape: Shape) -> str:
    return ", ".join(f"s.{shape.staged(name)}" for name in shape.columns.names)


def _replaces_several() -> str:
    return "(f.hits > 1 AND f.fate IN ('c', 'u'))"
