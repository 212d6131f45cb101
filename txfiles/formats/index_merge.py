"""Index runs made into one: the entries of files that are still wanted, in order.

Source: specs/8-index.md, "Merging".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from txfiles.formats.common import Sink
from txfiles.formats.index_run import Cover, Run, RunFacts, RunWriter
from txfiles.rows.bytewise import Positions, Words
from txfiles.rows.digests import Digests

SLICE_ENTRIES = 512 * 1024
"""About how many entries are merged at a time: digests are spread evenly, so a range of them has a known share."""


def merge_runs(sink: Sink, run: str, runs: Sequence[Run], live: Collection[str]) -> RunFacts:
    """Merge runs of the same keys into a new one, and publish it.

    Files that are not live go, with all their entries. No single entry does: the rows that a file has are those that it
    was written with, whatever is marked in it. A file that two runs cover is taken from the first.

    Args:
        sink: a new file; it is aborted if this raises.
        run: the new run's id.
        runs: one or more.
        live: paths of the files whose entries are kept. Files of a retained version that are not live may go, too.
    Raises:
        ValueError: the runs hold different keys, or name files by number only, or together cover too many files.
        UnusableRunError: a run is damaged.
        StoreError: the store failed.
    Cost: O(n log n) for n entries, about 80 ns each; memory for a slice of them, and half a byte an entry. A key that
        many rows have is in one slice, with all of them.
    """
    cover, starts = _together(runs, live)
    with RunWriter(sink, run, runs[0].key, cover) as writer:
        cursors = [_Cursor(each, kept) for each, kept in zip(runs, starts, strict=True)]
        slices = max(1, -(-sum(each.entries for each in runs) // SLICE_ENTRIES))
        for number in range(1, slices + 1):
            bound = np.uint64(2**64 * number // slices) if number < slices else None
            parts = [cursor.below(bound) for cursor in cursors]
            digests = Digests.join([digests for digests, _ in parts])
            rows = np.concatenate([rows for _, rows in parts])
            writer.add(digests, rows)
        return writer.close()


def _together(runs: Sequence[Run], live: Collection[str]) -> tuple[Cover, list[Positions]]:
    """What the merged run covers, and where in it each file of each run begins; -1: its entries go."""
    if any(run.key != runs[0].key for run in runs):
        raise ValueError("only runs of the same keys can be merged")
    paths: dict[str, int] = {}
    starts = []
    total = 0
    for run in runs:
        begin = np.full(len(run.cover.paths), -1, np.int64)
        for number, (path, rows) in enumerate(zip(run.cover.paths.to_pylist(), run.cover.rows.tolist(), strict=True)):
            if path.startswith("#"):
                raise ValueError("a run whose files are named by number has to be opened with their paths")
            if path in live and path not in paths:
                paths[path], begin[number] = rows, total
                total += rows
        starts.append(begin)
    return Cover(pa.array(list(paths), pa.string()), np.array(list(paths.values()), np.int64)), starts


class _Cursor:
    """The kept entries of a run, from the least digest on, with their rows' numbers in the new run."""

    def __init__(self, run: Run, starts: Positions) -> None:
        self._run = run
        self._starts = starts
        shifts = starts - (run.cover.ends - run.cover.rows)
        # Most merges drop no file: all rows keep their distances, and need not be located.
        self._shift = int(shifts[0]) if len(shifts) and (starts >= 0).all() and (shifts == shifts[0]).all() else None
        self._pieces = run.pieces()
        self._held: list[tuple[Digests, Positions]] = []

    def below(self, bound: Words | np.uint64 | None) -> tuple[Digests, Positions]:
        """The entries not yet given that sort before a digest's high part; None: the rest."""
        taken = self._held
        while bound is None or not taken or not len(taken[-1][1]) or taken[-1][0].high[-1] < bound:
            piece = next(self._pieces, None)
            if piece is None:
                break
            taken.append(piece)
        digests = Digests.join([digests for digests, _ in taken])
        rows = np.concatenate([np.empty(0, np.int64), *(rows for _, rows in taken)])
        if bound is not None:
            count = int(np.searchsorted(digests.high, bound))
            self._held = [(digests.take(slice(count, None)), rows[count:])]
            digests, rows = digests.take(slice(count)), rows[:count]
        return self._moved(digests, rows)

    def _moved(self, digests: Digests, rows: Positions) -> tuple[Digests, Positions]:
        if self._shift is not None:
            return digests, rows + self._shift
        files, at = self._run.locate(rows)
        starts = self._starts[files]
        kept = np.flatnonzero(starts >= 0)
        return digests.take(kept), (starts + at)[kept]
