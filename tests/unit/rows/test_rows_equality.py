"""Equality of rows, to the bit: the relation by which an upsert decides what has changed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows_types_help import alike, chunked, types, values

from txfiles.errors import InputError, SchemaMismatchError
from txfiles.rows.equality import same, same_rows

NAN = float("nan")
OTHER_NAN = np.array([0xFFF8_0000_0000_0123], np.uint64).view(np.float64)[0]
PAIRS = pa.struct([("x", pa.float64())])

CASES = [
    ("null and null", pa.int64(), None, None, True),
    ("null and zero", pa.int64(), None, 0, False),
    ("zero and null", pa.int64(), 0, None, False),
    ("null and NaN", pa.float64(), None, NAN, False),
    ("NaN and NaN", pa.float64(), NAN, NAN, True),
    ("NaN of other payloads", pa.float64(), NAN, OTHER_NAN, True),
    ("NaN and a number", pa.float64(), NAN, 1.0, False),
    ("zeros of both signs", pa.float64(), -0.0, 0.0, False),
    ("zeros of both signs, float32", pa.float32(), -0.0, 0.0, False),
    ("zeros of both signs, float16", pa.float16(), np.float16(-0.0), np.float16(0.0), False),
    ("NaN in float16", pa.float16(), np.float16(NAN), np.float16(NAN), True),
    ("null and empty text", pa.string(), None, "", False),
    ("texts that differ in their normal form", pa.string(), "é", "e\u0301", False),
    ("null and null of type null", pa.null(), None, None, True),
    ("null and a struct of null", PAIRS, None, {"x": None}, False),
    ("structs of NaN", PAIRS, {"x": NAN}, {"x": NAN}, True),
    ("structs of zeros", PAIRS, {"x": 0.0}, {"x": -0.0}, False),
    ("null and empty list", pa.list_(pa.int8()), None, [], False),
    ("empty lists", pa.list_(pa.int8()), [], [], True),
    ("lists of other lengths", pa.list_(pa.int8()), [1], [1, 1], False),
    ("lists of null and of nothing", pa.list_(pa.int8()), [None], [], False),
    ("lists of lists of NaN", pa.list_(pa.list_(pa.float32())), [[NAN], []], [[NAN], []], True),
    ("fixed-size lists", pa.list_(pa.int8(), 2), [1, None], [1, None], True),
    ("fixed-size lists that differ late", pa.list_(pa.int8(), 2), [1, 2], [1, 3], False),
    ("maps", pa.map_(pa.string(), PAIRS), [("a", {"x": NAN})], [("a", {"x": NAN})], True),
    ("maps in other order", pa.map_(pa.string(), pa.int8()), [("a", 1), ("b", 2)], [("b", 2), ("a", 1)], False),
    ("maps of other keys", pa.map_(pa.string(), pa.int8()), [("a", 1)], [("b", 1)], False),
]


@pytest.mark.parametrize(("t", "x", "y", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_rule(t, x, y, expected):
    """Each rule of equality holds between rows that are equal for sure, and both ways."""
    a, b = pa.array([x, x, y], t), pa.array([x, y, y], t)
    assert same(a, b).tolist() == [True, expected, True]
    assert same(b, a).tolist() == [True, expected, True]


@given(st.data())
def test_any_column(data):
    """Whatever the type, the chunks and the slices, two columns are equal where their values are."""
    t = data.draw(types)
    rows = data.draw(st.lists(values(t), max_size=6))
    others = [row if data.draw(st.booleans()) else data.draw(values(t)) for row in rows]
    flags = same(data.draw(chunked(t, rows)), data.draw(chunked(t, others)))
    assert flags.dtype == np.bool_
    assert flags.tolist() == [alike(x, y) for x, y in zip(rows, others, strict=True)]


def test_what_hides_under_nulls_does_not_count():
    """Bytes behind a null, of a list or a struct or a number, make no difference."""
    mask = pa.array([True, False])
    one = pa.ListArray.from_arrays(pa.array([0, 2, 3], pa.int32()), pa.array([1, 2, 3]), mask=mask)
    two = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array([9, 3]), mask=mask)
    assert same(one, two).all()
    structs = [pa.StructArray.from_arrays([pa.array([n, 1])], ["x"], mask=mask) for n in (5, 6)]
    assert same(*structs).all()
    valid = pa.py_buffer(b"\x02")
    numbers = [pa.Array.from_buffers(pa.float64(), 2, [valid, pa.py_buffer(np.array([n, 1.0]))]) for n in (5.0, NAN)]
    assert same(*numbers).all()


def test_array_and_chunked_array():
    """A plain array compares with a chunked one."""
    assert same(pa.array([1, 2, 3]), pa.chunked_array([[1], [], [2, 4]], pa.int64())).tolist() == [True, True, False]


def test_no_rows():
    """No rows give no flags."""
    assert same(pa.chunked_array([], pa.int8()), pa.chunked_array([], pa.int8())).shape == (0,)
    assert same_rows(pa.table({"a": []}), pa.table({"a": []})).shape == (0,)


def test_other_type_or_length_is_refused():
    """Columns of different types or lengths are an error, never unequal rows."""
    with pytest.raises(SchemaMismatchError, match="int8"):
        same(pa.array([1], pa.int8()), pa.array([1], pa.int16()))
    with pytest.raises(InputError, match="2 values"):
        same(pa.array([1, 2]), pa.array([1]))


def test_same_rows():
    """Rows are equal where all columns are, which are matched by name."""
    a = pa.table({"k": [1, 2, 3], "v": [NAN, None, 0.0]})
    b = pa.table({"v": [NAN, None, -0.0], "k": [1, 9, 3]})
    assert same_rows(a, b).tolist() == [True, False, False]
    with pytest.raises(SchemaMismatchError, match="'w'"):
        same_rows(a, b.rename_columns(["w", "k"]))
    with pytest.raises(InputError, match="3 rows"):
        same_rows(a, b.slice(1))
