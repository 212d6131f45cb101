"""Writers of every kind and a vacuum that keeps nothing, each killed by SIGKILL at random and begun anew, for a while.

What each of them was told it notes outside of the table, before it goes on. `TXFILES_SMOKE_SECONDS=60` goes on for so
long, from a new seed each time; the seed is printed, and `TXFILES_SMOKE_SEED` brings it back (but not the timing).
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import txfiles as tx
from tests.model import bag
from tests.processes.calls import Call, digest, perform, row
from tests.processes.checks import age, check, residue
from tests.processes.mixtures import mixture, replay, write
from tests.processes.workers import Worker, workers

pytestmark = pytest.mark.guarantees("S2 S3 S4 S7 S8 S10 S11 S14 S15 S16 L3 L5")

WRITERS = 4
KILLS = 40
"""How often a process is killed, where no time is given."""
CALLS = 5
LIVES = 6.0
"""A process lives at most so many times as long as these calls take where nobody else is at work."""
PROPERTIES = {"vacuum_grace": "0", "checkpoint_interval": 3}
FOREIGN = ("notes.txt", "part=a/theirs.parquet", "_txfiles/theirs.json", "theirs/part-0.csv")


@dataclass
class Smoke:
    """What all threads of the test share.

    Attributes:
        root: the table.
        seed: of all chance.
        until: when to end; None is after so many kills.
        life_seconds: a process lives at most so long.
        kills: so far.
        named: the calls that were begun, by the name that their manifests repeat.
    """

    root: Path
    seed: int
    until: float | None
    life_seconds: float
    kills: int = 0
    named: dict[str, Call] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.kills >= KILLS if self.until is None else time.monotonic() >= self.until

    def notes(self, who: int) -> Path:
        """The record of one writer."""
        return self.root.parent / f"notes {who}"

    def noted(self, who: int) -> list[dict[str, Any]]:
        """What a writer was told. A line that its death cut off is no note."""
        lines = self.notes(who).read_text().splitlines(keepends=True) if self.notes(who).exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]


def keep_killing(smoke: Smoke, worker: Worker, who: int) -> None:
    """Begin processes that make calls, and kill them, until it is over."""
    for number in range(1_000_000):
        if smoke.over:
            return
        chance = random.Random(f"{smoke.seed} {who} {number}")
        calls = vacuums(smoke) if who == WRITERS else writes(smoke, chance, who, number)
        job: dict[str, Any] = {"fork": True, "calls": calls, "notes": str(smoke.notes(who))}
        job["lock"] = chance.random() < 0.8
        if chance.random() < 0.5:
            job["kill_after"] = chance.uniform(0, smoke.life_seconds)
        else:  # by the clock most die waiting: these die as soon as something has got its name
            job["failpoint"] = {"at": chance.randrange(1, 3 * CALLS), "act": "kill after", "counted": ["link"]}
        ended = worker.ask(job)
        if ended["status"]:
            assert os.WTERMSIG(ended["status"]) == signal.SIGKILL
            smoke.kills += 1


def writes(smoke: Smoke, chance: random.Random, who: int, number: int) -> list[Call]:
    """What a writer does next: its deliveries of which it was told nothing once more, then something new."""
    told = {note["call"]["user_metadata"]["call"] for note in smoke.noted(who) if "user_metadata" in note["call"]}
    mine = {label: call for label, call in smoke.named.copy().items() if label.startswith(f"{who}-")}
    calls = [call for label, call in mine.items() if "batch_id" in call and label not in told]
    delivery = [row(10_000 + 1_000 * who + number, "d")]
    fresh = [
        write(smoke.root, "append", delivery, batch_id=f"{who} {number}"),
        *mixture(smoke.root, chance, who, CALLS - 1),
    ]
    chance.shuffle(fresh)
    for place, call in enumerate(fresh):
        if call["do"] == "write":
            label = f"{who}-{number}-{place}"
            call["user_metadata"] = {"call": label}
            smoke.named[label] = call
    return [*calls, *fresh]


def vacuums(smoke: Smoke) -> list[Call]:
    return [{"do": "vacuum", "path": str(smoke.root), "retain": "0", "force": True, "pause": 0.02}] * CALLS


def keep_reading(smoke: Smoke, worker: Worker) -> list[dict[str, Any]]:
    """Read new and old versions, some a while after they were opened; the answers."""
    answers = []
    for number in range(1_000_000):
        if smoke.over:
            break
        call = {"do": "read", "path": str(smoke.root), "back": number % 4, "wait": 0.02 * (number % 2)}
        answers += worker.ask({"calls": [call]})
    return answers


def test_killed_at_random(tmp_path: Path, cases: Any) -> None:
    """Nothing that was acknowledged is lost, nothing happens twice, no file of a live version or a stranger goes."""
    seconds = os.environ.get("TXFILES_SMOKE_SECONDS")
    seed = int(os.environ.get("TXFILES_SMOKE_SEED", secrets.randbelow(10**6) if seconds else 1))
    print(f"seed {seed}")
    root = tmp_path / "table"
    first = write(root, "append", [row(n, "abc"[n]) for n in range(3)], partition_by=["part"], properties=PROPERTIES)
    assert perform(first)["committed"]
    for name in FOREIGN:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("not ours")
    (root / "part=b/link.parquet").symlink_to("../notes.txt")
    with workers(WRITERS + 2) as crowd, ThreadPoolExecutor(WRITERS + 2) as pool:
        for worker in crowd:
            worker.ask({"calls": mixture(tmp_path / "warm", random.Random(0), 0, 20)})
        began = time.monotonic()
        crowd[0].ask({"fork": True, "calls": mixture(tmp_path / "warm", random.Random(0), 0, CALLS)})
        life_seconds = LIVES * (time.monotonic() - began)
        smoke = Smoke(root, seed, time.monotonic() + float(seconds) if seconds else None, life_seconds)
        busy = [pool.submit(keep_killing, smoke, worker, who) for who, worker in enumerate(crowd[:-1])]
        reads = pool.submit(keep_reading, smoke, crowd[-1])
        for future in busy:
            future.result()
    told = verify(smoke, first, reads.result())
    print(f"{smoke.kills} kills; {dict(told)}")
    finish(smoke)
    cases(kills=smoke.kills)
    assert smoke.kills >= min(KILLS, 20)
    assert all(told[what] for what in ("acknowledged", "vacuums", "reads")), told


def verify(smoke: Smoke, first: Call, reads: list[dict[str, Any]]) -> Counter[str]:
    """Assert that the log is what the writers were told, and the rows what the log means."""
    log = check(smoke.root)
    states, commits = replay(log, smoke.named, [first])
    labels = [label for label in commits if label is not None]
    assert len(set(labels)) == len(labels), "one call was committed twice"
    assert bag(tx.Table(smoke.root).to_arrow().to_pylist()) == bag(states[-1])
    told: Counter[str] = Counter(versions=len(log.versions), reads=len(reads))
    acknowledged = set()
    for note in (note for who in range(WRITERS) for note in smoke.noted(who)):
        call, answer = note["call"], note["answer"]
        assert "error" not in answer, answer
        if call["do"] == "write" and (answer["committed"] or answer["already_committed"]):
            label = call["user_metadata"]["call"]
            acknowledged.add(label)
            assert commits[answer["version"]] == label, "what was acknowledged is not there"
            if answer["committed"]:
                assert log.versions[answer["version"]].manifest["commit_id"] == answer["commit_id"]
    told["acknowledged"] = len(acknowledged)
    told["settled by the log"] = len(set(labels) - acknowledged)
    told["vacuums"] = sum("vacuum" in version.manifest for version in log.versions)
    for answer in reads:
        if answer.get("error") == "snapshot-expired":
            told["expired reads"] += 1
            continue
        assert "error" not in answer, answer
        assert answer["digest"] == digest(states[answer["version"]])
    return told


def finish(smoke: Smoke) -> None:
    """Assert that one more vacuum finishes what was begun, and takes nothing that is not the table's."""
    table = tx.Table(smoke.root)
    rows = bag(table.to_arrow().to_pylist())
    table.vacuum(retain="0", force=True)
    left = residue(check(smoke.root))
    assert not left.data
    if left.temporary:
        age(smoke.root, left.temporary)
        table.vacuum(retain="0", force=True)
    log = check(smoke.root)
    left = residue(log)
    assert not left.data | left.temporary
    assert {name for name in left.log if "/checkpoints/" not in name} == {"_txfiles/theirs.json"}
    assert left.foreign == {*FOREIGN, "part=b/link.parquet"} - {"_txfiles/theirs.json"}
    assert all((smoke.root / name).read_text() == "not ours" for name in FOREIGN)
    assert bag(tx.Table(smoke.root).to_arrow().to_pylist()) == rows
    assert log.oldest_readable_version > 0
    for version in range(log.oldest_readable_version):
        with pytest.raises(tx.SnapshotExpiredError):
            table.at(version=version)
