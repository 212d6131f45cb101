"""What a commit does to the key index, whichever operation it is of.

Source: specs/8-index.md; specs/decisions/0052-how-runs-join-a-table.md.
"""

from __future__ import annotations

from dataclasses import replace

from txfiles.core import runs
from txfiles.core.manifest import IndexAction
from txfiles.core.plan import CommitPlan
from txfiles.log import index
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.writing.staging import Staging


def with_runs(session: Session, base: Snapshot | None, stage: Staging, plan: CommitPlan) -> CommitPlan:
    """A plan that adds runs for its new files, merges others if there are many, and removes those that are no use.

    Of no use are runs that this process has found damaged, and those of another secret than the table's.
    Cost: writes the runs, on a slow store beside the last data files; now and then a merge
        of half a million entries or eight for each row that it changes, seldom of more.
    """
    if plan.nothing:
        return plan
    added = stage.runs.finished()
    known = base.state.runs if base else ()
    useless = [run for run in known if index.is_forgotten(session, run) or (added and run.key != added[0].key)]
    index_actions = (*(IndexAction(remove=run.name) for run in useless), *(IndexAction(add=run) for run in added))
    found = replace(plan, index=index_actions)
    most = runs.most_entries(
        changed=plan.metrics.rows_inserted + plan.metrics.rows_updated, written=sum(run.entries for run in added)
    )
    useful = [run for run in known if run not in useless]
    due = runs.to_merge(useful, most=most) if added else ()
    if base is not None and due:
        others = [run for run in useful if run not in due]
        found = replace(found, merge=stage.runs.merged(due, base.files["path"], plan.remove, others))
    return replace(found, read_set=replace(plan.read_set, staged=plan.read_set.staged | found.run_paths))
