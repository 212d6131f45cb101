"""`overwrite`: the table, the partitions present in the batch, or the rows that match a filter are replaced.

Source: specs/4-semantics.md, "Overwrite".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace as replace_struct

from txfiles.batch import Prepared, prepare
from txfiles.core.manifest import Add, TableMetadata
from txfiles.errors import DuplicateKeyError, InputError, NullKeyError, OptionError
from txfiles.log.commit import CommitPlan
from txfiles.log.snapshot import Snapshot
from txfiles.operations.context import Found, PlanContext, chosen, work
from txfiles.reading import scan
from txfiles.reading.key_finder import BatchKeys, batch_keys, candidates, probe
from txfiles.reading.live import groups, live_rows, total_rows
from txfiles.rows import filelist, filters, types
from txfiles.rows import keys as key_codec
from txfiles.rows.filelist import DataFile
from txfiles.writing.staging import listed_partitions, split


def overwrite(ctx: PlanContext) -> CommitPlan:
    """Replace what `request.scope` says by the batch.

    Cost: table and partitions: the batch written once, nothing read. A filter: the files that may match it are
    read, those that hold other rows too are rewritten. With keys: as a probe of the rows that stay.
    """
    batch = prepare(ctx.request, ctx.table)
    scope = ctx.request.scope
    if scope == "partitions":
        return _partitions(ctx, batch)
    if scope == "filter":
        return _filter(ctx, batch)
    return _table(ctx, batch)


def _table(ctx: PlanContext, batch: Prepared) -> CommitPlan:
    added = ctx.stage.rows(batch.table, batch.rows)

    def replacing(snapshot: Snapshot | None) -> CommitPlan:
        """What was written stands; what it replaces is whatever is there when it is committed."""
        files = snapshot.files if snapshot else filelist.empty(())
        gone = files["path"].to_pylist()
        deleted = total_rows(files)
        on = replace(ctx, base=snapshot)
        mine = batch if snapshot is ctx.base or snapshot is None else _with_properties(batch, snapshot.state.table)
        found = Found(mine, add=added, remove=gone, inserted=batch.rows.num_rows, deleted=deleted)
        return work(on, found, kind="overwrite", derive=replacing, empties=bool(batch.rows.num_rows or gone))

    return replacing(ctx.base)


def _with_properties(batch: Prepared, newest: TableMetadata) -> Prepared:
    """The same batch for a table of which only the properties have changed since."""
    table = replace_struct(batch.table, properties=newest.properties, extra=newest.extra)
    return replace(batch, table=table)


def _partitions(ctx: PlanContext, batch: Prepared) -> CommitPlan:
    if not batch.table.partition_by:
        raise OptionError(
            "overwrite_partitions needs a partitioned table",
            hint="create it with partition_by=[…], or leave overwrite_partitions out to replace the whole table",
        )
    files = ctx.files(batch.table)
    present = {partition for partition, _ in split(batch.table, batch.rows)}
    replaced = np.array([partition in present for partition in listed_partitions(batch.table, files)], bool)
    gone, rest = files.filter(pa.array(replaced)), files.filter(pa.array(~replaced))
    guard = _guard(ctx, batch, chosen(rest, range(rest.num_rows)), rest)
    added = ctx.stage.rows(batch.table, batch.rows)
    paths = gone["path"].to_pylist()
    return work(
        ctx,
        Found(
            batch,
            add=added,
            remove=paths,
            relies_on=paths,
            scanned=guard.scanned,
            inserted=batch.rows.num_rows,
            deleted=total_rows(gone),
        ),
        kind="overwrite part",
        in_part=lambda add: guard.whole_table or add.partition in present,
        keyed=guard.keys is not None,
        touches_keys=guard.touches_keys,
        empties=bool(batch.rows.num_rows),
    )


def _filter(ctx: PlanContext, batch: Prepared) -> CommitPlan:
    schema = types.arrow_schema(batch.table.columns)
    where = filters.parse(ctx.request.replace_where, schema)
    assert where is not None
    _refuse_rows_outside(batch, where)
    files = ctx.files(batch.table)
    may = scan.may_match(files, batch.table, where)
    looked_in = chosen(files, np.flatnonzero(may))
    parts = list(ctx.session.environment.map(lambda file: _part(ctx, batch, file, where), looked_in))
    touched = [part for part in parts if len(part.gone)]
    guard = _guard(ctx, batch, chosen(files, range(files.num_rows)), files, touched)
    rewritten: list[Add] = []
    for part in touched:
        if len(part.gone) < live_rows(part.file):
            pieces = _remaining(ctx, batch, part)
            rewritten += ctx.stage.file(batch.table, part.file.partition, pieces, like_bytes=part.file.bytes)
    added = ctx.stage.rows(batch.table, batch.rows)

    def in_part(add: Add) -> bool:
        one = filelist.from_adds([(add, 0)], batch.table.columns, batch.table.keys)
        return guard.whole_table or bool(scan.may_match(one, batch.table, where)[0])

    return work(
        ctx,
        Found(
            batch,
            add=[*rewritten, *added],
            remove=[part.file.path for part in touched],
            relies_on=[part.file.path for part in touched],
            scanned=max(len(looked_in), guard.scanned),
            rewritten=sum(len(part.gone) < live_rows(part.file) for part in touched),
            inserted=batch.rows.num_rows,
            deleted=sum(len(part.gone) for part in touched),
        ),
        kind="overwrite part",
        in_part=in_part,
        keyed=guard.keys is not None,
        touches_keys=guard.touches_keys,
        empties=bool(batch.rows.num_rows or touched),
    )


@dataclass(frozen=True)
class Part:
    """The rows of one file that match the filter: their positions."""

    file: DataFile
    gone: np.ndarray


def _refuse_rows_outside(batch: Prepared, where: Any) -> None:
    matches = scan.mask(batch.rows, where)
    if not matches.all():
        rows = np.flatnonzero(~matches)
        raise InputError(
            f"the batch has {len(rows)} row(s) that do not match replace_where, at {', '.join(map(str, rows[:10]))}; "
            "nothing was written",
            hint="leave them out, or widen replace_where",
            rows=rows[:10].tolist(),
        )


def _part(ctx: PlanContext, batch: Prepared, file: DataFile, where: Any) -> Part:
    names = batch.rows.column_names
    found = [
        group.positions[scan.mask(group.read(names), where)] for group in groups(ctx.session.store, batch.table, file)
    ]
    return Part(file, np.concatenate(found) if found else np.empty(0, np.int64))


def _remaining(ctx: PlanContext, batch: Prepared, part: Part) -> Iterator[pa.Table]:
    for group in groups(ctx.session.store, batch.table, part.file):
        keep = np.ones(group.rows, bool)
        keep[group.locate(part.gone)[1]] = False
        yield group.read(batch.rows.column_names).filter(pa.array(keep))


@dataclass(frozen=True)
class Guard:
    """That keys stay unique where an overwrite of a part names them.

    Attributes:
        keys: the batch's, to be looked for in files that others add; None where no keys are named.
        whole_table: whether every other row was checked too (keys that the table did not have before).
        scanned: files opened for it.
    """

    keys: BatchKeys | None
    whole_table: bool
    scanned: int
    ctx: PlanContext

    def touches_keys(self, others: pa.Table) -> bool:
        """Whether files that others added since hold a key of the batch."""
        if self.keys is None:
            return False
        return bool(probe(self.ctx.session, self.keys, chosen(others, candidates(self.keys, others)), ()))


def _guard(
    ctx: PlanContext, batch: Prepared, staying: Sequence[DataFile], listed: pa.Table, touched: Sequence[Part] = ()
) -> Guard:
    """Check the keys of the resulting table.

    The batch is checked against the rows that stay; where the keys are new to the table, these also among themselves.
    """
    if not ctx.request.keys:
        return Guard(None, whole_table=False, scanned=0, ctx=ctx)
    gone = {part.file.path: part.gone for part in touched}
    fresh = ctx.table is not None and ctx.table.keys != batch.table.keys
    if fresh:
        _check_whole(ctx, batch.table, staying, gone)
    keys = batch_keys(batch.table, batch.rows, batch.keys)
    looked_in = [staying[position] for position in candidates(keys, listed)]
    for hit in probe(ctx.session, keys, looked_in, ()):
        stays = ~np.isin(hit.positions, gone.get(hit.file.path, ()))
        if stays.any():
            key = batch.rows.select(batch.table.keys).slice(int(hit.batch_rows[stays][0]), 1).to_pylist()[0]
            raise DuplicateKeyError(
                f"{int(stays.sum())} keys of the batch are in rows that stay, the first is {key}; nothing was written",
                hint="an overwrite of a part must not bring keys that the rest of the table has",
                keys=[key],
                count=int(stays.sum()),
            )
    return Guard(keys, fresh, len(staying) if fresh else len(looked_in), ctx)


def _check_whole(
    ctx: PlanContext, table: TableMetadata, staying: Sequence[DataFile], gone: dict[str, np.ndarray]
) -> None:
    """Keys that are new to the table: every row that stays must have them, once. Cost: all key columns in memory."""
    encoded: list[pa.Array] = []
    for file in staying:
        for group in groups(ctx.session.store, table, file):
            keep = ~np.isin(group.positions, gone.get(file.path, ()))
            found = key_codec.encode(group.read(table.keys), table.keys).filter(pa.array(keep))
            if found.null_count:
                raise NullKeyError(
                    f"{found.null_count} rows that stay in the table have a null in {', '.join(table.keys)}",
                    hint="choose other keys, or overwrite the whole table",
                    column=table.keys[0],
                    count=found.null_count,
                    file=file.path,
                )
            encoded.append(found)
    whole = pa.chunked_array(encoded, encoded[0].type) if encoded else pa.chunked_array([], pa.binary())
    repeated = len(whole) - pc.count_distinct(whole).as_py()
    if repeated:
        raise DuplicateKeyError(
            f"{repeated} rows that stay in the table repeat a key in {', '.join(table.keys)}",
            hint="choose other keys, or overwrite the whole table",
            count=repeated,
            keys=[],
        )
