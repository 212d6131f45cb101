"""Processes that write, read and vacuum one table in a bucket at the same time, and some that are killed meanwhile."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guarantees import DEEP
from tests.processes.calls import Call, perform, row
from tests.processes.checks import Log, check
from tests.processes.killing import PROPERTIES, Smoke, smoke_out, verify
from tests.processes.mixtures import labelled, mixture, nothing_is_left, serial, write
from tests.processes.workers import Worker, race, workers
from tests.services.fixtures import WAYS, Way, arrow_of, copied

pytestmark = [
    pytest.mark.slow,
    pytest.mark.guarantees("S2 S3 S4 S7 S8 S9 S10 S11 S11b S14 S15"),
    pytest.mark.parametrize("way", WAYS if DEEP else WAYS[:3], indirect=True, ids="-".join),
]

WRITERS, KILLED_WRITERS = 3, 2
KILLS = 6
LIBRARIES = {"s3fs": "s3", "obstore": "obstore_azure", "adlfs": "adls"}


@pytest.fixture(scope="module")
def crowd() -> Iterator[list[Worker]]:
    with workers(WRITERS + 2) as started:
        yield started


def copy(way: Way, url: str, folder: Path) -> Path:
    """The table as it is now, to be looked at without the library."""
    assert copied(arrow_of(way.kind, way.server.url), url, folder)
    return folder


def made(way: Way, url: str) -> Call:
    """A table of three rows."""
    rows = [row(number, "abc"[number]) for number in range(3)]
    call = write(url, "append", rows, partition_by=["part"], properties=PROPERTIES, storage_options=way.options())
    assert perform(call)["committed"]
    return call


def swept_up(way: Way, url: str, folder: Path) -> Log:
    """The table after one more vacuum, which finishes what was begun and leaves nothing of what was given up."""
    vacuum = {"do": "vacuum", "path": url, "retain": "0", "force": True, "storage_options": way.options()}
    assert "error" not in perform(vacuum)
    log = check(copy(way, url, folder))
    nothing_is_left(log)
    return log


def test_writers_beside_a_vacuum(way: Way, crowd: list[Worker], tmp_path: Path) -> None:
    """Writers of every kind, a reader and a vacuum that keeps nothing at once are as if one came after the other."""
    url, chance = way.fresh_url(), random.Random(3)
    first = made(way, url)
    calls = [mixture(url, chance, worker, 3) for worker in range(WRITERS)]
    calls += [[{"do": "vacuum", "path": url, "retain": "0", "force": True, "pause": 0.3} for _ in range(6)]]
    calls += [[{"do": "read", "path": url, "back": n % 3, "wait": 0.1 * (n % 2)} for n in range(6)]]
    for call in itertools.chain(*calls):
        call["storage_options"] = way.options()
    labelled(calls)
    answers = race(crowd, calls)
    log = serial(copy(way, url, tmp_path / "after"), calls, answers, [first])
    assert any("vacuum" in version.manifest for version in log.versions)
    swept_up(way, url, tmp_path / "swept up")


@pytest.mark.parametrize("mode", ["upsert", "append_once"])
def test_the_same_new_keys(way: Way, crowd: list[Worker], mode: str, tmp_path: Path) -> None:
    """Processes that bring the same new keys at once leave each key once."""
    url = way.fresh_url()
    first = made(way, url)
    calls = [
        [
            write(url, mode, [row(key, n=w) for key in range(50)], keys=["id"], storage_options=way.options())
            for _ in range(2)
        ]
        for w in range(WRITERS)
    ]
    labelled(calls)
    answers = race(crowd[:WRITERS], calls)
    log = serial(copy(way, url, tmp_path), calls, answers, [first])
    assert sorted(found["id"] for found in log.rows(len(log.versions) - 1)) == list(range(50))
    nothing_is_left(log)


def test_killed_at_random(way: Way, tmp_path: Path, cases) -> None:
    """Whenever writers and a vacuum are killed: what was acknowledged is there, nothing is there twice, and a vacuum
    takes what they left."""
    url = way.fresh_url()
    first = made(way, url)
    with workers(KILLED_WRITERS + 2) as crowd:
        for worker in crowd:  # a fork may not inherit connections, but what is imported
            warm = mixture(tmp_path / "warm", random.Random(0), 0, 8)
            worker.ask({"calls": warm, "imports": [f"txfiles.store.{LIBRARIES[way.backend]}"]})
        smoke = Smoke(url, tmp_path, KILLED_WRITERS, KILLS, options=way.options())
        reads = smoke_out(smoke, crowd)
    told = verify(smoke, copy(way, url, tmp_path / "after"), [first], reads)
    print(f"{smoke.kills} kills; {dict(told)}")
    cases(kills=smoke.kills)
    assert all(told[what] for what in ("acknowledged", "reads")), told
    swept_up(way, url, tmp_path / "swept up")
