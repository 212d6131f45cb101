"""Which files or row groups a filter can leave out, by their recorded bounds. Sound: unknown means "may match".

Conditions `(column, op, value)` are judged for all files at once; an Arrow expression is judged by Arrow's
own simplifier, which is given each file's bounds as a guarantee.

Source: specs/4-semantics.md, "Filters".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Bounds = Callable[[str], tuple[Any, Any] | None]
"""Lower and upper bounds of a column: two arrays, one entry a file, null where unknown; None: none are known."""

Condition = tuple[str, str, Any]
"""(column, op, scalar of the column's type, or an array of them for in / not in)."""


def by_conditions(bounds: Bounds, count: int, conditions: Sequence[Condition]) -> np.ndarray:
    """Which of `count` files may hold a row that meets all conditions. Cost: vectorised over the files."""
    may = np.ones(count, bool)
    for column, op, value in conditions:
        known = bounds(column)
        judge = _JUDGES.get(op)
        if known is not None and judge is not None:
            may &= _true_or_unknown(judge(*known, value))
    return may


def by_expression(bounds: Bounds, count: int, where: pc.Expression, schema: pa.Schema) -> np.ndarray:
    """Which of `count` files may hold a row for which the expression is true. Cost: a few objects a file."""
    import pyarrow.dataset as ds  # here: it imports pandas where there is one, 0.2 s that only this needs
    import pyarrow.fs as pafs

    layout = ds.ParquetFileFormat()
    local = pafs.LocalFileSystem()
    known = {name: found for name in schema.names if (found := bounds(name)) is not None}
    fragments = [
        layout.make_fragment(str(number), local, partition_expression=_guarantee(known, number))
        for number in range(count)
    ]
    may = np.zeros(count, bool)
    dataset = ds.FileSystemDataset(fragments, schema, layout, local)
    for fragment in dataset.get_fragments(filter=where):
        may[int(fragment.path)] = True
    return may


def _guarantee(known: dict[str, tuple[Any, Any]], number: int) -> pc.Expression:
    guarantee = pc.scalar(value=True)
    for name, (low, high) in known.items():
        least, most = low[number], high[number]
        if least.is_valid and most.is_valid:
            field = pc.field(name)
            guarantee &= ((field >= least) & (field <= most)) | field.is_null()
    return guarantee


def _true_or_unknown(judged: Any) -> np.ndarray:
    known = pc.fill_null(judged, fill_value=True)
    return np.asarray(known.to_pylist() if isinstance(known, pa.ChunkedArray) else known, bool)


def _within(low: Any, high: Any, value: pa.Scalar) -> Any:
    return pc.and_kleene(pc.less_equal(low, value), pc.greater_equal(high, value))


def _any_within(low: Any, high: Any, values: pa.Array) -> Any:
    judged = pa.array(np.zeros(len(low), bool))
    for value in values:
        if value.is_valid:
            judged = pc.or_kleene(judged, _within(low, high, value))
    return judged


_JUDGES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "==": _within,
    "<": lambda low, high, value: pc.less(low, value),
    "<=": lambda low, high, value: pc.less_equal(low, value),
    ">": lambda low, high, value: pc.greater(high, value),
    ">=": lambda low, high, value: pc.greater_equal(high, value),
    "in": _any_within,
}
"""Operators not named here (such as !=) leave nothing out: bounds may be cut outward, and rows may be NaN."""
