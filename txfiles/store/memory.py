"""The store in memory: for tests and the simulator. Everything in it is durable and whole by construction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from txfiles.errors import CorruptTableError, StoreError
from txfiles.store.port import Entry, Put

if TYPE_CHECKING:
    import pyarrow.fs as pafs


class MemoryStore:
    """Named bytes in a dictionary under a lock.

    Args:
        root: what errors call it.
        now_us: its clock, microseconds since 1970.
    """

    def __init__(self, root: str = "memory://", now_us: Callable[[], int] | None = None) -> None:
        self._root = root
        self._now_us = now_us or (lambda: time.time_ns() // 1_000)
        self._objects: dict[str, tuple[bytes, int]] = {}
        self._mutex = threading.Lock()
        self._advisory = threading.Lock()

    @property
    def root(self) -> str:
        """What errors call the store."""
        return self._root

    def get(self, name: str, *, limit: int) -> bytes | None:
        """The whole object, or None where there is none."""
        with self._mutex:
            found = self._objects.get(name)
        if found is not None and len(found[0]) > limit:
            raise CorruptTableError(f"{self.url(name)} has {len(found[0])} bytes, more than {limit}")
        return found[0] if found else None

    def stat(self, name: str) -> Entry | None:
        """Size and last change, or None where there is none."""
        with self._mutex:
            found = self._objects.get(name)
        return Entry(name, len(found[0]), found[1]) if found else None

    def put_if_absent(self, name: str, data: bytes) -> Put:
        """Create the object only if the name is free."""
        with self._mutex:
            if name in self._objects:
                return Put.EXISTS
            self._objects[name] = (bytes(data), self._now_us())
            return Put.CREATED

    def put(self, name: str, data: bytes) -> None:
        """Replace the object."""
        with self._mutex:
            self._objects[name] = (bytes(data), self._now_us())

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """All objects whose name starts with `prefix` and sorts after `after`, in order of name."""
        with self._mutex:
            found = [Entry(name, len(data), at) for name, (data, at) in self._objects.items()]
        return iter(
            sorted((e for e in found if e.name.startswith(prefix) and e.name > after), key=lambda entry: entry.name)
        )

    def delete(self, name: str) -> bool:
        """Delete one object; False where there was none."""
        with self._mutex:
            return self._objects.pop(name, None) is not None

    def now_us(self) -> int:
        """The store's clock."""
        return self._now_us()

    def open_input(self, name: str) -> pa.NativeFile:
        """Random access to a data file."""
        with self._mutex:
            found = self._objects.get(name)
        if found is None:
            raise CorruptTableError(f"the data file {self.url(name)} is missing", file=self.url(name))
        return pa.BufferReader(found[0])

    def create(self, name: str) -> MemorySink:
        """Begin a new data file."""
        return MemorySink(self, name)

    def url(self, name: str) -> str:
        """What errors call an object."""
        return f"{self._root}/{name}"

    def arrow(self) -> tuple[pafs.FileSystem, str]:
        """Arrow has no file system in memory that could see this store."""
        raise StoreError(f"{self._root} is in memory, where Arrow's file systems do not reach", hint="use to_arrow()")

    @contextmanager
    def lock(self, timeout_seconds: float) -> Iterator[bool]:
        """An advisory lock among threads; yields whether it is held."""
        held = self._advisory.acquire(timeout=timeout_seconds)
        try:
            yield held
        finally:
            if held:
                self._advisory.release()


class MemorySink:
    """A data file in the making."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self._store = store
        self._name = name
        self._data = bytearray()

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Append bytes; returns how many."""
        piece = bytes(data)
        self._data += piece
        return len(piece)

    def tell(self) -> int:
        """Bytes written so far."""
        return len(self._data)

    def close(self) -> None:
        """Publish the file."""
        if self._store.put_if_absent(self._name, bytes(self._data)) is not Put.CREATED:
            raise StoreError(f"{self._store.url(self._name)} exists already, though its name is unique")

    def abort(self) -> None:
        """Forget what was written."""
        self._data.clear()
