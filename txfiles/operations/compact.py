"""`compact`: join small files, write those anew of which many rows are marked, and change no row.

Files of one partition that follow each other are joined, in row order, into a file that takes the place of the first
of them. A file is *small* below half the target size. A new file is closed if the next small one would take it beyond
the target: then it is not small. So two small files that follow each other never remain, and a second compaction has
nothing to do.

A file of which a quarter of the rows is marked is *worn*: it is joined as a small one is, or written anew by itself.
So is, on request, each file that plain readers would see otherwise. Marked rows of whatever is joined are dropped.

Source: specs/4-semantics.md, "Compaction"; specs/5-commit.md, "Conflicts".
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core import plan as plans
from txfiles.core.manifest import Add, TableMetadata
from txfiles.core.plan import CommitPlan, Group, Partition
from txfiles.errors import KeysRequiredError
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading import scan
from txfiles.reading.live import LiveGroup, expected, live_rows, opened, seen_otherwise
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist, filters, partitions, types
from txfiles.rows import keys as key_codec
from txfiles.rows.filelist import DataFile
from txfiles.writing.staging import SLICE_ROWS, Staging


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a compaction is to do.

    Attributes:
        target_bytes: how large files are to become.
        sort: whether the rows of a new file are sorted by key.
        where: only files that may hold a match are joined; as the caller gave it.
        plain: whether files that plain readers would see otherwise are worn.
        done: told how many files have been read, and of how many.
    """

    target_bytes: int
    sort: bool
    where: Any
    plain: bool
    done: Callable[[int, int], None]

    def is_small(self, size: int) -> bool:
        """Whether a file of so many bytes is to be joined."""
        return 2 * size < self.target_bytes

    def is_full(self, size: int, more: int) -> bool:
        """Whether a new file of so many bytes takes no small one of `more` bytes: it is not small then."""
        return size + more > self.target_bytes


WORN_SHARE = 4
"""A file is worn if one of so many of its rows is marked: to drop a row, no more than three are written again."""


@dataclass(frozen=True, slots=True)
class Run:
    """Small or worn files of one partition, in row order, with nothing between them that must stay there.

    There are two or more, or one that is worn.

    Attributes:
        partition: of all.
        files: they.
        worn: the paths of those that are worn.
    """

    partition: Partition
    files: tuple[DataFile, ...]
    worn: frozenset[str]


@dataclass(frozen=True)
class _Pass:
    """One pass: where to read, and where to write.

    Attributes:
        session: the table's.
        table: what the table is.
        stage: where to write.
        wanted: what the caller wants.
        alone: whether there is but one run, which may then read ahead.
        done: called after each file of a run that is alone.
    """

    session: Session
    table: TableMetadata
    stage: Staging
    wanted: Wanted
    alone: bool
    done: Callable[[], None]

    def read(self, files: Sequence[DataFile]) -> Generator[Iterator[pa.Table], None, None]:
        """The rows of each file, in pieces, which are used up before the next file's. Some files are begun ahead."""
        columns = [column.name for column in self.table.columns]
        marked = MarkedRows(self.session, files)
        stacks: deque[ExitStack] = deque()

        def begin(file: DataFile) -> Iterator[pa.Table]:
            stacks.append(stack := ExitStack())
            found = stack.enter_context(opened(self.session, self.table, file, marked))
            pieces = [group.read(columns) for group in expected(found, columns)[:1]]
            return self._pieces(stack, pieces, found[1:], columns)

        def results() -> Generator[Iterator[pa.Table], None, None]:
            # Runs are joined several at a time; only one that is alone reads its own files ahead.
            yield from self.session.each(begin, files) if self.alone else map(begin, files)

        found = results()
        try:
            yield from found
        finally:
            found.close()  # first the readers, then their files
            for stack in stacks:
                stack.close()

    def _pieces(
        self, stack: ExitStack, first: list[pa.Table], more: Sequence[LiveGroup], columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        while first:
            yield first.pop()
        for group in more:
            yield group.read(columns)
        stack.close()
        if self.alone:
            self.done()


def plan_compaction(session: Session, base: Snapshot, stage: Staging, wanted: Wanted) -> CommitPlan:
    """Join what is small.

    Raises:
        KeysRequiredError: it is to sort a table that has no keys.
        CorruptTableError: a file is missing or damaged.
    Cost: each row of the small files is read and written once; in memory are row groups of a few files.
        If it sorts, the rows of as many new files as are under way are in memory, and those of many tiny files are
        written more than once.
    """
    table, runs = base.state.table, find(base, wanted)
    fill = _sorted if wanted.sort else _joined
    total, count = sum(len(run.files) for run in runs), itertools.count(1)

    def tell() -> None:  # always in the caller's thread
        wanted.done(next(count), total)

    work = _Pass(session, table, stage, wanted, len(runs) == 1, tell)

    def one(run: Run) -> list[Group]:
        with closing(work.read(run.files)) as files:
            return list(_groups(run, lambda waiting: fill(work, waiting, files)))

    joined: list[Group] = []
    for run, found in zip(runs, session.each(one, runs), strict=True):
        joined += found
        for _ in () if work.alone else run.files:
            tell()
    return plans.compaction(table, joined)


def estimate(base: Snapshot, wanted: Wanted) -> list[Group]:
    """What would be joined, as if a new file were as large as what it joins. Cost: no file is read."""

    def fill(waiting: Run) -> Group:
        taken = _taken(waiting, wanted)
        size = sum(file.bytes for file in taken)
        return _group(taken, [Add(path="", rows=sum(map(live_rows, taken)), bytes=size, sha256="")])

    return [group for run in find(base, wanted) for group in _groups(run, fill)]


def find(base: Snapshot, wanted: Wanted) -> list[Run]:
    """The runs of small files. Cost: the file list, nothing else is read.

    A run ends at a file that is not joined: rows of a partition keep their order. If a key may be in two partitions, it
    also ends at a file of another one, since an upsert takes the last of several rows with one key. Neither matters if
    no key is in the table twice.
    """
    table, files, unique = base.state.table, base.files, base.state.unique_keys
    if wanted.sort and not table.keys:
        raise KeysRequiredError(
            "sort=True sorts by the table's keys, and it has none",
            hint="leave sort out, or record keys with a keyed write first",
        )
    apart = bool(table.keys) and not set(table.partition_by) <= set(table.keys)
    of_files = partitions.of_files(table, files) if table.partition_by else [()] * files.num_rows
    ended: list[tuple[Partition, list[int]]] = []
    running: dict[Partition, list[int]] = {}
    for at, (partition, joins) in enumerate(zip(of_files, _eligible(base, wanted), strict=True)):
        if not unique:
            others = [other for other in running if other != partition] if apart else []  # one at most
            ends = [*others, partition] if not joins and partition in running else others
            ended += [(other, running.pop(other)) for other in ends]
        if joins:
            running.setdefault(partition, []).append(at)
    worn = _worn(base, wanted)
    found = [run for run in [*ended, *running.items()] if len(run[1]) > 1 or worn[run[1][0]]]
    found.sort(key=lambda run: run[1][0])
    return [
        Run(partition, tuple(of_run := filelist.data_files(files, positions)), _paths(of_run, worn[positions]))
        for partition, positions in found
    ]


def _paths(files: Sequence[DataFile], wanted: np.ndarray) -> frozenset[str]:
    return frozenset(file.path for file, is_wanted in zip(files, wanted.tolist(), strict=True) if is_wanted)


def which_small(files: pa.Table, wanted: Wanted) -> np.ndarray:
    """Which files of a list are small (`Wanted.is_small`). Cost: vectorised."""
    found: np.ndarray = 2 * files["bytes"].to_numpy() < wanted.target_bytes
    return found


def which_worn(files: pa.Table) -> np.ndarray:
    """Which files of a list have so many marked rows that they are worn (`WORN_SHARE`). Cost: vectorised."""
    if not filelist.has_marks(files):
        return np.zeros(files.num_rows, bool)
    marked = pc.fill_null(pc.struct_field(files["vector"], "rows"), 0)
    found: np.ndarray = pc.greater_equal(pc.multiply(marked, WORN_SHARE), files["rows"]).to_numpy() & (
        files["rows"].to_numpy() > 0
    )
    return found


def _worn(base: Snapshot, wanted: Wanted) -> np.ndarray:
    """Which live files are written anew, alone if need be."""
    return which_worn(base.files) | seen_otherwise(base) if wanted.plain else which_worn(base.files)


def _eligible(base: Snapshot, wanted: Wanted) -> list[bool]:
    """Which live files may be joined."""
    table, files = base.state.table, base.files
    joins = which_small(files, wanted) | _worn(base, wanted)
    where = filters.parse(wanted.where, types.arrow_schema(table.columns))
    return list(joins if where is None else joins & scan.may_match(files, table, where))


Fill = Callable[[Run], Group]
"""Joins two or more files of a run, or one that is worn, from the first one on."""


def _groups(run: Run, fill: Fill) -> Iterator[Group]:
    while len(run.files) > 1 or any(file.path in run.worn for file in run.files):
        group = fill(run)
        yield group
        run = replace(run, files=run.files[len(group.inputs) :])


def _group(taken: Sequence[DataFile], adds: Sequence[Add]) -> Group:
    return Group(
        tuple(file.path for file in taken),
        sum(file.bytes for file in taken),
        tuple(adds),
        dropped=sum(file.rows - live_rows(file) for file in taken),
    )


def _taken(run: Run, wanted: Wanted, times: int = 1) -> Sequence[DataFile]:
    """The files that fill a new one, `times` over, by their own sizes; two at least, or one that is worn."""
    waiting = run.files
    sizes = itertools.accumulate(file.bytes for file in waiting)
    full = (
        count
        for count, (size, more) in enumerate(zip(sizes, waiting[1:], strict=False), 1)
        if (count > 1 or waiting[0].path in run.worn) and wanted.is_full(size // times, more.bytes)
    )
    return waiting[: next(full, len(waiting))]


Rows = Iterator[Iterator[pa.Table]]
"""The rows of the files that wait, in their order."""


def _joined(work: _Pass, waiting: Run, files: Rows) -> Group:
    """Join files as a stream, until the new one is full."""
    taken: list[DataFile] = []
    with work.stage.open(work.table, waiting.partition) as writer:
        for file in waiting.files:
            if (len(taken) > 1 or any(one.path in waiting.worn for one in taken)) and work.wanted.is_full(
                writer.bytes, file.bytes
            ):
                break
            for piece in next(files):
                writer.write(piece)
            taken.append(file)
        return _group(taken, [writer.close()] if any(map(live_rows, taken)) else [])


def _sorted(work: _Pass, waiting: Run, files: Rows) -> Group:
    """Join files in order of their keys. How large the new one is shows once it is written: if small, it takes more."""
    table, stage, wanted = work.table, work.stage, work.wanted
    pieces: list[pa.Table] = []
    taken: Sequence[DataFile] = ()
    times = 1
    while True:
        more = _taken(waiting, wanted, times)
        pieces += [piece for rows in islice(files, len(more) - len(taken)) for piece in rows]
        taken, whole = more, pa.concat_tables(pieces)
        order = pc.sort_indices(key_codec.encode(whole, table.keys))
        with stage.open(table, waiting.partition) as writer:
            for start in range(0, len(order), SLICE_ROWS):
                writer.write(whole.take(order.slice(start, SLICE_ROWS)))
            adds = [writer.close()] if len(order) else []
        if len(taken) == len(waiting.files) or not wanted.is_small(sum(add.bytes for add in adds)):
            return _group(taken, adds)
        stage.drop({add.path for add in adds})
        times *= 2
