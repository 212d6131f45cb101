"""A bucket in another region than the one that was named: found through each library, by itself or forced."""

from __future__ import annotations

import logging
import re

import pyarrow as pa
import pytest
from click.testing import CliRunner

import txfiles as tx
from tests.services import proxy as proxies
from tests.services.fixtures import fresh_url, s3_options
from txfiles.cli.main import cli
from txfiles.store import open_store, remote
from txfiles.store.port import Put

pytestmark = pytest.mark.slow

ELSEWHERE = "/eu-west-1/s3/aws4_request"
"""What a request says that is signed for the region that was named."""


@pytest.fixture(params=["ministack", "weed"])
def elsewhere(request, s3):
    """A proxy before a bucket in us-east-1, which sends away those that ask for it elsewhere, as AWS does."""
    with proxies.running(s3(request.param).url) as proxy:
        proxy.reset(lambda asked: "301" if ELSEWHERE in asked.headers.get("authorization", "") else None)
        yield proxy


@pytest.fixture
def options(elsewhere, monkeypatch):
    monkeypatch.setitem(remote.SCHEMES, "s3", remote.S3)
    return {**s3_options(elsewhere.url), "client_kwargs": {}, "region": "eu-west-1", "request_timeout": 30}


@pytest.mark.parametrize("chosen", [{}, {"backend": "obstore"}, {"backend": "s3fs"}])
def test_a_table_in_another_region(elsewhere, options, chosen):
    """A table is written, read and vacuumed, with one redirect that obstore met, and says what serves it and why."""
    url, given = fresh_url(), {**options, **chosen}
    for number in range(2):
        tx.write(pa.table({"id": [number]}), url, mode="upsert", keys=["id"], storage_options=given)
    table = tx.Table(url, storage_options=given)
    assert sorted(table.to_arrow()["id"].to_pylist()) == [0, 1]
    table.vacuum(retain="0s", force=True)
    assert table.backend == "s3fs"
    reason = "not through obstore: the bucket is in another region"
    assert table.backend_reason == (None if chosen == {"backend": "s3fs"} else reason)
    assert any(seen.fault == "301" for seen in elsewhere.seen)
    given |= given.pop("client_kwargs")
    words = [f"--storage-option={name}={value}" for name, value in given.items()]
    shown = CliRunner().invoke(cli, ["show", url, *words]).output
    assert re.search(r"through +s3fs( .not through obstore: the bucket is in another region.)?\n", shown)
    assert (reason in shown) is (chosen != {"backend": "s3fs"})


VERBS = {
    "get": lambda store: store.get("a", limit=9) == b"12345",
    "range": lambda store: store.read_ranges("a", [(1, 2)], 5) == [b"23"],
    "stat": lambda store: store.stat("a").bytes == 5,
    "absent": lambda store: store.get("b", limit=9) is None and store.stat("b") is None,
    "list": lambda store: [entry.name for entry in store.list_from("")] == ["a"],
    "put": lambda store: store.put("a", b"54321") or store.get("a", limit=9) == b"54321",
    "create": lambda store: store.put_if_absent("c", b"1") is Put.CREATED and store.get("c", limit=9) == b"1",
    "exists": lambda store: store.put_if_absent("a", b"1") is Put.EXISTS,
    "delete": lambda store: store.delete_many(["a"]) or store.stat("a") is None,
    "clock": lambda store: store.now_us() > 0,
}


@pytest.mark.parametrize("verb", VERBS)
def test_each_request_finds_the_bucket(elsewhere, options, verb, caplog):
    """Whichever request is the first, it is sent on, and told as if the right region had been named."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    url = fresh_url()
    there = open_store(url, {**options, "region": "us-east-1"})
    there.put_if_absent("a", b"12345")
    store = open_store(url, options)
    assert store.backend == "obstore"
    assert VERBS[verb](store)
    assert store.backend == ("obstore" if verb == "clock" else "s3fs")
    assert verb == "clock" or "the bucket is in another region" in caplog.text
