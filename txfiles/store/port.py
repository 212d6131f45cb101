"""The one port to storage: named bytes below a table's root.

A *name* is relative to the table's root, `/`-separated, as the store spells it (not URL-encoded).
Two kinds of things go through the port, and they have different verbs:

- small objects (the log): `get`, `stat`, `put_if_absent`, `put`, `list_from`, `delete_many`;
- data files: `open_input`, `read_ranges` and `create`.

Each verb is one request (a listing: one a page), so that callers can count. Three answers, not two: a conditional put
*created* the name, found that it *exists*, or its outcome is *unknown* (the request may have been applied, or may yet
be). `None` from `get` and `stat` means "is not there"; whatever cannot be read raises `StoreError`, it is never taken
for absent.

What only some stores have is not in `Store`: `EnsuresDurable`, `Locks`, `HasUploads` and `ReadByArrow` are protocols of
their own, asked for by the functions at the end of this module. What stores do differently is in their `Capabilities`.

Source: specs/5-commit.md, "Stores".
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from txfiles.errors import StoreError

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
class Capabilities:
    """What a store does in its own way. The log asks for no more than this.

    Attributes:
        lists_from_a_name: a listing that begins at a name costs what it returns, not what lies before that name.
        requests_at_once: how many small requests are worth having under way together; 1 where an answer comes
            sooner than a thread starts.
        resends: whether the store, or a client below it, sends a request again by itself, so that *exists* may be
            the answer to our own put. The commit reads back what stands either way.
    """

    lists_from_a_name: bool
    requests_at_once: int
    resends: bool


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

    @property
    def capabilities(self) -> Capabilities:
        """What this store does in its own way."""

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

    def list_from(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """All objects whose name starts with the folder `prefix` ("" or "a/b/") and sorts after `after`.

        In order of name (code points), recursive, without folders, links or special files; a server that keeps objects
        in folders may list those of a folder where the folder's own name stands. Pages are asked for as they are
        needed.
        """

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete objects; what is not there is no error. Never follows a link.

        Tries every name, and raises the first error after that.
        """

    def now_us(self) -> int:
        """The store's clock, microseconds since 1970: the one that `Entry.modified_us` is told by."""

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]], size: int | None = None) -> list[bytes]:
        """Some ranges (offset, length) of a data file, in the order asked for.

        Args:
            name: of the file.
            ranges: in any order; they may overlap.
            size: of the file, if known: no request asks for it then.
        Raises:
            CorruptTableError: the file is missing, or ends before a range does.
        """

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        """Random access to a data file; with its `size`, no request asks for it.

        Missing: `CorruptTableError`, now or from the first read.
        """

    def create(self, name: str) -> Sink:
        """Begin a new data file. Names are unique by construction: one that exists is an error where a look is free."""

    def url(self, name: str) -> str:
        """The absolute path or URL by which other tools open the object."""


class EnsuresDurable(Protocol):
    """A store where an object that can be read may not be durable yet."""

    def ensure_durable(self, name: str) -> None:
        """Ensure an existing object is durable, whichever process created it. Raises `StoreError`."""


class Locks(Protocol):
    """A store with an advisory lock for each table."""

    def lock(self, timeout_seconds: float) -> AbstractContextManager[bool]:
        """An advisory lock on the table; yields whether it is held. Correctness never rests on it."""


class HasUploads(Protocol):
    """A store where a large file that was begun and never completed stays, invisible."""

    def abort_uploads(self, is_own: Callable[[str], bool], before_us: int) -> int:
        """Abort those of which the name is one's own and which began before a time of the store's; how many."""


class ReadByArrow(Protocol):
    """A store that Arrow's own readers can open."""

    def arrow(self) -> tuple[pafs.FileSystem, str]:
        """Arrow's file system for reading, and the root's path in it."""


def ensure_durable(store: Store, name: str) -> None:
    """Ensure an existing object is durable; at once where objects are durable as soon as they can be read."""
    own: EnsuresDurable | None = _if_it_has(store, "ensure_durable")
    if own is not None:
        own.ensure_durable(name)


def lock(store: Store, timeout_seconds: float) -> AbstractContextManager[bool]:
    """The store's advisory lock; yields whether it is held: False where the store has none."""
    own: Locks | None = _if_it_has(store, "lock")
    return nullcontext(enter_result=False) if own is None else own.lock(timeout_seconds)


def backend(store: Store) -> str | None:
    """The library that serves the store, such as `s3fs`; None if it is this one itself."""
    found: str | None = getattr(store, "backend", None)
    return found


def abort_uploads(store: Store, is_own: Callable[[str], bool], before_us: int) -> int:
    """Abort uploads that were begun before a time, and whose name is one's own; 0 where the store has none."""
    own: HasUploads | None = _if_it_has(store, "abort_uploads")
    return 0 if own is None else own.abort_uploads(is_own, before_us)


def arrow(store: Store) -> tuple[pafs.FileSystem, str]:
    """Arrow's file system for reading, and the root's path in it.

    Raises:
        StoreError: Arrow's own readers cannot open what is in this store.
    """
    own: ReadByArrow | None = _if_it_has(store, "arrow")
    if own is None:
        raise StoreError(
            f"Arrow's own readers cannot open what is at {store.root}",
            hint="read the rows with to_arrow(), or keep the table in a folder",
        )
    return own.arrow()


def _if_it_has(store: Store, verb: str) -> Any:
    return store if hasattr(store, verb) else None
