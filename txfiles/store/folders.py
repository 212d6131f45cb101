"""The folders below a table's root, and the one way into them: step by step, never through a link.

Each folder is opened from its open parent, without following links, and a file from its open folder, so nothing can
change between a check and its use. Opening never blocks: a pipe or a device under a file's name is an error. The root
itself may be a link.

Source: openat(2), fsync(2).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from txfiles.errors import Committed, CorruptTableError, InputError, StoreError, UnsupportedTableError

# Windows has none of these flags: the module can still be imported there, and `Folders` refuses.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_STEP = _FOLDER | _NOFOLLOW
_SAFELY = _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW
"""How to create a file that must not exist yet."""

_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})
"""The file system has no fsync of folders (SMB, some FUSE): its server decides when a name is durable."""

_HINTS = {
    errno.ENOSPC: "no space left on the device: free some, then run the same call again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run the same call again",
    errno.EROFS: "the file system is mounted read-only",
    errno.EMFILE: "this process has too many open files: raise `ulimit -n`",
    errno.ENFILE: "the machine has too many open files",
    errno.EIO: "the device failed: look at the system's log before anything else is written to it",
    errno.ESTALE: "the network file system lost the file: check that it is mounted, then run the same call again",
    errno.ENAMETOOLONG: "this file system wants shorter names",
}
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


_DURABLE: set[tuple[int, int]] = set()
"""Device and inode of the folders whose names this process knows to be durable."""
_DURABLE_NAMES: dict[tuple[int, int], tuple[int, int]] = {}
"""For each folder, the file whose name this process last made durable there."""


class Folders:
    """The tree below a root, which need not exist. Safe to use from several threads.

    Args:
        root: an absolute path.

    Raises:
        UnsupportedTableError: the system cannot open a file by its open folder (Windows).
    """

    def __init__(self, root: Path) -> None:
        if not (hasattr(os, "O_DIRECTORY") and hasattr(os, "O_NOFOLLOW") and os.supports_dir_fd):
            raise UnsupportedTableError(
                f"tables in local folders need Linux or macOS, for the system calls that make commits safe; {root} "
                f"is on {sys.platform}",
                hint="run txfiles on Linux or macOS; on Windows, in WSL",
            )
        self.root = root

    def url(self, name: str) -> str:
        """The absolute path of a name."""
        return f"{str(self.root).rstrip('/')}/{name}"

    @contextmanager
    def opened(self, folders: Sequence[str]) -> Iterator[int]:
        """`open` for reading, closed at the end."""
        fd = self.open(folders, create=False)
        try:
            yield fd
        finally:
            os.close(fd)

    def open(self, folders: Sequence[str], *, create: bool, existing: int = 0, within: int | None = None) -> int:
        """A folder's descriptor, for the caller to close.

        Args:
            folders: the way from the root.
            create: make what is missing, durably.
            existing: how many of the first ones must be there already; they are made durable all the same.
            within: the first one, open already; None: it is looked up.
        Raises:
            FileNotFoundError: it is missing, and `create` is not asked for.
            CorruptTableError: something else is in its place, or in that of a folder above it.
        Cost: one open for each step; with `create`, one more fsync for each folder that is new to this object.
        """
        fd = self._open_root(create=create, existing=existing > 0) if within is None else os.dup(within)
        for depth in range(0 if within is None else 1, len(folders)):
            try:
                child = self._step(fd, "/".join(folders[: depth + 1]), create=create, existing=depth < existing)
            finally:
                os.close(fd)
            fd = child
        return fd

    def is_at(self, fd: int, folders: Sequence[str]) -> bool:
        """Whether an open folder is the one that is at a place now."""
        try:
            with self.opened(folders) as now:
                return os.path.samestat(os.fstat(fd), os.fstat(now))
        except FileNotFoundError:
            return False

    def open_file(self, folder: int, name: str, flags: int) -> int:
        """The descriptor of the regular file `name` in its open folder, for the caller to close.

        Raises:
            FileNotFoundError: there is none.
            CorruptTableError: something else has its name.
        """
        last = name.rpartition("/")[2]
        try:
            fd = os.open(last, flags | _SAFELY, 0o666, dir_fd=folder)
        except OSError:
            self._refuse_other(folder, name, stat.S_IFREG)
            raise
        try:
            self.check_file(name, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def status(self, folder: int, name: str) -> os.stat_result:
        """What the file system says about the regular file `name` in its open folder; raises as `open_file`."""
        status = os.stat(name.rpartition("/")[2], dir_fd=folder, follow_symlinks=False)
        self.check_file(name, status)
        return status

    def check_file(self, name: str, status: os.stat_result, expected: int = stat.S_IFREG) -> None:
        """Raises `CorruptTableError` if something else is in the place of a file."""
        kind = stat.S_IFMT(status.st_mode)
        if kind != expected:
            where = self.url(name)
            raise CorruptTableError(
                f"{where} is {_KINDS.get(kind, 'a device')}, where {_KINDS[expected]} belongs; it was not touched",
                hint="find out who put it there, and restore the table's own from a backup",
                path=where,
            )

    def _refuse_other(self, folder: int, name: str, expected: int) -> None:
        """Raise `CorruptTableError` if opening failed because of what is there; systems differ in the errno."""
        with suppress(FileNotFoundError):
            status = os.stat(name.rpartition("/")[2], dir_fd=folder, follow_symlinks=False)
            self.check_file(name, status, expected)

    def _open_root(self, *, create: bool, existing: bool) -> int:
        made = False
        try:
            fd = os.open(self.root, _FOLDER)
        except NotADirectoryError as error:
            raise InputError(f"{self.root} is not a folder", hint="a table is a folder of files") from error
        except FileNotFoundError:
            if not create or existing:
                raise
            _make(self.root)
            made = True
            fd = os.open(self.root, _FOLDER)
        if create:
            with _closed_on_error(fd), suppress(PermissionError):
                # A process that may not open its parent cannot have created it just now.
                _make_durable(fd, lambda: _sync_path(self.root.parent), already=made)
        return fd

    def _step(self, parent: int, path: str, *, create: bool, existing: bool) -> int:
        """Open the folder `path` from its open parent."""
        last = path.rpartition("/")[2]
        made = False
        try:
            try:
                fd = os.open(last, _STEP, dir_fd=parent)
            except FileNotFoundError:
                if not create or existing:
                    raise
                with suppress(FileExistsError):
                    os.mkdir(last, dir_fd=parent)
                    made = True
                fd = os.open(last, _STEP, dir_fd=parent)
        except OSError:
            self._refuse_other(parent, path, stat.S_IFDIR)
            raise
        if create:
            with _closed_on_error(fd):
                if made:
                    sync(parent)
                _make_durable(fd, lambda: sync(parent), already=made)
        return fd


@contextmanager
def telling(doing: str, where: str) -> Iterator[None]:
    """Turn the system's errors into errors that say what was done to which file; nothing was committed."""
    try:
        yield
    except OSError as error:
        raise failure(error, doing, where) from error


def failure(error: OSError, doing: str, where: str, committed: Committed = "no") -> StoreError:
    """The error for what the system says.

    Args:
        error: the system's.
        doing: "read", "look at", "list", "write" or "delete".
        where: the file's path.
        committed: whether the call took effect anyway.
    """
    hint = _HINTS.get(error.errno or 0, "check that the disk works and is mounted, then run the same call again")
    if isinstance(error, PermissionError):
        right = "write to its folder" if doing in ("write", "delete") else "read it"
        hint = f"the user with id {os.geteuid()} needs the right to {right}, and to enter each folder above it"
    text = os.strerror(error.errno) if error.errno else str(error)
    return StoreError(
        f"could not {doing} {where}: {text}", hint=hint, committed=committed, path=where, errno=error.errno
    )


def sync(folder: int) -> None:
    """Make the names in an open folder durable."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def ensure_durable(folder: int, file: os.stat_result) -> None:
    """Make the name of a file in its open folder durable, unless it is known to be."""
    status = os.fstat(folder)
    if _DURABLE_NAMES.get((status.st_dev, status.st_ino)) != (file.st_dev, file.st_ino):
        sync(folder)
        remember_durable(folder, file)


def remember_durable(folder: int, file: os.stat_result) -> None:
    """The name of this file in its open folder is durable now."""
    status = os.fstat(folder)
    _DURABLE_NAMES[status.st_dev, status.st_ino] = file.st_dev, file.st_ino


def _make_durable(folder: int, sync_parent: Callable[[], None], *, already: bool) -> None:
    """Make an open folder's name durable, once for each folder that this process meets.

    Even if the folder existed before: the process that created it may be killed before it does this. Folders are known
    by their inode. If one was removed and its number reused, the new folder counts as known; this matters only if its
    creator dies and the power fails at the same moment.
    """
    status = os.fstat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity not in _DURABLE:
        if not already:
            sync_parent()
        _DURABLE.add(identity)


def _sync_path(folder: Path) -> None:
    fd = os.open(folder, _FOLDER)
    try:
        sync(fd)
    finally:
        os.close(fd)


def _make(folder: Path) -> None:
    """Create a folder and those above it, each durable in its parent."""
    try:
        folder.mkdir()
    except FileExistsError:
        return
    except FileNotFoundError:
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
    _sync_path(folder.parent)


@contextmanager
def _closed_on_error(fd: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(fd)
        raise
