"""One write to a SQL table: look, prepare, stage, lock, decide by joins, apply, add to the ledger, commit.

Everything between the lock and the commit is one transaction, so the counts are those of what was done. A commit whose
reply was lost is looked up in the ledger, under the same lock, before anything is tried again.

Source: specs/10-sql.md, "One write".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec
import pyarrow as pa

from txfiles import environment
from txfiles.batch import Prepared, prepare
from txfiles.core import properties
from txfiles.core.manifest import TableMetadata
from txfiles.core.messages import plain
from txfiles.errors import (
    BatchIdMismatchError,
    CommitConflictError,
    CommitStateUnknownError,
    DuplicateKeyError,
    ForeignTableError,
    SchemaMismatchError,
    StoreError,
)
from txfiles.options import KEYED, Request, keys_required
from txfiles.results import Plan, WriteResult
from txfiles.rows import types
from txfiles.targets.sql import ledger, statements
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.database import Database, is_there
from txfiles.targets.sql.dialects.base import Dialect
from txfiles.targets.sql.errors import BusyError, LostError, RepeatedKeyError
from txfiles.targets.sql.statements import BATCH, FATES, FOUND, Shape
from txfiles.targets.sql.types import encode
from txfiles.version import LIBRARY

Result = TypeVar("Result", bound=WriteResult)

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.02, 1.0
NAMES = {"i": "rows_inserted", "c": "rows_updated", "u": "rows_unchanged", "s": "rows_stale", "k": "rows_skipped"}
"""The count of each fate; see `statements`."""


@dataclass(frozen=True)
class Head:
    """What is at an address.

    Attributes:
        schema: the table's.
        entry: its newest commit; None if there is no table of ours.
        made: whether the table itself exists.
        has_ledger: whether the schema has a ledger.
    """

    schema: str
    entry: ledger.Entry | None
    made: bool
    has_ledger: bool

    @property
    def table(self) -> TableMetadata | None:
        """What the table is."""
        return self.entry.table if self.entry else None


@dataclass
class Call:
    """One call and its patience.

    Attributes:
        address: of the table.
        request: what was asked for.
        attempts: how many there were.
    """

    address: Address
    request: Request
    attempts: int = 1
    _started: float = field(default_factory=lambda: environment.real().monotonic())
    _busy_since: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return environment.real().monotonic() - self._started

    @property
    def patience(self) -> float:
        """Seconds that are left for other writers."""
        if self._busy_since is None:
            return self.request.timeout
        return max(0.0, self.request.timeout - (environment.real().monotonic() - self._busy_since))

    def lost(self, error: Exception) -> None:
        """Wait before another attempt.

        Raises:
            CommitConflictError: the patience is over.
        """
        real = environment.real()
        if self._busy_since is None:
            self._busy_since = real.monotonic()
        if self.patience <= 0:
            raise CommitConflictError(
                f"other transactions kept {self.address.shown} busy for {self.request.timeout:g} s: {error or 'locked'}; "
                "nothing was written",
                hint="try again, or give more time with timeout=",
            ) from None
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(self.attempts, 6))
        real.sleep(longest * (0.5 + real.random() / 2))
        self.attempts += 1


def ledger_name(address: Address) -> str:
    """The table's name in the ledger: one for all spellings that the database takes for the same table."""
    return address.table.lower() if address.dialect in ("sqlite", "duckdb") else address.table


def lock_name(schema: str, address: Address) -> str:
    """What every writer of the table locks."""
    return f"{schema}.{ledger_name(address)}"


def look(db: Database) -> Head:
    """What is there now.

    Raises:
        ForeignTableError: the table exists, and the ledger does not know it.
    """
    address = db.address
    schema = address.schema if address.schema is not None else db.dialect.schema(db)
    made = db.dialect.has_table(db, schema, address.table)
    has_ledger = ledger.exists(db, schema)
    entry = ledger.newest(db, schema, ledger_name(address)) if has_ledger else None
    if made and entry is None and not (has_ledger and ledger.pending(db, schema, ledger_name(address))):
        raise ForeignTableError(
            f"{address.shown} is a table that txfiles did not create; nothing was written",
            hint="write to a new table; this release cannot take over an existing one",
        )
    return Head(schema, entry if made else None, made, has_ledger)


def write(address: Address, request: Request) -> WriteResult:
    """Run one write to its commit. See `txfiles.write`."""
    call = Call(address, replace(request, format="sql"))
    while True:
        try:
            return _attempt(call)
        except BusyError as error:
            call.lost(error)
        except LostError as error:
            raise StoreError(
                f"{address.shown}: the connection broke before the commit: {error}; nothing was written",
                hint="check that the server runs; then try again",
            ) from None


def plan(address: Address, request: Request) -> Plan:
    """Find out what the same write would do now, in a transaction that is rolled back. See `txfiles.plan`."""
    call = Call(address, replace(request, format="sql"))
    while True:
        try:
            return _planned(call)
        except BusyError as error:
            call.lost(error)


@dataclass(frozen=True)
class Holds:
    """What a database can hold, for `batch.prepare`."""

    dialect: Dialect
    keys: tuple[str, ...]

    def check_types(self, schema: pa.Schema) -> None:
        """Each column has a type there, and a name that fits."""
        for one in schema:
            self.dialect.column_type(one.type, one.name, key=one.name in self.keys)
            check_name(self.dialect, one.name, "column")

    def check_rows(self, rows: pa.Table, _: int) -> None:
        """Checked where they are staged, which is before anything is written to the table."""


def check_name(dialect: Dialect, name: str, what: str) -> None:
    """Refuse names that the database would cut, or cannot have.

    Raises:
        SchemaMismatchError: names it.
    """
    longest = dialect.name_bytes
    if "\0" in name or (longest is not None and len(name.encode()) > longest):
        why = "has the NUL character" if "\0" in name else f"is longer than the {longest} bytes that {dialect.name} keeps"
        raise SchemaMismatchError(f"{what} {name!r} {why}", hint="rename it", columns=[name])


def _prepare(call: Call, dialect: Dialect, current: TableMetadata | None) -> Prepared:
    request = call.request
    keys = request.keys or (current.keys if current else ())
    prepared = prepare(request, current, Holds(dialect, keys))
    table = prepared.table
    if table.timestamp_col is not None:
        column = types.arrow_schema(table.columns).field(table.timestamp_col)
        dialect.check_timestamp(column.type, column.name)
    return prepared


def _planned(call: Call) -> Plan:
    from txfiles.targets.sql import dialects

    if not is_there(call.address):
        prepared = _prepare(call, dialects.get(call.address.dialect), None)
        return _result(Plan, call, prepared, None, _all_inserted(prepared), committed=True)
    with Database(call.address, call.patience) as db:
        head = look(db)
        known = _known_batch(db, head, call)
        if known is not None:
            return _already(Plan, call, known)
        prepared = _prepare(call, db.dialect, head.table)
        if head.entry is None:
            return _result(Plan, call, prepared, None, _all_inserted(prepared), committed=True)
        shape = _shape(db.dialect, head, call, prepared)
        _stage(db, shape, prepared)
        db.dialect.begin(db, lock_name(head.schema, call.address), call.patience)
        counts = _decide(db, call, shape, head.entry.table, prepared)
        db.run("ROLLBACK")
        committed = _commits(call, head.entry.table, prepared, counts)
        return _result(Plan, call, prepared, head.entry, counts, committed=committed)


def _attempt(call: Call) -> WriteResult:
    from txfiles.targets.sql import dialects

    address = call.address
    dialect = dialects.get(address.dialect)
    check_name(dialect, address.table, "table")
    # A database that is a file is made only for a batch that fits.
    first = None if is_there(address) else _prepare(call, dialect, None)
    with Database(address, call.patience) as db:
        seen = look(db)
        known = _known_batch(db, seen, call)
        if known is not None:
            return _already(WriteResult, call, known)
        prepared = first if first is not None and seen.entry is None else _prepare(call, dialect, seen.table)
        shape = _shape(dialect, seen, call, prepared)
        _stage(db, shape, prepared)
        if not dialect.transactional_ddl and seen.entry is None:
            _create_beforehand(db, call, shape, prepared, seen)
            seen = look(db)
        dialect.begin(db, lock_name(seen.schema, address), call.patience)
        head = look(db)
        known = _known_batch(db, head, call)
        if known is not None:
            return _already(WriteResult, call, known)
        if head.table != seen.table or (head.entry is None) != (seen.entry is None):
            raise BusyError("the table has changed in the meantime")
        counts = _apply(db, call, shape, head, prepared)
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
                db.dialect.begin(db, lock_name(schema, call.address), call.patience)
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
    db.dialect.begin(db, lock_name(seen.schema, call.address), call.patience)
    head = look(db)
    if head.entry is None:
        if head.made:  # announced, made, and never filled
            db.run(f"DROP TABLE {shape.target}")
        ledger.forget(db, head.schema, ledger_name(call.address))
        counts = dict.fromkeys(ledger.COUNTS, 0)
        announced = replace(_entry(call, head, prepared, counts), version=ledger.PENDING, batch_id=None)
        ledger.add(db, head.schema, announced)
        db.run("COMMIT")
        _create_table(db, shape)


def _create_ledger(db: Database, schema: str) -> None:
    try:
        ledger.create(db, schema)
    except RepeatedKeyError:  # two tables of one schema are created at once
        raise BusyError("another call is creating the ledger") from None


def _create_table(db: Database, shape: Shape) -> None:
    db.run(statements.create(shape))
    if shape.keys and db.dialect.indexes:
        db.run(db.dialect.create_index(shape.schema, shape.table, index_name(shape), statements.key_list(shape)))


def index_name(shape: Shape, keys: tuple[str, ...] | None = None) -> str:
    """The unique index on the keys; another for other keys, or another table."""
    named = msgspec.json.encode([shape.table, sorted(shape.keys if keys is None else keys)])
    return f"txfiles_keys_{hashlib.sha256(named).hexdigest()[:24]}"


def _shape(dialect: Dialect, head: Head, call: Call, prepared: Prepared) -> Shape:
    table = prepared.table
    by_age = call.request.mode == "upsert" and call.request.stale == "skip" and table.timestamp_col is not None
    return Shape(
        dialect=dialect,
        schema=head.schema,
        table=call.address.table,
        columns=pa.schema([one.remove_metadata() for one in types.arrow_schema(table.columns)]),
        keys=table.keys,
        missing=prepared.missing,
        timestamp_col=table.timestamp_col if by_age and table.timestamp_col not in prepared.missing else None,
    )


def _stage(db: Database, shape: Shape, prepared: Prepared) -> None:
    """Load the batch into a temporary table."""
    encoded = {}
    for name in shape.columns.names:
        column = prepared.rows[name]
        db.dialect.check_values(column, name, key=name in shape.keys)
        encoded[shape.staged(name)] = encode(column, name, db.dialect.wire(column.type))
    db.run(statements.create_batch(shape))
    if prepared.rows.num_rows:
        numbers = pa.array(range(prepared.rows.num_rows), pa.int64())
        db.run("BEGIN")
        db.dialect.load(db, BATCH, pa.table({"n": numbers, **encoded}))
        db.run("COMMIT")


def _decide(db: Database, call: Call, shape: Shape, current: TableMetadata, prepared: Prepared) -> dict[str, int]:
    """Change the table's columns, and find the fate of each row of the batch; for an overwrite, of the table's too."""
    _reshape(db, call, shape, current, prepared)
    counts = _all_inserted(prepared)
    if call.request.mode == "overwrite":
        counts["rows_deleted"] = int(db.rows(f"SELECT count(*) FROM {shape.target}")[0][0])  # noqa: S608 - quoted
    if call.request.mode not in KEYED or not prepared.rows.num_rows:
        return counts
    counts["rows_inserted"] = 0
    if call.request.mode == "append_once":
        db.run(statements.fates_of_append_once(shape))
    else:
        db.run(statements.fates_of_upsert(shape))
        db.run(statements.join_fates())
    for fate, rows, hits in db.rows(statements.count_fates()):
        counts[NAMES[fate]] = int(rows)
        if fate in ("c", "u"):
            counts["rows_deleted"] += int(hits) - int(rows)
    if counts["rows_deleted"] and call.request.mode == "upsert" and shape.missing:
        raise DuplicateKeyError(
            f"{counts['rows_deleted']} rows of {call.address.shown} repeat a key of the batch, which lacks the columns "
            f"{', '.join(map(repr, shape.missing))}; nothing was written",
            hint="upsert whole rows of these keys first",
            count=counts["rows_deleted"],
            keys=[],
        )
    return counts


def _reshape(db: Database, call: Call, shape: Shape, current: TableMetadata, prepared: Prepared) -> None:
    """Add and widen columns, as the batch's schema wants it."""
    if not prepared.schema_changed:
        return
    dialect = db.dialect
    before = types.arrow_schema(current.columns)
    same_types = {one.name: one.type for one in before} == {one.name: one.type for one in shape.columns}
    if same_types:
        return  # only what the ledger says of a column changes
    if not dialect.transactional_ddl:
        raise SchemaMismatchError(
            f"{call.address.shown}: the columns of a {dialect.name} table cannot change in a transaction; nothing was "
            "written",
            hint="write to a new table",
        )
    if call.request.schema_mode == "overwrite":
        return  # the table is made anew
    for name in shape.columns.names:
        column, after = dialect.quote(name), shape.columns.field(name).type
        if name not in before.names:
            db.run(f"ALTER TABLE {shape.target} ADD COLUMN {column} {shape.type(name)}")
        elif before.field(name).type != after:
            for statement in dialect.alter(shape.target, column, before.field(name).type, after, name):
                db.run(statement)


def _apply(db: Database, call: Call, shape: Shape, head: Head, prepared: Prepared) -> dict[str, int]:
    """Make the table what it shall be; returns the counts."""
    try:
        if head.entry is None:
            if db.dialect.transactional_ddl:
                if head.has_ledger:
                    ledger.forget(db, head.schema, ledger_name(call.address))
                _create_table(db, shape)
            counts = _all_inserted(prepared)
            db.run(statements.insert_all(shape))
            return counts
        db.dialect.lock(db, shape.target)
        counts = _decide(db, call, shape, head.entry.table, prepared)
        _change(db, call, shape, head.entry.table, prepared, counts)
    except RepeatedKeyError as error:
        raise DuplicateKeyError(
            f"{call.address.shown} has a unique index that refuses a row: {error}; nothing was written",
            hint="use append_once or upsert, or leave rows out that repeat a key",
            keys=[],
            count=1,
        ) from None
    return counts


def _change(
    db: Database, call: Call, shape: Shape, current: TableMetadata, prepared: Prepared, counts: Mapping[str, int]
) -> None:
    dialect, mode = db.dialect, call.request.mode
    index = index_name(shape, current.keys)
    indexed = bool(current.keys) and dialect.has_index(db, shape.schema, shape.table, index)
    rekeyed = set(current.keys) != set(shape.keys)
    if indexed and rekeyed:
        if not dialect.transactional_ddl:
            raise SchemaMismatchError(
                f"{call.address.shown} has a unique index on its keys, which {dialect.name} cannot replace in a "
                "transaction; nothing was written",
                hint="write to a new table",
            )
        db.run(dialect.drop_index(shape.schema, shape.table, index))
        indexed = False
    if mode == "overwrite":
        if prepared.schema_changed and call.request.schema_mode == "overwrite":
            db.run(f"DROP TABLE {shape.target}")
            _create_table(db, shape)
        else:
            db.run(f"DELETE FROM {shape.target}")  # noqa: S608 - quoted
            if rekeyed and shape.keys and dialect.indexes and dialect.transactional_ddl:
                name = index_name(shape)
                db.run(dialect.create_index(shape.schema, shape.table, name, statements.key_list(shape)))
        db.run(statements.insert_all(shape))
    elif not prepared.rows.num_rows:
        return
    elif mode == "append":
        db.run(statements.insert_all(shape))
    elif mode == "append_once":
        if counts["rows_inserted"]:
            db.run(statements.insert_new(shape))
    elif indexed and dialect.upserts:
        if counts["rows_inserted"] or counts["rows_updated"]:
            db.run(statements.upsert(shape))
    else:
        if counts["rows_updated"] and _has_values(shape):
            db.run(statements.update_changed(shape))
        if counts["rows_deleted"]:
            db.run(statements.delete_several(shape))
        if counts["rows_inserted"] or counts["rows_deleted"]:
            db.run(statements.insert_new(shape))


def _has_values(shape: Shape) -> bool:
    return any(name not in (*shape.keys, *shape.missing) for name in shape.columns.names)


def _all_inserted(prepared: Prepared) -> dict[str, int]:
    return {
        **dict.fromkeys(ledger.COUNTS, 0),
        "rows_in": prepared.rows_in,
        "rows_deduplicated": prepared.rows_deduplicated,
        "rows_inserted": prepared.rows.num_rows,
    }


def _commits(call: Call, current: TableMetadata, prepared: Prepared, counts: Mapping[str, int]) -> bool:
    """Whether anything is to be committed; the same rule as for files."""
    changed = ("rows_inserted", "rows_updated", "rows_deleted")
    records = prepared.rows_in > 0 and prepared.table != current
    return (
        any(counts[name] for name in changed)
        or prepared.schema_changed
        or records
        or call.request.batch_id is not None
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
