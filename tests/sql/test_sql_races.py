"""Several processes write to one table at once, on each database: the table is as if they had run one by one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import txfiles as tx
from tests.services.databases import DATABASES, SERVERS
from tests.sql.sql_help import Proxy, Url, beside, target_of

WRITERS, WRITES, KEYS = 3, 5, 40

CHILD = """
import json, sys
import pyarrow as pa
import txfiles as tx

url, mode, writer, writes, keys, batch = json.loads(sys.argv[1])
done = []
for number in range(writes):
    ids = [(number * 7 + n) % keys for n in range(20)]
    rows = pa.table({"id": ids, "writer": [writer] * 20, "number": [number] * 20})
    name = f"batch-{number}" if batch else None
    result = tx.write(rows, url, mode=mode, keys=["id"], timestamp_col="number", batch_id=name, timeout=120)
    done.append([result.rows_inserted, result.rows_updated, result.already_committed, result.version])
print(json.dumps(done))
"""


def run(url: str, mode: str, *, batch: bool = False) -> list[list[list[int]]]:
    """What each of the writers reports."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps([url, mode, writer, WRITES, KEYS, batch])],
            stdout=subprocess.PIPE,
            text=True,
        )
        for writer in range(WRITERS)
    ]
    outputs = [process.communicate(timeout=180)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * WRITERS
    return [json.loads(output) for output in outputs]


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("mode", ["append_once", "upsert"])
def test_processes_converge(kind: str, mode: str, sql_url: Url) -> None:
    """Each key is there once, every insert was counted once, and the newest row of each key won."""
    url = sql_url(kind)
    reports = run(url, mode)
    table = tx.Table(url)
    found = table.to_arrow().to_pylist()
    written = {(number * 7 + n) % KEYS: number for number in range(WRITES) for n in range(20)}
    assert sorted(row["id"] for row in found) == sorted(written)
    assert sum(report[0] for reported in reports for report in reported) == len(written)
    versions = [commit.version for commit in table.history()]
    assert versions == list(range(len(versions)))[::-1]
    if mode == "upsert":
        assert {row["id"]: row["number"] for row in found} == written


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATABASES)
def test_a_batch_id_is_applied_by_one(kind: str, sql_url: Url) -> None:
    """Of several processes that deliver the same batches, one applies each."""
    url = sql_url(kind)
    reports = run(url, "upsert", batch=True)
    for number in range(WRITES):
        assert sorted(reported[number][2] for reported in reports) == [False] + [True] * (WRITERS - 1)
        assert len({reported[number][3] for reported in reports}) == 1
    assert len(tx.Table(url).history()) == WRITES


@pytest.mark.parametrize("kind", DATABASES)
def test_a_lock_that_is_never_free(kind: str, sql_url: Url) -> None:
    """A write gives up after its timeout, with a named error, and nothing is written."""
    url = sql_url(kind)
    rows = pa.table({"id": [1, 2]})
    tx.write(rows, url, mode="upsert", keys=["id"])
    if kind == "duckdb":  # another process holds the file
        file = url.partition("///")[2].partition("?")[0]
        hold = f"import duckdb, sys; c = duckdb.connect({file!r}); print(1, flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            with pytest.raises(tx.CommitConflictError):
                tx.write(pa.table({"id": [3]}), url, mode="append", timeout=0.3)
            holder.communicate("")
    else:
        with beside(url) as db:
            if kind == "mariadb":
                db.run("START TRANSACTION")
                db.run(f"SELECT * FROM {target_of(url, db)} FOR UPDATE")
            else:
                db.run("BEGIN IMMEDIATE" if kind == "sqlite" else "BEGIN")
                if kind == "postgresql":
                    db.run(f"LOCK TABLE {target_of(url, db)} IN ROW EXCLUSIVE MODE")
            with pytest.raises(tx.CommitConflictError):
                tx.write(pa.table({"id": [1, 3]}), url, mode="overwrite", timeout=0.3)
    assert tx.Table(url).row_count == 2
    assert tx.write(pa.table({"id": [3]}), url, mode="append").version == 1


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("forward", [True, False], ids=["committed", "not-committed"])
def test_a_lost_reply_to_the_commit(kind: str, *, forward: bool, sql_url: Url, database_server) -> None:
    """The connection breaks at the commit: the ledger says whether it happened, and the rows are there once."""
    url = sql_url(kind)
    tx.write(pa.table({"id": [0]}), url, mode="append")
    server = database_server(kind)
    with Proxy(server.port, forward=forward) as proxy:
        through = url.replace(f":{server.port}/", f":{proxy.port}/")
        result = tx.write(pa.table({"id": [1, 2]}), through, mode="append")
        assert proxy.cuts == 1
    assert (result.committed, result.version, result.rows_inserted) == (True, 1, 2)
    assert result.attempts == (1 if forward else 2)
    table = tx.Table(url)
    assert sorted(table.to_arrow()["id"].to_pylist()) == [0, 1, 2]
    assert table.history()[0].commit_id == result.commit_id


@pytest.mark.parametrize("kind", SERVERS)
def test_a_commit_that_arrives_late(kind: str, sql_url: Url, database_server) -> None:
    """The server has the commit only after the client has lost it and asks: the lock makes the question wait."""
    url = sql_url(kind)
    tx.write(pa.table({"id": [0]}), url, mode="append")
    server = database_server(kind)
    with Proxy(server.port, forward=True, late=True) as proxy:
        result = tx.write(pa.table({"id": [1]}), url.replace(f":{server.port}/", f":{proxy.port}/"), mode="append")
        assert proxy.cuts == 1
    assert (result.committed, result.version, result.attempts) == (True, 1, 1)
    assert sorted(tx.Table(url).to_arrow()["id"].to_pylist()) == [0, 1]


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("forward", [True, False], ids=["committed", "not-committed"])
def test_a_delete_whose_reply_was_lost(kind: str, *, forward: bool, sql_url: Url, database_server) -> None:
    """It is found by the ledger as a write is, and counts what it deleted."""
    url = sql_url(kind)
    tx.write(pa.table({"id": [0, 1, 2]}), url, mode="append")
    server = database_server(kind)
    with Proxy(server.port, forward=forward) as proxy:
        table = tx.Table(url.replace(f":{server.port}/", f":{proxy.port}/"))
        result = table.delete([("id", ">", 0)])
        assert proxy.cuts == 1
    assert (result.committed, result.version, result.rows_deleted) == (True, 1, 2)
    assert result.attempts == (1 if forward else 2)
    assert [commit.rows_deleted for commit in tx.Table(url).history()] == [2, 0]


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("forward", [True, False], ids=["committed", "not-committed"])
def test_a_commit_whose_outcome_is_unknown(kind: str, *, forward: bool, sql_url: Url, database_server) -> None:
    """If the server cannot be asked, the error says so and names the commit; `resolve` tells later."""
    url = sql_url(kind)
    tx.write(pa.table({"id": [0]}), url, mode="append")
    server = database_server(kind)
    with Proxy(server.port, forward=forward, then_refuse=True) as proxy:
        through = url.replace(f":{server.port}/", f":{proxy.port}/")
        with pytest.raises(tx.CommitStateUnknownError) as caught:
            tx.write(pa.table({"id": [1]}), through, mode="append", timeout=0.5)
    assert (caught.value.committed, caught.value.versions) == ("unknown", (1,))
    resolution = tx.resolve(url, caught.value.commit_id)
    assert (resolution.committed, resolution.version) == ((True, 1) if forward else (False, None))
    assert tx.Table(url).row_count == (2 if forward else 1)


def test_a_writer_that_was_killed_leaves_nothing(tmp_path: Path) -> None:
    """A process that dies inside its transaction leaves neither rows nor history, and the next writer goes on."""
    url = f"sqlite:///{tmp_path}/x.db?table=t"
    tx.write(pa.table({"id": [1]}), url, mode="append")
    die = (
        "import os, txfiles as tx, pyarrow as pa; from txfiles.targets.sql import ledger; "
        f"ledger.add = lambda *a: os._exit(9); tx.write(pa.table({{'id': [2]}}), {url!r}, mode='append')"
    )
    assert subprocess.run([sys.executable, "-c", die], check=False).returncode == 9
    assert tx.Table(url).to_arrow()["id"].to_pylist() == [1]
    assert tx.write(pa.table({"id": [3]}), url, mode="append").version == 1
