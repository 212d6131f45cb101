"""A Spark frame on its way to a database: loaded by executors into a table that all see, then made the batch.

    load       executors, once a call: the frame's rows into a table of the target's schema, a transaction for each task
    collect    the driver, in every attempt: the batch's temporary table, of the rows that count, each key once
    apply      the same transaction as for rows in this process
    drop       the shared table, however the call ends

The shared table of a process that was killed is dropped by the next call that loads a frame into the schema: it gets
the lock that the process held.

Source: specs/10-sql.md, "Rows from Spark".
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from txfiles import environment
from txfiles.batch import Prepared
from txfiles.core.messages import LISTED
from txfiles.errors import OptionError, StoreError
from txfiles.options import Request
from txfiles.rows.dedup import key_of
from txfiles.spark import jobs
from txfiles.spark.frames import SparkSource, without_rows
from txfiles.spark.refusals import refuse_nulls, refuse_positions, several_rows
from txfiles.targets.sql import dialects, shared, staging, statements, tasks
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.call import Call, look
from txfiles.targets.sql.commit import known_batch
from txfiles.targets.sql.database import Database
from txfiles.targets.sql.dialects.sharing import DROP_SECONDS, Sharing
from txfiles.targets.sql.errors import BusyError, LostError
from txfiles.targets.sql.matching import key_columns
from txfiles.targets.sql.reading import fetch
from txfiles.targets.sql.statements import BATCH, Shape
from txfiles.targets.sql.tasks import Loaded

logger = logging.getLogger("txfiles")


@dataclass(frozen=True)
class Frame:
    """A frame in a shared table.

    Attributes:
        name: of the table.
        fits: the table that its rows were made to fit.
        loaded: what the attempts of tasks that count have loaded.
    """

    name: str
    fits: Any
    loaded: Sequence[Loaded]

    @property
    def rows(self) -> int:
        """How many rows the frame has."""
        return sum(one.rows for one in self.loaded)


def of(request: Request) -> SparkSource | None:
    """The request's rows, if they are in Spark."""
    return request.source if isinstance(request.source, SparkSource) else None


def check(address: Address, request: Request) -> None:
    """Refuse what a frame cannot do. Nothing is opened.

    Raises:
        OptionError: its rows have no positions; or one process at a time reaches such a database.
    """
    if of(request) is None:
        return
    refuse_positions(request)
    if not isinstance(dialects.get(address.dialect), Sharing):
        able = [name for name, one in dialects.DIALECTS.items() if isinstance(one, Sharing)]
        raise OptionError(
            f"{address.dialect} tables cannot be written from a Spark DataFrame: its executors cannot load them",
            hint=f"write to {' or '.join(able)}, or write df.toArrow() if it fits this process's memory",
        )


def load(call: Call[Request]) -> None:
    """Have the frame's rows in a shared table, unless they are there already.

    Raises:
        EngineError: the job failed.
        NullKeyError: a row has no key.
    Cost: a job that computes the frame, once a call, and again if the table's columns were changed meanwhile.
    """
    source = of(call.request)
    if source is None:
        return
    with Database(call.address, call.patience) as db:
        seen = look(db)
        if known_batch(db, seen, call) is not None:
            return
        prepared = staging.prepare_for(call.request, db.dialect, seen.table)
        shape = staging.shape_of(db.dialect, seen.schema, call, prepared)
    known = source.memory.get("frame")
    if known is not None and known.fits == _fits(prepared):
        return
    source.memory.pop("frame", None)
    source.close()
    name = _make(call, source, shape)
    work = tasks.Work(call.address, without_rows(call.request), seen.table, shape, name)
    loaded = jobs.over_rows(source.frame, partial(tasks.load, work, source.schema, source.fit))
    for key in shape.keys:
        refuse_nulls(key, sum(one.nulls.get(key, 0) for one in loaded))
    source.memory["frame"] = Frame(name, _fits(prepared), loaded)


def collect(db: Database, shape: Shape, request: Request, prepared: Prepared) -> Prepared:
    """Make the batch's temporary table of the frame's rows; returns what is known of it then.

    Raises:
        BusyError: the table has changed since they were loaded.
        DuplicateKeyError: rows of one key differ, and nothing says which of them wins.
        StoreError: rows are missing in the shared table.
    """
    source = of(request)
    assert source is not None
    assert isinstance(db.dialect, Sharing)
    frame: Frame | None = source.memory.get("frame")
    if frame is None or frame.fits != _fits(prepared):
        raise BusyError("the table has changed while the frame was loaded")
    batch, unique = shape.temporary(BATCH), request.checks_keys
    newest = prepared.table.timestamp_col if request.dedup_strategy == "newest_wins" else None
    db.run(statements.create_batch(shape))
    db.run(db.dialect.create_temporary(shared.ACCEPTED, "a BIGINT"))
    db.dialect.begin_collecting(db)
    if frame.loaded:
        attempts = pa.table({"a": pa.array([one.attempt for one in frame.loaded], pa.int64())})
        db.dialect.load(db, shape.temporary(shared.ACCEPTED), attempts)
    found = int(db.rows(shared.count(shape, frame.name))[0][0])
    if found != frame.rows:
        raise StoreError(
            f"{db.address.shown}: of {frame.rows} rows that were loaded {found} are there; nothing was written",
            hint="the server may have crashed meanwhile; run the same call again",
        )
    db.run(shared.collect(shape, frame.name, unique=unique, timestamp_col=newest))
    db.dialect.analyze(db, batch)
    kept = int(db.rows(f"SELECT count(*) FROM {batch}")[0][0])
    if kept < found and newest is None:
        _refuse_different(db, shape, frame)
    db.run("COMMIT")
    return replace(prepared, rows_in=found, rows_deduplicated=found - kept)


def _fits(prepared: Prepared) -> Any:
    """What the loaded rows depend on."""
    return prepared.table, prepared.missing


def _refuse_different(db: Database, shape: Shape, frame: Frame) -> None:
    count = int(db.rows(shared.count_different(shape, frame.name))[0][0])
    if count:
        rows = pa.concat_tables(fetch(db, key_columns(shape), shared.different(shape, frame.name, LISTED)))
        raise several_rows([key_of(rows, row, shape.keys) for row in range(len(rows))], count, at_least=False)


# ---- the shared table


def _make(call: Call[Request], source: SparkSource, shape: Shape) -> str:
    """Make a shared table, which is dropped when the call ends; returns its name.

    A connection of its own holds the lock that says that the table is in use.
    """
    name = shared.PREFIX + environment.real().new_id()
    db = Database(call.address, call.patience)
    source.at_end(db.close)
    _drop_left_behind(db, shape)
    if not _hold(db, shape, name):
        raise BusyError(f"the lock of {name} is taken")
    source.at_end(partial(_drop, call.address, shape, name))
    db.run(shared.create(shape, name))
    return name


def _hold(db: Database, shape: Shape, name: str) -> bool:
    assert isinstance(db.dialect, Sharing)
    return db.dialect.hold(db, f"{shape.schema}.{name}")


def _drop_left_behind(db: Database, shape: Shape) -> None:
    """Drop the shared tables of processes that are gone. The connection keeps their locks until it is closed."""
    assert isinstance(db.dialect, Sharing)
    for name in db.dialect.shared_tables(db, shape.schema, shared.PREFIX):
        if shared.OURS.fullmatch(name) and _hold(db, shape, name):
            try:
                db.dialect.drop_shared(db, shared.target(shape, name))
                logger.info("%s: dropped %s, whose process is gone", db.address.shown, name)
            except (BusyError, StoreError) as error:  # its tasks are still running, or another user made it
                logger.warning("%s: %s cannot be dropped: %s", db.address.shown, name, error)


def _drop(address: Address, shape: Shape, name: str) -> None:
    """Drop a shared table. The call is over by then: what fails here is told, and left to the next call."""
    try:
        with Database(address, DROP_SECONDS) as db:
            assert isinstance(db.dialect, Sharing)
            db.dialect.drop_shared(db, shared.target(shape, name))
    except (BusyError, LostError, StoreError) as error:
        logger.warning(
            "%s: %s could not be dropped, and waits for the next write from Spark: %s", address.shown, name, error
        )
