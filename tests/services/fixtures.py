"""Real servers as fixtures: each is started once a session, when the first test asks for it, and ended with it.

Where one cannot be had, the tests that need it are skipped with the reason, or fail if `CI=true`.

The contract of stores and the conformance suite run on real clouds, too, where the environment names a place:

    TXFILES_TEST_S3_URL=s3://bucket/folder            TXFILES_TEST_S3_OPTIONS='{"key": "…", "secret": "…"}'
    TXFILES_TEST_AZURE_URL=abfs://container/folder    TXFILES_TEST_AZURE_OPTIONS='{"account_name": "…"}'

The options are storage options as JSON; without them credentials come from where the libraries look for them. All is
written into new folders there, which are emptied again. No report of a test shows an option.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from tests.guarantees import DEEP
from tests.services import servers
from tests.services.servers import SCHEMES, Server, azure_options, make_bucket, options_of, s3_options

S3_KINDS = ("ministack", "weed")
KINDS = (*S3_KINDS, "azurite")
"""The servers that honour conditions."""

WAYS = [("ministack", "s3fs"), ("weed", "obstore"), ("azurite", "adlfs"), ("azurite", "obstore")]
"""Each server and each client once; in depth, each client at each of its servers."""
if DEEP:
    WAYS += [("ministack", "obstore"), ("weed", "s3fs")]


@dataclass(frozen=True)
class Way:
    """A server, and the library through which it is reached."""

    server: Server
    backend: str

    @property
    def kind(self) -> str:
        """Of the server."""
        return self.server.kind

    def options(self, url: str | None = None) -> dict[str, Any]:
        """Storage options, through a proxy if its URL is given."""
        return {**options_of(self.kind, url or self.server.url), "backend": self.backend}

    def words(self, url: str | None = None) -> list[str]:
        """Likewise, for the shell."""
        options = self.options(url)
        options |= options.pop("client_kwargs", {})
        return [f"--storage-option={name}={value}" for name, value in options.items()]

    def fresh_url(self) -> str:
        """Of an empty place."""
        return fresh_url(SCHEMES[self.kind])

    @property
    def secret(self) -> str:
        """What nobody may be told."""
        return servers.SECRET if SCHEMES[self.kind] == "s3" else servers.AZURE_KEY


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
    server = started("azurite")
    try:
        make_bucket(server)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def way(request: pytest.FixtureRequest) -> Way:
    """Each server and each library."""
    kind, backend = request.param
    return Way(running_with_bucket(request, kind), backend)


def running_with_bucket(request: pytest.FixtureRequest, kind: str) -> Server:
    """A server of a kind, with the bucket, for a fixture of a module."""
    server: Server = request.getfixturevalue("azure") if kind == "azurite" else request.getfixturevalue("s3")(kind)
    return server


@pytest.fixture(scope="module")
def azure_client(azure: Server) -> Any:
    """The one client of its container."""
    from txfiles.store.adls import AzureClient

    return AzureClient(servers.BUCKET, azure_options(azure.url), 10.0)


@pytest.fixture(scope="session")
def s3(service: Callable[[str], Server]) -> Callable[[str], Server]:
    """A function from a kind of S3 server to one that runs and has the bucket."""

    @cache
    def get(kind: str) -> Server:
        server = service(kind)
        make_bucket(server)
        return server

    return get


@pytest.fixture(scope="session")
def s3_client(s3: Callable[[str], Server]) -> Callable[[str], Any]:
    """A function from a kind of S3 server to the one client of its bucket."""
    from txfiles.store.s3 import S3Client

    return cache(lambda kind: S3Client(servers.BUCKET, s3_options(s3(kind).url), 10.0))


CLOUDS = ("S3", "AZURE")


def skip_without_a_cloud() -> None:
    """Skip a module if the environment names no place in any cloud."""
    if not any(os.environ.get(f"TXFILES_TEST_{name}_URL") for name in CLOUDS):
        pytest.skip("TXFILES_TEST_S3_URL and TXFILES_TEST_AZURE_URL name no place", allow_module_level=True)


class Hidden(dict[str, Any]):
    """Options that no report of a failed test shows."""

    def __repr__(self) -> str:
        return "…"


@dataclass(frozen=True)
class Cloud:
    """A new folder in a real cloud, and the storage options for it."""

    url: str
    options: Hidden


@contextmanager
def cloud(name: str) -> Iterator[Cloud]:
    """The place that the environment names for one of `CLOUDS`; without one the test is skipped."""
    from txfiles.store import open_store

    url = os.environ.get(f"TXFILES_TEST_{name}_URL")
    if not url:
        pytest.skip(f"TXFILES_TEST_{name}_URL names no place in a real cloud")
    try:
        options = Hidden(json.loads(os.environ.get(f"TXFILES_TEST_{name}_OPTIONS", "{}")))
    except ValueError:
        pytest.fail(f"TXFILES_TEST_{name}_OPTIONS is not an object of JSON", pytrace=False)
    found = Cloud(f"{url.rstrip('/')}/txfiles-test-{uuid.uuid4().hex}", options)
    try:
        yield found
    finally:
        store = open_store(found.url, found.options)
        store.delete_many([entry.name for entry in store.list_from("")])


def fresh_prefix() -> str:
    """An empty place in the tests' bucket."""
    return f"{uuid.uuid4().hex}/täble a"


def fresh_url(scheme: str = "s3") -> str:
    """Its URL."""
    return f"{scheme}://{servers.BUCKET}/{fresh_prefix()}"


def arrow_of(kind: str, url: str) -> pafs.FileSystem:
    """Arrow's own client of a server: what it reads is read without this library."""
    address = url.removeprefix("http://")
    if SCHEMES[kind] == "s3":
        return pafs.S3FileSystem(
            access_key=servers.KEY,
            secret_key=servers.SECRET,
            endpoint_override=address,
            scheme="http",
            region="us-east-1",
        )
    return pafs.AzureFileSystem(
        servers.AZURE_ACCOUNT,
        account_key=servers.AZURE_KEY,
        blob_storage_authority=address,
        blob_storage_scheme="http",
        dfs_storage_authority=address,
        dfs_storage_scheme="http",
    )


def copied(system: pafs.FileSystem, url: str, folder: Path) -> int:
    """Copy what is below a URL into an empty folder; returns how many objects."""
    root = url.partition("://")[2]
    found = system.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
    files = [info for info in found if info.is_file]
    for info in files:
        copy = folder / info.path.removeprefix(root + "/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        with system.open_input_stream(info.path) as stream:
            copy.write_bytes(stream.read())
    return len(files)


def told(error: BaseException | None) -> str:
    """All that an error says, with what is behind it."""
    seen: set[int] = set()
    found: list[str] = []
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        found += [str(error), repr(error), repr(vars(error)), repr(getattr(error, "hint", ""))]
        error = error.__cause__ or error.__context__
    return "\n".join(found)
