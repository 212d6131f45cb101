"""CSV files that somebody else wrote, as data files of a table that adopts them in place.

Nothing is guessed about their form: the caller gives the dialect. Types are inferred once, over all files together, by
the rules for CSV inputs, so the table has the rows and types that a write of the same files would have given it.

`survey` reads each file once and finds out what the table is; `described` writes that down for the log; `add` reads a
file again, by the code that every later read uses, and gives what the log says of it.

Source: specs/2-layout.md, "Adopted CSV files"; specs/4-semantics.md, "CSV inputs" and "CSV types".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from txfiles import formats, pages
from txfiles.core import names
from txfiles.core.csv_dialect import CsvColumn, CsvDialect
from txfiles.core.manifest import Add, TableMetadata
from txfiles.core.messages import few
from txfiles.core.plan import Partition
from txfiles.core.schema import Column, Inferred
from txfiles.errors import SchemaMismatchError
from txfiles.formats import csv_adopted
from txfiles.formats.csv_text import TextBlock
from txfiles.log.session import Session
from txfiles.operations.adopt_csv_text import changed, read, with_line
from txfiles.reading.live import partition_values
from txfiles.rows import adopted_csv, types
from txfiles.rows.dialect import Dialect
from txfiles.rows.filelist import DataFile
from txfiles.rows.guesser import Guesser
from txfiles.rows.inference import check_names
from txfiles.rows.unnamed import FIRST, RowNumbers, kept_columns
from txfiles.writing.facts import RowFacts

NOTES_LIMIT = 10
"""Files that are named one by one in notes and errors; the rest is counted."""


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file as `survey` found it.

    Attributes:
        name: for the store.
        bytes: its size.
        rows: its records.
        sha256: of its bytes.
        columns: names of its columns, in its order, those that are left out too.
    """

    name: str
    bytes: int
    rows: int
    sha256: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class CsvFolder:
    """What CSV files are as a table, without partition columns.

    Attributes:
        dialect: as it was given.
        schema: names and types, in the order of the first file.
        inferred: how types were, by name; of those that were declared, and text, there is none.
        nulls: texts that are null in a column, by name.
        left_out: names of columns of the files that the table does not have.
        files: in the order that they were given in.
        notes: what a person should know, one sentence each.
    """

    dialect: Dialect
    schema: pa.Schema
    inferred: Mapping[str, Inferred]
    nulls: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    files: tuple[CsvFile, ...]
    notes: tuple[str, ...]


@dataclass
class _Seen:
    """What one file holds."""

    file: CsvFile
    unnamed: frozenset[str]
    quoted: frozenset[tuple[str, str]]
    guessers: dict[str, Guesser] = field(default_factory=dict)
    numbers: RowNumbers = field(default_factory=RowNumbers)


def survey(
    session: Session,
    files: Sequence[tuple[str, int]],
    dialect: Dialect,
    declared: pa.Schema | None = None,
    exact: frozenset[str] = frozenset(),
) -> CsvFolder:
    """Read CSV files once, several at a time, and find out what they are as one table.

    Args:
        session: where they are.
        files: name and size of each, in the order that their rows are to have; at least one.
        dialect: how all of them are written.
        declared: what `schema=` says, of some columns or all.
        exact: names of columns to be inferred by exact text only: keys.
    Raises:
        UnreadableInputError: a file is not CSV in this dialect, with its name, line and, if there is one, row; or it
            changed.
        SchemaMismatchError: the files have different columns, or `schema=` names one that they do not have.
        UnsupportedTypeError: `schema=` gives a type that CSV cannot hold.
        StoreError: the store failed.
    Cost: each file is read once. Memory: a block of each file under way, and of a remote one up to
        `csv_adopted.KEEP_BYTES`; see `csv_adopted.content` for what the temporary folder holds.
    """
    told = frozenset(declared.names if declared is not None else ())
    seen: list[_Seen] = []
    guessers: dict[str, Guesser] = {}
    held = min(csv_adopted.KEEP_BYTES, max(size for _, size in files))
    for one in session.each(lambda file: _seen(session, file, dialect, told, exact), files, holding=held):
        for name, guesser in one.guessers.items():
            guessers.setdefault(name, Guesser(exact=name in exact, decimal=dialect.decimal)).merge(guesser)
        one.guessers = {}
        seen.append(one)
    notes = _refuse_other_columns(session, seen)
    kept, left_out, unnamed_notes = _kept(seen, dialect)
    check_names(declared, kept)
    quoted = frozenset().union(*(one.quoted for one in seen))
    guesses = {
        name: guessers[name].guess({text for at, text in quoted if at == name}) for name in kept if name not in told
    }
    kinds = {name: guess.type for name, guess in guesses.items()}
    kinds |= {f.name: types.normalise(f.type) for f in declared or ()}
    schema = pa.schema([(name, kinds[name]) for name in kept])
    formats.get("csv").check_types(schema)
    inferred = {name: guess.inferred for name, guess in guesses.items() if guess.inferred is not None}
    nulls = {name: found.nulls for name, found in inferred.items() if found.nulls}
    nulled = [
        f"column {name!r}: {nulls[name][0]!r} is null in {guess.nulled:,} {'row' if guess.nulled == 1 else 'rows'}"
        for name, guess in guesses.items()
        if name in nulls
    ]
    return CsvFolder(
        dialect, schema, inferred, nulls, left_out, tuple(one.file for one in seen), (*notes, *unnamed_notes, *nulled)
    )


def column_ids(folder: CsvFolder, columns: Sequence[Column]) -> dict[str, int]:
    """The ids of the files' columns: those of the table's, and of the ones that are left out, which follow them.

    The greatest of these is the table's `last_column_id`, if it has no other column with a greater one.

    Args:
        folder: what the files are.
        columns: all of the table's.
    """
    last = max(column.id for column in columns)
    ids = {column.name: column.id for column in columns}
    return {name: ids[name] for name in folder.schema.names} | {
        name: last + 1 + at for at, name in enumerate(folder.left_out)
    }


def described(folder: CsvFolder, table_id: str, ids: Mapping[str, int]) -> CsvDialect:
    """How the files are read from now on, as the log records it.

    Args:
        folder: what they are.
        table_id: the table's.
        ids: as `column_ids` gives them.
    """
    dialect = folder.dialect
    return CsvDialect(
        table_id=table_id,
        columns=tuple(
            CsvColumn(id=ids[f.name], type=types.to_spec(f.type), nulls=folder.nulls.get(f.name, ()))
            for f in folder.schema
        ),
        sep=dialect.sep,
        encoding=dialect.encoding,
        decimal=dialect.decimal,
        na_values=dialect.na_values,
        header=dialect.has_header,
        quotechar=dialect.quotechar,
    )


def add(
    session: Session, table: TableMetadata, file: CsvFile, ids: Mapping[str, int], partition: Partition = ()
) -> Add:
    """The action that makes a file part of the table.

    Args:
        session: where it is.
        table: what the table will be, with its `csv_dialect`.
        file: as `survey` found it.
        ids: as `column_ids` gives them.
        partition: text of each partition value.
    Raises:
        UnreadableInputError: a text is not one of its column's type, with file, line, column and value; or the file
            changed since `survey` read it.
        LossyCastError: a value does not fit its column's type, or the table could not write it again.
        StoreError: the store failed.
    Cost: the file is read once more; memory as `survey`.
    """
    assert table.csv_dialect is not None
    stored = tuple(ids[name] for name in file.columns)
    csv = adopted_csv.of_file(table.csv_dialect, stored, file.columns)
    path = session.store.url(file.name)
    text, sha256 = read(session, file.name, file.bytes, csv.dialect)
    if (sha256, text.rows) != (file.sha256, file.rows):
        raise changed(path)
    schema = types.arrow_schema(table.columns).remove_metadata()
    present = [name for name in file.columns if name in csv.columns]
    found = DataFile(names.encode_path(file.name), file.rows, file.bytes, sha256, 0, "", partition)
    constant = partition_values(table, schema, found)
    facts = RowFacts(table)
    facts.add(schema.empty_table())
    check_rows = formats.get("csv").check_rows
    for block in text.blocks:
        with with_line(text):
            values = csv.values(text.read(block, present), partial(_place, path, block))
            rows = pa.table(
                [
                    pa.repeat(constant[f.name][0], block.rows) if f.name in constant.column_names else values[f.name]
                    for f in schema
                ],
                schema=pa.schema([(f.name, f.type) for f in schema]),
            )
            check_rows(rows, block.first_row)
        facts.add(rows)
        pages.forget()
    return Add(
        path=found.path,
        rows=file.rows,
        bytes=file.bytes,
        sha256=sha256,
        partition=partition,
        stats=facts.stats(),
        key_range=facts.key_range(),
        columns=None if stored == table.stored_ids else stored,
    )


def _seen(
    session: Session, file: tuple[str, int], dialect: Dialect, told: frozenset[str], exact: frozenset[str]
) -> _Seen:
    name, size = file
    text, sha256 = read(session, name, size, dialect, unlikely=True)
    guessed = [column for column in text.names if column not in told]
    guessers = {column: Guesser(exact=column in exact, decimal=dialect.decimal) for column in guessed}
    unnamed = frozenset(text.names[at] for at in text.unnamed)
    counted = [FIRST] if FIRST in unnamed and text.names[0] == FIRST else []
    numbers = RowNumbers(counts=bool(counted))
    for block in text.blocks:
        with with_line(text):
            rows = text.read(block, list(dict.fromkeys([*guessed, *counted])))
        for column, guesser in guessers.items():
            for chunk in rows.column(column).chunks:
                guesser.add(chunk)
        for chunk in rows.column(FIRST).chunks if counted else ():
            numbers.add(chunk)
        pages.forget()
    quoted = frozenset((text.names[at], marker) for at, marker in text.quoted)
    return _Seen(CsvFile(name, size, text.rows, sha256, text.names), unnamed, quoted, guessers, numbers)


def _place(path: str, block: TextBlock, row: int) -> tuple[str, int]:
    return path, block.first_row + row


def _refuse_other_columns(session: Session, seen: Sequence[_Seen]) -> list[str]:
    """Refuse files that have other columns than the first; notes on those that have them in another order."""
    first = seen[0].file
    others, reordered = [], []
    for file in (one.file for one in seen[1:]):
        missing = [name for name in first.columns if name not in set(file.columns)]
        extra = [name for name in file.columns if name not in set(first.columns)]
        url = session.store.url(file.name)
        if missing or extra:
            lacks = [f"lacks {few(missing)}"] if missing else []
            has = [f"has {few(extra)} more"] if extra else []
            others.append(f"{url} {' and '.join([*lacks, *has])}")
        elif file.columns != first.columns:
            reordered.append(url)
    if others:
        raise SchemaMismatchError(
            f"{len(others)} of {len(seen)} files have other columns than {session.store.url(first.name)}: "
            + _some(others),
            hint="move these files out of the folder, adopt the rest, and append them with schema_mode='merge'; if "
            "only the headers differ, csv={'header': True, 'names': […]} names the columns of all files",
            files=tuple(others),
        )
    return [f"the columns have another order in {_some(reordered)}: they go by their names"] if reordered else []


def _some(texts: Sequence[str]) -> str:
    rest = len(texts) - NOTES_LIMIT
    return "; ".join(texts[:NOTES_LIMIT]) + (f"; and {rest} more" if rest > 0 else "")


def _kept(seen: Sequence[_Seen], dialect: Dialect) -> tuple[list[str], tuple[str, ...], list[str]]:
    """The columns that the table has, those that are left out, and notes on those without a name."""
    columns = seen[0].file.columns
    unnamed = [name for name in columns if any(name in one.unnamed for one in seen)]
    kept, notes = kept_columns(columns, unnamed, dialect.unnamed, (one.numbers for one in seen), goes_on=False)
    return kept, tuple(name for name in columns if name not in kept), notes
