"""Writers of every kind and a vacuum, each killed by SIGKILL at random and begun anew, on a disk or in a bucket."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import txfiles as tx
from tests.model import bag
from tests.processes.calls import Call, digest, row
from tests.processes.checks import check
from tests.processes.mixtures import WRITING, mixture, replay, write
from tests.processes.workers import Worker

CALLS = 5
REQUESTS = 10 * CALLS
"""A process at a bucket dies at one of so many requests: at most about as many as its calls make."""
PROPERTIES = {"vacuum_grace": "0", "checkpoint_interval": 3}


@dataclass
class Smoke:
    """What all threads of the test share.

    Attributes:
        place: the table's path or URL.
        options: its storage options.
        folder: where the notes go.
        writers: how many.
        most_kills: when to end.
        seed: of all chance.
        life_seconds: a process on a disk lives at most so long.
        until: when to end instead, if there is a time.
        kills: so far.
        named: the calls that were begun, by the name that their manifests repeat.
    """

    place: str
    folder: Path
    writers: int
    most_kills: int
    life_seconds: float = 0.0
    options: dict[str, Any] | None = None
    seed: int = 1
    until: float | None = None
    kills: int = 0
    named: dict[str, Call] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.kills >= self.most_kills if self.until is None else time.monotonic() >= self.until

    def notes(self, who: int) -> Path:
        """The record of one writer."""
        return self.folder / f"notes {who}"

    def noted(self, who: int) -> list[dict[str, Any]]:
        """What a writer was told. A line that its death cut off is no note."""
        lines = self.notes(who).read_text().splitlines(keepends=True) if self.notes(who).exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]


def smoke_out(smoke: Smoke, crowd: Sequence[Worker]) -> list[dict[str, Any]]:
    """Let writers, a vacuum and a reader go on until it is over; what the reader read."""
    assert len(crowd) == smoke.writers + 2
    with ThreadPoolExecutor(len(crowd)) as pool:
        busy = [pool.submit(keep_killing, smoke, worker, who) for who, worker in enumerate(crowd[:-1])]
        reads = pool.submit(keep_reading, smoke, crowd[-1])
        for future in busy:
            future.result()
        return reads.result()


def keep_killing(smoke: Smoke, worker: Worker, who: int) -> None:
    """Begin processes that make calls, and kill them, until it is over."""
    for number in range(1_000_000):
        if smoke.over:
            return
        chance = random.Random(f"{smoke.seed} {who} {number}")
        calls = vacuums(smoke) if who == smoke.writers else writes(smoke, chance, who, number)
        job: dict[str, Any] = {"fork": True, "calls": calls, "notes": str(smoke.notes(who))}
        job["lock"] = chance.random() < 0.8
        how = chance.choice(("kill before", "kill after"))
        if smoke.options is not None:
            job["request"] = {"at": chance.randrange(1, REQUESTS), "act": how}
        elif chance.random() < 0.5:
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
        write(smoke.place, "append", delivery, batch_id=f"{who} {number}"),
        *mixture(smoke.place, chance, who, CALLS - 1),
    ]
    chance.shuffle(fresh)
    for place, call in enumerate(fresh):
        call["storage_options"] = smoke.options
        if call["do"] in WRITING:
            label = f"{who}-{number}-{place}"
            call["user_metadata"] = {"call": label}
            smoke.named[label] = call
    return [*calls, *fresh]


def vacuums(smoke: Smoke) -> list[Call]:
    call = {"do": "vacuum", "path": smoke.place, "retain": "0", "force": True, "pause": 0.02}
    return [call | {"storage_options": smoke.options}] * CALLS


def keep_reading(smoke: Smoke, worker: Worker) -> list[dict[str, Any]]:
    """Read new and old versions, some a while after they were opened; the answers."""
    answers = []
    for number in range(1_000_000):
        if smoke.over:
            break
        call = {"do": "read", "path": smoke.place, "back": number % 4, "wait": 0.02 * (number % 2)}
        answers += worker.ask({"calls": [call | {"storage_options": smoke.options}]})
    return answers


def verify(smoke: Smoke, root: Path, made: Sequence[Call], reads: list[dict[str, Any]]) -> Counter[str]:
    """Assert that the log is what the writers were told, and the rows what the log means.

    Args:
        smoke: what was done.
        root: the table, or a copy of it.
        made: what was committed before, one version each.
        reads: what was read.
    """
    log = check(root)
    states, commits = replay(log, smoke.named, made)
    labels = [label for label in commits if label is not None]
    assert len(set(labels)) == len(labels), "one call was committed twice"
    assert bag(tx.Table(root).to_arrow().to_pylist()) == bag(states[-1])
    told: Counter[str] = Counter(versions=len(log.versions), reads=len(reads))
    acknowledged = set()
    for note in (note for who in range(smoke.writers) for note in smoke.noted(who)):
        call, answer = note["call"], note["answer"]
        assert "error" not in answer, answer
        if call["do"] in WRITING and (answer["committed"] or answer["already_committed"]):
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
