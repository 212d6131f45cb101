"""Exact equality of rows: whether a value changed, to the bit.

Null equals null. NaN equals NaN whatever its payload, and is not null. -0.0 is not 0.0. Nested values
are equal where they have the same length and equal items in the same order (entries of a map too).
No Arrow kernel or join has this relation for every type, so it is defined once, here.

Source: specs/4-semantics.md, "Equality".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.errors import InputError, SchemaMismatchError
from txfiles.rows.lists import flat_lists
from txfiles.rows.typenames import type_text

Mask = npt.NDArray[np.bool_]

_BITS: dict[int, tuple[Any, Any]] = {
    16: (pa.int16(), np.float16),
    32: (pa.int32(), np.float32),
    64: (pa.int64(), np.float64),
}


def same(a: pa.Array | pa.ChunkedArray, b: pa.Array | pa.ChunkedArray) -> Mask:
    """Row by row, whether two columns hold the same value.

    Args:
        a: n values of a normal type (see `rows.types`), chunked or not.
        b: n values of the same type, chunked in any way.
    Returns:
        n flags.
    Raises:
        SchemaMismatchError: the types differ.
        InputError: the lengths differ.
    Cost: O(bytes), vectorised; no Python object per row.
    """
    if a.type != b.type:
        raise SchemaMismatchError(
            f"values of type {type_text(a.type)} cannot be compared with values of type {type_text(b.type)}"
        )
    if len(a) != len(b):
        raise InputError(f"{len(a)} values cannot be compared one by one with {len(b)}")
    if isinstance(a, pa.Array) and isinstance(b, pa.Array):
        return _same(a, b)
    parts = [_same(x, y) for x, y in _aligned(_chunks(a), _chunks(b))]
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def same_rows(a: pa.Table, b: pa.Table) -> Mask:
    """Row by row, whether two tables hold the same values in all columns, matched by name.

    Args:
        a: n rows.
        b: n rows, the columns of `a` in any order.
    Raises:
        SchemaMismatchError: the columns or their types differ.
        InputError: the lengths differ.
    Cost: O(bytes).
    """
    if sorted(a.column_names) != sorted(b.column_names):
        raise SchemaMismatchError(f"the columns {a.column_names} are not the columns {b.column_names}")
    if len(a) != len(b):
        raise InputError(f"{len(a)} rows cannot be compared one by one with {len(b)}")
    mask = np.ones(len(a), np.bool_)
    for name in a.column_names:
        mask &= same(a.column(name), b.column(name))
    return mask


def _chunks(a: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return a.chunks if isinstance(a, pa.ChunkedArray) else [a]


def _aligned(a: list[pa.Array], b: list[pa.Array]) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Pairs of equally long slices that cover both; nothing is copied."""
    a, b = [x for x in a if len(x)], [y for y in b if len(y)]
    i = j = used_a = used_b = 0
    while i < len(a):
        n = min(len(a[i]) - used_a, len(b[j]) - used_b)
        yield a[i].slice(used_a, n), b[j].slice(used_b, n)
        used_a, used_b = used_a + n, used_b + n
        if used_a == len(a[i]):
            i, used_a = i + 1, 0
        if used_b == len(b[j]):
            j, used_b = j + 1, 0


def _same(a: pa.Array, b: pa.Array) -> Mask:
    valid_a, valid_b = _valid(a), _valid(b)
    result: Mask = np.where(valid_a & valid_b, _same_values(a, b, valid_a & valid_b), valid_a == valid_b)
    return result


def _same_values(a: pa.Array, b: pa.Array, both: Mask) -> Mask:
    """Flags that count only where both values are present."""
    t, is_ = a.type, pa.types
    if is_.is_null(t):
        return both
    if is_.is_floating(t):
        return _same_floats(a, b)
    if is_.is_struct(t):
        mask = np.ones(len(a), np.bool_)
        for i in range(t.num_fields):
            mask &= _same(a.field(i), b.field(i))
        return mask
    if is_.is_nested(t):
        return _same_lists(a, b, both)
    equal: Mask = pc.fill_null(pc.equal(a, b), False).to_numpy(zero_copy_only=False)
    return equal


def _same_floats(a: pa.Array, b: pa.Array) -> Mask:
    as_integer, as_float = _BITS[a.type.bit_width]
    x, y = (v.view(as_integer).fill_null(0).to_numpy(zero_copy_only=False) for v in (a, b))
    mask: Mask = (x == y) | (np.isnan(x.view(as_float)) & np.isnan(y.view(as_float)))
    return mask


def _same_lists(a: pa.Array, b: pa.Array, both: Mask) -> Mask:
    """Only rows of equal length can be equal; of those the items are compared all at once."""
    lengths_a, lengths_b = _lengths(a), _lengths(b)
    mask: Mask = both & (lengths_a == lengths_b)
    chosen = pa.array(mask)
    lengths, items_a = flat_lists(a.filter(chosen))
    _, items_b = flat_lists(b.filter(chosen))
    differing = np.concatenate(([0], np.cumsum(~_same(items_a, items_b))))
    ends = np.cumsum(lengths)
    mask[mask] = differing[ends] == differing[ends - lengths]
    return mask


def _lengths(a: pa.Array) -> npt.NDArray[np.int64]:
    return flat_lists(a)[0]


def _valid(a: pa.Array) -> Mask:
    valid: Mask = a.is_valid().to_numpy(zero_copy_only=False)
    return valid
