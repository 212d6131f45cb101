"""Asking the key index where a batch's keys are, so that no data file has to be searched for them.

Source: specs/8-index.md, "Reading".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import RunRef
from txfiles.formats.index_run import Run
from txfiles.formats.run_source import UnusableRunError
from txfiles.log import index
from txfiles.log.session import Session
from txfiles.reading.key_finder import BatchKeys
from txfiles.rows.bytewise import Positions
from txfiles.rows.digests import Digester, Digests
from txfiles.rows.keys import Mask

SEARCHED_ROWS = 8
"""Up to this many rows of files in question for each key, they are searched: neighbours cost the index a block each."""

SEARCHED_ROWS_REMOTE = 1_000
"""Likewise, where each block is a request: its time is that of reading so many keys."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What runs say of some files.

    Attributes:
        runs: those that were asked: each covers one of the files, or more.
        owner: for each of the files, which of the runs covers it and was asked about it; -1: none.
        files: for each row that was found, its file, ascending.
        positions: where the row is in its file, ascending within a file.
        batch_rows: the row of the batch that has its key.
    """

    runs: tuple[RunRef, ...]
    owner: Positions
    files: Positions
    positions: Positions
    batch_rows: Positions

    @property
    def has_hits(self) -> Mask:
        """For each of the files, whether a row of it was found."""
        found = np.zeros(len(self.owner), bool)
        found[self.files] = True
        return found


def ask(session: Session, wanted: BatchKeys, files: pa.Table, may: Positions, runs: Sequence[RunRef]) -> Answer:
    """Ask some runs where keys are.

    Args:
        session: where the runs are.
        wanted: the keys.
        files: a list of files.
        may: which of them are in question; they are numbered in this order.
        runs: of the version that has the files.
    Raises:
        StoreError: the store failed. A run that is no use is forgotten, and covers nothing.
    Cost: three round trips if all runs are asked together, each for all runs. Opens each run, and of those that cover
        a file in question reads a few blocks of 256 bytes a key; one look-up of paths.
    """
    nowhere = np.empty(0, np.int64)
    owner = np.full(len(may), -1)
    codes = wanted.keys.encoded
    fit = index.same_keys(wanted.table, runs) if runs and not codes.null_count else []
    if fit and _is_searched_sooner(session, wanted, files, may):
        fit = []
    index.renew_secret(session, fit)
    secret = index.secret(session, fit[0].name[:16]) if fit else None
    if secret is None:
        return Answer((), owner, nowhere, nowhere, nowhere)
    listed = files.select(["path", "rows"]).take(pa.array(may))
    key = index.run_key(wanted.table, secret)
    opened = session.together(lambda ref: _opened(session, ref), [ref for ref in fit if ref.key == key])
    asked = [each for each in opened if each is not None]
    places = _places([run for _, run in asked], listed["path"])
    covering = [number for number, at in enumerate(places) if (at >= 0).any()]
    asked, places = [asked[number] for number in covering], [places[number] for number in covering]
    needles = Digester(secret).digest(codes)
    probed = session.each(lambda run: _probed(session, *run, needles), asked)
    found = [(nowhere, nowhere, nowhere)]
    for number, ((ref, run), at, hits) in enumerate(zip(asked, places, probed, strict=True)):
        if hits is None:
            continue
        covered = at[at >= 0]
        if (run.cover.rows[at >= 0] != listed["rows"].take(pa.array(covered)).to_numpy()).any():
            index.forget(session, ref, "it has a file with more or fewer rows than the log says")
            continue
        owner[covered[owner[covered] < 0]] = number
        batch_rows, rows = hits
        of_cover, positions = run.locate(rows)
        files_hit = at[of_cover]
        mine = (files_hit >= 0) & (owner[files_hit] == number)
        found.append((files_hit[mine], positions[mine], batch_rows[mine]))
    file, position, batch_row = map(np.concatenate, zip(*found, strict=True))
    order = np.lexsort((position, file))
    return Answer(tuple(ref for ref, _ in asked), owner, file[order], position[order], batch_row[order])


def _is_searched_sooner(session: Session, wanted: BatchKeys, files: pa.Table, may: Positions) -> bool:
    """Whether the files in question have so few rows for each key that it costs less to search them."""
    rows: int = pc.sum(files["rows"].take(pa.array(may))).as_py() or 0
    remote = session.store.capabilities.requests_at_once > 1
    return rows <= (SEARCHED_ROWS_REMOTE if remote else SEARCHED_ROWS) * len(wanted.keys.encoded)


def _opened(session: Session, ref: RunRef) -> tuple[RunRef, Run] | None:
    try:
        return ref, index.opened(session, ref, held=True)
    except UnusableRunError as error:
        index.forget(session, ref, error)
        return None


def _probed(session: Session, ref: RunRef, run: Run, needles: Digests) -> tuple[Positions, Positions] | None:
    """For each entry that has one of the digests: which, and the row's number. None: the run is no use."""
    try:
        return run.probe(needles)
    except UnusableRunError as error:
        index.forget(session, ref, error)
        return None


def _places(runs: Sequence[Run], paths: pa.ChunkedArray) -> list[Positions]:
    """For each run the place of each file that it covers among some paths; -1: it is not there."""
    if not runs:
        return []
    covers = [run.cover.paths for run in runs]
    found = pc.fill_null(pc.index_in(pa.concat_arrays(covers), value_set=paths), -1).to_numpy().astype(np.int64)
    return np.split(found, np.cumsum([len(cover) for cover in covers])[:-1])
