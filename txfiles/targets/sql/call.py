"""One call: its patience with other writers, and what it finds in the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from txfiles import environment
from txfiles.core.manifest import TableMetadata
from txfiles.errors import CommitConflictError, ForeignTableError
from txfiles.options import Asked
from txfiles.targets.sql import dialects, ledger
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.database import Database

Ask = TypeVar("Ask", bound=Asked)

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.02, 1.0


@dataclass(frozen=True)
class Head:
    """What is at an address.

    Attributes:
        schema: the table's.
        entry: its newest commit; None if there is no table of ours.
        made: whether the table itself exists.
        has_ledger: whether the schema has a ledger.
    """

    schema: str
    entry: ledger.Entry | None
    made: bool
    has_ledger: bool

    @property
    def table(self) -> TableMetadata | None:
        """What the table is."""
        return self.entry.table if self.entry else None


@dataclass
class Call(Generic[Ask]):
    """One call and its patience.

    Attributes:
        address: of the table.
        request: what was asked for.
        attempts: how many there were.
    """

    address: Address
    request: Ask
    attempts: int = 1
    _started: float = field(default_factory=lambda: environment.real().monotonic())
    _waits_since: float | None = None
    _busy_since: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return environment.real().monotonic() - self._started

    @property
    def patience(self) -> float:
        """Seconds that are left for other writers."""
        if self._busy_since is None:
            return self.request.timeout
        return max(0.0, self.request.timeout - (environment.real().monotonic() - self._busy_since))

    def begin(self, db: Database, schema: str) -> None:
        """Begin the transaction of this call, under the table's lock."""
        self._waits_since = environment.real().monotonic()
        db.dialect.begin(db, lock_name(schema, self.address), self.patience)

    def lost(self, error: Exception) -> None:
        """Wait before another attempt. The wait for a lock counts.

        Raises:
            CommitConflictError: the patience is over.
        """
        real = environment.real()
        if self._busy_since is None:
            self._busy_since = self._waits_since or real.monotonic()
        if self.patience <= 0:
            raise CommitConflictError(
                f"other transactions kept {self.address.shown} busy for {self.request.timeout:g} s: "
                f"{error or 'locked'}; nothing was written",
                hint="try again, or give more time with timeout=",
                version=None,  # a database does not say who holds its locks
                commit_id=None,
            ) from None
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(self.attempts, 6))
        real.sleep(longest * (0.5 + real.random() / 2))
        self.attempts += 1


def ledger_name(address: Address) -> str:
    """The table's name in the ledger: one for all spellings that the database takes for the same table."""
    return dialects.get(address.dialect).folded(address.table)


def lock_name(schema: str, address: Address) -> str:
    """What every writer of the table locks."""
    return f"{schema}.{ledger_name(address)}"


def look(db: Database) -> Head:
    """What is there now.

    Raises:
        ForeignTableError: the table exists, and the ledger does not know it.
        UnsupportedTableError: the table compares in ways of its own.
    """
    address = db.address
    schema = address.schema if address.schema is not None else db.dialect.schema(db)
    made = db.dialect.has_table(db, schema, address.table)
    has_ledger = ledger.exists(db, schema)
    entry = ledger.newest(db, schema, ledger_name(address)) if has_ledger else None
    if made and entry is None and not (has_ledger and ledger.pending(db, schema, ledger_name(address))):
        raise ForeignTableError(
            f"{address.shown} is a table that txfiles did not create; nothing was written",
            hint="write to a new table; this release cannot take over an existing one",
        )
    if made:
        db.dialect.check_table(db, schema, address.table)
    return Head(schema, entry if made else None, made, has_ledger)
