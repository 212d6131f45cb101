"""The systems that `tools/bench peers` compares: each an adapter, which opens its table anew in each call.

A peer runs in an environment of its own, so that nothing of txfiles is imported but by its adapter.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bench_base import (
    GROUP_ROWS,
    Columns,
    System,
    TxFiles,
    TxFilesExpression,
    TxFilesIndex,
    TxFilesMor,
    Within,
)
from bench_floor import Floor, FloorHash, FloorMor, Wrong
from bench_rows import FEW_VALUES

ARROW = ("pyarrow==26.0.1", "numpy==2.4.6")


class DeltaLake(System):
    """delta-rs. Not as it comes: the batch's key range in the condition, so that files are pruned."""

    packages: ClassVar[tuple[str, ...]] = ("deltalake==1.6.6", *ARROW)
    module = "deltalake"
    s3_ready = True

    def append(self, rows: pa.Table) -> None:
        import deltalake

        deltalake.write_deltalake(self.place, rows, mode="append", storage_options=self._options(), **self._how(rows))

    def append_once(self, rows: pa.Table) -> int | None:
        result = self._merge(rows).when_not_matched_insert_all().execute()
        return int(result["num_target_rows_inserted"])

    def upsert(self, rows: pa.Table) -> int | None:
        result = self._merge(rows).when_matched_update_all().when_not_matched_insert_all().execute()
        return int(result["num_target_rows_updated"])

    def read(self, columns: Columns = None, within: Within | None = None) -> Any:
        where = within and [("id", ">=", within[0]), ("id", "<", within[1])]
        return self._opened().to_pyarrow_table(columns=columns, filters=where)

    def plan(self, within: Within) -> int:
        files = pa.table(self._opened().get_add_actions(flatten=True))
        meets = pc.and_(pc.less(files["min.id"], within[1]), pc.greater_equal(files["max.id"], within[0]))
        return int(pc.sum(meets).as_py())

    def list_files(self, ranges: np.ndarray, rows: pa.Table) -> None:
        from deltalake import Schema
        from deltalake.transaction import AddAction, create_table_with_add_actions

        actions = [
            AddAction(
                path=f"part-{number:06d}.parquet",
                size=10_000_000,
                partition_values={},
                modification_time=0,
                data_change=True,
                stats=json.dumps(
                    {"numRecords": 1000, "minValues": {"id": low}, "maxValues": {"id": high}, "nullCount": {"id": 0}}
                ),
            )
            for number, (low, high) in enumerate(ranges.tolist())
        ]
        schema = Schema.from_arrow(rows.schema)
        create_table_with_add_actions(self.place, schema, actions, mode="overwrite", partition_by=[])
        self._opened().create_checkpoint()

    def _merge(self, rows: pa.Table) -> Any:
        settings = {"streamed_exec": False} if self.codec else {}
        return self._opened().merge(
            rows, self.condition(rows), source_alias="s", target_alias="t", **settings, **self._how(rows)
        )

    def _how(self, rows: pa.Table) -> dict[str, Any]:
        from deltalake import ColumnProperties, WriterProperties

        if self.codec is None:
            return {}
        few = {name: ColumnProperties(dictionary_enabled=True) for name in rows.column_names if name in FEW_VALUES}
        properties = WriterProperties(
            compression=cast("Any", {"lz4": "LZ4_RAW"}.get(self.codec, self.codec.upper())),
            max_row_group_size=GROUP_ROWS,
            default_column_properties=ColumnProperties(dictionary_enabled=False),
            column_properties=few,
        )
        return {"writer_properties": properties}

    def _opened(self) -> Any:
        import deltalake

        return deltalake.DeltaTable(self.place, storage_options=self._options())

    def _options(self) -> dict[str, str] | None:
        return object_store(self.s3)


def object_store(s3: Any) -> dict[str, str] | None:
    """The storage options of deltalake and of Lance."""
    if s3 is None:
        return None
    return {
        "aws_endpoint": s3[0],
        "aws_access_key_id": s3[1],
        "aws_secret_access_key": s3[2],
        "aws_region": "us-east-1",
        "allow_http": "true",
    }


class DeltaLite(DeltaLake):
    """Streaming upsert on Delta tables."""

    packages = ("deltalite==0.1.15", "deltalake==1.6.6", *ARROW)
    python = (3, 12)
    module = "deltalite"
    only = ("W4", "W5", "W6", "W14a")
    s3_ready = False
    same = "the table's files are, those that it writes are as it comes"

    def upsert(self, rows: pa.Table) -> int | None:
        import deltalite

        table = deltalite.DeltaLiteTable.open(self.place)
        stats = table.upsert(rows.combine_chunks().to_batches()[0], primary_keys=[self.key])
        return int(stats.rows_updated)


class PyIceberg(System):
    """Its parts by hand: read the keys in the batch's range, and append or overwrite. As it comes: its own upsert."""

    packages = ("pyiceberg[sql-sqlite,pyarrow]==0.12.0", *ARROW)
    module = "pyiceberg.catalog"
    same = "codec and row groups are; every column has a dictionary"

    def begin(self, rows: pa.Table) -> None:
        Path(self.place).mkdir(parents=True)
        settings = {"write.parquet.compression-codec": self.codec, "write.parquet.row-group-limit": str(GROUP_ROWS)}
        catalog = self._catalog()
        catalog.create_namespace("n")
        catalog.create_table("n.t", rows.schema, properties=settings if self.codec else {})

    def append(self, rows: pa.Table) -> None:
        self._opened().append(rows)

    def append_once(self, rows: pa.Table) -> int | None:
        table = self._opened()
        if self.codec is None:
            return int(table.upsert(rows, [self.key], when_matched_update_all=False).rows_inserted)
        known = table.scan(row_filter=self._range(rows), selected_fields=(self.key,)).to_arrow()
        new = rows.join(known, self.key, join_type="left anti").select(rows.column_names)
        if new.num_rows:
            table.append(new.cast(rows.schema))
        return int(new.num_rows)

    def upsert(self, rows: pa.Table) -> int | None:
        table = self._opened()
        if self.codec is None:
            return int(table.upsert(rows, [self.key]).rows_updated)
        where = self._range(rows)
        known = table.scan(row_filter=where).to_arrow()
        kept = known.join(rows.select([self.key]), self.key, join_type="left anti").select(rows.column_names)
        table.overwrite(pa.concat_tables([kept.cast(rows.schema), rows]), overwrite_filter=where)
        return int(known.num_rows - kept.num_rows)

    def read(self, columns: Columns = None, within: Within | None = None) -> Any:
        return self._scan(within, selected_fields=tuple(columns or ("*",))).to_arrow()

    def plan(self, within: Within) -> int:
        return len(list(self._scan(within).plan_files()))

    def list_files(self, ranges: np.ndarray, rows: pa.Table) -> None:
        from pyiceberg.conversions import to_bytes
        from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
        from pyiceberg.typedef import Record
        from pyiceberg.types import LongType

        self.create([rows])
        with self._opened().transaction() as transaction, transaction.update_snapshot().fast_append() as update:
            for number, (low, high) in enumerate(ranges.tolist()):
                update.append_data_file(
                    DataFile.from_args(
                        content=DataFileContent.DATA,
                        file_path=f"{self.place}/part-{number}.parquet",
                        file_format=FileFormat.PARQUET,
                        partition=Record(),
                        record_count=1000,
                        file_size_in_bytes=10_000_000,
                        lower_bounds={1: to_bytes(LongType(), low)},
                        upper_bounds={1: to_bytes(LongType(), high)},
                        value_counts={1: 1000},
                        null_value_counts={1: 0},
                    )
                )

    def _scan(self, within: Within | None, **settings: Any) -> Any:
        from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan

        if within is not None:
            settings["row_filter"] = And(GreaterThanOrEqual("id", within[0]), LessThan("id", within[1]))
        return self._opened().scan(**settings)

    def _range(self, rows: pa.Table) -> Any:
        from pyiceberg.expressions import AlwaysTrue, And, GreaterThanOrEqual, LessThanOrEqual

        within = self.bounds(rows)
        return And(GreaterThanOrEqual("id", within[0]), LessThanOrEqual("id", within[1])) if within else AlwaysTrue()

    def _catalog(self) -> Any:
        from pyiceberg.catalog.sql import SqlCatalog

        return SqlCatalog("c", uri=f"sqlite:///{self.place}/catalog.db", warehouse=f"file://{self.place}")

    def _opened(self) -> Any:
        return self._catalog().load_table("n.t")


class DuckLake(System):
    """DuckDB with a catalogue in SQLite, which several processes can use."""

    packages = (
        "duckdb==1.5.5",
        "duckdb-extension-ducklake==1.5.5",
        "duckdb-extension-sqlite-scanner==1.5.5",
        *ARROW,
    )
    module = "duckdb"
    style = "merge-on-read"
    same = "codec and row groups are; DuckDB chooses the dictionaries"

    def begin(self, rows: pa.Table) -> None:
        Path(self.place).mkdir(parents=True)
        with self._opened() as lake:
            lake.register("s", rows)
            lake.execute("CREATE TABLE t AS SELECT * FROM s LIMIT 0")
            settings = {"parquet_compression": self.codec, "parquet_row_group_size": GROUP_ROWS}
            for name, value in settings.items() if self.codec else ():
                lake.execute(f"CALL ducklake_set_option(current_database(), '{name}', '{value}')")

    def append(self, rows: pa.Table) -> None:
        self._run(rows, "INSERT INTO t SELECT * FROM s")

    def append_once(self, rows: pa.Table) -> int | None:
        return self._run(rows, f"INSERT INTO t SELECT * FROM s WHERE NOT EXISTS (FROM t WHERE {self.condition(rows)})")

    def upsert(self, rows: pa.Table) -> int | None:
        return self._run(
            rows,
            f"MERGE INTO t USING s ON {self.condition(rows)} WHEN MATCHED THEN UPDATE WHEN NOT MATCHED THEN INSERT",
        )

    def read(self, columns: Columns = None, within: Within | None = None) -> Any:
        where = "" if within is None else f" WHERE id >= {within[0]} AND id < {within[1]}"
        with self._opened() as lake:
            return lake.sql(f"SELECT {', '.join(columns or ['*'])} FROM t{where}").to_arrow_table()

    def plan(self, within: Within) -> int:
        with self._opened() as lake:
            (name,) = lake.sql("SELECT current_database()").fetchone()
            query = f"""SELECT count(*) FROM __ducklake_metadata_{name}.ducklake_file_column_stats WHERE column_id = 1
                AND min_value::BIGINT < {within[1]} AND max_value::BIGINT >= {within[0]}"""
            return int(lake.sql(query).fetchone()[0])

    def list_files(self, ranges: np.ndarray, rows: pa.Table) -> None:
        import sqlite3

        self.create([rows])
        with sqlite3.connect(f"{self.place}/catalog.db") as catalog:
            for table, changed in (
                ("ducklake_data_file", {"data_file_id": 0, "path": 3}),
                ("ducklake_file_column_stats", {"data_file_id": 0, "min_value": 1, "max_value": 2}),
            ):
                where = "WHERE column_id = 1" if "stats" in table else ""
                found = catalog.execute(f"SELECT * FROM {table} {where} LIMIT 1")
                names, one = [column[0] for column in found.description], found.fetchone()
                catalog.executemany(
                    f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})",
                    (
                        [row[changed[name]] if name in changed else old for name, old in zip(names, one, strict=True)]
                        for n, (low, high) in enumerate(ranges.tolist(), 10)
                        for row in [(n, str(low), str(high), f"{n}.parquet")]
                    ),
                )

    _numbers = count()

    def _run(self, rows: pa.Table, statement: str) -> int:
        with self._opened() as lake:
            lake.register("s", rows)
            return int(lake.execute(statement).fetchone()[0])

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Attached to a DuckDB that this process has already: loading its extensions takes longer than a commit."""
        name = f"lake{next(self._numbers)}"
        with _duckdb().cursor() as lake:
            lake.execute(f"ATTACH 'ducklake:sqlite:{self.place}/catalog.db' AS {name} (DATA_PATH '{self.place}/data/')")
            lake.execute(f"USE {name}")
            yield lake
        _duckdb().execute(f"DETACH {name}")


@cache
def _duckdb() -> Any:
    import duckdb

    found = duckdb.connect()
    for name in ("sqlite_scanner", "ducklake"):
        folder = Path(duckdb.__file__).parents[1] / f"duckdb_extension_{name}"
        (file,) = folder.rglob("*.duckdb_extension")
        found.execute(f"LOAD '{file}'")
    return found


class Lance(System):
    """Lance with its key declared, so that racing merges see each other. As it comes: undeclared."""

    packages = ("pylance==14.0.2", *ARROW)
    module = "lance"
    style = "merge-on-read"
    by_key = s3_ready = True
    same = "nothing is: its files are not Parquet"

    def begin(self, rows: pa.Table) -> None:
        if self.codec:
            at = rows.schema.get_field_index(self.key)
            field = rows.schema.field(at).with_metadata({"lance-schema:unenforced-primary-key": "true"})
            rows = rows.cast(rows.schema.set(at, field.with_nullable(False)))
        self._write(rows.slice(0, 0), "create")

    def append(self, rows: pa.Table) -> None:
        self._write(rows, "append")

    def append_once(self, rows: pa.Table) -> int | None:
        merge = self._opened().merge_insert(self.key).when_not_matched_insert_all()
        return int(merge.execute(rows)["num_inserted_rows"])

    def upsert(self, rows: pa.Table) -> int | None:
        merge = self._opened().merge_insert(self.key).when_matched_update_all().when_not_matched_insert_all()
        return int(merge.execute(rows)["num_updated_rows"])

    def read(self, columns: Columns = None, within: Within | None = None) -> Any:
        where = within and f"id >= {within[0]} AND id < {within[1]}"
        return self._opened().to_table(columns=columns, filter=where)

    def plan(self, within: Within) -> int:
        return len(self._opened().get_fragments())  # it has no ranges of files

    def list_files(self, ranges: np.ndarray, rows: pa.Table) -> None:
        import lance

        self.create([rows])
        one = self._opened().get_fragments()[0].metadata.to_json()
        fragments = [
            lance.FragmentMetadata.from_json(json.dumps(one | {"id": number})) for number in range(len(ranges))
        ]
        schema = self._opened().schema
        lance.LanceDataset.commit(self.place, lance.LanceOperation.Overwrite(schema, fragments))

    def _write(self, rows: pa.Table, mode: str) -> None:
        import lance

        lance.write_dataset(rows, self.place, mode=mode, storage_options=object_store(self.s3))

    def _opened(self) -> Any:
        import lance

        return lance.dataset(self.place, storage_options=object_store(self.s3))


class LanceIndex(Lance):
    """Lance with its own index of the key."""

    only = ("W1", "W2", "W3", "W4", "W5", "W6")

    def create(self, parts: Iterable[pa.Table]) -> None:
        super().create(parts)
        self._opened().create_scalar_index(self.key, "BTREE")


class Paimon(System):
    """Writes primary-key tables blind: 4 hash buckets of sorted runs, merged by each read; append once by hand.

    As it comes: without its part in Rust.
    """

    packages = ("pypaimon[sql]==2.1.0", "pypaimon-rust==0.4.0")
    module = "pypaimon"
    style = "merge-on-read"
    by_key = True
    same = "the codec is; every column has a dictionary"

    def begin(self, rows: pa.Table) -> None:
        from pypaimon import Schema

        options = {"bucket": "4", "file.format": "parquet"}
        if self.codec:
            native = ("write.native", "commit.native", "read.native", "scan.native-plan")  # in Rust, not in Python
            options |= {"file.compression": self.codec} | {f"{name}.enabled": "true" for name in native}
        at = rows.schema.get_field_index(self.key)
        schema = rows.schema.set(at, rows.schema.field(at).with_nullable(False))
        catalog = self._catalog()
        catalog.create_database("n", ignore_if_exists=True)
        catalog.create_table("n.t", Schema.from_pyarrow_schema(schema, [], [self.key], options), False)

    def append(self, rows: pa.Table) -> None:
        builder = self._opened().new_batch_write_builder()
        write, commit = builder.new_write(), builder.new_commit()
        write.write_arrow(rows)
        commit.commit(write.prepare_commit())
        write.close()
        commit.close()

    def append_once(self, rows: pa.Table) -> int | None:
        within = self.bounds(rows)
        known = self.read([self.key], within and (within[0], within[1] + 1))
        new = rows.join(known, self.key, join_type="left anti").select(rows.column_names)
        if new.num_rows:
            self.append(new.cast(rows.schema))
        return int(new.num_rows)

    def upsert(self, rows: pa.Table) -> int | None:
        self.append(rows)
        return None

    def read(self, columns: Columns = None, within: Within | None = None) -> Any:
        builder = self._reader(within)
        if columns:
            builder = builder.with_projection(columns)
        return builder.new_read().to_arrow(builder.new_scan().plan().splits())

    def plan(self, within: Within) -> int:
        return sum(len(split.files) for split in self._reader(within).new_scan().plan().splits())

    def _reader(self, within: Within | None) -> Any:
        builder = self._opened().new_read_builder()
        if within is None:
            return builder
        where = builder.new_predicate_builder()
        return builder.with_filter(
            where.and_predicates([where.greater_or_equal("id", within[0]), where.less_than("id", within[1])])
        )

    def _catalog(self) -> Any:
        from pypaimon import CatalogFactory

        return CatalogFactory.create({"warehouse": f"file://{self.place}"})

    def _opened(self) -> Any:
        return self._catalog().get_table("n.t")


class Pandas(System):
    """A folder of files, naively: all keys are read, or all rows; an upsert writes all of them anew."""

    module = "pandas"

    def append(self, rows: pa.Table) -> None:
        Path(self.place).mkdir(parents=True, exist_ok=True)
        self._write(rows.to_pandas(), len(os.listdir(self.place)), rows)

    def append_once(self, rows: pa.Table) -> int | None:
        frame = rows.to_pandas()
        if os.path.isdir(self.place):
            frame = frame[~frame[self.key].isin(self.read([self.key])[self.key])]
        if len(frame):
            self._write(frame, len(os.listdir(self.place)), rows)
        return len(frame)

    def upsert(self, rows: pa.Table) -> int | None:
        import pandas as pd

        old = self.read()
        whole = pd.concat([old, rows.to_pandas()]).drop_duplicates(self.key, keep="last")
        shutil.rmtree(self.place)
        Path(self.place).mkdir()
        self._write(whole, 0, rows)
        return int(len(old) + rows.num_rows - len(whole))

    def read(self, columns: Columns = None, within: Within | None = None) -> Any:
        import pandas as pd

        where = within and [("id", ">=", within[0]), ("id", "<", within[1])]
        return pd.read_parquet(self.place, columns=columns, filters=where)

    def _write(self, frame: Any, number: int, rows: pa.Table) -> None:
        frame.to_parquet(f"{self.place}/{number:06d}-{os.getpid()}.parquet", index=False, **self.writing(rows))


SYSTEMS: dict[str, type[System]] = {
    "floor-cow": Floor,
    "floor-hash": FloorHash,
    "floor-mor": FloorMor,
    "txfiles": TxFiles,
    "txfiles-expression": TxFilesExpression,
    "txfiles-index": TxFilesIndex,
    "txfiles-mor": TxFilesMor,
    "deltalake": DeltaLake,
    "deltalite": DeltaLite,
    "ducklake": DuckLake,
    "lance": Lance,
    "lance-index": LanceIndex,
    "paimon": Paimon,
    "pyiceberg": PyIceberg,
    "pandas": Pandas,
    "wrong": Wrong,
}
