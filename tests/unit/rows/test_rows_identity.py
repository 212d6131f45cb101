"""Codes of whole rows: equal if and only if the rows are, whatever their types."""

from __future__ import annotations

import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.rows.equality import same
from txfiles.rows.identity import row_codes

PAYLOAD = struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf8\x7f")[0]
TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "ab", "b", "\0", "a\0"]))
LISTS = st.one_of(st.none(), st.lists(TEXTS, max_size=3))
VALUES: list[tuple[pa.DataType, st.SearchStrategy]] = [
    (pa.int64(), st.one_of(st.none(), st.integers(-2, 2))),
    (pa.bool_(), st.one_of(st.none(), st.booleans())),
    (pa.float64(), st.sampled_from([None, 0.0, -0.0, 1.0, float("nan"), PAYLOAD, float("inf")])),
    (pa.string(), TEXTS),
    (pa.binary(2), st.sampled_from([None, b"ab", b"\0\0"])),
    (pa.decimal128(5, 2), st.one_of(st.none(), st.decimals(-2, 2, places=2))),
    (pa.timestamp("us", "UTC"), st.one_of(st.none(), st.integers(-2, 2))),
    (pa.null(), st.none()),
    (pa.list_(pa.string()), LISTS),
    (pa.list_(pa.list_(pa.string())), st.one_of(st.none(), st.lists(LISTS, max_size=2))),
    (
        pa.struct([("a", pa.int8()), ("b", pa.string())]),
        st.one_of(st.none(), st.fixed_dictionaries({"a": st.one_of(st.none(), st.integers(0, 1)), "b": TEXTS})),
    ),
    (
        pa.map_(pa.string(), pa.int8()),
        st.one_of(st.none(), st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([None, 1])), max_size=2)),
    ),
]


@pytest.mark.parametrize(
    ("kind", "values"), VALUES, ids=lambda given_: str(given_) if isinstance(given_, pa.DataType) else ""
)
@given(data=st.data())
def test_codes_are_equal_where_values_are(kind: pa.DataType, values: st.SearchStrategy, data: st.DataObject) -> None:
    """The relation is that of `equality.same`, in slices and chunks, too."""
    found = data.draw(st.lists(values, min_size=2, max_size=8))
    column = pa.array(found, kind)
    codes = row_codes(pa.table({"v": column})).to_pylist()
    for at in range(len(found)):
        others = pa.concat_arrays([column.slice(at, 1)] * len(found)) if not pa.types.is_null(kind) else column
        assert same(column, others).tolist() == [code == codes[at] for code in codes]
    cut = data.draw(st.integers(0, len(found)))
    chunked = pa.chunked_array([column.slice(0, cut), column.slice(cut)], kind)
    assert row_codes(pa.table({"v": chunked})).to_pylist() == codes
    assert row_codes(pa.table({"v": column.slice(1)})).to_pylist() == codes[1:]


@given(rows=st.lists(st.tuples(TEXTS, TEXTS, LISTS), max_size=9))
def test_columns_do_not_run_into_each_other(rows: list[tuple[object, ...]]) -> None:
    """As many codes as different rows, though their texts may be the same one after the other."""
    table = pa.table(
        {
            name: pa.array([row[at] for row in rows], kind)
            for at, (name, kind) in enumerate([("a", pa.string()), ("b", pa.string()), ("c", pa.list_(pa.string()))])
        }
    )
    assert len(set(row_codes(table).to_pylist())) == len({repr(row) for row in rows})
