"""What only SQL tables have: unique indexes, other people's tables, the ledger, names and values that bite."""

from __future__ import annotations

import datetime as dt
import pickle
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, unquote

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import txfiles as tx
from tests.conformance.suite import hard_types
from tests.services.databases import DATABASES, SERVERS
from tests.sql.sql_help import Url, beside, target_of
from txfiles.rows.text import to_text
from txfiles.targets.sql.dialects.sqlite import SQLite

each = pytest.mark.parametrize("kind", DATABASES)
KEYED = {"mode": "upsert", "keys": ["id"]}


def rows(*ids: int, name: str = "n") -> pa.Table:
    """Rows with these keys."""
    return pa.table({"id": pa.array(ids, pa.int64()), "name": pa.array([name] * len(ids), pa.string())})


@each
def test_the_ledger_says_what_each_commit_did(kind: str, sql_url: Url) -> None:
    """One row a commit, readable by SQL, with what it did; a retry that changes nothing adds none."""
    url = sql_url(kind)
    tx.write(rows(1, 2), url, **KEYED, batch_id="monday")
    tx.write(rows(2, 3, name="m"), url, mode="upsert")
    assert not tx.write(rows(2, 3, name="m"), url, mode="upsert").committed
    with beside(url) as db:
        ledger = target_of(url, db).replace("customers", "txfiles_commits")
        found = db.rows(
            f"SELECT version, operation, batch_id, key_columns, rows_in, rows_inserted, rows_updated FROM {ledger} "
            "WHERE version >= 0 ORDER BY version"
        )
    assert [tuple(row) for row in found] == [
        (0, "upsert", "monday", '["id"]', 2, 2, 0),
        (1, "upsert", None, '["id"]', 2, 1, 1),
    ]


@each
def test_a_table_of_others_is_left_alone(kind: str, sql_url: Url) -> None:
    """A table that txfiles did not create is refused by name, and stays as it is."""
    url = sql_url(kind)
    with beside(url) as db:
        db.run(f"CREATE TABLE {target_of(url, db)} (id INTEGER)")
        db.run(f"INSERT INTO {target_of(url, db)} VALUES (7)")
    for call in (tx.write, tx.plan):
        with pytest.raises(tx.ForeignTableError, match="did not create"):
            call(rows(1), url, mode="overwrite")
    assert not tx.exists(url)
    with beside(url) as db:
        assert db.rows(f"SELECT id FROM {target_of(url, db)}")[0][0] == 7


@each
def test_a_table_that_was_dropped_begins_anew(kind: str, sql_url: Url) -> None:
    """Its history goes with it: what was committed to the old table was not committed to the new one."""
    url = sql_url(kind)
    tx.write(rows(1), url, **KEYED, batch_id="b")
    with beside(url) as db:
        db.run(f"DROP TABLE {target_of(url, db)}")
    assert not tx.exists(url)
    result = tx.write(rows(2), url, **KEYED, batch_id="b")
    assert (result.version, result.committed) == (0, True)
    assert tx.Table(url).to_arrow()["id"].to_pylist() == [2]
    assert len(tx.Table(url).history()) == 1


@each
def test_append_to_a_table_with_keys(kind: str, sql_url: Url) -> None:
    """A unique index refuses a repeated key with a named error, and nothing is written; DuckDB has no index."""
    url = sql_url(kind)
    tx.write(rows(1), url, **KEYED)
    if kind == "duckdb":
        tx.write(rows(1), url, mode="append")
        assert tx.write(rows(1, name="m"), url, mode="upsert").rows_deleted == 1
        return
    with pytest.raises(tx.DuplicateKeyError, match="unique index"):
        tx.write(rows(2, 1), url, mode="append")
    assert tx.Table(url).to_arrow()["id"].to_pylist() == [1]
    assert tx.write(rows(2), url, mode="append").rows_inserted == 1


@each
def test_another_unique_index_raises(kind: str, sql_url: Url) -> None:
    """A row that clashes with another row by somebody's unique index is an error: no other row is changed by it."""
    url = sql_url(kind)
    table = pa.table({"id": [1, 2], "code": pa.array([10, 20], pa.int32())})
    tx.write(table, url, **KEYED)
    with beside(url) as db:
        db.run(f"CREATE UNIQUE INDEX others ON {target_of(url, db) if kind != 'sqlite' else 'customers'} (code)")
    with pytest.raises(tx.DuplicateKeyError):
        tx.write(pa.table({"id": [3], "code": pa.array([10], pa.int32())}), url, mode="upsert")
    assert sorted(tx.Table(url).to_arrow().to_pylist(), key=str) == sorted(table.to_pylist(), key=str)


@each
def test_texts_are_keys_to_the_byte(kind: str, sql_url: Url) -> None:
    """Case, trailing spaces and normal forms tell keys apart, whatever the database's collation."""
    url = sql_url(kind)
    keys = ["A", "a", "a ", "\u00e9", "e\u0301", "ß", "ss", ""]
    table = pa.table({"k": keys, "v": list(range(len(keys)))})
    assert tx.write(table, url, mode="upsert", keys=["k"]).rows_inserted == len(keys)
    assert tx.write(table, url, mode="append_once").rows_skipped == len(keys)
    assert tx.write(table, url, mode="upsert").rows_unchanged == len(keys)


@each
def test_what_a_database_cannot_hold_is_refused_by_name(kind: str, sql_url: Url) -> None:
    """Nested types, columns without a type, times beyond microseconds and beyond the calendar: an error, no table."""
    url = sql_url(kind)
    for name, column in {
        "list": pa.array([[1]]),
        "struct": pa.array([{"a": 1}]),
        "nothing": pa.nulls(1),
        "nanos": pa.array([1], pa.timestamp("ns")),
        "far": pa.array([2**40], pa.timestamp("s")),
        "year0": pa.array([-800_000], pa.int32()).cast(pa.date32()),
    }.items():
        with pytest.raises((tx.UnsupportedTypeError, tx.LossyCastError), match=f"'{name}'"):
            tx.write(pa.table({name: column}), url, mode="append")
        assert not tx.exists(url), name
    whole = pa.table({"at": pa.array([1_000, None], pa.timestamp("ns"))})
    tx.write(whole, url, mode="append")
    assert tx.Table(url).to_arrow().equals(whole)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("sqlite", pa.array([float("nan")])),
        ("sqlite", pa.array([-0.0])),
        ("sqlite", pa.array([2**63], pa.uint64())),
        ("postgresql", pa.array(["a\0b"])),
        ("mariadb", pa.array([float("nan")])),
        ("mariadb", pa.array([float("-inf")])),
        ("mariadb", pa.array([-0.0])),
    ],
    ids=str,
)
def test_values_that_would_change_are_refused(kind: str, wrong: pa.Array, sql_url: Url) -> None:
    """A value that the database would store as another one names column and row, and nothing is written."""
    url = sql_url(kind)
    table = pa.table({"v": pa.concat_arrays([wrong.slice(0, 0), wrong])})
    with pytest.raises(tx.LossyCastError, match=r"'v'.*row 0"):
        tx.write(table, url, mode="append")
    assert not tx.exists(url)


@each
def test_exact_floats(kind: str, sql_url: Url) -> None:
    """Doubles come back to the bit, and an upsert sees every difference that the database can hold."""
    url = sql_url(kind)
    values = [0.1, 5e-324, 1.7976931348623157e308, 1 / 3, 1e22, -2.5]
    if kind in ("postgresql", "duckdb"):
        values += [float("inf"), float("nan"), -0.0]
    table = pa.table({"id": list(range(len(values))), "x": values})
    tx.write(table, url, **KEYED)
    assert str(tx.Table(url).to_arrow().sort_by("id")["x"].to_pylist()) == str(values)
    assert not tx.write(table, url, mode="upsert").committed
    if kind in ("postgresql", "duckdb"):
        zero = pa.table({"id": [len(values) - 1], "x": [0.0]})
        for changed in (zero, table.slice(len(values) - 1)):
            assert tx.write(changed, url, mode="upsert").rows_updated == 1
            assert str(tx.Table(url).lookup(len(values) - 1)["x"].to_pylist()) == str(changed["x"].to_pylist())


LACKS = {
    "sqlite": ("uint64", "float32"),
    "duckdb": ("decimal_big",),
    "postgresql": (),
    "mariadb": ("decimal_big", "float32", "float64"),
}
"""Columns of `hard_types` that have a value, or a type, which the database cannot hold."""


@each
def test_types_come_back(kind: str, sql_url: Url) -> None:
    """Units, zones, widths, signs and hard values come back as they went in, and are found unchanged by an upsert."""
    url = sql_url(kind)
    table = hard_types().drop_columns(["naive_ns", *LACKS[kind]])
    if kind == "sqlite":
        table = table.set_column(table.schema.get_field_index("float64"), "float64", [[5e-324, float("inf"), -1.5]])
    table = table.append_column("half", pa.array([1.5, None, -2.0], pa.float16()))
    table = table.append_column("id", pa.array([3, 1, 2], pa.uint8()))
    tx.write(table, url, **KEYED)
    found = tx.Table(url).to_arrow().sort_by("id")
    assert found.schema == table.schema
    assert str(found.to_pylist()) == str(table.sort_by("id").to_pylist())
    again = tx.write(table, url, mode="upsert")
    assert (again.committed, again.rows_unchanged) == (False, 3)
    turned = table.set_column(table.num_columns - 1, "id", pa.array([1, 2, 3], pa.uint8()))
    assert tx.write(turned, url, mode="upsert").rows_updated == 3
    assert str(tx.Table(url).to_arrow().sort_by("id").to_pylist()) == str(turned.to_pylist())
    assert tx.Table(url).lookup([2]).num_rows == 1


@each
def test_columns_are_added_and_widened(kind: str, sql_url: Url) -> None:
    """By `merge`, in the same transaction; MariaDB cannot, and says so."""
    url = sql_url(kind)
    tx.write(pa.table({"id": pa.array([1], pa.int16()), "x": pa.array([1], pa.int32())}), url, **KEYED)
    more = pa.table({"id": [1, 2**40], "x": pa.array([2**40, 2]), "extra": ["a", None]})
    if kind == "mariadb":
        with pytest.raises(tx.SchemaMismatchError, match="in a transaction"):
            tx.write(more, url, mode="upsert", schema_mode="merge")
        assert tx.Table(url).schema.names == ["id", "x"]
        return
    plan = tx.plan(more, url, mode="upsert", schema_mode="merge")
    assert (plan.rows_updated, tx.Table(url).schema.names) == (1, ["id", "x"])
    assert tx.write(more, url, mode="upsert", schema_mode="merge").rows_updated == 1
    assert tx.Table(url).schema == more.schema
    assert tx.Table(url).to_arrow().sort_by("id").to_pylist() == more.to_pylist()


@each
def test_a_creation_that_fails_leaves_nothing(kind: str, sql_url: Url) -> None:
    """A batch that is refused makes neither table nor history, and the next one creates."""
    url = sql_url(kind)
    with pytest.raises(tx.DuplicateKeyError):
        tx.write(pa.table({"id": [1, 1], "name": ["a", "b"]}), url, **KEYED)
    assert not tx.exists(url)
    assert tx.write(rows(1), url, **KEYED).version == 0


def test_a_creation_that_died_half_way_is_finished(sql_url: Url) -> None:
    """MariaDB makes tables outside of transactions: what an interrupted creation left is made anew, by any schema."""
    url = sql_url("mariadb")
    tx.write(rows(1), url, **KEYED)
    with beside(url) as db:  # as if the process had died before its first commit
        ledger = target_of(url, db).replace("customers", "txfiles_commits")
        db.run(f"DELETE FROM {ledger} WHERE version = 0")
        db.run(f"DELETE FROM {target_of(url, db)}")
    assert not tx.exists(url)
    other = pa.table({"id": [5], "other": [1.5]})
    assert tx.write(other, url, **KEYED).version == 0
    assert tx.Table(url).to_arrow().equals(other)


@each
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_name_and_no_value_is_sql(kind: str, sql_url: Url, data: st.DataObject) -> None:
    """Any text is a name of a column or table, or a value, and nothing else: quotes, semicolons, percent signs."""
    letters = st.sampled_from(list("aZ%?:;'\"`\\ -/*()[]{}$@#.,&|é漢\n\t"))
    text = st.text(letters, min_size=1, max_size=12).filter(lambda name: name == name.strip() or kind != "mariadb")
    names = data.draw(st.lists(text, min_size=2, max_size=3, unique_by=str.casefold))
    table = data.draw(st.text(st.sampled_from(list("aZ%;'`\\ -$é")), min_size=1, max_size=10).map(lambda s: f"t{s}t"))
    values = data.draw(st.lists(text, min_size=3, max_size=3, unique=True))
    base, _, named = sql_url(kind).partition("?table=")
    schema = unquote(named).rpartition("customers")[0]
    url = f"{base}?table={quote(schema + table)}"
    batch = pa.table(dict.fromkeys(names, values))
    first = {"mode": "upsert", "keys": [names[0]], "user_metadata": {"'; DROP TABLE": values[0]}, "batch_id": values[0]}
    assert tx.write(batch, url, **first).rows_inserted == 3
    changed = batch.set_column(1, names[1], [list(reversed(values))])
    result = tx.write(changed, url, mode="upsert")
    assert (result.rows_updated, result.rows_unchanged) == (2, 1)
    assert sorted(map(str, tx.Table(url).to_arrow().to_pylist())) == sorted(map(str, changed.to_pylist()))
    assert tx.Table(url).lookup(values[0]).num_rows == 1
    assert tx.Table(url).history()[1].batch_id == values[0]


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("sqlite:///x.db", "name the table"),
        ("sqlite:///x.db?table=a&table=b", "name the table"),
        ("sqlite:///x.db?table=a.b.c", "not a table's name"),
        ("sqlite:///x.db?table=", "not a table's name"),
        ("sqlite:///x.db?table=TxFiles_commits", "reserved"),
        ("sqlite://?table=a", "a file"),
        ("sqlite:///:memory:?table=a", "a file"),
        ("snowflake://host/db?table=a", "not supported"),
        ("oracle://host/db?table=a", "not supported"),
    ],
)
def test_urls_that_make_no_sense(url: str, match: str) -> None:
    """A database that is not served, no table or several: an error that says how it is written."""
    for call in (tx.exists, tx.Table, lambda url: tx.write(rows(1), url, mode="append")):
        with pytest.raises(tx.OptionError, match=match):
            call(url)


def test_format_and_url_agree(tmp_path: Path) -> None:
    """`format="sql"` takes a URL, and the URL of a database no other format."""
    with pytest.raises(tx.OptionError, match="URL of a database"):
        tx.write(rows(1), tmp_path / "folder", mode="append", format="sql")
    with pytest.raises(tx.UnsupportedTableError, match="sqlite"):
        tx.write(rows(1), f"sqlite:///{tmp_path}/x.db?table=a", mode="append", format="parquet")
    assert list(tmp_path.iterdir()) == []


@each
def test_what_sql_tables_lack_is_named(kind: str, sql_url: Url) -> None:
    """Versions of the past, files, properties and partitions: an error that names them."""
    url = sql_url(kind)
    tx.write(rows(1), url, mode="append")
    table = tx.Table(url)
    for call in (
        lambda: table.at(version=0),
        lambda: tx.Table(url, version=0),
        table.files,
        table.vacuum,
        table.compact,
        lambda: table.set(compression="zstd"),
    ):
        with pytest.raises(tx.UnsupportedVerbError):
            call()
    for options in ({"partition_by": ["name"]}, {"properties": {"compression": "zstd"}}):
        with pytest.raises(tx.OptionError, match="do not take"):
            tx.write(rows(2), url, mode="append", **options)


@each
def test_a_reader_is_told_that_its_version_is_gone(kind: str, sql_url: Url) -> None:
    """Rows of a later version are never shown as those of the version at which a table was opened."""
    url = sql_url(kind)
    tx.write(rows(1), url, mode="append")
    table = tx.Table(url)
    tx.write(rows(2), url, mode="append")
    for read in (table.to_arrow, lambda: table.row_count, lambda: table.to_batches().read_all()):
        with pytest.raises(tx.SnapshotExpiredError, match="version 0"):
            read()
    assert table.refresh().row_count == 2


@pytest.mark.parametrize("kind", SERVERS)
def test_a_password_is_never_told(kind: str, sql_url: Url, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """Neither in a repr, a path, an error, a log, nor a pickle; a reference to the environment is one."""
    secret, canary = "testing12345", "c4n4ry/p%40ss"
    url = sql_url(kind)
    caplog.set_level("DEBUG")
    tx.write(rows(1), url, mode="append")
    table = tx.Table(url)
    told = [repr(table), table.path, str(table.backend), caplog.text, *map(repr, table.history())]
    with pytest.raises(tx.OptionError, match="pickled") as caught:
        pickle.dumps(table)
    told.append(f"{caught.value} {caught.value.hint}")
    wrong = url.replace(secret, canary)
    for call in (tx.exists, tx.Table, lambda url: tx.write(rows(1), url, mode="append")):
        with pytest.raises(tx.StoreError) as failed:
            call(wrong)
        error: BaseException | None = failed.value
        while error is not None:
            told += [repr(error), str(error), str(getattr(error, "hint", ""))]
            error = error.__cause__
    for text in told:
        assert secret not in text
        assert "c4n4ry" not in text
    monkeypatch.setenv("DATABASE_PASSWORD", secret)
    by_name = tx.Table(url.replace(secret, "${DATABASE_PASSWORD}"))
    data = pickle.dumps(by_name)
    assert secret.encode() not in data
    assert pickle.loads(data).to_arrow().equals(table.to_arrow())
    monkeypatch.delenv("DATABASE_PASSWORD")
    with pytest.raises(tx.OptionError, match="DATABASE_PASSWORD"):
        pickle.loads(data)


def test_times_are_told_in_utc(sql_url: Url) -> None:
    """A zoned column keeps its zone, and the database holds the instant."""
    url = sql_url("postgresql")
    noon = dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)
    table = pa.table({"at": pa.array([noon], pa.timestamp("ms", "Europe/Oslo"))})
    tx.write(table, url, mode="append")
    assert tx.Table(url).to_arrow().equals(table)
    with beside(url) as db:
        assert db.rows(f"SELECT at FROM {target_of(url, db)}")[0][0] == noon


@settings(max_examples=50, deadline=None)
@given(numbers=st.lists(st.decimals(-(10**20), 10**20, places=3), min_size=2, max_size=8))
def test_decimals_are_ordered_as_numbers_in_sqlite(numbers: list[Decimal]) -> None:
    """Their text is turned into one that orders as they do, whatever sign and length."""
    texts = to_text(pa.array(numbers, pa.decimal128(30, 3))).to_pylist()
    expression = SQLite().ordered("x", pa.decimal128(30, 3))
    with closing(sqlite3.connect(":memory:")) as connection:
        keys = [
            connection.execute(f"SELECT {expression} FROM (SELECT ? AS x)", (text,)).fetchone()[0] for text in texts
        ]
    assert sorted(numbers) == [number for _, number in sorted(zip(keys, numbers, strict=True))]
