"""From a table that is as it shall be to its commit: batch ids, the ledger's new row, a reply that was lost, patience.

A commit that failed, or whose reply was lost, is looked up in the ledger, under the table's lock, before anything is
tried again.

Source: specs/10-sql.md, "One write".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from txfiles import environment
from txfiles.batch import Prepared
from txfiles.core import properties
from txfiles.core.manifest import TableMetadata
from txfiles.core.messages import plain
from txfiles.errors import BatchIdMismatchError, CommitConflictError, CommitStateUnknownError, StoreError
from txfiles.options import Asked, Request, keys_required
from txfiles.results import Plan, WriteResult
from txfiles.targets.sql import ledger
from txfiles.targets.sql.call import Ask, Call, Head, ledger_name, look
from txfiles.targets.sql.database import Database
from txfiles.targets.sql.errors import BusyError, LostError, RepeatedKeyError
from txfiles.version import LIBRARY

Result = TypeVar("Result", bound=WriteResult)


def patiently(attempt: Callable[[Call[Ask]], Result], call: Call[Ask]) -> Result:
    """Run a call, again and again while others are in its way.

    Raises:
        CommitConflictError: its patience is over.
        StoreError: the connection broke before the commit.
    """
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


def commit(db: Database, call: Call[Ask], head: Head, entry: ledger.Entry) -> None:
    """Add a row to the ledger and commit, once.

    Raises:
        BusyError: it did not happen.
        StoreError: the database refused it; it did not happen.
        CommitStateUnknownError: it failed, and the database cannot be asked in time.
    """
    if not head.has_ledger:
        _create_ledger(db, head.schema)
    try:
        ledger.add(db, head.schema, entry)
        failed = _failure_of_commit(db)
    except RepeatedKeyError:
        raise BusyError("another call has committed this version") from None
    if failed is None:
        return
    db.close()  # what it holds still, such as a lock of SQLite, would keep the question waiting
    if not _settle(call, head.schema, entry, failed):
        if isinstance(failed, StoreError):
            raise failed
        raise BusyError("the connection broke at the commit, which did not happen")


def still(db: Database, call: Call[Ask], seen: Head) -> tuple[Head, ledger.Entry | None]:
    """What is there under the lock, and where the batch id was committed meanwhile.

    Raises:
        BusyError: the table is no longer as it was seen.
    """
    head = look(db)
    known = known_batch(db, head, call)
    if known is None and (head.table != seen.table or (head.entry is None) != (seen.entry is None)):
        raise BusyError("the table has changed in the meantime")
    return head, known


def _failure_of_commit(db: Database) -> LostError | StoreError | None:
    """Commit; returns an error that does not say whether it happened."""
    try:
        db.run("COMMIT")
    except (LostError, StoreError) as error:
        return error
    return None


def _settle(call: Call[Ask], schema: str, entry: ledger.Entry, failed: Exception) -> bool:
    """Whether a commit that failed is in the ledger after all. Under the table's lock its transaction is over.

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
                    f"{call.address.shown}: the commit of version {entry.version} failed, and the database cannot be "
                    f"asked whether it happened: {failed}",
                    hint=f"txfiles.resolve(url, {entry.commit_id!r}) tells when it is back; a retry with the same keys "
                    "or batch_id does no harm",
                    committed="unknown",
                    commit_id=entry.commit_id,
                    versions=(entry.version,),
                ) from None


def _create_ledger(db: Database, schema: str) -> None:
    try:
        ledger.create(db, schema)
    except RepeatedKeyError:  # two tables of one schema are created at once
        raise BusyError("another call is creating the ledger") from None


def entry_of(call: Call[Ask], head: Head, table: TableMetadata, counts: Mapping[str, int]) -> ledger.Entry:
    """The ledger's row of a commit that leaves the table like this."""
    real, request, newest = environment.real(), call.request, head.entry
    metadata = {plain(name): plain(value) for name, value in request.user_metadata.items()}
    return ledger.Entry(
        table_name=ledger_name(call.address),
        version=newest.version + 1 if newest else 0,
        commit_id=real.new_id(),
        time_us=max(real.now_us(), newest.time_us + 1 if newest else 0),
        operation=request.mode,
        scope=request.scope,
        batch_id=request.batch_id,
        key_columns=msgspec.json.encode(keys_of(request, table)).decode(),
        timestamp_col=table.timestamp_col,
        read_version=newest.version if newest else None,
        metadata=ledger.encoded(table),
        user_metadata=msgspec.json.encode(metadata).decode(),
        library=LIBRARY,
        writer=real.writer,
        **{name: counts[name] for name in ledger.COUNTS},
    )


def keys_of(request: Asked, table: TableMetadata | None) -> tuple[str, ...]:
    """The keys that the call works with, in the table's order if it has recorded them."""
    recorded = table.keys if table else ()
    if not isinstance(request, Request):
        return recorded if request.scope == "keys" else ()
    if request.mode == "append" or (request.mode == "overwrite" and not request.keys):
        return ()
    if not request.keys and not recorded:
        raise keys_required(request.mode)
    return recorded if not request.keys or set(request.keys) == set(recorded) else request.keys


def known_batch(db: Database, head: Head, call: Call[Ask]) -> ledger.Entry | None:
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
    keys = keys_of(request, head.entry.table)
    if known.operation != request.mode or set(known.keys) != set(keys):
        raise BatchIdMismatchError(
            f"batch id {request.batch_id!r} was committed to {call.address.shown} in version {known.version} as "
            f"{known.operation} with keys {list(known.keys)}, not {request.mode} with keys {list(keys)}",
            hint="a batch id names one delivery; give this one another",
            version=known.version,
        )
    return known


def already(kind: type[Result], call: Call[Ask], known: ledger.Entry) -> Result:
    """The result of a call whose batch id was committed before."""
    return kind(
        version=known.version,
        committed=False,
        already_committed=True,
        mode=call.request.mode,
        attempts=call.attempts,
        elapsed=call.elapsed,
    )


def result(
    kind: type[Result],
    call: Call[Ask],
    entry: ledger.Entry | None,
    counts: Mapping[str, Any],
    *,
    committed: bool,
    commit_id: str | None = None,
    prepared: Prepared | None = None,
) -> Result:
    """What a call did, or would do."""
    more = {"files_to_rewrite": None} if kind is Plan else {}
    return kind(
        version=entry.version if entry else None,
        committed=committed,
        already_committed=False,
        mode=call.request.mode,
        attempts=call.attempts,
        elapsed=call.elapsed,
        commit_id=commit_id,
        schema_inferred=prepared.inferred if prepared else None,
        notes=prepared.notes if prepared else (),
        **more,
        **counts,
    )
