"""The real environment: this machine's clock, randomness, sleep and threads. Nothing else may ask for them."""

from __future__ import annotations

import os
import random
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import islice
from typing import Any

from txfiles.core.environment import Environment

WORKERS = min(8, os.cpu_count() or 1)
"""Files processed at a time: each holds about one row group in memory, and more than the cores gain nothing."""


@cache
def real() -> Environment:
    """The environment of every call outside of tests."""
    return Environment(
        now_us=lambda: time.time_ns() // 1_000,
        monotonic=time.monotonic,
        sleep=time.sleep,
        random=random.random,
        new_id=lambda: uuid.uuid4().hex,
        map=parallel_map,
        start=start,
        writer=f"{socket.gethostname()}:{os.getpid()}",
    )


def parallel_map(function: Callable[[Any], Any], items: Iterable[Any], /, width: int | None = None) -> Iterator[Any]:
    """`map` over threads, results in order, at most `width` items (`WORKERS`) at a time. The first error ends it."""
    width = width or WORKERS
    queue = iter(items)
    first = list(islice(queue, 2))
    if len(first) <= 1:  # one item needs no thread
        yield from map(function, first)
        return
    with ThreadPoolExecutor(width) as pool:
        pending: deque[Future[Any]] = deque(pool.submit(function, item) for item in (*first, *islice(queue, width)))
        try:
            while pending:
                yield pending.popleft().result()
                pending.extend(pool.submit(function, item) for item in islice(queue, 1))
        finally:
            for future in pending:
                future.cancel()


def start(function: Callable[[], Any], /) -> Callable[[], Any]:
    """Run a function in a thread of its own; the result waits for it."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function)
    pool.shutdown(wait=False)
    return future.result
