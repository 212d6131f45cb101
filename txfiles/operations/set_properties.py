"""`set`: change table properties. A commit like any other."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from txfiles.core.conflicts import ReadSet
from txfiles.core.manifest import Metrics, PropertyValue
from txfiles.log.commit import CommitPlan
from txfiles.log.snapshot import Snapshot


def set_properties(base: Snapshot, properties: Mapping[str, PropertyValue]) -> CommitPlan:
    """Give properties their new values; nothing is committed where they have them already."""
    current = base.state.table
    table = replace(current, properties={**current.properties, **properties})
    return CommitPlan(
        base=base,
        table=table,
        changes_table=True,
        metrics=Metrics(),
        read_set=ReadSet(kind="set", table=current, changes_table=True),
        nothing=table == current,
    )
