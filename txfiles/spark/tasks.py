"""What Spark's executors do for a call: each function here is the body of a task, and returns what the driver needs.

A task opens the table's store itself, works on the version that the driver gave it, and runs the code of the local
operations on its share. Its files have names of its own, so an attempt that fails, or that Spark runs twice, disturbs
nobody: what it wrote is deleted if it ends in an error, and is an orphan for a vacuum if it is killed.

Source: specs/12-spark.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.batch import Prepared, inferred_rules, prepare
from txfiles.core import names
from txfiles.core.manifest import Metrics, RunRef, TableMetadata
from txfiles.core.plan import Partition
from txfiles.errors import DuplicateKeyError
from txfiles.log.session import Session
from txfiles.operations import edits as local_edits
from txfiles.operations.append_once import append_once
from txfiles.operations.context import PlanContext
from txfiles.operations.edits import Edit
from txfiles.operations.overwrite import check_whole
from txfiles.operations.upsert import decide
from txfiles.options import Request
from txfiles.reading import scan
from txfiles.reading.find import find
from txfiles.reading.key_finder import batch_keys
from txfiles.rows import dedup, filelist, filters, schema, types
from txfiles.rows import keys as key_codec
from txfiles.rows.filelist import DataFile
from txfiles.rows.uniqueness import refuse_standing
from txfiles.spark import staged
from txfiles.spark.frames import Fit, Rows, chunks
from txfiles.spark.order import ordered_ties
from txfiles.spark.refusals import several_rows
from txfiles.spark.staged import Blob, Part, PieceWriter
from txfiles.spark.work import Done, FileEdit, Staged, Work
from txfiles.writing.staging import Staging, split

CHUNK_BYTES = 128 * 1024 * 1024
"""Rows of one of Spark's partitions in memory at a time."""

AT = "\0at"
"""The column of an edit's rows that says which row of the file each of them replaces."""


def _done(stage: Staging | None, batch: Prepared | None = None, **found: Any) -> Done:
    runs = stage.runs.finished() if stage is not None else ()
    rows_in = batch.rows_in if batch else 0
    return Done(rows_in=rows_in, rows_deduplicated=batch.rows_deduplicated if batch else 0, runs=runs, **found)


# ---- the rows of the frame


def add_rows(work: Work, source: pa.Schema, fit: Fit, batches: Iterator[pa.RecordBatch]) -> Done:
    """Write the rows of one of Spark's partitions into new files."""
    total = Done()
    where = _where(work.request, work.table)
    with work.passing(source.empty_table()) as (ctx, stage):
        for chunk in chunks(batches, source, fit, CHUNK_BYTES):
            batch = prepare(replace(ctx.request, source=Rows(chunk)), ctx.table)
            if where is not None:
                scan.refuse_rows_outside(batch.rows, where)
            metrics = Metrics(rows_inserted=batch.rows.num_rows)
            added = ctx.stage.rows(batch.table, batch.rows)
            total += Done(metrics=metrics, rows_in=batch.rows_in, add=tuple(added))
        return total + _done(stage)


def stage_rows(work: Work, source: pa.Schema, fit: Fit, batches: Iterator[pa.RecordBatch]) -> Staged:
    """Stage the rows of one of Spark's partitions as they are, sorted by their keys as the table has them."""
    assert work.table is not None
    session, keys = work.session(), work.table.keys
    columns = [column for column in work.table.columns if column.name in keys]
    parted = [column for column in work.table.columns if column.name in work.table.partition_by]
    rules = inferred_rules(work.table)
    partitions: set[Partition] = set()
    nulls = dict.fromkeys(keys, 0)
    found = []
    name = names.staged(*work.staged_in, session.environment.new_id())
    with PieceWriter(session, name) as writer:
        for chunk in chunks(batches, source, fit, CHUNK_BYTES):
            for key in keys:
                nulls[key] += int(dedup.nulls(chunk[key]).sum())
            if not any(nulls.values()):
                conformed = schema.conform(chunk.select(keys), columns, rules=rules)
                found += staged.add_rows(writer, chunk, key_codec.encode(conformed, keys))
            if work.request.scope == "partitions":
                there = [column.name for column in parted if column.name in chunk.column_names]
                placed = schema.conform(chunk.select(there), parted, rules=rules)
                partitions |= {partition for partition, _ in split(work.table, placed)}
        pieces = writer.close()
    return Staged(
        tuple(Blob(pieces[at], rows, samples, last) for at, rows, samples, last in found), nulls, frozenset(partitions)
    )


# ---- a range of keys


def plan_part(work: Work, part: Part) -> Done:
    """What the call does to the rows of one range of keys: the local operation, but for changes of files."""
    rows = staged.rows_of(work.session(), part)
    if rows is None or not rows.num_rows:
        return Done()
    with work.passing(ordered_ties(rows, work.request, work.table)) as (ctx, stage):
        try:
            return _PART[work.request.mode](work, ctx, stage)
        except DuplicateKeyError as error:
            if "rows" not in error.evidence:
                raise
            raise several_rows(error.evidence["keys"], error.evidence["count"], at_least=True) from error


def _append_once(_: Work, ctx: PlanContext[Request], stage: Staging | None) -> Done:
    plan = append_once(ctx)
    relies_on = frozenset(plan.read_set.relies_on)
    scanned, metrics = plan.looked.scanned, plan.metrics
    done = _done(stage, None, metrics=metrics, add=plan.add, relies_on=relies_on, scanned=scanned)
    return replace(done, rows_in=metrics.rows_in, rows_deduplicated=metrics.rows_deduplicated)


def _upsert(work: Work, ctx: PlanContext[Request], stage: Staging | None) -> Done:
    batch = prepare(ctx.request, ctx.table)
    decided = decide(ctx, batch, batch_keys(batch.table, batch.rows, batch.keys))
    added = ctx.stage.rows(batch.table, decided.added)
    return _done(
        stage,
        batch,
        metrics=decided.metrics,
        add=tuple(added),
        relies_on=frozenset(hit.file.path for hit in decided.hits),
        scanned=decided.scanned,
        edits=_written(work, ctx.session, decided.edits),
    )


def _overwrite(work: Work, ctx: PlanContext[Request], stage: Staging | None) -> Done:
    batch = prepare(ctx.request, ctx.table)
    where = _where(ctx.request, batch.table)
    if where is not None:
        scan.refuse_rows_outside(batch.rows, where)
    scanned = _refuse_keys_that_stay(work, ctx, batch, where)
    added = ctx.stage.rows(batch.table, batch.rows)
    metrics = Metrics(rows_inserted=batch.rows.num_rows)
    return _done(stage, batch, metrics=metrics, add=tuple(added), scanned=scanned)


_PART = {"append_once": _append_once, "upsert": _upsert, "overwrite": _overwrite}


def _refuse_keys_that_stay(work: Work, ctx: PlanContext[Request], batch: Prepared, where: filters.Filter | None) -> int:
    """Refuse keys of which the table keeps a row: the files of `work.base`. Returns how many were opened."""
    if ctx.request.scope == "table" or work.base is None:
        return 0
    keys = batch_keys(batch.table, batch.rows, batch.keys)
    found = ctx.find(keys, ctx.files(batch.table), where.columns if where else ())
    for hit in found.hits:
        stays = np.ones(len(hit.positions), bool) if where is None else ~scan.mask(hit.stored, where)
        refuse_standing(batch.rows, batch.table.keys, hit.batch_rows[stays])
    return found.scanned


def has_key_in(work: Work, files: pa.Table, runs: Sequence[RunRef], part: Part) -> bool:
    """Whether a range of keys has one that is in some files."""
    session = work.session()
    rows = staged.rows_of(session, part)
    if rows is None or not rows.num_rows:
        return False
    batch = prepare(replace(work.request, source=Rows(rows), dedup_strategy=_any(work.request)), work.base_table)
    return bool(find(session, batch_keys(batch.table, batch.rows, batch.keys), files, runs=runs).hits)


# ---- changes of files


def _written(work: Work, session: Session, found: Sequence[Edit]) -> tuple[FileEdit, ...]:
    """Edits in a file that no version names."""
    if not found:
        return ()
    name = names.staged(*work.staged_in, session.environment.new_id())
    with PieceWriter(session, name) as writer:
        for edit in found:
            assert edit.rows is not None
            writer.add(staged.encode(edit.rows.append_column(AT, pa.array(edit.at, pa.int64()))))
            writer.add(np.asarray(edit.without, "<i8").tobytes())
        pieces = writer.close()
    return tuple(
        FileEdit(edit.file.path, rows, without)
        for edit, rows, without in zip(found, pieces[::2], pieces[1::2], strict=True)
    )


def carry_out(work: Work, files: Sequence[Sequence[FileEdit]]) -> Done:
    """Carry out all changes of some data files; those of one file come together."""
    assert work.table is not None
    assert work.base is not None
    with work.passing(pa.table({})) as (ctx, stage):
        paths = [edits[0].path for edits in files]
        listed = {file.path: file for file in filelist.of_paths(ctx.files(work.table), paths)}
        edits = [_read(ctx.session, listed[mine[0].path], mine) for mine in files]
        return _carried(work.table, ctx, stage, edits)


def _read(session: Session, file: DataFile, parts: Sequence[FileEdit]) -> Edit:
    """The edits that several ranges of keys have for one file as one."""
    rows = pa.concat_tables(map(staged.decode, staged.read(session, [part.rows for part in parts])))
    without = np.concatenate(
        [np.frombuffer(data, "<i8") for data in staged.read(session, [part.without for part in parts])]
    )
    at = rows[AT].to_numpy()
    order = np.argsort(at, kind="stable")
    return Edit(file, np.sort(without), at[order], rows.drop_columns([AT]).take(pa.array(order)))


def remove_matching(work: Work, paths: Sequence[str]) -> Done:
    """Remove the rows of some data files that the request's filter matches."""
    assert work.table is not None
    assert work.base is not None
    with work.passing(pa.table({})) as (ctx, stage):
        where = _where(work.request, work.table)
        assert where is not None
        files = ctx.files(work.table)
        files = files.filter(pc.is_in(files["path"], value_set=pa.array(paths, pa.string())))
        found = local_edits.matching(ctx, work.table, files, where)
        removed = Done(
            metrics=Metrics(rows_deleted=local_edits.rows_removed(found.edits)),
            relies_on=frozenset(edit.file.path for edit in found.edits),
            scanned=found.scanned,
        )
        return removed + _carried(work.table, ctx, stage, found.edits)


def _carried(table: TableMetadata, ctx: PlanContext[Request], stage: Staging | None, edits: Sequence[Edit]) -> Done:
    carried = local_edits.carry_out(ctx, table, edits)
    replaced = [] if carried.rows is None else ctx.stage.rows(table, carried.rows)
    return _done(
        stage,
        None,
        add=(*carried.add, *replaced),
        remove=tuple(carried.remove),
        mark=tuple(carried.mark),
        relies_on=frozenset(carried.relies_on),
        rewritten=carried.rewritten,
    )


def check_all_keys(work: Work, paths: Sequence[str]) -> None:
    """Refuse rows that stay in the table and have no key, or the same. Cost: all their keys in this task's memory."""
    assert work.table is not None
    assert work.base is not None
    with work.passing(pa.table({})) as (ctx, _):
        files = ctx.files(work.table)
        files = files.filter(pc.is_in(files["path"], value_set=pa.array(paths, pa.string())))
        where = _where(work.request, work.table)
        edits = [] if where is None else local_edits.matching(ctx, work.table, files, where).edits
        gone = {edit.file.path: edit.without for edit in edits}
        check_whole(ctx, work.table, filelist.data_files(files), gone)


def _where(request: Request, table: TableMetadata | None) -> filters.Filter | None:
    if request.replace_where is None or table is None:
        return None
    return filters.parse(request.replace_where, types.arrow_schema(table.columns))


def _any(request: Request) -> str:
    """A strategy under which no row is refused: what is asked is only where keys are."""
    return request.dedup_strategy if request.dedup_strategy == "newest_wins" else "last_wins"
