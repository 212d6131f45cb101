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

from txfiles.core.manifest import Add
from txfiles.rows.filelist import DataFile
from txfiles.rows.merge import Fates, decide, replace_rows
from txfiles.txn.commit import Work
from txfiles.txn.live import groups
from txfiles.txn.prepare import Prepared, prepare
from txfiles.txn.probe import Hits, candidates, needle, probe
from txfiles.txn.staging import partition_text
from txfiles.txn.story import Found, Pass, chosen, work


def upsert(here: Pass) -> Work:
    """Replace the rows of known keys where they differ, add the others.

    Cost: key columns of the row groups in whose range a batch key lies, all columns of those that hold one;
    only files in which a row really changes are rewritten, streamed.
    """
    batch = prepare(here.request, here.table)
    files = here.files(batch.table)
    keys = needle(batch.table, batch.rows, batch.keys)
    looked_in = chosen(files, candidates(keys, files))
    hits = probe(
        here.session, keys, looked_in, batch.rows.column_names, here.progress("looking for keys", len(looked_in))
    )
    fates = _decide(here, batch, hits)
    edits, moved = _edits(batch, hits, fates)
    rewritten = _rewrite(here, batch, edits)
    added = here.stage.rows(batch.table, pa.concat_tables([moved, batch.rows.take(pa.array(fates.inserts))]))

    def meets(others: pa.Table) -> bool:
        """Whether files that others added since hold any key of the batch."""
        return bool(probe(here.session, keys, chosen(others, candidates(keys, others)), ()))

    return work(
        here,
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
        meets=meets,
    )


@dataclass(frozen=True)
class Edit:
    """What changes in one file: `rows` take the places `at` (ascending), the rows at `without` go."""

    file: DataFile
    at: np.ndarray
    rows: pa.Table
    without: np.ndarray


def _decide(here: Pass, batch: Prepared, hits: Sequence[Hits]) -> Fates:
    stored = pa.concat_tables([hit.stored for hit in hits]) if hits else batch.rows.slice(0, 0)
    hit_rows = np.concatenate([hit.batch_rows for hit in hits]) if hits else np.empty(0, np.int64)
    return decide(
        batch.rows,
        hit_rows,
        stored,
        missing=batch.missing,
        timestamp_col=batch.table.timestamp_col,
        skip_stale=here.request.stale == "skip",
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


def _rewrite(here: Pass, batch: Prepared, edits: Sequence[Edit]) -> list[Add]:
    """Write the changed files anew, several at a time."""

    def one(edit: Edit) -> list[Add]:
        pieces = _edited(here, batch, edit)
        if len(edit.without) == edit.file.rows:
            return []
        return here.stage.file(batch.table, edit.file.partition, pieces, like_bytes=edit.file.bytes)

    done = here.progress("rewriting files", len(edits))
    adds: list[Add] = []
    for number, written in enumerate(here.session.environment.map(one, edits), 1):
        adds += written
        done(number)
    return adds


def _edited(here: Pass, batch: Prepared, edit: Edit) -> Iterator[pa.Table]:
    """The file's rows after the edit, group by group."""
    for group in groups(here.session.store, batch.table, edit.file):
        end = group.first_row + group.rows
        first, last = np.searchsorted(edit.at, [group.first_row, end])
        gone_first, gone_last = np.searchsorted(edit.without, [group.first_row, end])
        yield replace_rows(
            group.read(batch.rows.column_names),
            edit.at[first:last] - group.first_row,
            edit.rows.slice(first, last - first),
            edit.without[gone_first:gone_last] - group.first_row,
        )
