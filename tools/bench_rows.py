"""The rows that `tools/bench` writes: the same for each run and each system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

BATCH = 100_000
"""Rows of a large batch."""
FEW_VALUES = ("a", "b", "c", "name")
"""The columns that have few values: where encodings are the same for all, only these have a dictionary."""


@dataclass(frozen=True)
class Scale:
    """How large the table of the workloads is.

    Attributes:
        rows: its rows, with the ids 0, 1, …
        files: of equal size.
        batch: rows of a batch.
        appends: how many small appends there are.
        racers: processes that write at the same time.
        listed: files of a long list.
    """

    rows: int = 10_000_000
    files: int = 64
    batch: int = BATCH
    appends: int = 500
    racers: int = 8
    listed: int = 10_000

    @property
    def file_rows(self) -> int:
        """Rows of a file."""
        return self.rows // self.files

    @property
    def cluster(self) -> slice:
        """Neighbouring ids, a batch of them, from the begin of a file on."""
        return slice(self.files // 2 * self.file_rows, self.files // 2 * self.file_rows + self.batch)

    @property
    def spread(self) -> slice:
        """A batch of ids at equal distances, so that each file has some of them."""
        step = self.rows // self.batch
        return slice(step // 5, step // 5 + step * self.batch, step)

    @property
    def few(self) -> slice:
        """A hundredth of the cluster: they lie in one file."""
        return slice(self.cluster.start, self.cluster.start + max(1, self.batch // 100))

    @property
    def range(self) -> tuple[int, int]:
        """A hundredth of the ids: from the first, to before the second."""
        return self.rows // 3, self.rows // 3 + self.rows // 100


TINY = Scale(rows=400, files=4, batch=40, appends=4, listed=5)
"""What systems are warmed up on."""


def small_batch(number: int, rows: int = 100) -> pa.Table:
    """A few rows with new keys."""
    ids = np.arange(number * rows, number * rows + rows)
    return pa.table({"id": ids, "name": [f"name-{i % 17}" for i in ids], "value": ids * 0.5})


def ids_of(some: slice) -> np.ndarray:
    """Those ids of a large table, made without the others: they would be in the measured peak."""
    return np.arange(some.start, some.stop, some.step or 1)


def large_part(number: int, rows: int) -> pa.Table:
    """Successive rows of the large table."""
    return rows_from(number * rows, rows)


def rows_from(first: int, rows: int) -> pa.Table:
    """Rows of successive keys."""
    return large_rows(np.arange(first, first + rows))


def large_rows(ids: Any) -> pa.Table:
    """Rows of the large table: a key and seven other columns."""
    few = pa.array(["alpha", "beta", "gamma", "delta"])
    return pa.table(
        {
            "id": ids,
            "uid": uuids(ids),
            "at": pa.array(ids * 1_000_000, pa.timestamp("us")),
            "a": few.take(pa.array(ids % 4)),
            "b": few.take(pa.array(ids % 3)),
            "c": few.take(pa.array(ids // 1000 % 4)),
            "x": ids * 0.25,
            "y": np.sqrt(ids),
        }
    )


def changed(ids: Any) -> pa.Table:
    """The rows of an upsert: those of the table, but for `x`, which is -1."""
    rows = large_rows(ids)
    return rows.set_column(rows.column_names.index("x"), "x", pa.array(np.full(rows.num_rows, -1.0)))


def mixed(values: np.ndarray, seed: int) -> np.ndarray:
    """64 bits that look random of each integer: the finaliser of SplitMix64."""
    found = values.astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return found ^ (found >> np.uint64(31))


def uuids(ids: np.ndarray) -> pa.Array:
    """A UUID for each id, as text of 36 characters."""
    raw = np.stack([mixed(ids, 1), mixed(ids, 2)], axis=1).view(np.uint8)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.full((len(ids), 36), ord("-"), np.uint8)
    places = [place for place in range(36) if place not in (8, 13, 18, 23)]
    text[:, places[0::2]], text[:, places[1::2]] = digits[raw >> 4], digits[raw & 15]
    offsets = np.arange(0, 36 * len(ids) + 1, 36, dtype=np.int32)
    return pa.StringArray.from_buffers(len(ids), pa.py_buffer(offsets), pa.py_buffer(text))
