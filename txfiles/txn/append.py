"""`append`: add the rows."""

from __future__ import annotations

from txfiles.txn.commit import Work
from txfiles.txn.prepare import prepare
from txfiles.txn.story import Found, Pass, work


def append(here: Pass) -> Work:
    """Add every row of the batch. Retried, it adds them again, unless it carries a batch id.

    Cost: the batch written once; reads nothing of the table but its log.
    """
    batch = prepare(here.request, here.table)
    added = here.stage.rows(batch.table, batch.rows)
    return work(here, Found(batch, add=added, inserted=batch.rows.num_rows), kind="append")
