"""The conformance suite on tables that mark rows instead of rewriting files, and find them by a key index.

Each commit saves the list of its files in parts.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.given import GIVE, every_case, inputs_or
from tests.conformance.suite import ConformanceCases, Target
from txfiles.core import properties
from txfiles.rows import segments

COLUMN = "{}, marked"
OTHERWISE = {"update_strategy": "merge_on_read", "key_index": "on", "checkpoint_interval": 1}

pytestmark = pytest.mark.usefixtures("index_of_small_tables")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each format, with Arrow tables: what comes of other inputs is decided before a table is looked at."""
    every_case(metafunc, ("parquet", "csv"), inputs_or("arrow"))


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A new folder for each case, whose tables have other defaults than users' tables."""
    for name, value in OTHERWISE.items():
        monkeypatch.setitem(properties.PROPERTIES, name, replace(properties.PROPERTIES[name], default=value))
    monkeypatch.setattr(segments, "TAIL_FILES", 0)
    path = tmp_path / "table"
    format_name, engine = request.param
    return Target(
        path=path,
        where={"format": format_name},
        give=lambda table: GIVE[engine](table, tmp_path),
        residue=lambda: sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file() and p.name != "lock"),
    )


class TestMarkedAndIndexed(ConformanceCases):
    """Every case."""
