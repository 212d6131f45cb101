"""Locks that a forked process finds free: a thread of the parent that held one is not there to release it."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from weakref import WeakSet


class Guard:
    """A `threading.Lock` that is free in a process that was forked while it was held."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _guards.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Make it free, in a process in which no other thread runs."""
        self._lock = threading.Lock()


_guards: WeakSet[Guard] = WeakSet()


def _renew_all() -> None:
    for guard in list(_guards):
        guard.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
