"""The conformance suite at `s3://`, on real servers: credentials and endpoint come from the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.suite import ConformanceCases, Target
from tests.services import servers
from tests.services.fixtures import S3_KINDS, fresh_url
from tests.services.servers import Server
from txfiles.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture(params=[(kind, "csv" if kind == "weed" else "parquet") for kind in S3_KINDS], ids="-".join)
def target(request: pytest.FixtureRequest, s3: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch) -> Target:
    """An empty place in the bucket for each case."""
    kind, format_name = request.param
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3(kind).url)
    url = fresh_url()
    give: Callable[[Any], Any] = lambda table: table  # noqa: E731
    return Target(
        path=url,
        where={"format": format_name},
        give=give,
        residue=lambda: sorted(entry.name for entry in open_store(url).list_from("")),
    )


class TestS3(ConformanceCases):
    """Every case, in a bucket."""
