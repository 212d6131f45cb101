"""Comparing the key index with the data files that it covers.

Source: specs/8-index.md, "Checking".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import RunRef, TableMetadata
from txfiles.formats.index_run import Run
from txfiles.formats.run_source import UnusableRunError
from txfiles.log import index
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading.live import groups
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist
from txfiles.rows import keys as key_codec
from txfiles.rows.bytewise import Positions
from txfiles.rows.digests import Digester
from txfiles.rows.filelist import DataFile


@dataclass(frozen=True, slots=True)
class RunState:
    """What one run is worth.

    Attributes:
        run: it.
        covers: paths of the live files that it covers; none if it is no use.
        problem: why it is no use; empty if it is right.
    """

    run: RunRef
    covers: tuple[str, ...]
    problem: str = ""


def states(
    session: Session, snapshot: Snapshot, *, check: bool, done: Callable[[int, int], None] = lambda *_: None
) -> list[RunState]:
    """What the runs of a version are worth, in its order.

    Args:
        session: where the table is.
        snapshot: the version.
        check: compare each run with its live files; otherwise its footer alone is read.
        done: told how many runs have been looked at, and of how many.
    Raises:
        StoreError: the store failed.
        CorruptTableError: a data file is missing or damaged.
    Cost: one request a run. To check: every block of it, and the key columns of all live files that it covers.
    """
    table, runs = snapshot.state.table, snapshot.state.runs
    fit = {run.name for run in index.same_keys(table, runs)}
    index.renew_secret(session, runs)
    secret = index.secret(session, snapshot.state.table_id) if fit else None

    def one(ref: RunRef) -> RunState:
        if secret is None or ref.name not in fit or ref.key != index.run_key(table, secret):
            return RunState(ref, (), "it holds other keys, or is of another secret")
        try:
            run = index.opened(session, ref)
            places = pc.index_in(run.cover.paths, value_set=snapshot.files["path"])
            files = filelist.data_files(snapshot.files, places.drop_null().to_numpy())
            if check:
                _compare(session, table, run, Digester(secret), files)
        except UnusableRunError as error:
            return RunState(ref, (), str(error))
        return RunState(ref, tuple(file.path for file in files))

    found: list[RunState] = []
    for state in (session.each if check else session.together)(one, runs):
        found.append(state)
        done(len(found), len(runs))
    return found


def _compare(session: Session, table: TableMetadata, run: Run, digester: Digester, files: list[DataFile]) -> None:
    """Raises `UnusableRunError` unless a run has exactly the keys of some live files that it covers."""
    number_of = {path: number for number, path in enumerate(run.cover.paths.to_pylist())}
    entries = _entries(run)
    marked = MarkedRows(session, files)
    for file in files:
        number = number_of[file.path]
        if run.cover.rows[number] != file.rows:
            raise UnusableRunError(f"it gives {file.path} another number of rows")
        keys = 0
        for group in groups(session, table, file, table.keys, marked):
            codes = key_codec.encode(group.read(table.keys), table.keys)
            valid = np.flatnonzero(np.asarray(codes.is_valid()))
            keys += len(valid)
            if not _has(run, digester, codes.take(pa.array(valid)), number, group.positions[valid]):
                raise UnusableRunError(f"it does not have each key of {file.path}")
        if not keys <= entries[number] <= keys + file.rows - file.live_rows:  # a run keeps the keys of marked rows
            raise UnusableRunError(f"it has {entries[number]} keys of {file.path}, which has {keys}")


def _entries(run: Run) -> Positions:
    """How many entries each covered file has. Reads all of the run."""
    counts = np.zeros(len(run.cover.paths), np.int64)
    for _, rows in run.pieces():
        counts += np.bincount(run.locate(rows)[0], minlength=len(counts))
    return counts


def _has(run: Run, digester: Digester, codes: pa.Array, number: int, positions: Positions) -> bool:
    """Whether a run has the keys of these rows of a file, each at its row."""
    if not len(codes):
        return True
    distinct = codes.dictionary_encode()
    wanted = distinct.indices.to_numpy()
    key, rows = run.probe(digester.digest(distinct.dictionary))
    file, at = run.locate(rows)
    mine = file == number
    found = set(zip(key[mine].tolist(), at[mine].tolist(), strict=True))
    return found >= set(zip(wanted.tolist(), positions.tolist(), strict=True))
