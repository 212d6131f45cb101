"""From a plan to a version: the loop that every commit goes through.

    operation(snapshot) ─▶ CommitPlan ─▶ put manifest n+1 ─▶ created: committed
            ▲                                │
            │                                └─ exists: read what came first ─▶ conflicts.judge
            └──────── REDO ◀── PROBE ◀──┴──▶ REBASE: put n+2 …

The rules are elsewhere and pure: `core.conflicts` says whether a plan stands, `core.protocol` what to do after each
answer of the store. This module does the I/O that they ask for.

Source: specs/5-commit.md.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
from msgspec.structs import replace as replace_struct

from txfiles.core import codec, conflicts, names, times
from txfiles.core import plan as plans
from txfiles.core.conflicts import Verdict
from txfiles.core.manifest import (
    COUNT_LIMIT,
    Actions,
    Manifest,
    Mark,
    Operation,
    Remove,
    RunRef,
    SidecarRef,
    TableMetadata,
)
from txfiles.core.plan import Check, CommitPlan, Replaces
from txfiles.core.protocol import Next
from txfiles.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    CorruptTableError,
    SnapshotExpiredError,
    StoreError,
    TxFilesError,
)
from txfiles.log import detached, index, put, versions
from txfiles.log.base import Base
from txfiles.log.put import BACKOFF_FIRST_SECONDS
from txfiles.log.session import Session
from txfiles.log.snapshot import Loaded, Snapshot, extend
from txfiles.rows import filelist, partitions
from txfiles.rows.filelist import DataFile
from txfiles.store import port
from txfiles.store.port import Store

logger = logging.getLogger("txfiles")

LOCK_SECONDS = 5.0
"""How long to wait for the advisory lock: longer than any commit takes, and short compared to the default `timeout`."""

BACKOFF_MOST_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        plan: what was decided; None if the batch had been committed before.
        version: the version that it made, or was decided against.
        committed: whether it made one.
        already_committed: whether another call committed the same batch id.
        attempts: how many times it was planned or lost a race.
        snapshot: of that version; None if the batch had been committed before, or there is no table.
    """

    plan: CommitPlan | None
    version: int | None
    committed: bool
    already_committed: bool = False
    attempts: int = 1
    snapshot: Snapshot | None = None


class Staged(Protocol):
    """Files written for one pass of a call, as the commit loop needs them."""

    @property
    def table_id(self) -> str:
        """The table's id; creates `table.json` if there is none."""

    def keep(self) -> None:
        """From now on the files belong to a commit, or may do so."""

    def give_up(self) -> None:
        """It is now certain that no manifest names the files."""

    def discard(self) -> None:
        """Delete what was staged, unless it is kept."""

    def drop(self, paths: Collection[str]) -> None:
        """Delete some of what was staged: no manifest will name it."""


NewStaging = Callable[[Session, str, Iterator[int], str | None, Callable[[], None]], Staged]
"""(session, commit id, file numbers, table id or None, called before the first file) → the staging of one pass."""

Holds = Callable[[Session, TableMetadata, Check, pa.Table, Sequence[RunRef]], bool]
"""Whether a check holds for fresh files: (session, the plan's table, check, the file list, runs of the index
that may cover them) → bool. Reads data files."""

StillLive = Callable[[Session, Sequence[tuple[DataFile, Any]]], bool]
"""Whether rows that were found are not marked: (session, [(the file as it is now, where the rows are)]) → bool."""

Unite = Callable[[Session, Any, Sequence[DataFile]], tuple[Sequence[Mark], Sequence[str]]]
"""(session, staging, files as they are now) → vectors that contain those and the ones that the staging has written, and
the paths of files of which every row is marked then."""

PlanOperation = Callable[[Snapshot | None, Any], CommitPlan]
"""An operation bound to its request: plans on a snapshot, and writes files through what `NewStaging` made."""


@dataclass
class Attempt:
    """One call on its way to a commit: its id, its operation and its patience.

    Attributes:
        session: the table's.
        commit_id: unique to this call.
        operation: what the manifest says was asked for.
        timeout: seconds of patience after the first lost race.
        new_staging: makes the staging of a pass.
        holds: looks into fresh files.
        still_live: looks at rows in files that others have marked.
        unite: puts vectors of both together.
        count: passes and lost races.
        versions: the numbers that were tried.
        numbers: the numbers of its files.
    """

    session: Session
    commit_id: str
    operation: Operation
    timeout: float
    new_staging: NewStaging
    holds: Holds
    still_live: StillLive
    unite: Unite
    count: int = 1
    versions: list[int] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    _first_loss: float | None = None
    _last_loss: float | None = None
    _spared: float = 0.0

    def lost(self, version: int, because: str, *, only_moved: bool = False) -> None:
        """Count a lost race and wait a little, longer each time; give up when the time is up.

        Args:
            version: that came first.
            because: why that matters.
            only_moved: a compaction moved rows, which must not make a call fail: the time since the last loss does not
                count.
        Raises:
            CommitConflictError: says who won.
        """
        environment = self.session.environment
        now = environment.monotonic()
        if only_moved:
            self._spared += now - self._last_loss if self._last_loss is not None else 0.0
        elif self._first_loss is None:
            self._first_loss, self._spared = now, 0.0
        self._last_loss = now
        if not only_moved and self._first_loss is not None and now - self._first_loss - self._spared >= self.timeout:
            raise CommitConflictError(
                f"{self.operation.name} on {self.session.store.root} lost every race for {self.timeout:g} s, "
                f"last to version {version}: {because}",
                hint="run it again, or give it more time with timeout=, if the call takes that",
                version=version,
                commit_id=self.commit_id,
            )
        wait = min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(self.count, 10))
        environment.sleep(wait * environment.random())
        self.count += 1


def run(attempt: Attempt, operation: PlanOperation, *, base: Snapshot | None = None) -> Outcome:
    """Plan on the newest version and commit, until it is committed or nothing is left to commit.

    Args:
        attempt: the call.
        operation: called again if its plan does not survive a lost race.
        base: the newest snapshot, as the caller has just read it; None: find the head.
    Raises:
        CommitConflictError: others kept winning for `attempt.timeout` seconds.
        CommitStateUnknownError: the store did not say what became of the manifest; staged files are kept.
        TableDetachedError: no version may follow.
    """
    session = attempt.session
    snapshot = base or versions.head(session)
    while True:
        try:
            outcome = _pass(attempt, operation, snapshot)
        except SnapshotExpiredError as error:
            if snapshot is None:
                raise
            attempt.lost(error.oldest_readable, "a vacuum removed files that were being read")
            outcome = versions.advance(session, snapshot)
        if isinstance(outcome, Outcome):
            return acknowledged(session.store, outcome)
        snapshot = outcome


def acknowledged(store: Store, outcome: Outcome) -> Outcome:
    """Make another writer's commit durable before reporting it: that writer may have died before its fsync."""
    if not outcome.committed and outcome.version is not None:
        try:
            port.ensure_durable(store, names.manifest(outcome.version))
        except StoreError as error:
            error.committed = "unknown" if outcome.already_committed else "no"
            raise
    return outcome


def _pass(attempt: Attempt, operation: PlanOperation, snapshot: Snapshot | None) -> Outcome | Snapshot:
    """Plan once and try to commit; if it returns a snapshot, plan again on that.

    Raises:
        SnapshotExpiredError: a vacuum deleted files while the plan was made; nothing was committed.
    """
    batch_id = attempt.operation.batch_id
    known = snapshot.state.batch_ids.get(batch_id) if snapshot and batch_id is not None else None
    if known is not None:  # committed between the caller's look and this snapshot
        return Outcome(None, known.version, committed=False, already_committed=True, attempts=attempt.count)
    session = attempt.session
    if snapshot is not None:
        detached.refuse_writes(session.store.root, snapshot.state)
    table_id = snapshot.state.table_id if snapshot else None
    base = Base(session, snapshot)
    staging = attempt.new_staging(session, attempt.commit_id, attempt.numbers, table_id, base.begin)
    try:
        with versions.ExpiryReported(session, snapshot.state) if snapshot else nullcontext():
            plan = operation(snapshot, staging)
        if plan.nothing:
            version = snapshot.state.version if snapshot else None
            return Outcome(plan, version, committed=False, attempts=attempt.count, snapshot=snapshot)
        return _commit(attempt, plan, base, staging)
    finally:
        # If this pass ended without a commit, for whatever reason, nobody needs what it staged. After a commit, or
        # one that may yet turn out to have happened, the files are kept.
        staging.discard()


def _commit(attempt: Attempt, plan: CommitPlan, base: Base, staging: Staged) -> Outcome | Snapshot:
    """Commit a plan, rebasing as long as it stands; if it returns a snapshot, plan again on that.

    Under the advisory lock, looking for newer versions first avoids the race. Without it, the put itself shows them.
    """
    session = attempt.session
    with port.lock(session.store, LOCK_SECONDS) as held, port.pinned(session.store, names.LOG_FOLDER):
        looks = held
        while True:
            state = base.snapshot.state if base.snapshot else None
            theirs = versions.newer(session, state) if looks else [] if base.is_still_there() else None
            if theirs is None:
                return _another_table(attempt, base.snapshot)
            if theirs:
                decided = _rebase(attempt, plan, base.snapshot, theirs, staging)
                if not isinstance(decided, tuple):
                    return decided
                staging.drop(plan.read_set.staged - decided[0].read_set.staged)
                plan, base = decided[0], Base(session, decided[1])
                if plan.nothing:  # others took an input of each group of a compaction
                    head = decided[1]
                    return Outcome(plan, head.state.version, committed=False, attempts=attempt.count, snapshot=head)
            if base.snapshot is not None:  # a crash must not keep what is built on it, and lose it
                port.ensure_durable(session.store, names.manifest(base.snapshot.state.version))
            manifest, data = _write_down(attempt, plan, base, staging)
            try:
                created = _put_manifest(attempt, manifest, data, staging)
            except StoreError as error:
                if base.snapshot is None or not port.is_moved(error):
                    raise
                return _another_table(attempt, base.snapshot)
            if created:
                made = _remembered(session, base.snapshot, plan, manifest, data)
                return Outcome(plan, manifest.version, committed=True, attempts=attempt.count, snapshot=made)
            attempt.lost(manifest.version, "it was created first")
            looks = True


def _remembered(
    session: Session, base: Snapshot | None, plan: CommitPlan, manifest: Manifest, data: bytes
) -> Snapshot | None:
    """The version that was committed. It is cached, so that the next call need not read it.

    None if the list of files that it builds on is damaged: the commit stands, and whoever reads that list reports it.
    """
    whole = replace_struct(
        manifest,
        add=plan.add,
        remove=_removes(plan),
        mark=plan.mark,
        vacuum=plan.vacuum,
        restore=plan.restore,
        sidecar=None,
    )
    try:
        made = extend(base, [Loaded(whole, codec.sha256(data))])
    except CorruptTableError as error:
        logger.warning("version %d is committed; after that: %s", manifest.version, error)
        return None
    if session.cache is not None:
        session.cache.keep(session.store.root, made)
    return made


def _another_table(attempt: Attempt, base: Snapshot | None) -> Snapshot:
    """The head of the table that has replaced the one that was planned on."""
    assert base is not None
    attempt.lost(base.state.version, "the table was deleted and created again")
    found = versions.head(attempt.session)
    if found is None:
        raise versions.gone(attempt.session.store, f"{attempt.operation.name} ran; it committed nothing")
    return found


def _rebase(
    attempt: Attempt, plan: CommitPlan, base: Snapshot | None, theirs: Sequence[Loaded], staging: Staged
) -> tuple[CommitPlan, Snapshot] | Outcome | Snapshot:
    """The plan moved to the head, with the head; or the outcome; or the snapshot on which to plan again."""
    head = extend(base, theirs)
    manifests = [loaded.manifest for loaded in theirs]
    net = conflicts.change(manifests, base.vector_of) if base else conflicts.change(manifests)
    decision = conflicts.judge(plan, manifests, net)
    if decision.verdict is Verdict.DONE:
        return Outcome(None, decision.version, committed=False, already_committed=True, attempts=attempt.count)
    if decision.verdict is Verdict.LEFT:
        detached.refuse_writes(attempt.session.store.root, head.state)
    because = decision.because
    if decision.verdict is Verdict.PROBE:
        because = _probed(attempt, plan, base, head, net)
    because = because or _misplaced(plan, base, head)
    if because:
        logger.info("planning again on version %d: %s", head.state.version, because)
        attempt.lost(decision.version or head.state.version, because, only_moved=decision.only_moved)
        return head
    replaced = replaced_files(plan.replaces, plan.table, head) if plan.replaces else None
    state = head.state
    if not net.marked.keys().isdisjoint(mark.path for mark in plan.mark):
        with versions.ExpiryReported(attempt.session, state):
            files = filelist.of_paths(head.files, [mark.path for mark in plan.mark])
            plan = plans.remarked(plan, *attempt.unite(attempt.session, staging, files))
    gone = net.gone | net.marked.keys()
    runs = {run.name for run in state.runs}
    moved = plans.on_head(plan, state.table, state.oldest_readable_version, net.held, replaced, gone=gone, runs=runs)
    return moved, head


def _misplaced(plan: CommitPlan, base: Snapshot | None, head: Snapshot) -> str:
    """Why the order of rows would be another than after both commits in turn; empty if it would not.

    A file that is written anew comes last if no key is in the table twice, because then nobody asks for the order.
    """
    rewrites = plan.add and plan.remove and not plan.groups and plan.replaces is None
    if rewrites and base is not None and base.state.unique_keys and not head.state.unique_keys:
        return "a key may now be in the table twice, so that files that are written anew have to keep their place"
    return ""


def _probed(attempt: Attempt, plan: CommitPlan, base: Snapshot | None, head: Snapshot, net: conflicts.Change) -> str:
    """Why a plan does not stand, if it does not: looks into fresh files, and at rows that it found in marked ones."""
    relies_on = plan.read_set.relies_on
    shared = net.marked.keys() & relies_on.keys()
    if shared:
        found = [(file, relies_on[file.path]) for file in filelist.of_paths(head.files, sorted(shared))]
        with versions.ExpiryReported(attempt.session, head.state):
            if not attempt.still_live(attempt.session, found):
                return "a row that this one relies on was changed or deleted since"
    if net.fresh and not _checks_hold(attempt, plan, base, head, net):
        return "a file that was added since holds a row that this one has to see"
    return ""


def _checks_hold(
    attempt: Attempt, plan: CommitPlan, base: Snapshot | None, head: Snapshot, net: conflicts.Change
) -> bool:
    table, theirs = plan.table, head.state.table
    fresh = filelist.from_adds([(add, head.state.version) for add in net.fresh], theirs.columns, theirs.keys)
    # Their bounds are in the order of their types: a key that this plan turns into text no longer has that order.
    fresh = filelist.follow(fresh, theirs, table)
    known = base.state.runs if base else ()
    runs = [run for run in index.usable(attempt.session, head.state, table) if run not in known]
    with versions.ExpiryReported(attempt.session, head.state):
        return all(attempt.holds(attempt.session, table, check, fresh, runs) for check in plan.read_set.checks)


def replaced_files(replaces: Replaces, table: TableMetadata, snapshot: Snapshot | None) -> tuple[tuple[str, ...], int]:
    """The paths of the live files that an overwrite removes, and how many rows they have.

    Args:
        replaces: which.
        table: as the overwrite leaves it.
        snapshot: what it is committed on; None if it creates the table.
    """
    if snapshot is None:
        return (), 0
    files = snapshot.files
    if replaces.partitions is not None:
        files = files.filter(pa.array(partitions.among(table, files, replaces.partitions), pa.bool_()))
    return tuple(files["path"].to_pylist()), filelist.total_rows(files)


def _write_down(attempt: Attempt, plan: CommitPlan, on: Base, staging: Staged) -> tuple[Manifest, bytes]:
    """The manifest of this commit on top of a snapshot, and its bytes."""
    environment = attempt.session.environment
    store = attempt.session.store
    base = on.snapshot.state if on.snapshot else None
    version = base.version + 1 if base else 0
    time_us = max(environment.now_us(), base.time_us + 1 if base else 0)
    if time_us > times.LAST_US or version > COUNT_LIMIT:
        raise CorruptTableError(
            f"no version can follow version {version - 1} of {store.root}: its number or time is the last possible one",
            hint="commits alone never get there: restore _txfiles/ from a backup",
        )
    manifest = Manifest(
        format_version=codec.FORMAT_VERSION,
        version=version,
        table_id=base.table_id if base else staging.table_id,
        commit_id=attempt.commit_id,
        parent_sha256=base.sha256 if base else None,
        time=times.format_us(time_us),
        operation=attempt.operation,
        metrics=plan.metrics,
        table=plan.table if plan.changes_table or base is None else None,
        checkpoint=on.checkpoint(),
        vacuum=plan.vacuum,
        restore=plan.restore,
        add=plan.add,
        remove=_removes(plan),
        mark=plan.mark,
        index=plan.index_actions,
    )
    manifest = _with_sidecar(attempt.session, manifest)
    return manifest, codec.encode(manifest)


def _removes(plan: CommitPlan) -> tuple[Remove, ...]:
    return tuple(Remove(path=path) for path in plan.remove)


def _with_sidecar(session: Session, manifest: Manifest) -> Manifest:
    """Move many actions into a file of their own, written before the manifest that names it.

    Raises:
        StoreError: it could not be written, or it is unknown whether it was; nothing is committed.
    """
    restore = manifest.restore
    actions = Actions(
        add=manifest.add,
        remove=manifest.remove,
        mark=manifest.mark,
        deletes=manifest.vacuum.deletes if manifest.vacuum else (),
        forget=restore.forget if restore else (),
        remember=restore.remember if restore else (),
    )
    if sum(len(getattr(actions, kind)) for kind in Actions.__struct_fields__) <= codec.INLINE_ACTIONS:
        return manifest
    data = codec.encode_actions(actions)
    name = names.sidecar(manifest.version, session.environment.new_id())
    settled = put.settle(session, names.SIDECAR_DIR + name, data)
    if settled.end is not Next.COMMITTED:
        raise StoreError(
            f"{session.store.root}/{names.SIDECAR_DIR}{name} could not be written; nothing was committed",
            hint="see what the store says below, then run the same call again",
        ) from settled.error
    vacuum = manifest.vacuum and replace_struct(manifest.vacuum, deletes=())
    ref = SidecarRef(name=name, bytes=len(data), sha256=codec.sha256(data))
    restore = restore and replace_struct(restore, forget=(), remember=())
    return replace_struct(manifest, add=(), remove=(), mark=(), vacuum=vacuum, restore=restore, sidecar=ref)


def _put_manifest(attempt: Attempt, manifest: Manifest, data: bytes, staging: Staged) -> bool:
    """Create the manifest; True if it exists and is ours, False if another commit has the number.

    The staged files are kept from the first request on, and given up only if the manifest certainly does not exist:
    whatever ends this in between, even an interrupt at any line, nobody deletes what it may name.

    Raises:
        StoreError: certainly not created.
        CommitStateUnknownError: the outcome could not be determined.
    """
    attempt.versions.append(manifest.version)
    staging.keep()
    settled = put.settle(attempt.session, names.manifest(manifest.version), data)
    if settled.end is Next.COMMITTED:
        return True
    if settled.end is Next.UNKNOWN:
        raise _unknown(attempt, settled.error) from settled.error
    staging.give_up()
    if settled.error is not None:
        raise settled.error
    return False


def _unknown(attempt: Attempt, error: TxFilesError | None) -> CommitStateUnknownError:
    root, tried = attempt.session.store.root, ", ".join(map(str, attempt.versions))
    why, until = "the store did not answer", "the store answers again"
    if error is not None and error.evidence.get("failure") == "denied":
        why, until = error.message, "the credentials are valid again"
    return CommitStateUnknownError(
        f"it is unknown whether {attempt.operation.name} on {root} was committed (commit id {attempt.commit_id}, "
        f"attempted as version {tried}): {why}",
        hint=f"txfiles.resolve(path, {attempt.commit_id!r}) tells once {until}; no file was deleted",
        committed="unknown",
        commit_id=attempt.commit_id,
        versions=tuple(attempt.versions),
    )
