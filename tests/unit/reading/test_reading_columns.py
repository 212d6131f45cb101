"""A data file is read by the ids of its columns, in its own order: never by names found in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from txfiles.core import codec, names
from txfiles.errors import CorruptTableError
from txfiles.log import checkpoint
from txfiles.rows import filelist

OLD = pa.table({"a": pa.array([1, 2], pa.int32()), "b": ["x", "y"], "c": [0.5, None]})


@pytest.fixture(params=["parquet", "csv"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A table of one old file."""
    tx.write(OLD, tmp_path / "t", mode="append", format=request.param)
    return tmp_path / "t"


def commit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A version that changes the table action by hand, as a later release may."""
    log = path / names.MANIFEST_DIR
    last = max(log.iterdir()).read_bytes()
    before = json.loads(last)
    action = json.loads(min(log.iterdir()).read_bytes())["table"]
    change(action)
    version = before["version"] + 1
    known = {name: before[name] for name in ("format_version", "table_id")}
    later = {"version": version, "commit_id": f"{version:032x}", "parent_sha256": codec.sha256(last)}
    facts = {"time": "2999-01-01T00:00:00.000001Z", "operation": {"name": "alter"}, "metrics": {}, "table": action}
    unsealed = json.dumps(known | later | facts).encode()[:-1] + b", "
    seal = b'"sha256": "' + codec.sha256(unsealed).encode() + b'"}'
    (path / names.manifest(version)).write_bytes(unsealed + seal)


def rename(action: dict[str, Any]) -> None:
    action["columns"][0]["name"], action["columns"][1]["name"] = "b", "a"


def drop(action: dict[str, Any]) -> None:
    del action["columns"][1]


def reorder(action: dict[str, Any]) -> None:
    action["columns"].reverse()


def replace_by_namesake(action: dict[str, Any]) -> None:
    action["columns"][2] = {"id": 4, "name": "c", "type": "float64"}
    action["last_column_id"] = 4


def widen(action: dict[str, Any]) -> None:
    action["columns"][0]["type"] = "int64"


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], dict[str, list[Any]]]] = {
    "two names change places": (rename, {"b": [1, 2], "a": ["x", "y"], "c": [0.5, None]}),
    "drop": (drop, {"a": [1, 2], "c": [0.5, None]}),
    "reorder": (reorder, {"c": [0.5, None], "b": ["x", "y"], "a": [1, 2]}),
    "a new column of an old name": (replace_by_namesake, {"a": [1, 2], "b": ["x", "y"], "c": [None, None]}),
    "widen": (widen, {"a": [1, 2], "b": ["x", "y"], "c": [0.5, None]}),
}


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("name", CHANGES)
def test_an_old_file_under_a_new_schema(table: Path, name: str, cold: bool) -> None:
    """Whatever becomes of the schema, an old file's values stay with their columns; so do those of a new file."""
    change, expected = CHANGES[name]
    opened = tx.Table(table)
    commit(table, change)
    found = (tx.Table(table) if cold else opened.refresh() or opened).to_arrow()
    assert found.to_pydict() == expected
    tx.write(found, table, mode="append")
    assert tx.Table(table).to_arrow().to_pydict() == {column: values * 2 for column, values in expected.items()}


def test_old_files_through_merge_and_checkpoint(table: Path) -> None:
    """A merge leaves the old file its own columns, in the list and through a checkpoint; new files name none."""
    new = pa.table({"d": [7], "a": pa.array([3], pa.int64()), "b": ["z"], "c": [1.5]})
    tx.write(new, table, mode="append", schema_mode="merge")
    snapshot = tx.Table(table)._opened.snapshot
    assert snapshot.files["columns"].to_pylist() == [[1, 2, 3], None]
    files = checkpoint.decode(checkpoint.encode(snapshot.state, snapshot.files), None, where="here").files
    assert files.equals(snapshot.files)
    assert [file.columns for file in filelist.data_files(files)] == [(1, 2, 3), None]
    assert tx.Table(table).to_arrow()["d"].to_pylist() == [None, None, 7]
    assert "columns" not in json.loads((table / names.manifest(1)).read_bytes())["add"][0]


def test_a_file_of_other_columns_is_damage(table: Path) -> None:
    """A file with more or fewer columns than the log says is refused with both numbers."""
    commit(table, drop)
    log = table / names.MANIFEST_DIR
    min(log.iterdir()).rename(table / "gone")
    manifest = json.loads((table / "gone").read_bytes())
    del manifest["sha256"]
    del manifest["table"]["columns"][2]
    (log.parent.parent / names.manifest(1)).unlink()
    unsealed = json.dumps(manifest).encode()[:-1] + b", "
    seal = b'"sha256": "' + codec.sha256(unsealed).encode() + b'"}'
    (table / names.manifest(0)).write_bytes(unsealed + seal)
    with pytest.raises(CorruptTableError, match="it has 3 columns, the log says 2"):
        tx.Table(table).to_arrow()
