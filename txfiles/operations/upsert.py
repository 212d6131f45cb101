"""`upsert`: replace the rows whose key is in the table, add the others.

The body of `upsert` is the flow of one upsert: snapshot → prepare → prune → probe → decide → rewrite the files that
really change, or mark their rows → stage the new rows → what to commit. `rows.merge.decide` decides what becomes of a
row; `core.conflicts` what happens after a lost race.

Source: specs/4-semantics.md, "Upsert".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from txfiles.batch import Prepared, prepare
from txfiles.core import properties
from txfiles.core.manifest import Add, Metrics
from txfiles.core.plan import CommitPlan, KeysAbsent
from txfiles.merging import fates_of, shares
from txfiles.operations.context import PlanContext, commit_plan
from txfiles.operations.edits import Edit, carry_out, rewrite_one
from txfiles.options import Request
from txfiles.reading.key_finder import BatchKeys, Hits, Then, batch_keys, where_found
from txfiles.reading.live import LiveGroup
from txfiles.rows import partitions
from txfiles.rows.merge import Fates, needed


def upsert(ctx: PlanContext[Request]) -> CommitPlan:
    """Replace the rows with known keys if they differ, add the others.

    Cost: the key columns of the row groups whose key range contains a batch key, and of those that hold one the other
    columns until it is known which rows differ; only files in which a row really changes are rewritten, as a stream, or
    under merge-on-read none: then the rows that change are written, and a vector for each such file.
    """
    batch = prepare(ctx.request, ctx.table)
    keys = batch_keys(batch.table, batch.rows, batch.keys)
    early = Early(ctx, batch)
    at_once = ctx.session.is_parallel and not properties.marks_rows(batch.table.properties)
    decided = decide(ctx, batch, keys, then=early.rewrite_at_once if at_once else None)
    carried = carry_out(ctx, batch.table, decided.edits, early.valid(decided.hits))
    replaced = [] if carried.rows is None else [carried.rows]
    added = ctx.stage.rows(batch.table, pa.concat_tables([*replaced, decided.added]))
    return commit_plan(
        ctx,
        batch,
        decided.metrics,
        add=[*carried.add, *added],
        remove=carried.remove,
        mark=carried.mark,
        relies_on=where_found(decided.hits) | dict.fromkeys(carried.remove),
        checks=[KeysAbsent(keys)] if batch.rows.num_rows else (),
        scanned=decided.scanned,
        rewritten=carried.rewritten,
    )


@dataclass(frozen=True)
class Decided:
    """What an upsert changes, before anything is written.

    Attributes:
        edits: the changes file by file.
        added: rows for new files: those with unknown keys, and those whose partition value changed.
        metrics: the number of rows with each outcome.
        hits: where the keys were found.
        scanned: data files that were opened.
    """

    edits: list[Edit]
    added: pa.Table
    metrics: Metrics
    hits: list[Hits]
    scanned: int


def decide(ctx: PlanContext[Request], batch: Prepared, keys: BatchKeys, *, then: Then | None = None) -> Decided:
    """Find the batch's keys, and decide what becomes of each row. Cost: see `upsert`; nothing is written.

    Args:
        ctx: the pass.
        batch: its rows.
        keys: theirs.
        then: as in `reading.find`.
    """
    wanted = needed(batch.missing, batch.missing_fields, batch.table.timestamp_col)
    compared = batch.rows.drop_columns([*{*wanted, *batch.table.keys}])  # equal keys have equal values
    found = ctx.find(keys, ctx.files(batch.table), sorted(wanted), compared=compared, then=then)
    fates = fates_of(batch, found.hits, stale=ctx.request.stale)
    edits, moved = _edits(batch, found.hits, fates)
    metrics = Metrics(
        rows_inserted=len(fates.inserts),
        rows_updated=fates.updated,
        rows_unchanged=fates.unchanged,
        rows_stale=fates.stale,
        rows_deleted=len(fates.deletes),
    )
    added = pa.concat_tables([moved, batch.rows.take(pa.array(fates.inserts))])
    return Decided(edits, added, metrics, found.hits, found.scanned)


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
        self._drop([hits.file.path])
        mine = np.unique(hits.batch_rows)
        batch = replace(self._batch, rows=self._batch.rows.take(pa.array(mine)))
        own = [replace(hits, batch_rows=np.searchsorted(mine, hits.batch_rows))]
        edits, _ = _edits(batch, own, fates_of(batch, own, stale=self._ctx.request.stale))
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
        self._drop([path for path in self._written if path not in alone])
        return self._written

    def _drop(self, paths: Iterable[str]) -> None:
        dropped = [add.path for path in paths for add in self._written.pop(path, ())]
        if dropped:
            self._ctx.stage.drop(frozenset(dropped))


def _edits(batch: Prepared, hits: Sequence[Hits], fates: Fates) -> tuple[list[Edit], pa.Table]:
    """The changes file by file, and the rows that leave their file because their partition value changed."""
    stands = pa.table({"partition": pa.array([hit.file.partition for hit in hits], pa.list_(pa.string()))})
    spelled = partitions.of_files(batch.table, stands) if batch.table.partition_by else ()
    found, moved = shares(batch.table, fates, hits, spelled)
    return [Edit(hits[one.number].file, one.without, one.at, one.rows) for one in found], moved
