"""A staged batch in its transaction: decided by joins, and applied.

Source: specs/10-sql.md, "One write".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from txfiles.batch import Prepared
from txfiles.core.manifest import TableMetadata
from txfiles.errors import DuplicateKeyError, SchemaMismatchError
from txfiles.options import KEYED, Request
from txfiles.rows import types
from txfiles.targets.sql import ledger, matching, staging, statements
from txfiles.targets.sql.call import Call, Head, ledger_name
from txfiles.targets.sql.database import Database
from txfiles.targets.sql.errors import RepeatedKeyError
from txfiles.targets.sql.statements import Shape

NAMES = {"i": "rows_inserted", "c": "rows_updated", "u": "rows_unchanged", "s": "rows_stale", "k": "rows_skipped"}
"""The count of each fate; see `statements`."""


def index_name(shape: Shape, keys: tuple[str, ...] | None = None) -> str:
    """The unique index on the keys; another for other keys, or another table."""
    named = msgspec.json.encode([shape.dialect.folded(shape.table), sorted(shape.keys if keys is None else keys)])
    return f"txfiles_keys_{hashlib.sha256(named).hexdigest()[:24]}"


def create_table(db: Database, shape: Shape) -> None:
    """Make the table, with a unique index on its keys."""
    db.run(statements.create(shape))
    _create_index(db, shape)


def decide(
    db: Database, call: Call[Request], shape: Shape, current: TableMetadata, prepared: Prepared
) -> dict[str, int]:
    """Change the table's columns, and find the fate of each row of the batch, or of the table."""
    _reshape(db, call, shape, current, prepared)
    counts = all_inserted(prepared)
    if call.request.mode == "overwrite":
        counts["rows_deleted"] = _make_room(db, call, shape, current, prepared)
    if call.request.mode not in KEYED or not prepared.rows_kept:
        return counts
    counts["rows_inserted"] = 0
    for fate, rows, hits in db.rows(_count_fates(db, call, shape, current)):
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


def _count_fates(db: Database, call: Call[Request], shape: Shape, current: TableMetadata) -> str:
    """The query that counts them; without a unique index, a table of them is made first."""
    append_once = call.request.mode == "append_once"
    if _by_index(db, shape, current):
        return statements.count_by_index(shape, known=append_once)
    if append_once:
        db.run(statements.fates_of_append_once(shape))
    else:
        db.run(statements.fates_of_upsert(shape))
        db.run(statements.join_fates(shape))
    return statements.count_fates(shape)


def _by_index(db: Database, shape: Shape, current: TableMetadata) -> bool:
    """Whether the database itself finds the rows of the batch's keys, by a unique index."""
    return db.dialect.upserts and set(current.keys) == set(shape.keys) and _has_index(db, shape, shape.keys)


def _make_room(db: Database, call: Call[Request], shape: Shape, current: TableMetadata, prepared: Prepared) -> int:
    """How many rows an overwrite replaces. Those of a part are deleted, so that what stays can be looked at."""
    where = staging.replaced(call.request, prepared.table)
    if where is not None:
        deleted = matching.delete(db, shape, matching.matching(db, shape, where))
        if call.request.keys:
            matching.refuse_keys_that_stay(db, shape, new=set(current.keys) != set(shape.keys))
        return deleted
    return int(db.rows(f"SELECT count(*) FROM {shape.target}")[0][0])


def _reshape(db: Database, call: Call[Request], shape: Shape, current: TableMetadata, prepared: Prepared) -> None:
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
            db.run(dialect.add_column(shape.target, column, shape.type(name)))
        elif before.field(name).type != after:
            for statement in dialect.alter(shape.target, column, before.field(name).type, after, name):
                db.run(statement)


def apply(db: Database, call: Call[Request], shape: Shape, head: Head, prepared: Prepared) -> dict[str, int]:
    """Make the table what it shall be; returns the counts."""
    try:
        if head.entry is None:
            if db.dialect.transactional_ddl:
                if head.has_ledger:
                    ledger.forget(db, head.schema, ledger_name(call.address))
                create_table(db, shape)
            counts = all_inserted(prepared)
            db.run(statements.insert_all(shape))
            return counts
        db.dialect.lock(db, shape.target)
        counts = decide(db, call, shape, head.entry.table, prepared)
        if call.request.mode == "overwrite":
            _overwrite(db, call, shape, head.entry.table, prepared)
        elif prepared.rows_kept:
            _change(db, call, shape, head.entry.table, counts)
    except RepeatedKeyError as error:
        raise DuplicateKeyError(
            f"{call.address.shown} has a unique index that refuses a row: {error}; nothing was written",
            hint="use append_once or upsert, or leave rows out that repeat a key",
            keys=[],
            count=1,
        ) from None
    return counts


def _change(db: Database, call: Call[Request], shape: Shape, current: TableMetadata, counts: Mapping[str, int]) -> None:
    mode, by_index = call.request.mode, _by_index(db, shape, current)
    rekeyed = _drop_former_index(db, call, shape, current)
    if mode == "append":
        db.run(statements.insert_all(shape))
    elif by_index:
        if counts["rows_inserted"] or counts["rows_updated"]:
            everything = not counts["rows_unchanged"] and not counts["rows_stale"]
            insert = statements.insert_unknown(shape)
            db.run(insert if mode == "append_once" else statements.upsert(shape, everything=everything))
    elif mode == "append_once":
        db.run(statements.insert_new(shape))
    else:
        _replace_rows(db, shape, counts)
    if rekeyed and not db.rows(statements.repeated_key(shape)):
        _create_index(db, shape)


def _has_index(db: Database, shape: Shape, keys: tuple[str, ...]) -> bool:
    """Whether the unique index on these keys is there."""
    return bool(keys) and db.dialect.has_index(db, shape.schema, shape.table, index_name(shape, keys))


def _drop_former_index(db: Database, call: Call[Request], shape: Shape, current: TableMetadata) -> bool:
    """Drop the unique index on keys that are no longer the table's; returns whether there was one."""
    dialect = db.dialect
    if set(current.keys) == set(shape.keys) or not _has_index(db, shape, current.keys):
        return False
    if not dialect.transactional_ddl:
        raise SchemaMismatchError(
            f"{call.address.shown} has a unique index on its keys, which {dialect.name} cannot replace in a "
            "transaction; nothing was written",
            hint="write to a new table",
        )
    db.run(dialect.drop_index(shape.schema, shape.table, index_name(shape, current.keys)))
    return True


def _overwrite(db: Database, call: Call[Request], shape: Shape, current: TableMetadata, prepared: Prepared) -> None:
    _drop_former_index(db, call, shape, current)
    # Where making a table is no part of the transaction, only the order of the columns differs: see `_reshape`.
    if prepared.schema_changed and call.request.schema_mode == "overwrite" and db.dialect.transactional_ddl:
        db.run(f"DROP TABLE {shape.target}")
        create_table(db, shape)
    else:
        if call.request.scope == "table":
            db.run(f"DELETE FROM {shape.target}")
        if set(current.keys) != set(shape.keys) and db.dialect.transactional_ddl:
            _create_index(db, shape)
    db.run(statements.insert_all(shape))


def _replace_rows(db: Database, shape: Shape, counts: Mapping[str, int]) -> None:
    """An upsert without a unique index, which the table's lock makes right."""
    if counts["rows_updated"]:
        for statement in statements.change(shape):
            db.run(statement)
    if counts["rows_deleted"]:
        db.run(statements.delete_several(shape))
    if counts["rows_inserted"] or counts["rows_deleted"]:
        db.run(statements.insert_new(shape))


def _create_index(db: Database, shape: Shape) -> None:
    if shape.keys and db.dialect.indexes:
        db.run(db.dialect.create_index(shape.schema, shape.table, index_name(shape), statements.key_list(shape)))


def all_inserted(prepared: Prepared) -> dict[str, int]:
    """The counts of a batch of which every row is inserted."""
    return {
        **dict.fromkeys(ledger.COUNTS, 0),
        "rows_in": prepared.rows_in,
        "rows_deduplicated": prepared.rows_deduplicated,
        "rows_inserted": prepared.rows_kept,
    }
