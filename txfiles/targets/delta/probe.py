"""Finding rows in the files of a Delta table: by the keys of a batch, or by a filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from txfiles import environment
from txfiles.core.manifest import TableMetadata
from txfiles.reading import scan
from txfiles.reading.key_finder import BatchKeys
from txfiles.rows import filters, types
from txfiles.rows import keys as key_codec
from txfiles.rows.equality import same
from txfiles.targets.delta.snapshot import DeltaFile, Snapshot

NOWHERE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Hits:
    """Where a batch's keys are in one file. Attributes as in `reading.key_finder.Hits`."""

    file: DeltaFile
    positions: np.ndarray
    batch_rows: np.ndarray
    stored: pa.Table
    differs: np.ndarray


@dataclass(frozen=True, eq=False)
class Edit:
    """What changes in one file.

    Attributes:
        file: the file.
        without: where the rows are that are removed, ascending; None for all of them.
        at: where the rows are that are replaced, ascending.
        rows: what replaces them.
    """

    file: DeltaFile
    without: np.ndarray | None
    at: np.ndarray = field(default_factory=lambda: NOWHERE)
    rows: pa.Table | None = None

    @property
    def rewrites(self) -> bool:
        """Whether rows stay."""
        return self.without is not None


def removal(file: DeltaFile, positions: np.ndarray, rows: int) -> Edit:
    """The removal of some of a file's rows."""
    return Edit(file, positions if len(positions) < rows else None)


def read(snapshot: Snapshot, file: DeltaFile, names: Sequence[str]) -> pa.Table:
    """Some columns of a file, every row, in its order."""
    target = pa.schema([snapshot.schema.field(name) for name in names])
    with snapshot.reading(file):
        return file.fragment.to_table(schema=snapshot.schema, columns=list(names)).cast(target)


def candidates(snapshot: Snapshot, found: BatchKeys) -> list[DeltaFile]:
    """The files that may hold a key of the batch, by the log alone."""
    may = np.arange(len(snapshot.files))
    for name, keys in found.columns.items():
        if name not in snapshot.schema.names or not len(may):
            continue
        low, high = (side.take(pa.array(may)) for side in snapshot.bounds(name))
        codes = [key_codec.encode(pa.table({name: side}), [name]) for side in (low, high)]
        may = may[key_codec.candidates(keys.prefixes, codes[0], codes[1])]
    return [snapshot.files[number] for number in may.tolist()]


def probe(
    snapshot: Snapshot,
    table: TableMetadata,
    found: BatchKeys,
    files: Sequence[DeltaFile],
    *,
    wanted: Sequence[str] = (),
    compared: pa.Table | None = None,
) -> list[Hits]:
    """Look the keys up in files: one `Hits` for each that holds one. Arguments as in `reading.key_finder.probe`."""
    if not files or set(table.keys) - set(snapshot.schema.names):
        return []
    matcher = found.keys.matcher
    there = [name for name in wanted if name in snapshot.schema.names]
    kinds = {column.name: types.from_spec(column.type) for column in table.columns}
    others = pa.table({}) if compared is None else compared
    # Those that cost least to decode come first.
    looked_at = sorted(others.column_names, key=lambda name: not pa.types.is_primitive(others.schema.field(name).type))

    def one(file: DeltaFile) -> Hits | None:
        encoded = key_codec.encode(read(snapshot, file, table.keys), table.keys)
        matches = matcher.match(encoded)
        at = np.flatnonzero(matches >= 0)
        if not len(at):
            return None
        rows, places = matches[at], pa.array(at)
        stored = read(snapshot, file, there).take(places)
        for name in set(wanted) - set(there):
            stored = stored.append_column(name, pa.nulls(len(at), kinds[name]))
        differs = np.zeros(len(at), bool)
        for name in looked_at:  # until it is known of each row that it differs
            mine = others[name].take(pa.array(rows))
            if name in snapshot.schema.names:
                theirs = read(snapshot, file, [name])[name].take(places)
            else:
                theirs = pa.chunked_array([pa.nulls(len(at), mine.type)])
            differs |= ~same(mine, theirs)
            if differs.all():
                break
        return Hits(file, at, rows, stored.select(list(wanted)), differs)

    return [hits for hits in environment.real().map(one, files) if hits is not None]


def matching(snapshot: Snapshot, where: filters.Filter) -> tuple[list[Edit], int, int]:
    """The removal of the rows that match a filter, how many they are, and how many files were read."""
    files = snapshot.may_match(where)
    if set(where.columns) <= set(snapshot.table.partition_by):  # the same for all rows of a file
        matches = scan.mask(snapshot.partition_values, where)
        gone = [file for file, match in zip(snapshot.files, matches.tolist(), strict=True) if match]
        return [Edit(file, None) for file in gone], sum(rows_of(snapshot, file) for file in gone), 0

    def one(file: DeltaFile) -> tuple[Edit, int] | None:
        rows = read(snapshot, file, where.columns)
        at = np.flatnonzero(scan.mask(rows, where))
        return (removal(file, at, rows.num_rows), len(at)) if len(at) else None

    found = [one for one in environment.real().map(one, files) if one is not None]
    return [edit for edit, _ in found], sum(count for _, count in found), len(files)


def rows_of(snapshot: Snapshot, file: DeltaFile) -> int:
    """How many rows a file has."""
    return file.rows if file.rows is not None else int(read(snapshot, file, snapshot.schema.names[:1]).num_rows)
