"""What a call works with: a table's store and environment, and how it sends several requests together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from txfiles.core.environment import Environment
from txfiles.log.cache import SnapshotCache
from txfiles.store.port import Store

FILES_AT_ONCE = 8
"""Data files of a slow store that are under way together."""

HELD_BYTES = 256 * 1024 * 1024
"""Bytes of data files of a slow store to hold together, while they are read from their first byte to their last."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Session:
    """A table's store; clock, ids and threads; and the snapshots that this process has already opened."""

    store: Store
    environment: Environment
    cache: SnapshotCache | None = None

    @property
    def is_parallel(self) -> bool:
        """Whether the store is so slow that several requests should run at once."""
        return self.store.capabilities.requests_at_once > 1

    def together(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results of a function that makes a request for each item, in order; one round trip if the store is slow."""
        if not self.is_parallel:
            return map(function, items)
        return self.environment.map(function, items, width=self.store.capabilities.requests_at_once)

    def each(self, function: Callable[[Item], Result], items: Iterable[Item], *, holding: int = 1) -> Iterator[Result]:
        """Results of a function that reads or writes a data file for each item, in order, several at a time.

        As many as keep the cores busy. On a slow store `FILES_AT_ONCE`, since most of it is waiting.

        Args:
            function: of one item.
            items: any number.
            holding: how many bytes one of them may hold; so many run at a time that all hold at most `HELD_BYTES`.
        """
        width = max(1, min(FILES_AT_ONCE, HELD_BYTES // max(1, holding)))
        return self.environment.map(function, items, width=width if self.is_parallel else None)

    def in_turn(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, ahead: bool
    ) -> Generator[Result, None, None]:
        """Results of a function for each item, in order; `ahead`: the next few are made while the caller uses one."""
        yield from self.environment.map(function, items, width=1) if ahead else map(function, items)

    def both(self, first: Callable[[], Item], second: Callable[[], Result]) -> tuple[Item, Result]:
        """The results of two functions that make requests and do not wait for each other."""
        if not self.is_parallel:
            return first(), second()
        later = self.environment.start(second)
        found = first()
        return found, later()
