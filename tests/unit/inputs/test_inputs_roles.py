"""Columns without a value, floats as keys, and keys that hide in an index."""

from __future__ import annotations

import logging
from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from txfiles.errors import KeyColumnNotFoundError, LossyCastError, SchemaMismatchError
from txfiles.rows.dedup import refuse_ambiguous

FULL = {
    "text": pa.array(["hello", "x"]),
    "int": pa.array([1, 2], pa.int8()),
    "date": pa.array([date(2024, 1, 1), None]),
    "list": pa.array([[1], []]),
    "struct": pa.array([{"p": 1}, None]),
}
EMPTY = {
    "pandas": lambda: pd.DataFrame({"id": [3, 4], "v": [np.nan, np.nan]}),
    "objects": lambda: pd.DataFrame({"id": [3, 4], "v": pd.Series([None, np.nan], dtype=object)}),
    "null": lambda: pa.table({"id": [3, 4], "v": pa.nulls(2)}),
    "double": lambda: pa.table({"id": [3, 4], "v": pa.nulls(2, pa.float64())}),
    "text": lambda: pa.table({"id": [3, 4], "v": pa.nulls(2, pa.string())}),
    "dictionary": lambda: pa.table(
        {"id": [3, 4], "v": pa.DictionaryArray.from_arrays([0, None], pa.nulls(1, pa.string()))}
    ),
    "runs": lambda: pa.table({"id": [3, 4], "v": pa.RunEndEncodedArray.from_arrays([2], pa.nulls(1, pa.int64()))}),
    "struct": lambda: pa.table({"id": [3, 4], "v": pa.nulls(2, pa.struct([("other", pa.int8())]))}),
    "polars": lambda: pl.DataFrame({"id": [3, 4], "v": [None, None]}, schema={"id": pl.Int64, "v": pl.Boolean}),
    "stream": lambda: pa.table({"id": [3, 4], "v": pa.nulls(2, pa.time64("us"))}).to_reader(),
}


@pytest.mark.parametrize("mode", ["strict", "merge"])
@pytest.mark.parametrize(
    ("full", "empty"), [(full, empty) for full in FULL for empty in EMPTY if (full, empty) != ("struct", "struct")]
)
def test_a_column_without_one_value_fits_every_type(tmp_path, full, empty, mode):
    """A column that has rows but no value is accepted by a column of any type, which stays as it is."""
    tx.write(pa.table({"id": [1, 2], "v": FULL[full]}), tmp_path, mode="upsert", keys=["id"])
    tx.write(EMPTY[empty](), tmp_path, mode="upsert", schema_mode=mode)
    stored = tx.Table(tmp_path).to_arrow()
    assert stored["v"].to_pylist() == [*FULL[full].to_pylist(), None, None]
    if mode == "strict":
        assert stored.schema.field("v").type == FULL[full].type


@pytest.mark.parametrize(("mode", "fields"), [("strict", ["p"]), ("merge", ["p", "other"])])
def test_a_struct_column_without_one_value(tmp_path, mode, fields):
    """A column of other structs without one value is accepted in strict; under merge its type counts, as ever."""
    tx.write(pa.table({"id": [1, 2], "v": FULL["struct"]}), tmp_path, mode="append")
    tx.write(EMPTY["struct"](), tmp_path, mode="append", schema_mode=mode)
    stored = tx.Table(tmp_path).to_arrow()["v"]
    assert [field.name for field in stored.type] == fields
    assert stored.to_pylist() == [dict.fromkeys(fields) | {"p": 1}, None, None, None]


@pytest.mark.parametrize("mode", ["strict", "merge"])
@pytest.mark.parametrize("empty", ["pandas", "objects", "null"])
@pytest.mark.parametrize("full", list(FULL))
def test_a_column_created_without_a_type_takes_that_of_its_first_value(tmp_path, full, empty, mode):
    """A column that was created without one value and without a type has none until a value comes, in strict too."""
    for _ in range(2):
        tx.write(EMPTY[empty](), tmp_path, mode="upsert", keys=["id"], schema_mode=mode)
        assert tx.Table(tmp_path).to_arrow().schema.field("v").type == pa.null()
    tx.write(pa.table({"id": [1, 2], "v": FULL[full]}), tmp_path, mode="upsert", schema_mode=mode)
    stored = tx.Table(tmp_path).to_arrow()
    assert stored.schema.field("v").type == FULL[full].type
    assert stored["v"].to_pylist() == [None, None, *FULL[full].to_pylist()]


KEPT = [
    (pa.table({"v": pa.nulls(1, pa.float64())}), pa.float64()),
    (pd.DataFrame({"v": pd.array([None], "Float64")}), pa.float64()),
    (pd.DataFrame({"v": pd.Series([], dtype="float64")}), pa.float64()),
    (pd.DataFrame({"v": pd.to_datetime([None]).astype("datetime64[us]")}), pa.timestamp("us")),
    (pl.DataFrame({"v": [None]}, schema={"v": pl.Float64}), pa.float64()),
    (pd.DataFrame({"v": [np.nan, 1.5]}), pa.float64()),
]


@pytest.mark.parametrize(("data", "t"), KEPT)
def test_a_column_that_carries_a_type_keeps_it(tmp_path, data, t):
    """Arrow, polars and extension types, times, and columns without rows create a column of their own type."""
    tx.write(data, tmp_path, mode="append")
    assert tx.Table(tmp_path).to_arrow().schema.field("v").type == t


def test_a_column_without_rows_is_judged_by_its_type(tmp_path):
    """An empty batch is checked like a full one."""
    tx.write(pa.table({"v": ["x"]}), tmp_path, mode="append")
    with pytest.raises(SchemaMismatchError, match="'v'"):
        tx.write(pa.table({"v": pa.array([], pa.int64())}), tmp_path, mode="append")
    assert tx.Table(tmp_path).version == 0


# ---- floats as keys --------------------------------------------------------------------------


@pytest.fixture
def keyed(tmp_path):
    ids = [2**53, 2**53 + 1, 2**24 + 1, 5]
    tx.write(pa.table({"id": ids, "v": ["a", "b", "c", "d"]}), tmp_path, mode="upsert", keys=["id"])
    return tmp_path


FLOATS = [(2.0**53, pa.float64()), (-(2.0**60), pa.float64()), (2.0**24, pa.float32()), (2.0**11, pa.float16())]


@pytest.mark.parametrize("mode", ["upsert", "append_once", "overwrite"])
@pytest.mark.parametrize(("value", "t"), FLOATS)
def test_a_float_that_stands_for_several_integers_is_no_key(keyed, mode, value, t):
    """A float from 2**53 on may have been another integer: refused as a key, naming column, row and value."""
    batch = pa.table({"id": pa.array([5, value], t), "v": ["x", "y"]})
    for options in ({}, {"schema": {"id": "int64"}}):
        with pytest.raises(LossyCastError, match=rf"'id': row 1 holds the float {value:.0f}, which stands for several"):
            tx.write(batch, keyed, mode=mode, keys=["id"], **options)
    assert tx.Table(keyed).version == 0
    with pytest.raises(LossyCastError, match="several integers"):
        tx.Table(keyed).lookup(batch.select(["id"]))


@given(st.floats(-(2.0**53), 2.0**53, exclude_min=True, exclude_max=True).map(float.__floor__))
def test_a_float_below_is_a_key(number):
    """Below 2**53 each whole float is one integer, and serves as its key."""
    refuse_ambiguous(pa.chunked_array([pa.array([float(number), None])]), pa.int64(), "id")


def test_small_floats_update_their_rows(keyed):
    """A batch that pandas made floats of updates the rows of its keys."""
    result = tx.write(pd.DataFrame({"id": [5.0, 2.0**53 - 1], "v": ["x", "y"]}), keyed, mode="upsert")
    assert (result.rows_updated, result.rows_inserted) == (1, 1)
    assert tx.Table(keyed).lookup([5.0])["v"].to_pylist() == ["x"]
    with pytest.raises(LossyCastError, match="several integers"):
        tx.Table(keyed).lookup([9007199254740993.0])


def test_floats_that_are_no_key_are_judged_by_value(keyed):
    """In other columns, and where keys play no part, a float that is an integer's value is cast to it."""
    tx.write(pa.table({"id": [2.0**53], "v": ["z"]}), keyed, mode="append")
    assert tx.Table(keyed).to_arrow()["id"].to_pylist()[-1] == 2**53


# ---- the index of a DataFrame ----------------------------------------------------------------

DAYS = pd.DataFrame({"day": ["a", "b"], "at": [1, 2], "v": [1, 2]})
HIDDEN = [
    ({"mode": "upsert", "keys": ["day"]}, KeyColumnNotFoundError, "key column 'day' not found in the data: it is in"),
    ({"mode": "upsert", "keys": ["v"], "timestamp_col": "day"}, SchemaMismatchError, "timestamp_col 'day' not found"),
    ({"mode": "append", "partition_by": ["day"]}, SchemaMismatchError, "partition column 'day' not found"),
]


@pytest.mark.parametrize("wrap", [lambda frame: frame, lambda frame: [frame]])
@pytest.mark.parametrize("index", ["day", ["at", "day"]])
@pytest.mark.parametrize(("options", "kind", "message"), HIDDEN)
def test_a_column_that_is_in_the_index(tmp_path, wrap, index, options, kind, message):
    """A column that the write needs and that is in the index: the error says so, and how to get it out."""
    with pytest.raises(kind, match=f"{message}.*index") as caught:
        tx.write(wrap(DAYS.set_index(index)), tmp_path / "t", **options)
    assert "reset_index" in caught.value.hint
    assert not tx.exists(tmp_path / "t")
    tx.write(wrap(DAYS.set_index(index).reset_index()), tmp_path / "t", **options)


def test_a_column_of_the_table_that_is_in_the_index(tmp_path):
    """Likewise a column that the table has and the batch lacks."""
    tx.write(DAYS, tmp_path, mode="append")
    with pytest.raises(SchemaMismatchError, match="lacks 'day': in the DataFrame's index") as caught:
        tx.write(DAYS.set_index("day"), tmp_path, mode="append")
    assert "reset_index" in caught.value.hint
    assert tx.Table(tmp_path).version == 0


NAMED = [
    (lambda: DAYS.set_index("day"), "day"),
    (lambda: iter([DAYS.set_index(["at", "day"]), DAYS.set_index(["at", "day"])]), "at, day"),
    (lambda: DAYS.rename_axis("number"), "number"),
]
UNNAMED = [lambda: DAYS, lambda: DAYS.set_index("day", drop=False), lambda: DAYS.set_index(np.array([5, 6]))]


@pytest.mark.parametrize(("make", "names"), NAMED)
def test_a_named_index_that_is_not_written_is_told(tmp_path, make, names, caplog):
    """A named index that is dropped is told in the result's notes and as a warning of the log."""
    caplog.set_level(logging.WARNING, "txfiles")
    result = tx.write(make(), tmp_path, mode="append")
    assert [note for note in result.notes if f"({names})" in note and "reset_index" in note] == list(result.notes)
    assert len(result.notes) == 1
    assert any(names in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("make", UNNAMED)
def test_an_index_that_says_nothing_is_not_told(tmp_path, make):
    """An unnamed index, and one that is a column too, are nobody's loss."""
    assert tx.write(make(), tmp_path, mode="append").notes == ()
