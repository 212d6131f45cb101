"""Runs of the real code in the simulator, with faults about commits, judged by the model of the protocol."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.guarantees import DEEP
from tests.protocol.recorder import Recorder
from tests.protocol.traces import verdict
from tests.simulation.calls import CALLS
from tests.simulation.choosing import Told
from tests.simulation.explore import replay, walk
from tests.simulation.machine import Move, State, what
from tests.simulation.planted import BUGS, Bug, hunt
from tests.simulation.scenes import Scene, pairs, scene

pytestmark = pytest.mark.guarantees("S3 S4 S5 S6 S15")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Simulated failures are logged by the thousand."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


SEEDS = range(200 if DEEP else 4)
WRITING = tuple(name for name in CALLS if not name.startswith("read"))
FEWER = ("append", "append_once seven", "upsert", "overwrite", "overwrite part", "batch id", "set", "vacuum")


RISK = {"create manifest": 0.5, "publish data": 0.05, "delete data": 0.1, "late": 0.2}
"""How often a fault strikes an operation; a late request is dropped."""

REFUSED = (
    "an unclear put is taken for lost",
    "an unclear put is read back at the head only",
    "the next number is tried before this one is settled",
    "an unclear put is called a conflict",
    "files are deleted though the commit may stand",
    "each try of a commit has an id of its own",
    "files are deleted when a race is lost",
    "a data file that was not written is committed",
    "a vacuum deletes before it commits",
    "a writer does not read what a vacuum lists",
    "a file is written again under its old name",
    "a vacuum keeps its list after a lost race",
)
"""Bugs of the simulator that break the protocol."""

HUNTED = [bug for bug in BUGS if bug.name in (REFUSED if DEEP else REFUSED[::2])]


class Troubled:
    """Chooses by chance who goes on, and often lets a fault strike what writes to the table.

    Args:
        seed: equal seeds give equal runs.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, state: State, moves: Sequence[Move]) -> int:
        agents = sorted({(move.slot, move.late) for move in moves})
        same = (moves[0].slot, moves[0].late)
        agent = same if self._random.random() < 0.6 else self._random.choice(agents)
        mine = [number for number, move in enumerate(moves) if (move.slot, move.late) == agent]
        chance = RISK.get(self._what(state, moves[mine[0]]), 0.0)
        return self._random.choice(mine[1:]) if len(mine) > 1 and self._random.random() < chance else mine[0]

    @staticmethod
    def _what(state: State, move: Move) -> str:
        operation = state.slots[move.slot].node.operation
        return what(operation) if move.late < 0 and operation is not None else "late"


def judge(where: Scene, seed: int, counted: Counter[str]) -> None:
    """One run: the simulator finds nothing wrong with it, and the model can do it too."""
    recorder = Recorder(where, Troubled(seed))
    walk(where, recorder, 3, everything=True)
    found = verdict(recorder.events)
    told = "\n".join(map(str, recorder.events))
    assert found.accepted, f"{where.name}, seed {seed}: the model cannot do {found.refused}:\n{told}"
    counted.update(event["e"] for event in recorder.events)
    counted.update(["run"])


def test_the_real_code_does_what_the_model_can(cases: Callable[..., None]) -> None:
    """Two calls of any kinds; all that can happen to a commit has happened in some run."""
    counted = Counter[str]()
    for number, (mine, theirs) in enumerate(pairs(WRITING if DEEP else FEWER)):
        for seed in SEEDS:
            judge(scene([mine, theirs]), seed + 1000 * number, counted)
    wanted = {"see", "exists", "lost", "readback", "unstage", "list", "delete", "abort", "unknown", "crash", "same"}
    assert wanted <= counted.keys(), counted
    cases(runs=counted["run"], events=counted.total() - counted["run"])


def test_three_real_calls_do_what_the_model_can(cases: Callable[..., None]) -> None:
    """Two writers beside a vacuum."""
    counted = Counter[str]()
    for number, (mine, theirs) in enumerate(pairs(FEWER)):
        judge(scene([mine, theirs, "vacuum"]), number, counted)  # asserts, run by run
    assert counted["run"] >= len(pairs(FEWER))
    cases(runs=counted["run"], events=counted.total() - counted["run"])


def test_bugs_that_are_refused_are_planted() -> None:
    """None of them has lost its name."""
    assert set(REFUSED) <= {bug.name for bug in BUGS}


@pytest.mark.parametrize("bug", HUNTED, ids=lambda bug: bug.name)
def test_bugs_of_the_protocol_are_refused(bug: Bug) -> None:
    """The model cannot do what the code does with a bug that a trace shows; others are about rows, keys and times."""
    failed = hunt(bug)
    assert failed is not None
    where = scene(bug.programs, **bug.options)
    recorder = Recorder(where, Told(failed.numbers))
    with bug.plant():
        replay(where, recorder, bug.faults, everything=False)
    found = verdict(recorder.events)
    assert not found.accepted, recorder.events
