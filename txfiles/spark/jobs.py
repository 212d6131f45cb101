"""Running functions on Spark's executors, and getting what they return: the only place that starts a Spark job.

What a function returns is small, and counts only once its task is done: Spark may run a task twice, and kill either. An
error of txfiles is returned, and raised here as it is; any other failure of a job is told as `EngineError`.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from txfiles.core.messages import one_line
from txfiles.errors import EngineError, TxFilesError
from txfiles.version import LIBRARY

Item = TypeVar("Item")
Result = TypeVar("Result")

RESULTS = "number long, result binary"
"""What each job gives back, as Spark writes it."""

_SCHEMA = pa.schema([("number", pa.int64()), ("result", pa.binary())])

DEFAULT_SLOTS = "200"
"""Spark's own."""

TASKS_A_SLOT = 3
"""Tasks for each of those that run together: the last ones then keep fewer slots waiting."""


def _ignored(_: object) -> None:
    """What a caller does with results who waits for all of them."""


def over_rows(
    frame: Any, function: Callable[[Iterator[pa.RecordBatch]], Result], done: Callable[[Result], None] = _ignored
) -> list[Result]:
    """What a function makes of the rows of each of a frame's partitions.

    Args:
        frame: any Spark frame; it is computed once, but for tasks that fail.
        function: of the partition's batches; it must pickle. Not called for a partition without rows.
        done: told of each result, even if another task ended with an error, which is raised then.
    Raises:
        EngineError: the job failed.
    """
    library = LIBRARY

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        some = next(batches, None)
        if some is not None:
            yield answer(0, library, lambda: function(_chained(some, batches)))

    return [result for _, result in _collected(lambda: frame.mapInArrow(task, RESULTS), done)]


def over_items(
    spark: Any, function: Callable[[Item], Result], items: Sequence[Item], done: Callable[[Result], None] = _ignored
) -> list[Result]:
    """What a function makes of each of some items, in their order.

    Args:
        spark: the session.
        function: of one item; it must pickle.
        items: they must pickle, too. One task takes some that follow each other.
        done: as in `over_rows`.
    Raises:
        EngineError: the job failed.
    """
    if not items:
        return []
    library = LIBRARY
    tasks = min(len(items), TASKS_A_SLOT * slots(spark))

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield answer(number, library, partial(function, items[number]))

    found = dict(_collected(lambda: spark.range(0, len(items), 1, tasks).mapInArrow(task, RESULTS), done))
    return [found[number] for number in range(len(items))]


def slots(spark: Any) -> int:
    """How many tasks the session probably runs together, as its user has said of shuffles. No job."""
    told = str(spark.conf.get("spark.sql.shuffle.partitions", DEFAULT_SLOTS))
    return max(1, int(told if told.isdecimal() else DEFAULT_SLOTS))  # some vendors have `auto`


def answer(number: int, library: str, function: Callable[[], Any]) -> pa.RecordBatch:
    """What a task sends back: the result of a function, or the error that it ended with."""
    try:
        if library != LIBRARY:
            raise EngineError(
                f"the executors have {LIBRARY}, the driver {library}", hint="install the same release on both"
            )
        result: Any = function()
    except TxFilesError as error:
        result = error
    return pa.record_batch([[number], [pickle.dumps(result)]], schema=_SCHEMA)


def _chained(first: pa.RecordBatch, others: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def _collected(made: Callable[[], Any], done: Callable[[Any], None]) -> list[tuple[int, Any]]:
    """The results of a job. It is made here: what does not pickle fails as the job would."""
    try:
        rows = made().collect()
    except TxFilesError:
        raise
    except Exception as error:
        raise failure(error) from error
    found = [(row[0], pickle.loads(bytes(row[1]))) for row in rows]  # noqa: S301 - made by our own tasks
    errors = [result for _, result in found if isinstance(result, TxFilesError)]
    for _, result in found:
        if not isinstance(result, TxFilesError):
            done(result)
    if errors:
        raise errors[0]
    return found


_CAUSE = re.compile(r"(Error|Exception)[:)] *\S")
"""A line with the name of an error and what it says; frames of a stack have names alone."""


def failure(error: Exception) -> EngineError:
    """The error that tells of a failed job. What Spark says of it is long: its cause stands at the end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if _CAUSE.search(line)), lines[0] if lines else "")
    hint = "see Spark's own log for the rest; then run the same call again"
    if "No module named 'txfiles'" in str(error):
        hint = "install txfiles on the executors too, or send it with spark.archives"
    return EngineError(f"Spark failed: {one_line(told)}; nothing was committed", hint=hint)
