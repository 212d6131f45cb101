"""The table of `tools/conformance`: what did not run, or is different, is never taken for a pass."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.conformance import table

CASES = ("test_one", "test_two")


def outcomes(*reports: tuple[str, str, str, str, str | None]) -> table.Outcomes:
    """As if pytest had reported case, input, phase, outcome and refusal of one column."""
    found = table.Outcomes()
    for case, given, when, outcome, refused in reports:
        properties: list[tuple[str, Any]] = [("conformance", ["delta", case, given])]
        properties += [("refused", refused)] if refused else []
        found.add(SimpleNamespace(user_properties=properties, when=when, outcome=outcome))
    return found


GOOD = (
    ("test_one", "arrow", "setup", "passed", None),
    *(("test_one", given, "call", "passed", None) for given in table.INPUTS),
    ("test_two", "arrow", "call", "passed", "SomeError: why"),
)


def test_passes_and_declared_refusals_are_no_problem() -> None:
    """Each input that passes counts, and a refusal is told with its error."""
    found = outcomes(*GOOD)
    assert table.problems(found, CASES, ["delta"]) == []
    told = list(table.lines(found, CASES, ["delta"]))
    assert [line.split() for line in told[:3]] == [["delta"], ["one", "pass"], ["two", "[1]"]]
    assert told[4] == "[1] refused with SomeError: why"
    assert told[-1] == "delta: 1 pass, 1 refused, 0 different or not run (inputs: arrow, pandas, polars)"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("test_one", "polars", "call", "failed", None), "delta: test_one: DIFFERENT, pass"),
        (("test_one", "polars", "setup", "failed", None), "delta: test_one: DIFFERENT, pass"),
        (("test_one", "polars", "teardown", "failed", None), "delta: test_one: DIFFERENT, pass"),
        (("test_two", "polars", "setup", "skipped", None), "delta: test_two: NOT RUN, [1]"),
    ],
)
def test_what_is_different_is_a_problem(more: tuple[str, str, str, str, str | None], problem: str) -> None:
    """One outcome among others is enough, in whatever phase, and so is a server that is not installed."""
    assert table.problems(outcomes(*GOOD, more), CASES, ["delta"]) == [problem]


def test_what_did_not_run_is_a_problem() -> None:
    """A target, a case or an input without any report."""
    assert table.problems(outcomes(*GOOD), [*CASES, "test_three"], ["delta"]) == ["delta: test_three: NOT RUN"]
    assert table.problems(outcomes(*GOOD[:2], GOOD[-1]), CASES, ["delta"]) == [
        "delta: no case was given pandas",
        "delta: no case was given polars",
    ]
    assert len(table.problems(outcomes(), CASES, ["delta"])) == len(CASES) + len(table.INPUTS)
