"""Paths as input: which files are read, in which order, and what is refused."""

from __future__ import annotations

import os
import re
import tempfile
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from txfiles import inputs
from txfiles.errors import (
    InputError,
    LossyCastError,
    SchemaMismatchError,
    StoreError,
    UnreadableInputError,
    UnsupportedTypeError,
)
from txfiles.inputs import folders, parquet


def read(data, known=None, schema=None):
    """The rows, out of the spool."""
    source = inputs.source(data, schema=schema)
    try:
        batch = source.read(known)
        assert batch.has_schema
        return batch.table.to_pydict()
    finally:
        source.close()


def write(path: Path, *numbers: int, name: str = "a") -> Path:
    """A file of one integer column, by the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        path.write_text(f"{name}\n" + "".join(f"{n}\n" for n in numbers))
    else:
        pq.write_table(pa.table({name: pa.array(numbers, pa.int64())}), path)
    return path


@pytest.mark.parametrize("name", ["x.parquet", "x.pq", "x.PARQUET", "x.csv"])
@pytest.mark.parametrize("form", [str, Path, lambda p: [p], lambda p: (str(p),)])
def test_one_file(tmp_path, name, form):
    """A file is read by its suffix, given as text or as a path, alone or in a list."""
    assert read(form(write(tmp_path / name, 1, 2))) == {"a": [1, 2]}


def test_list_keeps_its_order(tmp_path):
    """Files of a list are one batch in the list's order, of both formats; CSV takes the types of Parquet."""
    files = [write(tmp_path / name, n) for n, name in enumerate(["z.csv", "b.parquet", "a.parquet", "0.csv"])]
    assert read(files) == {"a": [0, 1, 2, 3]}
    pq.write_table(pa.table({"a": pa.array([7], pa.int8())}), files[1])
    pq.write_table(pa.table({"a": pa.array([8], pa.int8())}), files[2])
    source = inputs.source(files)
    batch = source.read(pa.schema([("a", pa.string())]))
    assert batch.table.schema == pa.schema([("a", pa.int8())])
    assert batch.table.to_pydict() == {"a": [0, 7, 8, 3]}
    assert batch.inferred is None
    source.close()


def test_folder(tmp_path):
    """A folder gives all its files and those of its folders, sorted by name, hidden ones and others left out."""
    for n, name in enumerate(["b/2.csv", "b/10.parquet", "a.csv", "b.csv", "c/d/x.pq"]):
        write(tmp_path / name, n)
    for name in ["_x.csv", ".y.csv", "_spark/z.csv", ".hidden/z.csv"]:
        write(tmp_path / name, 99)
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "README.txt").write_text("not data")
    found = [os.path.relpath(p, tmp_path) for p in folders.expand([str(tmp_path)])]
    assert found == ["a.csv", "b/10.parquet", "b/2.csv", "b.csv", "c/d/x.pq"]
    assert read(str(tmp_path)) == {"a": [2, 1, 0, 3, 4]}
    assert read([tmp_path / "c", tmp_path / "a.csv"]) == {"a": [4, 2]}


REFUSED = [
    ("missing.csv", "there is no file or folder", "check"),
    ("", "there is no file or folder", "check"),
    ("x.json", "looks like JSON", "pandas.read_json"),
    ("empty", "has no input file", ".parquet"),
    ("memory://name/x.parquet", "not a local path", "plain path"),
]


@pytest.mark.parametrize(("name", "message", "hint"), REFUSED)
def test_refused_paths(tmp_path, monkeypatch, name, message, hint):
    """A path that leads to no input is an error that names it and says what would do."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UnreadableInputError, match=message) as caught:
        read(name)
    assert caught.value.path == name
    assert repr(name) in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(("log", "hint"), [("_txfiles", "txfiles.Table("), ("_delta_log", "deltalake.DeltaTable(")])
@pytest.mark.parametrize("below", [".", "deep/er"])
def test_folder_that_is_a_table(tmp_path, log, hint, below):
    """The files of a table with a log are not read as a folder, since superseded ones would be, at any depth."""
    write(tmp_path / below / "part-1.parquet", 1)
    (tmp_path / below / log).mkdir()
    with pytest.raises(UnreadableInputError, match=log) as caught:
        read(tmp_path)
    assert hint in caught.value.hint


def test_folder_of_partitions(tmp_path):
    """Partition folders are refused, because their columns are not in the files; one file of them is read."""
    file = write(tmp_path / "country=DE" / "x.parquet", 1)
    with pytest.raises(UnreadableInputError, match="partition folders") as caught:
        read(tmp_path)
    assert "partitioning='hive'" in caught.value.hint
    assert read(file) == {"a": [1]}


def test_nothing_is_read_before_it_is_wanted(tmp_path):
    """Making a source touches no file: a load whose id was committed may be repeated without its input."""
    source = inputs.source(tmp_path / "missing.csv")
    source.close()
    source.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"a,b\n1,2\n"])
def test_broken_parquet(tmp_path, content):
    """A file that is no Parquet is an error that names it."""
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(UnreadableInputError, match=re.escape(str(path))):
        read(path)


def test_parquet_whose_names_are_no_text(tmp_path):
    """A file with a column name that is not UTF-8 cannot be read."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"name": [1]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"name", b"na\xbbe"))
    with pytest.raises(UnreadableInputError, match="cannot be read as Parquet"):
        read(str(path))


def test_parquet_cut_in_the_middle_of_a_page(tmp_path):
    """Damage within the data is an error as well, also where an earlier file was read already."""
    good, bad = write(tmp_path / "1.parquet", 1), write(tmp_path / "2.parquet", *range(10_000))
    content = bytearray(bad.read_bytes())
    content[2000:3000] = b"\xff" * 1000
    bad.write_bytes(content)
    with pytest.raises(UnreadableInputError, match=re.escape(str(bad))):
        read([good, bad])


CHANGES = [
    lambda path: write(path, 3),
    lambda path: write(path, 1, 2).touch(),
    lambda path: path.write_bytes(path.read_bytes()[:-1]),
    lambda path: path.replace(path.with_name("elsewhere")),
    lambda path: write(path.with_name("new.parquet"), 1, 2).replace(path),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_parquet_file_that_changes_under_a_write(tmp_path, change):
    """A file is read where it lies; where it is not what it was at the first read, the next one says so."""
    path = write(tmp_path / "x.parquet", 1, 2)
    source = inputs.source([path])
    assert source.read(None).table.to_pydict() == {"a": [1, 2]}
    assert source.read(None).table.to_pydict() == {"a": [1, 2]}
    change(path)
    with pytest.raises(UnreadableInputError, match=r"has changed|cannot be read: No such file") as caught:
        source.read(pa.schema([("a", pa.string())]))
    assert caught.value.path == str(path)
    source.close()


def test_a_parquet_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    """Rows of a file that changed between its first and its last row are not given."""
    path = write(tmp_path / "x.parquet", 1, 2)
    batches = parquet._parquet

    def slow(file):
        yield from batches(file)
        write(path, 1, 2, 3)

    monkeypatch.setattr(parquet, "_parquet", slow)
    with pytest.raises(UnreadableInputError, match="has changed"):
        read(path)


def test_parquet_takes_no_temporary_file(tmp_path, monkeypatch):
    """Parquet is not copied, unless it is too large for memory; either way it gives the same rows."""
    files = [write(tmp_path / f"{n}.parquet", *range(n, 9)) for n in range(3)]
    rows = {"a": [*range(9), *range(1, 9), *range(2, 9)]}
    spools = tmp_path / "spools"
    monkeypatch.setattr(tempfile, "tempdir", str(spools))  # which is not there
    assert read(files) == rows
    monkeypatch.setattr(parquet, "IN_MEMORY_BYTES", 100)
    with pytest.raises(StoreError, match="temporary folder"):
        read(files)
    spools.mkdir()
    assert read(files) == rows
    source = inputs.source(files)
    assert source.read(None).table is source.read(None).table
    source.close()
    assert list(spools.iterdir()) == []


def test_home(tmp_path, monkeypatch):
    """A leading ``~`` is the home folder; a file of that name is ``./~``; without such a home the path is as given."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "x.csv", 1)
    write(tmp_path / "more" / "y.csv", 2)
    assert read("~/x.csv") == {"a": [1]}
    assert read([Path("~/x.csv"), "~/more"]) == {"a": [1, 2]}
    with pytest.raises(UnreadableInputError, match=re.escape("'~nobody-of-that-name/x.csv'")):
        read("~nobody-of-that-name/x.csv")


def _tensors() -> pa.Array:
    storage = pa.array([[1, 2]], pa.list_(pa.int32(), 2))
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.int32(), [2]), storage)


EXTENSIONS = [
    _tensors,
    lambda: pa.ListArray.from_arrays([0, 1], _tensors()),
    lambda: pa.StructArray.from_arrays([_tensors()], ["p"]),
    lambda: pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16))),
    lambda: pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"])),
    lambda: pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())),
]


@pytest.mark.parametrize("make", EXTENSIONS)
def test_extension_types_in_parquet(tmp_path, make):
    """An extension type, at any depth, is refused by column, as for a table in memory."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1], "t": make()}), path)
    with pytest.raises(UnsupportedTypeError, match="column 't'") as caught:
        read(path)
    assert "cast" in caught.value.hint


def test_parquet_files_of_other_columns(tmp_path):
    """Parquet files of one write need the same columns and types; the file that has not is named."""
    one, two = write(tmp_path / "1.parquet", 1), write(tmp_path / "2.parquet", 1, name="b")
    with pytest.raises(SchemaMismatchError, match=re.escape(str(two))):
        read([one, two])
    pq.write_table(pa.table({"a": ["x"]}), two)
    with pytest.raises(SchemaMismatchError, match="'a' is string, but int64") as caught:
        read([one, two])
    assert str(two) in caught.value.message


def test_declared_types_for_parquet(tmp_path):
    """`schema=` casts Parquet columns where that loses nothing."""
    one, two = write(tmp_path / "1.parquet", 1), tmp_path / "2.parquet"
    pq.write_table(pa.table({"a": pa.array([2], pa.uint8())}), two)
    source = inputs.source([one, two], schema={"a": "int16"})
    assert source.read(None).table.to_pydict() == {"a": [1, 2]}
    assert source.read(None).table.schema.field("a").type == pa.int16()
    source.close()
    with pytest.raises(LossyCastError, match="'a'"):
        read(write(one, 70_000), schema={"a": "int16"})


def test_empty_parquet_has_a_schema(tmp_path):
    """A file of no rows is an ordinary empty batch."""
    assert read(write(tmp_path / "x.parquet")) == {"a": []}


def test_spark_int96(tmp_path):
    """INT96 timestamps come as microseconds, so that the years 1600 and 3000 are right."""
    times = [datetime.fromisoformat("1600-01-01"), datetime.fromisoformat("3000-01-01T01:02:03.456789"), None]
    path = tmp_path / "x.parquet"
    table = pa.table({"a": pa.array(times, pa.timestamp("us")), "b": [1, 2, 3]})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True)
    assert read(path) == {"a": times, "b": [1, 2, 3]}


def test_int96_nanoseconds(tmp_path):
    """INT96 values that microseconds would cut are an error that names file and column, never rounded."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"t": pa.array([1001], pa.timestamp("ns"))}), path, use_deprecated_int96_timestamps=True)
    with pytest.raises(UnreadableInputError, match="'t' has INT96 timestamps finer"):
        read(path)


def test_paths_mixed_with_frames(tmp_path):
    """A list is of paths or of tables, not of both; a generator of paths is told to be a list."""
    file = write(tmp_path / "x.parquet", 1)
    with pytest.raises(InputError, match="chunk 0"):
        read([str(file), pa.table({"a": [1]})])
    with pytest.raises(InputError, match="chunk 0") as caught:
        read(path for path in [file])
    assert "list of paths" in caught.value.hint
