"""A server of credentials, as clouds have them for containers and for machines (IMDSv2).

container   AWS_CONTAINER_CREDENTIALS_FULL_URI=<url>/container
machine     AWS_EC2_METADATA_SERVICE_ENDPOINT=<url>
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIFE = timedelta(minutes=5)
"""Clients renew credentials that end so soon before each request."""

Issue = Callable[[int], tuple[str, str, str]]
"""(how many were issued before) → key, secret and token."""


@dataclass
class Metadata:
    """A running server.

    Attributes:
        url: where it listens.
        issue: makes the next credentials.
        issued: how many it has handed out.
        asked: the paths of all requests.
    """

    url: str
    issue: Issue
    issued: int = 0
    asked: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> str:
        """The body of an answer."""
        with self.guard:
            self.asked.append(path)
            if path.endswith("/api/token"):
                return "a-session"
            if path.endswith("/security-credentials/"):
                return "the-role"
            key, secret, token = self.issue(self.issued)
            self.issued += 1
        found = {
            "Code": "Success",
            "AccessKeyId": key,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": (datetime.now(UTC) + LIFE).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return json.dumps(found)


@contextmanager
def running(issue: Issue) -> Iterator[Metadata]:
    """A server for the time of a `with` block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = metadata.answer(self.path).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET  # noqa: N815  # as http.server has it

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    metadata = Metadata(f"http://127.0.0.1:{server.server_port}", issue)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield metadata
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
