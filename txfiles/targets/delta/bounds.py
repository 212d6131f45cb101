"""What Delta's log says of the columns of a file: as it is read, as bounds that hold for every value; and as we say it.

Other writers cut times and texts, and deltalake misreads some characters: a range that was cut is widened.

Source: specs/9-targets.md, "Delta".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from txfiles.rows import types
from txfiles.rows.text import to_text

LAST = "\U0010ffff"
"""The last character: it ends bounds that were cut, and is none of texts that go on with it."""

STATISTICS = 32
"""Columns of which the log says the range, as every writer of Delta does."""

_MS_US = 1_000
_TEXT = 32
_PLAIN_TIME = re.compile(r"[0-9]{4}-")
"""Years of four digits: others are not written alike by all."""


def listed(files: pa.Table, name: str, kind: pa.DataType) -> tuple[pa.Array, pa.Array]:
    """The least and the greatest value of a column in each file; null where they are not known.

    Args:
        files: what the log says of each, as deltalake has it.
        name: the column.
        kind: its type.
    """
    unknown = pa.nulls(files.num_rows, kind)
    if pa.types.is_decimal(kind) or not types.is_key_type(kind):  # JSON has decimals as floats
        return unknown, unknown
    found = []
    for side in ("min", "max"):
        column = files[side].combine_chunks() if side in files.column_names else None
        if column is None or column.type.get_field_index(name) < 0:
            return unknown, unknown
        found.append(column.field(name).cast(kind))
    low, high = found
    if pa.types.is_timestamp(kind):  # some writers cut the greatest time to milliseconds
        if high.null_count:
            return unknown, unknown
        high = pa.array(high.view(pa.int64()).to_numpy(zero_copy_only=False) + _MS_US, pa.int64()).view(kind)
    return low, _raised(high) if pa.types.is_string(kind) else high


def _raised(high: pa.Array) -> pa.Array:
    """Greatest values of which some were cut, or are read wrongly: above all that they may stand for, null if unknown.

    deltalake reads an escaped pair of surrogates as a lesser character where it stands for some beyond U+1FFFF.
    """
    beyond = pc.match_substring_regex(high, r"[\x{10000}-\x{10ffff}]")
    if not pc.any(beyond, min_count=0).as_py():
        return high
    return pa.array(
        [_next(text) if told else text for text, told in zip(high.to_pylist(), beyond.to_pylist(), strict=True)],
        high.type,
    )


def _next(text: str) -> str | None:
    """A text after all that begin with what a bound was cut from."""
    kept = text.rstrip(LAST)
    if not kept or max(kept) > "\uffff" or kept[-1] in "\ud7ff\uffff":  # surrogates are no characters
        return None
    return kept[:-1] + chr(ord(kept[-1]) + 1)


def statistics(rows: pa.Table) -> str:
    """What the log says of the rows of a file."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for name in rows.column_names[:STATISTICS]:
        column = rows[name]
        nulls[name] = column.null_count
        bounds = _bounds(column)
        if bounds is not None:
            low[name], high[name] = bounds
    told = {"numRecords": rows.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    return json.dumps(told, ensure_ascii=False)  # deltalake misreads pairs of escapes


def _bounds(column: pa.ChunkedArray) -> tuple[Any, Any] | None:
    """What contains every value, as JSON has it; None for types of which the log says no range.

    Of each type of which other writers say a range: deltalake's dataset leaves out the rows of a file without one.
    """
    t, is_ = column.type, pa.types
    if len(column) == column.null_count or is_.is_nested(t) or is_.is_binary(t):
        return None
    found = pc.min_max(column)  # NaN is in no range
    low, high = found["min"], found["max"]
    if is_.is_floating(t) and not (math.isfinite(low.as_py()) and math.isfinite(high.as_py())):
        return None  # only NaN; or an infinity, which has no JSON
    if is_.is_decimal(t):
        return math.nextafter(float(low.as_py()), -math.inf), math.nextafter(float(high.as_py()), math.inf)
    if is_.is_string(t):
        return low.as_py()[:_TEXT], _above(high.as_py())
    if is_.is_date(t) or is_.is_timestamp(t):
        texts: Sequence[str] = to_text(pa.array([low, high], t)).to_pylist()
        if not all(map(_PLAIN_TIME.match, texts)):
            return None
        if is_.is_timestamp(t) and t.tz is None:
            texts = [text.replace("T", " ") for text in texts]
        return texts[0], texts[1]
    return low.as_py(), high.as_py()


def _above(text: str) -> str:
    """A short text that is not before a long one: longer only where the long one goes on with the last character."""
    end = _TEXT
    while text[end : end + 1] == LAST:
        end += 1
    return text if end >= len(text) else text[:end] + LAST
