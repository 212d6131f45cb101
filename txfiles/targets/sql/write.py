"""One write to a SQL table: look, prepare, stage, lock, decide, apply, commit.

Everything between the lock and the commit is one transaction, so the counts are those of what was done.

Source: specs/10-sql.md, "One write".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from txfiles.batch import Prepared
from txfiles.core.manifest import TableMetadata
from txfiles.options import Request
from txfiles.results import Plan, WriteResult
from txfiles.targets.sql import apply, dialects, frames, ledger, staging
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.call import Call, Head, ledger_name, look
from txfiles.targets.sql.commit import already, commit, entry_of, known_batch, patiently, result, still
from txfiles.targets.sql.database import Database, is_there
from txfiles.targets.sql.statements import Shape


def write(address: Address, request: Request) -> WriteResult:
    """Run one write to its commit. See `txfiles.write`."""
    frames.check(address, request)
    return patiently(_attempt, Call(address, replace(request, format="sql")))


def plan(address: Address, request: Request) -> Plan:
    """Find out what the same write would do now, in a transaction that is rolled back. See `txfiles.plan`."""
    frames.check(address, request)
    return patiently(_planned, Call(address, replace(request, format="sql")))


def _planned(call: Call[Request]) -> Plan:
    dialect = dialects.get(call.address.dialect)
    staging.check_name(dialect, call.address.table, "table")
    if not is_there(call.address):
        prepared = staging.prepare_for(call.request, dialect, None)
        return result(Plan, call, None, apply.all_inserted(prepared), committed=True, prepared=prepared)
    frames.load(call)
    with Database(call.address, call.patience) as db:
        head = look(db)
        known = known_batch(db, head, call)
        if known is not None:
            return already(Plan, call, known)
        prepared = staging.prepare_for(call.request, dialect, head.table)
        shape = staging.shape_of(dialect, head.schema, call, prepared)
        if head.entry is not None or frames.of(call.request) is not None:
            prepared = _staged(db, call, shape, prepared)
        if head.entry is None:
            return result(Plan, call, None, apply.all_inserted(prepared), committed=True, prepared=prepared)
        call.begin(db, head.schema)
        counts = apply.decide(db, call, shape, head.entry.table, prepared)
        db.run("ROLLBACK")
        committed = _commits(call, head.entry.table, prepared, counts)
        return result(Plan, call, head.entry, counts, committed=committed, prepared=prepared)


def _attempt(call: Call[Request]) -> WriteResult:
    address = call.address
    dialect = dialects.get(address.dialect)
    staging.check_name(dialect, address.table, "table")
    # A database that is a file is made only for a batch that fits.
    first = None if is_there(address) else staging.prepare_for(call.request, dialect, None)
    frames.load(call)
    with Database(address, call.patience) as db:
        seen = look(db)
        known = known_batch(db, seen, call)
        if known is not None:
            return already(WriteResult, call, known)
        prepared = (
            first
            if first is not None and seen.entry is None
            else staging.prepare_for(call.request, dialect, seen.table)
        )
        shape = staging.shape_of(dialect, seen.schema, call, prepared)
        prepared = _staged(db, call, shape, prepared)
        if not dialect.transactional_ddl and seen.entry is None:
            _create_beforehand(db, call, shape, prepared, seen)
            seen = look(db)
        call.begin(db, seen.schema)
        head, known = still(db, call, seen)
        if known is not None:
            return already(WriteResult, call, known)
        counts = apply.apply(db, call, shape, head, prepared)
        if head.entry is not None and not _commits(call, head.entry.table, prepared, counts):
            db.run("ROLLBACK")
            return result(WriteResult, call, head.entry, counts, committed=False, prepared=prepared)
        entry = entry_of(call, head, _recorded(call, head, prepared), counts)
        commit(db, call, head, entry)
    return result(WriteResult, call, entry, counts, committed=True, commit_id=entry.commit_id, prepared=prepared)


def _staged(db: Database, call: Call[Request], shape: Shape, prepared: Prepared) -> Prepared:
    """Have the batch in a temporary table; returns what is known of it then."""
    if frames.of(call.request) is not None:
        return frames.collect(db, shape, call.request, prepared)
    staging.stage(db, shape, prepared)
    return prepared


def _create_beforehand(db: Database, call: Call[Request], shape: Shape, prepared: Prepared, seen: Head) -> None:
    """Make ledger and table where that is no part of a transaction: announced first, so that it can be told apart."""
    if not seen.has_ledger:
        ledger.create(db, seen.schema)
    call.begin(db, seen.schema)
    head = look(db)
    if head.entry is None:
        if head.made:  # announced, made, and never filled
            db.run(f"DROP TABLE {shape.target}")
        ledger.forget(db, head.schema, ledger_name(call.address))
        counts = dict.fromkeys(ledger.COUNTS, 0)
        announced = replace(entry_of(call, head, prepared.table, counts), version=ledger.PENDING, batch_id=None)
        ledger.add(db, head.schema, announced)
        db.run("COMMIT")
        apply.create_table(db, shape)


def _commits(call: Call[Request], current: TableMetadata, prepared: Prepared, counts: Mapping[str, int]) -> bool:
    """Whether anything is to be committed; the same rule as for files."""
    changed = ("rows_inserted", "rows_updated", "rows_deleted")
    records = prepared.rows_in > 0 and prepared.table != current
    return (
        any(counts[name] for name in changed) or prepared.schema_changed or records or call.request.batch_id is not None
    )


def _recorded(call: Call[Request], head: Head, prepared: Prepared) -> TableMetadata:
    """What the table is after this write."""
    says_nothing = prepared.rows_in == 0 and not prepared.schema_changed and call.request.mode != "overwrite"
    return head.table if head.table is not None and says_nothing else prepared.table
