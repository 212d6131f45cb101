"""The rows that `tools/bench` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 100_000
"""Rows of a large batch."""


def small_batch(number: int) -> pa.Table:
    """100 rows with new keys."""
    import numpy as np
    import pyarrow as pa

    ids = np.arange(number * 100, number * 100 + 100)
    return pa.table({"id": ids, "name": [f"name-{i % 17}" for i in ids], "value": ids * 0.5})


def large_part(number: int, rows: int) -> pa.Table:
    """Successive rows of the large table."""
    return rows_from(number * rows, rows)


def large_rows(ids: Any) -> pa.Table:
    """Rows of the large table: a key and seven other columns."""
    import numpy as np
    import pyarrow as pa

    few = pa.array(["alpha", "beta", "gamma", "delta"])
    return pa.table(
        {
            "id": ids,
            "uid": pa.array(ids * 2_654_435_761 % 2**32).cast(pa.string()),
            "at": pa.array(ids * 1_000_000, pa.timestamp("us")),
            "a": few.take(pa.array(ids % 4)),
            "b": few.take(pa.array(ids % 3)),
            "c": few.take(pa.array(ids // 1000 % 4)),
            "x": ids * 0.25,
            "y": np.sqrt(ids),
        }
    )


def rows_from(first: int, rows: int) -> pa.Table:
    """Rows of successive keys."""
    import numpy as np

    return large_rows(np.arange(first, first + rows))
