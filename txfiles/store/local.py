"""A store in a folder of this machine's file system, or of one that is mounted on it.

A name appears whole or not at all: the bytes go to a temporary name beside it (`.tmp-…`), are fsynced, and are
then given their name by `link`, which never replaces; then the folder is fsynced. A crash leaves at most a
temporary name, which readers ignore and vacuum removes. A process that dies between the link and the last fsync
leaves a name that stands, and that the file system makes durable in its own time.

Where the file system has no hard links, something else must see to it that there is one writer at a time: with a
lock given, a name is looked for and then given by `rename` while that lock is held; without one, nothing is written.

Source: link(2), fsync(2); specs/5-commit.md.
"""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from txfiles.core import names
from txfiles.errors import Committed, CorruptTableError, InputError, NoAtomicCreateError
from txfiles.store import common
from txfiles.store.folders import CREATE, Folders, ensure_durable, failure, remember_durable, sync, telling
from txfiles.store.port import Capabilities, Entry, Lock, Put

if TYPE_CHECKING:
    import pyarrow.fs as pafs
    from filelock import BaseFileLock

TEMPORARY_PREFIX = ".tmp-"
LOCK_POLL_SECONDS = 0.001
"""A commit holds the lock for two or three milliseconds, and a try costs microseconds."""
GIVEN_LOCK_SECONDS = 60.0
"""How long a lock that was given as a path is waited for; a lock object has its own time-out."""
WRITE_BUFFER_BYTES = 1 << 20
"""Pieces smaller than this are collected, since a Parquet writer emits page headers of a few bytes."""

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""How file systems say that they have no hard links."""
_NOT_LINKED = frozenset({errno.EACCES, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOSPC, errno.EROFS})
"""A `link` that fails so was refused. After any other failure (EIO, a network's) the name may stand."""

_Found = list[Entry | str]
"""Files, and folders as prefixes ("a/b/")."""


class LocalStore:
    """Named bytes below a folder. Folders come into being with the first file in them.

    Args:
        root: the table's folder; made absolute at once, so that a later `chdir` changes nothing. `~` is not
            expanded. It may be a symbolic link, and need not exist.
        lock: taken where the file system has no hard links, and only there.
    Raises:
        InputError: the path is empty, or holds what no name can.
        UnsupportedTableError: the system is neither Linux nor macOS.
    """

    def __init__(self, root: str | os.PathLike[str], *, lock: Lock | None = None) -> None:
        text = os.fspath(root)
        if not text or "\0" in text or not _is_name(text):
            raise InputError(f"{text!r} is no path of a folder", hint="name the table's folder")
        self._folders = Folders(Path(text).absolute())
        self._given_lock = Path(lock).absolute() if isinstance(lock, str | os.PathLike) else lock

    @property
    def root(self) -> str:
        """The absolute path of the table's folder."""
        return str(self._folders.root)

    @property
    def capabilities(self) -> Capabilities:
        """A listing reads the whole folder; a look costs microseconds, a thread more; NFS may send a link again."""
        return Capabilities(lists_from_a_name=False, requests_at_once=1, resends=True)

    def get(self, name: str, *, limit: int) -> bytes | None:
        """The whole object, or None where there is none. Over `limit` bytes: `CorruptTableError`."""
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
        """Size and last change, or None where there is none."""
        folders, _ = common.split(name)
        with telling("look at", self.url(name)), suppress(FileNotFoundError), self._folders.opened(folders) as folder:
            return _entry(name, self._folders.status(folder, name))
        return None

    def put_if_absent(self, name: str, data: bytes) -> Put:
        """Create the object, whole and durable, only if the name is free.

        Raises:
            NoAtomicCreateError: the file system has no hard links, and no lock was given.
            StoreError: with ``committed="unknown"`` where it stands but may not be durable, or where the file system
                failed while giving it its name. It is not tried again: after a failed fsync the next one may claim
                a success that is none. Otherwise it was not created.
        Cost: two fsyncs and about 15 other system calls; half a millisecond on a virtual disk.
        """
        with self._draft(name, "unknown") as draft:
            draft.write(data)
            return Put.CREATED if draft.publish(remember=True) else Put.EXISTS

    def put(self, name: str, data: bytes) -> None:
        """Replace the object, atomically but not durably: for hints only."""
        with self._draft(name, "no") as draft:
            draft.write(data)
            draft.replace()

    def ensure_durable(self, name: str) -> None:
        """Ensure an existing name is durable: its maker may have been killed before the last fsync.

        Cost: an fsync of its folder, unless this process made or settled that name there last.
        """
        folders, _ = common.split(name)
        with telling("write", self.url(name)), self._folders.opened(folders) as folder:
            ensure_durable(folder, self._folders.status(folder, name))

    def list_from(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """All files below the folder `prefix` that sort after `after`, in order of name (code points).

        Links and special files are skipped, and so are names that `get` would refuse: none of them is a table's.
        Temporary names are listed, for vacuum. A file that comes or goes meanwhile may be listed or not.
        Cost: an open for each step to each folder, a stat for each file; memory for the files of one folder.
        """
        common.folder_of(prefix)
        return self._walk(prefix, after)

    def delete(self, name: str) -> bool:
        """Delete one file; False where there was none. Anything else of that name stays, with an error."""
        folders, last = common.split(name)
        with telling("delete", self.url(name)), suppress(FileNotFoundError), self._folders.opened(folders) as folder:
            self._folders.status(folder, name)
            os.unlink(last, dir_fd=folder)
            return True
        return False

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete files; what is not there is no error. Anything else of such a name stays, with an error at the end."""
        common.delete_each(self.delete, names)

    def now_us(self) -> int:
        """This machine's clock: on a local disk the one that modification times are told by.

        On NFS the server tells them, by its own clock: where the two differ, files look older or younger by as much.
        Nothing but the ages in vacuum rests on it, and vacuum is safe at any age.
        """
        return time.time_ns() // 1_000

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]], size: int | None = None) -> list[bytes]:
        """Some ranges (offset, length) of a data file, in the order asked for."""
        with self.open_input(name, size) as source:
            return common.ranges_of(source, ranges, self.url(name))

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        """Random access to a data file, memory-mapped. Missing: `CorruptTableError`."""
        with telling("read", self.url(name)):
            fd = self._open_file(name)
            if fd is None:
                raise common.missing(self.url(name))
            try:
                if os.fstat(fd).st_size == 0:
                    return pa.BufferReader(b"")  # an empty file cannot be mapped
                # Arrow would map by path, looking it up a second time; this maps the file that was checked.
                # Private: some FUSE mounts have no shared mappings.
                return pa.BufferReader(mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
            finally:
                os.close(fd)

    def create(self, name: str) -> LocalSink:
        """Begin a new data file, under a temporary name beside its own. An existing name is an error."""
        folders, last = common.split(name, reserved=len(TEMPORARY_PREFIX))
        with telling("write", self.url(name)), suppress(FileNotFoundError), self._folders.opened(folders) as folder:
            os.stat(last, dir_fd=folder, follow_symlinks=False)
            raise common.taken(self.url(name))
        draft = _Draft(self._folders, name, TEMPORARY_PREFIX + last, "no", self._given_lock)
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
        """An advisory lock on the table; yields whether it is held, False too where it cannot be made.

        It excludes processes, threads, and stores of one table in one thread. It ends with its process.
        """
        held = self._take_lock(timeout_seconds)
        try:
            yield held is not None
        finally:
            if held is not None:
                held.release()

    def _take_lock(self, timeout_seconds: float) -> BaseFileLock | None:
        folders, _ = common.split(names.LOCK_FILE)
        try:
            folder = self._folders.open(folders, create=True)
            try:
                # Made here, as the umask wants it and through no link: what filelock opens is then known.
                os.close(self._folders.open_file(folder, names.LOCK_FILE, os.O_RDWR | os.O_CREAT))
            finally:
                os.close(folder)
            from filelock import FileLock  # here: 60 ms that only a commit is worth

            # filelock's substitute on a file system without locks, a marker file, would outlive a killed holder.
            lock = FileLock(self.url(names.LOCK_FILE), fallback_to_soft=False)
            lock.acquire(timeout=max(0.0, timeout_seconds), poll_interval=LOCK_POLL_SECONDS)
        except OSError:  # the time is up, or the table is read-only, or there are no locks here
            return None
        return lock

    def _open_file(self, name: str) -> int | None:
        """A descriptor for reading, or None where there is no such file."""
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
        # A folder stands where its files do: by its name and a slash.
        return sorted(found, key=lambda item: item if isinstance(item, str) else item.name, reverse=True)

    @contextmanager
    def _draft(self, name: str, doubt: Committed) -> Iterator[_Draft]:
        draft = _Draft(self._folders, name, TEMPORARY_PREFIX + secrets.token_hex(16), doubt, self._given_lock)
        try:
            yield draft
        finally:
            draft.discard()


class LocalSink:
    """A data file in the making. For one thread at a time.

    It is not itself a file for pyarrow, which closes the files that it is given, also on the way out of an error:
    wrap it in an object whose `close` does nothing, and call this `close` at the end.
    """

    def __init__(self, draft: _Draft, where: str) -> None:
        self._draft = draft
        self._where = where
        self._buffer = bytearray()
        self._bytes = 0
        self._published = False

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Append bytes; returns how many. After an error the file is gone."""
        if self._draft.over:
            raise common.finished(self._where)
        view = memoryview(data).cast("B")
        if len(self._buffer) + view.nbytes < WRITE_BUFFER_BYTES:
            self._buffer += view
        else:
            self._empty_buffer()
            self._draft.write(view)
        self._bytes += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """Bytes written so far."""
        return self._bytes

    def close(self) -> None:
        """Publish, durably. Again: does nothing. After `abort`, or where somebody has the name: `StoreError`."""
        if self._published:
            return
        if self._draft.over:
            raise common.finished(self._where)
        try:
            self._empty_buffer()
            if not self._draft.publish():
                raise common.taken(self._where)
        finally:
            self._draft.discard()
        self._published = True

    def abort(self) -> None:
        """Forget what was written. After `close` it does nothing: the file stands."""
        self._buffer = bytearray()
        self._draft.discard()

    def _empty_buffer(self) -> None:
        self._draft.write(self._buffer)
        self._buffer = bytearray()


class _Draft:
    """A file under a temporary name, in its open folder.

    Args:
        folders: the table's.
        name: what it is to be called.
        temporary: what it is called until then, in the same folder.
        doubt: what to say of the commit where the name may stand, or stands but may not be durable.
        lock: what excludes every other writer where there are no hard links.
    Raises:
        StoreError: it could not be made; also where somebody has the temporary name.
    """

    def __init__(self, folders: Folders, name: str, temporary: str, doubt: Committed, lock: Lock | None = None) -> None:
        parents, self._last = common.split(name)
        self._where = folders.url(name)
        self._temporary = temporary
        self._doubt: Committed = doubt
        self._lock = lock
        with telling("write", self._where):
            self._folder = folders.open(parents, create=True)
            try:
                self._fd = os.open(temporary, CREATE, 0o666, dir_fd=self._folder)
            except BaseException:
                os.close(self._folder)
                raise
        self.over = False
        self._has_temporary = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all bytes; if that fails, the draft is gone."""
        left = memoryview(data)
        try:
            with telling("write", self._where):
                while left:
                    left = left[os.write(self._fd, left) :]
        except BaseException:
            self.discard()
            raise

    def publish(self, *, remember: bool = False) -> bool:
        """Give the file its name, durably; False where the name is taken. `remember`: and remember that it is."""
        with telling("write", self._where):
            os.fsync(self._fd)
        if not self._link():
            return False
        self._drop_temporary()
        try:
            sync(self._folder)
        except OSError as error:
            if self._doubt == "no":
                self._unlink(self._last)  # nothing knows of this file yet
            raise failure(error, "write", self._where, self._doubt) from error
        if remember:
            remember_durable(self._folder, os.fstat(self._fd))
        return True

    def replace(self) -> None:
        """Give the file its name, whatever had it, and not durably."""
        with telling("write", self._where):
            os.rename(self._temporary, self._last, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._has_temporary = False

    def discard(self) -> None:
        """Close the file, and remove its temporary name where it still has it. Never raises."""
        if self.over:
            return
        self.over = True
        self._drop_temporary()
        for fd in (self._fd, self._folder):
            with suppress(OSError):  # what matters was fsynced
                os.close(fd)

    def _link(self) -> bool:
        try:
            os.link(
                self._temporary,
                self._last,
                src_dir_fd=self._folder,
                dst_dir_fd=self._folder,
                follow_symlinks=False,
            )
        except FileExistsError:
            return self._is_ours()
        except OSError as error:
            if error.errno in _NO_LINKS and self._lock is not None:
                return self._rename(lock_of(self._lock))
            if error.errno in _NO_LINKS:
                raise NoAtomicCreateError(
                    f"{self._where} could not be created: its file system has no hard links ({error.strerror})",
                    hint="exFAT, SMB and most mounts of buckets have none, and no commit could be trusted there: "
                    "keep the table on a local disk or NFS, or let every writer name the same lock (lock=, --lock)",
                    path=self._where,
                    errno=error.errno,
                ) from error
            committed = "no" if error.errno in _NOT_LINKED else self._doubt
            raise failure(error, "write", self._where, committed) from error
        return True

    def _rename(self, lock: AbstractContextManager[Any]) -> bool:
        """What `_link` does, while every other writer is excluded: see that the name is free, and take it."""
        with common.holding(lock, self._where):
            try:
                with suppress(FileNotFoundError):
                    os.stat(self._last, dir_fd=self._folder, follow_symlinks=False)
                    return False
                os.rename(self._temporary, self._last, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            except OSError as error:
                committed = "no" if error.errno in _NOT_LINKED else self._doubt
                raise failure(error, "write", self._where, committed) from error
            self._has_temporary = False
        return True

    def _is_ours(self) -> bool:
        """Whether the name that exists is this very file.

        On NFS the reply to a link may be lost, and the repeated request then finds the name that it made itself.
        """
        own = os.fstat(self._fd)
        if own.st_nlink == 1:
            return False
        try:
            return os.path.samestat(own, os.stat(self._last, dir_fd=self._folder, follow_symlinks=False))
        except OSError as error:
            raise failure(error, "look at", self._where, self._doubt) from error

    def _drop_temporary(self) -> None:
        if self._has_temporary:
            self._has_temporary = False
            self._unlink(self._temporary)

    def _unlink(self, last: str) -> None:
        with suppress(OSError):  # at worst vacuum finds it
            os.unlink(last, dir_fd=self._folder)


def lock_of(given: Lock) -> AbstractContextManager[Any]:
    """The context manager of a lock; of a path, a file lock."""
    if not isinstance(given, str | os.PathLike):
        return given
    from filelock import FileLock  # here: few file systems need it

    return FileLock(given, GIVEN_LOCK_SECONDS, fallback_to_soft=False, poll_interval=LOCK_POLL_SECONDS)


def _is_name(text: str) -> bool:
    """Whether the system has bytes for a path: any but lone surrogates other than those that stand for a byte."""
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
