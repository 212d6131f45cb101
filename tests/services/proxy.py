"""A proxy that fails: it stands before a real server and spoils chosen requests.

A rule looks at each request and names a fault, or none. Every request is recorded, so that a test can count them and
sweep over the n-th of a call. Faults, by what the client sees and what the server does:

    drop_before   connection closed             nothing reaches the server
    drop_after    connection closed             the server has done it
    500_before    500 (or 503 …)                nothing reaches the server
    500_after     500                           the server has done it
    hang_before   no answer until the client gives up or the proxy stops; nothing reaches the server
    hang_after    the same, but the server has done it
    cut           half of the body of the answer, then the connection is closed
    trickle       the answer, byte by byte, until the client gives up
    late          connection closed; the server gets the request `LATE_SECONDS` later
    301           that the bucket is in the region us-east-1
    409, 403      that answer, nothing reaches the server; "400 ExpiredToken" is one with another code, which repeats
                  the token that was sent, as AWS does

Any other word is the name of an action of the test's own: `Proxy.actions[word]()` runs before the request goes on.
"""

from __future__ import annotations

import http.client
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

LATE_SECONDS = 0.5
UPSTREAM_SECONDS = 60.0
TRICKLE_SECONDS = 0.05
"""Between two bytes of an answer that trickles."""
HEAD_LIMIT_BYTES = 1 << 16
XML_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    "<Error><Code>{code}</Code><Message>injected</Message><Token-0>{token}</Token-0></Error>"
)
CODES = {
    301: "PermanentRedirect",
    403: "AccessDenied",
    409: "ConditionalRequestConflict",
    429: "TooManyRequests",
    500: "InternalError",
    503: "SlowDown",
}


@dataclass(frozen=True)
class Request:
    """One request as it arrived.

    Attributes:
        number: from 1, in order of arrival since the last `reset`.
        method: GET, PUT …
        path: with the query, as sent.
        headers: lower-case names.
        body: whole.
        started: seconds of a monotonic clock.
    """

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    started: float


@dataclass
class Seen:
    """What became of a request: the fault that it met, the server's status, bytes of the answer, when it was over."""

    request: Request
    fault: str | None = None
    status: int | None = None
    answer_bytes: int = 0
    ended: float = 0.0


Rule = Callable[[Request], str | None]


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        url: where it listens.
        upstream: the server's URL.
        rule: chooses the fault of a request.
        actions: what else a rule may name.
        seen: the requests since the last `reset`, in order of arrival.
        delay_seconds: how long each answer waits: as if the server were far away, where requests that are under way
            together take no longer than one.
        late: those who deliver what comes late.
    """

    url: str
    upstream: str
    rule: Rule = lambda _: None
    actions: dict[str, Callable[[], Any]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    delay_seconds: float = 0.0
    late: list[threading.Thread] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def reset(self, rule: Rule = lambda _: None) -> None:
        """Forget the requests so far, and follow another rule."""
        with self.guard:
            self.seen.clear()
            self.rule = rule

    def settle(self) -> None:
        """Wait until nothing is left to be delivered."""
        while self.late:
            self.late.pop().join()

    def note(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Seen:
        """Record a request and choose its fault."""
        with self.guard:
            request = Request(len(self.seen) + 1, method, path, headers, body, time.monotonic())
            found = Seen(request, self.rule(request))
            self.seen.append(found)
        return found

    def round_trips(self) -> int:
        """How many requests waited for one another: the longest chain of requests each of which began after the last.

        Cost: O(n log n) for n requests.
        """
        trips, free_at = 0, float("-inf")
        for seen in sorted(self.seen, key=lambda one: one.ended):
            if seen.request.started >= free_at:
                trips, free_at = trips + 1, seen.ended
        return trips


@contextmanager
def running(upstream: str) -> Iterator[Proxy]:
    """A proxy before the server at a URL, for the time of a `with` block."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError, http.client.HTTPException):
                _serve(proxy, self.request)

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 128

    with Listener(("127.0.0.1", 0), Handler) as listener:
        proxy = Proxy(f"http://127.0.0.1:{listener.server_address[1]}", upstream)
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.stopping.set()
            listener.shutdown()
            thread.join()


def _serve(proxy: Proxy, client: socket.socket) -> None:
    """The requests of one connection, until one of the two closes it."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    parts = urlsplit(proxy.upstream)
    assert parts.hostname is not None
    upstream = http.client.HTTPConnection(parts.hostname, parts.port, timeout=UPSTREAM_SECONDS)
    with client.makefile("rb") as reader:
        try:
            while (head := _head(reader)) is not None:
                method, path, headers = head
                if headers.get("expect", "").lower() == "100-continue":
                    client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                seen = proxy.note(method, path, headers, _body(reader, headers))
                try:
                    if not _answer(proxy, client, upstream, seen):
                        return
                finally:
                    seen.ended = seen.ended or time.monotonic()
        finally:
            upstream.close()


def _head(reader: Any) -> tuple[str, str, dict[str, str]] | None:
    line = reader.readline(HEAD_LIMIT_BYTES)
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers = {}
    while line := reader.readline(HEAD_LIMIT_BYTES).decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return method, path, headers


def _body(reader: Any, headers: dict[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", ""):
        body: bytes = reader.read(int(headers.get("content-length", "0")))
        return body
    pieces = []
    while size := int(reader.readline().split(b";")[0], 16):
        pieces.append(reader.read(size))
        reader.readline()
    while reader.readline().strip():
        pass
    return b"".join(pieces)


def _answer(proxy: Proxy, client: socket.socket, upstream: http.client.HTTPConnection, seen: Seen) -> bool:
    """Answer one request; whether the connection goes on."""
    fault = seen.fault or ""
    if fault in proxy.actions:
        proxy.actions[fault]()
        fault = ""
    if fault == "drop_before":
        return False
    if fault == "late":
        late = threading.Thread(target=_deliver_late, args=(proxy, seen.request), daemon=True)
        late.start()
        proxy.late.append(late)
        return False
    if fault == "hang_before":
        _wait(proxy, client)
        return False
    status, _, when = fault.partition("_")
    status, _, code = status.partition(" ")
    if status.isdigit() and when != "after":
        return _refuse(client, seen, int(status), code)
    reply, body = _forward(upstream, seen.request)
    proxy.stopping.wait(max(0.0, seen.request.started + proxy.delay_seconds - time.monotonic()))
    seen.status, seen.answer_bytes = reply.status, len(body)
    if fault == "drop_after":
        return False
    if fault == "hang_after":
        _wait(proxy, client)
        return False
    if status.isdigit():
        return _refuse(client, seen, int(status))
    kept = body[: len(body) // 2] if fault == "cut" else body
    if fault == "trickle":
        _trickle(proxy, client, seen, _reply_head(reply, seen.request, len(body)), body)
        return False
    seen.ended = time.monotonic()  # before the client can know, and begin its next request
    client.sendall(_reply_head(reply, seen.request, len(body)) + kept)
    return len(kept) == len(body) and reply.getheader("connection", "").lower() != "close"


def _forward(upstream: http.client.HTTPConnection, request: Request) -> tuple[http.client.HTTPResponse, bytes]:
    """Send a request on as it came: the host that the client signed, too."""
    for attempt in range(2):  # the server may have closed a connection that was idle
        try:
            upstream.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name not in ("transfer-encoding", "content-length", "connection", "expect"):
                    upstream.putheader(name, value)
            upstream.putheader("content-length", str(len(request.body)))
            upstream.endheaders(request.body or None)
            reply = upstream.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            upstream.close()
            if attempt or upstream.sock is not None:
                raise
        else:
            return reply, reply.read()
    raise AssertionError("unreachable")


def _deliver_late(proxy: Proxy, request: Request) -> None:
    proxy.stopping.wait(LATE_SECONDS)
    parts = urlsplit(proxy.upstream)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=UPSTREAM_SECONDS)
    with suppress(OSError, http.client.HTTPException):
        _forward(connection, request)
    connection.close()


def _reply_head(reply: http.client.HTTPResponse, request: Request, size: int) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {reply.reason}"]
    skipped = {"transfer-encoding", "connection"} | (set() if request.method == "HEAD" else {"content-length"})
    lines += [f"{name}: {value}" for name, value in reply.getheaders() if name.lower() not in skipped]
    if request.method != "HEAD" and reply.status not in (204, 304):
        lines.append(f"content-length: {size}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _refuse(client: socket.socket, seen: Seen, status: int, code: str = "") -> bool:
    token = seen.request.headers.get("x-amz-security-token", "")
    said = XML_ERROR.format(code=code or CODES.get(status, "Error"), token=token)
    body = b"" if seen.request.method == "HEAD" else said.encode()
    head = f"HTTP/1.1 {status} injected\r\ncontent-type: application/xml\r\ncontent-length: {len(body)}\r\n"
    head += "x-amz-bucket-region: us-east-1\r\n" if status == 301 else ""
    head += f"x-ms-error-code: {code}\r\n\r\n" if code else "\r\n"
    seen.ended = time.monotonic()
    client.sendall(head.encode() + body)
    return True


def _trickle(proxy: Proxy, client: socket.socket, seen: Seen, head: bytes, body: bytes) -> None:
    """Send the head, and then a byte now and then; note how many came to be sent."""
    client.sendall(head)
    for seen.answer_bytes in range(len(body)):
        proxy.stopping.wait(TRICKLE_SECONDS)
        try:
            client.sendall(body[seen.answer_bytes : seen.answer_bytes + 1])
        except OSError:
            return
    seen.answer_bytes = len(body)


def _wait(proxy: Proxy, client: socket.socket) -> None:
    """Say nothing until the client gives up, or the proxy ends."""
    client.settimeout(0.05)
    while not proxy.stopping.is_set():
        try:
            if not client.recv(1, socket.MSG_PEEK):
                return
        except TimeoutError:
            continue
        except OSError:
            return
        proxy.stopping.wait(0.05)


def nth(number: int, fault: str, *, method: str | None = None, part: str = "") -> Rule:
    """The rule that spoils the n-th request of those with a method and with `part` in their path."""
    met = 0

    def rule(request: Request) -> str | None:
        nonlocal met
        if method not in (None, request.method) or part not in request.path:
            return None
        met += 1
        return fault if met == number else None

    return rule
