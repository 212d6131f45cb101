"""One delete from a SQL table: by a filter or by keys, in one transaction with the ledger.

Source: specs/10-sql.md, "Deletes".
"""

from __future__ import annotations

import pyarrow as pa

from txfiles.core.manifest import TableMetadata
from txfiles.errors import TableNotFoundError
from txfiles.reading import lookup
from txfiles.results import Plan, WriteResult
from txfiles.rows import filters, types
from txfiles.targets.sql import ledger, matching
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.call import Call, look
from txfiles.targets.sql.commit import already, commit, entry_of, known_batch, patiently, result, still
from txfiles.targets.sql.conditions import Where
from txfiles.targets.sql.database import Database
from txfiles.targets.sql.statements import Shape
from txfiles.verbs import DeleteOptions


def delete(address: Address, options: DeleteOptions) -> WriteResult:
    """Run one delete to its commit, or under `dry_run` only count. See `Table.delete`."""
    return patiently(_attempt, Call(address, options))


def _attempt(call: Call[DeleteOptions]) -> WriteResult:
    address, dry_run = call.address, call.request.dry_run
    kind = Plan if dry_run else WriteResult
    with Database(address, call.patience) as db:
        seen = look(db)
        if seen.entry is None:
            raise TableNotFoundError(f"{address.shown}: there is no table any more", hint="write to create it")
        known = known_batch(db, seen, call)
        if known is not None:
            return already(kind, call, known)
        table = seen.entry.table
        wanted = _wanted(call, table)
        call.begin(db, seen.schema)
        head, known = still(db, call, seen)
        if known is not None:
            return already(kind, call, known)
        shape = Shape(
            dialect=db.dialect,
            schema=head.schema,
            table=address.table,
            columns=pa.schema([one.remove_metadata() for one in types.arrow_schema(table.columns)]),
            keys=table.keys,
        )
        db.dialect.lock(db, shape.target)
        found = _conditions(db, shape, wanted)
        deleted = (matching.count if dry_run else matching.delete)(db, shape, found)
        counts = {**dict.fromkeys(ledger.COUNTS, 0), "rows_deleted": deleted}
        commits = deleted > 0 or call.request.batch_id is not None
        if dry_run or not commits:
            db.run("ROLLBACK")
            return result(kind, call, head.entry, counts, committed=commits)
        entry = entry_of(call, head, table, counts)
        commit(db, call, head, entry)
    return result(WriteResult, call, entry, counts, committed=True, commit_id=entry.commit_id)


def _wanted(call: Call[DeleteOptions], table: TableMetadata) -> filters.Filter | pa.Table:
    """The filter, or the keys as rows."""
    if call.request.where is None:
        given = call.request.keys if call.request.source is None else lookup.keys_in(table, call.request.source)
        return lookup.key_rows(table, given, call.address.shown, nulls=False)
    found = filters.parse(call.request.where, types.arrow_schema(table.columns))
    assert found is not None
    return found


def _conditions(db: Database, shape: Shape, wanted: filters.Filter | pa.Table) -> list[Where]:
    if isinstance(wanted, filters.Filter):
        return matching.matching(db, shape, wanted)
    return matching.with_keys(db, shape, wanted) if wanted.num_rows else []
