"""What `tools/bench stores` measures with: servers, and calls that are counted."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench_child import ROOT, Child, say, wait_for_go

sys.path.insert(0, str(ROOT))

from tests.services import servers  # also without the project on the path
from tests.services.proxy import Proxy

S3_KINDS = ("ministack", "weed")
KINDS = (*S3_KINDS, "azurite")
"""The kinds of servers that are measured."""

Row = dict[str, str | int | float]
"""One line of the result."""


def timed(name: str, call: Callable[[], object]) -> Any:
    """Let the parent count the requests of a call, and tell it how long the call took."""
    say(name)
    wait_for_go()
    began = time.perf_counter()
    result = call()
    say(time.perf_counter() - began)
    return result


def counted(child: Child, proxy: Proxy) -> Iterator[tuple[str, Row]]:
    """Of each timed call of a child: its name, and what it took."""
    while (name := child.hear()) is not None:
        proxy.reset()
        child.go()
        seconds = child.hear()
        yield name, figures(proxy) | {"seconds": seconds}


def figures(proxy: Proxy) -> Row:
    """What a proxy has seen."""
    return {
        "requests": len(proxy.seen),
        "round_trips": proxy.round_trips(),
        "sent_bytes": sum(len(seen.request.body) for seen in proxy.seen),
        "received_bytes": sum(seen.answer_bytes for seen in proxy.seen),
    }


@contextmanager
def server_of(kind: str) -> Iterator[str]:
    """The URL of a server with the bucket."""
    with servers.running(kind) as server:
        servers.make_bucket(server)
        yield server.url


def url_of(kind: str, table: str) -> str:
    """Where a table is."""
    return f"{servers.SCHEMES[kind]}://{servers.BUCKET}/{table}"


def options_of(kind: str, endpoint: str) -> dict[str, Any]:
    """The storage options for it."""
    return servers.options_of(kind, endpoint)
