"""What every target must do, whatever the engine: one class of cases.

A target plugs in with a fixture `target` (see `Target`), and declares the cases that it refuses. A case says what it
writes and what must be there afterwards: rows, counts, versions, files. Where a backend cannot know a count it reports
None, which passes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import txfiles as tx
from tests.model import bag

Rows = Sequence[dict[str, Any]]

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("at", pa.timestamp("us", "UTC")), ("x", pa.float64())])
NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


def row(id: int | None, name: str | None = "n", at: int | None = 0, x: float | None = 1.0) -> dict[str, Any]:
    """One row; `at` counts hours from noon."""
    return {"id": id, "name": name, "at": None if at is None else NOON + dt.timedelta(hours=at), "x": x}


@dataclass(frozen=True)
class Refusal:
    """What a target truly cannot do: a case ends with this error instead.

    Attributes:
        error: its class.
        match: what its message says.
        only: only where this pattern is found in the case's id.
    """

    error: type[tx.TxFilesError]
    match: str
    only: str = ""


@dataclass
class Target:
    """A place to write to, and the engine that gives it data.

    Attributes:
        path: where the table is.
        where: what every call says besides the path (format, …).
        give: turns Arrow rows into the engine's kind of data.
        residue: names of everything that stands there, to see that nothing was written.
        refuses: the cases that the target refuses, by name; `conftest` sees to it that it does.
    """

    path: Any
    where: dict[str, Any]
    give: Callable[[pa.Table], Any]
    residue: Callable[[], list[str]]
    refuses: Mapping[str, Refusal] = field(default_factory=dict)

    def write(self, rows: Rows | pa.Table, **options: Any) -> tx.WriteResult:
        """Write rows of `SCHEMA` (or an Arrow table of another)."""
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), SCHEMA)
        return self.write_data(self.give(table), **options)

    def write_data(self, data: Any, **options: Any) -> tx.WriteResult:
        """Write what is given as it is."""
        return tx.write(data, self.path, **{**self.where, **options})

    def plan(self, data: Any, **options: Any) -> tx.Plan:
        """Say what writing it would do."""
        return tx.plan(data, self.path, **{**self.where, **options})

    def exists(self) -> bool:
        """Whether the table is there."""
        return tx.exists(self.path, **self.where)

    def table(self, **options: Any) -> tx.Table:
        """The table, opened anew."""
        return tx.Table(self.path, **{**self.where, **options})

    def rows(self) -> list[dict[str, Any]]:
        """What the table holds."""
        return self.table().to_arrow().to_pylist()

    def holds(self, rows: Rows) -> bool:
        """Whether the table holds exactly these rows, in any order."""
        return bag(self.rows()) == bag(list(rows))


def counts(result: tx.WriteResult, **expected: int) -> bool:
    """Whether a result reports these counts, 0 for all others, and they add up."""
    fates = ("inserted", "updated", "unchanged", "skipped", "stale", "deduplicated")
    for name in (*fates, "deleted"):
        reported = getattr(result, f"rows_{name}")
        assert reported in (None, expected.get(name, 0)), (name, result)
    known = [getattr(result, f"rows_{name}") for name in fates]
    assert None in known or sum(known) == result.rows_in, result
    return True


LOOKUPS = (
    [3, 1, 9],
    (3, 1),
    {1, 3},
    [(3,), (1,)],
    [1, 3, 3, 2**40, None],
    pa.table({"x": [0, 0], "id": [3, 1]}),
    pa.table({"id": pa.array([3, 1], pa.int8())}).to_batches()[0],
    pa.array([3, 1, None]),
    np.array([3, 1]),
    pd.DataFrame({"id": [3, 1]}),
    pd.Series([3, 1]),
    pl.DataFrame({"id": [3, 1]}),
    pl.DataFrame({"id": [3, 1]}).lazy(),
)
"""Each asks for the rows of 1 and 3."""

SINGLE_KEYS = (dt.date(1900, 1, 1), NOON, Decimal("1.50"), True, b"b", "text", np.int64(7), pa.scalar("x"))


ODD_NAMES = (
    "a",
    "",
    "a/b",
    "..",
    ".",
    "a b",
    "%25",
    "k=v",
    "e\u0301",
    "\u00e9",
    "A",
    "a\nb\0",
    "__HIVE_DEFAULT_PARTITION__",
)
"""Partition values that bite."""

WRONG_OPTIONS: tuple[dict[str, Any], ...] = (
    {"keys": 5},
    {"keys": b"id"},
    {"keys": ["id", 1]},
    {"keys": ["id", "id"]},
    {"partition_by": 5},
    {"properties": ["compression"]},
    {"properties": {"compresion": "zstd"}},
    {"properties": {"compression": "zst"}},
    {"user_metadata": "job"},
    {"user_metadata": {"job": 1}},
    {"user_metadata": {"job": "\ud800"}},
    {"batch_id": 5},
    {"batch_id": ""},
    {"batch_id": "\ud800"},
    {"timestamp_col": 5},
    {"storage_options": "key"},
    {"progress": "bar"},
    {"rekey": "no"},
    {"timeout": "1"},
    {"mode": "upsrt"},
    {"schema_mode": "loose"},
    {"stale": "keep"},
    {"dedup_strategy": "newest"},
    {"mode": "append"},
    {"mode": "append", "keys": None, "timestamp_col": "at"},
    {"mode": "overwrite", "keys": None, "dedup_strategy": "last_wins"},
    {"mode": "overwrite", "keys": None, "rekey": True},
    {"mode": "overwrite", "overwrite_partitions": "yes"},
    {"mode": "overwrite", "overwrite_partitions": True, "replace_where": [("id", "=", 1)]},
    {"mode": "overwrite", "replace_where": [("id", "=", 1)], "schema_mode": "overwrite"},
    {"overwrite_partitions": True},
    {"replace_where": [("id", "=", 1)]},
    {"schema_mode": "overwrite"},
)
"""Each beside mode upsert and keys, where it does not say others."""


def with_every_input(case: Callable[..., None]) -> Callable[..., None]:
    """Mark a case that runs with each kind of input; the others run once on each target, with Arrow tables."""
    case.with_every_input = True  # type: ignore[attr-defined]
    return case


class ConformanceCases:
    """All modes, keys, duplicates, stale rows, batch ids and schemas."""

    # ---- creation and empty batches

    @pytest.mark.parametrize("mode", ["overwrite", "append", "append_once", "upsert"])
    @with_every_input
    def test_first_write_creates(self, target: Target, mode: str) -> None:
        """Any mode creates the table."""
        assert not target.exists()
        result = target.write([row(1), row(2)], mode=mode, keys=["id"] if mode in ("append_once", "upsert") else None)
        assert (result.version, result.committed) == (0, True)
        assert counts(result, inserted=2)
        assert target.exists()
        assert target.holds([row(1), row(2)])

    @pytest.mark.parametrize("mode", ["overwrite", "append", "append_once", "upsert"])
    def test_empty_batch_creates(self, target: Target, mode: str) -> None:
        """An empty first batch creates an empty table."""
        result = target.write([], mode=mode, keys=["id"] if mode in ("append_once", "upsert") else None)
        assert (result.version, result.committed, result.files_added) == (0, True, 0)
        assert target.rows() == []
        assert target.table().schema.names == SCHEMA.names

    @pytest.mark.parametrize("mode", ["append", "append_once", "upsert"])
    @with_every_input
    def test_empty_batch_commits_nothing(self, target: Target, mode: str) -> None:
        """An empty later batch commits nothing."""
        target.write([row(1)], mode="upsert", keys=["id"])
        before = target.residue()
        result = target.write([], mode=mode)
        assert (result.version, result.committed) == (0, False)
        assert target.residue() == before

    def test_empty_overwrite_empties(self, target: Target) -> None:
        """An empty overwrite empties the table, once."""
        target.write([row(1)], mode="append")
        assert counts(target.write([], mode="overwrite"), deleted=1)
        assert target.rows() == []
        assert not target.write([], mode="overwrite").committed

    def test_empty_batch_is_checked(self, target: Target) -> None:
        """An empty batch of other columns is refused all the same."""
        target.write([row(1)], mode="append")
        with pytest.raises(tx.SchemaMismatchError):
            target.write(pa.table({"other": pa.array([], pa.int64())}), mode="append")

    @pytest.mark.parametrize("mode", ["overwrite", "append", "append_once", "upsert"])
    def test_iterator_without_chunk(self, target: Target, mode: str) -> None:
        """No chunk has no schema: an error on a new table and with overwrite, else like an empty batch."""
        keys = ["id"] if mode in ("append_once", "upsert") else None
        with pytest.raises(tx.InputError, match="no chunk"):
            target.write_data(iter([]), mode=mode, keys=keys)
        assert not target.exists()
        target.write([row(1)], mode=mode, keys=keys)
        if mode == "overwrite":
            with pytest.raises(tx.InputError, match="no chunk"):
                target.write_data(iter([]), mode=mode)
        else:
            result = target.write_data(iter([]), mode=mode)
            assert counts(result)
            assert (result.committed, result.version, result.rows_in) == (False, 0, 0)
        assert target.holds([row(1)])

    # ---- modes

    def test_append_again_adds_again(self, target: Target) -> None:
        """A retried append without a batch id doubles its rows."""
        target.write([row(1)], mode="append")
        assert counts(target.write([row(1)], mode="append"), inserted=1)
        assert target.holds([row(1), row(1)])

    @pytest.mark.parametrize("mode", ["append_once", "upsert"])
    @with_every_input
    def test_retry_commits_nothing(self, target: Target, mode: str) -> None:
        """A retried keyed write commits nothing and writes nothing."""
        rows = [row(1), row(2, None, None, None), row(3, "", 5, float("nan"))]
        target.write(rows, mode=mode, keys=["id"])
        before = target.residue()
        result = target.write(rows, mode=mode, keys=["id"])
        assert (result.committed, result.version, result.files_added, result.bytes_written) == (False, 0, 0, 0)
        assert counts(result, **{"skipped" if mode == "append_once" else "unchanged": 3})
        assert target.residue() == before

    @with_every_input
    def test_append_once_adds_unknown_keys(self, target: Target) -> None:
        """A known key is skipped, whatever its row says and however new it is."""
        target.write([row(1)], mode="append_once", keys="id", timestamp_col="at")
        assert counts(target.write([row(1, "x", 9), row(2)], mode="append_once"), inserted=1, skipped=1)
        assert target.holds([row(1), row(2)])

    @with_every_input
    def test_upsert_replaces_and_adds(self, target: Target) -> None:
        """Known keys replace their row, unknown ones are added, equal ones stay."""
        target.write([row(1), row(2), row(3)], mode="upsert", keys=["id"])
        result = target.write([row(2, "new"), row(3), row(4)], mode="upsert")
        assert counts(result, inserted=1, updated=1, unchanged=1)
        assert target.holds([row(1), row(2, "new"), row(3), row(4)])

    def test_upsert_is_exact(self, target: Target) -> None:
        """-0.0 is not 0.0, null is not NaN, and each is stored as it is."""
        target.write([row(1, x=0.0), row(2, x=None), row(3, x=float("nan"))], mode="upsert", keys=["id"])
        changed = [row(1, x=-0.0), row(2, x=None), row(3, x=1.0)]
        assert counts(target.write(changed, mode="upsert"), updated=2, unchanged=1)
        assert target.holds(changed)

    @with_every_input
    def test_overwrite_replaces(self, target: Target) -> None:
        """An overwrite counts its rows as inserted and the old ones as deleted."""
        target.write([row(1), row(2)], mode="append")
        assert counts(target.write([row(3)], mode="overwrite"), inserted=1, deleted=2)
        assert target.holds([row(3)])

    def test_overwrite_checks_keys_it_names(self, target: Target) -> None:
        """An overwrite that names keys is checked, deduplicated and recorded like a keyed write."""
        with pytest.raises(tx.DuplicateKeyError):
            target.write([row(1, "a"), row(1, "b")], mode="overwrite", keys=["id"])
        assert not target.exists()
        result = target.write([row(1, "a"), row(1, "b")], mode="overwrite", keys=["id"], dedup_strategy="last_wins")
        assert counts(result, inserted=1, deduplicated=1)
        assert target.table().keys == ("id",)
        assert target.holds([row(1, "b")])

    # ---- parts of a table

    @pytest.mark.parametrize("partitioned", [True, False])
    def test_overwrite_partitions(self, target: Target, partitioned: bool) -> None:
        """The partitions present in the batch are replaced: none by an empty batch; a table without any has none."""
        names = [*ODD_NAMES, None]
        target.write([row(1, name) for name in names], mode="append", partition_by=["name"] if partitioned else None)
        batch = [row(2, None), row(3, ""), row(4, "new")]
        if not partitioned:
            with pytest.raises(tx.OptionError, match="partition"):
                target.write(batch, mode="overwrite", overwrite_partitions=True)
            return
        assert not target.write([], mode="overwrite", overwrite_partitions=True).committed
        assert counts(target.write(batch, mode="overwrite", overwrite_partitions=True), inserted=3, deleted=2)
        assert target.holds([row(1, name) for name in names if name] + batch)

    def test_upsert_moves_rows_between_partitions(self, target: Target) -> None:
        """A row whose partition value changes moves; null and the empty text are two partitions."""
        names = [*ODD_NAMES, None]
        target.write([row(n, name) for n, name in enumerate(names)], mode="upsert", keys=["id"], partition_by="name")
        moved = [row(n, name) for n, name in enumerate([*names[1:], names[0]])]
        assert counts(target.write(moved, mode="upsert"), updated=len(names))
        assert target.holds(moved)
        assert not target.write(moved, mode="upsert").committed

    def test_partition_columns_are_fixed(self, target: Target) -> None:
        """Every column, an unknown one, another one later, one that goes: errors; the same ones again are fine."""
        for wrong in (["id", "name", "at", "x"], ["nme"], ["x"]):
            with pytest.raises(tx.InputError):
                target.write([row(1)], mode="append", partition_by=wrong)
            assert not target.exists()
        target.write([row(1)], mode="append", partition_by=["name"])
        with pytest.raises(tx.OptionError, match="partitioned by 'name'"):
            target.write([row(2)], mode="append", partition_by=["id"])
        with pytest.raises(tx.SchemaMismatchError, match="'name'"):
            target.write(pa.table({"id": [1]}), mode="overwrite", schema_mode="overwrite")
        target.write([row(2)], mode="append", partition_by=["name"])
        assert target.table().partition_by == ("name",)
        assert target.holds([row(1), row(2)])

    def test_replace_where(self, target: Target) -> None:
        """The rows that match are replaced; rows outside are refused; unknown (null) is no match."""
        target.write([row(1, x=1.0), row(2, x=2.0), row(3, x=None)], mode="append")
        where = [("x", ">=", 2)]
        before = target.residue()
        for outside in (row(4, x=1.5), row(4, x=None)):
            with pytest.raises(tx.InputError, match="do not match replace_where, at 1"):
                target.write([row(5, x=5.0), outside], mode="overwrite", replace_where=where)
        assert target.residue() == before
        result = target.write([row(5, x=5.0)], mode="overwrite", replace_where=pc.field("x") >= 2)
        assert counts(result, inserted=1, deleted=1)
        assert target.holds([row(1, x=1.0), row(3, x=None), row(5, x=5.0)])
        assert counts(target.write([], mode="overwrite", replace_where=where), deleted=1)
        assert not target.write([], mode="overwrite", replace_where=where).committed
        assert target.holds([row(1, x=1.0), row(3, x=None)])

    @pytest.mark.parametrize("part", [{"overwrite_partitions": True}, {"replace_where": [("name", "=", "b")]}])
    def test_keys_hold_beyond_the_part(self, target: Target, part: dict[str, Any]) -> None:
        """Where an overwrite of a part names keys, the resulting table has each once, and none null."""
        target.write([row(1, "a"), row(2, "b")], mode="append", partition_by="name")
        with pytest.raises(tx.DuplicateKeyError, match=r"the first is 1;"):
            target.write([row(1, "b")], mode="overwrite", keys=["id"], **part)
        result = target.write([row(2, "b", x=9.0), row(2, "b", x=9.0)], mode="overwrite", keys=["id"], **part)
        assert counts(result, inserted=1, deleted=1, deduplicated=1)
        assert target.table().keys == ("id",)
        target.write([row(None, "a")], mode="append")
        with pytest.raises(tx.NullKeyError, match="rows that stay"):
            target.write([row(2, "b")], mode="overwrite", keys=["id", "name"], rekey=True, **part)
        assert target.holds([row(1, "a"), row(2, "b", x=9.0), row(None, "a")])

    # ---- deletes

    @pytest.mark.parametrize("partitioned", [True, False])
    def test_delete_by_filter(self, target: Target, partitioned: bool) -> None:
        """The rows that match go, in one version; unknown (null) is no match, and all else keeps value and place."""
        nan = float("nan")
        rows = [
            row(1, "a", x=nan),
            row(2, "b", None, 5.0),
            row(3, "a", x=None),
            row(4, "b", x=-0.0),
            row(5, "a", x=9.0),
        ]
        target.write(rows[:3], mode="append", partition_by=["name"] if partitioned else None)
        target.write(rows[3:], mode="append")
        table = target.table()
        before = target.rows()
        result = table.delete([("x", ">=", 5)])
        assert (result.version, result.committed, result.mode, table.version) == (2, True, "delete", 2)
        assert counts(result, deleted=2)
        assert target.holds([rows[0], rows[2], rows[3]])
        assert bag(table.at(version=1).to_arrow().to_pylist()) == bag(before)
        after = target.table()
        assert counts(after.delete(pc.field("name") == "a"), deleted=2)
        assert target.rows() == [rows[3]]
        assert after.history()[0].operation == "delete"

    def test_delete_of_everything(self, target: Target) -> None:
        """A filter that every row meets empties the table, which takes rows again."""
        target.write([row(1), row(2)], mode="upsert", keys=["id"])
        result = target.table().delete(pc.scalar(True))
        assert (result.rows_deleted, result.files_removed, result.files_added, result.files_scanned) == (2, 1, 0, 0)
        assert target.rows() == []
        assert counts(target.write([row(2)], mode="upsert"), inserted=1)

    def test_delete_by_keys(self, target: Target) -> None:
        """The rows with these keys go, in whatever form they are given, each once and known or not."""
        for wanted in (*LOOKUPS[:4], [1, 3, 3, 2**40], *LOOKUPS[5:7], *LOOKUPS[8:]):
            target.write([row(1), row(2), row(3)], mode="overwrite", keys=["id"])
            result = target.table().delete(keys=wanted)
            assert counts(result, deleted=2), wanted
            assert target.holds([row(2)]), wanted

    def test_delete_of_null_keys(self, target: Target) -> None:
        """A null among the keys is an error that names the column and the positions, and nothing is written."""
        target.write([row(1)], mode="upsert", keys=["id"])
        target.write([row(None)], mode="append")
        before = target.residue()
        nulls = (
            [1, None],
            [1, float("nan")],
            pa.table({"id": [1, None]}),
            pd.DataFrame({"id": [1.0, None]}),
            [1, pd.NA],
        )
        for wanted in nulls:
            with pytest.raises(tx.NullKeyError, match="'id'") as caught:
                target.table().delete(keys=wanted)
            assert (caught.value.column, caught.value.count, caught.value.rows) == ("id", 1, [1])
        assert target.residue() == before
        assert counts(target.table().delete([("id", "is null", None)]), deleted=1)
        assert target.holds([row(1)])

    def test_delete_by_several_key_columns(self, target: Target) -> None:
        """A key of several columns is a tuple, or a row of a table that names its columns."""
        rows = [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}]
        target.write(pa.Table.from_pylist(rows), mode="upsert", keys=["a", "b"])
        table = target.table()
        assert counts(table.delete(keys=(1, "x")), deleted=1)
        assert counts(table.delete(keys=pd.DataFrame({"b": ["x", "z"], "a": [2, 1]})), deleted=1)
        assert target.rows() == [rows[1]]

    def test_delete_of_nothing_commits_nothing(self, target: Target) -> None:
        """If no row is found, no version is made and nothing written."""
        target.write([row(1), row(2)], mode="upsert", keys=["id"])
        before = target.residue()
        for rows in ({"where": [("id", ">", 7)]}, {"keys": [7]}, {"keys": []}, {"keys": SCHEMA.empty_table()}):
            result = target.table().delete(**rows)
            assert (result.committed, result.version) == (False, 0)
            assert counts(result)
        assert target.residue() == before

    def test_delete_with_a_batch_id(self, target: Target) -> None:
        """It is applied once, also if it finds nothing; the id of a write, or of the other kind, is refused."""
        target.write([row(1), row(2)], mode="upsert", keys=["id"], batch_id="write")
        table = target.table()
        assert table.delete(keys=1, batch_id="one").version == 1
        assert table.delete([("id", "=", 7)], batch_id="none").version == 2
        target.write([row(1), row(7)], mode="upsert")
        for rows, batch_id, version in (({"keys": 2}, "one", 1), ({"where": [("nothing", "=", 1)]}, "none", 2)):
            again = target.table().delete(**rows, batch_id=batch_id)
            assert (again.already_committed, again.version, again.rows_deleted) == (True, version, 0)
        for wrong in ({"keys": 1, "batch_id": "write"}, {"where": [("id", "=", 1)], "batch_id": "one"}):
            with pytest.raises(tx.BatchIdMismatchError):
                table.delete(**wrong)
        with pytest.raises(tx.BatchIdMismatchError):
            target.write([row(1)], mode="upsert", batch_id="one")
        assert target.holds([row(1), row(2), row(7)])

    def test_delete_says_which_rows(self, target: Target) -> None:
        """Neither a filter nor keys, an empty filter, both, or what does not fit: an error, and nothing is written."""
        target.write([row(1)], mode="append")
        before = target.residue()
        table = target.table()
        for wrong in (
            {},
            {"where": []},
            {"where": None},
            {"where": [("id", "=", 1)], "keys": [1]},
            {"where": [], "keys": 1},
        ):
            with pytest.raises(tx.OptionError) as caught:
                table.delete(**wrong)
            assert "mode='overwrite'" in caught.value.hint
        with pytest.raises(tx.KeysRequiredError, match="no recorded keys") as required:
            table.delete(keys=[1])
        assert "filter" in required.value.hint
        for wrong in ({"where": "id = 1"}, {"where": [("idd", "=", 1)]}, {"where": [("id", "=", "x")]}):
            with pytest.raises(tx.InputError):
                table.delete(**wrong)
        for wrong in ({"batch_id": ""}, {"timeout": "1"}, {"dry_run": 1}, {"user_metadata": {"a": 1}}, {"progress": 1}):
            with pytest.raises(tx.OptionError):
                table.delete([("id", "=", 1)], **wrong)
        assert target.residue() == before

    def test_dry_run_of_a_delete(self, target: Target) -> None:
        """It counts what the delete then does, and writes nothing."""
        target.write([row(1), row(2), row(3, "m")], mode="upsert", keys=["id"], partition_by=["name"])
        before = target.residue()
        for rows in ({"where": [("id", ">", 1)]}, {"keys": [1, 9]}):
            table = target.table()
            plan = table.delete(**rows, dry_run=True)
            assert isinstance(plan, tx.Plan)
            assert plan.dry_run
            assert target.residue() == before
            done = table.delete(**rows)
            own = {"files_to_rewrite", "bytes_written", "elapsed", "version", "commit_id", "dry_run", "compaction"}
            assert {f for f in vars_of(plan) if f not in own and getattr(plan, f) != getattr(done, f)} == set()
            before = target.residue()

    # ---- keys

    @pytest.mark.parametrize("mode", ["append_once", "upsert"])
    def test_keys_are_required(self, target: Target, mode: str) -> None:
        """Missing keys are a ValueError that says "requires 'keys'"."""
        with pytest.raises(ValueError, match="requires 'keys'"):
            target.write([row(1)], mode=mode)
        assert not target.exists()

    def test_key_column_must_be_there(self, target: Target) -> None:
        """A key column that is not in the data is a KeyError that says "not found"."""
        with pytest.raises(KeyError, match="not found"):
            target.write([row(1)], mode="upsert", keys=["idd"])
        assert not target.exists()

    @with_every_input
    def test_null_keys_are_refused(self, target: Target) -> None:
        """A null key names the column, the count and the first rows from 0."""
        target.write([row(1)], mode="upsert", keys=["id"])
        before = target.residue()
        with pytest.raises(tx.NullKeyError, match="'id'") as caught:
            target.write([row(2), row(None), row(3), row(None)], mode="upsert")
        assert (caught.value.column, caught.value.count, caught.value.rows) == ("id", 2, [1, 3])
        assert target.residue() == before

    def test_nan_keys_are_null_keys(self, target: Target) -> None:
        """A NaN among the keys of a table of integers names the column, the count and the first rows."""
        target.write([row(1)], mode="upsert", keys=["id"])
        floats = pa.Table.from_pylist([row(1), row(2), row(3)], SCHEMA).set_column(0, "id", [[1.0, float("nan"), None]])
        with pytest.raises(tx.NullKeyError, match="'id'") as caught:
            target.write(floats, mode="upsert")
        assert (caught.value.column, caught.value.count, caught.value.rows) == ("id", 2, [1, 2])
        assert target.holds([row(1)])

    def test_keys_are_recorded(self, target: Target) -> None:
        """Later writes need not repeat the keys, may name them in any order, and not name others."""
        target.write([row(1)], mode="upsert", keys=["id", "name"])
        assert target.table().keys == ("id", "name")
        assert counts(target.write([row(1)], mode="upsert", keys=["name", "id"]), unchanged=1)
        with pytest.raises(tx.OptionError, match="keys"):
            target.write([row(1)], mode="upsert", keys=["id"])
        assert counts(target.write([row(1, "m")], mode="upsert", keys=["id"], rekey=True), updated=1)
        assert target.table().keys == ("id",)

    @pytest.mark.parametrize("mode", ["append_once", "upsert"])
    def test_keys_are_recorded_by_the_first_keyed_write(self, target: Target, mode: str) -> None:
        """It commits them though no row changes; its retry commits nothing, and later writes need not name them."""
        target.write([row(1)], mode="append")
        assert not target.write([], mode=mode, keys=["id"]).committed  # an empty batch says nothing of the table
        result = target.write([row(1)], mode=mode, keys=["id"])
        assert (result.committed, result.version, result.files_added, result.files_removed) == (True, 1, 0, 0)
        assert target.table().keys == ("id",)
        for options in ({"keys": ["id"]}, {}):
            again = target.write([row(1)], mode=mode, **options)
            assert (again.committed, again.version) == (False, 1)
        named = target.write([row(1)], mode=mode, timestamp_col="at")
        assert (named.committed, target.table().timestamp_col) == (True, "at")
        assert not target.write([row(1)], mode=mode).committed
        assert target.holds([row(1)])

    def test_append_refuses_keys(self, target: Target) -> None:
        """`append` would not use keys."""
        with pytest.raises(tx.OptionError, match="keys"):
            target.write([row(1)], mode="append", keys=["id"])

    def test_duplicates_left_by_appends_are_replaced(self, target: Target) -> None:
        """Where appends left a key twice, an upsert replaces all its rows by the one."""
        target.write([row(1, "a"), row(2)], mode="append")
        target.write([row(1, "b")], mode="append")
        result = target.write([row(1, "c")], mode="upsert", keys=["id"])
        assert counts(result, updated=1, deleted=1)
        assert target.holds([row(1, "c"), row(2)])

    def test_keys_are_equal_whatever_their_type(self, target: Target) -> None:
        """A key is a value: of another width, unit or encoding it is the same one; text is not normalised."""
        target.write(pa.table({"k": pa.array([5], pa.int32())}), mode="upsert", keys=["k"])
        for other in (pa.array([5], pa.int8()), pa.array([5.0]), pa.array([5]).dictionary_encode()):
            assert counts(target.write(pa.table({"k": other}), mode="upsert"), unchanged=1)
        texts = pa.table({"k": ["e\u0301", "\u00e9", "E\u0301", "\u00e9 ", ""]})
        assert counts(target.write(texts, mode="overwrite", schema_mode="overwrite", keys=["k"]), inserted=5, deleted=1)
        assert counts(target.write(texts, mode="append_once"), skipped=5)

    def test_null_keys_in_the_table_match_nothing(self, target: Target) -> None:
        """Null keys that appends left are neither replaced nor found."""
        target.write([row(None, "a"), row(1)], mode="append")
        assert counts(target.write([row(1, "b"), row(2)], mode="upsert", keys=["id"]), updated=1, inserted=1)
        assert target.holds([row(None, "a"), row(1, "b"), row(2)])
        assert target.table().lookup([None]).num_rows == 0

    # ---- duplicates inside a batch

    @with_every_input
    def test_duplicates_are_an_error(self, target: Target) -> None:
        """By default the first duplicated keys are named, and nothing is written."""
        with pytest.raises(tx.DuplicateKeyError) as caught:
            target.write([row(7, "a"), row(8), row(7, "b")], mode="upsert", keys=["id"])
        assert "7" in str(caught.value)
        assert not target.exists()

    @pytest.mark.parametrize(
        ("strategy", "expected"), [("newest_wins", "new"), ("first_wins", "old"), ("last_wins", "null")]
    )
    @with_every_input
    def test_strategies(self, target: Target, strategy: str, expected: str) -> None:
        """Each strategy keeps the row that its name says."""
        rows = [row(1, "old", 1), row(1, "new", 2), row(1, "null", None)]
        result = target.write(rows, mode="upsert", keys=["id"], dedup_strategy=strategy, timestamp_col="at")
        assert counts(result, inserted=1, deduplicated=2)
        assert [found["name"] for found in target.rows()] == [expected]

    @pytest.mark.parametrize("strategy", ["error", "first_wins", "last_wins", "newest_wins"])
    def test_equal_rows_are_one(self, target: Target, strategy: str) -> None:
        """Rows equal in every column are one row under each strategy."""
        result = target.write(
            [row(1), row(1)], mode="append_once", keys=["id"], dedup_strategy=strategy, timestamp_col="at"
        )
        assert counts(result, inserted=1, deduplicated=1)

    def test_newest_ties_go_to_the_later_row(self, target: Target) -> None:
        """Of equally new rows the later one stays."""
        rows = [row(1, "a", 3), row(1, "b", 3)]
        target.write(rows, mode="upsert", keys=["id"], dedup_strategy="newest_wins", timestamp_col="at")
        assert [found["name"] for found in target.rows()] == ["b"]

    # ---- stale rows

    def test_stale_rows_are_skipped(self, target: Target) -> None:
        """A row strictly older than the table's is skipped, an equally old one is applied, unasked."""
        target.write([row(1, "tue", 24), row(2, "tue", 24)], mode="upsert", keys=["id"], timestamp_col="at")
        result = target.write([row(1, "mon", 0), row(2, "tie", 24)], mode="upsert")
        assert counts(result, stale=1, updated=1)
        assert target.holds([row(1, "tue", 24), row(2, "tie", 24)])

    def test_stale_rows_can_be_applied(self, target: Target) -> None:
        """`stale="apply"` turns it off."""
        target.write([row(1, "tue", 24)], mode="upsert", keys=["id"], timestamp_col="at")
        assert counts(target.write([row(1, "mon", 0)], mode="upsert", stale="apply"), updated=1)

    def test_null_times_are_oldest(self, target: Target) -> None:
        """A null time is older than any, and as old as another null."""
        target.write([row(1, "a", 0), row(2, "a", None)], mode="upsert", keys=["id"], timestamp_col="at")
        result = target.write([row(1, "b", None), row(2, "b", None)], mode="upsert")
        assert counts(result, stale=1, updated=1)

    @pytest.mark.parametrize(
        ("older", "newer"),
        [
            ("Z", "a"),
            (float("nan"), float("-inf")),
            (Decimal("-9.5"), Decimal("-1.0")),
            (dt.date(1899, 12, 31), dt.date(1970, 1, 1)),
            (False, True),
            (b"\x7f", b"\x80"),
            (dt.time(1), dt.time(1, 0, 0, 1)),
            (-1, 0),
        ],
        ids=str,
    )
    def test_any_orderable_type_tells_the_age(self, target: Target, older: Any, newer: Any) -> None:
        """Numbers, text by code point, binary, dates and times; NaN is as old as null."""
        old, new = (pa.table({"k": [1], "v": [v], "t": [t]}) for v, t in (("old", older), ("new", newer)))
        target.write(new, mode="upsert", keys=["k"], timestamp_col="t")
        assert counts(target.write(old, mode="upsert"), stale=1)
        assert counts(target.write(old, mode="append_once"), skipped=1)
        both = pa.concat_tables([new, old])
        assert counts(target.write(both, mode="upsert", dedup_strategy="newest_wins"), deduplicated=1, unchanged=1)
        assert target.holds(new.to_pylist())

    def test_a_batch_that_lacks_the_timestamp_is_equally_old(self, target: Target) -> None:
        """A merge upsert without the timestamp column is applied, and keeps the stored time."""
        target.write([row(1, "a", 24)], mode="upsert", keys=["id"], timestamp_col="at")
        batch = pa.table({"id": [1], "name": ["b"]})
        assert counts(target.write(batch, mode="upsert", schema_mode="merge"), updated=1)
        assert target.holds([row(1, "b", 24)])

    def test_the_newest_of_several_stored_rows_counts(self, target: Target) -> None:
        """Where appends left a key twice, it is as old as its newest row, which gives what the batch lacks."""
        target.write([row(1, "new", 9), row(2)], mode="append")
        target.write([row(1, "old", 3)], mode="append")
        stale = target.write([row(1, "x", 5)], mode="upsert", keys=["id"], timestamp_col="at", batch_id="b")
        assert counts(stale, stale=1)
        assert target.holds([row(1, "new", 9), row(1, "old", 3), row(2)])
        merged = target.write(pa.table({"id": [1], "x": [7.0]}), mode="upsert", schema_mode="merge")
        assert counts(merged, updated=1, deleted=1)
        assert target.holds([row(1, "new", 9, 7.0), row(2)])

    def test_another_timestamp_needs_rekey(self, target: Target) -> None:
        """The recorded timestamp_col is not changed by the way."""
        target.write([row(1)], mode="upsert", keys=["id"], timestamp_col="at")
        with pytest.raises(tx.OptionError, match="timestamp_col"):
            target.write([row(1)], mode="upsert", timestamp_col="x")

    # ---- batch ids

    @pytest.mark.parametrize("mode", ["overwrite", "append", "append_once", "upsert"])
    @with_every_input
    def test_batch_id_is_applied_once(self, target: Target, mode: str) -> None:
        """A committed batch id is not applied again, and the result says so."""
        keys = ["id"] if mode in ("append_once", "upsert") else None
        first = target.write([row(1)], mode=mode, keys=keys, batch_id="monday")
        again = target.write([row(1), row(2)], mode=mode, keys=keys, batch_id="monday")
        assert (again.already_committed, again.committed, again.version) == (True, False, first.version)
        assert counts(again)
        assert target.holds([row(1)])

    def test_batch_id_of_no_change_is_committed(self, target: Target) -> None:
        """A first delivery that changes no row still commits its id, in a version without files."""
        target.write([row(1)], mode="upsert", keys=["id"])
        result = target.write([row(1)], mode="upsert", batch_id="b")
        assert (result.committed, result.version, result.files_added) == (True, 1, 0)
        target.write([row(1, "later")], mode="upsert")
        assert target.write([row(1)], mode="upsert", batch_id="b").already_committed
        assert target.holds([row(1, "later")])

    def test_batch_id_with_another_mode_is_refused(self, target: Target) -> None:
        """The same id as another mode, or with other keys, is an error."""
        target.write([row(1)], mode="upsert", keys=["id"], batch_id="b")
        with pytest.raises(tx.BatchIdMismatchError):
            target.write([row(1)], mode="append", batch_id="b")

    def test_batch_id_with_other_keys_is_refused(self, target: Target) -> None:
        """The same id with other keys is an error."""
        target.write([row(1)], mode="upsert", keys=["id"], batch_id="b")
        with pytest.raises(tx.BatchIdMismatchError, match=r"\['id'\].*\['name'\]"):
            target.write([row(1)], mode="upsert", keys=["name"], rekey=True, batch_id="b")
        assert target.table().version == 0

    @with_every_input
    def test_batch_id_is_looked_up_before_the_input_is_read(self, target: Target) -> None:
        """A delivery that was applied can be repeated although its input is gone; an overwrite forgets no id."""
        target.write([row(1)], mode="append", batch_id="b")
        target.write([row(2)], mode="overwrite")
        untouched = iter([pa.table({"other": [1]})])
        for gone in ("nowhere/input.parquet", untouched):
            assert target.write_data(gone, mode="append", batch_id="b").already_committed
            assert target.plan(gone, mode="append", batch_id="b").already_committed
        assert len(list(untouched)) == 1
        assert target.holds([row(2)])

    def test_batch_ids_are_kept_to_a_number(self, target: Target) -> None:
        """Beyond the newest `batch_ids_kept`, an id is a new one."""
        for batch_id in ("a", "b", "b", "a"):
            target.write([row(1)], mode="append", batch_id=batch_id, properties={"batch_ids_kept": 1})
        assert [commit.batch_id for commit in target.table().history()] == ["a", "b", "a"]

    # ---- schema

    @with_every_input
    def test_columns_in_any_order(self, target: Target) -> None:
        """Strict wants the same columns, in any order."""
        target.write([row(1)], mode="append")
        swapped = pa.Table.from_pylist([row(2)], SCHEMA).select(["x", "at", "id", "name"])
        target.write(swapped, mode="append")
        assert target.holds([row(1), row(2)])

    @pytest.mark.parametrize("columns", [["id"], ["id", "name", "at", "x", "more"]])
    def test_strict_refuses_other_columns(self, target: Target, columns: list[str]) -> None:
        """Missing and extra columns are an error that names them."""
        target.write([row(1)], mode="append")
        before = target.residue()
        other = pa.table({name: pa.array([1]) for name in columns})
        with pytest.raises(tx.SchemaMismatchError):
            target.write(other, mode="append")
        assert target.residue() == before

    def test_lossless_casts(self, target: Target) -> None:
        """A cast that loses nothing is made; the column keeps its type."""
        target.write([row(1)], mode="append")
        narrow = pa.Table.from_pylist([row(2)], SCHEMA).set_column(0, "id", pa.array([2], pa.int32()))
        target.write(narrow, mode="append")
        assert target.table().schema.field("id").type == pa.int64()
        assert target.holds([row(1), row(2)])

    @with_every_input
    def test_lossy_casts_are_refused(self, target: Target) -> None:
        """A value that would change names column and types, and nothing is written."""
        target.write(pa.table({"id": pa.array([1], pa.int32())}), mode="append")
        before = target.residue()
        with pytest.raises(tx.LossyCastError, match="'id'"):
            target.write(pa.table({"id": pa.array([2**40])}), mode="append")
        assert target.residue() == before

    @with_every_input
    def test_merge_adds_columns(self, target: Target) -> None:
        """New columns are added; old rows are null there; missing ones keep their value in updated rows."""
        target.write([row(1), row(2)], mode="upsert", keys=["id"])
        more = pa.table({"id": [2, 3], "extra": ["e2", "e3"]})
        result = target.write(more, mode="upsert", schema_mode="merge")
        assert counts(result, inserted=1, updated=1)
        assert target.holds(
            [row(1) | {"extra": None}, row(2) | {"extra": "e2"}, row(3, None, None, None) | {"extra": "e3"}]
        )
        assert counts(target.write(more, mode="upsert", schema_mode="merge"), unchanged=2)

    @pytest.mark.parametrize("mode", ["merge", "overwrite"])
    def test_names_that_differ_in_case_only(self, target: Target, mode: str) -> None:
        """A new name that differs from another in case only is refused where a table is made, merged or overwritten."""
        both = pa.table({"id": [1], "Straße": ["a"], "STRASSE": ["b"]})
        clash = "'Straße' and 'STRASSE'"
        for options in ({}, {"partition_by": ["STRASSE"]}):
            with pytest.raises(tx.SchemaMismatchError, match=clash):
                target.write(both, mode="append", **options)
            assert not target.exists()
        target.write(both.select([0, 1]), mode="append", partition_by=["Straße"])
        before = target.residue()
        how: Any = {"mode": "overwrite" if mode == "overwrite" else "append", "schema_mode": mode}
        with pytest.raises(tx.SchemaMismatchError, match=clash) as caught:
            target.write(both, **how)
        assert "rename" in (caught.value.hint or "")
        assert target.residue() == before
        target.table().set(case_sensitive_names=True)
        target.write(both, **how)
        assert target.rows()[-1] == both.to_pylist()[0]

    def test_a_table_whose_names_differ_in_case_only_goes_on(self, target: Target) -> None:
        """A table that has such columns is read, written and overwritten; one more spelling is refused."""
        both = pa.table({"id": [1, 2], "ID": ["a", "b"]})
        target.write(both, mode="upsert", keys=["id"], properties={"case_sensitive_names": True})
        target.table().set(case_sensitive_names=False)
        assert target.holds(both.to_pylist())
        changed = both.slice(1).set_column(1, "ID", [["c"]])
        assert counts(target.write(changed, mode="upsert"), updated=1)
        assert counts(target.write(changed, mode="upsert", schema_mode="merge"), unchanged=1)
        third = changed.append_column("iD", [[True]])
        before = target.residue()
        for options in ({"schema_mode": "merge"}, {"mode": "overwrite", "keys": None, "schema_mode": "overwrite"}):
            with pytest.raises(tx.SchemaMismatchError, match="'id' and 'iD'"):
                target.write(third, **{"mode": "upsert", **options})
        assert target.residue() == before
        target.write(changed, mode="overwrite", schema_mode="overwrite")
        assert target.holds(changed.to_pylist())

    def test_a_name_in_other_case_is_another_name(self, target: Target) -> None:
        """A column, or a key, in other case is unknown, and the error names the one that is meant."""
        target.write([row(1)], mode="append")
        with pytest.raises(tx.SchemaMismatchError, match=r"no 'ID' \(did you mean 'id'\?\)") as caught:
            target.write(
                pa.Table.from_pylist([row(1)], SCHEMA).rename_columns(["ID", *SCHEMA.names[1:]]), mode="append"
            )
        assert "rename 'ID' to 'id'" in (caught.value.hint or "")
        with pytest.raises(tx.KeyColumnNotFoundError, match=r"'ID' .*did you mean 'id'"):
            target.write([row(1)], mode="upsert", keys=["ID"])

    def test_merge_widens_by_type(self, target: Target) -> None:
        """A wider type widens the column, also where no row changes."""
        target.write(pa.table({"id": pa.array([1], pa.int32())}), mode="upsert", keys=["id"])
        result = target.write(pa.table({"id": pa.array([1], pa.int64())}), mode="upsert", schema_mode="merge")
        assert (result.committed, result.rows_unchanged) == (True, 1)
        assert target.table().schema.field("id").type == pa.int64()
        assert target.rows() == [{"id": 1}]

    def test_overwrite_of_the_schema(self, target: Target) -> None:
        """The batch's columns replace the table's; keys that are gone are forgotten."""
        target.write([row(1)], mode="upsert", keys=["id"], timestamp_col="at")
        target.write(pa.table({"other": ["a"]}), mode="overwrite", schema_mode="overwrite")
        table = target.table()
        assert (table.schema.names, table.keys, table.timestamp_col) == (["other"], (), None)
        assert target.rows() == [{"other": "a"}]

    def test_all_null_column_takes_its_type_later(self, target: Target) -> None:
        """A column that was all null at creation takes its type from the first batch that has one, in strict too."""
        target.write(pa.table({"id": [1], "v": pa.nulls(1)}), mode="append")
        target.write(pa.table({"id": [2], "v": ["text"]}), mode="append")
        assert target.table().schema.field("v").type == pa.string()
        assert target.holds([{"id": 1, "v": None}, {"id": 2, "v": "text"}])

    @pytest.mark.parametrize("strategy", ["error", "newest_wins"])
    def test_all_null_timestamp_column(self, target: Target, strategy: str) -> None:
        """A timestamp_col that is all null at creation is as old as can be, and takes its type later."""
        nulls = pa.table({"id": [1], "v": ["a"], "at": pa.nulls(1)})
        options = {"mode": "upsert", "keys": ["id"], "dedup_strategy": strategy}
        target.write(nulls, timestamp_col="at", **options)
        assert counts(target.write(nulls.set_column(1, "v", [["b"]]), **options), updated=1)
        assert counts(target.write(pa.table({"id": [1], "v": ["c"], "at": [NOON]}), **options), updated=1)
        assert counts(target.write(nulls, **options), stale=1)
        assert target.holds([{"id": 1, "v": "c", "at": NOON}])

    @with_every_input
    def test_types_come_back(self, target: Target) -> None:
        """Units, zones, widths, signs and hard values come back as they went in."""
        table = hard_types()
        target.write(table, mode="append")
        found = target.table().to_arrow()
        assert found.schema.equals(table.schema)
        assert bag(found.to_pylist()) == bag(table.to_pylist())

    @with_every_input
    def test_upsert_replaces_values_of_every_type(self, target: Target) -> None:
        """An upsert puts each value of each type in the place of another, rows that stay beside it."""
        table = hard_types()
        keyed = table.append_column("key", pa.array(range(table.num_rows)))
        turned = table.take([1, 2, 0]).append_column("key", pa.array(range(table.num_rows)))
        target.write(keyed, mode="upsert", keys=["key"])
        assert counts(target.write(turned.slice(1), mode="upsert"), updated=2)
        assert target.holds([keyed.to_pylist()[0], *turned.slice(1).to_pylist()])
        assert not target.write(turned.slice(1), mode="upsert").committed

    # ---- options

    def test_options_that_make_no_sense(self, target: Target) -> None:
        """An option of the wrong kind, an unknown word, options that do not go together: an error, nothing written."""
        for wrong in WRONG_OPTIONS:
            try:
                target.write([row(1)], **{"mode": "upsert", "keys": ["id"], **wrong})
            except tx.OptionError:
                assert target.residue() == [], wrong
            else:
                pytest.fail(f"{wrong} was accepted")

    def test_text_of_subclasses(self, target: Target) -> None:
        """numpy's and an enumeration's texts are texts."""
        text = np.str_
        options = {"batch_id": text("b"), "timestamp_col": text("at"), "user_metadata": {text("job"): text("j")}}
        target.write([row(1)], mode=text("upsert"), keys=np.array(["id"]), **options)
        table = target.table()
        assert (table.keys, table.timestamp_col, table.history()[0].batch_id) == (("id",), "at", "b")

    @pytest.mark.parametrize("columns", [[], ["id", "id"], ["idd"], 5, [5]], ids=str)
    def test_columns_that_make_no_sense(self, target: Target, columns: Any) -> None:
        """No column, one twice, one that is not there: an error."""
        target.write([row(1)], mode="upsert", keys=["id"])
        table = target.table()
        for read in (table.to_arrow, table.to_pandas, table.to_polars, lambda columns: table.lookup(1, columns)):
            with pytest.raises(tx.InputError, match="column"):
                read(columns=columns)
        assert table.to_arrow(columns="name").to_pylist() == [{"name": "n"}]
        assert table.to_arrow(columns=["x", "id"]).to_pylist() == [{"x": 1.0, "id": 1}]

    # ---- plan and time

    def test_plan_writes_nothing(self, target: Target) -> None:
        """`plan` says what the write then does, and writes nothing."""
        target.write([row(1), row(2)], mode="upsert", keys=["id"])
        before = target.residue()
        rows = pa.Table.from_pylist([row(2, "new"), row(3)], SCHEMA)
        plan = target.plan(target.give(rows), mode="upsert")
        assert target.residue() == before
        done = target.write(rows, mode="upsert")
        for name in ("rows_in", "rows_inserted", "rows_updated", "rows_unchanged", "files_added", "files_removed"):
            assert getattr(plan, name) == getattr(done, name), name
        assert plan.files_to_rewrite in (done.files_removed, None)

    @pytest.mark.parametrize(
        "options",
        [
            {"mode": "append"},
            {"mode": "append_once"},
            {"mode": "upsert"},
            {"mode": "overwrite"},
            {"mode": "overwrite", "overwrite_partitions": True},
            {"mode": "overwrite", "replace_where": [("id", ">", 1)]},
        ],
        ids=str,
    )
    def test_plan_counts_what_write_then_does(self, target: Target, options: dict[str, Any]) -> None:
        """Rows by fate, files and the schema are those of the write; what a write refuses, a plan refuses."""
        target.write([row(1), row(2), row(3)], mode="upsert", keys=["id"], timestamp_col="at", partition_by="name")
        batch = [row(2, "m"), row(3), row(4, at=-1)]
        plan = target.plan(target.give(pa.Table.from_pylist(batch, SCHEMA)), **options)
        done = target.write(batch, **options)
        own = {"files_to_rewrite", "bytes_written", "elapsed", "version", "commit_id", "dry_run", "compaction"}
        assert {f for f in vars_of(plan) if f not in own and getattr(plan, f) != getattr(done, f)} == set()
        with pytest.raises(tx.SchemaMismatchError):
            target.plan(pa.table({"id": ["x"]}), **options)

    # ---- a table, read

    def test_every_way_to_read(self, target: Target) -> None:
        """Arrow, pandas, polars and a dataset give the same rows; a filter's unknown is no match."""
        rows = [row(1, None, 1, 2.0), row(2, "", None, None), row(3, "n", 3, -1.0)]
        target.write(rows, mode="append")
        table = target.table()
        assert bag(table.dataset().to_table().to_pylist()) == bag(rows)
        assert bag(table.to_polars().to_arrow().to_pylist()) == bag(rows)
        assert bag(pa.Table.from_pandas(table.to_pandas(dtype_backend="pyarrow")).to_pylist()) == bag(rows)
        for where, ids in (
            ([("name", "!=", "n")], [2]),
            ([("x", "<", 9), ("name", "is not null", None)], [3]),
            (~(pc.field("x") > 0), [3]),
            ([("name", "not in", ["n"])], [2]),
            ([("at", ">", "2026-11-24T13:00:00Z")], [3]),
        ):
            assert sorted(table.to_arrow(columns=["id"], filter=where)["id"].to_pylist()) == ids
            assert sorted(table.to_polars(["id"], where)["id"]) == ids
            assert sorted(table.to_pandas(["id"], where)["id"]) == ids

    def test_a_table_is_pinned(self, target: Target) -> None:
        """It stays at the version at which it was opened, until `refresh`; `at` gives one that is read-only."""
        target.write([row(1)], mode="append")
        table = target.table()
        target.write([row(2)], mode="append")
        assert (table.version, table.to_arrow().num_rows, len(table.history())) == (0, 1, 1)
        assert table.at(version=1).to_arrow().num_rows == 2
        assert table.refresh() is table
        assert (table.version, table.to_arrow().num_rows) == (1, 2)
        for old in (table.at(version=0), target.table(version=0)):
            sets, deletes = (lambda old=old: old.set(compression="zstd")), (lambda old=old: old.delete(keys=1))
            for act in (old.refresh, old.vacuum, sets, deletes):
                with pytest.raises(tx.OptionError, match="pinned to version 0"):
                    act()

    def test_history_and_results_are_records(self, target: Target) -> None:
        """Commits come newest first, say what was done, and cannot be changed; nor can a result."""
        first = target.write([row(1)], mode="upsert", keys=["id"], batch_id="b", user_metadata={"job": "j"})
        target.write([row(1, "x"), row(2)], mode="upsert")
        newest, oldest = target.table().history()
        assert (newest.version, newest.read_version, newest.rows_updated, newest.rows_inserted) == (1, 0, 1, 1)
        assert (oldest.operation, oldest.keys, oldest.batch_id) == ("upsert", ("id",), "b")
        assert (oldest.user_metadata, oldest.commit_id) == ({"job": "j"}, first.commit_id)
        assert newest.time > oldest.time
        assert [commit.version for commit in target.table().history(limit=1)] == [1]
        for record in (oldest, first):
            with pytest.raises(AttributeError):
                record.version = 7

    def test_properties(self, target: Target) -> None:
        """Given with the first write, changed by `set`, each a commit; the table moves to it."""
        target.write([row(1)], mode="append", properties={"row_group_rows": 7})
        table = target.table()
        assert table.properties["row_group_rows"] == 7
        table.set({"checkpoint_interval": 3}, compression="zstd")
        assert (table.version, table.properties["compression"], table.properties["checkpoint_interval"]) == (
            1,
            "zstd",
            3,
        )
        table.set(compression="zstd")
        assert (table.version, target.table().properties) == (1, table.properties)
        for wrong in ({"compresion": "zstd"}, {"compression": "zst"}, {"row_group_rows": 0}, {}, ["compression"]):
            with pytest.raises(tx.OptionError):
                table.set(wrong)
        with pytest.raises(tx.OptionError, match="cannot change it"):
            target.write([row(2)], mode="append", properties={"compression": "gzip"})
        assert target.table().version == 1

    @pytest.mark.parametrize("options", [{}, {"partition_by": ["name"]}], ids=["whole", "partitioned"])
    def test_compact_joins_small_files(self, target: Target, options: dict[str, Any]) -> None:
        """It changes no row, keeps older versions and later writes right, and has nothing to do the second time."""
        for number in range(6):
            target.write([row(number, "mn"[number % 2])], mode="upsert", keys=["id"], **options)
        table = target.table()
        before, files = table.to_arrow(), len(table.files())
        done = table.compact()
        assert (done.committed, done.version, done.rows, done.files_before) == (True, 6, 6, files)
        assert table.at(version=5).to_arrow().equals(before)
        assert bag(table.to_arrow().to_pylist()) == bag(before.to_pylist())
        assert not target.table().compact().committed
        assert counts(target.write([row(3, "n", x=7.0), row(9, "m")], mode="upsert"), inserted=1, updated=1)
        assert counts(target.write([row(9, "m"), row(10, "m")], mode="append_once"), inserted=1, skipped=1)
        assert bag(table.refresh().lookup([3, 9, 0]).to_pylist()) == bag([row(3, "n", x=7.0), row(9, "m"), row(0, "m")])

    def test_versions_stay_readable(self, target: Target) -> None:
        """Each version is as it was; a time names the last version at or before it."""
        for number in range(3):
            target.write([row(number)], mode="append")
        table = target.table()
        assert [table.at(version=number).to_arrow().num_rows for number in range(3)] == [1, 2, 3]
        assert table.at(version=np.int64(1)).version == 1
        for wrong in (True, 1.0, "1"):
            with pytest.raises(tx.OptionError, match="whole number"):
                table.at(version=wrong)
        times = [commit.time for commit in reversed(table.history())]
        assert table.at(timestamp=times[1]).version == 1
        with pytest.raises(tx.OptionError, match="zone"):
            table.at(timestamp="2026-01-01T00:00:00")
        with pytest.raises(tx.TableNotFoundError):
            table.at(version=3)

    def test_lookup(self, target: Target) -> None:
        """Rows are found by key, given as scalars, tuples, an array or a table of any kind; null matches nothing."""
        target.write([row(1), row(2), row(3)], mode="upsert", keys=["id"])
        table = target.table()
        for wanted in LOOKUPS:
            assert bag(table.lookup(wanted).to_pylist()) == bag([row(1), row(3)]), wanted
        assert table.lookup(2, columns=["name"]).to_pylist() == [{"name": "n"}]
        assert table.lookup([]).num_rows == 0

    @pytest.mark.parametrize("key", SINGLE_KEYS, ids=lambda key: type(key).__name__)
    def test_lookup_of_one_key(self, target: Target, key: Any) -> None:
        """One key needs no list, whatever its type."""
        value = key.as_py() if isinstance(key, pa.Scalar) else key
        target.write(pa.table({"k": [value], "v": [1]}), mode="append_once", keys=["k"])
        assert target.table().lookup(key, columns=["v"]).to_pylist() == [{"v": 1}]

    def test_lookup_of_several_columns(self, target: Target) -> None:
        """A key of several columns is a tuple, alone or in a list; a table names its columns."""
        target.write(pa.table({"a": [1, 1], "b": ["x", "y"]}), mode="upsert", keys=["a", "b"])
        table = target.table()
        for wanted in ((1, "x"), [(1, "x"), (2, "x")], pd.DataFrame({"b": ["x"], "a": [1]})):
            assert table.lookup(wanted).to_pylist() == [{"a": 1, "b": "x"}]
        for wrong in (1, [(1,)], [1], pd.DataFrame({"a": [1]}), None, 1.5):
            with pytest.raises(tx.InputError):
                table.lookup(wrong)

    def test_lookup_of_what_cannot_be_there(self, target: Target) -> None:
        """A key beyond the column's range is not there; one of a type that never mixes with it is an error."""
        target.write(pa.table({"k": pa.array([5], pa.int8())}), mode="upsert", keys=["k"])
        table = target.table()
        assert table.lookup([300, 5, -(2**63), 2**70, 1.5]).to_pylist() == [{"k": 5}]
        for wrong in (["5"], [1, "a"], [[5]]):
            with pytest.raises(tx.InputError):
                table.lookup(wrong)


def vars_of(result: tx.WriteResult) -> list[str]:
    """The names of a result's fields."""
    return [one.name for one in fields(result)]


def hard_types() -> pa.Table:
    """One column for each type that all formats can hold, with the values that bite."""
    zone = "Europe/Oslo"
    columns: dict[str, pa.Array] = {
        "bool": pa.array([True, False, None]),
        "int8": pa.array([-128, 127, None], pa.int8()),
        "uint64": pa.array([2**64 - 1, 0, None], pa.uint64()),
        "int64": pa.array([-(2**63), 2**53 + 1, None]),
        "float32": pa.array([1.1, float("nan"), -0.0], pa.float32()),
        "float64": pa.array([5e-324, float("inf"), -0.0]),
        "text": pa.array(["", 'q"\n,\r\n', None]),
        "unicode": pa.array(["e\u0301", "\u00e9", "\U0001f600" * 50]),
        "digits": pa.array(["001", "1e5", "NA"]),
        "binary": pa.array([b"", b"\x00\xff\n", None]),
        "date": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
        "date_old": pa.array([dt.date(1899, 12, 31), dt.date(2263, 1, 1), None]),
        "naive_us": pa.array([dt.datetime(1600, 1, 1, 0, 0, 0, 1), dt.datetime(3000, 1, 1), None]),
        "naive_ns": pa.array([1, -1, None], pa.timestamp("ns")),
        "naive_s": pa.array([1, -1, None], pa.timestamp("s")),
        "zoned": pa.array([0, 1, None], pa.timestamp("ms", zone)),
        "time": pa.array([dt.time(23, 59, 59, 999999), dt.time(0), None]),
        "duration": pa.array([dt.timedelta(days=-1, microseconds=1), dt.timedelta(0), None]),
        "decimal": pa.array([Decimal("-1.20"), Decimal("99999999.99"), None], pa.decimal128(10, 2)),
        "decimal_big": pa.array([Decimal(10) ** 60, None, Decimal(-1)], pa.decimal256(70, 2)),
        "fixed": pa.array([b"ab", b"\x00\x00", None], pa.binary(2)),
    }
    return pa.table(columns)
