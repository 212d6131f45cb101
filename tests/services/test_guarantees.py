"""The table of guarantees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests import guarantees


@dataclass
class Report:
    """What pytest tells of a test."""

    server: str
    outcome: str
    marked: str = "S1 S2 S3"
    when: str = "call"
    nodeid: str = "tests/test_a.py::test"
    duration: float = 2.0
    user_properties: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.user_properties = [("guarantees", self.marked), ("how", "By trying."), ("server", self.server)]
        self.user_properties.append(("cases", {"kills": 3}))


def test_each_server_has_its_result() -> None:
    """A module's guarantees are those of all its tests, and it has a result for each server that they ran on."""
    reports = [
        Report("weed", "passed"),
        Report("azurite", "failed", "S5"),
        Report("weed", "passed"),
        Report("", "passed"),
    ]
    assert guarantees.table(reports) == [
        "S1-S3 S5  By trying.",
        "          3 kills; 1 tests passed; 2 s",
        "          azurite: 3 kills; 1 FAILED; 2 s",
        "          weed: 6 kills; 2 tests passed; 4 s",
    ]
