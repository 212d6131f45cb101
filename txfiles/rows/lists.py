"""Lists taken apart and put together: lengths and items, whatever the kind of list and the slice of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def flat_lists(a: pa.Array) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Lengths (a null counts 0) and all items, one after the other, of lists of any kind or maps.

    What hides under a null or outside a slice is left out; the entries of a map are structs.
    """
    if pa.types.is_map(a.type):
        entry = pa.struct([a.type.key_field.with_name("key"), a.type.item_field.with_name("value")])
        a = a.cast(pa.list_(entry))
    valid: npt.NDArray[np.bool_] = a.is_valid().to_numpy(zero_copy_only=False)
    return np.where(valid, _lengths(a), np.int64(0)), a.flatten()


def _lengths(a: pa.Array) -> npt.NDArray[np.int64]:
    """Lengths of lists, whatever they are where a list is null; from the offsets themselves where there are any."""
    if pa.types.is_fixed_size_list(a.type):
        return np.full(len(a), a.type.list_size, np.int64)
    if pa.types.is_list(a.type) or pa.types.is_large_list(a.type):
        ends: npt.NDArray[np.int64] = np.diff(a.offsets.to_numpy(zero_copy_only=False)).astype(np.int64)
        return ends
    found: npt.NDArray[np.int64] = pc.fill_null(pc.list_value_length(a), 0).to_numpy(zero_copy_only=False)
    return found.astype(np.int64)


def offsets(lengths: npt.NDArray[np.int64]) -> pa.Array:
    """List offsets (n + 1 of int32) from n lengths. Raises `pa.ArrowInvalid` if int32 is too small."""
    ends = np.concatenate(([0], np.cumsum(lengths)))
    if ends[-1] > np.iinfo(np.int32).max:
        raise pa.ArrowInvalid(f"{ends[-1]} items do not fit one array")
    return pa.array(ends.astype(np.int32))


def small_offsets(a: pa.Array) -> pa.Array:
    """Large text or binary with offsets of int32 instead; the bytes are not copied.

    Arrow's own cast looks at where a slice ends, not at how long it is, and so refuses any slice beyond 2 GiB.

    Raises:
        pa.ArrowInvalid: the slice is longer than 2 GiB.
    """
    t = pa.string() if pa.types.is_large_string(a.type) else pa.binary()
    if not len(a):
        return pa.array([], t)
    _, bounds, data = a.buffers()
    starts = np.frombuffer(bounds, np.int64)[a.offset : a.offset + len(a) + 1]
    held = data.slice(starts[0], starts[-1] - starts[0]) if data is not None else None
    valid = np.packbits(a.is_valid().to_numpy(zero_copy_only=False), bitorder="little")
    return pa.Array.from_buffers(
        t, len(a), [pa.py_buffer(valid.tobytes()), offsets(np.diff(starts)).buffers()[1], held], a.null_count
    )
