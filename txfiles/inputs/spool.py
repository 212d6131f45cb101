"""One-pass inputs, written once to a local temporary Arrow file and memory-mapped from then on.

A rebase plans again and so needs the rows again; a generator cannot give them twice. Chunks are one batch and so
have one schema: a later chunk may differ in the order of its columns and in encodings, and a column of type null
takes its type from the chunk that has one. Anything else is an error that names the chunk.

Source: specs/4-semantics.md, "Inputs".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from txfiles.errors import InputError, SchemaMismatchError, StoreError
from txfiles.rows.casts import cast_lossless
from txfiles.rows.source import Batch
from txfiles.rows.types import normalise

Labelled = tuple[str, pa.Table]
"""A chunk and what an error calls it: ``"chunk 3"``, or a file's path."""

PIECE_BYTES = 256 << 20
"""What is converted at a time: bounds memory, and keeps a column's text below the 2 GiB of a `string` array."""


class Spool:
    """A temporary folder that exists from the first use to `close` (or to the end of the process)."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self._names = 0

    def new_file(self) -> str:
        """The path of a file that does not exist yet."""
        if self._folder is None:
            with writing("the temporary folder"):
                self._folder = TemporaryDirectory(prefix="txfiles-")
        self._names += 1
        return str(Path(self._folder.name, str(self._names)))

    def store(self, chunks: Iterable[Labelled]) -> pa.Table | None:
        """Write the chunks and map them back: one table, None where there was no chunk.

        Raises:
            SchemaMismatchError: a chunk does not have the columns of those before it.
            StoreError: the temporary folder cannot be written.
        Cost: O(rows) time and disk; memory for one chunk.
        """
        segments = _Segments(self)
        try:
            for label, chunk in chunks:
                for piece in _pieces(chunk):
                    segments.write(label, _plain(piece))
        finally:
            segments.close()
        return segments.table()

    def close(self) -> None:
        """Remove the folder. Tables that were mapped stay readable where the system unlinks open files."""
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()


class OnePass:
    """A source whose chunks can be had once.

    Args:
        chunks: called once, at the first read.
    """

    def __init__(self, chunks: Callable[[], Iterable[Labelled]]) -> None:
        self._chunks = chunks
        self._spool = Spool()
        self._started = False
        self._batch: Batch | None = None

    def read(self, known: pa.Schema | None) -> Batch:
        """The rows; whatever the input itself raises comes through unchanged, once the spool is gone.

        Raises:
            InputError: an earlier read failed midway or the source was closed: the chunks are gone.
        """
        del known  # the types are the chunks' own
        if self._batch is None:
            if self._started:
                raise InputError(
                    "the input can be read only once, and that read failed or was closed",
                    hint="make the iterator or reader anew and write again",
                )
            self._started = True
            try:
                self._batch = batch_of(self._spool.store(self._chunks()))
            except BaseException:
                self._spool.close()
                raise
        return self._batch

    def close(self) -> None:
        """Remove the spool file. May be called twice."""
        self._started = True
        self._batch = None
        self._spool.close()


def batch_of(table: pa.Table | None, inferred: pa.Schema | None = None) -> Batch:
    """A batch; of no chunk at all, one without a schema."""
    if table is None:
        return Batch(pa.table({}), has_schema=False)
    return Batch(table, inferred)


def merge_schemas(first: pa.Schema, other: pa.Schema, label: str) -> pa.Schema:
    """The schema of chunks of both kinds, columns in the order of `first`.

    Args:
        first: plain types, without encodings.
        other: likewise.
        label: what to call the chunk that has `other`.
    Raises:
        SchemaMismatchError: names or types differ.
    """
    if first.equals(other):
        return first
    if first.names != other.names and (sorted(first.names) != sorted(other.names) or _repeated(first.names)):
        missing, extra = _difference(first.names, other.names), _difference(other.names, first.names)
        raise SchemaMismatchError(
            f"{label} has other columns than those before it: missing {missing}, added {extra}",
            hint="all chunks and files of one write need the same columns",
            label=label,
            missing=tuple(missing),
            extra=tuple(extra),
        )
    fields = zip(first, _ordered(other, first.names), strict=True)
    return pa.schema([pa.field(a.name, _merged_column(a.name, a.type, b.type, label)) for a, b in fields])


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Tell the temporary folder's failures from those of the input.

    Raises:
        StoreError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{what} cannot be written: {error}", hint="free space there, or set TMPDIR to another folder"
        ) from error


class _Segments:
    """Arrow files of one schema each; a new one begins where a null column gets its type."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._paths: list[str] = []
        self._schema: pa.Schema | None = None
        self._writer: Any = None

    def write(self, label: str, piece: pa.Table) -> None:
        schema = piece.schema if self._schema is None else merge_schemas(self._schema, piece.schema, label)
        if self._writer is None or schema is not self._schema:
            self._begin(schema)
        with writing("a temporary file"):
            self._writer.write_table(_conform(piece, schema))

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with writing("a temporary file"):
                writer.close()

    def table(self) -> pa.Table | None:
        if self._schema is None:
            return None
        mapped = [pa.ipc.open_file(pa.memory_map(path)).read_all() for path in self._paths]
        return pa.concat_tables([_conform(table, self._schema) for table in mapped])

    def _begin(self, schema: pa.Schema) -> None:
        self.close()
        path = self._spool.new_file()
        with writing("a temporary file"):
            self._writer = pa.ipc.new_file(path, schema)
        self._paths.append(path)
        self._schema = schema


def _pieces(chunk: pa.Table) -> Iterator[pa.Table]:
    rows = max(1, chunk.num_rows * PIECE_BYTES // max(1, chunk.nbytes))
    # At least one piece: a chunk without rows still has a schema.
    for start in range(0, max(1, chunk.num_rows), rows):
        yield chunk.slice(start, rows)


def _plain(table: pa.Table) -> pa.Table:
    """Without encodings: an Arrow file holds one dictionary per column, and chunks come with one each."""
    columns, fields = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        to = normalise(field.type)
        columns.append(column if field.type == to else cast_lossless(column, to, name=field.name))
        fields.append(pa.field(field.name, to))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a merged schema: reordered, nulls typed."""
    if table.schema.equals(schema):
        return table
    ordered = table if table.schema.names == schema.names else table.select(schema.names)
    return ordered.cast(schema)


def _merged_column(name: str, a: pa.DataType, b: pa.DataType, label: str) -> pa.DataType:
    merged = _merged_type(a, b)
    if merged is None:
        raise SchemaMismatchError(
            f"{label}: column {name!r} is {b}, but {a} in those before it",
            hint=f"cast it, or say its type: schema={{{name!r}: …}}",
            label=label,
            column=name,
        )
    return merged


def _merged_type(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if a == b or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    if pa.types.is_list(a) and pa.types.is_list(b):
        value = _merged_type(a.value_type, b.value_type)
        return None if value is None else pa.list_(value)
    if pa.types.is_struct(a) and pa.types.is_struct(b) and [f.name for f in a] == [f.name for f in b]:
        merged = [_merged_type(x.type, y.type) for x, y in zip(a, b, strict=True)]
        return None if None in merged else pa.struct([pa.field(f.name, t) for f, t in zip(a, merged, strict=True)])
    return None


def _ordered(schema: pa.Schema, names: Sequence[str]) -> list[pa.Field]:
    return list(schema) if schema.names == names else [schema.field(name) for name in names]


def _difference(names: Sequence[str], others: Sequence[str]) -> list[str]:
    return [name for name in names if name not in set(others)]


def _repeated(names: Sequence[str]) -> bool:
    return len(set(names)) < len(names)
