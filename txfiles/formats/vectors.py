"""Deletion vectors as bytes: the rows of a data file that are marked, as a portable Roaring bitmap of 32-bit numbers.

Arrays and bitmaps are written; runs are read too, since other writers may use them. Reading trusts nothing: sizes are
checked before anything is built from them, so that few bytes never become many rows.

Source: specs/2-layout.md, "Deletion vectors"; the Roaring bitmap format specification.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from txfiles.core.codec import sha256
from txfiles.core.manifest import Vector
from txfiles.errors import CorruptTableError

MARKABLE_ROWS = 2**26
"""A file of more rows is rewritten, not marked: whoever reads it holds its marked positions in memory, 4 bytes each."""

_PLAIN, _WITH_RUNS = 12_346, 12_347
_ARRAY_ROWS = 4_096
"""A container of more rows is a bitmap."""

_BITMAP_BYTES = 8_192
_OFFSETS_FROM = 4
"""A bitmap with runs has no table of offsets if it has fewer containers."""

Positions = npt.NDArray[np.int64]


def encode(positions: Positions) -> bytes:
    """The bitmap of some positions, ascending and distinct. Cost: O(positions)."""
    highs, starts = np.unique(positions >> 16, return_index=True)
    header = struct.pack("<II", _PLAIN, len(highs))
    bodies = []
    for found in np.split(positions & 0xFFFF, starts[1:]) if len(highs) else []:
        if len(found) <= _ARRAY_ROWS:
            bodies.append(found.astype("<u2").tobytes())
        else:
            bits = np.zeros(2**16, np.bool_)
            bits[found] = True
            bodies.append(np.packbits(bits, bitorder="little").tobytes())
    counts = np.diff([*starts, len(positions)])
    described = np.column_stack([highs, counts - 1]).astype("<u2").tobytes()
    first = len(header) + 8 * len(highs)
    offsets = np.cumsum([first, *map(len, bodies)])[:-1].astype("<u4").tobytes()
    return b"".join([header, described, offsets, *bodies])


def most_bytes(rows: int) -> int:
    """The longest bitmap of positions below `rows`, in any form: one that is longer is refused unread."""
    containers = -(-rows // 2**16)
    return 8 + containers * (8 + 1 + max(_BITMAP_BYTES, 2 + 4 * 2**15))


def checked(data: bytes, vector: Vector, rows: int, where: str) -> Positions:
    """The positions that a vector marks in a file of `rows` rows.

    Raises:
        CorruptTableError: the bytes are not those that the log names, or not what it says of them.
    """
    if len(data) != vector.bytes or sha256(data) != vector.sha256:
        raise corrupt(where, "its bytes are not those that the log names")
    if rows > MARKABLE_ROWS or vector.rows >= rows:
        raise corrupt(where, f"the log marks {vector.rows} rows in a file of {rows}")
    found = decode(data, most=vector.rows, where=where)
    if len(found) != vector.rows:
        raise corrupt(where, f"it marks {len(found)} rows, the log says {vector.rows}")
    if found[-1] >= rows:
        raise corrupt(where, f"it marks row {int(found[-1])} of a file of {rows}")
    return found


def decode(data: bytes, *, most: int, where: str) -> Positions:
    """The positions in a bitmap, ascending.

    Args:
        data: the whole bitmap.
        most: how many positions it may have.
        where: for errors.
    Raises:
        CorruptTableError: it is not a Roaring bitmap, or has more positions.
    Cost: O(bytes + positions); memory is bounded by `most`, and 64 KiB for each container.
    """
    reader = _Reader(memoryview(data), where)
    cookie = reader.number()
    if cookie == _PLAIN:
        count, is_run = reader.number(), np.zeros(0, np.bool_)
    elif cookie & 0xFFFF == _WITH_RUNS:
        count = (cookie >> 16) + 1
        is_run = np.unpackbits(reader.numbers("u1", -(-count // 8)), bitorder="little").astype(np.bool_)
    else:
        raise corrupt(where, "it does not begin as a Roaring bitmap does")
    if count > 2**16:
        raise corrupt(where, "it has too many containers")
    described = reader.numbers("<u2", 2 * count).astype(np.int64).reshape(count, 2)
    highs, sizes = described[:, 0], described[:, 1] + 1
    if (np.diff(highs) <= 0).any() or int(sizes.sum()) > most:
        raise corrupt(where, "its containers are out of order, or hold more rows than the log says")
    if cookie == _PLAIN or count >= _OFFSETS_FROM:
        reader.numbers("<u4", count)  # containers follow each other: where they begin is known
    found = []
    for number, (high, size) in enumerate(zip(highs.tolist(), sizes.tolist(), strict=True)):
        low = reader.runs() if len(is_run) and is_run[number] else reader.container(size)
        if len(low) != size or (np.diff(low) <= 0).any():
            raise corrupt(where, "a container does not hold what its head says")
        found.append(low + (high << 16))
    if not reader.is_at_end:
        raise corrupt(where, "there are bytes after its end")
    return np.concatenate(found) if found else np.empty(0, np.int64)


class _Reader:
    """The bytes of a bitmap, from the front."""

    def __init__(self, data: memoryview, where: str) -> None:
        self._data = data
        self._at = 0
        self._where = where

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def numbers(self, kind: str, count: int) -> npt.NDArray[Any]:
        """The next numbers."""
        size = np.dtype(kind).itemsize * count
        if self._at + size > len(self._data):
            raise corrupt(self._where, "it is cut off")
        found = np.frombuffer(self._data[self._at : self._at + size], kind)
        self._at += size
        return found

    def number(self) -> int:
        return int(self.numbers("<u4", 1)[0])

    def container(self, size: int) -> Positions:
        """An array of up to 4,096 numbers, or a bitmap."""
        if size <= _ARRAY_ROWS:
            return self.numbers("<u2", size).astype(np.int64)
        return np.flatnonzero(np.unpackbits(self.numbers("u1", _BITMAP_BYTES), bitorder="little"))

    def runs(self) -> Positions:
        """Runs: where each begins, and how many rows follow its first."""
        pairs = self.numbers("<u2", 2 * int(self.numbers("<u2", 1)[0])).astype(np.int64).reshape(-1, 2)
        starts, ends = pairs[:, 0], pairs[:, 0] + pairs[:, 1]
        if (starts[1:] <= ends[:-1]).any() or (ends >= 2**16).any():
            raise corrupt(self._where, "its runs overlap, or go on beyond their container")
        lengths = ends - starts + 1
        before = np.cumsum(lengths) - lengths
        return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def corrupt(where: str, why: str) -> CorruptTableError:
    """The error for a vector that cannot be believed: its rows are never taken for live."""
    return CorruptTableError(
        f"the deletion vector in {where} is damaged: {why}",
        hint="restore the file from a backup; without it, deleted rows cannot be told from live ones",
        file=where,
    )
