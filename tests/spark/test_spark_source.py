"""txfiles as a data source of Spark's, read and written: each trap of Spark's Python data sources is a case."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from tests.model import bag
from tests.services.servers import BUCKET, s3_options
from txfiles.errors import CommitConflictError, CommitStateUnknownError, OptionError
from txfiles.options import OPTIONS
from txfiles.targets import spark_options, spark_writing
from txfiles.targets.protocol import Place

PUSHDOWN = "spark.sql.python.filterPushdown.enabled"


@pytest.fixture
def source(spark: Any) -> Any:
    """A session that knows the data source, as Spark is configured if nobody configures it."""
    tx.register_spark(spark)
    return spark


@pytest.fixture
def pushing(spark: Any) -> Iterator[Any]:
    """A session that hands filters over."""
    spark.conf.set(PUSHDOWN, "true")
    tx.register_spark(spark)
    yield spark
    spark.conf.unset(PUSHDOWN)
    tx.register_spark(spark)


def people(*numbers: int, name: str = "n") -> pa.Table:
    return pa.table({"id": pa.array(numbers, pa.int64()), "name": [f"{name}{number}" for number in numbers]})


def frame(spark: Any, data: pa.Table, tasks: int = 2) -> Any:
    return spark.createDataFrame(data).repartition(tasks)


def rows(frame: Any) -> Any:
    return bag(frame.toArrow().to_pylist())


def stored(path: Path) -> Any:
    return bag(tx.Table(path).to_arrow().to_pylist())


def data_files(path: Path) -> list[str]:
    """Every file of rows below a folder, whether a version names it or not."""
    return sorted(
        str(file.relative_to(path))
        for file in path.rglob("*")
        if file.is_file() and "_txfiles" not in file.parts and not file.name.startswith(".")
    )


def save(frame: Any, path: Any, save_mode: str = "append", **options: str) -> None:
    frame.write.format("txfiles").mode(save_mode).options(**options).save(str(path))


def test_reading_and_time_travel(source: Any, tmp_path: Path) -> None:
    """`load` gives the newest version, and with options an older one, under a configuration that nobody touched."""
    assert source.conf.get(PUSHDOWN, "false") == "false"
    tx.write(people(1), tmp_path / "t", mode="append")
    tx.write(people(2), tmp_path / "t", mode="append")
    at = tx.Table(tmp_path / "t").history()[1].time
    found = source.read.format("txfiles").load(f"{tmp_path}/t")
    assert rows(found) == bag(people(1, 2).to_pylist())
    assert rows(found.where("id = 2")) == bag(people(2).to_pylist())
    old = source.read.format("txfiles").option("version", 0).load(f"{tmp_path}/t")
    assert rows(old) == bag(people(1).to_pylist())
    reader = source.read.format("txfiles").option("timestamp", at.isoformat()).option("columns", "name")
    assert rows(reader.load(f"{tmp_path}/t")) == bag([{"name": "n1"}])


def test_a_frame_stays_at_its_version(source: Any, tmp_path: Path) -> None:
    """What is committed after a frame was made is not in it, however often it is computed."""
    tx.write(people(1), tmp_path / "t", mode="append")
    found = source.read.format("txfiles").load(f"{tmp_path}/t")
    tx.write(pa.table({"more": [1]}), tmp_path / "t", mode="append", schema_mode="merge")
    assert found.columns == ["id", "name"]
    assert rows(found) == bag(people(1).to_pylist())


def test_types_are_exactly_sparks(source: Any, tmp_path: Path) -> None:
    """Spark compares each batch with its own idea of the schema; nested, zoned and widened columns pass."""
    data = pa.table(
        {
            "at": pa.array([1, None], pa.timestamp("ms", "Europe/Oslo")),
            "list": pa.array([[{"a": 1}], None], pa.list_(pa.struct([("a", pa.uint8())]))),
            "map": pa.array([[("k", [b"x"])], None], pa.map_(pa.string(), pa.list_(pa.binary()))),
            "text": pa.array(["x", None], pa.large_string()),
        }
    )
    tx.write(data, tmp_path / "t", mode="append")
    found = source.read.format("txfiles").load(f"{tmp_path}/t")
    assert found.dtypes == [
        ("at", "timestamp"),
        ("list", "array<struct<a:smallint>>"),
        ("map", "map<string,array<binary>>"),
        ("text", "string"),
    ]
    assert found.toArrow()["list"].to_pylist() == [[{"a": 1}], None]
    assert found.count() == 2


def test_an_empty_table_and_marked_rows(source: Any, tmp_path: Path) -> None:
    """Without files Spark asks for a share that nobody made: no rows. Marked rows are left out."""
    tx.write(people(1).slice(0, 0), tmp_path / "e", mode="append")
    assert source.read.format("txfiles").load(f"{tmp_path}/e").collect() == []
    how: Any = {"mode": "upsert", "keys": "id", "properties": {"update_strategy": "merge_on_read"}, "format": "csv"}
    tx.write(people(*range(100)), tmp_path / "t", **how)
    tx.Table(tmp_path / "t").delete([("id", "==", 5)])
    assert source.read.format("txfiles").load(f"{tmp_path}/t").count() == 99


def test_sql_says_the_path_as_a_uri(source: Any, tmp_path: Path) -> None:
    """Catalogs make `file:/…` of a path, blanks escaped, and add options of their own; neither is in the way."""
    folder = tmp_path / "a b"
    tx.write(people(1, 2), folder, mode="append")
    tx.write(people(3), folder, mode="append")
    options = f"path 'file:{tmp_path}/a%20b', owner 'me', provider 'txfiles', version 0"
    source.sql(f"CREATE TEMPORARY VIEW viewed USING txfiles OPTIONS ({options})")
    try:
        assert source.sql("SELECT sum(id) AS s FROM viewed").collect()[0].s == 3
    finally:
        source.catalog.dropTempView("viewed")


def test_a_schema_of_the_users_own(source: Any, tmp_path: Path) -> None:
    """It may choose columns; it may not change their types."""
    tx.write(people(1), tmp_path / "t", mode="append")
    found = source.read.format("txfiles").schema("name STRING").load(f"{tmp_path}/t")
    assert rows(found) == bag([{"name": "n1"}])
    with pytest.raises(Exception, match="the schema says that column 'id' is int32, the table has BIGINT"):
        source.read.format("txfiles").schema("id INT").load(f"{tmp_path}/t").collect()


def test_filters_where_spark_hands_them_over(pushing: Any, tmp_path: Path) -> None:
    """Files that cannot match are not opened: they may even be gone. The rows are the same."""
    for start in (0, 10, 20):
        tx.write(people(*range(start, start + 10)), tmp_path / "t", mode="append")
    lost = tx.Table(tmp_path / "t").files()
    found = pushing.read.format("txfiles").load(f"{tmp_path}/t")
    assert found.count() == 30
    for path in (lost[0], lost[2]):
        Path(path).unlink()
    assert found.where("id > 12 AND id <= 15 AND name <> 'n14'").count() == 2
    assert found.where("id IN (11, 12, NULL)").count() == 2
    assert found.where("id <=> 13").count() == 1
    with pytest.raises(Exception, match="is missing"):
        found.where("id > 5").count()


def test_filters_are_as_spark_means_them(pushing: Any, tmp_path: Path) -> None:
    """NaN is the greatest number and equal to itself; null is no match; values that no row can have match none."""
    data = pa.table(
        {
            "x": [1.0, float("nan"), None],
            "n": pa.array([1, 2, None], pa.uint8()),
            "s": ["a", "é", None],
            "at": pa.array([0, 1, None], pa.timestamp("us", "UTC")),
        }
    )
    tx.write(data, tmp_path / "t", mode="append")
    found = pushing.read.format("txfiles").load(f"{tmp_path}/t")
    plain = tx.Table(tmp_path / "t").to_spark(pushing)
    for condition in (
        "x > 5",
        "x = double('NaN')",
        "n = 2",
        "n < 1000",
        "n IS NULL",
        "n <=> NULL",
        "s >= 'b'",
        "NOT s = 'a'",
        "s IN ('a', 'é')",
        "at > timestamp'1970-01-01 00:00:00Z'",
        "s LIKE 'a%'",
    ):
        assert rows(found.where(condition).select("s")) == rows(plain.where(condition).select("s")), condition


def test_registered_before_the_configuration_changed(source: Any, tmp_path: Path) -> None:
    """A session that hands filters over later still reads, without them."""
    tx.write(people(1), tmp_path / "t", mode="append")
    source.conf.set(PUSHDOWN, "true")
    try:
        assert source.read.format("txfiles").load(f"{tmp_path}/t").where("id = 1").count() == 1
    finally:
        source.conf.unset(PUSHDOWN)


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_append_and_overwrite(source: Any, tmp_path: Path, format: str) -> None:
    """Each is one commit, whatever the number of tasks; the first one creates the table."""
    path = tmp_path / "t"
    save(frame(source, people(*range(10)), 3), path, format=format, user_metadata='{"job": "x"}')
    save(frame(source, people(10)), path)
    assert stored(path) == bag(people(*range(11)).to_pylist())
    table = tx.Table(path)
    assert (table.version, table.format) == (1, format)
    assert table.history()[1].user_metadata == {"job": "x"}
    save(frame(source, people(20, 21)), path, "overwrite")
    assert stored(path) == bag(people(20, 21).to_pylist())
    assert tx.Table(path).version == 2


def test_keyed_modes(source: Any, tmp_path: Path) -> None:
    """Upsert and append_once do what they do for any rows, and a second delivery commits nothing."""
    path = tmp_path / "t"
    for _ in range(2):
        save(frame(source, people(*range(1000)), 3), path, mode="upsert", keys="id")
    assert tx.Table(path).version == 0
    save(frame(source, people(5, 2000, name="new")), path, mode="upsert")
    save(frame(source, people(6, 3000, name="other")), path, mode="append_once")
    expected = {row["id"]: row for row in people(*range(1000)).to_pylist()}
    expected |= {row["id"]: row for row in people(5, 2000, name="new").to_pylist()}
    expected |= {row["id"]: row for row in people(3000, name="other").to_pylist()}
    assert stored(path) == bag(list(expected.values()))
    assert [commit.operation for commit in tx.Table(path).history()] == ["append_once", "upsert", "upsert"]
    assert data_files(path) == sorted(os.path.relpath(name, path) for name in every_file(path))


def every_file(path: Path) -> set[str]:
    """The data files of every version."""
    newest = tx.Table(path)
    return {name for version in range(newest.version + 1) for name in newest.at(version=version).files()}


def test_options_in_either_spelling(source: Any, tmp_path: Path) -> None:
    """`batchId` and `batch_id`, several keys as JSON, and a delivery that was committed leaves no file behind."""
    path = tmp_path / "t"
    data = frame(source, people(1, 2))
    for spelling in ("batchId", "batch_id", "BATCHID"):
        save(data, path, **{spelling: "monday"})
    assert stored(path) == bag(people(1, 2).to_pylist())
    assert tx.Table(path).version == 0
    assert data_files(path) == sorted(os.path.relpath(name, path) for name in every_file(path))
    save(data, tmp_path / "k", mode="upsert", keys='["id", "name"]', timestampCol="id")
    table = tx.Table(tmp_path / "k")
    assert (table.keys, table.timestamp_col) == (("id", "name"), "id")


def test_overwrites_of_a_part(source: Any, tmp_path: Path) -> None:
    """By partition, with keys and without, and by filter."""
    path = tmp_path / "t"
    data = pa.table({"id": [1, 2, 3], "day": ["a", "a", "b"]})
    save(frame(source, data), path, partition_by="day")
    save(frame(source, pa.table({"id": [4], "day": ["a"]})), path, "overwrite", overwritePartitions="true")
    assert stored(path) == bag([{"id": 4, "day": "a"}, {"id": 3, "day": "b"}])
    keyed = frame(source, pa.table({"id": [5], "day": ["b"]}))
    save(keyed, path, "overwrite", overwrite_partitions="true", keys="id")
    assert stored(path) == bag([{"id": 4, "day": "a"}, {"id": 5, "day": "b"}])
    part = frame(source, pa.table({"id": [6], "day": ["c"]}))
    save(part, path, "overwrite", replaceWhere=json.dumps([["id", ">", 4]]))
    assert stored(path) == bag([{"id": 4, "day": "a"}, {"id": 6, "day": "c"}])


def test_a_table_in_a_bucket(source: Any, s3: Any) -> None:
    """Executors open the store themselves, with the caller's storage options, to read and to write."""
    options = s3_options(s3("ministack").url)
    path = f"s3://{BUCKET}/spark/{os.urandom(4).hex()}"
    given = {"storage_options": json.dumps(options)}
    save(frame(source, people(1, 2)), path, **given)
    save(frame(source, people(2, 3, name="new")), path, mode="upsert", keys="id", **given)
    expected = bag([*people(1).to_pylist(), *people(2, 3, name="new").to_pylist()])
    found = tx.Table(path, storage_options=options).to_spark(source)
    assert found.inputFiles() == []
    assert rows(found) == expected
    assert rows(source.read.format("txfiles").options(**given).load(path)) == expected


def test_save_modes_that_spark_refuses(source: Any, tmp_path: Path) -> None:
    """Spark knows two of its save modes for such sources; nothing is written under the others."""
    data = frame(source, people(1))
    for save_mode in ("errorifexists", "ignore"):
        with pytest.raises(Exception, match="UNSUPPORTED_DATA_SOURCE_SAVE_MODE"):
            save(data, tmp_path / "t", save_mode)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("save_mode", "options", "message"),
    [
        ("append", {"mode": "upsert"}, "requires 'keys'"),
        ("append", {"mode": "upsert", "keys": '["id"'}, "keys must be JSON"),
        ("append", {"batchid_": "x", "bad": "1"}, "there is no option 'bad'"),
        ("overwrite", {"mode": "append"}, "does not go with Spark's save mode"),
        ("append", {"mode": "overwrite"}, "does not go with Spark's save mode"),
        ("append", {"format": "delta"}, "format must be"),
        ("append", {"mode": "upsert", "keys": "id", "dedupStrategy": "last_wins"}, "position of rows"),
    ],
)
def test_wrong_options_are_told(
    source: Any, tmp_path: Path, save_mode: str, options: dict[str, str], message: str
) -> None:
    """The error comes before any task runs, in txfiles' words."""
    with pytest.raises(Exception, match=message):
        save(frame(source, people(1)), tmp_path / "t", save_mode, **options)
    assert data_files(tmp_path) == []


def test_every_option_of_write_is_one(tmp_path: Path) -> None:
    """All but those of text files and of Python itself, in either spelling."""
    text = {"mode": "upsert", "format": "csv", "keys": "id", "timeout": "5", "rekey": "TRUE", "properties": "{}"}
    more = {"dedup_strategy": "newest_wins", "timestampcol": "t", "stale": "apply", "batchid": "b", "lock": "/l"}
    rest = {"schemamode": "merge", "partitionBy": "a,b", "usermetadata": '{"a": "b"}', "storageOptions": '{"a": 1}'}
    found = spark_options.to_write({"path": "p", **text, **more, **rest}, overwrite=False)
    assert (found.keys, found.timeout, found.rekey, found.partition_by) == (("id",), 5.0, True, ("a,b",))
    assert (found.timestamp_col, found.batch_id, found.storage_options) == ("t", "b", {"a": 1})
    other = spark_options.to_write({"replacewhere": '[["id", "in", [1, 2]]]'}, overwrite=True)
    assert (other.mode, other.replace_where) == ("overwrite", [("id", "in", [1, 2])])
    assert not spark_options.to_write({"overwritepartitions": "false"}, overwrite=True).overwrite_partitions
    for name in ("schema", "csv", "progress"):
        assert name in OPTIONS
        with pytest.raises(OptionError, match="there is no option"):
            spark_options.to_write({name: "x"}, overwrite=False)
    for name, value in (("rekey", "1"), ("timeout", "x"), ("properties", "[]"), ("keys", "[1"), ("mode", "upset")):
        with pytest.raises(OptionError, match=name):
            spark_options.to_write({name: value}, overwrite=False)
    with pytest.raises(OptionError, match="whole number"):
        spark_options.to_read({"version": "x"})
    with pytest.raises(OptionError, match="cannot be combined"):
        spark_options.to_read({"version": "1", "timestamp": "2020-01-01T00:00:00Z"})


@pytest.mark.parametrize("keyed", [True, False])
def test_a_failing_task_leaves_nothing(source: Any, tmp_path: Path, keyed: bool) -> None:
    """What the others have written is deleted, and the table is as before."""
    path = tmp_path / "t"
    tx.write(people(1), path, mode="append")
    known = data_files(path)

    def fails(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            if 7 in batch["id"].to_pylist():
                for _ in range(600):  # until the other task is done, lest Spark kills it
                    if staged_files(path) or data_files(path) != known:
                        time.sleep(2)
                        raise ValueError("boom")
                    time.sleep(0.1)

    data = frame(source, people(*range(2, 40)), 2).mapInArrow(fails, "id BIGINT, name STRING")
    options = {"mode": "upsert", "keys": "id"} if keyed else {}
    with pytest.raises(Exception, match="boom"):
        save(data, path, **options)
    assert stored(path) == bag(people(1).to_pylist())
    assert data_files(path) == known
    assert staged_files(path) == []


def staged_files(path: Path) -> list[str]:
    """What is below `_txfiles` and neither log, lock, nor index."""
    kept = ("log", "checkpoints", "index", "vectors")
    return [
        str(file)
        for file in (path / "_txfiles").rglob("*")
        if file.is_file() and not set(kept) & set(file.parts) and file.suffix not in (".json", "")
    ]


def test_a_commit_that_fails_leaves_nothing(source: Any, tmp_path: Path) -> None:
    """Duplicate and null keys are found by the commit; its error comes through with txfiles' words."""
    path = tmp_path / "t"
    for data, message in (
        (pa.table({"id": [1, 1], "v": [1, 2]}), "1 key has several rows"),
        (pa.table({"id": pa.array([1, None], pa.int64()), "v": [1, 2]}), "a null in key column 'id'"),
    ):
        with pytest.raises(Exception, match=message):
            save(frame(source, data), path, mode="upsert", keys="id")
        assert not tx.exists(path)
        assert data_files(path) == []
        assert staged_files(path) == []


def test_an_empty_frame_creates_the_table(source: Any, tmp_path: Path) -> None:
    """No task has rows: the table has the frame's columns."""
    save(frame(source, people(1)).where("id > 1"), tmp_path / "t")
    assert tx.Table(tmp_path / "t").schema.names == ["id", "name"]
    assert stored(tmp_path / "t") == bag([])


# ---- between the processes, without Spark


def begun(path: Path, data: pa.Table, **options: str) -> tuple[Any, Any]:
    """A write whose tasks have written."""
    writing = spark_writing.begin(Place(path), spark_options.to_write(options, overwrite=False), data.schema)
    return writing, writing.write(iter(data.to_batches()))


def test_others_commit_meanwhile(tmp_path: Path) -> None:
    """An append goes after them; an upsert is planned on what they left."""
    path = tmp_path / "t"
    tx.write(people(1, 2), path, mode="upsert", keys="id")
    append, appended = begun(path, people(3))
    upsert, upserted = begun(path, people(2, 4, name="new"), mode="upsert")
    tx.write(people(2, name="old"), path, mode="upsert")
    append.commit([appended])
    result = upsert.commit([upserted])
    assert (result.rows_updated, result.rows_inserted) == (1, 1)
    assert stored(path) == bag([*people(1, 3).to_pylist(), *people(2, 4, name="new").to_pylist()])


def test_what_was_written_does_not_fit_any_more(tmp_path: Path) -> None:
    """Columns that changed while Spark wrote are a conflict; the files are deleted."""
    path = tmp_path / "t"
    tx.write(people(1), path, mode="append")
    writing, found = begun(path, people(2), schema_mode="merge")
    tx.write(pa.table({"more": [1]}), path, mode="append", schema_mode="merge")
    known = set(data_files(path))
    with pytest.raises(CommitConflictError, match="while Spark wrote"):
        writing.commit([found])
    assert tx.Table(path).version == 1
    assert len(known - set(data_files(path))) == 1


def test_a_vacuum_meanwhile(tmp_path: Path) -> None:
    """A vacuum that has deleted the tasks' files makes the commit fail: no version names files that are gone."""
    path = tmp_path / "t"
    tx.write(people(1), path, mode="append", properties={"vacuum_grace": "0s"})
    writing, found = begun(path, people(2))
    result = tx.Table(path).vacuum(retain="0s")
    assert len(result.deleted) == 1
    with pytest.raises(CommitConflictError):
        writing.commit([found])
    assert stored(path) == bag(people(1).to_pylist())


def test_nobody_knows_whether_it_was_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spark then calls abort, which must not delete files that a version may name."""
    path = tmp_path / "t"
    writing, found = begun(path, people(1, 2))
    real = spark_writing.writes.write_on

    def loses_the_answer(*given: Any) -> None:
        real(*given)
        raise CommitStateUnknownError("the store did not answer", commit_id="0" * 32)

    monkeypatch.setattr(spark_writing.writes, "write_on", loses_the_answer)
    with pytest.raises(CommitStateUnknownError):
        writing.commit([found])
    writing.abort([found])
    assert stored(path) == bag(people(1, 2).to_pylist())


@pytest.mark.parametrize("options", [{}, {"mode": "upsert", "keys": "id"}], ids=["direct", "keyed"])
def test_a_delivery_that_was_committed_before(tmp_path: Path, options: dict[str, str]) -> None:
    """Its rows are not applied again, and what the tasks wrote of them is deleted by the commit."""
    path = tmp_path / "t"
    for again in (False, True):
        writing, found = begun(path, people(1, 2), batch_id="monday", **options)
        assert writing.commit([found]).already_committed == again
        assert stored(path) == bag(people(1, 2).to_pylist())
        assert data_files(path) == sorted(os.path.relpath(name, path) for name in every_file(path))
        assert staged_files(path) == []


def test_abort_deletes_what_was_written(tmp_path: Path) -> None:
    """If a task failed there was no commit: what the others wrote is deleted."""
    path = tmp_path / "t"
    for options in ({}, {"mode": "upsert", "keys": "id"}):
        writing, found = begun(path, people(1, 2), **options)
        writing.abort([found, None])
        assert not tx.exists(path)
        assert data_files(path) == []
        assert staged_files(path) == []


@pytest.mark.parametrize("options", [{}, {"mode": "upsert", "keys": "id"}], ids=["direct", "keyed"])
def test_a_task_that_fails_deletes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    """Spark gets no message from it, so nobody else could."""
    path = tmp_path / "t"
    writing = spark_writing.begin(Place(path), spark_options.to_write(options, overwrite=False), people(1).schema)
    monkeypatch.setattr("txfiles.spark.tasks.CHUNK_BYTES", 1)
    seen = []

    def batches() -> Iterator[pa.RecordBatch]:
        yield from people(1).to_batches()
        yield from people(2).to_batches()
        seen.append(every_name(path))
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        writing.write(batches())
    assert len(seen[0]) > 1
    assert every_name(path) == [os.path.join("_txfiles", "table.json")]


def every_name(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def test_what_catalogs_add_is_not_an_option() -> None:
    """`CREATE TABLE` adds an owner and the like to the options of a table."""
    assert spark_options.to_read({"path": "p", "owner": "me", "provider": "txfiles", "version": "3"}) == {"version": 3}


def test_importing_txfiles_does_not_import_pyspark() -> None:
    """Only `register_spark` needs it."""
    code = (
        "import sys, txfiles as tx; tx.write; tx.Table; tx.streaming_batch_id; "
        "assert 'pyspark' not in sys.modules; tx.register_spark; assert 'pyspark' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
