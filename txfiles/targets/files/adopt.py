"""`txfiles.adopt`: a folder that exists becomes a table, in one commit."""

from __future__ import annotations

import logging

import pyarrow as pa

from txfiles.core import names
from txfiles.core.manifest import Operation
from txfiles.core.plan import CommitPlan
from txfiles.errors import TableExistsError
from txfiles.log import detached, versions
from txfiles.log.commit import run
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.operations.adopt import Adoption, look, plan_adoption
from txfiles.results import AdoptResult
from txfiles.rows import types
from txfiles.store import port
from txfiles.targets.files.attempts import new_attempt
from txfiles.verbs import AdoptOptions
from txfiles.version import LIBRARY
from txfiles.writing.staging import Staging

logger = logging.getLogger("txfiles")


def adopt(session: Session, options: AdoptOptions, format: str | None) -> AdoptResult:
    """Look at the folder, then commit version 0. See `txfiles.adopt`."""
    started = session.environment.monotonic()
    _refuse_table(session, versions.head(session))
    _refuse_inside(session, options)
    if options.dry_run:
        return _result(session, look(session, options, format), options, started)
    found: list[Adoption] = []

    def plan_on(snapshot: Snapshot | None, staging: Staging) -> CommitPlan:
        _refuse_table(session, snapshot)  # another call was faster
        found[:] = [look(session, options, format)]
        return plan_adoption(found[0], lambda: staging.table_id)

    operation = Operation(name="adopt", keys=options.keys, library=LIBRARY, writer=session.environment.writer)
    attempt = new_attempt(session, operation, options.timeout)
    run(attempt, plan_on)
    for note in found[0].notes:
        logger.info("%s", note)
    return _result(session, found[0], options, started, attempt.commit_id)


def _refuse_table(session: Session, snapshot: Snapshot | None) -> None:
    if snapshot is not None:
        detached.refuse_writes(session.store.root, snapshot.state)  # half detached: no hint to write to it
        raise TableExistsError(
            f"{session.store.root} is a txfiles table already, at version {snapshot.state.version}",
            hint="write to it; files that other tools have put there since can be appended with "
            "txfiles.write([their paths], path, mode='append')",
            version=snapshot.state.version,
        )


def _refuse_inside(session: Session, options: AdoptOptions) -> None:
    """Refuse a folder in a table: two logs would hold the same files, and a vacuum of one delete what the other has."""
    outer = None if options.force else port.above(session.store, names.TABLE_FILE)
    if outer is not None:
        raise TableExistsError(
            f"{session.store.root} is inside of the txfiles table {outer}, which may hold its files",
            hint=f"read them through that table; or, if it has none of them (txfiles files {outer}), pass force=True "
            "(--force)",
            outer=outer,
        )


def _result(
    session: Session, adoption: Adoption, options: AdoptOptions, started: float, commit_id: str | None = None
) -> AdoptResult:
    table = adoption.table
    return AdoptResult(
        version=None if options.dry_run else 0,
        committed=not options.dry_run,
        format=table.format,
        files=len(adoption.adds),
        rows=sum(add.rows for add in adoption.adds),
        bytes=sum(add.bytes for add in adoption.adds),
        schema=pa.schema([field.remove_metadata() for field in types.arrow_schema(table.columns)]),
        partition_by=table.partition_by,
        keys=table.keys,
        timestamp_col=table.timestamp_col,
        ignored=adoption.found.ignored,
        notes=adoption.notes,
        dry_run=options.dry_run,
        commit_id=commit_id,
        elapsed=session.environment.monotonic() - started,
    )
