"""The target of SQL tables."""

from __future__ import annotations

from txfiles.core.messages import shown, text
from txfiles.errors import OptionError, TableNotFoundError, UnsupportedVerbError
from txfiles.options import DEFAULTS, MODES, Request
from txfiles.results import AdoptResult, DetachResult, Plan, Resolution, WriteResult
from txfiles.targets.protocol import Capabilities, Place
from txfiles.targets.sql import address as addresses
from txfiles.targets.sql import ledger, write
from txfiles.targets.sql.call import ledger_name, lock_name
from txfiles.targets.sql.database import is_there
from txfiles.targets.sql.reading import PATIENCE_SECONDS, Reading
from txfiles.targets.sql.table import SqlTable, newest, open_table
from txfiles.verbs import AdoptOptions, DetachOptions

LACKS = ("partition_by", "overwrite_partitions", "properties", "lock")
"""Options of a write that SQL tables do not take."""


class SqlTarget:
    """Tables in SQL databases."""

    name = "sql"
    capabilities = Capabilities(
        formats=("sql",),
        modes=frozenset(MODES),
        options=frozenset(DEFAULTS) - frozenset(LACKS),
        verbs=frozenset(("dataset", "delete", "history", "lookup", "refresh")),
        engines=frozenset({"local", "spark"}),
    )

    def claims(self, place: Place) -> bool:
        """Claims the URLs of databases."""
        return addresses.claims(place)

    def write(self, place: Place, request: Request) -> WriteResult:
        """See `sql.write`."""
        return write.write(addresses.read(place), request)

    def plan(self, place: Place, request: Request) -> Plan:
        """See `sql.write`."""
        return write.plan(addresses.read(place), request)

    def open(self, place: Place) -> SqlTable:
        """The table as it is now. Cost: a few queries."""
        return open_table(place)

    def exists(self, place: Place) -> bool:
        """Whether there is a table that txfiles created."""
        return newest(addresses.read(place))[0] is not None

    def resolve(self, place: Place, commit_id: str) -> Resolution:
        """Whether the ledger has a commit."""
        if len(text(commit_id)) != 32 or set(text(commit_id)) - set("0123456789abcdef"):  # noqa: PLR2004 - hex digits
            raise OptionError(
                f"{shown(commit_id)} is not a commit id",
                hint="pass the 32 hex digits from the error (error.commit_id)",
            )
        found = addresses.read(place)
        if not is_there(found):
            raise TableNotFoundError(f"{found.shown}: there is no table", hint="check the URL")
        with Reading(found) as db:
            # Under the table's lock, the transaction that is asked about is over.
            schema = found.schema if found.schema is not None else db.dialect.schema(db)
            db.dialect.begin(db, lock_name(schema, found), PATIENCE_SECONDS)
            name = ledger_name(found)
            entry = ledger.by_commit(db, schema, name, commit_id) if ledger.exists(db, schema) else None
            db.run("ROLLBACK")
        return Resolution(committed=entry is not None, version=entry.version if entry else None)

    def detach(self, place: Place, options: DetachOptions) -> DetachResult:
        """There is no folder to leave."""
        raise UnsupportedVerbError("sql tables do not support 'detach'", verb="detach")

    def adopt(self, place: Place, options: AdoptOptions) -> AdoptResult:
        """A database has no folder of files; never called, since `Capabilities.verbs` leaves it out."""
        raise UnsupportedVerbError("sql tables do not support 'adopt'", verb="adopt")


SQL = SqlTarget()
