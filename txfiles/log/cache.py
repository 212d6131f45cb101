"""Snapshots that this process has already opened, so that opening again reads only what is new.

A cached snapshot is trusted only if the manifest of its version still has the same hash: manifests are chained by hash,
so one comparison vouches for the whole history behind it. That manifest is read beside the look for newer ones, so it
costs a request but no round trip.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import MutableMapping
from weakref import WeakValueDictionary

from txfiles.log.snapshot import Snapshot
from txfiles.rows.segments import Part

TABLES = 16
"""Tables remembered; a pipeline works on a few at a time."""

FILES = 1_000_000
"""Files of all tables remembered, about 1 GB, most of it memory-mapped. The last table used is kept in any case."""


class SnapshotCache:
    """The newest snapshot seen of each of a few tables. Safe for threads.

    Attributes:
        parts: by table id, name and hash, the parts of checkpoints that a live snapshot in this process still uses;
            safe to share, since a part never changes.
        secrets: by root and table id, what the digests of its key index are made with. Nothing else may see it.
        forgotten: by root and name, runs of a key index that are no use.
    """

    def __init__(self) -> None:
        self.parts: MutableMapping[tuple[str, str, str], Part] = WeakValueDictionary()
        self.secrets: dict[tuple[str, str], bytes] = {}
        self.forgotten: set[tuple[str, str]] = set()
        self._mutex = threading.Lock()
        self._snapshots: OrderedDict[str, Snapshot] = OrderedDict()

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
