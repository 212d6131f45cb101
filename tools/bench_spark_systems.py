"""The systems of `tools/bench spark`: how each writes a Spark frame into its table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from bench_base import System, TxFiles
from bench_rows import Scale, large_part
from bench_systems import DeltaLake

Counts = tuple[int | None, int | None]
"""Rows that were added and replaced; None: the system does not tell."""


class SparkSystem:
    """A way to write Spark frames."""

    style = "copy-on-write"
    settings: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Of the session."""

    def table(self, key: str) -> str:
        """Which table it begins with: systems with the same share it."""
        raise NotImplementedError

    def local(self, place: str, key: str) -> System:
        """What makes that table, without Spark."""
        raise NotImplementedError

    def prepare(self, spark: Any, place: str) -> None:
        """Give a copy of the table its settings, and let the session open it."""
        raise NotImplementedError

    def write(self, frame: Any, place: str, key: str, mode: str) -> Counts:
        """Append, append_once or upsert: what is measured."""
        raise NotImplementedError

    def frame(self, spark: Any, place: str) -> Any:
        """The table's rows, as the system reads them."""
        raise NotImplementedError


class Ours(SparkSystem):
    """This project.

    Args:
        strategy: `copy_on_write` or `merge_on_read`.
        index: `on` or `off`.
    """

    def __init__(self, strategy: str, index: str) -> None:
        self._strategy, self._index = strategy, index
        self.style = strategy.replace("_", "-")

    def table(self, key: str) -> str:
        return f"txfiles-{key}-index-{self._index}"

    def local(self, place: str, key: str) -> System:
        made = TxFiles(place, key)
        made.properties = {"key_index": self._index}  # type: ignore[misc]
        return made

    def prepare(self, spark: Any, place: str) -> None:
        import txfiles as tx

        def importing(batches: Any) -> Any:
            import txfiles.spark.tasks  # noqa: F401

            yield from batches

        tx.Table(place).set({"update_strategy": self._strategy})
        _ = self.frame(spark, place).columns
        spark.range(0, 8, 1, 8).mapInArrow(importing, "id long").count()  # Spark ends workers that idle for a minute

    def write(self, frame: Any, place: str, key: str, mode: str) -> Counts:
        import txfiles as tx

        result = tx.write(frame, place, mode=mode, keys=None if mode == "append" else [key])
        return result.rows_inserted, result.rows_updated

    def frame(self, spark: Any, place: str) -> Any:
        import txfiles as tx

        return tx.Table(place).to_spark(spark)


class Delta(SparkSystem):
    """Spark's own Delta as it comes: appends, and MERGE INTO on equal keys."""

    settings: ClassVar[Mapping[str, str]] = MappingProxyType({"spark.databricks.delta.snapshotPartitions": "50"})
    """Its default; the session's is less."""

    def table(self, key: str) -> str:
        del key  # it records none
        return "delta"

    def local(self, place: str, key: str) -> System:
        return DeltaLake(place, key)

    def prepare(self, spark: Any, place: str) -> None:
        _ = self.frame(spark, place).columns

    def write(self, frame: Any, place: str, key: str, mode: str) -> Counts:
        if mode == "append":
            frame.write.format("delta").mode("append").save(place)
            return None, None
        spark = frame.sparkSession
        frame.createOrReplaceTempView("batch")
        matched = "WHEN MATCHED THEN UPDATE SET * " if mode == "upsert" else ""
        (told,) = spark.sql(
            f"MERGE INTO delta.`{place}` t USING batch s ON {self.condition(frame, key)} "
            f"{matched}WHEN NOT MATCHED THEN INSERT *"
        ).collect()
        return told["num_inserted_rows"], told["num_updated_rows"]

    def condition(self, frame: Any, key: str) -> str:
        """Of the merge."""
        del frame
        return f"t.{key} = s.{key}"

    def frame(self, spark: Any, place: str) -> Any:
        return spark.read.format("delta").load(place)


class DeltaBest(Delta):
    """The same by one who knows it: deletion vectors; the batch's range of ids in the condition; settings as below."""

    style = "merge-on-read"
    settings: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "spark.databricks.delta.snapshotPartitions": "2",
            "spark.databricks.delta.merge.materializeSource": "none",
            "spark.sql.autoBroadcastJoinThreshold": "20m",
        }
    )
    """The source is read where it is instead of being copied first, and is small enough to be sent to each task."""

    def prepare(self, spark: Any, place: str) -> None:
        spark.sql(f"ALTER TABLE delta.`{place}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = true)")
        super().prepare(spark, place)

    def condition(self, frame: Any, key: str) -> str:
        """With the range, which is looked for first: a job that is measured, too."""
        from pyspark.sql import functions as f

        found = super().condition(frame, key)
        if key != "id":
            return found
        low, high = frame.select(f.min("id"), f.max("id")).first()
        return f"{found} AND t.id >= {low} AND t.id <= {high}"


SYSTEMS: dict[str, SparkSystem] = {
    "txfiles": Ours("copy_on_write", "off"),
    "txfiles-index": Ours("copy_on_write", "on"),
    "txfiles-mor": Ours("merge_on_read", "on"),
    "txfiles-mor-plain": Ours("merge_on_read", "off"),
    "delta": Delta(),
    "delta-best": DeltaBest(),
}


def make(name: str, place: str, key: str, scale: Scale) -> None:
    """The table that a system begins with, a file for each part."""
    SYSTEMS[name].local(place, key).create(large_part(number, scale.file_rows) for number in range(scale.files))
