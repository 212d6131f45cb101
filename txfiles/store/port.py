"""The one port to storage: named bytes below a table's root.

A *name* is relative to the table's root, `/`-separated, as the store spells it (not URL-encoded).
Two kinds of things go through the port, and they have different verbs:

- small objects (the log): `get`, `stat`, `put_if_absent`, `put`, `list_from`, `delete_many`;
- data files: `open_input`, `read_ranges` and `create`.

Each verb is one request (a listing: one per page), so that callers can count them. Three answers, not two: a
conditional put *created* the name, found that it *exists*, or its outcome is *unknown* (the request may have been
applied, or may yet be). `None` from `get` and `stat` means "does not exist"; if something cannot be read, they raise
`StoreError`: it is never taken for absent.

What only some stores can do is not in `Store`: `EnsuresDurable`, `Locks`, `HasUploads`, `Pins`, `MovesFolders`, `Maps`,
`LeavesOut` and `ReadByArrow` are separate protocols, used by the functions at the end of this module. How stores differ
is in their `Capabilities`.

Source: specs/5-commit.md, "Stores".
"""

from __future__ import annotations

import enum
import mmap
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
"""Excludes every other writer of a table if its store cannot create a name atomically: the path of a lock file, or a
context manager that can be entered again and again."""


LOST_UPLOAD = "lost upload"
"""The `failure` of a `StoreError`: the store forgot what was sent of a file, which was not and will not be written."""


MOVED = "moved"
"""The `failure` of a `StoreError`: the folder to write to was moved away or replaced, and nothing was created."""


class Put(enum.Enum):
    """What became of a `put_if_absent`."""

    CREATED = "created"
    EXISTS = "exists"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """How a store differs from others, as far as the log needs to know.

    Attributes:
        lists_from_a_name: a listing that begins at a name costs what it returns, not what comes before that name.
        requests_at_once: how many small requests are worth running together; 1 if an answer comes sooner than a
            thread starts.
        resends: whether the store, or a client below it, may send a request again, so that *exists* may be the answer
            to our own put. The commit reads the object back either way.
    """

    lists_from_a_name: bool
    requests_at_once: int
    resends: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: its name, size in bytes, and last change in microseconds since 1970 by the store's clock."""

    name: str
    bytes: int
    modified_us: int


class Sink(Protocol):
    """A data file being written. Only `close` publishes it; dropping it, or an exception, never does."""

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Append bytes; returns how many."""

    def tell(self) -> int:
        """Bytes written so far."""

    def close(self) -> None:
        """Make the file durable under its name. Raises `StoreError`."""

    def abort(self) -> None:
        """Drop what was written; the name does not exist afterwards. Never raises."""


class Store(Protocol):
    """Named bytes below one root. All methods are safe to call from several threads."""

    @property
    def root(self) -> str:
        """The root as a person would write it, without credentials."""

    @property
    def capabilities(self) -> Capabilities:
        """How this store differs from others."""

    def get(self, name: str, *, limit: int) -> bytes | None:
        """The whole object, or None if there is none. Over `limit` bytes: `CorruptTableError`."""

    def stat(self, name: str) -> Entry | None:
        """Size and last change, or None if there is none."""

    def put_if_absent(self, name: str, data: bytes) -> Put:
        """Create the object, complete and durable, only if the name is free.

        Raises `StoreError` with ``committed="no"`` if it was certainly not created, and with ``committed="unknown"`` if
        it exists but may not be durable (a failed fsync of its folder).
        """

    def put(self, name: str, data: bytes) -> None:
        """Replace the object, atomically but not durably: for hints only."""

    def list_from(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """All objects whose name starts with the folder `prefix` ("" or "a/b/") and sorts after `after`.

        In order of name (code points), recursive, without folders, links or special files; a server that keeps objects
        in folders may list those of a folder where the folder's own name sorts. Pages are requested as they are needed.
        """

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete objects; a missing one is not an error. Never follows a link.

        Tries every name, then raises the first error.
        """

    def now_us(self) -> int:
        """The store's clock, microseconds since 1970: the one behind `Entry.modified_us`."""

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
        """Random access to a data file; if its `size` is given, no request asks for it.

        If it is missing: `CorruptTableError`, now or from the first read.
        """

    def create(self, name: str) -> Sink:
        """Begin a new data file. Names are unique by construction; one that exists is an error if checking is free."""

    def url(self, name: str) -> str:
        """The absolute path or URL by which other tools open the object."""


class EnsuresDurable(Protocol):
    """A store where an object that can be read may not be durable yet."""

    def ensure_durable(self, name: str) -> None:
        """Ensure an existing object is durable, whichever process created it. Raises `StoreError`."""


class Locks(Protocol):
    """A store with an advisory lock for each table."""

    def lock(self, timeout_seconds: float) -> AbstractContextManager[bool]:
        """An advisory lock on the table; yields whether it is held. Correctness never depends on it."""


class HasUploads(Protocol):
    """A store that keeps large files that were begun and never completed, invisibly."""

    def abort_uploads(self, is_own: Callable[[str], bool], before_us: int) -> int:
        """Abort uploads that began before a time by the store's clock and have one's own names; returns how many."""


class Pins(Protocol):
    """A store whose folders can be moved, and in which a folder can be held on to."""

    def pinned(self, folder: str) -> AbstractContextManager[None]:
        """Context manager in which this thread's `put_if_absent` below a folder goes to the one that is there now.

        If it has been moved away or replaced meanwhile: `StoreError`, whose failure is `MOVED`.
        """


class MovesFolders(Protocol):
    """A store with folders, which can be moved in one step."""

    def top_folders(self) -> list[str]:
        """The names of the folders directly below the root, links aside."""

    def move_folder(self, folder: str, to: str) -> bool:
        """Give a folder another, free name, durably, with all that is in it; False if there is no such folder."""

    def remove_folders(self, folder: str) -> bool:
        """Remove a folder and those below it, except those that hold a file. Returns whether it is gone."""


class Maps(Protocol):
    """A store whose files can be mapped into memory."""

    def mapped(self, name: str) -> mmap.mmap | bytes:
        """A data file as memory, read as it is used. Missing: `CorruptTableError`."""


DELETED_AT_ONCE = 1_000
"""Names in one request: S3's limit."""


class LeavesOut(Protocol):
    """A store that may hold what `list_from` does not list."""

    def left_out(self) -> Iterator[str]:
        """Names below the root that a listing leaves out: links, special files, names that `get` would refuse."""


class HasAbove(Protocol):
    """A store whose root is in folders that can be looked into."""

    def above(self, name: str) -> str | None:
        """The nearest folder above the root that has a file of this name."""


class ReadByArrow(Protocol):
    """A store that Arrow's own readers can open."""

    def arrow(self) -> tuple[pafs.FileSystem, str]:
        """Arrow's file system for reading, and the root's path in it."""


def ensure_durable(store: Store, name: str) -> None:
    """Ensure an existing object is durable; does nothing if objects are durable as soon as they can be read."""
    own: EnsuresDurable | None = _if_it_has(store, "ensure_durable")
    if own is not None:
        own.ensure_durable(name)


def lock(store: Store, timeout_seconds: float) -> AbstractContextManager[bool]:
    """The store's advisory lock; yields whether it is held: False if the store has none."""
    own: Locks | None = _if_it_has(store, "lock")
    return nullcontext(enter_result=False) if own is None else own.lock(timeout_seconds)


def left_out(store: Store) -> Iterator[str]:
    """What a listing of everything leaves out; nothing if the store lists all that it holds.

    Cost: as a listing.
    """
    own: LeavesOut | None = _if_it_has(store, "left_out")
    return iter(()) if own is None else own.left_out()


def above(store: Store, name: str) -> str | None:
    """The nearest folder above the root that has a file of this name; None if there is none, or if it is unknown."""
    own: HasAbove | None = _if_it_has(store, "above")
    return None if own is None else own.above(name)


def backend(store: Store) -> str | None:
    """The library that serves the store, such as `s3fs`; None if txfiles does so itself."""
    found: str | None = getattr(store, "backend", None)
    return found


def backend_reason(store: Store) -> str | None:
    """Why the store is not reached through a faster library, for people; None if it is, or if the caller chose."""
    found: str | None = getattr(store, "backend_reason", None)
    return found


def is_lost_upload(error: StoreError) -> bool:
    """Whether the store forgot an upload before it was complete: the same rows can be written under another name."""
    return error.evidence.get("failure") == LOST_UPLOAD


def abort_uploads(store: Store, is_own: Callable[[str], bool], before_us: int) -> int:
    """Abort uploads that began before a time and have one's own names; 0 if the store has no uploads."""
    own: HasUploads | None = _if_it_has(store, "abort_uploads")
    return 0 if own is None else own.abort_uploads(is_own, before_us)


def is_moved(error: StoreError) -> bool:
    """Whether the folder to write to was moved away or replaced."""
    return error.evidence.get("failure") == MOVED


def pinned(store: Store, folder: str) -> AbstractContextManager[None]:
    """See `Pins.pinned`; does nothing if the store has no folders that could be moved."""
    own: Pins | None = _if_it_has(store, "pinned")
    return nullcontext() if own is None else own.pinned(folder)


def moves_folders(store: Store) -> MovesFolders | None:
    """The store, if it can move folders."""
    found: MovesFolders | None = _if_it_has(store, "move_folder")
    return found


def top_folders(store: Store) -> list[str]:
    """The names of the folders directly below the root; none if the store has no folders."""
    own = moves_folders(store)
    return [] if own is None else own.top_folders()


def mapped(store: Store, name: str) -> mmap.mmap | bytes | None:
    """A data file as memory; None if this store's files cannot be mapped. Missing: `CorruptTableError`."""
    own: Maps | None = _if_it_has(store, "mapped")
    return None if own is None else own.mapped(name)


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
