"""The store on a local disk: create-if-absent by `link`, durable by fsync, confined by refusing links.

A small object is written beside its name, fsynced, linked to the name (which fails if the name is taken),
and the folder is fsynced. A data file is written under a temporary name and gets its own only when it is
whole and durable. Below the root nothing that is not a regular file is opened and no link is followed.

Source: specs/5-commit.md, "Commit"; link(2), open(2), fsync(2); measurements of other ways are in
specs/decisions/0005-local-commit.md.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from txfiles.core import names
from txfiles.errors import CorruptTableError, InputError, NoAtomicCreateError, StoreError
from txfiles.store.port import Entry, Put

if TYPE_CHECKING:
    import pyarrow.fs as pafs

BUFFER_BYTES = 256 * 1024
"""Small writes to a data file are gathered up to this size, to spare system calls."""

LOCK_POLL_SECONDS = 0.002
"""How often a waiting writer looks at the lock: well below the milliseconds that a commit takes."""

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HINTS = {
    errno.EACCES: "the user that runs this needs the right to read and write there",
    errno.EPERM: "the user that runs this needs the right to read and write there",
    errno.EROFS: "the file system is mounted read-only",
    errno.ENOSPC: "there is no space left on the device: make room and run it again",
    errno.EDQUOT: "the disk quota is used up: make room and run it again",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.EIO: "the disk failed; look at the system's log before anything else",
}


class LocalStore:
    """A folder on a local disk.

    Args:
        root: the table's folder; need not exist. It may be a link itself; nothing below it is followed.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = os.path.abspath(os.fspath(root))

    @property
    def root(self) -> str:
        """The absolute path of the folder."""
        return self._root

    def get(self, name: str, *, limit: int) -> bytes | None:
        """The whole object, or None where there is none."""
        opened = self._open(name)
        if opened is None:
            return None
        with os.fdopen(opened, "rb", buffering=0) as file:
            size = os.fstat(opened).st_size
            if size > limit:
                raise CorruptTableError(
                    f"{self.url(name)} has {size} bytes, more than the {limit} that it may have",
                    hint="it is damaged, or not what its name says",
                    file=self.url(name),
                )
            try:
                return file.read(limit + 1)
            except OSError as error:
                raise _failed("read", self.url(name), error) from error

    def stat(self, name: str) -> Entry | None:
        """Size and last change, or None where there is none."""
        path = self._path(name)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed("read", path, error) from error
        _require_regular(path, found)
        return Entry(name, found.st_size, found.st_mtime_ns // 1_000)

    def put_if_absent(self, name: str, data: bytes) -> Put:
        """Create the object, whole and durable, only if the name is free."""
        path = self._path(name)
        folder = os.path.dirname(path)
        self._make_folder(folder)
        temporary = os.path.join(folder, f".tmp-{uuid.uuid4().hex}")
        try:
            _write_durably(temporary, data)
            created = _link(temporary, path)
        except OSError as error:
            raise _failed("write", path, error) from error
        finally:
            with suppress(OSError):  # what stays is an orphan for vacuum
                os.unlink(temporary)
        if not created:
            return Put.EXISTS
        try:
            _sync_folder(folder)
        except OSError as error:
            # It stands, and may be gone after a power failure. A second fsync could answer "fine" for lost pages.
            raise _failed("make durable", path, error, committed="unknown") from error
        return Put.CREATED

    def put(self, name: str, data: bytes) -> None:
        """Replace the object, atomically but not durably: for hints only."""
        path = self._path(name)
        temporary = os.path.join(os.path.dirname(path), f".tmp-{uuid.uuid4().hex}")
        try:
            with os.fdopen(os.open(temporary, _CREATE, 0o666), "wb", buffering=0) as file:
                file.write(data)
            os.rename(temporary, path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise _failed("write", path, error) from error

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """All objects whose name starts with the folder `prefix` and sorts after `after`, in order of name."""
        found = list(self._walk(self._path(prefix.rstrip("/")) if prefix else self._root, prefix))
        return iter(sorted((entry for entry in found if entry.name > after), key=lambda entry: entry.name))

    def delete(self, name: str) -> bool:
        """Delete one object; False where there was none. Never follows a link."""
        path = self._path(name)
        try:
            _require_regular(path, os.lstat(path))
            os.unlink(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _failed("delete", path, error) from error
        return True

    def now_us(self) -> int:
        """The clock by which a local file system stamps its files is the machine's own.

        On NFS the server stamps them; its clock should agree with the clients' to well within the grace.
        """
        return time.time_ns() // 1_000

    def open_input(self, name: str) -> pa.NativeFile:
        """Random access to a data file, mapped into memory."""
        opened = self._open(name)
        if opened is None:
            raise CorruptTableError(
                f"the data file {self.url(name)} is missing",
                hint="restore it from a backup; was it deleted by hand?",
                file=self.url(name),
            )
        try:
            if os.fstat(opened).st_size == 0:
                return pa.BufferReader(b"")
            # Through /proc where there is one, so that what was checked is what is mapped.
            through = f"/proc/self/fd/{opened}"
            return pa.memory_map(through if os.path.exists(through) else self.url(name))
        except OSError as error:
            raise _failed("read", self.url(name), error) from error
        finally:
            os.close(opened)

    def create(self, name: str) -> LocalSink:
        """Begin a new data file."""
        path = self._path(name)
        self._make_folder(os.path.dirname(path))
        return LocalSink(path)

    def url(self, name: str) -> str:
        """The absolute path of an object."""
        return os.path.join(self._root, name)

    def arrow(self) -> tuple[pafs.FileSystem, str]:
        """Arrow's local file system, and the root."""
        import pyarrow.fs as pafs

        return pafs.LocalFileSystem(), self._root

    @contextmanager
    def lock(self, timeout_seconds: float) -> Iterator[bool]:
        """An advisory lock among the processes and threads of this machine; yields whether it is held."""
        import filelock

        path = self._path(names.LOCK_FILE)
        lock = filelock.FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=timeout_seconds, poll_interval=LOCK_POLL_SECONDS)
        except (filelock.Timeout, OSError, NotImplementedError):
            yield False  # passed over: it only spares lost races
            return
        try:
            yield True
        finally:
            lock.release()

    def _path(self, name: str) -> str:
        """The absolute path of a name, none of whose folders is a link."""
        segments = name.split("/")
        for segment in segments:
            if segment in ("", ".", "..") or "\0" in segment:
                raise InputError(f"{name!r} is no name below {self._root}")
            if len(os.fsencode(segment)) > names.SEGMENT_LIMIT_BYTES:
                raise InputError(
                    f"{segment[:40]!r}… is longer than the {names.SEGMENT_LIMIT_BYTES} bytes of a file name"
                )
        path = self._root
        for segment in segments[:-1]:
            path = os.path.join(path, segment)
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                break  # nor is there anything below it
            except OSError as error:
                raise _failed("read", path, error) from error
            if not stat_module.S_ISDIR(mode):
                raise _not_ours(path, "a link" if stat_module.S_ISLNK(mode) else "no folder")
        return os.path.join(self._root, *segments)

    def _open(self, name: str) -> int | None:
        """A descriptor of a regular file, or None where there is none."""
        path = self._path(name)
        try:
            opened = os.open(path, _READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _not_ours(path, "a link") from error
            raise _failed("read", path, error) from error
        try:
            _require_regular(path, os.fstat(opened))
        except CorruptTableError:
            os.close(opened)
            raise
        return opened

    def _walk(self, path: str, prefix: str) -> Iterator[Entry]:
        try:
            entries = list(os.scandir(path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed("list", path, error) from error
        for entry in entries:
            name = prefix + entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(entry.path, name + "/")
                elif entry.is_file(follow_symlinks=False):
                    found = entry.stat(follow_symlinks=False)
                    yield Entry(name, found.st_size, found.st_mtime_ns // 1_000)
            except FileNotFoundError:
                continue  # deleted since the folder was read
            except OSError as error:
                raise _failed("read", entry.path, error) from error

    def _make_folder(self, folder: str) -> None:
        """Make a folder and those above it, each durable in the one above."""
        if os.path.isdir(folder):
            return
        above = os.path.dirname(folder)
        if above != folder:
            self._make_folder(above)
        try:
            os.mkdir(folder)
            _sync_folder(above)
        except FileExistsError:
            return  # another writer was first
        except OSError as error:
            raise _failed("create", folder, error) from error


class LocalSink:
    """A data file in the making, under a temporary name beside its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._temporary = os.path.join(os.path.dirname(path), f".tmp-{os.path.basename(path)}")
        self._written = 0
        try:
            self._file = os.fdopen(os.open(self._temporary, _CREATE, 0o666), "wb", buffering=BUFFER_BYTES)
        except OSError as error:
            raise _failed("create", path, error) from error

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Append bytes; returns how many."""
        try:
            size = self._file.write(data)
        except OSError as error:
            raise _failed("write", self._path, error) from error
        self._written += size
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self._written

    def close(self) -> None:
        """Make the file durable, give it its name, and make that durable."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            if not _link(self._temporary, self._path):
                raise StoreError(f"{self._path} exists already, though its name is unique", hint="run it again")
            os.unlink(self._temporary)
            _sync_folder(os.path.dirname(self._path))
        except OSError as error:
            self.abort()
            raise _failed("write", self._path, error) from error

    def abort(self) -> None:
        """Forget what was written."""
        with suppress(OSError, ValueError):
            self._file.close()
        with suppress(OSError):
            os.unlink(self._temporary)


def _write_durably(path: str, data: bytes) -> None:
    with os.fdopen(os.open(path, _CREATE, 0o666), "wb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())


def _link(source: str, target: str) -> bool:
    """Give a file its name; False if the name is taken by another file."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        # On NFS a reply may be lost: the name is ours if the file has two names (link(2), BUGS).
        return os.stat(source, follow_symlinks=False).st_nlink == 2  # noqa: PLR2004
    except OSError as error:
        if error.errno in _NO_LINKS and os.path.exists(source):
            raise NoAtomicCreateError(
                f"the file system of {target} cannot create a name once and only once: "
                f"link failed with {os.strerror(error.errno or 0)}",
                hint="put the table on a file system with hard links (ext4, xfs, btrfs, NFS, APFS, NTFS)",
            ) from error
        raise
    return True


def _sync_folder(folder: str) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _require_regular(path: str, found: os.stat_result) -> None:
    if not stat_module.S_ISREG(found.st_mode):
        raise _not_ours(path, "a link" if stat_module.S_ISLNK(found.st_mode) else "no regular file")


def _not_ours(path: str, what: str) -> CorruptTableError:
    return CorruptTableError(
        f"{path} is {what}, and is not followed or opened",
        hint="a table holds regular files and folders only: remove it, or put the file itself there",
        file=path,
    )


def _failed(verb: str, path: str, error: OSError, committed: str = "no") -> StoreError:
    what = os.strerror(error.errno) if error.errno else str(error)
    return StoreError(
        f"could not {verb} {path}: {what}",
        hint=_HINTS.get(error.errno or 0, "the store said no more; run it again once it is well"),
        committed=committed,  # type: ignore[arg-type]
        file=path,
    )
