"""The operations as the driver sees them: functions from a snapshot to a plan, like the local ones, made of Spark jobs.

Source: specs/12-spark.md; specs/4-semantics.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import takewhile
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from txfiles.batch import Prepared, prepare
from txfiles.core import names
from txfiles.core.manifest import RunRef, TableMetadata
from txfiles.core.plan import Check, CommitPlan, KeysAbsent, NoneMatches, Partition, Replaces
from txfiles.errors import StoreError
from txfiles.log.commit import replaced_files
from txfiles.log.session import Session
from txfiles.operations.context import PlanContext, commit_plan
from txfiles.operations.overwrite import require_partitions
from txfiles.options import Request
from txfiles.reading import checks as local_checks
from txfiles.reading import scan
from txfiles.rows import filters, partitions, types
from txfiles.spark import staged, tasks
from txfiles.spark.frames import SparkSource, without_rows
from txfiles.spark.refusals import refuse_nulls, refuse_positions
from txfiles.spark.snapshots import with_files, without_history
from txfiles.spark.staged import Part
from txfiles.spark.tasks import Done, FileEdit, Work
from txfiles.writing.staging import Staging

logger = logging.getLogger("txfiles")

PART_ROWS_MOST = 1_000_000
"""Rows of a batch that a task holds in memory at a time."""

PART_ROWS_LEAST = 65_536
"""A smaller range of keys is not worth a task of its own."""

FILES_OF_A_TASK = 16
"""Data files that a task changes, one after the other or as many together as it has cores."""


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
        present = frozenset(add.partition for add in done.add)
        return call.replacing(done, Replaces(present), call.guard(present))
    return call.replacing(done, Replaces())


def _overwrite_matching(call: _Call) -> CommitPlan:
    where = call.where
    files = call.files
    may = files.filter(pa.array(scan.may_match(files, call.batch.table, where)))
    removed = call.over_files(tasks.remove_matching, may["path"].to_pylist())
    done = call.plan_parts() if call.ctx.request.keys else call.add_rows()
    guard = call.guard(frozenset()) if call.ctx.request.keys else ()
    return call.plan(removed + done, checks=[NoneMatches(where), *guard], empties=True)


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
        batch = prepare(ctx.request, ctx.table)
        writes = isinstance(ctx.stage, Staging)
        table_id = ctx.stage.table_id if isinstance(ctx.stage, Staging) else ctx.session.environment.new_id()[:16]
        base = None if ctx.base is None else without_history(ctx.base)
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
        found = self.source.over_rows(partial(tasks.add_rows, self.work, self.source.schema, self.source.fit))
        return self.adopted(found)

    def plan_parts(self) -> Done:
        """Do to each range of keys what the call asks for, but for changes of files."""
        if self.ctx.request.mode != "overwrite":
            return self.adopted(self.source.over_items(partial(tasks.plan_part, self.work), self.parts()))
        replaced = self._replaced()
        base = self.ctx.base
        if base is not None:
            stay = pa.array(~partitions.among(self.batch.table, self.files, replaced))
            base = with_files(base, base.files.filter(stay))
        work = replace(self.work, base=base)
        return self.adopted(self.source.over_items(partial(tasks.plan_part, work), self.parts()))

    def _replaced(self) -> frozenset[Partition]:
        """The partitions that an overwrite of partitions replaces: those that the frame has."""
        if self.ctx.request.scope != "partitions":
            return frozenset()
        names = list(self.batch.table.partition_by)
        schema = pa.schema([self.source.schema.field(name) for name in names])
        found = self.source.over_distinct(names, partial(tasks.partitions_of, self.work, schema))
        return frozenset(partition for some in found for partition in some)

    def parts(self) -> Sequence[Part]:
        """The frame's ranges of keys, staged by the first pass that asks for them."""
        memory = self.source.memory
        keys = self.batch.table.keys
        if memory.get("keys") != self._code():
            work = replace(self.work, base=None)
            found = self.source.over_rows(partial(tasks.stage_rows, work, self.source.schema, self.source.fit))
            blobs = [blob for one in found for blob in one.blobs]
            for key in keys:
                refuse_nulls(key, sum(one.nulls[key] for one in found))
            rows = sum(blob.rows for blob in blobs)
            each = min(PART_ROWS_MOST, max(PART_ROWS_LEAST, -(-rows // self.source.tasks)))
            memory.update(keys=self._code(), parts=staged.cut(blobs, each))
        return list(memory["parts"])

    def _code(self) -> Any:
        """What the staged rows are sorted by."""
        table = self.batch.table
        return [(column.name, column.type) for column in table.columns if column.name in table.keys], table.keys

    def carry_out(self, edits: Sequence[FileEdit]) -> Done:
        """Change data files, each once."""
        by_path: dict[str, list[FileEdit]] = {}
        for edit in edits:
            by_path.setdefault(edit.path, []).append(edit)
        groups = _groups(list(by_path.values()))
        return self.adopted(self.source.over_items(partial(tasks.carry_out, self.work), groups))

    def over_files(self, function: Callable[[Work, Sequence[str]], Done], paths: Sequence[str]) -> Done:
        """Do something to data files."""
        return self.adopted(self.source.over_items(partial(function, self.work), _groups(paths)))

    def guard(self, replaced: frozenset[Partition]) -> tuple[Check, ...]:
        """What must hold of files that others add, so that an overwrite of a part of the table keeps keys unique."""
        request, table = self.ctx.request, self.batch.table
        if not request.keys:
            return ()
        if self.ctx.table is None or self.ctx.table.keys == table.keys:
            return self.keys_absent(replaced)
        stay = self.files.filter(pa.array(~partitions.among(table, self.files, replaced)))
        self.source.over_items(partial(tasks.check_all_keys, self.work), [stay["path"].to_pylist()])
        return (NoneMatches(None, outside=replaced),)

    def keys_absent(self, outside: frozenset[Partition] = frozenset()) -> tuple[Check, ...]:
        """That others add no row with a key of the frame; nothing if it has none."""
        parts = self.parts()
        return (KeysAbsent(partial(self._is_key_in, parts), outside),) if parts else ()

    def _is_key_in(self, parts: Sequence[Part], files: pa.Table, runs: Sequence[RunRef]) -> bool:
        if not len(files):
            return False
        return any(self.source.over_items(partial(tasks.has_key_in, self.work, files, runs), list(parts)))

    def adopted(self, found: Sequence[Done]) -> Done:
        """What all tasks of a job have done, as this pass's own."""
        done = reduce(Done.__add__, found, Done())
        if isinstance(self.ctx.stage, Staging):
            vectors = {mark.vector.file for mark in done.mark}
            self.ctx.stage.adopt(self.batch.table, [add.path for add in done.add], vectors, done.runs)
        return done

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
    return {name: getattr(done.metrics, name) for name in tasks.COUNTS}


def _groups(items: Sequence[Any]) -> list[list[Any]]:
    """Some items for each task."""
    return [list(items[start : start + FILES_OF_A_TASK]) for start in range(0, len(items), FILES_OF_A_TASK)]


def _delete_staged(session: Session, prefix: str) -> None:
    """Delete what a call has staged, whichever attempt of a task did."""
    try:
        listed = (entry.name for entry in session.store.list_from(names.STAGED_DIR, after=prefix))
        session.store.delete_many(list(takewhile(lambda name: name.startswith(prefix), listed)))
    except StoreError as error:
        logger.warning("staged rows stay behind until a vacuum: %s", error)
