"""The key index: with it and without it every call gives the same answer, and it finds keys without searching files."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.counting import CountingStore
from txfiles import environment, inputs
from txfiles.core import names, runs
from txfiles.log import commit, versions
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.operations.append_once import append_once
from txfiles.operations.indexing import with_runs
from txfiles.options import CompactOptions, Request, VacuumOptions, check
from txfiles.reading import index_check, key_index, lookup, scan
from txfiles.results import WriteResult
from txfiles.store.memory import MemoryStore
from txfiles.targets.files import attempts, upkeep, writes
from txfiles.verbs import DeleteOptions, check_delete

pytestmark = pytest.mark.usefixtures("index_of_small_tables")


class World:
    """A table in memory with one setting of `key_index`, and a process that works on it."""

    def __init__(self, key_index: str = "on", **properties: Any) -> None:
        self.properties = {"key_index": key_index, "row_group_rows": 4, **properties}
        self.store = CountingStore(MemoryStore())
        self.forget()

    def forget(self) -> None:
        """From now on this is another process, which knows nothing of the table."""
        self.session = Session(self.store, environment.real(), SnapshotCache())

    def write(self, rows: pa.Table, mode: str, **options: Any) -> Any:
        if versions.head(self.session) is None:
            options["properties"] = self.properties
        return writes.write(self.session, check(Request(source=inputs.source(rows), mode=mode, **options)))

    def delete(self, keys: Any) -> Any:
        return writes.delete(self.session, self.head, check_delete(DeleteOptions(keys=keys)))[0]

    def compact(self) -> Any:
        return upkeep.compact(self.session, self.head, CompactOptions())[0]

    def lookup(self, keys: Any) -> pa.Table:
        return lookup.lookup(self.session, self.head, keys, None)

    @property
    def head(self) -> Any:
        return versions.require_head(self.session)

    @property
    def rows(self) -> pa.Table:
        return scan.read(self.session, self.head, None, None)

    @property
    def runs(self) -> list[str]:
        """The files of runs in the store."""
        found = [entry.name for entry in self.store.list_from(names.INDEX_DIR)]
        return [name for name in found if name != names.INDEX_SEED_FILE]

    def replace_run(self, name: str, data: bytes | None) -> None:
        self.store.delete_many([name])
        if data is not None:
            self.store.put_if_absent(name, data)

    def problems(self) -> list[str]:
        """What is wrong with the runs of the newest version."""
        found = index_check.states(self.session, self.head, check=True)
        return [state.problem for state in found if state.problem]


def batch(*ids: int, v: int = 0) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "v": pa.array([v] * len(ids), pa.int64())})


def scattered(number: int, count: int = 20) -> pa.Table:
    """Rows whose key range is about the whole table's, whichever their number: ranges do not tell files apart."""
    return batch(*(number + 100 * at for at in range(count)))


def told(result: Any) -> Any:
    """A result without what two equal calls may differ in."""
    return replace(result, elapsed=0.0, commit_id=None, files_scanned=0, files_pruned=0)


KEYS: dict[str, Any] = {
    "integer": (pa.int32(), lambda n: n - 3),
    "unsigned": (pa.uint64(), lambda n: 2**63 - 3 + n),
    "text": (pa.string(), lambda n: "k" * (n % 3) + "\0é" * (n % 2) + str(n)),
    "long text": (pa.string(), lambda n: "x" * 300 + str(n)),
    "binary": (pa.binary(), lambda n: bytes([n, 0]) * (n % 2) + b"\0" * (n // 2)),
    "bool": (pa.bool_(), lambda n: n % 2 == 0),
    "date": (pa.date32(), lambda n: dt.date(1970, 1, 1) + dt.timedelta(n - 3)),
    "timestamp": (pa.timestamp("ms"), lambda n: dt.datetime(1969, 12, 31) + dt.timedelta(hours=9 * n)),
    "decimal": (pa.decimal128(10, 2), lambda n: decimal.Decimal(n - 4) / 4),
}

numbers = st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True)
calls = st.one_of(
    st.tuples(st.sampled_from(["upsert", "append_once", "append", "delete", "lookup", "overwrite"]), numbers),
    st.tuples(st.sampled_from(["compact", "another process", "all text"]), st.just([])),
)


@given(
    kind=st.sampled_from([(name,) for name in KEYS] + list(itertools.combinations(KEYS, 2))),
    format=st.sampled_from(["parquet", "csv"]),
    strategy=st.sampled_from(["copy_on_write", "merge_on_read"]),
    story=st.lists(calls, min_size=2, max_size=10),
)
def test_an_index_never_changes_an_answer(
    kind: tuple[str, ...], format: str, strategy: str, story: list[tuple[str, list[int]]]
) -> None:
    """Whatever is done to a table, results and rows are those of a table without an index, and its runs are right."""
    worlds = [World("on", update_strategy=strategy), World("off", update_strategy=strategy)]
    key_columns = [f"k{number}" for number in range(len(kind))]

    def rows(drawn: list[int], v: int) -> pa.Table:
        columns = {
            name: pa.array([KEYS[each][1](n // (at + 1)) for n in drawn], KEYS[each][0])
            for at, (name, each) in enumerate(zip(key_columns, kind, strict=True))
        }
        return pa.table({**columns, "v": pa.array([v] * len(drawn), pa.int64())})

    for world in worlds:
        world.write(rows([0, 3, 4], 0), "upsert", keys=tuple(key_columns), format=format, dedup_strategy="last_wins")
    for step, (call, drawn) in enumerate(story, 1):
        results = []
        for world in worlds:
            batch = rows(drawn, step % 3)
            if call in ("upsert", "append_once"):
                results.append(told(world.write(batch, call, dedup_strategy="last_wins")))
            elif call in ("append", "overwrite"):
                results.append(told(world.write(batch, call)))
            elif call == "delete":
                results.append(told(world.delete(batch.select(key_columns))))
            elif call == "lookup":
                results.append(world.lookup(batch.select(key_columns)))
            elif call == "compact":
                world.compact()
            elif call == "another process":
                world.forget()
        assert results[:1] == results[1:], (call, drawn)
    assert worlds[0].rows == worlds[1].rows
    assert not worlds[0].problems()
    assert worlds[0].head.state.runs
    assert not worlds[1].runs


def test_append_once_reads_nothing_of_covered_files() -> None:
    """Each commit adds a run for its files, and the runs answer for all of them: no data file is opened."""
    world = World()
    for number in range(5):
        assert world.write(scattered(number), "append_once", keys=("id",)).rows_inserted == 20
    assert len(world.runs) == len(world.head.state.runs) == 5
    world.store.calls.clear()
    again = pa.concat_tables([scattered(2), scattered(70)])
    result = world.write(again, "append_once")
    assert (result.rows_inserted, result.rows_skipped, result.files_scanned) == (20, 20, 0)
    assert world.store.calls["open_input"] == 0


def test_few_rows_for_each_key_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is not asked where the files that ranges leave have few rows for each key of the batch."""
    monkeypatch.setattr(key_index, "SEARCHED_ROWS", 2)
    monkeypatch.setattr(key_index, "SEARCHED_ROWS_REMOTE", 3)
    for at_once, least in ((1, 2), (2, 3)):
        world = World()
        can = replace(world.store.capabilities, requests_at_once=at_once)
        monkeypatch.setattr(CountingStore, "capabilities", can, raising=False)
        for number in range(3):  # sixty rows
            world.write(scattered(number), "append_once", keys=("id",))
        for count, scanned in ((60 // least - 1, 0), (60 // least, 3)):
            known = [100 * at + number for number in range(3) for at in range(20)]
            result = world.write(batch(*known[:: 60 // count][:count]), "append_once")
            assert (result.rows_in, result.rows_inserted, result.files_scanned) == (count, 0, scanned)


def test_an_upsert_opens_only_files_with_a_hit() -> None:
    """So do a look-up and a delete by keys."""
    world = World()
    for number in range(5):
        world.write(scattered(number), "append_once", keys=("id",))
    result = world.write(batch(103, v=1), "upsert")
    assert (result.files_scanned, result.files_removed, result.rows_updated) == (1, 1, 1)
    world.store.calls.clear()
    assert world.lookup([103, 204]).to_pydict() == {"id": [204, 103], "v": [0, 1]}
    assert world.store.calls["open_input"] <= 2
    result = world.delete([5, 302])
    assert (result.rows_deleted, result.files_scanned) == (1, 1)


def test_a_secret_that_somebody_replaced() -> None:
    """A process that knows the old one takes the new one as soon as no run is of the old one."""
    world, other = World(), World()
    other.store, other.session = world.store, Session(world.store, environment.real(), SnapshotCache())
    world.write(scattered(0), "append_once", keys=("id",))
    world.store.delete_many([names.INDEX_SEED_FILE])
    other.write(scattered(1), "append_once")  # it makes a new one, and drops the run of the old one
    for number in (2, 3):
        world.write(scattered(number), "append_once")
    other.forget()
    assert len(other.head.state.runs) == 3
    assert other.problems() == []
    world.write(scattered(1), "append_once")
    assert world.lookup([101, 202])["id"].to_pylist() == [101, 202]


def test_when_writes_keep_an_index() -> None:
    """`auto`, the default, keeps an index that there is, and begins one only where rows are marked."""
    marking = World("auto", update_strategy="merge_on_read")
    marking.write(scattered(0), "upsert", keys=("id",))
    assert len(marking.runs) == 1
    world = World("auto")
    world.write(scattered(0), "upsert", keys=("id",))
    assert not world.runs
    upkeep.set_table_properties(world.session, world.head, {"key_index": "on"})
    world.write(scattered(1), "upsert")
    upkeep.set_table_properties(world.session, world.head, {"key_index": "auto"})
    world.write(scattered(2), "upsert")
    assert len(world.head.state.runs) == 2
    upkeep.set_table_properties(world.session, world.head, {"key_index": "off"})
    result = world.write(scattered(3), "append_once")
    assert len(world.head.state.runs) == 2
    assert result.files_scanned > 0


def test_files_that_no_run_covers_are_searched() -> None:
    """A file from before the index, or of an operation that left no run, is probed as it always was."""
    world = World("off")
    world.write(scattered(0), "upsert", keys=("id",))
    upkeep.set_table_properties(world.session, world.head, {"key_index": "on"})
    world.write(scattered(1), "upsert")
    result = world.write(pa.concat_tables([scattered(0), scattered(1), scattered(2)]), "append_once")
    assert (result.rows_inserted, result.rows_skipped, result.files_scanned) == (20, 40, 1)


def spoilt(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE: dict[str, Any] = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "cut off": lambda data: data[:-1],
    "another file": lambda data: b"x" * len(data),
    "a damaged block": lambda data: spoilt(data, 3),
    "a damaged footer": lambda data: spoilt(data, len(data) - 70),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_run_that_is_no_use_is_forgotten(damage: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The answer stays right, one warning tells of it, and the next commit takes the run out of the log."""
    world = World()
    for number in range(3):
        world.write(scattered(number), "append_once", keys=("id",))
    victim = world.head.state.runs[1]
    data = world.store.get(victim.path, limit=10**6)
    assert data is not None
    world.replace_run(victim.path, damage(data))
    world.forget()
    everything = pa.concat_tables([scattered(number) for number in range(3)])
    with caplog.at_level(logging.WARNING, "txfiles"):
        for _ in range(2):
            assert world.write(everything, "append_once").rows_skipped == 60
    assert [victim.name in record.getMessage() for record in caplog.records] == [True]
    assert world.write(pa.concat_tables([everything, batch(7)]), "append_once").rows_inserted == 1
    assert victim.name not in [run.name for run in world.head.state.runs]
    assert not world.problems()


def test_runs_that_cover_no_file_in_question_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where key ranges leave few files, what the index costs does not grow with the other files' runs."""
    world = World()
    for number in range(5):
        world.write(batch(*range(20 * number, 20 * number + 20)), "append_once", keys=("id",))
    asked: list[str] = []
    probed = key_index._probed

    def noted(session: Any, ref: Any, *rest: Any) -> Any:
        asked.append(ref.name)
        return probed(session, ref, *rest)

    monkeypatch.setattr(key_index, "_probed", noted)
    assert world.write(batch(41, 43, 65, v=1), "upsert").rows_updated == 3
    assert {*asked} == {run.name for run in world.head.state.runs[2:4]}


def test_a_run_that_names_rows_of_other_keys_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    """A row that is read anyway is compared with the key: a run that lies is forgotten, and the file is searched."""
    world = World()
    world.write(batch(1, 2, 3), "upsert", keys=("id",))
    world.write(batch(900, 5, 6), "upsert")
    first, second = world.head.state.runs
    # The first run takes the place of the second, and says that it covers the second's file.
    forged = world.store.get(first.path, limit=10**6)
    assert forged is not None
    paths = world.head.files["path"].to_pylist()
    forge(world, second, forged, paths[0], paths[1])
    world.forget()
    with caplog.at_level(logging.WARNING, "txfiles"):
        assert world.lookup([1, 2, 900]).to_pydict()["id"] == [1, 2, 900]


def forge(world: World, ref: Any, data: bytes, was: str, now: str) -> None:
    """Puts a run with another path in its cover in the place of one, and makes the log vouch for it."""
    import hashlib

    assert len(was) == len(now)
    body = data.replace(was.encode(), now.encode())
    tail = body[-56:]
    cover, head = (int.from_bytes(tail[at : at + 8], "little") for at in (32, 40))
    footer = body[-56 - cover - head : -56]
    body = body[:-56] + hashlib.sha256(footer + tail[32:]).digest() + tail[32:]
    world.replace_run(ref.path, body)
    footer = body[-56 - cover - head :]
    run = replace_ref(world, ref, bytes=len(body), entries=3, footer_sha256=hashlib.sha256(footer).hexdigest())
    assert run


def replace_ref(world: World, ref: Any, **changes: Any) -> Any:
    """Commits other facts about a run under the same name, as nobody but a forger would."""
    from msgspec.structs import replace as replace_struct

    from txfiles.core.manifest import IndexAction, Operation
    from txfiles.core.plan import CommitPlan, ReadSet

    first = world.head.state.runs[0]
    forged = replace_struct(ref, run=first.run, **changes)
    head = world.head
    state = head.state

    def plan_on(snapshot: Any, _: Any) -> CommitPlan:
        return CommitPlan(table=state.table, read_set=ReadSet(table=state.table), index=(IndexAction(add=forged),))

    attempt = attempts.new_attempt(world.session, Operation(name="forge"))
    commit.run(attempt, plan_on, base=head)
    return forged


def test_without_its_secret_there_is_no_index() -> None:
    """Runs of another secret are left alone; writes begin with a new one, and its runs do not meet the old ones."""
    world = World()
    for number in range(2):
        world.write(scattered(number), "append_once", keys=("id",))
    old = world.head.state.runs
    world.store.delete_many([names.INDEX_SEED_FILE])
    world.forget()
    everything = pa.concat_tables([scattered(number) for number in range(3)])
    assert world.write(everything, "append_once").files_scanned == 2
    new = [run for run in world.head.state.runs if run not in old]
    assert len(new) == 1
    assert new[0].key.secret != old[0].key.secret
    world.forget()
    result = world.write(everything, "append_once")
    assert (result.rows_skipped, result.files_scanned) == (60, 2)


@pytest.mark.parametrize("size", [0, 15, 17, 1000])
def test_a_secret_of_another_size_is_none(size: int) -> None:
    """Nothing is digested under it, and nothing fails."""
    world = World()
    world.write(scattered(0), "append_once", keys=("id",))
    world.store.delete_many([names.INDEX_SEED_FILE])
    world.store.put_if_absent(names.INDEX_SEED_FILE, b"x" * size)
    world.forget()
    result = world.write(pa.concat_tables([scattered(0), scattered(1)]), "append_once")
    assert (result.rows_inserted, result.files_scanned) == (20, 1)
    assert len(world.head.state.runs) == 1


def test_other_keys_have_no_runs() -> None:
    """When the keys change, the runs of the old ones are gone, and new ones are begun."""
    world = World()
    rows = pa.table({"a": [1, 2], "b": [3, 4], "v": [0, 0]})
    world.write(rows, "upsert", keys=("a",))
    world.write(rows, "upsert", keys=("b",), rekey=True)
    assert world.head.state.runs == ()
    assert world.write(pa.table({"a": [1], "b": [4], "v": [1]}), "upsert").rows_updated == 1
    [run] = world.head.state.runs
    assert run.key.columns == (2,)
    assert not world.problems()


def test_a_wider_key_keeps_its_runs() -> None:
    """An integer is the same key in another width."""
    world = World()
    narrow = pa.table({"id": pa.array([1, 2], pa.int32()), "v": [0, 0]})
    world.write(narrow, "append_once", keys=("id",))
    wide = pa.table({"id": pa.array([2, 2**40], pa.int64()), "v": [0, 0]})
    result = world.write(wide, "append_once", schema_mode="merge")
    assert (result.rows_inserted, result.files_scanned) == (1, 0)
    assert len(world.head.state.runs) == 2


def test_a_lost_race_asks_the_winners_runs() -> None:
    """After a lost race an append_once looks into the runs that others have added, not into their files."""
    world = World()
    world.write(scattered(0), "append_once", keys=("id",))
    head = world.head
    other = Session(world.store, environment.real(), SnapshotCache())
    raced = []

    def planned(ctx: Any) -> Any:
        found = append_once(ctx)
        if ctx.session is world.session:
            raced.append(writes.write(other, check(Request(source=inputs.source(scattered(1)), mode="append_once"))))
            world.store.calls.clear()
        return found

    request = check(Request(source=inputs.source(scattered(2)), mode="append_once"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(writes.OPERATIONS, "append_once", planned)
        result = writes._run(world.session, request, head, WriteResult)[0]
    assert (result.rows_inserted, result.attempts) == (20, 1)
    assert world.store.calls["open_input"] == 0
    assert len(world.head.state.runs) == 3
    assert not world.problems()


def test_a_plan_or_a_failed_write_leaves_no_run() -> None:
    """`plan` writes nothing, and what a failed write has staged is deleted with its files."""
    world = World()
    world.write(scattered(0), "append_once", keys=("id",))
    writes.plan(world.session, check(Request(source=inputs.source(scattered(1)), mode="append_once")))
    assert len(world.runs) == 1

    def refuses(*_: Any) -> Any:
        raise RuntimeError("no manifest today")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit, "_commit", refuses)
        with pytest.raises(RuntimeError, match="no manifest today"):
            world.write(scattered(1), "append_once")
    assert len(world.runs) == 1
    assert world.rows.num_rows == 20


def test_many_partitions_have_one_run() -> None:
    """A commit adds one run for all of its files, of whatever partition."""
    world = World()
    rows = pa.table({"p": [1, 2, 3, 1], "id": [1, 2, 3, 4], "v": [0, 0, 0, 0]})
    world.write(rows, "append_once", keys=("p", "id"), partition_by=("p",))
    [run] = world.head.state.runs
    assert (run.files, run.entries) == (3, 4)
    assert not world.problems()


def test_null_keys_of_appends_are_in_no_run() -> None:
    """A row without a key is never found, and the run covers its file all the same."""
    world = World()
    world.write(scattered(0), "append_once", keys=("id",))
    world.write(pa.table({"id": [None, 4, None, 5], "v": [1, 2, 3, 4]}), "append")
    assert [run.entries for run in world.head.state.runs] == [20, 2]
    assert world.write(batch(4, 5, 6), "append_once").rows_skipped == 2
    assert not world.problems()


def test_a_vacuum_deletes_runs_that_no_version_names() -> None:
    """It deletes runs of failed writes, and those that a retained version does not have; never the secret."""
    world = World()
    world.write(scattered(0), "append_once", keys=("id",))
    stray = names.index_run(world.head.state.table_id, "f" * 32, 7)
    foreign = names.index_run("f" * 16, "f" * 32, 7)
    for name in (stray, foreign):
        world.store.put_if_absent(name, b"x")
    kept = {run.path for run in world.head.state.runs}
    upkeep.set_table_properties(world.session, world.head, {"vacuum_grace": "1d"})
    upkeep.vacuum(world.session, world.head, VacuumOptions(retain="0", keep_versions=1))
    assert stray in world.runs  # it may belong to a writer that is under way
    upkeep.set_table_properties(world.session, world.head, {"vacuum_grace": "0"})
    upkeep.vacuum(world.session, world.head, VacuumOptions(retain="0", keep_versions=1))
    assert set(world.runs) == {*kept, foreign}
    assert world.store.get(names.INDEX_SEED_FILE, limit=100) is not None


def test_what_is_committed_survives_a_checkpoint() -> None:
    """The runs of a version are in its checkpoint: who opens the table there finds them all."""
    world = World(checkpoint_interval=1)
    for number in range(4):
        world.write(scattered(number), "append_once", keys=("id",))
    known = world.head.state
    world.forget()
    assert known.checkpoint is not None
    assert world.head.state.runs == known.runs


def test_long_writes_have_several_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the memory of a streamed write is bounded, whatever its length."""
    from txfiles.writing import index_runs

    monkeypatch.setattr(index_runs, "RUN_ENTRIES", 10)
    world = World(target_file_bytes=1024, row_group_rows=2_000)
    ids = np.random.default_rng(1).permutation(200_000)
    world.write(pa.table({"id": ids, "v": ids}), "append_once", keys=("id",))
    assert len(world.head.state.runs) > 1
    assert sum(run.entries for run in world.head.state.runs) == 200_000
    assert not world.problems()


def test_a_full_tier_becomes_one_run() -> None:
    """Eight runs of a tier are merged by the commit after; rows of files that are gone are not in the new run."""
    world = World()
    for number in range(8):
        world.write(scattered(number), "append_once", keys=("id",))
    assert len(world.head.state.runs) == 8
    world.write(scattered(1).set_column(1, "v", pa.array([1] * 20)), "upsert")
    assert [run.entries for run in world.head.state.runs] == [20, 140]
    everything = pa.concat_tables([scattered(number) for number in range(9)])
    result = world.write(everything, "append_once")
    assert (result.rows_inserted, result.rows_skipped, result.files_scanned) == (20, 160, 0)
    assert not world.problems()
    for number in range(10, 60):
        world.write(scattered(number), "append_once")
        assert len(world.head.state.runs) <= 8
    assert not world.problems()


def test_a_small_commit_leaves_large_runs_to_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows it copies; the next commit of as many new rows as those that wait merges their runs."""
    monkeypatch.setattr(runs, "FIRST_TIER_ENTRIES", 4)
    world = World()
    for number in range(8):
        world.write(scattered(number), "append_once", keys=("id",))
    world.write(batch(0, v=1), "upsert")
    assert [run.entries for run in world.head.state.runs] == [20] * 9
    world.write(scattered(8), "append_once")
    assert [run.entries for run in world.head.state.runs] == [20, 20, 140]
    assert not world.problems()


def test_runs_do_not_wait_for_a_large_commit_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sixteen of a tier wait, any commit merges eight; those whose files are gone leave nothing."""
    monkeypatch.setattr(runs, "FIRST_TIER_ENTRIES", 4)
    world = World()
    for number in range(8):
        world.write(scattered(number), "append_once", keys=("id",))
    for number in range(8):
        world.write(batch(number, v=1), "upsert")
    assert [run.entries for run in world.head.state.runs] == [20] * 16
    world.write(batch(0, v=2), "upsert")
    assert [run.entries for run in world.head.state.runs] == [20] * 8  # the file of one goes with this commit
    assert not world.problems()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_merge_takes_away_runs_of_files_that_are_gone(damaged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large they are: otherwise each file that is rewritten would leave one. A damaged one goes later."""
    monkeypatch.setattr(runs, "FIRST_TIER_ENTRIES", 4)
    world = World()
    world.write(batch(*range(200)), "append_once", keys=("id",))
    world.write(batch(7, v=1), "upsert")
    gone, stays = world.head.state.runs
    for number in range(8):
        world.write(batch(1_000 + number), "append")
    if damaged:
        world.replace_run(gone.path, b"")
        world.forget()
    world.write(batch(2_000), "append")
    state = world.head.state
    assert [run.entries for run in state.runs if run != gone] == [200, 1, 8]
    assert stays in state.runs
    assert (gone in state.runs) == damaged
    world.write(batch(2_001), "append")
    assert gone not in world.head.state.runs
    assert world.write(batch(7, 150, 1_003), "append_once").files_scanned == 0
    assert not world.problems()


def test_a_merge_that_loses_an_input_is_left_out() -> None:
    """Two writers merge the same runs: the second one's commit goes on without its merge, and leaves no file of it."""
    world = World()
    for number in range(8):
        world.write(scattered(number), "append_once", keys=("id",))
    other = Session(world.store, environment.real(), SnapshotCache())
    raced = []

    def raced_with(session: Any, base: Any, stage: Any, plan: Any) -> Any:
        found = with_runs(session, base, stage, plan)
        if session is world.session:
            raced.append(writes.write(other, check(Request(source=inputs.source(scattered(20)), mode="append_once"))))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writes.indexing, "with_runs", raced_with)
        assert world.write(scattered(21), "append_once").rows_inserted == 20
    assert raced[0].rows_inserted == 20
    assert [run.entries for run in world.head.state.runs] == [20, 160, 20]
    assert len(world.runs) == 8 + 3
    assert not world.problems()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_run_is_not_merged(damage: Any) -> None:
    """A merge believes no run that a probe would not: it is left out, and the damaged run with it."""
    world = World()
    for number in range(8):
        world.write(scattered(number), "append_once", keys=("id",))
    victim = world.head.state.runs[3]
    data = world.store.get(victim.path, limit=10**6)
    assert data is not None
    world.replace_run(victim.path, damage(data))
    world.forget()
    world.write(batch(10**9), "append")
    assert len(world.head.state.runs) == 9
    world.write(batch(10**9 + 1), "append")
    assert victim.name not in [run.name for run in world.head.state.runs]
    assert not world.problems()


@pytest.mark.parametrize("keys", [("id",), ("id", "v")])
def test_rows_of_copied_groups_are_in_the_run(keys: tuple[str, ...]) -> None:
    """A rewritten file is covered whole, with the row groups that were copied as they are encoded."""
    world = World()
    rows = pa.table({"id": list(range(60)), "v": list(range(60)), "w": [0] * 60})
    world.write(rows, "append_once", keys=keys)
    world.write(pa.table({"id": [7, 100], "v": [7, 100], "w": [1, 1]}), "upsert")
    assert [run.entries for run in world.head.state.runs] == [60, 61]
    again = world.write(rows, "append_once")
    assert (again.rows_skipped, again.files_scanned) == (60, 0)
    assert not world.problems()


@pytest.mark.parametrize("keys_of", [[2, 3], [2, 3, 900]])
def test_marked_rows_are_not_found(keys_of: list[int]) -> None:
    """A run keeps the keys of marked rows, and the file's vector judges them."""
    world = World(update_strategy="merge_on_read")
    world.write(batch(1, 2, 3, 4, 900), "upsert", keys=("id",))
    assert world.delete([2, 3]).rows_deleted == 2
    assert world.head.file_count == 1
    assert world.lookup(keys_of).num_rows == len(keys_of) - 2
    assert world.delete([2, 3]).rows_deleted == 0
    assert world.write(batch(*keys_of), "append_once").rows_inserted == 2
    assert world.lookup([2, 3]).num_rows == 2
    assert not world.problems()
