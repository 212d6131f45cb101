"""Values that a caller gives one by one, in filters and look-ups, as values of a column.

Any Python, numpy, pandas or Arrow value is used, or refused with a txfiles error. Arrow's own converter would drop
nanoseconds of pandas times, drop the zone of a time of day, and raise errors of many kinds.

Source: specs/4-semantics.md, "Given values".
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from txfiles.core.messages import shown
from txfiles.errors import InputError
from txfiles.rows import dedup, types
from txfiles.rows.casts import cast_lossless, exact_or_null
from txfiles.rows.text import from_text
from txfiles.rows.typenames import type_text

_MOST_DIGITS = 76
_NO_VALUE = ("NaTType", "NAType")
"""What pandas writes for null; checked by name, since a filter must not import pandas."""

_ARROW_UNITS = ("s", "ms", "us", "ns")
_COARSE = ("Y", "M", "W", "D", "h", "m")
_DAYS = ("Y", "M", "W", "D")


def is_null(value: Any) -> bool:
    """Whether a value stands for null. A NaN is a value."""
    if isinstance(value, pa.Scalar):
        return not value.is_valid
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return value is None or type(value).__name__ in _NO_VALUE


def as_column(values: Any, t: pa.DataType, name: str, *, texts: bool = False, absent: bool = False) -> pa.Array:
    """Values as an array of a column's type, in their order.

    Args:
        values: an Arrow array, or single values of any kinds.
        t: the column's type, normal.
        name: the column's, for messages.
        texts: whether a text is read as a value of another type than text.
        absent: whether a value that the column cannot hold becomes null instead of an error.
    Raises:
        InputError: a value that is not one of the type; of its kinds, what casts raise.
    Cost: vectorised over the values of one kind.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return _cast(values, t, name, texts=texts, absent=absent)
    kinds: dict[Hashable, list[int]] = {}
    for position, value in enumerate(values):
        kinds.setdefault(None if is_null(value) else _kind(value), []).append(position)
    parts = []
    for kind, positions in kinds.items():
        if kind is None:
            parts.append(pa.nulls(len(positions), t))
            continue
        found = _array([values[position] for position in positions], t)
        parts.append(_cast(found, t, name, texts=texts, absent=absent))
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate([*kinds.values(), []]).astype(np.int64))
    return pa.concat_arrays(parts).take(pa.array(order)) if parts else pa.array([], t)


def _cast(given: pa.Array | pa.ChunkedArray, t: pa.DataType, name: str, *, texts: bool, absent: bool) -> pa.Array:
    if texts and not pa.types.is_string(t) and pa.types.is_string(types.normalise(given.type)):
        return from_text(given, t)
    if absent:
        dedup.refuse_ambiguous(pa.chunked_array([given]) if isinstance(given, pa.Array) else given, t, name)
    chunks = (exact_or_null if absent else cast_lossless)(given, t, name=name).chunks
    return pa.concat_arrays(chunks) if chunks else pa.array([], t)


def _kind(value: Any) -> Any:
    """Values of one kind are converted together."""
    if isinstance(value, pa.Scalar):
        return value.type
    if isinstance(value, np.datetime64 | np.timedelta64):
        return value.dtype
    if isinstance(value, datetime):
        return type(value), value.tzinfo is None
    return type(value)


def _array(values: Sequence[Any], t: pa.DataType) -> pa.Array:
    """Values of one kind, none of them null, in an Arrow type of their own."""
    try:
        return _convert(values, t)
    except InputError:
        raise
    # What Arrow raises for a value depends on where in it the value is looked at.
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError, AttributeError) as error:
        raise _misfit(shown(values[0]), t) from error


def _convert(values: Sequence[Any], t: pa.DataType) -> pa.Array:
    first = values[0]
    if isinstance(first, datetime | timedelta) and hasattr(first, "asm8"):  # pandas': it may have nanoseconds
        zoned = isinstance(first, datetime) and first.tzinfo is not None
        return _times(np.array([value.asm8 for value in values]), t, "UTC" if zoned else None)
    if isinstance(first, np.datetime64 | np.timedelta64):
        return _times(np.array(values, first.dtype), t, None)
    if isinstance(first, time) and any(value.tzinfo is not None for value in values):
        raise InputError("a time of day has no zone in a table", hint="give it without tzinfo")
    if isinstance(first, Decimal) and not all(value.is_finite() for value in values):
        raise _misfit(next(str(value) for value in values if not value.is_finite()), t)
    if isinstance(first, int) and not isinstance(first, bool) and any(abs(v) >= 2**63 for v in values):
        if any(abs(value) >= 10**_MOST_DIGITS for value in values):
            raise _misfit(f"a number of more than {_MOST_DIGITS} digits", t)
        return pa.array([Decimal(int(value)) for value in values], pa.decimal256(_MOST_DIGITS, 0))
    if isinstance(first, pa.Scalar):
        return pa.array(values, first.type)
    return pa.array(values, from_pandas=False)


def _times(values: np.ndarray, t: pa.DataType, zone: str | None) -> pa.Array:
    """Times or durations of numpy, whose units Arrow has or not."""
    unit = np.datetime_data(values.dtype)[0]
    is_date = values.dtype.kind == "M"
    if not is_date and unit in ("Y", "M", "generic"):
        raise InputError(f"{shown(values[0])} has no fixed length", hint="give a duration in days or smaller units")
    if is_date and unit in _DAYS and pa.types.is_date(t):
        days = _exactly(values, "D").astype(np.int64)
        return pa.array(days, pa.int64()).cast(pa.int32()).view(pa.date32())
    known = unit if unit in _ARROW_UNITS else "s" if unit in _COARSE else "ns"
    counts = pa.array(_exactly(values, known).astype(np.int64), pa.int64())
    return counts.view(pa.timestamp(known, zone) if is_date else pa.duration(known))


def _exactly(values: np.ndarray, unit: str) -> np.ndarray:
    """The same times in another unit; numpy itself wraps and cuts."""
    found = values.astype(f"{values.dtype.kind}8[{unit}]")
    if (found.astype(values.dtype) != values).any():
        raise InputError(
            f"{shown(values[0])} has no exact value in a unit that a table has",
            hint="give it in seconds, milliseconds, microseconds or nanoseconds",
        )
    return found


def _misfit(what: str, t: pa.DataType) -> InputError:
    return InputError(f"{what} is not a value of type {type_text(t)}", hint=f"give values of type {type_text(t)}")
