"""What the tests of stores share: a proxy before each server, and a store of its own for each test behind it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.services import proxy as proxies
from txfiles.store import open_store, remote

REQUEST_SECONDS = 6.0
"""A try has a third of it: a busy server takes longer than one may think."""


@pytest.fixture(autouse=True)
def s3_backends(monkeypatch):
    """Where a test does not say, s3fs serves `s3://`, and adlfs `abfs://`."""
    for scheme, (fast, usual) in {"s3": remote.S3, "abfs": remote.AZURE}.items():
        not_by_itself = replace(fast, differs=lambda _: "the test does not name it")
        monkeypatch.setitem(remote.SCHEMES, scheme, (not_by_itself, usual))


@pytest.fixture(scope="module")
def proxy(way):
    with proxies.running(way.server.url) as running:
        yield running


@pytest.fixture
def options(way, proxy):
    """Through the proxy; none waits long."""
    proxy.reset()  # the test before may have left a rule
    return {**way.options(proxy.url), "request_timeout": REQUEST_SECONDS}


@pytest.fixture
def store(way, proxy, options):
    store = open_store(way.fresh_url(), options)
    store.put_if_absent("probed", b"")
    proxy.reset()
    return store
