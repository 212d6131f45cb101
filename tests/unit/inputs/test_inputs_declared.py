"""The types that `schema=` says, in the words of whatever library a caller has them from."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import txfiles as tx
from txfiles.errors import OptionError
from txfiles.inputs.declared import declared_types

UTC_US = pa.timestamp("us", "UTC")


def test_declared_types_in_each_spelling():
    """A schema, or a dict of type text or Arrow types, gives the same types, without encodings."""
    expected = pa.schema([("a", pa.int8()), ("b", UTC_US), ("c", pa.string())])
    assert declared_types({"a": "decimal128(10,2)", "b": "timestamp[us,UTC]"}) == pa.schema(
        [("a", pa.decimal128(10, 2)), ("b", UTC_US)]
    )
    said = {"a": "int8", "b": "timestamp[us, UTC]", "c": pa.large_string()}
    assert declared_types(said) == expected
    assert declared_types(pa.schema([("a", pa.int8()), ("b", UTC_US), ("c", pa.dictionary(pa.int8(), "utf8"))])) == (
        expected
    )
    assert declared_types(None) is None


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("int64", "str"),
        ({"a": "int65"}, "'int65'"),
        ({"a": 3}, "3"),
        ({1: "int64"}, "1"),
        (pa.schema([("a", pa.int8()), ("a", pa.int8())]), "'a'"),
    ],
)
def test_declared_types_that_are_none(schema, said):
    """What is no schema is an option error that quotes it."""
    with pytest.raises(OptionError, match=re.escape(said)):
        declared_types(schema)


KNOWN = [
    (int, pa.int64()),
    (float, pa.float64()),
    (str, pa.string()),
    (bool, pa.bool_()),
    (bytes, pa.binary()),
    (dt.datetime, pa.timestamp("us")),
    (dt.date, pa.date32()),
    (dt.time, pa.time64("us")),
    (dt.timedelta, pa.duration("us")),
    (np.int64, pa.int64()),
    (np.float32, pa.float32()),
    (np.bool_, pa.bool_()),
    (np.str_, pa.string()),
    (np.dtype("uint8"), pa.uint8()),
    (np.dtype("U5"), pa.string()),
    (np.dtype("M8[us]"), pa.timestamp("us")),
    (np.dtype("M8[D]"), pa.date32()),
    (np.dtype("m8[ms]"), pa.duration("ms")),
    (pd.Int64Dtype(), pa.int64()),
    (pd.Int64Dtype, pa.int64()),
    (pd.Float32Dtype(), pa.float32()),
    (pd.StringDtype(), pa.string()),
    (pd.BooleanDtype(), pa.bool_()),
    (pd.DatetimeTZDtype("us", "UTC"), UTC_US),
    (pd.CategoricalDtype(["a"]), pa.string()),
    (pd.CategoricalDtype([1]), pa.int64()),
    (pd.ArrowDtype(pa.list_(pa.float32())), pa.list_(pa.float32())),
    (pl.Int64, pa.int64()),
    (pl.Int64(), pa.int64()),
    (pl.Float32, pa.float32()),
    (pl.String, pa.string()),
    (pl.Date, pa.date32()),
    (pl.Datetime("us", "UTC"), UTC_US),
    (pl.Duration("ms"), pa.duration("ms")),
    (pl.Decimal(10, 2), pa.decimal128(10, 2)),
    (pl.Categorical, pa.string()),
    (pl.Enum(["a"]), pa.string()),
    (pl.List(pl.Int8), pa.list_(pa.int8())),
    (pl.Struct({"a": pl.Float32}), pa.struct({"a": pa.float32()})),
    (pa.field("x", pa.int8()), pa.int8()),
    ({"list": "int8"}, pa.list_(pa.int8())),
]


@pytest.mark.parametrize(("said", "expected"), KNOWN, ids=lambda said: str(said)[:40])
def test_types_of_any_library(said, expected):
    """Python's types, and those of numpy, pandas, polars and Arrow, are the type that such a column has."""
    assert declared_types({"a": said}) == pa.schema([("a", expected)])


@pytest.mark.parametrize(
    "frame", [pd.DataFrame({"a": [1], "b": [1.5]}).dtypes, pl.DataFrame({"a": [1], "b": [1.5]}).schema]
)
def test_the_types_of_a_frame(frame):
    """What a frame says of its columns is a schema."""
    assert declared_types(frame) == pa.schema([("a", pa.int64()), ("b", pa.float64())])


class _Schema:
    """A schema of some library that speaks Arrow."""

    def __arrow_c_schema__(self):
        return pa.schema([("a", pa.large_string())]).__arrow_c_schema__()


def test_a_schema_by_arrows_protocol():
    """Whatever exports an Arrow schema is one."""
    assert declared_types(_Schema()) == pa.schema([("a", pa.string())])


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (decimal.Decimal, "decimal.Decimal"),
        (list, "list"),
        (None, "None"),
        (np.dtype("O"), "object"),
        (np.dtype("M8[h]"), "datetime64[h]"),
        (np.datetime64, "datetime64"),
        (pd.CategoricalDtype(), "category"),
        (pd.PeriodDtype("D"), "period"),
        (pd.Timestamp, "Timestamp"),
        (pl.Object, "Object"),
        (pl.Series, "Series"),
        (pa.uuid(), "uuid"),
        (pa.struct([]), "no fields"),
        ("{", "'{'"),
        ("list<" * 40 + "int8" + ">" * 40, "deeper"),
        ({"list": "int8", "size": 1}, "list"),
    ],
    ids=str,
)
def test_types_that_no_column_has(said, word):
    """A type that leaves something open, or that no table holds, is an error of column and type, with a hint."""
    with pytest.raises(OptionError, match=re.escape(word)) as caught:
        declared_types({"price": said})
    assert "'price'" in str(caught.value)
    assert caught.value.hint


def test_words_import_no_library():
    """numpy's, pandas' and polars' words are read without pandas and polars."""
    code = """if True:
        import numpy, sys
        from txfiles.inputs.declared import declared_types
        declared_types({"a": "Int64", "b": numpy.int64, "c": "datetime64[ns, UTC]", "d": "string[pyarrow]"})
        print(*(name for name in ("pandas", "polars") if name in sys.modules))"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


def test_a_table_made_with_types_of_several_libraries(tmp_path):
    """A CSV file is read in the types that `schema=` says in anybody's words."""
    (tmp_path / "in.csv").write_text("a,b,c,d,e\n007,1.50,2024-01-01T10:00:00Z,1.5,x\n")
    schema = {"a": str, "b": "decimal128(10, 2)", "c": pl.Datetime("ms", "UTC"), "d": np.float32, "e": pd.StringDtype()}
    tx.write(tmp_path / "in.csv", tmp_path / "t", mode="append", schema=schema)
    types = [pa.string(), pa.decimal128(10, 2), pa.timestamp("ms", "UTC"), pa.float32(), pa.string()]
    assert tx.Table(tmp_path / "t").schema.types == types
