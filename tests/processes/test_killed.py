"""A process is killed at each operation by which a call changes the disk, in turn, until the call runs through.

After each kill another process finds the table as it was before the call or after it, and needs no repair.
`kill -9` says nothing of a power loss: what is not yet fsynced is still there. The order of fsyncs is tested elsewhere.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import txfiles as tx
from tests.guarantees import DEEP
from tests.model import Row, bag
from tests.processes.calls import perform, row
from tests.processes.checks import age, check, residue, tree
from tests.processes.scenarios import MARKED, PROPERTIES, SCENARIOS, Scenario, Templates, write
from tests.processes.workers import Worker, workers

pytestmark = pytest.mark.guarantees("S2 S4 S7 S14 S16 L3 L5")

THOROUGH = ("create", "append", "upsert", "compact", "vacuum", "upsert, marked")
"""Calls that are killed at each operation at every change; the others, whose operations are like theirs, at some."""

STEP = 1 if DEEP else 3

TWO_AT_WORK = Scenario(
    "upsert, a checkpoint as others left it",
    write("upsert", [row(1, n=3, at=9), row(3, "b", n=3, at=9), row(4, "c", n=3, at=9)]),
    30,
)


@pytest.fixture(scope="module")
def child() -> Iterator[Worker]:
    with workers(1) as [started]:
        yield started


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return Templates(tmp_path_factory.mktemp("killed"))


def rows(root: Path) -> list[Row] | None:
    """What a reader finds; None is no table."""
    return tx.Table(root).to_arrow().to_pylist() if tx.exists(root) else None


@pytest.mark.parametrize("how", ["kill before", "kill after"] if DEEP else ["kill before"])
@pytest.mark.parametrize("scenario", [*SCENARIOS, TWO_AT_WORK], ids=str)
def test_killed_at_each_operation(
    scenario: Scenario, how: str, child: Worker, tmp_path: Path, templates: Templates
) -> None:
    """Wherever a process is killed, the call has happened or not, and made again it has happened once."""
    before = bag(scenario.rows(times=0)) if scenario.before else None
    after = bag(scenario.rows(times=1))
    killed = []
    first, step = (1, 1) if scenario.name in THOROUGH else (1 + len(scenario.name) % STEP, STEP)
    for number in itertools.count(first, step):
        root = tmp_path / str(number)
        templates.copy(scenario, root)
        failpoint = {"at": number, "act": how}
        ended = child.ask({"fork": True, "failpoint": failpoint, "calls": [scenario.at(root)]})
        if ended["status"] == 0:
            assert "error" not in ended["answers"][0], ended
            break
        assert os.WIFSIGNALED(ended["status"])
        assert os.WTERMSIG(ended["status"]) == signal.SIGKILL
        killed.append(number)
        happened = look(scenario, root, before, after)
        again(scenario, root, happened=happened)
        sweep_up(scenario, root)
    assert killed[-1] + step > scenario.operations


def look(scenario: Scenario, root: Path, before: list[object] | None, after: list[object]) -> bool:
    """Find the table whole, before or after the call; whether the call has happened."""
    log = check(root)
    happened = len(log.versions) > len(scenario.before)
    assert len(log.versions) <= len(scenario.before) + 1
    found = rows(root)
    assert (None if found is None else bag(found)) == (after if happened else before)
    for version in range(log.oldest_readable_version, len(log.versions)):
        tx.Table(root).at(version=version).to_arrow()
    return happened


def again(scenario: Scenario, root: Path, *, happened: bool) -> None:
    """The same call once more leaves what one call leaves; an append without a batch id, what two leave."""
    answer = perform(scenario.at(root))
    assert "error" not in answer, answer
    found = rows(root)
    assert found is not None
    assert bag(found) == bag(scenario.rows(times=2 if happened else 1))
    made = len(check(root).versions) - len(scenario.before)
    call = scenario.call
    if scenario.repeats:
        assert made == 1 + happened
    elif call["do"] == "vacuum" or (call.get("mode") == "overwrite" and "batch_id" not in call):
        assert made in (1, 2)  # an overwrite again is a version again, and so is a vacuum that has something to finish
    else:
        assert made == 1
    if scenario.call["do"] == "set":
        assert tx.Table(root).properties["row_group_rows"] == 77


def sweep_up(scenario: Scenario, root: Path) -> None:
    """A vacuum takes all that the killed process left behind: temporary files once they are an hour old."""
    table = tx.Table(root)
    if table.properties["vacuum_grace"] != "0":
        table.set(vacuum_grace="0")
    was = bag(table.to_arrow().to_pylist())
    table.vacuum(retain="0")
    left = residue(check(root))
    assert not left.data
    assert not left.foreign
    if left.temporary:
        age(root, left.temporary)
        table.vacuum(retain="0")
        left = residue(check(root))
        assert not left.temporary
    # Of checkpoints that no manifest names, only one that a writer to come may yet name stays.
    assert all(name.startswith("_txfiles/checkpoints/") for name in left.log)
    assert len(left.log) <= 1
    assert bag(tx.Table(root).to_arrow().to_pylist()) == was


def test_a_detach_that_was_killed_is_finished_by_the_next(child: Worker, tmp_path: Path, templates: Templates) -> None:
    """Wherever it is killed, another process reads the table, or is told; the next call leaves exactly its rows."""
    scenario = Scenario("detach", {"do": "detach"}, 40, before=MARKED)
    want = bag(scenario.rows(times=0))
    reached = 0
    for number in itertools.count(1, 1 if DEEP else 5):
        root = tmp_path / str(number)
        templates.copy(scenario, root)
        (root / "part=a" / "theirs.parquet.bak").write_text("theirs")
        failpoint = {"at": number, "act": "kill before"}
        ended = child.ask({"fork": True, "failpoint": failpoint, "calls": [scenario.at(root)]})
        if tx.exists(root):
            assert bag(tx.Table(root).to_arrow().to_pylist()) == want
        again = perform(scenario.at(root))
        assert again.get("error") in (None, "not-found"), again
        left = {str(name.relative_to(root)) for name in root.rglob("*") if name.is_file()}
        assert all(name.rpartition("/")[2].startswith("part-") for name in left - {"part=a/theirs.parquet.bak"}), left
        assert "part=a/theirs.parquet.bak" in left
        assert not [name for name in os.listdir(root) if name.startswith("_txfiles")]
        hive = ds.partitioning(pa.schema([("part", pa.string())]), flavor="hive")
        files = sorted(str(root / name) for name in left if name.endswith(".parquet"))
        assert bag(ds.dataset(files, partitioning=hive, partition_base_dir=str(root)).to_table().to_pylist()) == want
        if ended["status"] == 0:
            break
        assert os.WTERMSIG(ended["status"]) == signal.SIGKILL
        reached = number
    assert reached > scenario.operations


def test_a_killed_creation_is_no_table(child: Worker, tmp_path: Path) -> None:
    """What a killed creation leaves is no table, and no hindrance to one of another form."""
    scenario = SCENARIOS[0]
    for number in itertools.count(1):
        root = tmp_path / str(number)
        failpoint = {"at": number, "act": "kill before"}
        ended = child.ask({"fork": True, "failpoint": failpoint, "calls": [scenario.at(root)]})
        if ended["status"] == 0 or check(root).versions:
            break
        assert not tx.exists(root)
        with pytest.raises(tx.TableNotFoundError):
            tx.Table(root)
        answer = perform(write("overwrite", [row(7)], format="csv", properties=PROPERTIES) | {"path": str(root)})
        assert answer.get("committed"), answer
        assert rows(root) == [row(7)]
        assert tx.Table(root).format == "csv"
    assert number > 10


def test_a_vacuum_that_was_killed_is_finished_by_the_next(child: Worker, tmp_path: Path, templates: Templates) -> None:
    """Files that a vacuum listed, and died before it deleted them, go with the next one, whatever that one keeps."""
    scenario = next(case for case in SCENARIOS if case.name == "vacuum")
    finished = 0
    for number in itertools.count(1):
        root = tmp_path / str(number)
        templates.copy(scenario, root)
        failpoint = {"at": number, "act": "kill before"}
        ended = child.ask({"fork": True, "failpoint": failpoint, "calls": [scenario.at(root)]})
        if ended["status"] == 0:
            break
        listed = check(root).versions[-1].manifest.get("vacuum", {}).get("deletes", ())
        standing = {name for name in listed if name in tree(root)}
        if standing:
            result = tx.Table(root).vacuum(retain="1000d")
            assert standing <= set(result.deleted)
            assert not standing & tree(root)
            finished += 1
    assert finished >= 2
