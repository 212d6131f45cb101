"""What the clients on obstore do themselves: the usual library in its place, and the server's clock."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.fake_client import FakeClient, failing
from txfiles.errors import StoreError
from txfiles.store import probe
from txfiles.store.client import Failure
from txfiles.store.objects import ObjectStore
from txfiles.store.obstore_azure import ObstoreAzureClient
from txfiles.store.obstore_client import ObstoreClient
from txfiles.store.patience import Patience

WHOLE = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:1"}
NOT_XML = "a\x01b"
"""A name that goes through the usual library."""


@pytest.fixture
def client():
    client = ObstoreClient("bucket", WHOLE, 1.0)
    probe.remember(client)
    return client


@pytest.mark.parametrize("resends", [True, False])
def test_a_denied_put_through_the_usual_library(client, monkeypatch, resends):
    """Where the library in obstore's place may have sent a put before, one that is denied is unknown."""
    theirs = FakeClient()
    theirs.capabilities = replace(theirs.capabilities, resends=resends)
    theirs.script["create"] = [failing(Failure.DENIED, applied=True)]
    monkeypatch.setattr(client, "_connect_other", lambda: theirs)
    with pytest.raises(StoreError, match="injected denied") as raised:
        ObjectStore(client, "t").put_if_absent(NOT_XML, b"1")
    assert raised.value.committed == ("unknown" if resends else "no")
    assert list(theirs.objects) == [f"t/{NOT_XML}"]


def test_threads_that_need_the_usual_library_together(client, monkeypatch):
    """Threads that need it at the same time share one connection to it."""
    theirs, made = FakeClient(), []
    theirs.objects[NOT_XML] = (b"1", 1)

    def connect():
        made.append(theirs)
        time.sleep(0.05)
        return theirs

    monkeypatch.setattr(client, "_connect_other", connect)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: client.get(NOT_XML, 1).data, range(8)))
    assert found == [b"1"] * 8
    assert len(made) == 1


class Answers(http.server.BaseHTTPRequestHandler):
    """Says the same to each request, without a body."""

    def do_HEAD(self):
        self.server.asked += 1
        self.send_response_only(self.server.status)
        for name, value in {"Content-Length": "0", **self.server.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()

    def log_message(self, *_):
        pass


@pytest.fixture
def answering():
    """Starts a server that answers with a status and headers; stops it at the end."""
    with contextlib.ExitStack() as stack:

        def start(status, **headers):
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers))
            server.status, server.headers, server.asked = status, headers, 0
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
            return server

        yield start


def clients(server):
    endpoint = f"http://127.0.0.1:{server.server_port}"
    account = f"AccountName=account;AccountKey=S0VZLUNBTkFSWQ==;BlobEndpoint={endpoint}/account"
    yield ObstoreClient("bucket", WHOLE | {"endpoint_url": endpoint}, 5.0)
    yield ObstoreAzureClient("lake", {"connection_string": account}, 5.0)


def test_a_missing_object_without_a_word(answering):
    """A 404 without a body tells of a missing object if a HEAD was sent, and nothing if a GET was."""
    for client in clients(answering(404)):
        store = ObjectStore(client, "t")
        assert store.stat("a") is None
        with pytest.raises(StoreError, match="could not read"):
            store.get("a", limit=1)


@pytest.mark.parametrize("status", [200, 301, 400, 403, 404, 409, 412])
def test_the_clock_of_a_server_that_refuses(answering, status):
    """The clock is read off any answer: an account that permits no anonymous request answers 409."""
    server = answering(status, Date="Thu, 01 Jan 1970 00:00:01 GMT")
    for client in clients(server):
        assert ObjectStore(client, "t").now_us() == 1_999_999
    assert server.asked == 2


@pytest.mark.parametrize(("status", "dated"), [(408, True), (429, True), (500, True), (503, True), (403, False)])
def test_the_clock_of_a_server_that_cannot_answer(answering, status, dated):
    """A server that is busy or broken, or says no time, is asked again, and the clock is not read."""
    headers = {"Date": "Thu, 01 Jan 1970 00:00:01 GMT"} if dated else {}
    for client in clients(answering(status, **headers)):
        with pytest.raises(StoreError, match=f"{status}"):
            ObjectStore(client, "t", patience=Patience(0.1)).now_us()
