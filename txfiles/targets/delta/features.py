"""What a Delta table may ask of its writers, and what of it txfiles does.

Source: specs/9-targets.md, "Delta".
"""

from __future__ import annotations

from txfiles.errors import UnsupportedTableError
from txfiles.targets.delta.snapshot import Snapshot

_COMPUTED = ("delta.invariants", "delta.generationExpression", "delta.identity.start", "delta.identity.step")


def require_writable(base: Snapshot, *, rewrites: bool, removes: bool = False) -> None:
    """Refuse a table that asks more of its writers than files with the right columns.

    Args:
        base: the table.
        rewrites: whether files of which rows stay are written anew.
        removes: whether files go.
    Raises:
        UnsupportedTableError: names what it asks.
    """
    asked = None
    if not base.is_plain:
        asked = "deletion vectors or column mapping"
    elif any(name.startswith("delta.constraints.") for name in base.configuration):
        asked = "check constraints"
    elif any(name.encode() in (field.metadata or {}) for field in base.described for name in _COMPUTED):
        asked = "computed columns or invariants"
    elif rewrites and base.configuration.get("delta.enableChangeDataFeed", "").lower() == "true":
        asked = "a change data feed"
    elif removes and base.configuration.get("delta.appendOnly", "").lower() == "true":
        raise UnsupportedTableError(
            f"the Delta table at {base.client.url} is append-only (delta.appendOnly): its rows stay as they are",
            hint="append, or use append_once",
        )
    if asked is not None:
        raise UnsupportedTableError(
            f"the Delta table at {base.client.url} has {asked}, which txfiles does not write",
            hint="write this table with deltalake or Spark",
        )
