"""Bugs planted into the library, each of a kind that real systems have had. The simulator must catch every one.

A bug is a patch of the real code, a scene in which it matters, and the invariants of which one must break. With
`anywhere=True` of `hunt` the scene is not told: all pairs of the matrix are searched.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace as replace_struct

from tests.simulation.explore import Failed, every
from tests.simulation.scenes import Scene, pairs, scene
from txfiles.core import conflicts, names, protocol
from txfiles.core import manifest as codec
from txfiles.core import plan as plans
from txfiles.core.protocol import Answer, Next, Sent
from txfiles.core.replay import State
from txfiles.errors import CommitConflictError, StoreError
from txfiles.formats.common import HashingSink
from txfiles.log import checkpoint, commit, versions
from txfiles.operations import vacuum
from txfiles.reading import key_finder
from txfiles.results import Resolution
from txfiles.rows import keys
from txfiles.store.port import Put
from txfiles.targets import files
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
    real = commit._read_back

    def read_back(store: Any, name: str, data: bytes) -> Any:
        version = names.manifest_version(name)
        assert version is not None
        while store.get(names.manifest(version + 1), limit=codec.MANIFEST_LIMIT_BYTES) is not None:
            version += 1
        return real(store, names.manifest(version), data)

    with patch.object(commit, "_read_back", read_back):
        yield


@planted("append", "append", breaks=("S2", "S3"))
def the_next_number_is_tried_before_this_one_is_settled() -> Iterator[None]:
    def put(attempt: Any, manifest: Any, data: bytes, staging: Staging) -> bool:
        store = attempt.session.store
        staging.keep()
        put = store.put_if_absent(names.manifest(manifest.version), data)
        if put is Put.EXISTS:
            staging.give_up()
            return False
        if put is Put.UNKNOWN:
            following = replace_struct(manifest, version=manifest.version + 1, parent_sha256=codec.sha256(data))
            store.put_if_absent(names.manifest(following.version), codec.encode(following))
        return True

    with patch.object(commit, "_put_manifest", put):
        yield


@planted("append", "append", breaks=("S5",))
def an_unclear_put_is_called_a_conflict() -> Iterator[None]:
    def unknown(attempt: Any) -> Exception:
        return CommitConflictError("somebody else was first")

    with patch.object(commit, "_unknown", unknown), patch.object(protocol, "MOST_PUTS", 1):
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
    real = commit._write_down

    def write_down(attempt: Any, *rest: Any) -> Any:
        attempt.commit_id = attempt.session.environment.new_id()
        return real(attempt, *rest)

    with (
        patch.object(commit, "_write_down", write_down),
        _after(lambda sent, answer: Next.LOST if answer is Answer.ABSENT else None),
    ):
        yield


@planted("append", "append", breaks=("S2",), faults=0)
def the_time_of_a_commit_is_just_the_clock() -> Iterator[None]:
    with patch.object(commit, "max", lambda clock, _: clock, create=True):
        yield


@planted("append", "append", breaks=("S7",), faults=0)
def files_are_deleted_when_a_race_is_lost() -> Iterator[None]:
    real = commit._put_manifest

    def put(attempt: Any, manifest: Any, data: bytes, staging: Staging) -> bool:
        done = real(attempt, manifest, data, staging)
        if not done:
            staging.discard()
        return done

    with patch.object(commit, "_put_manifest", put):
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
    with patch.object(conflicts, "change", lambda theirs: change(real(theirs))):
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
    with patch.object(conflicts, "change", lambda theirs: real(theirs[-1:])):
        yield


@planted("overwrite", "append", breaks=("S10", "S12"), faults=0)
def an_overwrite_does_not_list_anew() -> Iterator[None]:
    real = plans.on_head
    with patch.object(plans, "on_head", lambda plan, table, oldest, held, _: real(plan, table, oldest, held, None)):
        yield


@planted("append", "other columns", breaks=("S10",), faults=0)
def a_change_of_columns_goes_unnoticed() -> Iterator[None]:
    with patch.object(conflicts, "same_but_properties", lambda mine, theirs: True):
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

    def init(self: Staging, session: Any, commit_id: str, numbers: Any, table_id: str | None) -> None:
        real(self, session, commit_id, itertools.count(), table_id)

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
    def open_head(store: Any, found_id: str) -> Any:
        start = versions._hinted(store)
        return None if start is None else versions._load(store, found_id, start)

    with patch.object(versions, "_open_head", open_head):
        yield


@planted(["append", "append"], ["read"], breaks=("S8", "S14"), faults=0, checkpoint_interval=1)
def a_checkpoint_leaves_a_file_out() -> Iterator[None]:
    real = checkpoint.write

    def write(store: Any, state: State, files: Any) -> Any:
        return real(store, state, files.slice(1))

    with patch.object(checkpoint, "write", write):
        yield


@planted(["append", "read"], breaks=("S9",))
def the_newest_manifest_that_can_be_read_is_the_head() -> Iterator[None]:
    real = versions.load_manifest

    def load(store: Any, version: int) -> Any:
        try:
            return real(store, version)
        except StoreError:
            return None

    def stat(store: Any, version: int) -> Any:
        return None

    with patch.object(versions, "load_manifest", load), patch.object(versions, "_filled_since", stat):
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
        newest = versions.require_head(session.store)
        mine = newest.state.commit_id == commit_id
        return Resolution(committed=mine, version=newest.state.version if mine else None)

    with patch.object(files, "resolve", resolve):
        yield
