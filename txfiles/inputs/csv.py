"""The text of CSV files: what stands between the commas, as it is, and null apart from empty.

RFC 4180, UTF-8 (a byte order mark is skipped), with a header; LF or CRLF; gzip where the name ends in ``.gz``. An
unquoted empty value is null, a quoted one is empty text; a blank line is a null row of a one-column file, and
skipped elsewhere. Quotes are checked before Arrow parses, because Arrow reads `"x"y` as xy and takes a file that was
cut inside quotes for a whole one.

Source: specs/4-semantics.md, "CSV inputs"; RFC 4180.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from txfiles.errors import UnreadableInputError
from txfiles.inputs.spool import mapped, temporary_file, writing

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]

BLOCK_BYTES = 4 << 20
RECORD_LIMIT_BYTES = 1 << 30
"""The longest CSV record: Arrow parses in blocks that hold a whole one, and sizes them with 32 bits."""
INFLATED_FREE_BYTES = 1 << 30
INFLATED_RATIO_LIMIT = 500
"""Real CSV deflates 3 to 100 fold and a bomb 1,000 fold; what stays below `INFLATED_FREE_BYTES` is let through."""

_RAGGED = re.compile(r"Row #([0-9]+): Expected [0-9]+ columns, got ([0-9]+)")


def read_text(path: str) -> Iterator[pa.Table]:
    """The text of a file, all columns of type string; first a chunk without rows.

    Args:
        path: a local file; one that is compressed is unpacked into a temporary file.
    Raises:
        UnreadableInputError: it cannot be read, or is not RFC 4180 in UTF-8 with a header of distinct names.
    Cost: two passes over the file's bytes, one to check the quotes; memory for a block.
    """
    data = _content(path)
    if data.size == 0:
        raise UnreadableInputError(f"{path!r} is empty", hint="a CSV file begins with a header", path=path)
    start, end, longest = _check_records(np.frombuffer(data, np.uint8), path)
    names = _header(data.slice(0, start).to_pybytes(), path)
    yield pa.schema([pa.field(name, pa.string()) for name in names]).empty_table()
    row = 0
    for records in _ended(data, start, end):
        for table in _parse(path, records, names, longest, row):
            yield table
            row += table.num_rows


def _ended(data: pa.Buffer, start: int, end: int) -> Iterator[pa.Buffer]:
    """The records with a line end after the last one: without, Arrow takes the null of `"x",` for an empty text."""
    if start < end:
        yield data.slice(start, end - start)
    if max(start, end) < data.size:
        yield pa.py_buffer(bytes(memoryview(data)[end:]) + b"\n")


def _content(path: str) -> pa.Buffer:
    try:
        if path.lower().endswith(".gz"):
            data = _inflate(path)
        else:
            with open(path, "rb") as file:
                data = mapped(file)
    except OSError as error:
        raise UnreadableInputError(f"{path!r} cannot be read: {error}", path=path) from error
    return data.slice(3) if bytes(memoryview(data)[:3]) == b"\xef\xbb\xbf" else data


def _inflate(path: str) -> pa.Buffer:
    limit = max(INFLATED_FREE_BYTES, Path(path).stat().st_size * INFLATED_RATIO_LIMIT)
    size = 0
    with gzip.open(path) as source, temporary_file() as sink:
        while block := _inflated(source, path):
            size += len(block)
            if size > limit:
                raise UnreadableInputError(
                    f"{path!r} inflates more than {INFLATED_RATIO_LIMIT} fold", hint="unpack it yourself", path=path
                )
            with writing("a temporary file"):
                sink.write(block)
        return mapped(sink)


def _inflated(source: gzip.GzipFile, path: str) -> bytes:
    try:
        return source.read(BLOCK_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableInputError(f"{path!r} is damaged or cut short: {error}", path=path) from error


def _check_records(data: Bytes, path: str) -> tuple[int, int, int]:
    """Check the quotes of RFC 4180, and find where records end.

    With quotes numbered from 0, an even one opens, or is the second of an escaped pair; an odd one closes, or is the
    first of a pair. So what stands before an even one and after an odd one is enough to tell.

    Returns:
        Where the header ends, where the last record that has a line end does, and the size of the longest record.
    Raises:
        UnreadableInputError: a quote or a carriage return at a wrong place, or an end within quotes.
    Cost: O(bytes), vectorised; no memory but for a block.
    """
    quotes, end, header, longest = 0, 0, 0, 0
    for start in range(0, data.size, BLOCK_BYTES):
        block = data[start : start + BLOCK_BYTES]
        at = np.flatnonzero(block == ord('"')) + start
        _check_quotes(data, at, quotes, path)
        _check_returns(data, np.flatnonzero(block == ord("\r")) + start, at, quotes, path)
        ends = _outside(np.flatnonzero(block == ord("\n")) + start, at, quotes) + 1
        if ends.size:
            header = header or int(ends[0])
            longest = max(longest, int(np.diff(ends, prepend=end).max()))
            end = int(ends[-1])
        quotes += at.size
    if quotes % 2:
        raise UnreadableInputError(
            f"{path!r} ends within quotes", hint="it was cut short, or a quote is not doubled", path=path
        )
    longest = max(longest, data.size - end)
    if longest > RECORD_LIMIT_BYTES:
        raise UnreadableInputError(f"{path!r} has a record of {longest} bytes", path=path)
    return header or data.size, end, longest


_NEAR_QUOTE = np.isin(np.arange(256), np.frombuffer(b',\r\n"', np.uint8))


def _check_quotes(data: Bytes, at: Positions, before: int, path: str) -> None:
    opening, closing = at[before % 2 :: 2], at[1 - before % 2 :: 2]
    opening, closing = opening[opening > 0], closing[closing < data.size - 1]
    bad = np.concatenate((opening[~_NEAR_QUOTE[data[opening - 1]]], closing[~_NEAR_QUOTE[data[closing + 1]]]))
    if bad.size:
        line = _line(data, int(bad.min()))
        raise UnreadableInputError(
            f"{path!r}, line {line}: a quote within a value",
            hint='a value that has quotes is quoted itself, and each of them doubled: "a ""b"" c"',
            path=path,
            line=line,
        )


def _check_returns(data: Bytes, returns: Positions, at: Positions, before: int, path: str) -> None:
    lone = _outside(returns[data[np.minimum(returns + 1, data.size - 1)] != ord("\n")], at, before)
    if lone.size:
        line = _line(data, int(lone[0]))
        raise UnreadableInputError(
            f"{path!r}, line {line}: a carriage return without a line feed",
            hint="end lines with LF or CRLF, and quote values that have line ends",
            path=path,
            line=line,
        )


def _outside(positions: Positions, quotes_at: Positions, before: int) -> Positions:
    """The positions that are not within quotes."""
    outside: Positions = positions[(np.searchsorted(quotes_at, positions) + before) % 2 == 0]
    return outside


def _line(data: Bytes, position: int) -> int:
    return int(np.count_nonzero(data[:position] == ord("\n"))) + 1


def _header(record: bytes, path: str) -> list[str]:
    try:
        text = record.decode().rstrip("\r\n")
        names = next(csv.reader(io.StringIO(text, newline="")), [])
    except UnicodeDecodeError as error:
        raise UnreadableInputError(
            f"{path!r}: the header is not UTF-8: {error}", hint="save the file as UTF-8", path=path
        ) from error
    except csv.Error as error:
        raise UnreadableInputError(f"{path!r}: the header cannot be parsed: {error}", path=path) from error
    seen: set[str] = set()
    for at, name in enumerate(names or [""]):
        if not name:
            raise UnreadableInputError(
                f"{path!r}: column {at} has no name in the header",
                hint="the first line names the columns; pandas writes its index so, unless index=False is given",
                path=path,
            )
        if name in seen:
            raise UnreadableInputError(
                f"{path!r}: the header names column {name!r} twice", hint="rename one", path=path, column=name
            )
        seen.add(name)
    return names


def _parse(path: str, data: pa.Buffer, names: list[str], longest: int, row: int) -> Iterator[pa.Table]:
    """Parse records, of which the first is the file's data row number `row`."""
    import pyarrow.csv as pc_csv

    first = row
    try:
        reader = pc_csv.open_csv(
            pa.BufferReader(data),
            # One thread: only then does Arrow number the rows that it refuses.
            read_options=pc_csv.ReadOptions(
                use_threads=False, column_names=names, block_size=max(BLOCK_BYTES, longest + 1)
            ),
            parse_options=pc_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(names) > 1),
            convert_options=pc_csv.ConvertOptions(
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
                # Bytes first: so that text which is not UTF-8 can be named by its row.
                column_types={name: pa.binary() for name in names},
            ),
        )
        for batch in reader:
            yield pa.table([_decoded(path, name, batch.column(name), row) for name in names], names)
            row += batch.num_rows
    except pa.ArrowInvalid as error:
        # Arrow's handler of such rows would be told as well, but not of one that is not UTF-8.
        ragged = _RAGGED.search(str(error))
        bad = first + int(ragged[1]) - 1 if ragged else None
        detail = f"row {bad} has {ragged[2]} values, the header {len(names)}" if ragged else str(error)
        raise UnreadableInputError(f"{path!r}: {detail}", path=path, row=bad) from error


def _decoded(path: str, name: str, values: pa.Array, row: int) -> pa.Array:
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid as error:
        at = next(i for i, value in enumerate(values.to_pylist()) if value is not None and not _is_utf8(value))
        raise UnreadableInputError(
            f"{path!r}: column {name!r}, row {row + at} is not UTF-8: {values[at].as_py()[:80]!r}",
            hint="save the file as UTF-8",
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
