"""What the stories share: the frame of one pass, and how it becomes `CommitPlan`.

A story is a function of a snapshot and a stage: it reads, decides, writes files through the stage and
returns what to commit. It has no loop and no memory; after a lost race it is simply called again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from txfiles.batch import Prepared
from txfiles.core import replay
from txfiles.core.conflicts import ReadSet
from txfiles.core.manifest import Add, Metrics, TableMetadata
from txfiles.log.commit import CommitPlan
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.options import Progress, Request
from txfiles.rows import filelist
from txfiles.rows.filelist import DataFile
from txfiles.writing.staging import Stage


@dataclass(frozen=True)
class PlanContext:
    """One pass through a story: where, what was asked for, on which version, and how to write."""

    session: Session
    request: Request
    base: Snapshot | None
    stage: Stage

    @property
    def table(self) -> TableMetadata | None:
        """What the table is; None where it is to be created."""
        return self.base.state.table if self.base else None

    def files(self, table: TableMetadata) -> pa.Table:
        """The live files, listed for the table that this write leads to."""
        if self.base is None:
            return filelist.empty(table.columns)
        same_keys = replay.same_key_codes(self.base.state.table, table)
        return filelist.conform(self.base.files, table.columns, same_keys=same_keys)

    def progress(self, stage: str, total: int) -> Callable[[int], None]:
        """A callback that tells the caller how many of `total` are done."""
        return lambda done: self.request.progress(Progress(stage, done, total))


@dataclass(frozen=True)
class Found:
    """What a story found out and wrote; `work` makes the `CommitPlan` of it."""

    prepared: Prepared
    add: Sequence[Add] = ()
    remove: Sequence[str] = ()
    relies_on: Sequence[str] = ()
    scanned: int = 0
    rewritten: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    stale: int = 0
    deleted: int = 0


def work(
    ctx: PlanContext,
    found: Found,
    *,
    kind: str,
    touches_keys: Callable[[pa.Table], bool] = lambda _: True,
    in_part: Callable[[Add], bool] = lambda _: True,
    keyed: bool = False,
    derive: Callable[[Snapshot], CommitPlan] | None = None,
    empties: bool = False,
) -> CommitPlan:
    """Turn findings into what is to be committed, or into nothing.

    Args:
        ctx: the pass.
        found: what it came to.
        kind: of `core.conflicts.MINE`.
        touches_keys: asked for the outcome PROBE.
        in_part: of an overwrite of a part.
        keyed: whether keys must not be in files that others add.
        derive: asked for the outcome DERIVE.
        empties: whether the commit counts even where it changes no row (an overwrite).
    """
    prepared, current = found.prepared, ctx.table
    changes_rows = bool(found.add or found.remove)
    creates = current is None
    commits = changes_rows or creates or empties or prepared.schema_changed or ctx.request.batch_id is not None
    # Keys and a timestamp column are recorded by a write that commits; recording them alone commits nothing.
    changes_table = commits and prepared.table != current
    files = 0 if ctx.base is None else ctx.base.file_count
    return CommitPlan(
        base=ctx.base,
        table=prepared.table,
        changes_table=changes_table,
        metrics=Metrics(
            rows_in=prepared.rows_in,
            rows_inserted=found.inserted,
            rows_updated=found.updated,
            rows_unchanged=found.unchanged,
            rows_skipped=found.skipped,
            rows_stale=found.stale,
            rows_deduplicated=prepared.rows_deduplicated,
            rows_deleted=found.deleted,
            files_added=len(found.add),
            files_removed=len(found.remove),
            bytes_written=sum(add.bytes for add in found.add),
        ),
        read_set=ReadSet(
            kind=kind if changes_rows or empties or prepared.schema_changed else "batch id",
            table=current,
            relies_on=frozenset(found.relies_on),
            staged=frozenset(add.path for add in found.add),
            changes_table=changes_table,
            batch_id=ctx.request.batch_id,
            in_part=in_part,
            keyed=keyed,
        ),
        add=tuple(found.add),
        remove=tuple(found.remove),
        files_scanned=found.scanned,
        files_pruned=files - found.scanned,
        files_rewritten=found.rewritten,
        nothing=not commits,
        touches_keys=touches_keys,
        derive=derive,
        inferred=prepared.inferred,
        notes=prepared.notes,
    )


def chosen(files: pa.Table, positions: Sequence[int] | np.ndarray) -> list[DataFile]:
    """Some rows of the file list, as values."""
    return filelist.data_files(files, positions)
