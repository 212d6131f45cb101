"""The power fails at every moment of every public call, and each folder that the disk may then hold is opened.

What was acknowledged is there, the call under way is there whole or not at all, and the table opens and takes an append
without any repair. `fakedisk` says what a disk may forget.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import txfiles as tx
from tests.disk.fakedisk import EVENTS, Disk, Doomed, Event, Killed, Recorder, Tree, make
from tests.guarantees import DEEP
from tests.model import Model, Row, bag
from tests.processes.calls import Call, perform, play, row
from tests.processes.checks import check
from tests.processes.scenarios import KEYED, write
from txfiles.operations import vacuum
from txfiles.rows import segments
from txfiles.store import drafts, folders, local
from txfiles.store.port import Put

pytestmark = pytest.mark.guarantees("S2 S4 S7 S16 S17 L3")

STATES = 512 if DEEP else 32
"""Folders made for one crash point: all there are, or so many of them."""

PROPERTIES = {"checkpoint_interval": 2, "vacuum_grace": "0"}
CREATE = write("append", [row(1, "a"), row(2, "b")], partition_by=["part"], properties=PROPERTIES)
HISTORY = [
    CREATE,
    write("append", [row(3, "a"), row(4, "c")]),
    write("upsert", [row(2, "b", n=7, at=5), row(5, "a", n=7, at=5)], **KEYED),
    write("overwrite", [row(2, "b", n=8), row(6, "d")]),
    {"do": "set", "row_group_rows": 77},
    {"do": "vacuum", "retain": "0"},
]
HISTORIES = {
    "parquet": HISTORY,
    "csv": [{**CREATE, "format": "csv"}, write("append", [row(3, "a"), row(4, "c")])],
}

MARKS = {**PROPERTIES, "checkpoint_interval": 1, "update_strategy": "merge_on_read"}
MARKED = [
    write("upsert", [row(number, "a") for number in range(1, 6)], properties=MARKS, **KEYED),
    write("upsert", [row(2, "b", n=7, at=5), row(9, "a", n=7, at=5)]),
    {"do": "delete", "keys": [1, 9, 3]},
    {"do": "compact"},
    {"do": "vacuum", "retain": "0"},
]
"""Rows are marked, marked rows dropped, vectors vacuumed; each checkpoint has its list of files in parts."""


@dataclass(frozen=True)
class Found:
    """A table after a crash: how many versions it has and its rows, or what is wrong with it."""

    versions: int = 0
    rows: Sequence[Any] = ()
    wrong: str | None = None


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is known to be durable from an earlier test."""
    monkeypatch.setattr(folders, "_DURABLE", set())
    monkeypatch.setattr(folders, "_DURABLE_NAMES", {})


def another_process() -> None:
    """Forget what this process knows to be durable."""
    folders._DURABLE.clear()
    folders._DURABLE_NAMES.clear()


def record(base: Path, calls: Sequence[Call]) -> list[Event]:
    """Perform calls on a table below `base`; what they did to the disk."""
    base.mkdir()
    with Recorder(base) as recorder:
        for call in calls:
            answer = perform({**call, "path": str(base / "table")})
            assert "error" not in answer, answer
            recorder.returned()
    return recorder.events


def states_of(calls: Sequence[Call]) -> list[list[Row] | None]:
    """The rows after each number of calls, from none on; None is no table."""
    model = Model(keys=("id",))
    states: list[list[Row] | None] = [None]
    for call in calls:
        play(model, call)
        states.append(list(model.rows))
    return states


class Examiner:
    """Opens folders that a disk may hold, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[int, Found] = {}
        self.seen = 0

    @property
    def opened(self) -> int:
        """How many different folders there were."""
        return len(self._known)

    def look(self, tree: Tree) -> Found:
        """Check the log, read the table, append to it and read it again."""
        self.seen += 1
        key = hash(frozenset(tree.items()))
        if key not in self._known:
            base = self._folder / str(len(self._known))
            make(tree, base)
            self._known[key] = _examine(base / "table")
            shutil.rmtree(base)
        return self._known[key]


def _examine(root: Path) -> Found:
    try:
        versions = len(check(root, lost_power=True).versions)
        rows = tx.Table(root).to_arrow().to_pylist() if tx.exists(root) else []
    except (AssertionError, OSError, ValueError, tx.TxFilesError) as error:
        return Found(wrong=f"{type(error).__name__}: {error}")
    answer = perform(write("append", [row(99, "b")]) | {"path": str(root)})
    if answer.get("version") != versions:
        return Found(wrong=f"it takes no append: {answer}")
    if bag(tx.Table(root).to_arrow().to_pylist()) != bag([*rows, row(99, "b")]):
        return Found(wrong="an append is not what is read")
    return Found(versions, bag(rows))


def crash(
    events: Sequence[Event],
    calls: Sequence[Call],
    examiner: Examiner,
    *,
    begin: int = 0,
    done: int = 0,
    under_way: int = 1,
    after: Collection[str] = EVENTS,
    most: int = STATES,
) -> Iterator[str]:
    """Lose power after each event; what is wrong then.

    Args:
        events: what was done to the disk.
        calls: that did it, one version each.
        examiner: opens what is found.
        begin: the first event after which the power may fail.
        done: so many calls were acknowledged before the first event.
        under_way: so many calls may have made their version without being acknowledged.
        after: the events after which the power fails.
        most: so many folders are made for one event.
    """
    disk, chance, states = Disk(), random.Random(7), states_of(calls)
    acknowledged = done
    for number, event in enumerate(events):
        disk.apply(event)
        acknowledged += event.what == "returned"
        if number < begin or event.what not in after:
            continue
        for tree in disk.states(most, chance):
            found = examiner.look(tree)
            place = f"power lost after event {number} ({event}), {acknowledged} calls acknowledged: "
            if found.wrong:
                yield f"{place}{found.wrong}"
            elif not acknowledged <= found.versions <= min(acknowledged + under_way, len(calls)):
                yield f"{place}{found.versions} versions are there"
            elif found.rows != bag(states[found.versions] or []):
                yield f"{place}version {found.versions - 1} has rows {found.rows}"


def whole_points(events: Sequence[Event]) -> int:
    """After how many events every choice is tried."""
    disk, count = Disk(), 0
    for event in events:
        disk.apply(event)
        count += disk.possible <= STATES
    return count


@pytest.mark.parametrize("name", HISTORIES)
def test_power_loss(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases: Any) -> None:
    """Whatever unsynced part of the disk is lost, each acknowledged call is there, and the table goes on."""
    calls = HISTORIES[name]
    events = record(tmp_path / "recorded", calls)
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # what is examined need not last
    examiner = Examiner(tmp_path)
    wrong = list(itertools.islice(crash(events, calls, examiner), 3))
    print(f"{name}: {len(events)} crash points, {whole_points(events)} with all of their states: ", end="")
    print(f"{examiner.seen} states, {examiner.opened} different folders opened")
    cases(disks=examiner.opened)
    assert not wrong, "\n".join(wrong)
    assert len(events) > 30 * len(calls) // 2
    assert examiner.opened > 20 * len(calls)


def test_power_loss_with_marked_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases: Any) -> None:
    """Vectors, and parts of checkpoints, are there as soon as something that needs them is."""
    monkeypatch.setattr(segments, "TAIL_FILES", 0)
    events = record(tmp_path / "recorded", MARKED)
    named = [event.name for event in events if event.what in ("link", "rename")]
    assert sum(name.endswith(".bin") for name in named) == 2  # vectors
    assert sum(bool(re.fullmatch(r"\d{20}-.*\.parquet", name)) for name in named) > len(MARKED)  # parts, too
    begin = next(number for number, event in enumerate(events) if event.what == "returned")
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    examiner = Examiner(tmp_path)
    sparse: Any = {} if DEEP else {"after": ("link", "returned"), "most": 8}
    wrong = list(itertools.islice(crash(events, MARKED, examiner, begin=begin, **sparse), 3))
    cases(disks=examiner.opened)
    assert not wrong, "\n".join(wrong)
    assert examiner.opened > 10 * (len(MARKED) - 1)


# ------------------------------------------------------------ killed, taken over, and then the power fails


CLAIM = write("append", [row(3, "a"), row(4, "c")], batch_id="two")
TAKEN_OVER: dict[str, tuple[list[Call], Call, Call]] = {
    "create again": ([], {**CREATE, "batch_id": "one"}, {**CREATE, "batch_id": "one"}),
    "append again": ([CREATE], CLAIM, CLAIM),
    "append_once again": ([CREATE], *[write("append_once", [row(4, "c")], keys=["id"])] * 2),
    "set again": ([CREATE], *[{"do": "set", "row_group_rows": 77}] * 2),
    "another": ([CREATE, CREATE], write("append", [row(3, "a")]), write("append", [row(4, "b")])),
}
"""What was done before, the call that is killed, and the call of a new process after it."""


def taken_over(base: Path, name: str, at: int) -> tuple[list[Event], int, list[Call]] | None:
    """A process dies before its n-th change in a call; another process makes its own, and that returns.

    Returns:
        What was done to the disk, where the second process began, and the calls that were committed. None where the
        first process did not get so far, nothing where it is left out.
    """
    before, first, second = TAKEN_OVER[name]
    base.mkdir()
    root = base / "table"
    another_process()
    with Recorder(base) as recorder:
        for call in before:
            perform({**call, "path": str(root)})
    with Doomed(base, at) as doomed, suppress(Killed):
        doomed.follow(recorder)
        perform({**first, "path": str(root)})
        return None
    if not DEEP and {event.what for event in doomed.events[-1:]}.isdisjoint(("link", "mkdir")):
        return [], 0, []  # no name stands of which the fsync is missing
    another_process()
    with Recorder(base) as heir:
        heir.follow(doomed)
        begin = len(heir.events)
        answer = perform({**second, "path": str(root)})
        assert "error" not in answer, answer
    committed = [*before, *[first, second][-(len(check(root).versions) - len(before)) :]]
    for _ in committed[len(before) :]:
        heir.returned()
    return heir.events, begin, committed


@pytest.mark.parametrize("name", TAKEN_OVER)
def test_killed_then_taken_over_then_power_loss(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases: Any
) -> None:
    """What a call acknowledges or builds on lasts, also where a process did it that was killed before its end."""
    done = len(TAKEN_OVER[name][0])
    examiner = Examiner(tmp_path)
    wrong: list[str] = []
    for at in itertools.count(1):
        recorded = taken_over(tmp_path / f"recorded {at}", name, at)
        if recorded is None:
            break
        events, begin, calls = recorded
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda fd: None)
            # What can be found after other events can be found after these two.
            sparse: Any = {} if DEEP else {"after": ("link", "returned"), "most": 12}
            found = crash(events, calls, examiner, begin=begin, done=done, under_way=2, **sparse)
            wrong += [f"killed before change {at}, then {text}" for text in itertools.islice(found, 1)]
    print(f"{name}: {at} places to be killed at, {examiner.seen} states, {examiner.opened} different folders opened")
    cases(disks=examiner.opened)
    assert not wrong, "\n".join(wrong)
    assert at > 5
    assert examiner.opened > 5


# ------------------------------------------------------------ planted bugs


class Careless(SimpleNamespace):
    """The module `os` as the local store sees it, with some functions of its own."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def no_fsync_of_the_file(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drafts, "os", Careless(fsync=lambda fd: None))


def link_before_the_fsync(patch: pytest.MonkeyPatch) -> None:
    late: dict[int, int] = {}  # by thread: several files are written at the same time

    def fsync(fd: int) -> None:
        late[threading.get_ident()] = fd

    def link(*args: Any, **options: Any) -> None:
        os.link(*args, **options)
        os.fsync(late.pop(threading.get_ident()))

    patch.setattr(drafts, "os", Careless(fsync=fsync, link=link))


def no_fsync_of_the_folder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drafts, "sync", lambda folder: None)


def no_fsync_of_a_new_folder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(folders, "sync", lambda folder: None)


def written_in_place(patch: pytest.MonkeyPatch) -> None:
    """A name that is created first and filled then."""

    def put_if_absent(self: local.LocalStore, name: str, data: bytes) -> Put:
        way, _, last = name.rpartition("/")
        folder = self._folders.open(way.split("/"), create=True)
        try:
            fd = os.open(last, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
        except FileExistsError:
            return Put.EXISTS
        os.write(fd, data)
        os.fsync(fd)
        os.fsync(folder)
        return Put.CREATED

    patch.setattr(local.LocalStore, "put_if_absent", put_if_absent)


def vacuum_deletes_before_it_commits(patch: pytest.MonkeyPatch) -> None:
    real = vacuum.plan_vacuum

    def plan_vacuum(session: Any, base: Any, rules: Any) -> Any:
        work = real(session, base, rules)
        vacuum.delete(session.store, work.vacuum.deletes, lambda count: None)
        return work

    patch.setattr(vacuum, "plan_vacuum", plan_vacuum)


@pytest.mark.parametrize(
    "plant",
    [
        no_fsync_of_the_file,
        link_before_the_fsync,
        no_fsync_of_the_folder,
        no_fsync_of_a_new_folder,
        written_in_place,
        vacuum_deletes_before_it_commits,
    ],
)
def test_planted_bugs(plant: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: Any) -> None:
    """A store that forgets a step, or takes two in the wrong order, is found out."""
    with monkeypatch.context() as patch:
        plant(patch)
        events = record(tmp_path / "recorded", HISTORY)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    examiner = Examiner(tmp_path)
    acts = len(HISTORY) - 1 if plant is vacuum_deletes_before_it_commits else 0
    begin = [-1, *(number for number, event in enumerate(events) if event.what == "returned")][acts] + 1
    found = next(crash(events, HISTORY, examiner, begin=begin), None)
    assert found is not None, f"not found in {examiner.opened} folders"
    print(f"{plant.__name__}: found in folder {examiner.opened}: {found}")
