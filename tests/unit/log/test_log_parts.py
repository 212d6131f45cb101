"""Checkpoints in parts: what they cost, and that a part which is lost, damaged or hostile changes no answer."""

from __future__ import annotations

import msgspec
import pytest

from tests.counting import CountingStore
from tests.unit.log.test_log_lists import session, write
from txfiles import environment
from txfiles.core import codec, names
from txfiles.errors import CorruptTableError, StoreError
from txfiles.log import checkpoint, parts, versions
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.options import VacuumOptions
from txfiles.rows import segments
from txfiles.store.memory import MemoryStore
from txfiles.targets.files import upkeep, writes
from txfiles.verbs import DeleteOptions, check_delete

FILES = 60


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Parts of 4 to 16 files."""
    monkeypatch.setattr(segments, "TAIL_FILES", 3)
    monkeypatch.setattr(segments, "PART_FILES", 16)


@pytest.fixture
def store():
    """A table of some versions, a file each, and a checkpoint at every fourth."""
    return filled(FILES)


def filled(count):
    found = CountingStore(MemoryStore())
    writer = session(found)
    write(writer, 0, "append_once", keys=("id",), properties={"checkpoint_interval": 4, "vacuum_grace": "0"})
    for number in range(1, count):
        write(writer, number)
    found.calls.clear()
    return found


def head(store):
    return versions.require_head(session(store))


def saved(store):
    """Names of the parts that the newest checkpoint has, and of all files of checkpoints."""
    stored = {name for name in store._objects if name.startswith(names.CHECKPOINT_DIR)}
    return head(store).state.checkpoint.parts, stored


def paths(snapshot):
    return snapshot.files["path"].to_pylist()


def test_a_list_in_parts_is_read_back(store):
    """The list is the one of the log, in its order, and the count of files needs none of the parts."""
    named, _ = saved(store)
    assert len(named) >= FILES // 16
    store.calls.clear()
    snapshot = head(store)
    opened = store.calls["get"]
    assert snapshot.file_count == FILES
    assert store.calls["get"] == opened
    assert snapshot.files["added_version"].to_pylist() == list(range(FILES))
    assert store.calls["get"] == opened + len(named)


@pytest.mark.parametrize("count", [120, 240])
def test_a_checkpoint_costs_what_was_added(count, monkeypatch):
    """The rows that all checkpoints together have written grow with the files, not with their square."""
    written, real = [], parts.encoded
    monkeypatch.setattr(parts, "encoded", lambda given: written.append(given.num_rows) or real(given))
    assert len(head(filled(count)).files) == count
    assert sum(written) <= 6 * count


def test_removed_files_stay_removed(store):
    """A file of a part that is removed is in no later list, whether its part is kept or saved anew."""
    writer = session(store)
    for number in range(0, 40, 3):
        assert not write(writer, number, "upsert", keys=("id",)).committed
        write(writer, 1_000 + number)
    data = [number for number in head(store).files["added_version"].to_pylist() if number < FILES]
    assert len(data) == FILES  # the same rows: nothing was rewritten
    for number in range(0, 40, 3):
        deleted(writer, number)
        write(writer, 2_000 + number)
    fresh = head(store)
    assert [segment.gone for segment in fresh.listing.segments if segment.gone]
    left = [number for number in fresh.files["added_version"].to_pylist() if number < FILES]
    assert left == [number for number in range(FILES) if number >= 40 or number % 3]


def deleted(writer, number):
    writes.delete(writer, versions.require_head(writer), check_delete(DeleteOptions(keys=[number])))


@pytest.mark.parametrize("damage", [None, b"", b"damaged"])
@pytest.mark.parametrize("which", [0, -1])
def test_a_lost_part_costs_time_and_no_data(store, damage, which):
    """The list is put together from the log since the last checkpoint that did not have the part, and saved again."""
    expected = paths(head(store))
    name = names.CHECKPOINT_DIR + saved(store)[0][which]
    if damage is None:
        store.delete_many([name])
    else:
        store.put(name, damage)
    assert paths(head(store)) == expected
    writer = session(store)
    for number in range(5):
        assert write(writer, 500 + number).committed
    assert name.removeprefix(names.CHECKPOINT_DIR) not in saved(store)[0]
    assert paths(head(store))[:FILES] == expected


def test_all_parts_may_be_lost(store):
    """Without any checkpoint, the log alone gives the list."""
    expected = paths(head(store))
    _, stored = saved(store)
    store.delete_many([name for name in stored if name not in head(store).state.checkpoint.files[:1]])
    assert paths(head(store)) == expected


def test_a_part_that_cannot_be_read_is_not_lost(store, monkeypatch):
    """ "Could not read" is an error, and never taken for "is not there"."""
    snapshot, real = head(store), store.get
    name = names.CHECKPOINT_DIR + snapshot.state.checkpoint.parts[0]

    def get(asked, **how):
        if asked == name:
            raise StoreError("no answer")
        return real(asked, **how)

    monkeypatch.setattr(store, "get", get)
    with pytest.raises(StoreError, match="no answer"):
        snapshot.files  # noqa: B018


def test_writers_in_turn_use_each_other_s_parts(store):
    """Processes that commit in turn do not save the same rows again and again."""
    first, second = session(store), session(store)
    before = set(saved(store)[1])
    for number in range(64):
        write(first if number % 2 else second, 5_000 + number)
    made = saved(store)[1] - before
    assert len(made) <= 64 // 4 * 2 + 8
    assert head(store).file_count == FILES + 64


def test_a_vacuum_keeps_the_parts_that_are_named(store):
    """It deletes those that no readable version's checkpoint names, and no other."""
    writer = session(store)
    assert upkeep.vacuum(writer, versions.require_head(writer), VacuumOptions(retain="0s"))[0].version is not None
    named, stored = saved(store)
    assert {name.removeprefix(names.CHECKPOINT_DIR) for name in stored} >= set(named)
    assert len(stored) <= len(named) + 3
    assert head(store).files.num_rows == FILES


def test_a_store_that_fails_costs_the_checkpoint_alone(store, monkeypatch):
    """A part that cannot be written makes no commit fail; the next one that is due saves it."""
    real = store.put
    writer = session(store)

    def put(name, data):
        if name.startswith(names.CHECKPOINT_DIR):
            raise StoreError("full")
        real(name, data)

    monkeypatch.setattr(store, "put", put)
    before = head(store).state.checkpoint
    for number in range(9):
        assert write(writer, 700 + number).committed
    assert head(store).state.checkpoint == before
    monkeypatch.undo()
    assert write(writer, 800).committed
    assert head(store).state.checkpoint.version >= FILES + 8
    assert head(store).file_count == FILES + 10


HOSTILE = {
    "a part twice": lambda found: found["parts"].append(found["parts"][0]),
    "the same rows twice": lambda found: found["parts"][1].update(sha256=found["parts"][0]["sha256"]),
    "no part": lambda found: found["parts"].clear(),
    "another order": lambda found: found["parts"].reverse(),
    "too few bits": lambda found: found["parts"][0].update(gone="AA=="),
    "bits beyond the end": lambda found: found["parts"][0].update(files=12, gone="AA8="),
    "fewer rows": lambda found: found["parts"][0].update(files=3),
    "many rows": lambda found: found["parts"][0].update(files=2**61),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_hostile_checkpoints(store, change):
    """A checkpoint that does not agree with the manifest or its parts is damage, found before a row is acted on."""
    snapshot = head(store)
    ref = snapshot.state.checkpoint
    data = store.get(names.checkpoint(ref.version, ref.id), limit=10**6)
    table = parts.opened(data).read()
    known = msgspec.json.decode(table.schema.metadata[b"txfiles"])
    change(known)
    forged = parts.encoded(table.replace_schema_metadata({b"txfiles": msgspec.json.encode(known)}))
    with pytest.raises(CorruptTableError, match="not a valid checkpoint"):
        checkpoint.decode(forged, ref, where="here", session=session(store)).files  # noqa: B018


def test_another_table_s_part_of_that_name_is_another_part(store):
    """A process that has opened a copy with other content gives each table its own list."""
    honest = paths(head(store))
    known = session(store)
    name = names.CHECKPOINT_DIR + saved(store)[0][0]
    copy = filled(FILES)
    assert paths(versions.require_head(Session(copy, environment.real(), known.cache))) != honest
    forged = head(copy)
    ref = forged.state.checkpoint
    part = forged.listing.segments[0].part
    known.cache.parts[forged.state.table_id, name.removeprefix(names.CHECKPOINT_DIR), "0" * 64] = part
    known.cache.parts[head(store).state.table_id, name.removeprefix(names.CHECKPOINT_DIR), ref.sha256] = part
    assert paths(versions.require_head(known)) == honest


def test_a_list_that_cannot_be_read_costs_the_checkpoint_alone(store, monkeypatch):
    """A blind append commits although a checkpoint is due and a part of the list cannot be read."""
    while head(store).state.version - head(store).state.checkpoint.version < 4:
        write(session(store), 600)
    before, real = head(store), store.get

    def get(name, **how):
        if name.removeprefix(names.CHECKPOINT_DIR) in before.state.checkpoint.parts:
            raise StoreError("no answer")
        return real(name, **how)

    monkeypatch.setattr(store, "get", get)
    assert write(session(store), 601).committed
    monkeypatch.undo()
    after = head(store)
    assert (after.state.version, after.state.checkpoint) == (before.state.version + 1, before.state.checkpoint)
    assert after.file_count == before.file_count + 1


def test_parts_lost_one_after_the_other(store):
    """However many checkpoints have lost parts, the list is rebuilt from the last one that is whole, or from none."""
    expected = paths(head(store))
    _, stored = saved(store)
    whole = {names.checkpoint(ref.version, ref.id) for ref in refs(store)}
    store.delete_many(sorted(set(stored) - whole))
    assert paths(head(store)) == expected


def refs(store):
    last = head(store).state.version
    found = (codec.decode(store.get(names.manifest(n), limit=10**6), version=n, where="") for n in range(last + 1))
    return {manifest.checkpoint for manifest in found if manifest.checkpoint}


def test_a_part_newer_than_its_checkpoint_is_refused(store):
    """A part's name says from which checkpoint on it can be lost; a manifest that contradicts itself is damage."""
    version = head(store).state.version
    manifest = codec.decode(store.get(names.manifest(version), limit=10**6), version=version, where="here")
    later = names.checkpoint(version, "a" * 32).removeprefix(names.CHECKPOINT_DIR)
    ref = msgspec.structs.replace(manifest.checkpoint, parts=(later,))
    forged = codec.encode(msgspec.structs.replace(manifest, checkpoint=ref))
    with pytest.raises(CorruptTableError, match="newer than its checkpoint"):
        codec.decode(forged, version=version, where="here")


def test_a_process_reads_a_part_once(store):
    """Parts never change: who comes back after many versions reads those that are new."""
    known = Session(store, environment.real(), SnapshotCache())
    old = versions.require_head(known)
    assert len(old.files) == FILES
    writer = session(store)
    for number in range(versions.FAR + 8):
        write(writer, 900 + number)
    store.calls.clear()
    fresh = versions.require_head(known)
    assert fresh.file_count == FILES + versions.FAR + 8
    opened = store.calls["get"]
    assert len(fresh.files) == fresh.file_count
    assert store.calls["get"] - opened == len(set(fresh.state.checkpoint.parts) - old.listing.parts)
    assert old.listing.parts & set(fresh.state.checkpoint.parts)
