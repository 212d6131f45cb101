"""One connection to a database: statements with parameters, and errors that say what to do. The importer of SQLAlchemy.

Drivers' errors are told in one line, without anything that may be secret.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

from txfiles.core.messages import short
from txfiles.errors import OptionError, StoreError
from txfiles.store import secret_options
from txfiles.targets.sql import dialects
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.dialects.base import Dialect
from txfiles.targets.sql.errors import BusyError, LostError, RepeatedKeyError

MESSAGE_CHARACTERS = 500


class Database:
    """A connection of its own; closing it rolls back what was not committed and drops its temporary tables.

    Attributes:
        address: of the table.
        dialect: the database's ways.
        raw: the driver's connection.
    """

    def __init__(self, address: Address, patience: float) -> None:
        self.address = address
        self.dialect: Dialect = dialects.get(address.dialect)
        self.raw: Any = None
        if not self.dialect.tried:
            _warn(self.dialect)
        try:
            with self.failing():
                self.raw = _connect(address, self.dialect)
            self.dialect.settle_in(self, patience)
        except LostError as error:
            self.close()
            raise _unreachable(address, error) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it. A connection that is broken cannot fail any further."""
        if self.raw is not None:
            with suppress(Exception):  # drivers raise what they like; nothing depends on it
                self.raw.close()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; returns how many rows it changed, or -1."""
        with self.failing(), self.dialect.cursor(self.raw) as cursor:
            cursor.execute(sql, tuple(parameters))
            return int(cursor.rowcount)

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each row of parameters."""
        with self.failing(), self.dialect.cursor(self.raw) as cursor:
            cursor.executemany(sql, rows)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The few rows of a query."""
        with self.failing(), self.dialect.cursor(self.raw) as cursor:
            cursor.execute(sql, tuple(parameters))
            return list(cursor.fetchall())

    def fetch(self, sql: str, parameters: Sequence[Any], size: int) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a query, part by part, of which one is in memory."""
        with self.failing(), self.dialect.streaming(self.raw) as cursor:
            cursor.execute(sql, tuple(parameters))
            while rows := cursor.fetchmany(size):
                yield list(rows)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Context manager that turns a driver's errors into ours.

        Raises:
            BusyError, LostError, RepeatedKeyError: see `sql.errors`.
            StoreError: any other error of the database.
        """
        try:
            yield
        except Exception as error:
            if not _is_drivers(error):
                raise
            verdict = self.dialect.judge(error)
            text = short(self.address.hidden(str(error)), MESSAGE_CHARACTERS)
            # psycopg's errors carry the connection, with its password, into the context of ours.
            vars(error).update({name: None for name, value in vars(error).items() if not isinstance(value, str | int)})
            kinds = {"busy": BusyError, "lost": LostError, "repeated": RepeatedKeyError}
            if verdict in kinds:
                raise kinds[verdict](text) from None
            raise StoreError(
                f"{self.address.shown}: the database refused: {text}",
                hint="check the name of the database and the rights of its user",
            ) from None


def _warn(dialect: Dialect) -> None:
    """Say, once in a process unless warnings are set otherwise, that nobody has seen it work."""
    warnings.warn(
        f"txfiles has never been run against a database of {dialect.name!r}: its statements are only checked as text; "
        "try it on data that you can lose",
        stacklevel=2,
    )


def _connect(address: Address, dialect: Dialect) -> Any:
    if dialect.driver is None:
        return dialect.connect(address)
    install = f"pip install 'txfiles[{dialect.extra}]'"
    try:
        import sqlalchemy as sa
        from sqlalchemy.pool import NullPool
    except ImportError as error:
        raise OptionError("SQL tables need SQLAlchemy, which is not installed", hint=install) from error
    try:
        url = sa.make_url(address.url).set(drivername=dialect.driver)
    except (sa.exc.ArgumentError, ValueError):
        raise OptionError(
            f"the URL of {address.dialect} cannot be read", hint="write user:password@host:port, with %40 for @"
        ) from None
    if address.file is None:
        parts = {"username": url.username, "password": url.password, "host": url.host}
        url = url.set(**secret_options.resolved({name: value for name, value in parts.items() if value}))
    else:
        url = url.set(database=address.file)
    said = {name.casefold() for name in url.query}
    added = {name: value for name, value in dialect.parameters.items() if name.casefold() not in said}
    url = url.update_query_dict(added)
    options = secret_options.resolved(address.options)
    try:
        engine = sa.create_engine(url, poolclass=NullPool, connect_args=options)
        arguments, keywords = engine.dialect.create_connect_args(url)
        return engine.dialect.connect(*arguments, **{**keywords, **options})
    except ImportError as error:
        raise OptionError(f"{address.dialect} tables need a driver: {error}", hint=install) from error
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"{address.shown}: the driver does not take a part of the URL or an option: "
            f"{short(address.hidden(str(error)), MESSAGE_CHARACTERS)}",
            hint="parameters of the URL and storage_options are the driver's own keywords",
        ) from None


def is_there(address: Address) -> bool:
    """Whether a database that is a file exists; others are asked. Opening such a file would create it."""
    return address.file is None or os.path.exists(address.file)


def _is_drivers(error: Exception) -> bool:
    """Whether an error comes from a driver: its classes are those of the DB API, in the driver's own module."""
    names = {one.__name__ for one in type(error).__mro__}
    return bool(names & {"Error", "DatabaseError", "InterfaceError"}) or isinstance(error, ConnectionError)


def _unreachable(address: Address, error: Exception) -> StoreError:
    return StoreError(
        f"{address.shown}: the database does not answer: {error}",
        hint="check that the server runs and the URL is right; then try again",
    )
