"""Servers that ask for fewer requests get fewer, through each library, whether or not it shows for how long to wait."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest

import txfiles as tx
from txfiles.errors import StoreError
from txfiles.store import open_store
from txfiles.store.object_sink import PART_BYTES

pytestmark = pytest.mark.slow

STORM = 50
"""Requests that a server refuses before it answers again."""
RANGES = 16
SECONDS = 30.0


def storm(proxy, fault, many=STORM):
    left = itertools.count()
    proxy.reset(lambda _: fault if next(left) < many else None)


@pytest.mark.parametrize("fault", ["503", "429"])
def test_a_storm(store, proxy, options, fault):
    """Reads that meet fifty refusals between them all succeed, each after a few tries."""
    store.put("a", bytes(range(RANGES)))
    patient = open_store(store.root, {**options, "request_timeout": SECONDS})
    storm(proxy, fault)
    found = patient.read_ranges("a", [(at, 1) for at in range(RANGES)], RANGES)
    assert found == [bytes([at]) for at in range(RANGES)]
    asked = [seen.request for seen in proxy.seen]
    assert len(asked) == STORM + RANGES
    assert asked[-1].started - asked[0].started < SECONDS


@pytest.mark.parametrize("fault", ["503", "429"])
def test_a_storm_that_does_not_end(store, proxy, options, fault):
    """A request that is refused until its time is up was sent a few times, not in a busy loop, and says why."""
    store.put("a", b"1")
    proxy.reset(lambda _: fault)
    with pytest.raises(StoreError, match=fault) as raised:
        store.get("a", limit=1)
    assert raised.value.failure == "throttled"
    assert "request_timeout" in raised.value.hint
    assert 2 <= len(proxy.seen) <= 5
    between = [after.request.started - before.request.started for before, after in itertools.pairwise(proxy.seen)]
    assert min(between) >= 0.2


def test_an_upload_in_a_storm(store, proxy, options):
    """A large file is uploaded in spite of more refusals than a library's own retries would bear."""
    patient = open_store(store.root, {**options, "request_timeout": SECONDS})
    storm(proxy, "503", 8)
    sink = patient.create("large")
    sink.write(b"x" * (PART_BYTES + 1))
    sink.close()
    assert patient.stat("large").bytes == PART_BYTES + 1


def test_a_table_in_a_storm(way, proxy, options):
    """A write during a storm commits once."""
    url, patient = way.fresh_url(), {**options, "request_timeout": SECONDS}
    tx.write(pa.table({"id": [0]}), url, mode="append", storage_options=patient)
    storm(proxy, "503", 6)
    tx.write(pa.table({"id": [1]}), url, mode="append", storage_options=patient)
    assert sorted(tx.Table(url, storage_options=patient).to_arrow()["id"].to_pylist()) == [0, 1]
    assert tx.Table(url, storage_options=patient).version == 1
    assert sum(seen.fault is not None for seen in proxy.seen) == 6
