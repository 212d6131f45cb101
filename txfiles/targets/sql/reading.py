"""Reading from a database: a connection whose failures are a reader's, and rows in their Arrow types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from txfiles.errors import StoreError
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.database import Database
from txfiles.targets.sql.errors import BusyError, LostError
from txfiles.targets.sql.types import decode

PATIENCE_SECONDS = 60.0
"""How long a reader waits for a lock."""


class Reading(Database):
    """A connection for reading: errors that another attempt might help against are told as such."""

    def __init__(self, address: Address) -> None:
        try:
            super().__init__(address, PATIENCE_SECONDS)
        except (BusyError, LostError) as error:
            raise _failed(address, error) from None

    def __exit__(self, *raised: object) -> None:
        self.close()
        error = raised[1]
        if isinstance(error, BusyError | LostError):
            raise _failed(self.address, error) from None


def _failed(address: Address, error: Exception) -> StoreError:
    return StoreError(f"{address.shown} could not be read: {error}", hint="try again")


def fetch(db: Database, schema: pa.Schema, sql: str, parameters: Sequence[Any] = ()) -> Iterator[pa.Table]:
    """The rows of a query of `statements.select`, part by part.

    Args:
        db: the connection.
        schema: the columns that the query has.
        sql: the query.
        parameters: its parameters.
    """
    for arrays in db.dialect.fetch(db, sql, parameters, [(one.name, db.dialect.wire(one.type)) for one in schema]):
        decoded = [
            decode(pa.chunked_array([array]), one.type, one.name) for array, one in zip(arrays, schema, strict=True)
        ]
        yield pa.table(decoded, schema=schema)
