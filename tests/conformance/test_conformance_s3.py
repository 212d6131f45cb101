"""The conformance suite at `s3://`, on real servers: credentials and endpoint come from the environment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.buckets import every_case, in_bucket
from tests.conformance.suite import ConformanceCases, Target
from tests.services import servers
from tests.services.fixtures import fresh_url
from tests.services.servers import Server

pytestmark = pytest.mark.slow


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each library, and each format."""
    obstore = [("ministack", "parquet", "obstore"), ("weed", "csv", "obstore")]
    every_case(metafunc, obstore, [("ministack", "csv", "s3fs")])


@pytest.fixture
def target(request: pytest.FixtureRequest, s3: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch) -> Target:
    """An empty place in the bucket for each case."""
    kind, format_name, backend = request.param
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3(kind).url)
    return in_bucket(fresh_url(), format_name, backend)


class TestS3(ConformanceCases):
    """Every case, in a bucket."""
