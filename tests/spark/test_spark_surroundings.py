"""What the library relies on in Spark: facts of Spark, not of the library."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import txfiles


def parquet(path: Path, *ids: int) -> str:
    """A file with these ids."""
    pq.write_table(pa.table({"id": pa.array(ids, pa.int64())}), path)
    return str(path)


def ids(frame: Any) -> list[int]:
    """Of a frame, sorted."""
    return sorted(row.id for row in frame.collect())


def test_workers_import_this_checkout(spark: Any) -> None:
    """Spark's Python workers run the tests' Python, with the checkout of the tests."""

    def where(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"python": [sys.executable], "txfiles": [txfiles.__file__]})

    found = spark.range(1).mapInArrow(where, "python string, txfiles string").collect()
    assert [tuple(row) for row in found] == [(sys.executable, txfiles.__file__)]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Oslo"])
def test_tasks_get_instants_in_the_zone_of_the_session(spark: Any, zone: str) -> None:
    """Instants come to `mapInArrow` in microseconds and the session's zone, to the driver's Arrow tables in UTC."""
    session = spark.newSession()  # its settings are its own
    session.conf.set("spark.sql.session.timeZone", zone)

    def types(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_pydict({"types": [str(kind) for kind in batch.schema.types]})

    frame = session.sql("SELECT timestamp '2026-11-02 10:00:00Z' AS at, timestamp_ntz '2026-11-02 10:00:00' AS clock")
    found = [row.types for row in frame.mapInArrow(types, "types string").collect()]
    assert found == [f"timestamp[us, tz={zone}]", "timestamp[us]"]
    assert frame.toArrow().schema.types == [pa.timestamp("us", "UTC"), pa.timestamp("us")]


def test_a_missing_file_fails(spark: Any, tmp_path: Path) -> None:
    """A list of files one of which is missing is an error, not the rows of the others."""
    from pyspark.errors import AnalysisException

    here, gone = parquet(tmp_path / "here.parquet", 1), f"{tmp_path}/gone.parquet"
    with pytest.raises(AnalysisException, match="PATH_NOT_FOUND"):
        spark.read.schema("id long").parquet(here, gone)


def test_a_file_deleted_before_the_job_fails(spark: Any, tmp_path: Path) -> None:
    """A file that is deleted after the frame was made is an error of the job that reads it."""
    from py4j.protocol import Py4JJavaError

    here, gone = parquet(tmp_path / "here.parquet", 1), parquet(tmp_path / "gone.parquet", 2)
    frame = spark.read.schema("id long").parquet(here, gone)
    Path(gone).unlink()
    with pytest.raises(Py4JJavaError, match=r"FAILED_READ_FILE\.FILE_NOT_EXIST"):
        frame.collect()


def test_an_empty_list_is_no_rows(spark: Any) -> None:
    """No files and a schema are a frame with that schema and no rows."""
    frame = spark.read.schema("id long, name string").format("parquet").load([])
    assert (frame.dtypes, frame.collect()) == ([("id", "bigint"), ("name", "string")], [])


@pytest.mark.parametrize("name", ["_one.parquet", ".one.parquet"])
def test_hidden_names_are_left_out(spark: Any, tmp_path: Path, name: str) -> None:
    """A listed file whose name begins with _ or . is left out silently, so no data file has such a name."""
    listed = parquet(tmp_path / "two.parquet", 2), parquet(tmp_path / name, 1)
    assert ids(spark.read.schema("id long").parquet(*listed)) == [2]


@pytest.mark.parametrize("name", ["_hidden", ".hidden"])
def test_files_in_hidden_folders_are_read(spark: Any, tmp_path: Path, name: str) -> None:
    """The rule for names is about files: a folder above them may begin with _ or a dot."""
    (tmp_path / name).mkdir()
    assert ids(spark.read.schema("id long").parquet(parquet(tmp_path / name / "one.parquet", 1))) == [1]


def test_a_file_listed_twice_is_read_twice(spark: Any, tmp_path: Path) -> None:
    """Spark does not look whether a list has a file twice."""
    one = parquet(tmp_path / "one.parquet", 1)
    assert ids(spark.read.schema("id long").parquet(one, one)) == [1, 1]


def test_paths_are_patterns(spark: Any, tmp_path: Path) -> None:
    """Without escapes a path means the files that it matches: another one here."""
    parquet(tmp_path / "a1.parquet", 7)
    meant = parquet(tmp_path / "a[1].parquet", 1)
    assert ids(spark.read.schema("id long").parquet(meant)) == [7]


@pytest.mark.parametrize("sign", list("{}[]*?,\\"))
def test_escaped_paths_are_themselves(spark: Any, tmp_path: Path, sign: str) -> None:
    """With a backslash before each sign of a pattern, a path means the file of that name."""
    meant = parquet(tmp_path / f"a{sign}b.parquet", 1)
    parquet(tmp_path / "axb.parquet", 7)
    assert ids(spark.read.schema("id long").parquet(meant.replace(sign, f"\\{sign}"))) == [1]


def test_delta_is_at_hand(spark: Any, tmp_path: Path) -> None:
    """The session writes, merges into and reads Delta tables by SQL, without the package delta-spark."""
    table = f"{tmp_path}/table"
    spark.range(3).coalesce(1).write.format("delta").save(table)
    spark.range(2, 5).coalesce(1).createOrReplaceTempView("more")
    spark.sql(f"MERGE INTO delta.`{table}` t USING more s ON t.id = s.id WHEN NOT MATCHED THEN INSERT *")
    assert ids(spark.read.format("delta").load(table)) == [0, 1, 2, 3, 4]
