"""Writers of every kind and a vacuum that keeps nothing, each killed by SIGKILL at random and begun anew, for a while.

What each of them was told it notes outside of the table, before it goes on. `TXFILES_SMOKE_SECONDS=60` goes on for so
long, from a new seed each time; the seed is printed, and `TXFILES_SMOKE_SEED` brings it back (but not the timing).
"""

from __future__ import annotations

import os
import random
import secrets
import time
from pathlib import Path
from typing import Any

import pytest

import txfiles as tx
from tests.model import bag
from tests.processes.calls import perform, row
from tests.processes.checks import age, check, residue
from tests.processes.killing import CALLS, PROPERTIES, Smoke, smoke_out, verify
from tests.processes.mixtures import mixture, write
from tests.processes.workers import workers

pytestmark = pytest.mark.guarantees("S2 S3 S4 S7 S8 S10 S11 S14 S15 S16 L3 L5")

WRITERS = 4
KILLS = 40
"""How often a process is killed, where no time is given."""
LIVES = 6.0
"""A process lives at most so many times as long as these calls take where nobody else is at work."""
FOREIGN = ("notes.txt", "part=a/theirs.parquet", "_txfiles/theirs.json", "theirs/part-0.csv")


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
    with workers(WRITERS + 2) as crowd:
        for worker in crowd:
            worker.ask({"calls": mixture(tmp_path / "warm", random.Random(0), 0, 20)})
        began = time.monotonic()
        crowd[0].ask({"fork": True, "calls": mixture(tmp_path / "warm", random.Random(0), 0, CALLS)})
        life_seconds = LIVES * (time.monotonic() - began)
        until = time.monotonic() + float(seconds) if seconds else None
        smoke = Smoke(str(root), tmp_path, WRITERS, KILLS, life_seconds, seed=seed, until=until)
        reads = smoke_out(smoke, crowd)
    told = verify(smoke, root, [first], reads)
    print(f"{smoke.kills} kills; {dict(told)}")
    finish(root)
    cases(kills=smoke.kills)
    assert smoke.kills >= min(KILLS, 20)
    assert all(told[what] for what in ("acknowledged", "vacuums", "reads")), told


def finish(root: Path) -> None:
    """Assert that one more vacuum finishes what was begun, and takes nothing that is not the table's."""
    table = tx.Table(root)
    rows = bag(table.to_arrow().to_pylist())
    table.vacuum(retain="0", force=True)
    left = residue(check(root))
    assert not left.data
    if left.temporary:
        age(root, left.temporary)
        table.vacuum(retain="0", force=True)
    log = check(root)
    left = residue(log)
    assert not left.data | left.temporary
    assert {name for name in left.log if "/checkpoints/" not in name} == {"_txfiles/theirs.json"}
    assert left.foreign == {*FOREIGN, "part=b/link.parquet"} - {"_txfiles/theirs.json"}
    assert all((root / name).read_text() == "not ours" for name in FOREIGN)
    assert bag(tx.Table(root).to_arrow().to_pylist()) == rows
    assert log.oldest_readable_version > 0
    for version in range(log.oldest_readable_version):
        with pytest.raises(tx.SnapshotExpiredError):
            table.at(version=version)
