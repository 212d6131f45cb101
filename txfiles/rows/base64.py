"""Base64 of a whole column at once.

Three bytes make four characters, so that rows padded to multiples of three can be encoded in one call.
"""

from __future__ import annotations

import binascii

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.rows.lists import offsets

_SHAPE = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


def encode(a: pa.Array) -> pa.Array:
    """Each binary value as base64 text; null stays null.

    Raises:
        pa.ArrowInvalid: the text of all rows is longer than 2 GiB.
    """
    starts, data = _bytes_of(a.fill_null(b""))
    lengths = np.diff(starts)
    blocks = (lengths + 2) // 3
    padded = _moved(data, starts, np.cumsum(blocks * 3) - blocks * 3, lengths, int(blocks.sum()) * 3)
    text = np.frombuffer(binascii.b2a_base64(padded.tobytes(), newline=False), np.uint8).copy()
    ends, missing = np.cumsum(blocks * 4), blocks * 3 - lengths
    text[ends[missing >= 1] - 1] = ord("=")
    text[ends[missing == 2] - 2] = ord("=")  # noqa: PLR2004 - a last byte alone
    return _array_of(text, blocks * 4, a.is_valid(), pa.string())


def decode(text: pa.Array) -> pa.Array:
    """The inverse of `encode`. Raises `pa.ArrowInvalid` where a text is not padded base64."""
    if not pc.all(pc.match_substring_regex(text, _SHAPE), min_count=0).as_py():
        raise pa.ArrowInvalid("a text is not base64")
    starts, characters = _bytes_of(text.fill_null(""))
    blocks = np.diff(starts) // 4
    closing = pc.add(pc.ends_with(text, "=").cast(pa.int64()), pc.ends_with(text, "==").cast(pa.int64()))
    full = np.where(characters == ord("="), np.uint8(ord("A")), characters)
    data = np.frombuffer(binascii.a2b_base64(full.tobytes()), np.uint8)
    lengths = blocks * 3 - closing.fill_null(0).to_numpy(zero_copy_only=False)
    out_starts = np.cumsum(lengths) - lengths
    source = np.arange(int(lengths.sum())) + np.repeat(np.cumsum(blocks * 3) - blocks * 3 - out_starts, lengths)
    return _array_of(data[source], lengths, text.is_valid(), pa.binary())


def _bytes_of(a: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """N + 1 offsets from 0 and the bytes of an array of binary or text without nulls."""
    _, bounds, data = a.buffers()
    if not len(a):
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    starts = np.frombuffer(bounds, np.int32)[a.offset : a.offset + len(a) + 1].astype(np.int64)
    held = np.frombuffer(data if data is not None else b"", np.uint8)[starts[0] : starts[-1]]
    return starts - starts[0], held


def _moved(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    to: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    size: int,
) -> npt.NDArray[np.uint8]:
    """A buffer of `size` zeros into which each row's bytes are moved from `starts` to `to`."""
    out = np.zeros(size, np.uint8)
    out[np.arange(len(data)) + np.repeat(to - starts[:-1], lengths)] = data
    return out


def _array_of(data: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64], valid: pa.Array, t: pa.DataType) -> pa.Array:
    bounds = offsets(lengths).buffers()[1]
    held = pa.Array.from_buffers(t, len(lengths), [None, bounds, pa.py_buffer(data.tobytes())])
    return pc.if_else(valid, held, pa.scalar(None, t))
