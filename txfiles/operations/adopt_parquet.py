"""The columns, rows and bounds of Parquet files that other tools wrote, from their footers.

Source: specs/14-adopt.md, "Parquet", "Schemas", "Partitions".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from txfiles.core import names
from txfiles.core.manifest import Add, ColumnStats, TableMetadata
from txfiles.core.messages import listed
from txfiles.core.schema import Column, refuse_case_clashes
from txfiles.errors import InputError, SchemaMismatchError, TxFilesError
from txfiles.formats import parquet
from txfiles.formats.parquet_footer import FooterFacts, FooterReader, Layout
from txfiles.log.session import Session
from txfiles.operations import adopt_partitions
from txfiles.operations.adopt_listing import Found
from txfiles.rows import stated, types
from txfiles.rows.schema import check_batch_schema
from txfiles.rows.unify import NAMED, Part, files_of, unite
from txfiles.store.port import Entry

AT_ONCE = 256
"""Files that one thread reads before it hands them over, where a footer comes sooner than a thread starts."""

_INDEXES = re.compile(r"__index_level_[0-9]+__|__null_dask_index__")
"""Columns that pandas and Dask write for an index that has no name: `write` does not write the index either."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of the table, and how each file has them.

    Attributes:
        columns: of the table; partition columns come last.
        last_column_id: ids beyond those of `columns` are of columns that the table ignores.
        ids: by layout: the ids of a file's columns in its order; None: they are the table's, with the same types.
        notes: what a person should know.
    """

    columns: tuple[Column, ...]
    last_column_id: int
    ids: Mapping[Layout, tuple[int, ...] | None]
    notes: tuple[str, ...]


def footers(session: Session, files: Sequence[Entry], done: Callable[[int], None]) -> list[FooterFacts]:
    """The footers of some files, in order.

    Raises:
        UnreadableInputError: a file is no whole Parquet file; names it.
    Cost: a request for each file, as many at a time as the store answers.
    """
    reader = FooterReader(session.store)

    def read(some: Sequence[Entry]) -> list[FooterFacts]:
        return [reader.read(entry.name, entry.bytes, session.store.url(entry.name)) for entry in some]

    if session.is_parallel:
        found: Iterator[list[FooterFacts]] = session.together(read, ([entry] for entry in files))
    else:
        found = session.each(read, (files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE)))
    result: list[FooterFacts] = []
    for some in found:
        result += some
        done(len(result))
    return result


def columns_of(
    facts: Sequence[FooterFacts],
    found: Found,
    declared: Mapping[str, pa.DataType],
    *,
    case_sensitive: bool,
) -> Columns:
    """The columns that hold every value of all files.

    Args:
        facts: of each file.
        found: the files and their partitions.
        declared: types of partition columns, as the caller gave them.
        case_sensitive: whether names may differ in case only.
    Raises:
        SchemaMismatchError: types that do not fit together, or names that differ in case only; names the files.
        UnsupportedTypeError: a type that no table holds.
    Cost: O(files) to group them; O(layouts × columns).
    """
    groups: dict[Layout, list[str]] = {}
    for entry, one in zip(found.files, facts, strict=True):
        groups.setdefault(one.layout, []).append(entry.name)
    kept = {layout: _kept(layout.schema, found.partition_by) for layout in groups}
    parts = {layout: Part(kept[layout], tuple(of[:NAMED]), len(of)) for layout, of in groups.items()}
    for layout, part in parts.items():
        with _telling_files(part):
            check_batch_schema(layout.schema)
            parquet.FORMAT.check_types(kept[layout])
    united = unite([*parts.values()])
    of_partition = [
        pa.field(name, adopt_partitions.partition_type(found, at, declared, [layout.schema for layout in groups]))
        for at, name in enumerate(found.partition_by)
    ]
    schema = pa.schema([*united.schema, *of_partition])
    if not united.schema.names:
        raise InputError("the files have no columns; nothing was written", hint="check that these are the right files")
    columns = tuple(
        Column(id=number, name=field.name, type=types.to_spec(field.type)) for number, field in enumerate(schema, 1)
    )
    if not case_sensitive:
        _refuse_case_clashes(columns, [*parts.values()])
    ids = {column.name: column.id for column in columns}
    ignored = dict.fromkeys(name for layout in groups for name in layout.schema.names if name not in kept[layout].names)
    unused = {name: number for number, name in enumerate(ignored, len(columns) + 1)}
    return Columns(
        columns=columns,
        last_column_id=len(columns) + len(unused),
        ids={
            layout: None
            if layout.schema.equals(united.schema) and not layout.int96
            else tuple(unused[name] if name in unused else ids[name] for name in layout.schema.names)
            for layout in groups
        },
        notes=(*united.notes, *_notes(parts, unused, found.partition_by)),
    )


def adds(table: TableMetadata, columns: Columns, facts: Sequence[FooterFacts], found: Found) -> list[Add]:
    """The actions that make files part of a table, in their order; files without rows are left out.

    Cost: O(files × columns), vectorised by layout.
    """
    schema = types.arrow_schema(table.columns)
    partitions = adopt_partitions.canonical(found, schema)
    by_id = {column.id: column.name for column in table.columns}
    groups: dict[Layout, list[int]] = {}
    for at, one in enumerate(facts):
        if one.rows:
            groups.setdefault(one.layout, []).append(at)
    result: dict[int, Add] = {}
    for layout, positions in groups.items():
        ids = columns.ids[layout] or table.stored_ids
        stats: list[tuple[int, list[ColumnStats | None]]] = []
        for at, (field, number) in enumerate(zip(layout.schema, ids, strict=True)):
            if number in by_id:
                told = [facts[position].stated[at] for position in positions]
                stats.append((number, stated.column_stats(told, field.type, schema.field(by_id[number]).type)))
        for at, position in enumerate(positions):
            entry, one = found.files[position], facts[position]
            of_file = {str(number): known for number, some in stats if (known := some[at]) is not None}
            for name, value in zip(found.partition_by, partitions[position], strict=True):
                of_file[str(table.ids([name])[0])] = ColumnStats(
                    nulls=one.rows if value is None else 0, min=value or None, max=value or None
                )
            result[position] = Add(
                path=names.encode_path(entry.name),
                rows=one.rows,
                bytes=entry.bytes,
                footer_bytes=one.footer_bytes,
                footer_sha256=one.footer_sha256,
                partition=partitions[position],
                stats=of_file,
                columns=columns.ids[layout],
                modified_us=entry.modified_us,
            )
    return [result[position] for position in sorted(result)]


def _kept(schema: pa.Schema, partition_by: Sequence[str]) -> pa.Schema:
    """The columns of a file that the table reads from it."""
    return pa.schema(
        [field for field in schema if field.name not in partition_by and not _INDEXES.fullmatch(field.name)]
    )


@contextmanager
def _telling_files(part: Part) -> Iterator[None]:
    """Context manager that adds to an error which files it is about."""
    try:
        yield
    except TxFilesError as error:
        raise type(error)(
            f"{error.message} (in {files_of([part])}); nothing was written", hint=error.hint, **error.evidence
        ) from error


def _refuse_case_clashes(columns: Sequence[Column], parts: Sequence[Part]) -> None:
    try:
        refuse_case_clashes((), columns)
    except SchemaMismatchError as error:
        told = [
            f"{name!r} is in {files_of([part for part in parts if name in part.schema.names])}"
            for name in error.names
            if any(name in part.schema.names for part in parts)
        ]
        raise SchemaMismatchError(
            f"{error.message} ({'; '.join(told)}); nothing was written" if told else error.message,
            hint=error.hint,
            **error.evidence,
        ) from error


def _notes(parts: Mapping[Layout, Part], unused: Mapping[str, int], partition_by: Sequence[str]) -> Iterator[str]:
    for name in unused:
        some = files_of([part for layout, part in parts.items() if name in layout.schema.names])
        why = "its values come from the folders" if name in partition_by else "it is an index without a name"
        yield f"column {name!r} in {some} is not read: {why}"
    old = [part for layout, part in parts.items() if layout.int96]
    if old:
        columns = dict.fromkeys(chain.from_iterable(sorted(layout.int96) for layout in parts))
        yield (
            f"{listed([*columns])} holds int96 timestamps ({files_of(old)}): they are read in microseconds, without a "
            "zone, and have no bounds"
        )
