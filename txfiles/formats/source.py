"""Where a file's bytes come from, and what it means if reading them fails.

A failed read says nothing about the file: `StoreError`. Bytes that were read but are not what was written are damage:
`CorruptTableError`, which only a size, a checksum or a decoder can detect. Decoders pass on the failures of the reads
beneath them, in any disguise, so a file that is not in memory is read through `Watched`, which records them.

Source: specs/2-layout.md, "Data files".
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from txfiles.core.messages import one_line
from txfiles.errors import CorruptTableError, StoreError, TxFilesError, UnsupportedTableError
from txfiles.rows.adopted_csv import AdoptedCsv

Range = tuple[int, int]
"""Offset and length, in bytes."""

GAP_BYTES = 64 * 1024
"""Bytes that nobody asked for, read to save a request. The requests of a batch run concurrently, so one less saves its
price and hardly any time."""

PIECE_BYTES = 8 * 1024 * 1024
"""Ranges are not joined beyond this size: several connections are faster than one. A column chunk
stays whole."""

AHEAD_BYTES = 128 * 1024 * 1024
"""Bytes of a file to hold because they are expected to be read: twice the default size of a data file. A file that is
read from its first byte to its last needs less."""


INT96_UNIT = "us"
"""The unit in which int96, of other writers only, is decoded: nanoseconds would overflow in year 2262, silently. A
table that has recorded nanoseconds for all such columns of a file gets these."""


class Files(Protocol):
    """Where data files are read from: the part of a store that a format needs."""

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        """Random access to a data file of a known size. Missing: `CorruptTableError`."""

    def read_ranges(self, name: str, ranges: Sequence[Range], size: int | None = None) -> list[bytes]:
        """Some ranges of a data file of a known size, asked for together."""


@dataclass(frozen=True, slots=True)
class FileToRead:
    """A file and what the log says about it.

    Attributes:
        name: for the store.
        path: for messages.
        bytes: as in `FileFacts`, and so are the others.
        columns: names by which to read its columns, in its order; None: the file's own names.
        csv: how a CSV file is read that the table did not write; None: it has the table's own form.
    """

    name: str
    path: str
    bytes: int
    rows: int
    sha256: str
    footer_bytes: int = 0
    footer_sha256: str = ""
    columns: tuple[str, ...] | None = None
    csv: AdoptedCsv | None = None


class Watched(pa.PythonFile):  # type: ignore[misc]  # pyarrow has no types
    """A data file that is not in memory, for a decoder: `reads` records the read that failed."""

    reads: _Reads


class _Reads:
    """What `Watched` shows to pyarrow: Python's protocol of files, over the store's file.

    Expected ranges are fetched in one batch by the first read of any of them, and held. Any other read is a separate
    request.
    """

    def __init__(self, files: Files, file: FileToRead, source: pa.NativeFile, ahead_bytes: int) -> None:
        self._files = files
        self._file = file
        self._source = source
        self._ahead_bytes = ahead_bytes
        self._at = 0
        self._expected: set[Range] = set()
        self._held: dict[int, pa.Buffer] = {}
        self._guard = threading.Lock()
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
        self._at = offset + (0, self._at, self._file.bytes)[whence]
        return self._at

    def read_buffer(self, size: int) -> pa.Buffer:
        """The next bytes, without a copy."""
        try:
            found = self._read_ahead(self._at, size)
            if found is None:
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
        """Close the store's file."""
        self.forget()
        self._source.close()

    def forget(self) -> None:
        """Hold nothing."""
        with self._guard:
            self._held.clear()

    def expect(self, ranges: Iterable[Range]) -> None:
        """Announce that some ranges will be read. Nothing is read now."""
        with self._guard:
            self._expected.update(
                (offset, length)
                for offset, length in ranges
                if offset >= 0 < length
                and offset + length <= self._file.bytes
                and self._of_held(offset, length) is None
            )

    def _read_ahead(self, offset: int, length: int) -> pa.Buffer | None:
        """A range that was expected; None if it was not."""
        with self._guard:
            found = self._of_held(offset, length)
            if found is None:
                expected = sorted(self._expected)
                first = next((at for at, one in enumerate(expected) if _covers(*one, offset, length)), None)
                if first is not None:
                    self._fetch([*expected[first:], *expected[:first]])
                    found = self._of_held(offset, length)
            return found

    def _fetch(self, expected: Sequence[Range]) -> None:
        """Fetch what is expected in one batch; what is held never exceeds `ahead_bytes`, except by a single range."""
        batch: list[Range] = []
        size = 0
        for one in expected:
            if batch and size + one[1] > self._ahead_bytes:
                break
            batch.append(one)
            size += one[1]
        pieces = coalesced(batch)
        if sum(data.size for data in self._held.values()) + size > self._ahead_bytes:
            self._held.clear()
        found = self._files.read_ranges(self._file.name, pieces, self._file.bytes)
        self._held.update((offset, pa.py_buffer(data)) for (offset, _), data in zip(pieces, found, strict=True))
        self._expected.difference_update(batch)

    def _of_held(self, offset: int, length: int) -> pa.Buffer | None:
        """A range, put together if it lies in several pieces; None if not all of it is held."""
        parts: list[pa.Buffer] = []
        at, end = offset, offset + length
        for start, data in sorted(self._held.items(), key=lambda item: item[0]) if at < end else ():
            if start <= at < start + data.size:
                parts.append(data.slice(at - start, min(end - at, start + data.size - at)))
                at += parts[-1].size
        if at < end or not parts:
            return None
        return parts[0] if len(parts) == 1 else pa.py_buffer(b"".join(parts))


def coalesced(ranges: Iterable[Range]) -> list[Range]:
    """A few ranges that cover the given ones, in order: neighbours are joined, within the limits of this module."""
    found: list[Range] = []
    for offset, length in sorted(ranges):
        start, size = found[-1] if found else (offset, 0)
        end = max(start + size, offset + length)
        if found and offset <= start + size + GAP_BYTES and end - start <= PIECE_BYTES:
            found[-1] = start, end - start
        else:
            found.append((offset, length))
    return found


def read_joined(files: Files, name: str, ranges: Sequence[Range]) -> list[bytes]:
    """Some ranges of a file that ends with the last of them, or later; neighbours come in one request."""
    pieces = coalesced(ranges)
    found = files.read_ranges(name, pieces, max(offset + length for offset, length in ranges))
    starts = [offset for offset, _ in pieces]
    numbers = [bisect_right(starts, offset) - 1 for offset, _ in ranges]
    return [
        found[number][offset - starts[number] : offset - starts[number] + length]
        for number, (offset, length) in zip(numbers, ranges, strict=True)
    ]


def expect(source: pa.NativeFile, ranges: Iterable[Range]) -> None:
    """Some ranges of a file from `open_input` will be read: the first read of one fetches all of them, in one batch."""
    if isinstance(source, Watched):
        source.reads.expect(ranges)


def forget(source: pa.NativeFile) -> None:
    """What was read ahead of a file from `open_input` is not needed again."""
    if isinstance(source, Watched):
        source.reads.forget()


def _covers(offset: int, length: int, inner_offset: int, inner_length: int) -> bool:
    return offset <= inner_offset and inner_offset + inner_length <= offset + length


def open_input(files: Files, file: FileToRead, ahead_bytes: int | None = None) -> pa.NativeFile:
    """Open a data file and check that it has the size in the log.

    Args:
        files: the store.
        file: what the log says of the file.
        ahead_bytes: how much of what is expected to be read may be held; None: `AHEAD_BYTES`.
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
    if in_memory(source):
        return source
    reads = _Reads(files, file, source, ahead_bytes or AHEAD_BYTES)
    found = Watched(reads, mode="r")
    found.reads = reads
    return found


def in_memory(source: pa.NativeFile) -> bool:
    """Whether reading cannot fail and costs no request."""
    return isinstance(source, pa.BufferReader | pa.MemoryMappedFile)


@contextmanager
def decoding(file: FileToRead, source: pa.NativeFile) -> Iterator[None]:
    """Context manager that reports what goes wrong while a file is decoded: a failed read, or damage.

    Args:
        file: names the file in errors.
        source: what is decoded, from `open_input`.
    Raises:
        StoreError: a read of `source` failed.
        CorruptTableError: the bytes were read and cannot be decoded.
        UnsupportedTableError: more memory is needed than is available; the file may be honest, or lie.
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
            raise damaged(file, f"it cannot be decoded: {one_line(error)}") from error
        raise


def _failed_read(file: FileToRead, error: Exception) -> TxFilesError:
    """What a failure to open or read means. The one place that decides it."""
    if isinstance(error, TxFilesError):
        return error
    if isinstance(error, MemoryError):
        return _too_large(file, error)
    if isinstance(error, FileNotFoundError):
        return damaged(file, "it is missing")
    return StoreError(f"{file.path} could not be read: {one_line(error) or type(error).__name__}", file=file.path)


def _too_large(file: FileToRead, error: Exception) -> UnsupportedTableError:
    return UnsupportedTableError(
        f"{file.path} needs more memory than is available: {one_line(error)}",
        hint="read fewer columns, or give the process more memory; if the file is small, its metadata is wrong",
        file=file.path,
    )


def damaged(file: FileToRead, what: str) -> CorruptTableError:
    """The error for a file that does not match the log."""
    return CorruptTableError(
        f"{file.path} is damaged: {what}",
        hint="restore the file from a backup, or restore a version of the table that does not need it",
        file=file.path,
    )


def named(found: Sequence[str], file: FileToRead) -> list[str]:
    """The names by which to read the columns of a file, in its order.

    Args:
        found: the names in the file.
        file: what the log says about it.
    Raises:
        CorruptTableError: it has more or fewer columns than the log says.
    """
    if file.columns is None:
        return list(found)
    if len(found) != len(file.columns):
        raise damaged(file, f"it has {len(found)} columns, the log says {len(file.columns)}")
    return list(file.columns)
