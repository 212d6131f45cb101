"""The conformance suite on SQL tables, each in a real database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import txfiles as tx
from tests.conformance.suite import ConformanceCases, Refusal, Target
from tests.services.databases import DATABASES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every case on each database, with Arrow tables."""
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", DATABASES, indirect=True)


@pytest.fixture
def target(request: pytest.FixtureRequest, sql_url: Callable[[str], str], tmp_path_factory) -> Target:
    """A new place for each case."""
    kind = request.param
    url = sql_url(kind)
    return Target(
        path=url,
        where={"format": "sql"},
        give=lambda table: table,
        residue=lambda: residue(url),
        refuses={},
    )


def residue(url: str) -> list[str]:
    """The rows and the history, as text."""
    if not tx.exists(url):
        return []
    table = tx.Table(url)
    return [*map(str, table.history()), *map(str, table.to_arrow().to_pylist())]


class TestSql(ConformanceCases):
    """Every case, on databases."""
