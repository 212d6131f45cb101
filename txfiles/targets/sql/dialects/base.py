"""What a dialect says: names, types and expressions as text; and how its connections begin, lock, load and read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from txfiles.errors import CorruptTableError, UnsupportedTypeError
from txfiles.rows.typenames import type_text
from txfiles.targets.sql.types import Kind, kind_of

if TYPE_CHECKING:
    from txfiles.targets.sql.address import Address
    from txfiles.targets.sql.connection import Connection

FETCH_ROWS = 65_536
"""Rows that are turned from Python values into Arrow at a time."""

_TO_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


def ascii_lower(name: str) -> str:
    """A name with A to Z, and no other letter, in lower case."""
    return name.translate(_TO_LOWER)


class Dialect(ABC):
    """One database's ways. It has no state; a `Connection` has.

    Attributes:
        name: as in `address.SCHEMES`.
        driver: SQLAlchemy's name of the database and driver; None if the dialect connects by itself.
        mark: the placeholder of a parameter.
        start: begins a transaction, in which the staging table is loaded.
        tried: whether its statements were ever run against a real database.
        extra: what to install for it.
        parameters: of the URL, unless the caller says them otherwise.
        upserts: whether ``INSERT … ON CONFLICT (keys)``, or a merge, is used where a unique index has the keys.
        merges: whether that is a merge.
        row_values: whether it knows ``(a, b) IN (SELECT …)``.
        updates: whether an update stores every value as it is.
        indexes: whether a table that is created with keys gets a unique index.
        row_number: the type of the staging table's row number.
        transactional_ddl: whether a rolled back transaction takes its tables and columns with it.
        most_parameters: of a statement.
        name_bytes: the longest name, in bytes of UTF-8; the database cuts longer ones, or refuses them.
        types: column types by kind, for the kinds that need no more than a word.
    """

    name: ClassVar[str]
    driver: ClassVar[str | None]
    mark: ClassVar[str] = "?"
    start: ClassVar[str] = "BEGIN"
    tried: ClassVar[bool] = True
    extra: ClassVar[str] = "sql"
    parameters: ClassVar[dict[str, str]] = {}
    upserts: ClassVar[bool] = False
    merges: ClassVar[bool] = False
    row_values: ClassVar[bool] = True
    updates: ClassVar[bool] = True
    indexes: ClassVar[bool] = True
    row_number: ClassVar[str] = "BIGINT"
    transactional_ddl: ClassVar[bool] = True
    most_parameters: ClassVar[int | None] = None
    name_bytes: ClassVar[int | None] = None
    types: ClassVar[dict[Kind, str]]

    # ---- text

    def quote(self, name: str) -> str:
        """A name as an identifier, whatever is in it."""
        return '"' + name.replace('"', '""') + '"'

    def folded(self, name: str) -> str:
        """A table's name, the same for all spellings that the database takes for one table."""
        return name

    def column_type(self, t: pa.DataType, name: str, *, key: bool) -> str:
        """The type of a column.

        Args:
            t: an Arrow type.
            name: the column's, for messages.
            key: whether it is one of the keys.
        Raises:
            UnsupportedTypeError: the database has no type that holds every value exactly.
        """
        return self.types[kind_of(t, name)]

    def staging_type(self, t: pa.DataType, name: str, *, key: bool) -> str:
        """The type of a column of a temporary table, into which values in wire types are loaded."""
        return self.column_type(t, name, key=key)

    @abstractmethod
    def wire(self, t: pa.DataType) -> pa.DataType:
        """The Arrow type in which values of a column travel both ways."""

    def check_values(self, column: pa.ChunkedArray, name: str, *, key: bool) -> None:
        """Refuse values that the database would not give back."""

    @abstractmethod
    def same(self, a: str, b: str, t: pa.DataType) -> str:
        """Whether two expressions have the same value: null is null, NaN is NaN, and -0.0 is not 0.0."""

    def equal(self, a: str, b: str, t: pa.DataType) -> str:
        """Whether two keys, neither of them null, are equal; an index may find them."""
        return f"{a} = {b}"

    def older(self, a: str, b: str, t: pa.DataType) -> str:
        """Whether `a` is strictly older than `b`; null and NaN are oldest, and equally old."""
        a, b = self.ordered(a, t), self.ordered(b, t)
        return f"({b} IS NOT NULL AND ({a} IS NULL OR {a} < {b}))"

    def ordered(self, a: str, t: pa.DataType) -> str:
        """An expression that orders as the values do, null for NaN."""
        return a

    def exact(self, a: str, t: pa.DataType) -> str:
        """An expression that is equal, by plain equality, where the values are the same, for values but null."""
        return a

    def compared(self, a: str, op: str, values: str, t: pa.DataType) -> str | None:
        """Whether a column compares as Arrow says it, with finite values; None if the database cannot tell.

        Args:
            a: the column.
            op: of SQL.
            values: a parameter, or several in parentheses.
            t: the column's type.
        """
        return f"{a} {op} {values}"

    def selected(self, column: str, t: pa.DataType) -> str:
        """The expression that reads a column, for `wire`."""
        return column

    def temporary(self, name: str) -> str:
        """A temporary table in a statement."""
        return name

    def create_temporary(self, name: str, columns: str) -> str:
        """The statement that makes a temporary table."""
        return f"CREATE TEMPORARY TABLE {self.temporary(name)} ({columns})"

    def create_temporary_as(self, name: str, columns: str, source: str) -> str:
        """The statement that makes a temporary table of a query, which is told in two parts."""
        return f"CREATE TEMPORARY TABLE {self.temporary(name)} AS SELECT {columns} {source}"

    def create_if_absent(self, target: str, columns: str) -> str:
        """The statement that makes a table unless it is there."""
        return f"CREATE TABLE IF NOT EXISTS {target} ({columns})"

    def add_column(self, target: str, column: str, kind: str) -> str:
        """The statement that adds a column."""
        return f"ALTER TABLE {target} ADD COLUMN {column} {kind}"

    def limited(self, query: str, rows: int) -> str:
        """A query of at most so many rows."""
        return f"{query} LIMIT {rows}"

    def merge(self, target: str, batch: str, on: str, update: str, insert: str) -> str:
        """The statement that merges rows `s` of the batch into rows `t` of the target.

        Args:
            target: the table.
            batch: the staging table.
            on: whether they have the same key.
            update: the clause for rows that the target has; may be empty.
            insert: the clause for the others.
        """
        raise NotImplementedError

    def update(self, target: str, sets: Sequence[tuple[str, str]], batch: str, on: str, where: str) -> str:
        """The statement that updates rows `t` of the target from rows `s` of the batch and their fates `f`."""
        assigned = ", ".join(f"{name} = {value}" for name, value in sets)
        return f"UPDATE {target} AS t SET {assigned} FROM {batch} WHERE {on} AND {where}"

    def delete(self, target: str, where: str) -> str:
        """The statement that deletes rows `t` of the target."""
        return f"DELETE FROM {target} AS t WHERE {where}"

    def alter(self, target: str, column: str, before: pa.DataType, after: pa.DataType, name: str) -> list[str]:
        """The statements that widen a column."""
        old, new = (self.column_type(t, name, key=False) for t in (before, after))
        self.check_widening(before, after, name)
        return [] if old == new else [f"ALTER TABLE {target} ALTER COLUMN {column} TYPE {new}"]

    def check_widening(self, before: pa.DataType, after: pa.DataType, name: str) -> None:
        """Refuse to turn a column into another kind of type.

        Raises:
            UnsupportedTypeError: names it.
        """
        kinds = [kind_of(t, name) for t in (before, after)]
        if kinds[0] != kinds[1] and not {*kinds} <= {"int", "uint64", "float", "decimal"}:
            raise self.cannot_alter(before, after, name)

    def cannot_alter(self, before: pa.DataType, after: pa.DataType, name: str) -> UnsupportedTypeError:
        """The error for a column that cannot be changed in place."""
        return UnsupportedTypeError(
            f"column {name!r} of type {type_text(before)} cannot become {type_text(after)} in {self.name}",
            hint="overwrite the table with mode='overwrite', schema_mode='overwrite'",
            column=name,
        )

    @property
    @abstractmethod
    def long_text(self) -> str:
        """The type of any text."""

    @property
    def short_text(self) -> str:
        """The type of a text of at most 255 characters that is part of an index; compared to the byte."""
        return self.long_text

    # ---- connections

    def connect(self, address: Address) -> Any:
        """A connection of the driver, for dialects without `driver`."""
        raise NotImplementedError

    def cursor(self, raw: Any) -> AbstractContextManager[Any]:
        """A cursor of the driver's connection."""
        return closing(raw.cursor())

    def streaming(self, raw: Any) -> AbstractContextManager[Any]:
        """A cursor that leaves the rows of a query with the database until they are fetched."""
        return self.cursor(raw)

    def settle_in(self, db: Connection, patience: float) -> None:
        """Prepare a fresh connection."""

    @abstractmethod
    def schema(self, db: Connection) -> str:
        """The schema of names without one."""

    @abstractmethod
    def has_table(self, db: Connection, schema: str, table: str) -> bool:
        """Whether a table or view of that name exists."""

    def check_table(self, db: Connection, schema: str, table: str) -> None:
        """Refuse a table that somebody has changed so that it compares in other ways.

        Raises:
            UnsupportedTableError: names the column.
        """

    @abstractmethod
    def has_index(self, db: Connection, schema: str, table: str, index: str) -> bool:
        """Whether the table has that index."""

    def drop_index(self, schema: str, table: str, index: str) -> str:
        """The statement that drops an index."""
        return f"DROP INDEX {self.quote(schema)}.{self.quote(index)}"

    def create_index(self, schema: str, table: str, index: str, columns: str) -> str:
        """The statement that makes a unique index."""
        target = f"{self.quote(schema)}.{self.quote(table)}"
        return f"CREATE UNIQUE INDEX {self.quote(index)} ON {target} ({columns})"

    @abstractmethod
    def begin(self, db: Connection, lock: str, patience: float) -> None:
        """Begin a transaction that excludes every other writer of a table by txfiles.

        Args:
            db: the connection.
            lock: the table's name.
            patience: seconds to wait for the lock.
        Raises:
            BusyError: it was not free in time.
        """

    def begin_reading(self, db: Connection) -> None:
        """Begin a transaction that sees one state of the database."""
        db.run("BEGIN")

    def lock(self, db: Connection, target: str) -> None:
        """Keep all other writers, also those of other programs, away from an existing table until the commit."""

    def load(self, db: Connection, batch: str, rows: pa.Table) -> None:
        """Load rows in wire types into the staging table, whose columns are theirs."""
        marks = ", ".join([self.mark] * rows.num_columns)
        for part in rows.to_batches(max_chunksize=FETCH_ROWS):
            columns = [column.to_pylist() for column in part.columns]
            db.many(f"INSERT INTO {batch} VALUES ({marks})", list(zip(*columns, strict=True)))

    def analyze(self, db: Connection, table: str) -> None:
        """Have the database look at what was loaded, if it plans better for that."""

    def fetch(
        self, db: Connection, sql: str, parameters: Sequence[Any], wires: Sequence[tuple[str, pa.DataType]]
    ) -> Iterator[list[pa.Array]]:
        """The rows of a query as Arrow columns, part by part.

        Args:
            db: the connection.
            sql: the query.
            parameters: its parameters.
            wires: its columns' names and types.
        Raises:
            CorruptTableError: a value of another type: somebody else wrote it.
        """
        for rows in db.fetch(sql, parameters, FETCH_ROWS):
            columns = zip(zip(*rows, strict=True), wires, strict=True)
            yield [_array(values, name, wire) for values, (name, wire) in columns]

    @abstractmethod
    def judge(self, error: Exception) -> str:
        """What a driver's error means: ``busy``, ``lost``, ``repeated`` or ``other``."""


def _array(values: Sequence[Any], name: str, wire: pa.DataType) -> pa.Array:
    try:
        # Told the type, Arrow would cut 1.5 to 1.
        return pa.array(values).cast(wire) if wire == pa.int64() else pa.array(values, wire)
    except pa.ArrowException as error:
        raise CorruptTableError(
            f"column {name!r} has a value that is not of its type: {error}",
            hint="another program has written to the table; correct the value",
            column=name,
        ) from error
