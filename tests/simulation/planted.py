"""Bugs planted into the library, each of a kind that real systems have had. The simulator must catch every one.

A bug is a patch of the real code, a scene in which it matters, and the invariants of which one must break. With
`anywhere=True` of `hunt` the scene is not told: all pairs of the matrix are searched.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from msgspec.structs import replace as replace_struct

from tests.simulation.explore import Failed, every
from tests.simulation.outside import body
from tests.simulation.process import SimulatedStore
from tests.simulation.scenes import Scene, pairs, scene
from txfiles.core import codec, conflicts, names, protocol, replay, runs, times, transactions
from txfiles.core import plan as plans
from txfiles.core.manifest import Manifest
from txfiles.core.protocol import Answer, Next, Sent
from txfiles.core.replay import State
from txfiles.errors import StoreError
from txfiles.formats import index_merge
from txfiles.formats.common import HashingSink
from txfiles.log import checkpoint, detached, manifests, newest, versions
from txfiles.operations import delete, edits, transaction, vacuum
from txfiles.reading import checks, key_finder, key_index, live
from txfiles.reading.marked import NONE_MARKED, MarkedRows
from txfiles.results import Resolution
from txfiles.rows import keys, restoring
from txfiles.rows.segments import Segment
from txfiles.store.port import Put
from txfiles.targets.files import attempts, restore
from txfiles.targets.files import detach as leave
from txfiles.writing.index_runs import FileKeys
from txfiles.writing.staging import Staging


@dataclass(frozen=True)
class Bug:
    """A bug.

    Attributes:
        name: what is wrong with the code.
        plant: puts it in, while the frame is open.
        programs: a scene in which it shows; see `explore.scene`.
        breaks: the invariants of which it breaks one.
        options: of the scene.
        faults: that it takes to show.
    """

    name: str
    plant: Callable[[], Any]
    programs: Sequence[str | Sequence[str]]
    breaks: tuple[str, ...]
    options: Mapping[str, Any]
    faults: int = 1


BUGS: list[Bug] = []


def planted(
    *programs: str | Sequence[str], breaks: tuple[str, ...], faults: int = 1, **options: Any
) -> Callable[[Callable[[], Iterator[None]]], Callable[[], Any]]:
    """Add a generator that patches the library to the list."""

    def add(function: Callable[[], Iterator[None]]) -> Callable[[], Any]:
        plant = contextmanager(function)
        BUGS.append(Bug(function.__name__.replace("_", " "), plant, programs, breaks, options, faults))
        return plant

    return add


def hunt(bug: Bug, *, anywhere: bool = False) -> Failed | None:
    """Search for the bug; what was found, or None. The states of a `Failed` are those it took, over all scenes."""
    states = 0
    for found in _scenes(bug, anywhere):
        with bug.plant():
            try:
                states += every(found, bug.faults).states
            except Failed as failed:
                failed.states += states
                return failed
    return None


def _scenes(bug: Bug, anywhere: bool) -> Iterator[Scene]:
    yield from map(scene, pairs()) if anywhere else iter([scene(bug.programs, **bug.options)])


# ---- the commit --------------------------------------------------------------------------------


@contextmanager
def _after(change: Callable[[Sent, Answer], Next | None]) -> Iterator[None]:
    """Plant another next step for some answers."""
    real = protocol.step

    def step(sent: Sent, answer: Answer) -> tuple[Next, Sent]:
        found = change(sent, answer)
        return real(sent, answer) if found is None else (found, sent)

    with patch.object(protocol, "step", step):
        yield


@planted("append", "append", breaks=("S3",))
def an_unclear_put_is_taken_for_lost() -> Iterator[None]:
    with _after(lambda sent, answer: Next.LOST if answer in (Answer.UNCLEAR, Answer.EXISTS) else None):
        yield


@planted("append", "append", breaks=("S3",))
def an_unclear_put_is_read_back_at_the_head_only() -> Iterator[None]:
    real_put, real_get = SimulatedStore.put_if_absent, SimulatedStore.get
    unclear: dict[SimulatedStore, str] = {}

    def put(self: SimulatedStore, name: str, data: bytes) -> Put:
        found = real_put(self, name, data)
        if found in (Put.UNKNOWN, Put.EXISTS) and names.manifest_version(name) is not None:
            unclear[self] = name
        return found

    def get(self: SimulatedStore, name: str, *, limit: int) -> bytes | None:
        found = real_get(self, name, limit=limit)
        if unclear.get(self) == name:
            del unclear[self]
            version = names.manifest_version(name)
            assert version is not None
            while (newer := real_get(self, names.manifest(version := version + 1), limit=limit)) is not None:
                found = newer
        return found

    with patch.object(SimulatedStore, "put_if_absent", put), patch.object(SimulatedStore, "get", get):
        yield


@planted("append", "append", breaks=("S2", "S3"))
def the_next_number_is_tried_before_this_one_is_settled() -> Iterator[None]:
    real = SimulatedStore.put_if_absent

    def put(self: SimulatedStore, name: str, data: bytes) -> Put:
        found, version = real(self, name, data), names.manifest_version(name)
        if found is not Put.UNKNOWN or version is None:
            return found
        manifest = codec.decode(data, version=version, where=name)
        following = replace_struct(manifest, version=version + 1, parent_sha256=codec.sha256(data))
        real(self, names.manifest(version + 1), codec.encode(following))
        return Put.CREATED

    with patch.object(SimulatedStore, "put_if_absent", put):
        yield


@planted("append", "append", breaks=("S3", "S5", "S7"))
def an_unclear_put_is_called_a_conflict() -> Iterator[None]:
    real = protocol.step

    def step(sent: Sent, answer: Answer) -> tuple[Next, Sent]:
        following, after = real(sent, answer)
        return (Next.ABORTED if following is Next.UNKNOWN else following), after

    with patch.object(protocol, "step", step), patch.object(protocol, "MOST_PUTS", 1):
        yield


@planted("append", "append", breaks=("S3", "S5"))
def an_absent_manifest_is_taken_for_one_that_never_lands() -> Iterator[None]:
    with _after(lambda sent, answer: Next.ABORTED if answer is Answer.ABSENT else None):
        yield


@planted("append", "append", breaks=("S7",))
def files_are_deleted_though_the_commit_may_stand() -> Iterator[None]:
    with patch.object(Staging, "keep", lambda self: None), patch.object(protocol, "MOST_PUTS", 1):
        yield


@planted("append", "append", breaks=("S2", "S3"))
def each_try_of_a_commit_has_an_id_of_its_own() -> Iterator[None]:
    real = codec.encode

    def encode(manifest: Manifest) -> bytes:
        return real(replace_struct(manifest, commit_id=body().session.environment.new_id()))

    with (
        patch.object(codec, "encode", encode),
        _after(lambda sent, answer: Next.LOST if answer is Answer.ABSENT else None),
    ):
        yield


@planted("append", "append", breaks=("S2",), faults=0)
def the_time_of_a_commit_is_just_the_clock() -> Iterator[None]:
    real = codec.encode

    def encode(manifest: Manifest) -> bytes:
        return real(replace_struct(manifest, time=times.format_us(body().session.environment.now_us())))

    with patch.object(codec, "encode", encode):
        yield


@planted("append", "append", breaks=("S7",), faults=0)
def files_are_deleted_when_a_race_is_lost() -> Iterator[None]:
    real = Staging.give_up

    def give_up(self: Staging) -> None:
        real(self)
        self.discard()

    with patch.object(Staging, "give_up", give_up):
        yield


@planted("append", breaks=("L1",))
def an_unclear_put_of_a_sidecar_ends_the_call() -> Iterator[None]:
    real = SimulatedStore.put_if_absent

    def put(self: SimulatedStore, name: str, data: bytes) -> Put:
        found = real(self, name, data)
        if found is Put.UNKNOWN and name.startswith(names.SIDECAR_DIR):
            raise StoreError(f"{name} was not written")
        return found

    with patch.object(SimulatedStore, "put_if_absent", put), patch.object(codec, "INLINE_ACTIONS", 0):
        yield


@planted("append", breaks=("S7",))
def a_commit_goes_on_though_what_it_staged_is_deleted() -> Iterator[None]:
    real = SimulatedStore.put_if_absent

    def put(self: SimulatedStore, name: str, data: bytes) -> Put:
        found = real(self, name, data)
        if found is Put.UNKNOWN and name.startswith(names.SIDECAR_DIR):
            self.delete_many([unquote(add["path"]) for add in json.loads(data)["add"]])
        return found

    with patch.object(SimulatedStore, "put_if_absent", put), patch.object(codec, "INLINE_ACTIONS", 0):
        yield


@planted(["read and wait", "append"], "another table", breaks=("S2", "S7"), faults=0)
def a_manifest_of_the_same_size_and_time_is_taken_for_the_same() -> Iterator[None]:
    real = SimulatedStore.get
    seen: dict[tuple[SimulatedStore, Any], bytes | None] = {}

    def get(self: SimulatedStore, name: str, *, limit: int) -> bytes | None:
        if name == names.HINT_FILE:
            return real(self, name, limit=limit)
        entry = self, self.stat(name)
        if entry not in seen:
            seen[entry] = real(self, name, limit=limit)
        return None if entry[1] is None else seen[entry]

    with patch.object(SimulatedStore, "get", get):
        yield


@planted("append", breaks=("S7",))
def a_data_file_that_was_not_written_is_committed() -> Iterator[None]:
    real = HashingSink.publish

    def publish(self: HashingSink) -> str:
        try:
            return real(self)
        except StoreError:
            self._over = True
            return self._hash.hexdigest()

    with patch.object(HashingSink, "publish", publish):
        yield


# ---- conflicts ---------------------------------------------------------------------------------


@contextmanager
def _judge(change: Callable[[Any, Any, Any], tuple[Any, Any, Any]]) -> Iterator[None]:
    """Plant another view of a plan, of the commits since, or of their difference."""
    real = conflicts.judge
    with patch.object(conflicts, "judge", lambda *given: real(*change(*given))):
        yield


@contextmanager
def _difference(change: Callable[[Any], Any]) -> Iterator[None]:
    real = conflicts.change
    with patch.object(conflicts, "change", lambda theirs, *more: change(real(theirs, *more))):
        yield


def _reading(plan: Any, **values: Any) -> Any:
    return replace(plan, read_set=replace(plan.read_set, **values))


@planted("upsert", "append_once", breaks=("S10", "S12"), faults=0)
def fresh_files_are_not_probed() -> Iterator[None]:
    with _difference(lambda net: replace(net, fresh=())):
        yield


@planted("append_once", "overwrite where", breaks=("S10", "S12"), faults=0)
def a_file_that_is_gone_goes_unnoticed() -> Iterator[None]:
    with _difference(lambda net: replace(net, gone=frozenset())):
        yield


@planted("batch id", "batch id", breaks=("S11",), faults=0)
def a_batch_id_is_looked_up_before_the_first_try_only() -> Iterator[None]:
    with _judge(lambda mine, theirs, net: (_reading(mine, batch_id=None), theirs, net)):
        yield


@planted("append_once", ["upsert", "append"], breaks=("S10", "S12"), faults=0)
def only_the_newest_commit_is_judged() -> Iterator[None]:
    real = conflicts.change
    with patch.object(conflicts, "change", lambda theirs, *more: real(theirs[-1:], *more)):
        yield


@planted("delete where", "append", breaks=("S10", "S12"), faults=0)
def a_delete_stands_beside_a_fresh_row_that_matches() -> Iterator[None]:
    with patch.object(checks, "_has_match", lambda *_: False):
        yield


@planted("delete", breaks=("S10", "S12"), faults=0)
def a_delete_forgets_a_file() -> Iterator[None]:
    real = delete.commit_plan

    def plan(*given: Any, remove: Sequence[str], **more: Any) -> Any:
        return real(*given, remove=remove[1:], **more)

    with patch.object(delete, "commit_plan", plan):
        yield


@planted("overwrite", "append", breaks=("S10", "S12"), faults=0)
def an_overwrite_does_not_list_anew() -> Iterator[None]:
    real = plans.on_head

    def on_head(plan: Any, table: Any, oldest: int, held: Any, _: Any, **more: Any) -> Any:
        return real(plan, table, oldest, held, None, **more)

    with patch.object(plans, "on_head", on_head):
        yield


@planted("compact", "overwrite where", breaks=("S10", "S12"), faults=0)
def a_compaction_brings_back_rows_that_are_gone() -> Iterator[None]:
    real = plans.on_head

    def on_head(plan: Any, table: Any, *more: Any, gone: frozenset[str], runs: Any) -> Any:
        if not plan.groups:
            return real(plan, table, *more, gone=gone, runs=runs)
        left = [
            replace(group, inputs=tuple(path for path in group.inputs if path not in gone)) for group in plan.groups
        ]
        return plans.compaction(table, [group for group in left if group.inputs])

    with patch.object(plans, "on_head", on_head):
        yield


@planted("compact", "append", breaks=("S10",), faults=0)
def a_compaction_moves_rows_to_the_end() -> Iterator[None]:
    real = plans.compaction

    def compaction(table: Any, groups: Any, *, lost: int = 0) -> Any:
        plan = real(table, groups, lost=lost)
        return replace(plan, add=tuple(replace_struct(add, place=None) for add in plan.add))

    with patch.object(plans, "compaction", compaction):
        yield


@planted("append", "other columns", breaks=("S10",), faults=0)
def a_change_of_columns_goes_unnoticed() -> Iterator[None]:
    with patch.object(conflicts, "same_but_properties", lambda mine, theirs: True):
        yield


def _made_by(theirs: Sequence[Manifest], path: str) -> bool:
    """Whether one of the commits wrote the file, by its name."""
    return path.rpartition("-")[0][-32:] in {manifest.commit_id for manifest in theirs}


@planted(["overwrite", "append_once two"], "restore one", breaks=("S10", "S12"), faults=0)
def a_file_that_comes_back_is_not_fresh() -> Iterator[None]:
    real = conflicts.change

    def change(theirs: Sequence[Manifest], *more: Any) -> conflicts.Change:
        net = real(theirs, *more)
        return replace(net, fresh=tuple(add for add in net.fresh if _made_by(theirs, add.path)))

    with patch.object(conflicts, "change", change):
        yield


@planted(["overwrite", "restore one"], "vacuum", breaks=("S7",), faults=0)
def a_vacuum_deletes_a_file_that_comes_back() -> Iterator[None]:
    real = conflicts.change

    def change(theirs: Sequence[Manifest], *more: Any) -> conflicts.Change:
        net = real(theirs, *more)
        return replace(net, held=frozenset(name for name in net.held if _made_by(theirs, name)))

    with patch.object(conflicts, "change", change):
        yield


# ---- transactions ------------------------------------------------------------------------------


@planted("transaction", "append_once", breaks=("S10", "S12"), faults=0)
def a_transaction_checks_what_its_first_operation_does_alone() -> Iterator[None]:
    real = transactions.combined

    def combined(parts: Any, together: Any) -> Any:
        return _reading(real(parts, together), checks=parts[0].read_set.checks)

    with patch.object(transaction, "combined", combined):
        yield


@planted("transaction", breaks=("S10", "S12"), faults=0)
def operations_of_a_transaction_do_not_see_those_before_them() -> Iterator[None]:
    with patch.object(transaction, "_after", lambda base, *_: base):
        yield


@planted("transaction", "vacuum", breaks=("L1",), faults=0)
def a_transaction_takes_what_a_vacuum_deletes_for_damage() -> Iterator[None]:
    with patch.object(transaction, "_refuse_lost", lambda *_: None):
        yield


@planted("transaction", "delete", breaks=("S2",), faults=0)
def a_transaction_relies_on_nothing() -> Iterator[None]:
    real = transactions.combined
    with patch.object(transaction, "combined", lambda *given: _reading(real(*given), relies_on={}, checks=())):
        yield


@planted("restore", "append_once seven", breaks=("S10", "S12"), faults=0)
def a_restore_stands_beside_an_append() -> Iterator[None]:
    with _judge(lambda mine, theirs, net: (replace(mine, restore=None), theirs, net)):
        yield


@planted(["batch id", "restore", "batch id"], breaks=("S11",), faults=0)
def a_restore_keeps_newer_batch_ids() -> Iterator[None]:
    with patch.object(replay, "batch_id_changes", lambda *_: ((), ())):
        yield


@planted("restore", "vacuum", breaks=("S7",), faults=0)
def a_restore_goes_on_though_a_vacuum_lists_its_files() -> Iterator[None]:
    with patch.object(restore, "_refuse_expired", lambda *_: None):
        yield


@planted("append", "rename", breaks=("S10",), faults=0)
def a_rename_is_rebased_over_by_rows_of_the_old_name() -> Iterator[None]:
    with patch.object(conflicts, "same_but_properties", lambda mine, theirs: True):
        yield


@planted(["drop", "new column"], breaks=("S8", "S10", "S12"), faults=0)
def a_column_of_a_dropped_one_s_name_gets_its_id() -> Iterator[None]:
    real = codec.table_action
    ids = {"k": 1, "part": 2, "n": 3, "at": 4}

    def table_action(table: Any) -> Any:
        columns = tuple(replace_struct(column, id=ids.get(column.name, column.id)) for column in table.columns)
        return real(replace_struct(table, columns=columns))

    with patch.object(codec, "table_action", table_action):
        yield


@planted(["rename", "read and wait"], breaks=("S8", "S10", "S12"), faults=0)
def files_are_read_by_the_names_of_before() -> Iterator[None]:
    real = live._own_columns

    def own(table: Any, file: Any) -> Any:
        before = {1: "k", 2: "part", 3: "n", 4: "at"}
        by_id = {column.id: column.name for column in table.columns}
        return tuple(
            name if before.get(column) == by_id.get(column) else "\0lost"
            for column, name in zip(file.columns or table.stored_ids, real(table, file), strict=True)
        )

    with patch.object(live, "_own_columns", own):
        yield


# ---- marked rows -------------------------------------------------------------------------------

MARKS = {"update_strategy": "merge_on_read"}


@planted(["delete one", "delete six"], breaks=("S10", "S12"), faults=0, **MARKS)
def a_vector_forgets_earlier_marks() -> Iterator[None]:
    def mark_rows(session: Any, stage: Any, found: Any) -> Any:
        return stage.vectors([(file.path, positions) for file, positions in found])

    with patch.object(edits, "mark_rows", mark_rows):
        yield


@planted("delete one", "delete six", breaks=("S10", "S12"), faults=0, **MARKS)
def the_later_of_two_vectors_wins() -> Iterator[None]:
    def unite(session: Any, stage: Any, found: Any) -> Any:
        return stage.vectors([(file.path, stage.marked(file.path)) for file in found]), []

    with patch.object(attempts, "unite", unite):
        yield


@planted("delete one", "delete one", breaks=("S10", "S12"), faults=0, **MARKS)
def rows_that_others_marked_are_not_looked_at() -> Iterator[None]:
    with patch.object(checks, "still_live", lambda *_: True):
        yield


@planted("delete one", "delete six", breaks=("S10", "S12"), faults=0, **MARKS)
def a_file_that_others_marked_is_as_it_was() -> Iterator[None]:
    with _difference(lambda net: replace(net, marked={})):
        yield


@planted("delete one", "read", breaks=("S8", "S10", "S12"), faults=0, **MARKS)
def readers_ignore_vectors() -> Iterator[None]:
    with patch.object(MarkedRows, "of", lambda *_: NONE_MARKED):
        yield


@planted("compact", "delete six", breaks=("S10", "S12"), faults=0, **MARKS)
def a_compaction_brings_back_rows_that_are_marked() -> Iterator[None]:
    real = plans.on_head

    def on_head(*given: Any, gone: Any, runs: Any) -> Any:
        return real(*given, gone=frozenset(), runs=runs)

    with patch.object(plans, "on_head", on_head):
        yield


@planted(["delete one", "vacuum"], breaks=("S7",), faults=0, **MARKS)
def a_vacuum_takes_the_vectors_of_live_files() -> Iterator[None]:
    with patch.object(vacuum, "_vector_files", lambda _: {}):
        yield


@planted(["delete one", "restore marked"], breaks=("S10", "S12"), faults=0, **MARKS)
def a_restore_leaves_rows_marked() -> Iterator[None]:
    real = restoring.compared

    def compared(files: Any, others: Any) -> Any:
        at, _ = real(files, others)
        return at, at >= 0

    with patch.object(restoring, "compared", compared):
        yield


@planted("delete one", breaks=("S7",), **MARKS)
def a_vector_file_is_deleted_though_the_commit_may_stand() -> Iterator[None]:
    with patch.object(Staging, "keep", lambda self: None), patch.object(protocol, "MOST_PUTS", 1):
        yield


# ---- the key index -----------------------------------------------------------------------------

INDEX = {"key_index": "on"}

_asked = patch.object(key_index, "SEARCHED_ROWS", 0)
"""Runs are asked, however few rows the table has."""


@planted(["overwrite", "append_once"], breaks=("S10", "S12"), faults=0, **INDEX)
def a_run_that_points_to_a_superseded_file_is_believed() -> Iterator[None]:
    real_ask, real_places = key_index.ask, key_index._places
    listed: list[int] = []

    def ask(session: Any, wanted: Any, files: Any, may: Any, runs: Any) -> Any:
        listed[:] = files["rows"].take(pa.array(may)).to_pylist()
        return real_ask(session, wanted, files, may, runs)

    def places(runs: Any, paths: Any) -> Any:
        """A file that is gone is taken for one of as many rows."""
        return [
            np.array([at if at >= 0 or rows not in listed else listed.index(rows) for at, rows in found], np.int64)
            for run, each in zip(runs, real_places(runs, paths), strict=True)
            for found in [list(zip(each.tolist(), run.cover.rows.tolist(), strict=True))]
        ]

    with patch.object(key_index, "_places", places), patch.object(key_index, "ask", ask), _asked:
        yield


@planted(["append", "append_once"], breaks=("S10", "S12"), faults=0, **INDEX)
def a_merge_drops_entries_and_keeps_its_cover() -> Iterator[None]:
    with (
        _asked,
        patch.object(runs, "RUNS_OF_A_TIER", 2),
        patch.object(index_merge._Cursor, "_moved", lambda self, digests, rows: (digests.take(slice(0)), rows[:0])),
    ):
        yield


@planted(["build index", "append_once"], breaks=("S10", "S12"), faults=0)
def a_build_covers_files_without_their_keys() -> Iterator[None]:
    real = FileKeys.add

    def add(self: FileKeys, codes: Any) -> None:
        real(self, pa.nulls(len(codes), codes.type))

    with patch.object(FileKeys, "add", add), _asked:
        yield


@planted("drop index", breaks=("S14",), faults=0, **INDEX)
def a_drop_deletes_the_runs_itself() -> Iterator[None]:
    real = Staging.keep

    def keep(self: Staging) -> None:
        real(self)
        store = self._session.store
        store.delete_many([entry.name for entry in store.list_from(names.INDEX_DIR) if entry.name.endswith(".run")])

    with patch.object(Staging, "keep", keep):
        yield


# ---- vacuum ------------------------------------------------------------------------------------


@planted("vacuum", "append", breaks=("S14",), faults=0)
def a_vacuum_deletes_before_it_commits() -> Iterator[None]:
    real = vacuum.plan_vacuum

    def plan(session: Any, base: Any, rules: Any) -> Any:
        work = real(session, base, rules)
        vacuum.delete(session.store, work.vacuum.deletes, lambda _: None)
        return work

    with patch.object(vacuum, "plan_vacuum", plan):
        yield


@planted("vacuum", "append", breaks=("S7",), faults=0)
def a_writer_does_not_read_what_a_vacuum_lists() -> Iterator[None]:
    def change(mine: Any, theirs: Any, net: Any) -> Any:
        return mine, [replace_struct(manifest, vacuum=None) for manifest in theirs], net

    with _judge(change):
        yield


@planted("vacuum", "append", breaks=("S7", "S1"), faults=0)
def a_file_is_written_again_under_its_old_name() -> Iterator[None]:
    real = Staging.__init__

    def init(self: Staging, session: Any, commit_id: str, numbers: Any, *more: Any) -> None:
        real(self, session, commit_id, itertools.count(), *more)

    with patch.object(Staging, "__init__", init):
        yield


@planted("vacuum", "append", breaks=("S7",), faults=0)
def a_vacuum_keeps_its_list_after_a_lost_race() -> Iterator[None]:
    with _difference(lambda net: replace(net, held=frozenset())):
        yield


@planted("vacuum", breaks=("S1",), faults=0)
def old_manifests_are_deleted() -> Iterator[None]:
    real = vacuum.delete

    def delete(store: Any, paths: Sequence[str], done: Callable[[int], None]) -> None:
        real(store, paths, done)
        store.delete(names.manifest(0))

    with patch.object(vacuum, "delete", delete):
        yield


@planted("read old", "vacuum", breaks=("L1",), faults=0)
def an_expired_version_is_called_damaged() -> Iterator[None]:
    with patch.object(versions.ExpiryReported, "__exit__", lambda self, *_: None):
        yield


# ---- opening -----------------------------------------------------------------------------------


@planted("append", "read", breaks=("S9",), faults=0)
def the_hint_is_believed() -> Iterator[None]:
    def by_hint(known: Any, hint: newest.Hint) -> int:
        known.fetch(None, [hint.version])
        return hint.version

    with patch.object(versions, "_by_hint", by_hint):
        yield


@planted(["append", "append"], ["read"], breaks=("S8", "S14"), faults=0, checkpoint_interval=1)
def a_checkpoint_leaves_a_file_out() -> Iterator[None]:
    real = checkpoint.encode

    def encode(state: State, files: Any, parts: Any = ()) -> bytes:
        return real(state, files.slice(1), parts)

    with patch.object(checkpoint, "encode", encode):
        yield


@planted(["upsert", "append"], ["read"], breaks=("S8", "S12"), faults=0, checkpoint_interval=1)
def a_removed_file_stays_in_its_part() -> Iterator[None]:
    def of_part(part: Any, gone: bytes) -> Any:
        del gone
        return Segment(part.files, part)

    with patch.object(Segment, "of_part", of_part):
        yield


@planted("append", "read", breaks=("S9",))
def the_newest_manifest_that_can_be_read_is_the_head() -> Iterator[None]:
    real = manifests.load

    def load(store: Any, version: int) -> Any:
        try:
            return real(store, version)
        except StoreError:
            return None

    with patch.object(manifests, "load", load):
        yield


@planted(["append", "append_once seven"], breaks=("S10", "S12"), faults=0, create=True)
def a_file_without_a_key_range_holds_no_key() -> Iterator[None]:
    real = keys.candidates

    def candidates(prefixes: Any, key_min: Any, key_max: Any) -> Any:
        return real(prefixes, key_min.fill_null(b"\xff" * 9), key_max)

    with patch.object(key_finder.key_codec, "candidates", candidates):
        yield


@planted("append", "append", breaks=("S6",), faults=2)
def only_the_newest_manifest_is_asked_to_resolve() -> Iterator[None]:
    def resolve(session: Any, commit_id: str) -> Resolution:
        head = versions.require_head(session)
        mine = head.state.commit_id == commit_id
        return Resolution(committed=mine, version=head.state.version if mine else None)

    with patch.object(attempts, "resolve", resolve):
        yield


# ---- leaving -----------------------------------------------------------------------------------


@planted("detach", "append", breaks=("S10",), faults=0)
def a_writer_rebases_over_a_detach() -> Iterator[None]:
    real = conflicts.judge

    def judge(mine: Any, theirs: Any, net: Any) -> conflicts.Decision:
        found = real(mine, theirs, net)
        left = found.verdict is conflicts.Verdict.LEFT
        return conflicts.Decision(conflicts.Verdict.REBASE, version=found.version) if left else found

    with patch.object(conflicts, "judge", judge):
        yield


@planted("detach", ["read", "append"], breaks=("S10",), faults=0)
def a_writer_plans_on_a_version_that_detached_the_table() -> Iterator[None]:
    with patch.object(detached, "refuse_writes", lambda root, state: None):
        yield


@planted("detach", "delete one", breaks=("S7", "S8"), faults=0, update_strategy="merge_on_read")
def a_detach_is_rebased() -> Iterator[None]:
    with patch.object(plans.CommitPlan, "detaches", property(lambda self: False)):
        real = conflicts._disturbs

        def disturbs(mine: Any, theirs: Any) -> str:
            return "" if mine.changes_table and mine.vacuum is not None else real(mine, theirs)

        with patch.object(conflicts, "_disturbs", disturbs):
            yield


@planted("detach", breaks=("S14",))
def a_log_is_taken_away_before_what_it_superseded() -> Iterator[None]:
    real = leave._clean

    def clean(session: Any, base: Any, deleted: Any, options: Any) -> Any:
        found = leave.operation.look(session.store, base)
        with patch.object(leave.operation, "look", lambda *_: leave.Folder((), ())):
            real(session, base, deleted, options)
        deleted.delete(session, found.surplus, "deleting data files")
        return found

    with patch.object(leave, "_clean", clean):
        yield


@planted("detach", breaks=("L3", "L5"))
def a_detach_that_died_cannot_be_finished() -> Iterator[None]:
    with patch.object(detached, "tombstones", lambda store: None):
        yield
