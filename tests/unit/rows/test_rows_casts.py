"""Casts keep every value or name the first that they would change; widening holds both types."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows_types_help import DECIMALS, FLOATS, INTEGERS, TIMESTAMPS, UNITS, chunked, nested, types, values

from txfiles.errors import LossyCastError, SchemaMismatchError, UnsupportedTypeError
from txfiles.rows.casts import cast_lossless, check_castable, fill_null_types, widen
from txfiles.rows.equality import same
from txfiles.rows.types import normalise

LOST = object()
SHOWN = 100
"""Characters of a type that a message shows."""
NUMBERS = [*INTEGERS, *FLOATS, *DECIMALS]
TICKS = [*TIMESTAMPS, *[pa.duration(unit) for unit in UNITS]]
TICKS += [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"), pa.date32(), pa.date64()]
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


# ---- the oracle: one value at a time, in exact arithmetic --------------------------------------


def survivor(value: Any, to: pa.DataType) -> Any:
    """The value as `pa.array` takes it for the type, or LOST."""
    if value is None:
        return None
    if pa.types.is_floating(to):
        with np.errstate(over="ignore"):
            rounded = to.to_pandas_dtype()(float(value))
        if isinstance(value, float | np.floating):
            return rounded if math.isnan(value) or float(rounded) == float(value) else LOST
        return rounded if math.isfinite(rounded) and Fraction(float(rounded)) == Fraction(value) else LOST
    if isinstance(value, float | np.floating) and (not math.isfinite(value) or (value == 0 and np.signbit(value))):
        return LOST
    exact = Fraction(value) if not isinstance(value, np.floating) else Fraction(float(value))
    if pa.types.is_decimal(to):
        unscaled = exact * 10**to.scale
        if unscaled.denominator != 1 or abs(unscaled) >= 10**to.precision:
            return LOST
        return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled.numerator)))), -to.scale))
    limits = np.iinfo(to.to_pandas_dtype())
    return exact.numerator if exact.denominator == 1 and limits.min <= exact <= limits.max else LOST


def tick_seconds(t: pa.DataType) -> Fraction:
    if pa.types.is_date(t):
        return Fraction(86_400) if pa.types.is_date32(t) else Fraction(1, 1000)
    return Fraction(1, PER_SECOND[t.unit])


def surviving_ticks(value: int | None, given_type: pa.DataType, to: pa.DataType) -> Any:
    if value is None:
        return None
    count = value * tick_seconds(given_type) / tick_seconds(to)
    whole_day = not pa.types.is_date64(to) or count % 86_400_000 == 0
    bits = 32 if pa.types.is_date32(to) or pa.types.is_time32(to) else 64
    fits = -(2 ** (bits - 1)) <= count < 2 ** (bits - 1)
    return int(count) if count.denominator == 1 and fits and whole_day else LOST


def judge(column: pa.ChunkedArray, to: pa.DataType, expected: list[Any]) -> None:
    """The cast gives just the expected values, or names the first that is lost."""
    lost = [row for row, value in enumerate(expected) if value is LOST]
    if lost:
        with pytest.raises(LossyCastError) as caught:
            cast_lossless(column, to, name="amount")
        assert caught.value.row == lost[0]
        assert f"row {lost[0]} " in str(caught.value)
        for word in ("'amount'", str(column.type), str(to)):
            assert word[:SHOWN] in str(caught.value)
    else:
        result = cast_lossless(column, to, name="amount")
        assert result.type == to
        result.validate(full=True)
        assert same(result, pa.array(expected, to)).all()


def mixing_numbers() -> list[tuple[pa.DataType, pa.DataType]]:
    is_ = pa.types
    return [
        (a, b)
        for a in NUMBERS
        for b in NUMBERS
        if not (is_.is_floating(a) and is_.is_decimal(b)) and not (is_.is_decimal(a) and is_.is_floating(b))
    ]


def mixing_ticks() -> list[tuple[pa.DataType, pa.DataType]]:
    def kind(t: pa.DataType) -> tuple[str, bool]:
        name = str(t).split("[")[0].rstrip("3264")
        return name, pa.types.is_timestamp(t) and t.tz is not None

    return [(a, b) for a in TICKS for b in TICKS if kind(a) == kind(b)]


@given(st.data())
def test_numbers(data):
    """Integers, floats and decimals cast where each value stays exactly what it is."""
    t, to = data.draw(st.sampled_from(mixing_numbers()))
    likely = values(t)
    if data.draw(st.booleans()):  # what came out of the other type has a chance to go back
        likely = values(to).map(lambda value: survivor(value, t)).filter(lambda value: value is not LOST)
    rows = data.draw(st.lists(likely, max_size=6))
    judge(data.draw(chunked(t, rows)), to, [survivor(row, to) for row in rows])


@given(st.data())
def test_times(data):
    """Times of one kind cast between units where each is exact; zones move no instant."""
    t, to = data.draw(st.sampled_from(mixing_ticks()))
    likely = values(t)
    if pa.types.is_date64(t):
        likely |= st.integers(-(10**12), 10**12)
    elif not pa.types.is_time(t):  # multiples of the other unit
        factor = max(1, int(tick_seconds(to) / tick_seconds(t)))
        likely |= st.integers(-1000, 1000).map(lambda n: n * factor)
    rows = data.draw(st.lists(likely, max_size=6))
    storage = pa.int32() if pa.types.is_date32(t) or pa.types.is_time32(t) else pa.int64()
    counts = data.draw(chunked(storage, rows))
    column = pa.chunked_array([chunk.view(t) for chunk in counts.chunks], t)
    expected = [surviving_ticks(row, t, to) for row in rows]
    if t == to and not pa.types.is_date64(t):
        expected = rows
    judge_ticks(column, to, expected)


def judge_ticks(column: pa.ChunkedArray, to: pa.DataType, expected: list[Any]) -> None:
    if LOST in expected:
        judge(column, to, expected)
        return
    storage = pa.int32() if pa.types.is_date32(to) or pa.types.is_time32(to) else pa.int64()
    result = cast_lossless(column, to, name="amount")
    assert result.type == to
    assert same(result, pa.array(expected, storage).view(to)).all()


def swapped(t: pa.DataType, leaf: pa.DataType) -> pa.DataType:
    """The nested type with other leaves, and the fields of structs turned round."""
    is_ = pa.types
    if is_.is_struct(t):
        return pa.struct([pa.field(f.name, swapped(f.type, leaf)) for f in reversed(list(t))])
    if is_.is_map(t):
        return pa.map_(swapped(t.key_type, leaf), swapped(t.item_type, leaf))
    if is_.is_fixed_size_list(t):
        return pa.list_(swapped(t.value_type, leaf), t.list_size)
    return pa.list_(swapped(t.value_type, leaf)) if is_.is_list(t) else leaf


def leaves(value: Any) -> list[int]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    if isinstance(value, list | tuple):
        return [leaf for inner in value for leaf in leaves(inner)]
    return [] if value is None else [value]


@given(st.data())
def test_nested(data):
    """A nested value survives where all its parts do, struct fields matched by name."""
    t = data.draw(nested(st.just(pa.int16())).filter(pa.types.is_nested))
    to = swapped(t, pa.int8())
    rows = data.draw(st.lists(values(t), max_size=5))
    if data.draw(st.booleans()):
        rows = [row for row in rows if all(-128 <= leaf < 128 for leaf in leaves(row))]
    expected = [row if all(-128 <= leaf < 128 for leaf in leaves(row)) else LOST for row in rows]
    judge(data.draw(chunked(t, rows)), to, expected)


@given(st.data())
def test_own_type(data):
    """A column cast to its own type is the same column."""
    t = data.draw(types)
    rows = data.draw(st.lists(values(t), max_size=5))
    column = data.draw(chunked(t, rows))
    result = cast_lossless(column, t, name="c")
    assert result.type.equals(t, check_metadata=True)
    assert same(result, column).all()


def test_field_metadata_and_names_do_not_leak():
    """The result has exactly the type asked for: no metadata of the source, no other names inside lists."""
    inner = pa.field("element", pa.int8(), nullable=False, metadata={"PARQUET:field_id": "9"})
    column = pa.chunked_array([pa.array([[1], [2]], pa.list_(inner))])
    result = cast_lossless(column, pa.list_(pa.int8()), name="c")
    assert result.type.equals(pa.list_(pa.int8()), check_metadata=True)
    assert result.to_pylist() == [[1], [2]]


def test_what_hides_under_nulls_is_not_judged():
    """A value behind a null, of a struct or a list, is neither cast nor complained about."""
    mask = pa.array([True, False])
    hidden = pa.StructArray.from_arrays([pa.array([300, 1])], ["x"], mask=mask)
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array([300, 1]), mask=mask)
    deeper = pa.StructArray.from_arrays(
        [pa.MapArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array([300, 1]), pa.array([1, 1]))],
        ["m"],
        mask=mask,
    )
    small = pa.int8()
    for a, to, value in [
        (hidden, pa.struct([("x", small)]), {"x": 1}),
        (lists, pa.list_(small), [1]),
        (deeper, pa.struct([("m", pa.map_(small, small))]), {"m": [(1, 1)]}),
    ]:
        assert cast_lossless(pa.chunked_array([a]), to, name="c").to_pylist() == [None, value]


DICTIONARY = pa.array(["a", None, "b"]).dictionary_encode()
RUNS = pa.RunEndEncodedArray.from_arrays(pa.array([1, 3], pa.int32()), pa.array([1, 2]))


@pytest.mark.parametrize(
    ("a", "to", "expected"),
    [
        (DICTIONARY, pa.string(), ["a", None, "b"]),
        (pa.array([1, 2]).dictionary_encode(), pa.int8(), [1, 2]),
        (RUNS, pa.uint8(), [1, 2, 2]),
        (pa.array(["a"], pa.string_view()), pa.large_string(), ["a"]),
        (pa.array([b"ab"], pa.large_binary()), pa.binary(2), [b"ab"]),
        (pa.array([b"ab"], pa.binary(2)), pa.binary(), [b"ab"]),
        (pa.array([[1], None], pa.list_view(pa.int64())), pa.list_(pa.int8()), [[1], None]),
        (pa.ListArray.from_arrays([0, 2, 3], DICTIONARY), pa.list_(pa.string()), [["a", None], ["b"]]),
        (pa.ListArray.from_arrays([0, 1, 3], RUNS), pa.list_(pa.int32()), [[1], [2, 2]]),
        (
            pa.StructArray.from_arrays([DICTIONARY], ["s"]),
            pa.struct([("s", pa.string())]),
            [{"s": "a"}, {"s": None}, {"s": "b"}],
        ),
        (pa.nulls(2), pa.struct([("x", pa.int8())]), [None, None]),
        (pa.array([[], [None]], pa.list_(pa.null())), pa.list_(pa.timestamp("us")), [[], [None]]),
        (pa.array([None, [1, 2]], pa.list_(pa.int64(), 2)), pa.list_(pa.int8(), 2), [None, [1, 2]]),
    ],
    ids=str,
)
def test_encodings(a, to, expected):
    """Encodings are dropped on the way, at any level; null becomes anything."""
    result = cast_lossless(pa.chunked_array([a]), to, name="c")
    result.validate(full=True)
    assert result.type == normalise(to)
    assert result.to_pylist() == expected


UTC, BERLIN = pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Berlin")
STRUCT = pa.struct([("x", pa.int8())])
NEVER = [
    *[(pa.string(), t) for t in (pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.binary(), pa.decimal128(5, 2))],
    *[(pa.int64(), t) for t in (pa.string(), pa.bool_(), pa.timestamp("us"), pa.date32(), pa.duration("s"), pa.null())],
    *[(pa.bool_(), pa.int8()), (pa.float64(), pa.decimal128(5, 2)), (pa.decimal128(5, 2), pa.float64())],
    *[(pa.date32(), pa.timestamp("us")), (pa.timestamp("us"), pa.date32()), (pa.timestamp("us"), UTC)],
    *[
        (UTC, pa.timestamp("us")),
        (pa.binary(), pa.string()),
        (pa.binary(2), pa.binary(3)),
        (pa.time32("s"), pa.duration("s")),
    ],
    *[(pa.list_(pa.int8()), pa.int8()), (pa.int8(), pa.list_(pa.int8())), (pa.list_(pa.int8()), pa.list_(pa.string()))],
    *[(pa.list_(pa.int8()), pa.list_(pa.int8(), 2)), (pa.list_(pa.int8(), 2), pa.list_(pa.int8(), 3))],
    *[(STRUCT, pa.struct([("y", pa.int8())])), (pa.struct([("x", pa.int8()), ("y", pa.int8())]), STRUCT)],
    *[(STRUCT, pa.struct([("x", pa.string())])), (pa.map_(pa.string(), pa.int8()), pa.map_(pa.int8(), pa.int8()))],
    *[(pa.map_(pa.string(), pa.int8()), pa.list_(pa.int8())), (pa.uuid(), pa.binary(16))],
]


@pytest.mark.parametrize(("t", "to"), NEVER, ids=str)
def test_types_that_never_mix(t, to):
    """Types that never mix are refused by name and with a way out, also where there is no row to judge."""
    with pytest.raises(SchemaMismatchError) as caught:
        cast_lossless(pa.chunked_array([], t), to, name="amount")
    assert not isinstance(caught.value, LossyCastError)
    assert "'amount'" in str(caught.value)
    assert str(t)[:60] in str(caught.value)
    assert str(to)[:60] in str(caught.value)
    assert caught.value.hint


def test_check_castable_lets_through_what_may_mix():
    """What values decide is not refused by type."""
    for t, to in [*mixing_numbers(), *mixing_ticks(), (pa.null(), STRUCT), (pa.large_string(), pa.string())]:
        check_castable(t, to, name="c")


LOSSY = [
    (pa.int64(), [1, 2**53 + 1], pa.float64(), "9007199254740993"),
    (pa.int64(), [1, 2**63 - 1], pa.float64(), "9223372036854775807"),
    (pa.uint64(), [1, 2**63], pa.int64(), "9223372036854775808"),
    (pa.int64(), [1, -1], pa.uint64(), "-1"),
    (pa.float64(), [0.5, 0.1], pa.float32(), "0.1"),
    (pa.float64(), [1.0, -0.0], pa.int64(), "-0"),
    (pa.float64(), [1.0, 2.0**63], pa.int64(), "9.223372036854776e+18"),
    (pa.float64(), [1.0, float("nan")], pa.int8(), "nan"),
    (pa.decimal128(5, 2), [Decimal("1.00"), Decimal("1.55")], pa.decimal128(5, 1), "1.55"),
    (pa.decimal128(5, 2), [Decimal("99.99"), Decimal("100.00")], pa.decimal128(4, 2), "100.00"),
    (pa.decimal128(5, 2), [Decimal("-99.99"), Decimal("-100.00")], pa.decimal128(4, 2), "-100.00"),
    (pa.decimal128(5, 2), [Decimal("127.00"), Decimal("128.00")], pa.int8(), "128.00"),
    (pa.decimal128(5, 2), [Decimal("-128.00"), Decimal("-129.00")], pa.int8(), "-129.00"),
    (pa.decimal128(5, 2), [Decimal("0.00"), Decimal("-1.00")], pa.uint64(), "-1.00"),
    (pa.decimal256(60, 0), [Decimal(2**64 - 1), Decimal(2**64)], pa.uint64(), "18446744073709551616"),
    (pa.int64(), [999, 1000], pa.decimal128(5, 2), "1000"),
    (pa.binary(), [b"ab", b"abc"], pa.binary(2), "b'abc'"),
    (pa.timestamp("us"), [0, 1], pa.timestamp("s"), "1970-01-01T00:00:00.000001"),
    (pa.timestamp("s"), [0, 2**60], pa.timestamp("ns"), "+36534630048-05-13T13:56:16"),
    (pa.date64(), [0, 86_400_001], pa.date64(), "1970-01-02T00:00:00.001"),
    (STRUCT, [{"x": 1}, {"x": -1}], pa.struct([("x", pa.uint8())]), "{x: -1}"),
    (pa.list_(pa.int16()), [[1], [None, 300]], pa.list_(pa.int8()), "[null, 300]"),
    (pa.map_(pa.int16(), pa.int8()), [[(1, 1)], [(300, 1)]], pa.map_(pa.int8(), pa.int8()), "[{key: 300, value: 1}]"),
]


@pytest.mark.parametrize(("t", "rows", "to", "shown"), LOSSY, ids=str)
def test_lossy_message(t, rows, to, shown):
    """The error shows the first bad value and its row in the whole column, and leaves good rows alone."""
    good, bad = rows
    storage = pa.array([good, bad], pa.int64()).view(t) if pa.types.is_temporal(t) else pa.array([good, bad], t)
    column = pa.chunked_array([storage.slice(0, 1), storage, storage.slice(1)])
    with pytest.raises(LossyCastError) as caught:
        cast_lossless(column, to, name="amount")
    assert caught.value.row == 2
    assert caught.value.column == "amount"
    assert shown in caught.value.value
    assert "row 2 holds" in str(caught.value)


def test_long_values_stay_short_in_messages():
    """However long the value, the message is short."""
    for a in (pa.array([b"x" * 10**6]), pa.array([[b"x" * 10**6] * 50]), pa.array([{"a": b"y" * 10**6}])):
        leaf = {pa.binary(): pa.binary(3), pa.list_(pa.binary()): pa.list_(pa.binary(3))}
        to = leaf.get(a.type) or pa.struct([("a", pa.binary(3))])
        with pytest.raises(LossyCastError) as caught:
            cast_lossless(pa.chunked_array([a]), to, name="c")
        assert len(str(caught.value)) < 500


def huge(items: int) -> pa.Array:
    """Large text, 1 GiB a value; the pages of its bytes are never touched."""
    data = pa.py_buffer(np.zeros(items * 2**30, np.uint8))
    bounds = pa.py_buffer(np.arange(items + 1, dtype=np.int64) * 2**30)
    return pa.Array.from_buffers(pa.large_string(), items, [None, bounds, data])


def test_more_text_than_one_array_holds():
    """A column of more than 2 GiB of text comes in several chunks, uncopied, each valid by itself."""
    result = cast_lossless(pa.chunked_array([huge(3)]), pa.string(), name="c")
    assert [len(chunk) for chunk in result.chunks] == [1, 1, 1]
    assert all(np.frombuffer(chunk.buffers()[1], np.int32).tolist() == [0, 2**30] for chunk in result.chunks)


def test_more_items_than_one_array_holds():
    """Lists of more than 2**31 items in all are split between rows too."""
    bounds = pa.array([0, 2**30, 2**31, 2**31 + 5], pa.int64())
    a = pa.LargeListArray.from_arrays(bounds, pa.nulls(2**31 + 5))
    result = cast_lossless(pa.chunked_array([a]), pa.list_(pa.null()), name="c")
    assert [length for chunk in result.chunks for length in np.diff(chunk.offsets)] == [2**30, 2**30, 5]


def test_one_value_too_large():
    """A single value of more than 2 GiB is refused, with its column's name."""
    bounds = pa.py_buffer(np.array([0, 3 * 2**30]))
    a = pa.Array.from_buffers(pa.large_string(), 1, [None, bounds, huge(3).buffers()[2]])
    with pytest.raises(UnsupportedTypeError, match="'c'"):
        cast_lossless(pa.chunked_array([a]), pa.string(), name="c")


# ---- widening --------------------------------------------------------------------------------

WIDER = [
    (pa.int8(), pa.int64(), pa.int64()),
    (pa.int64(), pa.int8(), pa.int64()),
    (pa.uint8(), pa.int8(), pa.int16()),
    (pa.int32(), pa.uint32(), pa.int64()),
    (pa.int64(), pa.uint32(), pa.int64()),
    (pa.uint8(), pa.uint16(), pa.uint16()),
    (pa.int64(), pa.uint64(), None),
    (pa.uint64(), pa.int8(), None),
    (pa.float32(), pa.float64(), pa.float64()),
    (pa.float64(), pa.float32(), pa.float64()),
    (pa.float16(), pa.float32(), pa.float32()),
    (pa.int32(), pa.float32(), pa.float64()),
    (pa.uint32(), pa.float64(), pa.float64()),
    (pa.float32(), pa.int32(), pa.float64()),
    (pa.float32(), pa.int16(), pa.float32()),
    (pa.float32(), pa.uint16(), pa.float32()),
    (pa.float16(), pa.int8(), pa.float16()),
    (pa.float16(), pa.uint8(), pa.float16()),
    (pa.float16(), pa.int16(), pa.float64()),
    (pa.float64(), pa.uint32(), pa.float64()),
    (pa.int64(), pa.float64(), None),
    (pa.float64(), pa.int64(), None),
    (pa.decimal128(10, 2), pa.decimal128(12, 4), pa.decimal128(12, 4)),
    (pa.decimal128(10, 2), pa.decimal128(10, 4), pa.decimal128(12, 4)),
    (pa.decimal128(10, 2), pa.decimal128(5, 1), pa.decimal128(10, 2)),
    (pa.decimal128(36, 0), pa.decimal128(10, 2), pa.decimal128(38, 2)),
    (pa.decimal128(38, 0), pa.decimal128(38, 38), None),
    (pa.decimal128(38, 0), pa.decimal128(38, 1), None),
    (pa.decimal256(40, 2), pa.decimal128(10, 4), pa.decimal256(42, 4)),
    (pa.decimal256(40, 2), pa.decimal128(10, 2), pa.decimal256(40, 2)),
    (pa.decimal128(10, 2), pa.int16(), pa.decimal128(10, 2)),
    (pa.decimal128(3, 0), pa.uint8(), pa.decimal128(3, 0)),
    (pa.decimal128(10, 2), pa.int32(), None),
    (pa.int32(), pa.decimal128(10, 2), None),
    (pa.null(), pa.large_string(), pa.string()),
    (pa.string(), pa.null(), pa.string()),
    (pa.string(), pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
    (pa.timestamp("s", "UTC"), pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("s", "UTC")),
    (pa.timestamp("us"), UTC, None),
    (pa.date64(), pa.date32(), pa.date64()),
    (pa.date32(), pa.date64(), None),
    (pa.time64("us"), pa.time32("s"), pa.time64("us")),
    (pa.time32("s"), pa.time64("us"), None),
    (pa.duration("us"), pa.duration("s"), None),
    (pa.binary(), pa.binary(4), pa.binary()),
    (pa.binary(4), pa.binary(), None),
    (pa.string(), pa.int8(), None),
    (pa.bool_(), pa.int8(), None),
    (pa.list_(pa.int8()), pa.list_(pa.int16()), pa.list_(pa.int16())),
    (pa.list_(pa.null()), pa.large_list(pa.int16()), pa.list_(pa.int16())),
    (pa.list_(pa.int8(), 2), pa.list_(pa.int16(), 2), pa.list_(pa.int16(), 2)),
    (pa.list_(pa.int8(), 2), pa.list_(pa.int16(), 3), None),
    (pa.map_(pa.int8(), pa.null()), pa.map_(pa.int16(), pa.int8()), pa.map_(pa.int16(), pa.int8())),
    (
        pa.struct([("a", pa.int8()), ("b", pa.int64())]),
        pa.struct([("b", pa.uint64()), ("a", pa.int16())]),
        pa.struct([("a", pa.int16()), ("b", pa.int64())]),
    ),
    (
        pa.struct([("a", pa.int8())]),
        pa.struct([("b", pa.int8())]),
        pa.struct([("a", pa.int8()), ("b", pa.int8())]),
    ),
    (pa.list_(pa.int8()), pa.int8(), None),
    (pa.int8(), pa.list_(pa.int8()), None),
]


@pytest.mark.parametrize(("table", "batch", "expected"), WIDER, ids=str)
def test_widen(table, batch, expected):
    """The wider type of two follows from the types alone."""
    assert widen(table, batch) == expected


@given(st.data())
def test_wider_type_holds_both(data):
    """Where numbers widen, every value of both types casts without loss, and a second widening adds nothing."""
    table, batch = data.draw(st.sampled_from(mixing_numbers()))
    wide = widen(table, batch)
    if wide is None:
        return
    assert widen(wide, batch) == wide
    for t in (table, batch):
        rows = data.draw(st.lists(values(t), max_size=4))
        judge(pa.chunked_array([pa.array(rows, t)]), wide, [survivor(row, wide) for row in rows])
        assert LOST not in [survivor(row, wide) for row in rows]


@pytest.mark.parametrize(
    ("table", "batch", "expected"),
    [
        (pa.null(), pa.large_list(pa.string()), pa.list_(pa.string())),
        (pa.int8(), pa.int64(), pa.int8()),
        (pa.list_(pa.null()), pa.list_(pa.int64()), pa.list_(pa.int64())),
        (pa.list_(pa.int8()), pa.list_(pa.int64()), pa.list_(pa.int8())),
        (pa.list_(pa.null()), pa.string(), pa.list_(pa.null())),
        (pa.list_(pa.int8()), pa.null(), pa.list_(pa.int8())),
        (
            pa.struct([("a", pa.null()), ("b", pa.int8())]),
            pa.struct([("b", pa.int64()), ("a", pa.bool_())]),
            pa.struct([("a", pa.bool_()), ("b", pa.int8())]),
        ),
    ],
    ids=str,
)
def test_fill_null_types(table, batch, expected):
    """Only what is of type null takes the batch's type, at any level."""
    assert fill_null_types(table, batch) == expected
