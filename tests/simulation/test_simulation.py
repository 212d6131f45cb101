"""Real calls in the simulator: all pairs in every interleaving with faults anywhere; crowds by chance.

In depth: two faults, three processes, and as many crowds as there is time for.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from unittest.mock import patch

import pytest

from tests.guarantees import DEEP
from tests.simulation.calls import CALLS, CHANGING, CREATING, INDEXING, LEAVING
from tests.simulation.explore import Report, by_chance, every, replay
from tests.simulation.process import SimulatedStore
from tests.simulation.scenes import crowd, pairs, scene
from txfiles.core import codec
from txfiles.store.port import Capabilities
from txfiles.targets.files import writes

pytestmark = pytest.mark.guarantees("S1 S2 S3 S4 S5 S6 S7 S8 S9 S10 S11 S12 S14 S15 S16 S18 L1 L2 L3 L4 L5 L6")

FAULTS = 2 if DEEP else 1
PARTS = 4
WALKS = 60
"""Random runs of a part."""
WALK_SECONDS = float(os.environ.get("TXFILES_WALK_SECONDS", "300"))
"""In depth, the time for a part instead, and seeds that nobody has seen."""

THREE = ("append", "append_once", "upsert", "overwrite", "overwrite part", "set", "compact", "vacuum")
"""Calls of which three meet."""

THREE_STATES_MAX = 1_500_000
"""Two vacuums and a third call have more: of those the table says that they were not completed."""

MET_BY_MARKS = ("append", "upsert", "overwrite", "overwrite where", "delete where", "set", "compact", "vacuum", "read")
MARKED_PAIRS = [(mine, theirs) for mine in ("delete one", "upsert six") for theirs in MET_BY_MARKS]

OF_MANY_STEPS = frozenset({"transaction", "restore"})
MET_BY_MANY_STEPS = frozenset(
    ("append", "append_once", "upsert", "overwrite part", "delete where", "new column", "compact", "vacuum", "read old")
)
"""What calls of many steps meet, if not in depth, for the sake of a short run."""

OPERATIONS = {
    "append": {"settle manifest", "publish data", "create manifest"},
    "append_once": {"open data", "publish data", "create manifest"},
    "upsert": {"open data", "publish data", "create manifest"},
    "overwrite": {"publish data", "create manifest"},
    "restore": {"create manifest"},
    "restore marked": {"create manifest"},
    "set": {"create manifest"},
    "compact": {"open data", "publish data", "create manifest"},
    "vacuum": {"list", "create manifest", "delete data"},
    "read": {"open data", "get manifest"},
    "build index": {"open data", "get secret", "create secret", "publish data", "create manifest"},
    "drop index": {"create manifest"},
    "detach": {"list", "create manifest", "delete data", "delete table.json", "delete hint"},
}
"""What a call does to the store at least: if it did not, its faults would not have been tried."""


def holes(report: Report) -> list[str]:
    """What was not tried."""
    missing = [
        f"{call}: {operation}"
        for call, operations in OPERATIONS.items()
        for operation in operations
        if any(known == call for known, _ in report.met) and not report.met[call, operation]
    ]
    return missing + report.holes()


def threes() -> list[tuple[str, ...]]:
    """All threes; without depth, those that tell most about races."""
    if DEEP:
        return list(itertools.combinations_with_replacement(THREE, 3))
    return [
        ("append", "append_once", "upsert"),
        ("upsert", "upsert", "overwrite part"),
        ("append", "upsert", "vacuum"),
    ]


LEFT_BY = [name for name in (*CALLS, "detach") if DEEP or name in MET_BY_MANY_STEPS | OF_MANY_STEPS | {"detach", "set"}]

PAIRS = [
    pair for pair in pairs() if DEEP or OF_MANY_STEPS.isdisjoint(pair) or {*pair} <= OF_MANY_STEPS | MET_BY_MANY_STEPS
]


@pytest.mark.parametrize(
    ("theirs", "strategy"),
    [
        *((theirs, "copy_on_write") for theirs in LEFT_BY),
        *((theirs, "merge_on_read") for theirs in ("delete one", "upsert six")),
    ],
)
def test_leaving(theirs: str, strategy: str, cases: Callable[..., None]) -> None:
    """A detach beside each call: whoever commits first, the folder has its rows, and nobody commits after the end."""
    faults = FAULTS if strategy == "copy_on_write" else FAULTS - 1  # to write files anew takes many operations
    report = every(scene(["detach", theirs], update_strategy=strategy), faults)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.complete
    assert holes(report) == []


@pytest.mark.parametrize("mine", CHANGING)
@pytest.mark.parametrize("theirs", ["append", "upsert", "new column", "compact", "vacuum", "read old", *CHANGING])
def test_changing_columns(mine: str, theirs: str, cases: Callable[..., None]) -> None:
    """A rename or a drop beside other calls: who planned on the old columns plans again, and no row is lost."""
    report = every(scene([mine, theirs]), FAULTS)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.complete
    assert holes(report) == []


def test_the_matrix_is_whole() -> None:
    """Every operation that commits has a call here, as mine and as theirs; a build or drop of the index, its own."""
    assert {*writes.OPERATIONS, "restore", "set", "compact", "vacuum"} <= CALLS.keys()
    assert (len(INDEXING), set(LEAVING)) == (2, {"detach"})
    assert len(pairs()) == len(CALLS) * (len(CALLS) + 1) // 2


@pytest.mark.parametrize("name", CALLS)
def test_alone(name: str, cases: Callable[..., None]) -> None:
    """One call with any two faults anywhere, also rare ones: Ctrl-C, a clock that jumps, a listing that lags (L6)."""
    report = every(scene([name]), 2, everything=True)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.complete
    assert holes(report) + report.holes(rare=True) == []


@pytest.mark.parametrize("pair", PAIRS, ids=" with ".join)
def test_pairs(pair: tuple[str, str], cases: Callable[..., None]) -> None:
    """Two calls at once, in every order of their operations, with faults anywhere: all invariants hold."""
    report = every(scene(pair), FAULTS)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.complete
    assert holes(report) == []


@pytest.mark.parametrize(
    "pair",
    [*pairs(("upsert six", "delete one", "delete six", "append_once six", "restore marked")), *MARKED_PAIRS],
    ids=" with ".join,
)
def test_marked_rows(pair: tuple[str, str], cases: Callable[..., None]) -> None:
    """The same where rows are marked: two calls that mark different rows of one file both take effect."""
    report = every(scene(pair, update_strategy="merge_on_read"), FAULTS)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.complete
    assert holes(report) == []


@pytest.mark.parametrize(
    ("pair", "key_index"),
    [
        *((("build index", theirs), "off") for theirs in ("append_once", "vacuum", "build index", "drop index")),
        (("drop index", "upsert"), "on"),
        (("append_once", "upsert"), "on"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("index_of_small_tables")
def test_the_key_index(pair: tuple[str, str], key_index: str, cases: Callable[..., None]) -> None:
    """The same where keys are found in runs, and these are built and dropped beside writers."""
    report = every(scene(pair, key_index=key_index), FAULTS)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.complete
    assert holes(report) == []


@pytest.mark.parametrize("pair", pairs(CREATING), ids=" with ".join)
def test_creations(pair: tuple[str, str], cases: Callable[..., None]) -> None:
    """The same where there is no table yet."""
    report = every(scene(pair, create=True), FAULTS)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.complete
    assert report.holes() == []


@pytest.mark.parametrize("pair", [("append", "append"), ("upsert", "append_once")], ids=" with ".join)
def test_checkpoints_beside_commits(pair: tuple[str, str], cases: Callable[..., None]) -> None:
    """The same where each commit writes a checkpoint."""
    report = every(scene(pair, checkpoint_interval=1), 1)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.complete
    assert report.holes() == []


@pytest.mark.parametrize("lists", [True, False], ids=["lists from a name", "asks for names"])
@pytest.mark.parametrize(
    "pair",
    [
        ("append", "append"),
        ("append_once", "append"),
        ("upsert", "append_once"),
        ("set", "append"),
        ("append", "vacuum"),
    ],
    ids=" with ".join,
)
def test_a_store_at_a_distance(
    pair: tuple[str, str], lists: bool, monkeypatch: pytest.MonkeyPatch, cases: Callable[..., None]
) -> None:
    """The same where requests go together: looks at the base, checkpoints and hints come beside the data files."""
    distant = Capabilities(lists_from_a_name=lists, requests_at_once=8, resends=True)
    monkeypatch.setattr(SimulatedStore, "capabilities", distant)
    report = every(scene(pair), 1)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.complete
    assert holes(report) == []


@pytest.mark.parametrize("programs", [["set", ["read", "set"]], ["upsert", ["append", "append_once"]]], ids=str)
def test_calls_in_a_row(programs: list[str | list[str]], cases: Callable[..., None]) -> None:
    """The same where a process makes one call after the other."""
    report = every(scene(programs), 1)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.complete
    assert holes(report) == []


@pytest.mark.parametrize("name", ["append", "upsert", "vacuum"])
def test_sidecars(name: str, cases: Callable[..., None]) -> None:
    """The same where the actions of each commit stand in a sidecar: an unclear put of it ends no call."""
    with patch.object(codec, "INLINE_ACTIONS", 0):
        report = every(scene([name]), 2)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.met[name, "create sidecar"]
    assert report.holes() == []


@pytest.mark.parametrize(
    "programs",
    [
        [["read and wait", "append"], "another table"],
        [["read and wait", "upsert"], "another table"],
        [["read and wait", "vacuum"], "another table"],
        [["overwrite", "append_once two"], "restore"],
        [["batch id", "restore"], "batch id"],
        [["batch id", "restore", "batch id"], "append"],
    ],
    ids=str,
)
def test_outside(programs: list[str | list[str]], cases: Callable[..., None]) -> None:
    """Another table that looks the same takes its place; files and batch ids go and come back."""
    report = every(scene(programs), 0)
    cases(states=report.states, ends_of_runs=report.ends)
    assert report.complete


@pytest.mark.parametrize("three", threes(), ids=" with ".join)
def test_threes(three: tuple[str, ...], cases: Callable[..., None]) -> None:
    """Three calls at once, in every order of their operations; in depth with any one fault anywhere."""
    report = every(scene(three), FAULTS - 1, states_max=THREE_STATES_MAX)
    cases(states=report.states, ends_of_runs=report.ends, **({} if report.complete else {"not_completed": 1}))
    assert report.complete or DEEP


@pytest.mark.parametrize("part", range(PARTS))
def test_crowds(part: int, cases: Callable[..., None]) -> None:
    """Four to six processes with several calls each, in random order, with up to five faults and restarts."""
    report, walks = Report(), 0
    ends = time.monotonic() + WALK_SECONDS
    first = time.time_ns() % 10**9 * 10**6 if DEEP else 0
    for seed in itertools.count(first + part, PARTS):
        if (time.monotonic() > ends) if DEEP else walks == WALKS:
            break
        by_chance(crowd(seed), seed, 5, report=report, restart=seed % 3 == 0)
        walks += 1
    cases(random_runs=walks, faults_in_them=sum(report.struck.values()))
    assert sum(report.struck.values()) > walks // 4


@pytest.mark.parametrize("name", ["append", "upsert"])
def test_contention_ends(name: str) -> None:
    """L1: of n writers that contend one commits in each round; a lost put and a new plan are an attempt each."""
    writers = 5
    for seed in range(12):
        state = by_chance(scene([name] * writers), seed, 0)
        results = [ended.outcome.result for ended in state.ended()]
        assert sorted(result.version for result in results) == list(range(2, 2 + writers))
        assert all(result.attempts <= 2 * writers for result in results)


def test_a_run_is_a_function_of_its_choices() -> None:
    """A seed, or a list of choices, gives the same run to the last byte."""
    ends = [by_chance(crowd(11), 11, 5) for _ in range(2)]
    assert ends[0].objects == ends[1].objects
    stories = [replay(crowd(12), [1, 0, 2, 1, 0, 3] * 9, 3, everything=True) for _ in range(2)]
    assert stories[0] == stories[1]
    assert stories[0][0]
