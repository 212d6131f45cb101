"""The target of plain Parquet and CSV folders with txfiles' own log.

Each public operation is one function: it makes the call's attempt, runs the operation and reports the result.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TypeVar

from msgspec.structs import replace as replace_struct

from txfiles.core import names, properties
from txfiles.core.manifest import Operation, PropertyValue
from txfiles.core.messages import plain, shown, text
from txfiles.core.plan import CommitPlan, Group
from txfiles.core.replay import BatchRecord
from txfiles.errors import (
    BatchIdMismatchError,
    FolderNotEmptyError,
    OptionError,
    SnapshotExpiredError,
    StoreError,
    TableNotFoundError,
)
from txfiles.log import identity, manifests, versions
from txfiles.log.commit import Attempt, Outcome, acknowledged, run
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.operations import abandoned, indexing
from txfiles.operations import compact as compact_operation
from txfiles.operations import vacuum as vacuum_operation
from txfiles.operations.advice import worthwhile
from txfiles.operations.append import append
from txfiles.operations.append_once import append_once
from txfiles.operations.context import AnyContext, PlanContext
from txfiles.operations.delete import delete as delete_operation
from txfiles.operations.edits import unite
from txfiles.operations.overwrite import overwrite
from txfiles.operations.set_properties import set_properties
from txfiles.operations.upsert import upsert
from txfiles.options import Asked, CompactOptions, Progress, Request, VacuumOptions, keys_required
from txfiles.reading import checks
from txfiles.results import CompactResult, Plan, Resolution, VacuumResult, WriteResult, counts
from txfiles.spark import operations as on_spark
from txfiles.spark.frames import SparkSource
from txfiles.store.port import Store
from txfiles.verbs import DeleteOptions
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
}

PATIENCE_SECONDS = 60.0
"""How long `set` and `index` keep trying after the first lost race."""

FOREIGN_SUFFIXES = (".parquet", ".pq", ".csv", ".csv.gz", ".orc", ".avro", ".json", ".jsonl", ".arrow", ".feather")
FOREIGN_LOGS = (
    ("a Delta table", re.compile("_delta_log/")),
    ("an Iceberg table", re.compile(r"metadata/[^/]+\.metadata\.json(\.gz)?$")),
    ("a Hudi table", re.compile(r"\.hoodie/")),
)
HINTS = {"a Delta table": "give format='delta' (--format delta): then it is a table like others"}


def write(session: Session, request: Request) -> WriteResult:
    """Run one write to its commit. See `txfiles.write`."""
    return _run(session, request, versions.head(session))[0]


def write_on(session: Session, request: Request, base: Snapshot | None) -> WriteResult:
    """The same, planned on a version at first that need not be the newest one."""
    return _run(session, request, base)[0]


def delete(session: Session, base: Snapshot, options: DeleteOptions) -> tuple[WriteResult, Snapshot]:
    """Delete rows, or under `dry_run` only say which. See `Table.delete`."""
    newest = versions.advance(session, base)
    if options.dry_run:
        return _plan(session, options, newest), newest
    result, after = _run(session, options, newest)
    return result, after or versions.advance(session, newest)


def _run(session: Session, request: Asked, base: Snapshot | None) -> tuple[WriteResult, Snapshot | None]:
    """Run one call to its commit.

    Args:
        session: the table's.
        request: what was asked for.
        base: the newest version; None if there is no table yet.
    Returns:
        The result, and the version that it names, if it is at hand.
    """
    started = session.environment.monotonic()
    known = _known_batch(session, request, base)
    if known is not None:
        done = acknowledged(session.store, Outcome(None, known.version, committed=False, already_committed=True))
        return _already(session, request, done.version, started), base
    operation = _operation(session, request, base)

    def plan_on(snapshot: Snapshot | None, staging: Staging) -> CommitPlan:
        if snapshot is None:
            refuse_foreign_files(session)
        attempt.operation = _at(operation, request, snapshot)
        staging.keep_index(snapshot.state.runs if snapshot else ())
        found = _operation_of(request)(PlanContext(session, request, snapshot, staging))
        return indexing.with_runs(session, snapshot, staging, found)

    attempt = new_attempt(session, operation, request.timeout)
    if _is_on_spark(request):
        attempt.holds = on_spark.holds
    done = run(attempt, plan_on, base=base)
    if done.already_committed:
        _known_batch(session, request, versions.head(session))  # an error if it was committed in another mode
        return _already(session, request, done.version, started, done.attempts), None
    assert done.plan is not None
    elapsed = session.environment.monotonic() - started
    result = _result(WriteResult, request, done, elapsed, attempt.commit_id if done.committed else None)
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
        try:
            with versions.ExpiryReported(session, base.state) if base else nullcontext():
                found = _operation_of(request)(PlanContext(session, request, base, Estimate()))
        except SnapshotExpiredError as error:  # as a write would: look again, at what the vacuum has left
            attempt.lost(error.oldest_readable, "a vacuum removed files that were being read")
            base = versions.head(session)
            continue
        done = Outcome(found, base.state.version if base else None, not found.nothing, attempts=attempt.count)
        result = _result(Plan, request, done, session.environment.monotonic() - started, None)
        advice = None if base is None else worth_compacting(base)
        return replace(result, files_to_rewrite=found.looked.rewritten, compaction=advice)


def set_table_properties(session: Session, base: Snapshot, given: Mapping[str, object]) -> Snapshot:
    """Commit new values of table properties; returns the snapshot after it."""
    wanted: dict[str, PropertyValue] = properties.read_properties(given)
    if not wanted:
        raise OptionError("no properties were given", hint=f"the properties are {', '.join(properties.PROPERTIES)}")
    newest = versions.advance(session, base)
    operation = Operation(
        name="set", read_version=newest.state.version, library=LIBRARY, writer=session.environment.writer
    )

    def plan_on(snapshot: Snapshot | None, _: Staging) -> CommitPlan:
        return set_properties(snapshot or newest, wanted)

    return run(new_attempt(session, operation), plan_on, base=newest).snapshot or newest


def vacuum(session: Session, base: Snapshot, options: VacuumOptions) -> tuple[VacuumResult, Snapshot]:
    """Commit what is to be deleted, then delete it. See `Table.vacuum`."""
    newest = versions.advance(session, base)
    rules = _vacuum_rules(newest, options)
    if options.dry_run:
        found = vacuum_operation.find(session, newest, rules)
        deleted = tuple(entry.name for entry in found.entries)
        size = sum(entry.bytes for entry in found.entries)
        return VacuumResult(
            version=newest.state.version, committed=False, deleted=deleted, bytes=size, dry_run=True
        ), newest
    operation = Operation(
        name="vacuum", read_version=newest.state.version, library=LIBRARY, writer=session.environment.writer
    )

    def plan_on(snapshot: Snapshot | None, _: Staging) -> CommitPlan:
        return vacuum_operation.plan_vacuum(session, snapshot or newest, rules)

    done = run(new_attempt(session, operation, options.timeout), plan_on, base=newest)
    assert done.plan is not None
    committed = done.plan.vacuum
    paths = committed.deletes if committed and done.committed else ()
    with after_commit(session, done, hint="the next vacuum deletes what this one left"):
        vacuum_operation.delete(
            session.store, paths, lambda count: options.progress(Progress("deleting files", count, len(paths)))
        )
        abandoned.abort_uploads(session.store, newest.state.table_id, rules.grace_us)
    deleted = tuple(name for path in paths if (name := names.decode_path(path)) is not None)
    result = VacuumResult(
        version=done.version or 0,
        committed=done.committed,
        deleted=deleted,
        bytes=done.plan.looked.vacuum_bytes,
        dry_run=False,
    )
    return result, done.snapshot or newest


def compact(session: Session, base: Snapshot, options: CompactOptions) -> tuple[CompactResult, Snapshot]:
    """Join small files. See `Table.compact`."""
    newest = versions.advance(session, base)
    if options.dry_run:
        found = compact_operation.estimate(newest, _wanted(newest, options))
        return _compacted(found, newest.state.version, dry_run=True), newest
    operation = Operation(
        name="compact", read_version=newest.state.version, library=LIBRARY, writer=session.environment.writer
    )

    def plan_on(snapshot: Snapshot | None, staging: Staging) -> CommitPlan:
        base = snapshot or newest
        attempt.operation = replace_struct(operation, read_version=base.state.version)
        staging.keep_index(base.state.runs)
        found = compact_operation.plan_compaction(session, base, staging, _wanted(base, options))
        return indexing.with_runs(session, base, staging, found)

    attempt = new_attempt(session, operation, options.timeout)
    done = run(attempt, plan_on, base=newest)
    assert done.plan is not None
    result = _compacted(done.plan.groups, done.version or 0, skipped=done.plan.lost_groups)
    if done.committed:
        result = replace(result, committed=True, commit_id=attempt.commit_id)
    return result, done.snapshot or newest


def worth_compacting(snapshot: Snapshot) -> CompactResult | None:
    """What a compaction without arguments would do, if that is worth it. Cost: the list of files, no data file."""
    groups = worthwhile(snapshot, _wanted(snapshot, CompactOptions()))
    return _compacted(groups, snapshot.state.version, dry_run=True) if groups else None


def _wanted(snapshot: Snapshot, options: CompactOptions) -> compact_operation.Wanted:
    known, target = snapshot.state.table.properties, options.target_file_bytes
    if target is not None:
        known = properties.read_properties({"target_file_bytes": target})
    return compact_operation.Wanted(
        target_bytes=properties.integer(known, "target_file_bytes"),
        sort=options.sort,
        where=options.where,
        done=lambda count, total: options.progress(Progress("joining files", count, total)),
    )


def _compacted(groups: Sequence[Group], version: int, *, skipped: int = 0, dry_run: bool = False) -> CompactResult:
    adds = [add for group in groups for add in group.adds]
    return CompactResult(
        version=version,
        committed=False,
        files_before=sum(len(group.inputs) for group in groups),
        files_after=len(adds),
        bytes_before=sum(group.bytes for group in groups),
        bytes_after=sum(add.bytes for add in adds),
        rows=sum(add.rows for add in adds),
        rows_dropped=sum(group.dropped for group in groups),
        groups=len(groups),
        groups_skipped=skipped,
        dry_run=dry_run,
    )


@contextmanager
def after_commit(session: Session, done: Outcome, hint: str) -> Iterator[None]:
    """Context manager for what a call does after its commit: errors report that the commit is in the table."""
    try:
        yield
    except StoreError as error:
        if not done.committed:
            raise
        raise StoreError(
            f"version {done.version} of {session.store.root} is committed; after that: {error.message}",
            hint=hint,
            committed="yes",
            version=done.version,
        ) from error


def resolve(session: Session, commit_id: str) -> Resolution:
    """Whether a commit is in the log. Cost: reads manifests from the newest back until it is found.

    Raises:
        TableNotFoundError: nobody has ever begun to create a table there, so the path must be wrong.
    """
    if not re.fullmatch("[0-9a-f]{32}", text(commit_id)):
        raise OptionError(
            f"{shown(commit_id)} is not a commit id",
            hint="pass the 32 hex digits from the error (error.commit_id)",
        )
    newest = versions.head(session)
    if newest is None and identity.table_id(session.store) is not None:
        return Resolution(committed=False, version=None)  # the creation that it was has not come to pass
    newest = newest or versions.require_head(session)
    for manifest in manifests.history(session, newest.state.version, None):
        if manifest.commit_id == commit_id:
            return Resolution(committed=True, version=manifest.version)
    return Resolution(committed=False, version=None)


def refuse_foreign_files(session: Session) -> None:
    """Refuse to create a table among somebody's data files.

    Raises:
        FolderNotEmptyError: names the first such file.
    """
    store = session.store
    own: str | None = None
    for entry in store.list_from(""):
        if entry.name.startswith(names.LOG_DIR) or not (_log_of(entry.name) or entry.name.endswith(FOREIGN_SUFFIXES)):
            continue
        # Read only now: another creation writes its id before the first of its files that the listing could show.
        own = own or identity.table_id(store)
        if own is not None and (names.is_data_name(entry.name, own) or names.is_temporary(entry.name, own)):
            continue
        name, what = _foreign_log(store) or (entry.name, "data files")
        raise FolderNotEmptyError(
            f"{store.root} has no txfiles log and holds {what} ({name}); nothing was written",
            hint=HINTS.get(what, "write to a new folder; this release cannot adopt existing files"),
            file=name,
        )


def require_table(session: Session) -> Snapshot:
    """The newest version.

    Raises:
        TableNotFoundError: there is no table of this kind; says so if there is one of another.
    """
    try:
        return versions.require_head(session)
    except TableNotFoundError:
        found = _foreign_log(session.store)
        if found is None:
            raise
    name, what = found
    raise TableNotFoundError(
        f"{session.store.root} has no txfiles log and holds {what} ({name})",
        hint=HINTS.get(what, f"open it with a reader of {what.split()[1]} tables"),
    )


def _log_of(name: str) -> str | None:
    """The kind of table to whose log a name belongs."""
    return next((what for what, pattern in FOREIGN_LOGS if pattern.match(name)), None)


def _foreign_log(store: Store) -> tuple[str, str] | None:
    """A file of the log of another kind of table, and which kind. Its data files may be listed before it."""
    for folder in ("_delta_log/", ".hoodie/", "metadata/"):
        for entry in store.list_from(folder):
            what = _log_of(entry.name)
            if what:
                return entry.name, what
    return None


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
    )


def _at(operation: Operation, request: Asked, snapshot: Snapshot | None) -> Operation:
    return replace_struct(
        operation, read_version=snapshot.state.version if snapshot else None, keys=_keys(request, snapshot)
    )


def _vacuum_rules(snapshot: Snapshot, options: VacuumOptions) -> vacuum_operation.Rules:
    known, retain, keep_versions = snapshot.state.table.properties, options.retain, options.keep_versions
    if keep_versions is not None and (type(keep_versions) is not int or keep_versions < 1):
        raise OptionError(f"keep_versions must be a whole number of at least 1, not {shown(keep_versions)}")
    return vacuum_operation.Rules(
        retain_us=properties.duration_us(properties.text(known, "vacuum_retain") if retain is None else retain),
        keep_versions=keep_versions or 1,
        grace_us=properties.duration_us(properties.text(known, "vacuum_grace")),
        force=options.force,
    )


def _already(session: Session, request: Asked, version: int | None, started: float, attempts: int = 1) -> WriteResult:
    return WriteResult(
        version=version,
        committed=False,
        already_committed=True,
        mode=request.mode,
        attempts=attempts,
        elapsed=session.environment.monotonic() - started,
    )


def _result(kind: type[Result], request: Asked, done: Outcome, elapsed: float, commit_id: str | None) -> Result:
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
    )


def new_attempt(session: Session, operation: Operation, timeout: float = PATIENCE_SECONDS) -> Attempt:
    """A call's attempt, with an id that no other call has."""
    return Attempt(
        session, session.environment.new_id(), operation, timeout, Staging, checks.holds, checks.still_live, unite
    )
