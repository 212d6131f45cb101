"""MariaDB, through PyMySQL: statements of many rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.errors import UnsupportedTableError, UnsupportedTypeError
from txfiles.rows.text import to_text
from txfiles.rows.typenames import type_text
from txfiles.targets.sql.dialects.base import Dialect
from txfiles.targets.sql.dialects.sharing import DROP_SECONDS, Sharing
from txfiles.targets.sql.errors import BusyError
from txfiles.targets.sql.types import US, kind_of, refuse, refuse_floats

if TYPE_CHECKING:
    from txfiles.targets.sql.connection import Connection

DEADLOCK, LOCK_TIMEOUT, DUPLICATE = 1213, 1205, 1062
GONE = (2003, 2006, 2013, 2055, 1053, 1927)
"""The server does not answer or has gone away, or the connection was lost, shut down or killed."""
LOAD_ROWS, STATEMENT_BYTES = 16_384, 1_000_000
"""Rows that are made literals at a time, and about how long a statement of them is; a server takes 16 MiB."""
MAX_DIGITS, MAX_SCALE = 65, 38
KEY_LENGTH = 190
"""Characters of a text, and bytes of a binary, that is a key: an index holds 3,072 bytes, four of these columns."""
LONGEST_IDLE_SECONDS = 31_536_000
"""The most that a server takes for the time after which it ends an idle connection."""
COLLATION = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
"""Equal to the byte, trailing spaces and case too."""


class MariaDB(Dialect, Sharing):
    """A statement that makes or changes a table commits by itself here, so columns of a table are never changed."""

    name = "mariadb"
    driver = "mariadb+pymysql"
    mark = "%s"
    transactional_ddl = False
    row_number = "BIGINT PRIMARY KEY"
    name_bytes = 64
    types = {  # noqa: RUF012 - as the base class declares it
        "bool": "BOOLEAN",
        "uint64": "BIGINT UNSIGNED",
        "float": "DOUBLE",
        "date": "DATE",
        "naive": "DATETIME(6)",
        "zoned": "DATETIME(6)",
        "time": "TIME(6)",
        "duration": "BIGINT",
    }
    long_text = f"LONGTEXT {COLLATION}"
    short_text = f"VARCHAR(255) {COLLATION}"

    def quote(self, name: str) -> str:
        """In backticks; percent signs are doubled, since statements are always run with parameters."""
        return "`" + name.replace("`", "``").replace("%", "%%") + "`"

    def column_type(self, t: pa.DataType, name: str, *, key: bool) -> str:
        """Keys have a length, so that an index can hold them."""
        kind = kind_of(t, name)
        if kind == "int":
            sign = " UNSIGNED" if pa.types.is_unsigned_integer(t) else ""
            return {8: "TINYINT", 16: "SMALLINT", 32: "INT", 64: "BIGINT"}[t.bit_width] + sign
        if kind == "decimal":
            if t.precision > MAX_DIGITS or not 0 <= t.scale <= min(MAX_SCALE, t.precision):
                raise UnsupportedTypeError(
                    f"column {name!r} of type {type_text(t)} cannot be stored in MariaDB, whose decimals have at most "
                    f"{MAX_DIGITS} digits, {MAX_SCALE} of them decimals",
                    column=name,
                )
            return f"DECIMAL({t.precision}, {t.scale})"
        if kind == "text":
            return f"VARCHAR({KEY_LENGTH}) {COLLATION}" if key else self.long_text
        if kind == "binary":
            return f"VARBINARY({KEY_LENGTH})" if key else "LONGBLOB"
        return self.types[kind]

    def wire(self, t: pa.DataType) -> pa.DataType:
        """What PyMySQL's values become; a time of day is read as text."""
        kind = kind_of(t, "")
        if kind in ("bool", "int", "duration"):
            return pa.int64()
        return {
            "uint64": pa.uint64(),
            "float": pa.float64(),
            "binary": pa.binary(),
            "date": pa.date32(),
            "naive": US,
            "zoned": US,
            "time": pa.string(),
        }.get(kind, t)

    def check_values(self, column: pa.ChunkedArray, name: str, *, key: bool) -> None:
        """Refuse NaN, infinities and -0.0, and keys that are too long."""
        t = column.type
        if pa.types.is_floating(t):
            refuse_floats(column, name, "MariaDB", infinite=True)
        if key and pa.types.is_string(t):
            refuse(column, pc.greater(pc.utf8_length(column), KEY_LENGTH), name, f"longer than {KEY_LENGTH} characters")
        if key and (pa.types.is_binary(t) or pa.types.is_fixed_size_binary(t)):
            refuse(column, pc.greater(pc.binary_length(column), KEY_LENGTH), name, f"longer than {KEY_LENGTH} bytes")

    def same(self, a: str, b: str, t: pa.DataType) -> str:
        """The null-safe equality."""
        return f"{a} <=> {b}"

    def compared(self, a: str, op: str, values: str, t: pa.DataType) -> str | None:
        """Text to the byte, whatever collation somebody gave the column."""
        return f"{a}{' COLLATE utf8mb4_nopad_bin' if pa.types.is_string(t) else ''} {op} {values}"

    def selected(self, column: str, t: pa.DataType) -> str:
        """PyMySQL would read a time of day as a duration."""
        return f"CAST({column} AS CHAR)" if pa.types.is_time(t) else column

    def update(self, target: str, sets: Sequence[tuple[str, str]], batch: str, on: str, where: str) -> str:
        """The tables are joined first. A second unique index raises here, where an upsert would change its row."""
        assigned = ", ".join(f"t.{name} = {value}" for name, value in sets)
        return f"UPDATE {target} AS t JOIN {batch} ON {on} SET {assigned} WHERE {where}"

    def delete(self, target: str, where: str) -> str:
        """With the alias before the table."""
        return f"DELETE t FROM {target} AS t WHERE {where}"

    @contextmanager
    def streaming(self, raw: Any) -> Iterator[Any]:
        """An unbuffered cursor. If it is left early, what remains is not read: the connection is of no further use."""
        from pymysql.cursors import SSCursor

        cursor = SSCursor(raw)
        try:
            yield cursor
        except BaseException:
            if cursor._result is not None:  # noqa: SLF001 - nothing public stops it from reading to the end when it goes
                cursor._result.unbuffered_active = False  # noqa: SLF001 - likewise
            cursor.connection = None
            if raw.open:
                raw.close()
            raise
        cursor.close()

    def settle_in(self, db: Connection, patience: float) -> None:
        """Strict about values, exact about text; transactions are ours to begin."""
        if "mariadb" not in str(db.rows("SELECT VERSION()")[0][0]).lower():
            raise UnsupportedTableError(
                f"{db.address.shown} is not a MariaDB server", hint="this release does not support MySQL"
            )
        db.raw.autocommit(True)
        db.run("SET NAMES utf8mb4 COLLATE utf8mb4_nopad_bin")
        db.run("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'")
        db.run("SET SESSION time_zone = '+00:00', SESSION default_storage_engine = InnoDB")
        db.run(f"SET SESSION innodb_lock_wait_timeout = {max(1, int(min(patience, 3_600)))}")

    def schema(self, db: Connection) -> str:
        """The database of the URL."""
        return str(db.rows("SELECT DATABASE()")[0][0])

    def has_table(self, db: Connection, schema: str, table: str) -> bool:
        """As the server compares names."""
        sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
        return bool(db.rows(sql, (schema, table)))

    def has_index(self, db: Connection, schema: str, table: str, index: str) -> bool:
        """A unique one."""
        sql = (
            "SELECT 1 FROM information_schema.statistics WHERE table_schema = %s AND table_name = %s "
            "AND index_name = %s AND non_unique = 0"
        )
        return bool(db.rows(sql, (schema, table, index)))

    def drop_index(self, schema: str, table: str, index: str) -> str:
        """An index belongs to its table."""
        return f"DROP INDEX {self.quote(index)} ON {self.quote(schema)}.{self.quote(table)}"

    def begin(self, db: Connection, lock: str, patience: float) -> None:
        """A named lock of the server, which ends with the connection."""
        if not _got_lock(db, lock, int(min(patience, 3_600))):
            raise BusyError
        db.run("START TRANSACTION")

    def begin_reading(self, db: Connection) -> None:
        """One snapshot for all statements."""
        db.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def load(self, db: Connection, batch: str, rows: pa.Table) -> None:
        """Statements of many rows, made by Arrow: the driver formats value by value.

        `LOAD DATA LOCAL` is not used: a client that allows it lets the server ask for any of its files.
        """
        for part in filter(len, rows.to_batches(max_chunksize=LOAD_ROWS)):
            values = pc.binary_join_element_wise(*(_literals(column) for column in part.columns), _large(","))
            ends = np.cumsum(pc.binary_length(values).to_numpy()) // STATEMENT_BYTES
            for some in np.split(values.to_numpy(zero_copy_only=False), np.flatnonzero(np.diff(ends)) + 1):
                db.run(f"INSERT INTO {batch} VALUES ({'),('.join(some)})")

    def create_shared(self, target: str, columns: str) -> str:
        """A table as any other, which has a key as servers want it."""
        return f"CREATE TABLE {target} ({columns}, PRIMARY KEY (a, n))"

    def begin_collecting(self, db: Connection) -> None:
        """Otherwise what an `INSERT … SELECT` reads would be locked, and so wait for an attempt of a task to end."""
        db.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        db.run("START TRANSACTION")

    def hold(self, db: Connection, lock: str) -> bool:
        """A named lock of the server, which would otherwise end a connection that is idle for some hours."""
        db.run(f"SET SESSION wait_timeout = {LONGEST_IDLE_SECONDS}")
        return _got_lock(db, lock, 0)

    def drop_shared(self, db: Connection, target: str) -> None:
        """Waits for those who write to it, for some time."""
        db.run(f"SET STATEMENT lock_wait_timeout = {DROP_SECONDS} FOR DROP TABLE IF EXISTS {target}")

    def ranked(self, a: str, t: pa.DataType) -> tuple[str, ...]:
        """Long values by their beginning, as far as the server sorts by it, then by their digest."""
        long = pa.types.is_string(t) or pa.types.is_binary(t) or pa.types.is_fixed_size_binary(t)
        return (a, f"SHA2({a}, 256)") if long else (a,)

    def judge(self, error: Exception) -> str:
        """By the server's number."""
        code: Any = error.args[0] if error.args else None
        if isinstance(error, BusyError) or code in (DEADLOCK, LOCK_TIMEOUT):
            return "busy"
        if code == DUPLICATE:
            return "repeated"
        return "lost" if code in GONE or type(error).__name__ == "InterfaceError" else "other"


def _got_lock(db: Connection, lock: str, seconds: int) -> bool:
    name = "txfiles:" + hashlib.sha256(lock.encode()).hexdigest()[:40]
    return bool(db.rows("SELECT GET_LOCK(%s, %s)", (name, seconds))[0][0] == 1)


def _literals(column: pa.Array) -> pa.Array:
    """Each value as SQL has it; percent signs are doubled, since statements are always run with parameters."""
    t = column.type
    if pa.types.is_binary(t):
        text = pa.array([None if value is None else f"X'{value.hex()}'" for value in column.to_pylist()])
    elif pa.types.is_string(t) or pa.types.is_temporal(t):
        text = (column.cast(US) if pa.types.is_timestamp(t) else column).cast(pa.large_string())
        for character, escaped in (("\\", r"\\"), ("'", "''"), ("%", "%%")):
            text = pc.replace_substring(text, character, escaped)
        text = pc.binary_join_element_wise(_large("'"), text, _large("'"), _large(""))
    else:
        text = to_text(column)
    return text.cast(pa.large_string()).fill_null("NULL")


def _large(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())
