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
        return " AND ".join(self.dialect.equal(*self.pairs(key), self.columns.field(key).type) for key in self.keys)

    def temporary(self, name: str) -> str:
        """A temporary table in a statement."""
        return self.dialect.temporary(name)


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
    return shape.dialect.create_temporary(name, f"n {shape.dialect.row_number}, {staging_columns(shape)}")


def staging_columns(shape: Shape) -> str:
    """The columns of a staging table, with their types."""
    types = (
        (shape.staged(one.name), shape.dialect.staging_type(one.type, one.name, key=one.name in shape.keys))
        for one in shape.columns
    )
    return ", ".join(" ".join(one) for one in types)


def fates_of_upsert(shape: Shape) -> str:
    """Make the table of hits: one row for each pair of a batch row and a row of the target, or for an unknown key."""
    return shape.dialect.create_temporary_as(FOUND, f"s.n AS n, {_fate(shape)} AS fate", _joined(shape))


def _fate(shape: Shape) -> str:
    key, _ = shape.pairs(shape.keys[0])
    cases = [f"WHEN {key} IS NULL THEN 'i'"]
    if shape.timestamp_col is not None:
        cases.append(f"WHEN {_older(shape, shape.timestamp_col)} THEN 's'")
    return f"CASE {' '.join(cases)} WHEN {_same(shape)} THEN 'u' ELSE 'c' END"


def _older(shape: Shape, timestamp_col: str) -> str:
    stored, given = shape.pairs(timestamp_col)
    return shape.dialect.older(given, stored, shape.columns.field(timestamp_col).type)


def _same(shape: Shape) -> str:
    compared = [
        shape.dialect.same(f"s.{shape.staged(name)}", f"t.{shape.dialect.quote(name)}", shape.columns.field(name).type)
        for name in shape.columns.names
        if name not in (*shape.missing, *shape.keys)
    ]
    return " AND ".join(compared) or "1 = 1"


def _joined(shape: Shape) -> str:
    return f"FROM {_batch(shape)} LEFT JOIN {shape.target} AS t ON {shape.on}"


def _known(shape: Shape) -> str:
    return f"EXISTS (SELECT 1 FROM {shape.target} AS t WHERE {shape.on})"


def count_by_index(shape: Shape, *, known: bool) -> str:
    """How many rows have each fate, where each key is in the target once at most; `known`: of an append_once."""
    fate = f"CASE WHEN {_known(shape)} THEN 'k' ELSE 'i' END AS fate FROM {_batch(shape)}"
    found = fate if known else f"{_fate(shape)} AS fate {_joined(shape)}"
    return f"SELECT fate, count(*), count(*) FROM (SELECT {found}) AS f GROUP BY fate"


def join_fates(shape: Shape) -> str:
    """Make the table of fates from the hits: a key that the target has several times is as old as its newest row."""
    fate = (
        "CASE WHEN count(*) = 1 THEN max(fate) WHEN sum(CASE WHEN fate = 's' THEN 1 ELSE 0 END) > 0 THEN 's' "
        "WHEN sum(CASE WHEN fate = 'u' THEN 1 ELSE 0 END) > 0 THEN 'u' ELSE 'c' END"
    )
    columns = f"n, {fate} AS fate, count(*) AS hits"
    return shape.dialect.create_temporary_as(FATES, columns, f"FROM {shape.temporary(FOUND)} GROUP BY n")


def fates_of_append_once(shape: Shape) -> str:
    """Make the table of fates of rows of which only the unknown keys count."""
    columns = f"s.n AS n, CASE WHEN {_known(shape)} THEN 'k' ELSE 'i' END AS fate, 1 AS hits"
    return shape.dialect.create_temporary_as(FATES, columns, f"FROM {_batch(shape)}")


def count_fates(shape: Shape) -> str:
    """How many rows have each fate, and how many rows of the target they met."""
    return f"SELECT fate, count(*), sum(hits) FROM {shape.temporary(FATES)} GROUP BY fate"


def insert_all(shape: Shape) -> str:
    """Add every row of the batch."""
    return f"INSERT INTO {shape.target} ({_names(shape)}) SELECT {_staged(shape)} FROM {_batch(shape)} ORDER BY s.n"


def insert_new(shape: Shape) -> str:
    """Add the rows of unknown keys, and those that replace several rows. Another unique index raises."""
    return (
        f"INSERT INTO {shape.target} ({_names(shape)}) SELECT {_staged(shape)} FROM {_decided(shape)} "
        f"WHERE f.fate = 'i' OR {_replaces_several()} ORDER BY s.n"
    )


def upsert(shape: Shape, *, everything: bool) -> str:
    """Add the rows of unknown keys and update the changed ones, by a unique index on the keys.

    Args:
        shape: of the table.
        everything: whether each row of the batch is one of these.
    """
    quote = shape.dialect.quote
    if shape.dialect.merges:
        return _merge(shape, _written(shape))
    sets = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in _written(shape))
    some = f"{_joined(shape)} WHERE {_fate(shape)} IN ('i', 'c')"
    insert = _insert(shape, f"FROM {_batch(shape)} WHERE 1 = 1" if everything else some)
    return insert + (f" DO UPDATE SET {sets}" if sets else " DO NOTHING")


def insert_unknown(shape: Shape) -> str:
    """Add the rows of unknown keys, by a unique index on the keys. Another unique index raises."""
    if shape.dialect.merges:
        return _merge(shape, ())
    return _insert(shape, f"FROM {_batch(shape)} WHERE 1 = 1") + " DO NOTHING"


def _merge(shape: Shape, written: Sequence[str]) -> str:
    """Add the rows of unknown keys, and update some columns of the changed ones."""
    sets = ", ".join(f"{shape.dialect.quote(name)} = s.{shape.staged(name)}" for name in written)
    stale = f"NOT {_older(shape, shape.timestamp_col)} AND " if shape.timestamp_col is not None else ""
    update = f"WHEN MATCHED AND {stale}NOT ({_same(shape)}) THEN UPDATE SET {sets}" if sets else ""
    insert = f"WHEN NOT MATCHED THEN INSERT ({_names(shape)}) VALUES ({_staged(shape)})"
    return shape.dialect.merge(shape.target, _batch(shape), shape.on, update, insert)


def _insert(shape: Shape, source: str) -> str:
    return (
        f"INSERT INTO {shape.target} ({_names(shape)}) SELECT {_staged(shape)} {source} ON CONFLICT ({key_list(shape)})"
    )


def change(shape: Shape) -> list[str]:
    """Replace the rows that have another value, each the only one of its key."""
    dialect, quote = shape.dialect, shape.dialect.quote
    batch, where = _decided(shape), "f.fate = 'c' AND f.hits = 1"
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
    where = f"EXISTS (SELECT 1 FROM {_decided(shape)} WHERE {shape.on} AND {_replaces_several()})"
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
    of_target, of_chosen, equal, tests = [], [], [], []
    for name in shape.columns.names:
        stored, given = shape.pairs(name)
        if name in nulls:
            tests.append(f"{stored} IS NULL")
            continue
        t = shape.columns.field(name).type
        if not shape.dialect.row_values:
            equal.append(shape.dialect.equal(stored, given, t))
            continue
        of_target.append(shape.dialect.exact(stored, t) if exact else stored)
        of_chosen.append(shape.dialect.exact(given, t) if exact else given)
    if of_target or equal:
        same = [f"s.{shape.staged(name)} IS {'NULL' if name in nulls else 'NOT NULL'}" for name in shape.columns.names]
        source = f"FROM {shape.temporary(chosen)} AS s WHERE {' AND '.join([*same, *equal])}"
        found = f"SELECT {', '.join(of_chosen)} {source}"
        tests.append(f"({', '.join(of_target)}) IN ({found})" if of_target else f"EXISTS (SELECT 1 {source})")
    return " AND ".join(tests)


def null_key(shape: Shape) -> str:
    """Count the rows of the table that have a null among the keys."""
    tests = " OR ".join(f"{shape.dialect.quote(key)} IS NULL" for key in shape.keys)
    return f"SELECT count(*) FROM {shape.target} WHERE {tests}"


def count_keys_there(shape: Shape) -> str:
    """Count the rows of the batch whose keys the table has."""
    return f"SELECT count(*) FROM {_batch(shape)} WHERE {_known(shape)}"


def keys_there(shape: Shape, most: int) -> str:
    """The keys of the first rows of the batch whose keys the table has."""
    query = f"SELECT {read_keys(shape)} FROM {_batch(shape)} WHERE {_known(shape)} ORDER BY s.n"
    return shape.dialect.limited(query, most)


def read_keys(shape: Shape) -> str:
    """The key columns of row `s` of the batch, as they are read."""
    return ", ".join(
        shape.dialect.selected(f"s.{shape.staged(key)}", shape.columns.field(key).type) for key in shape.keys
    )


def repeated_key(shape: Shape) -> str:
    """Find a key that the table has several times."""
    query = f"SELECT 1 FROM {shape.target} GROUP BY {key_list(shape)} HAVING count(*) > 1"
    return shape.dialect.limited(query, 1)


def _batch(shape: Shape) -> str:
    """The rows `s` of the batch."""
    return f"{shape.temporary(BATCH)} AS s"


def _decided(shape: Shape) -> str:
    """The rows of the batch with their fates `f`."""
    return f"{_batch(shape)} JOIN {shape.temporary(FATES)} AS f ON f.n = s.n"


def _written(shape: Shape) -> list[str]:
    return [name for name in shape.columns.names if name not in (*shape.keys, *shape.missing)]


def _names(shape: Shape) -> str:
    return ", ".join(map(shape.dialect.quote, shape.columns.names))


def _staged(shape: Shape) -> str:
    return ", ".join(f"s.{shape.staged(name)}" for name in shape.columns.names)


def _replaces_several() -> str:
    return "(f.hits > 1 AND f.fate IN ('c', 'u'))"
