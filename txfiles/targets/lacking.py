"""The verbs that not every target has: an open table inherits those that it lacks.

None of these methods is ever called: `targets.require_verb` refuses the verb first, by the target's capabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from txfiles.errors import UnsupportedVerbError


class Lacking:
    """What tables of plain files have, refused."""

    def files(self, *, physical: bool) -> Any:
        """Its data files."""
        raise _lacks("files")

    def file_table(self, *, physical: bool) -> Any:
        """Its data files, with what is known of them."""
        raise _lacks("file_table")

    def at(self, version: int | None, timestamp: datetime | str | None) -> Any:
        """An earlier version."""
        raise _lacks("at")

    def diff(self, a: int | datetime | str, b: int | datetime | str | None) -> Any:
        """How two versions differ."""
        raise _lacks("diff")

    def restore(self, options: Any) -> Any:
        """An earlier version, made the newest. Delta's own keeps batch ids whose rows it takes away."""
        raise _lacks("restore")

    def set(self, properties: Mapping[str, Any]) -> Any:
        """Change properties."""
        raise _lacks("set")

    def change_columns(self, change: Any) -> Any:
        """Rename, drop, reorder or widen columns."""
        raise _lacks(change.action)

    def transaction(self, options: Any) -> Any:
        """Several operations in one commit."""
        raise _lacks("transaction")

    def vacuum(self, options: Any) -> Any:
        """Delete files that no version needs."""
        raise _lacks("vacuum")

    def compact(self, options: Any) -> Any:
        """Join small files."""
        raise _lacks("compact")

    def worth_compacting(self) -> Any:
        """Part of `compact`."""
        raise _lacks("compact")

    def index(self, options: Any) -> Any:
        """Build, drop or check a key index."""
        raise _lacks("index")

    def to_spark(self, spark: Any, columns: Sequence[str] | None, filter: Any) -> Any:
        """Spark reads Delta and SQL tables itself."""
        raise _lacks("to_spark")


def _lacks(verb: str) -> UnsupportedVerbError:
    return UnsupportedVerbError(f"this kind of table does not support {verb!r}", verb=verb)
