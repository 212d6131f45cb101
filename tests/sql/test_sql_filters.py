"""Filters in the database, streams, deletes and overwrites of a part, on each database."""

from __future__ import annotations

import datetime as dt
import math
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import txfiles as tx
from tests.services.databases import DATABASES
from tests.sql.sql_help import Url, beside, target_of
from txfiles.rows import filters
from txfiles.targets.sql import table as table_module
from txfiles.targets.sql.conditions import where_of
from txfiles.targets.sql.dialects import base
from txfiles.targets.sql.statements import Shape

each = pytest.mark.parametrize("kind", DATABASES)
UTC = dt.UTC
VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "i": (pa.int32(), [-5, 0, 1, 2**31 - 1]),
    "u": (pa.uint64(), [0, 7, 2**63 - 1]),
    "x": (pa.float64(), [-1.5, 0.0, 1.0, 1e300]),
    "f": (pa.float32(), [0.5, -2.5]),
    "s": (pa.string(), ["", "a", "A", "a ", "Z", "é", "漢", "it's", "%s", "\\"]),
    "b": (pa.binary(), [b"", b"a", b"a\x00", b"\xff"]),
    "t": (pa.bool_(), [True, False]),
    "d": (pa.date32(), [dt.date(1, 1, 1), dt.date(2026, 7, 1), dt.date(9999, 12, 31)]),
    "n": (pa.timestamp("ms"), [dt.datetime(1969, 12, 31, 23, 59, 59, 999000), dt.datetime(2026, 7, 1)]),
    "z": (
        pa.timestamp("us", "Europe/Oslo"),
        [dt.datetime(2026, 7, 1, 12, tzinfo=UTC), dt.datetime(5, 1, 1, tzinfo=UTC)],
    ),
    "c": (pa.decimal128(12, 3), [Decimal("-10.5"), Decimal("9.125"), Decimal(10), Decimal(0)]),
    "p": (pa.duration("s"), [dt.timedelta(days=-1), dt.timedelta(0), dt.timedelta(hours=5)]),
    "o": (pa.time32("s"), [dt.time(0, 0), dt.time(23, 59, 59)]),
}
"""Of each type, values that databases are known to compare in their own ways."""
NAN = ("postgresql", "duckdb")
OPS = ("=", "!=", "<", "<=", ">", ">=", "in", "not in", "is null", "is not null")


def table_of(kind: str) -> pa.Table:
    """Every value of every type, and nulls; NaN and -0.0 where they can be stored."""
    columns = {}
    for name, (t, values) in VALUES.items():
        more = [math.nan, -0.0, math.inf] if name == "x" and kind in NAN else []
        listed = [*values, *more, None]
        columns[name] = pa.array([listed[n % len(listed)] for n in range(16)], t)
    return pa.table({"row": pa.array(range(16)), **columns})


@st.composite
def conditions(draw: st.DrawFn) -> list[tuple[str, str, Any]]:
    """Lists of conditions whose values are in the table, or near."""
    found = []
    for _ in range(draw(st.integers(1, 2))):
        name, op = draw(st.sampled_from(list(VALUES))), draw(st.sampled_from(OPS))
        values = [*VALUES[name][1], *([math.nan, -0.0, math.inf] if name == "x" else [])]
        one = st.sampled_from(values)
        ordered = name not in "tp" or op in ("=", "!=", "in", "not in", "is null", "is not null")
        value = draw(st.lists(one, max_size=3)) if "in" in op.split() else draw(one)
        found.append((name, op if ordered else "=", value))
    return found


def tells(kind: str, name: str, op: str, value: Any) -> bool:
    """Whether a database can tell: not of infinities and NaN, and SQLite not which of two decimals is less."""
    is_list = "in" in op.split()
    odd = any(number in (math.inf, -math.inf) for number in value) if is_list else value in (math.inf, -math.inf)
    odd = odd or (not is_list and isinstance(value, float) and math.isnan(value))
    return op.startswith("is") or not (odd or (kind == "sqlite" and name == "c" and op[0] in "<>"))


@each
def test_filters_are_those_of_arrow(kind: str, sql_url: Url) -> None:
    """A condition holds for every row for which it holds in Arrow, and where it says so for no other."""
    table, url = table_of(kind), sql_url(kind)
    tx.write(table, url, mode="append")
    with beside(url) as db:
        shape = Shape(dialect=db.dialect, schema="", table="", columns=tx.Table(url).schema)

        @settings(max_examples=80, deadline=None)
        @given(where=conditions())
        def check(where: list[tuple[str, str, Any]]) -> None:
            parsed = filters.parse(where, table.schema)
            assert parsed is not None
            expected = set(parsed.rows(table)["row"].to_pylist())
            told = where_of(shape, parsed)
            sql = f"SELECT t.{db.dialect.quote('row')} FROM {target_of(url, db)} AS t WHERE {told.sql}"
            found = {int(row) for (row,) in db.rows(sql, told.parameters)}
            assert found == expected if told.whole else found >= expected
            assert told.whole == all(tells(kind, *one) for one in where)

        check()


@each
def test_rows_that_a_filter_leaves_out_stay_there(kind: str, sql_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the rows that match travel; of an expression all do, and Arrow leaves them out."""
    url = sql_url(kind)
    tx.write(pa.table({"id": range(100), "s": ["a%", "b"] * 50}), url, mode="append")
    came, fetch = [], table_module.fetch

    def counted(*args: Any) -> Iterator[pa.Table]:
        for rows in fetch(*args):
            came.append(rows.num_rows)
            yield rows

    monkeypatch.setattr(table_module, "fetch", counted)
    table = tx.Table(url)
    for where, rows, travelled in (
        ([("id", "<", 10), ("s", "=", "a%")], 5, 5),
        ([("id", "in", [1, 2, 200])], 2, 2),
        ([("id", "in", [])], 0, 0),
        (pc.field("id") < 10, 10, 100),
        (None, 100, 100),
    ):
        came.clear()
        assert (table.to_arrow(["s"], where).num_rows, sum(came)) == (rows, travelled)


@each
def test_a_stream_holds_a_part(kind: str, sql_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many rows a part is in memory, and a reader that is left early leaves the rest with the database."""
    url = sql_url(kind)
    rows = 20_000
    tx.write(pa.table({"id": range(rows), "s": ["x" * 200] * rows}), url, mode="append")
    monkeypatch.setattr(base, "FETCH_ROWS", 200)
    tracemalloc.start()
    try:
        assert sum(batch.num_rows for batch in tx.Table(url).to_batches()) == rows
        assert tracemalloc.get_traced_memory()[1] < rows * 200 / 4
    finally:
        tracemalloc.stop()
    reader = tx.Table(url).to_batches()
    assert reader.read_next_batch().num_rows == (200 if kind != "duckdb" else 20_000)
    if kind == "postgresql":  # whose driver keeps rows out of Python's sight
        with beside(url) as db:
            assert db.rows("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'FETCH FORWARD 200 %%'")
    del reader
    assert tx.write(pa.table({"id": [-1], "s": ["x"]}), url, mode="append", timeout=5).committed


@each
def test_deletes_of_what_only_arrow_can_tell(kind: str, sql_url: Url) -> None:
    """An expression is told by Arrow on the values of its columns: nulls are one, and 0.0 is not -0.0."""
    url = sql_url(kind)
    table = pa.table({"i": [1, 2, None, None, 1], "s": ["a", None, "a", None, "b"], "x": [1.0, 2.0, 3.0, 4.0, 5.0]})
    tx.write(table, url, mode="append")
    found = tx.Table(url)
    plan = found.delete(pc.field("i").is_null() | (pc.field("s") == "a"), dry_run=True)
    done = found.delete(pc.field("i").is_null() | (pc.field("s") == "a"))
    assert (plan.rows_deleted, done.rows_deleted, done.version, found.history()[0].rows_deleted) == (3, 3, 1, 3)
    assert sorted(found.to_arrow()["x"].to_pylist()) == [2.0, 5.0]
    assert not found.delete(pc.scalar(False)).committed
    if kind in NAN:
        tx.write(pa.table({"x": [0.0, -0.0, math.nan, None]}), url, mode="overwrite", schema_mode="overwrite")
        assert found.delete(pc.divide(pc.scalar(1.0), pc.field("x")) < 0).rows_deleted == 1
        assert str(found.to_arrow()["x"].to_pylist()) == "[0.0, nan, None]"
        assert found.delete(pc.is_nan(pc.field("x"))).rows_deleted == 1


@each
def test_an_overwrite_of_a_part_keeps_keys_unique(kind: str, sql_url: Url) -> None:
    """Keys that it names may not be in rows that stay, and nothing is written if they are."""
    url = sql_url(kind)
    table = pa.table({"id": [1, 2, 3], "s": ["a", "b", "b"]})
    tx.write(table, url, mode="upsert", keys=["id"])
    part = {"mode": "overwrite", "keys": ["id"], "replace_where": [("s", "=", "b")]}
    for call in (tx.plan, tx.write):
        with pytest.raises(tx.DuplicateKeyError, match="the first is 1;"):
            call(pa.table({"id": [4, 1], "s": ["b", "b"]}), url, **part)
        with pytest.raises(tx.InputError, match="do not match replace_where"):
            call(pa.table({"id": [4], "s": ["a"]}), url, **part)
    assert tx.Table(url).version == 0
    batch = pa.table({"id": [3, 9], "s": ["b", "b"]})
    plan, done = tx.plan(batch, url, **part), tx.write(batch, url, **part)
    assert (done.rows_inserted, done.rows_deleted, plan.rows_deleted) == (2, 2, 2)
    assert sorted(tx.Table(url).to_arrow()["id"].to_pylist()) == [1, 3, 9]
    assert not tx.write(table.slice(0, 0), url, mode="overwrite", replace_where=[("id", ">", 50)]).committed


@each
def test_a_delete_says_where_its_table_went(kind: str, sql_url: Url) -> None:
    """A table that others have dropped is not there any more."""
    url = sql_url(kind)
    tx.write(pa.table({"id": [1]}), url, mode="upsert", keys=["id"])
    table = tx.Table(url)
    with beside(url) as db:
        db.run(f"DROP TABLE {target_of(url, db)}")
    with pytest.raises(tx.TableNotFoundError):
        table.delete(keys=1)


def test_names_that_look_like_paths(sql_url: Url) -> None:
    """A column named as Arrow writes paths is a column."""
    url = sql_url("sqlite")
    tx.write(pa.table({".": [2, 1], ".[0]": ["b", "a"]}), url, mode="upsert", keys=[".", ".[0]"])
    assert tx.Table(url).delete([(".", "=", 1)]).rows_deleted == 1
    assert tx.Table(url).to_arrow()["."].to_pylist() == [2]
