"""Real processes that write to one Delta table at once; and commits whose answer was lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import txfiles as tx
from txfiles.targets.delta import commit as commits
from txfiles.targets.delta.client import Client

DELTA = {"format": "delta"}
PROCESSES = 3


def test_processes_converge(tmp_path):
    """Each key is added once, each delivery applied once, from the creation of the table on; no row is lost."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, str(Path(__file__).with_name("workers.py")), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    started = [
        subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        for number in range(PROCESSES)
    ]
    outputs = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0] * PROCESSES, outputs
    told = [json.loads(out) for out, _ in outputs]
    once = tx.Table(tmp_path / "once", **DELTA).to_arrow()
    assert sorted(once["id"].to_pylist()) == list(range(40))
    assert sum(one["inserted"] for one in told) == 40
    assert sum(one["skipped"] for one in told) == 40 * (PROCESSES - 1)
    upserted = sorted(tx.Table(tmp_path / "upsert", **DELTA).to_arrow()["id"].to_pylist())
    assert upserted == [*range(4), *range(100, 100 + PROCESSES)]
    assert sum(one["updated"] for one in told) == len(upserted)
    assert sorted(tx.Table(tmp_path / "batches", **DELTA).to_arrow()["id"].to_pylist()) == [0, 1, 2, 3]
    assert sum(one["applied"] for one in told) == 4


def between(monkeypatch, act):
    """Have somebody else act between the plan of the next commit and the commit."""
    commit, acts = Client.commit, [act]

    def later(self, *args, **given):
        for one in acts[:]:
            acts.clear()
            one()
        return commit(self, *args, **given)

    monkeypatch.setattr(Client, "commit", later)


@pytest.mark.parametrize("mode", ["append_once", "upsert"])
def test_a_key_that_plain_deltalake_adds_meanwhile(tmp_path, monkeypatch, mode):
    """A blind append of another tool, which deltalake's own check lets pass, is seen, and the write planned anew."""
    tx.write(pa.table({"id": [1], "v": ["a"]}), tmp_path / "t", mode=mode, keys=["id"], **DELTA)
    between(monkeypatch, lambda: write_deltalake(tmp_path / "t", pa.table({"id": [2], "v": ["theirs"]}), mode="append"))
    done = tx.write(pa.table({"id": [2], "v": ["ours"]}), tmp_path / "t", mode=mode, **DELTA)
    assert (done.attempts, done.rows_inserted) == (2, 0)
    expected = "theirs" if mode == "append_once" else "ours"
    assert sorted(tx.Table(tmp_path / "t", **DELTA).to_arrow()["v"].to_pylist()) == ["a", expected]


def test_an_overwrite_meets_rows_that_were_added_meanwhile(tmp_path, monkeypatch):
    """They are replaced too: an overwrite is decided on the version before it."""
    tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="append", **DELTA)
    between(monkeypatch, lambda: write_deltalake(tmp_path / "t", pa.table({"id": [2]}), mode="append"))
    done = tx.write(pa.table({"id": [3]}), tmp_path / "t", mode="overwrite", **DELTA)
    assert (done.rows_deleted, done.attempts) == (2, 2)
    assert tx.Table(tmp_path / "t", **DELTA).to_arrow()["id"].to_pylist() == [3]


@pytest.mark.parametrize("call", ["write", "plan", "delete"])
def test_a_vacuum_takes_a_file_that_is_about_to_be_read(tmp_path, monkeypatch, call):
    """The newest version has others: it is planned anew."""
    tx.write(pa.table({"id": [1, 2], "v": [1, 1]}), tmp_path / "t", mode="upsert", keys=["id"], **DELTA)
    table = tx.Table(tmp_path / "t", **DELTA)
    change, acts = commits.change, [True]

    def later(request, base):
        if acts:
            acts.clear()
            tx.write(pa.table({"id": [2], "v": [2]}), tmp_path / "t", mode="upsert", **DELTA)
            tx.Table(tmp_path / "t", **DELTA).vacuum(retain="0h", force=True)
        return change(request, base)

    monkeypatch.setattr(commits, "change", later)
    if call == "delete":
        done = table.delete([("id", "=", 1)])
        assert (done.rows_deleted, done.attempts, done.version) == (1, 2, 4)  # a vacuum is two
        return
    what = tx.write if call == "write" else tx.plan
    done = what(pa.table({"id": [1, 2], "v": [9, 2]}), tmp_path / "t", mode="upsert", **DELTA)
    assert (done.rows_updated, done.rows_unchanged, done.attempts) == (1, 1, 2)


def test_patience_ends(tmp_path, monkeypatch):
    """Others who always win end a call after its timeout, and nothing of it is committed."""
    tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="append", **DELTA)
    commit = Client.commit

    def always(self, *args, **given):
        write_deltalake(tmp_path / "t", pa.table({"id": [2]}), mode="append")
        return commit(self, *args, **given)

    monkeypatch.setattr(Client, "commit", always)
    with pytest.raises(tx.CommitConflictError) as caught:
        tx.write(pa.table({"id": [3]}), tmp_path / "t", mode="append", timeout=0.3, **DELTA)
    assert not tx.resolve(tmp_path / "t", caught.value.commit_id, **DELTA).committed
    assert 3 not in tx.Table(tmp_path / "t", **DELTA).to_arrow()["id"].to_pylist()


@pytest.mark.parametrize("mode", ["append", "overwrite", "append_once", "upsert"])
@pytest.mark.parametrize("first", [True, False], ids=["creation", "later"])
def test_an_answer_that_was_lost(tmp_path, monkeypatch, mode, first):
    """The commit is there though an error was raised: it is found, and not made again."""
    keys = ["id"] if mode in ("append_once", "upsert") else None
    if not first:
        tx.write(pa.table({"id": [1]}), tmp_path / "t", mode=mode, keys=keys, **DELTA)
    for name in ("commit", "create"):
        method = getattr(Client, name)

        def lost(self, *args, method=method, **given):
            method(self, *args, **given)
            raise OSError("connection reset")

        monkeypatch.setattr(Client, name, lost)
    done = tx.write(pa.table({"id": [2]}), tmp_path / "t", mode=mode, keys=keys, **DELTA)
    assert (done.committed, done.version, done.attempts) == (True, 0 if first else 1, 1)
    assert tx.Table(tmp_path / "t", **DELTA).to_arrow()["id"].to_pylist().count(2) == 1
    assert len(tx.Table(tmp_path / "t", **DELTA).history()) == (1 if first else 2)
    assert tx.resolve(tmp_path / "t", done.commit_id, **DELTA).version == done.version


def test_a_commit_that_arrives_late(tmp_path, monkeypatch):
    """It lands after the log was read, before the second try: that one loses, and finds the first."""
    tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="append", **DELTA)
    commit, held = Client.commit, []

    def late(self, *args, **given):
        if not held:
            held.append((args, given))
            raise OSError("connection reset")
        commit(self, *held[0][0], **held[0][1])
        commit(self, *args, **given)

    monkeypatch.setattr(Client, "commit", late)
    done = tx.write(pa.table({"id": [2]}), tmp_path / "t", mode="append", **DELTA)
    assert (done.committed, done.version, done.attempts) == (True, 1, 2)
    assert sorted(tx.Table(tmp_path / "t", **DELTA).to_arrow()["id"].to_pylist()) == [1, 2]


def test_a_commit_that_arrives_before_the_next_plan(tmp_path, monkeypatch):
    """It lands after the log was read, before the second attempt looks: the version that it made is not planned on."""
    tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="append", **DELTA)
    commit, newest, held, looks = Client.commit, Client.newest, [], []

    def late(self, *args, **given):
        assert not held
        held.append((args, given))
        raise OSError("connection reset")

    def arrives(self):
        looks.append(True)
        if len(looks) == 3:  # before the plan, after the failure, before the next plan
            commit(self, *held[0][0], **held[0][1])
        return newest(self)

    monkeypatch.setattr(Client, "commit", late)
    monkeypatch.setattr(Client, "newest", arrives)
    done = tx.write(pa.table({"id": [2]}), tmp_path / "t", mode="append", **DELTA)
    assert (done.committed, done.version, done.rows_inserted, done.files_added) == (True, 1, 1, 1)
    assert sorted(tx.Table(tmp_path / "t", **DELTA).to_arrow()["id"].to_pylist()) == [1, 2]


def test_an_error_while_a_commit_may_still_arrive(tmp_path, monkeypatch):
    """What fails in the next attempt does not say that nothing was committed."""
    tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="append", **DELTA)
    newest, looks = Client.newest, []

    def failing(self):
        looks.append(True)
        if len(looks) == 3:
            raise tx.StoreError("no network")
        return newest(self)

    def lost(self, *_, **__):
        raise OSError("connection reset")

    monkeypatch.setattr(Client, "commit", lost)
    monkeypatch.setattr(Client, "newest", failing)
    with pytest.raises(tx.CommitStateUnknownError, match="no network"):
        tx.write(pa.table({"id": [2]}), tmp_path / "t", mode="append", **DELTA)


@pytest.mark.parametrize("unread", [tx.StoreError("no network"), tx.CorruptTableError("version 1 is no JSON")])
def test_what_nobody_can_know(tmp_path, monkeypatch, unread):
    """If the log cannot be read after a failure, the error says so and names the commit, which `resolve` finds."""
    tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="append", **DELTA)
    commit, newest = Client.commit, Client.newest

    def lost(self, *args, **given):
        commit(self, *args, **given)
        monkeypatch.setattr(Client, "newest", lambda self: (_ for _ in ()).throw(unread))
        raise OSError("connection reset")

    monkeypatch.setattr(Client, "commit", lost)
    with pytest.raises(tx.CommitStateUnknownError) as caught:
        tx.write(pa.table({"id": [2]}), tmp_path / "t", mode="append", **DELTA)
    assert caught.value.committed == "unknown"
    monkeypatch.setattr(Client, "newest", newest)
    assert tx.resolve(tmp_path / "t", caught.value.commit_id, **DELTA) == tx.resolve(
        tmp_path / "t", caught.value.commit_id, format="delta"
    )
    assert tx.resolve(tmp_path / "t", caught.value.commit_id, **DELTA).version == 1


def test_a_batch_id_outlives_its_commit(tmp_path):
    """When the log no longer has the commit, the id is still known: its version is not."""
    tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="append", batch_id="b", **DELTA)
    tx.write(pa.table({"id": [2]}), tmp_path / "t", mode="append", **DELTA)
    DeltaTable(tmp_path / "t").create_checkpoint()
    (tmp_path / "t/_delta_log/00000000000000000000.json").unlink()
    again = tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="append", batch_id="b", **DELTA)
    assert (again.already_committed, again.version) == (True, None)
    assert sorted(tx.Table(tmp_path / "t", **DELTA).to_arrow()["id"].to_pylist()) == [1, 2]
