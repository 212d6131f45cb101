"""What later releases will write is reserved: it is refused by name, or ignored where that is safe; never misread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import txfiles as tx
from txfiles.core import codec, names
from txfiles.errors import CorruptTableError, UnsupportedTableError
from txfiles.log import checkpoint

RESERVED = ["a_feature_of_later"]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A table of two versions."""
    tx.write(pa.table({"a": [1]}), tmp_path / "t", mode="append", properties={"checkpoint_interval": 1})
    tx.write(pa.table({"a": [2]}), tmp_path / "t", mode="append")
    return tmp_path / "t"


def document(path: Path, version: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / names.manifest(version)).read_bytes())
    del found["sha256"]
    return found


def sealed(found: dict[str, Any]) -> bytes:
    unsealed = json.dumps(found).encode()[:-1] + b", "
    return unsealed + b'"sha256": "' + codec.sha256(unsealed).encode() + b'"}'


@pytest.mark.parametrize("feature", RESERVED)
def test_a_reserved_feature_is_refused_by_name(written: Path, feature: str) -> None:
    """No release before the one that brings a feature reads or writes a table that needs it; the log stays as it is."""
    found = document(written, 0)
    table = found["table"] | {"required_features": [feature]}
    later = document(written, 1) | {"version": 2, "time": "2999-01-01T00:00:00.000001Z", "add": [], "table": table}
    later["parent_sha256"] = codec.sha256((written / names.manifest(1)).read_bytes())
    later.pop("checkpoint", None)
    (written / names.manifest(2)).write_bytes(sealed(later))
    before = sorted(written.rglob("*"))
    with pytest.raises(UnsupportedTableError, match=feature):
        tx.Table(written)
    with pytest.raises(UnsupportedTableError, match=feature):
        tx.write(pa.table({"a": [3]}), written, mode="append")
    assert sorted(written.rglob("*")) == before


def test_a_feature_is_not_taken_back(written: Path) -> None:
    """A table action that lacks a required feature of the one before is damage: older files still need it."""
    first = document(written, 0)
    first["table"]["required_features"] = ["adopted_files"]
    (written / names.manifest(0)).write_bytes(sealed(first))
    second = document(written, 1) | {"parent_sha256": codec.sha256((written / names.manifest(0)).read_bytes())}
    second.pop("checkpoint", None)
    for features, fine in ((["column_mapping", "adopted_files"], True), (["column_mapping"], False)):
        table = first["table"] | {"required_features": features}
        (written / names.manifest(1)).write_bytes(sealed(second | {"table": table}))
        if fine:
            assert tx.Table(written).version == 1
        else:
            with pytest.raises(CorruptTableError, match="drops a required feature"):
                tx.Table(written)


def test_a_checkpoint_of_a_later_release(written: Path) -> None:
    """Columns and fields that are not known are ignored; a required feature is named first, whatever else is new."""
    path = min((written / names.CHECKPOINT_DIR).iterdir())
    known = checkpoint.decode(path.read_bytes(), None, where="here")
    whole = pq.read_table(path)
    saved = json.loads(whole.schema.metadata[b"txfiles"])

    def changed(table: pa.Table, state: dict[str, Any]) -> bytes:
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata({b"txfiles": json.dumps(state).encode()}), sink)
        return bytes(sink.getvalue())

    more = whole.append_column("colour", pa.nulls(whole.num_rows, pa.string()))
    again = checkpoint.decode(changed(more, saved | {"runs": [1]}), None, where="here")
    assert (again.state, again.files) == (known.state, known.files)
    needs = saved | {
        "table": saved["table"] | {"required_features": ["a_feature_of_later"]},
        "batch_ids": {"new": "form"},
    }
    with pytest.raises(UnsupportedTableError, match="a_feature_of_later"):
        checkpoint.decode(changed(more.drop_columns(["bytes"]), needs), None, where="here")
