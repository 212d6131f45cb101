"""A folder of files that others wrote becomes a table: what is taken, what it is, and that it works as any table."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import txfiles as tx
from tests.adopt import folders
from tests.adopt.folders import put, rows
from txfiles import environment
from txfiles.core import names
from txfiles.log import versions
from txfiles.log.session import Session
from txfiles.store.local import LocalStore


def contents(root: Path) -> dict[str, str]:
    """Each file below a folder but the log's, and the hash of its bytes."""
    files = (path for path in root.rglob("*") if path.is_file() and names.LOG_FOLDER not in path.parts)
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ids(table: tx.Table) -> list[int]:
    return sorted(table.to_arrow()["id"].to_pylist())


MADE: dict[str, tuple[Callable[[Path], None], int, dict[str, str]]] = {
    "spark": (folders.spark, 4, {"id": "int64", "name": "string", "country": "string", "day": "date32[day]"}),
    "hive": (folders.hive, 6, {"id": "int64", "at": "timestamp[us]", "month": "string"}),
    "pandas": (folders.pandas, 9, {"id": "int64", "name": "string", "kind": "string"}),
    "dask": (folders.dask, 4, {"id": "int64", "name": "string"}),
    "polars": (folders.polars, 3, {"id": "int64", "name": "string", "when": "double"}),
    "duckdb": (folders.duckdb, 4, {"id": "int64", "name": "string", "kind": "string"}),
}


@pytest.mark.parametrize("tool", MADE)
def test_folders_of_other_tools(tool: str, tmp_path: Path) -> None:
    """Each tool's folder becomes a table with its rows and types; not a byte of it changes; writes go on from there."""
    make, count, types = MADE[tool]
    make(tmp_path)
    before = contents(tmp_path)
    planned = tx.adopt(tmp_path, keys="id", dry_run=True)
    assert not (tmp_path / names.LOG_FOLDER).exists()
    done = tx.adopt(tmp_path, keys="id")
    assert (done.rows, done.files, done.schema) == (planned.rows, planned.files, planned.schema)
    assert {field.name: str(field.type) for field in done.schema} == types
    assert (done.version, done.committed, planned.version, planned.committed) == (0, True, None, False)
    assert contents(tmp_path) == before
    table = tx.Table(tmp_path)
    assert (table.version, table.keys, len(table.to_arrow())) == (0, ("id",), count)
    assert table.dataset().to_table().sort_by("id").equals(table.to_arrow().sort_by("id"))
    whole = table.to_arrow()
    first = whole.slice(0, 1)
    again = tx.write(whole, tmp_path, mode="append_once")
    assert (again.rows_skipped, again.committed) == (count, False)
    new = first.set_column(first.schema.get_field_index("id"), "id", pa.array([99], pa.int64()))
    tx.write(pa.concat_tables([first, new]), tmp_path, mode="upsert")
    tx.Table(tmp_path).delete(keys=[whole["id"][1].as_py()])
    tx.Table(tmp_path).compact()
    assert ids(tx.Table(tmp_path)) == sorted({*whole["id"].to_pylist(), 99} - {whole["id"][1].as_py()})
    assert tx.Table(tmp_path).at(version=0).to_arrow().equals(whole)
    tx.Table(tmp_path).vacuum("0")
    assert before.items() <= contents(tmp_path).items()


def test_what_is_left_alone(tmp_path: Path) -> None:
    """Markers, checksums, metadata, hidden folders and a README are no data; the result names them."""
    put(tmp_path, "a.parquet", rows(1))
    put(tmp_path, "_tmp/b.parquet", rows(2))
    put(tmp_path, ".hidden/c.parquet", rows(3))
    put(tmp_path, "d.parquet._COPYING_", rows(4))
    for name in ("_SUCCESS", ".a.parquet.crc", "a.parquet.crc", "README.md"):
        (tmp_path / name).touch()
    done = tx.adopt(tmp_path)
    others = {".a.parquet.crc", ".hidden/c.parquet", "README.md", "_SUCCESS", "_tmp/b.parquet", "a.parquet.crc"}
    assert set(done.ignored) == {*others, "d.parquet._COPYING_"}
    assert ids(tx.Table(tmp_path)) == [1]


def test_nested_folders_and_odd_names(tmp_path: Path) -> None:
    """A file may have any name below the root: it is read by exactly that name."""
    for number, name in enumerate(("2024/01/x.parquet", "a b/ü%41 ?.parquet", "c/'\"#[x]*\n.parquet", "~.pq")):
        put(tmp_path, name, rows(number))
    tx.adopt(tmp_path, keys=["id"])
    table = tx.Table(tmp_path)
    assert ids(table) == [0, 1, 2, 3]
    assert {str(Path(file).relative_to(tmp_path)) for file in table.files()} == set(contents(tmp_path))
    tx.write(rows(1, 7), tmp_path, mode="upsert")
    for interval in range(25):
        tx.Table(tmp_path).set({"row_group_rows": 100 + interval})  # on to a checkpoint with such paths
    found = versions.require_head(Session(LocalStore(tmp_path), environment.real()))  # it has opened nothing before
    assert found.state.checkpoint is not None
    assert len(found.files) == 5
    tx.Table(tmp_path).delete(keys=[0])
    assert ids(tx.Table(tmp_path)) == [1, 2, 3, 7]


def test_schemas_are_joined_as_merge_would(tmp_path: Path) -> None:
    """Missing columns are null, narrower types widen, whatever the order; the notes say in which files."""
    put(tmp_path, "a.parquet", pa.table({"id": pa.array([1], pa.int32()), "x": ["a"]}))
    put(tmp_path, "b.parquet", pa.table({"y": [2.5], "id": pa.array([2**40], pa.int64())}))
    put(tmp_path, "c.parquet", pa.table({"id": pa.array([3], pa.int16()), "x": pa.nulls(1), "s": [{"p": 1}]}))
    put(tmp_path, "d.parquet", pa.table({"id": pa.array([4], pa.int64()), "s": [{"p": 2, "q": "z"}]}))
    done = tx.adopt(tmp_path, keys="id")
    assert [(f.name, str(f.type)) for f in done.schema] == [
        ("id", "int64"), ("x", "string"), ("y", "double"), ("s", "struct<p: int64, q: string>"),
    ]  # fmt: skip
    told = " ".join(done.notes)
    assert "column 'id' is int32 in 'a.parquet', int64 in 'b.parquet', 'd.parquet', int16 in 'c.parquet'" in told
    assert "column 'y' is null in files that lack it: 'a.parquet', 'c.parquet', 'd.parquet'" in told
    found = {row["id"]: row for row in tx.Table(tmp_path).to_arrow().to_pylist()}
    assert found[2**40] == {"id": 2**40, "x": None, "y": 2.5, "s": None}
    assert (found[3]["s"], found[4]["s"]) == ({"p": 1, "q": None}, {"p": 2, "q": "z"})
    with pytest.raises(tx.NeedsLiveViewError):
        tx.Table(tmp_path).files()
    assert len(tx.Table(tmp_path).files(physical=True)) == 4
    assert tx.Table(tmp_path).to_arrow(filter=[("id", "=", 2**40)]).num_rows == 1


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (pa.array([1]), pa.array(["1"]), "int64 in 'a.parquet', string in 'b.parquet'"),
        (pa.array([1]), pa.array([1.5]), "int64 in 'a.parquet', double in 'b.parquet'"),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("ns")), "'b.parquet'"),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC")), "'b.parquet'"),
        (pa.array([{"p": 1}]), pa.array([{"p": "1"}]), "'b.parquet'"),
    ],
)
def test_types_that_do_not_fit_are_explained(one: pa.Array, other: pa.Array, told: str, tmp_path: Path) -> None:
    """Where no type holds the values of both files, the error names the column and the files; nothing is written."""
    put(tmp_path, "a.parquet", pa.table({"x": one}))
    put(tmp_path, "b.parquet", pa.table({"x": other}))
    with pytest.raises(tx.SchemaMismatchError, match="column 'x' is ") as raised:
        tx.adopt(tmp_path)
    assert told.replace("double", "float64") in str(raised.value) or told in str(raised.value)
    assert set(contents(tmp_path)) == {"a.parquet", "b.parquet"}
    assert not (tmp_path / names.LOG_FOLDER).exists()


def test_names_in_two_cases(tmp_path: Path) -> None:
    """Names that differ in case only are refused with their files, unless the property allows them."""
    put(tmp_path, "a.parquet", pa.table({"Id": [1]}))
    put(tmp_path, "b.parquet", pa.table({"id": [2]}))
    with pytest.raises(tx.SchemaMismatchError, match=r"'Id' is in 'a.parquet'; 'id' is in 'b.parquet'"):
        tx.adopt(tmp_path)
    tx.adopt(tmp_path, properties={"case_sensitive_names": True})
    assert tx.Table(tmp_path).to_arrow().column_names == ["Id", "id"]


def test_int96_does_not_overflow(tmp_path: Path) -> None:
    """The year 3000 in int96 reads as the year 3000, also beside a column of nanoseconds and through a dataset."""
    when = dt.datetime(3000, 1, 1)
    table = pa.table({"at": pa.array([when], pa.timestamp("us"))})
    put(tmp_path, "a.parquet", table, use_deprecated_int96_timestamps=True)
    put(
        tmp_path,
        "b.parquet",
        pa.table({"at": pa.array([when], pa.timestamp("us")), "n": pa.array([1], pa.timestamp("ns"))}),
    )
    done = tx.adopt(tmp_path)
    assert any("int96" in note for note in done.notes)
    assert tx.Table(tmp_path).to_arrow()["at"].to_pylist() == [when, when]
    assert tx.Table(tmp_path).dataset().to_table()["at"].to_pylist() == [when, when]
    assert tx.Table(tmp_path).to_arrow(filter=[("at", "=", when)]).num_rows == 2


def test_partition_types(tmp_path: Path) -> None:
    """Types come from exact text, from a column in the files, or from the caller; values that do not fit are named."""
    for month in ("01", "02"):
        put(tmp_path / "text", f"m={month}/a.parquet", rows(int(month)))
        put(tmp_path / "number", f"m={int(month)}/a.parquet", rows(int(month)))
        put(tmp_path / "said", f"m={month}/a.parquet", rows(int(month)))
        inner = rows(int(month)).append_column("m", pa.array([int(month)], pa.int16()))
        put(tmp_path / "inner", f"m={month}/a.parquet", inner)
    assert tx.adopt(tmp_path / "text").schema.field("m").type == pa.string()
    assert tx.adopt(tmp_path / "number").schema.field("m").type == pa.int64()
    with pytest.raises(tx.SchemaMismatchError, match="m=01"):
        tx.adopt(tmp_path / "said", partition_by={"m": "date"})
    assert tx.adopt(tmp_path / "said", partition_by={"m": "int8"}).schema.field("m").type == pa.int8()
    assert any("'m'" in note for note in tx.adopt(tmp_path / "inner").notes)
    assert tx.Table(tmp_path / "inner").schema.field("m").type == pa.int16()
    assert sorted(tx.Table(tmp_path / "inner").dataset().to_table()["m"].to_pylist()) == [1, 2]
    assert tx.Table(tmp_path / "said").to_arrow(filter=[("m", "=", 2)])["id"].to_pylist() == [2]
    with pytest.raises(tx.OptionError, match="partition by m"):
        tx.adopt(put(tmp_path / "again", "m=1/a.parquet", rows(1)).parents[1], partition_by="moth")


def test_new_files_keep_the_spelling_of_folders(tmp_path: Path) -> None:
    """A new file of month 1 goes into month=01, and a compaction's too; a month without a folder gets its own form."""
    put(tmp_path, "month=01/a.parquet", rows(1, 2))
    tx.adopt(tmp_path, keys="id", partition_by={"month": "int32"})
    new = rows(2, 3, 4).append_column("month", pa.array([1, 1, 3], pa.int32()))
    tx.write(new, tmp_path, mode="upsert")
    tx.Table(tmp_path).compact()
    assert {Path(name).parent.name for name in contents(tmp_path)} == {"month=01", "month=3"}
    assert ids(tx.Table(tmp_path)) == [1, 2, 3, 4]


def test_keys_are_checked(tmp_path: Path) -> None:
    """Keys that are null or occur twice are reported with files and rows; nothing is written."""
    put(tmp_path, "a.parquet", rows(1, 2, 3))
    put(tmp_path, "b.parquet", rows(7, 2))
    with pytest.raises(tx.DuplicateKeyError, match=r"1 key.*2 in a.parquet row 1, b.parquet row 1") as raised:
        tx.adopt(tmp_path, keys=["id"])
    assert (raised.value.keys, raised.value.count) == ([2], 1)
    put(tmp_path, "b.parquet", pa.table({"id": pa.array([8, None], pa.int64()), "name": ["x", "y"]}))
    with pytest.raises(tx.NullKeyError, match=r"1 row.*b.parquet.*first row 1"):
        tx.adopt(tmp_path, keys=["id"], dry_run=True)
    with pytest.raises(tx.KeyColumnNotFoundError):
        tx.adopt(tmp_path, keys=["Id"])
    assert not (tmp_path / names.LOG_FOLDER).exists()
    tx.adopt(tmp_path, timestamp_col="id")
    assert (tx.Table(tmp_path).keys, tx.Table(tmp_path).timestamp_col) == ((), "id")


def test_many_keys_go_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys beyond the memory for them are still compared, all of them."""
    monkeypatch.setattr("txfiles.operations.adopt_keys.IN_MEMORY_BYTES", 1_000)
    many = list(range(20_000))
    put(tmp_path, "a.parquet", rows(*many), row_group_size=3_000)
    put(tmp_path, "b.parquet", rows(*range(20_000, 30_000), 19_999, 5))
    with pytest.raises(tx.DuplicateKeyError, match=r"2 key.*5 in a.parquet row 5, b.parquet row 10001; 19999 in"):
        tx.adopt(tmp_path, keys=["id"])
    put(tmp_path, "b.parquet", rows(*range(20_000, 30_000)))
    assert tx.adopt(tmp_path, keys=["id"]).rows == 30_000


def test_files_without_rows(tmp_path: Path) -> None:
    """They are not the table's, but their columns count; a folder of nothing else is an empty table."""
    put(tmp_path, "a.parquet", rows().slice(0, 0).append_column("more", pa.array([], pa.int8())))
    done = tx.adopt(tmp_path)
    assert (done.files, done.rows, done.schema.names) == (0, 0, ["id", "name", "more"])
    tx.write(rows(1), tmp_path, mode="append", schema_mode="merge")
    assert ids(tx.Table(tmp_path)) == [1]


def test_bounds_come_from_footers(tmp_path: Path) -> None:
    """The log has what footers say, in the table's types; text counts as cut, floats and int96 are unknown."""
    table = pa.table({
        "i": pa.array([1, None, 3], pa.int32()), "s": ["b", "a", "x" * 200], "f": [1.0, 2.0, 3.0],
        "t": pa.array([1, 2, 3], pa.timestamp("ms", "UTC")), "d": pa.array([1, 2, 3], pa.date32()),
        "b": [b"\xff" * 100, b"", None], "l": [[1], [], None],
        "c": pa.array(["x", "y", "x"]).dictionary_encode(),
    })  # fmt: skip
    put(tmp_path, "a.parquet", table, row_group_size=2)
    put(tmp_path, "b.parquet", table.slice(0, 1).set_column(0, "i", pa.array([2**40])))
    tx.adopt(tmp_path)
    listed = tx.Table(tmp_path).file_table(physical=True).slice(0, 1).to_pylist()[0]
    assert (listed["i.min"], listed["i.max"], listed["i.nulls"]) == (1, 3, 1)
    assert (listed["s.min"], listed["s.max"][:3], len(listed["s.max"])) == ("a", "xxx", 64)
    assert (listed["f.min"], listed["f.nulls"], listed["b.nulls"]) == (None, 0, 1)
    assert listed["t.max"] == dt.datetime(1970, 1, 1, microsecond=3_000, tzinfo=dt.UTC)
    assert (listed["b.min"], listed["b.max"]) == (b"", None)
    for name in ("i", "s", "t", "d", "b", "c"):
        for value in table[name].to_pylist():
            if value is not None:
                assert tx.Table(tmp_path).to_arrow(filter=[(name, "=", value)]).num_rows >= 1, (name, value)
