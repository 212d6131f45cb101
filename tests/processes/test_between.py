"""Somebody else's whole call happens between two steps of one's own: at every step, for every call.

What processes that race do by chance happens here at each place in turn, on one real folder in one process.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import txfiles as tx
from tests.guarantees import DEEP
from tests.model import Model, bag
from tests.processes.calls import Call, perform, play, row
from tests.processes.checks import check, residue
from tests.processes.scenarios import PROPERTIES, SCENARIOS, Scenario, Templates, write
from txfiles.store.local import LocalStore

pytestmark = pytest.mark.guarantees("S7 S8 S10 S14 S15 S16")

STEPS = ("get", "stat", "list_from", "put_if_absent", "put", "delete", "open_input", "create")

THEIRS: dict[str, list[Call]] = {
    "rewrite and vacuum": [
        write("upsert", [row(2, "b", n=5, at=4), row(4, "a", n=5, at=4), row(9, "c", n=5, at=6)]),
        {"do": "vacuum", "retain": "0"},
    ],
    "overwrite and vacuum": [write("overwrite", [row(3, "b", n=6, at=4)]), {"do": "vacuum", "retain": "0"}],
    "append": [write("append", [row(77, "b", n=0)])],
    "the same batch": [write("append", [row(50, "b", n=7, at=5)], batch_id="one")],
    "set": [{"do": "set", "row_group_rows": 99}],
}
PAIRS = [
    ("append a batch", "the same batch"),
    ("append_once", "overwrite and vacuum"),
    ("upsert", "rewrite and vacuum"),
    ("overwrite partitions", "rewrite and vacuum"),
    ("replace", "overwrite and vacuum"),
    ("delete", "append"),
    ("set", "set"),
    ("vacuum", "append"),
]
"""Those that are tried each time; the others when looking deep."""

CREATING = [write("append_once", [row(2, "x"), row(8, "a")], keys=["id"], properties=PROPERTIES)]


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return Templates(tmp_path_factory.mktemp("between"))


@contextmanager
def before_step(number: int, then: Callable[[], None]) -> Iterator[list[str]]:
    """Do something before the n-th step of the store; the steps so far."""
    steps: list[str] = []
    real = {name: getattr(LocalStore, name) for name in (*STEPS, "lock")}

    def wrapped(name: str) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            steps.append(name)
            if len(steps) == number:
                then()
            return real[name](*args, **options)

        return step

    @contextmanager
    def no_lock(self: LocalStore, timeout_seconds: float) -> Iterator[bool]:
        yield False  # the other one would wait for it in vain

    try:
        LocalStore.lock = no_lock  # type: ignore[method-assign]
        for name in STEPS:
            setattr(LocalStore, name, wrapped(name))
        yield steps
    finally:
        for name, method in real.items():
            setattr(LocalStore, name, method)


def sweep(scenario: Scenario, theirs: list[Call], root: Path, templates: Templates) -> int:
    """Let their calls come at each step of mine; the steps that there were."""
    for number in itertools.count(1):
        path = root / str(number)
        templates.copy(scenario, path)
        happened: list[Call] = []

        def other() -> None:
            before = len(steps)
            for call in theirs:
                answer = perform({**call, "path": str(path)})
                assert "error" not in answer, (number, steps, answer)
            happened.extend(theirs)
            del steps[before:]
            steps.extend(["theirs"] * 1_000)  # their own steps, and mine from here on, are no places to begin again

        with before_step(number, other) as steps:
            answer = perform(scenario.at(path))
        if not happened:
            return len(steps)
        assert "error" not in answer, (number, steps[: steps.index("theirs")], answer)
        verify(scenario, happened, answer, path, f"step {number}")
    raise AssertionError


def verify(scenario: Scenario, theirs: list[Call], answer: dict[str, Any], root: Path, place: str) -> None:
    """Each happened once, in one order or the other."""
    log = check(root)
    mine = next((v.number for v in log.versions if v.manifest["commit_id"] == answer.get("commit_id")), None)
    orders = []
    for order in ([*theirs, scenario.call], [scenario.call, *theirs]):
        model = Model(keys=("id",))
        for call in (*scenario.before, *order):
            if not (call is scenario.call and answer.get("already_committed")):
                play(model, call)
        orders.append(bag(model.rows))
    found = bag(tx.Table(root).to_arrow().to_pylist())
    assert found in orders, place
    if answer.get("committed"):
        assert mine == answer["version"] or scenario.call["do"] != "write", place
    assert scenario.call.get("format") == "csv" or bag(log.rows(len(log.versions) - 1)) == found
    left = residue(log)
    vacuumed = any(call["do"] == "vacuum" for call in theirs)
    assert not left.temporary
    assert vacuumed or scenario.call["do"] == "vacuum" or not left.data, place


@pytest.mark.parametrize("scenario", [case for case in SCENARIOS if not case.before], ids=str)
def test_another_creates_the_table(scenario: Scenario, tmp_path: Path, templates: Templates) -> None:
    """Wherever in a creation another creates the table, both batches are in it."""
    theirs = CREATING
    if scenario.call.get("format") == "csv":
        theirs = [write("append", [row(2, "x")], format="csv", partition_by=["part"])]
    assert sweep(scenario, theirs, tmp_path, templates) >= 10


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [(case.name, theirs) for case in SCENARIOS if case.before for theirs in THEIRS] if DEEP else PAIRS,
)
def test_another_commits(mine: str, theirs: str, tmp_path: Path, templates: Templates) -> None:
    """Wherever in a call another commits, or takes away all old files too, both happened, one after the other."""
    scenario = next(case for case in SCENARIOS if case.name == mine)
    assert sweep(scenario, THEIRS[theirs], tmp_path, templates) >= 8


def test_a_listing_that_misses_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing made while names are added may miss one of them: no version is taken for lost because of that."""
    for number in range(5):
        perform(write("append", [row(number)]) | {"path": str(tmp_path)})
    (tmp_path / "_txfiles/hint.json").unlink()
    real = LocalStore.list_from

    def without_3(self: LocalStore, prefix: str, after: str = "") -> Iterator[Any]:
        return (entry for entry in real(self, prefix, after) if not entry.name.endswith("3.json"))

    monkeypatch.setattr(LocalStore, "list_from", without_3)
    assert tx.Table(f"{tmp_path}/../{tmp_path.name}").version == 4  # by a name under which no snapshot is remembered
