"""Bugs that the simulator found in this library, each kept as the run that showed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.simulation.explore import walk
from tests.simulation.machine import Move, State, what
from tests.simulation.scenes import scene

pytestmark = pytest.mark.guarantees("S5 S6 L3")


@dataclass
class Strike:
    """Chooses dully, but for some faults: (process, operation, which one of them, fault), and what becomes of the late.

    A run is told by what happens in it and not by numbers, so that it stays the same when the library asks less.
    """

    faults: Sequence[tuple[int, str, int, str]]
    late: str = ""
    met: dict[tuple[int, str], int] = field(default_factory=dict)
    struck: int = 0

    def __call__(self, state: State, moves: Sequence[Move]) -> int:
        first = moves[0]
        if first.slot < 0:
            return next(number for number, move in enumerate(moves) if move.fault == self.late)
        operation = state.slots[first.slot].node.operation
        assert operation is not None
        done = " after the commit" if self.met.get((first.slot, "create manifest")) else ""
        key = first.slot, what(operation) + done * (what(operation) != "create manifest")
        self.met[key] = self.met.get(key, 0) + 1
        wanted = [fault for slot, kind, nth, fault in self.faults if (slot, kind, nth) == (*key, self.met[key])]
        if not wanted:
            return 0
        self.struck += 1
        return next(n for n, move in enumerate(moves) if (move.slot, move.fault) == (first.slot, wanted[0]))


FOUND: dict[str, tuple[list[Any], dict[str, Any], Strike]] = {
    "a vacuum that could not delete said that it was not committed": (
        ["vacuum"],
        {},
        Strike([(0, "delete data after the commit", 1, "error")]),
    ),
    "an unknown creation that never came to pass could not be resolved": (
        ["append"],
        {"create": True},
        Strike([(0, "create manifest", 1, "late"), (0, "create manifest", 2, "error")], late="drop"),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str) -> None:
    """What was wrong once is right."""
    programs, options, strike = FOUND[name]
    walk(scene(programs, **options), strike, 2, everything=False)
    assert strike.struck == len(strike.faults), "the run is another by now: what it showed is not tried"
