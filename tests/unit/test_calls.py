"""What writes ask of the store: exact counts, so that a call more is noticed.

On a disk each costs microseconds, on S3 a round trip.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest

from tests.counting import CountingStore
from txfiles import environment, inputs
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.options import Request, check
from txfiles.store.memory import MemoryStore
from txfiles.targets import files

# A known table: its name, the newest manifest known, the one after it, whether one is missing there.
LOOK = Counter(get=3, stat=1)
# What was committed since, by this process too: each manifest, and whether a checkpoint is nearer.
NEWS = Counter(get=1, stat=1)
# The data file; is it still the same table, is the next version free, and none missing there; then the manifest.
COMMIT = Counter(create=1, get=2, stat=1, put_if_absent=1)
# A table that was never seen: its name, the hint, that version and the one after it, its manifest, the checkpoint that
# this names, the four manifests between them.
OPEN = Counter(get=8, stat=2)
CALLS = {
    "append, known table": LOOK + NEWS + COMMIT,
    "append, nothing new": LOOK + COMMIT,
    "append, five versions later": LOOK + NEWS + Counter(get=4) + COMMIT,
    "append, table of 25 versions never seen": OPEN + Counter(get=1, stat=1) + COMMIT,
    "append_once, new rows": LOOK + NEWS + COMMIT,
    "append_once, retried": LOOK + NEWS + Counter(open_input=1),
    "append_once, retried again": LOOK + Counter(open_input=1),
    "append_once, batch id retried": LOOK + NEWS,
}


def rows(number):
    return pa.table({"id": range(number * 100, number * 100 + 100), "name": ["x"] * 100})


class Writer:
    """A process: what it remembers, and what its last write asked for."""

    def __init__(self, store):
        self.store = store
        self.session = Session(store, environment.real(), SnapshotCache())

    def write(self, number, mode, **options):
        self.store.calls.clear()
        request = check(Request(source=inputs.source(rows(number)), mode=mode, **options))
        result = files.write(self.session, request)
        return result, Counter(self.store.calls)


@pytest.fixture
def store():
    return CountingStore(MemoryStore())


def test_append(store):
    """An append to a table that the process knows looks once before it plans and once before it commits."""
    writer, other = Writer(store), Writer(store)
    writer.write(0, "append")
    writer.write(1, "append")
    result, calls = writer.write(2, "append")
    assert (result.version, calls) == (2, CALLS["append, known table"])
    for number in (3, 4, 5, 6):
        other.write(number, "append")
    result, calls = writer.write(7, "append")
    assert (result.version, calls) == (7, CALLS["append, five versions later"])
    files.plan(writer.session, check(Request(source=inputs.source(rows(8)), mode="append")))
    result, calls = writer.write(8, "append")
    assert (result.version, calls) == (8, CALLS["append, nothing new"] + Counter(put=1))  # the hint, at every eighth


def test_appends_list_no_files(store):
    """A blind append costs the same however many files there are: it never makes the list of them."""
    writer = Writer(store)
    for number in range(5):
        writer.write(number, "append")
    known = writer.session.cache.get(store.root)
    assert (known.state.version, known.file_count, "files" in vars(known)) == (3, 4, False)
    assert known.files.num_rows == 4


def test_append_once(store):
    """A retry costs the look at the log and one data file; one of a known batch id the look alone."""
    writer = Writer(store)
    writer.write(8, "append_once", keys=("id",))
    writer.write(0, "append_once")
    result, calls = writer.write(1, "append_once", batch_id="b")
    assert (result.version, calls) == (2, CALLS["append_once, new rows"])
    result, calls = writer.write(1, "append_once", batch_id="b")
    assert (result.already_committed, calls) == (True, CALLS["append_once, batch id retried"])
    writer.write(2, "append_once")
    result, calls = writer.write(2, "append_once")
    assert (result.committed, result.rows_skipped, calls) == (False, 100, CALLS["append_once, retried"])
    result, calls = writer.write(2, "append_once")
    assert (result.committed, result.rows_skipped, calls) == (False, 100, CALLS["append_once, retried again"])
    assert result.version == 3


def test_checkpoints(store):
    """Twenty appends write one checkpoint; who never saw the table opens it with it, and not with the history."""
    writer = Writer(store)
    total = Counter()
    for number in range(25):
        total += writer.write(number, "append")[1]
    assert total["put_if_absent"] == 25 + 1 + 1  # the manifests, table.json, the checkpoint of version 19
    result, calls = Writer(store).write(25, "append")
    assert result.version == 25
    assert calls == CALLS["append, table of 25 versions never seen"]
