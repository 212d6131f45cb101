"""A table against the model: all modes, retries, reopening, time travel, restore, compaction, vacuum, in any order.

Tables rewrite files or mark rows, with a key index or without. Lists of files are saved in parts from the third file
on, and now and then they are read as by a new process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import txfiles as tx
from tests.model import Counts, Model, Row, bag
from txfiles.log.cache import SnapshotCache
from txfiles.rows import segments
from txfiles.targets.files import target as files_target

SCHEMA = pa.schema(
    [("id", pa.int64()), ("part", pa.string()), ("time", pa.timestamp("us", "UTC")), ("value", pa.float64())]
)
EPOCH = pa.scalar(0, pa.timestamp("us", "UTC")).as_py()

ROW = st.fixed_dictionaries(
    {
        "id": st.integers(0, 7),
        "part": st.sampled_from(["a", "b", "", None, "a b/c%"]),
        "time": st.one_of(st.none(), st.integers(0, 3)),
        "value": st.sampled_from([None, 0.0, -0.0, 1.5, float("nan"), float("-inf")]),
    }
)
ROWS = st.lists(ROW, max_size=6)
STRATEGY = st.sampled_from(["newest_wins", "first_wins", "last_wins"])


def arrow(rows: list[Row]) -> pa.Table:
    """Rows as the library gets them."""
    return pa.Table.from_pylist(rows, SCHEMA)


def plain(rows: list[Row]) -> list[Row]:
    """Rows as the library gives them back."""
    return arrow(rows).to_pylist()


class TableMachine(RuleBasedStateMachine):
    """Each rule does one thing to the table and to the model, and compares what is reported."""

    @initialize(
        format_name=st.sampled_from(["parquet", "csv"]),
        partitioned=st.booleans(),
        timestamps=st.booleans(),
        checkpoint_interval=st.sampled_from([1, 3, 20]),
        target_file_bytes=st.sampled_from([1_024, 64 * 1024 * 1024]),
        row_group_rows=st.sampled_from([1, 3, 32_768]),
        update_strategy=st.sampled_from(["copy_on_write", "merge_on_read"]),
        key_index=st.sampled_from(["off", "on"]),
        first=ROWS,
    )
    def create(
        self,
        format_name: str,
        partitioned: bool,
        timestamps: bool,
        checkpoint_interval: int,
        target_file_bytes: int,
        row_group_rows: int,
        update_strategy: str,
        key_index: str,
        first: list[Row],
    ) -> None:
        # In memory where there is such a folder: what is asserted is rows, and fsync would take most of the time.
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(segments, "TAIL_FILES", 2)
        self.patch.setattr(segments, "PART_FILES", 4)
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.folder = Path(tempfile.mkdtemp(prefix="txfiles-machine-", dir=memory))
        self.path = self.folder / "table"
        self.model = Model(keys=("id",), timestamp_col="time" if timestamps else None)
        self.oldest = 0
        self.ids: list[dict[str, int]] = []
        self.last: tuple[list[Row], dict[str, Any]] | None = None
        result = tx.write(
            arrow(first),
            self.path,
            mode="append",
            format=format_name,
            partition_by=["part"] if partitioned else None,
            properties={
                "checkpoint_interval": checkpoint_interval,
                "target_file_bytes": target_file_bytes,
                "row_group_rows": row_group_rows,
                "update_strategy": update_strategy,
                "key_index": key_index,
            },
        )
        self.partitioned = partitioned
        self.recorded = False
        self.model.append(plain(first))
        self.model.versions.append(self.model.rows)
        assert (result.version, result.rows_inserted) == (0, len(first))

    def write(self, rows: list[Row], expected: Counts, *, changes: bool, **options: Any) -> None:
        """Write, and hold the result to what the model expects."""
        result = tx.write(arrow(rows), self.path, **options)
        assert result.committed == changes, (result, expected)
        assert result.version == len(self.model.versions) - (0 if changes else 1)
        for name, count in vars(expected).items():
            assert getattr(result, f"rows_{name}") == count, (name, result, expected)
        assert result.rows_in == len(rows)
        assert result.rows_in == sum(
            getattr(result, f"rows_{fate}")
            for fate in ("inserted", "updated", "unchanged", "skipped", "stale", "deduplicated")
        )
        if changes:
            self.model.versions.append(self.model.rows)
        self.last = (rows, options)

    @rule(rows=ROWS, batch=st.one_of(st.none(), st.sampled_from(["b1", "b2"])))
    def append(self, rows: list[Row], batch: str | None) -> None:
        """All rows are added, once for each batch id."""
        if batch in self.model.batch_ids:
            result = tx.write(arrow(rows), self.path, mode="append", batch_id=batch)
            assert (result.already_committed, result.version) == (True, self.model.batch_ids[batch])
            assert (result.rows_in, result.rows_inserted, result.committed) == (0, 0, False)
            return
        expected = self.model.append(plain(rows))
        if batch is not None:
            self.model.batch_ids[batch] = len(self.model.versions)
        self.write(rows, expected, changes=bool(rows) or batch is not None, mode="append", batch_id=batch)

    def records(self, rows: list[Row]) -> bool:
        """Whether this keyed write is the first with rows: it records its keys."""
        first, self.recorded = bool(rows) and not self.recorded, self.recorded or bool(rows)
        return first

    @rule(rows=ROWS, strategy=STRATEGY)
    def append_once(self, rows: list[Row], strategy: str) -> None:
        """Unknown keys are added."""
        options = self._keyed(strategy)
        if options is None:
            return
        kept = self.model.deduplicated(plain(rows), strategy)
        expected = self.model.append_once(kept)
        expected.deduplicated = len(rows) - len(kept)
        changes = self.records(rows) or bool(expected.inserted)
        self.write(rows, expected, changes=changes, mode="append_once", **options)

    @rule(rows=ROWS, strategy=STRATEGY, stale=st.sampled_from(["skip", "apply"]))
    def upsert(self, rows: list[Row], strategy: str, stale: str) -> None:
        """Known keys are replaced where they differ, unknown ones added."""
        options = self._keyed(strategy)
        if options is None:
            return
        kept = self.model.deduplicated(plain(rows), strategy)
        ambiguous = self._ambiguous(kept)
        expected = self.model.upsert(kept, stale)
        expected.deduplicated = len(rows) - len(kept)
        if ambiguous:
            # Several equally old rows of one key: which one counts as "the" row depends on where they stand.
            result = tx.write(arrow(rows), self.path, mode="upsert", stale=stale, **options)
            assert result.rows_updated + result.rows_unchanged == expected.updated + expected.unchanged
            assert (result.rows_deleted, result.rows_stale) == (expected.deleted, expected.stale)
            changes = bool(expected.inserted or expected.updated or expected.deleted)
            assert result.committed == (self.records(rows) or changes)
            if result.committed:
                self.model.versions.append(self.model.rows)
            self.last = (rows, {"mode": "upsert", "stale": stale, **options})
            return
        changes = self.records(rows) or bool(expected.inserted or expected.updated or expected.deleted)
        self.write(rows, expected, changes=changes, mode="upsert", stale=stale, **options)

    @rule(rows=ROWS)
    def overwrite(self, rows: list[Row]) -> None:
        """The table is replaced."""
        expected = self.model.replace(plain(rows), lambda _: True)
        self.write(rows, expected, changes=bool(rows or expected.deleted), mode="overwrite")

    @precondition(lambda self: self.partitioned)
    @rule(rows=ROWS)
    def overwrite_partitions(self, rows: list[Row]) -> None:
        """The partitions present in the batch are replaced."""
        present = {row["part"] for row in rows}
        expected = self.model.replace(plain(rows), lambda row: row["part"] in present)
        self.write(rows, expected, changes=bool(rows), mode="overwrite", overwrite_partitions=True)

    @rule(rows=ROWS, bound=st.integers(0, 8))
    def replace_where(self, rows: list[Row], bound: int) -> None:
        """The rows that match a filter are replaced."""
        rows = [row for row in rows if row["id"] < bound]
        expected = self.model.replace(plain(rows), lambda row: row["id"] < bound)
        where = [("id", "<", bound)]
        self.write(rows, expected, changes=bool(rows or expected.deleted), mode="overwrite", replace_where=where)

    @rule(bound=st.integers(-1, 8), part=st.sampled_from([None, "a", ""]))
    def delete_where(self, bound: int, part: str | None) -> None:
        """The rows that match a filter go."""
        where: list[Any] = [("id", "<", bound), *([] if part is None else [("part", "=", part)])]
        expected = self.model.delete(lambda row: row["id"] < bound and part in (None, row["part"]))
        self.delete(expected, where=where)

    @precondition(lambda self: self.recorded)
    @rule(keys=st.lists(st.integers(0, 9), max_size=3))
    def delete_keys(self, keys: list[int]) -> None:
        """The rows with these keys go."""
        self.delete(self.model.delete(lambda row: row["id"] in keys), keys=keys)

    def delete(self, expected: Counts, **rows: Any) -> None:
        """Delete, and hold the result to what the model expects."""
        table = tx.Table(self.path)
        result = table.delete(**rows)
        assert (result.rows_deleted, result.committed) == (expected.deleted, bool(expected.deleted))
        if result.committed:
            self.model.versions.append(self.model.rows)
        assert table.version == result.version == len(self.model.versions) - 1
        self.last = None  # a late retry of a keyed batch brings its rows back

    @precondition(lambda self: self.last is not None and self.last[1]["mode"] in ("append_once", "upsert"))
    @rule()
    def retry(self) -> None:
        """The same keyed batch again, right away, changes and commits nothing."""
        assert self.last is not None
        rows, options = self.last
        before = sorted(path.name for path in self.path.rglob("*") if path.is_file())
        result = tx.write(arrow(rows), self.path, **options)
        assert (result.committed, result.rows_inserted, result.rows_updated) == (False, 0, 0)
        assert sorted(path.name for path in self.path.rglob("*") if path.is_file()) == before

    @rule(value=st.sampled_from(["snappy", "zstd"]))
    def set_property(self, value: str) -> None:
        """A property is a commit, or none where it has that value already."""
        table = tx.Table(self.path)
        changes = table.properties["compression"] != value or "compression" not in self._set_before()
        table.set(compression=value)
        if changes:
            self._seen_compression = True
            self.model.versions.append(self.model.rows)
        assert table.version == len(self.model.versions) - 1

    @rule(target_file_bytes=st.sampled_from([None, 1_024, 3_000]))
    def compact(self, target_file_bytes: int | None) -> None:
        """No row changes, those of a part keep their order, and a second compaction has nothing to do."""
        table = tx.Table(self.path)
        orders = self._orders(table)
        result = table.compact(target_file_bytes)
        if result.committed:
            self.model.versions.append(self.model.rows)
        assert table.version == len(self.model.versions) - 1
        assert self._orders(table) == orders
        again = tx.Table(self.path).compact(target_file_bytes)
        assert (again.committed, again.groups) == (False, 0)

    @staticmethod
    def _orders(table: tx.Table) -> dict[str, str]:
        rows = table.to_arrow().to_pylist()
        return {
            repr(part): repr([row for row in rows if row["part"] == part]) for part in {row["part"] for row in rows}
        }

    @rule()
    def vacuum(self) -> None:
        """Superseded files go; the head stays; older versions that lost files say so."""
        table = tx.Table(self.path)
        result = table.vacuum(retain="0")
        if result.committed:
            self.model.versions.append(self.model.rows)
        assert table.version == len(self.model.versions) - 1
        live = set(table.files(physical=True))
        standing = {str(path) for path in self.path.rglob("part-*") if path.is_file()}
        assert standing == live
        vectors = table._opened.snapshot.files["vector"].drop_null().to_pylist()
        named = {vector["file"] for vector in vectors}
        assert {path.name for path in self.path.glob("_txfiles/vectors/*")} == named
        again = tx.Table(self.path).vacuum(retain="0")
        assert (again.committed, again.deleted) == (False, ())

    @rule(data=st.data())
    def time_travel(self, data: st.DataObject) -> None:
        """A version is as it was, or has expired."""
        version = data.draw(st.integers(0, len(self.model.versions) - 1))
        try:
            rows = tx.Table(self.path, version=version).to_arrow().to_pylist()
        except tx.SnapshotExpiredError as error:
            assert version < error.oldest_readable
        else:
            assert bag(rows) == bag(self.model.versions[version])

    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """A version comes back, rows in its order, with its batch ids and keys; or it has expired."""
        version = data.draw(st.integers(0, len(self.model.versions) - 1))
        table = tx.Table(self.path)
        before = table.row_count
        try:
            result = table.restore(version=version)
        except tx.SnapshotExpiredError as error:
            assert version < error.oldest_readable
            return
        assert table.row_count == before + result.rows_inserted - result.rows_deleted
        assert repr(table.to_arrow().to_pylist()) == repr(table.at(version=version).to_arrow().to_pylist())
        self.recorded = bool(table.keys)
        kept = self.ids[version]
        if result.committed:
            self.model.rows = self.model.versions[version]
            self.model.versions.append(self.model.rows)
        self.model.batch_ids = dict(kept)
        self.last = None

    @invariant()
    def head_equals_model(self) -> None:
        """A freshly opened table holds exactly the model's rows."""
        if hasattr(self, "path"):
            if len(self.model.versions) % 4 == 0:
                self.patch.setattr(files_target, "_SNAPSHOTS", SnapshotCache())
            table = tx.Table(self.path)
            assert table.version == len(self.model.versions) - 1
            assert bag(table.to_arrow().to_pylist()) == bag(self.model.rows)
            self.ids += [dict(self.model.batch_ids)] * (len(self.model.versions) - len(self.ids))

    def teardown(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "folder"):
            self.patch.undo()
            shutil.rmtree(self.folder)

    def _keyed(self, strategy: str) -> dict[str, Any] | None:
        """Options of a keyed write; None where this table cannot have this strategy."""
        if strategy == "newest_wins" and self.model.timestamp_col is None:
            return None
        return {"keys": ["id"], "dedup_strategy": strategy, "timestamp_col": self.model.timestamp_col}

    def _ambiguous(self, rows: list[Row]) -> bool:
        """Whether a row's key stands several times, with unequal rows."""
        for row in rows:
            standing = [known for known in self.model.rows if known["id"] == row["id"]]
            if len(standing) > 1 and len({repr(bag([known])) for known in standing}) > 1:
                return True
        return False

    def _set_before(self) -> set[str]:
        return {"compression"} if getattr(self, "_seen_compression", False) else set()


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(
    max_examples=max(40, settings().max_examples // 4),
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
)
