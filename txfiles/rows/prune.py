"""Which files or row groups a filter can leave out, by their recorded bounds. Sound: unknown means "may match".

Conditions `(column, op, value)` are judged for all files at once. An Arrow expression is judged by Arrow's own
simplifier, which is given the bounds as a guarantee: first those of whole blocks of neighbouring files, then those of
the files in the remaining blocks.

Source: specs/4-semantics.md, "Filters".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BLOCKS = (4_096, 64, 1)
"""How many files are judged as one, in turn: the simplifier takes about 50 µs for each, however many it stands for."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about one column: three arrays, one entry per file, null if not known.

    Attributes:
        low: a lower bound of the values that are not null.
        high: an upper bound of them.
        nulls: how many nulls; None: not known for any file.
    """

    low: Any
    high: Any
    nulls: Any = None


Bounds = Callable[[str], Known | None]
"""What is known about a column; None: nothing."""

Condition = tuple[str, str, Any]
"""(column, op, scalar of the column's type, or an array of them for in / not in)."""


def by_conditions(bounds: Bounds, count: int, conditions: Sequence[Condition]) -> np.ndarray:
    """Which of `count` files may hold a row that meets all conditions. Cost: vectorised over the files."""
    may = np.ones(count, bool)
    for column, op, value in conditions:
        known = bounds(column)
        judge = _JUDGES.get(op)
        if known is not None and judge is not None:
            may &= _true_or_unknown(judge(known.low, known.high, value))
    return may


def by_expression(
    bounds: Bounds, count: int, where: pc.Expression, schema: pa.Schema, columns: Sequence[str]
) -> np.ndarray:
    """Which of `count` files may hold a row for which the expression is true.

    Args:
        bounds: what is known about the files.
        count: how many files there are.
        where: the expression.
        schema: the table's.
        columns: those that the expression names.
    Cost: vectorised, and about 50 µs for each block of files and each file that bounds alone do not leave out.
    """
    known = {name: found for name in columns if _is_judged(schema.field(name).type) and (found := bounds(name))}
    may = np.zeros(count, bool)
    if not known or not count or _may_have_nan(str(where), columns):
        return ~may
    order, listed = _in_order(known, count)
    left = np.arange(count)
    for size in BLOCKS:
        if size == 1:
            left = left[_may_match(listed.take(left), where, schema, tuple(known))]
        elif len(left) > size:
            blocks, place = np.unique(left // size, return_inverse=True)
            merged = _merged(listed.take(left), place, tuple(known))
            assert merged.num_rows == len(blocks)
            left = left[_may_match(merged, where, schema, tuple(known))[place]]
    may[order[left]] = True
    return may


_DECIMAL = re.compile(r"decimal[0-9]+\([-0-9, ]+\)")
_NAN = re.compile(r"\bnan\b", re.IGNORECASE)
_INNERMOST_CALL = re.compile(r"\w\(([^()]*)\)")


def _may_have_nan(where: str, columns: Sequence[str]) -> bool:
    """Whether an expression compares with NaN, or with a constant that is computed and so may be NaN.

    The simplifier turns ``~(x < nan)``, which is true, into ``x >= nan``, which is false.
    """
    calls = _INNERMOST_CALL.findall(_DECIMAL.sub("", where))
    return bool(_NAN.search(where)) or not all(any(name in said for name in columns) for said in calls)


def _is_judged(kind: pa.DataType) -> bool:
    """Whether Arrow compares values of the type, and bounds of it are therefore a guarantee."""
    return not (pa.types.is_nested(kind) or pa.types.is_null(kind) or pa.types.is_float16(kind))


def _in_order(known: dict[str, Known], count: int) -> tuple[np.ndarray, pa.Table]:
    """The files sorted by their lower bounds, so that neighbours are alike: their positions, and what is known."""
    columns: dict[str, Any] = {}
    for number, found in enumerate(known.values()):
        nulls = pa.nulls(count, pa.int64()) if found.nulls is None else found.nulls
        columns |= {f"low {number}": found.low, f"high {number}": found.high, f"nulls {number}": nulls}
    listed = pa.table(columns)
    order = pc.sort_indices(listed, sort_keys=[(f"low {number}", "ascending") for number in range(len(known))])
    return order.to_numpy(), listed.take(order)


def _merged(files: pa.Table, block: np.ndarray, names: Sequence[str]) -> pa.Table:
    """What is known of each block of files: unknown where it is of one of them. In the order of blocks."""
    strict = pc.ScalarAggregateOptions(skip_nulls=False)
    wanted, columns = [], []
    for number in range(len(names)):
        wanted.append((f"nulls {number}", "sum", strict))
        columns.append((f"nulls {number}", f"nulls {number}_sum"))
        if not pa.types.is_duration(files[f"low {number}"].type):  # Arrow finds no least of these
            wanted += [(f"low {number}", "min", strict), (f"high {number}", "max", strict)]
            columns += [(f"low {number}", f"low {number}_min"), (f"high {number}", f"high {number}_max")]
    merged = files.append_column("block", pa.array(block)).group_by("block", use_threads=False).aggregate(wanted)
    merged = merged.sort_by("block")
    return pa.table({name: merged[found] for name, found in columns})


def _may_match(files: pa.Table, where: pc.Expression, schema: pa.Schema, names: Sequence[str]) -> np.ndarray:
    """Which files, or blocks of them, Arrow's simplifier does not leave out."""
    import pyarrow.dataset as ds  # here: it imports pandas where there is one, 0.2 s that only this needs
    import pyarrow.fs as pafs

    layout = ds.ParquetFileFormat()
    local = pafs.LocalFileSystem()
    known = [
        (pc.field(name), *(files[f"{what} {number}"].combine_chunks() for what in ("low", "high", "nulls")))
        for number, name in enumerate(names)
        if f"low {number}" in files.column_names
    ]
    fragments = [
        layout.make_fragment(str(number), local, partition_expression=_guarantee(known, number))
        for number in range(files.num_rows)
    ]
    may = np.zeros(files.num_rows, bool)
    dataset = ds.FileSystemDataset(fragments, schema, layout, local)
    for fragment in dataset.get_fragments(filter=where):
        may[int(fragment.path)] = True
    return may


def _guarantee(known: Sequence[tuple[pc.Expression, pa.Array, pa.Array, pa.Array]], number: int) -> pc.Expression:
    """What is true of each row. In the one form that the simplifier sees through: comparisons joined by `and`."""
    guarantee = pc.scalar(value=True)
    for field, lows, highs, nulls in known:
        least, most = lows[number], highs[number]
        sides = [side for side, bound in ((field >= least, least), (field <= most, most)) if bound.is_valid]
        for side in sides:
            guarantee &= side if nulls[number].as_py() == 0 else side | field.is_null()
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
