"""polars frames in and out. The only module that imports polars."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

from txfiles.errors import UnsupportedTypeError

_FOREIGN = {"Object", "Int128", "UInt128"}
"""By name, since not every release of polars has each."""


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
                f"column {name!r} has polars type {dtype}, which Arrow does not have",
                hint="cast the column, for example to pl.String",
                column=name,
            )
    return collected.to_arrow()


def _is_foreign(dtype: Any) -> bool:
    """Whether a type, or one nested in it, has no counterpart in Arrow."""
    inner = [field.dtype for field in getattr(dtype, "fields", ())] + [getattr(dtype, "inner", None)]
    return dtype.base_type().__name__ in _FOREIGN or any(_is_foreign(t) for t in inner if t is not None)


def to_polars(table: pa.Table) -> pl.DataFrame:
    """The rows of a table; mostly without a copy."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame), "a table makes a DataFrame, an array a Series"
    return frame
