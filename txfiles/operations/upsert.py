"""`upsert`: replace the rows whose key is in the table, add the others.

The body of `upsert` is the flow of one upsert: snapshot → prepare → prune → probe → decide → rewrite the files that
really change, or mark their rows → stage the new rows → what to commit. `rows.merge.decide` decides what becomes of a
row; `core.conflicts` what happens after a lost race.

Source: specs/4-semantics.md, "Upsert".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from txfiles.batch import Prepared, prepare
from txfiles.core import properties
from txfiles.core.manifest import Add, Metrics
from txfiles.core.plan import CommitPlan, KeysAbsent
from txfiles.operations.context import PlanContext, commit_plan
from txfiles.operations.edits import Edit, carry_out, rewrite_one
from txfiles.options import Request
from txfiles.reading.key_finder import Hits, batch_keys, where_found
from txfiles.reading.live import LiveGroup
from txfiles.rows import partitions
from txfiles.rows.merge import Fates, decide, needed
from txfiles.rows.text import to_text


def upsert(ctx: PlanContext[Request]) -> CommitPlan:
    """Replace the rows with known keys if they differ, add the others.

    Cost: the key columns of the row groups whose key range contains a batch key, and of those that hold one the other
    columns until it is known which rows differ; only files in which a row really changes are rewritten, as a stream, or
    under merge-on-read none: then the rows that change are written, and a vector for each such file.
    """
    batch = prepare(ctx.request, ctx.table)
    keys = batch_keys(batch.table, batch.rows, batch.keys)
    wanted = needed(batch.missing, batch.missing_fields, batch.table.timestamp_col)
    compared = batch.rows.drop_columns([*{*wanted, *batch.table.keys}])  # equal keys have equal values
    early = Early(ctx, batch)
    at_once = ctx.session.is_parallel and not properties.marks_rows(batch.table.properties)
    found = ctx.find(
        keys, ctx.files(batch.table), sorted(wanted), compared=compared, then=early.rewrite_at_once if at_once else None
    )
    fates = _decide(ctx, batch, found.hits)
    edits, moved = _edits(batch, found.hits, fates)
    carried = carry_out(ctx, batch.table, edits, early.valid(found.hits))
    replaced = [] if carried.rows is None else [carried.rows]
    new = pa.concat_tables([*replaced, moved, batch.rows.take(pa.array(fates.inserts))])
    added = ctx.stage.rows(batch.table, new)
    return commit_plan(
        ctx,
        batch,
        Metrics(
            rows_inserted=len(fates.inserts),
            rows_updated=fates.updated,
            rows_unchanged=fates.unchanged,
            rows_stale=fates.stale,
            rows_deleted=len(fates.deletes),
        ),
        add=[*carried.add, *added],
        remove=carried.remove,
        mark=carried.mark,
        relies_on=where_found(found.hits) | dict.fromkeys(carried.remove),
        checks=[KeysAbsent(keys)] if batch.rows.num_rows else (),
        scanned=found.scanned,
        rewritten=carried.rewritten,
    )


class Early:
    """Files that are written anew as soon as their own rows are compared, while what was fetched of them is held.

    Only where reading takes requests. What becomes of the rows of one file depends on others only if a key of the batch
    is in both; then it is decided again for them together.
    """

    def __init__(self, ctx: PlanContext[Request], batch: Prepared) -> None:
        self._ctx = ctx
        self._batch = batch
        self._written: dict[str, list[Add]] = {}

    def rewrite_at_once(self, hits: Hits, groups: Sequence[LiveGroup], *, alone: bool) -> None:
        """Write an open file anew, if its own hits change a row of it. For several threads."""
        self._drop(hits.file.path)
        mine = np.unique(hits.batch_rows)
        batch = replace(self._batch, rows=self._batch.rows.take(pa.array(mine)))
        own = [replace(hits, batch_rows=np.searchsorted(mine, hits.batch_rows))]
        edits, _ = _edits(batch, own, _decide(self._ctx, batch, own))
        for edit in edits:
            if edit.rewrites:
                adds = rewrite_one(self._ctx, batch.table, edit, lambda: groups, ahead=alone)
                self._written[hits.file.path] = adds

    def valid(self, hits: Sequence[Hits]) -> dict[str, list[Add]]:
        """The files, by the path of the one that each replaces; those that all hits together contradict are deleted."""
        numbers = np.repeat(np.arange(len(hits)), [len(hit.positions) for hit in hits])
        rows = np.concatenate([hit.batch_rows for hit in hits]) if hits else np.empty(0, np.int64)
        by_row = np.argsort(rows, kind="stable")  # and by file
        rows, numbers = rows[by_row], numbers[by_row]
        twice = np.flatnonzero((rows[1:] == rows[:-1]) & (numbers[1:] != numbers[:-1]))
        alone = {hit.file.path for hit in hits}
        alone -= {hits[number].file.path for number in {*numbers[twice].tolist(), *numbers[twice + 1].tolist()}}
        for path in [path for path in self._written if path not in alone]:
            self._drop(path)
        return self._written

    def _drop(self, path: str) -> None:
        if path in self._written:
            self._ctx.stage.drop([add.path for add in self._written.pop(path)])


def _decide(ctx: PlanContext[Request], batch: Prepared, hits: Sequence[Hits]) -> Fates:
    stored = pa.concat_tables([hit.stored for hit in hits]) if hits else batch.rows.slice(0, 0)
    hit_rows = np.concatenate([hit.batch_rows for hit in hits]) if hits else np.empty(0, np.int64)
    differs = np.concatenate([hit.differs for hit in hits]) if hits else np.empty(0, bool)
    return decide(
        batch.rows,
        hit_rows,
        stored,
        differs,
        missing=batch.missing,
        missing_fields=batch.missing_fields,
        timestamp_col=batch.table.timestamp_col,
        skip_stale=ctx.request.stale == "skip",
    )


def _edits(batch: Prepared, hits: Sequence[Hits], fates: Fates) -> tuple[list[Edit], pa.Table]:
    """The changes file by file, and the rows that leave their file because their partition value changed.

    Cost: O(h log h) for h rows that were hit, however many files they are in.
    """
    file_of = np.repeat(np.arange(len(hits)), [len(hit.positions) for hit in hits])
    position_of = np.concatenate([hit.positions for hit in hits]) if hits else np.empty(0, np.int64)
    moves = _moves(batch, hits, fates, file_of)
    # `hits` are in file order and their positions ascend, so the number of a hit row orders it by file and place.
    stay = np.flatnonzero(~moves)
    stay = stay[np.argsort(fates.replaces[stay], kind="stable")]
    leaving = np.sort(np.concatenate([fates.deletes, fates.replaces[moves]]))
    bounds = np.arange(len(hits) + 1)
    starts = np.searchsorted(file_of[fates.replaces[stay]], bounds)
    ends = np.searchsorted(file_of[leaving], bounds)
    rows = fates.merged.take(pa.array(stay))
    edits = []
    for number in np.flatnonzero((np.diff(starts) > 0) | (np.diff(ends) > 0)).tolist():
        first, last = starts[number], starts[number + 1]
        at = position_of[fates.replaces[stay[first:last]]]
        without = position_of[leaving[ends[number] : ends[number + 1]]]
        edits.append(Edit(hits[number].file, without, at, rows.slice(first, last - first)))
    return edits, fates.merged.filter(pa.array(moves))


def _moves(batch: Prepared, hits: Sequence[Hits], fates: Fates, file_of: np.ndarray) -> np.ndarray:
    """Which replaced rows belong in another partition than their file's."""
    moves = np.zeros(len(fates.replaces), bool)
    if not batch.table.partition_by or not hits:
        return moves
    listed = pa.table({"partition": pa.array([hit.file.partition for hit in hits], pa.list_(pa.string()))})
    spelled = partitions.of_files(batch.table, listed)
    for number, column in enumerate(batch.table.partition_by):
        text = to_text(fates.merged[column]).to_numpy(zero_copy_only=False)
        stands = np.array([partition[number] for partition in spelled], object)[file_of[fates.replaces]]
        moves |= text != stands
    return moves
