"""A store that others reach by requests, of whose data files it is counted what is asked."""

from __future__ import annotations

import io
import threading
from collections import Counter

import numpy as np
import pyarrow as pa

from txfiles import inputs
from txfiles.core import names
from txfiles.log import versions
from txfiles.options import Request, check
from txfiles.store.memory import MemoryStore
from txfiles.targets.files import writes

NOISE = np.random.default_rng(0)


class Remote:
    """A store that others reach by requests: its files are not in memory, and what is asked of them is counted."""

    def __init__(self):
        self._store = MemoryStore()
        self.guard = threading.Lock()
        self.calls = Counter()
        self.looks = Counter()

    def __getattr__(self, name):
        if name in ("stat", "get"):
            self.looks[name] += 1
        return getattr(self._store, name)

    def count(self, **calls):
        with self.guard:
            self.calls.update(calls)

    def open_input(self, name, size=None):
        assert size is not None, "without the size, opening would ask for it"
        return pa.PythonFile(Counted(self, self._store.open_input(name).read()), mode="r")

    def read_ranges(self, name, ranges, size=None):
        assert size is not None
        if name.startswith(names.VECTOR_DIR):
            self.count(vectors=1, vector_ranges=len(ranges))
            return self._store.read_ranges(name, ranges, size)
        self.count(batches=1, ranges=len(ranges), bytes=sum(length for _, length in ranges))
        return list(map(Piece, self._store.read_ranges(name, ranges, size)))


class Piece(bytes):
    """Bytes that were fetched, counted as long as anything refers to them."""

    alive = most = 0

    def __new__(cls, data):
        Piece.alive += len(data)
        Piece.most = max(Piece.most, Piece.alive)
        return super().__new__(cls, data)

    def __del__(self):
        Piece.alive -= len(self)


class Counted(io.BytesIO):
    """An open file: each read is a request."""

    def __init__(self, store, data):
        super().__init__(data)
        self.store = store

    def read(self, size=-1):
        found = super().read(size)
        self.store.count(reads=1, bytes=len(found))
        return found


def table(first, rows):
    """Ids in order, and columns of 80 kB in a row group, so that no gap between two of a column is read over."""
    ids = np.arange(first, first + rows)
    wide = {name: NOISE.integers(0, 2**62, rows) for name in ("a", "b", "c")}
    return pa.table({"id": ids, **wide})


def write(session, rows, mode="append", **options):
    return writes.write(session, check(Request(source=inputs.source(rows), mode=mode, **options)))


def asked(session, call):
    """What a call asks of data files, and its answer."""
    head = versions.require_head(session)
    head.files  # noqa: B018 - the list is made
    session.store.calls.clear()
    session.store.looks.clear()
    found = call(head)
    return Counter(session.store.calls), found
