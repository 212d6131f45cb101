"""The conformance suite at `abfs://`, on Azurite: credentials and endpoint come from the environment."""

from __future__ import annotations

import pytest

from tests.conformance.buckets import every_case, in_bucket
from tests.conformance.suite import ConformanceCases, Target
from tests.services.fixtures import azure_options, fresh_url
from tests.services.servers import Server

pytestmark = pytest.mark.slow


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each library and each format."""
    adlfs = [("azurite", "parquet", "adlfs")]
    every_case(metafunc, [("azurite", "parquet", "obstore")], [("azurite", "csv", "obstore"), *adlfs])


@pytest.fixture
def target(request: pytest.FixtureRequest, azure: Server, monkeypatch: pytest.MonkeyPatch) -> Target:
    """An empty place in the container for each case."""
    _, format_name, backend = request.param
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azure_options(azure.url)["connection_string"])
    return in_bucket(fresh_url("abfs"), format_name, backend)


class TestAzure(ConformanceCases):
    """Every case, in a container."""
