"""Where runs begin: some processes with their calls, on a table that is there or is yet to be created."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.simulation.calls import CALLS, CHANGING, CREATING, INDEXING, LEAVING, MARKED_ROWS, MARKING, ROWS, Write, made
from tests.simulation.invariants import Checker
from tests.simulation.machine import Machine, State, stored
from tests.simulation.outside import OUTSIDE
from tests.simulation.process import library_in_the_simulator


@dataclass(frozen=True)
class Scene:
    """Where runs begin, and who takes part.

    Attributes:
        name: for a person.
        base: the state before anybody has begun.
        checker: of its runs.
        programs: for each process its calls.
    """

    name: str
    base: State
    checker: Checker
    programs: tuple[tuple[Any, ...], ...]

    @property
    def vacuums(self) -> bool:
        """Whether a call takes part that deletes others' files."""
        return self.leaves or any("vacuum" in call.name for program in self.programs for call in program)

    @property
    def leaves(self) -> bool:
        """Whether a detach takes part, so that the log may go away."""
        return any(call.name in LEAVING for program in self.programs for call in program)


@cache
def _table_of(properties: tuple[tuple[str, Any], ...]) -> tuple[State, tuple[Write, ...]]:
    return table(dict(properties))


PROPERTIES = {"vacuum_grace": "0", "key_index": "off"}
"""Of all tables, if a scene does not say otherwise."""


def scene(programs: Sequence[str | Sequence[str]], *, create: bool = False, **properties: Any) -> Scene:
    """Calls by name, one or several for each process, on the table of `calls.made`, or where there is none yet."""
    named = [[one] if isinstance(one, str) else list(one) for one in programs]
    calls = tuple(
        tuple({**CALLS, **OUTSIDE, **MARKING, **INDEXING, **CHANGING, **LEAVING}[name] for name in program)
        for program in named
    )
    given = {**PROPERTIES, **properties}
    base, done = (State({}), ()) if create else _table_of(tuple(given.items()))
    return Scene(" | ".join(" ".join(program) for program in named), base, Checker(base, done), calls)


def table(properties: dict[str, Any], *, first: int = 200) -> tuple[State, tuple[Write, ...]]:
    """A table of two versions, three files of two partitions, a superseded file, an orphan, and foreign files.

    Its ids begin with the number of the first process.
    """
    marks = properties.get("update_strategy") == "merge_on_read"
    calls = made(MARKED_ROWS if marks else ROWS, properties=properties)
    machine = Machine()
    with library_in_the_simulator():
        state = machine.start(State({}), [calls], first=first)
        while moves := machine.moves(state):
            state = machine.apply(state, moves[0])
        machine.end()
    orphan = next(name for name in state.objects if "part-" in name).rsplit("-", 2)[0] + f"-{'e' * 32}-00000.parquet"
    for name in (orphan, "notes.txt", "_SUCCESS", "part=a/someone.parquet"):
        state = stored(state, name, b"somebody's")
    return state._replace(slots=(), recent=(), current=0), tuple(calls)


def crowd(seed: int) -> Scene:
    """Four to six processes with one to three calls each, by chance; checkpoints at every other version."""
    chance = random.Random(seed)
    create = chance.random() < 0.2
    known = CREATING if create else tuple(CALLS)
    programs = [[chance.choice(known) for _ in range(chance.randint(1, 3))] for _ in range(chance.randint(4, 6))]
    return scene(programs, create=create, checkpoint_interval=2)


def pairs(columns: Sequence[str] = tuple(CALLS)) -> list[tuple[str, str]]:
    """The matrix: all pairs of calls, each once."""
    return [(mine, theirs) for number, mine in enumerate(columns) for theirs in columns[number:]]
