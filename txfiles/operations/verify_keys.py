"""Whether a key is in the table twice.

Keys become digests of 96 bits, under a secret of this call. Those of one range of digests are in memory at a time, so
memory does not grow with the table; the key columns are read once for each range.

Source: specs/16-verify.md; specs/8-index.md, "Digests".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from txfiles.core.manifest import TableMetadata
from txfiles.findings import Problem, problem
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading import live
from txfiles.reading.marked import MarkedRows
from txfiles.rows import dedup, filelist
from txfiles.rows import keys as key_codec
from txfiles.rows.digests import Digester, ascending
from txfiles.rows.filelist import DataFile

RANGE_ROWS = 16_000_000
"""Digests in memory at a time: some 500 MB, while they are sorted."""

KEYS_SHOWN = 5

Report = Callable[[str, int, int | None], None]


def repeated(session: Session, snapshot: Snapshot, report: Report) -> Iterator[Problem]:
    """Rows without a key where keys are known to be unique, and keys that several live rows have.

    Cost: the key columns of all files, once for each `RANGE_ROWS` rows of the table; memory for as many digests.
    """
    table, files = snapshot.state.table, filelist.data_files(snapshot.files)
    digester = Digester(bytes.fromhex(session.environment.new_id()))
    passes = -(-filelist.total_rows(snapshot.files) // RANGE_ROWS) or 1
    twice, nulls, example = 0, 0, _Example(table)
    for number in range(passes):
        high, low, owner, without = _digests(session, table, files, digester, (number, passes))
        nulls += without if number == 0 else 0
        order, sorted_high = ascending(high)
        near = np.flatnonzero(sorted_high[1:] == sorted_high[:-1])
        again = order[np.unique(np.concatenate([near, near + 1]))]
        pairs = np.empty(len(again), np.dtype([("high", np.uint64), ("low", np.uint32)]))
        pairs["high"], pairs["low"] = high[again], low[again]
        found, first, counts = np.unique(pairs, return_index=True, return_counts=True)
        twice += int((counts[counts > 1] - 1).sum())
        wanted = found[counts > 1][:KEYS_SHOWN]
        if len(wanted):
            example.look(session, [files[at] for at in owner[again[first[counts > 1]]][:KEYS_SHOWN]], digester, wanted)
        report("comparing keys", number + 1, passes)
    yield from _problems(snapshot, twice, nulls, example)


def _problems(snapshot: Snapshot, twice: int, nulls: int, example: _Example) -> Iterator[Problem]:
    table, unique = snapshot.state.table, snapshot.state.unique_keys
    names = ", ".join(table.keys)
    if nulls and unique:
        message = f"{nulls} rows have a null in {names}, though only keyed writes were committed"
        yield problem("null-key", message, f"delete them: table.delete([({table.keys[0]!r}, 'is', None)])", count=nulls)
    if twice:
        kind = "repeated-keys" if unique else "duplicate-keys"
        how = "though only keyed writes were committed" if unique else "as plain appends may leave them"
        message = f"{twice} rows repeat a key in {names}, {how}; such keys are {', '.join(example.keys)}"
        hint = "an upsert of such a key replaces all its rows by one; other keys are chosen with rekey=True"
        yield problem(kind, message, hint, file=example.file, column=table.keys[0], count=twice)


class _Example:
    """The first keys that are there twice, as people read them."""

    def __init__(self, table: TableMetadata) -> None:
        self._table = table
        self.keys: list[str] = []
        self.file: str | None = None

    def look(self, session: Session, files: list[DataFile], digester: Digester, wanted: np.ndarray) -> None:
        """Read some of the files again, for the keys of some digests."""
        if self.keys:
            return
        table = self._table
        marked = MarkedRows(session, files)
        for file in {file.path: file for file in files}.values():
            for group in live.groups(session, table, file, table.keys, marked):
                rows = group.read(table.keys)
                codes = key_codec.encode(rows, table.keys)
                valid = np.flatnonzero(np.asarray(codes.is_valid()))
                found = digester.digest(codes.take(pa.array(valid)))
                mine = valid[np.isin(found.high, wanted["high"]) & np.isin(found.low, wanted["low"])]
                self.keys += [dedup.shown_key(rows, int(row), table.keys) for row in mine]
                self.file = self.file or (file.path if len(mine) else None)
        self.keys = list(dict.fromkeys(self.keys))[:KEYS_SHOWN]


def _digests(
    session: Session, table: TableMetadata, files: list[DataFile], digester: Digester, part: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Digests of one part of all keys (which one, of how many), high and low; the number of each one's file; nulls."""
    number, passes = (np.uint64(one) for one in part)
    marked = MarkedRows(session, files)

    def of_file(at: int) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], int]:
        high, low, owner, nulls = list[np.ndarray](), list[np.ndarray](), list[np.ndarray](), 0
        for group in live.groups(session, table, files[at], table.keys, marked):
            codes = key_codec.encode(group.read(table.keys), table.keys)
            nulls += codes.null_count
            found = digester.digest(codes.drop_null())
            mine = found.high % passes == number
            high.append(found.high[mine])
            low.append(found.low[mine])
            owner.append(np.full(int(mine.sum()), at, np.int32))
        return high, low, owner, nulls

    highs, lows, owners, without = [np.empty(0, np.uint64)], [np.empty(0, np.uint32)], [np.empty(0, np.int32)], 0
    for high, low, owner, nulls in session.each(of_file, range(len(files))):
        highs += high
        lows += low
        owners += owner
        without += nulls
    return np.concatenate(highs), np.concatenate(lows), np.concatenate(owners), without
