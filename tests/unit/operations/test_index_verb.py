"""`Table.index`: a build covers every file once, a drop leaves none, a check finds what is wrong; no answer changes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import txfiles as tx
from tests.unit.operations.test_key_index import World, batch, forge, scattered, spoilt
from txfiles import environment, inputs
from txfiles.cli.main import cli
from txfiles.core import names
from txfiles.core import runs as tiers
from txfiles.log import index
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.operations import key_index
from txfiles.options import IndexOptions, Request, VacuumOptions, check
from txfiles.targets.files import index as index_verb
from txfiles.targets.files import upkeep, writes
from txfiles.writing import index_runs

pytestmark = pytest.mark.usefixtures("index_of_small_tables")


def act(world: World, action: str, **options: Any) -> Any:
    return index_verb.index(world.session, world.head, IndexOptions(action=action, **options))[0]


def filled(count: int, key_index: str = "auto", **properties: Any) -> World:
    world = World(key_index, **properties)
    for number in range(count):
        world.write(scattered(number), "append_once", keys=("id",))
    return world


def everything(count: int) -> pa.Table:
    return pa.concat_tables([scattered(number) for number in range(count)])


def test_a_build_covers_every_file_once() -> None:
    """One commit, whose runs are right; later commits keep the index, and a second build has nothing to do."""
    world = filled(3)
    assert act(world, "show").runs == 0
    told: list[tuple[int, int | None]] = []
    done = act(world, "build", progress=lambda step: told.append((step.done, step.total)))
    assert (done.committed, done.version, done.key_index, done.runs, done.keys) == (True, 3, "on", 1, 60)
    assert (done.files_covered, done.files_not_covered, done.problems) == (3, 0, ())
    assert done.bytes == sum(run.bytes for run in world.head.state.runs)
    assert told[:3] == [(1, 3), (2, 3), (3, 3)]
    assert world.write(everything(3), "append_once").files_scanned == 0
    world.write(scattered(3), "append_once")
    assert len(world.head.state.runs) == 2
    assert not act(world, "build").committed
    assert act(world, "check").problems == ()
    assert world.rows.num_rows == 80


def test_a_build_covers_what_is_missing() -> None:
    """Runs that are there stay; files that were added without the index, and those of a lost run, are covered anew."""
    world = filled(3, "on")
    upkeep.set_table_properties(world.session, world.head, {"key_index": "off"})
    world.write(scattered(3), "append_once")
    lost = world.head.state.runs[0]
    world.replace_run(lost.path, None)
    found = act(world, "show")
    assert (found.files_covered, found.files_not_covered) == (2, 2)
    assert lost.name in found.problems[0]
    done = act(world, "build")
    assert (done.files_covered, done.files_not_covered, done.runs, done.problems) == (4, 0, 3, ())
    assert lost.name not in [run.name for run in world.head.state.runs]
    assert not world.problems()


def test_an_empty_table_is_built_for_later() -> None:
    """With nothing to cover, later commits keep an index all the same."""
    world = World("off")
    world.write(batch(), "append_once", keys=("id",))
    assert act(world, "build").committed
    assert not act(world, "build").committed
    world.write(batch(1), "append_once")
    assert len(world.head.state.runs) == 1


def test_marked_rows_are_in_a_run_that_is_built() -> None:
    """Positions are those of the file, whatever is marked in it; the vector judges what is found."""
    world = World("off", update_strategy="merge_on_read")
    world.write(batch(1, 2, 3, 4), "append_once", keys=("id",))
    world.delete([1, 2])
    assert act(world, "build").keys == 4
    assert not world.problems()
    result = world.write(batch(1, 3, 4), "append_once")
    assert (result.rows_inserted, result.rows_skipped, result.files_scanned) == (1, 2, 0)


@pytest.mark.parametrize("count", [1, 17])
def test_a_build_merges_full_tiers(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large they are: no tier is full afterwards, and of what was written on the way nothing is left."""
    monkeypatch.setattr(index_runs, "RUN_ENTRIES", 20)
    monkeypatch.setattr(tiers, "MERGED_ENTRIES_MOST", 0)
    world = filled(count)
    done = act(world, "build")
    assert (done.runs, done.files_covered, done.keys) == (count // 8 + count % 8, count, 20 * count)
    assert set(world.runs) == {run.path for run in world.head.state.runs}
    assert not world.problems()
    assert not act(world, "build").committed
    assert world.write(everything(count), "append_once").files_scanned == 0


def test_runs_of_small_files_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run names each of its files, so it covers no more than some."""
    monkeypatch.setattr(index_runs, "RUN_FILES", 2)
    world = filled(5)
    act(world, "build")
    assert [run.files for run in world.head.state.runs] == [2, 2, 1]


def test_a_drop_leaves_no_run() -> None:
    """One commit, after which none is written or asked; a build makes the index anew; nothing to drop is no commit."""
    world = filled(2, "on")
    done = act(world, "drop")
    assert (done.committed, done.runs, done.key_index, done.files_not_covered) == (True, 0, "off", 2)
    assert not act(world, "drop").committed
    world.write(scattered(2), "append_once")
    assert world.head.state.runs == ()
    assert act(world, "build").files_covered == 3
    assert not act(filled(1), "drop").committed
    assert world.rows.num_rows == 60


def test_dropped_runs_go_with_a_vacuum() -> None:
    """No version needs them; the secret stays."""
    world = filled(2, "on", vacuum_grace="0")
    act(world, "drop")
    upkeep.vacuum(world.session, world.head, VacuumOptions(retain="0"))
    assert world.runs == []
    assert world.store.get(names.INDEX_SEED_FILE, limit=100) is not None


def beside(world: World, theirs: Any) -> Any:
    """Make another process do something between the plan of a build or drop and its commit, once."""
    other = World()
    other.store = world.store
    other.session = Session(world.store, environment.real(), SnapshotCache())
    left = [theirs]

    def planned(real: Any) -> Any:
        def plan(*given: Any) -> Any:
            found = real(*given)
            if left:
                left.pop()(other)
            return found

        return plan

    patch = pytest.MonkeyPatch()
    patch.setattr(key_index, "plan_build", planned(key_index.plan_build))
    patch.setattr(key_index, "plan_drop", planned(key_index.plan_drop))
    return patch.context()


RACES: dict[str, Any] = {
    "append": lambda other: other.write(scattered(70), "append"),
    "upsert": lambda other: other.write(scattered(1).set_column(1, "v", pa.array([1] * 20)), "upsert"),
    "compact": lambda other: other.compact(),
    "build": lambda other: act(other, "build"),
    "drop": lambda other: act(other, "drop"),
    "set": lambda other: upkeep.set_table_properties(other.session, other.head, {"row_group_rows": 5}),
    "other keys": lambda other: other.write(batch(1, v=1), "overwrite", keys=("v",), rekey=True),
    "merges": lambda other: [other.write(scattered(80 + number), "append_once") for number in range(9)],
}


@pytest.mark.parametrize(
    ("theirs", "action", "before"),
    [
        *((theirs, *mine) for theirs in RACES for mine in (("build", "auto"), ("drop", "on")) if theirs != "merges"),
        *((theirs, "build", "on") for theirs in ("append", "drop", "merges")),
    ],
)
def test_beside_others(theirs: str, action: str, before: str) -> None:
    """A build or drop that loses a race is committed after all, says what is covered, and takes no row away."""
    world = filled(4, before)
    if before == "on":
        upkeep.set_table_properties(world.session, world.head, {"key_index": "off"})
        world.write(scattered(4), "append_once")
        upkeep.set_table_properties(world.session, world.head, {"key_index": "on"})
    with beside(world, RACES[theirs]) as patch:
        done = act(world, action)
        patch.undo()
    head = world.head
    assert done.version == head.state.version
    assert done.key_index == head.state.table.properties["key_index"]
    assert not world.problems()
    assert done.files_covered + done.files_not_covered == head.file_count
    keys = world.rows[head.state.table.keys[0]].to_pylist()
    again = world.write(world.rows, "append_once")
    assert (again.rows_inserted, again.rows_skipped) == (0, len(keys))
    if action == "build":
        act(world, "build")
        assert act(world, "check").files_not_covered == 0


def test_two_builds_at_once_make_one_index() -> None:
    """The second sees the first, and has nothing to do."""
    world = filled(3)
    with beside(world, RACES["build"]) as patch:
        done = act(world, "build")
        patch.undo()
    assert (done.committed, done.runs) == (False, 1)
    assert len(world.runs) == 1


CHECKED: dict[str, Any] = {
    "a damaged block": (lambda data: spoilt(data, 3), "a block is damaged"),
    "missing": (lambda data: None, "it is missing"),
    "cut off": (lambda data: data[:-1], "cut off"),
}


@pytest.mark.parametrize("damage", CHECKED)
def test_a_check_names_each_run_that_is_no_use(damage: str) -> None:
    """Which, and why; the others count as covering their files."""
    world = filled(3, "on")
    victim = world.head.state.runs[1]
    data = world.store.get(victim.path, limit=10**6)
    assert data is not None
    spoil, told = CHECKED[damage]
    world.replace_run(victim.path, spoil(data))
    world.forget()
    found = act(world, "check")
    [problem] = found.problems
    assert problem.startswith(victim.name)
    assert told in problem
    assert (found.files_covered, found.files_not_covered) == (2, 1)
    assert not found.committed


def test_a_check_finds_a_run_that_lies() -> None:
    """One whose checksums are right, and whose keys are those of another file."""
    world = World("on")
    world.write(batch(1, 2, 3), "upsert", keys=("id",))
    world.write(batch(900, 5, 6), "upsert")
    first, second = world.head.state.runs
    data = world.store.get(first.path, limit=10**6)
    assert data is not None
    paths = world.head.files["path"].to_pylist()
    forge(world, second, data, paths[0], paths[1])
    world.forget()
    for action, count in (("show", 0), ("check", 1)):
        found = act(world, action).problems
        assert sum("does not have each key" in problem for problem in found) == count


def test_without_its_secret_an_index_is_built_anew() -> None:
    """Runs of a secret that is lost are no use and go; one that is damaged is an error that says what to do."""
    world = filled(2, "on")
    world.store.delete_many([names.INDEX_SEED_FILE])
    world.forget()
    assert len(act(world, "show").problems) == 2
    done = act(world, "build")
    assert (done.runs, done.files_covered, done.problems) == (1, 2, ())
    world.store.delete_many([names.INDEX_SEED_FILE])
    world.store.put_if_absent(names.INDEX_SEED_FILE, b"short")
    world.forget()
    with pytest.raises(tx.CorruptTableError, match="secret is damaged") as raised:
        act(world, "build")
    assert "delete that file" in (raised.value.hint or "")


def test_a_build_that_cannot_write_fails(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Unlike a write, which does without its run; nothing is committed or left behind."""
    world = filled(2)
    version = world.head.state.version

    def full(*_: Any, **__: Any) -> Any:
        raise tx.StoreError("the disk is full", hint="make room", committed="no")

    monkeypatch.setattr(index_runs, "write_run", full)
    with caplog.at_level(logging.ERROR, "txfiles"), pytest.raises(tx.StoreError, match="the disk is full"):
        act(world, "build")
    assert (world.head.state.version, world.runs) == (version, [])


def test_a_damaged_file_is_not_covered() -> None:
    """A build refuses what it cannot read."""
    world = filled(2)
    name = names.decode_path(world.head.files["path"][0].as_py())
    assert name is not None
    world.store.delete_many([name])
    with pytest.raises(tx.CorruptTableError):
        act(world, "build")
    assert world.head.state.runs == ()


def test_memory_holds_no_more_than_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is written once it is full, and the next one waits for it: digests of two runs at most are held."""
    monkeypatch.setattr(index_runs, "RUN_ENTRIES", 40)
    held: list[int] = []
    real = index_runs.IndexRuns._written

    def written(self: Any, name: str, run: str, covered: Any) -> Any:
        held.append(sum(len(file.digests) for file in covered))
        return real(self, name, run, covered)

    monkeypatch.setattr(index_runs.IndexRuns, "_written", written)
    world = filled(6)
    act(world, "build")
    assert max(held) <= 60
    assert sum(held) == 120


def test_public_calls(tmp_path: Path) -> None:
    """The same through `Table`: the table moves to the commit, older versions are only looked at."""
    table_path = tmp_path / "t"
    tx.write(scattered(0), table_path, mode="append")
    table = tx.Table(table_path)
    with pytest.raises(tx.KeysRequiredError, match="an index finds rows by their keys"):
        table.index("build")
    with pytest.raises(tx.OptionError, match="action must be 'show', 'build', 'drop' or 'check'"):
        table.index("rebuild")
    tx.write(scattered(1), table_path, mode="append_once", keys=["id"])
    table.refresh()
    done = table.index("build")
    assert (done.committed, table.version, tx.resolve(table_path, done.commit_id or "").version) == (True, 2, 2)
    assert table.history(1)[0].operation == "index"
    old = table.at(version=1)
    assert old.index().runs == 0
    with pytest.raises(tx.OptionError, match=r"index\('drop'\) is not possible"):
        old.index("drop")
    assert table.index("check").problems == ()
    assert table.index().files_covered == 2
    assert table.properties["key_index"] == "on"


def test_a_plan_of_before_a_drop_adds_a_run_that_nobody_asks() -> None:
    """A writer that was under way at the drop: its run stays unused until another drop or build."""
    world = filled(2, "on")
    other = Session(world.store, environment.real(), SnapshotCache())
    real = writes.indexing.with_runs

    def raced(session: Any, *more: Any) -> Any:
        found = real(session, *more)
        if session is other:
            act(world, "drop")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writes.indexing, "with_runs", raced)
        writes.write(other, check(Request(source=inputs.source(scattered(5)), mode="append_once")))
    assert len(world.head.state.runs) == 1
    assert not index.usable(world.session, world.head.state, world.head.state.table)
    assert act(world, "drop").committed
    assert world.head.state.runs == ()


def test_the_shell_tells_of_a_damaged_run(tmp_path: Path) -> None:
    """`--check` ends with exit code 1, names the run and says what to do; `--drop` and `--build` mend it."""
    root = str(tmp_path / "t")
    tx.write(scattered(0), root, mode="append_once", keys=["id"], properties={"key_index": "on"})
    [run] = Path(root, names.INDEX_DIR).glob("*.run")
    run.write_bytes(spoilt(run.read_bytes(), 3))
    for more in ([], ["--json"]):
        result = CliRunner().invoke(cli, ["index", root, "--check", *more])
        assert result.exit_code == 1
        assert f"{run.name}: a block is damaged" in result.stdout
        assert result.stderr == ""
    assert "--drop and then --build" in CliRunner().invoke(cli, ["index", root, "--check"]).stdout
    for action in ("--drop", "--build", "--check"):
        assert CliRunner().invoke(cli, ["index", root, action]).exit_code == 0
