"""Round trips against real servers: the proxy holds each answer, so that requests under way together overlap.

The exact table, on a virtual clock, is in tests/unit/log/test_log_round_trips.py; here real threads make the requests,
each library's own. The budgets are the same for all, and for a history of twice the length.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import pyarrow as pa
import pytest

import txfiles as tx
from tests.services.fixtures import arrow_of
from txfiles import environment
from txfiles.formats import run_source
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.log.versions import require_head
from txfiles.store import open_store, probe
from txfiles.targets.files import target as files_target

pytestmark = pytest.mark.slow

LENGTHS = (39, 79)
"""Versions, as far from a checkpoint as a version can be: a cold open reads nineteen manifests."""
DELAY_SECONDS = 0.25
"""Longer than a thread takes to start on a busy machine."""
TRIES = 4


def rows(number):
    return pa.table({"id": range(number * 10, number * 10 + 10), "v": [number] * 10})


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
    """What a table consists of after so many versions, each with a file of its own, by name."""
    folder, found = tmp_path_factory.mktemp("local") / "table", {}
    for number in range(max(LENGTHS)):
        tx.write(rows(number), folder, mode="append_once", keys=["id"])
        if number + 1 in LENGTHS:
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            found[number + 1] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return found


@pytest.fixture(scope="module", params=LENGTHS)
def table(request, way, proxy, histories):
    """A table in a bucket, of which this process knows nothing but that the bucket honours conditions."""
    url, options = way.fresh_url(), way.options(proxy.url)
    system = arrow_of(way.kind, way.server.url)
    for name, data in histories[request.param].items():
        with system.open_output_stream(f"{url.partition('://')[2]}/{name}") as stream:
            stream.write(data)
    probe.remember(open_store(url, options).client)
    return url, options


@pytest.fixture
def counted(proxy):
    """A function that counts the round trips of a call; of several tries the least, for one that may be made again.

    On a busy machine a request may begin so late that it seems to have waited for another.
    """

    def count(call, budget=0, before=lambda: None):
        found = []
        while not found or (min(found) > budget > 0 and len(found) < TRIES):
            before()
            proxy.reset()
            proxy.delay_seconds = DELAY_SECONDS
            try:
                call()
            finally:
                proxy.delay_seconds = 0.0
            found.append(proxy.round_trips())
        return min(found)

    return count


def test_opening_cold(table, counted):
    """A process that knows nothing of the table opens it in three round trips, whatever the length of its history.

    Where what is newer is asked for by name, the answers are the manifests themselves, and nothing is left to read.
    """
    url, options = table
    store = open_store(url, options)
    trips = 3 if store.capabilities.lists_from_a_name else 2
    assert counted(lambda: require_head(Session(store, environment.real())), budget=trips) == trips


def test_opening_warm(table, counted):
    """A process that has seen the newest version finds in one round trip that it still is."""
    url, options = table
    tx.Table(url, storage_options=options)
    assert counted(lambda: tx.Table(url, storage_options=options), budget=1) == 1


def test_opening_warm_after_another_commit(table, counted, monkeypatch):
    """A process that has seen an older version is at the newest in two round trips."""
    url, options = table
    tx.Table(url, storage_options=options)

    def another():
        with monkeypatch.context() as patch:
            patch.setattr(files_target, "_SNAPSHOTS", None)  # as in another process
            tx.write(rows(2_000), url, mode="append", storage_options=options)

    assert counted(lambda: tx.Table(url, storage_options=options), budget=2, before=another) <= 2


def test_appending(table, counted):
    """An append takes the look, its data file and its manifest; one that leaves a checkpoint too."""
    url, options = table
    tx.Table(url, storage_options=options)
    found = []
    for number in range(8):
        data = rows(1_000 + number)
        found.append(counted(lambda data=data: tx.write(data, url, mode="append", storage_options=options)))
    assert statistics.median(found) == min(found) == 3
    assert sum(found) <= 3 * len(found) + 2


def test_a_retry(table, counted):
    """A retried append_once takes the look, and two for the key columns of the file that holds the keys."""
    url, options = table
    tx.Table(url, storage_options=options)
    retry = lambda: tx.write(rows(3), url, mode="append_once", storage_options=options)  # noqa: E731
    assert counted(retry, budget=1 + 2) == 1 + 2


@pytest.mark.usefixtures("index_of_small_tables")
@pytest.mark.parametrize("versions", [10, 20])
def test_a_retry_with_an_index(versions, way, proxy, counted, tmp_path, monkeypatch):
    """A probe of all runs takes three round trips at most; a process that probes again takes one, whatever there is.

    Beside it there is the look, and the secret once for each process. An append takes no more than without an index.
    """
    monkeypatch.setattr(run_source, "END_BYTES", 1_500)  # so that lists and blocks lie before what the end brings
    spread = lambda number: pa.table({"id": [number + 1_000 * at for at in range(400)], "v": [number] * 400})  # noqa: E731
    for number in range(versions):
        tx.write(spread(number), tmp_path / "t", mode="append_once", keys=["id"], properties={"key_index": "on"})
    url, options = way.fresh_url(), way.options(proxy.url)
    system = arrow_of(way.kind, way.server.url)
    for path in (tmp_path / "t").rglob("*"):
        if path.is_file():
            with system.open_output_stream(f"{url.partition('://')[2]}/{path.relative_to(tmp_path / 't')}") as stream:
                stream.write(path.read_bytes())
    probe.remember(open_store(url, options).client)

    def begin():
        monkeypatch.setattr(files_target, "_SNAPSHOTS", SnapshotCache())  # as in another process
        tx.Table(url, storage_options=options)

    def retry():
        result = tx.write(spread(3).slice(0, 3), url, mode="append_once", storage_options=options)
        assert (result.rows_skipped, result.files_scanned) == (3, 0)

    assert counted(retry, budget=1 + 1 + 3, before=begin) <= 1 + 1 + 3
    assert counted(retry, budget=1 + 1) == 1 + 1
    append = lambda: tx.write(spread(900), url, mode="append", storage_options=options)  # noqa: E731
    assert counted(append, budget=3) <= 3


def test_reading_many_files(table, counted):
    """Files are read several at a time: they take far fewer round trips than two a file."""
    url, options = table
    read = tx.Table(url, storage_options=options)
    many = min(LENGTHS)
    assert counted(lambda: read.to_arrow(["v"], filter=[("id", "<", many * 10)])) <= 2 * -(-many // 8) + 4
