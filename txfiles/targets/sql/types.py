"""How Arrow values travel to a database and back: lossless, or refused by name.

A column is stored in a *wire* type, which each dialect chooses; the ledger records the Arrow type. Times are stored
in microseconds whatever their unit, zoned ones in UTC, durations as a count of microseconds. A value that would
change on the way is an error that names column and row.

Source: specs/10-sql.md, "Types".
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.errors import CorruptTableError, InputError, LossyCastError, UnsupportedTypeError
from txfiles.rows.casts import cast_lossless
from txfiles.rows.text import from_text, shown, to_text
from txfiles.rows.typenames import type_text
from txfiles.rows.types import normalise

Kind = Literal[
    "bool", "int", "uint64", "float", "text", "binary", "date", "naive", "zoned", "time", "duration", "decimal"
]

US = pa.timestamp("us")
UTC = pa.timestamp("us", "UTC")
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31: what every database and driver has a calendar for."""
DAY_US = 86_400_000_000


def kind_of(t: pa.DataType, name: str) -> Kind:
    """What kind of values a column has.

    Raises:
        UnsupportedTypeError: a type that SQL tables do not take; names the column.
    """
    is_ = pa.types
    kinds: tuple[tuple[Kind, bool], ...] = (
        ("bool", is_.is_boolean(t)),
        ("uint64", t == pa.uint64()),
        ("int", is_.is_integer(t)),
        ("float", is_.is_floating(t)),
        ("text", is_.is_string(t)),
        ("binary", is_.is_binary(t) or is_.is_fixed_size_binary(t)),
        ("date", is_.is_date(t)),
        ("naive", is_.is_timestamp(t) and t.tz is None),
        ("zoned", is_.is_timestamp(t)),
        ("time", is_.is_time(t)),
        ("duration", is_.is_duration(t)),
        ("decimal", is_.is_decimal(t)),
    )
    found = next((kind for kind, holds in kinds if holds), None)
    if found is None:
        empty = is_.is_null(t)
        raise UnsupportedTypeError(
            f"column {name!r} has no value, and so no type that a SQL table could give it"
            if empty
            else f"column {name!r} of type {type_text(t)} cannot be stored in a SQL table",
            hint=f"say its type: schema={{{name!r}: 'string'}}, or cast it" if empty else None,
            column=name,
        )
    return found


def encode(column: pa.ChunkedArray, name: str, wire: pa.DataType) -> pa.ChunkedArray:
    """A column's values in a wire type.

    Raises:
        LossyCastError: a value that the wire type cannot hold; names column and row.
    """
    kind = kind_of(normalise(column.type), name)
    is_text = pa.types.is_string(wire)
    if kind in ("date", "naive", "zoned"):
        refuse_years(column, name)
    if kind == "duration":
        micros = cast_lossless(column, pa.duration("us"), name=name)
        return micros.cast(pa.int64())
    if kind in ("naive", "zoned"):
        micros = cast_lossless(column, US if kind == "naive" else UTC, name=name)
        if not is_text:
            return micros
        text = micros.cast(US).cast(pa.string())
        return text if kind == "naive" else pc.binary_join_element_wise(text, "+00:00", "")
    if kind == "time":
        micros = cast_lossless(column, pa.time64("us"), name=name)
        return micros.cast(pa.string()) if is_text else micros
    if kind == "date":
        days = cast_lossless(column, pa.date32(), name=name)
        return days.cast(pa.string()) if is_text else days
    if kind == "decimal" and is_text:
        return pa.chunked_array([to_text(column)])
    if kind == "bool":
        return column.cast(pa.uint8()).cast(wire) if pa.types.is_integer(wire) else column
    return cast_lossless(column, wire, name=name)


def decode(values: pa.ChunkedArray, t: pa.DataType, name: str) -> pa.ChunkedArray:
    """The inverse of `encode`.

    Raises:
        CorruptTableError: a value that does not fit the recorded type: somebody else wrote it.
    """
    try:
        if pa.types.is_duration(t):
            return values.cast(pa.int64()).cast(pa.duration("us")).cast(t)
        if pa.types.is_boolean(t) and pa.types.is_integer(values.type):
            return values.cast(pa.uint8()).cast(t)
        if pa.types.is_timestamp(t) and pa.types.is_string(values.type):
            return values.cast(UTC if t.tz else US).cast(t)
        if pa.types.is_fixed_size_binary(t):
            return values.cast(t)
        if pa.types.is_time(t) and pa.types.is_string(values.type):
            return pa.chunked_array([from_text(values, pa.time64("us"))]).cast(t)
        if pa.types.is_time(t) or pa.types.is_date(t):
            exact = pa.time64("us") if pa.types.is_time(t) else pa.date32()
            return values.cast(exact).cast(t)
        return values.cast(t)
    except (pa.ArrowException, InputError) as error:
        raise CorruptTableError(
            f"column {name!r} has a value that is not of its type {type_text(t)}: {error}",
            hint="another program has written to the table; correct the value",
            column=name,
        ) from error


def refuse(column: pa.ChunkedArray, bad: pa.ChunkedArray, name: str, why: str, hint: str | None = None) -> None:
    """Refuse values that a database would not give back.

    Raises:
        LossyCastError: there are some; names the column and the first row.
    """
    rows = np.flatnonzero(bad.fill_null(fill_value=False).to_numpy())
    if len(rows):
        row = int(rows[0])
        raise LossyCastError(
            f"column {name!r} has {shown(column.slice(row, 1))} in row {row}, {why}; nothing was written",
            hint=hint or "change the value, or write to another kind of table",
            column=name,
            row=row,
        )


def refuse_years(column: pa.ChunkedArray, name: str) -> None:
    """Refuse dates and times outside the years 1 to 9999."""
    t = column.type
    per_day = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    if pa.types.is_date32(t):
        scale, ticks = 1, column.cast(pa.int32()).cast(pa.int64())
    else:
        scale = 86_400 * per_day["ms" if pa.types.is_date64(t) else t.unit]
        ticks = column.cast(pa.int64())
    low, high = FIRST_DAY * scale, (LAST_DAY + 1) * scale - 1
    if low >= -(2**63) and high < 2**63:
        bad = pc.or_(pc.less(ticks, low), pc.greater(ticks, high))
        refuse(column, bad, name, "which is not in the years 1 to 9999")


def refuse_floats(column: pa.ChunkedArray, name: str, database: str, *, infinite: bool) -> None:
    """Refuse NaN and -0.0, and infinities if told so: the database stores null or 0.0 in their place."""
    values = column.cast(pa.float64())
    zero = pc.equal(pc.divide(1.0, values), -np.inf)
    bad = pc.or_(pc.is_nan(values), zero)
    if infinite:
        bad = pc.or_(bad, pc.is_inf(values))
    hint = "make NaN null and add 0.0 to turn -0.0 into 0.0, or write to another kind of table"
    refuse(column, bad, name, f"which {database} does not store as it is", hint)
