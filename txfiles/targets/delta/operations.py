"""What each mode does to a Delta table: which files change how, and which rows are new. Nothing is written here.

The rules are those of every target: `batch.prepare` makes the batch fit, `rows.merge.decide` decides what becomes of a
row. Only where rows are found and how files are named is Delta's.

Source: specs/4-semantics.md, "Modes"; specs/9-targets.md, "Delta".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.batch import Prepared, prepare
from txfiles.core.manifest import TableMetadata
from txfiles.errors import (
    InputError,
    OptionError,
    SchemaMismatchError,
)
from txfiles.merging import Share, fates_of, shares
from txfiles.options import Request
from txfiles.reading import lookup, scan
from txfiles.reading.key_finder import batch_keys
from txfiles.rows import filters, types
from txfiles.rows import keys as key_codec
from txfiles.rows.merge import needed
from txfiles.rows.uniqueness import refuse_null, refuse_repeated, refuse_standing
from txfiles.targets.delta.features import require_writable
from txfiles.targets.delta.probe import Edit, Hits, candidates, matching, probe, read, removal, rows_of
from txfiles.targets.delta.snapshot import DeltaFile, Snapshot
from txfiles.targets.delta.types import DeltaSource, delta_type, refuse_changes
from txfiles.verbs import DeleteOptions
from txfiles.writing.staging import split


@dataclass(frozen=True)
class Change:
    """What a write does to a version.

    Attributes:
        batch: what was given; for a delete, no rows.
        added: rows that go into new files.
        edits: files that lose rows or have them replaced.
        counts: rows by fate, by their names in a result.
        replaces: whether every file goes, and the schema may change.
        empties: whether it counts even if no row changes (an overwrite).
        scanned: files that were read.
        elsewhere: whether rows change that are not in this process.
    """

    batch: Prepared
    added: pa.Table
    edits: Sequence[Edit] = ()
    counts: dict[str, int] = field(default_factory=dict)
    replaces: bool = False
    empties: bool = False
    scanned: int = 0
    elsewhere: bool = False


def change(request: Request | DeleteOptions, base: Snapshot | None) -> Change:
    """What a call does to a version; None if there is no table yet."""
    if base is not None:
        require_writable(base, rewrites=False)
    if isinstance(request, DeleteOptions):
        assert base is not None
        return _delete(request, base)
    batch = fitting(request, base)
    _check_values(batch, base, request)
    return _MODES[request.mode](request, base, batch)


def fitting(request: Request, base: Snapshot | None) -> Prepared:
    """The batch in columns that the table has, or can have.

    Raises:
        InputError: one of its kinds, by what does not fit.
    """
    current = base.table if base is not None else None
    strict = request.schema_mode == "strict"
    batch = prepare(replace(request, format=None, source=DeltaSource(request.source, strict)), current)
    for column in batch.table.columns:
        delta_type(types.from_spec(column.type), column.name)  # also a column that got its type from nothing
    if base is not None and request.schema_mode != "overwrite":
        refuse_changes(base.schema, types.arrow_schema(batch.table.columns))
    return batch


def _check_values(batch: Prepared, base: Snapshot | None, request: Request) -> None:
    if base is not None and request.schema_mode != "overwrite":
        for column in base.described:
            refuse_missing_values(column.name, _nulls(column, batch.rows[column.name]))
    for name in batch.table.partition_by:
        column = batch.rows[name]
        if pa.types.is_string(column.type):
            refuse_empty_texts(name, pc.sum(pc.equal(column, ""), min_count=0).as_py())


def refuse_missing_values(column: str, count: int) -> None:
    """Refuse nulls in a column that takes none.

    Raises:
        SchemaMismatchError: there are some.
    """
    if count:
        raise SchemaMismatchError(
            f"column {column!r} of the Delta table takes no nulls; the batch has {count}",
            hint="fill them, or leave these rows out",
            column=column,
        )


def refuse_empty_texts(column: str, count: int) -> None:
    """Refuse empty texts in a partition column.

    Raises:
        InputError: there are some.
    """
    if count:
        raise InputError(
            f"partition column {column!r} has an empty text, which Delta cannot tell from null",
            hint="write null, or another text, or do not partition by this column",
            column=column,
        )


def require_partitions(table: TableMetadata) -> None:
    """Refuse to overwrite partitions of a table that has none.

    Raises:
        OptionError: it has none.
    """
    if not table.partition_by:
        raise OptionError(
            "overwrite_partitions needs a partitioned table",
            hint="create it with partition_by=[…], or leave overwrite_partitions out to replace the whole table",
        )


def _nulls(field: pa.Field, values: pa.ChunkedArray) -> int:
    """Nulls where a column, or a part of it, takes none; what is within a null does not count."""
    t, is_ = field.type, pa.types
    here = 0 if field.nullable else values.null_count
    if here or not is_.is_nested(t):
        return here
    whole = values.drop_null()
    if is_.is_struct(t):
        return sum(_nulls(t.field(at), pc.struct_field(whole, at)) for at in range(t.num_fields))
    if is_.is_map(t):
        pair = pa.struct([("key", whole.type.key_type), ("value", whole.type.item_type)])
        return _nulls(t.item_field, pc.struct_field(pc.list_flatten(whole.cast(pa.list_(pair))), 1))
    return _nulls(t.value_field, pc.list_flatten(whole))


# ---- modes


def _append(_: Request, __: Snapshot | None, batch: Prepared) -> Change:
    return Change(batch, batch.rows, counts={"rows_inserted": batch.rows.num_rows})


def _append_once(_: Request, base: Snapshot | None, batch: Prepared) -> Change:
    hits, scanned = _find(base, batch)
    new = np.ones(batch.rows.num_rows, bool)
    for hit in hits:
        new[hit.batch_rows] = False
    rows = batch.rows.filter(pa.array(new))
    counts = {"rows_inserted": rows.num_rows, "rows_skipped": batch.rows.num_rows - rows.num_rows}
    return Change(batch, rows, counts=counts, scanned=scanned)


def _find(
    base: Snapshot | None, batch: Prepared, wanted: Sequence[str] = (), compared: pa.Table | None = None
) -> tuple[list[Hits], int]:
    """Where the batch's keys are in the table, and how many files were read."""
    if base is None or not batch.rows.num_rows:
        return [], 0
    keys = batch_keys(batch.table, batch.rows, batch.keys)
    files = candidates(base, keys)
    return probe(base, batch.table, keys, files, wanted=wanted, compared=compared), len(files)


def _upsert(request: Request, base: Snapshot | None, batch: Prepared) -> Change:
    table = batch.table
    wanted = sorted(needed(batch.missing, batch.missing_fields, table.timestamp_col))
    compared = batch.rows.drop_columns([*{*wanted, *table.keys}])  # equal keys have equal values
    hits, scanned = _find(base, batch, wanted, compared)
    fates = fates_of(batch, hits, stale=request.stale)
    found, moved = shares(table, fates, hits, [hit.file.partition for hit in hits])
    edits = [_edit(base, hits[one.number].file, one) for one in found]
    added = pa.concat_tables([moved, batch.rows.take(pa.array(fates.inserts))])
    counts = {
        "rows_inserted": len(fates.inserts),
        "rows_updated": fates.updated,
        "rows_unchanged": fates.unchanged,
        "rows_stale": fates.stale,
        "rows_deleted": len(fates.deletes),
    }
    return Change(batch, added, edits, counts, scanned=scanned)


def _edit(base: Snapshot | None, file: DeltaFile, share: Share) -> Edit:
    if len(share.at) or base is None:
        return Edit(file, share.without, share.at, share.rows)
    return removal(file, share.without, rows_of(base, file))


def _overwrite(request: Request, base: Snapshot | None, batch: Prepared) -> Change:
    inserted = {"rows_inserted": batch.rows.num_rows}
    if request.scope == "partitions":
        require_partitions(batch.table)
    where = None
    if request.scope == "filter":
        where = filters.parse(request.replace_where, types.arrow_schema(batch.table.columns))
        assert where is not None
        scan.refuse_rows_outside(batch.rows, where)
    if base is None:
        return Change(batch, batch.rows, counts=inserted)
    if request.scope == "table":
        gone = base.row_count() if base.files else 0
        empties = bool(batch.rows.num_rows or base.files)
        return Change(batch, batch.rows, (), inserted | {"rows_deleted": gone}, replaces=True, empties=empties)
    if where is None:
        present = {partition for partition, _ in split(batch.table, batch.rows)}
        files = [file for file in base.files if file.partition in present]
        edits, deleted, scanned = [Edit(file, None) for file in files], sum(rows_of(base, file) for file in files), 0
    else:
        edits, deleted, scanned = matching(base, where)
    scanned = max(scanned, _guard(request, base, batch, edits))
    empties = bool(batch.rows.num_rows or edits)
    return Change(batch, batch.rows, edits, inserted | {"rows_deleted": deleted}, empties=empties, scanned=scanned)


def _guard(request: Request, base: Snapshot, batch: Prepared, edits: Sequence[Edit]) -> int:
    """Check the keys of the resulting table, if an overwrite of a part names them; returns how many files were read."""
    if not request.keys:
        return 0
    gone = {edit.file.path: edit.without for edit in edits}
    staying = [file for file in base.files if gone.get(file.path, ()) is not None]
    names = batch.table.keys
    keys = batch_keys(batch.table, batch.rows, batch.keys)
    may = {file.path for file in candidates(base, keys)}
    looked_in = [file for file in staying if file.path in may]
    scanned = len(looked_in)
    if base.table.keys != names:
        _check_whole(base, names, staying, gone)
        scanned = len(staying)
    for hit in probe(base, batch.table, keys, looked_in):
        stays = ~np.isin(hit.positions, np.asarray(gone.get(hit.file.path, ()), np.int64))
        refuse_standing(batch.rows, names, hit.batch_rows[stays])
    return scanned


def _check_whole(base: Snapshot, names: Sequence[str], staying: Sequence[DeltaFile], gone: dict[str, Any]) -> None:
    """Keys that are new to the table: every row that stays must have them, once."""
    encoded = []
    for file in staying:
        codes = key_codec.encode(read(base, file, names), names)
        without = np.asarray(gone.get(file.path, ()), np.int64)
        found = codes.filter(pa.array(~np.isin(np.arange(len(codes)), without)))
        refuse_null(found, names, file.path)
        encoded.append(found)
    refuse_repeated(encoded, names)


def _delete(options: DeleteOptions, base: Snapshot) -> Change:
    batch = Prepared(base.table, base.schema.empty_table())
    if options.where is not None:
        where = filters.parse(options.where, base.schema)
        assert where is not None
        edits, deleted, scanned = matching(base, where)
        return Change(batch, batch.rows, edits, {"rows_deleted": deleted}, scanned=scanned)
    given = options.keys if options.source is None else lookup.keys_in(base.table, options.source)
    keys = lookup.given_keys(base.table, given, base.client.url, nulls=False)
    files = candidates(base, keys)
    hits = probe(base, base.table, keys, files)
    edits = [removal(hit.file, hit.positions, rows_of(base, hit.file)) for hit in hits]
    deleted = sum(len(hit.positions) for hit in hits)
    return Change(batch, batch.rows, edits, {"rows_deleted": deleted}, scanned=len(files))


_MODES: dict[str, Callable[[Request, Snapshot | None, Prepared], Change]] = {
    "append": _append,
    "append_once": _append_once,
    "upsert": _upsert,
    "overwrite": _overwrite,
}
