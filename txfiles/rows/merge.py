"""What becomes of each row of an upsert, and what the touched files hold afterwards: pure rules on rows.

Source: specs/4-semantics.md, "Upsert".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.rows import dedup
from txfiles.rows.equality import same
from txfiles.rows.widening import FieldPath


@dataclass(frozen=True)
class Fates:
    """What becomes of a batch's rows and of the stored rows that they hit.

    Hits are pairs (batch row, stored row) with equal keys, in the order of the table.

    Attributes:
        merged: one row for each entry of `replaces`: the batch's, with stored values in the columns it lacks.
        replaces: indices of hits whose stored row is replaced, ascending by batch row.
        deletes: indices of hits whose stored row is surplus (its key was there more than once).
        inserts: batch rows without a hit, ascending.
        updated: number of batch rows that replace a different row.
        unchanged: number of batch rows that are in the table already.
        stale: number of batch rows older than the table's.
    """

    merged: pa.Table
    replaces: np.ndarray
    deletes: np.ndarray
    inserts: np.ndarray
    updated: int
    unchanged: int
    stale: int


def needed(missing: Sequence[str], missing_fields: Sequence[FieldPath], timestamp_col: str | None) -> set[str]:
    """The columns in which `decide` wants the stored rows; of the others it wants to know whether they differ."""
    return {*missing, *(path[0] for path in missing_fields if path[0] is not None), *filter(None, [timestamp_col])}


def decide(
    batch: pa.Table,
    hit_rows: np.ndarray,
    stored: pa.Table,
    differs: np.ndarray,
    *,
    missing: Sequence[str],
    missing_fields: Sequence[FieldPath] = (),
    timestamp_col: str | None,
    skip_stale: bool,
) -> Fates:
    """Decide an upsert.

    Args:
        batch: m rows, each key once.
        hit_rows: h batch row numbers, one for each hit, in the order of the table.
        stored: the h stored rows, in the columns of `needed`.
        differs: h flags: another column has another value in the batch's row.
        missing: columns that the batch lacks: updated rows keep their stored values there.
        missing_fields: the same for fields of structs; those within lists and maps become null, since nothing says
            which stored item an item replaces.
        timestamp_col: by which rows are newer or older.
        skip_stale: whether a batch row strictly older than the stored one is skipped.
    Cost: O(m + h log h).
    """
    newest = _newest_hits(hit_rows, stored, timestamp_col)  # one hit for each batch row that was hit
    rows = hit_rows[newest]
    standing = {name: column.take(newest) for name, column in zip(stored.column_names, stored.columns, strict=True)}
    merged = _fill(batch.take(rows), standing, missing, missing_fields)
    stale = np.zeros(len(rows), bool)
    if timestamp_col is not None and skip_stale and timestamp_col not in missing:
        stale = np.asarray(dedup.older(merged[timestamp_col], standing[timestamp_col]))
    changed = differs[newest] & ~stale
    for name, column in standing.items():
        changed |= ~same(merged[name], column) & ~stale
    surplus = np.ones(len(hit_rows), bool)
    surplus[newest] = False
    surplus &= ~np.isin(hit_rows, rows[stale])
    hit = np.zeros(batch.num_rows, bool)
    hit[rows] = True
    return Fates(
        merged=merged.filter(pa.array(changed)),
        replaces=newest[changed],
        deletes=np.flatnonzero(surplus),
        inserts=np.flatnonzero(~hit),
        updated=int(changed.sum()),
        unchanged=int((~changed & ~stale).sum()),
        stale=int(stale.sum()),
    )


def replace_rows(old: pa.Table, at: np.ndarray, rows: pa.Table | None, without: np.ndarray) -> pa.Table:
    """Replace some rows of `old` in place, leave some out, and keep the others.

    Args:
        old: n rows.
        at: k distinct positions in `old`, ascending.
        rows: k rows that replace them, in the columns of `old`; None if k is 0.
        without: positions in `old` to leave out.
    Cost: O(k), and O(n) for each column that changes: with a mask if its type allows, otherwise gathered.
    """
    if rows is not None and len(at):
        mask, places = np.zeros(old.num_rows, bool), pa.array(at)
        mask[at] = True
        arrow_mask = pa.array(mask)
        columns = [
            column
            if same(column.take(places), new).all()
            else _replace(column.combine_chunks(), arrow_mask, mask, new.combine_chunks())
            for column, new in zip(old.columns, rows.select(old.column_names).columns, strict=True)
        ]
        old = pa.table(columns, schema=old.schema)
    if len(without):
        keep = np.ones(old.num_rows, bool)
        keep[without] = False
        old = old.filter(pa.array(keep))
    return old


def _replace(old: pa.Array, arrow_mask: pa.Array, mask: np.ndarray, new: pa.Array) -> pa.Array:
    if isinstance(old, pa.ChunkedArray):
        old = pa.concat_arrays(old.chunks)
    if isinstance(new, pa.ChunkedArray):
        new = pa.concat_arrays(new.chunks)
    t = old.type
    if not (pa.types.is_nested(t) or pa.types.is_null(t) or pa.types.is_duration(t)):  # Arrow's kernel knows none
        return pc.replace_with_mask(old, arrow_mask, new)
    positions = np.arange(len(old))
    positions[mask] = len(old) + np.arange(len(new))
    return pa.concat_arrays([old, new]).take(pa.array(positions))


def _newest_hits(hit_rows: np.ndarray, stored: pa.Table, timestamp_col: str | None) -> np.ndarray:
    """For each batch row that was hit, its newest stored row: by time if there is one, else the last. Ascending."""
    ascending = np.argsort(hit_rows, kind="stable")
    if (np.diff(hit_rows[ascending]) > 0).all():
        return ascending
    order = np.arange(len(hit_rows))
    ranks = order if timestamp_col is None else dedup.ranks(stored[timestamp_col])
    by_row = np.lexsort((order, ranks, hit_rows))
    last = np.flatnonzero(np.diff(hit_rows[by_row], append=-1))
    return by_row[last]


def _fill(
    rows: pa.Table, standing: Mapping[str, pa.ChunkedArray], missing: Sequence[str], missing_fields: Sequence[FieldPath]
) -> pa.Table:
    for name in missing:
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), standing[name])
    for path in missing_fields:
        if None not in path:
            at = rows.schema.get_field_index(path[0])
            filled = _filled(_one_array(rows.column(at)), _one_array(standing[rows.column_names[at]]), path[1:])
            rows = rows.set_column(at, rows.schema.field(at), filled)
    return rows


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _filled(structs: pa.StructArray, standing: pa.StructArray, path: FieldPath) -> pa.StructArray:
    """The structs with one field, some levels below, taken from others; a null struct stays null."""
    at = structs.type.get_field_index(path[0])
    fields, stored = structs.flatten(), standing.flatten()[at]
    fields[at] = _filled(fields[at], stored, path[1:]) if path[1:] else stored
    return pa.StructArray.from_arrays(fields, fields=list(structs.type), mask=structs.is_null())
