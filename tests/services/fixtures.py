"""Real servers as fixtures: each is started once a session, when the first test asks for it, and ended with it.

Where one cannot be had, the tests that need it are skipped with the reason, or fail if `CI=true`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from tests.services import servers
from tests.services.servers import Server, make_bucket, s3_options

S3_KINDS = ("ministack", "weed")


_unavailable: dict[str, str] = {}


def started(kind: str) -> Server:
    """A server that runs; without one the test is skipped, or fails if `CI=true`."""
    if kind not in _unavailable:
        try:
            return servers.start(kind)
        except servers.Unavailable as error:
            _unavailable[kind] = f"no {kind} here: {error}"
    if os.environ.get("CI") == "true":
        pytest.fail(_unavailable[kind])
    pytest.skip(_unavailable[kind])


@pytest.fixture(scope="session")
def service() -> Iterator[Callable[[str], Server]]:
    """A function from a kind of server to one that runs."""
    running: dict[str, Server] = {}

    def get(kind: str) -> Server:
        if kind not in running:
            running[kind] = started(kind)
        return running[kind]

    yield get
    for server in running.values():
        server.stop()


@pytest.fixture(scope="module")
def azure() -> Iterator[Server]:
    """Azurite with the container, for one module: it stops answering after ten minutes with many overwrites."""
    from azure.storage.blob import BlobServiceClient

    server = started("azurite")
    connection = azure_options(server.url)["connection_string"]
    with BlobServiceClient.from_connection_string(connection) as service:
        service.create_container(servers.BUCKET)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def azure_client(azure: Server) -> Any:
    """The one client of its container."""
    from txfiles.store.adls import AzureClient

    return AzureClient(servers.BUCKET, azure_options(azure.url), 10.0)


def azure_options(url: str, key: str = servers.AZURE_KEY) -> dict[str, Any]:
    """The storage options of Azurite's only account."""
    parts = (
        "DefaultEndpointsProtocol=http",
        f"AccountName={servers.AZURE_ACCOUNT}",
        f"AccountKey={key}",
        f"BlobEndpoint={url}/{servers.AZURE_ACCOUNT}",
    )
    return {"connection_string": ";".join(parts)}


@pytest.fixture(scope="session")
def s3(service: Callable[[str], Server]) -> Callable[[str], Server]:
    """A function from a kind of S3 server to one that runs and has the bucket."""

    @cache
    def get(kind: str) -> Server:
        server = service(kind)
        make_bucket(server.url)
        return server

    return get


@pytest.fixture(scope="session")
def s3_client(s3: Callable[[str], Server]) -> Callable[[str], Any]:
    """A function from a kind of S3 server to the one client of its bucket."""
    from txfiles.store.s3 import S3Client

    return cache(lambda kind: S3Client(servers.BUCKET, s3_options(s3(kind).url), 10.0))


def fresh_prefix() -> str:
    """An empty place in the tests' bucket."""
    return f"{uuid.uuid4().hex}/täble a"


def fresh_url(scheme: str = "s3") -> str:
    """Its URL."""
    return f"{scheme}://{servers.BUCKET}/{fresh_prefix()}"


def told(error: BaseException | None) -> str:
    """All that an error says, with what is behind it."""
    seen: set[int] = set()
    found: list[str] = []
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        found += [str(error), repr(error), repr(vars(error)), repr(getattr(error, "hint", ""))]
        error = error.__cause__ or error.__context__
    return "\n".join(found)
