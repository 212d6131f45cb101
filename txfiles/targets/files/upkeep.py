"""`Table.set`, `Table.vacuum`, `Table.compact` and changes of columns of plain files: commits that change no row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from msgspec.structs import replace as replace_struct

from txfiles.core import names, properties
from txfiles.core.manifest import Operation, PropertyValue
from txfiles.core.messages import shown
from txfiles.core.plan import CommitPlan, Group
from txfiles.errors import OptionError
from txfiles.log import detached, versions
from txfiles.log.commit import run
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.operations import abandoned, indexing
from txfiles.operations import compact as compact_operation
from txfiles.operations import vacuum as vacuum_operation
from txfiles.operations.advice import worthwhile
from txfiles.operations.change_columns import change_columns as change_columns_operation
from txfiles.operations.set_properties import set_properties
from txfiles.options import CompactOptions, Progress, VacuumOptions
from txfiles.results import CompactResult, VacuumResult
from txfiles.targets.files.attempts import after_commit, new_attempt
from txfiles.verbs import ColumnChange
from txfiles.version import LIBRARY
from txfiles.writing.staging import Staging


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


def change_columns(session: Session, base: Snapshot, change: ColumnChange) -> Snapshot:
    """Commit a change of the columns; returns the snapshot after it. See `Table.rename_column` and its like."""
    newest = versions.advance(session, base)
    operation = Operation(
        name=change.action,
        read_version=newest.state.version,
        columns=change.columns,
        library=LIBRARY,
        writer=session.environment.writer,
    )

    def plan_on(snapshot: Snapshot | None, _: Staging) -> CommitPlan:
        base = snapshot or newest
        attempt.operation = replace_struct(operation, read_version=base.state.version)
        return change_columns_operation(base, change)

    attempt = new_attempt(session, operation)
    return run(attempt, plan_on, base=newest).snapshot or newest


def vacuum(session: Session, base: Snapshot, options: VacuumOptions) -> tuple[VacuumResult, Snapshot]:
    """Commit what is to be deleted, then delete it. See `Table.vacuum`."""
    newest = versions.advance(session, base)
    rules = _vacuum_rules(newest, options)
    if options.dry_run:
        detached.refuse_writes(session.store.root, newest.state)
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
        detached.refuse_writes(session.store.root, newest.state)
        found = compact_operation.estimate(newest, _wanted(newest, options))
        return _compacted(found, newest.state.version, dry_run=True), newest
    operation = Operation(
        name="compact", read_version=newest.state.version, library=LIBRARY, writer=session.environment.writer
    )

    def plan_on(snapshot: Snapshot | None, staging: Staging) -> CommitPlan:
        base = snapshot or newest
        attempt.operation = replace_struct(operation, read_version=base.state.version)
        staging.keep_index(base.state.runs)
        staging.keep_folders(base)
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
        plain=options.plain,
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
