"""Processes to send jobs to; see `child`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.processes.calls import Call

CHILD = Path(__file__).with_name("child.py")
START_SECONDS = 0.05
"""Long enough for a line of JSON to reach every process, so that they begin at one moment."""


class Worker:
    """One process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @property
    def process_id(self) -> int:
        return self._process.pid

    def send(self, job: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process died"
        return json.loads(line)

    def ask(self, job: dict[str, Any]) -> Any:
        self.send(job)
        return self.answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    """Some processes, ended at the end."""
    started: list[Worker] = []
    try:
        started.extend(Worker() for _ in range(count))
        yield started
    finally:
        for worker in started:
            worker.close()


def race(among: Sequence[Worker], calls: Sequence[Sequence[Call]], **options: Any) -> list[list[dict[str, Any]]]:
    """Each process performs its calls, all beginning at one moment; the answers in the same shape."""
    start = time.monotonic() + START_SECONDS
    racing = list(zip(among, calls, strict=False))
    assert len(racing) == len(calls)
    for worker, own in racing:
        worker.send({"calls": list(own), "start": start, **options})
    return [worker.answer() for worker, _ in racing]
