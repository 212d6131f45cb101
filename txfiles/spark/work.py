"""What the driver tells its tasks, and what they tell the driver: values that pickle.

Source: specs/12-spark.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import pyarrow as pa

from txfiles import environment
from txfiles.core.manifest import Add, Mark, Metrics, RunRef, TableMetadata
from txfiles.core.plan import Partition
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.operations.context import PlanContext
from txfiles.options import Request
from txfiles.spark.frames import Rows
from txfiles.spark.staged import Blob, Piece
from txfiles.store import open_store
from txfiles.writing.staging import Estimate, Staging

_CACHE = SnapshotCache()
"""What a worker keeps from one task to the next."""


@dataclass(frozen=True)
class Work:
    """What all tasks of a pass know.

    Attributes:
        root: the table's folder or URL.
        request: what was asked for; its source is replaced by a task's own rows.
        base: the version that the pass is planned on, without what only the driver needs.
        table_id: of the table.
        staged_in: what the names of all files begin with that the call stages: see `names.staged`.
        table: what the table will be; None before that is known.
        only_estimates: whether nothing is to be written (`plan`).
    """

    root: str
    request: Request
    base: Snapshot | None
    table_id: str
    staged_in: tuple[str, str]
    table: TableMetadata | None = None
    only_estimates: bool = False

    @property
    def base_table(self) -> TableMetadata | None:
        """The table on which the pass is planned."""
        return self.base.state.table if self.base else None

    def session(self) -> Session:
        """The table's store, opened by this process."""
        store = open_store(self.root, self.request.storage_options, lock=self.request.lock)
        return Session(store, environment.real(), _CACHE)

    @contextmanager
    def passing(self, rows: pa.Table) -> Iterator[tuple[PlanContext[Request], Staging | None]]:
        """A pass of this process's own over some rows. What it wrote is deleted if it raises."""
        session = self.session()
        request = replace(self.request, source=Rows(rows))
        if self.only_estimates:
            yield PlanContext(session, request, self.base, Estimate()), None
            return
        stage = Staging(session, session.environment.new_id(), itertools.count(), self.table_id)
        stage.keep_index(self.base.state.runs if self.base else ())
        try:
            yield PlanContext(session, request, self.base, stage), stage
            stage.keep()
        finally:
            stage.discard()


@dataclass(frozen=True)
class FileEdit:
    """What one range of keys changes in one data file.

    Attributes:
        path: of the file.
        rows: where what replaces rows is.
        without: where the positions of the rows are that are removed.
    """

    path: str
    rows: Piece
    without: Piece


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a task has found and written. Two of them add up.

    Attributes:
        metrics: the number of rows with each outcome.
        rows_in: rows of the batch.
        rows_deduplicated: rows dropped as duplicates inside the batch.
        add: new files.
        remove: paths of files to remove.
        mark: new vectors of files.
        relies_on: paths of the files in which keys or matches were found.
        scanned: data files that were opened; one counts for each range of keys that looked into it.
        rewritten: files whose remaining rows were written anew.
        edits: changes of files, still to be carried out.
        runs: of the key index.
    """

    metrics: Metrics = field(default_factory=Metrics)
    rows_in: int = 0
    rows_deduplicated: int = 0
    add: tuple[Add, ...] = ()
    remove: tuple[str, ...] = ()
    mark: tuple[Mark, ...] = ()
    relies_on: frozenset[str] = frozenset()
    scanned: int = 0
    rewritten: int = 0
    edits: tuple[FileEdit, ...] = ()
    runs: tuple[RunRef, ...] = ()

    def __add__(self, other: Done) -> Done:
        """Both."""
        return together([self, other])


def together(found: Sequence[Done]) -> Done:
    """What some tasks have found and written. Cost: O(their files), however many tasks there are."""
    counts = {name: sum(getattr(one.metrics, name) for one in found) for name in COUNTS}
    sums = {name: sum(getattr(one, name) for one in found) for name in _SUMS}
    lists: dict[str, Any] = {name: tuple(chain.from_iterable(getattr(one, name) for one in found)) for name in _LISTS}
    relies_on = frozenset(chain.from_iterable(one.relies_on for one in found))
    return Done(metrics=Metrics(**counts), relies_on=relies_on, **sums, **lists)


_SUMS = ("rows_in", "rows_deduplicated", "scanned", "rewritten")
_LISTS = ("add", "remove", "mark", "edits", "runs")

COUNTS = ("rows_inserted", "rows_updated", "rows_unchanged", "rows_skipped", "rows_stale", "rows_deleted")


@dataclass(frozen=True)
class Staged:
    """What a task has staged.

    Attributes:
        blobs: where the rows are.
        nulls: key column → rows in which it has no value.
        partitions: that the rows are in, if the call replaces partitions.
    """

    blobs: tuple[Blob, ...]
    nulls: Mapping[str, int]
    partitions: frozenset[Partition] = frozenset()


def sorted_by(table: TableMetadata) -> Any:
    """What staged rows are sorted by: rows that were staged for another order cannot be cut into ranges."""
    return [(column.name, column.type) for column in table.columns if column.name in table.keys], table.keys
