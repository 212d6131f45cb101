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
from txfiles.targets.files import writes

# A known table: the newest manifest known, the one after it, whether one is missing there.
LOOK = Counter(get=2, stat=1)
# The data file; is it still the same table, is the next version free, and none missing there; then the manifest.
COMMIT = Counter(create=1, get=2, stat=1, put_if_absent=1)
# A table that was never seen: its name, the hint (16), the version after it, whether it is far from the newest, those
# up to the newest (24), the one after that, which there is not, whether one is missing there; the hint's own version;
# the checkpoint (19) that the newest names.
OPEN = Counter(get=13, stat=2)
CALLS = {
    "append, known table": LOOK + COMMIT,
    "append, four versions later": LOOK + Counter(get=4, stat=1) + COMMIT,
    "append, table of 25 versions never seen": OPEN + COMMIT + Counter(put=1),
    "append_once, new rows": LOOK + COMMIT,
    "append_once, retried": LOOK + Counter(open_input=1),
    "append_once, batch id retried": LOOK,
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
        result = writes.write(self.session, request)
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
    assert (result.version, calls) == (7, CALLS["append, four versions later"])
    writer.write(8, "append")
    result, calls = writer.write(9, "append")
    assert (result.version, calls) == (9, CALLS["append, known table"] + Counter(put=1))  # the hint of version 8


def test_appends_list_no_files(store):
    """A blind append costs the same however many files there are: it never makes the list of them."""
    writer = Writer(store)
    for number in range(5):
        writer.write(number, "append")
    known = writer.session.cache.get(store.root)
    assert (known.state.version, known.file_count, "files" in vars(known)) == (4, 5, False)
    assert known.files.num_rows == 5


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
    assert (result.committed, result.rows_skipped, calls) == (False, 100, CALLS["append_once, retried"])
    assert result.version == 3


def test_checkpoints(store):
    """Twenty appends write one checkpoint; who never saw the table opens it with it, and not with the history."""
    writer = Writer(store)
    total = Counter()
    for number in range(25):
        total += writer.write(number, "append")[1]
    assert total["put_if_absent"] == 25 + 1  # the manifests, table.json
    assert total["put"] == 3 + 1  # the hints of versions 0, 8 and 16; the checkpoint of version 19
    result, calls = Writer(store).write(25, "append")
    assert result.version == 25
    assert calls == CALLS["append, table of 25 versions never seen"]
