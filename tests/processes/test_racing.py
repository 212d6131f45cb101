"""Processes and threads that write, read and vacuum one table at the same time, on a real disk."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import txfiles as tx
from tests.processes.calls import Call, arrow, digest, perform, row
from tests.processes.checks import check, tree
from tests.processes.mixtures import KEYED, labelled, mixture, nothing_is_left, serial, write
from tests.processes.workers import Worker, race, workers

pytestmark = pytest.mark.guarantees("S2 S3 S4 S7 S8 S9 S10 S11 S11b S14 S15 L1 L3")

WRITERS = 6


@pytest.fixture(scope="module")
def crowd() -> Iterator[list[Worker]]:
    with workers(WRITERS) as started:
        yield started


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "table"


def made(root: Path, **options: Any) -> list[Call]:
    """A table of three rows."""
    call = write(root, "append", [row(number, "abc"[number]) for number in range(3)], **options)
    perform(call)
    return [call]


def test_appends(crowd: list[Worker], root: Path) -> None:
    """Of many appends at the same time each is there once."""
    calls = [[write(root, "append", [row(w * 100 + n)]) for n in range(6)] for w in range(WRITERS)]
    labelled(calls)
    before = made(root)
    log = serial(root, calls, race(crowd, calls), before)
    assert len(log.versions) == 1 + 6 * WRITERS
    nothing_is_left(log)


def test_append_once(crowd: list[Worker], root: Path) -> None:
    """Of rows with one key that many bring at the same time, one is added."""
    chance = random.Random(1)
    calls = [
        [
            write(root, "append_once", [row(key, n=w) for key in chance.sample(range(30), 8)], keys=["id"])
            for _ in range(6)
        ]
        for w in range(WRITERS)
    ]
    labelled(calls)
    before = made(root)
    log = serial(root, calls, race(crowd, calls), before)
    ids = [found["id"] for found in log.rows(len(log.versions) - 1)]
    assert len(ids) == len(set(ids))
    nothing_is_left(log)


def test_upserts(crowd: list[Worker], root: Path) -> None:
    """Of the rows that many bring for one key the newest stays, whoever came last."""
    chance = random.Random(2)
    calls = [
        [
            write(
                root,
                "upsert",
                [row(key, chance.choice("abc"), n=w, at=chance.randrange(99)) for key in chance.sample(range(12), 5)],
                **KEYED,
            )
            for _ in range(5)
        ]
        for w in range(WRITERS)
    ]
    labelled(calls)
    before = made(root, partition_by=["part"])
    log = serial(root, calls, race(crowd, calls), before)
    newest: dict[int, int] = {}
    for given in (given for own in calls for call in own for given in call["rows"]):
        newest[given["id"]] = max(newest.get(given["id"], 0), given["time"])
    rows = {found["id"]: found["time"] for found in log.rows(len(log.versions) - 1)}
    assert {key: rows[key] for key in newest} == newest
    nothing_is_left(log)


@pytest.mark.parametrize("lock", [True, False])
def test_everything_beside_vacuum(crowd: list[Worker], root: Path, lock: bool) -> None:
    """Writers of every kind, readers and a vacuum that keeps nothing at once, with and without the lock."""
    chance = random.Random(3)
    calls = [mixture(root, chance, worker, 7) for worker in range(WRITERS - 2)]
    vacuum = {"do": "vacuum", "path": str(root), "retain": "0", "force": True, "pause": 0.02}
    read = {"do": "read", "path": str(root), "pause": 0.01}
    calls += [[vacuum] * 25, [read | {"back": n % 3, "wait": 0.02 * (n % 2)} for n in range(25)]]
    labelled(calls)
    properties = {"vacuum_grace": "0", "checkpoint_interval": 3}
    before = made(root, partition_by=["part"], properties=properties)
    log = serial(root, calls, race(crowd, calls, lock=lock), before)
    assert sum("vacuum" in version.manifest for version in log.versions) >= 3
    tx.Table(root).vacuum(retain="0", force=True)
    nothing_is_left(check(root))


@pytest.mark.parametrize("advisory", [True, False])
def test_without_hard_links(crowd: list[Worker], root: Path, advisory: bool) -> None:
    """On a file system without hard links, processes and a vacuum under one given lock neither lose nor double."""
    chance = random.Random(5)
    calls = [mixture(root, chance, worker, 6) for worker in range(WRITERS - 1)]
    calls += [[{"do": "vacuum", "path": str(root), "retain": "0", "force": True, "pause": 0.02}] * 10]
    for call in itertools.chain(*calls):
        call["lock"] = f"{root}.lock"
    labelled(calls)
    before = made(root, partition_by=["part"], properties={"vacuum_grace": "0", "checkpoint_interval": 3})
    log = serial(root, calls, race(crowd, calls, lock=advisory, links=False), before)
    assert len(log.versions) > 2 * WRITERS
    nothing_is_left(log)


def test_threads_without_hard_links(crowd: list[Worker], root: Path) -> None:
    """Likewise threads of one process."""
    own = mixture(root, random.Random(6), 0, 18)
    for call in own:
        call["lock"] = f"{root}.lock"
    labelled([own])
    before = made(root, partition_by=["part"])
    answers = crowd[0].ask({"calls": own, "threads": 6, "lock": False, "links": False})
    log = serial(root, [[call] for call in own], [[answer] for answer in answers], before)
    nothing_is_left(log)


def test_without_hard_links_and_without_a_lock(crowd: list[Worker], root: Path) -> None:
    """Every kind of commit is refused there before a row is written, and says what would help; reading goes on."""
    made(root, properties={"vacuum_grace": "0"})
    before = tree(root)
    calls: list[Call] = [
        write(root, "append", [row(9)]),
        write(root, "upsert", [row(1, n=9)], keys=["id"]),
        write(root, "overwrite", [row(9)]),
        write(Path(f"{root} new"), "append", [row(9)]),
        {"do": "set", "path": str(root), "row_group_rows": 9},
    ]
    [answers] = race(crowd, [[*calls, {"do": "read", "path": str(root)}]], links=False)
    for answer in answers[:-1]:
        assert (answer["error"], answer["committed"]) == ("no-atomic-create", "no"), answer
        assert "--lock" in answer["hint"]
    assert answers[-1] == {"version": 0, "digest": digest([row(n, "abc"[n]) for n in range(3)])}
    spare = {"_txfiles/lock", "_txfiles/hint.json"}  # the hint: a commit without data files is refused at its put
    assert tree(root) - spare == before - spare
    assert tree(Path(f"{root} new")) <= {"_txfiles/lock"}


@pytest.mark.parametrize("mode", ["append", "append_once", "upsert", "overwrite"])
def test_creation(crowd: list[Worker], root: Path, mode: str) -> None:
    """A table that several create at the same time is created once, and holds what each of them brought."""
    keyed = {"keys": ["id"]} if mode in ("append_once", "upsert") else {}
    for attempt in range(5):
        path = root / str(attempt)
        calls = [[write(path, mode, [row(w), row(w + 1)], **keyed)] for w in range(4)]
        labelled(calls)
        log = serial(path, calls, race(crowd, calls))
        assert len(log.versions) >= (1 if keyed else 4)
        nothing_is_left(log)


def test_batch_ids(crowd: list[Worker], root: Path) -> None:
    """A delivery that several make at the same time is committed once, and each is told so."""
    calls = [
        [
            write(
                root,
                mode,
                [row(key, n=number), row(key + 1, n=number)],
                batch_id=f"delivery {number}",
                **({"keys": ["id"]} if mode != "append" else {}),
            )
            for number, (mode, key) in enumerate([("append", 50), ("upsert", 0), ("append_once", 1), ("append", 60)])
        ]
        for _ in range(WRITERS)
    ]
    labelled(calls)
    answers = race(crowd, calls)
    log = serial(root, calls, answers)
    assert len(log.versions) == 4
    for told in zip(*answers, strict=True):
        assert len({answer["version"] for answer in told}) == 1
        assert sorted((answer["committed"], answer["already_committed"]) for answer in told) == [
            *[(False, True)] * (WRITERS - 1),
            (True, False),
        ]
    nothing_is_left(log)


def test_settings_beside_writes(crowd: list[Worker], root: Path) -> None:
    """Changes of properties neither stop writes nor are lost beside each other."""
    names = ["row_group_rows", "checkpoint_interval", "batch_ids_kept"]
    calls: list[list[Call]] = [[{"do": "set", "path": str(root), name: 7 + n} for n in range(4)] for name in names]
    calls += [[write(root, "append", [row(100 * w + n)]) for n in range(5)] for w in range(2)]
    calls += [[write(root, "overwrite", [row(n)], keys=["id"]) for n in range(5)]]
    labelled(calls)
    before = made(root)
    serial(root, calls, race(crowd, calls), before)
    found = tx.Table(root).properties
    assert {name: found[name] for name in names} == dict.fromkeys(names, 10)


@pytest.mark.parametrize("lock", [True, False])
def test_threads(crowd: list[Worker], root: Path, lock: bool) -> None:
    """Threads of one process are writers like any other."""
    chance = random.Random(4)
    own = mixture(root, chance, 0, 24)
    labelled([own])
    before = made(root, partition_by=["part"])
    answers = crowd[0].ask({"calls": own, "threads": 8, "lock": lock})
    each = [[call] for call in own]  # no order among them
    log = serial(root, each, [[answer] for answer in answers], before)
    nothing_is_left(log)


def test_one_table_object_for_many_threads(root: Path) -> None:
    """One `Table` may be read, refreshed and set by several threads."""
    from concurrent.futures import ThreadPoolExecutor

    made(root)
    table = tx.Table(root)

    def use(number: int) -> None:
        if number % 4 == 0:
            tx.write(arrow([row(100 + number)]), root, mode="append")
        elif number % 4 == 1:
            table.set(row_group_rows=100 + number)
        else:
            table.refresh()
            assert table.to_arrow().num_rows >= 3

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(24)))
    log = check(root)
    assert len(log.versions) == 1 + 6 + 6
    assert table.refresh().to_arrow().num_rows == 3 + 6


def test_a_stopped_holder_of_the_lock_stops_nobody(crowd: list[Worker], root: Path) -> None:
    """A process that holds the lock and does not go on costs others the stated wait, and no more."""
    made(root)
    holder = crowd[0].ask({"stop": {"path": str(root)}})["process"]
    try:
        calls = [[write(root, "append", [row(100 * w)])] for w in (1, 2)]
        labelled(calls)
        began = time.monotonic()
        answers = race(crowd[1:], calls, lock_seconds=0.3)
        waited = time.monotonic() - began
        assert not any("error" in answer for answer in itertools.chain(*answers))
        assert waited >= 0.3, "the lock was not held"
    finally:
        os.kill(holder, signal.SIGKILL)
    log = check(root)
    assert len(log.versions) == 3
    assert len(log.rows(2)) == 5


def test_the_lock_ends_with_its_holder(crowd: list[Worker], root: Path) -> None:
    """A process that was killed while it held the lock does not hold it any more."""
    made(root)
    holder = crowd[0].ask({"stop": {"path": str(root)}})["process"]
    os.kill(holder, signal.SIGKILL)
    [[answer]] = race(crowd[1:], [[write(root, "append", [row(9)], timeout=0)]], lock_seconds=60)
    assert answer["committed"]
