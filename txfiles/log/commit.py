"""From a plan to a version: the one loop that every commit goes through.

    story(snapshot) ─▶ CommitPlan ─▶ put manifest n+1 ─▶ created: committed
         ▲                          │
         │                          └─ exists: read what came first ─▶ conflicts.decide
         └────────── REDO ◀── PROBE ◀──┴──▶ REBASE / DERIVE: put n+2 …

What a put came to is decided by reading the manifest back and comparing its commit id, never by the
error that the store gave: a reply may be lost after the request was applied, and "exists" may be our own.

Source: specs/5-commit.md.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa
from msgspec.structs import replace as replace_struct

from txfiles.core import conflicts, names, times
from txfiles.core import manifest as codec
from txfiles.core.conflicts import ReadSet, Verdict
from txfiles.core.manifest import Actions, Add, Manifest, Metrics, Operation, Remove, SidecarRef, TableMetadata, Vacuum
from txfiles.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    CorruptTableError,
    SnapshotExpiredError,
    StoreError,
    TxFilesError,
)
from txfiles.log import checkpoint, versions
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.log.versions import Loaded
from txfiles.rows import filelist
from txfiles.store import port
from txfiles.store.port import Put, Store

logger = logging.getLogger("txfiles")

LOCK_SECONDS = 5.0
"""How long the advisory lock is waited for: longer than any commit takes, short beside the default time-out."""

SETTLE_TRIES = 5
"""How often an unclear put is read back and sent again before it is called unknown."""

BACKOFF_FIRST_SECONDS = 0.005
BACKOFF_MOST_SECONDS = 1.0


@dataclass(frozen=True)
class CommitPlan:
    """What one pass through a story came to: facts, and what to commit.

    Attributes:
        base: the snapshot that it was planned on; None where the table is to be created.
        table: the table as it is after this commit.
        changes_table: whether `table` is news, and goes into the manifest.
        metrics: rows and files.
        read_set: what the plan stands on.
        add: files to add.
        remove: paths of files to remove.
        vacuum: of a vacuum.
        files_scanned: data files that were opened for planning.
        files_pruned: live files that were not.
        files_rewritten: files of which some rows go on in a new file.
        nothing: nothing is to be committed.
        touches_keys: whether the plan's keys are in these newly added files (asked for PROBE).
        derive: the same work with its removals listed anew (asked for DERIVE).
        inferred: types that were guessed from a CSV input.
        notes: what a person should know of how the input was read.
        vacuum_bytes: size of what a vacuum deletes.
    """

    base: Snapshot | None
    table: TableMetadata
    changes_table: bool
    metrics: Metrics
    read_set: ReadSet
    add: Sequence[Add] = ()
    remove: Sequence[str] = ()
    vacuum: Vacuum | None = None
    files_scanned: int = 0
    files_pruned: int = 0
    files_rewritten: int = 0
    nothing: bool = False
    touches_keys: Callable[[pa.Table], bool] = lambda _: True
    derive: Callable[[Snapshot], CommitPlan] | None = None
    inferred: pa.Schema | None = None
    notes: tuple[str, ...] = ()
    vacuum_bytes: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a call ended: the work that was decided, and the version it made or was decided against."""

    work: CommitPlan | None
    version: int | None
    committed: bool
    already_committed: bool = False
    attempts: int = 1


class Staged(Protocol):
    """Files written for one pass of a call, as the commit loop needs them."""

    @property
    def table_id(self) -> str:
        """The table's id; creates `table.json` if there is none."""

    def keep(self) -> None:
        """The files belong to a commit, or may from here on."""

    def give_up(self) -> None:
        """It has turned out for certain that no manifest names the files."""

    def discard(self) -> None:
        """Delete what was staged, unless it is kept."""


NewStaging = Callable[[Session, str, Iterator[int], str | None], Staged]
"""(session, commit id, file numbers, table id or None) → the staging of one pass."""


@dataclass
class Attempt:
    """One call's way to its commit: its id, its operation and its patience."""

    session: Session
    commit_id: str
    operation: Operation
    timeout: float
    new_staging: NewStaging
    count: int = 1
    versions: list[int] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    _first_loss: float | None = None

    def lost(self, version: int, because: str) -> None:
        """Count a lost race and wait a little, more each time; give up when the time is over.

        Raises:
            CommitConflictError: says who won.
        """
        environment = self.session.environment
        now = environment.monotonic()
        if self._first_loss is None:
            self._first_loss = now
        if now - self._first_loss >= self.timeout:
            raise CommitConflictError(
                f"{self.operation.name} on {self.session.store.root} lost every race for {self.timeout:g} s, "
                f"last to version {version}: {because}",
                hint="run it again, or give it more time with timeout=",
                version=version,
                commit_id=self.commit_id,
            )
        wait = min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(self.count, 10))
        environment.sleep(wait * environment.random())
        self.count += 1


Story = Callable[[Snapshot | None, Any], CommitPlan]
"""Plans on a snapshot, writing files through what `Attempt.new_staging` makes."""


def run(attempt: Attempt, story: Story, *, base: Snapshot | None = None) -> Outcome:
    """Run a story on the newest version until it is committed, or nothing is left to commit.

    Args:
        attempt: the call.
        story: plans on a snapshot and stages files; called again after a lost race that forbids a rebase.
        base: the newest snapshot, as the caller has just read it; None looks for the head.
    Raises:
        CommitConflictError: others kept winning for `attempt.timeout` seconds.
        CommitStateUnknownError: the store did not say what became of the manifest; staged files are kept.
    """
    store = attempt.session.store
    snapshot = base or versions.head(store)
    while True:
        try:
            outcome = _pass(attempt, story, snapshot)
        except SnapshotExpiredError as error:
            if snapshot is None:
                raise
            attempt.lost(error.smallest, "a vacuum removed files that were being read")
            outcome = versions.advance(store, snapshot)
        if isinstance(outcome, Outcome):
            return acknowledged(store, outcome)
        snapshot = outcome


def acknowledged(store: Store, done: Outcome) -> Outcome:
    """The end of a call. What it found done by another is told only once it lasts: that one may have been killed."""
    if not done.committed and done.version is not None:
        try:
            port.ensure_durable(store, names.manifest(done.version))
        except StoreError as error:
            error.committed = "unknown" if done.already_committed else "no"
            raise
    return done


def _pass(attempt: Attempt, story: Story, snapshot: Snapshot | None) -> Outcome | Snapshot:
    """Plan once and try to commit; a snapshot means: plan again on it.

    Raises:
        SnapshotExpiredError: a vacuum took files from under the plan; nothing was committed.
    """
    batch_id = attempt.operation.batch_id
    known = snapshot.state.batch_ids.get(batch_id) if snapshot and batch_id is not None else None
    if known is not None:  # committed between the caller's look and this snapshot
        return Outcome(None, known.version, committed=False, already_committed=True, attempts=attempt.count)
    table_id = snapshot.state.table_id if snapshot else None
    staging = attempt.new_staging(attempt.session, attempt.commit_id, attempt.numbers, table_id)
    try:
        with versions.ExpiryReported(attempt.session.store, snapshot.state) if snapshot else nullcontext():
            work = story(snapshot, staging)
        if work.nothing:
            return Outcome(work, snapshot.state.version if snapshot else None, committed=False, attempts=attempt.count)
        return _commit(attempt, work, staging)
    finally:
        # Whatever ended this pass without a commit: what it staged is nobody's. After a commit, or where
        # the commit may yet turn out to have happened, the files are kept.
        staging.discard()


def _commit(attempt: Attempt, work: CommitPlan, staging: Staged) -> Outcome | Snapshot:
    """Commit `work`, rebasing where the rules allow; a snapshot means: plan again on it."""
    store = attempt.session.store
    with port.lock(store, LOCK_SECONDS):
        while True:
            theirs = versions.newer(store, work.base.state if work.base else None)
            if theirs:
                decided = _rebase(attempt, work, theirs)
                if not isinstance(decided, CommitPlan):
                    return decided
                work = decided
            if work.base is not None:  # a crash must not keep what is built on it, and lose it
                port.ensure_durable(store, names.manifest(work.base.state.version))
            manifest, data = _write_down(attempt, work, staging)
            if _put(attempt, manifest, data, staging):
                versions.write_hint(store, manifest.version)
                return Outcome(work, manifest.version, committed=True, attempts=attempt.count)
            attempt.lost(manifest.version, "it was created first")


def _rebase(attempt: Attempt, work: CommitPlan, theirs: Sequence[Loaded]) -> CommitPlan | Outcome | Snapshot:
    """The work on top of what came first; or the end; or the snapshot on which to plan again."""
    newest = versions.extend(work.base, theirs)
    decision = conflicts.decide(work.read_set, [loaded.manifest for loaded in theirs])
    if decision.verdict is Verdict.DONE:
        return Outcome(None, decision.version, committed=False, already_committed=True, attempts=attempt.count)
    if decision.verdict is Verdict.PROBE:
        added = [(add, newest.state.version) for add in decision.probe]
        files = filelist.from_adds(added, newest.state.table.columns, newest.state.table.keys)
        with versions.ExpiryReported(attempt.session.store, newest.state):
            touches_keys = work.touches_keys(files)
        if touches_keys:
            decision = replace(decision, verdict=Verdict.REDO, because="it added a key of this batch")
    if decision.verdict is Verdict.REDO:
        logger.info("planning again on version %d: %s", newest.state.version, decision.because)
        attempt.lost(decision.version or newest.state.version, decision.because)
        return newest
    if work.derive is not None and decision.verdict is Verdict.DERIVE:
        return work.derive(newest)
    table = work.table if work.changes_table else newest.state.table
    return replace(work, base=newest, table=table)


def _write_down(attempt: Attempt, work: CommitPlan, staging: Staged) -> tuple[Manifest, bytes]:
    """The manifest of this commit on top of its base, and its bytes."""
    environment = attempt.session.environment
    store = attempt.session.store
    base = work.base.state if work.base else None
    version = base.version + 1 if base else 0
    time_us = max(environment.now_us(), base.time_us + 1 if base else 0)
    if time_us > times.LAST_US or version > codec.COUNT_LIMIT:
        raise CorruptTableError(
            f"no version can follow version {version - 1} of {store.root}: its number or time is the last there is",
            hint="no clock and no count of commits leads there: restore _txfiles/ from a backup",
        )
    checkpoint_ref = base.checkpoint if base else None
    if work.base is not None and checkpoint.due(work.base.state):
        checkpoint_ref = checkpoint.write(store, work.base.state, work.base.files) or checkpoint_ref
    manifest = Manifest(
        format_version=codec.FORMAT_VERSION,
        version=version,
        table_id=base.table_id if base else staging.table_id,
        commit_id=attempt.commit_id,
        parent_sha256=base.sha256 if base else None,
        time=times.format_us(time_us),
        operation=attempt.operation,
        metrics=work.metrics,
        table=work.table if work.changes_table or base is None else None,
        checkpoint=checkpoint_ref,
        vacuum=work.vacuum,
        add=tuple(work.add),
        remove=tuple(Remove(path=path) for path in work.remove),
    )
    manifest = _with_sidecar(attempt.session, manifest)
    return manifest, codec.encode(manifest)


def _with_sidecar(session: Session, manifest: Manifest) -> Manifest:
    """Move many actions into a file of their own, written before the manifest that names it."""
    deletes = manifest.vacuum.deletes if manifest.vacuum else ()
    if len(manifest.add) + len(manifest.remove) + len(deletes) <= codec.INLINE_ACTIONS:
        return manifest
    data = codec.encode_actions(Actions(add=manifest.add, remove=manifest.remove, deletes=deletes))
    name = names.sidecar(manifest.version, session.environment.new_id())
    if versions.create(session.store, names.SIDECAR_DIR + name, data) is not Put.CREATED:
        raise StoreError(f"{session.store.root}/{names.SIDECAR_DIR}{name} could not be written", hint="run it again")
    vacuum = manifest.vacuum and replace_struct(manifest.vacuum, deletes=())
    ref = SidecarRef(name=name, bytes=len(data), sha256=codec.sha256(data))
    return replace_struct(manifest, add=(), remove=(), vacuum=vacuum, sidecar=ref)


def _put(attempt: Attempt, manifest: Manifest, data: bytes, staging: Staged) -> bool:
    """Create the manifest; True if it stands and is ours, False if another commit has the number.

    The staged files are kept from the first request on, and given up only where the manifest certainly does
    not stand: whatever ends this in between, an interrupt at any line too, nobody deletes what it may name.

    Raises:
        StoreError: certainly not created.
        CommitStateUnknownError: it could not be found out.
    """
    store = attempt.session.store
    name = names.manifest(manifest.version)
    attempt.versions.append(manifest.version)
    staging.keep()
    for try_number in range(SETTLE_TRIES):
        try:
            put = store.put_if_absent(name, data)
        except TxFilesError as error:
            if error.committed == "unknown" or try_number > 0:
                raise _unknown(attempt) from error
            staging.give_up()
            raise
        if put is Put.CREATED:
            return True
        standing = _read_back(attempt, name)
        if standing is not None:
            if codec.sha256(standing) == codec.sha256(data):
                return True
            staging.give_up()
            return False
        attempt.session.environment.sleep(BACKOFF_FIRST_SECONDS * 2**try_number)
    raise _unknown(attempt)


def _read_back(attempt: Attempt, name: str) -> bytes | None:
    """What stands under a manifest's name after an unclear put."""
    for try_number in range(SETTLE_TRIES):
        try:
            return attempt.session.store.get(name, limit=codec.MANIFEST_LIMIT_BYTES)
        except StoreError as error:
            logger.warning("reading back %s failed: %s", name, error)
            attempt.session.environment.sleep(BACKOFF_FIRST_SECONDS * 2**try_number)
    raise _unknown(attempt)


def _unknown(attempt: Attempt) -> CommitStateUnknownError:
    root, versions = attempt.session.store.root, ", ".join(map(str, attempt.versions))
    return CommitStateUnknownError(
        f"it is unknown whether {attempt.operation.name} on {root} was committed (commit id {attempt.commit_id}, "
        f"attempted as version {versions}): the store did not answer",
        hint=f"txfiles.resolve(path, {attempt.commit_id!r}) tells once the store answers again; nothing was deleted",
        committed="unknown",
        commit_id=attempt.commit_id,
        versions=tuple(attempt.versions),
    )


def fresh_attempt(session: Session, operation: Operation, timeout: float, new_staging: NewStaging) -> Attempt:
    """A call's attempt, with an id that no other call has."""
    return Attempt(session, session.environment.new_id(), operation, timeout, new_staging)
