"""A plan beside a vacuum: it looks again, as a write does, and never takes a healthy table for a damaged one."""

from __future__ import annotations

import pyarrow as pa
import pytest

import txfiles as tx
from txfiles.targets.files import writes

ROWS = {"id": [1, 2, 3], "v": ["a", "b", "c"]}
PLANS = {
    "upsert": {"mode": "upsert"},
    "append_once": {"mode": "append_once"},
    "overwrite part": {"mode": "overwrite", "replace_where": [("id", ">", 1)]},
}


def _between(monkeypatch, path, times):
    """Make others rewrite the files and vacuum the old ones, between a plan's look at the log and at the files."""
    left = [times]

    def before(operation):
        def run(ctx):
            if left[0]:
                left[0] -= 1
                monkeypatch.setattr(writes, "OPERATIONS", real)
                tx.write(pa.table({"id": [1], "v": [f"new {left[0]}"]}), path, mode="upsert")
                tx.Table(path).vacuum("0s", keep_versions=1)
                monkeypatch.setattr(writes, "OPERATIONS", changed)
            return operation(ctx)

        return run

    real = writes.OPERATIONS
    changed = {name: before(operation) for name, operation in real.items()}
    monkeypatch.setattr(writes, "OPERATIONS", changed)


@pytest.mark.parametrize("format", ["parquet", "csv"])
@pytest.mark.parametrize("given", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_vacuum_between_its_two_looks(given, format, times, tmp_path, monkeypatch):
    """The plan is that of the newest version, however often a vacuum took files from under it; nothing is written."""
    path = tmp_path / "t"
    tx.write(pa.table(ROWS), path, mode="upsert", keys="id", format=format)
    batch = pa.table({"id": [2, 9], "v": ["B", "i"]})
    _between(monkeypatch, path, times)
    found = tx.plan(batch, path, **given)
    monkeypatch.undo()
    assert found.version == tx.Table(path).version == 2 * times
    again = tx.plan(batch, path, **given)
    assert (found.rows_inserted, found.rows_updated, found.rows_deleted) == (
        again.rows_inserted,
        again.rows_updated,
        again.rows_deleted,
    )
    assert found.attempts == times + 1


def test_a_plan_gives_up_when_its_time_is_over(tmp_path, monkeypatch):
    """With no patience left it says that others won, as the write would."""
    path = tmp_path / "t"
    tx.write(pa.table(ROWS), path, mode="upsert", keys="id")
    _between(monkeypatch, path, 1)
    with pytest.raises(tx.CommitConflictError, match="a vacuum removed files"):
        tx.plan(pa.table({"id": [1], "v": ["B"]}), path, mode="upsert", timeout=0)
