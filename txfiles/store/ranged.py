"""A file over ranges of an object, as Arrow reads files."""

from __future__ import annotations

from collections.abc import Callable


class Ranged:
    """What `pa.PythonFile` shows to pyarrow: Python's protocol of files, over ranges of an object.

    Arrow's threads take turns, from moving to a place to having read there.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        self._read_range = read_range
        self._size = size
        self._at = 0
        self.closed = False

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to where the next read begins."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """The next bytes, fewer at the end."""
        left = max(0, self._size - self._at)
        found = self._read_range(self._at, left if size < 0 else min(size, left))
        self._at += len(found)
        return found

    def close(self) -> None:
        """Nothing to release."""
        self.closed = True
