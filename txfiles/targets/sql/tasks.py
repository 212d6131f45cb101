"""What Spark's executors do for a write to a database: each loads the rows of a partition, in a transaction of its own.

The address, with whatever secrets it has, travels in the task's closure, and nowhere else.

Source: specs/10-sql.md, "Rows from Spark".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from txfiles import environment
from txfiles.core.manifest import TableMetadata
from txfiles.options import Request
from txfiles.rows import dedup
from txfiles.spark.frames import Fit, Rows, chunks
from txfiles.targets.sql import shared, staging
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.database import Database
from txfiles.targets.sql.statements import Shape

CHUNK_BYTES = 32 * 1024 * 1024
"""Rows of one of Spark's partitions in memory at a time, before they are made text."""

PATIENCE_SECONDS = 60.0
"""How long a task waits for a lock. Nobody holds one on a table that only tasks write to."""

ATTEMPT_BITS = 60
"""Of an attempt's number, which is random: no two of a call are the same."""


@dataclass(frozen=True)
class Work:
    """What all tasks of a call know.

    Attributes:
        address: of the table.
        request: what was asked for; its source is replaced by a task's own rows.
        current: what the table is; None if there is none yet.
        shape: what the table will be.
        name: of the shared table.
    """

    address: Address
    request: Request
    current: TableMetadata | None
    shape: Shape
    name: str


@dataclass(frozen=True)
class Loaded:
    """What an attempt of a task has loaded.

    Attributes:
        attempt: its number, in the rows.
        rows: how many.
        nulls: key column → rows in which it has no value. If there are any, nothing was loaded.
    """

    attempt: int
    rows: int
    nulls: Mapping[str, int]


def load(work: Work, source: pa.Schema, fit: Fit, batches: Iterator[pa.RecordBatch]) -> Loaded:
    """Load the rows of one of Spark's partitions into the shared table, all or none."""
    attempt = int(environment.real().new_id(), 16) >> (128 - ATTEMPT_BITS)
    nulls = dict.fromkeys(work.shape.keys if work.request.checks_keys else (), 0)
    loaded = 0
    with Database(work.address, PATIENCE_SECONDS) as db:
        db.run(db.dialect.start)
        for chunk in chunks(batches, source, fit, CHUNK_BYTES):
            for key in nulls:
                nulls[key] += int(dedup.nulls(chunk[key]).sum())
            if not any(nulls.values()):
                loaded += _add(db, work, chunk, attempt, loaded)
        db.run("ROLLBACK" if any(nulls.values()) else "COMMIT")
    return Loaded(attempt, loaded, nulls)


def _add(db: Database, work: Work, chunk: pa.Table, attempt: int, first: int) -> int:
    """Load some rows, whose numbers begin with `first`; returns how many."""
    request = replace(work.request, source=Rows(chunk))
    prepared = staging.prepare_for(request, db.dialect, work.current, unique=False)
    rows = int(prepared.rows.num_rows)
    numbered = {
        "a": pa.array(np.full(rows, attempt, np.int64)),
        "n": pa.array(np.arange(first, first + rows, dtype=np.int64)),
    }
    if rows:
        columns = staging.encoded(work.shape, prepared)
        db.dialect.load(db, shared.target(work.shape, work.name), pa.table({**numbered, **columns}))
    return rows
