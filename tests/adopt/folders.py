"""Folders of Parquet files in the forms that other tools leave them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

SPARK_SCHEMA = (
    '{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}},'
    '{"name":"name","type":"string","nullable":true,"metadata":{}}]}'
)


def rows(*ids: int) -> pa.Table:
    """Rows with these ids."""
    return pa.table({"id": pa.array(ids, pa.int64()), "name": [f"n{one}" for one in ids]})


def put(root: Path, name: str, table: Any, **options: Any) -> Path:
    """One Parquet file."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def spark(root: Path) -> None:
    """As Spark writes a frame partitioned by a text and a date."""
    job = "f6a1b2c3-0000-4000-8000-1234567890ab"
    meta = {b"org.apache.spark.version": b"4.2.0", b"org.apache.spark.sql.parquet.row.metadata": SPARK_SCHEMA.encode()}
    for number, (folder, ids) in enumerate(
        {
            "country=DE/day=2026-11-01": (1, 2),
            "country=a%2Fb/day=2026-11-02": (3,),
            "country=__HIVE_DEFAULT_PARTITION__/day=2026-11-02": (4,),
        }.items()
    ):
        name = f"{folder}/part-{number:05d}-{job}.c000.snappy.parquet"
        put(root, name, rows(*ids).replace_schema_metadata(meta), store_schema=False)
        (root / folder / f".part-{number:05d}-{job}.c000.snappy.parquet.crc").write_bytes(b"crc")
    (root / "_SUCCESS").touch()
    (root / "._SUCCESS.crc").write_bytes(b"crc")


def hive(root: Path) -> None:
    """As Hive writes them: names without an end, int96, months with a zero."""
    old = pa.table({"id": [1, 2], "at": pa.array([32_503_680_000_000_000, None], pa.timestamp("us"))})
    put(root, "month=01/000000_0", old, use_deprecated_int96_timestamps=True, store_schema=False)
    put(root, "month=02/000000_0_copy_1", old.set_column(0, "id", [[3, 4]]), use_deprecated_int96_timestamps=True)
    put(root, "month=__HIVE_DEFAULT_PARTITION__/000001_0", old.set_column(0, "id", [[5, 6]]))


def pandas(root: Path) -> None:
    """Frames of pandas: with a default index, an index without a name, and one that is a column."""
    root.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"id": [1, 2, 3], "name": ["n1", "n2", None], "kind": pd.Categorical(["x", "y", "x"])})
    frame.to_parquet(root / "a.parquet")
    frame.assign(id=[4, 5, 6]).set_index(pd.Index([7, 9, 1])).to_parquet(root / "b.parquet")
    frame.assign(id=[8, 7, 9]).set_index("id").to_parquet(root / "c.parquet")


def dask(root: Path) -> None:
    """As Dask writes them, with the metadata of the whole folder."""
    table = rows(1, 2).append_column("__null_dask_index__", pa.array([0, 1]))
    put(root, "part.0.parquet", table)
    put(root, "part.1.parquet", table.set_column(0, "id", [[3, 4]]))
    pq.write_metadata(table.schema, root / "_common_metadata")
    pq.write_metadata(table.schema, root / "_metadata")


def polars(root: Path) -> None:
    """As polars writes them."""
    root.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"id": [1, 2], "name": ["n1", None], "when": [None, None]}).write_parquet(root / "0.parquet")
    pl.DataFrame({"id": [3], "name": ["ä" * 100], "when": [1.5]}).write_parquet(root / "1.parquet")


def duckdb(root: Path) -> None:
    """As DuckDB writes a partitioned copy: folders in URL escapes."""
    import duckdb as duck

    root.mkdir(parents=True, exist_ok=True)
    duck.sql(
        "COPY (SELECT range AS id, 'n' || range AS name, CASE range % 2 WHEN 0 THEN 'a b/ä' ELSE 'c' END AS kind "
        f"FROM range(4)) TO '{root}' (FORMAT parquet, PARTITION_BY (kind), OVERWRITE_OR_IGNORE)"
    )
