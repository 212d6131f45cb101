"""What the operations share: the context of one pass, and how its findings become a `CommitPlan`.

An operation is a function of a snapshot and a stage: it reads, decides, writes files through the stage and returns
what to commit. It has no loop and no state; after a lost race it is simply called again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import pyarrow as pa
from msgspec.structs import replace

from txfiles.batch import Prepared
from txfiles.core.manifest import DELETION_VECTORS, Add, Mark, Metrics, TableMetadata
from txfiles.core.plan import Check, CommitPlan, Looked, ReadSet, Replaces, vector_paths
from txfiles.log import index
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.options import Asked, Progress
from txfiles.reading.find import Found, find
from txfiles.reading.key_finder import BatchKeys, Then
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

    def find(
        self,
        keys: BatchKeys,
        files: pa.Table,
        columns: Sequence[str] = (),
        *,
        compared: pa.Table | None = None,
        verifies: bool = False,
        then: Then | None = None,
    ) -> Found:
        """Look keys up in some of the live files. See `reading.find`."""
        progress = partial(self.progress, "looking for keys")
        runs = index.usable(self.session, self.base.state if self.base else None, keys.table)
        return find(
            self.session,
            keys,
            files,
            columns,
            compared=compared,
            runs=runs,
            verifies=verifies,
            then=then,
            progress=progress,
        )

    def progress(self, stage: str, total: int) -> Callable[[int], None]:
        """A callback that tells the caller how many of `total` are done."""
        return lambda done: self.request.progress(Progress(stage, done, total))


AnyContext = PlanContext[Any]


def with_feature(table: TableMetadata, feature: str) -> TableMetadata:
    """The table with a required feature more, unless it has it: readers and writers must know it from then on."""
    if feature in table.required_features:
        return table
    return replace(table, required_features=(*table.required_features, feature))


def commit_plan(
    ctx: AnyContext,
    batch: Prepared,
    fates: Metrics,
    *,
    add: Sequence[Add] = (),
    remove: Sequence[str] = (),
    mark: Sequence[Mark] = (),
    relies_on: Mapping[str, Any] | None = None,
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
        mark: new vectors of files.
        relies_on: as in `ReadSet`.
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
        bool(add or remove or mark)
        or current is None
        or empties
        or batch.schema_changed
        or records
        or ctx.request.batch_id is not None
    )
    table = with_feature(batch.table, DELETION_VECTORS) if mark else batch.table
    changes_table = commits and table != current
    return CommitPlan(
        table=table,
        read_set=ReadSet(
            table=current,
            relies_on=relies_on or {},
            checks=tuple(checks),
            staged=frozenset(found.path for found in add) | vector_paths(mark),
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
        mark=tuple(mark),
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
