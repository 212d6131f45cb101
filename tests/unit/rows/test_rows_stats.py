"""Statistics of a file's columns (specs/3-manifest.md, "Statistics")."""

from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from txfiles.core.manifest import ColumnStats
from txfiles.rows import stats
from txfiles.rows.text import from_text

NAN = float("nan")
INF = float("inf")


def of(*values, t=None) -> ColumnStats:
    return stats.column_stats(pa.table({"c": pa.array(values, t)}))["c"]


CASES = [
    (pa.int8(), [3, None, -5], "-5", "3"),
    (pa.uint64(), [2**64 - 1, 0], "0", str(2**64 - 1)),
    (pa.float64(), [1.5, -0.25, None], "-0.25", "1.5"),
    (pa.float64(), [INF, -INF], "-inf", "inf"),
    (pa.float32(), [0.5, 2.5], "0.5", "2.5"),
    (pa.float16(), [np.float16(0.5), np.float16(2.5), None], "0.5", "2.5"),
    (pa.bool_(), [True, False], "false", "true"),
    (pa.string(), ["b", "", "é", None], "", "é"),
    (pa.large_string(), ["b", "a"], "a", "b"),
    (pa.string_view(), ["b", "a"], "a", "b"),
    (pa.dictionary(pa.int8(), pa.string()), ["b", "a"], "a", "b"),
    (pa.binary(), [b"\0", b"\xff"], "AA==", "/w=="),
    (pa.binary(2), [b"ab", b"cd"], "YWI=", "Y2Q="),
    (pa.date32(), [date(2013, 1, 1), date(1899, 12, 31)], "1899-12-31", "2013-01-01"),
    (pa.date64(), [date(2013, 1, 1), date(1899, 12, 31)], "1899-12-31", "2013-01-01"),
    (pa.time32("s"), [time(1, 2, 3), time(4, 5, 6)], "01:02:03", "04:05:06"),
    (pa.duration("s"), [timedelta(seconds=5), timedelta(seconds=-5), None], "-5", "5"),
    (pa.decimal128(5, 2), [Decimal("1.50"), Decimal("-2.00")], "-2.00", "1.50"),
    (pa.decimal256(50, 2), [Decimal("1.50"), Decimal("-2.00")], "-2.00", "1.50"),
]


@pytest.mark.parametrize(("t", "values", "low", "high"), CASES, ids=lambda v: str(v)[:30])
def test_bounds_of_each_type(t, values, low, high):
    """Each type's least and greatest value stand in their text form, and nulls are counted."""
    nulls = sum(v is None for v in values)
    assert of(*values, t=t) == ColumnStats(nulls=nulls, min=low, max=high)
    assert of(*values[::-1], t=t) == ColumnStats(nulls=nulls, min=low, max=high)


@pytest.mark.parametrize(
    "t", [pa.timestamp(u, z) for u in ("s", "ms", "us", "ns") for z in (None, "UTC", "Asia/Tokyo")]
)
def test_bounds_of_times_come_back(t):
    """Bounds of timestamps read back as the values that they were, in each unit and zone."""
    values = pa.array([-1, 5, None], pa.int64()).cast(pa.timestamp(t.unit)).cast(t)
    found = stats.column_stats(pa.table({"c": values}))["c"]
    back = from_text(pa.array([found.min, found.max]), t)
    assert back.view(pa.int64()).to_pylist() == [-1, 5]


@pytest.mark.parametrize(
    ("values", "t", "nulls"),
    [
        ([], pa.int64(), 0),
        ([None, None], pa.string(), 2),
        ([None], pa.null(), 1),
        ([[1], None], pa.list_(pa.int64()), 1),
        ([{"a": 1}, None, None], pa.struct([("a", pa.int64())]), 2),
        ([1.0, NAN, None], pa.float64(), 1),
        ([NAN], pa.float32(), 0),
        ([np.float16(1), np.float16("nan")], pa.float16(), 0),
        ([b"x" * 65], pa.binary(65), 0),
    ],
)
def test_where_there_are_no_bounds(values, t, nulls):
    """No values, NaN, nested columns and wide binary of a fixed size have no bounds: the column may hold anything."""
    assert of(*values, t=t) == ColumnStats(nulls=nulls)


def test_times_of_any_year_are_bounds():
    """A time beyond the years of four digits is a bound like any other."""
    far = pa.array([0, 253_402_300_800], pa.timestamp("s"))
    assert stats.column_stats(pa.table({"c": far}))["c"] == ColumnStats(
        nulls=0, min="1970-01-01T00:00:00", max="+10000-01-01T00:00:00"
    )


def test_text_that_is_no_unicode_has_no_bounds():
    """Arrow text that is not UTF-8 does not get into the log."""
    broken = pa.array([b"\xff", b"a"]).view(pa.string())
    assert stats.column_stats(pa.table({"c": broken}))["c"] == ColumnStats(nulls=0)


def test_nulls_of_a_dictionary_are_counted():
    """A null that stands in a dictionary is a null."""
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1]), pa.array(["x", None]))
    assert stats.column_stats(pa.table({"c": column}))["c"] == ColumnStats(nulls=2, min="x", max="x")


# ---- cutting

LONG = "x" * 70


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ("a", "b", ("a", "b", True)),
        ("x" * 64, "x" * 64, ("x" * 64, "x" * 64, True)),
        (LONG, LONG, ("x" * 64, "x" * 63 + "y", False)),
        ("a", LONG, ("a", "x" * 63 + "y", False)),
        (LONG, "y", ("x" * 64, "y", False)),
        ("é" * 33, "é" * 33, ("é" * 32, "é" * 31 + "ê", False)),
        ("x" + "é" * 33, "x" + "é" * 33, ("x" + "é" * 31, "x" + "é" * 30 + "ê", False)),
        ("\ud7ff" * 22, "\ud7ff" * 22, ("\ud7ff" * 21, "\ud7ff" * 20 + "\ue000", False)),
        ("a" + "\U0010ffff" * 16, "a" + "\U0010ffff" * 16, ("a" + "\U0010ffff" * 15, "b", False)),
        ("\U0010ffff" * 17, "\U0010ffff" * 17, ("\U0010ffff" * 16, None, False)),
        ("\x7f" * 65, "\x7f" * 65, ("\x7f" * 64, "\x7f" * 62 + "\x80", False)),
    ],
)
def test_long_text_is_cut_outward(low, high, expected):
    """Text over 64 bytes is cut between characters, and the last character of the upper bound raised."""
    assert stats.cut_text(low, high) == expected
    found = of(low, high)
    assert (found.min, found.max, found.exact) == expected


CHARACTERS = st.text(alphabet="ax\x7fé\u07ff\ud7ff\uffff\U0010ffff", max_size=8)


@given(CHARACTERS, CHARACTERS, st.integers(4, 12))
@example("\x7f\x7f\x7f\x7f\x7f", "\x7f\x7f\x7f\x7f\x7f", 4)
def test_cut_text_is_outward_and_short(a, b, limit):
    """Cut bounds hold the range, by code point, within the limit; exact says that nothing was cut."""
    low, high = min(a, b), max(a, b)
    cut_low, cut_high, exact = stats.cut_text(low, high, limit)
    assert cut_low <= low
    assert cut_high is None or cut_high >= high
    assert len(cut_low.encode()) <= limit
    assert cut_high is None or len(cut_high.encode()) <= limit
    assert exact == ((cut_low, cut_high) == (low, high))


@pytest.mark.parametrize(
    ("low", "high", "bounds", "exact"),
    [
        (b"a", b"b", (b"a", b"b"), True),
        (b"x" * 70, b"x" * 70, (b"x" * 64, b"x" * 63 + b"y"), False),
        (b"a" * 70, b"\xff" * 70, (b"a" * 64, None), False),
    ],
)
def test_long_binary_is_cut_outward(low, high, bounds, exact):
    """Binary over 64 bytes is cut to 64, and the last byte of the upper bound raised."""
    found = of(low, high)
    back = from_text(pa.array([found.min, found.max], pa.string()), pa.binary()).to_pylist()
    assert (tuple(back), found.exact) == (bounds, exact)


# ---- streaming

STREAMED = {
    pa.int64(): st.integers(-5, 5),
    pa.string(): st.text(max_size=3),
    pa.float64(): st.sampled_from([-1.0, 0.5, 2.0]),
    pa.float16(): st.sampled_from([np.float16(-1), np.float16(2)]),
    pa.duration("s"): st.timedeltas(timedelta(-5), timedelta(5)).map(
        lambda d: timedelta(seconds=int(d.total_seconds()))
    ),
    pa.list_(pa.int8()): st.just([1]),
}


@pytest.mark.parametrize("t", STREAMED, ids=str)
@given(data=st.data())
def test_a_stream_has_the_statistics_of_the_whole(t, data):
    """Adding rows batch by batch gives what all rows at once give, and these are what they say."""
    batches = data.draw(st.lists(st.lists(st.none() | STREAMED[t], max_size=4), max_size=4))
    collector = stats.StatsCollector()
    for batch in batches:
        collector.add(pa.table({"c": pa.array(batch, t)}))
    values = [value for batch in batches for value in batch]
    found = collector.result()
    if not batches:
        assert found == {}
        return
    assert found["c"] == of(*values, t=t)
    assert found["c"].nulls == sum(value is None for value in values)
    present = [value for value in values if value is not None]
    if present and not pa.types.is_list(t):
        bounds = from_text(pa.array([found["c"].min, found["c"].max]), t).to_pylist()
        assert bounds == [min(present), max(present)]


def test_nan_in_any_batch_leaves_no_bounds():
    """A NaN in one batch takes the bounds of all, whether it comes first or last."""
    for batches in ([[NAN], [1.0]], [[1.0], [NAN]], [[1.0], [NAN], [2.0]]):
        collector = stats.StatsCollector()
        for batch in batches:
            collector.add(pa.table({"c": batch}))
        assert collector.result() == {"c": ColumnStats(nulls=0)}
