"""`index`: build the key index of a table, or drop it. Neither changes a row, nor an answer.

A build covers the files that no run covers, and merges runs until no tier is full, however large they are. What it
writes is right whatever others commit meanwhile: a run that covers a file which is gone is not asked about it, and of
two runs that cover one file each is right.

Source: specs/8-index.md; specs/decisions/0061-building-and-dropping-the-index.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace as replace_struct

from txfiles.core import names, properties, runs
from txfiles.core.manifest import IndexAction, RunRef, TableMetadata
from txfiles.core.plan import CommitPlan, ReadSet
from txfiles.errors import CorruptTableError, KeysRequiredError, StoreError
from txfiles.log import index
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading import index_check
from txfiles.reading.live import groups
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist
from txfiles.rows import keys as key_codec
from txfiles.rows.filelist import DataFile
from txfiles.writing.staging import Staging

Done = Callable[[int, int], None]
"""Told how many files have been read, and of how many."""


def plan_build(session: Session, base: Snapshot, stage: Staging, done: Done) -> CommitPlan:
    """Cover every live file, and have later commits do so.

    Raises:
        KeysRequiredError: the table has no keys.
        CorruptTableError: a data file or the index's secret is damaged.
        StoreError: the store failed.
    Cost: the key columns of the files that no run covers, in row groups; 40 bytes of memory for each of some million
        keys. Merging reads and writes the runs of a full tier once, as a stream.
    """
    table = base.state.table
    if not table.keys:
        raise KeysRequiredError(
            f"an index finds rows by their keys, and {session.store.root} has none",
            hint="record keys with a keyed write first: mode='append_once' or 'upsert', and keys=[…]",
        )
    states = index_check.states(session, base, check=False)
    useful = [state for state in states if state.covers and not index.is_forgotten(session, state.run)]
    wanted = [state.run for state in useful]
    if index.key_kinds(table) is not None:  # otherwise no row has a key yet
        covered = pa.array([path for state in useful for path in state.covers], pa.string())
        missing = np.flatnonzero(pc.invert(pc.is_in(base.files["path"], value_set=covered)).to_numpy())
        files = filelist.data_files(base.files, missing)
        if files or runs.to_merge(wanted, most=None):
            stage.runs.use(table, _secret(session, base))
        wanted = _merged(session, base, stage, [*wanted, *_covered(session, table, stage, files, done)])
    return _plan(base, wanted, "on")


def plan_drop(base: Snapshot) -> CommitPlan:
    """Remove every run, and have no commit write or ask one again. Nothing to do if there is no index."""
    table, has_runs = base.state.table, bool(base.state.runs)
    on = properties.text(table.properties, "key_index") == "on"
    return _plan(base, [], "off" if on or has_runs or index.wants_runs(table, has_runs=False) else None)


def _plan(base: Snapshot, wanted: Sequence[RunRef], key_index: str | None) -> CommitPlan:
    """The plan after which there are these runs, and the property has this value.

    It carries a table action in any case, so that of two that say what becomes of the index, one sees the other.
    """
    current, known = base.state.table, base.state.runs
    changed = {} if key_index is None else {"key_index": key_index}
    table = replace_struct(current, properties={**current.properties, **changed})
    added = [run for run in wanted if run not in known]
    actions = (
        *(IndexAction(remove=run.name) for run in known if run not in wanted),
        *(IndexAction(add=run) for run in added),
    )
    staged = frozenset(run.path for run in added)
    return CommitPlan(
        table=table,
        read_set=ReadSet(table=current, staged=staged, changes_table=True),
        index=actions,
        nothing=not actions and table == current,
    )


def _secret(session: Session, base: Snapshot) -> bytes:
    index.renew_secret(session, base.state.runs)
    try:
        found = index.made_secret(session, base.state.table_id)
    except StoreError as error:
        error.committed = "no"  # whatever became of the secret, no manifest was sent
        raise
    if found is None and session.store.stat(names.INDEX_SEED_FILE) is None:
        raise StoreError(
            f"{session.store.root}/{names.INDEX_SEED_FILE} could not be created; no index was built",
            hint="see whether the store takes writes, then build it again",
        )
    if found is None:
        raise CorruptTableError(
            f"{session.store.root}/{names.INDEX_SEED_FILE} is damaged, and nothing can be indexed under it",
            hint="delete that file, and build the index again: all runs are then made anew; no row depends on them",
            file=names.INDEX_SEED_FILE,
        )
    return found


def _covered(
    session: Session, table: TableMetadata, stage: Staging, files: Sequence[DataFile], done: Done
) -> list[RunRef]:
    """New runs that cover some files. Marked rows are among their entries: marks change, a run does not."""

    def one(file: DataFile) -> None:
        keys = stage.cover(table, file.path)
        for group in groups(session, table, replace(file, vector=None), table.keys, MarkedRows(session, ())):
            keys.add(key_codec.encode(group.read(table.keys), table.keys))
        keys.complete()

    for count, _ in enumerate(session.each(one, files), 1):
        done(count, len(files))
    found = list(stage.runs.finished())
    if stage.runs.failure is not None:
        raise stage.runs.failure
    return found


def _merged(session: Session, base: Snapshot, stage: Staging, wanted: list[RunRef]) -> list[RunRef]:
    """Some runs, oldest first, with those of full tiers merged. One that turns out to be damaged is left out."""
    while due := runs.to_merge(wanted, most=None):
        merge = stage.runs.merged(due, base.files["path"], ())
        if merge is None:  # which is logged
            return [run for run in wanted if not index.is_forgotten(session, run)]
        stage.drop({run.path for run in due if run not in base.state.runs})
        wanted = [run for run in wanted if run not in due] + ([merge.result] if merge.result else [])
    return wanted
