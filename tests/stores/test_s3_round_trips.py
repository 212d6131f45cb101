"""Round trips against a real server: the proxy holds each answer, so that requests under way together overlap.

The exact table, on a virtual clock, is in tests/unit/log/test_log_round_trips.py; here real threads make the requests.
"""

from __future__ import annotations

import statistics

import pyarrow as pa
import pytest

import txfiles as tx
from tests.services import proxy as proxies
from tests.services.fixtures import fresh_url, s3_options
from txfiles import environment
from txfiles.log.session import Session
from txfiles.log.versions import require_head
from txfiles.store import open_store

VERSIONS = 39
"""As far from a checkpoint as a version can be: a cold open reads nineteen manifests."""
DELAY_SECONDS = 0.25
"""Longer than a thread takes to start on a busy machine."""


def rows(number):
    return pa.table({"id": range(number * 10, number * 10 + 10), "v": [number] * 10})


@pytest.fixture(scope="module")
def proxy(s3):
    with proxies.running(s3("ministack").url) as running:
        yield running


@pytest.fixture(scope="module")
def table(proxy):
    """A table of some versions and files, written by this process."""
    url, options = fresh_url(), s3_options(proxy.url)
    for number in range(VERSIONS):
        tx.write(rows(number), url, mode="append_once", keys=["id"], storage_options=options)
    return url, options


@pytest.fixture
def counted(proxy):
    """A function that counts the round trips of a call; of several tries the least, for one that may be made again.

    On a busy machine a request may begin so late that it seems to have waited for another.
    """

    def count(call, tries=1):
        found = []
        for _ in range(tries):
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
    """A process that knows nothing of the table opens it in three round trips, whatever the length of its history."""
    url, options = table
    store = open_store(url, options)
    assert counted(lambda: require_head(Session(store, environment.real())), tries=4) == 3


def test_opening_warm(table, counted):
    """A process that has seen the newest version finds in one round trip that it still is."""
    url, options = table
    tx.Table(url, storage_options=options)
    assert counted(lambda: tx.Table(url, storage_options=options), tries=4) == 1


def test_appending(table, counted):
    """An append takes the look, its data file and its manifest; one that leaves a checkpoint too."""
    url, options = table
    tx.Table(url, storage_options=options)
    found = []
    for number in range(12):
        data = rows(1_000 + number)
        found.append(counted(lambda data=data: tx.write(data, url, mode="append", storage_options=options)))
    assert statistics.median(found) == min(found) == 3
    assert sum(found) <= 3 * len(found) + 2


def test_a_retry(table, counted):
    """A retried append_once takes the look, and two for the key columns of the file that holds the keys."""
    url, options = table
    tx.Table(url, storage_options=options)
    trips = counted(lambda: tx.write(rows(3), url, mode="append_once", storage_options=options), tries=4)
    assert trips == 1 + 2


def test_reading_many_files(table, counted):
    """Files are read several at a time: they take far fewer round trips than two a file."""
    url, options = table
    read = tx.Table(url, storage_options=options)
    assert counted(lambda: read.to_arrow(["v"], filter=[("id", "<", VERSIONS * 10)])) <= 2 * -(-VERSIONS // 8) + 4
