"""Where a file's bytes come from, and what it means that reading them went wrong.

A read that fails says nothing of the file: `StoreError`. Bytes that were read and are not what was written are damage:
`CorruptTableError`, which only a size, a checksum or a decoder can tell. Decoders hand on the failures of the reads
beneath them, in any disguise, so a file that is not in memory is read through `Watched`, which notes them.

Source: specs/2-layout.md, "Data files".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from txfiles.errors import CorruptTableError, StoreError, TxFilesError, UnsupportedTableError

CAUSE_SHOWN = 300
"""Characters of a decoder's own words that a message shows."""


class Files(Protocol):
    """Where data files are read from: the part of a store that a format needs."""

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        """Random access to a data file of a known size. Missing: `CorruptTableError`."""


@dataclass(frozen=True, slots=True)
class FileToRead:
    """A file and what the log says of it.

    Attributes:
        name: for the store.
        path: for messages.
        bytes: as in `FileFacts`, and so are the others.
        columns: names by which to read its columns, in its order; None: those that stand in it.
    """

    name: str
    path: str
    bytes: int
    rows: int
    sha256: str
    footer_bytes: int = 0
    footer_sha256: str = ""
    columns: tuple[str, ...] | None = None


class Watched(pa.PythonFile):  # type: ignore[misc]  # pyarrow has no types
    """A data file that is not in memory, for a decoder: `reads` notes the read that failed."""

    reads: _Reads


def watched(source: pa.NativeFile, size: int) -> Watched:
    """A file of `size` bytes, as the store opened it, to be decoded."""
    reads = _Reads(source, size)
    found = Watched(reads, mode="r")
    found.reads = reads
    return found


class _Reads:
    """What `Watched` shows to pyarrow: Python's protocol of files, over the store's file."""

    def __init__(self, source: pa.NativeFile, size: int) -> None:
        self._source = source
        self._size = size
        self._at = 0
        self.failure: Exception | None = None

    @property
    def closed(self) -> bool:
        """Part of Python's protocol of files."""
        return bool(self._source.closed)

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to where the next read begins."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read_buffer(self, size: int) -> pa.Buffer:
        """The next bytes, without a copy."""
        try:
            self._source.seek(self._at)
            found = self._source.read_buffer(size)
        except Exception as error:
            self.failure = self.failure or error
            raise
        self._at += found.size
        return found

    def read(self, size: int) -> bytes:
        """The next bytes."""
        return bytes(self.read_buffer(size).to_pybytes())

    def close(self) -> None:
        """Let go of the store's file."""
        self._source.close()


def open_input(files: Files, file: FileToRead) -> pa.NativeFile:
    """Open a data file and see that it has the size that the log says.

    Raises:
        CorruptTableError: it is missing, or is shorter or longer.
        StoreError: the store failed.
    """
    try:
        source = files.open_input(file.name, file.bytes)
        size = source.size()
    except Exception as error:
        raise _failed_read(file, error) from error
    if size != file.bytes:
        source.close()
        raise damaged(file, f"it has {size} bytes, the log says {file.bytes}")
    return source if in_memory(source) else watched(source, size)


def in_memory(source: pa.NativeFile) -> bool:
    """Whether reading cannot fail, and costs no request."""
    return isinstance(source, pa.BufferReader | pa.MemoryMappedFile)


@contextmanager
def decoding(file: FileToRead, source: pa.NativeFile) -> Iterator[None]:
    """Context manager that tells what goes wrong while a file is decoded: a read that failed, or damage.

    Args:
        file: names the file in errors.
        source: what is decoded, from `open_input`.
    Raises:
        StoreError: a read of `source` failed.
        CorruptTableError: the bytes were read and cannot be decoded.
        UnsupportedTableError: more memory is needed than there is; the file may be honest, or lie.
    """
    try:
        yield
    except TxFilesError:
        raise
    except Exception as error:
        failure = source.reads.failure if isinstance(source, Watched) else None
        if failure is not None:
            raise _failed_read(file, failure) from error
        if isinstance(error, MemoryError):
            raise _too_large(file, error) from error
        if isinstance(error, pa.ArrowException | OSError | ValueError):
            raise damaged(file, f"it cannot be decoded: {_bounded(error)}") from error
        raise


def _failed_read(file: FileToRead, error: Exception) -> TxFilesError:
    """What it means that opening or reading failed. The one place that says so."""
    if isinstance(error, TxFilesError):
        return error
    if isinstance(error, MemoryError):
        return _too_large(file, error)
    if isinstance(error, FileNotFoundError):
        return damaged(file, "it is missing")
    return StoreError(f"{file.path} could not be read: {_bounded(error) or type(error).__name__}", file=file.path)


def _too_large(file: FileToRead, error: Exception) -> UnsupportedTableError:
    return UnsupportedTableError(
        f"{file.path} needs more memory than there is: {_bounded(error)}",
        hint="read fewer columns, or give the process more memory; if the file is small, it is not what it says",
        file=file.path,
    )


def damaged(file: FileToRead, what: str) -> CorruptTableError:
    """The error for a file that is not as the log says."""
    return CorruptTableError(
        f"{file.path} is damaged: {what}",
        hint="restore the file from a backup, or restore a version of the table that does not need it",
        file=file.path,
    )


def _bounded(error: BaseException) -> str:
    return str(error)[:CAUSE_SHOWN]


def named(found: Sequence[str], file: FileToRead) -> list[str]:
    """The names by which to read the columns of a file, in its order.

    Args:
        found: the names that stand in the file.
        file: what the log says of it.
    Raises:
        CorruptTableError: it has more or fewer columns than the log says.
    """
    if file.columns is None:
        return list(found)
    if len(found) != len(file.columns):
        raise damaged(file, f"it has {len(found)} columns, the log says {len(file.columns)}")
    return list(file.columns)
