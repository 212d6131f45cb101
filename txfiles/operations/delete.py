"""`delete`: remove the rows that match a filter, or that have given keys.

Source: specs/4-semantics.md, "Delete".
"""

from __future__ import annotations

from txfiles.batch import Prepared
from txfiles.core.manifest import Metrics, TableMetadata
from txfiles.core.plan import Check, CommitPlan, KeysAbsent, NoneMatches
from txfiles.log import versions
from txfiles.operations.context import PlanContext, commit_plan
from txfiles.operations.edits import Matching, carry_out, matching, removal, rows_removed
from txfiles.reading import lookup
from txfiles.rows import filters, types
from txfiles.verbs import DeleteOptions


def delete(ctx: PlanContext[DeleteOptions]) -> CommitPlan:
    """Remove the rows that the request names; nothing is committed if there are none, but for a batch id.

    Cost: a filter: its columns of the row groups that may hold a match, or nothing if it names partition columns only.
        Keys: the key columns of the row groups whose key range contains one of them. Files of which rows stay are
        rewritten, as a stream, or get a vector; the others are removed without being read again.
    """
    table = (ctx.base or versions.require_head(ctx.session)).state.table
    found, check = _by_keys(ctx, table) if ctx.request.where is None else _by_filter(ctx, table)
    carried = carry_out(ctx, table, found.edits)
    return commit_plan(
        ctx,
        Prepared(table, types.arrow_schema(table.columns).empty_table()),
        Metrics(rows_deleted=rows_removed(found.edits)),
        add=carried.add,
        remove=carried.remove,
        mark=carried.mark,
        relies_on=carried.relies_on,
        checks=[check],
        scanned=found.scanned,
        rewritten=carried.rewritten,
    )


def _by_filter(ctx: PlanContext[DeleteOptions], table: TableMetadata) -> tuple[Matching, Check]:
    where = filters.parse(ctx.request.where, types.arrow_schema(table.columns))
    assert where is not None
    return matching(ctx, table, ctx.files(table), where), NoneMatches(where)


def _by_keys(ctx: PlanContext[DeleteOptions], table: TableMetadata) -> tuple[Matching, Check]:
    given = ctx.request.keys if ctx.request.source is None else lookup.keys_in(table, ctx.request.source)
    keys = lookup.given_keys(table, given, ctx.session.store.root, nulls=False)
    found = ctx.find(keys, ctx.files(table), verifies=True)
    return Matching([removal(hit.file, hit.positions) for hit in found.hits], found.scanned), KeysAbsent(keys)
