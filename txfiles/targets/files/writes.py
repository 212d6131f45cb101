"""`write`, `plan` and `Table.delete` of plain files: calls that change rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeVar

from msgspec.structs import replace as replace_struct

from txfiles.core.manifest import Operation
from txfiles.core.messages import plain
from txfiles.core.plan import CommitPlan
from txfiles.core.replay import BatchRecord
from txfiles.errors import BatchIdMismatchError, SnapshotExpiredError
from txfiles.log import detached, versions
from txfiles.log.commit import Outcome, acknowledged, run
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.operations import indexing
from txfiles.operations.append import append
from txfiles.operations.append_once import append_once
from txfiles.operations.context import AnyContext, PlanContext
from txfiles.operations.delete import delete as delete_operation
from txfiles.operations.overwrite import overwrite
from txfiles.operations.transaction import transaction as transaction_operation
from txfiles.operations.upsert import upsert
from txfiles.options import Asked, Request, keys_required
from txfiles.results import Plan, TransactionResult, WriteResult, counts
from txfiles.spark import operations as on_spark
from txfiles.spark.frames import SparkSource
from txfiles.targets.files.attempts import new_attempt
from txfiles.targets.files.strangers import refuse_foreign_files
from txfiles.targets.files.upkeep import worth_compacting
from txfiles.verbs import DeleteOptions, TransactionOptions
from txfiles.version import LIBRARY
from txfiles.writing.staging import Estimate, Staging

logger = logging.getLogger("txfiles")

Result = TypeVar("Result", bound=WriteResult)

OPERATIONS: dict[str, Callable[[AnyContext], CommitPlan]] = {
    "append": append,
    "append_once": append_once,
    "upsert": upsert,
    "overwrite": overwrite,
    "delete": delete_operation,
    "transaction": transaction_operation,
}


def write(session: Session, request: Request) -> WriteResult:
    """Run one write to its commit. See `txfiles.write`."""
    return _run(session, request, versions.head(session), WriteResult)[0]


def write_on(session: Session, request: Request, base: Snapshot | None) -> WriteResult:
    """The same, planned on a version at first that need not be the newest one."""
    return _run(session, request, base, WriteResult)[0]


def delete(session: Session, base: Snapshot, options: DeleteOptions) -> tuple[WriteResult, Snapshot]:
    """Delete rows, or under `dry_run` only say which. See `Table.delete`."""
    newest = versions.advance(session, base)
    if options.dry_run:
        return _plan(session, options, newest), newest
    result, after = _run(session, options, newest, WriteResult)
    return result, after or versions.advance(session, newest)


def transaction(session: Session, base: Snapshot, options: TransactionOptions) -> tuple[TransactionResult, Snapshot]:
    """Run several operations to one commit. See `Table.transaction`."""
    newest = versions.advance(session, base)
    done, after = _run(session, options, newest, TransactionResult)
    return done, after or versions.advance(session, newest)


def _run(session: Session, request: Asked, base: Snapshot | None, kind: type[Result]) -> tuple[Result, Snapshot | None]:
    """Run one call to its commit.

    Args:
        session: the table's.
        request: what was asked for.
        base: the newest version; None if there is no table yet.
        kind: of the result.
    Returns:
        The result, and the version that it names, if it is at hand.
    """
    started = session.environment.monotonic()
    known = _known_batch(session, request, base)
    if known is not None:
        done = acknowledged(session.store, Outcome(None, known.version, committed=False, already_committed=True))
        return _already(kind, session, request, done.version, started=started), base
    operation = _operation(session, request, base)

    def plan_on(snapshot: Snapshot | None, staging: Staging) -> CommitPlan:
        if snapshot is None:
            refuse_foreign_files(session)
        attempt.operation = _at(operation, request, snapshot)
        staging.keep_index(snapshot.state.runs if snapshot else ())
        if snapshot is not None:
            staging.keep_folders(snapshot)
        found = _operation_of(request)(PlanContext(session, request, snapshot, staging))
        return indexing.with_runs(session, snapshot, staging, found)

    attempt = new_attempt(session, operation, request.timeout)
    if _is_on_spark(request):
        attempt.holds = on_spark.holds
    done = run(attempt, plan_on, base=base)
    if done.already_committed:
        _known_batch(session, request, versions.head(session))  # an error if it was committed in another mode
        return _already(kind, session, request, done.version, started=started, attempts=done.attempts), None
    assert done.plan is not None
    elapsed = session.environment.monotonic() - started
    result = result_of(kind, request, done, elapsed, attempt.commit_id if done.committed else None)
    return result, done.snapshot


def _operation_of(request: Asked) -> Callable[[AnyContext], CommitPlan]:
    """What a call does, in this process or on the executors of its frame."""
    return (on_spark.OPERATIONS if _is_on_spark(request) else OPERATIONS)[request.mode]


def _is_on_spark(request: Asked) -> bool:
    return isinstance(request, Request) and isinstance(request.source, SparkSource)


def plan(session: Session, request: Request) -> Plan:
    """Find out what the same write would do now; writes nothing. See `txfiles.plan`."""
    return _plan(session, request, versions.head(session))


def _plan(session: Session, request: Asked, base: Snapshot | None) -> Plan:
    started = session.environment.monotonic()
    attempt = new_attempt(session, _operation(session, request, base), request.timeout)
    while True:
        known = _known_batch(session, request, base)
        if known is not None:
            return Plan(version=known.version, committed=False, already_committed=True, mode=request.mode)
        if base is None:
            refuse_foreign_files(session)
        else:
            detached.refuse_writes(session.store.root, base.state)
        try:
            with versions.ExpiryReported(session, base.state) if base else nullcontext():
                found = _operation_of(request)(PlanContext(session, request, base, Estimate()))
        except SnapshotExpiredError as error:  # as a write would: look again, at what the vacuum has left
            attempt.lost(error.oldest_readable, "a vacuum removed files that were being read")
            base = versions.head(session)
            continue
        done = Outcome(found, base.state.version if base else None, not found.nothing, attempts=attempt.count)
        result = result_of(Plan, request, done, session.environment.monotonic() - started, None)
        advice = None if base is None else worth_compacting(base)
        return replace(result, files_to_rewrite=found.looked.rewritten, compaction=advice)


def _known_batch(session: Session, request: Asked, base: Snapshot | None) -> BatchRecord | None:
    """Where the request's batch id was committed, if it was.

    Raises:
        BatchIdMismatchError: it was committed in another mode, or with other keys.
    """
    known = base.state.batch_ids.get(request.batch_id) if base and request.batch_id is not None else None
    if known is None or base is None:
        return None
    keys = _keys(request, base)
    by_id = {column.id: column.name for column in base.state.table.columns}
    then = [by_id.get(key) for key in known.keys]  # None: a column that the table no longer has
    if known.mode != request.mode or (None not in then and set(then) != set(keys)):
        raise BatchIdMismatchError(
            f"batch id {request.batch_id!r} was committed to {session.store.root} in version {known.version} as "
            f"{known.mode} with keys {then}, not {request.mode} with keys {list(keys)}",
            hint="a batch id names one delivery; give this one another",
            version=known.version,
        )
    return known


def _keys(request: Asked, base: Snapshot | None) -> tuple[str, ...]:
    """The keys that the call works with, in the table's order if it has recorded them."""
    recorded = base.state.table.keys if base else ()
    if not isinstance(request, Request):
        return recorded if request.scope == "keys" else ()
    if request.mode == "append" or (request.mode == "overwrite" and not request.keys):
        return ()
    if not request.keys or set(request.keys) == set(recorded):
        if not recorded:
            raise keys_required(request.mode)
        return recorded
    return request.keys


def _operation(session: Session, request: Asked, base: Snapshot | None) -> Operation:
    """What the log says of a call, planned on `base`."""
    return Operation(
        name=request.mode,
        read_version=base.state.version if base else None,
        keys=_keys(request, base),
        batch_id=request.batch_id,
        scope=request.scope,
        library=LIBRARY,
        writer=session.environment.writer,
        user_metadata={plain(name): plain(value) for name, value in request.user_metadata.items()},
        parts=tuple(part.mode for part in request.parts) if isinstance(request, TransactionOptions) else (),
    )


def _at(operation: Operation, request: Asked, snapshot: Snapshot | None) -> Operation:
    return replace_struct(
        operation, read_version=snapshot.state.version if snapshot else None, keys=_keys(request, snapshot)
    )


def _already(
    kind: type[Result], session: Session, request: Asked, version: int | None, *, started: float, attempts: int = 1
) -> Result:
    return kind(
        version=version,
        committed=False,
        already_committed=True,
        mode=request.mode,
        attempts=attempts,
        elapsed=session.environment.monotonic() - started,
    )


def result_of(kind: type[Result], request: Asked, done: Outcome, elapsed: float, commit_id: str | None) -> Result:
    """What a call tells of what was decided, or done."""
    plan = done.plan
    assert plan is not None
    for note in plan.looked.notes:
        logger.info("%s", note)
    return kind(
        version=done.version,
        committed=done.committed,
        already_committed=False,
        mode=request.mode,
        files_scanned=plan.looked.scanned,
        files_pruned=plan.looked.pruned,
        attempts=done.attempts,
        elapsed=elapsed,
        commit_id=commit_id,
        schema_inferred=plan.looked.inferred,
        notes=plan.looked.notes,
        **counts(plan.metrics),
        **_parts(request, done, elapsed),
    )


def _parts(request: Asked, done: Outcome, elapsed: float) -> dict[str, Any]:
    """The results of a transaction's operations, as fields of its own result."""
    if not isinstance(request, TransactionOptions) or done.plan is None:
        return {}
    outcomes = (replace(done, plan=part, committed=done.committed and not part.nothing) for part in done.plan.parts)
    asked: Iterable[Any] = request.parts
    return {
        "parts": tuple(
            result_of(WriteResult, part, one, elapsed, None) for part, one in zip(asked, outcomes, strict=False)
        )
    }
