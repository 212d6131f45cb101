"""The conformance suite at `abfs://`, on Azurite: credentials and endpoint come from the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.suite import ConformanceCases, Target
from tests.services.fixtures import azure_options, fresh_url
from tests.services.servers import Server
from txfiles.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture
def target(azure: Server, monkeypatch: pytest.MonkeyPatch) -> Target:
    """An empty place in the container for each case."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azure_options(azure.url)["connection_string"])
    url = fresh_url("abfs")
    give: Callable[[Any], Any] = lambda table: table  # noqa: E731
    return Target(
        path=url,
        where={"format": "parquet"},
        give=give,
        residue=lambda: sorted(entry.name for entry in open_store(url).list_from("")),
    )


class TestAzure(ConformanceCases):
    """Every case, in a container."""
