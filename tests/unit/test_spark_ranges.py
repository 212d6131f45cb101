"""How often ranges of keys search files: the bound that decides how large ranges are. No Spark is needed."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from txfiles.spark.staged import Part, searches

CODES = st.binary(min_size=1, max_size=2).map(lambda code: code.replace(b"\0", b"\1"))


@given(
    st.lists(CODES, unique=True, max_size=5).map(sorted),
    st.lists(st.tuples(st.none() | CODES, st.none() | CODES), max_size=6),
)
def test_searches_are_the_pairs_of_a_range_and_a_file_that_meet(cuts: list[bytes], bounds: list[tuple]) -> None:
    """One for each file whose keys may lie in a range; a bound that is not known excludes nothing."""
    lows = [b"", *cuts]
    highs = [*cuts, None]
    parts = [Part(low, high, ()) for low, high in zip(lows, highs, strict=True)]
    bounds = [(low, high) if low is None or high is None else (min(low, high), max(low, high)) for low, high in bounds]
    files = pa.table(
        {
            "key_min": pa.array([low for low, _ in bounds], pa.binary()),
            "key_max": pa.array([high for _, high in bounds], pa.binary()),
        }
    )
    wanted = sum(
        (part.high is None or least is None or least < part.high) and (greatest is None or greatest >= part.low)
        for part in parts
        for least, greatest in bounds
    )
    assert searches(parts, files) == wanted
    assert searches([], files) == 0
