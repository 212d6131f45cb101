"""How long a request to a store is tried, and how long it waits in between."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from txfiles.store.client import MAY_PASS, Failed, Failure

T = TypeVar("T")

REQUEST_SECONDS = 30.0
"""How long one request may take with its retries, unless `request_timeout` says otherwise: longer than a store takes to
spread a hot prefix, and no longer than a person waits without wondering."""

TRIES_IN_TIME = 3
"""A single try may take this part of the time: one that hangs must not use it up."""

WAIT_FIRST_SECONDS = 0.05
WAIT_FIRST_THROTTLED_SECONDS = 0.5
"""A store that asks for fewer requests gets them, also if a library does not show us for how long."""
WAIT_MOST_SECONDS = 5.0

UNREACHABLE_TRIES = 5
"""A server that refuses connections is more likely mistyped or down than busy."""


def chance() -> float:
    """From 0 to 1; a function of its own, so that a store pickles."""
    return secrets.SystemRandom().random()


@dataclass(frozen=True, slots=True)
class Patience:
    """Retries with jittered, doubling waits and a deadline.

    Attributes:
        seconds: how long one request may take with all its retries.
        monotonic: the clock for that.
        sleep: waits.
        random: from 0 to 1.
    """

    seconds: float = REQUEST_SECONDS
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = chance

    @property
    def try_seconds(self) -> float:
        """How long a single try may take."""
        return self.seconds / TRIES_IN_TIME

    def ask(
        self, request: Callable[[], T | Failed], failed: Callable[[Exception], Failed], met: list[Failure] | None = None
    ) -> T | Failed:
        """The answer to a request, tried again until the time is up; or the last failure.

        Args:
            request: makes it once; raises, or returns how it failed.
            failed: what its exceptions mean.
            met: takes the failures of all tries.
        Cost: waits at most `seconds` in all, beside what the last try takes.
        """
        until = self.monotonic() + self.seconds
        tries = 0
        while True:
            try:
                outcome = request()
            except Exception as error:  # noqa: BLE001  # libraries raise anything, and all of it means something
                outcome = failed(error)
            if not isinstance(outcome, Failed):
                return outcome
            tries += 1
            if met is not None:
                met.append(outcome.failure)
            wait = self._wait(tries, outcome)
            if wait is None or self.monotonic() + wait >= until:
                return outcome
            self.sleep(wait)

    def _wait(self, tries: int, failed: Failed) -> float | None:
        """Seconds until the next try; None if there is to be none."""
        if failed.final or failed.failure not in MAY_PASS:
            return None
        if failed.failure is Failure.UNREACHABLE and tries >= UNREACHABLE_TRIES:
            return None
        first = WAIT_FIRST_THROTTLED_SECONDS if failed.failure is Failure.THROTTLED else WAIT_FIRST_SECONDS
        most = min(WAIT_MOST_SECONDS, first * 2.0 ** min(tries - 1, 10))
        return max(failed.retry_after or 0.0, most * (0.5 + self.random() / 2))
