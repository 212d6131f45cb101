"""`append_once`: add the rows whose key is not in the table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from txfiles.batch import prepare
from txfiles.log.commit import CommitPlan
from txfiles.operations.context import Found, PlanContext, chosen, work
from txfiles.reading.key_finder import batch_keys, candidates, probe


def append_once(ctx: PlanContext) -> CommitPlan:
    """Add the rows of unknown keys; a known key is skipped, whatever its row says.

    Cost: the key columns of those row groups in whose key range a batch key lies; the new rows written once.
    """
    batch = prepare(ctx.request, ctx.table)
    files = ctx.files(batch.table)
    keys = batch_keys(batch.table, batch.rows, batch.keys)
    looked_in = chosen(files, candidates(keys, files))
    hits = probe(ctx.session, keys, looked_in, (), ctx.progress("looking for keys", len(looked_in)))
    new = np.ones(batch.rows.num_rows, bool)
    for hit in hits:
        new[hit.batch_rows] = False
    added = ctx.stage.rows(batch.table, batch.rows.filter(pa.array(new)))

    def touches_keys(others: pa.Table) -> bool:
        """Whether files that others added since hold a key of a row that is about to be added."""
        mine = batch.rows.filter(pa.array(new))
        found = batch_keys(batch.table, mine, batch.keys.filter(pa.array(new)))
        return bool(probe(ctx.session, found, chosen(others, candidates(found, others)), ()))

    return work(
        ctx,
        Found(
            batch,
            add=added,
            relies_on=[hit.file.path for hit in hits],
            scanned=len(looked_in),
            inserted=int(new.sum()),
            skipped=int((~new).sum()),
        ),
        kind="append_once",
        touches_keys=touches_keys,
    )
