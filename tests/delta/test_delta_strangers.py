"""What tables of other engines ask that txfiles does not do, and what a URL may hold: each is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx

DELTA = {"format": "delta"}


def described(path: Path, change: Any) -> None:
    """Change the schema of a table's first commit, as another engine would have written it."""
    log = path / "_delta_log" / f"{0:020d}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            change(schema["fields"])
            action["metaData"]["schemaString"] = json.dumps(schema)
    log.write_text("\n".join(map(json.dumps, actions)))


STRUCT = pa.struct([("a", pa.int64())])
NESTED = {
    "struct": (STRUCT, {"a": 1}, lambda t: t),
    "list": (pa.list_(STRUCT), [{"a": 1}], lambda t: t["elementType"]),
    "map": (pa.map_(pa.string(), STRUCT), [("x", {"a": 1})], lambda t: t["valueType"]),
    "deep": (pa.struct([("b", pa.list_(STRUCT))]), {"b": [{"a": 1}]}, lambda t: t["fields"][0]["type"]["elementType"]),
}


@pytest.mark.parametrize("kind", NESTED)
def test_an_invariant_inside_of_a_column(tmp_path, kind):
    """It is as binding as one of a column."""
    t, value, inner = NESTED[kind]
    rows = pa.table({"id": [1], "s": pa.array([value], t)})
    tx.write(rows, tmp_path / "t", mode="append", **DELTA)
    rule = {"delta.invariants": json.dumps({"expression": {"expression": "a > 0"}})}
    described(tmp_path / "t", lambda fields: inner(fields[1]["type"])["fields"][0].update(metadata=rule))
    for mode in ("append", "overwrite"):
        with pytest.raises(tx.UnsupportedTableError, match="invariants"):
            tx.write(rows, tmp_path / "t", mode=mode, **DELTA)
    assert tx.Table(tmp_path / "t", **DELTA).to_arrow().equals(rows)


def test_a_text_of_a_length(tmp_path):
    """Spark checks it at every write, so others' writes are refused."""
    rows = pa.table({"id": [1], "s": ["abc"]})
    tx.write(rows, tmp_path / "t", mode="append", **DELTA)
    described(tmp_path / "t", lambda fields: fields[1].update(metadata={"__CHAR_VARCHAR_TYPE_STRING": "char(3)"}))
    with pytest.raises(tx.UnsupportedTableError, match=r"char\(n\)"):
        tx.write(pa.table({"id": [2], "s": ["abcde"]}), tmp_path / "t", mode="append", **DELTA)
    assert tx.Table(tmp_path / "t", **DELTA).to_arrow().equals(rows)


def commit(path: Path, version: int, action: str, file: str) -> None:
    """Add or remove a file, long ago."""
    said = {"path": file, "partitionValues": {}, "size": 1, "dataChange": True}
    more = {"modificationTime": 0} if action == "add" else {"deletionTimestamp": 0}
    lines = [{action: {**said, **more}}, {"commitInfo": {"timestamp": 0, "operation": "CLONE"}}]
    (path / "_delta_log" / f"{version:020d}.json").write_text("\n".join(map(json.dumps, lines)))


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "{}"])
def test_a_shallow_clone(tmp_path, form):
    """Its files are another table's: they are not read in part, and no vacuum takes them from it."""
    rows = pa.table({"id": [1]})
    path, source = tmp_path / "clone", tmp_path / "source"
    for one in (path, source):
        tx.write(rows, one, mode="append", **DELTA)
    file = next(source.glob("*.parquet"))
    commit(path, 1, "add", form.format(file))
    table = tx.Table(path, **DELTA)
    for call in (
        table.to_arrow,
        table.to_batches,
        table.dataset,
        table.files,
        lambda: table.vacuum(retain="0h", force=True),
        lambda: table.delete([("id", "=", 1)]),
        lambda: tx.write(rows, path, mode="append", **DELTA),
        lambda: tx.write(rows, path, mode="overwrite", **DELTA),
        lambda: tx.write(rows, path, mode="upsert", keys=["id"], **DELTA),
    ):
        with pytest.raises(tx.UnsupportedTableError, match="shallow clone") as caught:
            call()
        assert "AS SELECT" in str(caught.value.hint)
    assert table.refresh().version == 1
    commit(path, 2, "remove", form.format(file))
    for dry_run in (True, False):
        if form.startswith("file:"):
            with pytest.raises(tx.UnsupportedTableError, match="shallow clone"):
                tx.Table(path, **DELTA).vacuum(retain="7d", dry_run=dry_run)
        else:  # deltalake takes it for a name below the table's folder
            tx.Table(path, **DELTA).vacuum(retain="7d", dry_run=dry_run)
    assert file.exists()


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAKEY:SECRETPW@bucket/x",
        "s3a://bucket/x?AWSAccessKeyId=AKIAKEY&Signature=SECRETPW",
        "abfs://container@account.dfs.core.windows.net/x?sig=SECRETPW",
        "az://container/x#SECRETPW",
        Path("s3://AKIAKEY:SECRETPW@bucket/x"),
    ],
)
def test_no_credential_of_a_url_is_told(url):
    """Refused before anything is asked, as for txfiles' own tables."""
    for call in (tx.exists, tx.Table, lambda url, **options: tx.write(pa.table({"id": [1]}), url, **options)):
        options = {"mode": "append"} if call not in (tx.exists, tx.Table) else {}
        with pytest.raises(tx.InputError) as caught:
            call(url, **options, **DELTA)
        told = f"{caught.value!r} {caught.value} {caught.value.hint}"
        assert "SECRETPW" not in told
        assert "AKIAKEY" not in told


def test_a_url_of_no_bucket():
    """Is told how one is written."""
    for url in ("s3://", "s3:///x", "abfs://UPPER/x"):
        with pytest.raises(tx.InputError, match="is not the URL of a folder in a bucket") as caught:
            tx.exists(url, **DELTA)
        assert "credentials belong in storage_options" in str(caught.value.hint)
