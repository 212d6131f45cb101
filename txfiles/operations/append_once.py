"""`append_once`: add the rows whose key is not in the table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from txfiles.batch import prepare
from txfiles.core.manifest import Metrics
from txfiles.core.plan import CommitPlan, KeysAbsent
from txfiles.operations.context import PlanContext, commit_plan
from txfiles.options import Request
from txfiles.reading.key_finder import batch_keys, where_found


def append_once(ctx: PlanContext[Request]) -> CommitPlan:
    """Add the rows with unknown keys; a known key is skipped, whatever its row contains.

    Cost: the key columns of the row groups whose key range contains a batch key; the new rows written once.
    """
    batch = prepare(ctx.request, ctx.table)
    found = ctx.find(batch_keys(batch.table, batch.rows, batch.keys), ctx.files(batch.table))
    new = np.ones(batch.rows.num_rows, bool)
    for hit in found.hits:
        new[hit.batch_rows] = False
    rows, codes = batch.rows.filter(pa.array(new)), batch.keys.filter(pa.array(new))
    return commit_plan(
        ctx,
        batch,
        Metrics(rows_inserted=rows.num_rows, rows_skipped=batch.rows.num_rows - rows.num_rows),
        add=ctx.stage.rows(batch.table, rows),
        relies_on=where_found(found.hits),
        checks=[KeysAbsent(batch_keys(batch.table, rows, codes))] if rows.num_rows else (),
        scanned=found.scanned,
    )
