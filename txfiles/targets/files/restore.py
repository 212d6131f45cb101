"""`Table.restore` of plain files: the call's attempt, and which version it is about."""

from __future__ import annotations

from msgspec.structs import replace as replace_struct

from txfiles.core import times
from txfiles.core.manifest import Operation
from txfiles.core.messages import plain
from txfiles.core.plan import CommitPlan
from txfiles.errors import CommitConflictError, CorruptTableError
from txfiles.log import detached, versions
from txfiles.log.commit import Outcome, run
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.operations.restore import restore as plan_restore
from txfiles.results import Plan, WriteResult
from txfiles.targets.files.attempts import new_attempt
from txfiles.targets.files.writes import result_of
from txfiles.verbs import RestoreOptions
from txfiles.version import LIBRARY
from txfiles.writing.staging import Staging


def restore(session: Session, base: Snapshot, options: RestoreOptions) -> tuple[WriteResult, Snapshot]:
    """Commit what an earlier version was, or under `dry_run` only say what that takes. See `Table.restore`."""
    started = session.environment.monotonic()
    newest = versions.advance(session, base)
    detached.refuse_writes(session.store.root, newest.state)
    wanted = _wanted(session, newest, options)
    operation = Operation(
        name="restore",
        read_version=newest.state.version,
        library=LIBRARY,
        writer=session.environment.writer,
        user_metadata={plain(name): plain(value) for name, value in options.user_metadata.items()},
    )

    def plan_on(snapshot: Snapshot | None, _: Staging | None = None) -> CommitPlan:
        head = snapshot or newest
        attempt.operation = replace_struct(operation, read_version=head.state.version)
        _refuse_expired(session, head, wanted)
        return plan_restore(head, wanted)

    attempt = new_attempt(session, operation, options.timeout)
    if options.dry_run:
        plan = plan_on(newest)
        planned = Outcome(plan, newest.state.version, not plan.nothing)
        return result_of(Plan, options, planned, session.environment.monotonic() - started, None), newest
    done = run(attempt, plan_on, base=newest)
    elapsed = session.environment.monotonic() - started
    result = result_of(WriteResult, options, done, elapsed, attempt.commit_id if done.committed else None)
    return result, done.snapshot or versions.advance(session, newest)


def _wanted(session: Session, newest: Snapshot, options: RestoreOptions) -> Snapshot:
    if options.timestamp is not None:
        return versions.at_time(session, newest.state, times.point_us(options.timestamp))
    assert options.version is not None
    return versions.at_version(session, newest.state, options.version)


def _refuse_expired(session: Session, head: Snapshot, wanted: Snapshot) -> None:
    """Stop if another commit has made it impossible to bring the version back.

    Raises:
        CommitConflictError: a vacuum has listed files of the version since the call began.
        CorruptTableError: the table was deleted and created again.
    """
    version, oldest = wanted.state.version, head.state.oldest_readable_version
    if head.state.table_id != wanted.state.table_id:
        raise CorruptTableError(
            f"{session.store.root} was deleted and created again while version {version} was to be restored",
            hint="look at the new table's history before you restore it",
        )
    if version < oldest:
        raise CommitConflictError(
            f"version {version} of {session.store.root} cannot be restored: a vacuum has listed some of its files for "
            f"deletion since the call began; nothing was committed",
            hint=f"versions from {oldest} on are readable: restore one of them",
            version=head.state.version,
        )
