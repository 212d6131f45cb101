"""The version that a commit builds on, and what must be known about it before the put.

Source: specs/5-commit.md, "Commit".
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from txfiles.core.manifest import CheckpointRef
from txfiles.errors import StoreError
from txfiles.log import checkpoint, newest, versions
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot

logger = logging.getLogger("txfiles")


class Base:
    """The base of the commit, and what must be known about it before the put.

    Args:
        session: the table's.
        snapshot: None if the commit creates the table.
    """

    def __init__(self, session: Session, snapshot: Snapshot | None) -> None:
        self.snapshot = snapshot
        self._session = session
        self._begun: list[Callable[[], Any]] = []
        self._guard = threading.Lock()

    def begin(self) -> None:
        """There will be a commit: on a slow store, do what it needs while its files are being written.

        Each piece of work is done once at most, however many races are lost to a store that then shows nothing new.
        """
        start = self._session.environment.start if self._session.is_parallel else cache
        with self._guard:
            self._begun = self._begun or [start(work) for work in self._work]

    def is_still_there(self) -> bool:
        """Whether its manifest is still the one that was read."""
        return bool(self._result(0))

    def checkpoint(self) -> CheckpointRef | None:
        """Save it if that is due. Returns what the next manifest says of the newest checkpoint."""
        found: tuple[CheckpointRef | None, Snapshot | None] = self._result(1)
        ref, self.snapshot = found
        return ref

    def _result(self, number: int) -> Any:
        self.begin()
        return self._begun[number]()

    @property
    def _work(self) -> tuple[Callable[[], Any], ...]:
        session, base = self._session, self.snapshot
        if base is None:
            return lambda: True, lambda: (None, None)
        return partial(versions.is_still_there, session.store, base.state), partial(_checkpoint, session, base)


def _checkpoint(session: Session, base: Snapshot) -> tuple[CheckpointRef | None, Snapshot]:
    """Save the base if that is due, and leave a hint to it now and then: it certainly exists."""
    state, ref = base.state, base.state.checkpoint
    if checkpoint.due(state):
        try:
            ref, base = checkpoint.write(session, versions.in_named_parts(session, base))
        except StoreError as error:  # the next openers lose time, but the commit must not fail
            logger.warning("no checkpoint at version %d of %s: %s", state.version, session.store.root, error)
    if state.version % newest.HINT_INTERVAL == 0:
        newest.write_hint(session.store, state.version, ref)
    return ref, base
