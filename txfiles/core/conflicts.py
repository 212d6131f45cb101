"""What a writer does when another commit came first: pure rules, as a table.

A writer planned on some version, and finds newer manifests. For each of them, in order, the table below
says which rule holds; the strictest outcome wins:

    REBASE   the plan stands as it is on the newer version
    PROBE    it stands if none of its keys is in the files that they added (the shell looks)
    DERIVE   what it wrote stands; what it removes is listed anew
    REDO     plan again on the newer version
    DONE     their commit carries my batch id: there is nothing left to do

Before the table, four things hold for every pair: my batch id in their commit ends mine; a file that I
staged and their vacuum lists must be staged again; a change of schema, keys, format or partitioning
means planning again (a change of properties alone does not); two changes of the table action never rebase.

Source: specs/5-commit.md, "Conflicts".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from txfiles.core.manifest import Add, Manifest, TableMetadata


class Verdict(enum.IntEnum):
    """In order of strictness."""

    REBASE = 0
    PROBE = 1
    DERIVE = 2
    REDO = 3
    DONE = 4


class Rule(enum.Enum):
    """How a pair of operations is judged."""

    REBASE = "stands whatever they did to rows"
    PROBE = "redo where a file that I rely on is gone, else look for my keys in their files"
    PART = "redo where a file that I remove is gone, or one that they added may hold rows of my part"
    DERIVE = "stands, but for the list of what it removes"
    REDO = "always plan again"


WRITES = ("append", "append_once", "upsert", "overwrite")
OPERATIONS = (*WRITES, "set", "vacuum")
MINE = ("append", "append_once", "upsert", "overwrite", "overwrite part", "set", "vacuum", "batch id")

RULES: dict[str, dict[str, Rule]] = {
    "append": dict.fromkeys(OPERATIONS, Rule.REBASE),
    "append_once": {**dict.fromkeys(WRITES, Rule.PROBE), "set": Rule.REBASE, "vacuum": Rule.REBASE},
    "upsert": {**dict.fromkeys(WRITES, Rule.PROBE), "set": Rule.REBASE, "vacuum": Rule.REBASE},
    "overwrite": {**dict.fromkeys(WRITES, Rule.DERIVE), "set": Rule.REBASE, "vacuum": Rule.REBASE},
    "overwrite part": {**dict.fromkeys(WRITES, Rule.PART), "set": Rule.REBASE, "vacuum": Rule.REBASE},
    "set": {**dict.fromkeys(OPERATIONS, Rule.REBASE), "set": Rule.REDO},
    "vacuum": {**dict.fromkeys(OPERATIONS, Rule.DERIVE), "set": Rule.REBASE},
    "batch id": dict.fromkeys(OPERATIONS, Rule.REBASE),
}


@dataclass(frozen=True, slots=True)
class ReadSet:
    """What a planned commit stands on.

    Attributes:
        kind: one of `MINE`.
        table: the table as it was planned for; None where it is to be created.
        relies_on: paths of live files in which it found a key, or which it removes.
        staged: paths of the files that it wrote.
        changes_table: whether it carries a table action.
        batch_id: the caller's.
        in_part: whether an added file may hold rows of the part that is overwritten.
        keyed: whether its keys must not be in files that others add.
    """

    kind: str
    table: TableMetadata | None
    relies_on: frozenset[str] = frozenset()
    staged: frozenset[str] = frozenset()
    changes_table: bool = False
    batch_id: str | None = None
    in_part: Callable[[Add], bool] = lambda _: True
    keyed: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why, and, for PROBE, in which files to look."""

    verdict: Verdict
    because: str = ""
    probe: tuple[Add, ...] = ()
    version: int | None = None


def decide(mine: ReadSet, theirs: Sequence[Manifest]) -> Decision:
    """Judge my plan against all commits since, oldest first.

    Args:
        mine: what I planned.
        theirs: the manifests after the version that I planned on, sidecars resolved into `add` and `remove`.
    Cost: O(their actions).
    """
    decision = REBASED
    for manifest in theirs:
        decision = _stricter(decision, _judge(mine, manifest))
        if decision.verdict >= Verdict.DONE:
            return decision
    removed = {action.path for manifest in theirs for action in manifest.remove}
    return Decision(
        decision.verdict,
        decision.because,
        tuple(add for add in decision.probe if add.path not in removed),
        decision.version,
    )


def _judge(mine: ReadSet, theirs: Manifest) -> Decision:
    operation = theirs.operation
    if mine.batch_id is not None and operation.batch_id == mine.batch_id:
        return Decision(Verdict.DONE, f"version {theirs.version} committed the same batch id", version=theirs.version)
    if mine.table is None:
        return _redo(theirs, "created the table")
    if theirs.vacuum is not None and not mine.staged.isdisjoint(theirs.vacuum.deletes):
        return _redo(theirs, "is a vacuum that lists a file staged here")
    if theirs.table is not None and (mine.changes_table or not same_but_properties(mine.table, theirs.table)):
        return _redo(theirs, "changed what the table is")
    if not theirs.add and not theirs.remove and theirs.vacuum is None and theirs.table is None:
        return REBASED  # it only records a batch id
    return _by_rule(mine, theirs, RULES[mine.kind].get(operation.name, Rule.REDO))


def _by_rule(mine: ReadSet, theirs: Manifest, rule: Rule) -> Decision:
    if rule is Rule.REBASE:
        return REBASED
    if rule is Rule.DERIVE:
        return Decision(Verdict.DERIVE)
    if rule is Rule.REDO:
        return _redo(theirs, "changed rows")
    if any(action.path in mine.relies_on for action in theirs.remove):
        return _redo(theirs, "removed a file relied on here")
    if rule is Rule.PART and any(map(mine.in_part, theirs.add)):
        return _redo(theirs, "may have added rows of the same part")
    if theirs.add and (rule is Rule.PROBE or mine.keyed):
        return Decision(Verdict.PROBE, probe=theirs.add)
    return REBASED


REBASED = Decision(Verdict.REBASE)


def same_but_properties(mine: TableMetadata, theirs: TableMetadata) -> bool:
    """Whether a plan made for one table action holds for the other: only properties differ."""
    return (mine.format, mine.columns, mine.partition_by, mine.keys, mine.timestamp_col) == (
        theirs.format,
        theirs.columns,
        theirs.partition_by,
        theirs.keys,
        theirs.timestamp_col,
    )


def _redo(theirs: Manifest, what: str) -> Decision:
    return Decision(Verdict.REDO, f"version {theirs.version} ({theirs.operation.name}) {what}", version=theirs.version)


def _stricter(one: Decision, other: Decision) -> Decision:
    if one.verdict is Verdict.PROBE and other.verdict is Verdict.PROBE:
        return Decision(Verdict.PROBE, other.because, one.probe + other.probe)
    return other if other.verdict > one.verdict else one
