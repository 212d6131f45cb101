"""DuckDB and polars push queries down into a table: bytes that a query does not need are not read.

That is seen by spoiling them: the files keep their sizes and footers, and a query that touches a spoilt part fails.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import txfiles as tx

ROWS, GROUP = 1_000, 100
FEW = 45
"""The sum of the first ten values."""


@pytest.fixture
def spoilt(tmp_path: Path) -> tx.Table:
    """A table of which only `id` and `x` of the first row group of the first file can be read; nobody has noticed."""
    for start in (0, ROWS):
        ids = range(start, start + ROWS)
        rows = pa.table({"id": ids, "x": ids, "text": [f"text {i}" for i in ids]})
        tx.write(rows, tmp_path / "t", mode="append", properties={"row_group_rows": GROUP} if not start else None)
    table = tx.Table(tmp_path / "t")
    for number, path in enumerate(sorted(table.files(), key=lambda one: pq.read_table(one)["id"][0].as_py())):
        spoil(Path(path), sound={"id", "x"} if number == 0 else set())
    return table


def spoil(path: Path, sound: set[str]) -> None:
    """Overwrite the pages of a Parquet file, but for some columns of its first row group."""
    metadata, data = pq.read_metadata(path), bytearray(path.read_bytes())
    assert metadata.num_row_groups == ROWS // GROUP
    for group in range(metadata.num_row_groups):
        for column in map(metadata.row_group(group).column, range(metadata.num_columns)):
            if group == 0 and column.path_in_schema in sound:
                continue
            start = column.dictionary_page_offset or column.data_page_offset
            data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)


def sql(given: Any, query: str) -> Any:
    """The answer of DuckDB to a query of `given`, a dataset or a list of files."""
    with duckdb.connect() as made:
        if isinstance(given, list):
            query = query.replace("FROM given", f"FROM read_parquet({given!r})")
        else:
            made.register("given", given)
        return made.sql(query).fetchall()


def lazy(given: Any) -> pl.LazyFrame:
    """The same for polars."""
    return pl.scan_parquet(given) if isinstance(given, list) else pl.scan_pyarrow_dataset(given)


GIVEN: dict[str, Callable[[tx.Table], Any]] = {"dataset": lambda t: t.dataset(), "files": lambda t: t.files()}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_duckdb_reads_what_a_query_needs(spoilt: tx.Table, given: Callable[[tx.Table], Any]) -> None:
    """Only the row groups that may match are read, and of them only the query's columns."""
    assert sql(given(spoilt), "SELECT sum(x) FROM given WHERE id < 10") == [(FEW,)]
    for wrong in ("SELECT sum(x) FROM given", "SELECT max(text) FROM given WHERE id < 10"):
        with pytest.raises(duckdb.Error):
            sql(given(spoilt), wrong)


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_polars_reads_what_a_query_needs(spoilt: tx.Table, given: Callable[[tx.Table], Any]) -> None:
    """The same; and the plan says so."""
    few = lazy(given(spoilt)).filter(pl.col("id") < 10)
    query = few.select(pl.col("x").sum())
    assert query.collect().item() == FEW
    plan = query.explain()
    assert "SCAN" in plan
    assert "PROJECT 2/3 COLUMNS" in plan
    assert "SELECTION:" in plan
    for wrong in (lazy(given(spoilt)).select(pl.col("x").sum()), few.select(pl.col("text").max())):
        with pytest.raises((pl.exceptions.PolarsError, OSError)):
            wrong.collect()


def test_duckdb_plans_the_push_down(spoilt: tx.Table) -> None:
    """The scan of a dataset has the query's filter and columns in it."""
    with duckdb.connect() as made:
        made.register("given", spoilt.dataset())
        [(_, plan)] = made.sql("EXPLAIN SELECT sum(x) FROM given WHERE id < 10").fetchall()
    scan = plan[plan.index("ARROW_SCAN") :]
    assert "id<10" in scan.replace(" ", "").replace('"', "")
    assert "text" not in scan


def test_a_stream_reads_what_it_is_asked_for(spoilt: tx.Table) -> None:
    """An engine that gets a table as a stream reads all of it; `to_batches` leaves out files and row groups itself."""
    with pytest.raises(duckdb.Error):
        sql(spoilt, "SELECT sum(x) FROM given WHERE id < 10")
    few = spoilt.to_batches(["x"], [("id", "<", 10)])
    assert sql(few, "SELECT sum(x) FROM given") == [(FEW,)]
    assert pl.DataFrame(spoilt.to_batches(["x"], [("id", "<", 10)]).read_all())["x"].sum() == FEW
