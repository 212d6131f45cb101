"""How long one try of a request may take, with the bodies that it sends and receives.

A server that sends a byte now and then keeps the time-out of every single read. So a whole try is bounded: by the time
of a try, and what its body takes at a rate that is slow for any network.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LEAST_BYTES_PER_SECOND = 32 * 1024
"""A body that comes or goes more slowly is given up; so are bodies that go together, by the sum of them."""


class TooSlowError(Exception):
    """A request that was given up."""


def seconds(try_seconds: float, size: int = 0) -> float:
    """How long a try with bodies of `size` bytes may take."""
    return try_seconds + size / LEAST_BYTES_PER_SECOND


def too_slow(limit: float, size: int = 0) -> TooSlowError:
    """The error for a try that took longer than it may."""
    return TooSlowError(f"no whole answer within {limit:.1f} s, for {size} bytes")


@asynccontextmanager
async def within(try_seconds: float, size: int = 0) -> AsyncIterator[None]:
    """Give up what a `with` block waits for after the time of a try with bodies of `size` bytes.

    Raises:
        TooSlowError: it was given up.
    """
    limit = seconds(try_seconds, size)
    timer = asyncio.timeout(limit)
    try:
        async with timer:
            yield
    except TimeoutError:
        if timer.expired():
            raise too_slow(limit, size) from None
        raise
