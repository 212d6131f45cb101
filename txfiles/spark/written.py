"""Rows that Spark's tasks have written, as the source of a commit in a process that has no session.

Spark calls a data source's writer in one process for each task, and then its commit in another. That one cannot start a
job: it takes the tasks' files as they are, and does what else there is to do for each range of keys itself, one after
the other, so that its memory is bounded by a range.

Source: specs/13-spark-source.md, "Data Source".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from txfiles.core import names
from txfiles.errors import CommitConflictError, StoreError
from txfiles.log.session import Session
from txfiles.spark import tasks
from txfiles.spark.frames import SparkSource
from txfiles.spark.work import Done, Staged, Work, sorted_by

logger = logging.getLogger("txfiles")

Item = TypeVar("Item")
Result = TypeVar("Result")

Written = Done | Staged
"""What a task has written: data files as they are to be, or rows sorted by key."""

LOCAL_TASKS = 1
"""Ranges follow each other here, so each may be as large as any."""


def as_given(rows: pa.Table) -> pa.Table:
    """The rows: nobody has declared other types."""
    return rows


def write(work: Work, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Written:
    """The body of a task: write its rows. What it wrote is deleted if it fails."""
    if work.request.checks_keys:
        return tasks.stage_rows(work, schema, as_given, batches)
    return tasks.add_rows(work, schema, as_given, batches)


def delete(session: Session, written: Iterable[Written]) -> None:
    """Delete what tasks have written: no version names it, and none will."""
    files = sorted({name for one in written for name in _files(one)})
    try:
        if files:
            session.store.delete_many(files)
    except StoreError as error:  # the outcome of the call is another
        logger.warning("what was staged stays behind until a vacuum: %s", error)


def _files(written: Written) -> list[str]:
    if isinstance(written, Staged):
        return [blob.piece.file for blob in written.blobs]
    paths = [*(add.path for add in written.add), *(run.path for run in written.runs)]
    return [name for name in map(names.decode_path, paths) if name is not None]


class WrittenSource(SparkSource):
    """What tasks have written, in the place of the frame that they wrote. See `SparkSource`.

    Args:
        schema: of the frame, in Arrow's types.
        work: what the tasks were told; None: nothing is written yet.
        written: what each of them has written.
        version: on which version a plan may take the tasks' data files over; None: there was no table.
    """

    def __init__(
        self,
        schema: pa.Schema,
        work: Work | None = None,
        written: Sequence[Written] = (),
        version: int | None = None,
    ) -> None:
        self.schema = schema
        self.fit = as_given
        self.memory: dict[str, Any] = {}
        self._at_end: list[Callable[[], None]] = []
        self._work = work
        self._version = version
        self._written = list(written)
        self._taken = False

    @property
    def tasks(self) -> int:
        """See `LOCAL_TASKS`."""
        return LOCAL_TASKS

    def over_rows(
        self, function: Callable[[Iterator[pa.RecordBatch]], Result], done: Callable[[Result], None]
    ) -> list[Result]:
        """What the tasks have already done to their rows.

        Raises:
            CommitConflictError: they were told something else, or it was undone since.
        """
        assert isinstance(function, partial)
        now: Work = function.args[0]
        if self._taken or not self._is_still_right(now):
            raise CommitConflictError(
                "the table's columns or keys changed, or a vacuum ran, while Spark wrote; nothing was committed",
                hint="run the same write again",
                version=now.base.state.version if now.base else self._version,
            )
        self._taken = True
        found: list[Any] = self._written
        for one in found:
            done(one)
        return found

    def _is_still_right(self, now: Work) -> bool:
        then = self._work
        assert then is not None
        assert then.table is not None
        assert now.table is not None
        if then.request.checks_keys:
            return bool(sorted_by(then.table) == sorted_by(now.table))
        # A vacuum before the version that is planned on might have deleted the files: nobody would notice.
        version = now.base.state.version if now.base else None
        return (then.table, then.table_id, self._version) == (now.table, now.table_id, version)

    def over_items(
        self, function: Callable[[Item], Result], items: Sequence[Item], done: Callable[[Result], None]
    ) -> list[Result]:
        """Here and now, one after the other."""
        found: list[Result] = []
        for item in items:
            found.append(function(item))
            done(found[-1])
        return found

    def discard(self, session: Session) -> None:
        """Delete what the tasks wrote, but for data files that a plan took over."""
        delete(session, [one for one in self._written if isinstance(one, Staged) or not self._taken])
        self._written = []
