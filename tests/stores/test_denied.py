"""What is denied in writing and deleting: told at once, through each library, whatever part of it was denied."""

from __future__ import annotations

import http.server
import threading

import pytest

from tests.services.fixtures import s3_options
from txfiles.errors import StoreError
from txfiles.store import open_store
from txfiles.store.object_sink import PART_BYTES

pytestmark = pytest.mark.slow

MOST_REQUESTS = 12
"""Those of an upload in three parts, each of them sent and one aborted; a request that is tried until the deadline
takes more."""


def upload(store):
    sink = store.create("large")
    sink.write(b"x" * (2 * PART_BYTES + 1))
    sink.close()


DENIED = {
    "the upload": lambda request: request.method == "POST" or "blockid" in request.path,
    "a part": lambda request: request.method == "PUT" and ("partNumber" in request.path or "blockid" in request.path),
    "the end": lambda request: ("uploadId" in request.path and request.method == "POST") or "blocklist" in request.path,
    "all": lambda request: True,
}


@pytest.mark.parametrize("first", ["403", "500"])
@pytest.mark.parametrize("what", DENIED)
def test_an_upload_that_is_denied(store, proxy, what, first):
    """An upload of which something is denied, at once or after it failed in passing, ends as denied."""
    faults = iter([first])
    proxy.reset(lambda request: next(faults, "403") if DENIED[what](request) else None)
    with pytest.raises(StoreError, match="403") as raised:
        upload(store)
    assert raised.value.committed == "no"
    assert "credentials" in raised.value.hint
    assert len(proxy.seen) <= MOST_REQUESTS
    proxy.reset()
    assert store.stat("large") is None


@pytest.mark.parametrize("first", ["403", "500"])
def test_a_large_put_that_is_denied(store, proxy, first):
    """The same of a file that goes in one put, and is large enough to take its time."""
    faults = iter([first])
    proxy.reset(lambda request: next(faults, "403"))
    with pytest.raises(StoreError, match="403") as raised:
        store.put("a", b"x" * (3 << 20))
    assert raised.value.failure == "denied"
    assert len(proxy.seen) <= 3


@pytest.mark.parametrize("what", ["all", "one"])
def test_a_delete_that_is_denied(store, proxy, what):
    """Deletes that are denied are told as that at once."""
    store.put("a", b"1")
    proxy.reset(lambda request: "403")
    with pytest.raises(StoreError, match="403") as raised:
        store.delete_many(["a", "b"] if what == "all" else ["a"])
    assert raised.value.failure == "denied"
    assert len(proxy.seen) <= 2
    proxy.reset()
    assert store.get("a", limit=1) == b"1"


# ---------------------------------------------------------------- keys that a server keeps


class Keeps(http.server.BaseHTTPRequestHandler):
    """A bucket that answers DeleteObjects with the keys that it kept, and why."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["content-length"])).decode()
        kept = self.server.answers.pop(0) if self.server.answers else {}
        said = "".join(
            f"<Error><Key>{key}</Key><Code>{code}</Code><Message>kept</Message></Error>" for key, code in kept.items()
        )
        said += "".join(f"<Deleted><Key>t/{name}</Key></Deleted>" for name in "ab" if f">t/{name}<" in asked)
        body = f'<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{said}</DeleteResult>'.encode()
        self.server.asked += 1
        self.send_response(200)
        self.send_header("content-type", "application/xml")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def keeps():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keeps) as server:
        server.answers, server.asked = [], 0
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("backend", ["s3fs", "obstore"])
@pytest.mark.parametrize(
    ("answers", "failure", "asked"),
    [
        ([{"t/b": "AccessDenied"}], "denied", 1),
        ([{"t/b": "InternalError"}, {"t/b": "AccessDenied"}], "denied", 2),
        ([{"t/b": "SlowDown"}, {}], None, 2),
        ([{"t/b": "NoSuchKey"}], None, None),
    ],
)
def test_a_key_that_is_kept(keeps, backend, answers, failure, asked):
    """A key that a server may not delete ends the call as denied at once; one that it may yet delete is asked for
    again; one that it does not have is none of the two."""
    keeps.answers[:] = answers
    options = {**s3_options(f"http://127.0.0.1:{keeps.server_port}"), "backend": backend, "request_timeout": 20}
    store = open_store("s3://lake/t", options)
    if failure is None:
        store.delete_many(["a", "b"])
    else:
        with pytest.raises(StoreError, match="AccessDenied: kept") as raised:
            store.delete_many(["a", "b"])
        assert (raised.value.failure, raised.value.path) == (failure, "s3://lake/t/b")
    assert asked in (None, keeps.asked)
