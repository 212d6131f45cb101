"""Bounds that files of other tools state about their columns, as the log writes them.

Source: specs/3-manifest.md, "Statistics"; specs/14-adopt.md, "Parquet".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from txfiles.core.manifest import ColumnStats
from txfiles.rows import types
from txfiles.rows.keys import CUT_BYTES, cut_outward
from txfiles.rows.stats import cut_text
from txfiles.rows.text import to_text


class Stated(NamedTuple):
    """What a file states of a column.

    Attributes:
        nulls: how many.
        low: a lower bound as a Python value: of times the number behind it, of text its bytes. None: unknown.
        high: an upper bound.
    """

    nulls: int
    low: Any
    high: Any


def integer_behind(kind: pa.DataType) -> pa.DataType | None:
    """The integers that stand for a type's values in a file; None if others do."""
    if not pa.types.is_temporal(kind):
        return None
    return pa.int32() if pa.types.is_date32(kind) or pa.types.is_time32(kind) else pa.int64()


def column_stats(found: Sequence[Stated | None], stored: pa.DataType, wanted: pa.DataType) -> list[ColumnStats | None]:
    """The statistics of a column of n files, whose types are the same.

    Bounds of text and binary columns count as cut, since their writer may have done so. There are none if the column is
    read as another kind of value, which may have another order, and none that is no value of its type.

    Args:
        found: what each file states; None: nothing.
        stored: the type in the files.
        wanted: the table's type, which is the same or wider.
    Cost: O(n), vectorised unless a statement is invalid.
    """
    if pa.types.is_fixed_size_binary(stored) and stored.byte_width > CUT_BYTES:
        found = [one and Stated(one.nulls, None, None) for one in found]  # a cut value would be none of the type
    elif pa.types.is_binary(stored):
        found = [one and _cut(one) for one in found]
    raw = integer_behind(stored) or (pa.binary() if _is_text(stored) else stored)
    low, high = ([getattr(one, side) if one is not None else None for one in found] for side in ("low", "high"))
    usable = types.is_orderable(stored) and _is_text(stored) == _is_text(wanted)
    if not usable or not any(value is not None for value in low):
        return [None if one is None else ColumnStats(nulls=one.nulls) for one in found]
    lows, highs = (_texts(values, raw, stored, wanted) for values in (low, high))
    return [_stats(one, least, most, stored) for one, least, most in zip(found, lows, highs, strict=True)]


def _cut(one: Stated) -> Stated:
    if one.low is None or one.high is None:
        return one
    low, high, _ = cut_outward(one.low, one.high)
    return Stated(one.nulls, low, high)


def _stats(one: Stated | None, low: Any, high: Any, stored: pa.DataType) -> ColumnStats | None:
    if one is None:
        return None
    if low is not None and high is not None and pa.types.is_string(stored):
        low, high, _ = cut_text(low, high)
    return ColumnStats(nulls=one.nulls, min=low, max=high, exact=not _is_text(stored))


def _texts(values: list[Any], raw: pa.DataType, stored: pa.DataType, wanted: pa.DataType) -> list[str | None]:
    try:
        return [*to_text(_typed(values, raw, stored, wanted)).to_pylist()]
    except (pa.ArrowException, ValueError, OverflowError):
        if len(values) == 1:
            return [None]
        return [text for value in values for text in _texts([value], raw, stored, wanted)]


def _typed(values: list[Any], raw: pa.DataType, stored: pa.DataType, wanted: pa.DataType) -> pa.Array:
    found = pa.array(values, raw)
    if found.type != stored:
        found = found.cast(stored)
    return found if stored == wanted else found.cast(wanted)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind))
