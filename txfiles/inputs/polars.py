"""polars frames in and out. The only module that imports polars."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

from txfiles.errors import UnsupportedTypeError
from txfiles.rows.typenames import type_text

_FOREIGN = {"Object", "Int128", "UInt128"}
"""By name, since not every release of polars has all of them."""


def from_polars(frame: pl.DataFrame | pl.LazyFrame) -> pa.Table:
    """The rows of a frame; a lazy one is collected.

    Raises:
        UnsupportedTypeError: a column has a type that Arrow lacks.
    Cost: mostly without a copy.
    """
    collected: pl.DataFrame = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    for name, dtype in collected.schema.items():
        # Checked here because polars would hand out the addresses of Python objects as binary values.
        if _is_foreign(dtype):
            raise UnsupportedTypeError(
                f"column {name!r} has polars type {dtype}, which has no equivalent in Arrow",
                hint="cast the column, for example to pl.String",
                column=name,
            )
    return collected.to_arrow()


def arrow_type(dtype: Any) -> pa.DataType:
    """Arrow's type for one of polars'.

    Raises:
        UnsupportedTypeError: Arrow has none, or the type leaves something open.
    """
    try:
        if not _is_foreign(dtype):
            return pl.DataFrame(schema={"x": dtype}).to_arrow().schema.field(0).type
    except (pl.exceptions.PolarsError, AttributeError, TypeError, ValueError) as error:
        raise UnsupportedTypeError(f"polars' {dtype} is not a type: {error}") from error
    raise UnsupportedTypeError(f"Arrow has no equivalent of polars' type {dtype}")


def _is_foreign(dtype: Any) -> bool:
    """Whether a type, or one nested in it, has no counterpart in Arrow."""
    inner = [field.dtype for field in getattr(dtype, "fields", ())] + [getattr(dtype, "inner", None)]
    return dtype.base_type().__name__ in _FOREIGN or any(_is_foreign(t) for t in inner if t is not None)


def to_polars(table: pa.Table) -> pl.DataFrame:
    """The rows of a table; mostly without a copy.

    Raises:
        UnsupportedTypeError: a column that polars cannot hold; names it.
    """
    for field in table.schema:
        if _holds_decimal256(field.type):  # polars would not refuse it, but panic
            raise _no_place(field, "it has no decimals of more than 38 digits")
    try:
        frame = pl.from_arrow(table)
    except pl.exceptions.PolarsError:
        for field in table.schema:
            try:
                pl.from_arrow(table.select([field.name]))
            except pl.exceptions.PolarsError as error:
                raise _no_place(field, str(error).partition("\n")[0]) from error
        raise
    assert isinstance(frame, pl.DataFrame), "a table makes a DataFrame, an array a Series"
    return frame


def _holds_decimal256(t: pa.DataType) -> bool:
    return pa.types.is_decimal256(t) or any(_holds_decimal256(t.field(at).type) for at in range(t.num_fields))


def _no_place(field: pa.Field, reason: str) -> UnsupportedTypeError:
    return UnsupportedTypeError(
        f"column {field.name!r} of type {type_text(field.type)} cannot be stored in a polars DataFrame: {reason}",
        hint="read it with to_arrow(), or leave the column out with columns=[…]",
        column=field.name,
    )
