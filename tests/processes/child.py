"""A process that makes calls for a test: jobs come in as lines of JSON, answers go out.

It is started once and stays warm. A job with `fork` is done in a fork of it, which may be killed.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.processes.calls import perform
from tests.processes.failpoints import Failpoint, killed_at_request
from txfiles.log import commit
from txfiles.reading import key_index
from txfiles.store.local import LocalStore

FORK_SECONDS = 60.0

Job = dict[str, Any]


def run(job: Job) -> list[dict[str, Any]]:
    """Perform `calls`, from a moment on, in one thread or in several."""
    for name in job.get("imports", ()):
        importlib.import_module(name)
    with ExitStack() as frame:
        if not job.get("lock", True):
            frame.enter_context(_replaced(LocalStore, "lock", _no_lock))
        if "lock_seconds" in job:
            frame.enter_context(_replaced(commit, "LOCK_SECONDS", job["lock_seconds"]))
        if not job.get("links", True):
            frame.enter_context(_replaced(os, "link", _no_link))
        if "failpoint" in job:
            frame.enter_context(Failpoint(**job["failpoint"]))
        if "request" in job:
            frame.enter_context(killed_at_request(**job["request"]))
        time.sleep(max(0.0, job.get("start", 0.0) - time.monotonic()))
        if job.get("threads", 1) == 1:
            return [_noted(job, call) for call in job["calls"]]
        with ThreadPoolExecutor(job["threads"]) as pool:
            return list(pool.map(perform, job["calls"]))


def _noted(job: Job, call: dict[str, Any]) -> dict[str, Any]:
    """Perform a call, and note its answer before anything else is done: what a killed process has acknowledged."""
    answer = perform(call)
    if "notes" in job:
        with open(job["notes"], "a", encoding="utf-8") as notes:
            notes.write(json.dumps({"call": call, "answer": answer}) + "\n")
    return answer


def forked(job: Job) -> dict[str, Any]:
    """Run a job in a fork; `status` is as of waitpid, `answers` are None where it died.

    It is killed after `kill_after` seconds, if it lives so long.
    """
    inward, outward = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.umask(job.get("umask", 0o022))
            if "user" in job:
                os.setgroups([])
                os.setgid(job["user"])
                os.setuid(job["user"])
            os.write(outward, json.dumps(run(job)).encode())
        os._exit(0)
    os.close(outward)
    data = b""
    deadline = time.monotonic() + job.get("kill_after", FORK_SECONDS)
    with os.fdopen(inward, "rb") as answers:
        while select.select([answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = os.read(answers.fileno(), 1 << 16)
            if not piece:
                break
            data += piece
        else:
            os.kill(child, signal.SIGKILL)
            data = b""
    _, status = os.waitpid(child, 0)
    return {"status": status, "answers": json.loads(data) if data else None}


def stopped_with_the_lock(job: Job) -> dict[str, Any]:
    """A fork that takes a table's lock and stops. Whoever asked for it lets it go on, or kills it."""
    child = os.fork()
    if child == 0:
        with LocalStore(job["path"]).lock(10.0):
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    return {"process": child}


@contextmanager
def _no_lock(self: LocalStore, timeout_seconds: float) -> Iterator[bool]:
    yield False


def _no_link(*args: Any, **options: Any) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    real = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, real)


def main() -> None:
    key_index.SEARCHED_ROWS = 0  # tables are small here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the test's own process ends this one, by closing its input
    for line in sys.stdin:
        job = json.loads(line)
        if "stop" in job:
            answer: Any = stopped_with_the_lock(job["stop"])
        else:
            answer = forked(job) if job.get("fork") else run(job)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
