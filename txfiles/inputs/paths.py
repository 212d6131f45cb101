"""Parquet and CSV files as input: one, several, or all below a folder, as one batch.

CSV files are spooled at the first read, as text first, since its types may depend on the table that a rebase finds.

Source: specs/4-semantics.md, "Inputs" and "CSV inputs".
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, pairwise
from operator import itemgetter

import pyarrow as pa

from txfiles.core.schema import Inferred
from txfiles.formats.csv_text import CsvText
from txfiles.inputs.csv import read_text
from txfiles.inputs.folders import expand, kind_of
from txfiles.inputs.parquet import ParquetFiles
from txfiles.inputs.spool import Labelled, MergedSchema, spooled
from txfiles.rows.csv_columns import Texts, typed_column
from txfiles.rows.dialect import PLAIN, Dialect
from txfiles.rows.guess import Guess, infer
from txfiles.rows.inference import check_names
from txfiles.rows.source import NO_RULES, Batch, TextRules
from txfiles.rows.types import normalise
from txfiles.rows.unnamed import FIRST, RowNumbers, kept_columns


@dataclass(frozen=True)
class _Run:
    """Successive input files of one format; CSV columns are still text."""

    kind: str
    table: pa.Table
    paths: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    files: list[CsvText] = field(default_factory=list)

    def place(self, row: int) -> tuple[str, int]:
        """The file and the data row in it, from 0, of a row of the run."""
        at = bisect_right(self.starts, row) - 1
        return self.paths[at], row - self.starts[at]

    def quoted(self, name: str) -> set[str]:
        """The markers that occur in quotes in a column."""
        return {marker for file in self.files for at, marker in file.quoted if file.names[at] == name}


@dataclass(frozen=True)
class _Plan:
    """What the columns of CSV text become.

    Attributes:
        schema: the columns that are kept, with their types.
        texts: how the text of each is read.
        guesses: the types that were inferred.
    """

    schema: pa.Schema
    texts: dict[str, Texts]
    guesses: dict[str, Guess]


class PathSource:
    """Files as a source.

    Args:
        paths: files and folders, in order.
        types: what `schema=` says.
        dialect: what `csv=` says.
    """

    def __init__(self, paths: Sequence[str], types: pa.Schema | None, dialect: Dialect = PLAIN) -> None:
        self._paths = paths
        self._types = types
        self._dialect = dialect
        self._parquet = ParquetFiles(types)
        self._files: list[tuple[str, str]] | None = None
        self._runs: list[_Run] | None = None
        self._typed: tuple[_Plan, pa.Table, tuple[str, ...]] | None = None
        self._guesses: dict[tuple[str, bool], Guess] = {}

    def read(self, known: pa.Schema | None, rules: TextRules = NO_RULES) -> Batch:
        """The rows of all files, in order.

        Raises:
            UnreadableInputError: a file is missing, damaged, changed since it was first read, or holds text that is
                not of its column's type.
            LossyCastError: a value does not fit its column's type.
            SchemaMismatchError: the files differ in their columns.
        Cost: Parquet once for each read; CSV once, and once more for each other `known`. Disk: CSV text as it is, and
            the rows of CSV inputs.
        """
        declared = frozenset(self._types.names if self._types is not None else ())
        try:
            if self._files is None:
                self._files = [(file, kind_of(file)) for file in expand(self._paths)]
            if all(kind == "parquet" for _, kind in self._files):
                return Batch(self._parquet.read([file for file, _ in self._files]), declared=declared)
            if self._runs is None:
                self._runs = self._load(self._files)
            plan, notes = self._planned(self._runs, known, rules)
            if self._typed is None or self._typed[0] != plan:
                nulled: Counter[tuple[str, str]] = Counter()
                table = spooled(chunk for run in self._runs for chunk in _typed(run, plan, nulled))
                self._typed = (
                    plan,
                    table,
                    tuple(
                        f"column {name!r}: {marker!r} is null in {count:,} {'row' if count == 1 else 'rows'}"
                        for (name, marker), count in nulled.items()
                    ),
                )
            guessed = pa.schema([(name, guess.type) for name, guess in plan.guesses.items()])
            return Batch(
                self._typed[1],
                guessed if plan.guesses else None,
                notes=(*notes, *self._typed[2]),
                rules={name: guess.inferred for name, guess in plan.guesses.items() if guess.inferred is not None},
                declared=declared,
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the rows. May be called twice; a later read reads the files again."""
        self._files = self._runs = self._typed = None
        self._guesses = {}
        self._parquet = ParquetFiles(self._types)

    def _load(self, files: list[tuple[str, str]]) -> list[_Run]:
        runs = []
        for kind, group in groupby(files, key=itemgetter(1)):
            load = self._parquet_run if kind == "parquet" else self._csv_run
            runs.append(load([file for file, _ in group]))
        return runs

    def _parquet_run(self, files: list[str]) -> _Run:
        return _Run("parquet", self._parquet.read(files), files)

    def _csv_run(self, files: list[str]) -> _Run:
        starts: list[int] = []
        texts: list[CsvText] = []
        table = spooled(self._csv_chunks(files, starts, texts))
        return _Run("csv", table, files, starts, texts)

    def _csv_chunks(self, files: list[str], starts: list[int], texts: list[CsvText]) -> Iterator[Labelled]:
        rows = 0
        for path in files:
            starts.append(rows)
            text = read_text(path, self._dialect)
            texts.append(text)
            for chunk in text.tables:
                rows += chunk.num_rows
                yield path, chunk

    def _planned(self, runs: list[_Run], known: pa.Schema | None, rules: TextRules) -> tuple[_Plan, list[str]]:
        """What becomes of each column, and what a person should know about it."""
        csv = [run for run in runs if run.kind == "csv"]
        merged = MergedSchema()
        for run in csv:
            merged.add("a later CSV file", run.table)
        names, notes = self._kept(csv, known)
        check_names(self._types, names)
        told: dict[str, pa.DataType] = {}
        for schema in (known, *(run.table.schema for run in runs if run.kind == "parquet"), self._types):
            told |= {f.name: normalise(f.type) for f in schema or () if not pa.types.is_null(f.type)}
        typed = {name for run in runs if run.kind == "parquet" for name in run.table.column_names}
        typed |= set(self._types.names if self._types is not None else ())
        held = {name: rule for name, rule in rules.inferred.items() if name not in typed}
        guesses = {name: self._guess(name, csv, exact=name in rules.exact) for name in names if name not in told}
        types = told | {name: guess.type for name, guess in guesses.items()}
        texts = {name: self._texts(name, csv, held.get(name), guesses.get(name)) for name in names}
        return _Plan(pa.schema([(name, types[name]) for name in names]), texts, guesses), notes

    def _texts(self, name: str, csv: list[_Run], held: Inferred | None, guess: Guess | None) -> Texts:
        rule = held or (guess.inferred if guess is not None else None)
        quoted = set().union(*(run.quoted(name) for run in csv)) if rule is not None and rule.nulls else set()
        nulls = tuple(marker for marker in rule.nulls if marker not in quoted) if rule is not None else ()
        return Texts(nulls, self._dialect.decimal, held)

    def _kept(self, csv: list[_Run], known: pa.Schema | None) -> tuple[list[str], list[str]]:
        """The columns that are kept, and notes on those without a name."""
        names = list(csv[0].table.column_names)
        unnamed = [name for name in names if any(_is_unnamed(run, name) for run in csv)]
        goes_on = None if known is not None and FIRST in known.names else known is not None
        return kept_columns(names, unnamed, self._dialect.unnamed, _numbers(csv), goes_on=goes_on)

    def _guess(self, name: str, csv: list[_Run], *, exact: bool) -> Guess:
        if (name, exact) not in self._guesses:
            chunks = [chunk for run in csv for chunk in run.table.column(name).chunks]
            quoted = set().union(*(run.quoted(name) for run in csv))
            self._guesses[name, exact] = infer(
                pa.chunked_array(chunks, pa.string()), quoted=quoted, exact=exact, decimal=self._dialect.decimal
            )
        return self._guesses[name, exact]


def _is_unnamed(run: _Run, name: str) -> bool:
    return any(file.names[at] == name for file in run.files for at in file.unnamed)


def _numbers(csv: list[_Run]) -> Iterator[RowNumbers]:
    """Of the first column of each file."""
    for run in csv:
        for start, end in pairwise([*run.starts, run.table.num_rows]):
            found = RowNumbers()
            for chunk in run.table.column(FIRST).slice(start, end - start).chunks:
                found.add(chunk)
            yield found


def _typed(run: _Run, plan: _Plan, nulled: Counter[tuple[str, str]]) -> Iterator[Labelled]:
    if run.kind == "parquet":
        yield run.paths[0], run.table
        return
    yield run.paths[0], plan.schema.empty_table()
    row = 0
    for batch in run.table.to_batches():
        columns = [
            typed_column(f, batch.column(f.name), plan.texts[f.name], nulled, partial(_place, run, row))
            for f in plan.schema
        ]
        yield run.place(row)[0], pa.table(columns, schema=plan.schema)
        row += batch.num_rows


def _place(run: _Run, first: int, row: int) -> tuple[str, int]:
    return run.place(first + row)
