"""Parquet files as input: read in place, again for each plan, and the same each time.

A file that changes during a write is an error: its identity (size, time, inode) is checked before and after each read.
Only what is too large for memory is spooled (see `spool`).

Source: specs/4-semantics.md, "Inputs".
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain

import numpy as np
import pyarrow as pa

from txfiles.errors import UnreadableInputError
from txfiles.inputs.spool import Labelled, joined, spooled
from txfiles.rows.inference import declare
from txfiles.rows.schema import check_batch_schema

BATCH_ROWS = 1 << 16

IN_MEMORY_BYTES = 1 << 30
"""Parquet inputs of more bytes (as Arrow holds them) are spooled: a temporary file costs disk, but no memory."""


class ParquetFiles:
    """Parquet files that are the same at each read.

    Args:
        types: what `schema=` says.
    """

    def __init__(self, types: pa.Schema | None) -> None:
        self._types = types
        self._identities: dict[str, _Identity] = {}
        self._spooled: dict[tuple[str, ...], pa.Table] = {}

    def read(self, files: Sequence[str]) -> pa.Table:
        """The rows of some files.

        Raises:
            UnreadableInputError: a file is damaged, or not what it was at the first read.
        Cost: memory for all rows, or up to `IN_MEMORY_BYTES`: beyond that they are spooled, and not read again.
        """
        if tuple(files) in self._spooled:
            return self._spooled[tuple(files)]
        first: list[Labelled] = []
        size = 0
        with closing(self._chunks(files)) as chunks:
            for label, chunk in chunks:
                first.append((label, chunk))
                size += chunk.nbytes
                if size > IN_MEMORY_BYTES:
                    table = spooled(chain(_drained(first), chunks))
                    self._spooled[tuple(files)] = table
                    return table
        return joined(first)

    def _chunks(self, files: Sequence[str]) -> Generator[Labelled]:
        for path in files:
            self._check_unchanged(path)
            with closing(_parquet(path)) as chunks:
                for chunk in chunks:
                    yield path, declare(chunk, self._types)
            self._check_unchanged(path)

    def _check_unchanged(self, path: str) -> None:
        found = _identity(path)
        if self._identities.setdefault(path, found) != found:
            raise UnreadableInputError(
                f"{path!r} has changed since the write began to read it; nothing was written",
                hint="write again, once the file is complete",
                path=path,
            )


_Identity = tuple[int, int, int, int]


def _identity(path: str) -> _Identity:
    """What changes when a file is written to or replaced."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise UnreadableInputError(f"{path!r} cannot be read: {error.strerror}", path=path) from error
    return found.st_size, found.st_mtime_ns, found.st_dev, found.st_ino


def _drained(items: list[Labelled]) -> Iterator[Labelled]:
    """The items of a list, each of which is released once it has been yielded."""
    items.reverse()
    while items:
        yield items.pop()


def _parquet(path: str) -> Generator[pa.Table]:
    try:
        yield from _parquet_batches(path)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:  # the names of columns may not be text
        raise UnreadableInputError(f"{path!r} cannot be read as Parquet: {error}", path=path) from error


def _parquet_batches(path: str) -> Generator[pa.Table]:
    import pyarrow.parquet as pq

    with ExitStack() as opened:

        def file_with(int96_unit: str) -> pq.ParquetFile:
            # Not mapped: if a mapped file is cut short meanwhile, the process dies.
            file = pq.ParquetFile(path, page_checksum_verification=True, coerce_int96_timestamp_unit=int96_unit)
            return opened.enter_context(file)

        # Spark's INT96 spans years 1 to 9999, which nanoseconds would wrap around.
        file = file_with("us")
        check_batch_schema(file.schema_arrow)  # Arrow itself makes no empty table of each type
        yield file.schema_arrow.empty_table()
        old = [
            column.path
            for column in map(file.schema.column, range(len(file.schema)))
            if column.physical_type == "INT96"
        ]
        batches = file.iter_batches(BATCH_ROWS)
        if not old:
            yield from (pa.Table.from_batches([batch]) for batch in batches)
            return
        for batch, exact in zip(batches, file_with("ns").iter_batches(BATCH_ROWS, columns=old), strict=True):
            _check_microseconds(path, batch, exact)
            yield pa.Table.from_batches([batch])


def _check_microseconds(path: str, batch: pa.RecordBatch, exact: pa.RecordBatch) -> None:
    for name in exact.schema.names:
        if not pa.types.is_timestamp(exact.column(name).type):
            raise UnreadableInputError(
                f"{path!r}: column {name!r} has nested INT96 timestamps", hint="write the file without INT96", path=path
            )
        us, ns = (np.asarray(b.column(name).cast(pa.int64()).fill_null(0)) for b in (batch, exact))
        # Both wrap in 64 bits alike, so the difference is right even where nanoseconds have no room.
        if np.any(ns - us * 1000):
            raise UnreadableInputError(
                f"{path!r}: column {name!r} has INT96 timestamps finer than microseconds",
                hint="write the file with timestamp[ns] instead of INT96",
                path=path,
                column=name,
            )
