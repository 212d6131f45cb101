"""What a file holds in each column: nulls, and bounds of the values, as its `add` states them.

Source: specs/3-manifest.md, "Statistics".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import ColumnStats
from txfiles.rows import types
from txfiles.rows.keys import CUT_BYTES, cut_outward
from txfiles.rows.text import to_text

_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True)
class _Seen:
    """What is known about a column so far.

    Attributes:
        nulls: how many.
        bounds: one-element arrays of the least and greatest value; None before there is a value.
        has_nan: floats only; no bounds can contain NaN, so there are none.
    """

    nulls: int = 0
    bounds: tuple[pa.Array, pa.Array] | None = None
    has_nan: bool = False


class StatsCollector:
    """Collects the statistics of a file while its rows stream by. Memory: two values per column."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def add(self, batch: pa.Table, bounded: AbstractSet[str] = frozenset()) -> None:
        """Take rows in; every batch has the same columns.

        Args:
            batch: the rows.
            bounded: columns of which only nulls are counted, since `know` will be told their bounds.
        Cost: one pass over the values, 1 to 15 ns each.
        """
        for name, column in zip(batch.column_names, batch.columns, strict=True):
            seen = self._seen.get(name, _Seen())
            self._seen[name] = _Seen(seen.nulls + column.null_count) if name in bounded else _with(seen, column)

    def take(self, column: str, nulls: int, bounds: tuple[pa.Scalar, pa.Scalar] | None) -> None:
        """Take in rows of which these are known: the nulls of a column, and its bounds; None: all are null."""
        seen = self._seen.get(column, _Seen())
        values = [pa.repeat(bound, 1) for bound in bounds or ()]
        known = pa.chunked_array([*(seen.bounds or ()), *values]) if values and not seen.has_nan else None
        self._seen[column] = _Seen(seen.nulls + nulls, seen.bounds if known is None else _extremes(known), seen.has_nan)

    def know(self, column: str, values: pa.Array | None) -> None:
        """Take in the least and the greatest value of a column, among any others; None: they are not known."""
        bounds = None if values is None else _extremes(pa.chunked_array([values]))
        self._seen[column] = _Seen(self._seen[column].nulls, bounds)

    def extremes(self, column: str) -> pa.Table:
        """The least and the greatest value of a column of which there are bounds, in full; no row if there is none."""
        bounds = self._seen[column].bounds
        return pa.table({column: pa.chunked_array(bounds if bounds is not None else [pa.nulls(0)])})

    def nulls(self, column: str) -> int:
        """How many nulls of a column there were."""
        return self._seen.get(column, _Seen()).nulls

    def exceeds(self, column: str, low: pa.Scalar, high: pa.Scalar) -> bool:
        """Whether a value taken in lies beyond a bound. A null bound is none; no bound holds where there is a NaN."""
        seen = self._seen.get(column, _Seen())
        if seen.has_nan:
            return bool(low.is_valid or high.is_valid)
        if seen.bounds is None:
            return False
        for bound, value, side in ((low, seen.bounds[0], 0), (high, seen.bounds[1], 1)):
            if bound.is_valid:
                given = pa.repeat(bound, 1).cast(value.type)
                both = _extremes(pa.chunked_array([given, value]))
                assert both is not None
                if both[side][0].as_py() != given[0].as_py():
                    return True
        return False

    def result(self) -> dict[str, ColumnStats]:
        """The statistics of all rows taken in, by column name."""
        cut = {name: _cut(*seen.bounds) for name, seen in self._seen.items() if seen.bounds is not None}
        texts = _texts([bound for low, high, _ in cut.values() for bound in (low, high)])
        found = {}
        for name, seen in self._seen.items():
            if name not in cut:
                found[name] = ColumnStats(nulls=seen.nulls)
                continue
            low, high, exact = next(texts), next(texts), cut[name][2]
            found[name] = ColumnStats(
                nulls=seen.nulls, min=low, max=high, exact=exact and (low is None) == (high is None)
            )
        return found


def column_stats(table: pa.Table) -> dict[str, ColumnStats]:
    """The statistics of each column.

    Bounds are in the text form of `rows.text`. Text and binary bounds over 64 bytes are cut outward.
    There are none (the column may hold anything) for nested columns, floats with a NaN, binary of a fixed size over
    64 bytes, and columns without values.
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
    """The least and greatest value; None if there is none."""
    t = values.type
    # Arrow has no order for these two; those of the stand-ins are the same.
    if pa.types.is_duration(t):
        ordered: Any = pa.chunked_array([chunk.view(pa.int64()) for chunk in values.chunks], pa.int64())
    else:
        ordered = values.cast(pa.float32()) if pa.types.is_float16(t) else values
    found = pc.min_max(ordered)
    if not found["min"].is_valid:
        return None
    low, high = (pa.repeat(found[side], 1) for side in ("min", "max"))
    return (low, high) if ordered is values else (low.cast(t), high.cast(t))


def _cut(low: pa.Array, high: pa.Array) -> tuple[pa.Array, pa.Array, bool]:
    """The bounds, cut outward where they are long and null where there are none, and whether both are as they were."""
    t = low.type
    if pa.types.is_string(t) or pa.types.is_binary(t):
        cut: Any = cut_text if pa.types.is_string(t) else cut_outward
        try:
            least, greatest, exact = cut(low[0].as_py(), high[0].as_py())
        except UnicodeDecodeError:
            # Arrow does not check its text. Invalid bytes cannot be written to the log: "unknown" is sound.
            return pa.nulls(1, t), pa.nulls(1, t), True
        return pa.array([least], t), pa.array([greatest], t), exact
    if pa.types.is_fixed_size_binary(t) and t.byte_width > CUT_BYTES:
        return pa.nulls(1, t), pa.nulls(1, t), True  # a cut value would be none of the type
    return low, high, True


def _texts(bounds: Sequence[pa.Array]) -> Iterator[str | None]:
    """The text forms of single values; those of one type at once, since it is calls that cost, not values."""
    texts: list[str | None] = [None] * len(bounds)
    for t in {bound.type for bound in bounds}:
        places = [place for place, bound in enumerate(bounds) if bound.type == t]
        found = to_text(pa.concat_arrays([bounds[place] for place in places])).to_pylist()
        for place, text in zip(places, found, strict=True):
            texts[place] = text
    return iter(texts)


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
