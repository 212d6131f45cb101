"""A large object being written through obstore, which takes the parts in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import obstore

from txfiles.store.object_sink import PART_BYTES, PARTS_AHEAD

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from txfiles.store.client import Client, Upload


class GivenUpError(Exception):
    """Ends the parts of an upload, so that obstore aborts it."""


class UploadOverError(Exception):
    """What ended an upload: no part of it can be sent again."""

    def __init__(self, why: Exception) -> None:
        super().__init__()
        self.why = why


class OtherUpload:
    """An upload that another library makes.

    Args:
        upload: of that library.
        by_other: calls it, and understands how that fails.
    """

    def __init__(self, upload: Upload, by_other: Callable[[Callable[[Client], None]], None]) -> None:
        self._upload = upload
        self._by_other = by_other

    def part(self, number: int, data: bytes) -> None:
        """As there."""
        self._by_other(lambda _: self._upload.part(number, data))

    def complete(self) -> None:
        """As there."""
        self._by_other(lambda _: self._upload.complete())

    def abort(self) -> None:
        """As there."""
        self._by_other(lambda _: self._upload.abort())


class ObstoreUpload:
    """A multipart upload: obstore takes the parts in order, from a thread that waits for them.

    Args:
        store: that tries again by itself.
        key: of the object.
    """

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._parts: queue.Queue[bytes | None] = queue.Queue(1)
        self._given_up = False
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(store, key), daemon=True, name="txfiles-upload")
        self._thread.start()

    def part(self, number: int, data: bytes) -> None:
        """Hand over a part; waits while those before it are under way."""
        self._hand_over(data)

    def complete(self) -> None:
        """Wait until the object is published."""
        if not self._ended.is_set():
            self._hand_over(None)
        self._thread.join()
        if self._error is not None:
            raise UploadOverError(self._error)

    def abort(self) -> None:
        """Obstore aborts the upload when its parts end with an error."""
        self._given_up = True
        if not self._ended.is_set():
            self._hand_over(None, told=False)
        self._thread.join()

    def _hand_over(self, data: bytes | None, *, told: bool = True) -> None:
        while not self._ended.is_set():
            try:
                self._parts.put(data, timeout=0.1)
            except queue.Full:
                continue
            return
        if told and self._error is not None:
            raise UploadOverError(self._error)

    def _run(self, store: ObjectStore, key: str) -> None:
        try:
            obstore.put(
                store,
                key,
                self._each(),
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AHEAD,
            )
        except Exception as error:  # noqa: BLE001  # told by whoever waits
            self._error = error
        finally:
            self._ended.set()

    def _each(self) -> Iterator[bytes]:
        while (part := self._parts.get()) is not None:
            yield part
        if self._given_up:
            raise GivenUpError
