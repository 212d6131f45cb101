"""A detach leaves exactly the newest rows in plain files; nobody can write any more, and nothing else is gone."""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replace_struct

import txfiles as tx
from tests.model import bag
from txfiles.core import names
from txfiles.core.manifest import Add
from txfiles.errors import (
    CommitConflictError,
    ConfirmationRequiredError,
    CorruptTableError,
    NeedsLiveViewError,
    OptionError,
    SnapshotExpiredError,
    StoreError,
    TableDetachedError,
    TableNotFoundError,
    TxFilesError,
    UnsupportedVerbError,
)
from txfiles.log import manifests, versions
from txfiles.log.snapshot import Loaded
from txfiles.operations import detach as operation
from txfiles.store import open_store
from txfiles.store.local import LocalStore
from txfiles.store.memory import MemoryStore
from txfiles.targets.files import detach as target

NUMBERS = itertools.count()
MARKS = {"update_strategy": "merge_on_read"}
FORMATS = pytest.mark.parametrize("format_name", ["parquet", "csv"])


def rows(*ids: int, part: str | None = "a", **more: Any) -> pa.Table:
    """Rows with these keys."""
    found = {"id": pa.array(ids, pa.int64()), "part": pa.array([part] * len(ids), pa.string())}
    return pa.table(found | {name: [value] * len(ids) for name, value in more.items()})


def on_disk(path: Path) -> list[str]:
    """Everything that stands there."""
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def memory() -> str:
    """A store without folders, as a bucket is."""
    return f"memory://detach-{next(NUMBERS)}"


def listed(url: str) -> list[str]:
    """Everything in it."""
    return [entry.name for entry in open_store(url).list_from("")]


def busy(path: Any, format_name: str = "parquet", **options: Any) -> tx.Table:
    """A table with superseded files, marked rows, a merged column, an index and a checkpoint."""
    given_properties = {"checkpoint_interval": 1, "key_index": "on", **MARKS}
    tx.write(
        rows(1, 2, 3), path, mode="upsert", keys=["id"], format=format_name, properties=given_properties, **options
    )
    tx.write(rows(2, 4, part="b", n=7), path, mode="upsert", schema_mode="merge")
    table = tx.Table(path)
    table.delete([("id", "=", 3)])
    return table


def plain_arrow(path: Path, format_name: str) -> list[dict[str, Any]]:
    """What pyarrow sees that lists the folder."""
    return ds.dataset(path, format=format_name, partitioning="hive").to_table().to_pylist()


@FORMATS
@pytest.mark.parametrize("partitioned", [False, True])
def test_a_plain_folder_is_left(tmp_path: Path, format_name: str, partitioned: bool) -> None:
    """Marked rows, older columns, superseded files and the log are gone; the rows are those of the last version."""
    path = tmp_path / "t"
    table = busy(path, format_name, partition_by=["part"] if partitioned else None)
    want = table.to_arrow()
    found = table.detach()
    assert (found.rows, found.version, found.committed) == (want.num_rows, table.version + 2, True)
    assert found.files_rewritten >= 1
    left = on_disk(path)
    assert len(left) == found.files
    assert all(name.rpartition("/")[2].startswith("part-") for name in left)
    assert not [folder for folder in path.iterdir() if folder.name.startswith("_txfiles")]
    if format_name == "parquet":
        assert bag(plain_arrow(path, format_name)) == bag(want.to_pylist())
    else:
        texts = [{**row, **_partition(path / name)} for name in left for row in _csv(path / name)]
        told = [{key: "" if value is None else str(value) for key, value in row.items()} for row in want.to_pylist()]
        assert bag(texts) == bag(told)
    assert not tx.exists(path)


def _csv(file: Path) -> list[dict[str, Any]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def _partition(file: Path) -> dict[str, str]:
    return {"part": file.parent.name.partition("=")[2]} if "=" in file.parent.name else {}


@FORMATS
def test_other_readers(tmp_path: Path, format_name: str) -> None:
    """DuckDB and pandas read the folder as it is, in which a file had other columns and marked rows before."""
    path = tmp_path / "t"
    table = busy(path, format_name)
    want = table.to_arrow()
    table.detach()
    pattern, read = str(path / f"*.{format_name}"), f"read_{format_name}"
    found = duckdb.sql(f"SELECT id, part, n FROM {read}('{pattern}') ORDER BY id").fetchall()
    assert found == [tuple(row.values()) for row in want.sort_by("id").to_pylist()]
    read_pandas = pd.read_parquet if format_name == "parquet" else pd.read_csv
    frame = pd.concat([read_pandas(path / name) for name in on_disk(path)]).sort_values("id")
    assert frame["id"].to_list() == want.sort_by("id")["id"].to_pylist()


def test_nothing_foreign_is_deleted(tmp_path: Path) -> None:
    """Other tools' files stay, below the log's folder too; the result says so, and what readers will read."""
    path = tmp_path / "t"
    table = busy(path)
    foreign = ["README", "theirs.parquet", "a/part-0.parquet", "_SUCCESS", "_txfiles/log/notes.txt", "_txfiles/mine"]
    for name in foreign:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("theirs")
    (path / "link.parquet").symlink_to(path / "theirs.parquet")
    live = {Path(name).name for name in table.files(physical=True)}
    found = tx.detach(path)
    left = on_disk(path)
    assert {"README", "theirs.parquet", "a/part-0.parquet", "_SUCCESS", "link.parquet"} <= set(left)
    [moved] = [folder for folder in path.iterdir() if folder.name.startswith("_txfiles-")]
    assert on_disk(moved) == ["log/notes.txt", "mine"]
    assert any("theirs.parquet" in note or "a/part-0.parquet" in note for note in found.notes)
    assert any(moved.name in note for note in found.notes)
    assert not live & set(left) or found.files == len(live)


@pytest.mark.parametrize("partitioned", [False, True])
@FORMATS
def test_an_empty_table(tmp_path: Path, format_name: str, partitioned: bool) -> None:
    """A table without rows leaves one file without rows, from which readers know the columns."""
    path = tmp_path / "t"
    by = ["part"] if partitioned else None
    tx.write(rows(1), path, mode="append", format=format_name, partition_by=by)
    tx.write(rows(), path, mode="overwrite")
    found = tx.detach(path)
    assert (found.rows, found.files) == (0, 1)
    assert any("without rows" in note for note in found.notes)
    dataset = ds.dataset(path, format=format_name, partitioning="hive")
    assert (dataset.count_rows(), set(dataset.schema.names)) == (0, {"id", "part"})
    assert len(on_disk(path)) == 1
    if format_name == "parquet":
        assert dataset.schema.field("id").type == pa.int64()


def test_an_empty_text_in_a_folder_is_asked_about(tmp_path: Path) -> None:
    """Readers of folders take an empty text for null: the call asks, changes nothing, and goes on with `force`."""
    path = tmp_path / "t"
    tx.write(rows(1, part=""), path, mode="append", partition_by=["part"])
    tx.write(rows(2, part=None), path, mode="append")
    before = on_disk(path)
    for dry_run in (False, True):
        with pytest.raises(ConfirmationRequiredError, match="empty text"):
            tx.detach(path, dry_run=dry_run)
    assert (on_disk(path), tx.Table(path).version) == (before, 1)
    found = tx.detach(path, force=True)
    assert any("empty text" in note for note in found.notes)
    hive = ds.partitioning(pa.schema([("part", pa.string())]), flavor="hive")
    assert bag(ds.dataset(path, partitioning=hive).to_table().to_pylist()) == bag(
        [{"id": 1, "part": None}, {"id": 2, "part": None}]
    )


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """It tells how much would be written and deleted, and leaves every byte."""
    path = tmp_path / "t"
    table = busy(path)
    before = {name: (path / name).read_bytes() for name in on_disk(path)}
    found = table.detach(dry_run=True)
    assert {name: (path / name).read_bytes() for name in on_disk(path)} == before
    assert (found.dry_run, found.committed, found.rows) == (True, False, 3)
    assert found.files_rewritten == 1
    assert found.files_deleted == len(before) - len(table.files(physical=True)) + 1


def test_adopted_files_that_are_superseded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not the table's to delete, and readers would see their rows: the call asks for them to go first."""
    path = tmp_path / "t"
    busy(path)
    before = tx.Table(path).version
    for name, text in (("old.parquet", "12345"), ("theirs.parquet", "another size")):
        (path / name).write_text(text)
    real = manifests.load

    def adopting(store: Any, version: int) -> Any:
        loaded = real(store, version)
        if version or loaded is None:
            return loaded
        added = [Add(path=name, rows=1, bytes=5, sha256="0" * 64) for name in ("old.parquet", "theirs.parquet", "gone")]
        return Loaded(replace_struct(loaded.manifest, add=(*loaded.manifest.add, *added)), loaded.sha256)

    real_summary = manifests.summary

    def summary(store: Any, version: int) -> Any:
        found = real_summary(store, version)
        return found if version else replace_struct(found, operation=replace_struct(found.operation, name="adopt"))

    monkeypatch.setattr(manifests, "load", adopting)
    monkeypatch.setattr(manifests, "summary", summary)
    for dry_run in (True, False):
        with pytest.raises(NeedsLiveViewError, match="1 adopted file") as caught:
            tx.detach(path, dry_run=dry_run)
        assert (caught.value.file, caught.value.committed) == ("old.parquet", "no")
        assert "vacuum_adopted" in caught.value.hint
    assert tx.Table(path).version == before
    (path / "old.parquet").unlink()
    found = tx.detach(path)
    assert any("theirs.parquet" in note for note in found.notes)
    assert "theirs.parquet" in on_disk(path)


def test_adopted_files_that_no_vacuum_deletes(tmp_path: Path) -> None:
    """A superseded file whose time is another one stays at a vacuum: the hint says to move it, and that is the way."""
    path = tmp_path / "t"
    path.mkdir()
    for name in ("old.parquet", "touched.parquet"):
        pq.write_table(pa.table({"id": [1]}), path / name)
    tx.adopt(path, properties={"vacuum_adopted": True})
    os.utime(path / "touched.parquet", (1, 1))
    tx.write(pa.table({"id": [2]}), path, mode="overwrite")
    assert tx.Table(path).vacuum("0").deleted == ("old.parquet",)
    with pytest.raises(NeedsLiveViewError, match="1 adopted file") as caught:
        tx.detach(path)
    assert "no vacuum deletes 1 of them" in caught.value.hint
    assert "touched.parquet" in caught.value.hint
    (path / "touched.parquet").unlink()
    tx.detach(path)
    assert ds.dataset(path).to_table()["id"].to_pylist() == [2]


def test_a_dry_run_tells_of_adopted_files_that_will_be_in_the_way(tmp_path: Path) -> None:
    """They are live, but will be written anew: then the call stops, since the files that they were are superseded."""
    path = tmp_path / "t"
    path.mkdir()
    (path / "a.csv").write_text("id\n1\n")
    tx.adopt(path)
    told = tx.detach(path, dry_run=True)
    assert (told.files_rewritten, told.files_deleted) == (1, len(on_disk(path)) - 1)
    assert any("1 adopted file(s)" in note and "a.csv" in note for note in told.notes)
    with pytest.raises(NeedsLiveViewError, match="1 adopted file"):
        tx.detach(path)


def test_names_that_readers_may_not_look_for_are_told(tmp_path: Path) -> None:
    """Hadoop's tools write Parquet files without an ending; the table's own have one."""
    path = tmp_path / "t"
    path.mkdir()
    pq.write_table(pa.table({"id": [1]}), path / "part-00000")
    tx.adopt(path)
    tx.write(pa.table({"id": [2]}), path, mode="append")
    found = tx.detach(path)
    assert any("part-00000" in note and ".parquet" in note for note in found.notes)


@pytest.mark.parametrize(
    ("format_name", "data", "marker"), [("csv", "theirs.tsv", "_theirs.tsv"), ("parquet", "part-00000", ".x.parquet")]
)
def test_data_of_others_is_told_whatever_its_ending(tmp_path: Path, format_name: str, data: str, marker: str) -> None:
    """Data as `adopt` knows it; what readers pass over is not told."""
    path = tmp_path / "t"
    tx.write(rows(1), path, mode="append", format=format_name)
    for name in (data, marker):
        (path / name).write_text("id")
    notes = " ".join(tx.detach(path).notes)
    assert data in notes.split()
    assert marker not in notes
    assert {data, marker} < set(on_disk(path))


def test_adopted_files_that_would_be_written_anew(tmp_path: Path) -> None:
    """A refusal comes before anything is written; whoever follows its hint leaves."""
    for number in range(2):
        pq.write_table(pa.table({"id": [number], "n": [number]}), tmp_path / f"{number}.parquet")
    tx.adopt(tmp_path, keys=["id"])
    table = tx.Table(tmp_path)
    table.rename_column("n", "m")
    with pytest.raises(NeedsLiveViewError, match="2 adopted file"):
        table.detach()
    assert tx.Table(tmp_path).version == 1
    table.set(vacuum_adopted=True)
    with pytest.raises(NeedsLiveViewError, match="2 adopted file"):
        table.detach()
    tx.Table(tmp_path).vacuum("0")
    assert tx.Table(tmp_path).detach().rows == 2
    assert ds.dataset(tmp_path, format="parquet").to_table().sort_by("id").to_pydict() == {"id": [0, 1], "m": [0, 1]}


# ---------------------------------------------------------------- who comes after


WRITERS: dict[str, Callable[[tx.Table], Any]] = {
    "append": lambda table: tx.write(rows(9), table.path, mode="append"),
    "append of nothing": lambda table: tx.write(rows(), table.path, mode="append"),
    "plan": lambda table: tx.plan(rows(9), table.path, mode="append"),
    "upsert": lambda table: tx.write(rows(1), table.path, mode="upsert"),
    "overwrite": lambda table: tx.write(rows(1), table.path, mode="overwrite"),
    "delete": lambda table: table.delete([("id", "=", 1)]),
    "delete dry": lambda table: table.delete([("id", "=", 1)], dry_run=True),
    "set": lambda table: table.set(row_group_rows=77),
    "compact": lambda table: table.compact(),
    "compact dry": lambda table: table.compact(dry_run=True),
    "vacuum": lambda table: table.vacuum("0"),
    "vacuum dry": lambda table: table.vacuum("0", dry_run=True),
    "build index": lambda table: table.index("build"),
    "adopt": lambda table: tx.adopt(table.path, force=True),
    "adopt dry": lambda table: tx.adopt(table.path, force=True, dry_run=True),
}


@pytest.fixture
def half_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[tx.Table, tx.Table]:
    """A table whose detach died right after its last commit: as it was opened before, and as it is now."""
    before = busy(tmp_path / "t")

    def dies(*_: Any) -> None:
        raise StoreError("the power is gone")

    with monkeypatch.context() as patched:
        patched.setattr(target, "_clean", dies)
        with pytest.raises(StoreError) as caught:
            before.detach()
    assert caught.value.committed == "yes"
    assert "again" in caught.value.hint
    return before, tx.Table(before.path)


@pytest.mark.parametrize("writer", WRITERS)
def test_no_version_may_follow(half_left: tuple[tx.Table, tx.Table], writer: str) -> None:
    """Each writer is refused with the time and the way on, commits nothing, and leaves no file."""
    for table in half_left:
        found = on_disk(Path(table.path))
        with pytest.raises(TableDetachedError, match=r"was detached at 20\d\d-.*takes no commit") as caught:
            WRITERS[writer](table)
        assert (caught.value.kind, caught.value.committed, caught.value.version) == ("detached", "no", 4)
        assert "txfiles detach" in caught.value.hint
        assert on_disk(Path(table.path)) == found


def test_readers_go_on(half_left: tuple[tx.Table, tx.Table]) -> None:
    """Whoever opens the table before the log is taken away reads its rows; older versions have expired."""
    before, now = half_left
    assert bag(now.to_arrow().to_pylist()) == bag(before.to_arrow().to_pylist())
    with pytest.raises(SnapshotExpiredError):
        now.at(version=0)
    assert tx.exists(now.path)
    assert now.history()[0].operation == "detach"
    found = tx.detach(now.path)
    assert (found.committed, found.version, found.rows) == (False, 4, 3)
    assert all(name.startswith("part-") for name in on_disk(Path(now.path)))


def test_a_reader_of_a_table_that_is_gone(tmp_path: Path) -> None:
    """A handle from before is told that the table was detached or deleted, never that it is damaged."""
    table = busy(tmp_path / "t")
    old = table.at(version=0)
    tx.detach(tmp_path / "t")
    with pytest.raises(TableNotFoundError, match="detached or deleted while version 0 was read"):
        old.to_arrow()
    with pytest.raises(TableNotFoundError):
        table.refresh()


# ---------------------------------------------------------------- a bucket's log


def test_tombstones(tmp_path: Path) -> None:
    """Where no folder can be moved, the manifests stay: no table is there, nobody writes, and a purge takes them."""
    url = memory()
    table = busy(url)
    want = table.to_arrow().num_rows
    found = table.detach()
    assert (found.rows, found.committed) == (want, True)
    assert any("--purge" in note for note in found.notes)
    manifests = [names.manifest(version) for version in range(5)]
    assert [name for name in listed(url) if name.startswith("_txfiles/")] == manifests
    assert len(listed(url)) == len(manifests) + found.files
    assert not tx.exists(url)
    calls = [lambda: tx.Table(url), lambda: tx.write(rows(9), url, mode="append"), table.refresh]
    for call in calls:
        with pytest.raises(TableDetachedError, match=r"detached at 20\d\d-.* \(version 4\)") as caught:
            call()
        assert "--purge" in caught.value.hint
    assert tx.resolve(url, found.commit_id).version == 4
    before = listed(url)
    again = tx.detach(url)
    assert (again.committed, again.rows, again.version, again.files_deleted) == (False, None, 4, 0)
    assert listed(url) == before
    purged = tx.detach(url, purge=True)
    assert purged.files_deleted == 5
    assert [name for name in listed(url) if name.startswith("_txfiles")] == []
    with pytest.raises(TableNotFoundError):
        tx.detach(url)
    assert not tx.exists(url)


def test_a_purge_at_once(tmp_path: Path) -> None:
    """One call leaves nothing but data files, if the caller says that no writer is under way."""
    url = memory()
    found = busy(url).detach(purge=True)
    assert len(listed(url)) == found.files
    assert not any("--purge" in note for note in found.notes)


class Died(Exception):
    """The process is gone."""


def _died_at(number: int, monkeypatch: pytest.MonkeyPatch, verbs: dict[Any, tuple[str, ...]]) -> Callable[[], bool]:
    """The n-th change of a store is the last; returns whether it came to that."""
    seen = itertools.count(1)
    reached = []

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **options: Any) -> Any:
            if reached or next(seen) == number:
                reached.append(number)
                raise Died
            return real(*args, **options)

        return change

    for store, some in verbs.items():
        for verb in some:
            monkeypatch.setattr(store, verb, counted(getattr(store, verb)))
    return lambda: bool(reached)


CHANGES = ("put_if_absent", "put", "create", "delete")


@pytest.mark.parametrize("purge", [False, True])
def test_killed_at_each_change_of_a_bucket(purge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the last change was that a call made, the next call finishes; the rows are those of the table."""
    for number in itertools.count(1):
        url = memory()
        table = busy(url)
        want = bag(table.to_arrow().to_pylist())
        with monkeypatch.context() as patched:
            reached = _died_at(number, patched, {MemoryStore: CHANGES})
            with contextlib.suppress(Died):
                tx.detach(url, purge=purge)
            died = reached()
        try:
            tx.detach(url, purge=purge)
        except TableNotFoundError:
            assert purge
        log = [name for name in listed(url) if name.startswith("_txfiles")]
        assert all(names.manifest_version(name) is not None for name in log)
        assert not (purge and log)
        assert bag(_read_memory(url)) == want, number
        if not died:
            break
    assert number > 15


def _read_memory(url: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    store = open_store(url)
    found = [name for name in listed(url) if not name.startswith("_txfiles")]
    assert all(name.startswith("part-") for name in found)
    return pa.concat_tables([pq.read_table(store.open_input(name)) for name in found]).to_pylist()


def test_killed_at_each_change_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on disk, where the log is moved away in one step: then it is deleted, whoever does it."""
    for number in itertools.count(1):
        path = tmp_path / str(number)
        want = bag(busy(path).to_arrow().to_pylist())
        with monkeypatch.context() as patched:
            reached = _died_at(number, patched, {LocalStore: (*CHANGES, "move_folder", "remove_folders")})
            with contextlib.suppress(Died):
                tx.detach(path)
            died = reached()
        try:
            tx.detach(path)
        except TableNotFoundError as error:
            assert "there is no txfiles table" in error.message
        assert not [folder for folder in path.iterdir() if folder.name.startswith("_txfiles")]
        assert bag(plain_arrow(path, "parquet")) == want, number
        shutil.rmtree(path)
        if not died:
            break
    assert number > 15


def test_a_log_that_was_moved_and_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening says that a detach has to be finished, and by what; finishing tells that the log was gone before."""
    path = tmp_path / "t"
    busy(path)
    with monkeypatch.context() as patched:
        patched.setattr(target, "_remove_moved", lambda *_: None)
        tx.detach(path)
    assert not tx.exists(path)
    with pytest.raises(TableNotFoundError, match="it was detached, and _txfiles-") as caught:
        tx.Table(path)
    assert "txfiles detach" in caught.value.hint
    found = tx.detach(path)
    assert (found.version, found.rows, found.committed) == (None, None, False)
    assert found.files_deleted > 5
    assert all(name.startswith("part-") for name in on_disk(path))


def test_a_purge_that_died_in_the_middle(tmp_path: Path) -> None:
    """Names of the log that have gaps, with the last one there, are no damage: they were left by a purge."""
    url = memory()
    busy(url).detach()
    open_store(url).delete_many([names.manifest(0), names.manifest(2)])
    with pytest.raises(TableDetachedError):
        tx.Table(url)
    assert not tx.exists(url)
    tx.detach(url, purge=True)
    assert not any(name.startswith("_txfiles") for name in listed(url))


def test_a_log_without_its_identity_is_damage_as_before(tmp_path: Path) -> None:
    """Manifests without `table.json` are only taken for what a detach leaves if the newest says so."""
    url = memory()
    busy(url)
    open_store(url).delete_many([names.TABLE_FILE])
    for purge in (False, True):
        with pytest.raises(CorruptTableError, match=r"no _txfiles/table\.json"):
            tx.detach(url, purge=purge)
    assert names.manifest(2) in listed(url)


# ---------------------------------------------------------------- races


def _between(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """Something happens once, after a writer has made sure of its base, and right before it creates its manifest."""
    real, done = LocalStore.put_if_absent, []

    def put(self: LocalStore, name: str, data: bytes) -> Any:
        if names.manifest_version(name) is not None and not done:
            done.append(name)
            with ThreadPoolExecutor(1) as another:
                another.submit(happens).result()
        return real(self, name, data)

    monkeypatch.setattr(LocalStore, "put_if_absent", put)


@pytest.mark.parametrize("begun_anew", [False, True])
def test_a_writer_whose_log_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun_anew: bool) -> None:
    """Its manifest never gets into another log, nor is it reported as committed in the one that is gone."""
    path = tmp_path / "t"
    busy(path)

    def left() -> None:
        tx.detach(path)
        if begun_anew:
            for name in on_disk(path):
                (path / name).unlink()
            tx.write(rows(5), path, mode="append")

    _between(monkeypatch, left)
    if begun_anew:
        assert tx.write(rows(9, n=1), path, mode="append", schema_mode="merge").version == 1
        assert tx.Table(path).history()[0].version == 1
        return
    with pytest.raises(TableNotFoundError, match="detached or deleted while append ran") as caught:
        tx.write(rows(9, n=1), path, mode="append")
    assert caught.value.committed == "no"
    assert bag(plain_arrow(path, "parquet")) == bag([{"id": 1, "part": "a", "n": None}, *_moved_rows()])
    assert all(name.startswith("part-") for name in on_disk(path))


def _moved_rows() -> Iterator[dict[str, Any]]:
    yield from ({"id": number, "part": "b", "n": 7} for number in (2, 4))


def test_a_link_into_a_log_that_is_being_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is held open, its manifests are gone already: the link succeeds, and is not reported as a commit."""
    path = tmp_path / "t"
    busy(path)
    store = LocalStore(path)
    moved = "_txfiles-" + "0" * 16 + "-" + "0" * 32

    def taken_away() -> None:
        assert store.move_folder("_txfiles", moved)
        for file in (path / moved / "log").iterdir():
            file.unlink()

    _between(monkeypatch, taken_away)
    with pytest.raises(TableNotFoundError, match="detached or deleted while append ran"):
        tx.write(rows(9, n=1), path, mode="append")
    assert not (path / "_txfiles").exists()


def test_a_writer_that_wakes_after_the_log_is_gone(tmp_path: Path) -> None:
    """A handle of before commits nothing, and begins no log: no hint, no checkpoint, no lock."""
    path = tmp_path / "t"
    table = busy(path)
    tx.detach(path)
    left = on_disk(path)
    for writer in (lambda: table.set(row_group_rows=99), lambda: table.delete([("id", "=", 1)])):
        with pytest.raises(TxFilesError) as caught:
            writer()
        assert caught.value.committed == "no"
    store = LocalStore(path)
    with pytest.raises(StoreError):
        store.put(names.HINT_FILE, b"{}")
    with store.lock(0.0) as held:
        assert held is False
    assert on_disk(path) == left


def test_writers_beside_a_detach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others commit until the last version is in the folder, also if it has to be written anew first."""
    path = tmp_path / "t"
    busy(path)
    real, deletes = target._end, iter([4, 2])

    def others_first(*args: Any) -> Any:
        number = next(deletes, None)
        if number is not None:
            tx.Table(path).delete(keys=[number])
            tx.write(rows(10 + number, n=0), path, mode="append")
        return real(*args)

    monkeypatch.setattr(target, "_end", others_first)
    found = tx.detach(path)
    assert found.files_rewritten >= 2
    assert sorted(row["id"] for row in plain_arrow(path, "parquet")) == [1, 12, 14]


def test_writers_that_never_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If others mark rows each time, the call gives up with a conflict; the table is a table."""
    path = tmp_path / "t"
    busy(path)
    real, numbers = target._end, itertools.count(100)

    def others_first(*args: Any) -> Any:
        number = next(numbers)
        tx.write(rows(number, number + 1000, n=0), path, mode="append")
        tx.Table(path).delete(keys=[number])
        return real(*args)

    monkeypatch.setattr(target, "_end", others_first)
    with pytest.raises(CommitConflictError, match="10 times in a row"):
        tx.detach(path)
    assert tx.Table(path).to_arrow().num_rows > 0
    assert tx.write(rows(9, n=1), path, mode="append").committed


def test_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one finds the last version made, and finishes as the first one would have."""
    path = tmp_path / "t"
    busy(path)
    real, firsts = target._end, iter([True])
    clean = target._clean

    def first(*args: Any) -> Any:
        if next(firsts, False):
            with monkeypatch.context() as patched:
                patched.setattr(target, "_clean", lambda *_: operation.Folder((), ()))
                assert tx.detach(path).committed
        return real(*args)

    monkeypatch.setattr(target, "_end", first)
    found = tx.detach(path)
    assert (found.committed, found.version) == (False, 4)
    assert clean is target._clean
    assert all(name.startswith("part-") for name in on_disk(path))


@pytest.mark.parametrize("late", ["_clean", "move_folder"])
def test_the_log_of_a_table_that_was_begun_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """Another call has taken the log away, and the folder was adopted, before this one takes "its" log away."""
    path = tmp_path / "t"
    busy(path)
    where: Any = target if late == "_clean" else LocalStore
    real, firsts = getattr(where, late), iter([True])

    def after_others(*args: Any) -> Any:
        if next(firsts, False):
            tx.detach(path)
            tx.adopt(path, keys=["id"], force=True)
        return real(*args)

    monkeypatch.setattr(where, late, after_others)
    tx.detach(path)
    table = tx.Table(path)
    assert table.history()[0].operation == "adopt"
    assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 2, 4]
    assert not [name for name in on_disk(path) if name.startswith("_txfiles-")]
    assert table.delete([("id", "=", 4)]).rows_deleted == 1


# ---------------------------------------------------------------- limits


def test_what_is_refused(tmp_path: Path) -> None:
    """Delta and SQL tables lack the verb, a pinned table commits nothing, and a table has to be there."""
    path = tmp_path / "t"
    table = busy(path)
    with pytest.raises(UnsupportedVerbError, match="detach"):
        tx.detach(path, format="delta")
    with pytest.raises(UnsupportedVerbError, match="detach"):
        tx.detach(f"sqlite:///{tmp_path}/db.sqlite?table=t")
    with pytest.raises(OptionError, match="pinned to version 0"):
        tx.Table(path, version=0).detach()
    with pytest.raises(OptionError):
        tx.detach(path, purge="yes")
    with pytest.raises(TableNotFoundError):
        tx.detach(tmp_path / "nothing")
    assert tx.Table(path).version == table.version


def test_the_last_version_is_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that goes on after it is damaged, whoever wrote that."""
    path = tmp_path / "t"
    busy(path)
    with monkeypatch.context() as patched:
        patched.setattr(target, "_clean", lambda *_: operation.Folder((), ()))
        tx.detach(path)
    last = (path / names.manifest(4)).read_bytes()
    forged = _sealed(last, {"version": 5, "commit_id": "f" * 32, "parent_sha256": versions.codec.sha256(last)})
    (path / names.manifest(5)).write_bytes(forged)
    with pytest.raises(CorruptTableError, match="version 4 detached the table"):
        tx.Table(path)


def _sealed(data: bytes, changes: dict[str, Any]) -> bytes:
    import json

    found = json.loads(data) | changes | {"time": "2999-01-01T00:00:00.000001Z"}
    for name in ("sha256", "vacuum", "table", "checkpoint"):
        found.pop(name, None)
    unsealed = json.dumps(found).encode()[:-1] + b", "
    return unsealed + b'"sha256": "' + versions.codec.sha256(unsealed).encode() + b'"}'


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(st.integers(0, 6), min_size=1, unique=True), st.sampled_from("abc")),
        st.tuples(st.just("merge"), st.integers(0, 6), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.integers(0, 6)),
        st.tuples(st.just("compact")),
        st.tuples(st.just("overwrite"), st.lists(st.integers(0, 6), unique=True)),
    ),
    max_size=6,
)


@given(STEPS, st.sampled_from(["parquet", "csv"]), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_table(steps: list[Any], format_name: str, partitioned: bool, marks: bool) -> None:
    """Whatever was done to a table: readers that list the folder see exactly the rows that the table had."""
    folder = tempfile.mkdtemp()
    path = Path(folder) / "t"
    try:
        by = ["part"] if partitioned else None
        options: dict[str, Any] = {"properties": MARKS} if marks else {}
        tx.write(rows(0, 1), path, mode="upsert", keys=["id"], format=format_name, partition_by=by, **options)
        for step in steps:
            _do(path, step)
        want = tx.Table(path).to_arrow()
        found = tx.detach(path)
        assert found.rows == want.num_rows
        names_ = ", ".join(f'"{name}"' for name in want.column_names)
        types_ = ", ".join(f"'{f.name}': '{'BIGINT' if f.type == pa.int64() else 'VARCHAR'}'" for f in want.schema)
        if format_name == "parquet":
            got = ds.dataset(path, partitioning=_hive(want) if partitioned else None).to_table().to_pylist()
        else:
            in_file = ", ".join(part for part in types_.split(", ") if not (partitioned and part.startswith("'part'")))
            hive = ", hive_partitioning = true, hive_types = {'part': VARCHAR}" if partitioned else ""
            source = f"read_csv('{path}/**/*.csv', columns = {{{in_file}}}{hive}, header = true, all_varchar = false)"
            got = duckdb.sql(f"SELECT {names_} FROM {source}").to_arrow_table().to_pylist()
        assert bag(got) == bag(want.to_pylist())
        assert not [name for name in on_disk(path) if not Path(name).name.startswith("part-")]
    finally:
        shutil.rmtree(folder)


def _hive(table: pa.Table) -> Any:
    return ds.partitioning(pa.schema([table.schema.field("part")]), flavor="hive")


def _do(path: Path, step: tuple[Any, ...]) -> None:
    known = set(tx.Table(path).schema.names) - {"id", "part"}
    more = dict.fromkeys(known, 5)
    if step[0] == "upsert":
        tx.write(rows(*step[1], part=step[2], **more), path, mode="upsert")
    elif step[0] == "merge":
        tx.write(rows(step[1], **{f"m{step[2]}": step[2]}), path, mode="upsert", schema_mode="merge")
    elif step[0] == "delete":
        tx.Table(path).delete(keys=[step[1]])
    elif step[0] == "compact":
        tx.Table(path).compact()
    else:
        tx.write(rows(*step[1], **more), path, mode="overwrite")
