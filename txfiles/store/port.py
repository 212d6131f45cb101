"""The one port to storage: named bytes below a table's root.

A *name* is relative to the table's root, `/`-separated, as the store spells it (not URL-encoded).
Two kinds of things go through the port, and they have different verbs:

- small objects (the log): `get`, `stat`, `put_if_absent`, `put`, `list`, `delete`;
- data files: `open_input` and `create`.

Three answers, not two: a conditional put *created* the name, found that it *exists*, or its outcome
is *unknown* (the request may have been applied, or may yet be). `None` from `get` and `stat` means
"is not there"; whatever cannot be read raises `StoreError`, it is never taken for absent.

Source: specs/5-commit.md.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs as pafs


Lock = str | os.PathLike[str] | AbstractContextManager[Any]
"""What excludes every other writer of a table, where its store cannot create a name atomically: the path of a lock
file, or a context manager that can be entered again and again."""


class Put(enum.Enum):
    """What became of a `put_if_absent`."""

    CREATED = "created"
    EXISTS = "exists"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: its name, size in bytes, last change in microseconds since 1970 by the store's clock."""

    name: str
    bytes: int
    modified_us: int


class Sink(Protocol):
    """A data file in the making. Only `close` publishes it; leaving it, or an exception, never does."""

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Append bytes; returns how many."""

    def tell(self) -> int:
        """Bytes written so far."""

    def close(self) -> None:
        """Make the file durable under its name, then return. Raises `StoreError`."""

    def abort(self) -> None:
        """Forget what was written; the name is not there afterwards. Never raises."""


class Store(Protocol):
    """Named bytes below one root. All methods are safe to call from several threads."""

    @property
    def root(self) -> str:
        """The root as a person would write it, without credentials."""

    def get(self, name: str, *, limit: int) -> bytes | None:
        """The whole object, or None where there is none. Over `limit` bytes: `CorruptTableError`."""

    def stat(self, name: str) -> Entry | None:
        """Size and last change, or None where there is none."""

    def put_if_absent(self, name: str, data: bytes) -> Put:
        """Create the object, whole and durable, only if the name is free.

        Raises `StoreError` with ``committed="no"`` where it was certainly not created, and with
        ``committed="unknown"`` where it stands but may not be durable (a failed fsync of its folder).
        """

    def put(self, name: str, data: bytes) -> None:
        """Replace the object, atomically but not durably: for hints only."""

    def ensure_durable(self, name: str) -> None:
        """Make durable a small object that stands, whoever made it: its maker may have died before it was.

        Returns at once where names are durable as soon as they can be read. Raises `StoreError`.
        """

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """All objects whose name starts with the folder `prefix` ("" or "a/b/") and sorts after `after`.

        In order of name (code points), recursive, without folders, links or special files.
        """

    def delete(self, name: str) -> bool:
        """Delete one object; False where there was none. Never follows a link."""

    def now_us(self) -> int:
        """The store's clock, microseconds since 1970: the one that `Entry.modified_us` is told by."""

    def open_input(self, name: str) -> pa.NativeFile:
        """Random access to a data file. Missing: `CorruptTableError`."""

    def create(self, name: str) -> Sink:
        """Begin a new data file. An existing name is an error: names are unique by construction."""

    def url(self, name: str) -> str:
        """The absolute path or URL by which other tools open the object."""

    def arrow(self) -> tuple[pafs.FileSystem, str]:
        """Arrow's file system for reading, and the root's path in it."""

    def lock(self, timeout_seconds: float) -> AbstractContextManager[bool]:
        """An advisory lock on the table; yields whether it is held. Correctness never rests on it."""
