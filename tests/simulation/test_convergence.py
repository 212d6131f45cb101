"""Deliveries converge, however often batches come, in whatever order, from however many writers that crash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model import Model, bag
from tests.simulation.calls import CALLS, COLUMNS, KEYED, Write, row
from tests.simulation.explore import by_chance
from tests.simulation.invariants import Version
from tests.simulation.machine import State
from tests.simulation.process import prefix
from tests.simulation.scenes import Scene, scene

pytestmark = pytest.mark.guarantees("S3 S10 S11b S16 L3")

FAULTS = 4
EXAMPLES = settings().max_examples


@dataclass(frozen=True)
class Batch(Write):
    """One batch: the same rows whoever brings it."""

    number: int = 0


def batch(number: int, mode: str, keys: Sequence[int], *, timed: bool) -> Batch:
    """A batch of some keys. Its number is what tells its rows from others', and its time where there are times."""
    rows = [row(key, "ab"[number % 2], number, number if timed else 0) for key in keys]
    options: dict[str, Any] = {**KEYED, **({"timestamp_col": "at"} if timed else {})}
    return Batch(f"batch {number}", mode, lambda _: rows, options, COLUMNS, number=number)


@st.composite
def deliveries(draw: st.DrawFn, modes: Sequence[str], *, timed: bool) -> tuple[list[Batch], list[list[Batch]]]:
    """Batches, and for up to three writers what they deliver: each batch one to three times, in any order."""
    batches = [
        batch(
            number,
            draw(st.sampled_from(modes)),
            sorted(draw(st.sets(st.integers(0, 4), min_size=1, max_size=3))),
            timed=timed,
        )
        for number in range(draw(st.integers(1, 4)))
    ]
    writers: list[list[Batch]] = [[] for _ in range(draw(st.integers(1, 3)))]
    copies = [one for one in batches for _ in range(draw(st.integers(1, 3)))]
    for one in draw(st.permutations(copies)):
        draw(st.sampled_from(writers)).append(one)
    return batches, [own for own in writers if own]


def deliver(writers: list[list[Batch]], seed: int) -> tuple[Scene, State]:
    """Run the writers by chance, each started again where it crashes."""
    where = replace(
        scene(["append"], create=True), name=f"deliveries, seed {seed}", programs=tuple(map(tuple, writers))
    )
    return where, by_chance(where, seed, FAULTS, restart=True)


def effects(state: State, versions: Sequence[Version]) -> list[tuple[float, Batch]]:
    """When each delivery took effect: at the version of its commit, or right after that at which it changed nothing."""
    found: list[tuple[float, Batch]] = []
    for slot in state.slots:
        told = {ended.outcome.prefix: ended.outcome.result for ended in slot.ended if ended.outcome.ended == "returned"}
        for position, call in enumerate(slot.life.program):
            own = prefix(slot.life.number, position)
            committed = [at for at, version in enumerate(versions) if version.commit_id.startswith(own)]
            if committed:
                found.append((committed[0], call))
            elif own in told:
                found.append((told[own].version + 0.5, call))
    return found


@settings(max_examples=EXAMPLES)
@given(deliveries(["upsert"], timed=True), st.integers(0, 2**32))
def test_timed_upserts_in_any_order(plan: tuple[list[Batch], list[list[Batch]]], seed: int) -> None:
    """Where a timestamp orders them, the rows are those of each delivered batch applied once, in any order."""
    _, writers = plan
    where, state = deliver(writers, seed)
    versions = where.checker.check(state)
    delivered = {one.number: one for _, one in effects(state, versions)}
    model = Model(keys=("k",), timestamp_col="at")
    for one in delivered.values():
        model.upsert(one.rows(0))
    assert bag(_rows(versions)) == bag(model.rows)


@settings(max_examples=EXAMPLES)
@given(deliveries(["append_once", "upsert"], timed=False), st.integers(0, 2**32))
def test_deliveries_without_a_time(plan: tuple[list[Batch], list[list[Batch]]], seed: int) -> None:
    """Else they are those of every append_once at its first delivery and every upsert at its last."""
    _, writers = plan
    where, state = deliver(writers, seed)
    versions = where.checker.check(state)
    order: dict[int, tuple[float, Batch]] = {}
    for at, one in sorted(effects(state, versions), key=lambda effect: effect[0]):
        if one.number not in order or one.mode == "upsert":
            order[one.number] = (at, one)
    model = Model(keys=("k",))
    for _, one in sorted(order.values(), key=lambda effect: effect[0]):
        getattr(model, one.mode)(one.rows(0))
    assert bag(_rows(versions)) == bag(model.rows)
    keys = [known["k"] for known in _rows(versions)]
    assert len(keys) == len(set(keys))


def _rows(versions: Sequence[Version]) -> list[dict[str, Any]]:
    return [dict(known) for known in versions[-1].content.rows] if versions else []


@settings(max_examples=EXAMPLES)
@given(
    st.lists(st.lists(st.sampled_from(sorted(CALLS)), min_size=1, max_size=3), min_size=2, max_size=4),
    st.integers(0, 2**32),
)
def test_writers_at_once_are_writers_in_a_row(programs: list[list[str]], seed: int) -> None:
    """Any calls of several processes leave, version by version, what the same calls in the order of the log would."""
    where = scene(programs, checkpoint_interval=3)
    state = by_chance(where, seed, 2)
    assert len(where.checker.check(state)) == state.head() + 1
