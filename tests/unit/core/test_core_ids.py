"""Columns have roles by their ids: a rename changes `columns`, and nothing else that was ever written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import txfiles as tx
from txfiles.core import codec, names
from txfiles.core.manifest import TableMetadata
from txfiles.core.schema import Column
from txfiles.errors import UnsupportedTableError
from txfiles.log import checkpoint
from txfiles.rows import filelist

TABLE = TableMetadata(
    format="parquet",
    columns=tuple(Column(id=number, name=name, type="int64") for number, name in enumerate("abcd", 1)),
    last_column_id=4,
    partition_by=("d",),
    keys=("b", "a"),
    timestamp_col="c",
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A keyed, partitioned table with a batch id and a checkpoint."""
    rows = pa.table({"a": [1, 2], "b": [3, 4], "c": [5, 6], "d": [7, 8]})
    options: dict[str, Any] = {"partition_by": ["d"], "properties": {"checkpoint_interval": 1}}
    tx.write(rows, tmp_path, mode="upsert", keys=["b", "a"], timestamp_col="c", batch_id="monday", **options)
    tx.write(rows.set_column(2, "c", [[7, 8]]), tmp_path, mode="upsert")
    return tmp_path


def test_a_rename_is_a_change_of_columns_alone() -> None:
    """Of a table action whose columns are renamed by hand, each role follows its id to the new name."""
    document = codec.table_action(TABLE)
    renamed = tuple(Column(id=column.id, name=column.name * 2, type=column.type) for column in TABLE.columns)
    found = codec.read_table(codec.TableAction(**_fields(document) | {"columns": renamed}), "here")
    assert (found.keys, found.partition_by, found.timestamp_col) == (("bb", "aa"), ("dd",), "cc")
    assert codec.read_table(document, "here") == TABLE


def test_the_log_names_columns_by_ids(written: Path) -> None:
    """Keys, partition and time columns, key ranges and a checkpoint's batch ids are ids; the operation has names."""
    found = json.loads((written / names.manifest(0)).read_bytes())
    table = found["table"]
    assert (table["keys"], table["partition_by"], table["timestamp_col"]) == ([2, 1], [4], 3)
    assert {tuple(add["key_range"]["columns"]) for add in found["add"]} == {(2, 1)}
    assert found["operation"]["keys"] == ["b", "a"]
    saved = json.loads(pq.read_schema(_checkpoint(written)).metadata[b"txfiles"])
    assert saved["batch_ids"] == [["monday", 0, "upsert", [2, 1]]]


def test_key_ranges_stand_through_a_rename(written: Path) -> None:
    """A file list made under the old names has its key ranges under the new ones."""
    known = checkpoint.decode(_checkpoint(written).read_bytes(), None, where="here")
    adds = codec.decode((written / names.manifest(0)).read_bytes(), version=0, where="here").add
    renamed = [Column(id=column.id, name=column.name * 2, type=column.type) for column in known.state.table.columns]
    again = filelist.from_adds([(add, 0) for add in adds], renamed, ["bb", "aa"])
    assert again["key_min"].null_count == 0
    assert again.equals(known.files)


def test_a_feature_is_named_though_it_changes_a_fields_form() -> None:
    """A table action in a form that only its required feature explains needs a newer release; it is not damaged."""
    action = json.loads(msgspec.json.encode(codec.table_action(TABLE)))
    manifest = {"format_version": 1, "table": action | {"keys": {"by": "name"}, "required_features": ["x"]}}
    unsealed = json.dumps(manifest).encode()[:-1] + b", "
    sealed = unsealed + b'"sha256": "' + codec.sha256(unsealed).encode() + b'"}'
    with pytest.raises(UnsupportedTableError, match="required feature 'x'"):
        codec.decode(sealed, version=0, where="here")


def _fields(action: codec.TableAction) -> dict[str, Any]:
    return {name: getattr(action, name) for name in action.__struct_fields__}


def _checkpoint(root: Path) -> Path:
    return min((root / names.CHECKPOINT_DIR).iterdir())
