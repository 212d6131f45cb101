"""A batch on its way to a database: made to fit, in wire types, and loaded into a temporary table.

Source: specs/10-sql.md, "One write".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.batch import Prepared, prepare
from txfiles.core.manifest import TableMetadata
from txfiles.errors import LossyCastError, SchemaMismatchError
from txfiles.options import KEYED, Request
from txfiles.reading import scan
from txfiles.rows import filters, types
from txfiles.targets.sql import statements
from txfiles.targets.sql.call import Call
from txfiles.targets.sql.database import Database
from txfiles.targets.sql.dialects.base import Dialect
from txfiles.targets.sql.statements import BATCH, Shape
from txfiles.targets.sql.types import encode


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

    def check_rows(self, rows: pa.Table, first_row: int) -> None:
        """Each value is one that the database gives back. They are checked in the order in which they came.

        Raises:
            LossyCastError: names the column and the first such row, counted from `first_row`.
        """
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            try:
                self._check_column(column, name)
            except LossyCastError:
                # Checked again with nulls for the rows before, which are those that the message counts.
                self._check_column(pa.chunked_array([pa.nulls(first_row, column.type), *column.chunks]), name)
                raise

    def _check_column(self, column: pa.ChunkedArray, name: str) -> None:
        self.dialect.check_values(column, name, key=name in self.keys)
        encode(column, name, self.dialect.wire(column.type))


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


def prepare_for(request: Request, dialect: Dialect, current: TableMetadata | None, *, unique: bool = True) -> Prepared:
    """The batch, made to fit the table and the database; see `batch.prepare`."""
    keys = request.keys or (current.keys if current else ())
    prepared = prepare(request, current, Holds(dialect, keys), unique=unique)
    where = replaced(request, prepared.table)
    if where is not None:
        scan.refuse_rows_outside(prepared.rows, where)
    return replace(prepared, rows=_by_key(prepared)) if unique and request.mode in KEYED else prepared


def _by_key(prepared: Prepared) -> pa.Table:
    """The rows in the order of their keys, in which a database finds neighbours in its index."""
    names = [f"c{number}" for number, _ in enumerate(prepared.table.keys)]  # Arrow would read "." as a path
    keys = prepared.rows.select(list(prepared.table.keys)).rename_columns(names)
    try:
        return prepared.rows.take(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in names]))
    except pa.ArrowNotImplementedError:  # a type without an order
        return prepared.rows


def replaced(request: Request, table: TableMetadata) -> filters.Filter | None:
    """The filter whose rows an overwrite replaces, if it has one."""
    return filters.parse(request.replace_where, types.arrow_schema(table.columns))


def shape_of(dialect: Dialect, schema: str, call: Call[Request], prepared: Prepared) -> Shape:
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
    """The batch in wire types, by columns of the staging table. `Holds` has checked its values."""
    columns = {name: prepared.rows[name] for name in shape.columns.names}
    return {
        shape.staged(name): encode(column, name, shape.dialect.wire(column.type)) for name, column in columns.items()
    }


def stage(db: Database, shape: Shape, prepared: Prepared) -> None:
    """Load the batch into a temporary table."""
    columns = encoded(shape, prepared)
    db.run(statements.create_batch(shape))
    if prepared.rows.num_rows:
        numbers = pa.array(np.arange(prepared.rows.num_rows))
        db.run(db.dialect.start)
        db.dialect.load(db, shape.temporary(BATCH), pa.table({"n": numbers, **columns}))
        db.dialect.analyze(db, shape.temporary(BATCH))
        db.run("COMMIT")
