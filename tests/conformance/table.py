"""The table of target × case that `tools/conformance` prints: pass, or refused with this error, never different."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

COLUMNS = (
    *("parquet", "csv", "parquet, marked", "csv, marked"),
    *("delta", "sqlite", "duckdb", "postgresql", "mariadb"),
    *("spark parquet", "spark csv", "spark delta", "spark postgresql"),
)
"""The targets; *marked* are tables that mark rows and have a key index, and *spark* is given Spark frames."""

INPUTS = ("arrow", "pandas", "polars")
"""The inputs that every target must have been given, but for those of Spark."""

PASSES, DIFFERENT, NOT_RUN = "pass", "DIFFERENT", "NOT RUN"


@dataclass
class Outcomes:
    """What became of the cases.

    Attributes:
        cells: (case, column) → the outcomes of all its inputs and parameters.
        inputs: column → the inputs that it was given.
        errors: what refused, in the order in which it was met.
    """

    cells: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    inputs: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    errors: list[str] = field(default_factory=list)

    def add(self, report: Any) -> None:
        """Take in a report of pytest, of whatever phase."""
        said = dict(report.user_properties)
        if "conformance" not in said or (report.outcome == "passed" and report.when != "call"):
            return
        column, case, given, *_ = said["conformance"]
        self.inputs[column].add(given)
        self.cells[case, column].add(self._outcome(report.outcome, said.get("refused")))

    def _outcome(self, outcome: str, refused: str | None) -> str:
        if outcome != "passed":
            return NOT_RUN if outcome == "skipped" else DIFFERENT
        if refused is None:
            return PASSES
        if refused not in self.errors:
            self.errors.append(refused)
        return f"[{self.errors.index(refused) + 1}]"


def lines(found: Outcomes, cases: Sequence[str], columns: Sequence[str] = COLUMNS) -> Iterable[str]:
    """The table, what the numbers in it mean, and the sums."""
    wide = max(len(_title(case)) for case in cases) + 2
    widths = [max(len(column), len(DIFFERENT)) + 2 for column in columns]
    yield (" " * wide + "".join(map(str.ljust, columns, widths))).rstrip()
    for case in cases:
        cells = [_cell(found, case, column) for column in columns]
        yield (_title(case).ljust(wide) + "".join(map(str.ljust, cells, widths))).rstrip()
    yield ""
    yield from (f"[{number}] refused with {error}" for number, error in enumerate(found.errors, 1))
    yield ""
    for column in columns:
        every = [found.cells.get((case, column), {NOT_RUN}) for case in cases]
        refused = sum(any(one.startswith("[") for one in outcomes) for outcomes in every)
        wrong = sum(bool(outcomes & {DIFFERENT, NOT_RUN}) for outcomes in every)
        passed = sum(outcomes == {PASSES} for outcomes in every)
        given = ", ".join(sorted(found.inputs[column]))
        yield f"{column}: {passed} pass, {refused} refused, {wrong} different or not run (inputs: {given})"


def problems(found: Outcomes, cases: Sequence[str], columns: Sequence[str] = COLUMNS) -> list[str]:
    """What is neither a pass nor a declared refusal: different, not run, or not given every input."""
    wrong = [
        f"{column}: {case}: {', '.join(sorted(outcomes))}"
        for case in cases
        for column in columns
        if (outcomes := found.cells.get((case, column), {NOT_RUN})) & {DIFFERENT, NOT_RUN}
    ]
    for column in columns:
        missing = [name for name in inputs_of(column) if name not in found.inputs[column]]
        wrong += [f"{column}: no case was given {name}" for name in missing]
    return wrong


def inputs_of(column: str) -> tuple[str, ...]:
    """The inputs that a target must have been given."""
    return ("spark",) if column.startswith("spark ") else INPUTS


def _cell(found: Outcomes, case: str, column: str) -> str:
    return " ".join(sorted(found.cells.get((case, column), {NOT_RUN}), key=lambda one: (one != PASSES, one)))


def _title(case: str) -> str:
    return case.removeprefix("test_").replace("_", " ")
