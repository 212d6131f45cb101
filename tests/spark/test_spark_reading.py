"""`Table.to_spark`: the same rows as `to_arrow`, by whichever way they come."""

from __future__ import annotations

import decimal
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from tests.model import bag
from txfiles.errors import (
    CorruptTableError,
    InputError,
    SnapshotExpiredError,
    UnsupportedTypeError,
)

FORMATS = ("parquet", "csv")


def people(*numbers: int) -> pa.Table:
    return pa.table({"id": pa.array(numbers, pa.int64()), "name": [f"n{number}" for number in numbers]})


def rows(frame: Any) -> Any:
    """The rows of a frame, in no order."""
    return bag(frame.toArrow().to_pylist())


def expected(table: tx.Table, **how: Any) -> Any:
    return bag(table.to_arrow(**how).to_pylist())


def by_spark_itself(frame: Any) -> bool:
    """Whether Spark's own reader of Parquet reads the files."""
    return bool(frame.inputFiles())


def test_a_table_is_read_by_sparks_own_reader(spark: Any, tmp_path: Path) -> None:
    """Live files and no others are given to Spark's reader, with the columns and types that the log has."""
    tx.write(people(1, 2), tmp_path / "t", mode="append")
    tx.write(people(3), tmp_path / "t", mode="overwrite")
    tx.write(people(4), tmp_path / "t", mode="append")
    table = tx.Table(tmp_path / "t")
    frame = table.to_spark(spark)
    assert by_spark_itself(frame)
    assert rows(frame) == expected(table) == bag(people(3, 4).to_pylist())
    assert frame.dtypes == [("id", "bigint"), ("name", "string")]
    assert rows(table.at(version=0).to_spark(spark)) == bag(people(1, 2).to_pylist())


def test_csv_is_read_by_tasks(spark: Any, tmp_path: Path) -> None:
    """CSV comes with the types of the log: null and '' stay apart, '001' keeps its zeros, newlines are in one value."""
    data = pa.table({"id": pa.array([1, 2, 3], pa.int16()), "text": ["001", "", None]})
    data = pa.concat_tables([data, pa.table({"id": pa.array([4], pa.int16()), "text": ['a\n"b",c']})])
    tx.write(data, tmp_path / "t", mode="append", format="csv")
    table = tx.Table(tmp_path / "t")
    frame = table.to_spark(spark)
    assert not by_spark_itself(frame)
    assert rows(frame) == expected(table) == bag(data.to_pylist())
    assert frame.dtypes == [("id", "smallint"), ("text", "string")]


@pytest.mark.parametrize("format", FORMATS)
def test_marked_rows_are_left_out(spark: Any, tmp_path: Path, format: str) -> None:
    """Rows that a deletion vector names are not in the frame."""
    how: Any = {"mode": "upsert", "keys": "id", "format": format, "properties": {"update_strategy": "merge_on_read"}}
    tx.write(people(*range(100)), tmp_path / "t", **how)
    tx.write(pa.table({"id": [7], "name": ["new"]}), tmp_path / "t", mode="upsert")
    tx.Table(tmp_path / "t").delete([("id", "==", 8)])
    table = tx.Table(tmp_path / "t")
    frame = table.to_spark(spark)
    found = rows(frame)
    assert found == expected(table)
    assert len(found) == 99
    if format == "parquet":
        assert not by_spark_itself(frame)


def test_widened_and_new_columns(spark: Any, tmp_path: Path) -> None:
    """Files from before a column was widened or added have the table's columns."""
    tx.write(pa.table({"id": pa.array([1], pa.int32())}), tmp_path / "t", mode="append")
    tx.write(pa.table({"id": pa.array([2**40]), "more": ["x"]}), tmp_path / "t", mode="append", schema_mode="merge")
    table = tx.Table(tmp_path / "t")
    frame = table.to_spark(spark)
    assert rows(frame) == bag([{"id": 1, "more": None}, {"id": 2**40, "more": "x"}])
    assert frame.dtypes == [("id", "bigint"), ("more", "string")]


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_table_has_its_columns(spark: Any, tmp_path: Path, format: str) -> None:
    """No files: no rows, and the schema of the log."""
    tx.write(people(1).slice(0, 0), tmp_path / "t", mode="append", format=format)
    frame = tx.Table(tmp_path / "t").to_spark(spark)
    assert frame.collect() == []
    assert frame.dtypes == [("id", "bigint"), ("name", "string")]


@pytest.mark.parametrize("folder", ["{a,b}", "[ab]", "a*b?", "a\\b", "a,b", "a b%20c", "k=v", "ü`'\"", "_x", ".y"])
def test_a_folders_name_is_no_pattern(spark: Any, tmp_path: Path, folder: str) -> None:
    """Characters that are patterns to Hadoop are characters of the folder's name."""
    data = people(1, 2).append_column("country", pa.array(["x*{y}", "å/%"]))
    tx.write(data, tmp_path / folder / "t", mode="append", partition_by="country")
    frame = tx.Table(tmp_path / folder / "t").to_spark(spark)
    assert by_spark_itself(frame)
    assert rows(frame) == bag(data.to_pylist())


@pytest.mark.parametrize(
    ("values", "own_reader"),
    [
        (pa.array(["001", "1e3", "true", "2020-01-01", None]), True),
        (pa.array(["a", "", None]), False),
        (pa.array(["a", "__HIVE_DEFAULT_PARTITION__"]), False),
        (pa.array([-1, 0, None], pa.int8()), True),
        (pa.array([date(1, 1, 1), date(9999, 12, 31), None]), True),
        (pa.array([True, False, None]), False),
        (pa.array([datetime(1900, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")), False),
        (pa.array([decimal.Decimal("0.10")]), False),
    ],
)
def test_partition_values_are_the_logs(spark: Any, tmp_path: Path, values: pa.Array, own_reader: bool) -> None:
    """Values of partition columns are those of the log, never guessed from a path; the order of columns stays."""
    data = pa.table({"part": values, "id": range(len(values))})
    tx.write(data, tmp_path / "t", mode="append", partition_by="part")
    table = tx.Table(tmp_path / "t")
    frame = table.to_spark(spark)
    assert by_spark_itself(frame) == own_reader
    assert frame.columns == ["part", "id"]
    assert rows(frame) == bag(data.to_pylist())
    assert rows(table.to_spark(spark, ["id"])) == bag(data.select(["id"]).to_pylist())


INSTANT = datetime(1883, 11, 18, 12, 3, 58, 1, tzinfo=UTC)

NATIVE = {
    "bool": pa.array([True, None]),
    "int8": pa.array([-128, None], pa.int8()),
    "int16": pa.array([-(2**15), None], pa.int16()),
    "int32": pa.array([-(2**31), None], pa.int32()),
    "int64": pa.array([-(2**63), None], pa.int64()),
    "float32": pa.array([-0.0, None], pa.float32()),
    "float64": pa.array([float("-inf"), None]),
    "text": pa.array(["é\x00\n", None]),
    "bytes": pa.array([b"\x00\xff", None]),
    "date": pa.array([date(1, 1, 1), None]),
    "instant": pa.array([INSTANT, None], pa.timestamp("us", "UTC")),
    "zoned": pa.array([INSTANT, None], pa.timestamp("us", "Europe/Oslo")),
    "naive": pa.array([datetime(1, 1, 1), None], pa.timestamp("us")),
    "decimal": pa.array([decimal.Decimal("-0.01"), None], pa.decimal128(38, 2)),
    "list": pa.array([[1, None], None], pa.list_(pa.int64())),
    "struct": pa.array([{"a": 1, "b.c": "x"}, None]),
    "map": pa.array([[("k", 1.5)], None], pa.map_(pa.string(), pa.float64())),
}
"""What Spark has too."""

CAST = {
    "uint8": (pa.array([255, None], pa.uint8()), "smallint"),
    "uint16": (pa.array([2**16 - 1, None], pa.uint16()), "int"),
    "uint32": (pa.array([2**32 - 1, None], pa.uint32()), "bigint"),
    "uint64": (pa.array([2**64 - 1, None], pa.uint64()), "decimal(20,0)"),
    "float16": (pa.array([1.5, None], pa.float16()), "float"),
    "ns": (pa.array([10**9 + 1000, None], pa.timestamp("ns")), "timestamp_ntz"),
    "ms": (pa.array([-1, None], pa.timestamp("ms", "UTC")), "timestamp"),
    "s": (pa.array([-62135596800, None], pa.timestamp("s")), "timestamp_ntz"),
    "duration": (pa.array([timedelta(days=-1, microseconds=1), None]), "interval day to second"),
    "decimal256": (pa.array([decimal.Decimal("1.5"), None], pa.decimal256(38, 1)), "decimal(38,1)"),
    "fixed": (pa.array([b"ab", None], pa.binary(2)), "binary"),
    "nothing": (pa.nulls(2), "void"),
    "of three": (pa.array([[1, 2, 3], None], pa.list_(pa.int32(), 3)), "array<int>"),
    "inner": (pa.array([[{"n": 1}], None], pa.list_(pa.struct([("n", pa.uint32())]))), "array<struct<n:bigint>>"),
    "times": (pa.array([[("k", 7000)], None], pa.map_(pa.string(), pa.timestamp("ns"))), "map<string,timestamp_ntz>"),
}
"""What Spark has another type for, and which."""


@pytest.mark.parametrize("zone", ["UTC", "Europe/Oslo"])
@pytest.mark.parametrize("own_reader", [True, False])
def test_types_that_spark_has(spark: Any, tmp_path: Path, own_reader: bool, zone: str) -> None:
    """Each value comes back, from the files and through tasks, whatever the session's zone is."""
    data = pa.table(NATIVE)
    tx.write(data, tmp_path / "t", mode="append")
    table = tx.Table(tmp_path / "t")
    known = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", zone)
    try:
        frame = table.to_spark(spark, filter=None if own_reader else [("bool", "==", True)])
        assert by_spark_itself(frame) == own_reader
        found = frame.toArrow()
    finally:
        spark.conf.set("spark.sql.session.timeZone", known)
    data = data if own_reader else data.slice(0, 1)
    for name in data.column_names:
        assert bag([{name: value} for value in found[name].cast(data.schema.field(name).type).to_pylist()]) == bag(
            [{name: value} for value in data[name].to_pylist()]
        )


def test_types_that_spark_lacks(spark: Any, tmp_path: Path) -> None:
    """They come in the type of Spark's that holds each of their values."""
    data = pa.table({name: values for name, (values, _) in CAST.items()})
    tx.write(data, tmp_path / "t", mode="append")
    frame = tx.Table(tmp_path / "t").to_spark(spark)
    assert dict(frame.dtypes) == {name: kind for name, (_, kind) in CAST.items()}
    found = frame.toArrow()
    for name in data.column_names:
        assert found[name].cast(data.schema.field(name).type).to_pylist() == data[name].to_pylist(), name


@pytest.mark.parametrize(
    ("values", "type_name"),
    [
        (pa.array([1], pa.time32("s")), "time32[s]"),
        (pa.array([1], pa.time64("us")), "time64[us]"),
        (pa.array([decimal.Decimal(1)], pa.decimal256(39, 0)), "decimal256(39, 0)"),
        (pa.array([[1]], pa.list_(pa.time64("ns"))), "time64[ns]"),
    ],
)
def test_types_that_spark_cannot_hold(spark: Any, tmp_path: Path, values: pa.Array, type_name: str) -> None:
    """The error names column and type; the other columns can be read."""
    tx.write(pa.table({"id": [1], "odd": values}), tmp_path / "t", mode="append")
    table = tx.Table(tmp_path / "t")
    with pytest.raises(UnsupportedTypeError) as caught:
        table.to_spark(spark)
    assert (caught.value.column, caught.value.type) == ("odd", type_name)
    assert "columns=[…]" in str(caught.value.hint)
    assert rows(table.to_spark(spark, ["id"])) == bag([{"id": 1}])


def test_a_value_that_spark_cannot_hold(spark: Any, tmp_path: Path) -> None:
    """Nanoseconds that are no microseconds fail the job with an error that names the column; none is rounded."""
    tx.write(pa.table({"at": pa.array([1001], pa.timestamp("ns"))}), tmp_path / "t", mode="append")
    frame = tx.Table(tmp_path / "t").to_spark(spark)
    with pytest.raises(Exception, match=r"column 'at' has type timestamp\[ns\] and a value that Spark cannot hold"):
        frame.collect()


def test_columns_and_filters(spark: Any, tmp_path: Path) -> None:
    """As `to_arrow` has them, and files that cannot match are not opened."""
    for start in range(0, 40, 10):
        tx.write(people(*range(start, start + 10)), tmp_path / "t", mode="append")
    table = tx.Table(tmp_path / "t")
    for path in table.files()[1:]:
        Path(path).unlink()
    frame = table.to_spark(spark, ["name"], [("id", "<", 5)])
    assert rows(frame) == bag([{"name": f"n{number}"} for number in range(5)])
    assert table.to_spark(spark, filter=[("id", ">", 1000)]).collect() == []
    with pytest.raises(InputError, match="no column 'nome'"):
        table.to_spark(spark, ["nome"])
    with pytest.raises(InputError, match="column 'x'"):
        table.to_spark(spark, filter=[("x", "==", 1)])


def test_names_that_are_hard(spark: Any, tmp_path: Path) -> None:
    """Dots, backticks, blanks and newlines in a column's name are part of it."""
    data = pa.table({name: [1] for name in ("a.b", "a`b", "a b", "a\nb", "ü", "select", "a;b", "a=b", "{a},(b)", '"')})
    tx.write(data, tmp_path / "t", mode="append")
    table = tx.Table(tmp_path / "t")
    for frame in (table.to_spark(spark), table.to_spark(spark, filter=[("ü", "==", 1)])):
        assert frame.columns == data.column_names
        assert rows(frame) == bag(data.to_pylist())


@pytest.mark.parametrize("own_reader", [True, False])
def test_a_missing_file_is_an_error(spark: Any, tmp_path: Path, own_reader: bool) -> None:
    """A file that is gone fails the read, also where the session would pass over it; rows are never just missing."""
    tx.write(people(1), tmp_path / "t", mode="append")
    tx.write(people(2), tmp_path / "t", mode="append")
    table = tx.Table(tmp_path / "t")
    frame = table.to_spark(spark, filter=None if own_reader else [("id", ">", 0)])
    Path(table.files()[1]).unlink()
    spark.conf.set("spark.sql.files.ignoreMissingFiles", "true")
    try:
        with pytest.raises(Exception, match=r"FILE_NOT_EXIST|is missing"):
            frame.collect()
        if own_reader:
            with pytest.raises(CorruptTableError, match="is missing"):
                table.to_spark(spark)
    finally:
        spark.conf.unset("spark.sql.files.ignoreMissingFiles")


def test_an_expired_version(spark: Any, tmp_path: Path) -> None:
    """A version whose files a vacuum has taken is told as that."""
    tx.write(people(1), tmp_path / "t", mode="append")
    old = tx.Table(tmp_path / "t")
    tx.write(people(2), tmp_path / "t", mode="overwrite")
    tx.Table(tmp_path / "t").vacuum(retain="0s")
    with pytest.raises(SnapshotExpiredError):
        old.to_spark(spark)


def test_files_of_any_size_are_shared_out(spark: Any, tmp_path: Path) -> None:
    """Every file is in one share, whatever their number and size."""
    for number in range(7):
        tx.write(people(number), tmp_path / "t", mode="append", format="csv")
    table = tx.Table(tmp_path / "t")
    assert rows(table.to_spark(spark)) == bag(people(*range(7)).to_pylist())
