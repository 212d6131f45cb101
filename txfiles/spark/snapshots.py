"""Snapshots for tasks: the same version with fewer facts, so that it pickles small."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from txfiles.log.snapshot import Listed, Snapshot
from txfiles.rows.segments import FileList


def without_history(base: Snapshot) -> Snapshot:
    """The snapshot without what only a commit needs."""
    return with_files(base, base.files)


def with_files(base: Snapshot, files: pa.Table) -> Snapshot:
    """The snapshot without what only a commit needs, and with some of its files."""
    state = replace(base.state, batch_ids={}, checkpoint=None)
    return Snapshot(state, Listed.of(state.table, FileList.of(files)))
