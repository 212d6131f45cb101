"""`Table.index` of plain files: one call that builds, drops, checks or describes the key index."""

from __future__ import annotations

from dataclasses import replace

from msgspec.structs import replace as replace_struct

from txfiles.core import properties
from txfiles.core.manifest import Operation
from txfiles.core.plan import CommitPlan
from txfiles.log import versions
from txfiles.log.commit import run
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.operations import key_index
from txfiles.options import IndexOptions, Progress
from txfiles.reading import index_check
from txfiles.results import IndexResult
from txfiles.targets.files.attempts import after_commit, new_attempt
from txfiles.version import LIBRARY
from txfiles.writing.staging import Staging


def index(session: Session, base: Snapshot, options: IndexOptions) -> tuple[IndexResult, Snapshot]:
    """See `Table.index`."""
    if options.action in ("show", "check"):
        with versions.ExpiryReported(session, base.state):
            return _told(session, base, options), base
    newest = versions.advance(session, base)
    operation = Operation(
        name="index",
        scope=options.action,
        read_version=newest.state.version,
        library=LIBRARY,
        writer=session.environment.writer,
    )

    def plan_on(snapshot: Snapshot | None, staging: Staging) -> CommitPlan:
        at = snapshot or newest
        attempt.operation = replace_struct(operation, read_version=at.state.version)
        if options.action == "drop":
            return key_index.plan_drop(at)
        return key_index.plan_build(session, at, staging, lambda done, total: report("indexing files", done, total))

    def report(stage: str, done: int, total: int) -> None:
        options.progress(Progress(stage, done, total))

    attempt = new_attempt(session, operation)
    done = run(attempt, plan_on, base=newest)
    after = done.snapshot or newest
    with after_commit(session, done, hint="`txfiles index PATH` tells what the index covers"):
        found = _told(session, after, options)
    if done.committed:
        found = replace(found, committed=True, commit_id=attempt.commit_id)
    return found, after


def _told(session: Session, snapshot: Snapshot, options: IndexOptions) -> IndexResult:
    """The index of a version. Cost: the ends of its runs; to check it, all of them and all key columns."""
    states = index_check.states(
        session,
        snapshot,
        check=options.action == "check",
        done=lambda done, total: options.progress(Progress("checking runs", done, total)),
    )
    covered = {path for state in states for path in state.covers}
    listed = snapshot.state.runs
    return IndexResult(
        action=options.action,
        version=snapshot.state.version,
        committed=False,
        key_index=properties.text(snapshot.state.table.properties, "key_index"),
        runs=len(listed),
        keys=sum(ref.entries for ref in listed),
        bytes=sum(ref.bytes for ref in listed),
        files_covered=len(covered),
        files_not_covered=snapshot.file_count - len(covered),
        problems=tuple(f"{state.run.name}: {state.problem}" for state in states if state.problem),
    )
