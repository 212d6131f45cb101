"""`overwrite`: replace the table, the partitions present in the batch, or the rows that match a filter.

Source: specs/4-semantics.md, "Modes".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from txfiles.batch import Prepared, prepare
from txfiles.core.manifest import Metrics, TableMetadata
from txfiles.core.plan import Check, CommitPlan, KeysAbsent, NoneMatches, Partition, Replaces
from txfiles.errors import OptionError
from txfiles.log.commit import replaced_files
from txfiles.operations.context import PlanContext, commit_plan
from txfiles.operations.edits import Edit, carry_out, matching, rows_removed
from txfiles.options import Request
from txfiles.reading import scan
from txfiles.reading.key_finder import batch_keys
from txfiles.reading.live import groups
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist, filters, partitions, types
from txfiles.rows import keys as key_codec
from txfiles.rows.filelist import DataFile
from txfiles.rows.uniqueness import refuse_null, refuse_repeated, refuse_standing
from txfiles.writing.staging import split


def overwrite(ctx: PlanContext[Request]) -> CommitPlan:
    """Replace what `request.scope` says with the batch.

    Cost: table and partitions: the batch written once, nothing read. A filter: the files that may match it are
    read, and those that also hold other rows are rewritten or get a vector. With keys: in addition a probe of the rows
    that stay.
    """
    batch = prepare(ctx.request, ctx.table)
    scope = ctx.request.scope
    if scope == "partitions":
        return _partitions(ctx, batch)
    if scope == "filter":
        return _filter(ctx, batch)
    return _replacing(ctx, batch, Replaces(), Guard())


def _partitions(ctx: PlanContext[Request], batch: Prepared) -> CommitPlan:
    require_partitions(batch.table)
    present = frozenset(partition for partition, _ in split(batch.table, batch.rows))
    files = ctx.files(batch.table)
    stay = files.filter(pa.array(~partitions.among(batch.table, files, present)))
    return _replacing(ctx, batch, Replaces(present), _guard(ctx, batch, stay, replaced=present))


def require_partitions(table: TableMetadata) -> None:
    """Refuse to overwrite partitions of a table that has none."""
    if not table.partition_by:
        raise OptionError(
            "overwrite_partitions needs a partitioned table",
            hint="create it with partition_by=[…], or leave overwrite_partitions out to replace the whole table",
        )


def _replacing(ctx: PlanContext[Request], batch: Prepared, replaces: Replaces, guard: Guard) -> CommitPlan:
    """The batch is written now; what it replaces is whatever is there when it is committed."""
    removed, deleted = replaced_files(replaces, batch.table, ctx.base)
    return commit_plan(
        ctx,
        batch,
        Metrics(rows_inserted=batch.rows.num_rows, rows_deleted=deleted),
        add=ctx.stage.rows(batch.table, batch.rows),
        remove=removed,
        checks=guard.checks,
        replaces=replaces,
        scanned=guard.scanned,
        empties=bool(batch.rows.num_rows or removed),
    )


def _filter(ctx: PlanContext[Request], batch: Prepared) -> CommitPlan:
    where = filters.parse(ctx.request.replace_where, types.arrow_schema(batch.table.columns))
    assert where is not None
    scan.refuse_rows_outside(batch.rows, where)
    files = ctx.files(batch.table)
    found = matching(ctx, batch.table, files, where)
    guard = _guard(ctx, batch, files, found.edits)
    carried = carry_out(ctx, batch.table, found.edits)
    return commit_plan(
        ctx,
        batch,
        Metrics(rows_inserted=batch.rows.num_rows, rows_deleted=rows_removed(found.edits)),
        add=[*carried.add, *ctx.stage.rows(batch.table, batch.rows)],
        remove=carried.remove,
        mark=carried.mark,
        relies_on=carried.relies_on,
        checks=[NoneMatches(where), *guard.checks],
        scanned=max(found.scanned, guard.scanned),
        rewritten=carried.rewritten,
        empties=bool(batch.rows.num_rows or found.edits),
    )


@dataclass(frozen=True)
class Guard:
    """Keeps keys unique if an overwrite of a part of the table names them.

    Attributes:
        checks: what must hold for files that others add.
        scanned: files opened to check it.
    """

    checks: tuple[Check, ...] = ()
    scanned: int = 0


def _guard(
    ctx: PlanContext[Request],
    batch: Prepared,
    files: pa.Table,
    edits: Sequence[Edit] = (),
    replaced: frozenset[Partition] = frozenset(),
) -> Guard:
    """Check the keys of the resulting table.

    The batch is checked against the rows that stay. If the keys are new to the table, those rows are also checked
    among themselves.

    Args:
        ctx: the pass.
        batch: what replaces the part.
        files: the list of files that stay, in full or in part.
        edits: the files that lose rows.
        replaced: partitions that are replaced as a whole.
    """
    if not ctx.request.keys:
        return Guard()
    gone = {edit.file.path: edit.without for edit in edits}
    keys = batch_keys(batch.table, batch.rows, batch.keys)
    found = ctx.find(keys, files)
    scanned = found.scanned
    checks: tuple[Check, ...] = (KeysAbsent(keys, outside=replaced),)
    if ctx.table is not None and ctx.table.keys != batch.table.keys:
        check_whole(ctx, batch.table, filelist.data_files(files), gone)
        scanned = files.num_rows
        checks = (NoneMatches(None, outside=replaced),)  # rows that others add have not been checked for these keys
    for hit in found.hits:
        stays = ~np.isin(hit.positions, gone.get(hit.file.path, ()))
        refuse_standing(batch.rows, batch.table.keys, hit.batch_rows[stays])
    return Guard(checks, scanned)


def check_whole(
    ctx: PlanContext[Request],
    table: TableMetadata,
    staying: Sequence[DataFile],
    gone: Mapping[str, np.ndarray | range],
) -> None:
    """Keys that are new to the table: every row that stays must have them, once. Cost: all key columns in memory."""
    marked = MarkedRows(ctx.session, staying)

    def keys_of(file: DataFile) -> list[pa.Array]:
        encoded = []
        for group in groups(ctx.session, table, file, table.keys, marked):
            keep = ~np.isin(group.positions, gone.get(file.path, ()))
            found = key_codec.encode(group.read(table.keys), table.keys).filter(pa.array(keep))
            refuse_null(found, table.keys, file.path)
            encoded.append(found)
        return encoded

    refuse_repeated([keys for of_file in ctx.session.each(keys_of, staying) for keys in of_file], table.keys)
