"""Several plans that become one commit. Values only.

Each part was planned on the version that the parts before it would have made, so a later part may remove, replace or
mark a file that an earlier one has written: such a file, or the vector that it had in between, is in no version.

Source: specs/4-semantics.md, "Transactions".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from msgspec.structs import replace as replace_struct

from txfiles.core.manifest import Add, Mark, Metrics
from txfiles.core.plan import Check, CommitPlan, Looked, NoneMatches, ReadSet, vector_paths
from txfiles.core.replay import follower

Together = Callable[[Any, Any], Any]
"""(where rows were found in a file, where others were) → both."""

ROWS = tuple(name for name in Metrics.__struct_fields__ if name.startswith("rows_"))


def combined(parts: Sequence[CommitPlan], together: Together) -> CommitPlan:
    """The plan that commits what all of some plans would have committed, one after the other.

    It stands on the head if each part would, on the head with the parts before it. That is decided strictly in two
    cases: if a part replaces whatever is there, or if one that follows another changes what the table is, any file
    that others add means planning again.

    Args:
        parts: in order; the first was planned on a version, each other one on what those before it made of it.
        together: unites what two parts rely on in one file.
    Cost: O(actions).
    """
    net = _Net()
    for part in parts:
        net.follow(part)
    first, table = parts[0], parts[0].read_set.table
    for part in parts:
        table = table if part.nothing else part.table
    assert table is not None, "a transaction is one of a table that exists"
    add, mark = tuple(net.added.values()), tuple(net.marked.values())
    removed = tuple(net.removed)
    return CommitPlan(
        table=table,
        read_set=ReadSet(
            table=first.read_set.table,
            relies_on=_relied_on(parts, net.written, together),
            checks=_checks(parts),
            staged=frozenset(net.added) | net.vectors | vector_paths(mark),
            changes_table=_changes_table(parts),
            batch_id=first.read_set.batch_id,
        ),
        metrics=replace_struct(
            _summed(parts),
            files_added=len(add),
            files_removed=len(removed),
            bytes_written=sum(found.bytes for found in add),
        ),
        add=add,
        remove=removed,
        mark=mark,
        nothing=all(part.nothing for part in parts),
        looked=_looked(parts),
        parts=tuple(parts),
    )


def left_over(plan: CommitPlan) -> frozenset[str]:
    """The files that the parts of a combined plan have written, and that it does not name."""
    return frozenset().union(*(part.read_set.staged for part in plan.parts)) - plan.read_set.staged


class _Net:
    """What some successive plans do to the live files, as `log.snapshot.extend` would apply them.

    Attributes:
        added: path → a file that is live after them, in row order, as the last of them sees it.
        removed: paths that were live before them, in order.
        marked: path → the vector of a file that was live before them.
        written: paths of all files that they wrote.
    """

    def __init__(self) -> None:
        self.added: dict[str, Add] = {}
        self.removed: dict[str, None] = {}
        self.marked: dict[str, Mark] = {}
        self.written: set[str] = set()
        self._vectors: dict[str, frozenset[str]] = {}

    @property
    def vectors(self) -> frozenset[str]:
        """The files that hold the vectors of added files."""
        return frozenset().union(*(self._vectors.get(path, frozenset()) for path in self.added))

    def follow(self, part: CommitPlan) -> None:
        """Apply the next plan."""
        if part.nothing:
            return
        before = part.read_set.table
        if part.changes_table and before is not None:
            follow = follower(before, part.table)
            self.added = {path: follow(add) for path, add in self.added.items()}
        self._place(part)
        for path in part.remove:
            self.marked.pop(path, None)
            if self.added.pop(path, None) is None:
                self.removed[path] = None
        for mark in part.mark:
            if mark.path in self.added:
                self.added[mark.path] = replace_struct(self.added[mark.path], vector=mark.vector)
                self._vectors[mark.path] = vector_paths([mark])
            else:
                self.marked[mark.path] = mark

    def _place(self, part: CommitPlan) -> None:
        """Add its files; one that takes the place of a file written before stands right before that, in its place."""
        self.written |= {add.path for add in part.add}
        instead: dict[str, list[Add]] = {}
        for add in part.add:
            if add.place in self.added:
                instead.setdefault(add.place, []).append(add)
        if instead:
            ordered: dict[str, Add] = {}
            for path, known in self.added.items():
                ordered |= {add.path: replace_struct(add, place=known.place) for add in instead.get(path, ())}
                ordered[path] = known
            self.added = ordered
        for add in part.add:
            self.added.setdefault(add.path, add)


def _relied_on(parts: Sequence[CommitPlan], written: set[str], together: Together) -> dict[str, Any]:
    """What they rely on in files that were live before them. None, which is all of a file, contains every other."""
    found: dict[str, Any] = {}
    for part in parts:
        relies_on = dict(part.read_set.relies_on)
        if part.replaces is not None:
            relies_on |= dict.fromkeys(part.remove)
        for path, where in relies_on.items():
            if path in written:
                continue
            known = found.get(path, where)
            found[path] = None if known is None or where is None else together(known, where)
    return found


def _checks(parts: Sequence[CommitPlan]) -> tuple[Check, ...]:
    """What must hold for files that others add."""
    if (len(parts) > 1 and _changes_table(parts)) or any(part.replaces is not None for part in parts):
        return (NoneMatches(where=None),)
    return tuple(check for part in parts for check in part.read_set.checks)


def _changes_table(parts: Sequence[CommitPlan]) -> bool:
    return any(part.changes_table and not part.nothing for part in parts)


def _summed(parts: Sequence[CommitPlan]) -> Metrics:
    return Metrics(**{name: sum(getattr(part.metrics, name) for part in parts) for name in ROWS})


def _looked(parts: Sequence[CommitPlan]) -> Looked:
    return replace(
        parts[-1].looked,
        scanned=sum(part.looked.scanned for part in parts),
        pruned=sum(part.looked.pruned for part in parts),
        rewritten=sum(part.looked.rewritten for part in parts),
        inferred=None,
        notes=tuple(note for part in parts for note in part.looked.notes),
    )
