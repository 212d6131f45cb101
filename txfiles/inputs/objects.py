"""Python objects of one column: what Arrow would change silently, at any depth.

Arrow chooses the type of a column of Python objects by the first values that it sees, and forces the others into it: a
datetime among dates loses its time, bytes among text become text, naive times among zoned ones count as UTC, and
nanoseconds of pandas' objects are cut. This module checks the objects themselves, through lists and dicts down to the
leaves.

Source: specs/4-semantics.md, "Inputs".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

_is = pa.types

_WHOLE = (int, np.integer)
_FAMILIES: tuple[tuple[Callable[[pa.DataType], bool], tuple[type, ...]], ...] = (
    (_is.is_boolean, (bool, np.bool_)),
    (_is.is_integer, _WHOLE),
    (_is.is_floating, (*_WHOLE, np.floating)),
    (_is.is_decimal, (*_WHOLE, Decimal)),
    (_is.is_binary, (bytes, bytearray, memoryview)),
    (_is.is_string, (str,)),
    (_is.is_date, (date, np.datetime64)),
    (_is.is_timestamp, (datetime, np.datetime64)),
    (_is.is_duration, (timedelta, np.timedelta64)),
)
"""Which Python values make a column of a type, besides null ones; Arrow itself takes True for 1.0, bytes for text."""


class ChangedValueError(Exception):
    """A value that Arrow would change.

    Attributes:
        row: its row.
        value: the value itself, which may lie within the row's.
        reason: why it cannot be kept; None if it just has another type than those before it.
    """

    def __init__(self, row: int, value: Any, reason: str | None = None) -> None:
        super().__init__(row, value, reason)
        self.row, self.value, self.reason = row, value, reason


def is_null(value: Any) -> bool:
    """Whether a value is None, or pandas' NA or NaT; without importing pandas."""
    return value is None or _is_null_kind(type(value))


def kept_type(values: Sequence[Any], to: pa.DataType) -> pa.DataType:
    """The type in which Arrow keeps each of the values.

    Args:
        values: Python objects, nulls among them.
        to: the type that Arrow chose for them.
    Returns:
        `to`, but in nanoseconds if a value has some.
    Raises:
        ChangedValueError: a value that would be changed.
    Cost: O(values), those within lists and dicts counted; numpy arrays are judged by their dtype.
    """
    if _is.is_struct(to):
        return _kept_struct(values, to)
    if _is.is_list(to) or _is.is_large_list(to):
        return _kept_list(values, to)
    allowed = next((kinds for is_it, kinds in _FAMILIES if is_it(to)), None)
    if allowed is None:
        if _is.is_time(to):
            _refuse_zones(values)
        return to
    kinds = set(map(type, values))
    misfits = {kind for kind in kinds if not _fits(kind, allowed)}
    if misfits:
        row = _first_other(values, misfits)
        raise ChangedValueError(row, values[row])
    if _is.is_floating(to) and any(issubclass(kind, _WHOLE) for kind in kinds):
        _refuse_rounded(values)
    if _is.is_timestamp(to):
        return _kept_timestamp(values, to)
    if _is.is_duration(to) and any(getattr(value, "nanoseconds", 0) for value in values):
        return pa.duration("ns")
    return to


def _kept_struct(values: Sequence[Any], to: pa.DataType) -> pa.DataType:
    for row, value in enumerate(values):
        if isinstance(value, Mapping) and not all(isinstance(name, str) for name in value):
            raise ChangedValueError(row, value, "its keys are not all text")
    fields = [
        (f.name, kept_type([value.get(f.name) if isinstance(value, Mapping) else None for value in values], f.type))
        for f in to
    ]
    return pa.struct(fields)


def _kept_list(values: Sequence[Any], to: pa.DataType) -> pa.DataType:
    present = [(row, value) for row, value in enumerate(values) if not is_null(value) and isinstance(value, Iterable)]
    dtypes = {value.dtype if isinstance(value, np.ndarray) else None for _, value in present}
    if len(dtypes) == 1 and not dtypes & {None, np.dtype(object)}:
        return to  # one numpy type, which Arrow takes as it is
    items = list(chain.from_iterable(value for _, value in present))
    try:
        item = kept_type(items, to.value_type)
    except ChangedValueError as found:
        ends = np.cumsum([sum(1 for _ in value) for _, value in present])
        row = present[int(np.searchsorted(ends, found.row, side="right"))][0]
        raise ChangedValueError(row, found.value, found.reason) from None
    return pa.large_list(item) if _is.is_large_list(to) else pa.list_(item)


def _fits(kind: type, allowed: tuple[type, ...]) -> bool:
    if _is_null_kind(kind):
        return True
    # As Python has it a bool is an int and a datetime a date; as values they are not.
    if issubclass(kind, bool):
        return bool in allowed
    if issubclass(kind, datetime):
        return datetime in allowed
    # NaN is null in each column; Arrow refuses other floats among values that are none.
    return issubclass(kind, float) or issubclass(kind, allowed)


def _is_null_kind(kind: type) -> bool:
    return kind is type(None) or (kind.__name__ in ("NAType", "NaTType") and kind.__module__.startswith("pandas."))


def _first_other(values: Sequence[Any], misfits: set[type]) -> int:
    """The first row whose value is not like those before it: a misfit, or what fits where a misfit came first."""
    rows = [(row, type(value) in misfits) for row, value in enumerate(values) if not is_null(value)]
    return next((row for row, misfit in rows if misfit != rows[0][1]), rows[0][0])


def _refuse_rounded(values: Sequence[Any]) -> None:
    """Refuse whole numbers that a float cannot hold: Arrow checks Python's own, but not those of arrays."""
    for row, value in enumerate(values):
        if isinstance(value, _WHOLE) and int(float(value)) != value:
            raise ChangedValueError(row, value, "no float holds it")


def _refuse_zones(values: Sequence[Any]) -> None:
    for row, value in enumerate(values):
        if getattr(value, "tzinfo", None) is not None:
            raise ChangedValueError(row, value, "no type holds times of day with a zone")


def _kept_timestamp(values: Sequence[Any], to: pa.DataType) -> pa.DataType:
    nanoseconds = False
    for row, value in enumerate(values):
        if isinstance(value, datetime) and not is_null(value):
            if (value.tzinfo is not None) != (to.tz is not None):
                raise ChangedValueError(row, value)
            nanoseconds = nanoseconds or bool(getattr(value, "nanosecond", 0))
    return pa.timestamp("ns", to.tz) if nanoseconds else to
