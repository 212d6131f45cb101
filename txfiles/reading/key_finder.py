"""Finding a batch's keys in the table: prune the files, then stream the key columns of the candidates.

Memory: the batch, one row group for each file in progress, and the stored rows that were hit.

Source: specs/4-semantics.md, "Finding keys".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from txfiles.core.manifest import TableMetadata
from txfiles.log.session import Session
from txfiles.reading.live import LiveGroup, expected, opened
from txfiles.rows import filelist
from txfiles.rows import keys as key_codec
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
    """

    file: DataFile
    positions: np.ndarray
    batch_rows: np.ndarray
    stored: pa.Table


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


def probe(
    session: Session,
    found: BatchKeys,
    files: Sequence[DataFile],
    columns: Sequence[str],
    done: Callable[[int], None] = lambda _: None,
) -> list[Hits]:
    """Look the keys up in files.

    Args:
        session: where the files are.
        found: the batch's keys.
        files: candidates, in the table's order.
        columns: what to read of the stored rows that are hit.
        done: called with how many files have been searched.
    Returns:
        One `Hits` for each file that holds a key of the batch, in the order of `files`.
    """
    if not files:
        return []
    matcher = found.keys.matcher  # made here, once: not by each thread for itself
    hits = []
    for number, found_hits in enumerate(
        session.each(lambda file: _probe_file(session, found, matcher, file, columns), files), 1
    ):
        done(number)
        if len(found_hits.positions):
            hits.append(found_hits)
    return hits


def _probe_file(session: Session, found: BatchKeys, matcher: Matcher, file: DataFile, columns: Sequence[str]) -> Hits:
    positions, batch_rows, stored = [], [], []
    with opened(session.store, found.table, file) as groups:
        # A group that is the whole file was already judged by the log's bounds, which are the same.
        may = [group for group in groups if group.physical_rows == file.rows or _may_hold(found, group)]
        for group in expected(may, found.table.keys):
            encoded = key_codec.encode(group.read(found.table.keys), found.table.keys)
            matches = matcher.match(encoded)
            at = np.flatnonzero(matches >= 0)
            if len(at):
                positions.append(group.positions[at])
                batch_rows.append(matches[at])
                if columns:
                    stored.append(group.read(columns).take(pa.array(at)))
    none = np.empty(0, np.int64)
    return Hits(
        file,
        np.concatenate(positions) if positions else none,
        np.concatenate(batch_rows) if batch_rows else none,
        pa.concat_tables(stored) if stored else pa.table({}),
    )


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
