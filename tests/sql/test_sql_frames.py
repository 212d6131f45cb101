"""Frames of Spark in SQL tables, with tasks that run in this process: run twice, too late, or under a killed driver."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import txfiles as tx
from tests.services.databases import PASSWORD, SERVERS
from tests.sql.fake_frame import DataFrame
from tests.sql.sql_help import Url, beside, target_of
from txfiles.spark import jobs
from txfiles.targets.sql import tasks
from txfiles.targets.sql.dialects import sharing

KEYED = {"mode": "upsert", "keys": ["id"]}
SCHEMA = pa.schema({"id": pa.int64(), "at": pa.int32(), "name": pa.string(), "v": pa.float64()})


def rows(*given: tuple[object, ...]) -> pa.Table:
    """Rows of `SCHEMA`, which may leave out columns at the end."""
    full = [(*one, *[None] * (len(SCHEMA) - len(one))) for one in given]
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, one, strict=True)) for one in full], schema=SCHEMA)


def frame(*parts: pa.Table, **how: object) -> DataFrame:
    """A frame of these partitions."""
    return DataFrame(parts, **how)  # type: ignore[arg-type]


def ids(url: str) -> list[int]:
    """The ids of a table, in order."""
    return sorted(tx.Table(url).to_arrow()["id"].to_pylist())


def staged(url: str) -> list[str]:
    """The shared staging tables beside a table."""
    with beside(url) as db:
        schema = target_of(url, db).partition(".")[0].strip('"`')
        sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
        return [name for (name,) in db.rows(sql, (schema,)) if name.startswith("txfiles_staged_")]


@contextmanager
def unchanged(url: str) -> Iterator[None]:
    """Nothing is left behind: neither rows nor a commit nor a staging table."""
    before = [str(one) for one in tx.Table(url).history()], ids(url)
    yield
    assert ([str(one) for one in tx.Table(url).history()], ids(url)) == before
    assert staged(url) == []


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("how", [{"wasted": 1}, {"late": 1}, {"wasted": 2, "late": 2}], ids=str)
def test_attempts_that_nobody_asked_for(kind: str, how: dict[str, int], sql_url: Url) -> None:
    """Each task commits its rows several times, but only the attempt that was reported counts: no row is doubled."""
    url = sql_url(kind)
    parts = rows((1,), (2,), (3,)), rows((4,)), rows()
    result = tx.write(frame(*parts, **how), url, mode="append")
    assert (result.rows_in, result.rows_inserted, result.version) == (4, 4, 0)
    assert tx.write(frame(*parts, **how), url, **KEYED, rekey=True).rows_unchanged == 4
    assert ids(url) == [1, 2, 3, 4]
    assert staged(url) == []


@pytest.mark.parametrize("kind", SERVERS)
def test_an_attempt_that_dies_half_way(kind: str, sql_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has loaded is gone with its transaction, and the next attempt loads everything once."""
    url = sql_url(kind)
    monkeypatch.setattr(tasks, "CHUNK_BYTES", 1)
    over_rows, tries = jobs.over_rows, []

    def twice(source: DataFrame, function):
        def half(batches):
            def until():
                yield next(batches)
                raise RuntimeError("the executor is gone")

            return function(until())

        with pytest.raises(tx.EngineError, match="executor is gone"):
            over_rows(source, half)
        with beside(url) as db:
            (loaded,) = db.rows(f"SELECT count(*) FROM {target_of(url, db).partition('.')[0]}.{staged(url)[0]}")[0]
        tries.append(loaded)
        return over_rows(source, function)

    monkeypatch.setattr(jobs, "over_rows", twice)
    result = tx.write(frame(rows((1,), (2,), (3,), (4,), (5,))), url, mode="append")
    assert (tries, result.rows_inserted, ids(url)) == ([0], 5, [1, 2, 3, 4, 5])


CHILD = """
import json, os, signal, sys
import pyarrow as pa
import txfiles as tx
from tests.sql.fake_frame import DataFrame

rows = pa.table({"id": [7, 8]})
tx.write(DataFrame([rows], then=lambda: os.kill(os.getpid(), signal.SIGKILL)), sys.argv[1], mode="append")
"""


@pytest.mark.parametrize("kind", SERVERS)
def test_a_driver_that_is_killed(kind: str, sql_url: Url, caplog: pytest.LogCaptureFixture) -> None:
    """Its staging table stays, and no row or commit; the next write of a frame, to any table there, drops it."""
    url = sql_url(kind)
    tx.write(pa.table({"id": [1]}), url, mode="append")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, url], check=False, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    assert done.returncode == -signal.SIGKILL
    (left,) = staged(url)
    assert (ids(url), len(tx.Table(url).history())) == ([1], 1)
    caplog.set_level(logging.INFO, "txfiles")
    tx.write(frame(pa.table({"id": [1]})), url.replace("customers", "others"), mode="append")
    assert staged(url) == []
    assert f"dropped {left}, whose process is gone" in caplog.text
    assert ids(url) == [1]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_table_in_use_is_let_alone(kind: str, sql_url: Url) -> None:
    """A write that begins while another one loads its frame does not take that one's staging table for a dead one's."""
    url = sql_url(kind)
    others = url.replace("customers", "others")
    seen = []

    def meanwhile() -> None:
        tx.write(frame(rows((5,)), then=lambda: seen.append(len(staged(url)))), others, mode="append")

    result = tx.write(frame(rows((1,), (2,)), then=meanwhile), url, mode="append")
    assert (result.rows_inserted, ids(url), ids(others), seen) == (2, [1, 2], [5], [2])
    assert staged(url) == []


@pytest.mark.parametrize("kind", SERVERS)
def test_a_staging_table_that_cannot_be_dropped(
    kind: str, sql_url: Url, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The write has committed all the same; it says so, and the next write drops the table."""
    url = sql_url(kind)
    for module in (sharing, sys.modules[f"txfiles.targets.sql.dialects.{kind}"]):
        monkeypatch.setattr(module, "DROP_SECONDS", 1)
    with beside(url) as db:

        def straggle() -> None:
            table = f"{target_of(url, db).partition('.')[0]}.{staged(url)[0]}"
            db.run("START TRANSACTION")
            db.run(f"INSERT INTO {table} (a, n) SELECT max(a) + 1, 1 FROM {table}")

        assert tx.write(frame(rows((1,)), then=straggle), url, mode="append", timeout=5).committed
        assert "could not be dropped" in caplog.text
        db.run("ROLLBACK")
    assert len(staged(url)) == 1
    assert tx.write(frame(rows((2,))), url, mode="append").rows_inserted == 1
    assert (ids(url), staged(url)) == ([1, 2], [])


@pytest.mark.parametrize("kind", SERVERS)
def test_rows_that_are_refused(kind: str, sql_url: Url) -> None:
    """No key, several different rows of one key, a value that the database cannot hold: nothing is left behind."""
    url = sql_url(kind)
    tx.write(frame(rows((1, 1, "a"))), url, **KEYED)
    with (
        unchanged(url),
        pytest.raises(tx.NullKeyError, match=r"^2 rows have a null in key column 'id'; nothing") as null,
    ):
        tx.write(frame(rows((2,), (None,)), rows((None,), (3,))), url, **KEYED)
    assert (null.value.evidence["count"], null.value.evidence["column"]) == (2, "id")
    doubled = frame(rows((5, 1, "a"), (6, 1, "a")), rows((5, 1, "b"), (6, 1, "a"), (4, 0)), rows((4, 1)))
    with (
        unchanged(url),
        pytest.raises(tx.DuplicateKeyError, match=r"^2 keys have several rows .* such as 4, 5;") as twice,
    ):
        tx.write(doubled, url, **KEYED)
    assert (twice.value.evidence["count"], twice.value.evidence["keys"]) == (2, [4, 5])
    bad = "\0" if kind == "postgresql" else float("nan")
    column = "name" if kind == "postgresql" else "v"
    with unchanged(url), pytest.raises(tx.LossyCastError, match=f"'{column}'"):
        tx.write(frame(rows((2, 1, *([bad] if column == "name" else ["x", bad])))), url, mode="append")
    with unchanged(url), pytest.raises(tx.OptionError, match=r"last_wins.* goes by the position"):
        tx.write(frame(rows((2,))), url, **KEYED, dedup_strategy="last_wins")
    with unchanged(url), pytest.raises(tx.SchemaMismatchError):
        tx.write(frame(pa.table({"id": ["x"]})), url, mode="append")


@pytest.mark.parametrize("kind", SERVERS)
def test_equal_rows_count_once(kind: str, sql_url: Url) -> None:
    """Rows that are equal in every column are one row, wherever they are, if keys are checked; else all are added."""
    url = sql_url(kind)
    same = frame(rows((1, 1, "a", 0.5), (1, 1, "a", 0.5)), rows((1, 1, "a", 0.5), (2,)), rows((2,)))
    result = tx.write(same, url, **KEYED)
    assert (result.rows_in, result.rows_inserted, result.rows_deduplicated) == (5, 2, 3)
    result = tx.write(same, url.replace("customers", "others"), mode="append")
    assert (result.rows_in, result.rows_inserted, result.rows_deduplicated) == (5, 5, 0)


@pytest.mark.parametrize("kind", SERVERS)
def test_the_newest_row_wins(kind: str, sql_url: Url) -> None:
    """No time is oldest; of equally new rows the greatest wins, null above all, wherever the rows are."""
    long = "z" * 1_030  # MariaDB sorts by 1,024 bytes, and then by digests: that of 1 is the greater one here
    assert hashlib.sha256(f"{long}1".encode()).digest() > hashlib.sha256(f"{long}2".encode()).digest()
    winners = [(1, 2, "a"), (2, 1, "b", 1.0), (3, 1, None, 0.5), (4, None, "B"), (5, 1, long + "2"), (6, 1, "a", None)]
    losers = [(1, 1, "z"), (2, 1, "b", -2.0), (3, 1, "z", 9.0), (4, None, "A"), (5, 1, long + "1"), (6, 1, "a", 7.0)]
    losers += [(1, None, "z"), (2, 1, "B", 9.0), (2, 1, "ab", 9.0)]
    if kind == "mariadb":
        winners[4], losers[4] = losers[4], winners[4]
    else:  # it holds -0.0 for equal to 0.0
        winners, losers = [*winners, (7, 1, "a", -0.0)], [*losers, (7, 1, "a", 0.0)]
    how = {**KEYED, "timestamp_col": "at", "dedup_strategy": "newest_wins"}
    for parts in ((winners, losers), (losers, winners)):
        url = sql_url(kind)
        result = tx.write(frame(*(rows(*part) for part in parts)), url, **how)
        assert (result.rows_inserted, result.rows_deduplicated) == (len(winners), len(losers))
        found = tx.Table(url).to_arrow().sort_by("id").to_pylist()
        assert str(found) == str(rows(*winners).to_pylist())  # -0.0 equals 0.0


@pytest.mark.parametrize("kind", SERVERS)
def test_another_writer_changes_the_columns(kind: str, sql_url: Url) -> None:
    """Of a table that came to be while the frame was loaded, the frame is loaded anew to fit; none of it is doubled."""
    url = sql_url(kind)
    wider = pa.schema({**{one.name: one.type for one in SCHEMA}, "more": pa.string()})

    def meanwhile() -> None:
        if not tx.exists(url):
            tx.write(pa.table({name: [] for name in wider.names}, schema=wider), url, mode="append")

    source = frame(rows((1,), (2,)), then=meanwhile)
    result = tx.write(source, url, mode="append", schema_mode="merge")
    assert (source.jobs, result.attempts, result.rows_inserted, result.version) == (2, 2, 2, 1)
    assert tx.Table(url).schema.names == wider.names
    assert (ids(url), staged(url)) == ([1, 2], [])


def test_rows_that_are_gone(sql_url: Url) -> None:
    """A staging table that a crashed server has emptied is noticed, and nothing is written."""
    url = sql_url("postgresql")
    tx.write(pa.table({"id": [1]}), url, mode="append")

    def empty() -> None:
        with beside(url) as db:
            db.run(f"DELETE FROM {target_of(url, db).partition('.')[0]}.{staged(url)[0]} WHERE n = 0")

    with unchanged(url), pytest.raises(tx.StoreError, match="of 2 rows that were loaded 1 are there"):
        tx.write(frame(pa.table({"id": [2, 3]}), then=empty), url, mode="append")


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_databases_of_one_process(kind: str, sql_url: Url) -> None:
    """A database that is a file is refused with the way out, before any file is made or any job is run."""
    url, source = sql_url(kind), frame(rows((1,)))
    for call in (tx.write, tx.plan):
        with pytest.raises(tx.OptionError, match="cannot be written from a Spark DataFrame") as refused:
            call(source, url, mode="append")
        assert "df.toArrow()" in str(refused.value.hint)
    assert source.jobs == 0
    assert not os.path.exists(url.partition("///")[2].partition("?")[0])


@pytest.mark.parametrize("kind", SERVERS)
def test_a_batch_is_named_once(kind: str, sql_url: Url) -> None:
    """A delivery that was committed is not even computed again."""
    url = sql_url(kind)
    assert tx.write(frame(rows((1,))), url, mode="append", batch_id="one").version == 0
    again = frame(rows((1,)))
    result = tx.write(again, url, mode="append", batch_id="one")
    assert (result.already_committed, result.version, again.jobs, ids(url)) == (True, 0, 0, [1])


@pytest.mark.parametrize("kind", SERVERS)
def test_a_plan(kind: str, sql_url: Url) -> None:
    """It counts what the write will do, of a table that is and one that is not there, and leaves nothing."""
    url = sql_url(kind)
    first = frame(rows((1, 1), (2, 1)), rows((2, 1)))
    plan = tx.plan(first, url, **KEYED, timestamp_col="at")
    assert (plan.version, plan.rows_in, plan.rows_inserted, plan.rows_deduplicated) == (None, 3, 2, 1)
    assert (tx.exists(url), staged(url)) == (False, [])
    tx.write(first, url, **KEYED, timestamp_col="at")
    second = frame(rows((1, 0, "old"), (2, 2, "new")), rows((3, 1)))
    with unchanged(url):
        plan = tx.plan(second, url, **KEYED)
    done = tx.write(second, url, **KEYED)
    assert (plan.rows_stale, plan.rows_updated, plan.rows_inserted) == (1, 1, 1)
    assert (done.rows_stale, done.rows_updated, done.rows_inserted) == (1, 1, 1)
    assert sorted(tx.Table(url).to_arrow().select(["id", "name"]).to_pylist(), key=lambda row: row["id"]) == [
        {"id": 1, "name": None},
        {"id": 2, "name": "new"},
        {"id": 3, "name": None},
    ]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_part_is_overwritten(kind: str, sql_url: Url) -> None:
    """Rows outside the filter are refused, and keys that the rest of the table has; else the part is replaced."""
    url = sql_url(kind)
    tx.write(frame(rows((1, 1), (2, 1), (3, 2))), url, **KEYED)
    part = {"mode": "overwrite", "replace_where": [("at", "==", 1)]}
    with unchanged(url), pytest.raises(tx.InputError):
        tx.write(frame(rows((7, 1)), rows((8, 2))), url, **part)
    with unchanged(url), pytest.raises(tx.DuplicateKeyError, match=r"^1 keys of the batch are also .* first is 3;"):
        tx.write(frame(rows((7, 1)), rows((3, 1))), url, **part, keys=["id"])
    result = tx.write(frame(rows((7, 1)), rows((8, 1))), url, **part, keys=["id"])
    assert (result.rows_inserted, result.rows_deleted, ids(url)) == (2, 2, [3, 7, 8])


def test_no_secret_is_told(sql_url: Url, caplog: pytest.LogCaptureFixture, database_server) -> None:
    """Neither by a task that cannot connect nor by one whose statement fails, nor in the log."""
    url = sql_url("postgresql")
    caplog.set_level(logging.DEBUG)
    server = database_server("postgresql")

    def revoke() -> None:
        with beside(url) as db:
            db.run(f"ALTER TABLE {target_of(url, db).partition('.')[0]}.{staged(url)[0]} DROP COLUMN c0")

    with pytest.raises(tx.TxFilesError) as failed:
        tx.write(frame(rows((1,)), first=revoke), url, mode="append")
    nowhere = url.replace(f":{server.port}/", ":1/")
    with pytest.raises(tx.StoreError) as unreachable:
        tx.write(frame(rows((1,))), nowhere, mode="append")
    told = [str(failed.value), repr(failed.value), str(unreachable.value), repr(unreachable.value), caplog.text]
    assert not any(PASSWORD in one for one in told)
    assert (tx.exists(url), staged(url)) == (False, [])


def test_percent_signs_and_quotes(sql_url: Url, database_server) -> None:
    """Names are names, whatever is in them."""
    url = sql_url("postgresql")
    with beside(url) as db:
        db.run('CREATE SCHEMA "a%%s ""b"')
    odd = url.partition("?")[0] + "?table=%22a%25s+%22%22b%22.%22c%25%22"
    data = pa.table({'x%s"': [1, 2]})
    try:
        assert tx.write(frame(data), odd, mode="append").rows_inserted == 2
        assert tx.Table(odd).to_arrow() == data
    finally:
        with beside(url) as db:
            db.run('DROP SCHEMA "a%%s ""b" CASCADE')


# ---- the same as for rows in this process

values = st.tuples(
    st.integers(0, 6),
    st.sampled_from([None, 0, 1, 2]),
    st.sampled_from([None, "", "a", "B", "b", "é", "z" * 1_030 + "1", "z" * 1_030 + "2"]),
    st.sampled_from([None, 0.0, 1.5, -2.0]),
)
partitions = st.lists(st.lists(values, max_size=6), min_size=1, max_size=3)
modes = st.sampled_from(["append", "append_once", "upsert", "upsert stale", "overwrite", "overwrite keyed"])


def options(mode: str) -> dict[str, object]:
    """The options of one of `modes`."""
    word, _, more = mode.partition(" ")
    keyed = word in ("append_once", "upsert") or more == "keyed"
    found: dict[str, object] = {"mode": word}
    if keyed:
        found.update(keys=["id"], dedup_strategy="newest_wins", timestamp_col="at")
    return {**found, "stale": "apply"} if more == "stale" else found


def in_order(parts: list[list[tuple[object, ...]]], *, digest: bool) -> pa.Table:
    """The rows, such that the later one of equally new ones is the greater one: null is greatest."""

    def rank(value: object) -> tuple[object, ...]:
        if isinstance(value, str):  # MariaDB sorts by the beginning of a long text
            data = value.encode()
            return (False, data[:1_024], hashlib.sha256(data).hexdigest()) if digest else (False, data)
        return (value is None, value if value is not None else 0)

    return rows(*sorted((row for part in parts for row in part), key=lambda row: [rank(value) for value in row]))


@pytest.mark.parametrize("kind", SERVERS)
@given(data=st.data())
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])  # each has its own tables
def test_the_same_as_local_rows(kind: str, data: st.DataObject, sql_url: Url) -> None:
    """Whatever the batches: the same rows, counts and versions as if they had been in this process, in order."""
    here, there = sql_url(kind), sql_url(kind)
    for _ in range(2):
        parts, how = data.draw(partitions), options(data.draw(modes))
        local = tx.write(in_order(parts, digest=kind == "mariadb"), here, **how)
        spark = tx.write(frame(*(rows(*part) for part in parts), wasted=1), there, **how)
        counts = ("version", "committed", "rows_in", "rows_deduplicated", "rows_inserted", "rows_updated")
        more = ("rows_unchanged", "rows_skipped", "rows_stale", "rows_deleted")
        assert {one: getattr(spark, one) for one in (*counts, *more)} == {
            one: getattr(local, one) for one in (*counts, *more)
        }
        assert content(there) == content(here)
    assert tx.Table(there).keys == tx.Table(here).keys


def content(url: str) -> list[str]:
    """The rows of a table, in an order of their own."""
    return sorted(json.dumps(row) for row in tx.Table(url).to_arrow().to_pylist())
