"""What the file formats share: one interface, and hashing while writing.

A file is written by a `FileWriter` and read as an `OpenFile`: a sequence of groups (Parquet row groups, CSV
blocks) in row order, each of which reads the columns that it is asked for, any number of times. Code above
never needs to know which format it holds.

Source: specs/2-layout.md, "Data files".
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import pyarrow as pa

from txfiles.errors import SchemaMismatchError
from txfiles.formats.parquet_groups import Encoded
from txfiles.formats.source import Files, FileToRead
from txfiles.rows import checks, types
from txfiles.rows.text import to_text
from txfiles.rows.typenames import type_text

Footer = bytes
"""The last bytes of a file, if it has a footer; otherwise empty."""


class Sink(Protocol):
    """A data file being written, as a store provides it: only `close` publishes it."""

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Append bytes; returns how many."""

    def close(self) -> None:
        """Publish the file."""

    def abort(self) -> None:
        """Forget what was written. Never raises."""


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a file is written.

    Attributes:
        compression: codec of Parquet pages: none, snappy, gzip, zstd or lz4. CSV files are plain text.
        row_group_rows: rows of a Parquet row group.
        copies: whether row groups of other files will be copied into this one.
    """

    compression: str = "snappy"
    row_group_rows: int = 32_768
    copies: bool = False


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known about a file once it is written.

    Attributes:
        rows: physical rows.
        bytes: size of the file.
        sha256: of the whole file.
        footer_bytes: length of the Parquet footer with its length and magic, 0 for CSV.
        footer_sha256: of those bytes, empty for CSV.
    """

    rows: int
    bytes: int
    sha256: str
    footer_bytes: int = 0
    footer_sha256: str = ""


class Group(Protocol):
    """Some successive rows of a file."""

    @property
    def rows(self) -> int:
        """How many there are; known without reading them."""

    def read(self, columns: Sequence[str]) -> pa.Table:
        """The rows' values in these columns, in this order, in the types of the schema that the file was opened with.

        A column that the file lacks, because it is older than the column, is null.
        """

    def expect(self, columns: Sequence[str]) -> None:
        """Announce reads of these columns: if that takes requests, the file's next read sends all of them together."""

    def bounds(self, column: str) -> tuple[pa.Scalar, pa.Scalar] | None:
        """Two values between which all the column's values lie that are not null; None: not known."""

    def nulls(self, column: str) -> int | None:
        """How many of the column's values are null; None: not known without reading them."""

    def encoded(self) -> Encoded | None:
        """The rows as they are encoded in the file, for `FileWriter.copy`; None if they cannot be copied.

        Raises:
            CorruptTableError: the file does not match its checksum.
        """


class OpenFile(Protocol):
    """A file open for reading that matches the log. Its groups may be read from several threads."""

    def groups(self) -> Iterator[Group]:
        """All groups, in row order."""

    def close(self) -> None:
        """Close the file; its groups can no longer be read."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Format:
    """A file format as a record of functions.

    Attributes:
        name: as users write it.
        suffix: of file names, without the dot.
        writer: begins a file with a schema; only `FileWriter.close` publishes the sink's name.
        open: opens a file to read it as a schema (all data columns of the table, partition columns excluded).
        check_types: raises `UnsupportedTypeError` for a column that the format cannot hold.
        check_rows: raises `LossyCastError` or `UnsupportedTypeError` for a value that the format would not give back.
    """

    name: str
    suffix: str
    writer: Callable[[Sink, pa.Schema, WriteOptions], FileWriter]
    open: Callable[[Files, FileToRead, pa.Schema], OpenFile]
    check_types: Callable[[pa.Schema], None]
    check_rows: Callable[[pa.Table, int], None]


class HashingSink:
    """A sink that knows the size and SHA-256 of what went through it.

    pyarrow may write to it and close it, also while it is collected as garbage: that never publishes.
    `publish` does, once, and only if no write failed.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()
        self._tail: list[bytes] | None = None
        self._over = False
        self.bytes = 0

    @property
    def closed(self) -> bool:
        """Always open, as far as pyarrow is concerned."""
        return False

    def writable(self) -> bool:
        """Part of Python's protocol of files."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self.bytes

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Append bytes. After `abort` they are dropped: pyarrow writes a footer even to a file that it gives up."""
        size = memoryview(data).nbytes
        if self._over:
            return size
        self._sink.write(data)
        self._hash.update(data)
        if self._tail is not None:
            self._tail.append(bytes(data))
        self.bytes += size
        return size

    def flush(self) -> None:
        """Does nothing: `publish` is responsible for durability."""

    def close(self) -> None:
        """Does nothing: that pyarrow is done with the file is no reason to publish it."""

    def begin_tail(self) -> None:
        """Remember what is written from here on."""
        self._tail = []

    def tail(self) -> bytes:
        """What was written since `begin_tail`."""
        return b"".join(self._tail or [])

    def check_open(self) -> None:
        """Raises `ValueError` once the file is published or aborted."""
        if self._over:
            raise ValueError("the file is already closed or aborted")

    def publish(self) -> str:
        """Close the sink itself; returns the SHA-256 of the file."""
        self.check_open()
        self._sink.close()
        self._over = True
        return self._hash.hexdigest()

    def abort(self) -> None:
        """Drop the file, unless it is published."""
        if not self._over:
            self._over = True
            self._sink.abort()


class FileWriter(ABC):
    """A data file being written: checks rows, counts them, aborts the file on any exception.

    Leaving it, or an exception, never publishes it.

    Attributes:
        bounded: columns whose bounds `bounds` tells, because the file states them anyway.
    """

    bounded: frozenset[str] = frozenset()

    def __init__(self, sink: Sink, schema: pa.Schema, options: WriteOptions) -> None:
        self._sink = HashingSink(sink)
        self._schema = schema
        self._options = options
        self._rows = 0

    @property
    def bytes(self) -> int:
        """Bytes written so far; rows that wait for a full row group are not among them."""
        return self._sink.bytes

    def write(self, table: pa.Table) -> None:
        """Append rows.

        Args:
            table: n rows, the columns of the schema in any order, exactly its types.
        Raises:
            SchemaMismatchError: other columns or types.
            LossyCastError: a value that would not be read back unchanged.
            StoreError: the store failed.
        """
        self._sink.check_open()
        try:
            self._append(_typed(table, self._schema))
            self._rows += table.num_rows
        except BaseException:
            self.abort()
            raise

    def copy(self, encoded: Encoded, rows: int) -> bool:
        """Append rows as they are encoded in another file; False if that cannot be done: then they have to be written.

        Args:
            encoded: from a `Group` of the same format.
            rows: how many they are.
        """
        self._sink.check_open()
        try:
            copied = self._copy(encoded)
        except BaseException:
            self.abort()
            raise
        self._rows += rows if copied else 0
        return copied

    def close(self) -> FileFacts:
        """Write what is left and publish the file. If it raises `StoreError`, the file does not exist."""
        self._sink.check_open()
        try:
            footer = self._finish()
            sha256 = self._sink.publish()
        except BaseException:
            self.abort()
            raise
        footer_sha256 = hashlib.sha256(footer).hexdigest() if footer else ""
        return FileFacts(self._rows, self._sink.bytes, sha256, len(footer), footer_sha256)

    def bounds(self, column: str) -> pa.Array | None:
        """After `close`: some values of a column of `bounded`, the least and the greatest among them; None: unknown."""
        raise NotImplementedError(column)

    def abort(self) -> None:
        """Drop what was written. May be called at any time, and twice."""
        self._sink.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.abort()

    @abstractmethod
    def _append(self, table: pa.Table) -> None:
        """Write, or keep, rows that are in the schema's order and types."""

    def _copy(self, encoded: Encoded) -> bool:
        """Append rows as they are encoded in another file, if that can be done."""
        return False

    @abstractmethod
    def _finish(self) -> Footer:
        """Write the rest of the file; returns its footer, if the format has one."""


def as_schema(found: Mapping[str, Any], columns: Sequence[str], schema: pa.Schema, rows: int) -> pa.Table:
    """Stored columns as the caller wants them: in order, widened to the schema's types, null where not stored.

    Raises:
        pa.ArrowInvalid: a stored value does not fit the type.
    """
    if not columns:
        return pa.table({"": pa.nulls(rows)}).select([])
    arrays = []
    for name in columns:
        wanted, column = schema.field(name).type, found.get(name)
        if column is None or pa.types.is_null(column.type):
            column = pa.nulls(rows, wanted)
        elif column.type != wanted:
            column = _as_text(column) if pa.types.is_string(wanted) else column.cast(wanted)
        arrays.append(column)
    return pa.Table.from_arrays(arrays, schema=pa.schema([(name, schema.field(name).type) for name in columns]))


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values from before a column became text, as the texts that they were inferred from."""
    if not types.is_scalar(column.type):
        return column.cast(pa.string())
    return pa.chunked_array([to_text(column)], pa.string())


def _typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if set(schema.names) - set(table.column_names) or table.num_columns != len(schema):
        raise SchemaMismatchError(f"the file has the columns {schema.names}, the rows have {table.column_names}")
    table = table.select(schema.names)
    for given, wanted in zip(table.schema, schema, strict=True):
        if given.type != wanted.type:
            raise SchemaMismatchError(
                f"column {wanted.name!r} of the file is {type_text(wanted.type)}, the rows have {type_text(given.type)}"
            )
    return pa.Table.from_arrays(table.columns, schema=schema)


def validate(column: pa.ChunkedArray) -> None:
    """Raise `pa.ArrowInvalid` if a decoded value is not valid for its type, such as text that is not UTF-8.

    Cost: O(n); text that is ASCII throughout takes a tenth of the time of other text.
    """
    if not checks.is_ascii(column):
        column.validate(full=True)
