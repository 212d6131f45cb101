"""A model of the commit protocol: every order of steps, lost and late answers and crashes, searched by Spin."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.guarantees import DEEP
from tests.protocol.spin import SOURCE, World, search

pytestmark = pytest.mark.guarantees("S1 S2 S3 S4 S5 S6 S7 S10 S11b S15 L1 L3")

PAIRS = World(calls=2, losses=2, tries=2)

WORLDS = {
    "pairs": PAIRS,
    "pairs, a table to create": replace(PAIRS, empty=True),
    "pairs, files to spare": replace(PAIRS, spare=True),
    "threes": World(calls=3),
    "threes, one loss": World(calls=3, losses=1),
}
if DEEP:
    WORLDS |= {
        "pairs, four losses": World(calls=2, losses=4, tries=4, passes=4),
        "threes, two losses": World(calls=3, losses=2, tries=1),
        "threes, files to spare": World(calls=3, losses=1, spare=True),
        "threes, a table to create": World(calls=3, losses=1, empty=True, passes=4),
    }

PLANTED = {
    "NO_READ_BACK": "S3 S5 S7",
    "EXISTS_IS_MINE": "S4 S7",
    "NEXT_NUMBER": "S3 S7 S11b",
    "DELETE_FIRST": "S7",
    "LIST_UNREAD": "S7",
    "CLEAN_UNKNOWN": "S7",
    "NO_PROBE": "S11b",
    "GONE_UNREAD": "S10",
    "UNKNOWN_IS_LOST": "S5 S7",
    "NOT_DERIVED": "S7",
    "COMMIT_FIRST": "S7",
}
"""What each planted bug must be seen to break; S7 stands for S15 too."""


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_every_order_holds(world: World, tmp_path: Path, cases: Callable[..., None]) -> None:
    """Within these bounds no order of steps breaks a property."""
    found = search(tmp_path, world)
    assert not found.broken, found.text
    cases(states=found.states)


@pytest.mark.parametrize("calls", [2, 3])
def test_all_settle(calls: int, tmp_path: Path, cases: Callable[..., None]) -> None:
    """Without faults every call commits or has nothing to commit (L1), also beside one that has died anywhere (L3)."""
    found = search(tmp_path, World(calls=calls, faultless=True))
    assert not found.broken, found.text
    cases(states=found.states)


def test_no_run_goes_on_for_ever(tmp_path: Path, cases: Callable[..., None]) -> None:
    """There is no way to go in circles, with lost answers neither."""
    found = search(tmp_path, replace(PAIRS, losses=1), cycles=True)
    assert not found.broken, found.text
    cases(states=found.states)


def test_without_a_second_pass_one_may_not_settle(tmp_path: Path) -> None:
    """The search would see it if a call did not get its turn."""
    assert search(tmp_path, World(calls=2, passes=1, faultless=True)).broken == {"L1"}


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bugs_are_caught(bug: str, tmp_path: Path, cases: Callable[..., None]) -> None:
    """Each bug that the model can be given breaks what it must break."""
    found = search(tmp_path, World(calls=2, losses=1, bug=bug))
    assert found.broken >= set(PLANTED[bug].split()), found.text
    cases(planted_bugs=1)


def test_all_planted_bugs_are_tried() -> None:
    """None stands in the model alone."""
    listed = re.search(r"mtype:bug = \{ NONE,(.*?)\}", SOURCE.read_text(encoding="utf-8"), re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"^ +([A-Z_]+)\b", listed[1], re.MULTILINE)) == set(PLANTED)


def test_every_step_is_taken(tmp_path: Path) -> None:
    """No step of the protocol is out of reach, so that what holds does not hold for want of trying."""
    planted = "atomic { set & file"  # the deletion, where only a bug deletes
    missed = [line for line in search(tmp_path, PAIRS).unreached if "ON(" in line and planted not in line]
    assert missed == []


def test_the_model_is_one_page() -> None:
    """A person can read it: under 200 lines."""
    assert len(SOURCE.read_text(encoding="utf-8").splitlines()) < 200
