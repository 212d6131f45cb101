"""What a writer does when another commit came first: one pure rule, by state.

A plan was made on a base, and the head is newer. What counts is the *difference between the two states*, not the
names of the operations in between, nor how many they were:

    gone     live at the base, not at the head
    fresh    live at the head, not at the base: added since, or brought back by a restore
    marked   live at both, with more marked rows at the head

    DONE     one of their commits carries my batch id or brings it back, and no later one forgets it
    REDO     plan again on the head
    PROBE    the plan stands if its checks hold for the fresh files, and the rows that it found in marked ones are live
             (the caller looks)
    REBASE   the plan stands
    LEFT     the table was detached: no version may follow

A restore is planned again on every head. Any other plan is redone if they created the table that it was to create,
changed what the table is (properties aside), or both carry a `table` action; if a vacuum of theirs lists a file that it
staged; if it is a vacuum and so was one of theirs; if it is a detach, which looks at every file; if a file is gone in
which it found a row or which it rewrites; and if one that it rewrites is marked. A compaction is not planned again for
that: the group of the file is left out (`core.plan.on_head`), and the others stand. Changing a row removes its file or
marks it, so "this row is as I read it" holds as long as its file is there and the row is not marked; and "no such row
exists" holds if no fresh file has one: a file that comes back with another vector is both gone and fresh. So the rule
is sound for every operation, including those of later releases.

Two plans that mark different rows of one file both stand: the second writes a vector that contains both.

Source: specs/5-commit.md, "Conflicts".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace as replace_struct

from txfiles.core import names
from txfiles.core.manifest import Add, Manifest, TableMetadata, Vector
from txfiles.core.plan import CommitPlan, ReadSet, vector_paths


class Verdict(enum.Enum):
    """What becomes of a plan."""

    REBASE = "stands"
    PROBE = "stands if its checks hold"
    REDO = "plan again"
    DONE = "committed by another call with the same batch id"
    LEFT = "the table was detached"


@dataclass(frozen=True, slots=True)
class Change:
    """The difference between a base and the head.

    Attributes:
        fresh: files that are live at the head and were not at the base, in commit order.
        gone: paths that were live at the base and are not at the head.
        held: files that a version in between holds or names (data files, vectors, runs, sidecars, checkpoints), as
            paths.
        marked: path of a file that is live at both → its vector at the head, if its rows have been marked since.
    """

    fresh: tuple[Add, ...]
    gone: frozenset[str]
    held: frozenset[str]
    marked: Mapping[str, Vector] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, why, and the version that led to it.

    Attributes:
        only_moved: the rows that the plan relies on are where a compaction has put them: nobody has changed them.
    """

    verdict: Verdict
    because: str = ""
    version: int | None = None
    only_moved: bool = False


def change(theirs: Sequence[Manifest], vector_of: Callable[[str], Vector | None] = lambda _: None) -> Change:
    """The combined difference that some commits make.

    Args:
        theirs: the manifests after the base, oldest first, sidecars resolved.
        vector_of: the vector that a live file has at the base; asked of files that were removed and came back.
    Cost: O(their actions).
    """
    fresh: dict[str, Add] = {}
    gone: set[str] = set()
    marked: dict[str, Vector] = {}
    for manifest in theirs:
        for action in manifest.remove:
            marked.pop(action.path, None)
            if fresh.pop(action.path, None) is None:
                gone.add(action.path)
        for mark in manifest.mark:
            if mark.path in fresh:
                fresh[mark.path] = replace_struct(fresh[mark.path], vector=mark.vector)
            else:
                marked[mark.path] = mark.vector
        for add in manifest.add:
            if add.path in gone and add.vector == vector_of(add.path):
                gone.discard(add.path)
            else:
                fresh[add.path] = add
    held = frozenset(name for manifest in theirs for name in _names(manifest))
    return Change(tuple(fresh.values()), frozenset(gone), held, marked)


def _names(manifest: Manifest) -> Iterator[str]:
    """The files that a commit holds or names, URL-encoded."""
    for add in manifest.add:
        yield add.path
        if add.vector is not None:
            yield names.encode_path(names.VECTOR_DIR + add.vector.file)
    yield from vector_paths(manifest.mark)
    yield from (action.add.path for action in manifest.index if action.add is not None)
    if manifest.sidecar is not None:
        yield names.encode_path(names.SIDECAR_DIR + manifest.sidecar.name)
    if manifest.checkpoint is not None:
        yield from map(names.encode_path, manifest.checkpoint.files)


def judge(mine: CommitPlan, theirs: Sequence[Manifest], net: Change) -> Decision:
    """What becomes of my plan on the head.

    Args:
        mine: planned on the base.
        theirs: the manifests after the base, oldest first, sidecars resolved.
        net: their `change`.
    Cost: O(their actions).
    """
    known = _done(mine.read_set, theirs)
    if known is not None:
        return known
    left = [manifest for manifest in theirs if manifest.table is not None and manifest.table.is_detached]
    if left:
        return Decision(Verdict.LEFT, f"version {left[0].version} detached the table", version=left[0].version)
    for manifest in theirs:
        because = _disturbs(mine, manifest)
        if because:
            return _redo(manifest, because)
    relies_on = mine.read_set.relies_on
    lost = net.gone & relies_on.keys()
    if lost:
        removed_by = _followed(lost, theirs)
        moved = all(manifest.operation.name == "compact" for manifest in removed_by)
        return _redo(removed_by[-1], "removed a file that this one relies on", only_moved=moved)
    shared = net.marked.keys() & relies_on.keys()
    rewritten = {path for path in shared if relies_on[path] is None}
    if rewritten:
        marked_by = [manifest for manifest in theirs if any(mark.path in rewritten for mark in manifest.mark)]
        return _redo(marked_by[-1], "marked rows of a file that this one rewrites or removes")
    newest = theirs[-1].version if theirs else None
    if shared or (net.fresh and mine.read_set.checks):
        return Decision(Verdict.PROBE, version=newest)
    return Decision(Verdict.REBASE, version=newest)


def same_but_properties(mine: TableMetadata, theirs: TableMetadata) -> bool:
    """Whether a plan made for one table action also holds for the other: only properties differ."""
    return (mine.format, mine.columns, mine.partition_by, mine.keys, mine.timestamp_col) == (
        theirs.format,
        theirs.columns,
        theirs.partition_by,
        theirs.keys,
        theirs.timestamp_col,
    )


def _done(mine: ReadSet, theirs: Sequence[Manifest]) -> Decision | None:
    if mine.batch_id is None:
        return None
    version: int | None = None
    for manifest in theirs:
        if manifest.restore is not None:
            back = {found.id: found.version for found in manifest.restore.remember}
            forgotten = mine.batch_id in manifest.restore.forget
            version = back.get(mine.batch_id, None if forgotten else version)
        if manifest.operation.batch_id == mine.batch_id:
            version = manifest.version
    if version is None:
        return None
    return Decision(Verdict.DONE, f"version {version} committed the same batch id", version=version)


def _disturbs(mine: CommitPlan, theirs: Manifest) -> str:
    """Why one commit of theirs means planning again, whatever rows it touched; empty if it does not."""
    stands_on = mine.read_set
    if mine.restore is not None:
        return "came before this restore, which lists its files anew"
    if stands_on.table is None:
        return "created the table"
    if mine.detaches:
        return "came before a detach, which looks at every file"
    if theirs.vacuum is not None and mine.vacuum is not None:
        return "is a vacuum too"
    if theirs.vacuum is not None and not stands_on.staged.isdisjoint(theirs.vacuum.deletes):
        return "is a vacuum that lists a file staged here"
    if theirs.table is not None and (stands_on.changes_table or not same_but_properties(stands_on.table, theirs.table)):
        return "changed what the table is"
    return ""


def _followed(paths: frozenset[str], theirs: Sequence[Manifest]) -> list[Manifest]:
    """The commits that removed some files, or those to which a compaction had moved their rows."""
    places, found = set(paths), []
    for manifest in theirs:
        if not places.isdisjoint(action.path for action in manifest.remove):
            found.append(manifest)
            places |= {add.path for add in manifest.add if manifest.operation.name == "compact"}
    return found


def _redo(theirs: Manifest, what: str, *, only_moved: bool = False) -> Decision:
    because = f"version {theirs.version} ({theirs.operation.name}) {what}"
    return Decision(Verdict.REDO, because, version=theirs.version, only_moved=only_moved)
