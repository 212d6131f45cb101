"""CSV data files, in one exact form that comes back bit for bit.

UTF-8, one header line, LF, commas. Column names, text and binary values (base64) are quoted, quotes in them
doubled; nothing else is quoted; null is nothing between commas. Times are ISO 8601 with the digits of their
unit, zoned ones in UTC with Z; durations are integers of their unit; decimals have all digits of their
scale; floats are the shortest text that is the same value as a double, for narrower floats too, so that a
column that is widened later keeps its values. The types are those of the log: nothing is ever inferred.

A CSV file has no footer, so its size and SHA-256 are all that tells damage: it is read to its end and
compared before any row is returned.

Source: specs/2-layout.md, "Data files"; RFC 4180.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from txfiles.errors import UnsupportedTypeError
from txfiles.formats import common
from txfiles.formats.common import Format, Sink, WriteOptions
from txfiles.formats.source import Files, FileToRead, damaged, decoding, named, open_input
from txfiles.rows import base64

BLOCK_BYTES = 4 * 1024 * 1024
"""What is hashed and parsed at a time; a record that is longer makes its block longer."""

KEEP_BYTES = 64 * 1024 * 1024
"""A file up to this size is read from the store once, and kept; a larger one twice, to hash and to parse."""

ROW_LIMIT_BYTES = 1024**3
"""The longest row written: the parser's blocks end at 2 GiB."""

TEXT_SLICE_BYTES = 16 * 1024 * 1024
"""Rows in memory that are turned into text at a time, which takes some times their size."""

YEARS_SECONDS = (-62_135_596_800, 253_402_300_799)
"""The first and last second of the years 1 to 9999: other years have no text that every reader takes."""

YEARS_DAYS = (-719_162, 2_932_896)
DAY_MS = 86_400_000

NANOSECONDS_FROM = -9_223_372_036 * 10**9
"""Arrow's parser takes whole seconds first, so the earliest 0.85 s of 64-bit nanoseconds do not come back."""

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

QUOTE, NEWLINE = ord('"'), ord("\n")

_TEXT = pa.large_string()  # 64-bit offsets: a slice of long values may pass 2 GiB as text
_NAME = re.compile(rb'"((?:[^"]++|"")*+)"(,|\n)')


class Writer(common.FileWriter):
    """Writes a CSV file; the options do not matter to it.

    Cost: about 0.5 µs per row of five columns; memory some times `TEXT_SLICE_BYTES`.
    """

    def __init__(self, sink: Sink, schema: pa.Schema, options: WriteOptions) -> None:
        super().__init__(sink, schema, options)
        self._header: bytes | None = _header(schema)

    def _append(self, table: pa.Table) -> None:
        for name, column in zip(table.column_names, table.columns, strict=True):
            common.check_column(column, name, self._rows)
            _check_range(column, name, self._rows)
        self._write_header()
        step = max(1, TEXT_SLICE_BYTES * table.num_rows // max(1, table.nbytes))
        for start in range(0, table.num_rows, step):
            self._write_rows(table.slice(start, step), self._rows + start)

    def _finish(self) -> common.Footer:
        self._write_header()
        return b""

    def _write_header(self) -> None:
        if self._header is not None:
            self._sink.write(self._header)
            self._header = None

    def _write_rows(self, rows: pa.Table, first_row: int) -> None:
        texts = [_to_text(column) for column in rows.columns]
        lines = pc.binary_join_element_wise(*texts, _scalar(","), null_handling="replace", null_replacement="")
        lines = pc.binary_join_element_wise(lines, _scalar("\n"), _scalar(""))
        lengths = pc.binary_length(lines)
        longest = pc.max(lengths).as_py()
        if longest > ROW_LIMIT_BYTES:
            raise _too_long(rows, texts, pc.index(lengths, longest).as_py(), first_row)
        for chunk in lines.chunks:
            size = pc.sum(pc.binary_length(chunk)).as_py()
            self._sink.write(chunk.buffers()[2].slice(0, size))


@dataclass(frozen=True, slots=True)
class Block:
    """A `common.Group`: successive whole records of a file."""

    _file: CsvFile
    _start: int
    _bytes: int
    rows: int

    def read(self, columns: Sequence[str]) -> pa.Table:
        """The rows' values in these columns, in this order."""
        return self._file.read_block(self._start, self._bytes, self.rows, columns)

    def bounds(self, column: str) -> tuple[pa.Scalar, pa.Scalar] | None:
        """Never known: a CSV file has no statistics."""
        return None

    def expect(self, columns: Sequence[str]) -> None:
        """Does nothing: opening a CSV file reads it whole."""


class CsvFile:
    """A CSV file of which every byte has been found to be as the log says."""

    def __init__(self, source: pa.NativeFile, file: FileToRead, schema: pa.Schema) -> None:
        self.file = file
        self.schema = schema
        with decoding(file, source):
            self._source = source
            if file.bytes <= KEEP_BYTES:
                self._source = pa.BufferReader(source.read_buffer(file.bytes))
                source.close()
            header_bytes, blocks = _scan(self._source, file)
            self._names = named(_names(self._source.read_at(header_bytes, 0), file), file)
        self._blocks = [Block(self, start, size, rows) for start, size, rows in blocks]
        self._check_shape()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def groups(self) -> Iterator[Block]:
        """All blocks, in row order."""
        yield from self._blocks

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def read_block(self, start: int, size: int, rows: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of one block; see `common.Group.read`.

        Raises:
            CorruptTableError: a value is no text of its type, or the records do not have one field per column.
        Cost: splits the whole block into fields; parses the columns asked for.
        """
        present = set(self._names)
        stored = [name for name in columns if name in present]
        if not stored:
            return common.as_schema({}, columns, self.schema, rows)
        with decoding(self.file, self._source):
            found = pacsv.read_csv(
                pa.BufferReader(self._source.read_at(size, start)),
                read_options=pacsv.ReadOptions(column_names=self._names, block_size=size + 1),
                parse_options=pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
                convert_options=pacsv.ConvertOptions(
                    include_columns=stored,
                    column_types={name: _parsed_as(self.schema.field(name).type) for name in stored},
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    true_values=["true"],
                    false_values=["false"],
                    timestamp_parsers=[pacsv.ISO8601],
                ),
            )
            if found.num_rows != rows:
                raise damaged(self.file, f"{rows} lines at byte {start} hold {found.num_rows} records")
            values = {name: _from_text(found[name], self.schema.field(name).type) for name in stored}
            return common.as_schema(values, columns, self.schema, rows)

    def _check_shape(self) -> None:
        rows = sum(block.rows for block in self._blocks)
        if rows != self.file.rows:
            raise damaged(self.file, f"it has {rows} rows, the log says {self.file.rows}")
        if len(set(self._names)) != len(self._names):
            raise damaged(self.file, "two of its columns have one name")
        known = set(self.schema.names)
        unknown = [name for name in self._names if name not in known]
        if unknown and self.file.columns is None:
            raise damaged(self.file, f"its column {unknown[0][: common.SHOWN]!r} is not one of the table")


def open_file(files: Files, file: FileToRead, schema: pa.Schema) -> CsvFile:
    """Open a CSV file, read it to its end, and check it against the log: size, SHA-256, columns, number of rows.

    Args:
        files: the store.
        file: what the log says of the file.
        schema: names and types in which to read: all data columns of the table. The file may lack some, where
            it is older than they are; it may have no others.
    Raises:
        CorruptTableError: missing, or any byte is not as it was written.
        StoreError: the store failed.
    Cost: O(bytes), about 1.5 ms per MiB; at most `KEEP_BYTES` or one block in memory.
    """
    source = open_input(files, file)
    try:
        return CsvFile(source, file, schema)
    except BaseException:
        source.close()
        raise


def read(
    files: Files, file: FileToRead, columns: Sequence[str], schema: pa.Schema, blocks: Sequence[int] | None = None
) -> Iterator[pa.Table]:
    """One table per block, in row order; see `open_file` and `common.read`."""
    yield from common.read(open_file(files, file, schema), columns, blocks)


def check_types(schema: pa.Schema) -> None:
    """Refuse types that have no CSV text.

    Raises:
        UnsupportedTypeError: a nested type, or a decimal with a negative scale.
    """
    for field in schema:
        if not _has_text(field.type):
            raise UnsupportedTypeError(
                f"column {field.name!r} of type {field.type} cannot be stored as CSV",
                hint="nested types need format parquet" if pa.types.is_nested(field.type) else "cast the column",
                column=field.name,
            )


FORMAT = Format(name="csv", suffix="csv", writer=Writer, open=open_file, check_types=check_types)


# ---------------------------------------------------------------- values to text


def _header(schema: pa.Schema) -> bytes:
    return (",".join('"' + name.replace('"', '""') + '"' for name in schema.names) + "\n").encode()


def _scalar(text: str) -> pa.Scalar:
    return pa.scalar(text, _TEXT)


def _has_text(kind: pa.DataType) -> bool:
    t = pa.types
    if t.is_decimal128(kind) or t.is_decimal256(kind):
        return bool(kind.scale >= 0)
    tests = (t.is_null, t.is_boolean, t.is_integer, t.is_floating, t.is_string, t.is_binary, t.is_fixed_size_binary)
    times = (t.is_date, t.is_time, t.is_timestamp, t.is_duration)
    return any(test(kind) for test in (*tests, *times))


def _check_range(column: pa.ChunkedArray, name: str, first_row: int) -> None:
    """Refuse dates and timestamps of which the text would not be read back, or not by other tools."""
    kind = column.type
    if pa.types.is_date32(kind):
        numbers, (low, high) = column.cast(pa.int32()), YEARS_DAYS
    elif pa.types.is_date64(kind):
        numbers, (low, high) = column.cast(pa.int64()), (YEARS_DAYS[0] * DAY_MS, YEARS_DAYS[1] * DAY_MS)
    elif pa.types.is_timestamp(kind):
        numbers, (low, high) = column.cast(pa.int64()), _timestamp_limits(kind.unit)
    else:
        return
    row = common.out_of_range(numbers, low, high)
    if row is not None:
        raise common.not_exact(
            column, name, first_row, row, "is outside the times that CSV text holds (years 1 to 9999)"
        )


def _timestamp_limits(unit: str) -> tuple[int, int]:
    if unit == "ns":
        return NANOSECONDS_FROM, 2**63 - 1
    per_second = PER_SECOND[unit]
    return YEARS_SECONDS[0] * per_second, (YEARS_SECONDS[1] + 1) * per_second - 1


def _to_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each value as it stands between commas; null stays null."""
    kind = column.type
    if pa.types.is_string(kind):
        return _quoted(pc.replace_substring(column.cast(_TEXT), '"', '""'))
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _quoted(pa.chunked_array([base64.encode(column)]))
    if pa.types.is_floating(kind):
        return column.cast(pa.float64()).cast(_TEXT)
    if pa.types.is_decimal(kind):
        return _plain_decimal(column)
    if pa.types.is_timestamp(kind):
        return _iso_timestamp(column)
    if pa.types.is_date64(kind):
        return column.cast(pa.date32()).cast(_TEXT)
    if pa.types.is_duration(kind):
        return column.cast(pa.int64()).cast(_TEXT)
    return column.cast(_TEXT)


def _quoted(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(_scalar('"'), text, _scalar('"'), _scalar(""))


def _iso_timestamp(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if kind.tz is not None:
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    return pc.replace_substring(column.cast(_TEXT), " ", "T", max_replacements=1)


def _plain_decimal(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """All digits, since Arrow itself writes 0.0000001 as 1E-7."""
    scale = column.type.scale
    make = pa.decimal128 if pa.types.is_decimal128(column.type) else pa.decimal256
    whole = make(column.type.precision, 0)
    digits = pa.chunked_array(
        [pa.Array.from_buffers(whole, len(part), part.buffers(), offset=part.offset) for part in column.chunks], whole
    ).cast(_TEXT)
    if scale == 0:
        return digits
    sign = pc.if_else(pc.starts_with(digits, "-"), _scalar("-"), _scalar(""))
    digits = pc.ascii_lpad(pc.ascii_ltrim(digits, "-"), scale + 1, "0")
    before = pc.utf8_slice_codeunits(digits, 0, -scale)
    after = pc.utf8_slice_codeunits(digits, -scale)
    return pc.binary_join_element_wise(sign, before, _scalar("."), after, _scalar(""))


def _too_long(rows: pa.Table, texts: Sequence[pa.ChunkedArray], row: int, first_row: int) -> UnsupportedTypeError:
    sizes = [len((text[row].as_py() or "").encode()) for text in texts]
    name = rows.column_names[sizes.index(max(sizes))]
    return UnsupportedTypeError(
        f"row {first_row + row} of the file is longer than {ROW_LIMIT_BYTES} bytes as CSV; column {name!r} of it "
        f"alone has {max(sizes)}",
        hint="values of this size need format parquet",
        column=name,
        row=first_row + row,
    )


# ---------------------------------------------------------------- text to values


def _scan(source: pa.NativeFile, file: FileToRead) -> tuple[int, list[tuple[int, int, int]]]:
    """Read the file to its end: compare its hash, find where its records end.

    A newline ends a record if an even number of quotes stands before it.

    Returns:
        The header's length, and the blocks after it: start, bytes, records.
    """
    sha256 = hashlib.sha256()
    header_bytes = start = quotes_before = offset = 0
    blocks = []
    while offset < file.bytes:
        chunk = source.read_at(min(BLOCK_BYTES, file.bytes - offset), offset)
        if not chunk:
            raise damaged(file, f"it ends after {offset} bytes")
        sha256.update(chunk)
        codes = np.frombuffer(chunk, np.uint8)
        quotes, newlines = np.flatnonzero(codes == QUOTE), np.flatnonzero(codes == NEWLINE)
        ends = newlines[(np.searchsorted(quotes, newlines) + quotes_before) % 2 == 0] + offset + 1
        quotes_before += len(quotes)
        if header_bytes == 0 and len(ends):
            header_bytes = start = int(ends[0])
            ends = ends[1:]
        if len(ends):
            blocks.append((start, int(ends[-1]) - start, len(ends)))
            start = int(ends[-1])
        offset += len(chunk)
    if sha256.hexdigest() != file.sha256:
        raise damaged(file, "its content does not match the log's sha256")
    if start != file.bytes or header_bytes == 0:
        raise damaged(file, "it does not end with a whole line")
    return header_bytes, blocks


def _names(header: bytes, file: FileToRead) -> list[str]:
    names, at = [], 0
    while at < len(header):
        found = _NAME.match(header, at)
        if found is None or (found[2] == b"\n") != (found.end() == len(header)):
            raise damaged(file, "its first line is not a list of quoted column names")
        names.append(found[1].decode().replace('""', '"'))
        at = found.end()
    return names


def _parsed_as(kind: pa.DataType) -> pa.DataType:
    """What the parser is told to make of a column, from which the value follows by a cast."""
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_duration(kind):
        return pa.int64()
    if pa.types.is_decimal256(kind) or pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.string()
    return kind


def _from_text(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if not (pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind)):
        return column
    return pa.chunked_array([base64.decode(column, kind)])
