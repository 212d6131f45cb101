"""Points at which a call can be made to fail: each operation by which the local store changes the disk, each request.

The operations are those of the operating system, so that no line of the library knows of them. What only reads is
not counted: to die before a read is to die after the change before it.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

from txfiles.store.patience import Patience

COUNTED = ("open", "write", "fsync", "link", "unlink", "rename", "mkdir")
"""`open` counts where it may create."""

Act = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""What happens instead of an operation: given its name, the real function and its arguments."""


def kill_before(name: str, real: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """The process ends before the operation; where it writes, in the middle of it."""
    if name == "write":
        real(args[0], memoryview(args[1])[: len(args[1]) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after(name: str, real: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """The process ends right after the operation."""
    real(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt_before(name: str, real: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Ctrl-C before the operation."""
    raise KeyboardInterrupt


def interrupt_after(name: str, real: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Ctrl-C after the operation was done, and before anybody heard of it."""
    real(*args, **options)
    raise KeyboardInterrupt


def fail(number: int) -> Act:
    """The operation is refused with an error number of the operating system."""

    def act(name: str, real: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
        raise OSError(number, os.strerror(number))

    return act


ACTS: dict[str, Act] = {
    "kill before": kill_before,
    "kill after": kill_after,
    "interrupt before": interrupt_before,
    "interrupt after": interrupt_after,
    **{name: fail(getattr(errno, name)) for name in ("ENOSPC", "EIO", "EROFS", "EDQUOT", "EMFILE", "EOPNOTSUPP")},
}


class Failpoint:
    """A frame in which the n-th operation fails.

    Args:
        at: which operation, from 1; 0 only counts.
        act: one of `ACTS`.
        lasting: all operations from there on fail, as on a full disk; but not those that delete.
        counted: the operations; with "read", each `open` counts, also where it creates nothing.
    Attributes:
        seen: the operations so far, as (name, what it was done to).
    """

    def __init__(
        self, at: int, act: str = "kill before", *, lasting: bool = False, counted: Collection[str] = COUNTED
    ) -> None:
        self.at = at
        self.seen: list[tuple[str, str]] = []
        self._act = ACTS[act]
        self._lasting = lasting
        self._reading = "read" in counted
        self._real = {name: getattr(os, name) for name in COUNTED if name in counted}
        self._guard = threading.Lock()

    @property
    def reached(self) -> bool:
        """Whether there was an n-th operation."""
        return len(self.seen) >= self.at

    def __enter__(self) -> Self:
        for name in self._real:
            setattr(os, name, self._wrapped(name))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def operation(*args: Any, **options: Any) -> Any:
            if name == "open" and not (self._reading or args[1] & os.O_CREAT):
                return real(*args, **options)
            with self._guard:
                self.seen.append((name, _target(args[0])))
                number = len(self.seen)
            if number == self.at or (self._lasting and number > self.at and name != "unlink"):
                return self._act(name, real, args, options)
            return real(*args, **options)

        return operation


@contextmanager
def killed_at_request(at: int, act: str) -> Iterator[None]:
    """A frame in which the process ends before or after the n-th request to a bucket."""
    numbers, real = itertools.count(1), Patience.ask

    def ask(*args: Any, **options: Any) -> Any:
        how = ACTS[act] if next(numbers) == at else lambda _, real, args, options: real(*args, **options)
        return how("ask", real, args, options)

    with patch.object(Patience, "ask", ask):
        yield


def _target(given: Any) -> str:
    """What an operation is done to, without what differs from run to run."""
    name = Path(os.readlink(f"/proc/self/fd/{given}") if isinstance(given, int) else given).name
    return "temporary" if name.startswith(".tmp-") else "data file" if name.startswith("part-") else name
