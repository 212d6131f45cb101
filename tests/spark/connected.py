"""Writes and reads through Spark Connect, as a program: its server runs in a JVM of its own, which ends with it.

`connected.py FOLDER URL` prints what it found as JSON; FOLDER gets the tables, URL is that of a SQL table.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

import txfiles as tx


def main() -> None:
    """Try every call that takes a session or a frame."""
    from pyspark.sql import SparkSession

    folder, url = Path(sys.argv[1]), sys.argv[2]
    spark = (
        SparkSession.builder.remote("local[2]")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false")
        .config("spark.connect.grpc.binding.address", "127.0.0.1")
        .getOrCreate()
    )
    found = {"session": type(spark).__module__, "files": {}}
    for format_name in ("parquet", "csv"):
        found["files"][format_name] = files(spark, folder / format_name, format_name)
    found["sql"] = [counts(tx.write(frame(spark, 0, 4), url, mode="upsert", keys=["id"])) for _ in range(2)]
    found["source"] = source(spark, folder / "source")
    found["refused"] = refused(spark, folder)
    print(json.dumps(found))
    sys.stdout.flush()
    spark.stop()


def frame(spark: Any, first: int, last: int, name: str = "n") -> Any:
    """Rows of these ids, in two partitions."""
    return spark.range(first, last, 1, 2).selectExpr("id", f"'{name}' AS name", "timestamp_seconds(id) AS at")


def counts(result: tx.WriteResult) -> list[Any]:
    """What a write says that it did."""
    return [result.committed, result.rows_inserted, result.rows_updated, result.rows_unchanged, result.rows_skipped]


def files(spark: Any, path: Path, format_name: str) -> dict[str, Any]:
    """Each mode, and the table as Spark reads it: whole, and through a filter, which tasks of txfiles apply."""
    done = [
        counts(tx.write(frame(spark, 0, 10), path, format=format_name, mode="append_once", keys=["id"])),
        counts(tx.write(frame(spark, 5, 12), path, mode="append_once")),
        counts(tx.write(frame(spark, 10, 14, "new"), path, mode="upsert")),
        counts(tx.write(frame(spark, 20, 22), path, mode="append", batch_id="b")),
        counts(tx.write(frame(spark, 20, 22), path, mode="append", batch_id="b")),
    ]
    table = tx.Table(path)
    read = [
        table.to_spark(spark).toArrow(),
        table.to_spark(spark, ["name", "id"], [("id", ">=", 12)]).toArrow(),
        table.to_arrow(),
    ]
    return {"done": done, "read": [sorted(map(str, one.to_pylist())) for one in read]}


def source(spark: Any, path: Path) -> list[int]:
    """The ids of a table that was written and is read by the format of the data source."""
    tx.register_spark(spark)
    options = {"mode": "upsert", "keys": "id"}
    for first in (0, 3):
        frame(spark, first, first + 5).write.format("txfiles").mode("append").options(**options).save(str(path))
    return sorted(row.id for row in spark.read.format("txfiles").load(str(path)).collect())


def refused(spark: Any, folder: Path) -> dict[str, list[Any]]:
    """What Connect cannot do, and what no session can: each error with its hint, and whether a table was made."""
    twice = pa.table({"id": [1, 1], "name": ["a", "b"]})
    broken = spark.range(3).selectExpr("id", "CAST(raise_error('no such luck') AS STRING) AS name")
    calls: dict[str, Callable[[Path], object]] = {
        "delta": lambda path: tx.write(frame(spark, 0, 2), path, format="delta", mode="append"),
        "stream": lambda _: tx.streaming_batch_id(frame(spark, 0, 2), 1),
        "duplicate": lambda path: tx.write(spark.createDataFrame(twice), path, mode="upsert", keys=["id"]),
        "broken": lambda path: tx.write(broken, path, mode="append"),
        "gone": lambda path: gone(spark, path),
    }
    found = {}
    for name, call in calls.items():
        path = folder / f"refused-{name}"
        try:
            call(path)
        except tx.TxFilesError as error:
            found[name] = [type(error).__name__, str(error), error.hint, tx.exists(path)]
    return found


def gone(spark: Any, path: Path) -> None:
    """Read a table one of whose files somebody has deleted."""
    tx.write(frame(spark, 0, 2), path, mode="append")
    table = tx.Table(path)
    os.unlink(table.files()[0])
    table.to_spark(spark)


if __name__ == "__main__":
    main()
