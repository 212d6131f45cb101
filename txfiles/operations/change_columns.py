"""`rename`, `drop`, `reorder` and `widen`: a table action each, and no file is read or written.

The plan depends on what the table is, and on nothing else: rows that others write meanwhile are written under the
columns that they saw, and stay right. Whoever has planned on the old columns plans again.

Source: specs/4-semantics.md, "Changing columns"; specs/decisions/0093-columns-change-without-a-rewrite.md.
"""

from __future__ import annotations

from txfiles import formats
from txfiles.core.manifest import COLUMN_MAPPING, TableMetadata
from txfiles.core.plan import CommitPlan, ReadSet
from txfiles.log.snapshot import Snapshot
from txfiles.operations.context import with_feature
from txfiles.rows import columns, partitions, types
from txfiles.verbs import ColumnChange


def change_columns(base: Snapshot, change: ColumnChange) -> CommitPlan:
    """Change the columns; nothing is committed if they are that way already.

    Raises:
        InputError: one of its kinds, by what does not fit.
    Cost: nothing is read, but the list of files if a partition column is renamed.
    """
    current = base.state.table
    table = _changed(current, change)
    if table.partition_by != current.partition_by:
        for partition in set(partitions.of_files(table, base.files)):  # a file that is written anew gets such a folder
            partitions.folders(table, partition)
    return CommitPlan(table=table, read_set=ReadSet(table=current, changes_table=True), nothing=table == current)


def _changed(table: TableMetadata, change: ColumnChange) -> TableMetadata:
    if change.action == "widen":
        assert change.type is not None
        found = columns.widen_column(table, change.columns[0], change.type)
        formats.get(table.format).check_types(types.arrow_schema(found.columns))
        return found
    if change.action == "rename":
        found = columns.rename(table, *change.columns)
    elif change.action == "drop":
        found = columns.drop(table, change.columns[0])
    else:
        found = columns.reorder(table, change.columns)
    # Releases that do not know it would look for the columns of older files by name in `dataset()`.
    return table if found == table else with_feature(found, COLUMN_MAPPING)
