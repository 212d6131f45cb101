"""S3 through `s3fs`, with its users' options: one request a method, none of s3fs' caches, retries or guesses.

s3fs finds the credentials and keeps the connections; the requests are S3's own, through its `_call_s3`. What an answer
means is read off S3's error code and status, never off the Python exception that s3fs makes of it: a name that is
taken is a `FileExistsError` from some servers and an `OSError` from others.

Source: specs/decisions/0027-s3-through-s3fs.md.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import aiobotocore.session
import s3fs
from botocore import exceptions as boto
from botocore.handlers import add_expect_header
from fsspec.asyn import sync

from txfiles.core.messages import nearest
from txfiles.errors import OptionError
from txfiles.store import client, deadline, fsspec_config, s3_answers, s3_names, secret_options
from txfiles.store.client import Begun, Body, Failed, Failure
from txfiles.store.object_sink import PART_BYTES, PARTS_AHEAD, RANGES_AT_ONCE
from txfiles.store.port import Capabilities, Entry

T = TypeVar("T")

CONNECTIONS = 32
"""Kept by the client, and small requests that go together: a cold open reads a checkpoint and up to 28 manifests."""

_RAISED: tuple[tuple[type[Exception], Failure], ...] = (
    (boto.EndpointConnectionError, Failure.UNREACHABLE),
    (boto.ConnectTimeoutError, Failure.UNREACHABLE),
    (boto.ProxyConnectionError, Failure.UNREACHABLE),
    (boto.SSLError, Failure.UNREACHABLE),
    (boto.NoCredentialsError, Failure.DENIED),
    (boto.PartialCredentialsError, Failure.DENIED),
    (boto.CredentialRetrievalError, Failure.DENIED),
    (boto.TokenRetrievalError, Failure.DENIED),
    (boto.UnauthorizedSSOTokenError, Failure.DENIED),
    (boto.SSOError, Failure.DENIED),
    (boto.ParamValidationError, Failure.REFUSED),
    (boto.ProfileNotFound, Failure.REFUSED),
    (boto.NoRegionError, Failure.REFUSED),
    (boto.InvalidRegionError, Failure.REFUSED),
    (boto.ConfigParseError, Failure.REFUSED),
    (TypeError, Failure.REFUSED),
    (ValueError, Failure.REFUSED),
)
"""What is raised before there is an answer; anything else is unclear."""

_OURS = frozenset({"asynchronous", "loop", "version_aware"})
"""Options that this client decides."""


class S3Client:
    """One bucket.

    Args:
        bucket: its name.
        options: as for `s3fs.S3FileSystem`; the names that polars and delta-rs use are known too.
        try_seconds: how long a single request may take without an answer.
    Raises:
        OptionError: s3fs has no such option.
    """

    backend = "s3fs"
    reason: str | None = None
    capabilities = Capabilities(lists_from_a_name=True, requests_at_once=CONNECTIONS, resends=True)
    deletes_at_once = 1_000
    parts_at_once = PARTS_AHEAD

    def __init__(self, bucket: str, options: Mapping[str, Any], try_seconds: float) -> None:
        self._bucket = bucket
        self._given = dict(options)
        self._options = s3fs_options(secret_options.resolved(options))
        self._configured = fsspec_config.configured(s3fs.S3FileSystem.protocol)
        self._try_seconds = try_seconds
        self._connect()

    def __reduce__(self) -> tuple[Any, ...]:
        secret_options.require_none(self._given, self.root)
        return S3Client, (self._bucket, self._given, self._try_seconds)

    @property
    def root(self) -> str:
        """`s3://bucket`."""
        return f"s3://{self._bucket}"

    @property
    def identity(self) -> str:
        """The endpoint and the bucket."""
        self._renew()
        return f"s3 {self._fs.s3.meta.endpoint_url} {self._bucket}"

    def failed(self, error: Exception) -> Failed:
        """What an exception means: by the answer's code and status, if there was one."""
        response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
        if not isinstance(response, Mapping):
            means = next((failure for kind, failure in _RAISED if isinstance(error, kind)), Failure.UNCLEAR)
            return Failed(means, self._shown(f"{type(error).__name__}: {error}"))
        said, answered = response.get("Error", {}), response.get("ResponseMetadata", {})
        code, status = said.get("Code"), answered.get("HTTPStatusCode")
        if code == "404" and getattr(error.__cause__, "operation_name", None) == "HeadObject":
            code = "NoSuchKey"  # a HEAD has no body to say it
        headers = answered.get("HTTPHeaders", {})
        return Failed(
            client.meaning(s3_answers.ANSWERS, code, status),
            self._shown(client.described(status, code, said.get("Message"), s3_answers.tier(code, said.get))),
            client.retry_after_seconds(headers.get("retry-after")),
        )

    def get(self, key: str, limit: int) -> Body:
        """One GET; if it is too large, only the headers are read."""

        async def request() -> Body:
            found = await self._ask("get_object", Key=key)
            async with found["Body"] as stream:
                size = found["ContentLength"]
                return Body(await self._whole(stream, size) if size <= limit else b"", size)

        return self._run(request)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """One GET of a range."""

        async def request() -> bytes:
            found = await self._ask("get_object", Key=key, Range=f"bytes={offset}-{offset + length - 1}")
            async with found["Body"] as stream:
                if "ContentRange" not in found:
                    raise boto.ResponseStreamingError(error="the server sent the whole object in place of a range")
                return await self._whole(stream, length * RANGES_AT_ONCE)

        return self._run(request)

    def stat(self, key: str) -> Entry:
        """One HEAD."""
        found = self._call("head_object", Key=key)
        return Entry(key, found["ContentLength"], client.seconds_us(found["LastModified"]))

    def create(self, key: str, data: bytes) -> None:
        """One PUT with `If-None-Match: *`."""
        self._call("put_object", Key=key, Body=data, IfNoneMatch="*")

    def put(self, key: str, data: bytes) -> None:
        """One PUT."""
        self._call("put_object", Key=key, Body=data)

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Entry]]:
        """ListObjectsV2, from a key on."""
        where: dict[str, Any] = {"StartAfter": after} if after else {}
        while True:
            found = self._call("list_objects_v2", Prefix=prefix, **where)
            if "IsTruncated" not in found:  # an answer without it is some proxy's, not an empty listing
                raise boto.ResponseStreamingError(error="the answer is not a listing")
            yield [
                Entry(one["Key"], one["Size"], client.seconds_us(one["LastModified"]))
                for one in found.get("Contents", ())
            ]
            if not found["IsTruncated"]:
                return
            where = {"ContinuationToken": found["NextContinuationToken"]}

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Failed]:
        """One DeleteObjects; keys that XML cannot hold are deleted one by one."""
        plain = [key for key in keys if key.isprintable()]
        for key in keys:
            if not key.isprintable():
                self._call("delete_object", Key=key)
        if not plain:
            return {}
        objects = [{"Key": key} for key in plain]
        answer = self._call("delete_objects", Delete={"Objects": objects, "Quiet": True})
        return {one["Key"]: self._left(one) for one in answer.get("Errors", ()) if one.get("Code") != "NoSuchKey"}

    def upload(self, key: str) -> S3Upload:
        """CreateMultipartUpload."""
        return S3Upload(self._call, key, self._call("create_multipart_upload", Key=key)["UploadId"])

    def uploads(self, prefix: str) -> Sequence[Begun]:
        """ListMultipartUploads, all pages."""
        begun: list[Begun] = []
        where: dict[str, Any] = {}
        while True:
            found = self._call("list_multipart_uploads", Prefix=prefix, **where)
            for one in found.get("Uploads", ()):
                upload = S3Upload(self._call, one["Key"], one["UploadId"])
                begun.append(Begun(one["Key"], client.seconds_us(one["Initiated"]), upload))
            if not found.get("IsTruncated"):
                return begun
            where = {"KeyMarker": found["NextKeyMarker"], "UploadIdMarker": found["NextUploadIdMarker"]}

    def now_us(self) -> int:
        """The `Date` of an answer, whatever it says: not every user may list or look at the bucket."""
        try:
            answer = self._call("head_object", Key="_")
        except Exception as error:
            response = getattr(error.__cause__, "response", None)
            if response is None or self.failed(error).failure not in client.DATED:
                raise
            answer = response
        return client.http_time_us(answer["ResponseMetadata"]["HTTPHeaders"]["date"])

    @property
    def _found(self) -> dict[str, Any]:
        """The credentials in use, also those from outside of the options: a server may repeat them."""
        signer = getattr(self._fs._s3, "_request_signer", None)  # noqa: SLF001
        known = getattr(signer, "_credentials", None)
        found = {} if known is None else vars(known)  # its properties would renew them
        return {name: found.get(name, found.get(f"_{name}")) for name in ("access_key", "secret_key", "token")}

    def _connect(self) -> None:
        given = self._options.get("config_kwargs", self._configured.get("config_kwargs", {}))
        config = {
            "connect_timeout": min(client.CONNECT_SECONDS, self._try_seconds),
            # One for all requests, and a server that puts parts together may be silent; `deadline` bounds the others.
            "read_timeout": deadline.seconds(self._try_seconds, PART_BYTES),
            "max_pool_connections": CONNECTIONS,
            **given,
            "retries": {"total_max_attempts": 1},
        }
        self._answer_seconds = max(self._try_seconds, float(given.get("read_timeout") or 0))
        self._connections = asyncio.Semaphore(config["max_pool_connections"] or CONNECTIONS)
        options = {**self._options, "config_kwargs": config}
        self._fs = s3fs.S3FileSystem(**options, use_listings_cache=False, skip_instance_cache=True)
        self._fs.retries = 1
        self._process = os.getpid()

    def _call(self, method: str, size: int = 0, **arguments: Any) -> dict[str, Any]:
        return self._run(lambda: self._ask(method, size, **arguments))

    def _run(self, request: Callable[[], Awaitable[T]]) -> T:
        async def connected() -> T:
            async with self._connections:  # the time of a request begins when there is a connection for it
                return await request()

        self._renew()
        done: T = sync(self._fs.loop, connected)
        return done

    def _renew(self) -> None:
        if self._process != os.getpid():  # its event loop stayed in the parent
            self._connect()

    async def _ask(self, method: str, size: int = 0, **arguments: Any) -> dict[str, Any]:
        """One request; `size` is of all bodies that make it take longer, if its own is not all."""
        await self._fs.set_session()
        system = await self._fs.get_s3(self._bucket)
        # Else each PUT waits for the server's "100 Continue" before it sends its body: a round trip more.
        system.meta.events.unregister("before-call.s3", add_expect_header)
        async with deadline.within(self._answer_seconds, size or len(arguments.get("Body", b""))):
            answer: dict[str, Any] = await self._fs._call_s3(method, Bucket=self._bucket, **arguments)  # noqa: SLF001
        return answer

    async def _whole(self, stream: Any, size: int) -> bytes:
        async with deadline.within(self._answer_seconds, size):
            data: bytes = await stream.read()
        return data

    def _left(self, said: Mapping[str, str]) -> Failed:
        code = said.get("Code")
        told = client.described(None, code, said.get("Message"))
        return Failed(client.meaning(s3_answers.ANSWERS, code, None), self._shown(told))

    def _shown(self, text: str) -> str:
        return secret_options.shown(text, self._options, self._configured, self._found)


class S3Upload:
    """A multipart upload.

    Args:
        call: makes a request.
        key: of the object.
        upload_id: from the server.
    """

    def __init__(self, call: Callable[..., dict[str, Any]], key: str, upload_id: str) -> None:
        self._call = call
        self._which = {"Key": key, "UploadId": upload_id}
        self._tags: dict[int, str] = {}
        self._sizes: dict[int, int] = {}

    def part(self, number: int, data: bytes) -> None:
        """UploadPart."""
        self._sizes[number] = len(data)
        under_way = len(data) * PARTS_AHEAD
        self._tags[number] = self._call("upload_part", under_way, **self._which, PartNumber=number, Body=data)["ETag"]

    def complete(self) -> None:
        """CompleteMultipartUpload. Servers put the parts together meanwhile, and may take their time."""
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in sorted(self._tags.items())]
        size = sum(self._sizes.values())
        self._call("complete_multipart_upload", size, **self._which, MultipartUpload={"Parts": parts})

    def abort(self) -> None:
        """AbortMultipartUpload."""
        self._call("abort_multipart_upload", **self._which)


def s3fs_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Storage options as s3fs takes them.

    Raises:
        OptionError: s3fs has no such option, or it is not the caller's to decide; no value is shown.
    """
    options = s3_names.renamed(given)
    known = (_names(s3fs.S3FileSystem) | _names(aiobotocore.session.AioSession)) - _OURS
    for name in options:
        if name not in known:
            raise OptionError(
                f"{name!r} is not a storage option for S3{nearest(name, known)}",
                hint="the options are those of s3fs.S3FileSystem, such as key, secret, token, profile, anon, "
                "endpoint_url, client_kwargs and config_kwargs, and request_timeout and backend",
            )
    return options


def _names(made: type) -> frozenset[str]:
    parameters = inspect.signature(vars(made)["__init__"]).parameters.values()
    return frozenset(one.name for one in parameters if one.kind is not one.VAR_KEYWORD) - {"self", "args"}
