"""PostgreSQL, through psycopg: loading by COPY."""

from __future__ import annotations

import io
import re
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from txfiles.errors import UnsupportedTableError
from txfiles.rows.text import to_text
from txfiles.targets.sql.dialects.base import Dialect
from txfiles.targets.sql.dialects.sharing import DROP_SECONDS, Sharing
from txfiles.targets.sql.errors import BusyError
from txfiles.targets.sql.types import US, UTC, kind_of, refuse

if TYPE_CHECKING:
    from txfiles.targets.sql.connection import Connection

BUSY = {"40001", "40P01", "55P03"}
"""SQLSTATE of a serialization failure, a deadlock, and a lock that was not free in time."""
UNIQUE = "23505"
OLDEST = 12
"""Older versions are out of maintenance, and other databases name one of these as theirs."""
ORDERINGS = ("<", "<=", ">", ">=")


class PostgreSQL(Dialect, Sharing):
    """Every value of every supported type is held exactly, but for the character NUL in text."""

    name = "postgresql"
    driver = "postgresql+psycopg"
    mark = "%s"
    upserts = True
    name_bytes = 63
    types = {  # noqa: RUF012 - as the base class declares it
        "bool": "BOOLEAN",
        "uint64": "NUMERIC(20, 0)",
        "text": "TEXT",
        "binary": "BYTEA",
        "date": "DATE",
        "naive": "TIMESTAMP(6)",
        "zoned": "TIMESTAMP(6) WITH TIME ZONE",
        "time": "TIME(6)",
        "duration": "BIGINT",
    }
    long_text = "TEXT"

    def quote(self, name: str) -> str:
        """Percent signs are doubled: statements are always run with parameters, if with none."""
        return super().quote(name).replace("%", "%%")

    def column_type(self, t: pa.DataType, name: str, *, key: bool) -> str:
        """Integers by width, floats by precision."""
        kind = kind_of(t, name)
        if kind == "int":
            bits = t.bit_width * (2 if pa.types.is_unsigned_integer(t) else 1)
            return "SMALLINT" if bits <= 16 else "INTEGER" if bits <= 32 else "BIGINT"  # noqa: PLR2004 - widths
        if kind == "float":
            return "DOUBLE PRECISION" if t == pa.float64() else "REAL"
        if kind == "decimal":
            return f"NUMERIC({t.precision}, {t.scale})"
        return self.types[kind]

    def wire(self, t: pa.DataType) -> pa.DataType:
        """What psycopg's values become."""
        kind = kind_of(t, "")
        if kind in ("int", "duration"):
            return pa.int64()
        if kind == "uint64":
            return pa.decimal128(20, 0)
        return {
            "float": t if t == pa.float64() else pa.float32(),
            "binary": pa.binary(),
            "date": pa.date32(),
            "naive": US,
            "zoned": UTC,
            "time": pa.time64("us"),
        }.get(kind, t)

    def check_values(self, column: pa.ChunkedArray, name: str, *, key: bool) -> None:
        """Refuse NUL in text."""
        if pa.types.is_string(column.type):
            refuse(
                column, pc.match_substring(column, "\0"), name, "which PostgreSQL cannot hold: it has the NUL character"
            )

    def same(self, a: str, b: str, t: pa.DataType) -> str:
        """Floats by their bits: PostgreSQL holds -0.0 for equal to 0.0."""
        return f"{self.exact(a, t)} IS NOT DISTINCT FROM {self.exact(b, t)}"

    def ordered(self, a: str, t: pa.DataType) -> str:
        """Text by code point; NaN is null."""
        if pa.types.is_string(t):
            return f'{a} COLLATE "C"'
        return f"NULLIF({a}, 'NaN')" if pa.types.is_floating(t) else a

    def exact(self, a: str, t: pa.DataType) -> str:
        """A float's bits."""
        return f"float{8 if t == pa.float64() else 4}send({a})" if pa.types.is_floating(t) else a

    def compared(self, a: str, op: str, values: str, t: pa.DataType) -> str | None:
        """Text by code point; NaN is greater than nothing."""
        if pa.types.is_string(t) and op in ORDERINGS:
            a = f'{a} COLLATE "C"'
        nan = f" AND {a} <> 'NaN'" if pa.types.is_floating(t) and op in (">", ">=") else ""
        return f"{a} {op} {values}{nan}"

    def settle_in(self, db: Connection, patience: float) -> None:
        """Transactions are ours to begin; values are told in one form. Who only speaks the protocol is refused."""
        told = [db.raw.info.parameter_status(name) or "" for name in ("server_version", "crdb_version")]
        if not is_postgresql(*told):
            raise UnsupportedTableError(
                f"{db.address.shown} is not a PostgreSQL server of version {OLDEST} or later",
                hint="databases that only speak its protocol lock and compare in their own ways, and are not supported",
            )
        db.raw.autocommit = True
        db.run("SET TIME ZONE 'UTC'")
        db.run("SET DateStyle = 'ISO'")
        db.run("SET extra_float_digits = 1")  # every digit: a role may have set fewer
        db.run("SET client_encoding = 'UTF8'")
        db.run("SET standard_conforming_strings = on")

    def streaming(self, raw: Any) -> AbstractContextManager[Any]:
        """A cursor of the server, in its transaction."""
        return closing(raw.cursor(name="txfiles_rows"))

    def schema(self, db: Connection) -> str:
        """The first schema of the search path that exists."""
        return str(db.rows("SELECT current_schema()")[0][0] or "public")

    def has_table(self, db: Connection, schema: str, table: str) -> bool:
        """Looked up in the catalogue, which everybody may read."""
        sql = (
            "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s"
        )
        return bool(db.rows(sql, (schema, table)))

    def check_table(self, db: Connection, schema: str, table: str) -> None:
        """No column has a collation to which different texts are equal."""
        sql = (
            "SELECT a.attname, l.collname FROM pg_catalog.pg_class c "
            "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
            "JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation AND NOT l.collisdeterministic "
            "WHERE n.nspname = %s AND c.relname = %s ORDER BY a.attnum"
        )
        for column, collation in db.rows(sql, (schema, table)):
            raise UnsupportedTableError(
                f"column {column!r} of {db.address.shown} has the nondeterministic collation {collation!r}, to which "
                "different texts are equal",
                hint=f'ALTER TABLE … ALTER COLUMN {column} TYPE text COLLATE "C", or write to another table',
            )

    def has_index(self, db: Connection, schema: str, table: str, index: str) -> bool:
        """One that is unique, valid and neither partial nor of expressions."""
        sql = (
            "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid "
            "WHERE n.nspname = %s AND c.relname = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL"
        )
        return bool(db.rows(sql, (schema, index)))

    def begin(self, db: Connection, lock: str, patience: float) -> None:
        """An advisory lock on the table's name, since the table may not exist yet."""
        db.run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        db.run(f"SET LOCAL lock_timeout = {max(1, int(min(patience, 3_600) * 1_000))}")
        db.run("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"txfiles:{lock}",))

    def begin_reading(self, db: Connection) -> None:
        """One snapshot for all statements."""
        db.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def lock(self, db: Connection, target: str) -> None:
        """Keeps writers away, not readers."""
        db.run(f"LOCK TABLE {target} IN SHARE ROW EXCLUSIVE MODE")

    def load(self, db: Connection, batch: str, rows: pa.Table) -> None:
        """COPY, in CSV: every value is quoted, and null is nothing between commas."""
        import pyarrow.csv as pa_csv  # it takes its time, and few calls need it

        sql = f"COPY {batch.replace('%%', '%')} FROM STDIN (FORMAT csv)"  # it has no parameters: see `quote`
        with db.failing(), db.raw.cursor() as cursor, cursor.copy(sql) as copy:
            for part in rows.to_batches(max_chunksize=65_536):
                columns = [_text(column) for column in part.columns]
                out = io.BytesIO()
                options = pa_csv.WriteOptions(include_header=False, quoting_style="needed")
                pa_csv.write_csv(pa.table(columns, names=rows.column_names), out, options)
                copy.write(out.getvalue())

    def analyze(self, db: Connection, table: str) -> None:
        """For a temporary table nobody else does."""
        db.run(f"ANALYZE {table}")

    def create_shared(self, target: str, columns: str) -> str:
        """Without a log: a server that crashes empties it, which is noticed."""
        return f"CREATE UNLOGGED TABLE {target} ({columns})"

    def hold(self, db: Connection, lock: str) -> bool:
        """An advisory lock of the session. Versions before 14 know no time-out for idle ones."""
        db.rows("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'")
        return bool(db.rows("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (f"txfiles:{lock}",))[0][0])

    def drop_shared(self, db: Connection, target: str) -> None:
        """Waits for those who write to it, for some time."""
        db.run(f"SET lock_timeout = '{DROP_SECONDS}s'")
        db.run(f"DROP TABLE IF EXISTS {target}")
        db.run("RESET lock_timeout")

    def ranked(self, a: str, t: pa.DataType) -> tuple[str, ...]:
        """Text by code point; floats by value, then by their bits: -0.0 equals 0.0."""
        if pa.types.is_string(t):
            return (f'{a} COLLATE "C"',)
        return (a, self.exact(a, t)) if pa.types.is_floating(t) else (a,)

    def judge(self, error: Exception) -> str:
        """By SQLSTATE; an error without one comes from a connection that broke."""
        state: Any = getattr(error, "sqlstate", None)
        if state in BUSY or isinstance(error, BusyError):
            return "busy"
        if state == UNIQUE:
            return "repeated"
        return "lost" if _broken(error, state) else "other"


def is_postgresql(version: str, cockroach: str = "") -> bool:
    """Whether a server is PostgreSQL itself, by what it says of itself: others speak its protocol."""
    found = re.fullmatch(r"(\d+)(\.\d+)*(beta\d+|rc\d+)?( \(.*\))?", version)
    return found is not None and int(found[1]) >= OLDEST and not cockroach


def _broken(error: Exception, state: str | None) -> bool:
    """Whether the connection is gone: class 08, or a server that shuts down, or no answer at all."""
    if state is None:
        return type(error).__name__ in ("OperationalError", "InterfaceError")
    return state.startswith("08") or state in ("57P01", "57P02", "57P03")


def _text(column: pa.Array) -> pa.Array:
    if pa.types.is_binary(column.type):
        return pa.array([None if value is None else "\\x" + value.hex() for value in column.to_pylist()], pa.string())
    return to_text(column, pa.large_string())
