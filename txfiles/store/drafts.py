"""How the local store makes a file appear completely or not at all: under a temporary name, and then by `link`.

The bytes go to a temporary name beside the file's own (`.tmp-…`) and are fsynced. `link`, which never replaces, gives
them their name; then the folder is fsynced. A crash leaves at most a temporary name, which readers ignore and vacuum
deletes. If the process dies between the link and the last fsync, the name exists, and the file system makes it durable
in its own time.

If the file system has no hard links, something else must ensure that there is only one writer at a time. If a lock was
given, the store holds it while it checks that the name is free and renames the file; without one, nothing is written.

Source: link(2), fsync(2); specs/5-commit.md.
"""

from __future__ import annotations

import errno
import os
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

from txfiles.errors import Committed, NoAtomicCreateError
from txfiles.store import common
from txfiles.store.folders import CREATE, Folders, failure, remember_durable, sync, telling
from txfiles.store.locks import lock_of
from txfiles.store.port import Lock

if TYPE_CHECKING:
    import pyarrow as pa

TEMPORARY_PREFIX = ".tmp-"
WRITE_BUFFER_BYTES = 1 << 20
"""Pieces smaller than this are collected, since a Parquet writer emits page headers of a few bytes."""

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""How file systems say that they have no hard links."""
_NOT_LINKED = frozenset({errno.EACCES, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOSPC, errno.EROFS})
"""A `link` that fails like this was refused. After any other failure (EIO, a network's) the name may exist."""


class LocalSink:
    """A data file being written. For one thread at a time.

    Do not pass it to pyarrow as a file, which closes the files that it is given, even after an error: wrap it in an
    object whose `close` does nothing, and call this `close` at the end.
    """

    def __init__(self, draft: Draft, where: str) -> None:
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
        """Publish, durably. A second call does nothing. `StoreError` after `abort`, or if the name is taken."""
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
        """Drop what was written. Does nothing after `close`: the file stays."""
        self._buffer = bytearray()
        self._draft.discard()

    def _empty_buffer(self) -> None:
        self._draft.write(self._buffer)
        self._buffer = bytearray()


class Draft:
    """A file under a temporary name, in its open folder.

    Args:
        folders: the table's.
        name: what it is to be called.
        temporary: what it is called until then, in the same folder.
        doubt: what an error says about the commit if the name may exist, or exists but may not be durable.
        lock: excludes every other writer if there are no hard links.
        existing: how many of the first folders of its name must be there already.
        within: the first folder of its name, open already; None: it is looked up.
    Raises:
        StoreError: it could not be created, or the temporary name is taken.
    """

    def __init__(
        self,
        folders: Folders,
        name: str,
        temporary: str,
        doubt: Committed,
        lock: Lock | None = None,
        *,
        existing: int = 0,
        within: int | None = None,
    ) -> None:
        parents, self._last = common.split(name)
        self._where = folders.url(name)
        self._temporary = temporary
        self._doubt: Committed = doubt
        self._lock = lock
        with telling("write", self._where):
            self._folder = folders.open(parents, create=True, existing=existing, within=within)
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
        """Give the file its name, durably; False if the name is taken. `remember`: note that the name is durable."""
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
        """Give the file its name, replacing any other file, and not durably."""
        with telling("write", self._where):
            os.rename(self._temporary, self._last, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._has_temporary = False

    def discard(self) -> None:
        """Close the file, and remove its temporary name if it still has one. Never raises."""
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
                    hint="exFAT, SMB and most mounts of buckets have none, so commits would not be safe there: "
                    "keep the table on a local disk or NFS, or have every writer pass the same lock (lock=, --lock)",
                    path=self._where,
                    errno=error.errno,
                ) from error
            committed = "no" if error.errno in _NOT_LINKED else self._doubt
            raise failure(error, "write", self._where, committed) from error
        return True

    def _rename(self, lock: AbstractContextManager[Any]) -> bool:
        """What `_link` does, while every other writer is excluded: check that the name is free, and take it."""
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
