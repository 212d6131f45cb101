"""One-pass inputs, written once to anonymous temporary Arrow files and memory-mapped from then on.

Planning again needs the rows again; a generator cannot give them twice. Chunks are one batch and so have one schema: a
later chunk may differ in the order of its columns, in encodings and in the fields of its structs, and a column without
a value takes its type from the first chunk that has one. Anything else is an error that names the chunk.

Source: specs/4-semantics.md, "Inputs".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import IO, Any

import pyarrow as pa

from txfiles.errors import InputError, SchemaMismatchError
from txfiles.rows.casts import cast_lossless
from txfiles.rows.source import NO_RULES, Batch, TextRules
from txfiles.rows.typenames import type_text
from txfiles.rows.types import normalise
from txfiles.temporary import mapped, temporary_file, writing

logger = logging.getLogger("txfiles")

Labelled = tuple[str, pa.Table]
"""A chunk and its label in errors: ``"chunk 3"``, or a file's path."""

PIECE_BYTES = 256 << 20
"""What is converted at a time: bounds memory, and keeps a column's text below the 2 GiB of a `string` array."""


def spooled(chunks: Iterable[Labelled]) -> pa.Table | None:
    """Write chunks to temporary files and map them back: one table, or None if there was no chunk.

    Raises:
        SchemaMismatchError: a chunk does not have the columns of those before it.
        StoreError: the temporary folder cannot be written.
    Cost: O(rows) time and disk; memory for one chunk. The disk is freed with the table.
    """
    segments = _Segments()
    with closing(segments):
        for label, chunk in chunks:
            for piece in _pieces(chunk):
                segments.write(label, _plain(piece))
        return segments.table()


def joined(chunks: Iterable[Labelled]) -> pa.Table | None:
    """The same table in memory. Cost: no copy, but of columns that change their encoding or type."""
    merged = MergedSchema()
    pieces = [merged.add(label, _plain(chunk)) for label, chunk in chunks]
    return pa.concat_tables([conform(piece, merged.schema) for piece in pieces]) if pieces else None


class OnePass:
    """A source whose chunks can be read once.

    Args:
        chunks: called once, at the first read; its result is closed as soon as it has been read or has failed.
        index: names in the index of frames among the chunks, known once they are read.
        declared: columns of which `schema=` says the type.
    """

    def __init__(
        self,
        chunks: Callable[[], Generator[Labelled]],
        index: Collection[str] = (),
        declared: frozenset[str] = frozenset(),
    ) -> None:
        self._chunks = chunks
        self._index = index
        self._declared = declared
        self._started = False
        self._batch: Batch | None = None

    def read(self, known: pa.Schema | None, rules: TextRules = NO_RULES) -> Batch:
        """The rows; whatever the input itself raises comes through unchanged.

        Raises:
            InputError: an earlier read failed midway or the source was closed: the chunks are gone.
        """
        del known, rules  # the types are the chunks' own
        if self._batch is None:
            if self._started:
                raise InputError(
                    "the input can be read only once, and that read failed or was closed",
                    hint="create the iterator or reader again and repeat the write",
                )
            self._started = True
            with closing(self._chunks()) as chunks:
                batch = batch_of(spooled(chunks), self._declared)
            index = tuple(self._index)
            self._batch = replace(batch, notes=index_notes(index), index=index)
        return self._batch

    def close(self) -> None:
        """Drop the rows. May be called twice."""
        self._started = True
        self._batch = None


def batch_of(table: pa.Table | None, declared: frozenset[str] = frozenset()) -> Batch:
    """A batch; of no chunk at all, one without a schema."""
    if table is None:
        return Batch(pa.table({}), has_schema=False)
    return Batch(table, declared=declared)


def index_notes(index: Sequence[str]) -> tuple[str, ...]:
    """The note for a DataFrame with a named index; also logged as a warning."""
    if not index:
        return ()
    note = f"the DataFrame's index ({', '.join(index)}) is not written; df.reset_index() makes columns of it"
    logger.warning("%s", note)
    return (note,)


class MergedSchema:
    """The schema of the chunks so far: columns in the order of the first one, types of those that have values."""

    def __init__(self) -> None:
        self.schema: pa.Schema | None = None
        self._rows = 0
        self._valued: set[int] = set()

    def add(self, label: str, piece: pa.Table) -> pa.Table:
        """Take one more chunk, of plain types.

        Args:
            label: what to call it.
            piece: its rows.
        Returns:
            The chunk with its columns in order; their types are those of `schema` after `conform`.
        Raises:
            SchemaMismatchError: its names or types differ from those before it.
        """
        before = self.schema
        if before is not None:
            _check_names(before.names, piece.column_names, label)
            piece = piece if before.names == piece.column_names else piece.select(before.names)
        if before is None or not before.equals(piece.schema):
            fields = [self._merged(at, field, piece.column(at), label) for at, field in enumerate(piece.schema)]
            merged = pa.schema(fields)
            self.schema = before if before is not None and before.equals(merged) else merged
        self._rows += piece.num_rows
        self._valued |= {at for at, column in enumerate(piece.columns) if column.null_count < len(column)}
        return piece

    def _merged(self, at: int, given: pa.Field, column: pa.ChunkedArray, label: str) -> pa.Field:
        if self.schema is None:
            return given
        stands = self.schema.field(at)
        try:
            return pa.unify_schemas([pa.schema([stands]), pa.schema([given])], promote_options="default").field(0)
        except pa.ArrowException as error:
            if column.null_count == len(column) > 0:
                return stands
            if self._rows and at not in self._valued:
                return given
            raise SchemaMismatchError(
                f"{label}: column {given.name!r} is {type_text(given.type)}, but {type_text(stands.type)} in those "
                "before it",
                hint=f"cast it, or give its type: schema={{{given.name!r}: …}}",
                label=label,
                column=given.name,
            ) from error


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a merged schema, of the same names in the same order."""
    if table.schema.equals(schema):
        return table
    columns = [_conformed(column, field) for column, field in zip(table.columns, schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _conformed(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if column.type != field.type and column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), field.type)])
    return cast_lossless(column, field.type, name=field.name)


class _Segments:
    """Arrow files of one schema each; a new one begins where a column gets its type, or a struct a field."""

    def __init__(self) -> None:
        self._merged = MergedSchema()
        self._open = ExitStack()
        self._files: list[IO[bytes]] = []
        self._written: pa.Schema | None = None
        self._writer: Any = None

    def write(self, label: str, piece: pa.Table) -> None:
        piece = self._merged.add(label, piece)
        if self._writer is None or self._written is not self._merged.schema:
            self._begin(self._merged.schema)
        with writing("a temporary file"):
            self._writer.write_table(conform(piece, self._merged.schema))

    def table(self) -> pa.Table | None:
        self._finish()
        if not self._files:
            return None
        tables = [pa.ipc.open_file(pa.BufferReader(mapped(file))).read_all() for file in self._files]
        return pa.concat_tables([conform(table, self._merged.schema) for table in tables])

    def close(self) -> None:
        """Close the files; what was mapped stays readable. A file that was not finished is of no use to anybody."""
        self._writer = None
        with writing("a temporary file"):
            self._open.close()

    def _begin(self, schema: pa.Schema) -> None:
        self._finish()
        file = self._open.enter_context(temporary_file())
        with writing("a temporary file"):
            self._writer = pa.ipc.new_file(file, schema)
        self._files.append(file)
        self._written = schema

    def _finish(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with writing("a temporary file"):
                writer.close()


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


def _check_names(names: Sequence[str], given: Sequence[str], label: str) -> None:
    if names == given or (sorted(names) == sorted(given) and len(set(names)) == len(names)):
        return
    missing, extra = [[name for name in a if name not in set(b)] for a, b in ((names, given), (given, names))]
    raise SchemaMismatchError(
        f"{label} has different columns from those before it: missing {missing}, added {extra}",
        hint="all chunks and files of one write need the same columns",
        label=label,
        missing=tuple(missing),
        extra=tuple(extra),
    )
