"""A store that counts what is asked of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from txfiles.store.port import Entry, Store

VERBS = ("get", "stat", "put_if_absent", "put", "list_from", "delete_many", "open_input", "read_ranges", "create")


class CountingStore:
    """Counts the requests of each kind; `listed` are the objects that listings return."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Lock()
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in VERBS:
            self.count(name)
        return found

    def count(self, name: str, more: int = 1) -> None:
        """Count something else, too. Safe from several threads."""
        with self._guard:
            self.calls[name] += more

    def list_from(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """The store's listing."""
        self.count("list_from")
        for entry in self._store.list_from(prefix, after):
            self.count("listed")
            yield entry
