"""Delta tables written from Spark frames: the same tables, counts and errors as from data of this process."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import txfiles as tx
from txfiles.targets.delta import on_spark
from txfiles.targets.delta.spark_needs import require_delta

COUNTS = (
    *("rows_in", "rows_inserted", "rows_updated", "rows_unchanged", "rows_skipped", "rows_stale"),
    *("rows_deduplicated", "rows_deleted"),
)


def write(data: Any, path: Any, **options: Any) -> tx.WriteResult:
    return tx.write(data, str(path), format="delta", **options)


def table(path: Any) -> tx.Table:
    return tx.Table(str(path), format="delta")


def rows(path: Any) -> list[Any]:
    return sorted((tuple(row.values()) for row in table(path).to_arrow().to_pylist()), key=repr)


def counts(result: tx.WriteResult) -> tuple[Any, ...]:
    return tuple(getattr(result, name) for name in COUNTS)


def test_each_mode_twice(spark: Any, tmp_path: Path) -> None:
    """A retry of a keyed mode changes nothing and commits nothing; the counts add up; the log knows the call."""
    frame = spark.createDataFrame([(1, "a"), (2, "b")], "id long, v string")
    done = write(frame, tmp_path / "t", mode="append_once", keys=["id"])
    assert (done.version, done.committed, counts(done)) == (0, True, (2, 2, 0, 0, 0, 0, 0, 0))
    again = write(frame, tmp_path / "t", mode="append_once")
    assert (again.version, again.committed, counts(again)) == (0, False, (2, 0, 0, 0, 2, 0, 0, 0))
    more = spark.createDataFrame([(2, "B"), (3, "c"), (1, "a")], "id long, v string")
    planned = tx.plan(more, str(tmp_path / "t"), format="delta", mode="upsert")
    assert (planned.version, planned.committed, counts(planned)) == (0, True, (3, 1, 1, 1, 0, 0, 0, 0))
    done = write(more, tmp_path / "t", mode="upsert", user_metadata={"job": "nightly"})
    assert (done.version, done.committed, counts(done)) == (1, True, (3, 1, 1, 1, 0, 0, 0, 0))
    again = write(more, tmp_path / "t", mode="upsert")
    assert (again.version, again.committed, counts(again)) == (1, False, (3, 0, 0, 3, 0, 0, 0, 0))
    assert rows(tmp_path / "t") == [(1, "a"), (2, "B"), (3, "c")]
    assert table(tmp_path / "t").keys == ("id",)
    last = table(tmp_path / "t").history()[0]
    assert (last.operation, last.user_metadata, last.commit_id) == ("upsert", {"job": "nightly"}, done.commit_id)
    assert (last.rows_updated, last.files_added) == (1, done.files_added)
    assert tx.resolve(str(tmp_path / "t"), done.commit_id, format="delta").version == 1
    assert counts(write(frame, tmp_path / "t", mode="append")) == (2, 2, 0, 0, 0, 0, 0, 0)
    for gone in (5, 2):
        assert counts(write(frame, tmp_path / "t", mode="overwrite")) == (2, 2, 0, 0, 0, 0, 0, gone)
    assert rows(tmp_path / "t") == [(1, "a"), (2, "b")]
    assert [name for name in spark.catalog.listTables("global_temp") if name.name.startswith("txfiles")] == []


def test_refused_keys(spark: Any, tmp_path: Path) -> None:
    """Null and duplicate keys, and strategies by position, are refused before anything is written."""
    frame = spark.createDataFrame([(1, "a"), (None, "b"), (1, "c")], "id long, v string")
    with pytest.raises(tx.NullKeyError, match="1 row has a null in key column 'id'; nothing was written"):
        write(frame, tmp_path / "t", mode="upsert", keys=["id"])
    with pytest.raises(tx.DuplicateKeyError, match="1 key has several rows in the batch that differ, such as 1;"):
        write(frame.dropna(), tmp_path / "t", mode="append_once", keys=["id"])
    with pytest.raises(tx.OptionError, match="position of rows"):
        write(frame.dropna(), tmp_path / "t", mode="upsert", keys=["id"], dedup_strategy="last_wins")
    assert not (tmp_path / "t").exists()


def test_floats_that_are_no_keys(spark: Any, tmp_path: Path) -> None:
    """NaN is a missing key of a column of integers; a float beyond its digits may stand for several of them."""
    write(spark.createDataFrame([(1,)], "id long"), tmp_path / "t", mode="upsert", keys=["id"])
    frame = spark.createDataFrame([(2.0,), (float("nan"),), (None,)], "id double")
    with pytest.raises(tx.NullKeyError, match="2 rows have a null in key column 'id'; nothing was written"):
        write(frame, tmp_path / "t", mode="upsert")
    with pytest.raises(tx.LossyCastError, match="stands for several integers"):
        write(spark.createDataFrame([(2.0**53,)], "id double"), tmp_path / "t", mode="upsert")
    assert (rows(tmp_path / "t"), table(tmp_path / "t").version) == ([(1,)], 0)


def test_newest_wins_and_stale(spark: Any, tmp_path: Path) -> None:
    """The newest row of a key wins, of equally new ones the greatest; a row older than the table's is skipped."""
    kind = "id long, at timestamp, v string"
    old, new = dt.datetime(1899, 5, 1, 12), dt.datetime(2026, 5, 1, 12, 0, 0, 1)
    given = [(1, old, "z"), (1, new, "a"), (1, new, "b"), (2, None, "x"), (2, old, "y"), (3, old, "s"), (3, old, "s")]
    options = {"keys": ["id"], "timestamp_col": "at", "dedup_strategy": "newest_wins"}
    done = write(spark.createDataFrame(given, kind), tmp_path / "t", mode="upsert", **options)
    assert counts(done) == (7, 3, 0, 0, 0, 0, 4, 0)
    assert [(row[0], row[2]) for row in rows(tmp_path / "t")] == [(1, "b"), (2, "y"), (3, "s")]
    later = [(1, old, "late"), (2, old, "equal"), (3, None, "null")]
    done = write(spark.createDataFrame(later, kind), tmp_path / "t", mode="upsert")
    assert counts(done) == (3, 0, 1, 0, 0, 2, 0, 0)
    assert [(row[0], row[2]) for row in rows(tmp_path / "t")] == [(1, "b"), (2, "equal"), (3, "s")]
    assert table(tmp_path / "t").timestamp_col == "at"


def test_odd_names_and_composite_keys(spark: Any, tmp_path: Path) -> None:
    """Names with spaces, quotes, dots, backticks and reserved words are names like others; keys may be several."""
    names = ["a b", "select", "x.y", "q`'\"", "v;"]
    frame = spark.createDataFrame(
        [(1, "k\\'", 1.5, b"\x00\xff", Decimal("1.10"))], "a long, b string, c double, d binary, e decimal(9,2)"
    )
    done = write(frame.toDF(*names), tmp_path / "t", mode="append_once", keys=names[:2] + names[3:4])
    assert counts(done) == (1, 1, 0, 0, 0, 0, 0, 0)
    assert table(tmp_path / "t").keys == (*names[:2], names[3])
    more = spark.createDataFrame(
        [(1, "k\\'", -0.0, b"\x00\xff", Decimal("1.1")), (1, "k", 0.0, b"", None)],
        "a long, b string, c double, d binary, e decimal(9,2)",
    )
    done = write(more.toDF(*names), tmp_path / "t", mode="upsert")
    assert counts(done) == (2, 1, 1, 0, 0, 0, 0, 0)
    assert table(tmp_path / "t").to_arrow().schema.names == names
    zero = more.selectExpr("a", "b", "IF(c = 0, 0D, c) AS c", "d", "e").toDF(*names)
    assert counts(write(zero, tmp_path / "t", mode="upsert")) == (2, 0, 1, 1, 0, 0, 0, 0)


def test_partitions(spark: Any, tmp_path: Path) -> None:
    """A row whose partition value changes moves; an overwrite of partitions or of a filter replaces just these rows."""
    kind = "id long, c string, v long"
    frame = spark.createDataFrame([(1, "x", 1), (2, "y", 1), (3, None, 1)], kind)
    write(frame, tmp_path / "t", mode="upsert", keys=["id"], partition_by=["c"])
    done = write(spark.createDataFrame([(1, "y", 1)], kind), tmp_path / "t", mode="upsert")
    assert counts(done) == (1, 0, 1, 0, 0, 0, 0, 0)
    assert rows(tmp_path / "t") == [(1, "y", 1), (2, "y", 1), (3, None, 1)]
    part = spark.createDataFrame([(3, None, 2), (4, None, 2)], kind)
    done = write(part, tmp_path / "t", mode="overwrite", overwrite_partitions=True, keys=["id"])
    assert counts(done) == (2, 2, 0, 0, 0, 0, 0, 1)
    assert rows(tmp_path / "t") == [(1, "y", 1), (2, "y", 1), (3, None, 2), (4, None, 2)]
    clash = spark.createDataFrame([(1, None, 3)], kind)
    with pytest.raises(tx.DuplicateKeyError, match="1 keys of the batch are also in rows that stay; the first is 1"):
        write(clash, tmp_path / "t", mode="overwrite", overwrite_partitions=True, keys=["id"])
    where = [("v", ">=", 2), ("id", "!=", 4)]
    with pytest.raises(tx.InputError, match="1 row"):
        write(frame.limit(1), tmp_path / "t", mode="overwrite", replace_where=where)
    done = write(spark.createDataFrame([(9, "z", 5)], kind), tmp_path / "t", mode="overwrite", replace_where=where)
    assert counts(done) == (1, 1, 0, 0, 0, 0, 0, 1)
    assert rows(tmp_path / "t") == [(1, "y", 1), (2, "y", 1), (4, None, 2), (9, "z", 5)]
    with pytest.raises(tx.InputError, match="partition column 'c' has an empty text"):
        write(spark.createDataFrame([(9, "", 5)], kind), tmp_path / "t", mode="append")


def test_batch_ids_of_both_engines(spark: Any, tmp_path: Path) -> None:
    """A batch that either engine has committed is known to the other, also if it changed no row."""
    frame, local = spark.createDataFrame([(1,)], "id long"), pa.table({"id": [1]})
    write(frame, tmp_path / "t", mode="append", batch_id="from spark")
    done = write(local, tmp_path / "t", mode="append", batch_id="from spark")
    assert (done.already_committed, done.version) == (True, 0)
    write(local, tmp_path / "t", mode="append", batch_id="local")
    done = write(frame, tmp_path / "t", mode="append", batch_id="local")
    assert (done.already_committed, done.version) == (True, 1)
    with pytest.raises(tx.BatchIdMismatchError):
        write(frame, tmp_path / "t", mode="overwrite", batch_id="local")
    done = write(frame.limit(0), tmp_path / "t", mode="append", batch_id="empty")
    assert (done.committed, done.version) == (True, 2)
    assert write(local, tmp_path / "t", mode="append", batch_id="empty").already_committed
    assert rows(tmp_path / "t") == [(1,), (1,)]


def test_schemas(spark: Any, tmp_path: Path) -> None:
    """Types are cast without loss or refused; merge adds columns and keeps stored values; overwrite replaces all."""
    write(pa.table({"id": pa.array([1, 2], pa.int32()), "s": [{"a": 1, "b": "x"}] * 2}), tmp_path / "t", mode="append")
    frame = spark.createDataFrame([(1,)], "id long")
    with pytest.raises(tx.SchemaMismatchError, match="'s'"):
        write(frame, tmp_path / "t", mode="append")
    with pytest.raises(tx.SchemaMismatchError, match="cannot become int64"):
        write(frame, tmp_path / "t", mode="append", schema_mode="merge")
    wide = "SELECT {} AS id, named_struct('a', 1L, 'b', 'x') AS s"
    with pytest.raises(tx.LossyCastError, match="column 'id'"):
        write(spark.sql(wide.format(2**40)), tmp_path / "t", mode="append")
    assert write(spark.sql(wide.format("1L")), tmp_path / "t", mode="upsert", keys=["id"]).rows_unchanged == 1
    more = spark.sql("SELECT 2 AS id, named_struct('a', 7L) AS s, CAST(5 AS DOUBLE) AS n")
    done = write(more, tmp_path / "t", mode="upsert", keys=["id"], schema_mode="merge")
    assert counts(done) == (1, 0, 1, 0, 0, 0, 0, 0)
    assert rows(tmp_path / "t") == [(1, {"a": 1, "b": "x"}, None), (2, {"a": 7, "b": "x"}, 5.0)]
    write(frame, tmp_path / "t", mode="overwrite", schema_mode="overwrite", keys=["id"])
    assert (rows(tmp_path / "t"), table(tmp_path / "t").keys) == ([(1,)], ("id",))
    assert table(tmp_path / "t").schema.field("id").type == pa.int64()


def test_rows_are_computed_once(spark: Any, tmp_path: Path) -> None:
    """A frame that gives other rows each time is computed once: what is checked and counted is what is written."""

    def some(batches: Any) -> Any:
        import random

        for _ in batches:
            yield pa.RecordBatch.from_pydict({"n": list(range(random.randrange(100, 100_000)))})

    frame = spark.range(1, numPartitions=1).mapInArrow(some, "n long")
    done = write(frame, tmp_path / "t", mode="append_once", keys=["n"])
    assert done.rows_in == done.rows_inserted == table(tmp_path / "t").row_count


def before(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen once, between the counting of rows and the statement that commits."""
    real, pending = on_spark.run, [happens]

    def run(action: Callable[[], object]) -> None:
        if pending:
            pending.pop()()
        real(action)

    monkeypatch.setattr(on_spark, "run", run)


def test_another_commit_between(spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statement decides on the version that it finds: no key twice, nothing newer undone, and the counts say so."""
    write(pa.table({"id": [1, 2], "at": [1, 1]}), tmp_path / "t", mode="upsert", keys=["id"], timestamp_col="at")
    frame = spark.createDataFrame([(1, 2), (2, 1), (3, 2), (4, 4)], "id long, at long")
    before(
        monkeypatch,
        lambda: write(pa.table({"id": [1, 2, 3], "at": [9, 0, 2]}), tmp_path / "t", mode="upsert", stale="apply"),
    )
    done = write(frame, tmp_path / "t", mode="upsert")
    assert (done.version, counts(done)) == (2, (4, 1, 1, 1, 0, 1, 0, 0))
    assert rows(tmp_path / "t") == [(1, 9), (2, 1), (3, 2), (4, 4)]


def test_a_conflict_is_planned_anew(spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever creates the table first wins; the other plans again, and gives up when its time is over."""
    frame = spark.createDataFrame([(1, "spark"), (2, "spark")], "id long, v string")
    other = pa.table({"id": [1], "v": ["local"]})
    before(monkeypatch, lambda: write(other, tmp_path / "t", mode="append_once", keys=["id"]))
    done = write(frame, tmp_path / "t", mode="append_once", keys=["id"])
    assert (done.version, done.attempts, counts(done)) == (1, 2, (2, 1, 0, 0, 1, 0, 0, 0))
    assert rows(tmp_path / "t") == [(1, "local"), (2, "spark")]
    before(monkeypatch, lambda: write(other, tmp_path / "u", mode="append"))
    with pytest.raises(tx.CommitConflictError):
        write(frame, tmp_path / "u", mode="append", timeout=0)
    assert rows(tmp_path / "u") == [(1, "local")]


def test_concurrent_upserts(spark: Any, tmp_path: Path) -> None:
    """Of calls at the same time each is applied once, in some order: no key is there twice."""
    write(pa.table({"id": [0], "v": [0]}), tmp_path / "t", mode="upsert", keys=["id"])
    frames = [spark.createDataFrame([(0, n), (n, n), (9, n)], "id long, v long") for n in (1, 2)]
    results: list[tx.WriteResult] = []
    threads = [
        threading.Thread(target=lambda f=f: results.append(write(f, tmp_path / "t", mode="upsert"))) for f in frames
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = sorted(results, key=lambda one: one.version or 0)
    assert (first.version, second.version) == (1, 2)
    assert (first.rows_inserted, second.rows_inserted, second.rows_updated) == (2, 1, 2)
    assert sorted(row[0] for row in rows(tmp_path / "t")) == [0, 1, 2, 9]


def test_lost_answers(spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit whose answer is lost is found again; one that is not there (yet) is unknown, and not tried again."""
    frame = spark.createDataFrame([(1,)], "id long")
    real = on_spark.run

    def lost(action: Callable[[], object]) -> None:
        real(action)
        raise ConnectionError("the answer did not come")

    monkeypatch.setattr(on_spark, "run", lost)
    done = write(frame, tmp_path / "t", mode="append")
    assert (done.version, done.committed, done.attempts, done.rows_inserted) == (0, True, 1, 1)

    def never(action: Callable[[], object]) -> None:
        raise ConnectionError("the request did not arrive")

    monkeypatch.setattr(on_spark, "run", never)
    with pytest.raises(tx.CommitStateUnknownError, match="may or may not") as told:
        write(frame, tmp_path / "t", mode="append")
    assert not tx.resolve(str(tmp_path / "t"), told.value.commit_id, format="delta").committed
    assert rows(tmp_path / "t") == [(1,)]


class Session:
    """A session that answers what it is told to."""

    def __init__(self, version: str, says: str, extensions: str) -> None:
        self.version, self._says = version, says
        self.conf = {"spark.sql.extensions": extensions}

    def sql(self, statement: str) -> None:
        raise RuntimeError(self._says)


@pytest.mark.parametrize(
    ("session", "hint"),
    [
        (
            Session("4.2.0", "[DATA_SOURCE_NOT_FOUND] delta", ""),
            "spark.jars.packages=io.delta:delta-spark_4.2_2.13:4.4.0",
        ),
        (Session("5.0.1", "[DATA_SOURCE_NOT_FOUND] delta", ""), "no release of Delta is known to fit Spark 5.0.1"),
        (Session("4.2.0", "", "org.other.Extension"), "spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension"),
    ],
)
def test_sessions_without_delta(session: Any, hint: str) -> None:
    """A session that cannot write Delta tables is told what fits it."""
    with pytest.raises(tx.EngineError, match="nothing was written") as told:
        require_delta(session)
    assert hint in str(told.value.hint)


def test_a_failing_frame(spark: Any, tmp_path: Path) -> None:
    """What Spark cannot compute is told as its error, and nothing is written."""
    frame = spark.sql("SELECT raise_error('no such luck') AS v, 1L AS id")
    with pytest.raises(tx.EngineError, match=r"no such luck.*nothing was committed"):
        write(frame.selectExpr("id", "CAST(v AS STRING) AS v"), tmp_path / "t", mode="append")
    assert not (tmp_path / "t").exists()


KEYS = st.tuples(st.integers(0, 3), st.sampled_from(["", "a", "A"]))
VALUES = st.sampled_from([None, 0.0, -0.0, float("nan"), 1.5])
BATCHES = st.dictionaries(KEYS, st.tuples(st.one_of(st.none(), st.integers(0, 2)), VALUES), max_size=6)


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(st.lists(st.tuples(st.sampled_from(["upsert", "append_once", "append"]), BATCHES), min_size=3, max_size=3))
def test_same_as_local(spark: Any, tmp_path_factory: Any, batches: list[Any]) -> None:
    """The same batches from Spark and from this process make the same rows, with the same counts."""
    folder = tmp_path_factory.mktemp("twins")
    for mode, batch in [("append_once", {}), *batches]:
        listed = [(k, t, at, v) for (k, t), (at, v) in batch.items()]
        kind = pa.schema([("k", pa.int64()), ("t", pa.string()), ("at", pa.int64()), ("v", pa.float64())])
        local = pa.Table.from_pylist([dict(zip(kind.names, row, strict=True)) for row in listed], kind)
        frame = spark.createDataFrame(listed, "k long, t string, at long, v double")
        given = {"mode": mode} if mode == "append" else {"mode": mode, "keys": ["k", "t"], "timestamp_col": "at"}
        mine, theirs = write(frame, folder / "spark", **given), write(local, folder / "local", **given)
        assert (counts(mine), mine.committed) == (counts(theirs), theirs.committed)
        assert repr(rows(folder / "spark")) == repr(rows(folder / "local"))  # NaN is not NaN to Python
    assert deltalake.DeltaTable(str(folder / "spark")).to_pyarrow_table().num_rows == len(rows(folder / "local"))
