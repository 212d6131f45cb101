"""How two versions differ in their rows, reading only files that are not in both.

Pass one reads these files once and keeps a digest of each row and of its key; `rows.difference` compares them. Later
passes read the rows that differ, from the row groups that hold one.

Source: specs/4-semantics.md, "Diff"; specs/decisions/0091-diff-by-digests.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from txfiles.core.manifest import TableMetadata
from txfiles.core.schema import Column
from txfiles.diffs import ChangedRows, Diff
from txfiles.log import versions
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading.live import LiveGroup, expected, opened
from txfiles.reading.marked import MarkedRows
from txfiles.rows import difference, filelist, identity, keys, restoring, types
from txfiles.rows.difference import Bag, Mask
from txfiles.rows.digests import Digester, Digests
from txfiles.rows.filelist import DataFile
from txfiles.rows.widening import widen


@dataclass(frozen=True)
class _Item:
    """A file of one version whose rows may differ from the other version's.

    Attributes:
        file: as this version has it.
        other: as the other one has it, with other marked rows; None if it has not. Rows live in both do not differ.
    """

    file: DataFile
    other: DataFile | None


@dataclass(frozen=True, eq=False)
class _Side:
    """The files of one version that may differ.

    Attributes:
        session: where they are.
        table: how they are read: for both versions in the same way.
        items: the files, in row order.
        older: the older of both versions, for errors.
    """

    session: Session
    table: TableMetadata
    items: Sequence[_Item]
    older: Snapshot

    @property
    def columns(self) -> list[str]:
        return [column.name for column in self.table.columns]

    def groups(self, item: _Item) -> Iterator[tuple[LiveGroup, Mask | None]]:
        """The row groups of a file, and which of their live rows are to be compared; None: all of them."""
        marked = MarkedRows(self.session, [item.file])
        elsewhere = None if item.other is None else MarkedRows(self.session, [item.other]).of(item.other)
        with opened(self.session, self.table, item.file, marked) as groups:
            if elsewhere is None:
                yield from ((group, None) for group in expected(groups, self.columns))
                return
            masks = ((group, np.isin(group.positions, elsewhere)) for group in groups)
            yield from ((group, mask) for group, mask in masks if mask.any())

    def bag(self, digester: Digester, key: Sequence[str]) -> tuple[Bag, np.ndarray]:
        """The digests of all rows, and how many each file has."""
        found = list(self.session.each(partial(self._digested, digester, key), self.items))
        none = Digests.join([])
        whole = Bag(
            Digests.join([none, *(one.rows for one in found)]),
            Digests.join([none, *(one.keys for one in found)]),
            np.concatenate([np.empty(0, np.bool_), *(one.has_key for one in found)]),
        )
        return whole, np.array([len(one.rows) for one in found], np.int64)

    def _digested(self, digester: Digester, key: Sequence[str], item: _Item) -> Bag:
        rows, of_keys, has_key = [Digests.join([])], [Digests.join([])], [np.empty(0, np.bool_)]
        for group, mask in self.groups(item):
            read = group.read(self.columns)
            read = read if mask is None else read.filter(pa.array(mask))
            rows.append(digester.digest(identity.row_codes(read)))
            if not key:
                has_key.append(np.zeros(read.num_rows, np.bool_))
                of_keys.append(rows[-1])
                continue
            codes = keys.encode(read, key)
            has_key.append(np.asarray(codes.is_valid()))
            of_keys.append(digester.digest(codes.fill_null(b"")))
        return Bag(Digests.join(rows), Digests.join(of_keys), np.concatenate(has_key))

    def read(self, flags: Mask, counts: np.ndarray, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows that have a flag, in row order.

        Raises:
            SnapshotExpiredError: a vacuum has deleted one of the files since.
        """
        with versions.ExpiryReported(self.session, self.older.state):
            ends = np.cumsum(counts)
            for item, start, end in zip(self.items, ends - counts, ends, strict=True):
                if flags[start:end].any():
                    yield from self._flagged(item, flags[start:end], schema)

    def _flagged(self, item: _Item, flags: Mask, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        at = 0
        for group, mask in self.groups(item):
            chosen = np.ones(group.rows, np.bool_) if mask is None else mask.copy()
            count = int(chosen.sum())
            chosen[chosen] = flags[at : at + count]
            at += count
            if chosen.any():
                rows = group.read(self.columns).filter(pa.array(chosen)).cast(schema)
                yield from rows.combine_chunks().to_batches()


def diff(session: Session, old: Snapshot, new: Snapshot) -> Diff:
    """Compare two versions. See `Table.diff`.

    Raises:
        SnapshotExpiredError: a vacuum has deleted files of one of them meanwhile.
        CorruptTableError: a file is missing or damaged.
    """
    table = _table(old.state.table, new.state.table)
    older = old if old.state.version <= new.state.version else new
    lists = [filelist.follow(one.files, one.state.table, table) for one in (old, new)]
    sides = [_Side(session, table, _items(*pair), older) for pair in (lists, lists[::-1])]
    digester = Digester(bytes.fromhex(session.environment.new_id()))
    with versions.ExpiryReported(session, older.state):
        (before, old_counts), (after, new_counts) = (side.bag(digester, table.keys) for side in sides)
    fates = difference.compare(before, after)
    schema = pa.schema([field.remove_metadata() for field in types.arrow_schema(table.columns)])

    def rows(side: _Side, flags: Mask, counts: np.ndarray) -> ChangedRows:
        return ChangedRows(int(flags.sum()), schema, lambda: side.read(flags, counts, schema))

    scanned = {item.file.path for side in sides for item in side.items}
    return Diff(
        old_version=old.state.version,
        new_version=new.state.version,
        keys=table.keys,
        inserted=rows(sides[1], fates.inserted, new_counts),
        updated=rows(sides[1], fates.updated, new_counts),
        updated_before=rows(sides[0], fates.replaced, old_counts),
        deleted=rows(sides[0], fates.deleted, old_counts),
        files_scanned=len(scanned),
        files_same=int(restoring.compared(*lists)[1].sum()),
    )


def _items(files: pa.Table, others: pa.Table) -> list[_Item]:
    """The files of a list that may have rows which the other list has not."""
    at, same = restoring.compared(files, others)
    mine = np.flatnonzero(~same)
    known = filelist.data_files(others, at[mine][at[mine] >= 0])
    there = iter(known)
    found = []
    for file, place in zip(filelist.data_files(files, mine), at[mine].tolist(), strict=True):
        other = next(there) if place >= 0 else None
        if other is None or other.vector is not None:  # where no row is marked, all rows of this one are live
            found.append(_Item(file, other))
    return found


def _table(old: TableMetadata, new: TableMetadata) -> TableMetadata:
    """How rows of both are read: in the columns of the new version, in types that hold the values of both.

    The keys are the new version's if the old one has their columns, too.
    """
    before = {column.id: column for column in old.columns}
    columns = tuple(_column(before.get(column.id, column), column) for column in new.columns)
    keys_ = new.keys if set(new.ids(new.keys)) <= before.keys() else ()
    return replace(new, columns=columns, keys=keys_)


def _column(old: Column, new: Column) -> Column:
    if old.type == new.type:
        return new
    before, after = types.from_spec(old.type), types.from_spec(new.type)
    wider = pa.string() if pa.string() in (before, after) else widen(after, before) or after
    return replace(new, type=types.to_spec(wider))
