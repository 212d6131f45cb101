"""Folders that Spark has written become tables where they are."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from tests.model import bag

ROWS = [
    {"id": 1, "name": "Ada", "day": date(1700, 1, 1), "price": Decimal("1.50"), "month": 1},
    {"id": 2, "name": "", "day": None, "price": Decimal("-2.25"), "month": 1},
    {"id": 3, "name": 'a,b\n"c"', "day": date(3000, 1, 1), "price": None, "month": 12},
]
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("day", pa.date32()),
        ("price", pa.decimal128(38, 2)),
        ("month", pa.int32()),
    ]
)


DDL = "id bigint, name string, day date, price decimal(38,2), month int"


def stored(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tx.Table(path).to_arrow().select(SCHEMA.names).to_pylist()
    return found


@pytest.mark.parametrize("partitioned", [False, True], ids=["flat", "in partitions"])
def test_parquet(spark: Any, tmp_path: Path, partitioned: bool) -> None:
    """Rows, types and partition values are those of the frame; `_SUCCESS` and checksums are left alone."""
    writer = spark.createDataFrame([tuple(row.values()) for row in ROWS], DDL).write
    (writer.partitionBy("month") if partitioned else writer).parquet(str(tmp_path / "t"))
    found = tx.adopt(tmp_path / "t", keys=["id"], partition_by={"month": "int32"} if partitioned else None)
    assert (found.rows, found.partition_by) == (3, ("month",) if partitioned else ())
    assert "_SUCCESS" in found.ignored
    assert bag(stored(tmp_path / "t")) == bag(ROWS)
    newer = pa.Table.from_pylist([ROWS[0] | {"name": "Eve"}], SCHEMA)
    assert tx.write(newer, tmp_path / "t", mode="upsert").rows_updated == 1
    assert bag(row.asDict() for row in tx.Table(tmp_path / "t").to_spark(spark).select(*SCHEMA.names).collect()) == bag(
        [ROWS[0] | {"name": "Eve"}, *ROWS[1:]]
    )


def test_csv(spark: Any, tmp_path: Path) -> None:
    """With the options that the frame was written with, and the types that CSV does not tell."""
    frame = spark.createDataFrame([tuple(row.values()) for row in ROWS], DDL)
    frame.write.option("header", True).option("escape", '"').csv(str(tmp_path / "t"))
    tx.adopt(tmp_path / "t", keys=["id"], schema={field.name: field.type for field in SCHEMA})
    assert bag(stored(tmp_path / "t")) == bag(ROWS)
    assert tx.verify(tmp_path / "t", deep=True).ok
