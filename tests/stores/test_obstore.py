"""What obstore does in its own way, and what s3fs does for it."""

from __future__ import annotations

import os
import signal

import pyarrow as pa
import pytest

import txfiles as tx
from tests.services import proxy as proxies
from txfiles.errors import StoreError
from txfiles.store import obstore_client
from txfiles.store.object_sink import PART_BYTES
from txfiles.store.port import Put

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("way", [("ministack", "obstore")], indirect=True)]


def test_by_turns(way):
    """A table is the same through both libraries, by turns, and says through which it was opened."""
    url = way.fresh_url()
    for number in range(4):
        options = {**way.options(), "backend": ("obstore", "s3fs")[number % 2]}
        batch = pa.table({"id": [number, 99], "v": [f"{number}"] * 2})
        tx.write(batch, url, mode="upsert", keys=["id"], storage_options=options)
        table = tx.Table(url, storage_options=options)
        assert table.backend == options["backend"]
        assert sorted(table.to_arrow()["id"].to_pylist()) == [*range(number + 1), 99]
    assert table.vacuum(retain="0s").deleted
    assert table.refresh().row_count == 5


def test_a_conflict_that_decides_nothing(proxy, store):
    """S3's 409 is no *exists*, though obstore calls it so: the put is sent again, and nothing is there before."""
    proxy.reset(lambda request: "409" if request.method == "PUT" else None)
    assert store.put_if_absent("a", b"mine") is Put.UNKNOWN
    assert store.get("a", limit=9) is None
    proxy.reset(proxies.nth(1, "409", method="PUT"))
    assert store.put_if_absent("a", b"mine") is Put.CREATED


def test_unfinished_uploads(store, monkeypatch):
    """Uploads that a killed writer left are found through s3fs; without it there are none to be seen."""
    upload = store.client.upload(f"{store._prefix}large")
    upload.part(1, b"x" * PART_BYTES)
    upload.part(2, b"x" * PART_BYTES)
    upload.part(3, b"x" * PART_BYTES)  # by now the first is under way
    assert [one.key for one in store.client.uploads(store._prefix)] == [f"{store._prefix}large"]
    monkeypatch.setattr(obstore_client, "_is_there", lambda _: False)
    assert store.client.uploads(store._prefix) == ()
    upload.abort()


def test_an_empty_listing(proxy, store):
    """An empty listing is believed of a server that tells absent objects; what follows a name takes one request."""
    store.put("l/a1", b"")
    proxy.reset()
    assert list(store.list_from("no/")) == []
    assert [seen.request.method for seen in proxy.seen] == ["GET", "HEAD"]
    proxy.reset()
    assert list(store.list_from("l/", "l/a1")) == []
    assert len(proxy.seen) == 1


def test_foreign_keys(store, monkeypatch):
    """An object that obstore cannot name does not hide the others: s3fs lists them, or it is an error."""
    store.put("l/a", b"")
    foreign = f"{store._prefix}l//b"
    store.client.by_other(lambda theirs: theirs.put(foreign, b""))
    store.put("l/c", b"")
    assert [entry.name for entry in store.list_from("l/")] == ["l/a", "l/c"]
    monkeypatch.setattr(obstore_client, "_is_there", lambda _: False)
    with pytest.raises(StoreError, match=r"txfiles\[s3\]"):
        list(store.list_from("l/"))


def test_a_forked_process(way):
    """A process that is forked after obstore's first request goes on through s3fs, also with what it inherited."""
    url, given = way.fresh_url(), way.options()
    tx.write(pa.table({"id": [1]}), url, mode="append", storage_options=given)
    table = tx.Table(url, storage_options=given)
    child = os.fork()
    if not child:
        signal.alarm(60)  # it would hang for ever
        rows = table.to_arrow().num_rows
        tx.write(pa.table({"id": [2]}), url, mode="append", storage_options=given)
        os._exit(rows)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert table.refresh().row_count == 2
