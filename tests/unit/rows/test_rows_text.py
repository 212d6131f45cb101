"""Values in their one text form: what is written comes back, in every type; what is read is exact or refused."""

from __future__ import annotations

import base64
import json
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows_types_help import SCALARS, alike, chunked, nested, types, values
from test_rows_types import ENCODED

from txfiles.errors import CorruptTableError, InputError, UnsupportedTypeError
from txfiles.rows.equality import same
from txfiles.rows.text import from_text, shown, to_json, to_python, to_text

LEAST, GREATEST = -(2**63), 2**63 - 1
NS = pa.timestamp("ns")
WRITTEN = [
    (pa.int8(), -128, "-128"),
    (pa.uint64(), 2**64 - 1, "18446744073709551615"),
    (pa.bool_(), True, "true"),
    (pa.bool_(), False, "false"),
    (pa.float64(), -0.0, "-0"),
    (pa.float64(), 0.1, "0.1"),
    (pa.float64(), 5e-324, "5e-324"),
    (pa.float64(), float("nan"), "nan"),
    (pa.float64(), float("-inf"), "-inf"),
    (pa.float32(), 0.1, "0.10000000149011612"),
    (pa.string(), "é\n\"'", "é\n\"'"),
    (pa.string(), "", ""),
    (pa.binary(), b"", ""),
    (pa.binary(), b"\0", "AA=="),
    (pa.binary(), b"\0\xff", "AP8="),
    (pa.binary(3), b"abc", "YWJj"),
    (pa.decimal128(10, 2), Decimal("-0.05"), "-0.05"),
    (pa.decimal128(38, 20), Decimal("1E-20"), "0.00000000000000000001"),
    (pa.decimal128(38, 20), Decimal("-1.2E-15"), "-0.00000000000000120000"),
    (pa.decimal128(38, 20), Decimal(0), "0.00000000000000000000"),
    (pa.decimal256(60, 30), Decimal("0.5"), "0.500000000000000000000000000000"),
    (pa.date32(), 15706, "2013-01-01"),
    (pa.date32(), -25567 - 365, "1899-01-01"),
    (pa.date32(), 2932896, "9999-12-31"),
    (pa.date32(), 2932897, "+10000-01-01"),
    (pa.date32(), -719_528, "0000-01-01"),
    (pa.date32(), -719_529, "-0001-12-31"),
    (pa.date32(), 2**31 - 1, "+5881580-07-11"),
    (pa.date32(), -(2**31), "-5877641-06-23"),
    (pa.timestamp("s"), GREATEST, "+292277026596-12-04T15:30:07"),
    (pa.timestamp("s"), LEAST, "-292277022657-01-27T08:29:52"),
    (pa.timestamp("us", "Europe/Berlin"), 1_200_243_744_000_000_001, "+40004-03-18T00:00:00.000001Z"),
    (pa.timestamp("us"), GREATEST, "+294247-01-10T04:00:54.775807"),
    (pa.timestamp("ms", "UTC"), LEAST, "-292275055-05-16T16:47:04.192Z"),
    (pa.date64(), 86_400_000 * 15706, "2013-01-01"),
    (pa.timestamp("s"), -1, "1969-12-31T23:59:59"),
    (pa.timestamp("ms"), -1, "1969-12-31T23:59:59.999"),
    (pa.timestamp("us"), 1356998400000001, "2013-01-01T00:00:00.000001"),
    (pa.timestamp("us", "Asia/Tokyo"), 1356998400000001, "2013-01-01T00:00:00.000001Z"),
    (NS, LEAST, "1677-09-21T00:12:43.145224192"),
    (NS, GREATEST, "2262-04-11T23:47:16.854775807"),
    (pa.time32("s"), 86399, "23:59:59"),
    (pa.time64("ns"), 1, "00:00:00.000000001"),
    (pa.duration("ms"), -5, "-5"),
]


@pytest.mark.parametrize(("t", "value", "text"), WRITTEN, ids=str)
def test_text_of_value(t, value, text):
    """Each value has just this text, which gives it back."""
    a = pa.array([None, value], t)
    assert to_text(a).to_pylist() == [None, text]
    assert same(from_text(pa.array([None, text]), t), a).all()


NONE_OF_THEIR_TYPE = [(pa.time32("s"), 86400), (pa.time64("us"), -1)]


@pytest.mark.parametrize(("t", "value"), NONE_OF_THEIR_TYPE, ids=str)
def test_text_of_what_is_no_value(t, value):
    """What is no value of its type has some text, that nothing reads as another value."""
    a = pa.array([value], pa.int32() if t.bit_width == 32 else pa.int64()).view(t)
    with pytest.raises(InputError):
        from_text(to_text(a), t)


@given(st.data(), st.sampled_from([pa.string(), pa.large_string()]))
def test_values_come_back(data, form):
    """Every value of every type comes back from its text, in any chunks, whatever its year and its unit."""
    t = data.draw(st.sampled_from(SCALARS))
    rows = data.draw(st.lists(values(t), max_size=8))
    column = data.draw(chunked(t, rows))
    text = to_text(column, form)
    assert text.type == form
    assert [one is None for one in text.to_pylist()] == [row is None for row in rows]
    assert same(from_text(text, t), column).all()


@pytest.mark.parametrize("t", [pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 2), pa.int32()], ids=str)
def test_text_outlives_a_wider_column(t):
    """The text of a value is that value in every type that its column may be widened to."""
    some = [Decimal(1), Decimal(-7)] if pa.types.is_decimal(t) else [1, -7]
    column = pa.array(np.array([0.1, 1 / 3, -1e-7], t.to_pandas_dtype()) if pa.types.is_floating(t) else some, t)
    wider = {pa.decimal128(9, 2): pa.decimal128(38, 9), pa.int32(): pa.int64()}.get(t, pa.float64())
    assert same(from_text(to_text(column), wider), column.cast(wider)).all()


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from(["s", "ms", "us"]))
def test_years_are_those_of_numpy(count, unit):
    """Another library writes the same moment of any year, but for the sign of a year past 9999."""
    expected = np.datetime_as_string(np.datetime64(count, unit))
    assert to_text(pa.array([count], pa.timestamp(unit)))[0].as_py().removeprefix("+") == expected


@given(st.lists(st.none() | st.binary(max_size=20)), st.integers(0, 3))
def test_base64(rows, start):
    """Binary text is that of the standard library."""
    expected = [None if row is None else base64.b64encode(row).decode() for row in rows]
    text = to_text(pa.array(rows, pa.binary()).slice(start))
    assert text.to_pylist() == expected[start:]
    assert from_text(text, pa.binary()).to_pylist() == rows[start:]


def test_encoded_values_have_their_values_text():
    """Encodings do not show in the text."""
    for a, expected in ENCODED[:4]:
        assert to_text(a).to_pylist() == expected
    assert to_text(pa.chunked_array([[1], [], [2]], pa.int8())).to_pylist() == ["1", "2"]
    assert to_text(pa.chunked_array([], pa.int8())).type == pa.string()


READ = [
    (pa.timestamp("us"), "2013-01-01", 1356998400000000),
    (pa.timestamp("us"), "2013-01-01 10:00", 1357034400000000),
    (pa.timestamp("ms"), "2013-01-01T00:00:00.500000000", 1356998400500),
    (pa.timestamp("s", "UTC"), "2013-01-01T10:00:00+01:00", 1357030800),
    (pa.timestamp("s", "Asia/Tokyo"), "2013-01-01T10:00:00-0130", 1357039800),
    (pa.timestamp("us"), "0000-01-01T00:00:00", -62167219200 * 10**6),
    (pa.time64("us"), "10:00", 36000 * 10**6),
    (pa.float64(), "1e5", 100000.0),
    (pa.float64(), "-Infinity", float("-inf")),
    (pa.decimal128(5, 2), "1.5", Decimal("1.50")),
    (pa.decimal128(5, 2), "1.500", Decimal("1.50")),
]


@pytest.mark.parametrize(("t", "text", "value"), READ, ids=str)
def test_more_is_read_than_written(t, text, value):
    """A person's shorter ways to write a value are read, exactly."""
    assert same(from_text(pa.array([text]), t), pa.array([value], t)).all()


REFUSED = [
    *[(pa.int64(), text) for text in ("", " 5", "5 ", "+5", "0x10", "5\n", "1.0", "1e3", "9" * 30, "\u0665", "nan")],
    *[(pa.int8(), "128"), (pa.uint8(), "-1"), (pa.bool_(), "yes"), (pa.bool_(), "")],
    *[(pa.float64(), text) for text in ("", "1,5", "1e400", "-1e400", "x", " 1")],
    *[(pa.float32(), "1e39"), (pa.float16(), "1e5")],
    *[(pa.decimal128(5, 2), text) for text in ("", "1.505", "1000.00", "1e1", ".5", "5.", "NaN", "9" * 90)],
    *[(pa.date32(), text) for text in ("", "2013-02-30", "2013-1-1", "20130101", "10000-01-01", "2013-01-01T00:00:00")],
    *[(pa.timestamp("us"), text) for text in ("", "2013-01-01T00:00:00Z", "2013-01-01T10.5", "2013-01-01T24:00:00")],
    *[(pa.timestamp("us"), text) for text in ("2013-01-01T00:00:00.0000001", "2013-02-30T00:00:00", "1", "now")],
    *[(pa.timestamp("s", "UTC"), text) for text in ("2013-01-01T00:00:00", "2013-01-01", "2013-01-01T00:00:00.1Z")],
    *[(NS, "1677-09-21T00:12:43.145224191"), (NS, "2262-04-11T23:47:16.854775808"), (NS, "9999-01-01")],
    *[(pa.time32("s"), "24:00:00"), (pa.time32("s"), "00:00:00.5"), (pa.time64("us"), "1"), (pa.duration("s"), "1.5")],
    *[(pa.binary(), text) for text in ("A", "AA", "AA=", "A===", "AA==AA==", "AA=A", "A!==", "AAAA\n", "AAAA=", "é")],
    *[(pa.binary(3), "AA=="), (pa.null(), "")],
]


GOOD = {t: text for t, _, text in WRITTEN}


@pytest.mark.parametrize(("t", "text"), REFUSED, ids=ascii)
def test_text_that_is_no_value(t, text):
    """A text that is no value of the type is an error that names it and its row; nothing is rounded."""
    good = GOOD.get(t)
    rows = pa.chunked_array([[good, None], [good, text, good, text]], pa.string())
    with pytest.raises(InputError) as caught:
        from_text(rows, t)
    assert caught.value.row == 3
    assert "(row 3)" in str(caught.value)
    with pytest.raises(CorruptTableError):
        from_text(rows, t, error=CorruptTableError)


@given(nested(st.sampled_from([pa.int8(), pa.string()])).filter(pa.types.is_nested))
def test_nested_values_have_no_text(t):
    """Nested types are refused, both ways."""
    with pytest.raises(UnsupportedTypeError, match="text"):
        to_text(pa.nulls(1, t))
    with pytest.raises(UnsupportedTypeError, match="text"):
        from_text(pa.array(["x"]), t)


# ---- JSON, messages, Python ------------------------------------------------------------------


def _read_json(found, t):
    """Values of a type out of JSON, by the rules that the specification states: what a reader has to do."""
    if pa.types.is_struct(t):
        inner = {
            field.name: _read_json([None if one is None else one[field.name] for one in found], field.type)
            for field in t
        }
        rows = [None if one is None else {} for one in found]
        for name, column in inner.items():
            for row, value in zip(rows, column, strict=True):
                if row is not None:
                    row[name] = value
        return rows
    if pa.types.is_map(t):
        keys = [_read_json([key for key, _ in one or ()], t.key_type) for one in found]
        items = [_read_json([item for _, item in one or ()], t.item_type) for one in found]
        return [None if f is None else list(zip(k, i, strict=True)) for f, k, i in zip(found, keys, items, strict=True)]
    if pa.types.is_nested(t):
        return [None if one is None else _read_json(one, t.value_type) for one in found]
    if pa.types.is_boolean(t) or pa.types.is_string(t) or pa.types.is_null(t):
        return found
    texts = pa.array([None if one is None else str(one) for one in found], pa.string())
    parsed = from_text(texts, t)
    return parsed.view(f"int{t.bit_width}").to_pylist() if pa.types.is_temporal(t) else parsed.to_pylist()


@given(st.data(), types)
def test_values_come_back_from_json(data, t):
    """JSON loses nothing of any value, however nested, whatever its year, unit or size."""
    rows = data.draw(st.lists(values(t), max_size=5))
    found = json.loads(json.dumps(to_json(data.draw(chunked(t, rows))), allow_nan=False))
    assert alike(_read_json(found, t), rows)


JSON = [
    (pa.array([datetime(1, 1, 1)], pa.timestamp("us", "Asia/Tokyo")), ["0001-01-01T00:00:00.000000Z"]),
    (pa.array([[3_662_645]], pa.list_(pa.date32())), [["+11997-12-25"]]),
    (pa.array([{"t": 1}], pa.struct([("t", pa.time64("ns"))])), [{"t": "00:00:00.000000001"}]),
    (pa.array([[(b"\xff", None)]], pa.map_(pa.binary(), pa.int8())), [[["/w==", None]]]),
    (pa.array([2**53 + 1, 2**64 - 1], pa.uint64()), [2**53 + 1, 2**64 - 1]),
    (pa.array([float("nan"), float("-inf"), 1.5, None]), ["NaN", "-Infinity", 1.5, None]),
    (pa.array(["a", None]).dictionary_encode(), ["a", None]),
    (pa.array([None, {"a": [None]}], pa.struct([("a", pa.list_(pa.decimal128(3, 1)))])), [None, {"a": [None]}]),
]


@pytest.mark.parametrize(("a", "expected"), JSON, ids=[str(a.type) for a, _ in JSON])
def test_json_of_value(a, expected):
    """Numbers are numbers, whatever their size; what JSON does not have is its text."""
    assert to_json(a) == expected
    assert to_json(pa.chunked_array([a, a.slice(0, 0), a])) == expected * 2


SHOWN = [
    (pa.scalar("x" * 10_000), "'" + "x" * 99 + "…"),
    (pa.scalar(None, pa.int8()), "null"),
    (pa.scalar([1, None]), "[1, null]"),
    (pa.scalar({"a": [b"\xff"]}), r"{a: [b'\xff']}"),
    (pa.scalar([("k", 1)], pa.map_(pa.string(), pa.int8())), "[{key: 'k', value: 1}]"),
    (pa.scalar(b"\xff"), r"b'\xff'"),
    (pa.scalar(Decimal("1.50")), "1.50"),
    (pa.scalar(date(2024, 2, 3)), "2024-02-03"),
    (pa.scalar(2**62, pa.timestamp("s")), "+146138514283-06-19T07:45:04"),
    (pa.array([86_400], pa.int32()).view(pa.time32("s")), "<value out of range: 86400>"),
    (pa.array([b"a\xff"]).view(pa.string()), r"'a\\xff'"),
    (pa.array([1, 2])[1:].dictionary_encode(), "2"),
    (pa.array([list(range(1000))]), "[" + ", ".join(map(str, range(20))) + "]"),
]


@pytest.mark.parametrize(("one", "expected"), SHOWN, ids=[str(one.type) for one, _ in SHOWN])
def test_value_in_a_message(one, expected):
    """A message can show any value, however long, far or broken."""
    assert shown(one) == expected


def test_python_values():
    """What Python's types hold is theirs; what they cannot hold is text, never another value."""
    for one, expected in [
        (pa.array([5]), 5),
        (pa.array([date(2024, 2, 3)]), date(2024, 2, 3)),
        (pa.array([2**31 - 1], pa.int32()).view(pa.date32()), "+5881580-07-11"),
        (pa.array([2**60], pa.timestamp("us", "UTC")), "+38504-08-17T21:30:06.846976Z"),
        (pa.array([None], pa.int8()), None),
    ]:
        assert to_python(one) == expected
