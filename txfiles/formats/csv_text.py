"""The text of CSV files: what is between the separators, unchanged, with null distinct from empty.

RFC 4180, UTF-8, with a header; LF or CRLF; a `Dialect` describes what differs. An unquoted empty value is null, a
quoted one is empty text; a blank line is a null row in a one-column file, and skipped elsewhere. Quotes are checked
before Arrow parses, because Arrow reads `"x"y` as xy and accepts a file that was cut inside quotes as complete.

Inputs and adopted data files are both read by this module, so they have the same rows.

Source: specs/4-semantics.md, "CSV inputs"; RFC 4180.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from txfiles.core.messages import shown
from txfiles.errors import UnreadableInputError
from txfiles.rows import looks
from txfiles.rows.dialect import Dialect
from txfiles.rows.quotes import outside
from txfiles.rows.records import Form, Span, check_records

BLOCK_BYTES = 4 << 20
"""How much is checked and parsed at a time; a longer record makes its block longer."""

ENCODING_HINT = "save the file as UTF-8, or pass its encoding, such as csv={'encoding': 'cp1252'}"

_NEWLINE, _RETURN = ord("\n"), ord("\r")
_RAGGED = re.compile(r"Row #([0-9]+): Expected [0-9]+ columns, got ([0-9]+)")


@dataclass(frozen=True)
class TextBlock:
    """Some successive rows of a file.

    Attributes:
        start: where the first one begins.
        end: where the last one ends.
        first_row: its position in the file, from 0.
        rows: how many there are.
    """

    start: int
    end: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class CsvText:
    """A CSV file that has been found to be well-formed, as text.

    Attributes:
        names: of the columns; one that the header does not name is named by its position, `column_0`.
        unnamed: positions of the columns that the header does not name.
        quoted: the positions of columns and the markers (`guess.MARKERS`) that occur in quotes there.
        blocks: its rows, in order.
    """

    names: tuple[str, ...]
    unnamed: tuple[int, ...]
    quoted: frozenset[tuple[int, str]]
    blocks: tuple[TextBlock, ...]
    _data: pa.Buffer
    _form: Form
    _nulls: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(block.rows for block in self.blocks)

    @property
    def tables(self) -> Iterator[pa.Table]:
        """Its rows, all columns of type string; first a table without rows."""
        yield pa.schema([pa.field(name, pa.string()) for name in self.names]).empty_table()
        for block in self.blocks:
            yield self.read(block, self.names)

    def read(self, block: TextBlock, columns: Sequence[str]) -> pa.Table:
        """Some columns of a block, as strings.

        Raises:
            UnreadableInputError: a row has another number of values than there are columns, or is not UTF-8.
        Cost: splits the whole block into fields; validates the columns asked for.
        """
        data = self._data.slice(block.start, block.end - block.start)
        if bytes(memoryview(data)[-1:]) != b"\n":  # without, Arrow takes the null of `"x",` for an empty text
            data = pa.py_buffer(bytes(data) + b"\n")
        return self._parse(data, block.first_row, columns)

    def line_of(self, row: int) -> int:
        """The line of the file, from 1, in which a row begins. Cost: a pass over what comes before it."""
        block = next(block for block in self.blocks if block.first_row <= row < block.first_row + block.rows)
        codes = np.frombuffer(self._data, np.uint8)
        inner = codes[block.start : block.end]
        newlines, quotes = np.flatnonzero(inner == _NEWLINE), np.flatnonzero(inner == ord(self._form.quote))
        starts = np.concatenate(([0], outside(newlines, quotes) + 1))
        starts = starts[starts < len(inner)]
        if len(self.names) > 1:  # blank lines are no rows
            starts = starts[~np.isin(inner[starts], (_NEWLINE, _RETURN))]
        end = block.start + int(starts[row - block.first_row])
        return 1 + sum(
            int(np.count_nonzero(codes[at : min(at + BLOCK_BYTES, end)] == _NEWLINE))
            for at in range(0, end, BLOCK_BYTES)
        )

    def _parse(self, data: pa.Buffer, first: int, columns: Sequence[str]) -> pa.Table:
        import pyarrow.csv as pc_csv

        names = self.names
        try:
            found = pc_csv.read_csv(
                pa.BufferReader(data),
                # One thread: only then does Arrow number the rows that it refuses.
                read_options=pc_csv.ReadOptions(use_threads=False, column_names=names, block_size=data.size + 1),
                parse_options=pc_csv.ParseOptions(
                    delimiter=self._form.sep,
                    quote_char=self._form.quote,
                    newlines_in_values=True,
                    ignore_empty_lines=len(names) > 1,
                ),
                convert_options=pc_csv.ConvertOptions(
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=["", *self._nulls],
                    include_columns=columns,
                    # Bytes first: so that text which is not UTF-8 can be named by its row.
                    column_types={name: pa.binary() for name in columns},
                ),
            )
        except pa.ArrowInvalid as error:
            # Arrow's handler of invalid rows would work too, but not for a row that is not UTF-8.
            ragged = _RAGGED.search(str(error))
            if ragged is None:
                raise UnreadableInputError(f"{self._form.path!r}: {error}", path=self._form.path) from error
            raise self._ragged(first + int(ragged[1]) - 1, int(ragged[2])) from error
        texts = [self._decoded(name, found.column(name), first) for name in columns]
        return pa.table(texts, columns)

    def _ragged(self, row: int, values: int) -> UnreadableInputError:
        names, path = self.names, self._form.path
        is_r = row == 0 and values == len(names) + 1
        return UnreadableInputError(
            f"{path!r}: row {row} has {values} values, but the header has {len(names)}"
            + ("; it looks like R's row names, which have no header" if is_r else ""),
            hint="write it with write.csv(…, row.names = FALSE), or name all columns: "
            f"csv={{'header': True, 'names': ['row', {names[0]!r}, …]}}"
            if is_r
            else None,
            path=path,
            row=row,
        )

    def _decoded(self, name: str, values: pa.ChunkedArray, row: int) -> pa.ChunkedArray:
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid as error:
            at = next(i for i, value in enumerate(values.to_pylist()) if value is not None and not _is_utf8(value))
            raise UnreadableInputError(
                f"{self._form.path!r}: column {name!r}, row {row + at} is not UTF-8: {shown(values[at].as_py())}",
                hint=ENCODING_HINT,
                path=self._form.path,
                column=name,
                row=row + at,
            ) from error


def refuse_unlikely(data: pa.Buffer, path: str, dialect: Dialect) -> None:
    """Refuse content that looks like something else than CSV in this dialect.

    Raises:
        UnreadableInputError: says what it looks like and what to do.
    """
    head = bytes(memoryview(data)[: looks.HEAD_BYTES])
    looks.refuse_other_formats(head, path)
    if dialect.sep is None:
        looks.refuse_other_separator(head, default_separator(path), path)


def read(data: pa.Buffer, path: str, dialect: Dialect) -> CsvText:
    """The text of a file.

    Args:
        data: its content in UTF-8, in memory or mapped.
        path: of the file.
        dialect: how it is written.
    Raises:
        UnreadableInputError: it is not RFC 4180 with a header of distinct names (or what the dialect says instead).
    Cost: one pass over the bytes, to check the quotes; memory for a block. The rows are parsed when they are read.
    """
    if data.size == 0:
        raise UnreadableInputError(f"{path!r} is empty", hint="a CSV file starts with a header", path=path)
    form = Form(path, dialect.sep or default_separator(path), dialect.quotechar)
    found = check_records(np.frombuffer(data, np.uint8), form, BLOCK_BYTES)
    said = _fields(data.slice(0, found.header).to_pybytes(), form)
    start = found.header if dialect.has_header else 0
    if dialect.header is None and dialect.has_header and start < data.size:
        looks.refuse_data_as_header(said, path)
    names, unnamed = _named(said, dialect, path)
    quoted = frozenset((column, marker) for column, marker in found.quoted if column < len(names))
    blocks = _blocks(found.spans, start, blank_rows=len(names) == 1)
    return CsvText(names, unnamed, quoted, blocks, data, form, dialect.na_values)


def default_separator(path: str) -> str:
    """A tab in a file named .tsv, else a comma."""
    return "\t" if path.lower().removesuffix(".gz").endswith((".tsv", ".tab")) else ","


def _blocks(spans: Sequence[Span], start: int, *, blank_rows: bool) -> tuple[TextBlock, ...]:
    """The rows in some spans; the first record is not one of them if `start` is not 0."""
    found = []
    row = 0
    for span in spans:
        records = span.records - (1 if span.start < start else 0)
        rows = records if blank_rows else records - span.blank
        if rows:
            found.append(TextBlock(max(span.start, start), span.end, row, rows))
        row += rows
    return tuple(found)


def _fields(record: bytes, form: Form) -> list[str]:
    """The texts of the first record."""
    try:
        text = record.decode().rstrip("\r\n")
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=form.sep, quotechar=form.quote), [])
    except UnicodeDecodeError as error:
        raise UnreadableInputError(
            f"{form.path!r}: the header is not UTF-8: {error}", hint=ENCODING_HINT, path=form.path
        ) from error
    except csv.Error as error:
        raise UnreadableInputError(f"{form.path!r}: the header cannot be parsed: {error}", path=form.path) from error


def _named(said: list[str], dialect: Dialect, path: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The columns' names, and the positions of those that were given one here."""
    if not said and dialect.has_header:
        raise UnreadableInputError(
            f"{path!r}: the first line is empty", hint="the first line names the columns", path=path
        )
    given = said if dialect.has_header else [""] * max(1, len(said))
    if dialect.names is not None:
        if len(dialect.names) != len(given):
            raise UnreadableInputError(
                f"{path!r} has {len(given)} columns, but {len(dialect.names)} are named",
                hint="name each column",
                path=path,
            )
        return dialect.names, ()
    unnamed = tuple(at for at, name in enumerate(given) if not name) if dialect.has_header else ()
    if unnamed and dialect.unnamed == "error":
        raise UnreadableInputError(
            f"{path!r}: column {unnamed[0]} has no name in the header",
            hint="name it, or leave out csv={'unnamed': 'error'}",
            path=path,
        )
    names = [name or f"column_{at}" for at, name in enumerate(given)]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UnreadableInputError(
                f"{path!r}: the header names column {name!r} twice",
                hint="rename one, or pass csv={'names': […]}",
                path=path,
                column=name,
            )
        seen.add(name)
    return tuple(names), unnamed


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
