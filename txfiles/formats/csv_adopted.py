"""CSV data files that the table did not write itself, in the form that they have.

`formats.csv_text` reads them, as it reads inputs, so an adopted file has the rows that a write of it would have had.
Positions of rows are those of its records, blank lines left out where there are several columns.

What was adopted is what was hashed: a file is copied, to memory or to a temporary file, before it is hashed and parsed,
so that nobody changes it in between. A large local file is used where it is.

Source: specs/2-layout.md, "Adopted CSV files".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from txfiles.errors import InputError, UnsupportedTypeError
from txfiles.formats import common, csv_text
from txfiles.formats.csv_bytes import utf8
from txfiles.formats.csv_text import CsvText, TextBlock
from txfiles.formats.source import Files, FileToRead, damaged, decoding, expect, in_memory, open_input
from txfiles.rows.adopted_csv import AdoptedCsv
from txfiles.temporary import mapped, temporary_file, writing

BLOCK_BYTES = 4 * 1024 * 1024
"""How much is read and hashed at a time."""

KEEP_BYTES = 64 * 1024 * 1024
"""A file up to this size is held in memory; a larger one that is not on this machine, in a temporary file."""

AHEAD_BYTES = 32 * 1024 * 1024
"""How much of a file is asked for together."""


@dataclass(frozen=True, slots=True)
class Block:
    """A `common.Group`: successive records of a file."""

    _file: AdoptedCsvFile
    _block: TextBlock

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._block.rows

    def read(self, columns: Sequence[str]) -> pa.Table:
        """The rows' values in these columns, in this order."""
        return self._file.read_block(self._block, columns)

    def bounds(self, column: str) -> tuple[pa.Scalar, pa.Scalar] | None:
        """None: a CSV file has no statistics."""
        return None

    def nulls(self, column: str) -> int | None:
        """None, likewise."""
        return None

    def encoded(self) -> None:
        """None: no file of the table's own has this form."""

    def expect(self, columns: Sequence[str]) -> None:
        """Nothing: the file has been read."""


class AdoptedCsvFile:
    """An adopted CSV file whose every byte has been verified against the log."""

    def __init__(self, file: FileToRead, csv: AdoptedCsv, text: CsvText, schema: pa.Schema) -> None:
        self._file = file
        self._csv = csv
        self._text = text
        self._schema = schema

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def groups(self) -> Iterator[Block]:
        """All blocks, in row order."""
        for block in self._text.blocks:
            yield Block(self, block)

    def close(self) -> None:
        """Does nothing: the content goes with its last reader."""

    def read_block(self, block: TextBlock, columns: Sequence[str]) -> pa.Table:
        """Some columns of one block; see `common.Group.read`.

        Raises:
            CorruptTableError: a value is not text of its type, or a record does not have one field per column.
        """
        stored = set(self._text.names)
        present = [name for name in columns if name in stored]
        values: dict[str, pa.ChunkedArray] = {}
        if present:
            with _fitting(self._file):
                texts = self._text.read(block, present)
                if texts.num_rows != block.rows:
                    what = f"{block.rows} lines at byte {block.start} hold {texts.num_rows} records"
                    raise damaged(self._file, what)
                values = self._csv.values(texts, lambda row: (self._file.path, block.first_row + row))
        return common.as_schema(values, columns, self._schema, block.rows)


def open_file(files: Files, file: FileToRead, schema: pa.Schema) -> AdoptedCsvFile:
    """Open an adopted CSV file, read it to its end, and check it against the log: size, SHA-256, columns, rows.

    Args:
        files: the store.
        file: what the log says of the file; `file.csv` is given.
        schema: names and types in which to read.
    Raises:
        CorruptTableError: missing, or not as it was adopted.
        StoreError: the store failed, or the temporary folder cannot be written.
    Cost: O(bytes), twice: to hash and to find the records. At most `KEEP_BYTES` in memory; the temporary folder holds
        a larger file that is not on this machine, and the text of one that is compressed or not UTF-8.
    """
    assert file.csv is not None
    source = open_input(files, file, AHEAD_BYTES)
    try:
        with decoding(file, source), _fitting(file):
            text = _verified_text(source, file, file.csv)
    finally:
        source.close()
    if text.rows != file.rows:
        raise damaged(file, f"it has {text.rows} rows, the log says {file.rows}")
    return AdoptedCsvFile(file, file.csv, text, schema)


def _verified_text(source: pa.NativeFile, file: FileToRead, csv: AdoptedCsv) -> CsvText:
    data, sha256 = content(source, file.bytes)
    if data.size != file.bytes:
        raise damaged(file, f"it ends after {data.size} bytes")
    if sha256 != file.sha256:
        raise damaged(file, "its content does not match the log's sha256")
    return csv_text.read(utf8(data, file.path, csv.dialect.encoding), file.path, csv.dialect)


def content(source: pa.NativeFile, size: int) -> tuple[pa.Buffer, str]:
    """The bytes of a file from `open_input`, in memory or mapped, and their SHA-256; fewer if it ends before."""
    sha256 = hashlib.sha256()
    places = [(at, min(BLOCK_BYTES, size - at)) for at in range(0, size, BLOCK_BYTES)]
    expect(source, places)
    if in_memory(source) and size > KEEP_BYTES:
        whole = source.read_buffer(size)  # a view of what is mapped
        for at, length in places:
            sha256.update(memoryview(whole)[at : at + length])
        return whole, sha256.hexdigest()
    blocks = (bytes(source.read_at(length, at)) for at, length in places)
    if size <= KEEP_BYTES:
        data = b"".join(blocks)
        return pa.py_buffer(data), hashlib.sha256(data).hexdigest()
    with temporary_file() as sink:
        for block in blocks:
            sha256.update(block)
            with writing("a temporary file"):
                sink.write(block)
        return mapped(sink), sha256.hexdigest()


@contextmanager
def _fitting(file: FileToRead) -> Iterator[None]:
    """Context manager that reports text that cannot be what was adopted as damage."""
    try:
        yield
    except (InputError, UnsupportedTypeError) as error:
        raise damaged(file, f"its text does not fit the log: {error.message}") from error
