"""Spark DataFrames into PostgreSQL, on real executors: every mode, retried, refused, and without a secret in sight."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from tests.services.databases import PASSWORD
from tests.sql.test_sql_frames import staged, unchanged
from txfiles.spark import jobs

Url = Callable[[str], str]
COLUMNS = "id long, at timestamp, name string, price decimal(10, 2), day date, ok boolean, raw binary"
SELECTED = (
    "id",
    "timestamp_seconds(1700000000 + {at}) AS at",
    "concat('n', id, '{name}') AS name",
    "CAST(id / 4 AS decimal(10, 2)) AS price",
    "date_add(DATE '2026-01-01', CAST(id AS int)) AS day",
    "id % 2 = 0 AS ok",
    "CAST(CAST(id AS string) AS binary) AS raw",
)


def frame(spark: Any, first: int, last: int, *, at: int = 0, name: str = "", parts: int = 3) -> Any:
    """A frame of ids, in several partitions."""
    return spark.range(first, last, 1, parts).selectExpr(*(one.format(at=at, name=name) for one in SELECTED))


def fates(result: tx.WriteResult) -> dict[str, int]:
    """The counts that are not zero."""
    names = ("inserted", "updated", "unchanged", "skipped", "stale", "deduplicated", "deleted")
    found = {name: getattr(result, f"rows_{name}") for name in names}
    assert result.rows_in == sum(count for name, count in found.items() if name != "deleted")
    return {name: count for name, count in found.items() if count}


def held(url: str) -> pa.Table:
    """The rows of a table by id."""
    return tx.Table(url).to_arrow().sort_by("id")


def test_each_mode_twice(spark: Any, sql_url: Url) -> None:
    """Modes count what they did, and the same load again changes nothing where it shall not."""
    url = sql_url("postgresql")
    keyed = {"keys": ["id"], "timestamp_col": "at"}
    first = frame(spark, 0, 10)
    assert fates(tx.write(first, url, mode="append_once", **keyed)) == {"inserted": 10}
    assert fates(tx.write(frame(spark, 5, 15), url, mode="append_once")) == {"inserted": 5, "skipped": 5}
    assert fates(tx.write(frame(spark, 5, 15), url, mode="append_once")) == {"skipped": 10}
    newer = frame(spark, 10, 20, at=5, name="new")
    assert fates(tx.plan(newer, url, mode="upsert")) == {"inserted": 5, "updated": 5}
    assert fates(tx.write(newer, url, mode="upsert")) == {"inserted": 5, "updated": 5}
    again = tx.write(newer, url, mode="upsert")
    assert (fates(again), again.committed, again.version) == ({"unchanged": 10}, False, 2)
    older = frame(spark, 12, 16, at=1, name="old")
    assert fates(tx.write(older, url, mode="upsert")) == {"stale": 4}
    assert fates(tx.write(older, url, mode="upsert", stale="apply")) == {"updated": 4}
    assert fates(tx.write(frame(spark, 20, 23), url, mode="append", batch_id="one")) == {"inserted": 3}
    assert tx.write(frame(spark, 20, 23), url, mode="append", batch_id="one").already_committed
    names = held(url)["name"].to_pylist()
    assert names == [f"n{i}{'old' if 12 <= i < 16 else 'new' if 10 <= i < 20 else ''}" for i in range(23)]
    assert fates(tx.write(first, url, mode="overwrite")) == {"inserted": 10, "deleted": 23}
    assert fates(tx.write(first, url, mode="overwrite")) == {"inserted": 10, "deleted": 10}
    assert held(url).equals(first.toArrow().cast(held(url).schema))
    assert staged(url) == []


def test_an_empty_frame(spark: Any, sql_url: Url) -> None:
    """It creates the table with its columns; and a write of nothing into it commits nothing."""
    url = sql_url("postgresql")
    empty = spark.createDataFrame([], COLUMNS)
    assert (tx.write(empty, url, mode="upsert", keys=["id"]).version, tx.Table(url).row_count) == (0, 0)
    assert tx.Table(url).schema.names == empty.columns
    assert not tx.write(empty, url, mode="upsert").committed


def test_the_newest_row_wins(spark: Any, sql_url: Url) -> None:
    """Of several rows of a key in different partitions: the newest, and of equally new ones the greatest."""
    url = sql_url("postgresql")
    given = [(1, 5, "b"), (1, 5, "a"), (1, 4, "z"), (2, None, "x"), (2, 1, None), (3, 7, None), (3, 7, "é")]
    loads = [
        spark.createDataFrame(rows, "id long, at int, name string").repartition(3) for rows in (given, given[::-1])
    ]
    how = {"mode": "upsert", "keys": ["id"], "timestamp_col": "at", "dedup_strategy": "newest_wins"}
    assert fates(tx.write(loads[0], url, **how)) == {"inserted": 3, "deduplicated": 4}
    assert [tuple(row.values()) for row in held(url).to_pylist()] == [(1, 5, "b"), (2, 1, None), (3, 7, None)]
    assert fates(tx.write(loads[1], url, **how)) == {"unchanged": 3, "deduplicated": 4}


def test_what_is_refused_leaves_nothing(spark: Any, sql_url: Url) -> None:
    """Rows without a key or with one that others have, types and values that do not fit, a frame that fails."""
    url = sql_url("postgresql")
    how = {"mode": "upsert", "keys": ["id"]}
    tx.write(spark.createDataFrame([(1, "a")], "id long, name string"), url, **how)
    for error, match, given in (
        (tx.NullKeyError, r"^2 rows have a null in key column 'id'; nothing", [(2, "a"), (None, "b"), (None, "c")]),
        (tx.DuplicateKeyError, r"^1 key has several rows in the batch that differ, such as 3;", [(3, "a"), (3, "b")]),
        (tx.LossyCastError, "NUL", [(4, "a\0b")]),
    ):
        with unchanged(url), pytest.raises(error, match=match):
            tx.write(spark.createDataFrame(given, "id long, name string").repartition(3), url, **how)
    with unchanged(url), pytest.raises(tx.EngineError, match=r"^Spark failed: .*; nothing was committed"):
        tx.write(spark.range(2, 9).selectExpr("id", "CAST(assert_true(id < 7) AS string) AS name"), url, **how)
    with unchanged(url), pytest.raises(tx.UnsupportedTypeError, match="'tags'"):
        tx.write(spark.range(2).selectExpr("id", "array(id) AS tags"), url, **how, schema_mode="merge")


def test_a_frame_is_computed_once(spark: Any, sql_url: Url) -> None:
    """However long the write takes afterwards: a frame may be another one each time, and costs its price each time."""
    url, computed = sql_url("postgresql"), spark.sparkContext.accumulator(0)

    def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            computed.add(batch.num_rows)
            yield batch

    given = spark.range(0, 40, 1, 4).mapInArrow(counted, "id long").selectExpr("id", "uuid() AS name")
    assert tx.write(given, url, mode="upsert", keys=["id"]).rows_inserted == 40
    assert computed.value == 40
    assert len(set(held(url)["name"].to_pylist())) == 40


def test_no_secret_is_told(
    spark: Any, sql_url: Url, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither by the plan of a job, nor by the log, nor by the error of a task that cannot log in."""
    url, plans = sql_url("postgresql"), []
    caplog.set_level(logging.DEBUG)
    collected = jobs._collected

    def seen(made: Any, done: Any) -> Any:
        plans.append(made()._jdf.queryExecution().toString())
        return collected(made, done)

    monkeypatch.setattr(jobs, "_collected", seen)
    tx.write(frame(spark, 0, 3), url, mode="append")
    assert len(plans) == 1
    assert "MapInArrow" in plans[0]
    wrong = url.replace(PASSWORD, "other-" + PASSWORD)
    with pytest.raises(tx.StoreError) as refused:
        tx.write(frame(spark, 0, 3), wrong, mode="append")
    told = [*plans, str(refused.value), repr(refused.value), str(refused.value.__cause__), caplog.text]
    assert not any(PASSWORD in one for one in told)
