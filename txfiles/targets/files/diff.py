"""`Table.diff` of plain files: which versions it is about."""

from __future__ import annotations

from datetime import datetime

from txfiles.core import times
from txfiles.diffs import Diff
from txfiles.log import versions
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading import diff as reading


def diff(session: Session, snapshot: Snapshot, a: int | datetime | str, b: int | datetime | str | None) -> Diff:
    """See `Table.diff`."""
    newest = versions.advance(session, snapshot)

    def at(given: int | datetime | str) -> Snapshot:
        if isinstance(given, datetime | str):
            return versions.at_time(session, newest.state, times.point_us(given))
        return versions.at_version(session, newest.state, given)

    return reading.diff(session, at(a), snapshot if b is None else at(b))
