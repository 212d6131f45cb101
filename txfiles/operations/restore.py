"""`restore`: make the table what it was at an earlier version, in a commit that writes no data file.

Files that the version does not have are removed; those that are not live, or have other marked rows, are added again
as they were then. Schema, keys, timestamp column and batch ids are the version's. Properties stay.

Source: specs/4-semantics.md, "Restore".
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from txfiles.core import properties, replay
from txfiles.core.manifest import Metrics, Restore, TableMetadata
from txfiles.core.plan import CommitPlan, ReadSet
from txfiles.core.schema import refuse_case_clashes
from txfiles.log.snapshot import Snapshot
from txfiles.rows import filelist, restoring
from txfiles.rows.restoring import Positions


def restore(head: Snapshot, wanted: Snapshot) -> CommitPlan:
    """Plan to make the head what an earlier version was; nothing is committed if it is that already.

    Raises:
        SchemaMismatchError: columns of the version differ in case only, and the table does not allow that.
    Cost: the two lists of files; no data file is read.
    """
    before, state = head.state, wanted.state
    table = _table(before.table, state.table)
    back = restoring.put_back(head.files, wanted.files)
    paths = head.files["path"].combine_chunks()
    removed = paths.take(pa.array(back.remove)).to_pylist()
    places = paths.take(pa.array(back.places, mask=back.places < 0)).to_pylist()
    added = restoring.adds(wanted.files.take(pa.array(back.add)), table, places)
    forget, remember = replay.batch_id_changes(before.batch_ids, state.batch_ids)
    changes_table = table != before.table
    came, went = _rows(head.files.take(pa.array(back.remove)), wanted.files.take(pa.array(back.add)))
    return CommitPlan(
        table=table,
        read_set=ReadSet(table=before.table, changes_table=changes_table),
        metrics=Metrics(
            rows_in=came,
            rows_inserted=came,
            rows_deleted=went,
            files_added=len(added) - back.moved,
            files_removed=len(removed) - back.moved,
        ),
        add=added,
        remove=tuple(removed),
        restore=Restore(
            version=state.version,
            columns_since=state.columns_since,
            names_since=state.names_since,
            unique_keys=state.unique_keys,
            forget=forget,
            remember=remember,
        ),
        nothing=not (added or removed or changes_table or forget or remember),
    )


def _table(now: TableMetadata, then: TableMetadata) -> TableMetadata:
    if not properties.switch(now.properties, "case_sensitive_names"):
        refuse_case_clashes(now.columns, then.columns)
    features = dict.fromkeys((*now.required_features, *then.required_features))
    return replace(
        now,
        columns=then.columns,
        last_column_id=max(now.last_column_id, then.last_column_id),
        partition_by=then.partition_by,
        keys=then.keys,
        timestamp_col=then.timestamp_col,
        required_features=tuple(features),
    )


def _rows(removed: pa.Table, added: pa.Table) -> tuple[int, int]:
    """How many rows come back, and how many go, by the log: of a file in both, the difference of its live rows."""
    gone = _live_rows(removed)
    at, _ = restoring.compared(added, removed)
    was = np.where(at >= 0, gone[at], 0) if len(gone) else np.zeros(len(at), np.int64)
    grown = _live_rows(added) - was
    gone[at[at >= 0]] = 0
    return int(grown[grown > 0].sum()), int(gone.sum() - grown[grown < 0].sum())


def _live_rows(files: pa.Table) -> Positions:
    return np.array([file.live_rows for file in filelist.data_files(files)], np.int64)
