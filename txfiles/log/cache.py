"""Snapshots that this process has already opened, and vectors, so that opening again reads only what is new.

A cached snapshot is trusted only if the manifest of its version still has the same hash: manifests are chained by hash,
so one comparison vouches for the whole history behind it. That manifest is read beside the look for newer ones, so it
costs a request but no round trip.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, MutableMapping
from weakref import WeakValueDictionary

import numpy as np

from txfiles.formats.run_source import Held
from txfiles.guard import Guard
from txfiles.log.snapshot import Snapshot
from txfiles.rows.segments import Part

TABLES = 16
"""Tables remembered; a pipeline works on a few at a time."""

FILES = 1_000_000
"""Files of all tables remembered, about 1 GB, most of it memory-mapped. The last table used is kept in any case."""

VECTOR_BYTES = 64 * 1024 * 1024
"""Memory for the positions of marked rows, of all tables."""

VECTOR_OVERHEAD_BYTES = 600
"""What a vector takes besides its positions: its key, an array, an entry."""

RUN_BYTES = 64 * 1024 * 1024
"""Ends and lists of blocks of runs in stores that are remembered, of all tables: the lists of 120 million keys."""

RUNS = 1_000
"""Runs of which something is remembered."""


class VectorCache:
    """Deletion vectors, decoded and verified: those used last, up to `VECTOR_BYTES`. Safe for threads."""

    def __init__(self) -> None:
        self._mutex = Guard()
        self._found: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self.bytes = 0

    def get(self, key: Hashable) -> np.ndarray | None:
        """The positions kept under a key, which says all that they were verified against."""
        with self._mutex:
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
            return found

    def keep(self, key: Hashable, positions: np.ndarray) -> None:
        """Keep positions, which nobody may change; evicts those not used for the longest time."""
        with self._mutex:
            self._drop(key)
            self._found[key] = positions
            self.bytes += positions.nbytes + VECTOR_OVERHEAD_BYTES
            while self.bytes > VECTOR_BYTES:
                self._drop(next(iter(self._found)))

    def _drop(self, key: Hashable) -> None:
        gone = self._found.pop(key, None)
        self.bytes -= 0 if gone is None else gone.nbytes + VECTOR_OVERHEAD_BYTES


class SnapshotCache:
    """The newest snapshot seen of each of a few tables. Safe for threads.

    Attributes:
        parts: by table id, name and hash, the parts of checkpoints that a live snapshot in this process still uses;
            safe to share, since a part never changes.
        vectors: of all tables, not only of those remembered.
        secrets: by root and table id, what the digests of its key index are made with. Nothing else may see it.
        forgotten: by root and name, runs of a key index that are no use.
    """

    def __init__(self) -> None:
        self.parts: MutableMapping[tuple[str, str, str], Part] = WeakValueDictionary()
        self.vectors = VectorCache()
        self.secrets: dict[tuple[str, str], bytes] = {}
        self.forgotten: set[tuple[str, str]] = set()
        self._runs: OrderedDict[tuple[str, str], Held] = OrderedDict()
        self._mutex = Guard()
        self._snapshots: OrderedDict[str, Snapshot] = OrderedDict()

    def held(self, root: str, name: str) -> Held:
        """What is held of a run; the least recently used ones go once all together take more than `RUN_BYTES`."""
        with self._mutex:
            known = self._runs.get((root, name))
            if known is not None:
                self._runs.move_to_end((root, name))
                return known
            found = self._runs[root, name] = Held()
            size = sum(held.bytes for held in self._runs.values())
            while len(self._runs) > RUNS or (size > RUN_BYTES and len(self._runs) > 1):
                size -= self._runs.popitem(last=False)[1].bytes
        return found

    def get(self, root: str) -> Snapshot | None:
        """The snapshot last kept for a table's root."""
        with self._mutex:
            return self._snapshots.get(root)

    def keep(self, root: str, snapshot: Snapshot) -> None:
        """Keep a snapshot; evicts the least recently used table."""
        with self._mutex:
            self._snapshots[root] = snapshot
            self._snapshots.move_to_end(root)
            files = sum(kept.file_count for kept in self._snapshots.values())
            while len(self._snapshots) > TABLES or (files > FILES and len(self._snapshots) > 1):
                files -= self._snapshots.popitem(last=False)[1].file_count
