"""The list of files: read when it is asked for, kept whatever its size, and never further away than a checkpoint."""

from __future__ import annotations

import pyarrow as pa
import pytest

import txfiles as tx
from tests.counting import CountingStore
from txfiles import environment, inputs
from txfiles.errors import CorruptTableError
from txfiles.log import cache, commit, parts, versions
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.options import Request, check
from txfiles.rows import filelist, segments
from txfiles.store.memory import MemoryStore
from txfiles.targets.files import writes

VERSIONS = 44


def rows(number):
    return pa.table({"id": [number], "v": [number]})


def write(session, number, mode="append", **options):
    return writes.write(session, check(Request(source=inputs.source(rows(number)), mode=mode, **options)))


def session(store):
    """A process that knows nothing of the table."""
    return Session(store, environment.real(), SnapshotCache())


@pytest.fixture(params=[1_024, 2], ids=["in one file", "in parts"])
def tail(request, monkeypatch):
    """How many files a checkpoint holds itself; the others are in parts of up to 8."""
    if request.param < VERSIONS:
        monkeypatch.setattr(segments, "TAIL_FILES", request.param)
        monkeypatch.setattr(segments, "PART_FILES", 8)
    return request.param


@pytest.fixture
def store(tail):
    """A table of some versions, a file each, and a checkpoint at every tenth."""
    found = CountingStore(MemoryStore())
    writer = session(found)
    write(writer, 0, "append_once", keys=("id",), properties={"checkpoint_interval": 10})
    for number in range(1, VERSIONS):
        write(writer, number)
    found.calls.clear()
    return found


@pytest.fixture
def decoded(monkeypatch):
    """How often the list in a checkpoint is decoded."""
    found, real = [], parts.rows

    def decode(*given):
        found.append(given)
        return real(*given)

    monkeypatch.setattr(parts, "rows", decode)
    return found


def test_who_only_appends_reads_no_list(store, decoded, tail):
    """Opening, a blind append and the history decode no list of files; a read does, once."""
    fresh = session(store)
    for number in range(5):
        assert write(fresh, 100 + number).committed
    assert versions.require_head(fresh).file_count == VERSIONS + 5
    assert decoded == []
    for _ in range(2):
        head = versions.require_head(fresh)
        assert head.files["added_version"].to_pylist() == list(range(VERSIONS + 5))
    assert len(decoded) == 1 if tail > VERSIONS else len(decoded) > VERSIONS // 8


@pytest.mark.parametrize("tail", [2], indirect=True, ids=["in parts"])
def test_a_long_list_is_memory_mapped(store, monkeypatch):
    """A list beyond the limit stands in a file that the system may page out; it is the same list."""
    short = versions.require_head(session(store)).files
    monkeypatch.setattr(parts, "MAPPED_FILES", 10)
    before = pa.total_allocated_bytes()
    mapped = versions.at_version(session(store), versions.require_head(session(store)).state, 40).base.load().files
    assert mapped.num_rows == 40
    assert mapped.equals(short.slice(0, 40))
    assert pa.total_allocated_bytes() - before < mapped.nbytes / 2 + 4 * short.slice(0, 3).nbytes


def test_where_there_is_no_temporary_file_it_stays_in_memory(store, monkeypatch):
    """Without room for a temporary file the list is read all the same."""
    monkeypatch.setattr(parts, "MAPPED_FILES", 10)
    monkeypatch.setattr(parts.tempfile, "NamedTemporaryFile", lambda **_: (_ for _ in ()).throw(OSError("full")))
    assert versions.require_head(session(store)).files.num_rows == VERSIONS


def test_a_table_is_remembered_whatever_its_size(store, monkeypatch):
    """The last table used is kept; of others, so many that their lists fit together."""
    monkeypatch.setattr(cache, "FILES", VERSIONS // 2)
    known = session(store)
    versions.require_head(known)
    store.calls.clear()
    versions.require_head(known)
    assert store.calls == {"get": 2, "stat": 1}
    known.cache.keep("memory://other", known.cache.get(store.root))
    assert known.cache.get(store.root) is None
    assert known.cache.get("memory://other") is not None


@pytest.mark.parametrize("version", [0, 5, 15, 43])
def test_every_way_leads_over_the_nearest_checkpoint(store, version, tail):
    """`at`, opening and catching up read at most the manifests between two checkpoints, however long the history."""
    parts_read = 0 if tail > VERSIONS else VERSIONS // 8 + 4
    newest = versions.require_head(session(store))
    store.calls.clear()
    then = versions.at_version(session(store), newest.state, version)
    assert then.files.num_rows == version + 1
    assert store.calls["get"] <= 1 + 1 + 10 + parts_read
    store.calls.clear()
    caught_up = versions.advance(session(store), then)
    assert caught_up.files.equals(newest.files)
    behind = VERSIONS - 1 - version
    assert store.calls["get"] <= 2 + (behind if behind <= versions.FAR else 2 + 10) + parts_read
    assert store.calls["stat"] <= 12


@pytest.mark.parametrize("tail", [1_024], indirect=True, ids=["in one file"])
def test_a_damaged_checkpoint_leads_to_the_one_before(store):
    """One that is lost or damaged costs the manifests since the one before, not the whole history."""
    newest = versions.require_head(session(store))
    names = sorted(name for name in store._objects if "checkpoints" in name)
    store.put(names[-1], b"damaged")
    store.calls.clear()
    again = versions.require_head(session(store))
    assert again.files.equals(newest.files)
    assert store.calls["get"] <= 2 + 8 + 3 + 2 * 10
    for name in names:
        store.delete_many([name])
    assert versions.require_head(session(store)).files.equals(newest.files)


def test_damage_after_a_commit_does_not_deny_it(store, monkeypatch):
    """Damage in an old list that is found once the manifest stands is no failure of the write."""

    def damaged(*given):
        raise CorruptTableError("the list is damaged")

    fresh = session(store)
    versions.require_head(fresh)
    monkeypatch.setattr(commit, "extend", damaged)
    result = write(fresh, 1_000)
    assert (result.committed, result.version) == (True, VERSIONS)
    assert versions.require_head(session(store)).file_count == VERSIONS + 1


def test_lists_do_not_depend_on_the_way(tmp_path):
    """A list that was followed commit by commit is the one of a fresh opening, through removals and merged columns."""
    path = tmp_path / "t"
    tx.write(rows(0), path, mode="append_once", keys=["id"], properties={"checkpoint_interval": 3})
    kept = tx.Table(path)
    for number in range(1, 12):
        mode = "upsert" if number % 3 == 0 else "append"
        data = rows(number - 1 if mode == "upsert" else number + 100)
        data = data.set_column(1, "v", pa.array([-number]))
        if number == 7:
            data = data.append_column("w", pa.array([1.5]))
        tx.write(data, path, mode=mode, schema_mode="merge")
        assert kept.refresh()._opened.snapshot.files.equals(tx.Table(path)._opened.snapshot.files)
    fresh = tx.Table(path)
    assert sorted(fresh.to_arrow()["id"].to_pylist()) == sorted(kept.to_arrow()["id"].to_pylist())
    assert filelist.data_files(fresh._opened.snapshot.files) == filelist.data_files(kept._opened.snapshot.files)
