"""Finding a batch's keys in the table: prune the files, then stream the key columns of the candidates.

Memory: the batch, one row group for each file in progress, and what is wanted of the stored rows that were hit.

Source: specs/4-semantics.md, "Finding keys".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from txfiles.core.manifest import TableMetadata
from txfiles.log.session import Session
from txfiles.reading.live import LiveGroup, expected, opened
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist
from txfiles.rows import keys as key_codec
from txfiles.rows.equality import same
from txfiles.rows.filelist import DataFile
from txfiles.rows.matching import Matcher


@dataclass(frozen=True)
class Hits:
    """Where a batch's keys are in one file.

    Attributes:
        file: the file.
        positions: h rows of the file, ascending.
        batch_rows: h rows of the batch with the same keys.
        stored: the h stored rows in the columns that were asked for.
        differs: h flags: the batch's row has another value in a column that was to be compared.
    """

    file: DataFile
    positions: np.ndarray
    batch_rows: np.ndarray
    stored: pa.Table
    differs: np.ndarray


def where_found(hits: Sequence[Hits]) -> dict[str, np.ndarray]:
    """The positions of the rows that were hit, by the path of their file."""
    return {hit.file.path: hit.positions for hit in hits}


@dataclass(frozen=True)
class BatchKeys:
    """A batch's keys, prepared for looking up.

    Attributes:
        table: whose keys they are.
        keys: the batch's complete keys.
        columns: each key column of the batch by itself, for pruning by columns.
    """

    table: TableMetadata
    keys: key_codec.Keys
    columns: dict[str, key_codec.Keys]


def batch_keys(table: TableMetadata, rows: pa.Table, encoded: pa.Array) -> BatchKeys:
    """Prepare a batch's keys. Cost: O(m log m) for m rows and each key column, when first used."""
    whole = key_codec.Keys(encoded)
    if len(table.keys) == 1:
        return BatchKeys(table, whole, {table.keys[0]: whole})
    return BatchKeys(table, whole, {name: key_codec.Keys(key_codec.encode(rows, [name])) for name in table.keys})


def candidates(found: BatchKeys, files: pa.Table) -> np.ndarray:
    """Positions in the file list of the files that may hold a key of the batch.

    Cost: O(files × log m), vectorised, and the same for each key column of the remaining files; no I/O.
    """
    may = np.flatnonzero(key_codec.candidates(found.keys.prefixes, files["key_min"], files["key_max"]))
    if len(found.table.keys) == 1 and not files["key_min"].null_count:
        return may  # the column's bounds are the key's
    for column in found.table.columns:
        if column.name in found.columns:
            low, high = (bounds.take(pa.array(may)) for bounds in filelist.bounds(files, column))
            may = may[_meets(found.columns[column.name], column.name, low, high)]
    return may


class Then(Protocol):
    """What to do with a file that was hit, while it is open."""

    def __call__(self, hits: Hits, groups: Sequence[LiveGroup], *, alone: bool) -> None:
        """By its hits and its groups; `alone`: no other file is opened."""


AtOnce = Callable[[Hits, Sequence[LiveGroup]], None]


def probe_file(
    session: Session,
    found: BatchKeys,
    matcher: Matcher,
    file: DataFile,
    look: Look,
    *,
    marked: MarkedRows,
    then: AtOnce | None = None,
) -> Hits:
    """Look the keys up in one file.

    Args:
        session: where the file is.
        found: the batch's keys.
        matcher: of these keys.
        file: the file.
        look: what to read of the stored rows that are hit.
        marked: which rows are marked.
        then: called if there are any.
    Cost: the key columns of the row groups that may hold a key. Of those that do, the wanted columns, and those to
        compare until it is known of each row that was hit that it differs.
    """
    hit: list[tuple[LiveGroup, np.ndarray, np.ndarray]] = []
    with opened(session, found.table, file, marked) as groups:
        # A group that is the whole file was already judged by the log's bounds, which are the same.
        may = [group for group in groups if group.physical_rows == file.rows or _may_hold(found, group)]
        for group in expected(may, found.table.keys):
            encoded = key_codec.encode(group.read(found.table.keys), found.table.keys)
            matches = matcher.match(encoded)
            at = np.flatnonzero(matches >= 0)
            if len(at):
                hit.append((group, at, matches[at]))
        if not hit:
            none = np.empty(0, np.int64)
            return Hits(file, none, none, pa.table({}), none.astype(bool))
        positions = np.concatenate([group.positions[at] for group, at, _ in hit])
        hits = look.all(file, hit, positions)
        if then is not None:
            then(hits, groups)
        return hits


class Look:
    """What is read of the rows of one file that were hit: some columns, and others to compare with the batch's.

    Those of a fixed width, which cost least to decode, are compared first. A column that told every row of a group from
    the batch's comes first, by itself, in the groups after it: often it is a status or the time of the last change.
    """

    def __init__(self, columns: Sequence[str], compared: pa.Table | None) -> None:
        self._columns = list(columns)
        self._batch = pa.table({}) if compared is None else compared
        self._begin_with([field.name for field in self._batch.schema if pa.types.is_primitive(field.type)])

    def expect(self, groups: Iterable[LiveGroup], keys: Sequence[str] = ()) -> None:
        """Announce that rows of these groups will be looked at, and their keys."""
        for group in groups:
            group.expect([*keys, *self._columns, *self._batch.column_names])

    def all(
        self, file: DataFile, hit: Sequence[tuple[LiveGroup, np.ndarray, np.ndarray]], positions: np.ndarray
    ) -> Hits:
        """The hits of a file.

        Args:
            file: it.
            hit: the groups with rows that were hit; which live rows of the group, and which rows of the batch.
            positions: of all of them in the file.
        """
        self.expect(group for group, _, _ in hit)
        stored, differs = zip(*(self._at(*one) for one in hit), strict=True)
        batch_rows = np.concatenate([rows for _, _, rows in hit])
        return Hits(file, positions, batch_rows, pa.concat_tables(stored), np.concatenate(differs))

    def _at(self, group: LiveGroup, positions: np.ndarray, batch_rows: np.ndarray) -> tuple[pa.Table, np.ndarray]:
        """Some live rows of a group in the wanted columns, and which of them differ from these rows of the batch."""
        places, rows = pa.array(positions), pa.array(batch_rows)
        wanted, stored, differs = self._columns, pa.table({}), np.zeros(len(positions), bool)
        for names in self._turns:
            read = group.read([*wanted, *names])
            if wanted:
                stored, wanted = read.select(wanted).take(places), []
            for name in names:
                other = ~same(self._batch[name].take(rows), read[name].take(places))
                differs |= other
                if differs.all():
                    if other.all():
                        self._begin_with([name])
                    return stored, differs
        return stored, differs

    def _begin_with(self, first: Sequence[str]) -> None:
        """Compare these columns first, and then the others."""
        turns = list(first), [name for name in self._batch.column_names if name not in first]
        self._turns = [names for names in turns if names] or ([[]] if self._columns else [])


def _may_hold(found: BatchKeys, group: LiveGroup) -> bool:
    """Whether a row group's own bounds allow for a key of the batch."""
    for name, keys in found.columns.items():
        bounds = group.bounds(name)
        if bounds is None:
            continue
        low, high = (pa.chunked_array([pa.array([bound], bound.type)]) for bound in bounds)
        if not _meets(keys, name, low, high)[0]:
            return False
    return True


def _meets(keys: key_codec.Keys, name: str, low: pa.ChunkedArray, high: pa.ChunkedArray) -> np.ndarray:
    """For some bounds of a key column, whether a key of the batch lies between them."""
    codes = key_codec.encode(pa.table({name: pa.chunked_array([*low.chunks, *high.chunks], low.type)}), [name])
    return key_codec.candidates(keys.prefixes, codes[: len(low)], codes[len(low) :])
