"""Reading from a database: a connection whose failures are a reader's, and rows in their Arrow types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from txfiles import environment
from txfiles.errors import StoreError
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.call import FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS
from txfiles.targets.sql.database import Database
from txfiles.targets.sql.errors import BusyError, LostError
from txfiles.targets.sql.types import decode

PATIENCE_SECONDS = 60.0
"""How long a reader waits for a lock, or for a file that another process has."""


class Reading(Database):
    """A connection for reading: errors that another attempt might help against are told as such."""

    def __init__(self, address: Address) -> None:
        real, attempts = environment.real(), 0
        until = real.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                super().__init__(address, max(0.0, until - real.monotonic()))
            except BusyError as error:  # another process has the file
                if real.monotonic() >= until:
                    raise _failed(address, error) from None
                real.sleep(min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(attempts, 6)))
                attempts += 1
            else:
                return

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
