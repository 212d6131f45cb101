"""What a file holds in each column: nulls, and bounds of the values, as its `add` states them.

Source: specs/3-manifest.md, "Statistics".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import ColumnStats
from txfiles.rows import types
from txfiles.rows.keys import CUT_BYTES, cut_outward

_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True)
class _Seen:
    """What is known of a column so far.

    Attributes:
        nulls: how many.
        bounds: one-element arrays of the least and greatest value; None before there is a value.
        has_nan: floats only; NaN lies between no bounds, so there are none.
    """

    nulls: int = 0
    bounds: tuple[pa.Array, pa.Array] | None = None
    has_nan: bool = False


class StatsCollector:
    """Collects the statistics of a file while its rows stream by. Memory: two values a column."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def add(self, batch: pa.Table) -> None:
        """Take rows in; every batch has the same columns. Cost: one pass over the values, 1 to 15 ns each."""
        for name, column in zip(batch.column_names, batch.columns, strict=True):
            self._seen[name] = _with(self._seen.get(name, _Seen()), column)

    def result(self) -> dict[str, ColumnStats]:
        """The statistics of all rows taken in, by column name."""
        return {name: _stats(seen) for name, seen in self._seen.items()}


def column_stats(table: pa.Table) -> dict[str, ColumnStats]:
    """The statistics of each column.

    Bounds stand in the text form of `types.to_text`. Text and binary bounds over 64 bytes are cut outward.
    There are none (the column may hold anything) for nested columns, floats with a NaN, values without an
    exact text form, binary of a fixed size over 64 bytes, and where there are no values.
    """
    collector = StatsCollector()
    collector.add(table)
    return collector.result()


def _with(seen: _Seen, column: pa.ChunkedArray) -> _Seen:
    t = types.normalise(column.type)
    if not types.is_orderable(t):
        return _Seen(seen.nulls + column.null_count)
    values = pa.chunked_array([types.decode(chunk) for chunk in column.chunks], t)
    has_nan = seen.has_nan or (pa.types.is_floating(t) and bool(pc.any(pc.is_nan(values)).as_py()))
    known = [] if seen.bounds is None else list(seen.bounds)
    bounds = None if has_nan else _extremes(pa.chunked_array([*known, *values.chunks], t))
    return _Seen(seen.nulls + values.null_count, bounds, has_nan)


def _extremes(values: pa.ChunkedArray) -> tuple[pa.Array, pa.Array] | None:
    """The least and greatest value; None where there is none."""
    t = values.type
    # Arrow has no order for these two; those of the stand-ins are the same.
    if pa.types.is_duration(t):
        ordered: Any = pa.chunked_array([chunk.view(pa.int64()) for chunk in values.chunks], pa.int64())
    else:
        ordered = values.cast(pa.float32()) if pa.types.is_float16(t) else values
    found = pc.min_max(ordered)
    if not found["min"].is_valid:
        return None
    low, high = (pa.repeat(found[side], 1).cast(t) for side in ("min", "max"))
    return low, high


def _stats(seen: _Seen) -> ColumnStats:
    if seen.bounds is None:
        return ColumnStats(nulls=seen.nulls)
    low, high, exact = _cut(*seen.bounds)
    return ColumnStats(nulls=seen.nulls, min=low, max=high, exact=exact and (low is None) == (high is None))


def _cut(low: pa.Array, high: pa.Array) -> tuple[str | None, str | None, bool]:
    """The bounds' text forms, cut outward where they are long, and whether both are as they were."""
    if pa.types.is_string(low.type):
        try:
            return cut_text(low[0].as_py(), high[0].as_py())
        except UnicodeDecodeError:
            # Arrow does not check its text. Bytes that are none cannot stand in the log: unknown is sound.
            return None, None, True
    if pa.types.is_fixed_size_binary(low.type) and low.type.byte_width > CUT_BYTES:
        return None, None, True  # a cut value would be none of the type
    exact = True
    if pa.types.is_binary(low.type):
        least, greatest, exact = cut_outward(low[0].as_py(), high[0].as_py())
        low, high = pa.array([least], pa.binary()), pa.array([greatest], pa.binary())
    return types.to_text(low)[0].as_py(), types.to_text(high)[0].as_py(), exact


def cut_text(low: str, high: str, limit: int = CUT_BYTES) -> tuple[str, str | None, bool]:
    """Text bounds of at most `limit` bytes of UTF-8 that hold between them all that `low` and `high` do.

    They are cut between characters; the last character of the upper one that has a successor is replaced by it.

    Returns:
        The lower bound, the upper one (None is unbounded), and whether both are as they were.
    """
    low_cut, high_cut = _head(low, limit), _head(high, limit)
    if high_cut == high:
        return low_cut, high, low_cut == low
    while high_cut:
        following = ord(high_cut[-1]) + 1
        following = _SURROGATES.stop if following in _SURROGATES else following
        high_cut = high_cut[:-1]
        if following <= _LAST_CODE_POINT and len((high_cut + chr(following)).encode()) <= limit:
            return low_cut, high_cut + chr(following), False
    return low_cut, None, False


def _head(text: str, limit: int) -> str:
    """The longest beginning of a text that takes at most `limit` bytes."""
    # Four bytes are the most that a character takes, and the part of one at the end is what is ignored.
    return text[:limit].encode()[:limit].decode(errors="ignore")
