"""Where a call works: a table's store and the world around it."""

from __future__ import annotations

from dataclasses import dataclass

from txfiles.core.environment import Environment, Map
from txfiles.log.cache import SnapshotCache
from txfiles.store.port import Store


@dataclass(frozen=True, slots=True)
class Session:
    """A table's place; clock, ids and threads; and what this process has opened before."""

    store: Store
    environment: Environment
    cache: SnapshotCache | None = None

    @property
    def request_map(self) -> Map:
        """`map` for small requests: in parallel if the store gains by it, else a plain loop."""
        return self.environment.map if self.store.capabilities.requests_at_once > 1 else map
