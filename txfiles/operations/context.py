"""What the operations share: the context of one pass, and how its findings become a `CommitPlan`.

An operation is a function of a snapshot and a stage: it reads, decides, writes files through the stage and returns
what to commit. It has no loop and no state; after a lost race it is simply called again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa
from msgspec.structs import replace

from txfiles.batch import Prepared
from txfiles.core.manifest import Add, Metrics, TableMetadata
from txfiles.core.plan import Check, CommitPlan, Looked, ReadSet, Replaces
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.options import Asked, Progress
from txfiles.rows import filelist
from txfiles.writing.staging import Stage

Wanted = TypeVar("Wanted", bound=Asked)


@dataclass(frozen=True)
class PlanContext(Generic[Wanted]):
    """One pass of an operation: the table, the request, the base version, and how to write."""

    session: Session
    request: Wanted
    base: Snapshot | None
    stage: Stage

    @property
    def table(self) -> TableMetadata | None:
        """The table's metadata; None if it is to be created."""
        return self.base.state.table if self.base else None

    def files(self, table: TableMetadata) -> pa.Table:
        """The live files, listed for the table as it will be after this write."""
        if self.base is None:
            return filelist.empty(table.columns)
        return filelist.follow(self.base.files, self.base.state.table, table)

    def progress(self, stage: str, total: int) -> Callable[[int], None]:
        """A callback that tells the caller how many of `total` are done."""
        return lambda done: self.request.progress(Progress(stage, done, total))


AnyContext = PlanContext[Any]


def commit_plan(
    ctx: AnyContext,
    batch: Prepared,
    fates: Metrics,
    *,
    add: Sequence[Add] = (),
    remove: Sequence[str] = (),
    relies_on: Sequence[str] = (),
    checks: Sequence[Check] = (),
    replaces: Replaces | None = None,
    scanned: int = 0,
    rewritten: int = 0,
    empties: bool = False,
) -> CommitPlan:
    """Turn findings into what is to be committed, or into nothing.

    Args:
        ctx: the pass.
        batch: what was written; a delete brings no rows.
        fates: the number of rows with each outcome; the counts of the batch and of files are filled in here.
        add: files to add.
        remove: paths of files to remove.
        relies_on: paths of files in which a row was found, or which are rewritten.
        checks: what must hold for files that others add.
        replaces: set for an overwrite that removes whatever is there.
        scanned: data files that were opened.
        rewritten: files whose remaining rows are written to a new file.
        empties: whether the commit counts even if it changes no row (an overwrite).
    """
    current = ctx.table
    # An empty batch says nothing about the table, so it does not record keys either.
    records = batch.rows_in > 0 and batch.table != current
    commits = (
        bool(add or remove)
        or current is None
        or empties
        or batch.schema_changed
        or records
        or ctx.request.batch_id is not None
    )
    changes_table = commits and batch.table != current
    return CommitPlan(
        table=batch.table,
        read_set=ReadSet(
            table=current,
            relies_on=frozenset(relies_on),
            checks=tuple(checks),
            staged=frozenset(found.path for found in add),
            changes_table=changes_table,
            batch_id=ctx.request.batch_id,
        ),
        metrics=replace(
            fates,
            rows_in=batch.rows_in,
            rows_deduplicated=batch.rows_deduplicated,
            files_added=len(add),
            files_removed=len(remove),
            bytes_written=sum(found.bytes for found in add),
        ),
        add=tuple(add),
        remove=tuple(remove),
        replaces=replaces,
        nothing=not commits,
        looked=Looked(
            scanned=scanned,
            pruned=(ctx.base.file_count if ctx.base else 0) - scanned,
            rewritten=rewritten,
            inferred=batch.inferred,
            notes=batch.notes,
        ),
    )
