"""Where SQL tables went wrong: spellings, URLs that say less than they seem to, plans, indexes, values of others."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest

import txfiles as tx
from tests.services.databases import DATABASES
from tests.sql.sql_help import Url, beside, target_of
from txfiles.targets.protocol import Place
from txfiles.targets.sql import ledger, staging
from txfiles.targets.sql.dialects.postgresql import is_postgresql

each = pytest.mark.parametrize("kind", DATABASES)
files = pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
KEYED = {"mode": "upsert", "keys": ["id"]}


def rows(*ids: int, name: str = "n") -> pa.Table:
    """Rows with these keys."""
    return pa.table({"id": pa.array(ids, pa.int64()), "name": pa.array([name] * len(ids), pa.string())})


def ids(url: str) -> list[int]:
    """The table's keys in order."""
    return sorted(tx.Table(url).to_arrow()["id"].to_pylist())


@each
def test_tables_that_differ_in_a_letter_beyond_ascii(kind: str, sql_url: Url) -> None:
    """They are two tables with a history each: a batch of one is none of the other."""
    base = sql_url(kind).replace("customers", "")
    one, other = (base + quote(name) for name in ("Ärger", "ärger"))
    tx.write(rows(1), one, mode="append", batch_id="b")
    if kind == "mariadb":  # whose server decides by its file system
        return
    assert not tx.exists(other)
    assert tx.write(rows(2), other, mode="append", batch_id="c").committed
    assert tx.write(rows(1), one, mode="append", batch_id="b").already_committed
    assert tx.write(rows(3), one, mode="append", batch_id="c").committed
    assert (ids(one), ids(other)) == ([1, 3], [2])
    assert [len(tx.Table(url).history()) for url in (one, other)] == [2, 1]


@files
def test_spellings_of_one_table(kind: str, sql_url: Url) -> None:
    """ASCII letters in another case name the same table, its history and its index."""
    url = sql_url(kind)
    other = url.replace("customers", "CUSTomers")
    tx.write(rows(1), url, **KEYED, batch_id="b")
    assert tx.write(rows(1), other, mode="upsert", batch_id="b").already_committed
    table = rows(1).append_column("code", pa.array([7]))
    assert tx.write(table, other, mode="upsert", keys=["code"], rekey=True, schema_mode="merge").committed
    assert tx.write(rows(1).append_column("code", pa.array([8])), url, mode="upsert").rows_inserted == 1


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///{folder}/x.db?table=temp.t",
        "sqlite:///{folder}/x.db?table=TEMP.t",
        "duckdb:///{folder}/x.db?table=temp.t",
        "postgresql://host/d?table=pg_temp.t",
        "postgresql://host/d?table=pg_temp_3.t",
    ],
)
def test_tables_of_a_connection_are_refused(url: str, tmp_path: Path) -> None:
    """They would be gone when the call ends."""
    for call in (tx.exists, tx.Table, lambda url: tx.write(rows(1), url, mode="append")):
        with pytest.raises(tx.OptionError, match="gone when the call ends"):
            call(url.format(folder=tmp_path))
    assert list(tmp_path.iterdir()) == []


@each
def test_an_overwrite_with_columns_in_another_order(kind: str, sql_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure before the commit leaves the table as it was, in databases that make tables outside of transactions."""
    url = sql_url(kind)
    tx.write(rows(1), url, mode="append")
    turned = rows(2).select(["name", "id"])

    def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "add", fail)
        with pytest.raises(RuntimeError):
            tx.write(turned, url, mode="overwrite", schema_mode="overwrite")
    assert tx.Table(url).to_arrow().equals(rows(1))
    tx.write(turned, url, mode="overwrite", schema_mode="overwrite")
    assert tx.Table(url).to_arrow().equals(turned)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joe:hun@ter22@nohost/d?table=t",
        "mariadb://joe:hun@ter22@nohost/d?table=t",
        "postgresql://joe:1234?hunter22@nohost/d?x=1&table=t",
        "postgresql://joe:1234?hunter22/@nohost/d?table=t",
    ],
)
def test_a_password_that_ends_the_url_early(url: str) -> None:
    """Characters that must be escaped are refused, and no part of the password is told."""
    for call in (tx.exists, tx.Table, lambda url: tx.write(rows(1), url, mode="append")):
        with pytest.raises(tx.OptionError, match="means something else") as caught:
            call(url)
        told = f"{caught.value!r} {caught.value} {caught.value.hint}"
        assert "%40" in told
        assert "ter22" not in told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joe:hunter22@h/d?table=t&password=hunter22",
        "postgresql://joe:hun@ter22@h/d?table=t",
        "postgresql://joe:12?ter22@h/d?table=t",
    ],
)
def test_the_repr_of_a_place_has_no_password(url: str) -> None:
    """It tells the server and the database."""
    shown = repr(Place(url, {"password": "hunter22"}))
    assert "ter22" not in shown
    assert "postgresql://…@h/d" in shown
    assert "'/folder/x'" in repr(Place(Path("/folder/x")))


@files
def test_a_pickle_of_a_relative_url(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table stays the same from whatever folder it is read, refreshed and unpickled."""
    (tmp_path / "a b%41").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "a b%41")
    url = f'{kind}:///x.db?table="a.b"'
    tx.write(rows(1), url, mode="append")
    table = tx.Table(url)
    data = pickle.dumps(table)
    os.chdir(tmp_path / "other")
    tx.write(rows(9), url, mode="append")
    assert table.refresh().to_arrow()["id"].to_pylist() == [1]
    assert pickle.loads(data).to_arrow()["id"].to_pylist() == [1]


def test_an_option_that_the_driver_does_not_know(sql_url: Url) -> None:
    """A named error, without its value."""
    for url, options in (
        (sql_url("mariadb"), {"nonsense": "hunter22"}),
        (sql_url("mariadb") + "&read_timeout=hunter22", None),
        (sql_url("sqlite") + "&timeout=hunter22", None),
    ):
        with pytest.raises(tx.OptionError, match="the driver does not take") as caught:
            tx.write(rows(1), url, mode="append", storage_options=options)
        assert "hunter22" not in f"{caught.value!r} {caught.value}"


def test_options_of_duckdb(sql_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters of the URL and storage_options are its settings, references to the environment too."""
    url = sql_url("duckdb")
    monkeypatch.setenv("THREADS", "3")
    tx.write(rows(1), url, mode="append")
    with beside(url + "&threads=2") as db:
        assert db.rows("SELECT current_setting('threads')") == [(2,)]
    tx.write(rows(2), url, mode="append", storage_options={"threads": "${THREADS}"})
    assert ids(url) == [1, 2]
    with pytest.raises(tx.TxFilesError, match="nonsense"):
        tx.write(rows(3), url + "&nonsense=1", mode="append")


@pytest.mark.parametrize("name", ["uri", "mode", "vfs", "isolation_level", "detect_types"])
def test_options_that_sqlite_does_not_take(name: str, tmp_path: Path) -> None:
    """One that would open another file, or read other values, is refused by name; no file is made."""
    url = f"sqlite:///{tmp_path}/x.db?table=a"
    for call in (
        lambda: tx.write(rows(1), f"{url}&{name}=true", mode="append"),
        lambda: tx.write(rows(1), url, mode="append", storage_options={name: True}),
    ):
        with pytest.raises(tx.OptionError, match=f"do not take '{name}'"):
            call()
    assert list(tmp_path.iterdir()) == []
    tx.write(rows(1), f"{url}&timeout=3", mode="append", storage_options={"cached_statements": 5})
    assert ids(url) == [1]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("sqlite", pa.array([float("nan")])),
        ("postgresql", pa.array(["a\0b"])),
        ("mariadb", pa.array([-0.0])),
        ("duckdb", pa.array([2**40], pa.timestamp("s"))),
    ],
)
def test_a_plan_refuses_what_a_write_refuses(kind: str, wrong: pa.Array, sql_url: Url) -> None:
    """Before the table is there: values that would change, and names that are too long."""
    url = sql_url(kind)
    for call in (tx.plan, tx.write):
        with pytest.raises(tx.LossyCastError, match="'v'"):
            call(pa.table({"v": wrong}), url, mode="append")
        if kind in ("postgresql", "mariadb"):
            with pytest.raises(tx.SchemaMismatchError, match="is longer than"):
                call(rows(1), url + "x" * 60, mode="append")


def test_a_plan_whose_connection_breaks(sql_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as by a write."""
    url = sql_url("postgresql")
    tx.write(rows(1), url, mode="append")
    stage = staging.stage

    def end(db, *args) -> None:
        with beside(url) as other:
            other.run("SELECT pg_terminate_backend(%s)", db.rows("SELECT pg_backend_pid()")[0])
        stage(db, *args)

    monkeypatch.setattr(staging, "stage", end)
    for call in (tx.plan, tx.write):
        with pytest.raises(tx.StoreError, match="connection broke"):
            call(rows(2), url, mode="append")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_index_goes_with_the_keys(kind: str, sql_url: Url) -> None:
    """New keys get a unique index if none repeats; else the rows are right without."""
    url = sql_url(kind)
    table = pa.table({"id": [1, 2], "code": [10, 20]})
    tx.write(table, url, **KEYED)
    tx.write(pa.table({"id": [1], "code": [30]}), url, mode="upsert", keys=["code"], rekey=True)
    with pytest.raises(tx.DuplicateKeyError, match="unique index"):
        tx.write(pa.table({"id": [5], "code": [30]}), url, mode="append")
    assert tx.write(pa.table({"id": [6], "code": [30]}), url, mode="upsert").rows_updated == 1
    tx.write(pa.table({"id": [6], "code": [40]}), url, mode="append")
    assert tx.write(pa.table({"id": [7], "code": [50]}), url, **KEYED, rekey=True).rows_inserted == 1
    assert ids(url) == [1, 2, 6, 6, 7]
    tx.write(pa.table({"id": [7], "code": [60]}), url, mode="append")


def test_a_value_that_speaks_of_a_conflict(sql_url: Url) -> None:
    """An error is judged by its kind, not by the values in its text: nothing is waited for."""
    url = sql_url("duckdb")
    tx.write(rows(1, name="conflict"), url, mode="append")
    with beside(url) as db:
        db.run(f"CREATE UNIQUE INDEX others ON {target_of(url, db)} (name)")
    with pytest.raises(tx.DuplicateKeyError, match="unique index"):
        tx.write(rows(2, name="conflict"), url, mode="append", timeout=0.5)


@pytest.mark.parametrize("value", ["'abc'", "x'00'", "1.5"])
def test_a_value_of_another_type(value: str, sql_url: Url) -> None:
    """SQLite takes values of any type from other programs; a reader is told where."""
    url = sql_url("sqlite")
    tx.write(rows(1), url, **KEYED)
    with beside(url) as db:
        db.run(f"INSERT INTO customers VALUES ({value}, 'n')")
    for read in (lambda: tx.Table(url).to_arrow(), lambda: tx.Table(url).to_batches().read_all()):
        with pytest.raises(tx.CorruptTableError, match="'id'"):
            read()


def test_servers_that_only_speak_the_protocol() -> None:
    """PostgreSQL is told from those that lock and compare in their own ways."""
    for version in ("15.18 (Debian 15.18-0+deb12u1)", "18.4", "12.22", "19beta1"):
        assert is_postgresql(version)
    for version, cockroach in (
        ("13.0.0", "v24.1.0"),
        ("8.0.2", ""),
        ("11.2-YB-2.20.1.0-b0", ""),
        ("9.6.24", ""),
        ("", ""),
    ):
        assert not is_postgresql(version, cockroach)
