"""A batch's keys: they must be present, not null, and unique.

Source: specs/4-semantics.md, "Keys" and "Duplicates".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.messages import LISTED, few, nearest, one_of
from txfiles.errors import (
    DuplicateKeyError,
    KeyColumnNotFoundError,
    LossyCastError,
    NullKeyError,
    OptionError,
    SchemaMismatchError,
    UnsupportedTypeError,
)
from txfiles.rows import types
from txfiles.rows.equality import same_rows
from txfiles.rows.text import shown, to_python
from txfiles.rows.typenames import type_text
from txfiles.rows.widening import MANTISSA_BITS

STRATEGIES = ("error", "newest_wins", "first_wins", "last_wins")
"""What to do with several rows of one key."""

ROWS_NAMED = 10
"""Row positions that a message names; the count says how many there are."""

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def check_keys(batch: pa.Table, keys: Sequence[str]) -> None:
    """Check that every key column is there, has a suitable type, and no nulls.

    Raises:
        KeyColumnNotFoundError: a key column is not in the batch.
        UnsupportedTypeError: a key column's type cannot be compared as a key.
        NullKeyError: a key column holds nulls.
    Cost: O(columns); nulls are counted already, but for dictionaries.
    """
    for name in keys:
        if name not in batch.column_names:
            raise column_not_found("key column", name, batch.column_names)
    for name in keys:
        column = batch[name]
        if not types.is_key_type(column.type) and not pa.types.is_null(column.type):
            raise UnsupportedTypeError(
                f"column {name!r} of type {type_text(column.type)} cannot be a key",
                hint="integer, string, binary, boolean, date, timestamp and decimal columns can",
                column=name,
                type=type_text(column.type),
            )
        refuse_nulls(column, name)


def refuse_nulls(column: pa.ChunkedArray, name: str) -> None:
    """Check that a key column, in its own type or as it was given, has no null and no NaN.

    Raises:
        NullKeyError: it has; names the column, how many and the first rows.
    """
    rows = np.flatnonzero(nulls(column))
    if not len(rows):
        return
    what = "1 row has" if len(rows) == 1 else f"{len(rows)} rows have"
    raise NullKeyError(
        f"{what} a null in key column {name!r} ({_rows(rows)}); nothing was written",
        hint="drop or fill them, or choose other keys",
        column=name,
        count=len(rows),
        rows=rows[:ROWS_NAMED].tolist(),
    )


def nulls(column: pa.ChunkedArray) -> Mask:
    """Where a key column has no value: null, or NaN."""
    return np.asarray(pc.is_null(_plain(column), nan_is_null=True), np.bool_)


def refuse_ambiguous(column: pa.ChunkedArray, to: pa.DataType, name: str) -> None:
    """Refuse a float that may stand for several integer keys.

    From 2**53 on (2**24 for float32) neighbouring integers become the same float, so an id that was read into a float
    may be lost: another row would be updated.

    Args:
        column: a key column as it was given.
        to: the type of the table's column.
        name: the column's name.
    Raises:
        LossyCastError: names the first such row.
    """
    t = types.normalise(column.type)
    if not pa.types.is_floating(t) or not pa.types.is_integer(to):
        return
    limit = 2.0 ** MANTISSA_BITS[t.bit_width]
    size = np.abs(_plain(column).cast(pa.float64()).fill_null(0).to_numpy())
    rows = np.flatnonzero(size >= limit)
    if len(rows):
        row = int(rows[0])
        value = column[row].as_py()
        raise LossyCastError(
            f"column {name!r}: row {row} holds the float {value:.0f}, which stands for several integers; "
            "nothing was written",
            hint=f"read the column as integers or as text: a float holds each of them only below {limit:.0f}",
            column=name,
            row=row,
            value=value,
        )


def column_not_found(
    role: str, name: str, columns: Sequence[str], index: Sequence[str] = ()
) -> KeyColumnNotFoundError | SchemaMismatchError:
    """The error for a column that a write needs for a role.

    Args:
        role: "key column", "timestamp_col" or "partition column".
        name: the column.
        columns: what the data has.
        index: names in the index of a DataFrame, which is not written.
    """
    kind = KeyColumnNotFoundError if role == "key column" else SchemaMismatchError
    if name in index:
        return kind(
            f"{role} {name!r} not found in the data: it is in the DataFrame's index, which is not written",
            hint="make it a column: df.reset_index()",
            column=name,
            columns=tuple(columns),
        )
    return kind(
        f"{role} {name!r} not found in the data{nearest(name, columns)}",
        hint=f"the columns are {few(columns)}",
        column=name,
        columns=tuple(columns),
    )


def check_timestamp_type(t: pa.DataType, name: str) -> None:
    """Check that a timestamp column's type can be ordered.

    Raises:
        UnsupportedTypeError: it cannot.
    """
    if not types.is_orderable(t) and not pa.types.is_null(t):
        raise UnsupportedTypeError(
            f"timestamp_col {name!r} of type {type_text(t)} cannot be ordered",
            hint="use a column of numbers, text, dates or times",
            column=name,
        )


def deduplicate(
    batch: pa.Table, encoded: pa.Array, strategy: str, timestamp_col: str | None, *, keys: Sequence[str] = ()
) -> Positions | None:
    """Which rows of a batch to keep so that each key occurs once.

    Rows that are equal in every column count as one row under every strategy.

    Args:
        batch: n rows.
        encoded: their key codes, none of them null.
        strategy: ``error``; ``newest_wins`` (greatest timestamp; null and NaN are oldest; of equals the later
            row); ``first_wins`` or ``last_wins`` by position.
        timestamp_col: by which rows are newer.
        keys: the key columns, for messages.
    Returns:
        Positions to keep, ascending; None is all.
    Raises:
        DuplicateKeyError: the strategy is ``error``, and rows of one key differ.
        OptionError: an unknown strategy, or ``newest_wins`` without `timestamp_col`.
    Cost: O(n); rows with repeated keys are sorted by key.
    """
    _check_strategy(batch, strategy, timestamp_col)
    if _ascending(encoded):
        return None
    groups = encoded.dictionary_encode().indices.to_numpy().astype(np.int64)
    sizes = np.bincount(groups)
    if sizes.max() == 1:
        return None
    rows = np.flatnonzero(sizes[groups] > 1)
    keep = np.ones(len(groups), np.bool_)
    keep[rows] = False
    keep[_winners(batch, rows, groups[rows], strategy=strategy, timestamp_col=timestamp_col, keys=keys)] = True
    return np.flatnonzero(keep)


def older(a: pa.Array | pa.ChunkedArray, b: pa.Array | pa.ChunkedArray) -> Mask:
    """Where `a` is strictly older than `b`: null and NaN are oldest, and equally old.

    Args:
        a: n values of an orderable type.
        b: n values of the same type.
    """
    left, right = _times(a), _times(b)
    before = np.asarray(pc.less(left, right).fill_null(fill_value=False), np.bool_)
    mask: Mask = before | (np.asarray(left.is_null()) & np.asarray(right.is_valid()))
    return mask


def ranks(column: pa.Array | pa.ChunkedArray) -> Positions:
    """Numbers that order rows as their times do: equal for equal times, least for null and NaN.

    Cost: O(n log n).
    """
    times = _times(column)
    numbers: Positions = np.array(pc.rank(times, sort_keys="ascending", tiebreaker="dense"), np.int64)
    numbers[np.asarray(times.is_null())] = 0  # dense ranks begin at 1
    return numbers


def _check_strategy(batch: pa.Table, strategy: str, timestamp_col: str | None) -> None:
    if strategy not in STRATEGIES:
        raise OptionError(
            f"dedup_strategy {strategy!r} is unknown{nearest(strategy, STRATEGIES)}",
            hint=f"dedup_strategy is {one_of(STRATEGIES)}",
        )
    if strategy != "newest_wins":
        return
    if timestamp_col is None:
        raise OptionError(
            "dedup_strategy 'newest_wins' requires 'timestamp_col'",
            hint="say which column tells newer rows from older ones",
        )
    if timestamp_col not in batch.column_names:
        raise column_not_found("timestamp_col", timestamp_col, batch.column_names)
    check_timestamp_type(batch[timestamp_col].type, timestamp_col)


def _ascending(encoded: pa.Array) -> bool:
    """Whether each code is greater than the one before it, as those of sorted input are: then none repeats."""
    return len(encoded) <= 1 or bool(pc.all(pc.less(encoded[:-1], encoded[1:])).as_py())


def _winners(
    batch: pa.Table,
    rows: Positions,
    groups: Positions,
    *,
    strategy: str,
    timestamp_col: str | None,
    keys: Sequence[str],
) -> Positions:
    """One row of each group.

    Args:
        batch: the batch.
        rows: k positions, ascending.
        groups: the group that each of them belongs to.
        strategy: who wins.
        timestamp_col: for ``newest_wins``.
        keys: for messages.
    """
    if strategy == "newest_wins":
        by_group = np.lexsort((rows, ranks(batch[timestamp_col].take(pa.array(rows))), groups))
    else:
        by_group = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[by_group], prepend=-1))
    ends = np.append(starts[1:], len(by_group))
    if strategy == "error":
        _refuse_different(batch, rows[by_group], starts, ends, keys)
    return rows[by_group[starts if strategy in ("error", "first_wins") else ends - 1]]


def _refuse_different(
    batch: pa.Table, rows: Positions, starts: Positions, ends: Positions, keys: Sequence[str]
) -> None:
    """Raise unless rows of one key are equal in every column.

    Args:
        batch: the batch.
        rows: positions, group after group, groups in the order in which they first occur.
        starts: where each group begins in `rows`.
        ends: and ends.
        keys: for messages.
    """
    first = np.repeat(rows[starts], ends - starts)
    equal = np.logical_and.reduceat(same_rows(batch.take(pa.array(rows)), batch.take(pa.array(first))), starts)
    different = np.flatnonzero(~equal)
    if not len(different):
        return
    named = [rows[starts[group] : ends[group]] for group in different[:LISTED]]
    values = [key_of(batch, int(positions[0]), keys) for positions in named]
    told = "; ".join(f"{shown_key(batch, int(positions[0]), keys)} ({_rows(positions)})" for positions in named)
    more = f"; and {len(different) - LISTED} more" if len(different) > LISTED else ""
    what = "1 key has" if len(different) == 1 else f"{len(different)} keys have"
    raise DuplicateKeyError(
        f"{what} several rows in the batch that differ: {told}{more}; nothing was written",
        hint="remove them, or say which row wins with dedup_strategy='newest_wins', 'first_wins' or 'last_wins'",
        keys=values,
        count=len(different),
        rows=[positions[:ROWS_NAMED].tolist() for positions in named],
    )


def key_of(batch: pa.Table, row: int, keys: Sequence[str]) -> Any:
    """The key of a row, or a tuple where it has several columns, as Python values."""
    values = tuple(to_python(batch[name].slice(row, 1)) for name in keys)
    return values[0] if len(values) == 1 else values


def shown_key(batch: pa.Table, row: int, keys: Sequence[str]) -> str:
    """The key of a row for a message."""
    values = ", ".join(shown(batch[name].slice(row, 1)) for name in keys)
    return values if len(keys) == 1 else f"({values})"


def _rows(rows: Positions) -> str:
    more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:ROWS_NAMED]))}{more}"


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return pa.chunked_array([types.decode(chunk) for chunk in chunks], types.normalise(column.type))


def _times(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as Arrow can compare and rank them, with null for NaN."""
    values = _plain(column)
    if pa.types.is_null(values.type) or pa.types.is_boolean(values.type):
        return values.cast(pa.uint8())
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values
