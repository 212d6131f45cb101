"""Where a call works: a table's store and the world around it."""

from __future__ import annotations

from dataclasses import dataclass

from txfiles.core.environment import Environment
from txfiles.log.cache import SnapshotCache
from txfiles.store.port import Store


@dataclass(frozen=True, slots=True)
class Session:
    """A table's place; clock, ids and threads; and what this process has opened before."""

    store: Store
    environment: Environment
    cache: SnapshotCache | None = None
