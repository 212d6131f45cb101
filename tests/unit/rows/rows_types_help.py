"""Types and columns of them for Hypothesis, built from plain Python values that serve as the oracle."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

UNITS = ("s", "ms", "us", "ns")
INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
ZONES = [None, "UTC", "Europe/Berlin", "+05:30"]
DECIMALS = [pa.decimal128(5, 2), pa.decimal128(38, 20), pa.decimal128(9, 0), pa.decimal128(9, 9), pa.decimal256(60, 30)]
TIMESTAMPS = [pa.timestamp(unit, zone) for unit in UNITS for zone in ZONES]
SCALARS = [
    pa.null(),
    pa.bool_(),
    *INTEGERS,
    *FLOATS,
    *DECIMALS,
    *TIMESTAMPS,
    pa.string(),
    pa.binary(),
    pa.binary(3),
    pa.date32(),
    pa.date64(),
    pa.time32("s"),
    pa.time32("ms"),
    pa.time64("us"),
    pa.time64("ns"),
    *[pa.duration(unit) for unit in UNITS],
]

_names = st.text("abcé ", min_size=1, max_size=3)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Types up to a few levels deep."""
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(pa.list_),
            st.tuples(inner, st.integers(1, 3)).map(lambda p: pa.list_(p[0], p[1])),
            st.dictionaries(_names, inner, min_size=1, max_size=3).map(
                lambda fields: pa.struct([pa.field(name, t) for name, t in fields.items()])
            ),
            st.tuples(inner.filter(lambda t: t != pa.null()), inner).map(lambda p: pa.map_(p[0], p[1])),
        ),
        max_leaves=4,
    )


types = nested(st.sampled_from(SCALARS))


def _whole(t: Any) -> st.SearchStrategy[int]:
    limits = np.iinfo(t.to_pandas_dtype())
    edges = [
        e for e in (-1, 0, 1, 2**24 + 1, 2**53 + 1, int(limits.min), int(limits.max)) if limits.min <= e <= limits.max
    ]
    return st.sampled_from(edges) | st.integers(int(limits.min), int(limits.max))


def _scalars(t: Any) -> st.SearchStrategy[Any]:
    is_ = pa.types
    if is_.is_integer(t):
        return _whole(t)
    if is_.is_floating(t):
        return st.floats(width=t.bit_width).map(np.float16) if is_.is_float16(t) else st.floats(width=t.bit_width)
    if is_.is_decimal(t):
        limit = 10**t.precision - 1
        return st.integers(-limit, limit).map(lambda i: Decimal((int(i < 0), tuple(map(int, str(abs(i)))), -t.scale)))
    if is_.is_date64(t):
        return st.integers(-(10**6), 10**7).map(lambda day: day * 86_400_000)
    if is_.is_time(t):
        return st.integers(0, 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[t.unit] - 1)
    if is_.is_date32(t):
        return _whole(pa.int32())
    if is_.is_temporal(t):
        return _whole(pa.int64())
    plain = {
        pa.null(): st.none(),
        pa.bool_(): st.booleans(),
        pa.string(): st.text(max_size=5),
        pa.binary(): st.binary(max_size=5),
    }
    return plain[t] if t in plain else st.binary(min_size=t.byte_width, max_size=t.byte_width)


def values(t: Any, *, nulls: bool = True) -> st.SearchStrategy[Any]:
    """Single values that `pa.array(…, t)` takes (times as counts)."""
    is_ = pa.types
    if is_.is_struct(t):
        found: Any = st.fixed_dictionaries({f.name: values(f.type) for f in t})
    elif is_.is_map(t):
        found = st.lists(st.tuples(values(t.key_type, nulls=False), values(t.item_type)), max_size=3)
    elif is_.is_fixed_size_list(t):
        found = st.lists(values(t.value_type), min_size=t.list_size, max_size=t.list_size)
    elif is_.is_list(t):
        found = st.lists(values(t.value_type), max_size=3)
    else:
        found = _scalars(t)
    return st.none() | found if nulls else found


@st.composite
def chunked(draw: st.DrawFn, t: Any, rows: list[Any]) -> Any:
    """The rows as a column in chunks cut anywhere, each a slice out of something larger."""
    cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=2)))
    chunks = []
    for low, high in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        before, after = draw(st.lists(st.sampled_from(rows), max_size=2)) if rows else [], rows[:1]
        whole = pa.array([*before, *rows[low:high], *after], t)
        chunks.append(whole.slice(len(before), high - low))
    return pa.chunked_array(chunks, t)


def alike(x: Any, y: Any) -> bool:
    """The oracle of equality, on the Python values that columns were built from."""
    if x is None or y is None:
        return x is y
    if isinstance(x, float | np.floating):
        return (math.isnan(x) and math.isnan(y)) or struct.pack("d", x) == struct.pack("d", y)
    if isinstance(x, dict):
        return all(alike(x[name], y[name]) for name in x)
    if isinstance(x, list | tuple):
        return len(x) == len(y) and all(map(alike, x, y))
    return bool(x == y)
