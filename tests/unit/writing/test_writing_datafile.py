"""The writer of one data file: pure arguments in, an `Add` out, in whichever process."""

from __future__ import annotations

import multiprocessing
import pickle

import pyarrow as pa
import pytest

import txfiles as tx
from txfiles import environment
from txfiles.core.manifest import Metrics, Operation
from txfiles.core.plan import CommitPlan, ReadSet
from txfiles.errors import InputError, LossyCastError, StoreError
from txfiles.log import commit, manifests, versions
from txfiles.log.session import Session
from txfiles.operations.edits import unite
from txfiles.reading.checks import holds, still_live
from txfiles.rows.stats import column_stats
from txfiles.store.local import LocalStore
from txfiles.store.memory import MemoryStore
from txfiles.writing import datafile
from txfiles.writing.datafile import DataFileWriter
from txfiles.writing.staging import Staging

COMMIT_ID = "0" * 32


def rows(*ids, p="a"):
    return pa.table({"p": [p] * len(ids), "id": pa.array(ids, pa.int64()), "v": [f"v{i}" for i in ids]})


def written(task):
    """In another process: write a file of some pieces; returns its `Add`."""
    writer, pieces = task
    with writer:
        for piece in pieces:
            writer.write(piece)
        return writer.close()


@pytest.fixture
def path(tmp_path):
    tx.write(rows(1, 2), tmp_path / "t", mode="upsert", keys=["p", "id"], partition_by="p")
    return tmp_path / "t"


def writer_of(path, partition=("a",), number=7):
    store = LocalStore(path)
    state = versions.require_head(Session(store, environment.real())).state
    name = datafile.name(state.table, partition, state.table_id, COMMIT_ID, number)
    return DataFileWriter(store, state.table, partition, name)


def files_of(path):
    return sorted(str(found.relative_to(path)) for found in path.rglob("*.parquet*"))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files_of_other_processes_become_a_commit(tmp_path, kind):
    """Spawned processes write files; the process that has their `Add`s commits them, and all rows are there."""
    path = tmp_path / "t"
    tx.write(rows(1, 2), path, mode="upsert", keys=["p", "id"], partition_by="p", format=kind)
    session = Session(LocalStore(path), environment.real())
    head = versions.require_head(session)
    tasks = [
        (writer_of(path, ("a",), 0), [rows(5, 3), rows(), rows(4)]),
        (writer_of(path, ("b c",), 1), [rows(1, p="b c")]),
    ]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        adds = pool.map(written, tasks)
    assert tx.Table(path).row_count == 2  # nothing is in the table before the commit
    assert [add.rows for add in adds] == [3, 1]

    def plan(snapshot, staging):
        assert snapshot.state.version == head.state.version
        return CommitPlan(
            table=snapshot.state.table,
            read_set=ReadSet(snapshot.state.table, staged=frozenset(add.path for add in adds)),
            metrics=Metrics(rows_in=4, rows_inserted=4, files_added=2, bytes_written=sum(add.bytes for add in adds)),
            add=tuple(adds),
        )

    attempt = commit.Attempt(session, COMMIT_ID, Operation(name="append"), 1.0, Staging, holds, still_live, unite)
    outcome = commit.run(attempt, plan)
    assert (outcome.committed, outcome.version) == (True, 1)
    table = tx.Table(path)
    found = sorted((row["p"], row["id"], row["v"]) for row in table.to_arrow().to_pylist())
    assert found == [("a", 1, "v1"), ("a", 2, "v2"), *(("a", i, f"v{i}") for i in (3, 4, 5)), ("b c", 1, "v1")]
    assert table.lookup([("a", 5)]).num_rows == 1  # by the key range and statistics of the Add


def test_it_is_the_add_that_a_write_makes(path):
    """A writer states what a write of the same rows states, whatever the pieces."""
    with writer_of(path) as writer:
        writer.write(rows(1))
        writer.write(rows(2))
        add = writer.close()
    own = versions.require_head(Session(LocalStore(path), environment.real())).state.table
    twin = tx.write(rows(1, 2), path.with_name("u"), mode="upsert", keys=["p", "id"], partition_by="p")
    assert twin.version == 0
    manifest = manifests.load(LocalStore(path.with_name("u")), 0).manifest
    theirs = manifest.add[0]
    assert manifest.table.columns == own.columns
    assert (add.rows, add.bytes, add.sha256, add.footer_sha256) == (
        theirs.rows,
        theirs.bytes,
        theirs.sha256,
        theirs.footer_sha256,
    )
    assert (add.partition, add.stats, add.key_range) == (theirs.partition, theirs.stats, theirs.key_range)


def test_nothing_is_there_before_close(path):
    """The sink opens with the first row; an aborted writer, or one that was left, leaves no file of any name."""
    before = files_of(path)
    writer = writer_of(path)
    writer.write(rows())
    assert (files_of(path), writer.bytes) == (before, 0)
    writer.write(rows(9))
    assert len(list((path / "p=a").iterdir())) == 2  # under a temporary name
    writer.abort()
    writer.abort()
    with writer_of(path) as left:
        left.write(rows(9))
    refused = writer_of(path)
    bad = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))
    with pytest.raises(LossyCastError):
        refused.write(rows(9).set_column(2, "v", bad))
    refused.abort()
    assert files_of(path) == before
    assert len(list((path / "p=a").iterdir())) == 1
    for one in (writer, left, refused):
        with pytest.raises(InputError, match="closed or aborted"):
            one.write(rows(9))
    with pytest.raises(InputError, match="has no rows"):
        writer_of(path).close()


def test_a_closed_file_stays(path):
    """After `close`, leaving and `abort` do nothing; a second writer of that name is refused and changes nothing."""
    with writer_of(path) as writer:
        writer.write(rows(9))
        add = writer.close()
    writer.abort()
    with pytest.raises(InputError, match="closed or aborted"):
        writer.close()
    with pytest.raises(StoreError, match="already exists"):
        writer_of(path).write(rows(10))
    kept = (path / add.path).read_bytes()
    assert len(kept) == add.bytes


def test_what_cannot_be_pickled_says_so(path):
    """A writer that has begun its file, and a store in memory, name the way out; unpickled twins write alike."""
    writer = writer_of(path)
    twin = pickle.loads(pickle.dumps(writer))
    writer.write(rows(9))
    with pytest.raises(InputError, match="cannot be pickled") as raised:
        pickle.dumps(writer)
    assert "before its first row" in raised.value.hint
    writer.abort()
    twin.write(rows(9))
    assert twin.close().rows == 1
    with pytest.raises(StoreError, match="cannot be pickled") as raised:
        pickle.dumps(MemoryStore("m"))
    assert "in a folder" in raised.value.hint


TEXTS = {
    "plain": ["b", "a", "c"],
    "nulls": [None, "b", None],
    "only nulls": [None] * 3,
    "empty text": ["", "\0", "é"],
    "beyond ASCII": ["\ud7ff", "\uffff", "\U0010ffff"],
    "long": ["x" * 70, "x" * 4_000, "y" * 4_000],
    "too long above": ["a", "y" * 5_000, None],
    "too long below": ["a" * 5_000, "b", "c"],
    "too long": ["a" * 5_000, "b" * 5_000, "c"],
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("group_rows", [1, 2, 100])
def test_bounds_of_texts_are_those_of_the_rows(tmp_path, monkeypatch, name, group_rows):
    """Where the footer tells the bounds of texts, they are those of the rows; over 4 KiB there are none."""
    monkeypatch.setattr(datafile, "FOOTER_ROWS", 3)
    rows = pa.table({"id": pa.array([1, 2, 3]), "t": pa.array(TEXTS[name], pa.string())})
    tx.write(rows, tmp_path, mode="append_once", keys=["id"], properties={"row_group_rows": group_rows})
    manifest = manifests.load(LocalStore(tmp_path), 0).manifest
    found, expected = manifest.add[0].stats["2"], column_stats(rows)["t"]
    if name.startswith("too long"):
        assert (found.nulls, found.min, found.max) == (expected.nulls, None, None)
    else:
        assert found == expected
