"""Types in the log's spelling come back, or are refused."""

from __future__ import annotations

import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows_types_help import alike, types

from txfiles.core.schema import Column
from txfiles.errors import CorruptTableError, UnsupportedTypeError
from txfiles.rows.types import (
    MAX_DEPTH,
    MAX_FIELD_ID,
    MAX_WIDTH,
    arrow_schema,
    decode,
    from_spec,
    is_key_type,
    is_orderable,
    is_partition_type,
    normalise,
    to_spec,
)

SPELLED = [
    (pa.null(), "null"),
    (pa.bool_(), "bool"),
    (pa.int8(), "int8"),
    (pa.uint64(), "uint64"),
    (pa.float16(), "float16"),
    (pa.float32(), "float32"),
    (pa.float64(), "float64"),
    (pa.string(), "string"),
    (pa.large_string(), "string"),
    (pa.dictionary(pa.int8(), pa.large_string()), "string"),
    (pa.binary(), "binary"),
    (pa.binary_view(), "binary"),
    (pa.binary(16), "fixed_size_binary[16]"),
    (pa.date32(), "date32"),
    (pa.date64(), "date64"),
    (pa.time32("s"), "time32[s]"),
    (pa.time64("us"), "time64[us]"),
    (pa.timestamp("us"), "timestamp[us]"),
    (pa.timestamp("us", "UTC"), "timestamp[us, UTC]"),
    (pa.timestamp("ns", "America/Port-au-Prince"), "timestamp[ns, America/Port-au-Prince]"),
    (pa.timestamp("s", "+05:30"), "timestamp[s, +05:30]"),
    (pa.duration("us"), "duration[us]"),
    (pa.decimal128(10, 2), "decimal128(10, 2)"),
    (pa.decimal256(40, 2), "decimal256(40, 2)"),
    (pa.decimal32(5, 2), "decimal128(5, 2)"),
    (pa.list_(pa.int8()), {"list": "int8"}),
    (pa.large_list_view(pa.string_view()), {"list": "string"}),
    (pa.list_(pa.int8(), 3), {"fixed_size_list": "int8", "size": 3}),
    (pa.struct([("a", pa.int8())]), {"struct": [{"name": "a", "type": "int8"}]}),
    (pa.map_(pa.string(), pa.list_(pa.int8())), {"map": ["string", {"list": "int8"}]}),
]


@pytest.mark.parametrize(("t", "spec"), SPELLED, ids=str)
def test_spelling(t, spec):
    """The log spells a type just so, whatever its encoding."""
    assert to_spec(t) == spec
    assert from_spec(spec) == normalise(t)


@given(types)
def test_types_come_back(t):
    """Every type comes back from the log's JSON."""
    assert from_spec(json.loads(json.dumps(to_spec(t)))).equals(normalise(t), check_metadata=True)


@given(types)
def test_every_spelled_type_can_be_stored(t):
    """What the log can spell, Parquet can hold, also with nulls and without rows."""
    for rows in (pa.nulls(2, t), pa.nulls(0, t)):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"c": rows}), sink)
        assert pq.read_table(pa.BufferReader(sink.getvalue())).num_rows == len(rows)


def _deep(levels):
    spec = "int8"
    for _ in range(levels - 1):
        spec = {"list": spec}
    return spec


HOSTILE = [
    *[None, 5, 1.5, True, [], ["int8"], {}, "", " int8", "INT8", "int8\n", "int128", "dictionary", "x" * 10**6],
    *["float", "double", "large_string", "decimal128(10,2)", "decimal128(0, 0)", "decimal128(39, 0)"],
    *["decimal128(10, -1)", "decimal128(5, 6)", "decimal128(010, 2)", "decimal256(77, 0)", "decimal64(5, 2)"],
    *["decimal128(\u0661\u0660, \u0662)", "decimal128(10, 2", "decimal128(99999999999, 2)"],
    *["fixed_size_binary[0]", "fixed_size_binary[-1]", "fixed_size_binary[1000000000000]", "fixed_size_binary[]"],
    *[f"fixed_size_binary[{MAX_WIDTH + 1}]", "time32[us]", "time64[s]", "timestamp[m]", "timestamp[us,UTC]"],
    *["timestamp[us, ]", "timestamp[us, \ud800]", "timestamp[us, UTC\x00]", "timestamp[us, a b]", "timestamp[us, é]"],
    *["timestamp[us, " + "x" * 65 + "]", "timestamp[us, ../../etc/passwd]", "duration[D]"],
    *[{"list": None}, {"list": "int8", "x": 1}, {"LIST": "int8"}, {"list": ["int8"]}, {"list": "int8", "size": 2}],
    *[{"fixed_size_list": "int8"}, {"fixed_size_list": "int8", "size": 0}, {"fixed_size_list": "int8", "size": -1}],
    *[{"fixed_size_list": "int8", "size": s} for s in (True, "2", 2.0, None, MAX_WIDTH + 1, 2**31, 2**63, 10**30)],
    {"fixed_size_list": {"fixed_size_list": "int8", "size": 2**12}, "size": 2**12},
    {"list": {"fixed_size_list": {"struct": [{"name": "b", "type": "fixed_size_binary[1024]"}]}, "size": 2**12}},
    {"struct": [{"name": str(i), "type": f"fixed_size_binary[{MAX_WIDTH}]"} for i in range(2)]},
    *[{"struct": fields} for fields in ([], {}, None, "int8", ["int8"], [{}], [{"name": "a"}], [{"type": "int8"}])],
    {"struct": [{"name": "a", "type": "int8"}, {"name": "a", "type": "int16"}]},
    *[{"struct": [{"name": name, "type": "int8"}]} for name in ("", "\ud800", 5, None)],
    {"struct": [{"name": "a", "type": "int8", "nullable": False}]},
    *[{"map": m} for m in ([], ["string"], ["string", "int8", "int8"], "string", {}, ["null", "int8"], ["x", "int8"])],
    *[_deep(MAX_DEPTH + 1), _deep(100_000)],
]


@pytest.mark.parametrize("spec", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_type(spec):
    """A type that a hostile manifest made up is a corrupt table, told in one short line."""
    with pytest.raises(CorruptTableError) as caught:
        from_spec(spec)
    assert len(caught.value.message) < 400


def test_deepest_type():
    """The limit itself is allowed, one level more is refused on the way in as on the way out."""
    t = from_spec(_deep(MAX_DEPTH))
    assert to_spec(t) == _deep(MAX_DEPTH)
    for _ in range(1_000):
        t = pa.list_(t)
    with pytest.raises(UnsupportedTypeError, match="deeper"):
        to_spec(t)


_words = st.sampled_from(
    [*[s for _, s in SPELLED if isinstance(s, str)], "list", "struct", "map", "size", "name", "type"]
)
_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words | st.just("fixed_size_list"), inner, max_size=3),
    max_leaves=8,
)


@given(_documents)
def test_any_document(spec):
    """Any JSON is either exactly the spelling of a type, or a corrupt table."""
    try:
        t = from_spec(spec)
    except CorruptTableError:
        return
    assert to_spec(t) == spec


@given(st.data())
def test_any_misspelling(data):
    """A spelling with one character changed is another type's, or a corrupt table."""
    text = data.draw(st.sampled_from([s for _, s in SPELLED if isinstance(s, str)]))
    at = data.draw(st.integers(0, len(text) - 1))
    spec = text[:at] + data.draw(st.characters()) + text[at + data.draw(st.integers(0, 1)) :]
    try:
        t = from_spec(spec)
    except CorruptTableError:
        return
    assert to_spec(t) == spec


@pytest.mark.parametrize(
    "t",
    [
        pa.dense_union([pa.field("a", pa.int8())]),
        pa.month_day_nano_interval(),
        pa.uuid(),
        pa.list_(pa.uuid()),
        pa.struct([]),
        pa.struct([("a", pa.int8()), ("a", pa.int8())]),
        pa.struct([("", pa.int8())]),
        pa.binary(0),
        pa.binary(MAX_WIDTH + 1),
        pa.list_(pa.int8(), 0),
        pa.decimal128(10, -2),
        pa.decimal128(5, 7),
        pa.timestamp("us", "a zone"),
    ],
    ids=str,
)
def test_unsupported_type(t):
    """A type that no table can hold is refused by name, before anything is written."""
    with pytest.raises(UnsupportedTypeError) as caught:
        to_spec(t)
    assert caught.value.hint


def test_normalise_drops_what_readers_do_not_see():
    """Metadata, nullability and encodings go at every level; sizes, units and zones stay."""
    field = pa.field(
        "a", pa.dictionary(pa.int8(), pa.string_view()), nullable=False, metadata={"PARQUET:field_id": "1"}
    )
    given_type = pa.large_list(pa.field("element", pa.struct([field]), nullable=False))
    expected = pa.list_(pa.struct([pa.field("a", pa.string())]))
    assert normalise(given_type).equals(expected, check_metadata=True)
    keyed = pa.map_(pa.large_string(), pa.list_(pa.timestamp("ms", "UTC"), 2), keys_sorted=True)
    assert normalise(keyed) == pa.map_(pa.string(), pa.list_(pa.timestamp("ms", "UTC"), 2))
    union = pa.dense_union([pa.field("a", pa.int8())])
    assert normalise(union) == union


TEXTS = ["a", None, "", "bc"]
LISTS = [[1, 5], None, [], [2, 3]]
REPEATED = pa.RunEndEncodedArray.from_arrays
ENCODED = [
    (pa.array(TEXTS).dictionary_encode(), TEXTS),
    (pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2]), pa.array(["a", None, ""])), ["a", None, None, ""]),
    *[(pa.array(TEXTS, t), TEXTS) for t in (pa.large_string(), pa.string_view())],
    *[(pa.array([b"a", None, b"", b"bc"], t), [b"a", None, b"", b"bc"]) for t in (pa.large_binary(), pa.binary_view())],
    *[
        (pa.array(LISTS, t), LISTS)
        for t in (pa.large_list(pa.int8()), pa.list_view(pa.int8()), pa.large_list_view(pa.int8()))
    ],
    (REPEATED(pa.array([1, 3, 4], pa.int32()), pa.array(["a", None, "b"])), ["a", None, None, "b"]),
    (REPEATED(pa.array([2, 4], pa.int16()), pa.array(["a", "b"], pa.string_view())), ["a", "a", "b", "b"]),
    (REPEATED(pa.array([2, 4], pa.int64()), pa.array(["a", "b"]).dictionary_encode()), ["a", "a", "b", "b"]),
    (pa.array([Decimal("1.50"), None], pa.decimal32(5, 2)), [Decimal("1.50"), None]),
    (pa.array([1, 2]), [1, 2]),
]


@pytest.mark.parametrize(("a", "expected"), ENCODED, ids=[str(a.type) for a, _ in ENCODED])
def test_decode(a, expected):
    """An encoding is dropped without touching a value, in any slice, as a valid array."""
    for start in range(len(a) + 1):
        for length in range(len(a) - start + 1):
            plain = decode(a.slice(start, length))
            plain.validate(full=True)
            assert plain.type == normalise(a.type)
            assert plain.to_pylist() == expected[start : start + length]


KEY = {
    pa.int8(),
    pa.uint64(),
    pa.string(),
    pa.bool_(),
    pa.date32(),
    pa.date64(),
    pa.timestamp("us"),
    pa.decimal128(9, 0),
}
ONLY_KEY = {pa.binary(), pa.binary(3)}
ONLY_ORDERED = {pa.float16(), pa.float64(), pa.time32("s"), pa.time64("ns"), pa.duration("us"), pa.decimal256(60, 30)}
NEITHER = {pa.null(), pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8())}


def test_predicates():
    """What serves as key, as partition column and as order is told by type, encodings aside."""
    for t in KEY | ONLY_KEY | ONLY_ORDERED | NEITHER:
        assert is_partition_type(t) is (t in KEY), t
        assert is_key_type(t) is (t in KEY | ONLY_KEY), t
        assert is_orderable(t) is (t not in NEITHER), t
    assert is_key_type(pa.dictionary(pa.int8(), pa.string()))
    assert is_partition_type(pa.large_string())


def test_arrow_schema():
    """A table's columns become an Arrow schema whose fields carry their ids."""
    schema = arrow_schema([Column(id=7, name="a", type="int8"), Column(id=3, name="b", type={"list": "string"})])
    assert schema.names == ["a", "b"]
    assert schema.types == [pa.int8(), pa.list_(pa.string())]
    assert [field.metadata for field in schema] == [{b"PARQUET:field_id": b"7"}, {b"PARQUET:field_id": b"3"}]


@pytest.mark.parametrize(
    "columns",
    [
        [(1, "a", "int8"), (2, "a", "int8")],
        [(1, "a", "int8"), (1, "b", "int8")],
        [(-1, "a", "int8")],
        [(MAX_FIELD_ID + 1, "a", "int8")],
        [(1, "\ud800", "int8")],
        [(1, "a", "int9")],
    ],
    ids=str,
)
def test_hostile_columns(columns):
    """Columns that no table can have are a corrupt table."""
    with pytest.raises(CorruptTableError):
        arrow_schema([Column(id=i, name=name, type=t) for i, name, t in columns])


def test_oracle_of_floats():
    """The tests' own equality tells zeros apart and takes NaN for NaN, as it must to judge."""
    assert not alike(0.0, -0.0)
    assert alike(float("nan"), float("nan"))
    assert pc.is_nan(pa.scalar(float("nan"))).as_py()
