"""A process that writes to a Delta table: `python workers.py FOLDER NUMBER`."""

from __future__ import annotations

import json
import sys

import pyarrow as pa

import txfiles as tx


def work(folder: str, number: int) -> dict[str, int]:
    """The same keys as everybody, some of its own, a delivery that all have, and counts that must add up."""
    known = {"inserted": 0, "skipped": 0, "updated": 0, "unchanged": 0, "applied": 0}
    for turn in range(4):
        batch = pa.table({"id": list(range(turn * 10, turn * 10 + 10)), "v": [f"w{number}"] * 10})
        done = tx.write(batch, folder + "/once", mode="append_once", keys=["id"], format="delta", timeout=120)
        known["inserted"] += done.rows_inserted or 0
        known["skipped"] += done.rows_skipped or 0
        batch = pa.table({"id": [turn, 100 + number], "v": [number, turn]})
        done = tx.write(batch, folder + "/upsert", mode="upsert", keys=["id"], format="delta", timeout=120)
        assert done.rows_in == (done.rows_inserted or 0) + (done.rows_updated or 0) + (done.rows_unchanged or 0)
        known["updated"] += done.rows_inserted or 0
        done = tx.write(
            pa.table({"id": [turn]}),
            folder + "/batches",
            mode="append",
            batch_id=f"b{turn}",
            format="delta",
            timeout=120,
        )
        known["applied"] += done.committed
    return known


if __name__ == "__main__":
    print(json.dumps(work(sys.argv[1], int(sys.argv[2]))))
