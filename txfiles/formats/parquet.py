"""Parquet data files: full row groups, page checksums, a footer that the log vouches for.

Source: specs/2-layout.md, "Data files"; https://github.com/apache/parquet-format.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from txfiles.errors import UnsupportedTypeError
from txfiles.formats import common
from txfiles.formats.common import Format, Sink, WriteOptions
from txfiles.formats.source import Files, FileToRead, Range, damaged, decoding, expect, in_memory, named, open_input
from txfiles.rows import checks
from txfiles.rows.typenames import type_text

GROUP_LIMIT_BYTES = 512 * 1024 * 1024
"""Rows in memory of one row group: far below the 2 GiB at which Arrow's nested text columns cannot be read back."""

SAMPLE_ROWS = 65_536
"""Rows by which a file's dictionary columns are chosen: two default row groups, some milliseconds."""

TEXT_ROWS_PER_VALUE = 4
"""From this many rows per distinct value on, a dictionary of texts is worth its cost."""

FIXED_ROWS_PER_VALUE = 16
"""The same for values of a fixed width, which are cheap to write plain."""

ONE_THREAD_VALUES = 100_000
"""Up to this many values, one thread is faster (about a millisecond), and files are read in parallel anyway."""

FOOTER_END_BYTES = 8
"""After the footer: its length, 4 bytes little-endian, and the magic `PAR1`."""

GROUP_LIMIT_ROWS = 64 * 1024 * 1024
"""Rows of one row group: pyarrow never writes more into one, whatever the request."""

MAGIC = b"PAR1"

DAY_MS = 86_400_000
DATE32_LIMITS_MS = (-(2**31) * DAY_MS, (2**31 - 1) * DAY_MS)
"""The range of a date64: Parquet's dates are days in 32 bits."""

SECONDS_LIMITS = (-(2**63) // 1_000 + 1, (2**63 - 1) // 1_000)
"""The range of a timestamp[s]: Parquet's coarsest unit is a millisecond, in 64 bits."""


class Writer(common.FileWriter):
    """Writes a Parquet file in row groups of `options.row_group_rows` rows, whatever the chunks it is given.

    Columns with few distinct values, by the first rows, are dictionary-encoded, others are plain.

    Cost: holds at most one row group of rows beside what it is given.
    """

    def __init__(self, sink: Sink, schema: pa.Schema, options: WriteOptions) -> None:
        super().__init__(sink, schema, options)
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._writer: pq.ParquetWriter | None = None
        self._footer = b""
        # Arrow takes longest over the bounds of texts, and does so for the footer already.
        self.bounded = frozenset(field.name for field in schema if pa.types.is_string(field.type))

    def bounds(self, column: str) -> pa.Array | None:
        """See `common.FileWriter.bounds`. Cost: a look at each row group's statistics."""
        leaf = _leaves(self._schema)[column]
        groups = map(self._metadata.row_group, range(self._metadata.num_row_groups))
        chunks = [group.column(leaf).statistics for group in groups]
        if any(chunk.num_values and not chunk.has_min_max for chunk in chunks):
            return None  # one is longer than the 4 KiB that Arrow writes
        raw = [bound for chunk in chunks if chunk.has_min_max for bound in (chunk.min_raw, chunk.max_raw)]
        return pa.array(raw, pa.binary()).cast(pa.string())

    def abort(self) -> None:
        """Drop what was written. May be called at any time, and twice."""
        super().abort()
        self._pending = []

    def _append(self, table: pa.Table) -> None:
        check_rows(table, self._rows)
        self._pending.append(table)
        self._pending_rows += table.num_rows
        full = self._options.row_group_rows
        if self._pending_rows < full:
            return
        rows = pa.concat_tables(self._pending)
        cut = rows.num_rows - rows.num_rows % full
        for start in range(0, cut, full):
            self._write_group(rows.slice(start, full))
        self._pending = [rows.slice(cut)] if cut < rows.num_rows else []
        self._pending_rows = rows.num_rows - cut

    def _finish(self) -> common.Footer:
        if self._pending_rows:
            self._write_group(pa.concat_tables(self._pending))
        writer = self._writer or self._begin(self._schema.empty_table())
        self._sink.begin_tail()
        writer.close()
        tail = self._sink.tail()
        size = int.from_bytes(tail[-FOOTER_END_BYTES : -len(MAGIC)], "little") + FOOTER_END_BYTES
        if not tail.endswith(MAGIC) or size > len(tail):
            raise ValueError("pyarrow did not end the file with a Parquet footer")
        self._footer = tail[-size:]
        return self._footer

    @cached_property
    def _metadata(self) -> pq.FileMetaData:
        return pq.read_metadata(pa.BufferReader(self._footer))

    def _write_group(self, rows: pa.Table) -> None:
        writer = self._writer or self._begin(rows)
        for part in _within_limit(rows):
            writer.write_table(part, row_group_size=part.num_rows)

    def _begin(self, first: pa.Table) -> pq.ParquetWriter:
        self._writer = pq.ParquetWriter(
            self._sink,
            self._schema,
            version="2.6",
            compression=self._options.compression,
            use_dictionary=dictionary_columns(first),
            write_statistics=True,
            write_page_checksum=True,
            store_schema=True,
        )
        return self._writer


class ParquetFile:
    """A Parquet file whose size and footer match the log. Groups are read one at a time."""

    def __init__(self, source: pa.NativeFile, file: FileToRead, schema: pa.Schema) -> None:
        self.file = file
        self.schema = schema
        self._source = source
        self._one_reader = threading.Lock()
        with decoding(file, source):
            self._metadata = _footer(source, file)
            # int96, of other writers only, is decoded in the finest unit wanted: ns would overflow in year 3000.
            wants_ns = any(pa.types.is_timestamp(kind) and kind.unit == "ns" for kind in schema.types)
            self._parquet = pq.ParquetFile(
                source,
                metadata=self._metadata,
                page_checksum_verification=True,
                pre_buffer=False,  # `expect` knows what is read of all row groups, Arrow of one at a time
                coerce_int96_timestamp_unit="ns" if wants_ns else "us",
            )
            self._stored = self._parquet.schema_arrow
            self._check_shape()
            self._physical = dict(zip(named(self._stored.names, file), self._stored.names, strict=True))
        self._leaves = _leaves(self._stored)

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
            leaves = _count_leaves(self._stored.field(name).type)
            for leaf in range(first, min(first + leaves, group.num_columns)):
                chunk = group.column(leaf)
                start = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
                yield start, chunk.total_compressed_size

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

    def _check_shape(self) -> None:
        """Check the footer's counts and names against the log, before any page is decoded."""
        if len(set(self._stored.names)) != len(self._stored.names):
            raise damaged(self.file, "two of its columns have the same name")
        if self.num_groups > self.file.rows + 1:
            raise damaged(self.file, f"it has {self.num_groups} row groups for {self.file.rows} rows")
        rows = [self._metadata.row_group(index).num_rows for index in range(self.num_groups)]
        if sum(rows) != self.file.rows or min(rows, default=0) < 0:
            raise damaged(self.file, f"it has {sum(rows)} rows, the log says {self.file.rows}")
        bits = sum(_least_bits(kind) for kind in self._stored.types)
        most = max(rows, default=0)
        if most > GROUP_LIMIT_ROWS or (most > 1 and most * bits > 8 * GROUP_LIMIT_BYTES):
            raise damaged(self.file, f"a row group claims {most} rows, more than any writer puts into one")


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


def check_types(schema: pa.Schema) -> None:
    """Refuse types that Parquet cannot give back.

    Raises:
        UnsupportedTypeError: an empty struct, a width of 0, a negative decimal scale.
    """
    for field in schema:
        why = _unsupported(field.type)
        if why is not None:
            raise UnsupportedTypeError(
                f"column {field.name!r} of type {type_text(field.type)} cannot be stored as Parquet: {why}",
                hint="give the column another type",
                column=field.name,
            )


def check_rows(rows: pa.Table, first_row: int) -> None:
    """Refuse invalid values, and times out of Parquet's range.

    Raises:
        LossyCastError: names the column, the first such row, counted from `first_row`, and what it holds.
    Cost: O(n); text that is not ASCII takes the longest.
    """
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        checks.check_column(column, name, first_row)
        if _has_narrow_leaf(column.type) and _beyond_limits(column):
            row = checks.first_row_of(column, _beyond_limits)
            raise checks.not_exact(column, name, first_row, row, "is beyond what Parquet holds")


FORMAT = Format("parquet", "parquet", Writer, open_file, check_types, check_rows)


def dictionary_columns(rows: pa.Table) -> list[str]:
    """The flat columns with few distinct values, by the first rows.

    Cost: O(rows), at most `SAMPLE_ROWS`; of a column with many distinct values just so many that they are too many.
    """
    head = rows.slice(0, SAMPLE_ROWS)
    return [name for name, column in zip(head.column_names, head.columns, strict=True) if _has_few_values(column)]


def _has_few_values(column: pa.ChunkedArray) -> bool:
    per_value = _rows_per_value(column.type)
    if per_value is None:
        return False
    most = len(column) // per_value
    # Values that are nearly all distinct, which take longest to count, show it in somewhat more than `most` rows.
    return all(pc.count_distinct(part, mode="all").as_py() <= most for part in (column[: most + most // 8 + 1], column))


def _rows_per_value(kind: pa.DataType) -> int | None:
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return TEXT_ROWS_PER_VALUE
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind) or pa.types.is_float16(kind):
        return None
    return FIXED_ROWS_PER_VALUE


def _within_limit(rows: pa.Table) -> Iterator[pa.Table]:
    if rows.num_rows <= 1 or rows.nbytes <= GROUP_LIMIT_BYTES:
        yield rows
        return
    half = rows.num_rows // 2
    yield from _within_limit(rows.slice(0, half))
    yield from _within_limit(rows.slice(half))


def _has_narrow_leaf(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_narrow_leaf(child.type) for child in _children(kind))
    return bool(pa.types.is_date64(kind) or (pa.types.is_timestamp(kind) and kind.unit == "s"))


def _beyond_limits(column: pa.ChunkedArray) -> bool:
    return any(_array_beyond_limits(chunk) for chunk in column.chunks)


def _array_beyond_limits(array: pa.Array) -> bool:
    kind = array.type
    if pa.types.is_struct(kind):
        return any(_array_beyond_limits(child) for child in array.flatten())
    if pa.types.is_map(kind):
        # The entries of null maps are cut away, as those of null lists are by flatten.
        return _array_beyond_limits(pc.list_flatten(array.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))))
    if pa.types.is_nested(kind):
        return _array_beyond_limits(array.flatten())
    if not _has_narrow_leaf(kind):
        return False
    limits = DATE32_LIMITS_MS if pa.types.is_date64(kind) else SECONDS_LIMITS
    return checks.out_of_range(array.cast(pa.int64()), *limits) is not None


def _children(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(index) for index in range(kind.num_fields)]


def _unsupported(kind: pa.DataType) -> str | None:
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return "a struct needs a field"
    if pa.types.is_fixed_size_list(kind) and kind.list_size == 0:
        return "a fixed size of 0"
    if pa.types.is_decimal(kind):
        return "a negative scale" if kind.scale < 0 else None
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 0:
        return "a fixed size of 0"
    if pa.types.is_nested(kind):
        return next(filter(None, (_unsupported(child.type) for child in _children(kind))), None)
    return None


def _footer(source: pa.NativeFile, file: FileToRead) -> pq.FileMetaData:
    """The footer, decoded from exactly the bytes whose checksum was compared."""
    if not FOOTER_END_BYTES < file.footer_bytes <= file.bytes:
        raise damaged(file, f"a footer of {file.footer_bytes} bytes does not fit in it")
    tail = source.read_at(file.footer_bytes, file.bytes - file.footer_bytes)
    if hashlib.sha256(tail).hexdigest() != file.footer_sha256:
        raise damaged(file, "its footer does not match the log's sha256")
    return pq.read_metadata(pa.BufferReader(tail))


def _leaves(schema: pa.Schema) -> dict[str, int]:
    """For each column, the position of its first leaf among all leaves: statistics are stored by leaf."""
    positions, next_leaf = {}, 0
    for field in schema:
        positions[field.name] = next_leaf
        next_leaf += _count_leaves(field.type)
    return positions


def _count_leaves(kind: pa.DataType) -> int:
    return sum(_count_leaves(child.type) for child in _children(kind)) if pa.types.is_nested(kind) else 1


def _least_bits(kind: pa.DataType) -> int:
    """The least bits that a value takes in memory: a value of variable length has an offset of 32."""
    if pa.types.is_struct(kind):
        return sum(_least_bits(child.type) for child in _children(kind))
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
