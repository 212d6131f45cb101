"""S3 through `obstore`, Rust's `object_store`: several times faster than s3fs at small requests, and never required.

It takes the storage options that mean the same to both libraries; `obstore_options` says which. It sends each request
once. What an answer means is read off the status and code in its text, never off the exception: obstore reports S3's
409, which decides nothing, as *exists*. What obstore cannot do (keys that XML cannot hold, in a request or a listing,
unfinished uploads, a forked process) s3fs does, if it is installed.

Source: specs/decisions/0009-s3-through-obstore.md.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import re
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import obstore
from obstore import exceptions as raised
from obstore.store import S3Store

from txfiles.guard import Guard
from txfiles.store import client, deadline, obstore_answers, obstore_options, s3_answers, secret_options
from txfiles.store.client import Begun, Body, Client, Failed, Failure, Upload
from txfiles.store.object_sink import PART_BYTES, PARTS_AHEAD, RANGES_AT_ONCE
from txfiles.store.obstore_upload import ObstoreUpload, OtherUpload, UploadOverError
from txfiles.store.patience import TRIES_IN_TIME
from txfiles.store.port import Capabilities, Entry

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore

logger = logging.getLogger("txfiles")

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

LARGE_BYTES = 1 << 20
BODY_BYTES = LARGE_BYTES * RANGES_AT_ONCE
"""Answers of up to this size share connections, and so the time that is given to the largest."""
SENT_BYTES = deadline.LEAST_BYTES_PER_SECOND
"""Bodies of up to this size go over the same: for obstore a request is silent while its body is sent, here a second."""
UPLOAD_RETRIES = 10
"""An upload is one call of obstore's, which has to try its requests again itself."""
UPLOAD_WAIT_SECONDS = 0.5
UPLOAD_WAIT_MOST_SECONDS = 5.0
PAGE = 1_000
DEFAULT_REGION = "us-east-1"

_NOT_XML = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")
_REPLACED = "\ufffd"
"""What some servers list in place of a character that XML cannot hold."""
_runtime_process: int | None = None
"""The process in which obstore's threads run: in a fork of it every request would hang."""


class NonsenseError(Exception):
    """An answer that makes no sense."""


class ElsewhereError(Exception):
    """A failure that is known already."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.said)
        self.failed = failed


def _or_other(method: F) -> F:
    """Let the usual library do what obstore cannot."""

    @functools.wraps(method)
    def call(self: ObstoreClient, keys: str | Sequence[str], *more: Any) -> Any:
        if not self.is_beyond(keys):
            try:
                return method(self, keys, *more)
            except Exception as error:
                if not self.is_elsewhere(error):
                    raise
        return self.by_other(lambda theirs: getattr(theirs, method.__name__)(keys, *more))

    return cast("F", call)


class ObstoreClient:
    """One bucket on S3; what differs elsewhere, another class says.

    Args:
        bucket: its name.
        options: storage options that map.
        try_seconds: how long a single request may take without an answer.
    """

    answers: ClassVar[client.Answers] = s3_answers.ANSWERS
    tier = staticmethod(s3_answers.tier)
    absent = "NoSuchKey"
    """What a HEAD has no body to say."""
    other, extra = "s3fs", "s3"
    """The library that does what obstore cannot."""
    capabilities = Capabilities(lists_from_a_name=True, requests_at_once=32, resends=False)
    deletes_at_once = 1_000
    parts_at_once = 1

    def __init__(self, bucket: str, options: Mapping[str, Any], try_seconds: float) -> None:
        self._bucket = bucket
        self._given = dict(options)
        self._try_seconds = try_seconds
        self._other: Client | None = None
        self._is_elsewhere = False
        self.reason: str | None = None
        self._guard = Guard()
        self._make = self._described(secret_options.resolved(options))
        self._store = self._timed(BODY_BYTES, retries=0)
        self._larger: dict[tuple[int, int, int], ObjectStore] = {}

    def _timed(self, size: int, retries: int, sent: int = SENT_BYTES) -> ObjectStore:
        """The object of obstore for the bucket, for bodies of up to `size` bytes, of which `sent` are sent."""
        return self._make(
            client_options={
                "allow_http": self._endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=min(client.CONNECT_SECONDS, self._try_seconds)),
                "read_timeout": timedelta(seconds=deadline.seconds(self._try_seconds, sent)),
                "timeout": timedelta(seconds=deadline.seconds(self._try_seconds, size)),
            },
            retry_config={
                "max_retries": retries,
                "retry_timeout": timedelta(seconds=deadline.seconds(TRIES_IN_TIME * self._try_seconds, sent)),
                "backoff": {
                    "init_backoff": timedelta(seconds=UPLOAD_WAIT_SECONDS),
                    "max_backoff": timedelta(seconds=UPLOAD_WAIT_MOST_SECONDS),
                    "base": 2,
                },
            },
        )

    def _for(self, size: int, *, is_sent: bool = False, retries: int = 0) -> ObjectStore:
        """The same for a request with a body of `size` bytes; from now on obstore belongs to this process."""
        global _runtime_process  # noqa: PLW0603  # the runtime is one for the process
        _runtime_process = os.getpid()
        if size <= (SENT_BYTES if is_sent else BODY_BYTES) and not retries:
            return self._store
        most = 1 << ((size - 1).bit_length() | 1)  # few clients, each with connections of its own
        which = (most, retries, most if is_sent else SENT_BYTES)
        with self._guard:
            if which not in self._larger:
                self._larger[which] = self._timed(*which)
            return self._larger[which]

    def _described(self, options: Mapping[str, Any]) -> Callable[..., ObjectStore]:
        """What makes obstore's object for the bucket, given time-outs and retries."""
        self._config = config = obstore_options.config_of(options)
        region = config.get("region_name", DEFAULT_REGION)
        self._endpoint = config.get("endpoint_url", f"https://s3.{region}.amazonaws.com").rstrip("/")
        self._place = f"{self._endpoint}/{self._bucket}"
        return functools.partial(
            S3Store,
            self._bucket,
            config={
                "aws_endpoint_url_s3": self._endpoint,
                "region": region,
                "skip_signature": bool(config.get("anon", False)),
                "conditional_put": "etag",
            },
            credential_provider=obstore_options.credentials(config),
        )

    def _connect_other(self) -> Client:
        from txfiles.store.s3 import S3Client

        return S3Client(self._bucket, self._given, self._try_seconds)

    def __reduce__(self) -> tuple[Any, ...]:
        secret_options.require_none(self._given, self.root)
        return type(self), (self._bucket, self._given, self._try_seconds)

    @property
    def root(self) -> str:
        """`s3://bucket`."""
        return f"s3://{self._bucket}"

    @property
    def backend(self) -> str:
        """obstore; the usual library once it turned out that the bucket is in another region."""
        return self.other if self._is_elsewhere else "obstore"

    @property
    def identity(self) -> str:
        """The endpoint and the bucket."""
        return f"s3 {self._endpoint} {self._bucket}"

    def failed(self, error: Exception) -> Failed:
        """What an exception means: by the answer's status and code, if there was one."""
        if isinstance(error, ElsewhereError):
            return error.failed
        if isinstance(error, UploadOverError):
            return replace(self.failed(error.why), final=True)
        if isinstance(error, urllib.error.HTTPError):
            return Failed(client.meaning(self.answers, None, error.code), self._shown(str(error)))
        found = obstore_answers.read(error, self.answers, self.absent, self.tier)
        return replace(found, said=self._shown(found.said))

    @_or_other
    def get(self, key: str, limit: int) -> Body:
        """One GET; if it is too large, only the headers are read."""
        found = obstore.get(self._for(limit), key)
        size = found.meta["size"]
        return Body(self._whole(found, size) if size <= limit else b"", size)

    @_or_other
    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """One GET of a range."""
        under_way = length * RANGES_AT_ONCE
        store = self._for(under_way)
        if length > LARGE_BYTES:
            return bytes(obstore.get_range(store, key, start=offset, length=length))
        return self._whole(obstore.get(store, key, options={"range": (offset, offset + length)}), under_way)

    @_or_other
    def stat(self, key: str) -> Entry:
        """One HEAD."""
        found = obstore.head(self._for(0), key)
        if not found["last_modified"].timestamp():
            raise NonsenseError("the answer is not about an object")
        return _entry(found)

    @_or_other
    def create(self, key: str, data: bytes) -> None:
        """One PUT with `If-None-Match: *`."""
        obstore.put(self._for(len(data), is_sent=True), key, data, mode="create", use_multipart=False)

    @_or_other
    def put(self, key: str, data: bytes) -> None:
        """One PUT."""
        obstore.put(self._for(len(data), is_sent=True), key, data, use_multipart=False)

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Entry]]:
        """ListObjectsV2, from a key on; the key itself is asked for, so that an empty listing is rare.

        Cost: one HEAD more if nothing is listed: obstore reads any XML as a listing, so an empty one is believed only
        of a server that reports a missing object as missing.
        """
        if self.is_beyond(prefix + after):
            yield from self._their_pages(prefix, after)
            return
        folder, last, met = prefix.rstrip("/") or None, after, False
        offset = (after[:-1] or None) if self.capabilities.lists_from_a_name else None
        try:
            for page in obstore.list(self._for(0), folder, offset=offset, chunk_size=PAGE):
                met = met or bool(page)
                if any(_REPLACED in one["path"] for one in page):
                    raise raised.InvalidPathError  # noqa: TRY301  # the same as below
                found = [_entry(one) for one in page if one["path"].startswith(prefix) and one["path"] > after]
                last = found[-1].name if found else last
                yield found
        except raised.InvalidPathError:  # an object that is not a table's
            yield from self._their_pages(prefix, last)
        except Exception as error:
            if not self.is_elsewhere(error):
                raise
            yield from self._their_pages(prefix, last)
        else:
            if not met:
                self._expect_nothing(f"{prefix}{secrets.token_hex(16)}")

    @_or_other
    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Failed]:
        """One DeleteObjects; obstore tells of one key that was kept, and not whether there are more."""
        try:
            obstore.delete(self._for(0), list(keys))
        except Exception as error:
            kept = obstore_answers.kept_key(error)
            if kept is None:
                raise
            key, code, message = kept
            failed = Failed(client.meaning(self.answers, code, None), self._shown(f"{code}: {message}"))
            if failed.failure is Failure.ABSENT:
                return self.delete_many([one for one in keys if one != key])
            return dict.fromkeys(keys, failed) if failed.failure in client.MAY_PASS else {key: failed}
        return {}

    def upload(self, key: str) -> Upload:
        """An upload of obstore's, in a thread of its own."""
        if self.is_beyond(key):
            return OtherUpload(self.by_other(lambda theirs: theirs.upload(key)), self.by_other)
        return ObstoreUpload(self._for(PART_BYTES * PARTS_AHEAD, is_sent=True, retries=UPLOAD_RETRIES), key)

    def uploads(self, prefix: str) -> Sequence[Begun]:
        """What s3fs lists; nothing if it is not installed."""
        if not _is_there(self.other):
            logger.debug("%s: unfinished uploads are not looked for without s3fs", self.root)
            return ()
        begun = self.by_other(lambda theirs: theirs.uploads(prefix))
        return [replace(one, upload=OtherUpload(one.upload, self.by_other)) for one in begun]

    def now_us(self) -> int:
        """The `Date` of an answer, whatever it says: it needs no permission, so that it is not signed."""
        request = urllib.request.Request(f"{self._place}/_", method="HEAD")  # noqa: S310  # as given
        try:
            with urllib.request.urlopen(request, timeout=self._try_seconds) as answer:  # noqa: S310
                headers = answer.headers
        except urllib.error.HTTPError as error:
            # It is not signed, and may be refused in any way; what may pass is tried again.
            passes = error.code >= 500 or error.code in (408, 429)  # noqa: PLR2004
            if passes or "date" not in error.headers:
                raise
            headers = error.headers
        return client.http_time_us(headers["date"])

    def by_other(self, request: Callable[[Client], T]) -> T:
        """Ask the same bucket through the usual library, and understand how that fails."""
        if not _is_there(self.other):
            said = (
                "obstore cannot serve keys that XML cannot hold, or with empty segments, nor a process that was forked "
                f"after it was used, and {self.other} is not installed: pip install 'txfiles[{self.extra}]'"
            )
            raise ElsewhereError(Failed(Failure.REFUSED, said))
        with self._guard:
            if self._other is None:
                logger.debug("%s: through %s what obstore cannot do", self.root, self.other)
                self._other = self._connect_other()
        try:
            return request(self._other)
        except Exception as error:  # noqa: BLE001  # that library knows what it means
            failed = self._other.failed(error)
            raise ElsewhereError(replace(failed, resent=self._other.capabilities.resends)) from None

    def is_beyond(self, keys: str | Sequence[str]) -> bool:
        """Whether obstore cannot serve these keys, or not here."""
        return self._is_elsewhere or forked() or _NOT_XML.search("".join(keys)) is not None

    def is_elsewhere(self, error: Exception) -> bool:
        """Whether the bucket turns out to be in another region: the usual library, which finds it, serves from now on.

        A request that was redirected was not applied. If that is not certain, only this request is served by it.
        """
        if isinstance(error, ElsewhereError) or not _is_there(self.other):
            return False
        if not obstore_answers.is_redirect(error):
            return obstore_answers.is_bare(error)
        if not self._is_elsewhere:
            self.reason = "not through obstore: the bucket is in another region"
            logger.debug("%s: through %s from now on, %s", self.root, self.other, self.reason)
        self._is_elsewhere = True
        return True

    def _whole(self, found: GetResult, size: int) -> bytes:
        """An answer's body, piece by piece: obstore itself would wait as long as for the largest."""
        limit = deadline.seconds(self._try_seconds, size)
        until, pieces = time.monotonic() + limit, []
        for piece in found.stream(min_chunk_size=1):
            pieces.append(piece)
            if time.monotonic() > until:
                raise deadline.too_slow(limit, size)
        return b"".join(pieces)

    def _their_pages(self, prefix: str, after: str) -> Iterator[Sequence[Entry]]:
        pages = self.by_other(lambda theirs: theirs.pages(prefix, after))
        while (page := self.by_other(lambda _: next(pages, None))) is not None:
            yield page

    def _expect_nothing(self, key: str) -> None:
        """Check that the server reports a missing object as missing."""
        try:
            self.stat(key)
        except Exception as error:
            if self.failed(error).failure not in (Failure.ABSENT, Failure.DENIED):
                raise
        else:
            raise NonsenseError("the server lists nothing, and has an object that nobody put there")

    def _shown(self, text: str) -> str:
        return secret_options.shown(text, self._config)


def _is_there(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def forked() -> bool:
    """Whether obstore's threads stayed in the process that this one was forked from."""
    return _runtime_process not in (None, os.getpid())


def _entry(found: Mapping[str, Any]) -> Entry:
    return Entry(found["path"], found["size"], client.seconds_us(found["last_modified"]))
