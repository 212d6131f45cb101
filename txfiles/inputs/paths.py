"""Parquet and CSV files as input: one, several, or all below a folder, as one batch.

Parquet files are read where they lie, again for each plan; only what is too large for memory is spooled (see `spool`).
A file that changes under a running write is an error: each has its identity (size, time, inode) looked at before and
after it is read. CSV files are spooled at the first read, as text first, since its types may depend on the table that
a rebase finds.

Partition folders (`country=DE/`) are not interpreted: a folder that has them is refused, since its files lack the
partition columns.

Source: specs/4-semantics.md, "Inputs" and "CSV inputs".
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from txfiles.core.messages import redact
from txfiles.errors import LossyCastError, UnreadableInputError, UnsupportedTypeError
from txfiles.inputs.csv import read_text
from txfiles.inputs.inference import check_names, declare, first_unfit, infer, is_text_of, parse
from txfiles.inputs.spool import Labelled, MergedSchema, joined, spooled
from txfiles.rows.schema import check_batch_schema
from txfiles.rows.source import Batch
from txfiles.rows.types import normalise

SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv"}
BATCH_ROWS = 1 << 16

IN_MEMORY_BYTES = 1 << 30
"""Parquet inputs of more bytes (as Arrow holds them) are spooled: a temporary file costs disk, but no memory."""

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
        self._parquet = _ParquetFiles(types)
        self._files: list[str] | None = None
        self._runs: list[_Run] | None = None
        self._typed: pa.Table | None = None
        self._guesses: dict[str, pa.DataType] = {}

    def read(self, known: pa.Schema | None) -> Batch:
        """The rows of all files, in order.

        Raises:
            UnreadableInputError: a file is missing, damaged, changed since it was first read, or holds text that is
                not of its column's type.
            LossyCastError: a value does not fit its column's type.
            SchemaMismatchError: the files differ in their columns.
        Cost: Parquet once for each read; CSV once, and once more for each other `known`. Disk: CSV text as it is, and
            the rows of CSV inputs.
        """
        try:
            if self._files is None:
                self._files = expand(self._paths)
            if all(_kind(file) == "parquet" for file in self._files):
                return Batch(self._parquet.read(self._files))
            if self._runs is None:
                self._runs = self._load(self._files)
            types, inferred = self._column_types(self._runs, known)
            if self._typed is None or not self._typed.schema.equals(types):
                self._typed = spooled(chunk for run in self._runs for chunk in _typed(run, types))
            return Batch(self._typed, inferred)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget the rows. May be called twice; a later read reads the files again."""
        self._files = self._runs = self._typed = None
        self._guesses = {}
        self._parquet = _ParquetFiles(self._types)

    def _load(self, files: list[str]) -> list[_Run]:
        runs = []
        for kind, group in groupby(files, key=_kind):
            load = self._parquet_run if kind == "parquet" else self._csv_run
            runs.append(load(list(group)))
        return runs

    def _parquet_run(self, files: list[str]) -> _Run:
        return _Run("parquet", self._parquet.read(files), files)

    def _csv_run(self, files: list[str]) -> _Run:
        starts: list[int] = []
        table = spooled(self._csv_chunks(files, starts))
        return _Run("csv", table, files, starts)

    def _csv_chunks(self, files: list[str], starts: list[int]) -> Iterator[Labelled]:
        rows = 0
        for path in files:
            starts.append(rows)
            for chunk in read_text(path):
                rows += chunk.num_rows
                yield path, chunk

    def _column_types(self, runs: list[_Run], known: pa.Schema | None) -> tuple[pa.Schema, pa.Schema | None]:
        """The type of each column, and those of them that were inferred."""
        texts = [run.table for run in runs if run.kind == "csv"]
        names = texts[0].column_names
        merged = MergedSchema()
        for text in texts:
            merged.add("a later CSV file", text)
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


class _ParquetFiles:
    """Parquet files that are the same at each read.

    Args:
        types: what `schema=` says.
    """

    def __init__(self, types: pa.Schema | None) -> None:
        self._types = types
        self._identities: dict[str, _Identity] = {}
        self._spooled: dict[tuple[str, ...], pa.Table] = {}

    def read(self, files: Sequence[str]) -> pa.Table:
        """The rows of some files.

        Raises:
            UnreadableInputError: a file is damaged, or not what it was at the first read.
        Cost: memory for all rows, or up to `IN_MEMORY_BYTES`: beyond that they are spooled, and not read again.
        """
        if tuple(files) in self._spooled:
            return self._spooled[tuple(files)]
        first: list[Labelled] = []
        size = 0
        with closing(self._chunks(files)) as chunks:
            for label, chunk in chunks:
                first.append((label, chunk))
                size += chunk.nbytes
                if size > IN_MEMORY_BYTES:
                    table = spooled(chain(_drained(first), chunks))
                    self._spooled[tuple(files)] = table
                    return table
        return joined(first)

    def _chunks(self, files: Sequence[str]) -> Generator[Labelled]:
        for path in files:
            self._check_unchanged(path)
            with closing(_parquet(path)) as chunks:
                for chunk in chunks:
                    yield path, declare(chunk, self._types)
            self._check_unchanged(path)

    def _check_unchanged(self, path: str) -> None:
        found = _identity(path)
        if self._identities.setdefault(path, found) != found:
            raise UnreadableInputError(
                f"{path!r} has changed since the write began to read it; nothing was written",
                hint="write again, once the file is complete",
                path=path,
            )


_Identity = tuple[int, int, int, int]


def _identity(path: str) -> _Identity:
    """What changes where a file is written to or replaced."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise UnreadableInputError(f"{path!r} cannot be read: {error.strerror}", path=path) from error
    return found.st_size, found.st_mtime_ns, found.st_dev, found.st_ino


def _drained(items: list[Labelled]) -> Iterator[Labelled]:
    """The items of a list, each of which is forgotten once it is had."""
    items.reverse()
    while items:
        yield items.pop()


def expand(paths: Iterable[str]) -> list[str]:
    """The files behind paths: folders give all that is known below them, sorted by name.

    Raises:
        UnreadableInputError: nothing is there, the suffix is unknown, or the folder is a table of its own.
    """
    files = [file for path in map(_home, paths) for file in (_below(path) if _is_folder(path) else [_existing(path)])]
    for file in files:
        if _kind(file) == "":
            raise UnreadableInputError(
                f"{file!r} has no suffix that says its format", hint=f"known are {', '.join(SUFFIXES)}", path=file
            )
    return files


def _home(path: str) -> str:
    """A path with a leading ``~`` or ``~name`` spelled out, as the shell does; unchanged if there is no such home."""
    return os.path.expanduser(path)


def _is_folder(path: str) -> bool:
    return bool(path) and Path(path).is_dir()


def _kind(path: str) -> str:
    name = Path(path).name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), "")


def _existing(path: str) -> str:
    told = redact(path)
    if "://" in path:
        raise UnreadableInputError(f"{told!r} is not a local path", hint=_DATASET_HINT.format(path=told), path=told)
    if not path or not Path(path).exists():
        raise UnreadableInputError(f"there is no file or folder {told!r}", hint="check the path", path=told)
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


def _parquet(path: str) -> Generator[pa.Table]:
    try:
        yield from _parquet_batches(path)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:  # the names of columns may not be text
        raise UnreadableInputError(f"{path!r} cannot be read as Parquet: {error}", path=path) from error


def _parquet_batches(path: str) -> Generator[pa.Table]:
    import pyarrow.parquet as pq

    with ExitStack() as opened:

        def file_with(int96_unit: str) -> pq.ParquetFile:
            # Not mapped: a file that is cut short meanwhile would end the process.
            file = pq.ParquetFile(path, page_checksum_verification=True, coerce_int96_timestamp_unit=int96_unit)
            return opened.enter_context(file)

        # Spark's INT96 spans years 1 to 9999, which nanoseconds would wrap around.
        file = file_with("us")
        check_batch_schema(file.schema_arrow)  # Arrow itself makes no empty table of each type
        yield file.schema_arrow.empty_table()
        old = [
            column.path
            for column in map(file.schema.column, range(len(file.schema)))
            if column.physical_type == "INT96"
        ]
        batches = file.iter_batches(BATCH_ROWS)
        if not old:
            yield from (pa.Table.from_batches([batch]) for batch in batches)
            return
        for batch, exact in zip(batches, file_with("ns").iter_batches(BATCH_ROWS, columns=old), strict=True):
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


def _typed(run: _Run, types: pa.Schema) -> Iterator[Labelled]:
    if run.kind == "parquet":
        yield run.paths[0], run.table
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
