"""The text of CSV files: what is between the separators, unchanged, with null distinct from empty.

RFC 4180, UTF-8 (a byte order mark is skipped), with a header; LF or CRLF; gzip; a `Dialect` describes what differs. An
unquoted empty value is null, a quoted one is empty text; a blank line is a null row in a one-column file, and skipped
elsewhere. Quotes are checked before Arrow parses, because Arrow reads `"x"y` as xy and accepts a file that was cut
inside quotes as complete.

Source: specs/4-semantics.md, "CSV inputs"; RFC 4180.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from txfiles.core.messages import shown
from txfiles.errors import UnreadableInputError
from txfiles.inputs import looks
from txfiles.inputs.dialect import PLAIN, Dialect
from txfiles.inputs.records import Form, check_records
from txfiles.inputs.spool import mapped, temporary_file, writing

BLOCK_BYTES = 4 << 20
INFLATED_FREE_BYTES = 1 << 30
INFLATED_RATIO_LIMIT = 500
"""Real CSV compresses 3 to 100 fold, a bomb 1,000 fold; anything below `INFLATED_FREE_BYTES` is let through."""

ENCODING_HINT = "save the file as UTF-8, or pass its encoding, such as csv={'encoding': 'cp1252'}"

_RAGGED = re.compile(r"Row #([0-9]+): Expected [0-9]+ columns, got ([0-9]+)")


@dataclass(frozen=True)
class CsvText:
    """A CSV file that has been found to be well-formed, as text.

    Attributes:
        names: of the columns; one that the header does not name is named by its position, `column_0`.
        unnamed: positions of the columns that the header does not name.
        quoted: the positions of columns and the markers (`guess.MARKERS`) that occur in quotes there.
        tables: its rows, all columns of type string; first a table without rows. Can be gone through once.
    """

    names: tuple[str, ...]
    unnamed: tuple[int, ...]
    quoted: frozenset[tuple[int, str]]
    tables: Iterator[pa.Table]


def read_text(path: str, dialect: Dialect = PLAIN) -> CsvText:
    """The text of a file.

    Args:
        path: a local file; one that is compressed or in another encoding is converted into a temporary file.
        dialect: how it is written.
    Raises:
        UnreadableInputError: it cannot be read, or is not RFC 4180 in UTF-8 with a header of distinct names (or what
            the dialect says instead); says what it looks like.
    Cost: two passes over the file's bytes, one to check the quotes; memory for a block.
    """
    data = _content(path, dialect)
    if data.size == 0:
        raise UnreadableInputError(f"{path!r} is empty", hint="a CSV file starts with a header", path=path)
    form = Form(path, dialect.sep or default_separator(path), dialect.quotechar)
    head = bytes(memoryview(data)[: looks.HEAD_BYTES])
    looks.refuse_other_formats(head, path)
    if dialect.sep is None:
        looks.refuse_other_separator(head, form.sep, path)
    found = check_records(np.frombuffer(data, np.uint8), form, BLOCK_BYTES)
    first = data.slice(0, found.header).to_pybytes()
    said = _fields(first, form)
    start = found.header if dialect.has_header else 0
    if dialect.header is None and dialect.has_header and start < data.size:
        looks.refuse_data_as_header(said, path)
    names, unnamed = _named(said, dialect, path)
    quoted = frozenset((column, marker) for column, marker in found.quoted if column < len(names))
    parser = _Parser(form, names, dialect.na_values, found.longest)
    return CsvText(names, unnamed, quoted, parser.tables(data, start, found.end))


def default_separator(path: str) -> str:
    """A tab in a file named .tsv, else a comma."""
    return "\t" if path.lower().removesuffix(".gz").endswith((".tsv", ".tab")) else ","


@dataclass(frozen=True)
class _Parser:
    """How the records of a file become tables: its form, the columns' names, null texts, the longest record."""

    form: Form
    names: tuple[str, ...]
    nulls: tuple[str, ...]
    longest: int

    def tables(self, data: pa.Buffer, start: int, end: int) -> Iterator[pa.Table]:
        """The rows that begin at `start`; the last line end is at `end`."""
        yield pa.schema([pa.field(name, pa.string()) for name in self.names]).empty_table()
        row = 0
        for records in _ended(data, start, end):
            for table in _parse(self, records, row):
                yield table
                row += table.num_rows


def _ended(data: pa.Buffer, start: int, end: int) -> Iterator[pa.Buffer]:
    """The records with a line end after the last one: without, Arrow takes the null of `"x",` for an empty text."""
    if start < end:
        yield data.slice(start, end - start)
    if max(start, end) < data.size:
        yield pa.py_buffer(bytes(memoryview(data)[max(start, end) :]) + b"\n")


def _content(path: str, dialect: Dialect) -> pa.Buffer:
    try:
        if looks.is_gzip(path):
            data = _inflate(path)
        else:
            with open(path, "rb") as file:
                data = mapped(file)
    except OSError as error:
        raise UnreadableInputError(f"{path!r} cannot be read: {error}", path=path) from error
    if dialect.encoding not in ("utf-8", "utf-8-sig"):
        data = _converted(data, dialect.encoding, path)
    return data.slice(3) if bytes(memoryview(data)[:3]) == b"\xef\xbb\xbf" else data


def _converted(data: pa.Buffer, encoding: str, path: str) -> pa.Buffer:
    """The text in UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with temporary_file() as sink:
        for start in range(0, data.size + BLOCK_BYTES, BLOCK_BYTES):
            try:
                text = decoder.decode(bytes(memoryview(data)[start : start + BLOCK_BYTES]), start >= data.size)
                converted = text.encode()
            except UnicodeError as error:
                raise UnreadableInputError(
                    f"{path!r} is not {encoding}: {error}", hint="pass another csv={'encoding': …}", path=path
                ) from error
            with writing("a temporary file"):
                sink.write(converted)
        return mapped(sink)


def _inflate(path: str) -> pa.Buffer:
    limit = max(INFLATED_FREE_BYTES, Path(path).stat().st_size * INFLATED_RATIO_LIMIT)
    size = 0
    with gzip.open(path) as source, temporary_file() as sink:
        while block := _inflated(source, path):
            size += len(block)
            if size > limit:
                raise UnreadableInputError(
                    f"{path!r} unpacks to more than {INFLATED_RATIO_LIMIT} times its size",
                    hint="unpack it yourself",
                    path=path,
                )
            with writing("a temporary file"):
                sink.write(block)
        return mapped(sink)


def _inflated(source: gzip.GzipFile, path: str) -> bytes:
    try:
        return source.read(BLOCK_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableInputError(f"{path!r} is damaged or cut short: {error}", path=path) from error


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
                f"{path!r} has {len(given)} columns, but csv={{'names': …}} has {len(dialect.names)}",
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


def _parse(parser: _Parser, data: pa.Buffer, row: int) -> Iterator[pa.Table]:
    """Parse records, of which the first is the file's data row number `row`."""
    import pyarrow.csv as pc_csv

    first, form, names = row, parser.form, parser.names
    path = form.path
    try:
        reader = pc_csv.open_csv(
            pa.BufferReader(data),
            # One thread: only then does Arrow number the rows that it refuses.
            read_options=pc_csv.ReadOptions(
                use_threads=False, column_names=names, block_size=max(BLOCK_BYTES, parser.longest + 1)
            ),
            parse_options=pc_csv.ParseOptions(
                delimiter=form.sep,
                quote_char=form.quote,
                newlines_in_values=True,
                ignore_empty_lines=len(names) > 1,
            ),
            convert_options=pc_csv.ConvertOptions(
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=["", *parser.nulls],
                # Bytes first: so that text which is not UTF-8 can be named by its row.
                column_types={name: pa.binary() for name in names},
            ),
        )
        for batch in reader:
            yield pa.table([_decoded(path, name, batch.column(name), row) for name in names], names)
            row += batch.num_rows
    except pa.ArrowInvalid as error:
        # Arrow's handler of invalid rows would work too, but not for a row that is not UTF-8.
        ragged = _RAGGED.search(str(error))
        if ragged is None:
            raise UnreadableInputError(f"{path!r}: {error}", path=path) from error
        bad, values = first + int(ragged[1]) - 1, int(ragged[2])
        is_r = bad == 0 and values == len(names) + 1
        raise UnreadableInputError(
            f"{path!r}: row {bad} has {values} values, but the header has {len(names)}"
            + ("; it looks like R's row names, which have no header" if is_r else ""),
            hint="write it with write.csv(…, row.names = FALSE), or name all columns: "
            f"csv={{'header': True, 'names': ['row', {names[0]!r}, …]}}"
            if is_r
            else None,
            path=path,
            row=bad,
        ) from error


def _decoded(path: str, name: str, values: pa.Array, row: int) -> pa.Array:
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid as error:
        at = next(i for i, value in enumerate(values.to_pylist()) if value is not None and not _is_utf8(value))
        raise UnreadableInputError(
            f"{path!r}: column {name!r}, row {row + at} is not UTF-8: {shown(values[at].as_py())}",
            hint=ENCODING_HINT,
            path=path,
            column=name,
            row=row + at,
        ) from error


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
