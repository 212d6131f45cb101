"""A data file being written to an object store: one put, or an upload in parts if it is large."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Protocol, TypeVar

import pyarrow as pa

from txfiles.errors import StoreError
from txfiles.store import common, port
from txfiles.store.client import Client, Failed, Failure, Upload
from txfiles.store.port import Entry

T = TypeVar("T")

PART_BYTES = 8 * 1024 * 1024
"""Larger files go in parts of this size: S3 takes 10,000 parts of at least 5 MiB, and 8 MiB are worth a request."""

PARTS_AHEAD = 4
"""Parts of one file under way together: what a sink may hold in memory, beside the part that it fills."""

RANGES_AT_ONCE = 16
"""Ranges of one file under way together, which share the link."""


class Requests(Protocol):
    """What a sink needs of its store."""

    @property
    def client(self) -> Client:
        """Of the bucket."""

    def request(self, verb: str, name: str, request: Callable[[], T]) -> T:
        """The answer to a request, tried again as needed, or an error."""

    def attempt(self, request: Callable[[], T]) -> T | Failed:
        """The answer to a request, or how it failed."""

    def error(self, verb: str, name: str, failed: Failed) -> Exception:
        """The error for a request that failed."""

    def stat(self, name: str) -> Entry | None:
        """Size and last change."""

    def pool(self) -> ThreadPoolExecutor:
        """Threads for requests."""

    def url(self, name: str) -> str:
        """The name, for people."""


class ObjectSink:
    """A data file being written. For one thread at a time. Nothing is visible before `close`."""

    def __init__(self, store: Requests, name: str, key: str) -> None:
        self._store = store
        self._name = name
        self._key = key
        self._buffer = bytearray()
        self._bytes = 0
        self._upload: Upload | None = None
        self._parts = 0
        self._under_way: deque[Future[None]] = deque()
        self._state = "open"

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Append bytes; returns how many. After an error the file is gone."""
        self._require_open()
        view = memoryview(data).cast("B")
        self._buffer += view
        self._bytes += view.nbytes
        with self._or_nothing():
            while len(self._buffer) > PART_BYTES:
                self._send(bytes(self._buffer[:PART_BYTES]))
                del self._buffer[:PART_BYTES]
        return view.nbytes

    def tell(self) -> int:
        """Bytes written so far."""
        return self._bytes

    def close(self) -> None:
        """Publish. A second call does nothing. `StoreError` after `abort`."""
        if self._state == "published":
            return
        self._require_open()
        with self._or_nothing():
            data = bytes(self._buffer)
            self._buffer.clear()
            if self._upload is None:
                self._store.request("write", self._name, lambda: self._store.client.put(self._key, data))
            else:
                self._send(data)
                self._wait_for_parts(0)
                self._complete(self._upload)
        self._state = "published"

    def abort(self) -> None:
        """Drop what was written. Does nothing after `close`: the file stays."""
        if self._state != "open":
            return
        self._state = "aborted"
        self._buffer.clear()
        if self._upload is not None:
            upload = self._upload
            for part in self._under_way:
                part.cancel()
            wait(self._under_way)  # a part that comes after the abort would stay for ever
            self._store.attempt(upload.abort)

    @contextmanager
    def _or_nothing(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.abort()
            raise

    def _require_open(self) -> None:
        if self._state != "open":
            raise common.finished(self._store.url(self._name))

    def _send(self, data: bytes) -> None:
        """Send a part, beside those that are under way."""
        if self._upload is None:
            self._upload = self._store.request("write", self._name, lambda: self._store.client.upload(self._key))
        upload, self._parts = self._upload, self._parts + 1
        number = self._parts
        self._wait_for_parts(min(PARTS_AHEAD, self._store.client.parts_at_once) - 1)
        self._under_way.append(self._store.pool().submit(self._send_part, upload, number, data))

    def _send_part(self, upload: Upload, number: int, data: bytes) -> None:
        failed = self._store.attempt(lambda: upload.part(number, data))
        if failed is None:
            return
        if failed.failure is Failure.ABSENT:
            raise self._lost(failed)
        raise self._store.error("write", self._name, failed)

    def _wait_for_parts(self, most: int) -> None:
        while len(self._under_way) > most:
            self._under_way.popleft().result()

    def _complete(self, upload: Upload) -> None:
        """Publish the parts. If an answer was lost, the next may be that there is no such upload: then look."""
        failed = self._store.attempt(upload.complete)
        if failed is None:
            return
        if failed.failure is Failure.DENIED:
            raise self._store.error("write", self._name, failed)
        found = self._store.stat(self._name)
        if found is not None and found.bytes == self._bytes:
            return
        if found is None and failed.failure is Failure.ABSENT:
            raise self._lost(failed)
        where = self._store.url(self._name)
        raise StoreError(
            f"could not write {where}: {failed.said}",
            hint="run the same call again: it writes the file under another name",
            path=where,
        )

    def _lost(self, failed: Failed) -> StoreError:
        """The error for an upload that the server does not know: somebody aborted it, as rules of a bucket may."""
        where = self._store.url(self._name)
        return StoreError(
            f"the upload of {where} was lost before it was complete: {failed.said}",
            hint="run the same call again: it writes the file under another name; if a rule of the bucket aborts "
            "uploads, let it wait for longer than a write takes",
            path=where,
            failure=port.LOST_UPLOAD,
        )
