"""Each damage to a table is found by `verify`, named with its place, and mended by whoever follows the hint."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import txfiles as tx
from tests.hostile import tables
from tests.model import bag
from txfiles import environment, findings
from txfiles.cli.main import cli
from txfiles.core import codec, names
from txfiles.log import checkpoint, versions
from txfiles.log.session import Session
from txfiles.store import open_store

pytestmark = pytest.mark.guarantees("S2 S7 S17")

LOG = "_txfiles/log/{:020d}.json"


def rows(*ids: int, x: float = 0.5) -> pa.Table:
    """Rows with these keys."""
    return pa.table({"id": pa.array(ids, pa.int64()), "p": [f"p{i % 2}" for i in ids], "x": [x] * len(ids)})


@pytest.fixture(scope="module", params=["parquet", "csv"])
def original(request, tmp_path_factory) -> Path:
    """A table with partitions, marks, an index, a sidecar and checkpoints; version 8 is the newest."""
    path = tmp_path_factory.mktemp("verify") / "table"
    properties = {"checkpoint_interval": 3, "update_strategy": "merge_on_read", "key_index": "on"}
    tx.write(
        rows(*range(20)), path, mode="upsert", keys=["id"], format=request.param, partition_by=["p"],
        properties=properties,
    )  # fmt: skip
    patch = pytest.MonkeyPatch()
    patch.setattr(codec, "INLINE_ACTIONS", 1)
    tx.write(rows(20, 21, 22), path, mode="append_once")
    patch.undo()
    for number in range(7):
        tx.write(rows(number, number + 30, x=1.5), path, mode="upsert")
    return path


def flip(path: Path, at: int | None = None, bit: int = 4) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1 << bit
    path.write_bytes(data)


def live(path: Path) -> Path:
    """A data file that is live, and was when the table began."""
    first = {Path(found).name for found in tx.Table(path, version=0).files(physical=True)}
    found = next(one for one in tx.Table(path).files(physical=True) if Path(one).name in first)
    return Path(found)


def newest_checkpoint(path: Path) -> Path:
    """The one that the newest manifest names."""
    ref = json.loads((path / LOG.format(tables.newest(path))).read_bytes())["checkpoint"]
    return path / names.checkpoint(ref["version"], ref["id"])


def used(path: Path, folder: str, field: str) -> Path:
    """A file of vectors, or a run, that the newest version uses."""
    head = versions.require_head(Session(open_store(path), environment.real()))
    if field == "run":
        return path / names.INDEX_DIR / head.state.runs[-1].name
    return path / names.VECTOR_DIR / next(one for one in head.files["vector"].to_pylist() if one)["file"]


@dataclass(frozen=True)
class Case:
    """A damage: which file, what happens to it, what is said of it."""

    file: Callable[[Path], Path]
    damage: Callable[[Path], object]
    kind: str
    deep: bool = False


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def unlink(path: Path) -> None:
    path.unlink()


def manifest(number: int) -> Callable[[Path], Path]:
    return lambda path: path / LOG.format(number)


CASES = {
    "table.json gone": Case(lambda path: path / names.TABLE_FILE, unlink, "table-file"),
    "table.json torn": Case(lambda path: path / names.TABLE_FILE, cut, "table-file"),
    "manifest gone": Case(manifest(4), unlink, "manifest-missing"),
    "manifest flipped": Case(manifest(4), flip, "manifest"),
    "oldest manifest flipped": Case(manifest(0), flip, "manifest"),
    "newest manifest torn": Case(manifest(8), cut, "manifest"),
    "sidecar gone": Case(lambda path: next((path / names.SIDECAR_DIR).iterdir()), unlink, "manifest"),
    "checkpoint gone": Case(newest_checkpoint, unlink, "checkpoint-lost"),
    "checkpoint flipped": Case(newest_checkpoint, flip, "checkpoint-lost"),
    "data file gone": Case(live, unlink, "file-missing"),
    "data file is a link": Case(live, lambda path: (path.unlink(), path.symlink_to("/etc/hostname")), "file-missing"),
    "data file torn": Case(live, cut, "file-size"),
    "data file flipped": Case(live, flip, "file-content", deep=True),
    "vectors gone": Case(lambda path: used(path, names.VECTOR_DIR, "vector"), unlink, "vector"),
    "vectors torn": Case(lambda path: used(path, names.VECTOR_DIR, "vector"), cut, "vector"),
    "vectors flipped": Case(lambda path: used(path, names.VECTOR_DIR, "vector"), flip, "vector", deep=True),
    "index run gone": Case(lambda path: used(path, names.INDEX_DIR, "run"), unlink, "index"),
    "index run torn": Case(lambda path: used(path, names.INDEX_DIR, "run"), cut, "index"),
    "index run flipped": Case(lambda path: used(path, names.INDEX_DIR, "run"), flip, "index", deep=True),
    "index secret gone": Case(lambda path: path / names.INDEX_SEED_FILE, unlink, "index"),
}


def copy(original: Path, tmp_path: Path) -> Path:
    path = tmp_path / "table"
    shutil.copytree(original, path, symlinks=True)
    return path


def verified(path: Path, *, deep: bool = False) -> tx.VerifyResult:
    """What `verify` says; it changes nothing at all."""
    before = tables.snapshot(path)
    found = tx.verify(path, deep=deep)
    assert tables.snapshot(path) == before
    return found


def kinds(found: tx.VerifyResult) -> set[str]:
    return {one.kind for one in found.problems if one.severity != "info"}


@pytest.mark.parametrize("name", CASES)
def test_a_damage_is_found_and_a_backup_mends_it(original: Path, tmp_path: Path, name: str) -> None:
    """The file is named, with a hint and the right exit code; with its bytes back, the table is sound again."""
    case, path = CASES[name], copy(original, tmp_path)
    assert kinds(verified(path, deep=True)) == set()
    file = case.file(path)
    case.damage(file)
    found = verified(path, deep=case.deep)
    mine = [one for one in found.problems if one.kind == case.kind]
    assert mine, found.problems
    assert all(one.hint for one in found.problems)
    place = str(file.relative_to(path)) if case.kind != "vector" or not case.deep else None
    if name != "sidecar gone":
        assert place is None or place in {one.file for one in mine}, mine
    expected = findings.SEVERITY[case.kind]
    assert found.ok is (expected == "warning")
    answer = CliRunner().invoke(cli, ["verify", str(path), *(["--deep"] if case.deep else []), "--json"])
    assert answer.exit_code == (0 if expected == "warning" else 13)
    assert json.loads(answer.stdout)["ok"] is found.ok
    file.unlink(missing_ok=True)
    shutil.copy(original / file.relative_to(path), file)
    assert kinds(verified(path, deep=True)) == set()


def test_a_missing_file_says_what_to_restore_and_which_version_can_be_read(original: Path, tmp_path: Path) -> None:
    """The hint names size and hash of the file, and the version before it can be read as it says."""
    path = copy(original, tmp_path)
    head = tx.Table(path)
    table = head.file_table(physical=True)
    at = table["added_version"].to_pylist().index(5)
    lost, size = Path(table["path"][at].as_py()), table["bytes"][at].as_py()
    lost.unlink()
    (problem,) = [one for one in verified(path).problems if one.kind == "file-missing"]
    assert f"{size} bytes and sha256 " in problem.hint
    assert "version=4" in problem.hint
    assert (problem.version, problem.count) == (5, 2)
    assert tx.Table(path, version=4).to_arrow().num_rows > 0
    with pytest.raises(tx.CorruptTableError):
        tx.Table(path).to_arrow()


def test_what_follows_a_damaged_manifest_is_still_checked(original: Path, tmp_path: Path) -> None:
    """Two damages in the log and two in the files are four findings, not one."""
    path = copy(original, tmp_path)
    lost, vectors = Path(tx.Table(path).files(physical=True)[-1]), used(path, names.VECTOR_DIR, "vector")
    flip(path / LOG.format(1))
    (path / LOG.format(3)).unlink()
    lost.unlink()
    flip(vectors)
    found = verified(path, deep=True)
    assert {"manifest", "manifest-missing", "file-missing", "vector"} <= kinds(found)
    assert found.version == 8


def test_a_link_of_the_chain_that_was_forged(tmp_path: Path) -> None:
    """A manifest that was sealed again, and whose successor was not, breaks the chain between them."""
    path = tables.simple(tmp_path / "table", versions=4)
    file = tables.manifest_path(path, 1)
    document = json.loads(file.read_bytes())
    document.pop("sha256")
    document["operation"]["writer"] = "somebody"
    file.write_bytes(tables.sealed(json.dumps({**document, "sha256": "0" * 64}).encode()))
    broken, unread = verified(path).problems
    assert (broken.kind, broken.version) == ("manifest", 2)
    assert "predecessor" in broken.message
    assert (unread.kind, unread.version) == ("not-checked", 3)


def test_links_behind_a_damaged_manifest_are_compared(tmp_path: Path) -> None:
    """A chain that is broken once more is told for each place."""
    path = tables.simple(tmp_path / "table", versions=6)
    flip(tables.manifest_path(path, 1))
    file = tables.manifest_path(path, 3)
    document = json.loads(file.read_bytes())
    document["operation"]["writer"] = "somebody"
    file.write_bytes(tables.sealed(json.dumps(document).encode()))
    found = verified(path)
    assert [one.version for one in found.problems if one.kind == "manifest"] == [1, 4]
    assert found.version == 0  # and that no later one can be read is said
    assert [(one.kind, one.version) for one in found.problems][-1] == ("not-checked", 5)


def test_the_hint_file(original: Path, tmp_path: Path) -> None:
    """A missing one is nothing; a damaged one or one from the future is a warning, and harmless, as is deleting it."""
    path = copy(original, tmp_path)
    hint = path / names.HINT_FILE
    assert hint.exists()
    for content, word in ((b"{", "damaged"), (b'{"version": 99}', "was a version 99")):
        hint.write_bytes(content)
        (problem,) = verified(path).problems
        assert (problem.kind, problem.severity) == ("hint", "warning")
        assert word in problem.message
        assert bag(tx.Table(path).to_arrow().to_pylist()) == bag(tx.Table(original).to_arrow().to_pylist())
    hint.unlink()
    assert verified(path).problems == ()


def test_a_lost_log(original: Path, tmp_path: Path) -> None:
    """Without a manifest there is damage to tell, unless there was never a table."""
    path = copy(original, tmp_path)
    shutil.rmtree(path / "_txfiles/log")
    assert kinds(verified(path)) == {"log-lost", "not-checked"}
    with pytest.raises(tx.TableNotFoundError):
        tx.verify(tmp_path / "nothing")


def test_a_new_checkpoint_is_had_as_the_hint_says(original: Path, tmp_path: Path) -> None:
    """Setting the interval to 1 and back writes a checkpoint."""
    path = copy(original, tmp_path)
    newest_checkpoint(path).unlink()
    (problem,) = verified(path).problems
    assert "checkpoint_interval=1" in problem.hint
    for interval in (1, 3):
        tx.Table(path).set(checkpoint_interval=interval)
    assert verified(path).problems == ()
    assert newest_checkpoint(path).exists()


def test_a_checkpoint_that_says_something_else(tmp_path: Path) -> None:
    """One with a valid hash and another list of files is damage; without it, as the hint says, rows are right again."""
    path = tables.simple(tmp_path / "table", versions=4)
    head = versions.require_head(Session(open_store(path), environment.real()))
    at = versions.at_version(Session(open_store(path), environment.real()), head.state, 2)
    tables.vouch_checkpoint(path, 2, checkpoint.encode(at.state, at.files.slice(1)))
    assert tx.Table(path).to_arrow().num_rows == 9
    (problem,) = verified(path).problems
    assert (problem.kind, problem.version) == ("checkpoint", 2)
    assert "delete it" in problem.hint
    (path / problem.file).unlink()
    assert kinds(verified(path)) == {"checkpoint-lost"}
    assert len(tables.command("read", str(path), "--json").stdout.splitlines()) == 12  # another process


WRONG = {
    "nulls": (lambda add: add["stats"]["3"].update(nulls=1), "bounds"),
    "upper bound": (lambda add: add["stats"]["1"].update(max="3"), "bounds"),
    "lower bound": (lambda add: add["stats"]["1"].update(min="2"), "bounds"),
    "key range": (lambda add: add["key_range"].update(max=add["key_range"]["min"]), "key-range"),
    "rows": (lambda add: add.update(rows=4), "file-content"),
    "sha256": (lambda add: add.update(sha256="0" * 64), "file-content"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_log_that_lies_about_a_file(tmp_path: Path, format: str, wrong: str) -> None:
    """What the log says of rows is compared with the rows; an overwrite with all of them mends bounds and ranges."""
    path = tmp_path / "table"
    tx.write(tables.rows(1, 11, 21), path, mode="upsert", keys=["id"], format=format)
    change, kind = WRONG[wrong]
    tables.rewrite(path, 0, lambda document: change(document["add"][0]))
    assert verified(path).ok
    found = verified(path, deep=True)
    assert kinds(found) == {kind}
    assert not found.ok
    if kind in ("bounds", "key-range"):
        assert "overwrite" in found.problems[0].hint
        table = tx.Table(path)
        tx.write(table.to_arrow(), path, mode="overwrite")
        assert kinds(verified(path, deep=True)) == set()
        assert tx.Table(path).to_arrow()["id"].to_pylist() == [1, 11, 21]


def test_a_partition_value_that_the_folder_does_not_say(tmp_path: Path) -> None:
    """Plain readers believe the folder: that is a warning."""
    path = tmp_path / "table"
    tx.write(tables.rows(1, 3), path, mode="append", partition_by=["p"])
    tables.rewrite(path, 0, lambda document: document["add"][0].update(partition=["other"]))
    found = verified(path, deep=True)
    assert found.ok
    assert [(one.kind, one.column) for one in found.problems] == [("partition", "p")]


def test_keys_that_are_there_twice(tmp_path: Path) -> None:
    """Plain appends leave duplicates, a warning that names them; an upsert, as the hint says, ends them."""
    path = tmp_path / "table"
    tx.write(tables.rows(1, 2, 3), path, mode="upsert", keys=["id"])
    tx.write(tables.rows(2, 3, 4), path, mode="append")
    assert verified(path).problems == ()
    found = verified(path, deep=True)
    assert found.ok
    (problem,) = found.problems
    assert (problem.kind, problem.count, problem.column) == ("duplicate-keys", 2, "id")
    assert "2" in problem.message
    assert "3" in problem.message
    tx.write(tables.rows(2, 3), path, mode="upsert")
    assert verified(path, deep=True).problems == ()


def test_keys_in_several_passes(tmp_path: Path, monkeypatch) -> None:
    """A table of more keys than memory is to hold is read in parts, and none of them is missed."""
    from txfiles.operations import verify_keys

    path = tmp_path / "table"
    tx.write(tables.rows(*range(100)), path, mode="upsert", keys=["id"])
    tx.write(tables.rows(*range(50, 130)), path, mode="append")
    monkeypatch.setattr(verify_keys, "RANGE_ROWS", 20)
    (problem,) = verified(path, deep=True).problems
    assert problem.count == 50


def test_keys_that_only_damage_can_repeat(tmp_path: Path) -> None:
    """If only keyed writes were committed, a key that is there twice is damage."""
    path = tmp_path / "table"
    tx.write(tables.rows(1, 2), path, mode="upsert", keys=["id"])
    tx.write(tables.rows(2, 3), path, mode="append")
    tables.rewrite(path, 1, lambda document: document["operation"].update(name="append_once", keys=["id"]))
    found = verified(path, deep=True)
    assert kinds(found) == {"repeated-keys"}
    assert not found.ok


def test_files_of_others_and_leftovers_are_told(original: Path, tmp_path: Path) -> None:
    """Data files that no version has are information: the table is sound, and verify touches none of them."""
    path = copy(original, tmp_path)
    own = live(path)
    orphan = own.with_name(own.name[:22] + "f" * 32 + own.name[54:])
    shutil.copy(own, orphan)
    (path / "mine.parquet").write_text("x")
    tables.simple(path / "below", versions=1)
    found = verified(path)
    assert found.ok
    told = {one.kind: one for one in found.problems}
    assert set(told) == {"leftovers", "foreign-files"}
    assert (told["leftovers"].count, told["leftovers"].file) == (1, str(orphan.relative_to(path)))
    assert (told["foreign-files"].count, told["foreign-files"].file) == (1, "mine.parquet")


def test_a_file_of_an_older_version(tmp_path: Path) -> None:
    """A superseded file that a readable version needs is missed; that a vacuum deleted it is nothing."""
    path = tables.simple(tmp_path / "table")
    old = Path(tx.Table(path).files()[0])
    tx.write(tables.rows(9), path, mode="overwrite")
    kept = old.read_bytes()
    old.unlink()
    (problem,) = verified(path).problems
    assert (problem.kind, problem.version, problem.file) == ("old-file", 2, old.name)
    old.write_bytes(kept)
    tx.Table(path).vacuum(retain="0")
    assert not old.exists()
    assert verified(path, deep=True).problems == ()


def test_an_older_version_can_be_verified(original: Path, tmp_path: Path) -> None:
    """The files of the version that a table is pinned to are checked."""
    path = copy(original, tmp_path)
    lost = next(
        one for one in tx.Table(path).files(physical=True) if one not in tx.Table(path, version=4).files(physical=True)
    )
    Path(lost).unlink()
    assert tx.Table(path, version=4).verify(deep=True).ok
    assert not tx.Table(path).verify().ok


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_is_not_damage(original: Path, tmp_path: Path) -> None:
    """A file without the right to read it is unreadable, with exit code 14."""
    path = copy(original, tmp_path)
    live(path).chmod(0)
    found = verified(path, deep=True)
    assert kinds(found) == {"unreadable"}
    assert CliRunner().invoke(cli, ["verify", str(path), "--deep"]).exit_code == 14


def test_problems_of_one_kind_are_bounded(original: Path, tmp_path: Path, monkeypatch) -> None:
    """A folder that is lost is told in a few lines, with how many there are."""
    from txfiles.operations import verify

    path = copy(original, tmp_path)
    for file in path.glob("p=*/*"):
        file.unlink()
    monkeypatch.setattr(verify, "KEPT_PER_KIND", 2)
    found = verified(path)
    assert len([one for one in found.problems if one.kind == "file-missing"]) == 2
    assert found.omitted > 3


HARMLESS = ("_txfiles/lock", "_txfiles/staged")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_found_or_does_no_harm(original: Path, tmp_path_factory, data: st.DataObject) -> None:
    """Whatever bit of whatever file changes: a deep check tells, or every answer is as before."""
    files = sorted(one.relative_to(original) for one in original.rglob("*") if one.is_file())
    file = data.draw(st.sampled_from([one for one in files if not str(one).startswith(HARMLESS)]))
    size = (original / file).stat().st_size
    if not size:
        return
    path = copy(original, tmp_path_factory.mktemp("flip"))
    flip(path / file, data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 7)))
    found = verified(path, deep=True)
    if not found.problems:
        assert bag(tx.Table(path).to_arrow().to_pylist()) == bag(tx.Table(original).to_arrow().to_pylist())
        assert tx.Table(path).lookup([3, 36]).num_rows == 2
    shutil.rmtree(path)


operations = st.lists(
    st.tuples(
        st.sampled_from(
            ["append", "append_once", "upsert", "overwrite", "delete", "compact", "index", "set", "vacuum"]
        ),
        st.lists(st.integers(0, 30), min_size=1, max_size=6, unique=True),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(
    format=st.sampled_from(["parquet", "csv"]),
    strategy=st.sampled_from(["merge_on_read", "copy_on_write"]),
    partition_by=st.sampled_from([[], ["p"]]),
    index=st.sampled_from(["on", "off", "auto"]),
    interval=st.integers(1, 4),
    steps=operations,
)
def test_a_sound_table_is_sound(tmp_path_factory, format, strategy, partition_by, index, interval, steps) -> None:
    """Whatever was done to a table, nothing but duplicates of plain appends is found in it."""
    path = tmp_path_factory.mktemp("sound") / "table"
    properties = {"checkpoint_interval": interval, "update_strategy": strategy, "key_index": index}
    options = {"format": format, "partition_by": partition_by, "properties": properties}
    tx.write(rows(1, 2, 3), path, mode="upsert", keys=["id"], **options)
    for number, (what, ids) in enumerate(steps):
        table = tx.Table(path)
        if what == "delete":
            table.delete(keys=ids)
        elif what == "compact":
            table.compact()
        elif what == "index":
            table.index("build")
        elif what == "set":
            table.set(vacuum_grace=f"{number}d")
        elif what == "vacuum":
            table.vacuum("0")
        else:
            tx.write(rows(*ids, x=number / 4), path, mode=what)
    for deep in (False, True):
        found = verified(path, deep=deep)
        assert found.ok, found.problems
        assert {one.kind for one in found.problems} <= ({"duplicate-keys"} if deep else set()), found.problems
    shutil.rmtree(path)
