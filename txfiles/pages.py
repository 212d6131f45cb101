"""Pages of temporary files that are mapped to memory: what has been read of them need not be held.

An input larger than memory is read from such a file, in order. Its pages stay in the system's cache as long as there is
room, so to read one again costs little; but while they are mapped they count as this process's memory.
"""

from __future__ import annotations

import mmap
import weakref

from txfiles.guard import Guard

_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_guard = Guard()


def remember(data: mmap.mmap) -> None:
    """A file that is mapped for reading; from now on `forget` lets go of its pages."""
    with _guard:
        _maps.add(data)


def forget() -> None:
    """Let go of the pages of all such files. They can be read as before. Cost: microseconds, if there is none."""
    with _guard:
        for data in list(_maps):
            if hasattr(mmap, "MADV_DONTNEED"):
                data.madvise(mmap.MADV_DONTNEED)
