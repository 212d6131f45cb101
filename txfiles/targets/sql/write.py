"""One write to a SQL table: look, prepare, stage, lock, decide by joins, apply, add to the ledger, commit.

Everything between the lock and the commit is one transaction, so the counts are those of what was done. A commit whose
reply was lost is looked up in the ledger, under the same lock, before anything is tried again.

Source: specs/10-sql.md, "One write".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from txfiles import environment
from txfiles.batch import Prepared
from txfiles.core import properties
from txfiles.core.manifest import TableMetadata
from txfiles.core.messages import plain
from txfiles.errors import BatchIdMismatchError, CommitConflictError, CommitStateUnknownError, StoreError
from txfiles.options import Request, keys_required
from txfiles.results import Plan, WriteResult
from txfiles.targets.sql import apply, dialects, ledger
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.call import Call, Head, ledger_name, look
from txfiles.targets.sql.database import Database, is_there
from txfiles.targets.sql.errors import BusyError, LostError, RepeatedKeyError
from txfiles.targets.sql.statements import Shape
from txfiles.version import LIBRARY

Result = TypeVar("Result", bound=WriteResult)


def write(address: Address, request: Request) -> WriteResult:
    """Run one write to its commit. See `txfiles.write`."""
    return _patiently(_attempt, Call(address, replace(request, format="sql")))


def plan(address: Address, request: Request) -> Plan:
    """Find out what the same write would do now, in a transaction that is rolled back. See `txfiles.plan`."""
    return _patiently(_planned, Call(address, replace(request, format="sql")))


def _patiently(attempt: Callable[[Call], Result], call: Call) -> Result:
    while True:
        try:
            return attempt(call)
        except BusyError as error:
            call.lost(error)
        except LostError as error:
            raise StoreError(
                f"{call.address.shown}: the connection broke before the commit: {error}; nothing was written",
                hint="check that the server runs; then try again",
            ) from None


def _planned(call: Call) -> Plan:
    dialect = dialects.get(call.address.dialect)
    apply.check_name(dialect, call.address.table, "table")
    if not is_there(call.address):
        prepared = apply.prepare_for(call, dialect, None)
        apply.encoded(apply.shape_of(dialect, "", call, prepared), prepared)
        return _result(Plan, call, prepared, None, apply.all_inserted(prepared), committed=True)
    with Database(call.address, call.patience) as db:
        head = look(db)
        known = _known_batch(db, head, call)
        if known is not None:
            return _already(Plan, call, known)
        prepared = apply.prepare_for(call, dialect, head.table)
        shape = apply.shape_of(dialect, head.schema, call, prepared)
        if head.entry is None:
            apply.encoded(shape, prepared)
            return _result(Plan, call, prepared, None, apply.all_inserted(prepared), committed=True)
        apply.stage(db, shape, prepared)
        call.begin(db, head.schema)
        counts = apply.decide(db, call, shape, head.entry.table, prepared)
        db.run("ROLLBACK")
        committed = _commits(call, head.entry.table, prepared, counts)
        return _result(Plan, call, prepared, head.entry, counts, committed=committed)


def _attempt(call: Call) -> WriteResult:
    address = call.address
    dialect = dialects.get(address.dialect)
    apply.check_name(dialect, address.table, "table")
    # A database that is a file is made only for a batch that fits.
    first = None if is_there(address) else apply.prepare_for(call, dialect, None)
    with Database(address, call.patience) as db:
        seen = look(db)
        known = _known_batch(db, seen, call)
        if known is not None:
            return _already(WriteResult, call, known)
        prepared = first if first is not None and seen.entry is None else apply.prepare_for(call, dialect, seen.table)
        shape = apply.shape_of(dialect, seen.schema, call, prepared)
        apply.stage(db, shape, prepared)
        if not dialect.transactional_ddl and seen.entry is None:
            _create_beforehand(db, call, shape, prepared, seen)
            seen = look(db)
        call.begin(db, seen.schema)
        head = look(db)
        known = _known_batch(db, head, call)
        if known is not None:
            return _already(WriteResult, call, known)
        if head.table != seen.table or (head.entry is None) != (seen.entry is None):
            raise BusyError("the table has changed in the meantime")
        counts = apply.apply(db, call, shape, head, prepared)
        if head.entry is not None and not _commits(call, head.entry.table, prepared, counts):
            db.run("ROLLBACK")
            return _result(WriteResult, call, prepared, head.entry, counts, committed=False)
        entry = _entry(call, head, prepared, counts)
        if not head.has_ledger:
            _create_ledger(db, head.schema)
        try:
            ledger.add(db, head.schema, entry)
            _commit(db)
        except RepeatedKeyError:
            raise BusyError("another call has committed this version") from None
        except _LostCommitError as error:
            settled = _settle(call, head.schema, entry, error)
            if not settled:
                raise BusyError("the connection broke at the commit, which did not happen") from None
    return _result(WriteResult, call, prepared, entry, counts, committed=True, commit_id=entry.commit_id)


class _LostCommitError(Exception):
    """The connection broke at the commit."""


def _commit(db: Database) -> None:
    try:
        db.run("COMMIT")
    except LostError as error:
        raise _LostCommitError(str(error)) from None


def _settle(call: Call, schema: str, entry: ledger.Entry, lost: Exception) -> bool:
    """Whether a commit whose reply was lost is in the ledger. Under the table's lock its transaction is over.

    Raises:
        CommitStateUnknownError: the database cannot be asked in time.
    """
    while True:
        try:
            with Database(call.address, call.patience) as db:
                call.begin(db, schema)
                if not ledger.exists(db, schema):
                    return False
                return ledger.by_commit(db, schema, entry.table_name, entry.commit_id) is not None
        except (BusyError, LostError, StoreError) as error:
            try:
                call.lost(error)
            except CommitConflictError:
                raise CommitStateUnknownError(
                    f"the connection to {call.address.shown} broke at the commit of version {entry.version}, and the "
                    f"database cannot be asked whether it happened: {lost}",
                    hint=f"txfiles.resolve(url, {entry.commit_id!r}) tells when it is back; a retry with the same keys "
                    "or batch_id does no harm",
                    committed="unknown",
                    commit_id=entry.commit_id,
                    versions=(entry.version,),
                ) from None


def _create_beforehand(db: Database, call: Call, shape: Shape, prepared: Prepared, seen: Head) -> None:
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
        announced = replace(_entry(call, head, prepared, counts), version=ledger.PENDING, batch_id=None)
        ledger.add(db, head.schema, announced)
        db.run("COMMIT")
        apply.create_table(db, shape)


def _create_ledger(db: Database, schema: str) -> None:
    try:
        ledger.create(db, schema)
    except RepeatedKeyError:  # two tables of one schema are created at once
        raise BusyError("another call is creating the ledger") from None


def _commits(call: Call, current: TableMetadata, prepared: Prepared, counts: Mapping[str, int]) -> bool:
    """Whether anything is to be committed; the same rule as for files."""
    changed = ("rows_inserted", "rows_updated", "rows_deleted")
    records = prepared.rows_in > 0 and prepared.table != current
    return (
        any(counts[name] for name in changed) or prepared.schema_changed or records or call.request.batch_id is not None
    )


def _entry(call: Call, head: Head, prepared: Prepared, counts: Mapping[str, int]) -> ledger.Entry:
    real, request, newest = environment.real(), call.request, head.entry
    table = prepared.table
    if newest is not None and prepared.rows_in == 0 and not prepared.schema_changed and request.mode != "overwrite":
        table = newest.table  # an empty batch says nothing about the table
    metadata = {plain(name): plain(value) for name, value in request.user_metadata.items()}
    return ledger.Entry(
        table_name=ledger_name(call.address),
        version=newest.version + 1 if newest else 0,
        commit_id=real.new_id(),
        time_us=max(real.now_us(), newest.time_us + 1 if newest else 0),
        operation=request.mode,
        scope=request.scope,
        batch_id=request.batch_id,
        key_columns=msgspec.json.encode(_keys(request, table)).decode(),
        timestamp_col=table.timestamp_col,
        read_version=newest.version if newest else None,
        metadata=ledger.encoded(table),
        user_metadata=msgspec.json.encode(metadata).decode(),
        library=LIBRARY,
        writer=real.writer,
        **{name: counts[name] for name in ledger.COUNTS},
    )


def _keys(request: Request, table: TableMetadata | None) -> tuple[str, ...]:
    """The keys that the call works with, in the table's order if it has recorded them."""
    if request.mode == "append" or (request.mode == "overwrite" and not request.keys):
        return ()
    recorded = table.keys if table else ()
    if not request.keys and not recorded:
        raise keys_required(request.mode)
    return recorded if not request.keys or set(request.keys) == set(recorded) else request.keys


def _known_batch(db: Database, head: Head, call: Call) -> ledger.Entry | None:
    """The commit of the request's batch id, if there is one.

    Raises:
        BatchIdMismatchError: it was committed in another mode, or with other keys.
    """
    request = call.request
    if head.entry is None or request.batch_id is None:
        return None
    kept = properties.integer(head.entry.table.properties, "batch_ids_kept")
    known = ledger.by_batch(db, head.schema, head.entry.table_name, request.batch_id, kept)
    if known is None:
        return None
    keys = _keys(request, head.entry.table)
    if known.operation != request.mode or set(known.keys) != set(keys):
        raise BatchIdMismatchError(
            f"batch id {request.batch_id!r} was committed to {call.address.shown} in version {known.version} as "
            f"{known.operation} with keys {list(known.keys)}, not {request.mode} with keys {list(keys)}",
            hint="a batch id names one delivery; give this one another",
            version=known.version,
        )
    return known


def _already(kind: type[Result], call: Call, known: ledger.Entry) -> Result:
    return kind(
        version=known.version,
        committed=False,
        already_committed=True,
        mode=call.request.mode,
        attempts=call.attempts,
        elapsed=call.elapsed,
    )


def _result(
    kind: type[Result],
    call: Call,
    prepared: Prepared,
    entry: ledger.Entry | None,
    counts: Mapping[str, Any],
    *,
    committed: bool,
    commit_id: str | None = None,
) -> Result:
    more = {"files_to_rewrite": None} if kind is Plan else {}
    return kind(
        version=entry.version if entry else None,
        committed=committed,
        already_committed=False,
        mode=call.request.mode,
        attempts=call.attempts,
        elapsed=call.elapsed,
        commit_id=commit_id,
        schema_inferred=prepared.inferred,
        notes=prepared.notes,
        **more,
        **counts,
    )
