"""Struct fields are merged as columns are: under `merge` new, missing and wider ones, to any depth."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from txfiles.errors import SchemaMismatchError
from txfiles.rows.casts import cast_lossless, widen

KINDS = {
    "struct": lambda t: t,
    "list": pa.list_,
    "fixed": lambda t: pa.list_(t, 2),
    "map": lambda t: pa.map_(pa.string(), t),
    "deep": lambda t: pa.struct([("in", pa.list_(pa.struct([("most", t)])))]),
}


def within(kind, value):
    """A value of a kind that holds a struct."""
    if kind == "fixed":
        return [value, value]
    wraps = {"struct": value, "list": [value], "map": [("k", value)], "deep": {"in": [{"most": value}]}}
    return wraps[kind]


def one(kind, fields, values):
    t = pa.struct(fields)
    return pa.array([within(kind, value) for value in values], KINDS[kind](t))


@pytest.mark.parametrize("kind", list(KINDS))
def test_fields_are_merged(tmp_path, kind):
    """A new, a missing and a wider field, at any depth: old rows have null in new fields, nothing else changes."""
    old = one(kind, [("p", pa.int8()), ("gone", pa.string())], [{"p": 1, "gone": "x"}, {"p": None, "gone": None}])
    new = one(kind, [("new", pa.list_(pa.float64())), ("p", pa.int64())], [{"new": [1.5], "p": 2**40}])
    tx.write(pa.table({"id": [1, 2], "s": old}), tmp_path, mode="append")
    result = tx.write(pa.table({"id": [3], "s": new}), tmp_path, mode="append", schema_mode="merge")
    assert result.rows_inserted == 1
    fields = [("p", pa.int64()), ("gone", pa.string()), ("new", pa.list_(pa.float64()))]
    expected = [
        {"p": 1, "gone": "x", "new": None},
        {"p": None, "gone": None, "new": None},
        {"p": 2**40, "gone": None, "new": [1.5]},
    ]
    table = tx.Table(tmp_path)
    wanted = one(kind, fields, expected)
    assert table.to_arrow()["s"].combine_chunks().equals(wanted)
    assert table.dataset().to_table()["s"].to_pylist() == wanted.to_pylist()
    assert table.at(version=0).to_arrow()["s"].combine_chunks().equals(old)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    ("fields", "word"),
    [([("p", pa.int8())], "lacks"), ([("p", pa.int8()), ("q", pa.int8()), ("r", pa.int8())], "has no")],
)
def test_strict_keeps_the_fields(tmp_path, kind, fields, word):
    """Under `strict` a struct has exactly the table's fields; the error names the field, and merge is the way out."""
    old = one(kind, [("p", pa.int8()), ("q", pa.int8())], [{"p": 1, "q": 1}])
    tx.write(pa.table({"s": old}), tmp_path, mode="append")
    batch = pa.table({"s": one(kind, fields, [{"p": 2}])})
    with pytest.raises(SchemaMismatchError, match=rf"{word} 's[^']*\.[qr]'") as caught:
        tx.write(batch, tmp_path, mode="append")
    assert "merge" in caught.value.hint
    assert tx.Table(tmp_path).version == 0
    tx.write(batch, tmp_path, mode="append", schema_mode="merge")
    assert tx.Table(tmp_path).to_arrow().num_rows == 2


def test_an_updated_row_keeps_the_fields_that_the_batch_lacks(tmp_path):
    """As a missing column does, a missing field of a struct keeps its value in updated rows; in items it is null."""
    inner = pa.struct([("u", pa.int8()), ("v", pa.int8())])
    full = pa.struct([("p", pa.int8()), ("q", inner), ("items", pa.list_(inner))])
    rows = [{"p": n, "q": {"u": n, "v": n}, "items": [{"u": n, "v": n}]} for n in range(4)]
    rows[3] = None
    tx.write(pa.table({"id": range(4), "s": pa.array(rows, full)}), tmp_path, mode="upsert", keys=["id"])
    less = pa.struct([("u", pa.int8())])
    part = pa.struct([("q", less), ("items", pa.list_(less))])
    change = {"q": {"u": 9}, "items": [{"u": 9}]}
    batch = pa.table({"id": [0, 1, 2, 3], "s": pa.array([change, None, {"q": None, "items": None}, change], part)})
    result = tx.write(batch, tmp_path, mode="upsert", schema_mode="merge")
    assert result.rows_updated == 4
    assert tx.Table(tmp_path).to_arrow()["s"].to_pylist() == [
        {"p": 0, "q": {"u": 9, "v": 0}, "items": [{"u": 9, "v": None}]},
        None,
        {"p": 2, "q": None, "items": None},
        {"p": None, "q": {"u": 9, "v": None}, "items": [{"u": 9, "v": None}]},
    ]
    again = tx.write(batch, tmp_path, mode="upsert", schema_mode="merge")
    assert not again.committed
    assert again.rows_unchanged == 4


LEAVES = st.sampled_from([pa.int8(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.null()])


def _nested(inner):
    return st.one_of(
        st.dictionaries(st.sampled_from("pqr"), inner, min_size=1).map(lambda d: pa.struct([*d.items()])),
        inner.map(pa.list_),
        inner.map(lambda t: pa.map_(pa.string(), t)),
    )


STRUCTS = st.dictionaries(st.sampled_from("abc"), st.recursive(LEAVES, _nested, max_leaves=4), min_size=1).map(
    lambda d: pa.struct([*d.items()])
)


@given(STRUCTS, STRUCTS)
def test_the_wider_struct(one, other):
    """The wider type of two structs has the fields of both, the table's first, and widening again changes nothing."""
    wider = widen(one, other)
    names = [f.name for f in one]
    assert [f.name for f in wider] == [*names, *(f.name for f in other if f.name not in names)]
    assert widen(wider, other) == wider
    assert widen(wider, one) == wider
    assert cast_lossless(pa.nulls(2, one), wider, name="s").type == wider
