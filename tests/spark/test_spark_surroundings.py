"""What the library relies on in Spark: facts of Spark, not of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_workers_import_this_checkout(spark: Any) -> None:
    """Spark's Python workers run the tests' Python, with the checkout of the tests."""

    def where(batches: Any) -> Any:
        import sys

        import pyarrow as pa

        import txfiles

        for _ in batches:
            yield pa.RecordBatch.from_pydict({"python": [sys.executable], "txfiles": [txfiles.__file__]})

    import sys

    import txfiles

    found = spark.range(1).mapInArrow(where, "python string, txfiles string").collect()
    assert [tuple(row) for row in found] == [(sys.executable, txfiles.__file__)]


def test_delta_is_at_hand(spark: Any, tmp_path: Path) -> None:
    """The session writes, merges into and reads Delta tables by SQL, without the package delta-spark."""
    spark.range(3).write.format("delta").save(f"{tmp_path}/table")
    spark.range(2, 5).createOrReplaceTempView("more")
    spark.sql(f"MERGE INTO delta.`{tmp_path}/table` t USING more s ON t.id = s.id WHEN NOT MATCHED THEN INSERT *")
    assert sorted(row.id for row in spark.read.format("delta").load(f"{tmp_path}/table").collect()) == [0, 1, 2, 3, 4]
