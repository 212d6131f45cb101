"""The model: a table as a plain list of rows, and each mode as a few lines of Python.

It knows nothing of files, logs or Arrow. What the library does must come to the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


def exact(value: Any) -> Any:
    """A form of a value that is equal only to the same value: -0.0 is not 0.0, NaN is NaN, 1 is not True."""
    if isinstance(value, float):
        return ("nan",) if math.isnan(value) else ("float", value, math.copysign(1, value))
    return (type(value).__name__, value)


def frozen(row: Row) -> tuple[Any, ...]:
    """A row as a value, columns in order of name."""
    return tuple((name, exact(row[name])) for name in sorted(row))


def bag(rows: Sequence[Row]) -> list[Any]:
    """Rows without an order."""
    return sorted((frozen(row) for row in rows), key=repr)


def age(value: Any) -> tuple[int, Any]:
    """An order in which null is oldest."""
    return (0, 0) if value is None else (1, value)


@dataclass
class Counts:
    """What a write is expected to report."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    stale: int = 0
    deduplicated: int = 0
    deleted: int = 0


@dataclass
class Model:
    """A table of rows; every version kept."""

    keys: tuple[str, ...] = ()
    timestamp_col: str | None = None
    rows: list[Row] = field(default_factory=list)
    versions: list[list[Row]] = field(default_factory=list)
    batch_ids: dict[str, int] = field(default_factory=dict)

    def key(self, row: Row) -> tuple[Any, ...]:
        """The key of a row."""
        return tuple(row[name] for name in self.keys)

    def deduplicated(self, rows: Sequence[Row], strategy: str) -> list[Row]:
        """At most one row a key, by a strategy other than `error`."""
        best: dict[tuple[Any, ...], int] = {}
        for position, row in enumerate(rows):
            key = self.key(row)
            if key not in best or self._wins(row, rows[best[key]], strategy):
                best[key] = position
        return [rows[position] for position in sorted(best.values())]

    def _wins(self, later: Row, earlier: Row, strategy: str) -> bool:
        if frozen(later) == frozen(earlier):
            return False
        if strategy == "newest_wins":
            assert self.timestamp_col is not None
            return age(later[self.timestamp_col]) >= age(earlier[self.timestamp_col])
        return strategy == "last_wins"

    def append(self, rows: Sequence[Row]) -> Counts:
        """All rows are added."""
        self.rows = [*self.rows, *rows]
        return Counts(inserted=len(rows))

    def append_once(self, rows: Sequence[Row]) -> Counts:
        """Rows of unknown keys are added."""
        known = {self.key(row) for row in self.rows}
        new = [row for row in rows if self.key(row) not in known]
        self.rows = [*self.rows, *new]
        return Counts(inserted=len(new), skipped=len(rows) - len(new))

    def upsert(self, rows: Sequence[Row], stale: str = "skip") -> Counts:
        """Rows of known keys replace that row, others are added."""
        counts = Counts()
        for row in rows:
            standing = [known for known in self.rows if self.key(known) == self.key(row)]
            if not standing:
                counts.inserted += 1
                self.rows = [*self.rows, row]
                continue
            by_age = (lambda known: age(known[self.timestamp_col])) if self.timestamp_col else (lambda _: 0)
            newest = max(by_age(known) for known in standing)
            if self.timestamp_col and stale == "skip" and age(row[self.timestamp_col]) < newest:
                counts.stale += 1
                continue
            # Which of several equal-aged rows is "the" row depends on file order; only equality matters here.
            same = any(frozen(known) == frozen(row) and by_age(known) == newest for known in standing)
            counts.unchanged += same
            counts.updated += not same
            counts.deleted += len(standing) - 1
            self.rows = [*(known for known in self.rows if self.key(known) != self.key(row)), row]
        return counts

    def delete(self, gone: Callable[[Row], bool]) -> Counts:
        """Rows for which `gone` holds go."""
        return self.replace([], gone)

    def replace(self, rows: Sequence[Row], gone: Callable[[Row], bool]) -> Counts:
        """Rows for which `gone` holds are replaced by the batch."""
        kept = [row for row in self.rows if not gone(row)]
        counts = Counts(inserted=len(rows), deleted=len(self.rows) - len(kept))
        self.rows = [*kept, *rows]
        return counts
