"""Times of the log, and points in time as callers say them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.core import times
from txfiles.errors import CorruptTableError, OptionError

YEAR_1 = -62_135_596_800_000_000
YEAR_10000 = 253_402_300_800_000_000


@given(st.integers(YEAR_1, YEAR_10000 - 1))
def test_a_time_comes_back_from_its_text(microseconds: int) -> None:
    """Every microsecond has one text, in one form and one length, and comes back from it."""
    text = times.format_us(microseconds)
    assert re.search(times.PATTERN, text)
    assert len(text) == 27
    assert times.parse_us(text) == microseconds
    assert times.moment(microseconds).tzinfo is UTC


@given(st.lists(st.integers(YEAR_1, YEAR_10000 - 1), min_size=2, max_size=2))
def test_texts_sort_as_their_times(pair: list[int]) -> None:
    """The order of the texts is the order of the times."""
    one, other = pair
    assert (times.format_us(one) < times.format_us(other)) == (one < other)


def test_known_times() -> None:
    """1970 is 0, and a microsecond is one."""
    assert times.format_us(0) == "1970-01-01T00:00:00.000000Z"
    assert times.format_us(-1) == "1969-12-31T23:59:59.999999Z"
    assert times.parse_us("2026-11-24T03:44:00.000001Z") == 1_795_491_840_000_001


@pytest.mark.parametrize(
    "text", ["2026-02-30T00:00:00.000000Z", "0000-01-01T00:00:00.000000Z", "2026-01-01T25:00:00.000000Z"]
)
def test_a_day_that_does_not_exist_is_damage(text: str) -> None:
    """A time that fits the pattern and is none is refused."""
    assert re.search(times.PATTERN, text)
    with pytest.raises(CorruptTableError, match="not a valid time in the log"):
        times.parse_us(text)


@pytest.mark.parametrize(
    "point",
    [
        "2026-11-01T00:00:00Z",
        "2026-11-01 00:00Z",
        "2026-11-01T01:00:00+01:00",
        "2026-10-31T19:00:00.000-05:00",
        datetime(2026, 11, 1, tzinfo=UTC),
        datetime(2026, 11, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    ],
)
def test_a_point_in_time_is_the_same_in_any_zone(point: str | datetime) -> None:
    """However it is written, the instant counts."""
    assert times.point_us(point) == times.parse_us("2026-11-01T00:00:00.000000Z")


@pytest.mark.parametrize("point", ["2026-11-01", "2026-11-01T00:00:00", datetime(2026, 11, 1)])
def test_a_point_without_a_zone_is_refused(point: str | datetime) -> None:
    """It could mean any hour of a day; the hint says what to add."""
    with pytest.raises(OptionError, match="no zone") as caught:
        times.point_us(point)
    assert "Z" in str(caught.value.hint)


@pytest.mark.parametrize("point", ["", "yesterday", "2026-13-01T00:00:00Z", 17, None, date(2026, 11, 1)])
def test_what_is_no_time_is_refused(point: Any) -> None:
    """Anything but an ISO 8601 text or a datetime is an error with an example."""
    with pytest.raises(OptionError, match="is not a time") as caught:
        times.point_us(point)
    assert "2026-11-01T00:00:00Z" in str(caught.value.hint)
