"""What `source` takes, and how it says what it does not take; polars; packages that are missing."""

from __future__ import annotations

import sys

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from txfiles import inputs
from txfiles.errors import InputError, OptionError, SchemaMismatchError, UnsupportedTypeError
from txfiles.rows.schema import check_batch_schema

TABLE = pa.table({"a": [1, None], "b": ["x", None]})


def read(data, **options) -> pa.Table:
    source = inputs.source(data, **options)
    try:
        assert source.read(None).table is source.read(TABLE.schema).table
        return source.read(None).table
    finally:
        source.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda: TABLE,
        lambda: TABLE.to_batches()[0],
        lambda: pl.from_arrow(TABLE),
        lambda: pl.from_arrow(TABLE).lazy(),
        lambda: [pl.from_arrow(TABLE).lazy()],
        lambda: (TABLE,),
    ],
)
def test_frames(make):
    """Tables, batches and frames, alone or as chunks, give their rows, at each read the same."""
    assert read(make()).to_pydict() == TABLE.to_pydict()


class Row(dict):
    pass


UNKNOWN = [None, 3, 2.5, True, b"x", {"a": [1]}, {1, 2}, object(), Row(a=1), int, bytearray(b"x")]


@pytest.mark.parametrize("data", UNKNOWN)
def test_what_is_no_input(data):
    """Anything else is an error that names its type and lists what is accepted."""
    with pytest.raises(InputError, match=f"a .*{type(data).__name__} cannot be written") as caught:
        inputs.source(data)
    for word in ("pandas", "polars", "RecordBatchReader", ".csv.gz", "iterator"):
        assert word in caught.value.hint


@pytest.mark.parametrize(("data", "number"), [([{"a": 1}], 0), ([TABLE, 5], 1), ([TABLE.to_reader()], 0)])
def test_chunks_that_are_no_tables(data, number):
    """A chunk that is no table is an error that names it and lists what is accepted."""
    with pytest.raises(InputError, match=f"chunk {number} is a ") as caught:
        read(data)
    assert "RecordBatch" in caught.value.hint


@pytest.mark.parametrize("data", [pd.Series([1]), pl.Series([1]), [pl.Series([1])]])
def test_one_column_is_no_table(data):
    """A column alone is an error that says so."""
    with pytest.raises(InputError, match="Series is a single unnamed column"):
        read(data)


@pytest.mark.parametrize("give", [pa.Table.to_reader, lambda table: table, lambda table: iter([table])])
def test_types_that_no_table_holds(give):
    """A type that no table can hold is an error that names the column, however the data comes."""
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    with pytest.raises(UnsupportedTypeError, match="column 'a'"):
        check_batch_schema(read(give(pa.table({"a": union}))).schema)


def test_schema_option_is_checked_at_once():
    """A `schema=` that is none is an error before anything is read."""
    with pytest.raises(OptionError, match="'x64'"):
        inputs.source(TABLE, schema={"a": "x64"})


def test_declared_types_of_tables():
    """`schema=` casts a table's columns where that loses nothing, and names an unknown one."""
    assert read(TABLE, schema={"a": "int8"}).schema == pa.schema([("a", pa.int8()), ("b", pa.string())])
    with pytest.raises(SchemaMismatchError, match="'c'"):
        read(TABLE, schema={"c": "int8"})
    with pytest.raises(SchemaMismatchError, match="'b'"):
        read(TABLE, schema={"b": "int8"})


def test_types_of_polars():
    """polars columns keep NaN, units, zones, categories and nested values."""
    frame = pl.DataFrame(
        {
            "nan": [float("nan"), None],
            "time": pl.Series([0, None], dtype=pl.Datetime("ms", "Europe/Berlin")),
            "kind": pl.Series(["x", None], dtype=pl.Categorical),
            "list": [[2**53 + 1, None], None],
        }
    )
    table = read(frame)
    assert repr(table["nan"].to_pylist()) == "[nan, None]"
    assert table.schema.field("time").type == pa.timestamp("ms", "Europe/Berlin")
    assert table["kind"].to_pylist() == ["x", None]
    assert table["list"].to_pylist() == [[2**53 + 1, None], None]


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([object()], dtype=pl.Object),
        pl.Series([1], dtype=pl.Int128),
        pl.Series([[1]], dtype=pl.List(pl.Int128)),
        pl.Series([{"p": 1}], dtype=pl.Struct({"p": pl.Int128})),
    ],
)
def test_polars_types_without_an_arrow_type(series):
    """A polars column that Arrow cannot hold is an error that names it, not an address in memory."""
    with pytest.raises(UnsupportedTypeError, match="column 'a'"):
        read(pl.DataFrame({"a": series}))


def test_to_polars():
    """A table goes out as a polars DataFrame, without rows or columns too."""
    frame = inputs.to_polars(TABLE)
    assert isinstance(frame, pl.DataFrame)
    assert frame.to_dict(as_series=False) == TABLE.to_pydict()
    assert inputs.to_polars(TABLE.slice(0, 0)).shape == (0, 2)
    assert inputs.to_polars(pa.table({})).shape == (0, 0)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([0], pa.timestamp("us", "+05:30")),
        pa.array([1], pa.decimal256(40, 0)),
        pa.array([[1]], pa.list_(pa.decimal256(40, 0))),
    ],
    ids=lambda array: str(array.type),
)
def test_what_polars_cannot_hold(array):
    """A column that polars has no type for is an error that names it."""
    with pytest.raises(UnsupportedTypeError, match="column 'a'"):
        inputs.to_polars(pa.table({"b": [1], "a": array}))


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_missing_package(monkeypatch, package):
    """Without the optional package the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"txfiles.inputs.{package}", raising=False)
    monkeypatch.delattr(inputs, package, raising=False)
    call = getattr(inputs, f"to_{package}")
    with pytest.raises(InputError, match=f"{package} is not installed") as caught:
        call(TABLE)
    assert caught.value.hint == f"pip install 'txfiles[{package}]'"


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_broken_package_is_not_called_missing(monkeypatch, package):
    """A package that is there, but lacks a part of its own, shows its own error."""

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == f"txfiles.inputs.{package}":
                raise ModuleNotFoundError("No module named 'inner'", name="inner")

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, f"txfiles.inputs.{package}", raising=False)
    monkeypatch.delattr(inputs, package, raising=False)
    with pytest.raises(ModuleNotFoundError, match="inner"):
        getattr(inputs, f"to_{package}")(TABLE)


def test_optional_packages_are_not_imported_by_looking():
    """Telling what data is imports neither pandas nor polars."""
    assert inputs._is_a(TABLE, "pyarrow", "Table")
    assert not inputs._is_a(TABLE, "pandas", "DataFrame")
