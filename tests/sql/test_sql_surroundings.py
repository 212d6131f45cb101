"""What a table's surroundings could change: settings of roles and files, collations, a file that others have."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from urllib.parse import quote

import pyarrow as pa
import pytest

import txfiles as tx
from tests.services.databases import DATABASES
from tests.sql.sql_help import Url, beside, target_of
from txfiles import environment
from txfiles.errors import StoreError
from txfiles.targets.sql import ledger
from txfiles.targets.sql.database import Database

KEYED = {"mode": "upsert", "keys": ["id"]}


@pytest.mark.parametrize("setting", ["extra_float_digits=0", "DateStyle=German", "DateStyle=SQL,DMY"])
def test_settings_of_a_role_change_no_value(setting: str, sql_url: Url) -> None:
    """Floats come with every digit, dates in one form."""
    url = sql_url("postgresql") + "&options=" + quote(f"-c {setting}")
    rows = pa.table(
        {
            "id": [1, 2],
            "v": [0.1 + 0.2, 1e17],
            "d": pa.array([0, 1], pa.date32()),
            "t": pa.array([0, -62_135_596_800_000_000], pa.timestamp("us", "UTC")),
        }
    )
    tx.write(rows, url, **KEYED)
    assert tx.Table(url).to_arrow().sort_by("id").equals(rows)
    assert tx.write(rows, url, **KEYED).rows_unchanged == 2


@pytest.mark.parametrize("by_url", [True, False], ids=["url", "storage_options"])
def test_a_collation_of_duckdb_joins_no_keys(sql_url: Url, *, by_url: bool) -> None:
    """Texts are equal to the byte, whatever the settings say."""
    url = sql_url("duckdb") + ("&default_collation=nocase" if by_url else "")
    options = {} if by_url else {"storage_options": {"default_collation": "nocase"}}
    tx.write(pa.table({"id": ["A"], "v": [1]}), url, **KEYED, **options)
    assert tx.write(pa.table({"id": ["a"], "v": [2]}), url, **KEYED, **options).rows_inserted == 1
    table = tx.Table(url, **options)
    assert table.to_arrow(filter=[("id", "==", "a")])["v"].to_pylist() == [2]
    assert table.lookup(["A"])["v"].to_pylist() == [1]


def test_a_nondeterministic_collation_is_refused(sql_url: Url) -> None:
    """Of a key and of any other column: to it, texts that differ are one."""
    url = sql_url("postgresql")
    tx.write(pa.table({"id": ["a"], "v": ["x"]}), url, mode="append")
    with beside(url) as db:
        target = target_of(url, db)
        collation = target.replace("customers", "ci")
        db.run(f"CREATE COLLATION {collation} (provider=icu, locale='und-u-ks-level2', deterministic=false)")
        for column in ("id", "v"):
            db.run(f"ALTER TABLE {target} ALTER COLUMN {column} TYPE text COLLATE {collation}")
            table = tx.Table(url)
            for call in (
                lambda: tx.write(pa.table({"id": ["A"], "v": ["y"]}), url, **KEYED),
                lambda: tx.plan(pa.table({"id": ["A"], "v": ["y"]}), url, **KEYED),
                lambda table=table: table.delete([("v", "!=", "X")]),
                lambda table=table: table.to_arrow(filter=[("v", "!=", "X")]),
            ):
                with pytest.raises(tx.UnsupportedTableError, match=f"{column!r} .* collation 'ci'") as caught:
                    call()
                assert "ALTER TABLE" in str(caught.value.hint)
            assert table.to_arrow().to_pylist() == [{"id": "a", "v": "x"}]
            db.run(f'ALTER TABLE {target} ALTER COLUMN {column} TYPE text COLLATE "C"')
    assert tx.write(pa.table({"id": ["A"], "v": ["y"]}), url, **KEYED).rows_inserted == 1
    assert tx.Table(url).lookup(["A"])["v"].to_pylist() == ["y"]


def test_integers_that_became_floats_in_sqlite(sql_url: Url) -> None:
    """SQLite goes on to store whole numbers as integers there; they come back as the floats that they are."""
    url = sql_url("sqlite")
    tx.write(pa.table({"id": [1, 2], "v": pa.array([1, None], pa.int32())}), url, **KEYED)
    floats = [1e17, 0.5, -(2.0**62), 2.0**63, 1e300, float("inf"), None, 0.0]
    more = pa.table({"id": [*range(3, 11)], "v": pa.array(floats, pa.float64())})
    tx.write(more, url, **KEYED, schema_mode="merge")
    found = tx.Table(url).to_arrow().sort_by("id")["v"]
    assert (found.type, found.to_pylist()) == (pa.float64(), [1.0, None, *floats])
    assert tx.write(more, url, **KEYED).rows_unchanged == 8
    assert tx.Table(url).to_arrow(filter=[("v", "==", 1e17)])["id"].to_pylist() == [3]
    assert tx.Table(url).lookup([3])["v"].to_pylist() == [1e17]


def test_a_file_of_sqlite_in_another_encoding(sql_url: Url) -> None:
    """Text is ordered otherwise there: refused by name, and nothing is written."""
    url = sql_url("sqlite")
    file = url.partition("///")[2].partition("?")[0]
    with sqlite3.connect(file) as raw:
        raw.execute("PRAGMA encoding = 'UTF-16le'")
        raw.execute("CREATE TABLE others (x)")
    for call in (lambda: tx.write(pa.table({"id": [1]}), url, **KEYED), lambda: tx.exists(url)):
        with pytest.raises(tx.UnsupportedTableError, match="encoding UTF-16le"):
            call()
    raw.close()


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("mode", ["upsert", "append"])
def test_the_row_of_a_bad_value_is_that_of_the_input(kind: str, mode: str, sql_url: Url) -> None:
    """Rows are counted as they came: before they are put in the order of keys, and before duplicates go."""
    # A time with nanoseconds fits no database.
    rows = pa.table({"id": [3, 3, 2, 1], "v": pa.array([0, 0, 0, 1], pa.timestamp("ns"))})
    for call in (tx.plan, tx.write):
        with pytest.raises(tx.LossyCastError, match="row 3") as caught:
            call(rows, sql_url(kind), mode=mode, keys=["id"] if mode == "upsert" else None)
        assert (caught.value.column, caught.value.row) == ("v", 3)


def test_rows_are_counted_across_parts(sql_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are checked part by part, and the rows of the parts before count."""
    monkeypatch.setattr("txfiles.batch.CHECKED_ROWS", 2)
    rows = pa.table({"id": [5, 4, 3, 2, 1], "v": [1.0, 2.0, 3.0, float("nan"), 5.0]})
    with pytest.raises(tx.LossyCastError, match="nan in row 3"):
        tx.write(rows, sql_url("sqlite"), **KEYED)


def test_a_reader_waits_for_a_file_of_duckdb(sql_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has it, and gives it back while the reader waits."""
    url = sql_url("duckdb")
    tx.write(pa.table({"id": [1]}), url, mode="append")
    table = tx.Table(url)
    file = url.partition("///")[2].partition("?")[0]
    hold = f"import duckdb, sys; c = duckdb.connect({file!r}); print(1, flush=True); sys.stdin.read()"
    real, waits = environment.real(), []
    for read in (lambda: tx.Table(url).row_count, table.to_arrow, lambda: tx.exists(url)):
        with subprocess.Popen(
            [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()

            def release(seconds: float, holder: subprocess.Popen[str] = holder) -> None:
                waits.append(seconds)
                holder.communicate("")

            with monkeypatch.context() as patch:
                patch.setattr(environment, "real", lambda release=release: replace(real, sleep=release))
                assert read()
    assert len(waits) == 3


def test_a_reader_of_duckdb_gives_up(sql_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its patience, with an error that says what to do."""
    monkeypatch.setattr("txfiles.targets.sql.reading.PATIENCE_SECONDS", 0.1)
    url = sql_url("duckdb")
    tx.write(pa.table({"id": [1]}), url, mode="append")
    file = url.partition("///")[2].partition("?")[0]
    hold = f"import duckdb, sys; c = duckdb.connect({file!r}); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(tx.StoreError, match="could not be read"):
            tx.Table(url)
        holder.communicate("")


@pytest.mark.parametrize("happens", [True, False], ids=["committed", "not-committed"])
def test_an_error_at_the_commit_is_looked_up(sql_url: Url, monkeypatch: pytest.MonkeyPatch, *, happens: bool) -> None:
    """An error that is neither a conflict nor a broken connection says nothing: the ledger is asked."""
    url = sql_url("sqlite")
    tx.write(pa.table({"id": [0]}), url, mode="append")
    add, run, added = ledger.add, Database.run, []

    def adding(*args: object) -> None:
        added.append(1)
        add(*args)

    def failing(db: Database, sql: str, parameters: tuple[object, ...] = ()) -> int:
        if added and sql == "COMMIT":
            if happens:
                run(db, sql)
            raise StoreError("disk I/O error")
        return run(db, sql, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "add", adding)
        patch.setattr(Database, "run", failing)
        if happens:
            assert tx.write(pa.table({"id": [1]}), url, mode="append", timeout=5).version == 1
        else:  # the failed transaction no longer has the file's lock
            with pytest.raises(tx.StoreError, match="disk I/O error") as caught:
                tx.write(pa.table({"id": [1]}), url, mode="append", timeout=5)
            assert caught.value.committed == "no"
    assert tx.Table(url).row_count == (2 if happens else 1)


def test_a_commit_that_a_rule_of_others_refuses(sql_url: Url) -> None:
    """It is told at once in the database's words, and nothing is written."""
    url = sql_url("postgresql")
    tx.write(pa.table({"id": [0]}), url, mode="append")
    with beside(url) as db:
        target = target_of(url, db)
        rule = target.replace("customers", "rule")
        db.run(f"CREATE FUNCTION {rule}() RETURNS trigger AS 'BEGIN RAISE ''not today''; END' LANGUAGE plpgsql")
        db.run(
            f"CREATE CONSTRAINT TRIGGER late AFTER INSERT ON {target} DEFERRABLE INITIALLY DEFERRED "
            f"FOR EACH ROW EXECUTE FUNCTION {rule}()"
        )
    with pytest.raises(tx.StoreError, match="not today") as caught:
        tx.write(pa.table({"id": [1]}), url, mode="append")
    assert caught.value.committed == "no"
    assert tx.Table(url).row_count == 1


@pytest.mark.parametrize("kind", DATABASES)
def test_an_overwrite_that_repeats_a_recorded_key(kind: str, sql_url: Url) -> None:
    """The unique index refuses it where there is one."""
    url = sql_url(kind)
    tx.write(pa.table({"id": [1]}), url, **KEYED)
    if kind == "duckdb":
        assert tx.write(pa.table({"id": [2, 2]}), url, mode="overwrite").rows_inserted == 2
        return
    with pytest.raises(tx.DuplicateKeyError, match="unique index"):
        tx.write(pa.table({"id": [2, 2]}), url, mode="overwrite")
    assert tx.Table(url).to_arrow()["id"].to_pylist() == [1]
