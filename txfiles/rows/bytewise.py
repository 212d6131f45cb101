"""Byte strings in Arrow arrays as numpy sees them: end to end, as a matrix, or eight bytes at a time.

What keys do with their codes is built on these views; nothing here knows what a code means.

Source: specs/7-keys.md, "Matching".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

WORD_BYTES = 8
"""How many bytes of a code are looked at at once, as one number."""

Words = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]


def data(codes: pa.Array) -> npt.NDArray[np.uint8]:
    """The bytes of all codes, end to end."""
    ends = offsets(codes)
    buffer = codes.buffers()[2]
    first, last = int(ends[0]), int(ends[-1])
    return np.frombuffer(buffer, np.uint8, last - first, first) if last > first else np.empty(0, np.uint8)


def offsets(codes: pa.Array) -> npt.NDArray[Any]:
    """Where each code begins in the buffer, and where the last one ends."""
    size = 8 if pa.types.is_large_binary(codes.type) else 4
    if not len(codes):
        return np.zeros(1, np.int64)
    return np.frombuffer(codes.buffers()[1], f"<i{size}", len(codes) + 1, codes.offset * size)


class View:
    """Codes, none of them null, eight bytes at a time.

    Attributes:
        lengths: of each code, in bytes.
        shortest: the smallest of them, 0 if there is none.
        longest: the greatest.
    """

    def __init__(self, codes: pa.Array) -> None:
        ends = offsets(codes).astype(np.int64)
        self.lengths: Positions = np.diff(ends)
        self.shortest = int(self.lengths.min()) if len(codes) else 0
        self.longest = int(self.lengths.max()) if len(codes) else 0
        self._starts = ends[:-1] - ends[0]
        padded = np.concatenate([data(codes), np.zeros(WORD_BYTES, np.uint8)])
        # One word for each byte, overlapping, so that the word at any byte is one look-up.
        self._words: npt.NDArray[Any] = np.ndarray((len(padded) - 7,), ">u8", padded, 0, (1,))

    def words(self, at: int, rows: Any = slice(None)) -> Words:
        """Bytes `at` to `at + 8` of some codes as a big-endian number, filled up with zeros."""
        if at < self.shortest == self.longest and isinstance(rows, slice):  # then they lie at equal distances
            found = _native(self._words[at :: self.longest][: len(self.lengths)][rows])
            missing = np.uint64(8 * max(0, at + WORD_BYTES - self.longest))
            return (found >> missing) << missing if missing else found
        starts = self._starts[rows] + at
        if at + WORD_BYTES <= self.shortest:
            return _native(self._words[starts])
        missing = np.clip(WORD_BYTES - (self.lengths[rows] - at), 0, WORD_BYTES).astype(np.uint64) * np.uint64(8)
        found = _native(self._words[np.minimum(starts, len(self._words) - 1)])
        kept: Words = (found >> missing) << missing  # a shift by all 64 bits leaves 0
        return kept

    def last_words(self, rows: Any = slice(None)) -> Words:
        """The last eight bytes of some codes, all of which have as many."""
        if self.shortest == self.longest:  # then they lie at equal distances
            last = self._words[self.longest - WORD_BYTES :: self.longest][: len(self.lengths)]
            return _native(last[rows])
        return _native(self._words[self._starts[rows] + self.lengths[rows] - WORD_BYTES])


def _native(words: npt.NDArray[Any]) -> Words:
    native: Words = words.astype(np.uint64)
    return native


def cut(codes: pa.Array, width: int) -> npt.NDArray[np.bytes_]:
    """Codes cut to `width` bytes (a multiple of 8) or filled up with zeros to it. Order is kept, but not strictly."""
    view = View(codes)
    if 0 < view.shortest == view.longest:
        alike: npt.NDArray[np.bytes_] = data(codes).view(f"S{view.longest}").astype(f"S{width}")
        return alike
    words = np.zeros((len(codes), width // WORD_BYTES), ">u8")
    for at in range(0, min(width, view.longest), WORD_BYTES):
        words[:, at // WORD_BYTES] = view.words(at)
    return words.view(f"S{width}").ravel()


def matrix(codes: pa.Array, width: int) -> npt.NDArray[np.uint8]:
    """Codes of one width, one a row."""
    return data(codes).reshape(-1, width)
