"""Where a call works: a table's store and the world around it."""

from __future__ import annotations

from dataclasses import dataclass

from txfiles.core.environment import Environment
from txfiles.store.port import Store


@dataclass(frozen=True, slots=True)
class Session:
    """A table's place, and clock, ids and threads."""

    store: Store
    environment: Environment
