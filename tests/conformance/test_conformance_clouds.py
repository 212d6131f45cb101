"""The conformance suite in real clouds: only where the environment names one, see tests/services/fixtures.py."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance.suite import ConformanceCases, Target
from tests.services.fixtures import CLOUDS, Cloud, cloud, skip_without_a_cloud
from txfiles.store import open_store
from txfiles.targets.files import target as files_target

pytestmark = pytest.mark.slow
skip_without_a_cloud()


@pytest.fixture(scope="module", params=CLOUDS)
def place(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with cloud(request.param) as found:
        yield found


@pytest.fixture
def target(place: Cloud, monkeypatch: pytest.MonkeyPatch) -> Target:
    """An empty folder for each case; the cases themselves name no storage options."""
    monkeypatch.setattr(
        files_target, "open_store", lambda path, options, lock: open_store(path, options or place.options, lock=lock)
    )
    url = f"{place.url}/{uuid.uuid4().hex}"
    give: Callable[[Any], Any] = lambda table: table  # noqa: E731
    return Target(
        path=url,
        where={"format": "parquet"},
        give=give,
        residue=lambda: sorted(entry.name for entry in open_store(url, place.options).list_from("")),
    )


class TestClouds(ConformanceCases):
    """Every case, in a cloud."""
