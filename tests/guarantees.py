"""The table of guarantees: which invariants of the protocol are checked, how, by how many cases, with what result.

A module that checks some says `pytestmark = pytest.mark.guarantees("S1 S2 …")`; the first line of its docstring says
how. A test may say how many cases it has gone through (`cases`); else it is one. What runs on servers has a result for
each. pytest prints the table at its end. `tools/verify-guarantees` runs just these modules, at a chosen depth.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.services import servers

DEEP = os.environ.get("TXFILES_DEPTH") == "deep"
"""Whether tests look as far as they can, instead of as far as there is time for at every change."""

CASES = "cases"
SWEPT = "swept"
MARKED = "guarantees"
SERVER = "server"


@dataclass
class Result:
    """What came of a module's tests, or of those of them that ran on one server."""

    cases: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    outcomes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    seconds: float = 0.0

    def __str__(self) -> str:
        told = ", ".join(f"{number:,} {what}" for what, number in self.cases.items())
        shown = {"passed": "tests passed", "failed": "FAILED", "skipped": "SKIPPED"}
        ended = ", ".join(f"{self.outcomes[one]} {text}" for one, text in shown.items() if self.outcomes[one])
        return f"{told + '; ' if told else ''}{ended}; {self.seconds:.0f} s"


@dataclass
class Row:
    """A module's lines in the table; the server of those that need none is ''."""

    how: str
    invariants: set[str] = field(default_factory=set)
    results: dict[str, Result] = field(default_factory=lambda: defaultdict(Result))

    def lines(self, width: int) -> Iterator[str]:
        """The row as text."""
        yield f"{' '.join(ranges(self.invariants)):{width}}  {self.how}"
        for server, result in sorted(self.results.items()):
            yield f"{'':{width}}  {server + ': ' if server else ''}{result}"


def ranges(names: Iterable[str]) -> list[str]:
    """`S1 S2 S3 S5 S11b` as `S1-S3 S5 S11b`."""
    found: list[list[str]] = []
    for name in sorted(set(names), key=_order):
        if found and name[1:].isdigit() and found[-1][-1] == f"{name[0]}{int(name[1:]) - 1}":
            found[-1].append(name)
        else:
            found.append([name])
    return [group[0] if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in found]


def _order(name: str) -> tuple[str, int, str]:
    return name[0], int(re.sub(r"\D", "", name)), name


def table(reports: Iterable[Any]) -> list[str]:
    """The lines of the table from pytest's reports."""
    rows: dict[str, Row] = {}
    for report in reports:
        marked = dict(report.user_properties)
        if MARKED not in marked:
            continue
        row = rows.setdefault(report.nodeid.split("::")[0], Row(marked["how"]))
        row.invariants.update(marked[MARKED].split())
        result = row.results[marked[SERVER]]
        result.seconds += report.duration
        if report.when == "call" or report.outcome != "passed":
            result.outcomes[report.outcome] += 1
        if report.when == "call":
            for what, number in marked.get(CASES, {}).items():
                result.cases[what] += number
    width = max((len(" ".join(ranges(row.invariants))) for row in rows.values()), default=0)
    return [line for _, row in sorted(rows.items()) for line in row.lines(width)]


def swept(reports: Iterable[Any]) -> list[str]:
    """The lines of the table of calls with failing requests: how many cases of each fault ended how."""
    rows = [dict(report.user_properties).get(SWEPT) for report in reports if report.when == "call"]
    found = sorted((row for row in rows if row), key=lambda row: row[0])
    faults = list(dict.fromkeys(fault for _, _, ended in found for fault in ended))
    cells = [["call, server, tries", "requests", *faults]]
    for what, requests, ended in found:
        cells.append([", ".join(what), str(requests), *(_told(ended.get(fault, [])) for fault in faults)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [*lines, "(n: succeeded; no, yes, ?: an error that says so of its commit, and is right)"] if found else []


def _told(words: Sequence[str]) -> str:
    shown = {"ok": "", "no": "no", "yes": "yes", "unknown": "?"}
    return "+".join(f"{words.count(word)}{text}" for word, text in shown.items() if word in words) or "-"


@pytest.fixture
def sweep(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Say how the cases of a swept call ended: `sweep(("append", "weed"), requests=8, ended={"cut": ["ok", "no"]})`."""

    def add(what: Sequence[str], requests: int, ended: Mapping[str, Sequence[str]]) -> None:
        row = (list(what), requests, {fault: list(words) for fault, words in ended.items()})
        request.node.user_properties.append((SWEPT, row))

    return add


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Say how many cases a test has gone through: `cases(states=1_000, ends=10)`."""
    counted: dict[str, int] = defaultdict(int)

    def add(**numbers: int) -> None:
        for what, number in numbers.items():
            counted[what.replace("_", " ")] += number
        found = [(name, value) for name, value in request.node.user_properties if name != CASES]
        request.node.user_properties[:] = [*found, (CASES, dict(counted))]

    return add


def _server(item: Any) -> str:
    """The kind of server that a test's parameters name; '' if none does."""
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    words = [word for value in given for word in (value if isinstance(value, tuple) else (value,))]
    return next((word for word in words if isinstance(word, str) and word in servers.KINDS), "")


def mark(items: Iterable[Any]) -> None:
    """Let each test of a marked module carry what the table needs, also from another process."""
    for item in items:
        found = item.get_closest_marker(MARKED)
        if found is not None:
            how = (item.module.__doc__ or "").strip().split("\n")[0]
            item.user_properties += [(MARKED, " ".join(found.args)), ("how", how), (SERVER, _server(item))]
            if getattr(item.obj, "is_hypothesis_test", False):
                tried = item.obj._hypothesis_internal_use_settings.max_examples
                item.user_properties.append((CASES, {"examples at most": tried}))
