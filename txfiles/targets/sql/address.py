"""The URL of a SQL table: `dialect://user@host/database?table=schema.name`, one text for connection and table.

Passwords are never shown: messages use `Address.shown`, and `Address.hidden` cuts them out of a driver's words.

Source: specs/10-sql.md, "Where a table is".
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from txfiles.core.messages import listed, one_of
from txfiles.errors import OptionError
from txfiles.store import secret_options
from txfiles.targets.protocol import Place

SCHEMES = {
    "sqlite": "sqlite",
    "duckdb": "duckdb",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mariadb": "mariadb",
    "mysql": "mariadb",
    "mssql": "mssql",
}
"""The dialect of each scheme that is served."""

OTHERS = ("oracle", "snowflake", "bigquery", "redshift")
"""Schemes of databases that are recognised, and refused by name."""

OURS = "txfiles_"
"""How the ledger, indexes and temporary tables begin."""

_SCHEME = re.compile(r"([a-z]+)(\+[a-z0-9_]+)?://", re.IGNORECASE)
_NAME = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')
_TABLE = re.compile(rf"(?:{_NAME.pattern})(?:\.(?:{_NAME.pattern}))?")
_REFERENCE = re.compile(r"\$\{\w+\}")
_FILES = ("sqlite", "duckdb")
_SQLITE_OPTIONS = ("cached_statements", "check_same_thread", "timeout")
"""Keywords of SQLite's driver that change neither which file is opened nor how values and transactions work."""
_TEMPORARY = {"sqlite": r"temp", "duckdb": r"(pg_)?temp", "postgresql": r"pg_temp(_\d+)?"}
"""Schemas whose tables end with their connection."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a table is.

    Attributes:
        dialect: one of the values of `SCHEMES`.
        url: the database's, without the table; may contain a password.
        schema: the table's schema; None is the connection's own.
        table: its name.
        options: keywords for the driver; may contain a password.
    """

    dialect: str
    url: str = field(repr=False)
    schema: str | None
    table: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def file(self) -> str | None:
        """The database's file, for databases that are files."""
        return unquote(self.url.partition("://")[2].partition("?")[0])[1:] if self.dialect in _FILES else None

    @property
    def name(self) -> str:
        """The table's name as the URL has it."""
        return ".".join(_written(part) for part in (self.schema, self.table) if part is not None)

    @property
    def parameters(self) -> dict[str, str]:
        """The URL's parameters, without the table."""
        return dict(parse_qsl(self.url.partition("?")[2], keep_blank_values=True))

    @property
    def full(self) -> str:
        """The whole URL, with an absolute path where the database is a file; may contain a password."""
        return f"{self.url}{'&' if '?' in self.url else '?'}table={quote(self.name)}"

    @property
    def shown(self) -> str:
        """The address for people: without user, password and options."""
        place = f"/{self.file}" if self.file is not None else self._parts[1]
        return f"{self.dialect}://{place}?table={self.name}"

    @property
    def has_secret(self) -> bool:
        """Whether a password may stand in the URL itself, rather than a reference to the environment."""
        return bool(self._password and not _REFERENCE.fullmatch(self._password)) or "?" in self.url

    def hidden(self, text: str) -> str:
        """A driver's words without anything of the URL or the options that may be secret."""
        used = secret_options.resolved({"password": self._password, **self.options})
        return secret_options.shown(text, {"user": self._parts[0]}, {"password": self._password}, used, self.parameters)

    @property
    def _parts(self) -> tuple[str, str]:
        """User with password, and what follows. A password may have any character, so the last `@` ends it."""
        user, _, place = self.url.partition("://")[2].partition("?")[0].rpartition("@")
        return user, place

    @property
    def _password(self) -> str:
        return unquote(self._parts[0].partition(":")[2])


def claims(place: Place) -> bool:
    """Whether a place is the URL of a database."""
    found = _SCHEME.match(place.path) if isinstance(place.path, str) else None
    return found is not None and found[1].lower() in (*SCHEMES, *OTHERS)


def read(place: Place) -> Address:
    """The address that a place gives.

    Raises:
        OptionError: it is not the URL of a database that is served, or names no table.
    """
    text = os.fspath(place.path)
    found = _SCHEME.match(text) if isinstance(text, str) else None
    if not isinstance(text, str) or found is None or found[1].lower() not in SCHEMES:
        scheme = f"{found[1]} databases are not supported" if found else "format 'sql' takes the URL of a database"
        raise OptionError(scheme, hint=f"give a URL that begins with {one_of(tuple(SCHEMES))}, and ://")
    if not isinstance(place.storage_options, Mapping | None):
        raise OptionError(
            f"storage_options must be a mapping, not {type(place.storage_options).__name__}",
            hint="the options of a SQL table are keywords of the database's driver",
        )
    base, _, query = text.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    dialect = SCHEMES[found[1].lower()]
    if (dialect not in _FILES and base.count("@") > 1) or any(set(name) & set("@/?") for name, _ in pairs):
        raise OptionError(
            "the URL of a database has an @, / or ? in a place where it means something else",
            hint="in a user or password write %40 for @, %2F for / and %3F for ?",
        )
    tables = [value for name, value in pairs if name == "table"]
    if len(tables) != 1:
        raise OptionError(
            "the URL of a database must name the table once", hint="end it with ?table=name or ?table=schema.name"
        )
    schema, table = _names(tables[0])
    if table.casefold().startswith(OURS):
        raise OptionError(
            f"the name {table!r} is reserved: names that begin with {OURS} are txfiles' own", hint="rename it"
        )
    options = [*(name for name, _ in pairs if name != "table"), *(place.storage_options or {})]
    _check_lasting(dialect, schema, table)
    rest = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs if name != "table")
    if dialect == "sqlite":
        _check_sqlite_options(options)
    if dialect == "mssql" and "odbc_connect" in map(str.casefold, options):
        raise OptionError("odbc_connect would name another database", hint="write its parts into the URL instead")
    if dialect in _FILES:
        file = unquote(base.partition("://")[2])
        if len(file) < 2 or not file.startswith("/") or ":memory:" in file:  # noqa: PLR2004 - a slash and a name
            raise OptionError(
                f"a {dialect} table needs a database that is a file",
                hint=f"give {dialect}:///folder/file.db?table=name, with four slashes for an absolute path",
            )
        base = f"{dialect}:///{quote(os.path.abspath(os.path.expanduser(file[1:])))}"
    return Address(
        dialect=dialect,
        url=base + (f"?{rest}" if rest else ""),
        schema=schema,
        table=table,
        options=place.storage_options or {},
    )


def _check_lasting(dialect: str, schema: str | None, table: str) -> None:
    if schema is not None and re.fullmatch(_TEMPORARY.get(dialect, ""), schema, re.IGNORECASE):
        raise OptionError(
            f"the tables of schema {schema!r} are gone when the call ends", hint="name another schema, or none"
        )
    if dialect == "mssql" and table.startswith("#"):
        raise OptionError(f"a table {table!r} is gone when the call ends", hint="rename it, without the # before it")


def _check_sqlite_options(names: list[str]) -> None:
    wrong = [name for name in names if name not in _SQLITE_OPTIONS]
    if wrong:
        raise OptionError(
            f"SQLite tables do not take {listed(wrong)}",
            hint=f"parameters and storage_options of SQLite may be {one_of(_SQLITE_OPTIONS)}",
        )


def _names(text: str) -> tuple[str | None, str]:
    """Schema and table of `name` or `schema.name`; each may stand in double quotes."""
    if not _TABLE.fullmatch(text) or "\0" in text:
        raise OptionError(
            f"table {text!r} is not a table's name", hint='write name or schema.name; "a.b" if the name has a dot'
        )
    found = [one[1].replace('""', '"') if one[1] else one[2] for one in _NAME.finditer(text)]
    return (found[0] if len(found) > 1 else None), found[-1]


def _written(name: str) -> str:
    return name if re.fullmatch('[^".]+', name) else '"' + name.replace('"', '""') + '"'
