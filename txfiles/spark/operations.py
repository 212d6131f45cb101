"""The operations as the driver sees them: functions from a snapshot to a plan, like the local ones, made of Spark jobs.

Source: specs/12-spark.md; specs/4-semantics.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from txfiles.batch import Prepared, prepare
from txfiles.core import names
from txfiles.core.manifest import RunRef, TableMetadata
from txfiles.core.plan import Check, CommitPlan, KeysAbsent, NoneMatches, Partition, Replaces
from txfiles.errors import StoreError
from txfiles.log import index
from txfiles.log.commit import replaced_files
from txfiles.log.session import Session
from txfiles.operations.context import PlanContext, commit_plan
from txfiles.operations.overwrite import require_partitions
from txfiles.options import Request
from txfiles.reading import checks as local_checks
from txfiles.reading import scan
from txfiles.rows import filelist, filters, partitions, types
from txfiles.spark import staged, tasks
from txfiles.spark.frames import SparkSource, without_rows
from txfiles.spark.refusals import refuse_lock_objects, refuse_nulls, refuse_positions
from txfiles.spark.snapshots import with_files, without_history
from txfiles.spark.staged import Blob, Part
from txfiles.spark.work import COUNTS, Done, FileEdit, Work, sorted_by, together
from txfiles.writing.staging import Staging

logger = logging.getLogger("txfiles")

PART_ROWS_MOST = 1_000_000
"""Rows of a batch that a task holds in memory at a time."""

PART_ROWS_LEAST = 65_536
"""A smaller range of keys is not worth a task of its own."""

NEIGHBOURS = 2
"""Files that a range of keys searches though others do: those that its ends lie in."""

FILES_OF_A_TASK = 16
"""Data files that a task changes, one after the other or as many together as it has cores."""

EDITS_OF_A_TASK_BYTES = 32 * 1024 * 1024
"""Of compressed rows that replace others: fewer files then, but for one that alone has more."""


def append(ctx: PlanContext[Request]) -> CommitPlan:
    """Add every row of the frame. Cost: one job that computes the frame and writes its rows."""
    call = _Call.of(ctx)
    done = call.add_rows()
    return call.plan(done)


def append_once(ctx: PlanContext[Request]) -> CommitPlan:
    """Add the rows with unknown keys.

    Cost: a job that stages the frame, once a call; a job over its ranges of keys, as the local operation for each.
    """
    call = _Call.of(ctx)
    done = call.plan_parts()
    return call.plan(done, checks=call.keys_absent())


def upsert(ctx: PlanContext[Request]) -> CommitPlan:
    """Replace the rows with known keys if they differ, add the others.

    Cost: as `append_once`; then a job over the data files that change.
    """
    call = _Call.of(ctx)
    done = call.plan_parts()
    return call.plan(done + call.carry_out(done.edits), checks=call.keys_absent())


def overwrite(ctx: PlanContext[Request]) -> CommitPlan:
    """Replace what `request.scope` says with the frame.

    Cost: as `append`, or with keys as `append_once`; a filter: a job over the files that may match it.
    """
    call = _Call.of(ctx)
    scope = ctx.request.scope
    if scope == "partitions":
        require_partitions(call.batch.table)
    if scope == "filter":
        return _overwrite_matching(call)
    done = call.plan_parts() if ctx.request.keys else call.add_rows()
    if scope == "partitions":
        present = call.present(done)
        return call.replacing(done, Replaces(present), call.guard(present))
    return call.replacing(done, Replaces())


def _overwrite_matching(call: _Call) -> CommitPlan:
    where = call.where
    files = call.files
    may = files.filter(pa.array(scan.may_match(files, call.batch.table, where)))
    removed = call.over_files(tasks.remove_matching, may["path"].to_pylist())
    done = call.plan_parts() if call.ctx.request.keys else call.add_rows()
    guard = call.guard(frozenset()) if call.ctx.request.keys else ()
    changes = bool(done.rows_in or removed.remove or removed.mark)
    return call.plan(removed + done, checks=[NoneMatches(where), *guard], empties=changes)


OPERATIONS: Mapping[str, Callable[[PlanContext[Request]], CommitPlan]] = MappingProxyType(
    {"append": append, "append_once": append_once, "upsert": upsert, "overwrite": overwrite}
)
"""By mode."""


@dataclass(frozen=True)
class _Call:
    """One pass of a call on the driver.

    Attributes:
        ctx: the pass.
        source: the frame.
        batch: what is known of it without its rows.
        work: what the tasks are told.
    """

    ctx: PlanContext[Request]
    source: SparkSource
    batch: Prepared
    work: Work

    @classmethod
    def of(cls, ctx: PlanContext[Request]) -> _Call:
        """Refuse what a frame cannot do, and find out what the table will be."""
        source = ctx.request.source
        assert isinstance(source, SparkSource)
        refuse_positions(ctx.request)
        refuse_lock_objects(ctx.request)
        batch = prepare(ctx.request, ctx.table)
        writes = isinstance(ctx.stage, Staging)
        if isinstance(ctx.stage, Staging):
            table_id = ctx.stage.table_id
        else:
            table_id = ctx.base.state.table_id if ctx.base else ctx.session.environment.new_id()[:16]
        # Most tasks need to know the table and not its files, whose list may be long and not even read yet.
        base = None if ctx.base is None else with_files(ctx.base, filelist.empty(ctx.base.state.table.columns))
        told = without_rows(ctx.request)
        staged_in = source.memory.get("staged in")
        if staged_in is None:
            staged_in = table_id, ctx.session.environment.new_id()
            source.memory["staged in"] = staged_in
            if ctx.request.checks_keys:
                source.at_end(partial(_delete_staged, ctx.session, names.staged(*staged_in)))
        work = Work(ctx.session.store.root, told, base, table_id, staged_in, batch.table, only_estimates=not writes)
        return cls(ctx, source, batch, work)

    @property
    def work_on_files(self) -> Work:
        """The work for tasks that look into the table's files."""
        return replace(self.work, base=None if self.ctx.base is None else without_history(self.ctx.base))

    @property
    def files(self) -> pa.Table:
        """The live files, as the table will see them."""
        return self.ctx.files(self.batch.table)

    @property
    def where(self) -> filters.Filter:
        """The rows that the call replaces."""
        where = filters.parse(self.ctx.request.replace_where, types.arrow_schema(self.batch.table.columns))
        assert where is not None
        return where

    def add_rows(self) -> Done:
        """Write the rows as they come."""
        task = partial(tasks.add_rows, self.work, self.source.schema, self.source.fit)
        return together(self.source.over_rows(task, self.adopt))

    def plan_parts(self) -> Done:
        """Do to each range of keys what the call asks for, but for changes of files."""
        parts, base = self.parts(), self.ctx.base
        work = self.work_on_files
        if self.ctx.request.scope == "partitions" and base is not None:
            stay = pa.array(~partitions.among(self.batch.table, self.files, self.source.memory["partitions"]))
            work = replace(work, base=with_files(base, base.files.filter(stay)))
        return together(self.source.over_items(partial(tasks.plan_part, work), parts, self.adopt))

    def present(self, done: Done) -> frozenset[Partition]:
        """The partitions that the frame has; with keys, also those of rows that were dropped as duplicates."""
        if self.ctx.request.keys:
            return frozenset(self.source.memory["partitions"])
        return frozenset(add.partition for add in done.add)

    def parts(self) -> Sequence[Part]:
        """The frame's ranges of keys, staged by the first pass that asks for them."""
        memory = self.source.memory
        keys = self.batch.table.keys
        if memory.get("sorted by") != sorted_by(self.batch.table):
            work = replace(self.work, base=None)
            task = partial(tasks.stage_rows, work, self.source.schema, self.source.fit)
            found = self.source.over_rows(task, _nothing)
            blobs = [blob for one in found for blob in one.blobs]
            for key in keys:
                refuse_nulls(key, sum(one.nulls[key] for one in found))
            rows = sum(blob.rows for blob in blobs)
            each = min(PART_ROWS_MOST, max(PART_ROWS_LEAST, -(-rows // self.source.tasks)))
            memory["parts"] = self._cut(blobs, each)
            memory["partitions"] = frozenset(partition for one in found for partition in one.partitions)
            memory["sorted by"] = sorted_by(self.batch.table)
        return list(memory["parts"])

    def _cut(self, blobs: Sequence[Blob], each: int) -> Sequence[Part]:
        """Ranges of about so many keys, or larger ones if each of them would search the same files again."""
        found, most = staged.cut(blobs, each), staged.cut(blobs, PART_ROWS_MOST)
        state = self.ctx.base.state if self.ctx.base else None
        has_index = index.same_keys(self.batch.table, index.usable(self.ctx.session, state, self.batch.table))
        again = staged.searches(found, self.files) - staged.searches(most, self.files)
        return found if has_index or again <= NEIGHBOURS * len(found) else most

    def carry_out(self, edits: Sequence[FileEdit]) -> Done:
        """Change data files, each once."""
        by_path: dict[str, list[FileEdit]] = {}
        for edit in edits:
            by_path.setdefault(edit.path, []).append(edit)
        sizes = [sum(edit.rows.bytes for edit in of_file) for of_file in by_path.values()]
        groups = _groups(list(by_path.values()), sizes)
        return together(self.source.over_items(partial(tasks.carry_out, self.work_on_files), groups, self.adopt))

    def over_files(self, function: Callable[[Work, Sequence[str]], Done], paths: Sequence[str]) -> Done:
        """Do something to data files."""
        groups = _groups(paths, [0] * len(paths))
        return together(self.source.over_items(partial(function, self.work_on_files), groups, self.adopt))

    def guard(self, replaced: frozenset[Partition]) -> tuple[Check, ...]:
        """What must hold of files that others add, so that an overwrite of a part of the table keeps keys unique."""
        request, table = self.ctx.request, self.batch.table
        if not request.keys:
            return ()
        if self.ctx.table is None or self.ctx.table.keys == table.keys:
            return self.keys_absent(replaced)
        stay = self.files.filter(pa.array(~partitions.among(table, self.files, replaced)))
        self.source.over_items(partial(tasks.check_all_keys, self.work_on_files), [stay["path"].to_pylist()], _nothing)
        return (NoneMatches(None, outside=replaced),)

    def keys_absent(self, outside: frozenset[Partition] = frozenset()) -> tuple[Check, ...]:
        """That others add no row with a key of the frame; nothing if it has none."""
        parts = self.parts()
        return (KeysAbsent(partial(self._is_key_in, parts), outside),) if parts else ()

    def _is_key_in(self, parts: Sequence[Part], files: pa.Table, runs: Sequence[RunRef]) -> bool:
        if not len(files):
            return False
        return any(self.source.over_items(partial(tasks.has_key_in, self.work, files, runs), list(parts), _nothing))

    def adopt(self, done: Done) -> None:
        """Take what a task has written as this pass's own, which it deletes if it does not end in a commit."""
        if isinstance(self.ctx.stage, Staging):
            vectors = {mark.vector.file for mark in done.mark}
            self.ctx.stage.adopt(self.batch.table, [add.path for add in done.add], vectors, done.runs)

    def replacing(self, done: Done, replaces: Replaces, guard: Sequence[Check] = ()) -> CommitPlan:
        """The plan that puts rows in the place of others, whatever those are when it is committed."""
        removed, deleted = replaced_files(replaces, self.batch.table, self.ctx.base)
        metrics = {**_counts(done), "rows_deleted": deleted}
        counted = replace(done, metrics=type(done.metrics)(**metrics), remove=removed)
        return self.plan(counted, checks=guard, replaces=replaces, empties=bool(done.rows_in or removed))

    def plan(
        self,
        done: Done,
        *,
        checks: Sequence[Check] = (),
        replaces: Replaces | None = None,
        empties: bool = False,
    ) -> CommitPlan:
        """What is to be committed."""
        batch = replace(self.batch, rows_in=done.rows_in, rows_deduplicated=done.rows_deduplicated)
        return commit_plan(
            self.ctx,
            batch,
            done.metrics,
            add=done.add,
            remove=done.remove,
            mark=done.mark,
            relies_on=dict.fromkeys(done.relies_on | set(done.remove if replaces is None else ())),
            checks=checks,
            replaces=replaces,
            scanned=min(done.scanned, self.ctx.base.file_count if self.ctx.base else 0),
            rewritten=done.rewritten,
            empties=empties,
        )


def work_of(ctx: PlanContext[Request]) -> Work:
    """What tasks are told that write rows before the pass that commits them. Raises as that pass would."""
    return _Call.of(ctx).work


def holds(session: Session, table: TableMetadata, check: Check, fresh: pa.Table, runs: Sequence[RunRef]) -> bool:
    """As `reading.checks.holds`; keys that are on executors are looked up there."""
    if not isinstance(check, KeysAbsent):
        return local_checks.holds(session, table, check, fresh, runs)
    if check.outside:
        fresh = fresh.filter(pa.array(~partitions.among(table, fresh, check.outside), pa.bool_()))
    return not check.keys(fresh, runs)


def _counts(done: Done) -> dict[str, int]:
    return {name: getattr(done.metrics, name) for name in COUNTS}


def _nothing(_: object) -> None:
    """A task of which only the answer counts has nothing that would have to be taken over."""


def _groups(files: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    """Some files for each task, which has about so many bytes for them in memory."""
    found: list[list[Any]] = []
    size = 0
    for file, own in zip(files, sizes, strict=True):
        if not found or len(found[-1]) == FILES_OF_A_TASK or size + own > EDITS_OF_A_TASK_BYTES:
            found.append([])
            size = 0
        found[-1].append(file)
        size += own
    return found


def _delete_staged(session: Session, prefix: str) -> None:
    """Delete what a call has staged, whichever attempt of a task did."""
    try:
        listed = (entry.name for entry in session.store.list_from(names.STAGED_DIR, after=prefix))
        session.store.delete_many(list(takewhile(lambda name: name.startswith(prefix), listed)))
    except StoreError as error:
        logger.warning("staged rows stay behind until a vacuum: %s", error)
