"""Runs of a scene: in all ways, or in one that is chosen; and the story of one that fails, shortened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.afterwards import afterwards
from tests.simulation.choosing import Choose, Told, chance
from tests.simulation.machine import Machine, Move, State, faults_of, what
from tests.simulation.process import Violation, library_in_the_simulator
from tests.simulation.scenes import Scene
from tests.simulation.story import tell

SHRINKS_MAX = 300
"""Walks that shortening a story may take."""


@dataclass
class Report:
    """What came of many runs.

    Attributes:
        states: that were met.
        ends: different ends of runs.
        replays: runs of the real code.
        struck: (call, operation, fault) → how often.
        met: (call, operation), while a fault could strike → how often.
        complete: whether all was tried.
    """

    states: int = 0
    ends: int = 0
    replays: int = 0
    struck: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    met: Counter[tuple[str, str]] = field(default_factory=Counter)
    complete: bool = True

    def note(self, state: State, move: Move) -> None:
        """Count a move."""
        if move.late < 0:
            operation = state.slots[move.slot].node.operation
            assert operation is not None
            if operation.verb not in ("begin", "over") and state.faults:
                self.met[operation.call, what(operation)] += 1
                if move.fault:
                    self.struck[operation.call, what(operation), move.fault] += 1

    def holes(self, *, rare: bool = False) -> list[str]:
        """Faults that may strike an operation that was met, and did not."""
        return [
            f"{call}: {operation}: {fault}"
            for call, operation in sorted(self.met)
            for fault in faults_of(operation.split(" ")[0], rare=rare)
            if not self.struck[call, operation, fault]
        ]

    def add(self, other: Report) -> None:
        """Add the counts of another."""
        self.states += other.states
        self.ends += other.ends
        self.replays += other.replays
        self.struck.update(other.struck)
        self.met.update(other.met)
        self.complete &= other.complete


class Failed(AssertionError):
    """A run in which an invariant does not hold, with the shortest story found."""

    def __init__(self, scene: Scene, violation: Violation, numbers: Sequence[int], story: str, states: int) -> None:
        told = ".".join(map(str, numbers)) or "0"
        super().__init__(f"{violation}\nscene: {scene.name}\nchoices: {told}\n{story}")
        self.violation = violation
        self.numbers = tuple(numbers)
        self.states = states


def every(scene: Scene, faults: int, *, states_max: int | None = None, everything: bool = False) -> Report:
    """Run a scene in all ways; with `everything` rare faults strike too, and each operation is a scheduling point.

    Raises:
        Failed: at the first violation, with its story.
    """
    machine = Machine(vacuums=scene.vacuums, leaves=scene.leaves, everything=everything)
    with library_in_the_simulator():
        try:
            return _search(scene, machine, faults, states_max)
        finally:
            machine.end()


def _search(scene: Scene, machine: Machine, faults: int, states_max: int | None) -> Report:
    """Depth first over states, none of them twice; `parents` tell how each was reached."""
    report = Report()
    seen, worlds = set[Any](), set[Any]()
    parents: list[tuple[int, int]] = [(-1, 0)]
    stack = [(machine.start(scene.base, scene.programs)._replace(faults=faults), 0)]
    while stack and report.complete:
        state, at = stack.pop()
        try:
            moves = machine.moves(state)
            if not moves:
                report.ends += 1
                _check_end(scene, state, worlds)
            for number in reversed(range(len(moves))):
                after = machine.apply(state, moves[number])
                report.note(state, moves[number])
                if (key := after.key()) not in seen:
                    seen.add(key)
                    parents.append((at, number))
                    stack.append((after, len(parents) - 1))
        except Violation as violation:
            numbers = _path(parents, at)
            raise _failure(scene, violation, numbers, faults, len(seen), everything=machine.everything) from None
        report.complete = states_max is None or len(seen) <= states_max
    report.states, report.replays = len(seen), machine.replays
    return report


def _check_end(scene: Scene, state: State, worlds: set[Any]) -> None:
    """All invariants; what can be done afterwards is tried once for each world, for it follows from that."""
    versions = scene.checker.check(state)
    world = (state.digest, *_unknown(state))
    if world not in worlds:
        worlds.add(world)
        afterwards(scene.checker, state, versions)


def _unknown(state: State) -> Iterator[str]:
    return (
        ended.outcome.prefix for ended in state.ended() if getattr(ended.outcome.result, "committed", "") == "unknown"
    )


def _path(parents: Sequence[tuple[int, int]], at: int) -> list[int]:
    numbers = []
    while at > 0:
        at, number = parents[at]
        numbers.append(number)
    return numbers[::-1]


def walk(
    scene: Scene,
    choose: Choose,
    faults: int,
    *,
    everything: bool,
    restart: bool = False,
    report: Report | None = None,
    story: list[str] | None = None,
) -> State:
    """One run, each move chosen. Checked at its end.

    Raises:
        Violation: an invariant does not hold.
    """
    machine = Machine(vacuums=scene.vacuums, leaves=scene.leaves, everything=everything, restart=restart)
    with library_in_the_simulator():
        try:
            state = machine.start(scene.base, scene.programs)._replace(faults=faults)
            while moves := machine.moves(state):
                move = moves[choose(state, moves)]
                if report is not None:
                    report.note(state, move)
                if story is not None:
                    story += tell(state, move)
                state = machine.apply(state, move)
            afterwards(scene.checker, state, scene.checker.check(state))
        finally:
            machine.end()
    return state


def by_chance(scene: Scene, seed: int, faults: int, *, report: Report | None = None, restart: bool = False) -> State:
    """One random run.

    Raises:
        Failed: an invariant does not hold; the story tells.
    """
    choose = chance(seed)
    try:
        return walk(scene, choose, faults, everything=True, restart=restart, report=report)
    except Violation as violation:
        raise _failure(scene, violation, choose.taken, faults, 1, everything=True, restart=restart) from None


def replay(
    scene: Scene, numbers: Sequence[int] | Choose, faults: int, **options: Any
) -> tuple[list[str], Violation | None]:
    """A run as told: its story, and what does not hold at its end."""
    story: list[str] = []
    try:
        walk(scene, numbers if callable(numbers) else Told(numbers), faults, story=story, **options)
    except Violation as violation:
        return story, violation
    return story, None


def _failure(
    scene: Scene, violation: Violation, numbers: Sequence[int], faults: int, states: int, **options: Any
) -> Failed:
    best = shortened(scene, numbers, violation.invariant, faults, **options)
    story, again = replay(scene, best, faults, **options)
    return Failed(scene, again or violation, best, "\n".join(story), states)


def shortened(scene: Scene, numbers: Sequence[int], invariant: str, faults: int, **options: Any) -> list[int]:
    """A duller list of choices that violates the same invariant: shorter, and with more zeros."""
    tries = 0

    def still(candidate: Sequence[int]) -> bool:
        nonlocal tries
        tries += 1
        _, violation = replay(scene, candidate, faults, **options)
        return violation is not None and violation.invariant == invariant

    best = _stripped(numbers)
    width = max(1, len(best) // 2)
    while width and tries < SHRINKS_MAX:
        at = 0
        while at < len(best) and tries < SHRINKS_MAX:
            without = [*best[:at], *best[at + width :]]
            duller = [*best[:at], *[0] * min(width, len(best) - at), *best[at + width :]]
            simpler = next((one for one in (without, duller) if _stripped(one) != best and still(one)), None)
            if simpler is None:
                at += width
            else:
                best = _stripped(simpler)
        width //= 2
    return best


def _stripped(numbers: Sequence[int]) -> list[int]:
    found = list(numbers)
    while found and found[-1] == 0:
        found.pop()
    return found
