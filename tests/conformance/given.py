"""The kinds of input with which the conformance suite runs, for every target alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def _pandas(table: pa.Table, _: Path) -> Any:
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)


def _polars(table: pa.Table, _: Path) -> Any:
    import polars as pl

    return pl.from_arrow(table)


def _parquet_path(table: pa.Table, folder: Path) -> Path:
    path = folder / f"input-{len(list(folder.iterdir()))}.parquet"
    pq.write_table(table, path)
    return path


def _relation(table: pa.Table, _: Path) -> Any:
    import duckdb

    return duckdb.connect().from_arrow(table)


class _Array:
    """One batch of some library that speaks Arrow."""

    def __init__(self, table: pa.Table, _: Path) -> None:
        columns = [column.combine_chunks() for column in table.columns]
        self._batch = pa.RecordBatch.from_arrays(columns, schema=table.schema)

    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return self._batch.__arrow_c_array__(requested_schema)


GIVE: dict[str, Callable[[pa.Table, Path], Any]] = {
    "arrow": lambda table, _: table,
    "pandas": _pandas,
    "polars": _polars,
    "reader": lambda table, _: table.to_reader(max_chunksize=2),
    "chunks": lambda table, _: iter([table.slice(0, 1), table.slice(1)]),
    "path": _parquet_path,
    "relation": _relation,
    "array": _Array,
}

_TYPED = ("test_types_come_back", "test_upsert_replaces_values_of_every_type")

LACKS = {"polars": _TYPED, "path": _TYPED[:1], "relation": _TYPED}
"""Cases whose data a kind of input cannot hold: polars has no seconds, fixed-size binary or decimal256, nor has DuckDB,
and Parquet stores seconds as milliseconds."""


def inputs_or(*kinds: str) -> tuple[str, ...]:
    """The kinds of input that a module gives; for `tools/conformance` those that every target must be given."""
    return ("arrow", "pandas", "polars") if os.environ.get("TXFILES_CONFORMANCE") else kinds


def every_case(metafunc: pytest.Metafunc, targets: Sequence[str], kinds: Sequence[str] = tuple(GIVE)) -> None:
    """Every case on each target with Arrow tables; those that say so with every kind of input.

    The fixture `target` is given pairs of a target's name and a kind of input.
    """
    if "target" in metafunc.fixturenames:
        case = metafunc.function
        inputs = [kind for kind in kinds if case.__name__ not in LACKS.get(kind, ())]
        if not hasattr(case, "with_every_input"):
            inputs = ["arrow"]
        pairs = [(name, kind) for name in targets for kind in inputs]
        metafunc.parametrize("target", pairs, ids=map("-".join, pairs), indirect=True)
