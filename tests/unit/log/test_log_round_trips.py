"""Requests, and how many of them wait for one another, of every public call, however long the history.

A store is wrapped so that each request takes one unit of a virtual clock. The environment's parallel map and `start`
run what they are given one after the other and set the clock as if it had run together: the clock then shows the
longest chain of requests, with no thread and no chance in it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from heapq import heappop, heappush

import pyarrow as pa
import pytest

from txfiles import environment, inputs
from txfiles.log import manifests, newest, versions
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import FILES_AT_ONCE, Session
from txfiles.operations import vacuum
from txfiles.options import CompactOptions, Request, check
from txfiles.reading import lookup, scan
from txfiles.store.memory import MemoryStore
from txfiles.store.port import Capabilities
from txfiles.targets.files import upkeep, writes

ROWS = 10
STORES = {
    "lists from a name": Capabilities(lists_from_a_name=True, requests_at_once=64, resends=False),
    "asks for names": Capabilities(lists_from_a_name=False, requests_at_once=64, resends=False),
}


class Clock:
    """Virtual time, in round trips."""

    def __init__(self):
        self.now = 0

    def map(self, function, items, /, width=None):
        """Each item as if it began when one of those under way ended."""
        free, found = [self.now] * (width or environment.WORKERS), []
        for item in items:
            self.now = heappop(free)
            found.append(function(item))
            heappush(free, self.now)
        self.now = max(free)
        return iter(found)

    def start(self, function, /):
        """As if it ran beside what follows."""
        begun = self.now
        found = function()
        ended, self.now = self.now, begun

        def result():
            self.now = max(self.now, ended)
            return found

        return result


class Sink:
    """A data file in the making: closing it is the request."""

    def __init__(self, store, sink):
        self._store, self._sink = store, sink

    def __getattr__(self, name):
        return getattr(self._sink, name)

    def close(self):
        self._store.ask("create")
        self._sink.close()


class Remote:
    """A store at a distance; no advisory lock, nothing but requests."""

    def __init__(self, store, clock, capabilities):
        self._store, self.clock, self.capabilities = store, clock, capabilities
        self.requests = Counter()

    def __getattr__(self, name):
        if name in ("lock", "ensure_durable", "arrow"):
            raise AttributeError(name)
        found = getattr(self._store, name)
        if name in ("get", "stat", "put", "put_if_absent", "delete_many", "read_ranges"):
            self.ask(name)
        return found

    def ask(self, verb):
        self.requests[verb] += 1
        self.clock.now += 1

    def now_us(self):
        self.ask("now_us")
        return self._store.now_us()

    def list_from(self, prefix, after=""):
        self.ask("list_from")
        return self._store.list_from(prefix, after)

    def open_input(self, name, size=None):
        self.ask("open_input")
        return self._store.open_input(name, size)

    def create(self, name):
        return Sink(self, self._store.create(name))


def rows(number):
    return pa.table({"id": range(number * ROWS, (number + 1) * ROWS), "v": [number] * ROWS})


class Process:
    """What a process knows of the table."""

    def __init__(self, store, capabilities, cache=True):
        self.clock = Clock()
        self.store = Remote(store, self.clock, capabilities)
        real = replace(environment.real(), map=self.clock.map, start=self.clock.start)
        self.session = Session(self.store, real, SnapshotCache() if cache else None)

    def counted(self, call):
        """Round trips and requests of a call."""
        self.store.requests.clear()
        begun = self.clock.now
        call(self)
        return self.clock.now - begun, dict(self.store.requests)

    def write(self, number, mode="append", **options):
        return writes.write(self.session, check(Request(source=inputs.source(rows(number)), mode=mode, **options)))

    def head(self):
        return versions.require_head(self.session)


@pytest.fixture(scope="module", params=[10, 1_000])
def history(request):
    """A table of so many versions, each with a file of its own, and a store that holds it."""
    store = MemoryStore(str(request.param))
    process = Process(store, STORES["lists from a name"])
    process.write(0, "append_once", keys=("id",))
    for number in range(1, request.param):
        process.write(number)
    return request.param, store


@pytest.fixture(params=STORES)
def opened(history, request):
    """A process that has opened the table, on a copy of it."""
    count, store = history
    process = Process(copy(store), STORES[request.param])
    assert process.head().state.version == count - 1
    return process


def copy(store):
    found = MemoryStore("copy")
    found._objects = dict(store._objects)
    return found


def test_opening(history):
    """Cold in three round trips: what the hint names is read beside the look for what is newer."""
    count, store = history
    for capabilities in STORES.values():
        for extra in range(newest.HINT_INTERVAL + 1):
            fresh = copy(store)
            writer = Process(fresh, capabilities)
            for number in range(extra):
                writer.write(count + number)
            process = Process(fresh, capabilities)
            trips, requests = process.counted(Process.head)
            assert trips <= 3
            assert sum(requests.values()) <= 2 + 1 + 2 * (20 + newest.HINT_INTERVAL)
            assert process.head().file_count == count + extra
            assert process.head().files.num_rows == count + extra


def test_opening_again(opened):
    """Warm in one round trip, and another where there is something new; exact by the hash of the manifest known."""
    assert opened.counted(Process.head)[0] == 1
    other = Process(opened.store._store, opened.store.capabilities)
    other.write(5_000)
    trips, _ = opened.counted(Process.head)
    assert trips <= 2
    assert opened.head().file_count == other.head().file_count


CALLS = {  # by call: round trips
    "append": (lambda p: p.write(2_000), 3),
    "append_once, new": (lambda p: p.write(2_000, "append_once"), 3),
    "append_once, retried: the look, and the one file that may hold the keys": (lambda p: p.write(3, "append_once"), 2),
    "upsert that changes nothing": (lambda p: p.write(3, "upsert"), 2),
    "plan of an append": (
        lambda p: writes.plan(p.session, check(Request(source=inputs.source(rows(2_000)), mode="append"))),
        1,
    ),
    "set": (lambda p: upkeep.set_table_properties(p.session, p.head(), {"compression": "zstd"}), 4),
    "history, 3": (lambda p: list(manifests.history(p.session, p.head().state.version, 3)), 2),
    "at": (lambda p: versions.at_version(p.session, p.head().state, 5), 3),
    "refresh": (lambda p: versions.advance(p.session, p.head()), 2),
    "read": (lambda p: scan.read(p.session, p.head(), ["v"], [("id", "<", 5)]), 2),
    "lookup": (lambda p: lookup.lookup(p.session, p.head(), [7], None), 3),
}


@pytest.mark.parametrize("call", CALLS)
def test_round_trips(opened, call):
    """As many as the table says, at 10 versions and files and at 1,000."""
    act, trips = CALLS[call]
    found, requests = opened.counted(act)
    assert found <= trips, requests


def test_a_compaction_reads_several_files_at_once(opened):
    """It waits for every eighth file that it joins, and a few times more."""
    count = opened.head().file_count
    trips, requests = opened.counted(lambda p: upkeep.compact(p.session, p.head(), CompactOptions()))
    assert requests["open_input"] == count
    assert trips <= -(-count // FILES_AT_ONCE) + 6


def test_a_checkpoint_costs_no_round_trip(history):
    """An append that is due to leave a checkpoint, or a hint, does so beside its data file."""
    count, store = history
    process = Process(copy(store), STORES["lists from a name"])
    process.head()
    seen = Counter()
    for number in range(25):
        trips, requests = process.counted(lambda p, number=number: p.write(count + number))
        assert trips == 3
        seen.update(requests)
    assert seen["put"] >= 3 + 1  # hints, and a checkpoint


def test_at_a_time(opened):
    """The version at a time is found in a few round trips, each with many requests."""
    head = opened.head()
    trips, _ = opened.counted(lambda p: versions.at_time(p.session, head.state, head.state.time_us - 1))
    assert trips <= 4


def test_far_behind(history):
    """Who knows an old version goes to the newest checkpoint, not through all the manifests since."""
    count, store = history
    if count < 100:
        pytest.skip("no version is far behind")
    for capabilities in STORES.values():
        process = Process(copy(store), capabilities)
        old = versions.at_version(process.session, process.head().state, 5)
        trips, requests = process.counted(lambda p, old=old: versions.advance(p.session, old))
        assert sum(requests.values()) <= 60
        assert trips <= 24  # doubling and halving, where a listing cannot begin at a name
        assert versions.advance(process.session, old).files.equals(process.head().files)


def test_a_writer_whose_table_was_created_again(history):
    """It sees so beside staging, by the hash of the manifest, and writes to the table that there is."""
    _, store = history
    for capabilities in STORES.values():
        fresh = copy(store)
        process = Process(fresh, capabilities)
        process.head()
        fresh._objects.clear()
        other = Process(fresh, capabilities)
        for number in range(process.session.cache.get(process.store.root).state.version + 1):
            other.write(number)
            if number > 12:
                break
        result = process.write(7_000)
        assert result.version == other.head().state.version
        assert other.head().state.table_id == process.head().state.table_id


def test_a_vacuum_asks_together(opened):
    """A vacuum looks at the clock, lists the folder and reads the manifests in one round trip, as wide as the store."""
    head = opened.head()
    manifests = head.state.version + 1
    trips, requests = opened.counted(lambda p: vacuum.find(p.session, head, vacuum.Rules(0, 1, 0, force=False)))
    assert trips == -(-manifests // opened.store.capabilities.requests_at_once)
    assert requests == {"now_us": 1, "list_from": 1, "get": manifests}
