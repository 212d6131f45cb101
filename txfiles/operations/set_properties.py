"""`set`: change table properties. A commit like any other."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from txfiles.core.manifest import PropertyValue
from txfiles.core.plan import CommitPlan, ReadSet
from txfiles.log.snapshot import Snapshot


def set_properties(base: Snapshot, properties: Mapping[str, PropertyValue]) -> CommitPlan:
    """Give properties their new values; commits nothing if they already have them."""
    current = base.state.table
    table = replace(current, properties={**current.properties, **properties})
    read_set = ReadSet(table=current, changes_table=True)
    return CommitPlan(table=table, read_set=read_set, nothing=table == current)
