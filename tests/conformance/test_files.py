"""The conformance suite on Parquet and CSV folders, with each kind of input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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


GIVE: dict[str, Callable[[pa.Table, Path], Any]] = {
    "arrow": lambda table, _: table,
    "pandas": _pandas,
    "polars": _polars,
    "reader": lambda table, _: table.to_reader(max_chunksize=2),
    "chunks": lambda table, _: iter([table.slice(0, 1), table.slice(1)]),
    "path": _parquet_path,
}

_TYPED = ("test_types_come_back", "test_upsert_replaces_values_of_every_type")

LACKS = {
    "polars": dict.fromkeys(_TYPED, "polars has no seconds, fixed-size binary or decimal256"),
    "path": dict.fromkeys(_TYPED[:1], "a Parquet file has no seconds: its own types are milliseconds"),
}
"""Cases of which an engine cannot give the data, and why."""


@pytest.fixture(params=[(f, e) for f in ("parquet", "csv") for e in GIVE], ids="-".join)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """A new folder for each case."""
    format_name, engine = request.param
    lacks = LACKS.get(engine, {}).get(request.node.originalname)
    if lacks:
        pytest.skip(lacks)
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
