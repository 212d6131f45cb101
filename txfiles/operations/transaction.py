"""`transaction`: several operations, one version.

Each operation is planned on the version that those before it would make; what all of them come to is one plan. After a
lost race it stands or falls as a whole: if it falls, every operation is planned again.

Source: specs/4-semantics.md, "Transactions"; specs/5-commit.md, "Conflicts".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from txfiles.core import codec, names, times
from txfiles.core.manifest import Manifest, Operation, Remove
from txfiles.core.plan import CommitPlan
from txfiles.core.transactions import combined, left_over
from txfiles.errors import CorruptTableError, SnapshotExpiredError, TxFilesError
from txfiles.log import versions
from txfiles.log.session import Session
from txfiles.log.snapshot import Loaded, Snapshot, extend
from txfiles.operations.append import append
from txfiles.operations.append_once import append_once
from txfiles.operations.context import AnyContext, PlanContext
from txfiles.operations.delete import delete
from txfiles.operations.overwrite import overwrite
from txfiles.operations.set_properties import set_properties
from txfiles.operations.upsert import upsert
from txfiles.options import Request
from txfiles.verbs import SetOptions, TransactionOptions


def _set(ctx: PlanContext[Any]) -> CommitPlan:
    assert ctx.base is not None
    return set_properties(ctx.base, ctx.request.properties)


PARTS: dict[str, Callable[[AnyContext], CommitPlan]] = {
    "append": append,
    "append_once": append_once,
    "upsert": upsert,
    "overwrite": overwrite,
    "delete": delete,
    "set": _set,
}

NOBODY = "0" * 64
"""The hash, and its half the commit id, of a version that is in no log."""


def transaction(ctx: PlanContext[TransactionOptions]) -> CommitPlan:
    """Plan each operation on what those before it make of the table, and combine the plans.

    Cost: that of its operations. Files that a later one replaces are written, and deleted before the commit.
    """
    base = snapshot = ctx.base or versions.require_head(ctx.session)
    parts: list[CommitPlan] = []
    for number, asked in enumerate(ctx.request.parts, 1):
        request: Any = asked if isinstance(asked, SetOptions) else replace(asked, progress=ctx.request.progress)
        try:
            found = PARTS[request.mode](PlanContext(ctx.session, request, snapshot, ctx.stage))
        except TxFilesError as error:
            if isinstance(error, CorruptTableError):
                _refuse_lost(ctx.session, base, parts, error)
            error.add_note(f"this is operation {number} ({request.mode}) of a transaction; none of them was committed")
            raise
        parts.append(found)
        if not found.nothing:
            snapshot = _after(snapshot, found, _operation(request, found))
    if not parts:
        parts = [set_properties(base, {})]
    plan = combined(parts, np.union1d)
    ctx.stage.drop(left_over(plan))
    batch_id = ctx.request.batch_id
    read_set = replace(plan.read_set, batch_id=batch_id)
    return replace(plan, read_set=read_set, nothing=plan.nothing and batch_id is None)


def _refuse_lost(session: Session, base: Snapshot, parts: Sequence[CommitPlan], error: CorruptTableError) -> None:
    """Have all operations planned again if a vacuum without grace took what the earlier ones had staged.

    Raises:
        SnapshotExpiredError: a staged file is gone.
    """
    for path in sorted(frozenset().union(*(part.read_set.staged for part in parts))):
        name = names.decode_path(path)
        if name is not None and session.store.stat(name) is None:
            raise SnapshotExpiredError(
                f"{session.store.root}/{name} is gone, which an operation of this transaction had written",
                hint="a vacuum with a grace of nothing took it: run the transaction again",
                version=base.state.version,
                oldest_readable=base.state.oldest_readable_version,
            ) from error


def _operation(request: Any, found: CommitPlan) -> Operation:
    """What tells replay whether keys stay unique."""
    keyed = request.mode in ("append_once", "upsert") or (isinstance(request, Request) and request.checks_keys)
    return Operation(
        name=request.mode,
        keys=found.table.keys if keyed else (),
        scope=None if isinstance(request, SetOptions) else request.scope,
    )


def _after(base: Snapshot, plan: CommitPlan, operation: Operation) -> Snapshot:
    """The version that a plan alone would make of another; only this process ever sees it."""
    state = base.state
    manifest = Manifest(
        format_version=codec.FORMAT_VERSION,
        version=state.version + 1,
        table_id=state.table_id,
        commit_id=NOBODY[:32],
        parent_sha256=state.sha256,
        time=times.format_us(min(state.time_us + 1, times.LAST_US)),
        operation=operation,
        metrics=plan.metrics,
        table=plan.table if plan.changes_table else None,
        checkpoint=state.checkpoint,
        add=plan.add,
        remove=tuple(Remove(path=path) for path in plan.remove),
        mark=plan.mark,
    )
    return extend(base, [Loaded(manifest, NOBODY)])
