"""After a run, and without a fault: the table takes an append, is read and vacuumed; unknown commits are resolved."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import txfiles as tx
from tests.simulation.calls import CALLS, LEAVING, Other, Write, row
from tests.simulation.invariants import Checker, Version
from tests.simulation.machine import Machine, State, kind_of
from tests.simulation.process import Violation

MONTH_US = 30 * 86_400_000_000
"""Time that passes first, so that nothing is too young for a vacuum, however far clocks were set back."""


def afterwards(checker: Checker, state: State, versions: Sequence[Version]) -> None:
    """L3, L4, L5, S6: use the table once more.

    Raises:
        Violation: it is not as before, or something is left behind.
    """
    unknown = [ended.outcome.result for ended in state.ended() if getattr(ended.outcome.result, "commit_id", None)]
    asked = [error for error in unknown if getattr(error, "kind", "") == "commit-state-unknown"]
    columns = versions[-1].content.columns if versions else tuple(row(0))
    if versions and versions[-1].content.detached:
        _left(checker, state, versions[-1])
        return
    add = Write("last append", "append", lambda _: [{name: row(99).get(name) for name in columns}], {}, columns)
    calls = [*map(_resolve, asked), add, CALLS["read"], CALLS["vacuum"], CALLS["read"]]
    after = _played(state, calls)
    outcomes = [ended.outcome for ended in after.ended()]
    for outcome in outcomes:
        if outcome.ended != "returned":
            raise Violation("L3", f"afterwards {outcome.call.name} {outcome.ended}: {outcome.result}")
    for error, outcome in zip(asked, outcomes, strict=False):
        own = [number for number, version in enumerate(versions) if version.commit_id == error.commit_id]
        if outcome.result.found != own:
            raise Violation("S6", f"resolve says {outcome.result.found} of a commit that is in {own}")
    added, first, _, last = (outcome.result for outcome in outcomes[-4:])
    if added.version != len(versions) or first.version != added.version:
        raise Violation("L3", f"afterwards an append makes version {added.version} of {len(versions)}")
    if sorted(map(repr, first.rows)) != sorted(map(repr, last.rows)):
        raise Violation("S14", "the last vacuum took rows")
    _nothing_is_left(after, set(last.files))


def _left(checker: Checker, state: State, last: Version) -> None:
    """What a detach leaves, once it has been run again: plain files of the last version, and names of its log.

    A file that a process staged which was struck before it could delete it stays: nobody knows any more whose it is.
    """
    after = _played(state, [LEAVING["detach"]])
    [outcome] = [ended.outcome for ended in after.ended()]
    if outcome.ended != "returned":
        raise Violation("L3", f"afterwards detach {outcome.ended}: {outcome.result}")
    log = {name for name in after.objects if name.startswith("_txfiles/")}
    if any(kind_of(name) != "manifest" for name in log):
        raise Violation("L5", f"a detach leaves {sorted(log)}")
    if any("vector" in add for add in last.live.values()):
        raise Violation("S8", "plain readers see rows that were deleted")
    own = {name for name in after.objects if last.manifest["table_id"] in name and name not in log}
    live = {unquote(path) for path in last.live}
    struck = {slot.life.number for slot in state.slots if slot.dead or any(end.outcome.faulted for end in slot.ended)}
    surplus = {name for name in own - live if int(name.split("-")[-2][:2], 16) not in struck}
    if surplus or not live <= own:
        raise Violation("S14", f"plain readers see {sorted(surplus)} too, and not {sorted(live - own)}")
    checker.check(after._replace(slots=state.slots))


def _played(state: State, calls: Sequence[Any]) -> State:
    """The state after some calls of a process of its own, without a fault."""
    machine = Machine()
    after = machine.start(
        state._replace(clock_us=state.clock_us + MONTH_US, current=0, faults=0, late=()), [calls], first=100
    )
    while moves := machine.moves(after):
        after = machine.apply(after, moves[0])
    machine.end()
    return after


def _nothing_is_left(after: State, live: set[str]) -> None:
    found = {name for name in after.objects if kind_of(name) == "data" and "part-" in name}
    if found != live:
        raise Violation("L5", f"a vacuum leaves {sorted(found - live)} behind")


def _resolve(error: Any) -> Other:
    return Other("resolve", lambda path, _: _resolved(tx.resolve(path, error.commit_id)))


def _resolved(found: Any) -> Any:
    return SimpleNamespace(version=found.version, found=[found.version] if found.committed else [])
