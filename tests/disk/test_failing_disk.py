"""The disk is full, over its quota, read-only or broken at each operation of every public call, in turn.

The call then ends in an error that says truly whether it was committed; nothing half done is seen or stays, and the
table goes on when the disk does.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from tests.disk.needs import can_mount
from tests.guarantees import DEEP
from tests.model import bag
from tests.processes.calls import perform, row
from tests.processes.checks import check, residue, tree
from tests.processes.failpoints import Failpoint
from tests.processes.mixtures import WRITING
from tests.processes.scenarios import SCENARIOS, Scenario, Templates, write
from txfiles.core import codec
from txfiles.store import folders

pytestmark = pytest.mark.guarantees("S2 S4 S5 S6 S7 S16 L3")

ERRORS = {
    "open": ("EMFILE", "EROFS", "ENOSPC"),
    "write": ("ENOSPC", "EDQUOT", "EIO"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT"),
    "link": ("ENOSPC", "EIO", "EROFS", "EDQUOT"),
    "mkdir": ("ENOSPC", "EROFS", "EDQUOT"),
    "rename": ("ENOSPC", "EIO", "EROFS"),
    "unlink": ("EIO", "EROFS"),
}
"""How each operation may fail. Each error is tried at each operation when looking deep; else they take turns."""

SIDECAR = Scenario("overwrite, actions in a file of their own", write("overwrite", [row(2, "b"), row(9, "c")]), 28)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return Templates(tmp_path_factory.mktemp("failing"))


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the disk counts here, not what it keeps."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def operations(scenario: Scenario, root: Path, templates: Templates) -> list[tuple[str, str]]:
    """What the call does to the disk where nothing fails."""
    templates.copy(scenario, root)
    another_process()
    with Failpoint(0) as failpoint:
        answer = perform(scenario.at(root))
    assert "error" not in answer, answer
    return failpoint.seen


def another_process() -> None:
    """Forget which names are durable, so that all fsyncs are there."""
    folders._DURABLE.clear()
    folders._DURABLE_NAMES.clear()


@pytest.mark.parametrize("scenario", [*SCENARIOS, SIDECAR], ids=str)
def test_each_operation_fails(
    scenario: Scenario, tmp_path: Path, templates: Templates, cases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever operation fails, and however, the answer is true, and the table is as before the call or after it."""
    monkeypatch.setattr("txfiles.environment.WORKERS", 1)  # else files are written in an order that nobody knows
    if scenario is SIDECAR:
        monkeypatch.setattr(codec, "INLINE_ACTIONS", 1)
    steps = operations(scenario, tmp_path / "0", templates)
    commit = max(number for number, (name, _) in enumerate(steps, 1) if name == "link")
    told: Counter[str] = Counter()
    turns = {name: itertools.cycle(errors) for name, errors in ERRORS.items()}
    for number, (name, _) in enumerate(steps, 1):
        for error in ERRORS[name] if DEEP else [next(turns[name])]:
            for lasting in (False, True) if DEEP else [number % 4 == 0]:
                root = tmp_path / f"{number} {error} {lasting}"
                templates.copy(scenario, root)
                another_process()
                with Failpoint(number, error, lasting=lasting) as failpoint:
                    answer = perform(scenario.at(root))
                assert failpoint.reached
                told[answer.get("committed", "no error") if "error" in answer else "no error"] += 1
                verify(scenario, root, answer, after_link=number >= commit, failed=failpoint.seen[number - 1][0])
                shutil.rmtree(root)
    cases(failures=sum(told.values()))
    print(f"{scenario}: {len(steps)} operations; told: {dict(told)}")
    assert told["no"] >= commit // 3
    assert told["unknown"] >= 1
    assert len(steps) >= scenario.operations


def verify(scenario: Scenario, root: Path, answer: dict[str, Any], *, after_link: bool, failed: str) -> None:
    """Assert that the answer is true, and that nothing stays but what has to."""
    log = check(root)
    made = len(log.versions) - len(scenario.before)
    left = residue(log) if (root / "_txfiles/table.json").exists() else None
    kept = set() if left is None else left.data | {name for name in left.log if "/vectors/" in name}
    told = answer["committed"] if "error" in answer else "no error"
    if "error" in answer:
        assert not answer["error"].startswith("!"), answer
        assert answer["hint"], answer
    if told == "no":
        assert made == 0, answer
        assert failed == "unlink" or not kept, left
    elif told == "unknown":
        assert after_link, answer
        assert answer["error"] == "commit-state-unknown"
        staged = scenario.call["do"] in WRITING
        assert made == 1 or not staged or kept, "what a commit may name was deleted"
    else:  # a hint, a checkpoint, the lock or a temporary file is no loss; nor what a vacuum did not delete
        assert made == 1, answer
        assert told == "no error" or scenario.call["do"] == "vacuum"
    assert failed == "unlink" or left is None or not left.temporary, left
    assert left is None or not left.foreign
    rows = tx.Table(root).to_arrow().to_pylist() if tx.exists(root) else None
    assert (None if rows is None else bag(rows)) == (
        bag(scenario.rows(times=made)) if made or scenario.before else None
    )
    goes_on(root, len(log.versions), rows or [])


def goes_on(root: Path, version: int, rows: list[Any]) -> None:
    """Assert that the table takes an append."""
    answer = perform(write("append", [row(99, "z")]) | {"path": str(root)})
    assert answer.get("version") == version, answer
    assert bag(tx.Table(root).to_arrow().to_pylist()) == bag([*rows, row(99, "z")])


@pytest.mark.parametrize("name", ["append", "upsert", "vacuum"])
def test_too_many_open_files(name: str, tmp_path: Path, templates: Templates) -> None:
    """A process that cannot open another file, be it for reading, says so and leaves the table as it was."""
    scenario = next(case for case in SCENARIOS if case.name == name)
    told: Counter[str] = Counter()
    for number in itertools.count(1):
        root = tmp_path / str(number)
        templates.copy(scenario, root)
        tx.Table(root)  # known to this process, as a table is that one writes to
        with Failpoint(number, "EMFILE", counted=("open", "read")) as failpoint:
            answer = perform(scenario.at(root))
        if not failpoint.reached:
            break
        log = check(root)
        made = len(log.versions) - len(scenario.before)
        told[answer["committed"] if "error" in answer else "no error"] += 1
        if "error" in answer:
            assert not answer["error"].startswith("!"), answer
            assert {"no": made == 0, "yes": made == 1, "unknown": True}[answer["committed"]], answer
        left = residue(log)
        assert not left.temporary
        assert name == "vacuum" or not left.data
        assert bag(tx.Table(root).to_arrow().to_pylist()) == bag(scenario.rows(times=made))
        goes_on(root, len(log.versions), scenario.rows(times=made))
        shutil.rmtree(root)
    print(f"{scenario}: {number - 1} files opened; told: {dict(told)}")
    assert told["no"] > 10


# ------------------------------------------------------------ a real one


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    can_mount()
    place = tmp_path / "disk"
    place.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", place):
        yield place


@contextmanager
def mounted(*how: Any) -> Iterator[None]:
    subprocess.run(["mount", *map(str, how)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(how[-1])], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """On a disk that is really full writes fail and leave nothing; when there is room again they go on."""
    root = small_disk / "table"
    perform(write("append", [row(1)], properties={"vacuum_grace": "0"}) | {"path": str(root)})
    (small_disk / "ballast").write_bytes(bytes(128 * 1024))
    wide = pa.table({"id": range(1_000), "part": ["x"] * 1_000, "n": [7] * 1_000, "time": [5] * 1_000})
    failures = 0
    for number in range(600):
        before = tree(root)
        try:
            tx.write(wide.slice(0, 1 + 97 * number % 1_000), root, mode="append")
        except tx.TxFilesError as error:
            failures += 1
            assert error.committed == "no", error
            assert "no space left" in (error.hint or "")
            assert tree(root) - before <= {"_txfiles/lock"}
        if failures == 20:
            break
    assert failures == 20, "the disk was never full"
    log = check(root)
    found = residue(log)
    assert not found.data | found.temporary | found.foreign
    expected = tx.Table(root).to_arrow().num_rows
    assert expected == sum(version.manifest["metrics"]["rows_inserted"] for version in log.versions)
    (small_disk / "ballast").unlink()
    goes_on(root, len(log.versions), tx.Table(root).to_arrow().to_pylist())


def test_a_disk_that_becomes_read_only(small_disk: Path) -> None:
    """A file system that is mounted read-only reads, refuses writes by name, and goes on when it may be written."""
    root = small_disk / "table"
    perform(write("append", [row(1)]) | {"path": str(root)})
    before = tree(root)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    calls = [write("append", [row(2)]), write("overwrite", [row(2)]), {"do": "set", "row_group_rows": 9}]
    for call in calls:
        answer = perform({**call, "path": str(root)})
        assert (answer["error"], answer["committed"]) == ("store", "no"), answer
        assert "read-only" in answer["hint"]
    assert tx.Table(root).to_arrow().to_pylist() == [row(1)]
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert tree(root) == before
    goes_on(root, 1, [row(1)])
