"""SQLite, through Python's own driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from txfiles.errors import UnsupportedTableError
from txfiles.targets.sql.dialects.base import Dialect, ascii_lower
from txfiles.targets.sql.types import kind_of, refuse_floats

if TYPE_CHECKING:
    from txfiles.targets.sql.connection import Connection

CACHE_KIB = 65_536
"""At most so much of the file is kept in memory: keys come in any order, and each is looked up in an index."""

BUSY, LOCKED, UNIQUE, PRIMARY_KEY = 5, 6, 2067, 1555
"""SQLite's result codes; the lower byte of an extended one is the plain one."""


class SQLite(Dialect):
    """Dates, times and decimals are stored as text, which keeps every digit; NaN and -0.0 cannot be stored."""

    name = "sqlite"
    driver = "sqlite+pysqlite"
    upserts = True
    row_number = "INTEGER PRIMARY KEY"  # which is SQLite's own number of the row
    types = {  # noqa: RUF012 - as the base class declares it
        "bool": "BOOLEAN",
        "int": "BIGINT",
        "uint64": "BIGINT",
        "float": "DOUBLE",
        "text": "TEXT",
        "binary": "BLOB",
        "date": "DATE",
        "naive": "TIMESTAMP",
        "zoned": "TIMESTAMP",
        "time": "TIME",
        "duration": "BIGINT",
        "decimal": "TEXT",
    }
    long_text = "TEXT"

    def folded(self, name: str) -> str:
        """In lower case, as far as the letters are ASCII."""
        return ascii_lower(name)

    def wire(self, t: pa.DataType) -> pa.DataType:
        """SQLite stores integers, floats, texts and blobs."""
        kind = kind_of(t, "")
        if kind in ("bool", "int", "uint64", "duration"):
            return pa.int64()
        if kind == "float":
            return pa.float64()
        return pa.binary() if kind == "binary" else pa.string()

    def check_values(self, column: pa.ChunkedArray, name: str, *, key: bool) -> None:
        """Refuse NaN and -0.0."""
        if pa.types.is_floating(column.type):
            refuse_floats(column, name, "SQLite", infinite=False)

    def same(self, a: str, b: str, t: pa.DataType) -> str:
        """`IS` compares nulls too; -0.0 and NaN are never stored."""
        return f"{a} IS {b}"

    def ordered(self, a: str, t: pa.DataType) -> str:
        """A decimal's text in a form that orders as the number does: sign, length, digits; turned round if negative."""
        if not pa.types.is_decimal(t):
            return a
        turned = a
        for digit in range(10):
            turned = f"replace({turned}, '{digit}', '{'jihgfedcba'[digit]}')"
        negative = f"'0' || printf('%03d', 999 - length({a})) || {turned}"
        return f"(CASE WHEN {a} LIKE '-%' THEN {negative} ELSE '1' || printf('%03d', length({a})) || {a} END)"

    def compared(self, a: str, op: str, values: str, t: pa.DataType) -> str | None:
        """Decimals are text, of which only equality is known."""
        if pa.types.is_decimal(t) and op not in ("=", "<>", "IN", "NOT IN"):
            return None
        return super().compared(a, op, values, t)

    def selected(self, column: str, t: pa.DataType) -> str:
        """A float: a column that was one of integers stores whole numbers as such."""
        if not pa.types.is_floating(t):
            return column
        return f"CASE typeof({column}) WHEN 'integer' THEN CAST({column} AS REAL) ELSE {column} END"

    def alter(self, target: str, column: str, before: pa.DataType, after: pa.DataType, name: str) -> list[str]:
        """Columns take values of any type, so nothing is to be done where the stored form stays."""
        self.check_widening(before, after, name)
        is_text = [pa.types.is_string(self.wire(t)) for t in (before, after)]
        scales = [t.scale if pa.types.is_decimal(t) else None for t in (before, after)]
        if is_text[0] != is_text[1] or scales[0] != scales[1]:
            raise self.cannot_alter(before, after, name)
        return []

    def settle_in(self, db: Connection, patience: float) -> None:
        """Transactions are ours to begin; a lock is waited for in SQLite itself. Texts must be in UTF-8."""
        db.raw.isolation_level = None
        db.run(f"PRAGMA cache_size = -{CACHE_KIB}")
        db.run(f"PRAGMA busy_timeout = {int(min(patience, 600) * 1_000)}")
        encoding = db.rows("PRAGMA encoding")[0][0]
        if encoding != "UTF-8":
            raise UnsupportedTableError(
                f"the database of {db.address.shown} has the encoding {encoding}, in which texts are ordered otherwise",
                hint="copy it to a new file, whose encoding is UTF-8: sqlite3 old.db .dump | sqlite3 new.db",
            )

    def schema(self, db: Connection) -> str:
        """The database of the file itself."""
        return "main"

    def has_table(self, db: Connection, schema: str, table: str) -> bool:
        """Names are equal in any case of ASCII letters."""
        sql = f"SELECT 1 FROM {self.quote(schema)}.sqlite_master WHERE type IN ('table', 'view') AND name = ?"
        return bool(db.rows(f"{sql} COLLATE NOCASE", (table,)))

    def has_index(self, db: Connection, schema: str, table: str, index: str) -> bool:
        """Looked up in the schema table."""
        sql = f"SELECT 1 FROM {self.quote(schema)}.sqlite_master WHERE type = 'index' AND name = ?"
        return bool(db.rows(sql, (index,)))

    def create_index(self, schema: str, table: str, index: str, columns: str) -> str:
        """The schema stands before the index's name."""
        q = self.quote
        return f"CREATE UNIQUE INDEX {q(schema)}.{q(index)} ON {q(table)} ({columns})"

    def begin(self, db: Connection, lock: str, patience: float) -> None:
        """The file's only write lock."""
        db.run("BEGIN IMMEDIATE")

    def judge(self, error: Exception) -> str:
        """By SQLite's result code."""
        code: Any = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return "other"
        if code & 0xFF in (BUSY, LOCKED):
            return "busy"
        return "repeated" if code in (UNIQUE, PRIMARY_KEY) else "other"
