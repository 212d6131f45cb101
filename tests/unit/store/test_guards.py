"""Locks around the network: one bucket never waits for another, and a forked process never waits for its parent."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fake_client import FakeClient
from txfiles.guard import Guard
from txfiles.store.objects import ObjectStore
from txfiles.store.port import Put


class Slow(FakeClient):
    """A bucket whose first answer comes when the test lets it."""

    def __init__(self):
        super().__init__()
        self.asked, self.answers = threading.Event(), threading.Event()

    def get(self, key, limit):
        self.asked.set()
        assert self.answers.wait(10)
        return super().get(key, limit)


@pytest.fixture
def slow():
    """A bucket that a writer is asking for the first time."""
    client = Slow()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(ObjectStore(client, "t").put_if_absent, "a", b"1")
        assert client.asked.wait(10)
        yield client
        client.answers.set()
        assert done.result(10) is Put.CREATED


def test_a_bucket_that_is_slow_holds_up_no_other(slow):
    """While one bucket is asked whether it honours conditions, others are asked too, and written to."""
    assert ObjectStore(FakeClient(), "t").put_if_absent("a", b"1") is Put.CREATED
    assert not slow.answers.is_set()


def test_writers_of_a_bucket_wait_for_its_first_answer(slow):
    """A bucket is asked once, though two writers need to know."""
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(ObjectStore(slow, "t").put_if_absent, "b", b"1")
        slow.answers.set()
        assert second.result(10) is Put.CREATED
    assert slow.calls["get"] == 1


def in_a_fork(check):
    """Whether a check holds in a process that is forked now; one that hangs is ended."""
    child = os.fork()
    if not child:
        signal.alarm(10)
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_forked_while_a_bucket_is_asked(slow):
    """A process that is forked while a thread asks a bucket asks it itself, and does not wait for that thread."""

    def writes():
        slow.answers.set()
        return ObjectStore(slow, "t").put_if_absent("b", b"1") is Put.CREATED

    assert in_a_fork(writes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_guard_is_free_in_a_fork():
    """A guard that is held elsewhere is free in a forked process, and still excludes there; here it stays held."""
    guard = Guard()
    with guard:
        lock = guard._lock
        assert in_a_fork(lambda: guard._lock.acquire(timeout=1) and not guard._lock.acquire(blocking=False))
        assert guard._lock is lock
        assert lock.locked()
