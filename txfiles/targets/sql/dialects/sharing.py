"""What a database needs so that several processes can load one batch: a table that all of them see, and its end.

Such a table is not temporary, so something else must say whether it is still in use: a lock that ends with the
connection of the process that made it. Whoever gets the lock may drop the table.

Source: specs/10-sql.md, "Rows from Spark".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from txfiles.targets.sql.connection import Connection

DROP_SECONDS = 5
"""How long to wait for a table that a task still writes to: its process may be about to end."""


class Sharing(ABC):
    """The ways of a dialect whose databases several processes reach at once."""

    @abstractmethod
    def create_shared(self, target: str, columns: str) -> str:
        """The statement that makes such a table."""

    def begin_collecting(self, db: Connection) -> None:
        """Begin a transaction that reads such a table without waiting for tasks that still write to it."""
        db.run("BEGIN")

    @abstractmethod
    def hold(self, db: Connection, lock: str) -> bool:
        """Take a lock that lasts as long as the connection, which may be idle for hours; False if another has it."""

    @abstractmethod
    def drop_shared(self, db: Connection, target: str) -> None:
        """Drop such a table, if it is there.

        Raises:
            BusyError: a task is still writing to it.
        """

    def ranked(self, a: str, t: pa.DataType) -> tuple[str, ...]:
        """Expressions that order the values of a column, but for null, and are equal only for the same value."""
        return (a,)

    def shared_tables(self, db: Connection, schema: str, prefix: str) -> list[str]:
        """The tables of a schema whose names begin so, of those that the user may see."""
        sql = (
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = %s AND table_name LIKE %s ESCAPE '!' ORDER BY table_name"
        )
        return [str(name) for (name,) in db.rows(sql, (schema, prefix.replace("_", "!_") + "%"))]
