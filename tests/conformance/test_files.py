"""The conformance suite on Parquet and CSV folders, with each kind of input."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import txfiles as tx
from tests.conformance.suite import ConformanceCases, Target


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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every case on each format with Arrow tables; those that say so with every kind of input."""
    if "target" in metafunc.fixturenames:
        case = metafunc.function
        inputs = [kind for kind in GIVE if case.__name__ not in LACKS.get(kind, ())]
        if not hasattr(case, "with_every_input"):
            inputs = ["arrow"]
        pairs = [(format_name, kind) for format_name in ("parquet", "csv") for kind in inputs]
        metafunc.parametrize("target", pairs, ids=map("-".join, pairs), indirect=True)


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """A new folder for each case."""
    format_name, engine = request.param
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    path = tmp_path / "table"
    return Target(
        path=path,
        options={"format": format_name},
        give=lambda table: GIVE[engine](table, inputs),
        residue=lambda: sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file() and p.name != "lock"),
    )


class TestFiles(ConformanceCases):
    """Every case, on folders."""

    def test_a_widened_partition_column(self, target: Target) -> None:
        """An overwrite of partitions goes by their values, however the type of the day spells them."""
        for text in ("1.0", "1.00"):
            table = pa.table({"part": [Decimal(text), Decimal("2." + text[2:])], "v": [text, text]})
            target.write(table, mode="append", partition_by=["part"], schema_mode="merge")
        result = target.write(table.slice(0, 1), mode="overwrite", overwrite_partitions=True)
        assert (result.rows_inserted, result.rows_deleted) == (1, 2)
        two = Decimal("2.00")
        assert target.holds([*table.slice(0, 1).to_pylist(), {"part": two, "v": "1.0"}, {"part": two, "v": "1.00"}])

    @pytest.mark.parametrize(
        "far", [pa.array([2**31 - 1], pa.int32()).view(pa.date32()), pa.array([2**40], pa.timestamp("s"))]
    )
    def test_a_partition_value_far_away(self, target: Target, far: pa.Array) -> None:
        """A date outside the years 1 to 9999 cannot be a folder: an error names the row, and nothing is written."""
        with pytest.raises(tx.LossyCastError, match=r"column 'part' .* row 0.* a folder's name"):
            tx.write(pa.table({"part": far, "v": [1]}), target.path, mode="append", partition_by=["part"])
        assert not tx.exists(target.path)
