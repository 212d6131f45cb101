"""Writing Parquet data files: full row groups, page checksums, dictionaries where they are worth it.

Source: specs/2-layout.md, "Data files"; https://github.com/apache/parquet-format.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from txfiles.errors import UnsupportedTypeError
from txfiles.formats import common, parquet_groups
from txfiles.formats.common import Sink, WriteOptions
from txfiles.formats.parquet_groups import END_BYTES, MAGIC, Encoded, Footer
from txfiles.formats.thrift import Struct
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
        leaf = leaves(self._schema)[column]
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
        self._footer = self._end()
        return self._footer

    def _end(self) -> common.Footer:
        writer = self._writer or self._begin(self._schema.empty_table())
        self._sink.begin_tail()
        writer.close()
        return _footer_of(self._sink.tail())

    @cached_property
    def _metadata(self) -> pq.FileMetaData:
        return pq.read_metadata(pa.BufferReader(self._footer))

    def _write_group(self, rows: pa.Table) -> None:
        writer = self._writer or self._begin(rows)
        for part in _within_limit(rows):
            writer.write_table(part, row_group_size=part.num_rows)

    def _begin(self, first: pa.Table) -> pq.ParquetWriter:
        self._writer = _arrow_writer(self._sink, self._schema, self._options, dictionary_columns(first))
        return self._writer


class Splicer(Writer):
    """Writes a Parquet file some of whose row groups are those of other files, byte for byte.

    What it is given at once is a row group, or several. Each is encoded by Arrow into a file of its own in memory, of
    which the row group is taken; so it is in the same form as those that are copied.

    Cost: holds one encoded row group.
    """

    def __init__(self, sink: Sink, schema: pa.Schema, options: WriteOptions) -> None:
        super().__init__(sink, schema, options)
        self._template, _ = _encoded(schema.empty_table(), options, [])
        self._groups: list[tuple[Struct, int]] = []

    def _append(self, table: pa.Table) -> None:
        super()._append(table)
        if self._pending_rows:
            self._write_group(pa.concat_tables(self._pending))
        self._pending, self._pending_rows = [], 0

    def _write_group(self, rows: pa.Table) -> None:
        for part in _within_limit(rows):
            footer, data = _encoded(part, self._options, dictionary_columns(part))
            start, end = footer.starts
            self._put(footer.groups[0], start, data.slice(start, end - start))

    def _copy(self, encoded: Encoded) -> bool:
        if encoded.kind != self._template.kind or len(self._groups) >= parquet_groups.GROUPS_LIMIT:
            return False
        self._put(encoded.struct, encoded.start, encoded.data)
        return True

    def _put(self, group: Struct, start: int, data: pa.Buffer) -> None:
        if not self._sink.bytes:
            self._sink.write(MAGIC)
        self._groups.append((group, self._sink.bytes - start))
        self._sink.write(data)

    def _end(self) -> common.Footer:
        footer = parquet_groups.write(self._template, self._groups)
        self._sink.write(footer)
        return footer


def begin(sink: Sink, schema: pa.Schema, options: WriteOptions) -> Writer:
    """Begin a Parquet file."""
    return (Splicer if options.copies else Writer)(sink, schema, options)


def _encoded(rows: pa.Table, options: WriteOptions, dictionaries: list[str]) -> tuple[Footer, pa.Buffer]:
    """Rows as a Parquet file of at most one row group, and its footer."""
    sink = pa.BufferOutputStream()
    with _arrow_writer(sink, rows.schema, options, dictionaries) as writer:
        if rows.num_rows:
            writer.write_table(rows, row_group_size=rows.num_rows)
    data = sink.getvalue()
    footer = parquet_groups.read(_footer_of(data), data.size)
    if footer is None:
        raise ValueError("pyarrow wrote a Parquet file that is not in the form that it always wrote")
    return footer, data


def _arrow_writer(sink: Any, schema: pa.Schema, options: WriteOptions, dictionaries: list[str]) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        sink,
        schema,
        version="2.6",
        compression=options.compression,
        use_dictionary=dictionaries,
        write_statistics=True,
        write_page_checksum=True,
        store_schema=True,
    )


def _footer_of(data: bytes | pa.Buffer) -> bytes:
    """The footer at the end of some bytes of a file, with its length and magic."""
    view = memoryview(data)
    end = bytes(view[-END_BYTES:])
    size = int.from_bytes(end[: -len(MAGIC)], "little") + END_BYTES
    if not end.endswith(MAGIC) or size > len(view):
        raise ValueError("pyarrow did not end the file with a Parquet footer")
    return bytes(view[-size:])


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


def dictionary_columns(rows: pa.Table) -> list[str]:
    """The flat columns with few distinct values, by the first rows.

    Cost: O(rows), at most `SAMPLE_ROWS`; of a column with many distinct values just so many that they are too many.
    """
    head = rows.slice(0, SAMPLE_ROWS)
    return [name for name, column in zip(head.column_names, head.columns, strict=True) if _has_few_values(column)]


def _has_few_values(column: pa.ChunkedArray) -> bool:
    per_value = _rows_per_value(column.type)
    if per_value is None or len(column) < per_value:
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
        return any(_has_narrow_leaf(child.type) for child in children(kind))
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


def children(kind: pa.DataType) -> list[pa.Field]:
    """The fields of a nested type."""
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
        return next(filter(None, (_unsupported(child.type) for child in children(kind))), None)
    return None


def leaves(schema: pa.Schema) -> dict[str, int]:
    """For each column, the position of its first leaf among all leaves: statistics are stored by leaf."""
    positions, next_leaf = {}, 0
    for field in schema:
        positions[field.name] = next_leaf
        next_leaf += count_leaves(field.type)
    return positions


def count_leaves(kind: pa.DataType) -> int:
    """How many leaves a column has."""
    return sum(count_leaves(child.type) for child in children(kind)) if pa.types.is_nested(kind) else 1
