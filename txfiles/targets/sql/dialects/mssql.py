"""SQL Server, through pyodbc: MERGE, and loading by arrays of parameters. Its statements were never run: see `tried`.

A statement that makes a temporary table has no parameters: with some, the driver would run it in a scope of its own,
and the table would be gone at its end.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from txfiles.errors import UnsupportedTableError, UnsupportedTypeError
from txfiles.rows.typenames import type_text
from txfiles.targets.sql.dialects.base import Dialect
from txfiles.targets.sql.errors import BusyError
from txfiles.targets.sql.types import US, UTC, kind_of, refuse, refuse_floats

if TYPE_CHECKING:
    from txfiles.targets.sql.connection import Connection

BUSY = (1205, 1222, 3960, 3961, 2714)
"""A deadlock, a lock that was not free in time, a snapshot conflict (rows, columns), a table just made by others."""
REPEATED = (2601, 2627)
GONE = (233, 6005, 10053, 10054, 10060, 40197, 40501, 40613)
"""The connection was cut, or the server shuts down; Azure moves the database, or has no time for it."""
OLDEST, CLOUD = 15, (5, 8)
"""SQL Server 2019, the first with text in UTF-8; Azure's databases and managed instances tell another number."""
STRICT = (
    "ANSI_NULLS",
    "ANSI_NULL_DFLT_ON",
    "ANSI_PADDING",
    "ANSI_WARNINGS",
    "ARITHABORT",
    "CONCAT_NULL_YIELDS_NULL",
    "NOCOUNT",
    "QUOTED_IDENTIFIER",
    "XACT_ABORT",
)
"""What a server or user may have turned off: text that is too long raises, and an error ends a transaction."""
MAX_DIGITS = 38
KEY_LENGTH = 190
"""Characters of a text, and bytes of a binary, that is a key: an index holds 1,700 bytes, four of these columns."""
COLLATION = "Latin1_General_100_BIN2"
BY_CODE_POINT = "Latin1_General_100_BIN2_UTF8"
BEYOND = r"[\x{10000}-\x{10FFFF}]"
"""Characters that are two of SQL Server's."""


class SQLServer(Dialect):
    """Texts that differ in blanks at their end, and binaries in zeros, are equal here: lengths are compared too."""

    name = "mssql"
    driver = "mssql+pyodbc"
    tried = False
    extra = "sqlserver"
    # The second lets the driver find the types of a temporary table's columns.
    parameters = {"driver": "ODBC Driver 18 for SQL Server", "UseFMTONLY": "Yes"}  # noqa: RUF012 - as declared
    start = "BEGIN TRANSACTION"
    upserts = True
    merges = True
    row_values = False
    row_number = "BIGINT NOT NULL PRIMARY KEY"
    most_parameters = 2_000
    types = {  # noqa: RUF012 - as the base class declares it
        "bool": "BIT",
        "uint64": "DECIMAL(20, 0)",
        "float": "FLOAT(53)",
        "date": "DATE",
        "naive": "DATETIME2(6)",
        "zoned": "DATETIMEOFFSET(6)",
        "time": "TIME(6)",
        "duration": "BIGINT",
    }
    long_text = f"NVARCHAR(MAX) COLLATE {COLLATION}"
    short_text = f"NVARCHAR(255) COLLATE {COLLATION}"

    def quote(self, name: str) -> str:
        """In brackets, of which the closing one is doubled."""
        return "[" + name.replace("]", "]]") + "]"

    def column_type(self, t: pa.DataType, name: str, *, key: bool) -> str:
        """Integers by width; keys have a length, so that an index can hold them."""
        kind = kind_of(t, name)
        if kind == "int":
            if t == pa.uint8():
                return "TINYINT"  # from 0 to 255
            bits = t.bit_width * (2 if pa.types.is_unsigned_integer(t) else 1)
            return "SMALLINT" if bits <= 16 else "INT" if bits <= 32 else "BIGINT"  # noqa: PLR2004 - widths
        if kind == "decimal":
            if t.precision > MAX_DIGITS or not 0 <= t.scale <= t.precision:
                raise UnsupportedTypeError(
                    f"column {name!r} of type {type_text(t)} cannot be stored in SQL Server, whose decimals have at "
                    f"most {MAX_DIGITS} digits",
                    column=name,
                )
            return f"DECIMAL({t.precision}, {t.scale})"
        if kind == "text":
            return f"NVARCHAR({KEY_LENGTH}) COLLATE {COLLATION}" if key else self.long_text
        if kind == "binary":
            return f"VARBINARY({KEY_LENGTH})" if key else "VARBINARY(MAX)"
        return self.types[kind]

    def staging_type(self, t: pa.DataType, name: str, *, key: bool) -> str:
        """Zoned times travel as those of UTC and times of day as text; the server turns them into the table's types."""
        travels = {"zoned": "DATETIME2(6)", "time": "NVARCHAR(15)"}
        return travels.get(kind_of(t, name)) or self.column_type(t, name, key=key)

    def wire(self, t: pa.DataType) -> pa.DataType:
        """What pyodbc's values become."""
        kind = kind_of(t, "")
        if kind in ("int", "duration"):
            return pa.int64()
        if kind == "decimal":
            return pa.decimal128(t.precision, t.scale)
        return {
            "uint64": pa.decimal128(20, 0),
            "float": pa.float64(),
            "binary": pa.binary(),
            "date": pa.date32(),
            "naive": US,
            "zoned": UTC,
            "time": pa.string(),
        }.get(kind, t)

    def check_values(self, column: pa.ChunkedArray, name: str, *, key: bool) -> None:
        """Refuse NaN, infinities, -0.0, NUL in text, and keys that are too long."""
        t = column.type
        if pa.types.is_floating(t):
            refuse_floats(column, name, "SQL Server", infinite=True)
        if pa.types.is_string(t):
            refuse(column, pc.match_substring(column, "\0"), name, "which has the NUL character")
        if key and pa.types.is_string(t):
            length = pc.add(pc.utf8_length(column), pc.count_substring_regex(column, BEYOND))
            refuse(column, pc.greater(length, KEY_LENGTH), name, f"longer than {KEY_LENGTH} characters of UTF-16")
        if key and (pa.types.is_binary(t) or pa.types.is_fixed_size_binary(t)):
            refuse(column, pc.greater(pc.binary_length(column), KEY_LENGTH), name, f"longer than {KEY_LENGTH} bytes")

    def same(self, a: str, b: str, t: pa.DataType) -> str:
        """Null is null to INTERSECT."""
        a, b = (f"{one}, DATALENGTH({one})" if _padded(t) else one for one in (a, b))
        return f"EXISTS (SELECT {a} INTERSECT SELECT {b})"

    def equal(self, a: str, b: str, t: pa.DataType) -> str:
        """Found by an index, if there is one; then the lengths are compared."""
        return f"{a} = {b} AND DATALENGTH({a}) = DATALENGTH({b})" if _padded(t) else f"{a} = {b}"

    def ordered(self, a: str, t: pa.DataType) -> str:
        """Text by the bytes of its UTF-8, of which none is zero."""
        if not pa.types.is_string(t):
            return a
        return f"CAST(CAST({a} COLLATE {BY_CODE_POINT} AS VARCHAR(MAX)) AS VARBINARY(MAX))"

    def compared(self, a: str, op: str, values: str, t: pa.DataType) -> str | None:
        """Text by its bytes, which have no zero character; binaries, and the order of texts, are left to Arrow."""
        if not _padded(t):
            return f"{a} {op} {values}"
        if not pa.types.is_string(t) or op not in ("=", "<>", "IN", "NOT IN"):
            return None
        return f"CAST({a} AS VARBINARY(MAX)) {op} {values.replace(self.mark, f'CAST({self.mark} AS VARBINARY(MAX))')}"

    def selected(self, column: str, t: pa.DataType) -> str:
        """As they travel: see `staging_type`."""
        kind = kind_of(t, "")
        if kind == "zoned":
            return f"CAST(SWITCHOFFSET({column}, '+00:00') AS DATETIME2(6))"
        return f"CAST({column} AS NVARCHAR(15))" if kind == "time" else column

    def temporary(self, name: str) -> str:
        """Of this connection alone."""
        return f"#{name}"

    def create_temporary(self, name: str, columns: str) -> str:
        """The name says that it is one."""
        return f"CREATE TABLE {self.temporary(name)} ({columns})"

    def create_temporary_as(self, name: str, columns: str, source: str) -> str:
        """The new table stands inside the query."""
        return f"SELECT {columns} INTO {self.temporary(name)} {source}"

    def create_if_absent(self, target: str, columns: str) -> str:
        """If two look at once, the second is refused, and tries again."""
        literal = target.replace("'", "''")
        return f"IF OBJECT_ID(N'{literal}') IS NULL CREATE TABLE {target} ({columns})"

    def add_column(self, target: str, column: str, kind: str) -> str:
        """Without the word COLUMN."""
        return f"ALTER TABLE {target} ADD {column} {kind}"

    def limited(self, query: str, rows: int) -> str:
        """At the beginning."""
        return f"SELECT TOP ({rows}) {query.removeprefix('SELECT ')}"

    def merge(self, target: str, batch: str, on: str, update: str, insert: str) -> str:
        """The hint keeps the ranges of keys that were found empty; the semicolon is part of the statement."""
        clauses = " ".join(filter(None, (update, insert)))
        return f"MERGE INTO {target} WITH (HOLDLOCK) AS t USING {batch} ON {on} {clauses};"

    def update(self, target: str, sets: Sequence[tuple[str, str]], batch: str, on: str, where: str) -> str:
        """The alias is updated, and the tables follow."""
        assigned = ", ".join(f"{name} = {value}" for name, value in sets)
        return f"UPDATE t SET {assigned} FROM {batch} JOIN {target} AS t ON {on} WHERE {where}"

    def delete(self, target: str, where: str) -> str:
        """With the alias before the table."""
        return f"DELETE t FROM {target} AS t WHERE {where}"

    def alter(self, target: str, column: str, before: pa.DataType, after: pa.DataType, name: str) -> list[str]:
        """Without the word TYPE."""
        return [
            one.replace(f"ALTER COLUMN {column} TYPE ", f"ALTER COLUMN {column} ", 1)
            for one in super().alter(target, column, before, after, name)
        ]

    def drop_index(self, schema: str, table: str, index: str) -> str:
        """An index belongs to its table."""
        return f"DROP INDEX {self.quote(index)} ON {self.quote(schema)}.{self.quote(table)}"

    def cursor(self, raw: Any) -> AbstractContextManager[Any]:
        """One that sends many rows at once, and looks for no braces of ODBC in names."""
        cursor = raw.cursor()
        cursor.fast_executemany = cursor.noscan = True
        return closing(cursor)

    def settle_in(self, db: Connection, patience: float) -> None:
        """Strict about values; transactions are ours to begin, and end at the first error.

        Raises:
            UnsupportedTableError: another server or version, or a database without snapshots.
        """
        db.raw.autocommit = True
        sql = (
            "SELECT CAST(SERVERPROPERTY('ProductMajorVersion') AS INT), CAST(SERVERPROPERTY('EngineEdition') AS INT), "
            "snapshot_isolation_state FROM sys.databases WHERE name = DB_NAME()"
        )
        version, edition, snapshots = (int(value) for value in db.rows(sql)[0])
        if version < OLDEST and edition not in CLOUD:
            raise UnsupportedTableError(
                f"{db.address.shown} is not a SQL Server of 2019 or later",
                hint="Azure SQL databases and managed instances are taken too, its warehouses are not",
            )
        if snapshots != 1:
            raise UnsupportedTableError(
                f"{db.address.shown} is in a database that does not allow snapshots, without which readers see halves "
                "of a write",
                hint="run ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON once",
            )
        for option in STRICT:
            db.run(f"SET {option} ON")
        db.run("SET IMPLICIT_TRANSACTIONS OFF")
        db.run(f"SET LOCK_TIMEOUT {_milliseconds(patience)}")

    def schema(self, db: Connection) -> str:
        """The user's own."""
        return str(db.rows("SELECT SCHEMA_NAME()")[0][0])

    def has_table(self, db: Connection, schema: str, table: str) -> bool:
        """As the database compares names."""
        sql = (
            "SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id "
            "WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?"
        )
        return bool(db.rows(sql, (schema, table)))

    def has_index(self, db: Connection, schema: str, table: str, index: str) -> bool:
        """One that is unique, enabled and of all rows."""
        sql = (
            "SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id "
            "JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 "
            "AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?"
        )
        return bool(db.rows(sql, (schema, table, index)))

    def begin(self, db: Connection, lock: str, patience: float) -> None:
        """A lock on the table's name, since the table may not exist yet; it ends with the transaction."""
        db.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        db.run(self.start)
        sql = (
            "DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', "
            "@LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got"
        )
        name = "txfiles:" + hashlib.sha256(lock.encode()).hexdigest()
        if int(db.rows(sql, (name, _milliseconds(patience)))[0][0]) < 0:
            raise BusyError

    def begin_reading(self, db: Connection) -> None:
        """One snapshot for all statements."""
        db.run("SET TRANSACTION ISOLATION LEVEL SNAPSHOT")
        db.run(self.start)

    def lock(self, db: Connection, target: str) -> None:
        """Keeps everybody away but readers of snapshots. A query of no row at all would lock nothing."""
        db.rows(f"SELECT TOP (1) 1 FROM {target} WITH (TABLOCKX, HOLDLOCK)")

    def load(self, db: Connection, batch: str, rows: pa.Table) -> None:
        """The driver leaves out zones."""
        plain = [pa.field(one.name, US if one.type == UTC else one.type) for one in rows.schema]
        super().load(db, batch, rows.cast(pa.schema(plain)))

    def judge(self, error: Exception) -> str:
        """By the server's number, which stands after its words, or else by SQLSTATE."""
        state, words = (str(one) for one in (*error.args, "", "")[:2])
        numbers = re.findall(r"\((-?\d+)\) \(SQL\w+\)", words)
        code = int(numbers[-1]) if numbers else 0  # the words before may have values in them
        if isinstance(error, BusyError) or code in BUSY:
            return "busy"
        if code in REPEATED:
            return "repeated"
        return "lost" if code in GONE or state.startswith("08") or state in ("HYT00", "HYT01") else "other"


def _milliseconds(patience: float) -> int:
    return max(1, int(min(patience, 3_600) * 1_000))


def _padded(t: pa.DataType) -> bool:
    """Whether values of a type are filled up before they are compared."""
    return bool(pa.types.is_string(t) or pa.types.is_binary(t) or pa.types.is_fixed_size_binary(t))
