"""S3 that fails, through obstore: the same tests as through s3fs, and the traps of its own."""

from __future__ import annotations

import os
import signal

import pyarrow as pa
import pytest

import txfiles as tx
from tests.services import proxy as proxies
from tests.services.fixtures import fresh_prefix, fresh_url, s3_options
from tests.services.servers import BUCKET
from tests.stores import test_s3_faults, test_s3_tables
from tests.stores.test_s3_faults import AFTER, REQUEST_SECONDS, proxy  # noqa: F401  # a fixture
from tests.stores.test_s3_tables import options, server  # noqa: F401  # likewise
from txfiles.errors import StoreError
from txfiles.store import obstore_client, probe, remote
from txfiles.store.object_sink import PART_BYTES
from txfiles.store.objects import ObjectStore
from txfiles.store.obstore_client import ObstoreClient
from txfiles.store.patience import Patience
from txfiles.store.port import Put

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def s3_backends(monkeypatch):
    monkeypatch.setitem(remote.SCHEMES, "s3", (remote.OBSTORE,))


@pytest.fixture(scope="module")
def client(proxy):  # noqa: F811
    return ObstoreClient(BUCKET, s3_options(proxy.url), REQUEST_SECONDS / 3)


@pytest.fixture
def store(proxy, client):  # noqa: F811
    proxy.reset()  # the test before may have left a rule
    store = ObjectStore(client, fresh_prefix(), patience=Patience(REQUEST_SECONDS))
    store.put_if_absent("probed", b"")
    proxy.reset()
    return store


for _module, _names in (
    (
        test_s3_faults,
        (
            "test_one_request",
            "test_the_condition_is_sent",
            "test_a_put_does_not_wait_for_leave",
            "test_a_listing_begins_at_a_name",
            "test_nothing_is_cached",
            "test_a_put_that_was_not_applied",
            "test_a_put_that_is_never_answered",
            "test_a_denied_put",
            "test_reads_are_tried_again",
            "test_what_cannot_be_read_is_not_absent",
            "test_a_bucket_that_is_missing",
            "test_a_server_that_is_not_there",
            "test_deletes_are_tried_again",
            "test_any_request_of_a_write_fails",
            "test_another_commit_between_a_put_and_its_lost_answer",
            "test_no_secret_is_told",
            "test_no_secret_is_written",
            "test_wrong_credentials",
        ),
    ),
    (
        test_s3_tables,
        (
            "test_writers_side_by_side",
            "test_a_server_that_ignores_conditions",
            "test_a_large_data_file",
            "test_one_column_of_many",
        ),
    ),
):
    globals().update({name: getattr(_module, name) for name in _names})


def test_a_table(options):  # noqa: F811
    """A table is the same through both libraries, by turns, and says through which it was opened."""
    url = fresh_url()
    for number in range(4):
        backend = ("obstore", "s3fs")[number % 2]
        if backend == "s3fs":
            remote.SCHEMES["s3"] = (remote.S3FS,)
        else:
            remote.SCHEMES["s3"] = (remote.OBSTORE,)
        batch = pa.table({"id": [number, 99], "v": [f"{number}"] * 2})
        tx.write(batch, url, mode="upsert", keys=["id"], storage_options=options)
        table = tx.Table(url, storage_options=options)
        assert table.backend == backend
        assert sorted(table.to_arrow()["id"].to_pylist()) == [*range(number + 1), 99]
    assert table.vacuum(retain="0s").deleted
    assert table.refresh().row_count == 5


@pytest.mark.parametrize("fault", AFTER)
def test_a_put_that_was_applied(proxy, store, fault):  # noqa: F811
    """A put that the server applied, and whose answer was lost, is unknown: nothing below sends it again."""
    proxy.reset(proxies.nth(1, fault, method="PUT"))
    assert store.put_if_absent("a", b"mine") is Put.UNKNOWN
    assert not store.capabilities.resends
    assert len(proxy.seen) == 2
    assert store.get("a", limit=9) == b"mine"


def test_a_conflict_that_decides_nothing(proxy, store):  # noqa: F811
    """S3's 409 is no *exists*, though obstore calls it so: the put is sent again, and nothing is there before."""
    proxy.reset(lambda request: "409" if request.method == "PUT" else None)
    assert store.put_if_absent("a", b"mine") is Put.UNKNOWN
    assert store.get("a", limit=9) is None
    proxy.reset(proxies.nth(1, "409", method="PUT"))
    assert store.put_if_absent("a", b"mine") is Put.CREATED


@pytest.mark.parametrize("fault", ["drop_after", "500_after", "drop_before", "cut"])
@pytest.mark.parametrize("number", range(1, 6))
def test_large_files(proxy, store, number, fault):  # noqa: F811
    """An upload in parts survives the loss of any one of its requests or answers, or fails and leaves nothing."""
    body = bytes(range(256)) * (PART_BYTES // 128) + b"tail"
    proxy.reset(proxies.nth(number, fault))
    sink = store.create("large")
    try:
        sink.write(body)
        sink.close()
    except StoreError as error:
        assert error.committed == "no"
        proxy.reset()
        assert store.stat("large") is None
    else:
        assert store.open_input("large", len(body)).read() == body
    proxy.reset()
    if number > 1 or fault.endswith("before"):  # else the server began one whose id nobody knows
        assert store.client.uploads(store._prefix) == []


def test_an_aborted_upload(store):
    """An upload that is given up leaves no parts on the server."""
    sink = store.create("large")
    sink.write(b"x" * (3 * PART_BYTES))
    sink.abort()
    assert store.stat("large") is None
    assert store.client.uploads(store._prefix) == []


def test_unfinished_uploads(store, monkeypatch):
    """Uploads that a killed writer left are found through s3fs; without it there are none to be seen."""
    upload = store.client.upload(f"{store._prefix}large")
    upload.part(1, b"x" * PART_BYTES)
    upload.part(2, b"x" * PART_BYTES)
    upload.part(3, b"x" * PART_BYTES)  # by now the first is under way
    assert [one.key for one in store.client.uploads(store._prefix)] == [f"{store._prefix}large"]
    monkeypatch.setattr(obstore_client, "_s3fs_is_there", lambda: False)
    assert store.client.uploads(store._prefix) == ()
    upload.abort()


def test_an_empty_listing(proxy, store):  # noqa: F811
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
    store.client.by_s3fs(lambda theirs: theirs.put(foreign, b""))
    if foreign not in [one.name for page in store.client.pages(store._prefix, "") for one in page]:
        return  # SeaweedFS takes two slashes for one
    store.put("l/c", b"")
    assert [entry.name for entry in store.list_from("l/")] == ["l/a", "l/c"]
    monkeypatch.setattr(obstore_client, "_s3fs_is_there", lambda: False)
    with pytest.raises(StoreError, match=r"txfiles\[s3\]"):
        list(store.list_from("l/"))


def test_a_forked_process(proxy):  # noqa: F811
    """A process that is forked after obstore's first request goes on through s3fs, also with what it inherited."""
    url, given = fresh_url(), {**s3_options(proxy.url), "backend": "obstore"}
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


@pytest.fixture(autouse=True)
def not_probed(request):
    """Each library is found to honour conditions, or not, by itself."""
    if "proxy" in request.fixturenames:
        request.getfixturevalue("proxy").reset()
    probe._known.clear()
