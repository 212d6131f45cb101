"""DuckDB, through its own module: Arrow in and out. The only module that imports duckdb."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from txfiles.errors import OptionError, UnsupportedTypeError
from txfiles.rows.typenames import type_text
from txfiles.store import secret_options
from txfiles.targets.sql.dialects.base import FETCH_ROWS, Dialect, ascii_lower
from txfiles.targets.sql.types import US, UTC, kind_of

if TYPE_CHECKING:
    from txfiles.targets.sql.address import Address
    from txfiles.targets.sql.connection import Connection

MAX_DIGITS = 38


class DuckDB(Dialect):
    """One process at a time opens a file for writing; within it, the ledger's primary key decides who was first."""

    name = "duckdb"
    driver = None
    updates = False  # it leaves a value alone that is equal to the new one, as 0.0 is to -0.0
    indexes = False  # an update of an indexed row is a delete and an insert here, and costs ten times as much
    types = {  # noqa: RUF012 - as the base class declares it
        "bool": "BOOLEAN",
        "uint64": "UBIGINT",
        "text": "VARCHAR",
        "binary": "BLOB",
        "date": "DATE",
        "naive": "TIMESTAMP",
        "zoned": "TIMESTAMP WITH TIME ZONE",
        "time": "TIME",
        "duration": "BIGINT",
    }
    long_text = "VARCHAR"

    def folded(self, name: str) -> str:
        """In lower case, as far as the letters are ASCII."""
        return ascii_lower(name)

    def column_type(self, t: pa.DataType, name: str, *, key: bool) -> str:
        """Integers of every width and sign, decimals of up to 38 digits."""
        kind = kind_of(t, name)
        if kind == "int":
            sign = "U" if pa.types.is_unsigned_integer(t) else ""
            return sign + {8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT"}[t.bit_width]
        if kind == "float":
            return "DOUBLE" if t == pa.float64() else "FLOAT"
        if kind == "decimal":
            if t.precision > MAX_DIGITS or not 0 <= t.scale <= t.precision:
                raise UnsupportedTypeError(
                    f"column {name!r} of type {type_text(t)} cannot be stored in DuckDB, whose decimals have at most "
                    f"{MAX_DIGITS} digits",
                    column=name,
                )
            return f"DECIMAL({t.precision}, {t.scale})"
        return self.types[kind]

    def wire(self, t: pa.DataType) -> pa.DataType:
        """Arrow's own types, as far as DuckDB has them."""
        kind = kind_of(t, "")
        if kind == "float":
            return t if t == pa.float64() else pa.float32()
        if kind == "decimal":
            return pa.decimal128(t.precision, t.scale)
        return {
            "duration": pa.int64(),
            "binary": pa.binary(),
            "date": pa.date32(),
            "naive": US,
            "zoned": UTC,
            "time": pa.time64("us"),
        }.get(kind, t)

    def same(self, a: str, b: str, t: pa.DataType) -> str:
        """The sign of zero is compared too."""
        equal = f"{a} IS NOT DISTINCT FROM {b}"
        return (
            f"({equal} AND ({a} IS NULL OR {a} <> 0 OR signbit({a}) = signbit({b})))"
            if pa.types.is_floating(t)
            else equal
        )

    def ordered(self, a: str, t: pa.DataType) -> str:
        """NaN is null."""
        return f"(CASE WHEN isnan({a}) THEN NULL ELSE {a} END)" if pa.types.is_floating(t) else a

    def exact(self, a: str, t: pa.DataType) -> str:
        """A float's digits, with the sign of zero."""
        return f"CAST({a} AS VARCHAR)" if pa.types.is_floating(t) else a

    def compared(self, a: str, op: str, values: str, t: pa.DataType) -> str | None:
        """NaN is greater than nothing."""
        nan = f" AND NOT isnan({a})" if pa.types.is_floating(t) and op in (">", ">=") else ""
        return f"{a} {op} {values}{nan}"

    def connect(self, address: Address) -> Any:
        """Open the file, in this process alone."""
        try:
            import duckdb
        except ImportError as error:
            raise OptionError(
                "duckdb tables need the package duckdb, which is not installed", hint="pip install 'txfiles[sql]'"
            ) from error
        return duckdb.connect(
            address.file or "", config={**address.parameters, **secret_options.resolved(address.options)}
        )

    def cursor(self, raw: Any) -> AbstractContextManager[Any]:
        """The connection itself: what DuckDB calls a cursor is another connection."""
        return nullcontext(raw)

    def settle_in(self, db: Connection, patience: float) -> None:
        """Zoned times are told in UTC; texts are equal to the byte, whatever the options say."""
        db.run("SET TimeZone = 'UTC'")
        db.run("SET default_collation = ''")

    def schema(self, db: Connection) -> str:
        """The current one, in the database of the file."""
        return str(db.rows("SELECT current_schema()")[0][0])

    def has_table(self, db: Connection, schema: str, table: str) -> bool:
        """Names are equal in any case of ASCII letters."""
        folds = f"'{ascii_uppercase}', '{ascii_lowercase}'"
        sql = (
            "SELECT 1 FROM information_schema.tables WHERE table_catalog = current_database() "
            f"AND translate(table_schema, {folds}) = ? AND translate(table_name, {folds}) = ?"
        )
        return bool(db.rows(sql, (self.folded(schema), self.folded(table))))

    def has_index(self, db: Connection, schema: str, table: str, index: str) -> bool:
        """Never: see `indexes`."""
        return False

    def begin(self, db: Connection, lock: str, patience: float) -> None:
        """Whoever commits second is refused by the ledger's primary key."""
        db.run("BEGIN TRANSACTION")

    def load(self, db: Connection, batch: str, rows: pa.Table) -> None:
        """A scan of the Arrow table."""
        with db.failing():
            db.raw.register("txfiles_arrow", rows)
            try:
                db.raw.execute(f"INSERT INTO {batch} SELECT * FROM txfiles_arrow")
            finally:
                db.raw.unregister("txfiles_arrow")

    def fetch(
        self, db: Connection, sql: str, parameters: Sequence[Any], wires: Sequence[tuple[str, pa.DataType]]
    ) -> Iterator[list[pa.Array]]:
        """Arrow from DuckDB, which reads on as it is asked to."""
        with db.failing():
            for batch in db.raw.sql(sql, params=list(parameters)).to_arrow_reader(FETCH_ROWS):
                yield [column.cast(wire) for column, (_, wire) in zip(batch.columns, wires, strict=True)]

    def judge(self, error: Exception) -> str:
        """By the class of the error: texts have values in them. Another process has the file if it cannot be locked."""
        name = type(error).__name__
        if name == "TransactionException" or str(error).startswith("IO Error: Could not set lock on file"):
            return "busy"
        return "repeated" if name == "ConstraintException" else "other"
