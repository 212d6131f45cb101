"""pandas frames in and out. The only module that imports pandas.

In: pyarrow's conversion of each column, except that nothing may change silently (see `objects`), and that a float64
column without a single value has no type, like a column of None: `read_csv` makes such a column of any empty one. Out:
pyarrow's conversion of each column, except that integers never pass through floats.

Source: specs/4-semantics.md, "Inputs" and "Reading".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from txfiles.core.messages import shown
from txfiles.core.search import first_bad
from txfiles.errors import LossyCastError, OptionError, SchemaMismatchError, UnsupportedTypeError
from txfiles.inputs.objects import ChangedValueError, is_null, kept_type
from txfiles.rows.typenames import type_text

BACKENDS = ("numpy_nullable", "pyarrow")

_REFUSALS = (pa.ArrowException, TypeError, ValueError, OverflowError, KeyError)
"""What pyarrow raises for values that it cannot convert; UnicodeEncodeError is a ValueError, an unknown zone to
pandas before 3 a KeyError."""

_INTEGERS: dict[pa.DataType, Any] = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_NULLABLE: dict[pa.DataType, Any] = _INTEGERS | {
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.string(): pd.StringDtype(),
    pa.large_string(): pd.StringDtype(),
}


def from_pandas(frame: pd.DataFrame) -> pa.Table:
    """The rows of a frame, without its index. NaN in numpy-backed columns is null, as pandas means it.

    Raises:
        SchemaMismatchError: column names that are repeated, nested or not text; a column of mixed values.
        UnsupportedTypeError: a column that Arrow cannot hold.
    Cost: mostly without a copy; object columns value by value.
    """
    _check_names(frame)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except _REFUSALS as error:
        for name in frame.columns:
            _from_series(frame[name], name)
        # Each column alone converts, so the refusal was about something else.
        raise UnsupportedTypeError(f"the DataFrame cannot be converted: {error}") from error
    for at, name in enumerate(table.column_names):
        column = table.column(at)
        if frame[name].dtype == object:
            table = table.set_column(at, name, _exact(frame[name], name, column))
        elif frame[name].dtype == np.float64 and column.null_count == len(column) > 0:
            table = table.set_column(at, name, pa.nulls(len(column)))
    return table.replace_schema_metadata(None)


def arrow_type(dtype: Any) -> pa.DataType:
    """Arrow's type for one of pandas'; of categories, the type of their values.

    Raises:
        UnsupportedTypeError: Arrow has none, or the type does not say what its categories are.
    """
    try:
        found = pa.Array.from_pandas(pd.Series([], dtype=dtype() if isinstance(dtype, type) else dtype)).type
    except (*_REFUSALS, AttributeError) as error:
        raise UnsupportedTypeError(f"Arrow has no type for pandas' {dtype}: {error}") from error
    if pa.types.is_dictionary(found) and pa.types.is_null(found.value_type):
        raise UnsupportedTypeError(
            f"pandas' {dtype} does not say which type its values have", hint="pass the type of the values"
        )
    return found


def to_pandas(table: pa.Table, dtype_backend: str | None = None) -> pd.DataFrame:
    """The rows of a table.

    Args:
        table: any; columns of one name are kept apart.
        dtype_backend: None: numpy types, and pandas' nullable ones for integers and booleans that hold nulls;
            or one of `BACKENDS`, as in pandas.
    Returns:
        Timestamps in their unit and zone, dates and decimals as Python objects, nested values as lists and dicts,
        null in a float column as NaN.
    Raises:
        OptionError: another `dtype_backend`.
        UnsupportedTypeError: a value that Python's own dates, times or zones cannot hold; names the column.
    Cost: a copy of most columns; nested ones value by value.
    """
    if dtype_backend is not None and dtype_backend not in BACKENDS:
        raise OptionError(
            f"dtype_backend={dtype_backend!r} is unknown", hint=f"use {', '.join(map(repr, BACKENDS))} or None"
        )
    columns = {
        str(at): _named_series(table.column_names[at], column, dtype_backend) for at, column in enumerate(table.columns)
    }
    frame = pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows), copy=False)
    frame.columns = pd.Index(table.column_names, dtype="str" if table.num_columns else object)
    return frame


def _named_series(name: str, column: pa.ChunkedArray, dtype_backend: str | None) -> pd.Series:
    try:
        return _to_series(column, dtype_backend)
    except _REFUSALS as error:
        raise UnsupportedTypeError(
            f"column {name!r} of type {type_text(column.type)} cannot be stored in a DataFrame of this kind: {error}",
            hint="dtype_backend='pyarrow' and to_arrow() keep every value",
            column=name,
        ) from error


def _to_series(column: pa.ChunkedArray, dtype_backend: str | None) -> pd.Series:
    if dtype_backend == "pyarrow":
        return column.to_pandas(types_mapper=pd.ArrowDtype)
    if pa.types.is_nested(column.type):
        # pyarrow would make float arrays of integer lists that hold nulls.
        return pd.Series(column.to_pylist(), dtype=object)
    mapper: Callable[[pa.DataType], Any] | None = None
    if dtype_backend == "numpy_nullable":
        mapper = _NULLABLE.get
    elif column.null_count:
        mapper = _INTEGERS.get
    return column.to_pandas(types_mapper=mapper)


def _check_names(frame: pd.DataFrame) -> None:
    if isinstance(frame.columns, pd.MultiIndex):
        raise SchemaMismatchError(
            f"the DataFrame has column names of {frame.columns.nlevels} levels",
            hint="join them: df.columns = ['_'.join(map(str, c)) for c in df.columns]",
        )
    for name in frame.columns:
        if not isinstance(name, str):
            raise SchemaMismatchError(
                f"column name {name!r} is not text", hint="df.columns = df.columns.astype(str)", column=name
            )
    if not frame.columns.is_unique:
        name = frame.columns[frame.columns.duplicated()][0]
        raise SchemaMismatchError(f"two columns are named {name!r}", hint="rename one", column=name)


def _from_series(series: pd.Series, name: str) -> pa.Array:
    try:
        return pa.array(series, from_pandas=True)
    except _REFUSALS as error:
        if series.dtype != object:
            raise UnsupportedTypeError(
                f"column {name!r} of type {series.dtype} cannot be converted: {error}",
                hint="convert the column, for example by .astype(str)",
                column=name,
            ) from error
        raise _mixed(series, name, _first_refused(series), error) from error


def _first_refused(series: pd.Series) -> int:
    """The first row that does not convert together with those before it."""
    return first_bad(len(series), lambda _, end: _converts(series.iloc[:end]))


def _converts(series: pd.Series) -> bool:
    try:
        pa.array(series, from_pandas=True)
    except _REFUSALS:
        return False
    return True


def _exact(series: pd.Series, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """The converted column, unless pyarrow changed values to make it of one type."""
    try:
        kept = kept_type(series.tolist(), column.type)
    except ChangedValueError as found:
        raise _mixed(series, name, found.row, found.reason, found.value) from None
    return column if kept == column.type else _in_nanoseconds(series, name, kept)


def _in_nanoseconds(series: pd.Series, name: str, to: pa.DataType) -> pa.Array:
    """Nanoseconds kept: pyarrow takes the microseconds of pandas' objects."""
    try:
        return pa.array(series, to, from_pandas=True)
    except _REFUSALS as error:
        raise LossyCastError(
            f"column {name!r} has both nanoseconds and times that {to} cannot hold: {error}",
            hint="round it to microseconds, or drop what is beyond the years 1677 to 2262",
            column=name,
        ) from error


def index_names(frame: pd.DataFrame) -> tuple[str, ...]:
    """The named levels of a frame's index that are not columns as well."""
    return tuple(str(name) for name in frame.index.names if name is not None and name not in frame.columns)


def _mixed(series: pd.Series, name: str, row: int, reason: object = None, value: Any = None) -> SchemaMismatchError:
    """The error for a value that cannot be kept: that of a row, or `value` within it."""
    whole = series.iloc[row]
    value = whole if value is None else value
    within = "" if value is whole else " holds"
    told = f"row {row}{within or ' is'} a {type(value).__name__} ({shown(value)})"
    reason = f": {reason}" if reason is not None else ""
    alike = len({type(each) for each in series if not is_null(each)}) == 1
    # Naive and zoned datetimes are of one class, and mixed; what lies within lists may be, too.
    if alike and value is whole and not isinstance(value, datetime):
        message = f"column {name!r}: {told}, which cannot be kept{reason}"
    else:
        message = f"column {name!r} mixes types: {told}{reason}"
    return SchemaMismatchError(
        message,
        hint="make its values of one type, for example by .astype(str)",
        column=name,
        row=row,
        value=value,
    )
