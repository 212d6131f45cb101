"""The only access to the clock, ids, sleep, randomness and threads.

`api` makes one and passes it down; the simulator makes another and so controls them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol


class Map(Protocol):
    """`map` with results in order, possibly in parallel; at most a few items are under way at a time."""

    def __call__(
        self, function: Callable[[Any], Any], items: Iterable[Any], /, width: int | None = None
    ) -> Iterator[Any]:
        """Results of `function` on each item, in order.

        Args:
            function: of one item.
            items: any number.
            width: how many are under way at a time; None: as many as keep the cores busy.
        """


class Start(Protocol):
    """Start something that runs beside what follows."""

    def __call__(self, function: Callable[[], Any], /) -> Callable[[], Any]:
        """Returns a function that waits for the result, or raises what was raised."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a call may use of the outside world.

    Attributes:
        now_us: this machine's clock, microseconds since 1970.
        monotonic: seconds, for deadlines and durations.
        sleep: seconds.
        random: a number in [0, 1), for jitter only.
        new_id: 32 lower-case hex digits that nobody else gets.
        map: ordered, perhaps parallel.
        start: perhaps in parallel.
        writer: host and process, for the log's reader.
    """

    now_us: Callable[[], int]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    random: Callable[[], float]
    new_id: Callable[[], str]
    map: Map
    start: Start
    writer: str
