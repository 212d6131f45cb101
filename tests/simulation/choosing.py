"""Ways to choose what happens next: by chance, by priorities, or as told."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tests.simulation.machine import Move, State

Choose = Callable[[State, Sequence[Move]], int]
"""Takes a state and its moves, and gives the number of one."""

STEPS_LIKELY = 200
"""About as many as a run has: among them the changes of rank are drawn."""


class Chance:
    """Chooses by chance, from a seed; `taken` is what it came to.

    Args:
        seed: equal seeds give equal runs.
        preempt: how often another process goes on.
        trouble: how often a fault strikes.
    """

    def __init__(self, seed: int, *, preempt: float = 0.3, trouble: float = 0.04) -> None:
        self._random = random.Random(seed)
        self._preempt = preempt
        self._trouble = trouble
        self.taken: list[int] = []

    def __call__(self, state: State, moves: Sequence[Move]) -> int:
        slots = sorted(
            {(move.slot, move.late) for move in moves}, key=lambda one: one != (moves[0].slot, moves[0].late)
        )
        chosen = self._random.choice(slots) if self._random.random() < self._preempt else slots[0]
        mine = [number for number, move in enumerate(moves) if (move.slot, move.late) == chosen]
        found = mine[0]
        if len(mine) > 1 and self._random.random() < self._trouble:
            found = self._random.choice(mine[1:])
        self.taken.append(found)
        return found


class Priorities:
    """Chooses by the rank of processes, which changes a few times: finds what needs few, but rare, changes of process.

    Args:
        seed: equal seeds give equal runs.
        changes: how often the process that goes on loses its rank.
        trouble: how often a fault strikes.

    Source: Burckhardt et al., A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs, ASPLOS 2010.
    """

    def __init__(self, seed: int, *, changes: int = 3, trouble: float = 0.04) -> None:
        self._random = random.Random(seed)
        self._trouble = trouble
        self._ranks: dict[tuple[int, int], float] = {}
        self._changes = {self._random.randrange(STEPS_LIKELY) for _ in range(changes)}
        self.taken: list[int] = []

    def __call__(self, state: State, moves: Sequence[Move]) -> int:
        agents = {(move.slot, move.late) for move in moves}
        for agent in sorted(agents - self._ranks.keys()):
            self._ranks[agent] = self._random.random()
        first = max(agents, key=self._ranks.__getitem__)
        if len(self.taken) in self._changes:
            self._ranks[first] = -self._random.random()
            first = max(agents, key=self._ranks.__getitem__)
        mine = [number for number, move in enumerate(moves) if (move.slot, move.late) == first]
        struck = len(mine) > 1 and self._random.random() < self._trouble
        self.taken.append(self._random.choice(mine[1:]) if struck else mine[0])
        return self.taken[-1]


class Told:
    """Chooses as told, and dully after that."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = list(numbers)
        self._at = 0

    def __call__(self, state: State, moves: Sequence[Move]) -> int:
        self._at += 1
        return self._numbers[self._at - 1] % len(moves) if self._at <= len(self._numbers) else 0


def chance(seed: int) -> Chance | Priorities:
    """A way to choose by chance; every other one is by priorities."""
    return Priorities(seed) if seed % 2 else Chance(seed)
