"""A store in a folder of this machine's file system, or of one that is mounted on it.

A file appears completely or not at all (see `drafts`), and no path to it follows a link (see `folders`).

Source: specs/5-commit.md.
"""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from txfiles.core import names
from txfiles.core.messages import is_unicode
from txfiles.errors import Committed, CorruptTableError, InputError, StoreError
from txfiles.store import common
from txfiles.store.drafts import TEMPORARY_PREFIX, Draft, LocalSink
from txfiles.store.folders import Folders, ensure_durable, failure, telling
from txfiles.store.locks import file_lock, kept_lock
from txfiles.store.moving import MovesLocalFolders, moved
from txfiles.store.port import Capabilities, Entry, Lock, Put

if TYPE_CHECKING:
    import pyarrow.fs as pafs

_Found = list[Entry | str]
"""Files, and folders as prefixes ("a/b/")."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A folder of a store that is held open, so that its inode is not given to another."""

    root: str
    folder: str
    fd: int


_PINNED: ContextVar[_Held | None] = ContextVar("pinned", default=None)
"""The folder that this thread holds on to."""


class LocalStore(MovesLocalFolders):
    """Named bytes below a folder. A folder is created with the first file in it.

    Args:
        root: the table's folder; made absolute at once, so that a later `chdir` changes nothing. `~` is not
            expanded. It may be a symbolic link, and need not exist.
        lock: taken only if the file system has no hard links.
    Raises:
        InputError: the path is empty, or contains something that no name can.
        UnsupportedTableError: the system is neither Linux nor macOS.
    """

    def __init__(self, root: str | os.PathLike[str], *, lock: Lock | None = None) -> None:
        text = os.fspath(root)
        if not text or "\0" in text or not _is_name(text):
            raise InputError(f"{text!r} is not the path of a folder", hint="name the table's folder")
        self._folders = Folders(Path(text).absolute())
        self._given_lock = kept_lock(lock)

    @property
    def root(self) -> str:
        """The absolute path of the table's folder."""
        return str(self._folders.root)

    @property
    def capabilities(self) -> Capabilities:
        """A listing reads the whole folder; a look costs microseconds, a thread more; NFS may send a link again."""
        return Capabilities(lists_from_a_name=False, requests_at_once=1, resends=True)

    def get(self, name: str, *, limit: int) -> bytes | None:
        """The whole object, or None if there is none. Over `limit` bytes: `CorruptTableError`."""
        with telling("read", self.url(name)):
            fd = self._open_file(name)
            if fd is None:
                return None
            try:
                size = os.fstat(fd).st_size
                if size > limit:
                    raise common.over_limit(self.url(name), size, limit)
                data = _read(fd, size + 1)
            finally:
                os.close(fd)
        if len(data) != size:
            raise CorruptTableError(
                f"{self.url(name)} changed while it was read", hint="something other than txfiles writes to it"
            )
        return data

    def stat(self, name: str) -> Entry | None:
        """Size and last change, or None if there is none."""
        folders, _ = common.split(name)
        with telling("look at", self.url(name)), suppress(FileNotFoundError), self._folders.opened(folders) as folder:
            return _entry(name, self._folders.status(folder, name))
        return None

    def put_if_absent(self, name: str, data: bytes) -> Put:
        """Create the object, complete and durable, only if the name is free.

        Raises:
            NoAtomicCreateError: the file system has no hard links, and no lock was given.
            StoreError: with ``committed="unknown"`` if it exists but may not be durable, or if the file system failed
                while giving it its name. It is not retried: after a failed fsync the next one may falsely report
                success. Otherwise it was not created.
        Cost: two fsyncs and about 15 other system calls; half a millisecond on a virtual disk.
        """
        held = _PINNED.get()
        if held is None or held.root != self.root or not name.startswith(held.folder + "/"):
            with self._draft(name, "unknown") as draft:
                draft.write(data)
                return Put.CREATED if draft.publish(remember=True) else Put.EXISTS
        try:
            with self._draft(name, "unknown", within=held.fd) as draft:
                draft.write(data)
                put = Put.CREATED if draft.publish(remember=True) else Put.EXISTS
                try:
                    in_place = self._folders.is_at(held.fd, [held.folder])
                except OSError as error:
                    raise failure(error, "look at", self.url(name), "unknown") from error
                if not in_place:  # the name is in a folder that is being removed: no reader will ever see it
                    raise moved(self.url(held.folder))
                return put
        except StoreError as error:
            if error.evidence.get("errno") == errno.ENOENT:
                raise moved(self.url(held.folder)) from error
            raise

    @contextmanager
    def pinned(self, folder: str) -> Iterator[None]:
        """See `port.Pins`. Cost: an open, and two with each `put_if_absent`; nothing if the folder is not there yet."""
        fd: int | None = None
        with telling("read", self.url(folder)), suppress(FileNotFoundError):
            fd = self._folders.open([folder], create=True, existing=1)
        if fd is None:
            yield
            return
        held = _PINNED.set(_Held(self.root, folder, fd))
        try:
            yield
        finally:
            _PINNED.reset(held)
            os.close(fd)

    def put(self, name: str, data: bytes) -> None:
        """Replace the object, atomically but not durably: for hints only. A log that is not there is not begun."""
        # A late writer's hint or checkpoint must not begin another log where one was taken away.
        existing = 1 if name == names.HINT_FILE or name.startswith(names.CHECKPOINT_DIR) else 0
        with self._draft(name, "no", existing=existing) as draft:
            draft.write(data)
            draft.replace()

    def ensure_durable(self, name: str) -> None:
        """Ensure an existing name is durable: its creator may have been killed before the last fsync.

        Cost: an fsync of its folder, unless this process did that for the same name last.
        """
        folders, _ = common.split(name)
        with telling("write", self.url(name)), self._folders.opened(folders) as folder:
            ensure_durable(folder, self._folders.status(folder, name))

    def list_from(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """All files below the folder `prefix` that sort after `after`, in order of name (code points).

        Links and special files are skipped, and so are names that `get` would refuse: none of them is a table's.
        Temporary names are listed, for vacuum. A file that appears or disappears meanwhile may be listed or not.
        Cost: an open for each step to each folder, a stat for each file; memory for the files of one folder.
        """
        common.folder_of(prefix)
        return self._walk(prefix, after)

    def left_out(self) -> Iterator[str]:
        """Links, special files and names that are not text, anywhere below the root but in the log.

        Cost: an open for each step to each folder; no stat.
        """
        pending = [""]
        while pending:
            prefix = pending.pop()
            with (
                telling("list", self.url(prefix)),
                suppress(FileNotFoundError),
                self._folders.opened(common.folder_of(prefix)) as folder,
                os.scandir(folder) as entries,
            ):
                for entry in entries:
                    name = prefix + entry.name
                    if not is_unicode(entry.name):
                        yield name
                    elif entry.is_dir(follow_symlinks=False):
                        pending += [] if name + "/" == names.LOG_DIR else [name + "/"]
                    elif not entry.is_file(follow_symlinks=False):
                        yield name

    def above(self, name: str) -> str | None:
        """The nearest folder above the root that has a file of this name; None if none of those one may look into has.

        Cost: a stat for each folder above.
        """
        for folder in Path(self.root).parents:
            with suppress(OSError):
                (folder / name).stat()
                return str(folder)
        return None

    def delete(self, name: str) -> bool:
        """Delete one file; False if there was none. Anything else with that name stays, and is an error."""
        folders, last = common.split(name)
        with telling("delete", self.url(name)), suppress(FileNotFoundError), self._folders.opened(folders) as folder:
            self._folders.status(folder, name)
            os.unlink(last, dir_fd=folder)
            return True
        return False

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete files; a missing one is not an error. Anything else with such a name stays, and is an error."""
        common.delete_each(self.delete, names)

    def now_us(self) -> int:
        """This machine's clock: on a local disk, the one that sets modification times.

        On NFS the server sets them by its own clock; if the two differ, files look older or younger by as much. Only
        the ages in vacuum depend on it, and vacuum is safe at any age.
        """
        return time.time_ns() // 1_000

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]], size: int | None = None) -> list[bytes]:
        """Some ranges (offset, length) of a data file, in the order asked for."""
        with self.open_input(name, size) as source:
            return common.ranges_of(source, ranges, self.url(name))

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        """Random access to a data file, memory-mapped. Missing: `CorruptTableError`."""
        return pa.BufferReader(self.mapped(name))

    def mapped(self, name: str) -> mmap.mmap | bytes:
        """A data file as memory. Missing: `CorruptTableError`."""
        with telling("read", self.url(name)):
            fd = self._open_file(name)
            if fd is None:
                raise common.missing(self.url(name))
            try:
                if os.fstat(fd).st_size == 0:
                    return b""  # an empty file cannot be mapped
                # Arrow would map by path, looking it up a second time; this maps the file that was checked.
                # Private: some FUSE mounts have no shared mappings.
                return mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
            finally:
                os.close(fd)

    def create(self, name: str) -> LocalSink:
        """Begin a new data file, under a temporary name beside its final one. A name that exists is an error."""
        folders, last = common.split(name, reserved=len(TEMPORARY_PREFIX))
        with telling("write", self.url(name)), suppress(FileNotFoundError), self._folders.opened(folders) as folder:
            os.stat(last, dir_fd=folder, follow_symlinks=False)
            raise common.taken(self.url(name))
        draft = Draft(self._folders, name, TEMPORARY_PREFIX + last, "no", self._given_lock)
        return LocalSink(draft, self.url(name))

    def url(self, name: str) -> str:
        """The absolute path of the object."""
        return self._folders.url(name)

    def arrow(self) -> tuple[pafs.FileSystem, str]:
        """Arrow's local file system and the root's path."""
        import pyarrow.fs as pafs  # here: 20 ms that only other readers need

        return pafs.LocalFileSystem(), self.root

    @contextmanager
    def lock(self, timeout_seconds: float) -> Iterator[bool]:
        """An advisory lock on the table; yields whether it is held (not if it cannot be created).

        It excludes processes, threads, and stores of one table in one thread. It ends with its process.
        """
        release = self._take_lock(timeout_seconds)
        try:
            yield release is not None
        finally:
            if release is not None:
                release()

    def _take_lock(self, timeout_seconds: float) -> Callable[[], object] | None:
        """The function that releases the lock; None if it is not held."""
        folders, _ = common.split(names.LOCK_FILE)
        try:
            folder = self._folders.open(folders, create=True, existing=1)
            try:
                # Created here, by the umask and through no link, so that what filelock opens is known.
                os.close(self._folders.open_file(folder, names.LOCK_FILE, os.O_RDWR | os.O_CREAT))
            finally:
                os.close(folder)
            lock = file_lock(self.url(names.LOCK_FILE))
            lock.acquire(timeout=max(0.0, timeout_seconds))
        except OSError:  # the time is up, or the table is read-only, or there are no locks here
            return None
        return lock.release

    def _open_file(self, name: str) -> int | None:
        """A descriptor for reading, or None if there is no such file."""
        folders, _ = common.split(name)
        with suppress(FileNotFoundError), self._folders.opened(folders) as folder:
            return self._folders.open_file(folder, name, os.O_RDONLY)
        return None

    def _walk(self, prefix: str, after: str) -> Iterator[Entry]:
        pending: _Found = [prefix]
        while pending:
            item = pending.pop()
            if isinstance(item, Entry):
                yield item
            else:
                pending += self._scan(item, after)

    def _scan(self, prefix: str, after: str) -> _Found:
        """The files and folders in one folder, the last first."""
        folders = common.folder_of(prefix)
        found: _Found = []
        with (
            telling("list", self.url(prefix)),
            suppress(FileNotFoundError),
            self._folders.opened(folders) as folder,
            os.scandir(folder) as entries,
        ):
            found = [item for entry in entries if (item := _found(prefix, entry, after)) is not None]
        # A folder sorts where its files do: by its name and a slash.
        return sorted(found, key=lambda item: item if isinstance(item, str) else item.name, reverse=True)

    @contextmanager
    def _draft(self, name: str, doubt: Committed, *, existing: int = 0, within: int | None = None) -> Iterator[Draft]:
        temporary = TEMPORARY_PREFIX + secrets.token_hex(16)
        draft = Draft(self._folders, name, temporary, doubt, self._given_lock, existing=existing, within=within)
        try:
            yield draft
        finally:
            draft.discard()


def _is_name(text: str) -> bool:
    """Whether a path has a form in bytes: lone surrogates have none, except those that stand for a byte."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _read(fd: int, most: int) -> bytes:
    """What is left of a file, at most so many bytes."""
    pieces: list[bytes] = []
    while most and (piece := os.read(fd, most)):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _found(prefix: str, entry: os.DirEntry[str], after: str) -> Entry | str | None:
    """A file, or a folder's prefix; None for what is neither, is gone by now, or sorts before what is wanted."""
    name = prefix + entry.name
    folder = name + "/"
    try:
        common.split(entry.name)
        if entry.is_dir(follow_symlinks=False):
            return folder if folder > after or after.startswith(folder) else None
        if name > after and entry.is_file(follow_symlinks=False):
            return _entry(name, entry.stat(follow_symlinks=False))
    except (FileNotFoundError, InputError):
        return None
    return None


def _entry(name: str, status: os.stat_result) -> Entry:
    return Entry(name, status.st_size, status.st_mtime_ns // 1_000)
