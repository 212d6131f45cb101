"""After a run, and without a fault: the table takes an append, is read and vacuumed; unknown commits are resolved."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import txfiles as tx
from tests.simulation.calls import CALLS, Other, Write, row
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
    add = Write("last append", "append", lambda _: [{name: row(99).get(name) for name in columns}], {}, columns)
    calls = [*map(_resolve, asked), add, CALLS["read"], CALLS["vacuum"], CALLS["read"]]
    machine = Machine()
    after = machine.start(
        state._replace(clock_us=state.clock_us + MONTH_US, current=0, faults=0, late=()), [calls], first=100
    )
    while moves := machine.moves(after):
        after = machine.apply(after, moves[0])
    machine.end()
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


def _nothing_is_left(after: State, live: set[str]) -> None:
    found = {name for name in after.objects if kind_of(name) == "data" and "part-" in name}
    if found != live:
        raise Violation("L5", f"a vacuum leaves {sorted(found - live)} behind")


def _resolve(error: Any) -> Other:
    return Other("resolve", lambda path, _: _resolved(tx.resolve(path, error.commit_id)))


def _resolved(found: Any) -> Any:
    return SimpleNamespace(version=found.version, found=[found.version] if found.committed else [])
