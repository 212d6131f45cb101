"""A store in this process's memory: for tests, for the simulator, and for `memory://name`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import pyarrow as pa

from txfiles.errors import StoreError
from txfiles.store import common
from txfiles.store.port import Capabilities, Entry, Put


def _machine_clock_us() -> int:
    return time.time_ns() // 1_000


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    modified_us: int


class MemoryStore:
    """Named bytes in a dictionary.

    Args:
        name: shown in errors, as `memory://name`.
        now_us: the store's clock, microseconds since 1970.
    """

    def __init__(self, name: str = "unnamed", now_us: Callable[[], int] = _machine_clock_us) -> None:
        self._root = f"memory://{name}"
        self._now_us = now_us
        self._objects: dict[str, _Object] = {}
        self._guard = threading.Lock()
        self._advisory = threading.Lock()

    def __reduce__(self) -> NoReturn:
        """Raises `StoreError`: another process does not see this memory."""
        raise StoreError(
            f"{self._root} is in the memory of this process and cannot be pickled",
            hint="keep the table in a folder, which other processes can open",
        )

    @property
    def root(self) -> str:
        """`memory://` and the store's name."""
        return self._root

    @property
    def capabilities(self) -> Capabilities:
        """A listing looks at every name; answers are immediate; nothing is sent again."""
        return Capabilities(lists_from_a_name=False, requests_at_once=1, resends=False)

    def get(self, name: str, *, limit: int) -> bytes | None:
        """The whole object, or None if there is none. Over `limit` bytes: `CorruptTableError`."""
        found = self._find(name)
        if found is not None and len(found.data) > limit:
            raise common.over_limit(self.url(name), len(found.data), limit)
        return None if found is None else found.data

    def stat(self, name: str) -> Entry | None:
        """Size and last change, or None if there is none."""
        found = self._find(name)
        return None if found is None else Entry(name, len(found.data), found.modified_us)

    def put_if_absent(self, name: str, data: bytes) -> Put:
        """Create the object only if the name is free."""
        common.split(name)
        with self._guard:
            if name in self._objects:
                return Put.EXISTS
            self._objects[name] = _Object(bytes(data), self._now_us())
            return Put.CREATED

    def put(self, name: str, data: bytes) -> None:
        """Replace the object."""
        common.split(name)
        with self._guard:
            self._objects[name] = _Object(bytes(data), self._now_us())

    def list_from(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """The objects below `prefix` that sort after `after`, as they were when the listing began."""
        common.folder_of(prefix)
        with self._guard:
            found = [item for item in self._objects.items() if item[0].startswith(prefix) and item[0] > after]
        return (Entry(name, len(held.data), held.modified_us) for name, held in sorted(found, key=lambda item: item[0]))

    def delete(self, name: str) -> bool:
        """Delete one object; False if there was none."""
        common.split(name)
        with self._guard:
            return self._objects.pop(name, None) is not None

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete objects; a missing one is not an error."""
        common.delete_each(self.delete, names)

    def now_us(self) -> int:
        """The clock that was given."""
        return self._now_us()

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]], size: int | None = None) -> list[bytes]:
        """Some ranges (offset, length) of a data file, in the order asked for."""
        with self.open_input(name, size) as source:
            return common.ranges_of(source, ranges, self.url(name))

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        """Random access to a data file. Missing: `CorruptTableError`."""
        found = self._find(name)
        if found is None:
            raise common.missing(self.url(name))
        return pa.BufferReader(found.data)

    def create(self, name: str) -> MemorySink:
        """Begin a new data file. An existing name is an error."""
        if self._find(name) is not None:
            raise common.taken(self.url(name))
        return MemorySink(self, name)

    def url(self, name: str) -> str:
        """The name in errors; no other tool can open it."""
        return f"{self._root}/{name}"

    @contextmanager
    def lock(self, timeout_seconds: float) -> Iterator[bool]:
        """The advisory lock; yields whether it is held."""
        held = self._advisory.acquire(timeout=max(0.0, timeout_seconds))
        try:
            yield held
        finally:
            if held:
                self._advisory.release()

    def _find(self, name: str) -> _Object | None:
        common.split(name)
        with self._guard:
            return self._objects.get(name)


@dataclass(slots=True)
class MemorySink:
    """A data file being written, in memory. For one thread at a time."""

    _store: MemoryStore
    _name: str
    _data: bytearray = field(default_factory=bytearray)
    _state: str = "open"

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Append bytes; returns how many."""
        self._require_open()
        view = memoryview(data)
        self._data += view
        return view.nbytes

    def tell(self) -> int:
        """Bytes written so far."""
        return len(self._data)

    def close(self) -> None:
        """Publish. A second call does nothing. `StoreError` after `abort`, or if the name is taken."""
        if self._state == "published":
            return
        self._require_open()
        if self._store.put_if_absent(self._name, bytes(self._data)) is not Put.CREATED:
            self._state = "aborted"
            raise common.taken(self._store.url(self._name))
        self._state = "published"

    def abort(self) -> None:
        """Drop what was written. Does nothing after `close`: the file stays."""
        if self._state == "open":
            self._state = "aborted"

    def _require_open(self) -> None:
        if self._state != "open":
            raise common.finished(self._store.url(self._name))
