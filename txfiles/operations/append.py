"""`append`: add the rows."""

from __future__ import annotations

from txfiles.batch import prepare
from txfiles.core.manifest import Metrics
from txfiles.core.plan import CommitPlan
from txfiles.operations.context import PlanContext, commit_plan
from txfiles.options import Request


def append(ctx: PlanContext[Request]) -> CommitPlan:
    """Add every row of the batch. A retry adds them again, unless it carries a batch id.

    Cost: the batch written once; reads only the table's log.
    """
    batch = prepare(ctx.request, ctx.table)
    added = ctx.stage.rows(batch.table, batch.rows)
    return commit_plan(ctx, batch, Metrics(rows_inserted=batch.rows.num_rows), add=added)
