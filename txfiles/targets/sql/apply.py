"""A batch in its transaction: staged, decided by joins, and applied.

Source: specs/10-sql.md, "One write".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import pyarrow as pa

from txfiles.batch import Prepared, prepare
from txfiles.core.manifest import TableMetadata
from txfiles.errors import DuplicateKeyError, SchemaMismatchError
from txfiles.options import KEYED
from txfiles.rows import types
from txfiles.targets.sql import ledger, statements
from txfiles.targets.sql.call import Call, Head, ledger_name
from txfiles.targets.sql.database import Database
from txfiles.targets.sql.dialects.base import Dialect
from txfiles.targets.sql.errors import RepeatedKeyError
from txfiles.targets.sql.statements import BATCH, Shape
from txfiles.targets.sql.types import encode

NAMES = {"i": "rows_inserted", "c": "rows_updated", "u": "rows_unchanged", "s": "rows_stale", "k": "rows_skipped"}
"""The count of each fate; see `statements`."""


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
        why = (
            "has the NUL character" if "\0" in name else f"is longer than the {longest} bytes that {dialect.name} keeps"
        )
        raise SchemaMismatchError(f"{what} {name!r} {why}", hint="rename it", columns=[name])


def prepare_for(call: Call, dialect: Dialect, current: TableMetadata | None) -> Prepared:
    """The batch, made to fit the table and the database."""
    request = call.request
    keys = request.keys or (current.keys if current else ())
    return prepare(request, current, Holds(dialect, keys))


def shape_of(dialect: Dialect, schema: str, call: Call, prepared: Prepared) -> Shape:
    """What statements need to know about the table as it will be."""
    table = prepared.table
    by_age = call.request.mode == "upsert" and call.request.stale == "skip" and table.timestamp_col is not None
    return Shape(
        dialect=dialect,
        schema=schema,
        table=call.address.table,
        columns=pa.schema([one.remove_metadata() for one in types.arrow_schema(table.columns)]),
        keys=table.keys,
        missing=prepared.missing,
        timestamp_col=table.timestamp_col if by_age and table.timestamp_col not in prepared.missing else None,
    )


def encoded(shape: Shape, prepared: Prepared) -> dict[str, pa.ChunkedArray]:
    """The batch in wire types, by columns of the staging table.

    Raises:
        LossyCastError: a value that the database would not give back.
    """
    dialect, found = shape.dialect, {}
    for name in shape.columns.names:
        column = prepared.rows[name]
        dialect.check_values(column, name, key=name in shape.keys)
        found[shape.staged(name)] = encode(column, name, dialect.wire(column.type))
    return found


def stage(db: Database, shape: Shape, prepared: Prepared) -> None:
    """Load the batch into a temporary table."""
    columns = encoded(shape, prepared)
    db.run(statements.create_batch(shape))
    if prepared.rows.num_rows:
        numbers = pa.array(range(prepared.rows.num_rows), pa.int64())
        db.run("BEGIN")
        db.dialect.load(db, BATCH, pa.table({"n": numbers, **columns}))
        db.run("COMMIT")


def index_name(shape: Shape, keys: tuple[str, ...] | None = None) -> str:
    """The unique index on the keys; another for other keys, or another table."""
    named = msgspec.json.encode([shape.dialect.folded(shape.table), sorted(shape.keys if keys is None else keys)])
    return f"txfiles_keys_{hashlib.sha256(named).hexdigest()[:24]}"


def create_table(db: Database, shape: Shape) -> None:
    """Make the table, with a unique index on its keys."""
    db.run(statements.create(shape))
    _create_index(db, shape)


def decide(db: Database, call: Call, shape: Shape, current: TableMetadata, prepared: Prepared) -> dict[str, int]:
    """Change the table's columns, and find the fate of each row of the batch; for an overwrite, of the table's too."""
    _reshape(db, call, shape, current, prepared)
    counts = all_inserted(prepared)
    if call.request.mode == "overwrite":
        counts["rows_deleted"] = int(db.rows(f"SELECT count(*) FROM {shape.target}")[0][0])
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


def apply(db: Database, call: Call, shape: Shape, head: Head, prepared: Prepared) -> dict[str, int]:
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
        elif prepared.rows.num_rows:
            _change(db, call, shape, head.entry.table, counts)
    except RepeatedKeyError as error:
        raise DuplicateKeyError(
            f"{call.address.shown} has a unique index that refuses a row: {error}; nothing was written",
            hint="use append_once or upsert, or leave rows out that repeat a key",
            keys=[],
            count=1,
        ) from None
    return counts


def _change(db: Database, call: Call, shape: Shape, current: TableMetadata, counts: Mapping[str, int]) -> None:
    mode = call.request.mode
    rekeyed = _drop_former_index(db, call, shape, current)
    indexed = _has_index(db, shape, shape.keys)
    if mode == "append":
        db.run(statements.insert_all(shape))
    elif mode == "append_once" or (indexed and db.dialect.upserts):
        if counts["rows_inserted"] or counts["rows_updated"]:
            db.run(statements.insert_new(shape) if mode == "append_once" else statements.upsert(shape))
    else:
        _replace_rows(db, shape, counts)
    if rekeyed and not db.rows(statements.repeated_key(shape)):
        _create_index(db, shape)


def _has_index(db: Database, shape: Shape, keys: tuple[str, ...]) -> bool:
    """Whether the unique index on these keys is there."""
    return bool(keys) and db.dialect.has_index(db, shape.schema, shape.table, index_name(shape, keys))


def _drop_former_index(db: Database, call: Call, shape: Shape, current: TableMetadata) -> bool:
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


def _overwrite(db: Database, call: Call, shape: Shape, current: TableMetadata, prepared: Prepared) -> None:
    _drop_former_index(db, call, shape, current)
    # Where making a table is no part of the transaction, only the order of the columns differs: see `_reshape`.
    if prepared.schema_changed and call.request.schema_mode == "overwrite" and db.dialect.transactional_ddl:
        db.run(f"DROP TABLE {shape.target}")
        create_table(db, shape)
    else:
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
        "rows_inserted": prepared.rows.num_rows,
    }
