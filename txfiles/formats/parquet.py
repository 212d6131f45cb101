"""Parquet data files: full row groups, page checksums, a footer that the log vouches for.

Source: specs/2-layout.md, "Data files"; https://github.com/apache/parquet-format.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from txfiles.formats import common, parquet_groups
from txfiles.formats.common import Format
from txfiles.formats.parquet_groups import END_BYTES, MAGIC, Encoded, Footer
from txfiles.formats.parquet_writer import (
    GROUP_LIMIT_BYTES,
    begin,
    check_rows,
    check_types,
    children,
    count_leaves,
    leaves,
)
from txfiles.formats.source import (
    AHEAD_BYTES,
    INT96_UNIT,
    Files,
    FileToRead,
    Range,
    damaged,
    decoding,
    expect,
    in_memory,
    named,
    open_input,
)

ONE_THREAD_VALUES = 100_000
"""Up to this many values, one thread is faster (about a millisecond), and files are read in parallel anyway."""

GROUP_LIMIT_ROWS = 64 * 1024 * 1024
"""Rows of one row group: pyarrow never writes more into one, whatever the request."""


class ParquetFile:
    """A Parquet file whose size and footer match the log. Groups are read one at a time."""

    def __init__(self, source: pa.NativeFile, file: FileToRead, schema: pa.Schema) -> None:
        self.file = file
        self.schema = schema
        self._source = source
        self._one_reader = threading.Lock()
        with decoding(file, source):
            self._tail = _footer(source, file)
            self._metadata = pq.read_metadata(pa.BufferReader(self._tail))
            self._parquet = pq.ParquetFile(
                source,
                metadata=self._metadata,
                page_checksum_verification=True,
                pre_buffer=False,  # `expect` knows what is read of all row groups, Arrow of one at a time
                coerce_int96_timestamp_unit=_int96_unit(self._metadata, file, schema),
            )
            self._stored = self._parquet.schema_arrow
            self._check_shape()
            self._physical = dict(zip(named(self._stored.names, file), self._stored.names, strict=True))
        self._leaves = leaves(self._stored)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_groups(self) -> int:
        """How many row groups there are."""
        return int(self._metadata.num_row_groups)

    def groups(self) -> Iterator[RowGroup]:
        """All row groups, in row order."""
        for index in range(self.num_groups):
            yield self.group(index)

    def group(self, index: int) -> RowGroup:
        """One row group. Cost: nothing is read."""
        return RowGroup(self, index, self._metadata.row_group(index).num_rows)

    def close(self) -> None:
        """Let go of the file."""
        self._parquet.close()
        self._source.close()

    def read_group(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of one row group; see `common.Group.read`.

        Raises:
            CorruptTableError: it cannot be decoded, or a page does not match its checksum.
        Cost: reads the columns' pages of that row group only.
        """
        rows = self._metadata.row_group(index).num_rows
        self.expect(index, columns)
        stored = {name: self._physical[name] for name in columns if name in self._physical}
        with self._one_reader, decoding(self.file, self._source):
            # pyarrow selects by dotted path: asked for "a" it also reads a column "a.b", which is left out below.
            found = self._parquet.read_row_group(
                index, columns=list(stored.values()), use_threads=rows * len(stored) > ONE_THREAD_VALUES
            )
            if found.num_rows != rows:
                raise damaged(self.file, f"row group {index} has {found.num_rows} rows, its footer says {rows}")
            values = {name: found[physical] for name, physical in stored.items()}
            for column in values.values():
                common.validate(column)  # a page may hold what is not text, or more digits than its type has
            return common.as_schema(values, columns, self.schema, rows)

    def expect(self, index: int, columns: Sequence[str]) -> None:
        """Some columns of one row group will be read; see `common.Group.expect`. Cost: nothing is read."""
        if not in_memory(self._source):
            with decoding(self.file, self._source):
                expect(self._source, self._chunks(index, columns))

    def _chunks(self, index: int, columns: Sequence[str]) -> Iterator[Range]:
        """Where the column chunks are, as the footer says."""
        group = self._metadata.row_group(index)
        for name in [self._physical[name] for name in columns if name in self._physical]:
            first = self._leaves[name]
            count = count_leaves(self._stored.field(name).type)
            for leaf in range(first, min(first + count, group.num_columns)):
                yield _chunk(group.column(leaf))

    def group_bounds(self, index: int, column: str) -> tuple[pa.Scalar, pa.Scalar] | None:
        """Least and greatest value of a column in one row group by its statistics; see `common.Group.bounds`."""
        if column not in self._physical or column not in self.schema.names:
            return None
        physical = self._physical[column]
        leaf = self._leaves.get(physical)
        if leaf is None:
            return None
        with decoding(self.file, self._source):
            statistics = self._metadata.row_group(index).column(leaf).statistics
            if statistics is None or not statistics.has_min_max:
                return None
            return _typed_bounds(statistics, self._stored.field(physical).type, self.schema.field(column).type)

    def group_nulls(self, index: int, column: str) -> int | None:
        """How many nulls a column has in one row group by its statistics; see `common.Group.nulls`."""
        leaf = self._leaves.get(self._physical.get(column, ""))
        if leaf is None or pa.types.is_nested(self._stored.field(self._physical[column]).type):
            return None
        statistics = self._metadata.row_group(index).column(leaf).statistics
        return int(statistics.null_count) if statistics is not None and statistics.has_null_count else None

    def encoded(self, index: int) -> Encoded | None:
        """One row group as it is encoded; see `common.Group.encoded`.

        Raises:
            CorruptTableError: the file does not match its checksum.
        Cost: the first one reads and hashes the whole file.
        """
        footer = self._copied
        if footer is None:
            return None
        start, end = footer.starts[index], footer.starts[index + 1]
        return Encoded(footer.kind, footer.groups[index], start, self._read(start, end - start))

    @cached_property
    def _copied(self) -> Footer | None:
        """The footer by which row groups are copied; None if they cannot be.

        Damage must not travel, so the whole file is compared with the log first.
        """
        if not self.file.sha256:  # an adopted file, of which only the footer is known
            return None
        footer = parquet_groups.read(self._tail, self.file.bytes)
        if footer is None or not (in_memory(self._source) or self.file.bytes <= AHEAD_BYTES):
            return None
        # Between the magic and the footer, a file of this kind is its column chunks. Some may be held already.
        digest = hashlib.sha256(MAGIC)
        groups = map(self._metadata.row_group, range(self.num_groups))
        chunks = [_chunk(group.column(leaf)) for group in groups for leaf in range(group.num_columns)]
        expect(self._source, chunks)
        for start, size in chunks:
            digest.update(self._read(start, size))
        digest.update(self._tail)
        if digest.hexdigest() != self.file.sha256:
            raise damaged(self.file, "its sha256 is not the one in the log")
        return footer

    def _read(self, offset: int, size: int) -> pa.Buffer:
        """Some of its bytes; no copy if the file is in memory."""
        with self._one_reader, decoding(self.file, self._source):
            self._source.seek(offset)
            return self._source.read_buffer(size)

    def _check_shape(self) -> None:
        """Check the footer's counts and names against the log, before any page is decoded."""
        fault = shape_fault(self._metadata, self._stored)
        if fault is not None:
            raise damaged(self.file, fault)
        if self.num_groups > self.file.rows + 1:
            raise damaged(self.file, f"it has {self.num_groups} row groups for {self.file.rows} rows")
        rows = sum(self._metadata.row_group(index).num_rows for index in range(self.num_groups))
        if rows != self.file.rows:
            raise damaged(self.file, f"it has {rows} rows, the log says {self.file.rows}")


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A `common.Group`: one row group."""

    _file: ParquetFile
    _index: int
    rows: int

    def read(self, columns: Sequence[str]) -> pa.Table:
        """The rows' values in these columns, in this order."""
        return self._file.read_group(self._index, columns)

    def expect(self, columns: Sequence[str]) -> None:
        """These columns will be read."""
        self._file.expect(self._index, columns)

    def bounds(self, column: str) -> tuple[pa.Scalar, pa.Scalar] | None:
        """Least and greatest value by the statistics; None: not known."""
        return self._file.group_bounds(self._index, column)

    def nulls(self, column: str) -> int | None:
        """How many nulls there are by the statistics; None: not known."""
        return self._file.group_nulls(self._index, column)

    def encoded(self) -> Encoded | None:
        """The bytes of the row group; None if it cannot be copied."""
        return self._file.encoded(self._index)


def open_file(files: Files, file: FileToRead, schema: pa.Schema) -> ParquetFile:
    """Open a Parquet file and check it against the log: size, footer, number of rows.

    Args:
        files: the store.
        file: what the log says of the file.
        schema: names and types in which to read; the file may lack columns, or have narrower types.
    Raises:
        CorruptTableError: missing, of another size, or its footer is not the one that was written.
        StoreError: the store failed.
    Cost: one exact read of the footer; pages are read as groups are: those of all groups of which columns are expected
        in one batch of requests, if the file is not in memory.
    """
    source = open_input(files, file)
    try:
        return ParquetFile(source, file, schema)
    except BaseException:
        source.close()
        raise


FORMAT = Format("parquet", "parquet", begin, open_file, check_types, check_rows)


def int96_columns(metadata: pq.FileMetaData, stored: pa.Schema) -> frozenset[str]:
    """The columns that are int96, or have int96 within them."""
    first = sorted((leaf, name) for name, leaf in leaves(stored).items())
    starts = [leaf for leaf, _ in first]
    return frozenset(
        first[bisect_right(starts, leaf) - 1][1]
        for leaf in range(metadata.num_columns)
        if metadata.schema.column(leaf).physical_type == "INT96"
    )


def _int96_unit(metadata: pq.FileMetaData, file: FileToRead, schema: pa.Schema) -> str:
    if not any(pa.types.is_timestamp(kind) and kind.unit == "ns" for kind in schema.types):
        return INT96_UNIT
    stored = metadata.schema.to_arrow_schema()
    names = dict(zip(stored.names, named(stored.names, file), strict=True))
    wanted = [
        schema.field(name).type for one in int96_columns(metadata, stored) if (name := names[one]) in schema.names
    ]
    return "ns" if all(pa.types.is_timestamp(kind) and kind.unit == "ns" for kind in wanted) else INT96_UNIT


def shape_fault(metadata: pq.FileMetaData, stored: pa.Schema) -> str | None:
    """What is wrong with the counts and names of a footer; None if they make sense."""
    if len(set(stored.names)) != len(stored.names):
        return "two of its columns have the same name"
    rows = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    if min(rows, default=0) < 0:
        return "a row group claims fewer than no rows"
    bits = sum(_least_bits(kind) for kind in stored.types)
    most = max(rows, default=0)
    if most > GROUP_LIMIT_ROWS or (most > 1 and most * bits > 8 * GROUP_LIMIT_BYTES):
        return f"a row group claims {most} rows, more than any writer puts into one"
    return None


def _footer(source: pa.NativeFile, file: FileToRead) -> bytes:
    """The footer, with its length and magic: the very bytes whose checksum was compared."""
    if not END_BYTES < file.footer_bytes <= file.bytes:
        raise damaged(file, f"a footer of {file.footer_bytes} bytes does not fit in it")
    tail = source.read_at(file.footer_bytes, file.bytes - file.footer_bytes)
    if hashlib.sha256(tail).hexdigest() != file.footer_sha256:
        raise damaged(file, "its footer does not match the log's sha256")
    return bytes(tail)


def _chunk(chunk: Any) -> Range:
    """Where a column chunk is, by its entry in the footer."""
    start = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
    return start, chunk.total_compressed_size


def _least_bits(kind: pa.DataType) -> int:
    """The least bits that a value takes in memory: a value of variable length has an offset of 32."""
    if pa.types.is_struct(kind):
        return sum(_least_bits(child.type) for child in children(kind))
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _least_bits(kind.value_type)
    if pa.types.is_null(kind):
        return 0
    try:
        return int(kind.bit_width)
    except ValueError:
        return 32


def _typed_bounds(statistics: Any, stored: pa.DataType, wanted: pa.DataType) -> tuple[pa.Scalar, pa.Scalar] | None:
    """Statistics as values of a type. Floats have none: Parquet's statistics ignore NaN."""
    if pa.types.is_nested(stored) or pa.types.is_floating(stored) or pa.types.is_null(stored):
        return None
    if _is_text(wanted) and not _is_text(stored):  # numbers and dates that are read as text have another order
        return None
    try:
        return _bound(statistics, "min", stored).cast(wanted), _bound(statistics, "max", stored).cast(wanted)
    except pa.ArrowException:  # a bound of another writer need not be a value, so it need not fit the type either
        return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _bound(statistics: Any, which: str, stored: pa.DataType) -> pa.Scalar:
    raw = getattr(statistics, f"{which}_raw")
    if pa.types.is_temporal(stored):
        # pyarrow's own conversion gives Python values, which have no nanoseconds.
        return pa.scalar(raw, _integer_behind(stored)).cast(stored)
    if pa.types.is_decimal(stored) or pa.types.is_integer(stored) or pa.types.is_boolean(stored):
        return pa.scalar(getattr(statistics, which), stored)
    return pa.scalar(raw, pa.binary())


def _integer_behind(kind: pa.DataType) -> pa.DataType:
    return pa.int32() if pa.types.is_date32(kind) or pa.types.is_time32(kind) else pa.int64()
