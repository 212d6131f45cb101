"""Parquet and CSV inputs at URLs, on each server and through each library: read as local files are, and named so."""

from __future__ import annotations

import gzip
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import txfiles as tx
from txfiles.cli.main import cli
from txfiles.inputs import remote
from txfiles.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture
def options(way):
    return way.options()


@pytest.fixture
def bucket(way, options, tmp_path, monkeypatch):
    """A folder in a bucket, with inputs of each kind; temporary files go where they can be seen."""
    monkeypatch.setattr(remote.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    url = way.fresh_url()
    store = open_store(url, options)
    store.put("a/1.csv", b"id,v\n1,one\n2,two\n")
    store.put("a/2.csv.gz", gzip.compress(b"id,v\n3,three\n"))
    store.put("a/_SUCCESS", b"")
    store.put("bad.csv", b"id,v\n1,one\n2,two,more\n")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": [7, 8], "v": ["seven", "eight"]}), sink)
    store.put("b.parquet", bytes(sink.getvalue()))
    yield url
    assert os.listdir(tmp_path / "tmp") == []


def test_files_and_folders(bucket, options, tmp_path):
    """A file, a folder, and a list of both with a local file, into a local table and into the bucket."""
    (tmp_path / "own.csv").write_text("id,v\n9,nine\n")
    for path in (tmp_path / "t", f"{bucket}/table"):
        how = {"mode": "append_once", "keys": ["id"], "storage_options": options}
        assert tx.write(f"{bucket}/b.parquet", path, **how).rows_inserted == 2
        assert tx.plan([f"{bucket}/a", str(tmp_path / "own.csv")], path, **how).rows_inserted == 4
        assert tx.write([f"{bucket}/a/", str(tmp_path / "own.csv")], path, **how).rows_inserted == 4
        assert tx.write(f"{bucket}/a/1.csv", path, **how).rows_skipped == 2
        table = tx.Table(path, storage_options=options if isinstance(path, str) else None)
        assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 2, 3, 7, 8, 9]


def test_chunks(bucket, options, tmp_path, monkeypatch):
    """A file of many chunks comes whole and in order."""
    monkeypatch.setattr(remote, "CHUNK_BYTES", 5)
    monkeypatch.setattr(remote, "CHUNKS_AT_ONCE", 2)
    tx.write(f"{bucket}/a/1.csv", tmp_path / "t", mode="append", storage_options=options)
    assert tx.Table(tmp_path / "t").to_arrow()["v"].to_pylist() == ["one", "two"]


def test_what_is_wrong_is_told_by_its_url(bucket, options, tmp_path):
    """A bad file, or none, is an error that names the URL and no temporary file; nothing is written."""
    for name, error in (("bad.csv", tx.UnreadableInputError), ("none.csv", tx.UnreadableInputError)):
        with pytest.raises(error) as caught:
            tx.write(f"{bucket}/{name}", tmp_path / "t", mode="append", storage_options=options)
        told = f"{caught.value} {caught.value.hint} {caught.value.evidence}"
        assert name in told
        assert f"{bucket}/{name}" in told
        assert str(tmp_path / "tmp") not in told
        assert not (tmp_path / "t").exists()
    with pytest.raises(tx.UnreadableInputError, match="nowhere://"):
        tx.write("nowhere://x/y.csv", tmp_path / "t", mode="append")


def test_a_table_is_no_folder_of_inputs(bucket, options, tmp_path):
    """A table with a log is refused as an input, as in a local folder: its superseded files would be read."""
    tx.write(pa.table({"id": [1]}), f"{bucket}/table", mode="append", storage_options=options)
    store = open_store(bucket, options)
    store.put("delta/1.parquet", b"PAR1")
    store.put("delta/_delta_log/0.json", b"{}")
    for name in ("table", "delta"):
        with pytest.raises(tx.UnreadableInputError, match="is a table with a log"):
            tx.write(f"{bucket}/{name}", tmp_path / "t", mode="append", storage_options=options)
    assert not (tmp_path / "t").exists()


def test_the_shell(way, bucket, tmp_path):
    """`txfiles write s3://… --to folder` with the options of the bucket."""
    write = ["write", f"{bucket}/a", "--to", str(tmp_path / "t"), "--mode", "append"]
    result = CliRunner().invoke(cli, [*write, *way.words()])
    assert result.exit_code == 0, result.output
    assert tx.Table(tmp_path / "t").row_count == 3


def test_keys_of_a_delete(way, options, bucket, tmp_path):
    """`txfiles delete --keys s3://…`: keys at a URL for a local table, with the bucket's options, and for one there."""
    rows = pa.table({"id": [1, 2, 9], "v": ["one", "two", "nine"]})
    for path in (str(tmp_path / "t"), f"{bucket}/table"):
        there = options if path.startswith(bucket) else None
        tx.write(rows, path, mode="append_once", keys=["id"], storage_options=there)
        result = CliRunner().invoke(cli, ["delete", path, "--keys", f"{bucket}/a/1.csv", *way.words()])
        assert result.exit_code == 0, result.output
        assert tx.Table(path, storage_options=there).to_arrow()["id"].to_pylist() == [9]
