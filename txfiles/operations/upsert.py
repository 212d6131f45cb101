"""`upsert`: rows whose key is in the table replace that row, the others are added.

The flow of one upsert is the body of `upsert`: snapshot → prepare → prune → probe → decide → rewrite the
files that really change → stage the new rows → what to commit. What becomes of a row is decided by
`rows.merge.decide`; what happens after a lost race by `core.conflicts`.

Source: specs/4-semantics.md, "Upsert".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from txfiles.batch import Prepared, prepare
from txfiles.core.manifest import Add
from txfiles.log.commit import CommitPlan
from txfiles.operations.context import Found, PlanContext, chosen, work
from txfiles.reading.key_finder import Hits, batch_keys, candidates, probe
from txfiles.reading.live import groups, live_rows
from txfiles.rows.filelist import DataFile
from txfiles.rows.merge import Fates, decide, replace_rows
from txfiles.writing.staging import partition_text


def upsert(ctx: PlanContext) -> CommitPlan:
    """Replace the rows of known keys where they differ, add the others.

    Cost: key columns of the row groups in whose range a batch key lies, all columns of those that hold one;
    only files in which a row really changes are rewritten, streamed.
    """
    batch = prepare(ctx.request, ctx.table)
    files = ctx.files(batch.table)
    keys = batch_keys(batch.table, batch.rows, batch.keys)
    looked_in = chosen(files, candidates(keys, files))
    hits = probe(
        ctx.session, keys, looked_in, batch.rows.column_names, ctx.progress("looking for keys", len(looked_in))
    )
    fates = _decide(ctx, batch, hits)
    edits, moved = _edits(batch, hits, fates)
    rewritten = _rewrite(ctx, batch, edits)
    added = ctx.stage.rows(batch.table, pa.concat_tables([moved, batch.rows.take(pa.array(fates.inserts))]))

    def touches_keys(others: pa.Table) -> bool:
        """Whether files that others added since hold any key of the batch."""
        return bool(probe(ctx.session, keys, chosen(others, candidates(keys, others)), ()))

    return work(
        ctx,
        Found(
            batch,
            add=[*rewritten, *added],
            remove=[edit.file.path for edit in edits],
            relies_on=[hit.file.path for hit in hits],
            scanned=len(looked_in),
            rewritten=len(edits),
            inserted=len(fates.inserts),
            updated=fates.updated,
            unchanged=fates.unchanged,
            stale=fates.stale,
            deleted=len(fates.deletes),
        ),
        kind="upsert",
        touches_keys=touches_keys,
    )


@dataclass(frozen=True)
class Edit:
    """What changes in one file: `rows` take the places `at` (ascending), the rows at `without` go."""

    file: DataFile
    at: np.ndarray
    rows: pa.Table
    without: np.ndarray


def _decide(ctx: PlanContext, batch: Prepared, hits: Sequence[Hits]) -> Fates:
    stored = pa.concat_tables([hit.stored for hit in hits]) if hits else batch.rows.slice(0, 0)
    hit_rows = np.concatenate([hit.batch_rows for hit in hits]) if hits else np.empty(0, np.int64)
    return decide(
        batch.rows,
        hit_rows,
        stored,
        missing=batch.missing,
        missing_fields=batch.missing_fields,
        timestamp_col=batch.table.timestamp_col,
        skip_stale=ctx.request.stale == "skip",
    )


def _edits(batch: Prepared, hits: Sequence[Hits], fates: Fates) -> tuple[list[Edit], pa.Table]:
    """The changes file by file, and the rows that leave their file because their partition value changed."""
    counts = [len(hit.positions) for hit in hits]
    file_of = np.repeat(np.arange(len(hits)), counts)
    position_of = np.concatenate([hit.positions for hit in hits]) if hits else np.empty(0, np.int64)
    moves = _moves(batch, hits, fates, file_of)
    stay = np.flatnonzero(~moves)
    edits = []
    for number, hit in enumerate(hits):
        mine = stay[file_of[fates.replaces[stay]] == number]
        mine = mine[np.argsort(position_of[fates.replaces[mine]], kind="stable")]
        leaving = np.concatenate([fates.deletes, fates.replaces[moves]])
        without = np.sort(position_of[leaving[file_of[leaving] == number]])
        if len(mine) or len(without):
            rows = fates.merged.take(pa.array(mine))
            edits.append(Edit(hit.file, position_of[fates.replaces[mine]], rows, without))
    return edits, fates.merged.filter(pa.array(moves))


def _moves(batch: Prepared, hits: Sequence[Hits], fates: Fates, file_of: np.ndarray) -> np.ndarray:
    """Which replaced rows belong into another partition than their file's."""
    moves = np.zeros(len(fates.replaces), bool)
    for number, column in enumerate(batch.table.partition_by):
        text = partition_text(fates.merged, column).to_numpy(zero_copy_only=False)
        stands = np.array([hit.file.partition[number] for hit in hits], object)[file_of[fates.replaces]]
        moves |= text != stands
    return moves


def _rewrite(ctx: PlanContext, batch: Prepared, edits: Sequence[Edit]) -> list[Add]:
    """Write the changed files anew, several at a time."""

    def one(edit: Edit) -> list[Add]:
        pieces = _edited(ctx, batch, edit)
        if len(edit.without) == live_rows(edit.file):
            return []
        return ctx.stage.file(batch.table, edit.file.partition, pieces, like_bytes=edit.file.bytes)

    done = ctx.progress("rewriting files", len(edits))
    adds: list[Add] = []
    for number, written in enumerate(ctx.session.environment.map(one, edits), 1):
        adds += written
        done(number)
    return adds


def _edited(ctx: PlanContext, batch: Prepared, edit: Edit) -> Iterator[pa.Table]:
    """The file's rows after the edit, group by group."""
    for group in groups(ctx.session.store, batch.table, edit.file):
        mine, places = group.locate(edit.at)
        _, gone = group.locate(edit.without)
        yield replace_rows(group.read(batch.rows.column_names), places, edit.rows[mine], gone)
