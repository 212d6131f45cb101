"""Parquet and CSV files as input: one, several, or all below a folder, as one batch.

Each file is read once, at the first read, into a spool (see `spool`): a file that changes under a running write
changes nothing, and memory holds one block. CSV text is spooled as text first, since its types may depend on the
table that a rebase finds.

CSV is RFC 4180, UTF-8 (a byte order mark is skipped), with a header; LF or CRLF. Quotes are checked before Arrow
parses, because Arrow reads `"x"y` as xy and takes a file that was cut inside quotes for a whole one. A blank line is
a null row of a one-column file, and skipped elsewhere.

Partition folders (`country=DE/`) are not interpreted: a folder that has them is refused, since its files lack the
partition columns.

Source: specs/4-semantics.md, "Inputs" and "CSV inputs"; RFC 4180.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from txfiles.engines.inference import check_names, declare, first_unfit, infer, is_text_of, parse
from txfiles.engines.spool import Labelled, Spool, merge_schemas, writing
from txfiles.errors import LossyCastError, UnreadableInputError, UnsupportedTypeError
from txfiles.rows.source import Batch
from txfiles.rows.types import normalise

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]

SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv"}
BATCH_ROWS = 1 << 16
BLOCK_BYTES = 4 << 20
RECORD_LIMIT_BYTES = 1 << 30
"""The longest CSV record: Arrow parses in blocks that hold a whole one, and sizes them with 32 bits."""
INFLATED_FREE_BYTES = 1 << 30
INFLATED_RATIO_LIMIT = 500
"""Real CSV deflates 3 to 100 fold and a bomb 1,000 fold; what stays below `INFLATED_FREE_BYTES` is let through."""

_LOGS = {
    "_txfiles": "pass txfiles.Table({folder!r}).dataset() or .to_arrow()",
    "_delta_log": "pass deltalake.DeltaTable({folder!r}).to_pyarrow_table()",
}
_DATASET_HINT = "pass pyarrow.dataset.dataset({path!r}, partitioning='hive')"


@dataclass(frozen=True)
class _Run:
    """Files of one kind, next to each other in the input; CSV columns are still text."""

    kind: str
    table: pa.Table
    paths: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def place(self, row: int) -> tuple[str, int]:
        """The file and the data row in it, from 0, of a row of the run."""
        at = bisect_right(self.starts, row) - 1
        return self.paths[at], row - self.starts[at]


class PathSource:
    """Files as a source.

    Args:
        paths: files and folders, in order.
        types: what `schema=` says.
    """

    def __init__(self, paths: Sequence[str], types: pa.Schema | None) -> None:
        self._paths = paths
        self._types = types
        self._spool = Spool()
        self._runs: list[_Run] | None = None
        self._typed: pa.Table | None = None
        self._guesses: dict[str, pa.DataType] = {}

    def read(self, known: pa.Schema | None) -> Batch:
        """The rows of all files, in order.

        Raises:
            UnreadableInputError: a file is missing, damaged, or holds text that is not of its column's type.
            LossyCastError: a value does not fit its column's type.
            SchemaMismatchError: the files differ in their columns.
        Cost: each file once; a CSV input once more for each other `known`. Disk: the rows, and CSV text as it is.
        """
        try:
            if self._runs is None:
                self._runs = self._load()
            if [run.kind for run in self._runs] == ["parquet"]:
                return Batch(self._runs[0].table)
            types, inferred = self._column_types(self._runs, known)
            if self._typed is None or not self._typed.schema.equals(types):
                self._typed = self._spool.store(chunk for run in self._runs for chunk in _typed(run, types))
            return Batch(self._typed, inferred)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the spool. May be called twice; a later read reads the files again."""
        self._runs = self._typed = None
        self._guesses = {}
        self._spool.close()

    def _load(self) -> list[_Run]:
        runs = []
        for kind, files in groupby(expand(self._paths), key=_kind):
            load = self._parquet_run if kind == "parquet" else self._csv_run
            runs.append(load(list(files)))
        return runs

    def _parquet_run(self, files: list[str]) -> _Run:
        chunks = ((path, declare(chunk, self._types)) for path in files for chunk in _parquet(path))
        return _Run("parquet", self._spool.store(chunks))

    def _csv_run(self, files: list[str]) -> _Run:
        starts: list[int] = []
        table = self._spool.store(self._csv_chunks(files, starts))
        return _Run("csv", table, files, starts)

    def _csv_chunks(self, files: list[str], starts: list[int]) -> Iterator[Labelled]:
        rows = 0
        for path in files:
            starts.append(rows)
            for chunk in _csv(path, self._spool):
                rows += chunk.num_rows
                yield path, chunk

    def _column_types(self, runs: list[_Run], known: pa.Schema | None) -> tuple[pa.Schema, pa.Schema | None]:
        """The type of each column, and those of them that were inferred."""
        texts = [run.table for run in runs if run.kind == "csv"]
        names = texts[0].column_names
        for text in texts[1:]:
            merge_schemas(texts[0].schema, text.schema, "a later CSV file")
        check_names(self._types, names)
        told: dict[str, pa.DataType] = {}
        for schema in (known, *(run.table.schema for run in runs if run.kind == "parquet"), self._types):
            told |= {f.name: normalise(f.type) for f in schema or () if not pa.types.is_null(f.type)}
        guessed = [(name, self._guess(name, texts)) for name in names if name not in told]
        types = told | dict(guessed)
        return pa.schema([(name, types[name]) for name in names]), pa.schema(guessed) if guessed else None

    def _guess(self, name: str, texts: list[pa.Table]) -> pa.DataType:
        if name not in self._guesses:
            chunks = [chunk for text in texts for chunk in text.column(name).chunks]
            self._guesses[name] = infer(pa.chunked_array(chunks, pa.string()))
        return self._guesses[name]


def expand(paths: Iterable[str]) -> list[str]:
    """The files behind paths: folders give all that is known below them, sorted by name.

    Raises:
        UnreadableInputError: nothing is there, the suffix is unknown, or the folder is a table of its own.
    """
    files = [file for path in paths for file in (_below(path) if path and Path(path).is_dir() else [_existing(path)])]
    for file in files:
        if _kind(file) == "":
            raise UnreadableInputError(
                f"{file!r} has no suffix that says its format", hint=f"known are {', '.join(SUFFIXES)}", path=file
            )
    return files


def _kind(path: str) -> str:
    name = Path(path).name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), "")


def _existing(path: str) -> str:
    if "://" in path:
        raise UnreadableInputError(f"{path!r} is not a local path", hint=_DATASET_HINT.format(path=path), path=path)
    if not path or not Path(path).exists():
        raise UnreadableInputError(f"there is no file or folder {path!r}", hint="check the path", path=path)
    return path


def _below(root: str) -> list[str]:
    found = []
    for folder, folders, names in os.walk(root, onerror=_unreadable):
        _refuse_table(folder, folders)
        folders[:] = [name for name in folders if not _is_hidden(name)]
        found += [str(Path(folder, name)) for name in names if _kind(name) and not _is_hidden(name)]
    found.sort(key=lambda file: Path(file).relative_to(root).parts)
    if not found:
        raise UnreadableInputError(
            f"folder {root!r} has no input file", hint=f"known are {', '.join(SUFFIXES)}", path=root
        )
    for file in found:
        if any("=" in part for part in Path(file).relative_to(root).parts[:-1]):
            raise UnreadableInputError(
                f"folder {root!r} has partition folders, whose columns are not in the files: {file!r}",
                hint=_DATASET_HINT.format(path=root),
                path=file,
            )
    return found


def _refuse_table(folder: str, folders: list[str]) -> None:
    for log, hint in _LOGS.items():
        if log in folders:
            raise UnreadableInputError(
                f"folder {folder!r} is a table with a log ({log}): superseded files would be read",
                hint=hint.format(folder=folder),
                path=folder,
            )


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _unreadable(error: OSError) -> None:
    raise UnreadableInputError(f"{error.filename!r} cannot be read: {error.strerror}", path=error.filename) from error


# Parquet


def _parquet(path: str) -> Iterator[pa.Table]:
    try:
        yield from _parquet_batches(path)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableInputError(f"{path!r} cannot be read as Parquet: {error}", path=path) from error


def _parquet_batches(path: str) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    def opened(int96_unit: str) -> pq.ParquetFile:
        return pq.ParquetFile(
            path, memory_map=True, page_checksum_verification=True, coerce_int96_timestamp_unit=int96_unit
        )

    # Spark's INT96 spans years 1 to 9999, which nanoseconds would wrap around.
    file = opened("us")
    yield file.schema_arrow.empty_table()
    old = [
        column.path for column in map(file.schema.column, range(len(file.schema))) if column.physical_type == "INT96"
    ]
    batches = file.iter_batches(BATCH_ROWS)
    if not old:
        yield from (pa.Table.from_batches([batch]) for batch in batches)
        return
    for batch, exact in zip(batches, opened("ns").iter_batches(BATCH_ROWS, columns=old), strict=True):
        _check_microseconds(path, batch, exact)
        yield pa.Table.from_batches([batch])


def _check_microseconds(path: str, batch: pa.RecordBatch, exact: pa.RecordBatch) -> None:
    for name in exact.schema.names:
        if not pa.types.is_timestamp(exact.column(name).type):
            raise UnreadableInputError(
                f"{path!r}: column {name!r} nests INT96 timestamps", hint="write the file without INT96", path=path
            )
        us, ns = (np.asarray(b.column(name).cast(pa.int64()).fill_null(0)) for b in (batch, exact))
        # Both wrap in 64 bits alike, so the difference is right even where nanoseconds have no room.
        if np.any(ns - us * 1000):
            raise UnreadableInputError(
                f"{path!r}: column {name!r} has INT96 timestamps finer than microseconds",
                hint="write the file with timestamp[ns] instead of INT96",
                path=path,
                column=name,
            )


# CSV


def _csv(path: str, spool: Spool) -> Iterator[pa.Table]:
    """The text of a file, all columns of type string; first a chunk without rows."""
    data = _content(path, spool)
    if data.size == 0:
        raise UnreadableInputError(f"{path!r} is empty", hint="a CSV file begins with a header", path=path)
    start, longest = _check_records(np.frombuffer(data, np.uint8), path)
    names = _header(data.slice(0, start).to_pybytes(), path)
    yield pa.schema([pa.field(name, pa.string()) for name in names]).empty_table()
    if start < data.size:
        yield from _parse(path, data.slice(start), names, longest)


def _content(path: str, spool: Spool) -> pa.Buffer:
    try:
        if path.lower().endswith(".gz"):
            path = _inflate(path, spool.new_file())
        data = pa.memory_map(path).read_buffer() if Path(path).stat().st_size else pa.py_buffer(b"")
    except OSError as error:
        raise UnreadableInputError(f"{path!r} cannot be read: {error}", path=path) from error
    return data.slice(3) if bytes(memoryview(data)[:3]) == b"\xef\xbb\xbf" else data


def _inflate(path: str, to: str) -> str:
    limit = max(INFLATED_FREE_BYTES, Path(path).stat().st_size * INFLATED_RATIO_LIMIT)
    size = 0
    with gzip.open(path) as source, Path(to).open("wb") as sink:
        while block := _inflated(source, path):
            size += len(block)
            if size > limit:
                raise UnreadableInputError(
                    f"{path!r} inflates more than {INFLATED_RATIO_LIMIT} fold", hint="unpack it yourself", path=path
                )
            with writing("a temporary file"):
                sink.write(block)
    return to


def _inflated(source: gzip.GzipFile, path: str) -> bytes:
    try:
        return source.read(BLOCK_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableInputError(f"{path!r} is damaged or cut short: {error}", path=path) from error


def _check_records(data: Bytes, path: str) -> tuple[int, int]:
    """Check the quotes of RFC 4180, and find where records end.

    With quotes numbered from 0, an even one opens, or is the second of an escaped pair; an odd one closes, or is the
    first of a pair. So what stands before an even one and after an odd one is enough to tell.

    Returns:
        The size of the header, and of the longest record, in bytes.
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
    return header or data.size, longest


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
    for at, name in enumerate(names or [""]):
        if not name:
            raise UnreadableInputError(
                f"{path!r}: column {at} has no name in the header",
                hint="the first line names the columns; pandas writes its index so, unless index=False is given",
                path=path,
            )
        if names.index(name) < at:
            raise UnreadableInputError(
                f"{path!r}: the header names column {name!r} twice", hint="rename one", path=path, column=name
            )
    return names


def _parse(path: str, data: pa.Buffer, names: list[str], longest: int) -> Iterator[pa.Table]:
    import pyarrow.csv as pc_csv

    bad: list[tuple[int, int]] = []

    def ragged(row: pc_csv.InvalidRow) -> str:
        bad.append((row.number - 1, row.actual_columns))
        return "error"

    try:
        reader = pc_csv.open_csv(
            pa.BufferReader(data),
            # One thread: only then does Arrow number the rows that it refuses.
            read_options=pc_csv.ReadOptions(
                use_threads=False, column_names=names, block_size=max(BLOCK_BYTES, longest + 1)
            ),
            parse_options=pc_csv.ParseOptions(
                newlines_in_values=True, ignore_empty_lines=len(names) > 1, invalid_row_handler=ragged
            ),
            convert_options=pc_csv.ConvertOptions(
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
                # Bytes first: so that text which is not UTF-8 can be named by its row.
                column_types={name: pa.binary() for name in names},
            ),
        )
        row = 0
        for batch in reader:
            yield pa.table([_decoded(path, name, batch.column(name), row) for name in names], names)
            row += batch.num_rows
    except pa.ArrowInvalid as error:
        detail = f"row {bad[0][0]} has {bad[0][1]} values, the header {len(names)}" if bad else str(error)
        raise UnreadableInputError(f"{path!r}: {detail}", path=path, row=bad[0][0] if bad else None) from error


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


# Types


def _typed(run: _Run, types: pa.Schema) -> Iterator[Labelled]:
    if run.kind == "parquet":
        yield "a Parquet file", run.table
        return
    yield run.paths[0], types.empty_table()
    row = 0
    for batch in run.table.to_batches():
        columns = [_typed_column(run, f, batch.column(f.name), row) for f in types]
        yield run.place(row)[0], pa.table(columns, schema=types)
        row += batch.num_rows


def _typed_column(run: _Run, column: pa.Field, text: pa.Array, row: int) -> pa.Array:
    """The values of one column of one block that begins at `row` of the run."""
    try:
        return parse(text, column.type)
    except UnsupportedTypeError as error:
        raise UnsupportedTypeError(f"column {column.name!r}: {error.message}", hint=error.hint) from error
    except ValueError as error:
        at = first_unfit(text, column.type)
        path, file_row = run.place(row + at)
        kind = LossyCastError if is_text_of(text.slice(at, 1), column.type) else UnreadableInputError
        value = text[at].as_py()
        raise kind(
            f"{path!r}: column {column.name!r}, row {file_row}: {value[:80]!r} is no {column.type}",
            hint="correct it, or say another type by schema=",
            path=path,
            column=column.name,
            row=file_row,
            value=value,
        ) from error
