"""CSV data files, in one exact form that is read back bit for bit.

UTF-8, one header line, LF, commas. Column names, text and binary values (base64) are quoted, quotes in them
doubled; nothing else is quoted; null is nothing between commas. Times are ISO 8601 with the digits of their
unit, zoned ones in UTC with Z; durations are integers of their unit; decimals have all digits of their
scale; floats are the shortest text that is the same value as a double, even for narrower floats, so that a
column that is widened later keeps its values. The types are those of the log: nothing is ever inferred.

A CSV file has no footer, so only its size and SHA-256 reveal damage: it is read to its end and compared before any row
is returned.

Source: specs/2-layout.md, "Data files"; RFC 4180.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from txfiles.core.messages import shown
from txfiles.errors import UnsupportedTypeError
from txfiles.formats import common, csv_adopted
from txfiles.formats.common import Format, Sink, WriteOptions
from txfiles.formats.source import Files, FileToRead, damaged, decoding, expect, forget, named, open_input
from txfiles.rows import checks, types
from txfiles.rows.parse import parse
from txfiles.rows.quotes import outside
from txfiles.rows.text import to_text
from txfiles.rows.typenames import type_text

BLOCK_BYTES = 4 * 1024 * 1024
"""How much is hashed and parsed at a time; a longer record makes its block longer."""

KEEP_BYTES = 64 * 1024 * 1024
"""A file up to this size is read from the store once, and kept; a larger one is read twice, to hash and to parse."""

AHEAD_BYTES = 32 * 1024 * 1024
"""How much of a larger file is asked for together, and held: four pieces for each wait."""

ROW_LIMIT_BYTES = 1024**3
"""The longest row written: the parser's blocks end at 2 GiB."""

NARROW_BYTES = 100
"""The longest text of a value that is neither text nor binary; decimals have 76 digits."""

TEXT_SLICE_BYTES = 16 * 1024 * 1024
"""Rows in memory that are turned into text at a time, which takes some times their size."""

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
        check_rows(table, self._rows)
        self._write_header()
        step = max(1, TEXT_SLICE_BYTES * table.num_rows // max(1, table.nbytes))
        for start in range(0, table.num_rows, step):
            self._write_rows(table.slice(start, step))

    def _finish(self) -> common.Footer:
        self._write_header()
        return b""

    def _write_header(self) -> None:
        if self._header is not None:
            self._sink.write(self._header)
            self._header = None

    def _write_rows(self, rows: pa.Table) -> None:
        texts = [_between_commas(column) for column in rows.columns]
        lines = pc.binary_join_element_wise(*texts, _scalar(","), null_handling="replace", null_replacement="")
        lines = pc.binary_join_element_wise(lines, _scalar("\n"), _scalar(""))
        for chunk in lines.chunks:
            size = pc.sum(pc.binary_length(chunk)).as_py()
            self._sink.write(chunk.buffers()[2].slice(0, size))


@dataclass(frozen=True, slots=True)
class Block:
    """A `common.Group`: successive complete records of a file."""

    _file: CsvFile
    _start: int
    _bytes: int
    rows: int

    def read(self, columns: Sequence[str]) -> pa.Table:
        """The rows' values in these columns, in this order."""
        return self._file.read_block(self._start, self._bytes, self.rows, columns)

    def bounds(self, column: str) -> tuple[pa.Scalar, pa.Scalar] | None:
        """None: a CSV file has no statistics."""
        return None

    def nulls(self, column: str) -> int | None:
        """None, likewise."""
        return None

    def encoded(self) -> None:
        """None: blocks are not copied, since a file's text has to be parsed to be checked."""

    def expect(self, columns: Sequence[str]) -> None:
        """The whole block will be read, whatever the columns are."""
        self._file.expect_block(self._start, self._bytes)


class CsvFile:
    """A CSV file whose every byte has been verified against the log."""

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
            forget(self._source)
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

    def expect_block(self, start: int, size: int) -> None:
        """One block will be read; see `common.Group.expect`."""
        expect(self._source, [(start, size)])

    def read_block(self, start: int, size: int, rows: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of one block; see `common.Group.read`.

        Raises:
            CorruptTableError: a value is not text of its type, or a record does not have one field per column.
        Cost: splits the whole block into fields; parses the columns asked for.
        """
        present = set(self._names)
        kinds = {name: self.schema.field(name).type for name in columns if name in present}
        if not kinds:
            return common.as_schema({}, columns, self.schema, rows)
        with decoding(self.file, self._source):
            block = self._source.read_at(size, start)
            try:
                found = self._parse(block, {name: _parsed_as(kind) for name, kind in kinds.items()})
            except pa.ArrowInvalid:
                # Arrow takes whole seconds first, so that it refuses the earliest 0.85 s of 64-bit nanoseconds.
                if not any(_is_nanoseconds(kind) for kind in kinds.values()):
                    raise
                as_text = {name: pa.string() if _is_nanoseconds(kind) else kind for name, kind in kinds.items()}
                found = self._parse(block, {name: _parsed_as(kind) for name, kind in as_text.items()})
            if found.num_rows != rows:
                raise damaged(self.file, f"{rows} lines at byte {start} hold {found.num_rows} records")
            values = {name: _from_text(found[name], kind) for name, kind in kinds.items()}
            return common.as_schema(values, columns, self.schema, rows)

    def _parse(self, block: pa.Buffer, kinds: dict[str, pa.DataType]) -> pa.Table:
        return pacsv.read_csv(
            pa.BufferReader(block),
            read_options=pacsv.ReadOptions(column_names=self._names, block_size=len(block) + 1),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(kinds),
                column_types=kinds,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["true"],
                false_values=["false"],
                timestamp_parsers=[pacsv.ISO8601],
            ),
        )

    def _check_shape(self) -> None:
        rows = sum(block.rows for block in self._blocks)
        if rows != self.file.rows:
            raise damaged(self.file, f"it has {rows} rows, the log says {self.file.rows}")
        if len(set(self._names)) != len(self._names):
            raise damaged(self.file, "two of its columns have the same name")
        known = set(self.schema.names)
        unknown = [name for name in self._names if name not in known]
        if unknown and self.file.columns is None:
            raise damaged(self.file, f"its column {shown(unknown[0])} is not in the table")


def open_file(files: Files, file: FileToRead, schema: pa.Schema) -> common.OpenFile:
    """Open a CSV file, read it to its end, and check it against the log: size, SHA-256, columns, number of rows.

    Args:
        files: the store.
        file: what the log says of the file.
        schema: names and types in which to read: all data columns of the table. The file may lack some, where
            it is older than they are; it may have no others.
    Raises:
        CorruptTableError: missing, or any byte is not as it was written.
        StoreError: the store failed.
    Cost: O(bytes), about 1.5 ms per MiB; at most `KEEP_BYTES` in memory, or `AHEAD_BYTES` and a few blocks. One request
        for a file up to `KEEP_BYTES`; for a larger one a round trip for each `AHEAD_BYTES`, and again to parse it.
        An adopted file costs what `csv_adopted.open_file` says.
    """
    if file.csv is not None:
        return csv_adopted.open_file(files, file, schema)
    source = open_input(files, file, AHEAD_BYTES)
    try:
        return CsvFile(source, file, schema)
    except BaseException:
        source.close()
        raise


def check_types(schema: pa.Schema) -> None:
    """Refuse types that have no CSV text.

    Raises:
        UnsupportedTypeError: a nested type, or a decimal with a negative scale.
    """
    for field in schema:
        if not types.is_scalar(field.type) or getattr(field.type, "scale", 0) < 0:
            raise UnsupportedTypeError(
                f"column {field.name!r} of type {type_text(field.type)} cannot be stored as CSV",
                hint="nested types need format parquet" if pa.types.is_nested(field.type) else "cast the column",
                column=field.name,
            )


def check_rows(rows: pa.Table, first_row: int) -> None:
    """Refuse invalid values, times whose text not every reader accepts, and rows too long to be parsed.

    Raises:
        LossyCastError: names the column, the first such row, counted from `first_row`, and what it holds.
        UnsupportedTypeError: a row is too long.
    Cost: O(n); text that is not ASCII takes the longest.
    """
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        checks.check_column(column, name, first_row)
        checks.check_years(column, name, first_row, "CSV text", "a Parquet table or file holds it, and so does JSON")
    if 2 * rows.nbytes + NARROW_BYTES * rows.num_columns <= ROW_LIMIT_BYTES:
        return
    sizes = np.zeros(rows.num_rows, np.int64)
    for column in rows.columns:
        sizes += _text_bytes(column)
    row = int(sizes.argmax()) if len(sizes) else 0
    if len(sizes) and sizes[row] > ROW_LIMIT_BYTES:
        raise _too_long(rows.slice(row, 1), first_row + row)


def _too_long(one: pa.Table, row: int) -> UnsupportedTypeError:
    sizes = [int(_text_bytes(column)[0]) for column in one.columns]
    name = one.column_names[sizes.index(max(sizes))]
    return UnsupportedTypeError(
        f"row {row} is longer than {ROW_LIMIT_BYTES} bytes as CSV; column {name!r} alone takes {max(sizes)}",
        hint="values of this size need format parquet",
        column=name,
        row=row,
    )


FORMAT = Format("csv", "csv", Writer, open_file, check_types, check_rows)


# ---------------------------------------------------------------- values to text


def _header(schema: pa.Schema) -> bytes:
    return (",".join('"' + name.replace('"', '""') + '"' for name in schema.names) + "\n").encode()


def _scalar(text: str) -> pa.Scalar:
    return pa.scalar(text, _TEXT)


def _between_commas(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each value as it is written between commas; null stays null."""
    text = pa.chunked_array([to_text(chunk, _TEXT) for chunk in column.chunks], _TEXT)
    if not _is_quoted(column.type):
        return text
    return pc.binary_join_element_wise(_scalar('"'), pc.replace_substring(text, '"', '""'), _scalar('"'), _scalar(""))


def _is_quoted(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or _is_bytes(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _text_bytes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """How long each value's text is at most, with its comma."""
    if not _is_quoted(column.type):
        return np.full(len(column), NARROW_BYTES, np.int64)
    lengths: npt.NDArray[np.int64] = pc.binary_length(column).cast(pa.int64()).fill_null(0).to_numpy()
    if _is_bytes(column.type):
        return lengths // 3 * 4 + len('"====",')
    quotes: npt.NDArray[np.int64] = pc.count_substring(column, '"').cast(pa.int64()).fill_null(0).to_numpy()
    return lengths + quotes + len('"",')


# ---------------------------------------------------------------- text to values


def _scan(source: pa.NativeFile, file: FileToRead) -> tuple[int, list[tuple[int, int, int]]]:
    """Read the file to its end: compare its hash, find where its records end.

    Returns:
        The header's length, and the blocks after it: start, bytes, records.
    """
    sha256 = hashlib.sha256()
    header_bytes = start = quotes_before = offset = 0
    blocks = []
    expect(source, [(at, min(BLOCK_BYTES, file.bytes - at)) for at in range(0, file.bytes, BLOCK_BYTES)])
    while offset < file.bytes:
        chunk = source.read_at(min(BLOCK_BYTES, file.bytes - offset), offset)
        if not chunk:
            raise damaged(file, f"it ends after {offset} bytes")
        sha256.update(chunk)
        codes = np.frombuffer(chunk, np.uint8)
        quotes, newlines = np.flatnonzero(codes == QUOTE), np.flatnonzero(codes == NEWLINE)
        ends = outside(newlines, quotes, quotes_before) + offset + 1
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
        raise damaged(file, "its last line is incomplete")
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
    """The type in which the parser reads a column; a cast, or `rows.parse`, makes the value from it."""
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_duration(kind):
        return pa.int64()
    return pa.string() if pa.types.is_decimal256(kind) or _is_bytes(kind) else kind


def _is_nanoseconds(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.unit == "ns")


def _from_text(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Values that the parser left as text."""
    if not pa.types.is_string(column.type) or pa.types.is_string(kind):
        return column
    return pa.chunked_array([parse(chunk, kind) for chunk in column.chunks], kind)
