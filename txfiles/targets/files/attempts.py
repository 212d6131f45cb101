"""A call's attempt at a commit, what comes after the commit, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from txfiles.core.manifest import Operation
from txfiles.core.messages import shown, text
from txfiles.errors import OptionError, StoreError, TableDetachedError
from txfiles.log import identity, manifests, versions
from txfiles.log.commit import Attempt, Outcome
from txfiles.log.session import Session
from txfiles.operations.edits import unite
from txfiles.reading import checks
from txfiles.results import Resolution
from txfiles.writing.staging import Staging

PATIENCE_SECONDS = 60.0
"""How long a call without a `timeout` keeps trying after the first lost race."""


def new_attempt(session: Session, operation: Operation, timeout: float = PATIENCE_SECONDS) -> Attempt:
    """A call's attempt, with an id that no other call has."""
    return Attempt(
        session, session.environment.new_id(), operation, timeout, Staging, checks.holds, checks.still_live, unite
    )


@contextmanager
def after_commit(session: Session, done: Outcome, hint: str) -> Iterator[None]:
    """Context manager for what a call does after its commit: errors report that the commit is in the table."""
    try:
        yield
    except StoreError as error:
        if not done.committed:
            raise
        raise StoreError(
            f"version {done.version} of {session.store.root} is committed; after that: {error.message}",
            hint=hint,
            committed="yes",
            version=done.version,
        ) from error


def resolve(session: Session, commit_id: str) -> Resolution:
    """Whether a commit is in the log. Cost: reads manifests from the newest back until it is found.

    Raises:
        TableNotFoundError: nobody has ever begun to create a table there, so the path must be wrong.
    """
    if not re.fullmatch("[0-9a-f]{32}", text(commit_id)):
        raise OptionError(
            f"{shown(commit_id)} is not a commit id",
            hint="pass the 32 hex digits from the error (error.commit_id)",
        )
    try:
        newest = versions.head(session)
    except TableDetachedError as left:  # its manifests are still there, unless they were purged
        return _resolved(session, commit_id, left.version)
    if newest is None and identity.table_id(session.store) is not None:
        return Resolution(committed=False, version=None)  # the creation that it was has not come to pass
    newest = newest or versions.require_head(session)
    return _resolved(session, commit_id, newest.state.version)


def _resolved(session: Session, commit_id: str, newest: int) -> Resolution:
    for manifest in manifests.history(session, newest, None):
        if manifest.commit_id == commit_id:
            return Resolution(committed=True, version=manifest.version)
    return Resolution(committed=False, version=None)
