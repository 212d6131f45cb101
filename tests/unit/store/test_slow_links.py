"""Links that are slow and servers that think: what comes within the time of its bytes is waited for, by each client."""

from __future__ import annotations

import http.server
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from txfiles.store import deadline
from txfiles.store.adls import AzureClient
from txfiles.store.client import Failure
from txfiles.store.obstore_azure import ObstoreAzureClient
from txfiles.store.obstore_client import ObstoreClient
from txfiles.store.s3 import S3Client, S3Upload

TRY_SECONDS = 0.5
SLOW_SECONDS = 2.0
"""How long the server takes for an answer: more than a try without a body may."""
PIECES = 8
ANSWER_BYTES = 16 * 1024
assert deadline.seconds(TRY_SECONDS, ANSWER_BYTES) < SLOW_SECONDS < deadline.seconds(TRY_SECONDS, 4 * ANSWER_BYTES)

DATED = "Thu, 01 Jan 1970 00:00:01 GMT"
BEGUN = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
ENDED = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
LISTED = (
    b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>t/a</Key><UploadId>u</UploadId>"
    b"<Initiated>2020-01-01T00:00:00.000Z</Initiated></Upload></ListMultipartUploadsResult>"
)
LOST = b"<Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>"


class Answers(http.server.BaseHTTPRequestHandler):
    """Takes all requests; answers slowly those that a test is about: after a silence, or in pieces."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.bodies.append(len(body))
        if "lost" in self.path:
            return self.answer(404, LOST)
        if "slow" in self.path or "comp=blocklist" in self.path:
            time.sleep(SLOW_SECONDS)
        return self.answer(201, in_pieces="partNumber=" in self.path or "comp=block&" in self.path + "&")

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "uploadId=" not in self.path:
            return self.answer(200, BEGUN)
        time.sleep(SLOW_SECONDS)
        return self.answer(200, ENDED)

    def do_DELETE(self):
        self.answer(404, LOST)

    def do_GET(self):
        if "uploads" in self.path:
            return self.answer(200, LISTED)
        if "small" in self.path:
            return self.answer(200, b"1")
        content = {"Content-Range": f"bytes 0-{ANSWER_BYTES - 1}/{ANSWER_BYTES}"}
        return self.answer(206, b"." * ANSWER_BYTES, in_pieces=True, **content)

    def answer(self, status, body=b"", *, in_pieces=False, **headers):
        lines = {"Content-Length": len(body), "ETag": '"e"', "Last-Modified": DATED, "Date": DATED, **headers}
        lines["x-ms-request-server-encrypted"] = "true"
        told = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        whole = f"HTTP/1.1 {status} Said\r\n{told}\r\n".encode() + body
        step = -(-len(whole) // PIECES) if in_pieces else len(whole)
        for at in range(0, len(whole), step):
            if in_pieces and at:  # the first at once: a busy machine needs the time of a try for itself
                time.sleep(SLOW_SECONDS / (PIECES - 1))
            self.wfile.write(whole[at : at + step])
            self.wfile.flush()

    def handle(self):
        try:
            super().handle()
        except OSError:  # the client gave up
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def made():
    """Makes a client of a class, of a server of this process."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    server.bodies = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    account = f"AccountName=account;AccountKey=S0VZLUNBTkFSWQ==;BlobEndpoint={endpoint}/account"

    def make(kind, **more):
        azure = kind in (AzureClient, ObstoreAzureClient)
        place = {"connection_string": account} if azure else {"key": "k", "secret": "s", "endpoint_url": endpoint}
        return kind("bucket", {**place, **more}, TRY_SECONDS)

    make.bodies = server.bodies
    yield make
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("size", [100_000, 1_000_000, 2_000_000])
@pytest.mark.parametrize("kind", [ObstoreClient, ObstoreAzureClient])
def test_a_body_that_is_sent(made, kind, size):
    """obstore counts the sending of a body as silence of the server: a body has the time of its bytes."""
    made(kind).put("slow", b"." * size)
    assert made.bodies == [size]  # sent once, and answered


def test_a_small_body_waits_no_longer(made):
    """A small body is sent over the connections of the reads, and has about their time."""
    client = made(ObstoreClient)
    with pytest.raises(Exception) as raised:  # noqa: PT011  # of obstore
        client.put("slow", b".")
    assert client.failed(raised.value).failure is Failure.UNCLEAR
    assert not client._larger


@pytest.mark.parametrize("kind", [S3Client, AzureClient, ObstoreClient, ObstoreAzureClient])
def test_a_range_among_others(made, kind):
    """Ranges that go together share the link: each has the time of all their bytes."""
    assert made(kind).get_range("a", 0, ANSWER_BYTES) == b"." * ANSWER_BYTES


@pytest.mark.parametrize("kind", [S3Client, AzureClient])
def test_a_part_among_others(made, kind):
    """So do the parts of a file."""
    made(kind).upload("a").part(1, b"." * ANSWER_BYTES)
    assert len(made.bodies) == 1  # sent once


def test_a_server_that_puts_parts_together(made):
    """A server may be silent for the time of a large object's bytes when it is completed."""
    upload = S3Upload(made(S3Client)._call, "a", "u")
    upload._tags, upload._sizes = {1: "e"}, {1: 8 << 20}
    upload.complete()
    made(AzureClient).commit("a", ["00000001"])


def test_a_request_that_waits_for_a_connection(made):
    """The time of a request begins when it has a connection."""
    client = made(S3Client, config_kwargs={"max_pool_connections": 1})
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(client.get_range, "a", 0, ANSWER_BYTES)
        time.sleep(SLOW_SECONDS / 4)
        assert client.get("small", 1).data == b"1"
        assert len(large.result()) == ANSWER_BYTES


def test_an_upload_that_the_usual_library_makes(made):
    """How an upload of another library fails, that library knows."""
    client = made(ObstoreClient)
    upload = client.upload("lost\x7f")
    (begun,) = client.uploads("t")
    for request in (lambda: upload.part(1, b"."), upload.abort, begun.upload.abort):
        with pytest.raises(Exception) as raised:  # noqa: PT011  # of any library
            request()
        assert client.failed(raised.value).failure is Failure.ABSENT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_client_that_was_made_before_a_fork(made):
    """A forked process asks for a bucket's identity through connections of its own."""
    client = made(S3Client)
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            os._exit(0 if client.identity else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
