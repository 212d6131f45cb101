"""The failing proxy itself, before a server that only counts."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.services import proxy as failing
from tests.services.proxy import Proxy, nth


@pytest.fixture
def counted() -> Iterator[tuple[Proxy, list[str]]]:
    """A proxy, and what reached the server behind it."""
    reached: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            reached.append(f"{self.command} {self.path} {body.decode()}")
            self.send_response(200)
            self.send_header("content-length", "10")
            self.end_headers()
            self.wfile.write(b"0123456789")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    with failing.running(f"http://127.0.0.1:{server.server_port}") as proxy:
        yield proxy, reached
    server.shutdown()
    thread.join()
    server.server_close()


def put(proxy: Proxy, body: bytes = b"x") -> tuple[int, bytes]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=1)
    try:
        connection.request("PUT", "/name", body)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def test_without_a_fault(counted: tuple[Proxy, list[str]]) -> None:
    """A request goes through as it is, and is recorded."""
    proxy, reached = counted
    assert put(proxy, b"body") == (200, b"0123456789")
    assert reached == ["PUT /name body"]
    assert [(seen.request.number, seen.status, seen.answer_bytes) for seen in proxy.seen] == [(1, 200, 10)]


@pytest.mark.parametrize(
    ("fault", "applied"),
    [("drop_before", 0), ("drop_after", 1), ("hang_before", 0), ("hang_after", 1), ("cut", 1)],
)
def test_no_answer(counted: tuple[Proxy, list[str]], fault: str, applied: int) -> None:
    """The client gets no whole answer; the server has or has not done it, as the fault says."""
    proxy, reached = counted
    proxy.reset(nth(1, fault))
    with pytest.raises((OSError, http.client.HTTPException)):
        put(proxy)
    assert len(reached) == applied
    assert put(proxy) == (200, b"0123456789")  # the second one


@pytest.mark.parametrize(("fault", "applied"), [("500_before", 0), ("503_after", 1), ("409", 0), ("403", 0)])
def test_another_answer(counted: tuple[Proxy, list[str]], fault: str, applied: int) -> None:
    """The client gets another status than the server's."""
    proxy, reached = counted
    proxy.reset(nth(1, fault))
    status, body = put(proxy)
    assert (str(status), len(reached)) == (fault[:3], applied)
    assert b"<Error>" in body


def test_late(counted: tuple[Proxy, list[str]]) -> None:
    """A request that was lost for the client reaches the server after a later one."""
    proxy, reached = counted
    proxy.reset(nth(1, "late"))
    with pytest.raises((OSError, http.client.HTTPException)):
        put(proxy, b"first")
    put(proxy, b"second")
    until = time.monotonic() + 10
    while len(reached) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert reached == ["PUT /name second", "PUT /name first"]


def test_an_action_runs_before_the_request(counted: tuple[Proxy, list[str]]) -> None:
    """What another writer does is done before the request goes on."""
    proxy, reached = counted
    proxy.actions["other"] = lambda: reached.append("other")
    proxy.reset(nth(1, "other"))
    assert put(proxy)[0] == 200
    assert reached == ["other", "PUT /name x"]


def test_round_trips(counted: tuple[Proxy, list[str]]) -> None:
    """Requests side by side are one round trip, requests that wait for one another are several."""
    proxy, _ = counted
    meet = threading.Barrier(4)
    proxy.actions["meet"] = lambda: meet.wait(5)
    proxy.reset(lambda request: "meet" if request.number > 2 else None)
    put(proxy)
    put(proxy)
    threads = [threading.Thread(target=put, args=(proxy,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(proxy.seen), proxy.round_trips()) == (6, 3)
