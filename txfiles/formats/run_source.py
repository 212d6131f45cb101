"""Where the bytes of an index run come from: a file in memory or mapped to it, or ranges of a file in a store.

Source: specs/8-index.md, "Reading".
"""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from txfiles.errors import CorruptTableError
from txfiles.formats.source import GAP_BYTES, PIECE_BYTES, Range
from txfiles.rows.bytewise import Positions, Words

END_BYTES = 64 * 1024
"""What the first read of a run takes from its end: the whole footer, unless the run covers hundreds of files."""


class UnusableRunError(Exception):
    """An index run is missing, damaged, cut off or not a run. Whoever gets this goes on without the run."""


class RunSource(ABC):
    """A run's bytes.

    Attributes:
        size: of the file.
    """

    size: int

    @abstractmethod
    def end(self, count: int) -> bytes:
        """The last bytes. Fewer in the file: `UnusableRunError`."""

    @abstractmethod
    def numbers(self, offset: int, count: int) -> Words:
        """Numbers of 64 bits that lie one after the other."""

    @abstractmethod
    def items(self, numbers: Positions, kind: np.dtype[Any]) -> npt.NDArray[Any]:
        """Some of the items of one type that lie one after the other from the file's start, by their numbers.

        Args:
            numbers: in order; they may repeat.
            kind: of the items.
        """


class Mapped(RunSource):
    """A run in memory, or a file that is mapped to it.

    Args:
        data: all of it. A map is told to forget the pages that have been used, so that probing a large run does not
            take as much memory as the run has bytes.
    """

    def __init__(self, data: bytes | memoryview | mmap.mmap) -> None:
        self._map = data if isinstance(data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") else None
        self._bytes = np.frombuffer(data, np.uint8)
        self.size = len(self._bytes)

    def end(self, count: int) -> bytes:
        """As in `RunSource`."""
        if count > self.size:
            raise UnusableRunError("it was cut off")
        return self._bytes[self.size - count :].tobytes()

    def numbers(self, offset: int, count: int) -> Words:
        """As in `RunSource`."""
        return np.frombuffer(self._bytes, "<u8", count, offset)

    def items(self, numbers: Positions, kind: np.dtype[Any]) -> npt.NDArray[Any]:
        """As in `RunSource`."""
        found = _taken(self._bytes[: self.size // kind.itemsize * kind.itemsize], numbers, kind)
        if self._map is not None and len(numbers):
            start = int(numbers[0]) * kind.itemsize // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, start, int(numbers[-1] + 1) * kind.itemsize - start)
        return found


class Held:
    """What has been read of a run and is asked for each time: its end, and its list of blocks. Safe for threads.

    Attributes:
        end: the last bytes.
        numbers: by where they begin and how many they are.
    """

    def __init__(self) -> None:
        self.end = b""
        self.numbers: dict[Range, Words] = {}

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return len(self.end) + sum(found.nbytes for found in list(self.numbers.values()))


class Ranged(RunSource):
    """A run in a store. What lies in the part of its end that is held is not read again: that may be all of it.

    Args:
        read: some ranges of the file, asked for together: a store's `read_ranges` for that file.
        size: of the file.
        held: what an earlier source of the same file has read.
    """

    def __init__(self, read: Callable[[Sequence[Range]], Sequence[bytes]], size: int, held: Held | None = None) -> None:
        self._read = read
        self.size = size
        self._held = held or Held()

    def end(self, count: int) -> bytes:
        """As in `RunSource`."""
        if count > self.size:
            raise UnusableRunError("it was cut off")
        end = self._held.end
        if count > len(end):
            length = min(self.size, max(count, END_BYTES))
            [end] = self._ranges([(self.size - length, length)])
            self._held.end = end
        return end[len(end) - count :]

    def numbers(self, offset: int, count: int) -> Words:
        """As in `RunSource`; they are kept."""
        if (offset, count) not in self._held.numbers:
            length = 8 * count
            starts = range(offset, offset + length, PIECE_BYTES)
            parts = self._ranges([(start, min(PIECE_BYTES, offset + length - start)) for start in starts])
            self._held.numbers[offset, count] = np.frombuffer(b"".join(parts), "<u8")
        return self._held.numbers[offset, count]

    def items(self, numbers: Positions, kind: np.dtype[Any]) -> npt.NDArray[Any]:
        """As in `RunSource`; neighbours are read together."""
        wanted = np.unique(numbers)
        if not len(wanted):
            return np.empty(0, kind)
        far = np.diff(wanted) * kind.itemsize > GAP_BYTES
        starts = np.concatenate([[0], np.flatnonzero(far) + 1])
        first, last = wanted[starts], wanted[np.append(starts[1:], len(wanted)) - 1]
        spans = list(zip(first.tolist(), (last - first + 1).tolist(), strict=True))
        parts = self._ranges([(start * kind.itemsize, count * kind.itemsize) for start, count in spans])
        held = np.frombuffer(b"".join(parts), np.uint8)
        before = np.cumsum([0, *(count for _, count in spans[:-1])])
        span = np.searchsorted(first, numbers, "right") - 1
        return _taken(held, before[span] + numbers - first[span], kind)

    def _ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        end = self._held.end
        before = self.size - len(end)
        if all(start >= before for start, _ in ranges):
            return [end[start - before : start - before + length] for start, length in ranges]
        try:
            return [bytes(data) for data in self._read(ranges)]
        except CorruptTableError as error:
            raise UnusableRunError("it is missing or was cut off") from error


def _taken(data: npt.NDArray[np.uint8], numbers: Positions, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Some items. Moving each as so many bytes takes numpy a seventh of the time of moving its fields."""
    found: npt.NDArray[Any] = data.view(f"V{kind.itemsize}")[numbers].view(kind)
    return found
