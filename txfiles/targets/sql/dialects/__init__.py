"""What differs from database to database, one module each. `get` finds one by name and imports no driver."""

from __future__ import annotations

from txfiles.targets.sql.dialects.base import Dialect
from txfiles.targets.sql.dialects.duckdb import DuckDB
from txfiles.targets.sql.dialects.mariadb import MariaDB
from txfiles.targets.sql.dialects.mssql import SQLServer
from txfiles.targets.sql.dialects.postgresql import PostgreSQL
from txfiles.targets.sql.dialects.sqlite import SQLite

DIALECTS: dict[str, Dialect] = {one.name: one for one in (SQLite(), DuckDB(), PostgreSQL(), MariaDB(), SQLServer())}


def get(name: str) -> Dialect:
    """The dialect with that name."""
    return DIALECTS[name]
