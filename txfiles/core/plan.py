"""A plan: what one call would commit, and what it depends on. Values only, so that plans can be judged and combined.

An operation makes a `CommitPlan` on one snapshot. If other commits come first, `core.conflicts.judge` compares the
plan's `ReadSet` with the difference between the plan's base and the head, and `on_head` puts the plan on the head.

Source: specs/5-commit.md, "Conflicts".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec.structs import replace as replace_struct

from txfiles.core import names
from txfiles.core.manifest import Add, IndexAction, Mark, Metrics, Restore, RunRef, TableMetadata, Vacuum

Partition = tuple[str | None, ...]
"""The text of each partition value, in the table's order; None is null."""


@dataclass(frozen=True, slots=True)
class KeysAbsent:
    """No row with one of these keys may be in a file that others added.

    Attributes:
        keys: what `reading` looks up (`reading.key_finder.BatchKeys`); opaque here.
        outside: files of these partitions do not matter: the plan replaces them.
    """

    keys: Any
    outside: frozenset[Partition] = frozenset()


@dataclass(frozen=True, slots=True)
class NoneMatches:
    """No row that matches this filter may be in a file that others added.

    Attributes:
        where: what `reading` evaluates (`rows.filters.Filter`); opaque here. None: every row matches.
        outside: files of these partitions do not matter: the plan replaces them.
    """

    where: Any
    outside: frozenset[Partition] = frozenset()


Check = KeysAbsent | NoneMatches


@dataclass(frozen=True, slots=True)
class ReadSet:
    """What a plan depends on.

    Attributes:
        table: the table as it was planned for; None if it is to be created.
        relies_on: path of a live file → where it found rows in it (a key, a match) that must still be live; opaque
            here. None: it rewrites the file or removes it, so that no other row of it may be marked either.
        checks: what must hold for files that others add.
        staged: paths of the files that it wrote, of data and of vectors.
        changes_table: whether it carries a `table` action.
        batch_id: the caller's.
    """

    table: TableMetadata | None
    relies_on: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    staged: frozenset[str] = frozenset()
    changes_table: bool = False
    batch_id: str | None = None


@dataclass(frozen=True, slots=True)
class Replaces:
    """Which live files an overwrite removes, whatever they are when it is committed.

    Attributes:
        partitions: those of these partitions; None is every file.
    """

    partitions: frozenset[Partition] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Files of a compaction that stand or fall together.

    Attributes:
        inputs: paths of the live files that it joins, in row order.
        bytes: their size.
        adds: what holds their rows from then on, in the place of the first input.
        dropped: how many marked rows are in none of them.
    """

    inputs: tuple[str, ...]
    bytes: int
    adds: tuple[Add, ...]
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class RunMerge:
    """Runs of the key index that became one. It falls if another commit removed one of them; the rest of a plan stands.

    Attributes:
        inputs: the last segments of their names.
        result: the run in their place; None if they covered no live file any more.
    """

    inputs: tuple[str, ...]
    result: RunRef | None


@dataclass(frozen=True, slots=True)
class Looked:
    """What planning looked at, for the caller's information.

    Attributes:
        scanned: data files that were opened.
        pruned: live files that were not.
        rewritten: files whose remaining rows are written to a new file.
        vacuum_bytes: size of what a vacuum deletes.
        inferred: types that were inferred from a CSV input (`pa.Schema`); opaque here.
        notes: what a person should know about how the input was read.
    """

    scanned: int = 0
    pruned: int = 0
    rewritten: int = 0
    vacuum_bytes: int = 0
    inferred: Any = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """What is to be committed.

    Attributes:
        table: the table after this commit.
        read_set: what the plan depends on.
        metrics: rows and files.
        add: files to add.
        remove: paths of files to remove.
        mark: new vectors of files, each of which contains the one that the file had.
        replaces: set if `remove` is listed again on the version that it is committed on.
        vacuum: set for a vacuum.
        restore: set for a restore.
        groups: set for a compaction: `add` and `remove` are theirs.
        lost_groups: how many of its groups other commits took an input of.
        index: runs of the key index to add and to remove.
        merge: others of its runs that were merged.
        nothing: there is nothing to commit.
        looked: what planning looked at.
        parts: the plans that it combines, if it is a transaction's.
    """

    table: TableMetadata
    read_set: ReadSet
    metrics: Metrics = field(default_factory=Metrics)
    add: tuple[Add, ...] = ()
    remove: tuple[str, ...] = ()
    mark: tuple[Mark, ...] = ()
    replaces: Replaces | None = None
    vacuum: Vacuum | None = None
    restore: Restore | None = None
    groups: tuple[Group, ...] = ()
    lost_groups: int = 0
    index: tuple[IndexAction, ...] = ()
    merge: RunMerge | None = None
    nothing: bool = False
    looked: Looked = Looked()
    parts: tuple[CommitPlan, ...] = ()

    @property
    def changes_table(self) -> bool:
        """Whether `table` has changed, and goes into the manifest."""
        return self.read_set.changes_table

    @property
    def detaches(self) -> bool:
        """Whether no version may follow."""
        return self.changes_table and self.table.is_detached

    @property
    def index_actions(self) -> tuple[IndexAction, ...]:
        """What it does to the key index, merge and all."""
        if self.merge is None:
            return self.index
        gone = {action.remove for action in self.index}
        removes = [IndexAction(remove=name) for name in self.merge.inputs if name not in gone]
        adds = [] if self.merge.result is None else [IndexAction(add=self.merge.result)]
        return (*self.index, *removes, *adds)

    @property
    def run_paths(self) -> frozenset[str]:
        """The paths of the runs that it adds to the key index."""
        return frozenset(action.add.path for action in self.index_actions if action.add is not None)


def compaction(table: TableMetadata, groups: Sequence[Group], *, lost: int = 0) -> CommitPlan:
    """The plan that commits some groups; nothing if there are none.

    Args:
        table: the table's metadata, which it leaves alone.
        groups: what is joined, in row order.
        lost: how many other groups were given up.
    """
    add = tuple(replace_struct(add, place=group.inputs[0]) for group in groups for add in group.adds)
    remove = tuple(path for group in groups for path in group.inputs)
    return CommitPlan(
        table=table,
        read_set=ReadSet(table=table, staged=frozenset(found.path for found in add)),
        metrics=Metrics(
            files_added=len(add), files_removed=len(remove), bytes_written=sum(found.bytes for found in add)
        ),
        add=add,
        remove=remove,
        groups=tuple(groups),
        lost_groups=lost,
        nothing=not groups,
    )


def vector_paths(marks: Sequence[Mark]) -> frozenset[str]:
    """The files that hold the vectors of some marks, as a manifest writes their names."""
    return frozenset(names.encode_path(names.VECTOR_DIR + mark.vector.file) for mark in marks)


def remarked(plan: CommitPlan, marks: Sequence[Mark], whole: Collection[str]) -> CommitPlan:
    """A plan with other vectors: others have marked rows of the same files.

    Args:
        plan: it stands.
        marks: vectors that contain both its own and those at the head.
        whole: paths of files of which every row is marked by now: they are removed.
    """
    shared = {add.vector.file for add in plan.add if add.vector is not None}  # one file may hold vectors of both
    others = vector_paths([mark for mark in plan.mark if mark.vector.file not in shared])
    staged = (plan.read_set.staged - others) | vector_paths(marks)
    remove = (*plan.remove, *whole)
    return replace(
        plan,
        read_set=replace(plan.read_set, staged=staged),
        metrics=replace_struct(plan.metrics, files_removed=len(remove)),
        mark=tuple(marks),
        remove=remove,
    )


def on_head(
    plan: CommitPlan,
    table: TableMetadata,
    oldest_readable_version: int,
    held: Collection[str],
    replaced: tuple[tuple[str, ...], int] | None,
    *,
    gone: frozenset[str] = frozenset(),
    runs: Collection[str] = (),
) -> CommitPlan:
    """A plan that stands, moved to the head; nothing is left of a compaction if all its groups are lost.

    Args:
        plan: it was made on an earlier version.
        table: the head's.
        oldest_readable_version: the head's.
        held: names of all files that a version after the plan's base holds or names, URL-encoded: none may be deleted.
        replaced: paths that `plan.replaces` removes on the head, and how many rows they have; None if it replaces none.
        gone: paths of files that were live at the plan's base and are not at the head, or of which others have marked
            rows.
        runs: names of the runs of the key index at the head.
    """
    if plan.merge is not None and not set(plan.merge.inputs) <= set(runs):
        without = replace(plan, merge=None)
        staged = plan.read_set.staged - (plan.run_paths - without.run_paths)
        plan = replace(without, read_set=replace(plan.read_set, staged=staged))
    if plan.groups:
        standing = [group for group in plan.groups if gone.isdisjoint(group.inputs)]
        found = compaction(table, standing, lost=plan.lost_groups + len(plan.groups) - len(standing))
        # A run that also covers files of a lost group is right for the others: who reads it asks for live files only.
        read_set = replace(found.read_set, staged=found.read_set.staged | plan.run_paths)
        return replace(found, index=plan.index, merge=plan.merge, read_set=read_set)
    found = plan if plan.changes_table else replace(plan, table=table)
    if replaced is not None:
        paths, rows = replaced
        metrics = replace_struct(plan.metrics, rows_deleted=rows, files_removed=len(paths))
        found = replace(found, remove=paths, metrics=metrics)
    if plan.vacuum is not None:
        vacuum = Vacuum(
            oldest_readable_version=max(plan.vacuum.oldest_readable_version, oldest_readable_version),
            deletes=tuple(path for path in plan.vacuum.deletes if path not in held),
        )
        found = replace(found, vacuum=vacuum)
    return found
