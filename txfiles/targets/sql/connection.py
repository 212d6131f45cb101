"""A connection as dialects see it: `database.Database` is the one there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from txfiles.targets.sql.address import Address


class Connection(Protocol):
    """A connection to a database.

    Attributes:
        address: of the table.
        raw: the driver's connection.
    """

    address: Address
    raw: Any

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; returns how many rows it changed, or -1."""

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each row of parameters."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The few rows of a query."""

    def fetch(self, sql: str, parameters: Sequence[Any], size: int) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a query, part by part."""

    def failing(self) -> AbstractContextManager[None]:
        """Context manager that turns a driver's errors into ours."""
