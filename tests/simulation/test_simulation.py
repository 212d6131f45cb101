"""The guarantees on the real code: every pair of calls in every interleaving with a fault, and crowds by chance."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.simulation.calls import CALLS, CREATING
from tests.simulation.explore import Report, by_chance, crowd, every, pairs, replay, scene
from txfiles.core import conflicts

WALKS = 240
"""Random runs in `tools/test`; `tools/simulate` makes as many as there is time for."""

OPERATIONS = {
    "append": {"publish data", "create manifest"},
    "append_once": {"open data", "publish data", "create manifest"},
    "upsert": {"open data", "publish data", "create manifest"},
    "overwrite": {"publish data", "create manifest"},
    "set": {"create manifest"},
    "vacuum": {"list", "create manifest", "delete data"},
    "read": {"open data", "get manifest"},
}
"""What a call does to the store at least: if it did not, its faults would not have been tried."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Simulated failures are logged by the thousand."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def holes(report: Report) -> list[str]:
    """What was not tried."""
    missing = [
        f"{call}: {operation}"
        for call, operations in OPERATIONS.items()
        for operation in operations
        if any(known == call for known, _ in report.met) and not report.met[call, operation]
    ]
    return missing + report.holes()


def test_the_matrix_is_whole() -> None:
    """Every operation that the conflict rules know has a call here, as mine and as theirs."""
    assert set(conflicts.MINE) <= CALLS.keys()
    assert set(conflicts.OPERATIONS) <= CALLS.keys()
    assert len(pairs()) == len(CALLS) * (len(CALLS) + 1) // 2


@pytest.mark.parametrize("pair", pairs(), ids=" with ".join)
def test_every_pair_with_a_fault(pair: tuple[str, str]) -> None:
    """Two calls at once, in every order of their operations, with any one fault anywhere: all invariants hold."""
    report = every(scene(pair), 1)
    assert report.complete
    assert holes(report) == []


@pytest.mark.parametrize("pair", pairs(CREATING), ids=" with ".join)
def test_every_creation_with_a_fault(pair: tuple[str, str]) -> None:
    """The same where there is no table yet."""
    report = every(scene(pair, create=True), 1)
    assert report.complete
    assert report.holes() == []


@pytest.mark.parametrize(
    "pair", [("append", "append"), ("upsert", "append_once"), ("upsert", "vacuum")], ids=" with ".join
)
def test_checkpoints_beside_commits(pair: tuple[str, str]) -> None:
    """The same where each commit writes a checkpoint."""
    report = every(scene(pair, checkpoint_interval=1), 1)
    assert report.complete
    assert report.holes() == []


@pytest.mark.parametrize("part", range(4))
def test_crowds(part: int) -> None:
    """Four to six processes with several calls each, in random order, with up to five faults and restarts."""
    report = Report()
    for seed in range(part, WALKS, 4):
        by_chance(crowd(seed), seed, 5, report=report, restart=seed % 3 == 0)
    assert sum(report.struck.values()) > WALKS // 4


def test_a_run_is_a_function_of_its_choices() -> None:
    """A seed, or a list of choices, gives the same run to the last byte."""
    ends = [by_chance(crowd(11), 11, 5) for _ in range(2)]
    assert ends[0].objects == ends[1].objects
    stories = [replay(crowd(12), [1, 0, 2, 1, 0, 3] * 9, 3, everything=True) for _ in range(2)]
    assert stories[0] == stories[1]
    assert stories[0][0]
