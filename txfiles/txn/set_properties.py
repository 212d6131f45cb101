"""`set`: change table properties. A commit like any other."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from txfiles.core.conflicts import Footprint
from txfiles.core.manifest import Metrics, PropertyValue
from txfiles.txn.commit import Work
from txfiles.txn.snapshot import Snapshot


def set_properties(base: Snapshot, properties: Mapping[str, PropertyValue]) -> Work:
    """Give properties their new values; nothing is committed where they have them already."""
    current = base.state.table
    table = replace(current, properties={**current.properties, **properties})
    return Work(
        base=base,
        table=table,
        changes_table=True,
        metrics=Metrics(),
        footprint=Footprint(kind="set", table=current, changes_table=True),
        nothing=table == current,
    )
