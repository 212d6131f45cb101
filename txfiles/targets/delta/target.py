"""The target of Delta tables, for data in this process: the files and rules are txfiles', the log is deltalake's.

What it needs is imported with the first Delta table: other tables do not wait for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from txfiles.core.messages import shown, text
from txfiles.errors import CommitStateUnknownError, OptionError, UnsupportedVerbError
from txfiles.options import DEFAULTS, MODES, Request
from txfiles.results import AdoptResult, DetachResult, Plan, Resolution, WriteResult
from txfiles.spark.frames import SparkSource
from txfiles.targets.protocol import Capabilities, Place
from txfiles.verbs import AdoptOptions, DetachOptions

if TYPE_CHECKING:
    from txfiles.targets.delta.commit import Attempt
    from txfiles.targets.delta.table import DeltaTable

_NOT_DELTA = ("lock", "properties")
"""Options of txfiles' own tables: deltalake commits without a lock, and Delta's properties are its own."""


class DeltaTarget:
    """Delta tables, through the package deltalake."""

    name = "Delta"
    capabilities = Capabilities(
        formats=("delta",),
        modes=frozenset(MODES),
        options=frozenset(DEFAULTS).difference(_NOT_DELTA),
        verbs=frozenset(("at", "dataset", "delete", "files", "history", "lookup", "refresh", "vacuum")),
        engines=frozenset(("local", "spark")),
    )

    def claims(self, place: Place) -> bool:
        """Claims no place: a folder looks like any other; `format="delta"` says it."""
        return False

    def write(self, place: Place, request: Request) -> WriteResult:
        """See `commit.Attempt`."""
        return self._attempt(place, request).run()

    def plan(self, place: Place, request: Request) -> Plan:
        """See `commit.Attempt`."""
        return self._attempt(place, request).plan()

    def open(self, place: Place) -> DeltaTable:
        """The newest version."""
        from txfiles.targets.delta.table import open_table

        return open_table(place)

    def exists(self, place: Place) -> bool:
        """Whether there is a table."""
        from txfiles.targets.delta.client import Client

        return Client(place).exists()

    def resolve(self, place: Place, commit_id: str) -> Resolution:
        """Whether a commit is in the log.

        Raises:
            CommitStateUnknownError: it is in none of the entries that the log still has, and older ones are gone.
        """
        if not re.fullmatch("[0-9a-f]{32}", text(commit_id)):
            raise OptionError(
                f"{shown(commit_id)} is not a commit id",
                hint="pass the 32 hex digits from the error (error.commit_id)",
            )
        snapshot = self.open(place).snapshot
        oldest = snapshot.version + 1
        for entry in snapshot.log():
            oldest = entry.version
            if entry.is_of(commit_id):
                return Resolution(committed=True, version=oldest)
        if oldest > 0:
            raise CommitStateUnknownError(
                f"the log of {snapshot.client.url} has no commit {commit_id}, and no longer has its entries before "
                f"version {oldest}: whether it was committed cannot be known",
                hint="look for its rows in the table",
                committed="unknown",
                commit_id=commit_id,
                versions=(),
            )
        return Resolution(committed=False, version=None)

    def detach(self, place: Place, options: DetachOptions) -> DetachResult:
        """Never called: see the capabilities."""
        raise UnsupportedVerbError("Delta tables do not support 'detach'", verb="detach")

    def adopt(self, place: Place, options: AdoptOptions) -> AdoptResult:
        """Never called, since `Capabilities.verbs` leaves it out."""
        raise UnsupportedVerbError("Delta tables do not support 'adopt'", verb="adopt")

    def _attempt(self, place: Place, request: Request) -> Attempt:
        from txfiles.targets.delta.client import Client
        from txfiles.targets.delta.commit import Attempt

        if isinstance(request.source, SparkSource):
            from txfiles.targets.delta.on_spark import SparkAttempt

            return SparkAttempt(Client(place), request=request)
        return Attempt(Client(place), request)


DELTA = DeltaTarget()
