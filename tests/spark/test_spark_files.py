"""Spark frames into Parquet and CSV tables: the same rows and counts as local data, whatever tasks and races do."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import txfiles as tx
from tests.model import bag
from tests.services.servers import BUCKET, s3_options
from txfiles.core import names
from txfiles.core.manifest import Metrics
from txfiles.spark import jobs, operations, staged, tasks
from txfiles.spark.work import Done, Work, together
from txfiles.store import open_store
from txfiles.targets.files import writes as files_target

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("x", pa.float64()),
        ("p", pa.string()),
    ]
)
FATES = ("inserted", "updated", "unchanged", "skipped", "stale", "deduplicated", "deleted")
SMALL = {"vacuum_grace": "0"}


def rows(ids: Any, name: str | None = "n", at: int = 0, p: str = "a") -> pa.Table:
    """Rows of these ids; `at` counts seconds."""
    return pa.Table.from_pylist(
        [{"id": i, "name": name, "at": at * 1_000_000, "x": i and i / 2, "p": p} for i in ids], SCHEMA
    )


def frame(spark: Any, table: pa.Table, tasks_: int = 3) -> Any:
    """A frame of some partitions, in no particular order."""
    return spark.createDataFrame(table).repartition(tasks_)


def held(path: Path) -> Any:
    """The rows of a table, in no order."""
    return bag(tx.Table(path).to_arrow().to_pylist())


def fates(result: Any) -> dict[str, int]:
    """The counts of a result."""
    return {name: getattr(result, f"rows_{name}") for name in FATES}


def left(path: Path, *kinds: str) -> list[str]:
    """The names of what stands in some folders of the log."""
    return [str(found.relative_to(path)) for kind in kinds for found in sorted((path / "_txfiles" / kind).glob("*"))]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of a few rows each, cut between any two keys."""
    monkeypatch.setattr(operations, "PART_ROWS_MOST", 8)
    monkeypatch.setattr(operations, "PART_ROWS_LEAST", 8)


BATCHES = st.lists(
    st.tuples(
        st.sampled_from(["append_once", "upsert", "upsert", "overwrite"]),
        st.dictionaries(
            st.integers(0, 40), st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.sampled_from("pq")), max_size=25
        ),
    ),
    min_size=2,
    max_size=3,
)


@pytest.mark.parametrize(
    "how",
    [
        {"format": "parquet"},
        {"format": "csv", "partition_by": ["p"]},
        {"format": "parquet", "properties": {"update_strategy": "merge_on_read", "target_file_bytes": 1024}},
    ],
    ids=["parquet", "csv-partitioned", "marked-indexed"],
)
def test_the_same_rows_and_counts_as_local_data(spark: Any, tmp_path_factory: Any, how: dict[str, Any]) -> None:
    """Batch after batch, in every keyed mode: a Spark frame leaves what an Arrow table leaves, and says the same."""

    @settings(
        max_examples=2,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(BATCHES)
    def compare(batches: Any) -> None:
        here, there = (tmp_path_factory.mktemp("t") / name for name in ("local", "spark"))
        how_once = {**how, "keys": ["id"], "timestamp_col": "at"}
        for mode, content in batches:
            table = pa.Table.from_pylist(
                [
                    {"id": key, "name": name, "at": at * 1_000_000, "x": key / 4, "p": p}
                    for key, (name, at, p) in content.items()
                ],
                SCHEMA,
            )
            with_keys = {"keys": ["id"]} if mode == "overwrite" else {}
            options = how_once if not tx.exists(here) else with_keys
            mine = tx.write(table, here, mode=mode, **options)
            theirs = tx.write(frame(spark, table, 2), there, mode=mode, **options)
            assert (theirs.committed, theirs.version, fates(theirs)) == (mine.committed, mine.version, fates(mine))
            assert held(there) == held(here)
            assert tx.Table(there).schema == tx.Table(here).schema
            assert not left(there, "staged")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "PART_ROWS_MOST", 7)
        patch.setattr(operations, "PART_ROWS_LEAST", 7)
        compare()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("marks", [False, True])
def test_a_file_that_many_ranges_change_is_written_once(spark: Any, tmp_path: Path, marks: bool) -> None:
    """However many ranges of keys have changes for it."""
    properties = {"update_strategy": "merge_on_read"} if marks else {}
    tx.write(rows(range(100)), tmp_path / "t", mode="upsert", keys=["id"], properties=properties)
    result = tx.write(frame(spark, rows(range(0, 200, 2), "new")), tmp_path / "t", mode="upsert")
    assert (result.rows_updated, result.rows_inserted, result.files_removed) == (50, 50, 0 if marks else 1)
    assert result.files_scanned == 1
    expected = [*rows(range(1, 100, 2)).to_pylist(), *rows(range(0, 200, 2), "new").to_pylist()]
    assert held(tmp_path / "t") == bag(expected)
    assert not left(tmp_path / "t", "staged")


def test_append_and_its_batch_id(spark: Any, tmp_path: Path) -> None:
    """Each row once; a batch id a second time adds nothing, and does not compute the frame."""
    path = tmp_path / "t"
    tx.write(frame(spark, rows(range(10))), path, mode="append", batch_id="one")
    broken = spark.range(3).selectExpr("id", "raise_error('computed') as name", "null as at", "0.0 as x", "'' as p")
    again = tx.write(broken, path, mode="append", batch_id="one")
    assert (again.already_committed, again.version, tx.Table(path).row_count) == (True, 0, 10)


def test_an_append_sends_no_list_of_files(spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files the table has, its tasks are told only what the table is."""
    path, told = tmp_path / "t", []
    tx.write(rows(range(3)), path, mode="append")
    over_rows = jobs.over_rows
    monkeypatch.setattr(jobs, "over_rows", lambda *given: told.append(given[1].args[0]) or over_rows(*given))
    tx.write(frame(spark, rows(range(3, 5)), 1), path, mode="append")
    [work] = told
    assert (work.base.state.table.columns[0].name, work.base.file_count) == ("id", 0)
    assert tx.Table(path).row_count == 5


def test_what_the_tasks_of_a_job_have_done_adds_up() -> None:
    """Counts are summed, files stay in order, and no task counts nothing."""
    one = Done(rows_in=2, remove=("a",), relies_on=frozenset("a"), metrics=Metrics(rows_inserted=2))
    two = Done(rows_in=3, remove=("b",), relies_on=frozenset("ab"), metrics=Metrics(rows_updated=1), scanned=4)
    both = together([one, two])
    assert both == one + two
    assert (both.rows_in, both.scanned, both.remove, both.relies_on) == (5, 4, ("a", "b"), frozenset("ab"))
    assert both.metrics == Metrics(rows_inserted=2, rows_updated=1)
    assert together([]) == Done()


def test_what_an_overwrite_replaces(spark: Any, tmp_path: Path) -> None:
    """The table, the partitions that the frame has, or the rows that match."""
    path = tmp_path / "t"
    tx.write(rows(range(6)), path, mode="append", partition_by=["p"])
    tx.write(rows(range(6, 9), p="b"), path, mode="append")
    result = tx.write(frame(spark, rows([7], p="b")), path, mode="overwrite", overwrite_partitions=True)
    assert (result.rows_deleted, result.rows_inserted) == (3, 1)
    assert held(path) == bag([*rows(range(6)).to_pylist(), *rows([7], p="b").to_pylist()])
    with pytest.raises(tx.InputError, match="do not match replace_where"):
        tx.write(frame(spark, rows([1, 100])), path, mode="overwrite", replace_where=[("id", "<", 3)])
    result = tx.write(frame(spark, rows([1], "one")), path, mode="overwrite", replace_where=[("id", "<", 3)])
    assert (result.rows_deleted, result.rows_inserted) == (3, 1)
    assert sorted(tx.Table(path).to_arrow()["id"].to_pylist()) == [1, 3, 4, 5, 7]
    result = tx.write(frame(spark, rows([50])), path, mode="overwrite")
    assert (tx.Table(path).row_count, result.rows_deleted) == (1, 5)


def test_an_overwrite_of_a_part_keeps_keys_unique(spark: Any, tmp_path: Path) -> None:
    """If it names keys, one that stays in the table outside of that part is refused, and nothing is written."""
    path = tmp_path / "t"
    tx.write(rows(range(4)), path, mode="upsert", keys=["id"], partition_by=["p"])
    tx.write(rows([10], p="b"), path, mode="upsert")
    part = {"mode": "overwrite", "keys": ["id"], "overwrite_partitions": True}
    with pytest.raises(tx.DuplicateKeyError, match="stay"):
        tx.write(frame(spark, rows([3], p="b")), path, **part)
    assert (tx.Table(path).version, left(path, "staged")) == (1, [])
    assert tx.write(frame(spark, rows([10, 11], p="b")), path, **part).rows_inserted == 2
    matching = {"mode": "overwrite", "keys": ["id"], "replace_where": [("x", ">=", 1.5)]}
    with pytest.raises(tx.DuplicateKeyError):
        tx.write(frame(spark, rows([1, 3]).set_column(3, "x", [[9.0, 9.0]])), path, **matching)
    assert tx.write(frame(spark, rows([3, 12])), path, **matching).rows_deleted == 3
    assert sorted(tx.Table(path).to_arrow()["id"].to_pylist()) == [0, 1, 2, 3, 12]


@pytest.mark.parametrize(
    ("bad", "options", "error", "says"),
    [
        (rows([1, None, 2, None]), {}, tx.NullKeyError, "2 rows have a null in key column 'id'"),
        (pa.concat_tables([rows([1, 2]), rows([2], "other")]), {}, tx.DuplicateKeyError, r"1 key has .* such as 2;"),
        (rows([1]), {"dedup_strategy": "last_wins"}, tx.OptionError, "which Spark's have not"),
        (rows([1]).append_column("z", [[1]]), {}, tx.SchemaMismatchError, "z"),
    ],
    ids=["null", "duplicate", "position", "column"],
)
def test_what_is_refused(spark: Any, tmp_path: Path, bad: Any, options: Any, error: Any, says: str) -> None:
    """By the error that local data get, before anything is committed; nothing is left behind."""
    path = tmp_path / "t"
    tx.write(rows([7]), path, mode="upsert", keys=["id"])
    before = sorted(path.rglob("*"))
    with pytest.raises(error, match=says) as caught:
        tx.write(frame(spark, bad), path, mode="upsert", **options)
    assert caught.value.hint
    assert [found for found in sorted(path.rglob("*")) if found not in before and not found.is_dir()] == []


def test_the_newest_wins_and_ties_go_to_the_greatest(spark: Any, tmp_path: Path) -> None:
    """Whatever order the tasks see the rows in; a row older than the table's is stale."""
    newest = [rows([1], "a", 5), rows([1], "b", 5), rows([1], None, 5), rows([1], "z", 4), rows([2], "late", 0)]
    for number, tasks_ in enumerate((1, 4)):
        path = tmp_path / f"t{number}"
        tx.write(rows([2], "here", 1), path, mode="upsert", keys=["id"], timestamp_col="at")
        result = tx.write(
            frame(spark, pa.concat_tables(newest), tasks_), path, mode="upsert", dedup_strategy="newest_wins"
        )
        assert (result.rows_deduplicated, result.rows_inserted, result.rows_stale) == (3, 1, 1)
        assert sorted(tx.Table(path).to_arrow()["name"].to_pylist()) == ["b", "here"]


def test_new_columns_and_wider_types_under_merge(spark: Any, tmp_path: Path) -> None:
    """As local data have them; a batch that lacks a column leaves it alone in rows that it updates."""
    path = tmp_path / "t"
    tx.write(pa.table({"id": pa.array([1, 2], pa.int32()), "v": [1, 2]}), path, mode="upsert", keys=["id"])
    tx.write(spark.sql("select 2L id, 'x' as new union all select 3L, 'y'"), path, mode="upsert", schema_mode="merge")
    found = tx.Table(path).to_arrow().sort_by("id").to_pylist()
    assert found == [{"id": 1, "v": 1, "new": None}, {"id": 2, "v": 2, "new": "x"}, {"id": 3, "v": None, "new": "y"}]


def test_types_come_as_arrow_has_them(spark: Any, tmp_path: Path) -> None:
    """An instant is one, whatever the session's zone; others keep their kind; others are refused by name."""
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "Europe/Oslo")
    try:
        made = spark.sql(
            "select timestamp'2026-01-01 01:00:00' as instant, timestamp_ntz'2026-01-01 01:00:00' as naive, "
            "cast(1.5 as decimal(10,2)) as d, interval '1 02:03:04' day to second as i, array(1, null) as a, "
            "named_struct('b', 'x', 't', timestamp'2026-01-01 01:00:00') as s, map('k', 1L) as m"
        )
        tx.write(made, tmp_path / "t", mode="append")
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)
    table = tx.Table(tmp_path / "t").to_arrow()
    assert table.schema.field("instant").type == pa.timestamp("us", "UTC")
    assert table.schema.field("naive").type == pa.timestamp("us")
    assert table["instant"].cast(pa.int64())[0].as_py() == 1_767_225_600_000_000
    assert table["naive"].cast(pa.int64())[0].as_py() == 1_767_229_200_000_000
    assert str(table["d"][0]) == "1.50"
    assert table["i"].cast(pa.int64())[0].as_py() == 93_784_000_000
    assert table["s"][0].as_py()["t"].timestamp() == 1_767_225_600
    assert (table["a"][0].as_py(), table["m"][0].as_py()) == ([1, None], [("k", 1)])
    with pytest.raises(tx.UnsupportedTypeError, match=r"column 'm'.*interval month") as caught:
        tx.write(spark.sql("select interval '3' month as m"), tmp_path / "u", mode="append")
    assert "cast it" in caught.value.hint
    assert not (tmp_path / "u").exists()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("meets", [True, False], ids=["same-keys", "other-keys"])
def test_a_lost_race_does_not_compute_the_frame_again(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meets: bool
) -> None:
    """It plans again from the staged rows, or stands if no key of the batch was added; each row once in either case."""
    path, computed = tmp_path / "t", tmp_path / "computed"
    computed.mkdir()
    tx.write(rows(range(5)), path, mode="upsert", keys=["id"])

    def counting(batches: Any) -> Any:
        (computed / f"{os.getpid()}-{os.urandom(4).hex()}").touch()
        yield from batches

    made = frame(spark, rows(range(3, 30), "new"), 2)
    counted = made.mapInArrow(counting, made.schema)
    upsert, planned = operations.OPERATIONS["upsert"], []

    def raced(ctx: Any) -> Any:
        found = upsert(ctx)
        if not planned:
            tx.write(rows([20 if meets else 90], "theirs"), path, mode="append_once")
        planned.append(found)
        return found

    monkeypatch.setattr(operations, "OPERATIONS", {"upsert": raced})
    result = tx.write(counted, path, mode="upsert")
    assert len(planned) == (2 if meets else 1)
    assert (result.version, len(list(computed.iterdir()))) == (2, 2)
    expected = dict.fromkeys(range(3), "n") | dict.fromkeys(range(3, 30), "new") | ({} if meets else {90: "theirs"})
    found = tx.Table(path).to_arrow()
    assert dict(zip(found["id"].to_pylist(), found["name"].to_pylist(), strict=True)) == expected
    assert found.num_rows == len(expected)
    assert not left(path, "staged")


@pytest.mark.usefixtures("small_parts")
def test_an_error_in_one_range_leaves_nothing_of_the_others(spark: Any, tmp_path: Path) -> None:
    """Nor does one in one of the frame's partitions: what the other tasks wrote is deleted."""
    path = tmp_path / "t"
    tx.write(rows(range(0, 40, 4)), path, mode="upsert", keys=["id"])
    before = sorted(found for found in path.rglob("*") if found.is_file())
    doubled = pa.concat_tables([rows(range(40)), rows([20], "other")])
    for mode in ("upsert", "append_once"):
        with pytest.raises(tx.DuplicateKeyError, match="such as 20;"):
            tx.write(frame(spark, doubled, 2), path, mode=mode)
        assert sorted(found for found in path.rglob("*") if found.is_file()) == before
    tx.write(rows(range(3)).select(["id"]), tmp_path / "narrow", mode="append", schema={"id": "int8"})
    before = sorted(found for found in (tmp_path / "narrow").rglob("*") if found.is_file())
    with pytest.raises(tx.LossyCastError):
        tx.write(spark.range(0, 300, 1, 3), tmp_path / "narrow", mode="append")
    assert sorted(found for found in (tmp_path / "narrow").rglob("*") if found.is_file()) == before


def test_partitions_are_those_of_the_rows_that_are_written(spark: Any, tmp_path: Path) -> None:
    """A frame is computed once, even if its partitions are to be replaced and its keys to be unique."""
    path, computed = tmp_path / "t", tmp_path / "computed"
    computed.mkdir()
    tx.write(rows(range(4)), path, mode="upsert", keys=["id"], partition_by=["p"])

    def counting(batches: Any) -> Any:
        (computed / os.urandom(8).hex()).touch()
        yield from batches

    made = frame(spark, rows(range(2), "new"), 2)
    counted = made.mapInArrow(counting, made.schema)
    result = tx.write(counted, path, mode="overwrite", keys=["id"], overwrite_partitions=True)
    assert (result.rows_inserted, result.rows_deleted, len(list(computed.iterdir()))) == (2, 4, 2)
    assert held(path) == bag(rows(range(2), "new").to_pylist())


def test_an_overwrite_may_repair_what_it_replaces(spark: Any, tmp_path: Path) -> None:
    """Keys that are twice only in rows that go are no obstacle; an overwrite that changes nothing commits nothing."""
    path = tmp_path / "t"
    tx.write(pa.concat_tables([rows([1]), rows([7], p="b"), rows([7], p="b")]), path, mode="append")
    where = {"mode": "overwrite", "replace_where": [("p", "=", "b")], "keys": ["id"]}
    assert tx.write(frame(spark, rows([7], "whole", p="b")), path, **where).rows_deleted == 2
    assert held(path) == bag([*rows([1]).to_pylist(), *rows([7], "whole", p="b").to_pylist()])
    nothing = {"mode": "overwrite", "replace_where": [("id", "=", 99)]}
    assert not tx.write(spark.createDataFrame(rows([])), path, **nothing).committed
    assert tx.Table(path).version == 1


def test_an_overwrite_may_change_what_a_partition_column_is(spark: Any, tmp_path: Path) -> None:
    """Nothing of the old table is read as if it were of the new type."""
    path = tmp_path / "t"
    tx.write(rows([1]), path, mode="append", partition_by=["p"])
    made = spark.sql("select 1L id, 2 p, 'x' v")
    tx.write(made, path, mode="overwrite", keys=["id"], schema_mode="overwrite")
    assert tx.Table(path).to_arrow().sort_by("id").to_pylist() == [{"id": 1, "p": 2, "v": "x"}]


def test_a_lock_that_tasks_cannot_have_is_refused(spark: Any, tmp_path: Path) -> None:
    """By name; the path of a lock file goes with the frame."""
    import filelock

    with pytest.raises(tx.OptionError, match="lock is an object of this process"):
        tx.write(frame(spark, rows([1])), tmp_path / "t", mode="append", lock=filelock.FileLock(tmp_path / "lock"))
    assert tx.write(frame(spark, rows([1])), tmp_path / "t", mode="append", lock=tmp_path / "lock").committed


def test_an_attempt_that_does_not_count_is_never_visible(spark: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Spark may run a task twice and take either answer: the rows are there once, and a vacuum deletes the other's."""
    path = tmp_path / "t"
    add_rows, both = tasks.add_rows, []

    def twice(work: Any, source: Any, fit: Any, batches: Any) -> Any:
        batches = list(batches)
        add_rows(work, source, fit, iter(batches))
        return add_rows(work, source, fit, iter(batches))

    over_rows = jobs.over_rows
    monkeypatch.setattr(tasks, "add_rows", twice)
    monkeypatch.setattr(jobs, "over_rows", lambda *given: both.append(over_rows(*given)) or both[-1])
    tx.write(frame(spark, rows(range(20)), 2), path, mode="append", properties=SMALL)
    assert len(both) == 1
    assert (tx.Table(path).row_count, len(list(path.glob("part-*")))) == (20, 4)
    deleted = tx.Table(path).vacuum(retain="0").deleted
    assert (len(deleted), len(list(path.glob("part-*"))), tx.Table(path).row_count) == (2, 2, 20)


def test_a_job_that_fails_leaves_nothing_for_long(spark: Any, tmp_path: Path) -> None:
    """The error says what Spark said; no version; a vacuum deletes what other tasks still wrote; then it works."""
    path = tmp_path / "t"
    tx.write(rows(range(5)), path, mode="upsert", keys=["id"], properties=SMALL)
    broken = frame(spark, rows(range(9))).selectExpr(
        "if(id = 8, raise_error('the eighth'), id) as id", "name", "at", "x", "p"
    )
    for mode in ("upsert", "append"):
        with pytest.raises(tx.EngineError, match="the eighth") as caught:
            tx.write(broken, path, mode=mode)
        assert (caught.value.committed, tx.Table(path).version) == ("no", 0)
    deadline = time.monotonic() + 60  # Spark does not wait for the tasks of a job that has failed
    while spark.sparkContext.statusTracker().getActiveStageIds() and time.monotonic() < deadline:
        time.sleep(0.2)
    for stray in [*(path / "_txfiles/staged").glob("*"), *path.glob(".tmp-*")]:
        os.utime(stray, (0, 0))
    tx.Table(path).vacuum(retain="0")
    assert left(path, "staged") == []
    assert len([*path.glob("part-*"), *path.glob(".tmp-*")]) == 1
    assert tx.write(frame(spark, rows(range(9))), path, mode="upsert").rows_inserted == 4


def test_staged_rows_that_are_lost_are_no_damage_of_the_table(tmp_path: Path) -> None:
    """Whether they are gone or changed: the table itself is not in doubt."""
    path = tmp_path / "t"
    tx.write(rows([1]), path, mode="append")
    session = files_target_session(path)
    name = names.staged("0" * 16, "0" * 32, "1" * 32)
    with staged.PieceWriter(session, name) as writer:
        writer.add(b"some bytes")
        pieces = writer.close()
    assert staged.read(session, pieces) == [b"some bytes"]
    (path / name).write_bytes(b"same bytes")
    with pytest.raises(tx.EngineError, match="have changed"):
        staged.read(session, pieces)
    (path / name).unlink()
    with pytest.raises(tx.EngineError, match="are lost") as caught:
        staged.read(session, pieces)
    assert "vacuum_grace" in caught.value.hint


def files_target_session(path: Path) -> Any:
    """The session of a table."""
    from txfiles.targets.files.target import open_session
    from txfiles.targets.protocol import Place

    return open_session(Place(path))


CODES = st.lists(st.binary(min_size=1, max_size=3), max_size=300)


@given(st.lists(CODES, max_size=4), st.integers(1, 50))
def test_ranges_hold_each_row_once(chunks: list[list[bytes]], rows_each: int) -> None:
    """Cut anywhere, the ranges follow each other, and each blob is in every range that has a row of it."""
    blobs, rows_of = [], {}
    for number, codes in enumerate(chunks):
        for start in range(0, len(codes), 40):
            some = sorted(codes)[start : start + 40]
            piece = staged.Piece(f"{number}", 0, start, 0, 0)
            blobs.append(staged.Blob(piece, len(some), tuple(some[::7]), some[-1]))
            rows_of[piece] = some
    parts = staged.cut(blobs, rows_each)
    assert [part.high for part in parts[:-1]] == [part.low for part in parts[1:]]
    assert not parts or (parts[0].low, parts[-1].high) == (b"", None)
    found = [
        code
        for part in parts
        for piece in part.blobs
        for code in rows_of[piece]
        if code >= part.low and (part.high is None or code < part.high)
    ]
    assert sorted(found) == sorted(code for codes in chunks for code in codes)


def test_keys_that_begin_alike_are_in_one_range(tmp_path: Path) -> None:
    """Samples are cut short: ranges still hold each row once, and equal keys are together."""
    path = tmp_path / "t"
    tx.write(rows([1]), path, mode="append")
    session, codes = files_target_session(path), [b"k" * 70 + bytes([number % 5]) for number in range(40)]
    codes += [b"a", b"k" * 64, b"z"]
    blobs = []
    for number in range(2):
        with staged.PieceWriter(session, names.staged("0" * 16, "0" * 32, f"{number:032x}")) as writer:
            mine = pa.array(codes[number::2], pa.binary())
            found = staged.add_rows(writer, pa.table({"code": mine}), mine)
            pieces = writer.close()
        blobs += [staged.Blob(pieces[at], *facts) for at, *facts in found]
    parts = staged.cut(blobs, 4)
    held_by = [staged.rows_of(session, part)["code"].to_pylist() for part in parts]
    assert sorted(code for some in held_by for code in some) == sorted(codes)
    assert not any(set(some) & set(others) for number, some in enumerate(held_by) for others in held_by[:number])


def test_a_secret_is_in_no_plan_log_or_error(spark: Any, tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    """Options of the store travel to the tasks, and are shown nowhere."""
    caplog.set_level(logging.DEBUG)
    plans: list[str] = []
    collected = jobs._collected

    def seen(made: Any, done: Any) -> Any:
        plans.append(made()._jdf.queryExecution().toString())
        return collected(made, done)

    monkeypatch.setattr(jobs, "_collected", seen)
    options = {
        "key": "someone",
        "secret": "s3cr3t-s3cr3t",
        "endpoint_url": "http://127.0.0.1:9",
        "request_timeout": 0.2,
    }
    with pytest.raises(tx.TxFilesError) as caught:
        tx.write(frame(spark, rows([1])), "s3://nowhere/t", mode="append", storage_options=options)
    work = Work(
        "/x", files_target.Request(mode="append", source=None, storage_options=options), None, "0" * 16, "0" * 32
    )
    with pytest.raises(tx.EngineError) as failed:
        jobs.over_rows(frame(spark, rows([1])), lambda batches, work=work: 1 / 0)
    assert plans
    told = [*plans, caplog.text, str(caught.value), repr(caught.value.evidence), str(failed.value), repr(work)]
    assert not any("s3cr3t" in text for text in told)


@pytest.mark.usefixtures("small_parts")
def test_a_table_in_a_bucket(spark: Any, s3: Any) -> None:
    """Tasks reach the store with the caller's options: what they stage, write, mark and index is all in the bucket."""
    options = s3_options(s3("ministack").url)
    where = {"path": f"s3://{BUCKET}/spark/{os.urandom(4).hex()}", "storage_options": options}
    marks = {"update_strategy": "merge_on_read"}
    first = tx.write(frame(spark, rows(range(20)), 2), mode="append_once", keys=["id"], properties=marks, **where)
    again = tx.write(frame(spark, rows(range(20)), 2), mode="append_once", **where)
    assert (first.rows_inserted, again.committed, again.rows_skipped) == (20, False, 20)
    result = tx.write(frame(spark, rows(range(10, 30), "new"), 2), mode="upsert", **where)
    assert (result.rows_updated, result.rows_inserted, result.files_removed) == (10, 10, 0)
    table = tx.Table(**where)
    expected = [*rows(range(10)).to_pylist(), *rows(range(10, 30), "new").to_pylist()]
    assert bag(table.to_arrow().to_pylist()) == bag(expected)
    assert table.index("check").problems == ()
    store = open_store(where["path"], options)
    assert [entry.name for entry in store.list_from(names.STAGED_DIR)] == []


KILLED = """
    import os, sys
    from pathlib import Path
    from pyspark.sql import SparkSession
    import txfiles as tx

    path, marker = Path(sys.argv[1]), Path(sys.argv[2])
    spark = (
        SparkSession.builder.master("local[2,4]").config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "512m").config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.warehouse.dir", str(marker.parent / "warehouse")).getOrCreate()
    )

    def dying(batches):
        batches = list(batches)
        yield from batches
        if batches and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), 9)

    made = spark.range(0, 1000, 1, 2).selectExpr("id", "id * 2 as v")
    for mode in ("append", "upsert"):
        marker.unlink(missing_ok=True)
        keys = {} if mode == "append" else {"keys": ["id"]}
        result = tx.write(made.mapInArrow(dying, made.schema), path / mode, mode=mode, **keys)
        assert marker.exists() and result.rows_inserted == 1000, result
    spark.stop()
"""


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
def test_a_worker_that_is_killed_is_run_again_by_spark(tmp_path: Path) -> None:
    """With SIGKILL in mid-task: Spark starts the task again, and each row is there once."""
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    env = {
        **os.environ,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(Path(tx.__file__).parents[1])]),
    }
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "lake"), str(tmp_path / "marker")],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for mode in ("append", "upsert"):
        table = tx.Table(tmp_path / "lake" / mode)
        assert (table.version, sorted(table.to_arrow()["id"].to_pylist())) == (0, list(range(1000)))
        table.set({"vacuum_grace": "0"})
        table.vacuum(retain="0")
        assert len(list((tmp_path / "lake" / mode).glob("part-*"))) == len(table.files())


@pytest.mark.parametrize(
    ("scattered", "index", "ranges"), [(True, "off", 1), (True, "on", 4), (False, "off", 4)], ids=str
)
def test_files_are_not_searched_once_a_range_if_one_range_will_do(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scattered: bool, index: str, ranges: int
) -> None:
    """Small ranges keep slots busy, unless each would search all files again for keys that no index knows."""
    monkeypatch.setattr(operations, "PART_ROWS_LEAST", 8)
    monkeypatch.setattr(jobs, "TASKS_A_SLOT", 2)
    path, files = tmp_path / "t", 32
    for number in range(files):
        ids = range(number, 4 * files, files) if scattered else range(4 * number, 4 * number + 4)
        tx.write(
            rows(ids), path, mode="append_once", keys=["id"], properties={"key_index": index} if not number else None
        )
    asked, over_items = [], jobs.over_items

    def counted(session: Any, function: Any, items: Any, *more: Any) -> Any:
        asked.append((function.func, len(items)))
        return over_items(session, function, items, *more)

    monkeypatch.setattr(jobs, "over_items", counted)
    batch = spark.createDataFrame(rows(range(0, 5 * files, 5))).repartitionByRange(4, "id")
    result = tx.write(batch, path, mode="append_once")
    assert (result.rows_inserted, result.rows_skipped) == (6, 26)
    assert asked == [(tasks.plan_part, ranges)]
