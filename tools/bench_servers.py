"""What `tools/bench stores` measures with: servers, processes that wait for one another, and counted calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.services import servers  # noqa: E402  # also without the project on the path
from tests.services.proxy import Proxy  # noqa: E402

SCHEMES = {"ministack": "s3", "weed": "s3"}
"""Of each kind of server that is measured."""
OPTIONS = {"s3": servers.s3_options}

Row = dict[str, str | int | float]
"""One line of the result."""


class Child:
    """A process that runs one of `CHILDREN` in `tools/bench_stores.py`, and talks in lines of JSON."""

    def __init__(self, *words: object, python: str = sys.executable) -> None:
        command = [python, str(ROOT / "tools/bench_stores.py"), "--child", *map(str, words)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def hear(self) -> Any:
        """What it says next; None at its end.

        Raises:
            SystemExit: it failed.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        if self._process.wait():
            sys.exit(f"bench: a process failed: {' '.join(map(str, self._process.args))}")  # type: ignore[arg-type]
        return None

    def go(self) -> None:
        """Let it go on."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()


def say(what: object) -> None:
    """A child's word to its parent."""
    print(json.dumps(what), flush=True)


def wait_for_go() -> None:
    """A child waits until all are ready."""
    sys.stdin.readline()


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
        servers.make_bucket(server.url)
        yield server.url


def url_of(kind: str, table: str) -> str:
    """Where a table is."""
    return f"{SCHEMES[kind]}://{servers.BUCKET}/{table}"


def options_of(kind: str, endpoint: str) -> dict[str, Any]:
    """The storage options for it."""
    return OPTIONS[SCHEMES[kind]](endpoint)
