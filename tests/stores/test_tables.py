"""Tables on real servers, through each library."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import txfiles as tx
from tests.services import proxy
from tests.services.fixtures import fresh_url
from tests.services.servers import make_bucket, s3_options
from txfiles.cli.main import cli
from txfiles.errors import NoAtomicCreateError
from txfiles.operations import abandoned
from txfiles.store import open_store, probe
from txfiles.store.object_sink import PART_BYTES

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"

ROWS = pa.table({"id": [1, 2, 3], "country": ["DE", "FR", None], "name": ["a", "b", "c"]})
MORE = pa.table({"id": [3, 4], "country": ["DE", "FR"], "name": ["C", "d"]})


@pytest.fixture
def options(way):
    return way.options()


def rows(table):
    return sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])


# ---------------------------------------------------------------- tables


def test_a_table_is_left(way, options):
    """In a bucket a detach leaves plain files and the names of the log; a purge, no name of it, and nothing foreign."""
    url = way.fresh_url()
    store = open_store(url, options)

    def names():
        return [entry.name for entry in store.list_from("")]

    tx.write(
        ROWS, url, mode="upsert", keys=["id"], properties={"update_strategy": "merge_on_read"}, storage_options=options
    )
    tx.write(MORE, url, mode="upsert", storage_options=options)
    store.put("theirs.txt", b"theirs")
    table = tx.Table(url, storage_options=options)
    want = rows(table)
    found = table.detach()
    assert (found.rows, found.committed) == (4, True)
    assert found.files_rewritten == 1
    log = [name for name in names() if name.startswith("_txfiles/")]
    assert log == [f"_txfiles/log/{version:020d}.json" for version in range(found.version + 1)]
    assert not tx.exists(url, storage_options=options)
    for call in (
        lambda: tx.Table(url, storage_options=options),
        lambda: tx.write(ROWS, url, mode="append", storage_options=options),
        lambda: table.set(row_group_rows=99),
    ):
        with pytest.raises(tx.TableDetachedError, match="was detached at"):
            call()
    assert tx.detach(url, storage_options=options).files_deleted == 0
    assert tx.detach(url, purge=True, storage_options=options).files_deleted == len(log)
    left = names()
    assert len(left) == found.files + 1
    assert "theirs.txt" in left
    files = [name for name in left if name.endswith(".parquet")]
    read = pa.concat_tables([pq.read_table(store.open_input(name)) for name in files])
    assert sorted(read.to_pylist(), key=lambda row: row["id"]) == want
    with pytest.raises(tx.TableNotFoundError):
        tx.detach(url, storage_options=options)


@pytest.mark.parametrize("format_name", ["parquet", "csv"])
def test_a_table(way, options, format_name):
    """A table in a bucket is one like any other: all modes, older versions, history, vacuum."""
    url = way.fresh_url()
    assert not tx.exists(url, storage_options=options)

    def write(data, mode, **more):
        return tx.write(data, url, mode=mode, storage_options=options, **more)

    write(ROWS, "upsert", keys=["id"], format=format_name, partition_by=["country"])
    assert write(MORE, "upsert").rows_updated == 1
    assert write(MORE, "upsert").committed is False
    assert write(MORE, "append_once").rows_skipped == 2
    first = write(ROWS.slice(0, 1), "append", batch_id="b")
    assert (first.version, write(ROWS, "append", batch_id="b").version) == (2, 2)
    table = tx.Table(url, storage_options=options)
    assert table.backend == way.backend
    assert [row["name"] for row in rows(table)] == ["a", "a", "b", "C", "d"]
    assert rows(table.at(version=0)) == ROWS.to_pylist()
    assert [commit.version for commit in table.history()] == [2, 1, 0]
    assert all(name.startswith(url) for name in table.files())
    assert table.to_arrow(columns=["id"], filter=[("country", "=", "FR")]).num_rows == 2
    write(ROWS, "overwrite")
    table.refresh()
    deleted = table.vacuum(retain="0s").deleted
    assert deleted
    assert rows(table) == ROWS.to_pylist()
    listed = {entry.name for entry in open_store(url, options).list_from("")}
    assert listed.isdisjoint(deleted)


def test_a_table_in_another_process(way, options, monkeypatch):
    """A Table pickles with its options, and opens its version in another process."""
    url = way.fresh_url()
    for name in {"key", "secret", "connection_string"}.intersection(options):
        monkeypatch.setenv(f"LAKE_{name}", options[name])
        options[name] = f"${{LAKE_{name}}}"
    tx.write(ROWS, url, mode="append", storage_options=options)
    table = tx.Table(url, storage_options=options)
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).to_arrow().num_rows)"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(table), capture_output=True, check=True)
    assert done.stdout == b"3\n"
    again = pickle.loads(pickle.dumps(open_store(url, options)))
    assert [entry.name for entry in again.list_from("_txfiles/log/")] == ["_txfiles/log/" + "0" * 20 + ".json"]


def test_the_shell(way, options, tmp_path):
    """The shell opens a URL, its credentials from options or from the environment, and shows none of them."""
    url = way.fresh_url()
    pq.write_table(ROWS, tmp_path / "in.parquet")
    write = ["write", str(tmp_path / "in.parquet"), "--to", url, "--mode", "upsert", "--key", "id"]
    if way.kind == "azurite":
        environment = {"AZURE_STORAGE_CONNECTION_STRING": options["connection_string"]}
    else:
        environment = {"AWS_ACCESS_KEY_ID": options["key"], "AWS_SECRET_ACCESS_KEY": options["secret"]}
        environment |= {"AWS_ENDPOINT_URL": way.server.url, "AWS_DEFAULT_REGION": "us-east-1"}
    for more, env in ((way.words(), {}), ([f"--storage-option=backend={way.backend}"], environment)):
        result = CliRunner().invoke(cli, [*write, *more, "--json"], env=env)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["version"] == 0
        for verb in ("show", "log", "files", "read", "vacuum"):
            result = CliRunner().invoke(cli, [verb, url, *more], env=env)
            assert result.exit_code == 0, result.output
            assert way.secret not in result.output
            assert verb != "show" or ["through", way.backend] in map(str.split, result.output.splitlines())


def test_writers_side_by_side(way, options):
    """Eight writers of one table commit all their rows, once each."""
    url = way.fresh_url()
    tx.write(pa.table({"id": [0]}), url, mode="append", storage_options=options)

    def write(number):
        return tx.write(pa.table({"id": [number]}), url, mode="append", storage_options=options)

    with ThreadPoolExecutor(8) as pool:
        versions = sorted(result.version for result in pool.map(write, range(1, 9)))
    assert versions == list(range(1, 9))
    assert [row["id"] for row in rows(tx.Table(url, storage_options=options))] == list(range(9))


# ---------------------------------------------------------------- a server that ignores conditions


@pytest.mark.guarantees("S22")
@pytest.mark.parametrize("backend", ["s3fs", "obstore"])
def test_a_server_that_ignores_conditions(service, backend, tmp_path):
    """rclone overwrites in spite of If-None-Match: refused before anything is written, unless a lock is given."""
    server = service("rclone")
    probe._known.clear()  # each library finds out by itself
    make_bucket(server)
    url, options = fresh_url(), s3_options(server.url) | {"backend": backend}
    for _ in range(2):
        with pytest.raises(NoAtomicCreateError, match="cannot create a name exactly once") as raised:
            tx.write(ROWS, url, mode="append", storage_options=options)
        assert raised.value.committed == "no"
        assert list(open_store(url, options).list_from("")) == []
    lock = tmp_path / "lock"
    tx.write(ROWS, url, mode="append", storage_options=options, lock=lock)
    assert tx.write(ROWS, url, mode="append", storage_options=options, lock=lock).version == 1
    assert tx.Table(url, storage_options=options).row_count == 6
    with pytest.raises(NoAtomicCreateError):
        tx.write(ROWS, url, mode="append", storage_options=options)
    assert tx.Table(url, storage_options=options).version == 1


# ---------------------------------------------------------------- large files


def test_a_large_data_file(way, options):
    """A data file over the size of a part is uploaded in parts, and reads back whole."""
    url = way.fresh_url()
    noise = pa.array([os.urandom(64) for _ in range(300_000)])
    data = pa.table({"id": range(len(noise)), "noise": noise})
    tx.write(data, url, mode="append", storage_options=options)
    table = tx.Table(url, storage_options=options)
    assert table.file_table()["bytes"][0].as_py() > 2 * PART_BYTES
    assert table.to_arrow().equals(data)
    assert table.dataset().to_table(columns=["id"]).num_rows == len(noise)


def test_one_column_of_many(way):
    """Reading one column asks for its bytes, and for a few gaps, with few requests, across all row groups."""
    wide = pa.table({f"c{number}": np.random.default_rng(number).random(100_000) for number in range(20)})
    url = way.fresh_url()
    with proxy.running(way.server.url) as far:
        options = way.options(far.url)
        tx.write(wide, url, mode="append", storage_options=options, properties={"row_group_rows": 20_000})
        table = tx.Table(url, storage_options=options)
        size = table.file_table()["bytes"][0].as_py()
        far.reset()
        assert table.to_arrow(columns=["c7"]).equals(wide.select(["c7"]))
        assert sum(seen.answer_bytes for seen in far.seen) < size / 10
        assert len(far.seen) <= 1 + 5
        far.reset()
        assert table.dataset().to_table(columns=["c7"]).equals(wide.select(["c7"]))
        assert sum(seen.answer_bytes for seen in far.seen) < size / 10


@pytest.mark.parametrize("way", [("ministack", "s3fs"), ("weed", "s3fs")], indirect=True)
def test_vacuum_aborts_abandoned_uploads(way, options, monkeypatch):
    """An upload that a killed writer left is aborted by a vacuum, once it is old; a young one goes on."""
    url = way.fresh_url()
    tx.write(ROWS, url, mode="append", storage_options=options)
    table = tx.Table(url, storage_options=options)
    table.set(vacuum_grace="0s")
    store = open_store(url, options)
    sink = store.create(table.files()[0].removeprefix(f"{url}/").replace("-00000.", "-00001."))
    sink.write(b"x" * (2 * PART_BYTES))
    table.vacuum()
    assert len(store.client.uploads(store._prefix)) == 1
    monkeypatch.setattr(abandoned, "ABANDONED_US", 0)
    table.vacuum()
    assert store.client.uploads(store._prefix) == []
    sink.abort()
    assert rows(tx.Table(url, storage_options=options)) == ROWS.to_pylist()


# ---------------------------------------------------------------- the README


@pytest.mark.parametrize("way", [("ministack", "s3fs")], indirect=True)
def test_the_readme(way, options, monkeypatch):
    """The lines about buckets in the README do what they say."""
    section = README.read_text(encoding="utf-8").partition("\n## In a bucket\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```py\n(.*?)```", section, re.DOTALL)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["secret"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    url = way.fresh_url()
    here = block.replace("https://s3.example.org", options["endpoint_url"]).replace("s3://lake/people", url)
    assert here.count(url) == 2
    exec(here, {"tx": tx, "monday": ROWS.to_pandas()})
    assert open_store(url, options).get("_txfiles/table.json", limit=1_000) is not None
