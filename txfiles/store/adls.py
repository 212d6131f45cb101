"""Azure's blobs (and ADLS Gen2) through `adlfs`, with its users' options: one request a method, no cache, no retries.

adlfs finds the credentials and makes the client of the Azure SDK; the requests go to that client, which, unlike adlfs,
can be told not to try again. What an answer means is read off Azure's error code and status.

Source: specs/decisions/0012-azure-through-adlfs.md.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from io import BytesIO
from typing import Any, TypeVar
from weakref import WeakSet, finalize

import adlfs
from azure.core import exceptions as azure
from azure.storage.blob import BlobBlock
from fsspec.asyn import sync

from txfiles.core.messages import nearest
from txfiles.errors import OptionError
from txfiles.store import azure_answers, azure_names, client, deadline, fsspec_config, secret_options
from txfiles.store.client import Begun, Body, Failed, Failure
from txfiles.store.object_sink import PART_BYTES, PARTS_AHEAD, RANGES_AT_ONCE
from txfiles.store.port import Capabilities, Entry

T = TypeVar("T")

_RAISED: tuple[tuple[type[Exception], Failure], ...] = (
    (azure.ServiceRequestError, Failure.UNREACHABLE),
    (azure.ClientAuthenticationError, Failure.DENIED),
    (TypeError, Failure.REFUSED),
    (ValueError, Failure.REFUSED),
)
"""What is raised before there is an answer; anything else is unclear."""

_OURS = frozenset({"asynchronous", "loop", "version_aware", "request_session", "timeout"})
"""Options that this client decides."""
_IDENTITY = frozenset({"managed_identity_client_id", "workload_identity_client_id", "authority"})
"""What adlfs hands to `DefaultAzureCredential`, beside `exclude_…`."""


class AzureClient:
    """One container.

    Args:
        bucket: its name, or as in a URL `container@account.dfs.core.windows.net`.
        options: as for `adlfs.AzureBlobFileSystem`; the names that polars and delta-rs use are known too.
        try_seconds: how long a single request may take without an answer.
    Raises:
        OptionError: adlfs has no such option, no account was named, or the URL names another.
    """

    backend = "adlfs"
    reason: str | None = None
    capabilities = Capabilities(lists_from_a_name=False, requests_at_once=32, resends=True)
    deletes_at_once = azure_answers.DELETES_AT_ONCE
    parts_at_once = PARTS_AHEAD

    def __init__(self, bucket: str, options: Mapping[str, Any], try_seconds: float) -> None:
        self._bucket = bucket
        self._given = dict(options)
        self._options = adlfs_options(bucket, secret_options.resolved(options))
        self._configured = fsspec_config.configured(adlfs.AzureBlobFileSystem.protocol)
        self._try_seconds = try_seconds
        self._connect()

    def __reduce__(self) -> tuple[Any, ...]:
        secret_options.require_none(self._given, self.root)
        return AzureClient, (self._bucket, self._given, self._try_seconds)

    @property
    def root(self) -> str:
        """`abfs://container`, with the account if it was named so."""
        return f"abfs://{self._bucket}"

    @property
    def identity(self) -> str:
        """The endpoint and the container."""
        return f"azure {self._container.primary_hostname} {self._container.container_name}"

    def failed(self, error: Exception) -> Failed:
        """What an exception means: by the answer's code and status, if there was one."""
        response = getattr(error, "response", None)
        if response is None:
            means = next((failure for kind, failure in _RAISED if isinstance(error, kind)), Failure.UNCLEAR)
            return Failed(means, self._shown(f"{type(error).__name__}: {error}"))
        code, status = response.headers.get("x-ms-error-code"), response.status_code
        if status < 300:  # noqa: PLR2004  # a success whose body was cut, or made no sense
            return Failed(Failure.UNCLEAR, self._shown(f"{status}: {type(error).__name__}"))
        return Failed(
            client.meaning(azure_answers.ANSWERS, code, status),
            self._shown(
                client.described(status, code, response.reason, azure_answers.tier(code))
            ),  # not the body, which may repeat what was signed
            client.retry_after_seconds(response.headers.get("retry-after")),
        )

    def get(self, key: str, limit: int) -> Body:
        """One GET; if it is too large, only the headers are read."""

        async def request() -> Body:
            response, stream = await self._download(key)
            size = int(response.headers["content-length"])
            if size <= limit:
                return Body(await self._whole(stream, size), size)
            response.internal_response.close()
            return Body(b"", size)

        return self._run(request)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """One GET of a range."""

        async def request() -> bytes:
            response, stream = await self._download(key, range=f"bytes={offset}-{offset + length - 1}")
            if "content-range" not in response.headers:
                response.internal_response.close()
                raise azure.IncompleteReadError("the server sent the whole object in place of a range")
            return await self._whole(stream, length * RANGES_AT_ONCE)

        return self._run(request)

    def stat(self, key: str) -> Entry:
        """One HEAD."""
        found = self._call(lambda: self._blob(key).get_blob_properties(**self._once))
        return Entry(key, found.size, client.seconds_us(found.last_modified))

    def create(self, key: str, data: bytes) -> None:
        """One Put Blob with `If-None-Match: *`."""
        self._put(key, data, {"If-None-Match": "*"})

    def put(self, key: str, data: bytes) -> None:
        """One Put Blob."""
        self._put(key, data, {})

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Entry]]:
        """List Blobs: all below the prefix, since not all servers can begin at a name."""
        pages = self._container.list_blobs(prefix, include=["metadata"], **self._once).by_page()

        async def next_page() -> Sequence[Entry] | None:
            async for page in pages:
                return [
                    Entry(blob.name, blob.size, client.seconds_us(blob.last_modified))
                    async for blob in page
                    if (blob.metadata or {}).get("hdi_isfolder", "").lower() != "true"  # a folder of ADLS Gen2
                ]
            return None

        while (page := self._call(next_page)) is not None:
            yield page

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Failed]:
        """A Delete Blob for each, under way together."""

        async def request() -> list[Any]:
            deletes = [self._blob(key).delete_blob(**self._once) for key in keys]
            return await asyncio.gather(*deletes, return_exceptions=True)

        failed = {key: self.failed(error) for key, error in zip(keys, self._call(request), strict=True) if error}
        return {key: one for key, one in failed.items() if one.failure is not Failure.ABSENT}

    def upload(self, key: str) -> AzureUpload:
        """No request: blocks are staged under the blob's own name."""
        return AzureUpload(self, key)

    def uploads(self, prefix: str) -> Sequence[Begun]:
        """None: Azure forgets blocks that were not committed within a week."""
        return ()

    def now_us(self) -> int:
        """The `Date` of an answer, whatever it says: not every user may list or look at the container."""
        met: list[str] = []
        hook = {"raw_response_hook": lambda answer: met.append(answer.http_response.headers["date"])}
        try:
            self._call(lambda: self._blob("_").get_blob_properties(**self._once, **hook))
        except azure.HttpResponseError as error:
            if self.failed(error).failure not in client.DATED:
                raise
            if error.response is None:  # denied by where the credentials come from
                raise
        return client.http_time_us(met[-1])

    # ------------------------------------------------------------ for uploads

    def stage(self, key: str, block: str, data: bytes) -> None:
        """Put Block."""
        size = len(data)
        self._call(
            lambda: self._blob(key).stage_block(block, BytesIO(data), length=size, **self._once), size * PARTS_AHEAD
        )

    def commit(self, key: str, blocks: Sequence[str]) -> None:
        """Put Block List: sent again it finds the same blocks, committed."""
        listed = [BlobBlock(block) for block in blocks]
        size = len(blocks) * PART_BYTES
        patient = {**self._once, "read_timeout": deadline.seconds(self._answer_seconds, size)}
        self._call(lambda: self._blob(key).commit_block_list(listed, **patient), size)

    # ------------------------------------------------------------ inside

    def _connect(self) -> None:
        known = self._options
        seconds = {
            "connection_timeout": min(client.CONNECT_SECONDS, self._try_seconds),
            "read_timeout": self._try_seconds,
        }
        self._answer_seconds = max(self._try_seconds, float(known.get("read_timeout") or 0))
        self._once = {**seconds, **{name: known[name] for name in seconds if name in known}, "retry_total": 0}
        try:
            self._fs = adlfs.AzureBlobFileSystem(**known, use_listings_cache=False, skip_instance_cache=True)
            self._container = self._fs.service_client.get_container_client(azure_names.parts(self._bucket)[0])
        except (ValueError, TypeError, azure.AzureError) as error:
            told = secret_options.shown(str(error), known)
            raise OptionError(
                f"no client for {self.root}: {told}",
                hint="give account_name, and account_key, sas_token or credential; or connection_string",
            ) from None
        _let_go(self._fs)
        lent = {id(some.get("credential")) for some in (known, self._configured)}
        own = None if id(self._fs.credential) in lent else self._fs.credential
        self._end = finalize(self, _end, self._fs.loop, self._fs.service_client, own, os.getpid())
        self._end.atexit = False  # see `_end_all`
        _clients.add(self)
        account = azure_names.parts(self._bucket)[1]
        if account and account != self._container.account_name:
            raise azure_names.two_accounts(self.root)
        self._process = os.getpid()

    def _blob(self, key: str) -> Any:
        return self._container.get_blob_client(key)

    def _put(self, key: str, data: bytes, condition: Mapping[str, str]) -> None:
        """Put Blob. The SDK's `upload_blob` hands aiohttp bytes, which it warns of if they are many."""
        blobs = self._blob(key)._client.block_blob  # noqa: SLF001
        size = len(data)
        self._call(lambda: blobs.upload(size, BytesIO(data), headers={**condition}, **self._once), size)

    async def _download(self, key: str, **where: str) -> tuple[Any, Any]:
        """Get Blob: its head and its body. The SDK's `download_blob` may send more than one request."""
        blobs = self._blob(key)._client.blob  # noqa: SLF001
        async with deadline.within(self._answer_seconds):
            answer: tuple[Any, Any] = await blobs.download(
                **where, **self._once, cls=lambda answer, stream, _: (answer.http_response, stream)
            )
        return answer

    async def _whole(self, stream: Any, size: int) -> bytes:
        async with deadline.within(self._answer_seconds, size):
            return b"".join([piece async for piece in stream])

    def _call(self, request: Callable[[], Awaitable[T]], size: int = 0) -> T:
        """The answer to a request that sends `size` bytes."""

        async def call() -> T:
            async with deadline.within(self._answer_seconds, size):
                return await request()

        return self._run(call)

    def _run(self, request: Callable[[], Awaitable[T]]) -> T:
        if self._process != os.getpid():  # its event loop stayed in the parent
            self._connect()
        done: T = sync(self._fs.loop, request)
        return done

    def _shown(self, text: str) -> str:
        """A server's or library's words, with no value of an option that may be secret in them."""
        found = {name: getattr(self._fs, name, None) for name in ("account_key", "sas_token", "connection_string")}
        return secret_options.shown(text, self._options, self._configured, found)


_clients: WeakSet[AzureClient] = WeakSet()
"""Those that are in use."""

END_SECONDS = 1.0
"""How long the end of the process waits for the connections of a client to be closed."""


def _let_go(system: Any) -> None:
    """Take back what adlfs registered for the end of a file system: it would keep it until the process ends."""
    for one in list(finalize._registry):  # type: ignore[attr-defined]  # noqa: SLF001
        about = one.peek()
        if about is not None and about[0] is system:
            one.detach()


def _end(loop: asyncio.AbstractEventLoop, service: Any, credential: Any, process: int) -> Future[None] | None:
    """Close a client's connections, in the thread of its loop: whoever collects garbage does not wait."""

    async def close() -> None:
        await service.close()
        closed = credential.close() if hasattr(credential, "close") else None
        if inspect.isawaitable(closed):
            await closed

    if process != os.getpid() or loop.is_closed():  # the loop stayed in the parent
        return None
    return asyncio.run_coroutine_threadsafe(close(), loop)


@atexit.register
def _end_all() -> None:
    for ended in [one._end() for one in _clients]:  # noqa: SLF001
        if ended is not None:
            with suppress(Exception):
                ended.result(END_SECONDS)


class AzureUpload:
    """Blocks of one blob.

    Args:
        blobs: the client.
        key: of the blob.
    """

    def __init__(self, blobs: AzureClient, key: str) -> None:
        self._blobs = blobs
        self._key = key
        self._blocks: set[str] = set()

    def part(self, number: int, data: bytes) -> None:
        """Stage a block; all ids of a blob have one length."""
        block = f"{number:08}"
        self._blobs.stage(self._key, block, data)
        self._blocks.add(block)

    def complete(self) -> None:
        """Commit the blocks."""
        self._blobs.commit(self._key, sorted(self._blocks))

    def abort(self) -> None:
        """Nothing: nobody sees blocks that are not committed, and Azure forgets them."""


def adlfs_options(bucket: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Storage options as adlfs takes them, with the account that a URL names.

    Raises:
        OptionError: adlfs has no such option, or it is not the caller's to decide; no value is shown.
    """
    options = azure_names.renamed(given)
    parameters = inspect.signature(adlfs.AzureBlobFileSystem.__init__).parameters
    known = (frozenset(parameters) | _IDENTITY) - _OURS - azure_names.CACHES - {"self", "kwargs"}
    for name in options:
        if name not in known and not name.startswith("exclude_"):
            raise OptionError(
                f"{name!r} is not a storage option for Azure{nearest(name, known)}",
                hint="the options are those of adlfs.AzureBlobFileSystem, such as account_name, account_key, "
                "sas_token, connection_string, credential, client_id and anon, and request_timeout and backend",
            )
    _, account, suffix = azure_names.parts(bucket)
    if account:
        options.setdefault("account_name", account)
        if suffix != "core.windows.net":
            options.setdefault("account_host", f"{account}.blob.{suffix}")
    return options
