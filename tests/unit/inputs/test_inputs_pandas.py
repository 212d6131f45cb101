"""pandas in and out: values, units, zones, signs and widths stay; what cannot is an error."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles import inputs
from txfiles.errors import LossyCastError, OptionError, SchemaMismatchError, UnsupportedTypeError

BIG = 2**53 + 1
YEAR_3000 = dt.datetime.fromisoformat("3000-01-01")
TEXT = str(pd.Series(["a"]).dtype)
"""`str` since pandas 3, `object` before."""
STAMP, NANO = pd.Timestamp("2024-01-01 10:00"), pd.Timestamp("2024-01-01 10:00:00.000000001")


def read(frame, **options) -> pa.Table:
    source = inputs.source(frame, **options)
    try:
        return source.read(None).table
    finally:
        source.close()


def objects(*values) -> pd.Series:
    return pd.Series(list(values), dtype=object)


IN = [
    ([1, 2], pa.int64(), [1, 2]),
    ([1.5, np.nan, -0.0], pa.float64(), [1.5, None, -0.0]),
    (pd.array([BIG, None], dtype="Int64"), pa.int64(), [BIG, None]),
    (pd.array([2**64 - 1, None], dtype="UInt64"), pa.uint64(), [2**64 - 1, None]),
    (pd.array([1, None], dtype="Int8"), pa.int8(), [1, None]),
    (pd.array([True, None], dtype="boolean"), pa.bool_(), [True, None]),
    (pd.array(["a", None], dtype="string"), None, ["a", None]),
    (pd.array([BIG, None], dtype="int64[pyarrow]"), pa.int64(), [BIG, None]),
    (pd.Categorical(["b", None, "a"], categories=["a", "b", "unused"]), None, ["b", None, "a"]),
    (objects("a", None, np.nan, pd.NA, ""), pa.string(), ["a", None, None, None, ""]),
    (objects(BIG, np.nan, None), pa.int64(), [BIG, None, None]),
    (objects(1, 2.5), pa.float64(), [1.0, 2.5]),
    (objects(True, None), pa.bool_(), [True, None]),
    (objects(b"x", None), pa.binary(), [b"x", None]),
    (objects(None, np.nan, pd.NaT), pa.null(), [None, None, None]),
    (objects(Decimal("1.50"), 2, None), pa.decimal128(3, 2), [Decimal("1.50"), Decimal("2.00"), None]),
    (objects(dt.date(1600, 1, 1), None), pa.date32(), [dt.date(1600, 1, 1), None]),
    (objects(YEAR_3000, pd.NaT), pa.timestamp("us"), [YEAR_3000, None]),
    (objects(NANO, pd.NaT, STAMP), pa.timestamp("ns"), [NANO, None, STAMP]),
    (objects(pd.Timedelta(1), None), pa.duration("ns"), [pd.Timedelta(1), None]),
    (objects([1, None], None, []), pa.list_(pa.int64()), [[1, None], None, []]),
    (objects({"a": BIG}, {"a": None}), pa.struct([("a", pa.int64())]), [{"a": BIG}, {"a": None}]),
    (objects(STAMP.tz_localize("UTC"), None), pa.timestamp("us", "UTC"), None),
]


@pytest.mark.parametrize(("values", "to", "expected"), IN)
def test_values_come_in(values, to, expected):
    """numpy, nullable, Arrow-backed, categorical and object columns keep their values; missing ones are null."""
    table = read(pd.DataFrame({"a": values}))
    assert to is None or table.schema == pa.schema([("a", to)])
    if expected is not None:
        assert repr(table["a"].to_pylist()) == repr(expected)


def test_units_and_zones_come_in():
    """A datetime column keeps its unit and zone."""
    for unit in ("s", "ms", "us", "ns"):
        frame = pd.DataFrame({"a": pd.Series([STAMP]).dt.as_unit(unit)})
        assert read(frame).schema.field("a").type == pa.timestamp(unit)
        frame = pd.DataFrame({"a": frame["a"].dt.tz_localize("Asia/Kolkata")})
        assert read(frame).schema.field("a").type == pa.timestamp(unit, "Asia/Kolkata")


def test_nan_of_arrow_backed_columns_stays():
    """NaN is a value in an Arrow-backed column, and null in a numpy-backed one."""
    values = pa.array([float("nan"), None, 1.5])
    backed = pd.Series(pd.arrays.ArrowExtensionArray(values))
    table = read(pd.DataFrame({"arrow": backed, "numpy": np.array([np.nan, np.nan, 1.5])}))
    assert repr(table["arrow"].to_pylist()) == "[nan, None, 1.5]"
    assert repr(table["numpy"].to_pylist()) == "[None, None, 1.5]"


MIXED = [
    (objects(1, None, "a"), 2),
    (objects("a", 1), 1),
    (objects("a", b"x"), 1),
    (objects(b"x", "a"), 1),
    (objects(True, 1), 1),
    (objects(1, True), 1),
    (objects(1, np.bool_(True)), 1),
    (objects(1.5, True), 1),
    (objects(Decimal(1), 2.5), 1),
    (objects(dt.date(2024, 1, 1), None, STAMP.to_pydatetime()), 2),
    (objects(STAMP, dt.date(2024, 1, 1)), 1),
    (objects(STAMP, 1), 1),
    (objects(STAMP, STAMP.tz_localize("UTC")), 1),
    (objects(STAMP.tz_localize("UTC"), None, STAMP), 2),
    (objects(pd.Timedelta(5), 1), 1),
    (objects({"a": 1}, [1]), 1),
    (objects(BIG, 2.5), 1),
    (objects(*["a"] * 1000, 7, *["b"] * 1000), 1000),
]


@pytest.mark.parametrize(("values", "row"), MIXED)
def test_mixed_columns_are_refused(values, row):
    """An object column whose values are of several types is an error with the column and the first row that differs."""
    frame = pd.DataFrame({"ok": [1] * len(values), "a": values})
    with pytest.raises(SchemaMismatchError, match=re.escape(f"column 'a' mixes types: row {row} is a")) as caught:
        read(frame)
    assert (caught.value.column, caught.value.row) == ("a", row)


@pytest.mark.parametrize(
    ("values", "row"),
    [
        (objects("a", "\ud800"), 1),
        (objects(None, 0, 2**70), 2),
        (objects(2**63), 0),
        (objects(1j), 0),
        (objects(dt.time(1), None, dt.time(1, tzinfo=dt.UTC)), 2),
    ],
)
def test_values_that_arrow_has_no_place_for(values, row):
    """Values of one type that Arrow cannot hold are not called mixed: the error names column, row and value."""
    with pytest.raises(SchemaMismatchError, match=f"column 'a': row {row} is a .*, which cannot be kept") as caught:
        read(pd.DataFrame({"a": values}))
    assert (caught.value.column, caught.value.row) == ("a", row)


def test_nanoseconds_and_the_year_3000():
    """Times that no unit can hold together are an error, never cut."""
    with pytest.raises(LossyCastError, match="'a'"):
        read(pd.DataFrame({"a": objects(NANO, pd.Timestamp("3000-01-01"))}))


@pytest.mark.parametrize("values", [pd.array([1], dtype="Sparse[int]"), [1j]])
def test_columns_without_an_arrow_type(values):
    """A column that Arrow cannot hold is an error that names it."""
    with pytest.raises(UnsupportedTypeError, match="column 'a'"):
        read(pd.DataFrame({"ok": [1], "a": values}))


NAMES = [
    (["a", "a"], "two columns are named 'a'", "rename"),
    ([1, 2], "1 is not text", "astype(str)"),
    (["a", None], "is not text", "astype(str)"),
    (pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]), "2 levels", "join"),
]


@pytest.mark.parametrize(("names", "message", "hint"), NAMES)
def test_column_names(names, message, hint):
    """Column names that are repeated, nested or no text are an error that says how to make them right."""
    with pytest.raises(SchemaMismatchError, match=re.escape(message)) as caught:
        read(pd.DataFrame([[1, 2]], columns=names))
    assert hint in caught.value.hint


def test_the_index_is_not_written():
    """Neither the index nor pandas' own metadata becomes part of the table."""
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="i"))
    assert read(frame).schema == pa.schema([("a", pa.int64())])
    assert read(frame).schema.metadata is None


def test_subclasses_and_chunks():
    """A subclass of DataFrame is one, and frames are chunks; no rows are a batch as well."""

    class Mine(pd.DataFrame):
        pass

    assert read(Mine({"a": [1]})).to_pydict() == {"a": [1]}
    assert read([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})]).to_pydict() == {"a": [1, 2]}
    assert read(pd.DataFrame({"a": pd.Series([], dtype="int32")})).schema == pa.schema([("a", pa.int32())])


def test_declared_types_win():
    """`schema=` types a column that pandas leaves open, and widens where nothing is lost."""
    frame = pd.DataFrame({"a": [None, None], "b": [1.0, np.nan], "c": [1, 2]})
    table = read(frame, schema={"a": "string", "b": "int32"})
    assert table.schema == pa.schema([("a", pa.string()), ("b", pa.int32()), ("c", pa.int64())])
    assert table.to_pydict() == {"a": [None, None], "b": [1, None], "c": [1, 2]}


def test_read_once():
    """A frame that is changed after the first read does not change the source."""
    frame = pd.DataFrame({"a": objects("x")})
    source = inputs.source(frame)
    first = source.read(None).table
    frame.loc[0, "a"] = "y"
    assert source.read(None).table.equals(first)
    source.close()


# Out

OUT = [
    (pa.array([BIG, 2]), "int64", [BIG, 2]),
    (pa.array([BIG, None]), "Int64", [BIG, None]),
    (pa.array([2**64 - 1, None], pa.uint64()), "UInt64", [2**64 - 1, None]),
    (pa.array([1, None], pa.int8()), "Int8", [1, None]),
    (pa.array([True, False]), "bool", [True, False]),
    (pa.array([True, None]), "boolean", [True, None]),
    (pa.array([1.5, None]), "float64", [1.5, float("nan")]),
    (pa.array([1.5, None], pa.float32()), "float32", [1.5, float("nan")]),
    (pa.array(["a", None]), TEXT, ["a", float("nan") if TEXT == "str" else None]),
    (pa.array([b"a", None]), "object", [b"a", None]),
    (pa.array([dt.date(1600, 1, 1), None]), "object", [dt.date(1600, 1, 1), None]),
    (pa.array([Decimal("1.50"), None]), "object", [Decimal("1.50"), None]),
    (pa.array([0, 1], pa.timestamp("s")), "datetime64[s]", None),
    (pa.array([0, None], pa.timestamp("us")), "datetime64[us]", None),
    (pa.array([0, None], pa.timestamp("ns", "Europe/Berlin")), "datetime64[ns, Europe/Berlin]", None),
    (pa.array([0, None], pa.duration("ms")), "timedelta64[ms]", None),
    (pa.array([[BIG, None], None, []]), "object", [[BIG, None], None, []]),
    (pa.array([[BIG, None], None], pa.list_(pa.int64(), 2)), "object", [[BIG, None], None]),
    (pa.array([{"a": BIG}, {"a": None}]), "object", [{"a": BIG}, {"a": None}]),
    (pa.nulls(2), "object", [None, None]),
]


@pytest.mark.parametrize(("array", "dtype", "expected"), OUT)
def test_values_go_out(array, dtype, expected):
    """numpy types, nullable ones where integers or booleans hold nulls; units, zones and nested integers stay."""
    frame = inputs.to_pandas(pa.table({"a": array}))
    assert str(frame["a"].dtype) == dtype
    if expected is not None:
        values = [None if v is pd.NA else v for v in frame["a"].tolist()]
        assert repr(values) == repr(expected)


def test_times_go_out_exactly():
    """Times beyond the range of nanoseconds come out in their own unit."""
    frame = inputs.to_pandas(pa.table({"a": pa.array([YEAR_3000, None], pa.timestamp("us"))}))
    assert frame["a"][0] == pd.Timestamp("3000-01-01")
    assert frame["a"][1] is pd.NaT


@pytest.mark.parametrize(
    ("backend", "dtypes"),
    [
        ("numpy_nullable", ["Int64", "boolean", "Float64", "string", "datetime64[us]"]),
        (
            "pyarrow",
            ["int64[pyarrow]", "bool[pyarrow]", "double[pyarrow]", "string[pyarrow]", "timestamp[us][pyarrow]"],
        ),
    ],
)
def test_backends(backend, dtypes):
    """`dtype_backend` gives all columns the types that pandas gives them under that word."""
    columns = {"i": [1, 2], "b": [True, None], "f": [1.5, None], "s": ["a", None]}
    table = pa.table({**columns, "t": pa.array([0, None], pa.timestamp("us"))})
    frame = inputs.to_pandas(table, backend)
    assert [str(d) for d in frame.dtypes] == dtypes


def test_unknown_backend():
    """Another word is an error that lists the valid ones."""
    with pytest.raises(OptionError, match="'arrow'") as caught:
        inputs.to_pandas(pa.table({"a": [1]}), "arrow")
    assert "'numpy_nullable', 'pyarrow'" in caught.value.hint


NO_PLACE = [
    pa.array([2**31 - 1], pa.int32()).view(pa.date32()),
    pa.array([1], pa.time64("ns")),
    pa.array([0], pa.timestamp("us", "Mars/Base")),
    pa.array([[2**31 - 1]], pa.list_(pa.int32())).view(pa.list_(pa.date32())),
]


@pytest.mark.parametrize("array", NO_PLACE, ids=lambda array: str(array.type))
def test_what_python_cannot_hold(array):
    """A value beyond Python's dates, times and zones is an error that names the column; the Arrow backend has it."""
    table = pa.table({"b": [1], "a": array})
    for backend in (None, "numpy_nullable"):
        with pytest.raises(UnsupportedTypeError, match="column 'a'") as caught:
            inputs.to_pandas(table, backend)
        assert "pyarrow" in caught.value.hint
    assert inputs.to_pandas(table, "pyarrow").shape == (1, 2)


def test_shapes_go_out():
    """No rows, no columns, several chunks: names, order and a plain index stay."""
    frame = inputs.to_pandas(pa.table({"b": pa.array([], pa.int32()), "a": pa.array([], pa.string())}))
    assert list(frame.columns) == ["b", "a"]
    assert str(frame["b"].dtype) == "int32"
    assert inputs.to_pandas(pa.table({})).shape == (0, 0)
    chunked = pa.table({"a": pa.chunked_array([[1], [], [None, 3]])})
    frame = inputs.to_pandas(chunked)
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64")}))


@given(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.none() | st.text(alphabet=st.characters(codec="utf-8"))),
)
def test_there_and_back(integers, texts):
    """Integers and text with nulls are the same after a trip through pandas."""
    length = min(len(integers), len(texts))
    table = pa.table({"i": pa.array(integers[:length], pa.int64()), "t": pa.array(texts[:length], pa.string())})
    back = read(inputs.to_pandas(table))
    assert back["i"].to_pylist() == integers[:length]
    assert back["t"].to_pylist() == texts[:length]
