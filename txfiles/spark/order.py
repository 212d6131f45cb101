"""An order for rows that have none: what decides between rows of one key that are equally new.

Spark's rows come in no order, so the later one cannot win. The greatest by its other columns does, whichever task meets
it, so that a load that is run again leaves the same row.

Source: specs/4-semantics.md, "Duplicates".
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import TableMetadata
from txfiles.options import Request


def ordered_ties(rows: pa.Table, request: Request, table: TableMetadata | None) -> pa.Table:
    """The rows such that the later one of two with one key and time is the greater one.

    Cost: sorts the rows of repeated keys by all columns; of a batch without any, O(n).
    """
    if request.dedup_strategy != "newest_wins" or table is None or not rows.num_rows:
        return rows
    repeated = _repeated(rows, table.keys)
    if not len(repeated):
        return rows
    some = rows.take(pa.array(repeated))
    ranks = pa.table(
        {
            str(at): pc.rank(_comparable(column), null_placement="at_start", tiebreaker="dense")
            for at, column in enumerate(some)
        }
    )
    order = pc.sort_indices(ranks, [(name, "ascending") for name in ranks.column_names]).to_numpy()
    places = np.arange(rows.num_rows)
    places[repeated] = repeated[order]
    return rows.take(pa.array(places))


def _repeated(rows: pa.Table, keys: tuple[str, ...]) -> np.ndarray:
    """Where rows are whose key another one has."""
    codes = np.zeros(rows.num_rows, np.int64)
    for name in keys:
        values = rows[name].combine_chunks().dictionary_encode()
        codes = codes * (len(values.dictionary) + 1) + values.indices.to_numpy(zero_copy_only=False)
        codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return np.flatnonzero(np.bincount(codes)[codes] > 1)


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values that Arrow can rank: those that nest as their text."""
    if pa.types.is_nested(column.type) or pa.types.is_null(column.type):
        return pa.chunked_array(
            [pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())]
        )
    return column
