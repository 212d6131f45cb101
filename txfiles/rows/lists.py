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
    lengths = pc.fill_null(pc.list_value_length(a), 0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64), a.flatten()


def offsets(lengths: npt.NDArray[np.int64]) -> pa.Array:
    """List offsets (n + 1 of int32) from n lengths. Raises `pa.ArrowInvalid` where int32 does not do."""
    ends = np.concatenate(([0], np.cumsum(lengths)))
    if ends[-1] > np.iinfo(np.int32).max:
        raise pa.ArrowInvalid(f"{ends[-1]} items do not fit one array")
    return pa.array(ends.astype(np.int32))
