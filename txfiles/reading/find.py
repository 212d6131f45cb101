"""Where a batch's keys are in a table: what the key index tells, and for the files that it does not cover, a probe.

This is how every operation finds keys.

Source: specs/4-semantics.md, "Finding keys"; specs/8-index.md, "Reading".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import RunRef
from txfiles.formats.source import AHEAD_BYTES
from txfiles.log import index
from txfiles.log.session import Session
from txfiles.reading import key_index
from txfiles.reading.key_finder import AtOnce, BatchKeys, Hits, Look, Then, candidates, probe_file
from txfiles.reading.key_index import Answer
from txfiles.reading.live import opened
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist
from txfiles.rows import keys as key_codec
from txfiles.rows.filelist import DataFile


@dataclass(frozen=True)
class Found:
    """Where a batch's keys are in a table.

    Attributes:
        hits: one for each file that holds a key of the batch, in the table's order.
        scanned: how many data files were opened.
    """

    hits: list[Hits]
    scanned: int


def find(
    session: Session,
    wanted: BatchKeys,
    files: pa.Table,
    columns: Sequence[str] = (),
    *,
    compared: pa.Table | None = None,
    runs: Sequence[RunRef] = (),
    verifies: bool = False,
    then: Then | None = None,
    progress: Callable[[int], Callable[[int], None]] = lambda _: lambda _: None,
) -> Found:
    """Look a batch's keys up in the files of a list.

    Args:
        session: where the files are.
        wanted: the batch's keys.
        files: the list of files.
        columns: what to read of the stored rows that are hit.
        compared: the batch's rows in other columns, with which those of the stored rows are compared.
        runs: of the key index; files that they cover are not searched, and read only for rows that are hit.
        verifies: compare the keys of rows that the index tells of, even if nothing is to be read of them.
        then: called for each opened file that holds a key, while it is open, by several threads; again for a file if a
            run proves to lie.
        progress: called with how many files will be opened; what it returns, with how many have been.
    Cost: as `candidates`, `key_index.ask`, and `probe` of the files that no run covers. Of those that one covers, the
        row groups that hold a key, if something is to be read of them.
    """
    may = candidates(wanted, files)
    answer = key_index.ask(session, wanted, files, may, runs)
    searched = answer.owner < 0
    numbers = np.flatnonzero(searched | answer.has_hits)
    listed = dict(zip(numbers.tolist(), filelist.data_files(files, may[numbers]), strict=True))
    covered = [number for number in listed if not searched[number]]
    marked = MarkedRows(session, list(listed.values()))
    live = session.each(lambda number: _told(answer, number, listed[number], marked), covered)
    told = {number: hits for number, hits in zip(covered, live, strict=True) if len(hits.positions)}
    reads = verifies or bool(columns) or (compared is not None and compared.num_columns > 0)
    to_open = [number for number in listed if searched[number] or (reads and number in told)]
    matcher = wanted.keys.matcher if searched.any() else None  # made here, once: not by each thread for itself

    def one(number: int) -> Hits | None:
        look = Look(columns, compared)
        if number in told:
            return _read_told(session, wanted, told[number], look, marked=marked, then=at_once)
        assert matcher is not None
        return probe_file(session, wanted, matcher, listed[number], look, marked=marked, then=at_once)

    at_once = None if then is None else partial(then, alone=len(to_open) == 1)
    found, lying = dict(told), []
    done = progress(len(to_open))
    largest = max((listed[number].bytes for number in to_open), default=0) if reads else 1
    holding = min(largest, AHEAD_BYTES)
    for count, (number, hits) in enumerate(zip(to_open, session.each(one, to_open, holding=holding), strict=True), 1):
        done(count)
        if hits is None:
            lying.append(answer.runs[answer.owner[number]].name)
        else:
            found[number] = hits
    if lying:
        for run in runs:
            if run.name in lying:
                index.forget(session, run, "it names a row that has another key")
        return find(
            session,
            wanted,
            files,
            columns,
            compared=compared,
            runs=[run for run in runs if run.name not in lying],
            verifies=verifies,
            then=then,
            progress=progress,
        )
    hits_of = (found[number] for number in listed if number in found)
    return Found([hits for hits in hits_of if len(hits.positions)], len(to_open))


def _told(answer: Answer, number: int, file: DataFile, marked: MarkedRows) -> Hits:
    """What the index tells of one file: where live rows with the keys are, nothing else. Cost: the file's vector."""
    mine = slice(*np.searchsorted(answer.files, [number, number + 1]).tolist())
    positions, batch_rows = answer.positions[mine], answer.batch_rows[mine]
    live = ~np.isin(positions, marked.of(file))
    positions, batch_rows = positions[live], batch_rows[live]
    return Hits(file, positions, batch_rows, pa.table({}), np.zeros(len(positions), bool))


def _read_told(
    session: Session, wanted: BatchKeys, told: Hits, look: Look, *, marked: MarkedRows, then: AtOnce | None
) -> Hits | None:
    """What is wanted of the rows that the index tells of; None if one of them has another key.

    Cost: the columns, and those of the keys, of the row groups with such rows.
    """
    keys = wanted.table.keys
    hit = []
    with opened(session, wanted.table, told.file, marked) as groups:
        holding = [group for group in groups if len(group.locate(told.positions)[1])]
        look.expect(holding, keys)
        for group in holding:
            mine, places = group.locate(told.positions)
            batch_rows = told.batch_rows[mine]
            codes = key_codec.encode(group.read(keys), keys).take(pa.array(places))
            if not pc.all(pc.equal(codes, wanted.keys.encoded.take(pa.array(batch_rows)).cast(codes.type))).as_py():
                return None
            hit.append((group, places, batch_rows))
        hits = look.all(told.file, hit, told.positions)
        if then is not None:
            then(hits, groups)
        return hits
