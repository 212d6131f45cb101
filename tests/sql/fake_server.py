"""A driver's connection that runs nothing: it keeps the statements, and answers as a server with one table would.

What it answers is made up, so it shows how statements are written and in which order, and nothing about what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]] | None]


@dataclass
class Server:
    """What is remembered from connection to connection.

    Attributes:
        about: version, edition and state of snapshots.
        indexed: whether a table has the index that is asked for.
        fates: what a count of fates answers.
        answer: what else is answered; None leaves it to the server.
        said: the statements so far, with their parameters.
    """

    about: tuple[int, int, int] = (16, 3, 1)
    indexed: bool = True
    fates: list[tuple[str, int, int]] = field(default_factory=list)
    answer: Answer = lambda sql, parameters: None
    said: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    tables: set[str] = field(default_factory=set)
    commits: list[tuple[Any, ...]] = field(default_factory=list)

    def connect(self, *_: Any) -> Connection:
        """A new connection."""
        return Connection(self)

    def run(self, sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Keep a statement; returns the rows of its answer."""
        self.said.append((sql, parameters))
        told = self.answer(sql, parameters)
        if told is not None:
            return told
        if "SERVERPROPERTY" in sql:
            return [self.about]
        if "SCHEMA_NAME()" in sql:
            return [("dbo",)]
        if "sp_getapplock" in sql:
            return [(0,)]
        if "sys.indexes" in sql:
            return [(1,)] if self.indexed else []
        if "sys.objects" in sql:
            return [(1,)] if parameters[1] in self.tables else []
        if "GROUP BY fate" in sql:
            return self.fates
        if sql.startswith("SELECT count(DISTINCT batch_id)"):
            return [(0,)]
        if sql.startswith("SELECT count(*)"):
            return [(1,)]
        return self._of_ledger(sql, parameters)

    def _of_ledger(self, sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if sql.startswith("INSERT INTO [dbo].[txfiles_commits]"):
            self.tables |= {"txfiles_commits", parameters[0]}
            self.commits.insert(0, parameters)
        if sql.startswith("SELECT ") and "FROM [dbo].[txfiles_commits]" in sql and "batch_id AS" not in sql:
            return self.commits[:1] if "TOP (1)" in sql else self.commits
        return []


class Connection:
    """As drivers have it."""

    autocommit = False

    def __init__(self, server: Server) -> None:
        self.server = server

    def cursor(self) -> Cursor:
        """A new cursor."""
        return Cursor(self.server)

    def close(self) -> None:
        """Nothing is open."""


class Cursor:
    """As drivers have it."""

    rowcount = -1
    fast_executemany = noscan = False

    def __init__(self, server: Server) -> None:
        self.server = server
        self.rows: list[tuple[Any, ...]] = []

    def execute(self, sql: str, parameters: tuple[Any, ...]) -> None:
        """Run a statement."""
        self.rows = self.server.run(sql, parameters)

    def executemany(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement for many rows at once."""
        assert self.fast_executemany
        for row in rows:
            assert len(row) == sql.count("?")
        self.server.said.append((sql, tuple(rows)))

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows."""
        return self.rows

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        """All rows, then none."""
        rows, self.rows = self.rows, []
        return rows

    def close(self) -> None:
        """Nothing is open."""
