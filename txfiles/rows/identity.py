"""Whole rows as bytes: two rows have the same code if and only if they are equal in every column.

Equality is that of `rows.equality`: null equals null, NaN equals NaN whatever its payload, -0.0 is not 0.0, nested
values are equal part by part. Each part of a code says how long it is, so that codes can be put one after the other.

Source: specs/4-semantics.md, "Equality".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.rows import bytewise
from txfiles.rows.lists import flat_lists

_CODE = pa.large_binary()
_NOTHING, _NULL, _VALUE = b"", b"\x00", b"\x01"


def row_codes(rows: pa.Table) -> pa.Array:
    """One code for each row.

    Args:
        rows: n rows in at least one column, of normal types (`rows.types`).
    Returns:
        n codes, `large_binary`, none of them null.
    Cost: O(bytes), vectorised.
    """
    return _joined([_codes(_whole(column)) for column in rows.columns], rows.num_rows)


def _joined(parts: list[Any], count: int) -> pa.Array:
    return pc.binary_join_element_wise(*parts, _scalar(_NOTHING)) if parts else pa.repeat(_scalar(_NOTHING), count)


def _scalar(code: bytes) -> pa.Scalar:
    return pa.scalar(code, _CODE)  # not made when the module is imported: Arrow then imports pandas


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _codes(values: pa.Array) -> pa.Array:
    t, is_ = values.type, pa.types
    if not len(values):
        return pa.array([], _CODE)
    if is_.is_null(t):
        return pa.repeat(_scalar(_NULL), len(values))
    if is_.is_struct(t):
        body = [_joined([_codes(field) for field in values.flatten()], len(values))]
    elif is_.is_nested(t):
        lengths, items = flat_lists(values)
        body = [_numbers(lengths), _grouped(_codes(items), lengths)]
    elif is_.is_string(t) or is_.is_binary(t):
        texts = values.cast(_CODE).fill_null(b"")
        body = [_numbers(pc.binary_length(texts).to_numpy()), texts]
    else:
        body = [_fixed(_raw(values), len(values))]
    return pc.if_else(values.is_valid(), _joined([_scalar(_VALUE), *body], len(values)), _scalar(_NULL))


def _raw(values: pa.Array) -> npt.NDArray[np.uint8]:
    """Values of a fixed width as they are in memory; those that are null may hold anything."""
    t = values.type
    if pa.types.is_boolean(t):
        flags: npt.NDArray[np.uint8] = values.cast(pa.uint8()).fill_null(0).to_numpy(zero_copy_only=False)
        return flags
    width = t.bit_width // 8
    found = np.frombuffer(values.buffers()[1], np.uint8, len(values) * width, values.offset * width)
    if pa.types.is_floating(t):
        numbers = found.view(f"<f{width}").copy()
        numbers[np.isnan(numbers)] = np.nan
        return numbers.view(np.uint8)
    return found


def _fixed(data: npt.NDArray[np.uint8], count: int) -> pa.Array:
    """Bytes as `count` codes of one width."""
    ends = np.arange(count + 1, dtype=np.int64) * (len(data) // count)
    return pa.Array.from_buffers(_CODE, count, [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(data))])


def _numbers(numbers: npt.NDArray[np.int64]) -> pa.Array:
    return _fixed(np.ascontiguousarray(numbers, "<i8").view(np.uint8), len(numbers))


def _grouped(codes: pa.Array, lengths: npt.NDArray[np.int64]) -> pa.Array:
    """Successive codes put together, so many at a time."""
    ends = bytewise.offsets(codes).astype(np.int64)
    ends = (ends - ends[0])[np.concatenate([[0], np.cumsum(lengths)])]
    data = pa.py_buffer(np.ascontiguousarray(bytewise.data(codes)))
    return pa.Array.from_buffers(_CODE, len(lengths), [None, pa.py_buffer(ends), data])
