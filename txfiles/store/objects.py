"""The one store over objects: any `Client`, with names, retries, deadlines, parallel reads and errors of ours.

The outcome of a conditional put is reported as it is: *created* or *exists* only if no earlier try was unclear,
otherwise *unknown*, and the commit reads back. Before the first write to a bucket, a probe checks that it honours the
condition.

Source: specs/5-commit.md, "Stores"; specs/decisions/0026-object-stores.md.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from txfiles.errors import InputError, NoAtomicCreateError, StoreError, TxFilesError
from txfiles.guard import Guard
from txfiles.store import common, probe
from txfiles.store.client import MAY_PASS, Client, Failed, Failure, denied
from txfiles.store.locks import kept_lock, lock_of
from txfiles.store.object_sink import RANGES_AT_ONCE, ObjectSink
from txfiles.store.patience import Patience
from txfiles.store.port import Capabilities, Entry, Lock, Put
from txfiles.store.ranged import Ranged

if TYPE_CHECKING:
    import pyarrow.fs as pafs

logger = logging.getLogger("txfiles")

T = TypeVar("T")

IO_WIDTH = RANGES_AT_ONCE
"""Requests of one store that are under way together: they wait for the network, so cores do not matter."""

IN_DOUBT = frozenset({Failure.THROTTLED, Failure.UNREACHABLE, Failure.UNCLEAR})
"""Failures after which a put may have been applied, or may yet be."""

_HINTS = {
    Failure.DENIED: "check that the credentials are there, have not expired, and may read and write this place; they "
    "come from storage_options, or from where the store's own tools look for them; then open the table again",
    Failure.ARCHIVED: "bring it back (S3: restore the object; Azure: rehydrate the blob to an online tier), which may "
    "take hours, and run the same call again; keep the table's folder out of rules that archive old objects",
    Failure.REFUSED: "check that the bucket exists, and that the URL and the storage options are meant for this store",
    Failure.UNSUPPORTED: "check that the endpoint is the store's, and that no proxy before it knows only a part of it",
    Failure.THROTTLED: "the store asks for fewer requests: run it again later, or give it more time with "
    "storage_options={'request_timeout': seconds}",
    Failure.UNREACHABLE: "check that the endpoint is right and that the network reaches it; then try again",
    Failure.UNDECIDED: "others change the same object: try again",
    Failure.EXISTS: "the store keeps what is there: look for a lease, a lock or a retention policy on it",
    Failure.SHORT: "the object is shorter than it was: check that nothing other than txfiles writes there",
    Failure.UNCLEAR: "try again; storage_options={'request_timeout': seconds} gives each request more time",
}


class ObjectStore:
    """Named bytes below a prefix of a bucket.

    Args:
        client: of the bucket.
        prefix: the table's place in it, without slashes at its ends; "" is the whole bucket.
        patience: with each request.
        lock: excludes every other writer; used only if the store ignores the condition of a put.
        reason: why the client is not a faster one; others that chose it may share it.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        *,
        patience: Patience | None = None,
        lock: Lock | None = None,
        reason: str | None = None,
    ) -> None:
        if prefix:
            common.split(prefix)
        self.client = client
        self._prefix = prefix and prefix + "/"
        self._patience = patience or Patience()
        self._lock = kept_lock(lock)
        self._reason = reason
        self._guard = Guard()
        self._pool: ThreadPoolExecutor | None = None
        self._pool_process = 0

    def __repr__(self) -> str:
        return f"ObjectStore({self.root!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_guard": None, "_pool": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _guard=Guard())

    @property
    def root(self) -> str:
        """The table's URL, without credentials."""
        return f"{self.client.root}/{self._prefix}".rstrip("/")

    @property
    def backend(self) -> str:
        """The client's library."""
        return self.client.backend

    @property
    def backend_reason(self) -> str | None:
        """Why it is not a faster one."""
        return self._reason or self.client.reason

    @property
    def capabilities(self) -> Capabilities:
        """The client's."""
        return self.client.capabilities

    def get(self, name: str, *, limit: int) -> bytes | None:
        """The whole object, or None if there is none. Over `limit` bytes: `CorruptTableError`."""
        key = self._key(name)
        found = self._found("read", name, self._ask(lambda: self.client.get(key, limit)))
        if found is None:
            return None
        if found.size > limit:
            raise common.over_limit(self.url(name), found.size, limit)
        return found.data

    def stat(self, name: str) -> Entry | None:
        """Size and last change, or None if there is none."""
        key = self._key(name)
        found = self._found("look at", name, self._ask(lambda: self.client.stat(key)))
        return None if found is None else Entry(name, found.bytes, found.modified_us)

    def put_if_absent(self, name: str, data: bytes) -> Put:
        """Create the object only if the name is free.

        Raises:
            NoAtomicCreateError: the store ignores the condition, and no lock was given.
            StoreError: denied or refused, and no try before that was unclear: certainly not created, unless something
                below may send a request again. Then the first may have been applied before the credentials expired,
                and its answer lost: the error says "unknown".
        """
        key, met = self._key(name), list[Failure]()
        if not self._honours_conditions():
            return self._put_under_lock(name, key, data)
        failed = self._ask(lambda: self.client.create(key, data), met)
        if failed is None:
            return Put.CREATED
        if not IN_DOUBT.isdisjoint(met) or failed.failure is Failure.UNDECIDED:
            return Put.UNKNOWN
        if failed.failure is Failure.EXISTS:
            return Put.EXISTS
        raise self._refused(name, failed)

    def put(self, name: str, data: bytes) -> None:
        """Replace the object."""
        key = self._key(name)
        self._done("write", name, self._ask(lambda: self.client.put(key, data)))

    def list_from(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """The objects below `prefix` that sort after `after`, without those that no table could have.

        Cost: one request a page. If the store cannot list from a name it lists, and sorts, all below the prefix.
        """
        common.folder_of(prefix)
        found = self._listed(prefix, after, _is_name)
        return found if self.capabilities.lists_from_a_name else _in_order(found)

    def left_out(self) -> Iterator[str]:
        """Keys below the root that are no names: with empty segments, say. A folder's own marker is none.

        Cost: one request a page.
        """
        found = self._listed("", "", lambda name: not name.endswith("/") and not _is_name(name))
        return (entry.name for entry in found)

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete objects; a missing one is not an error. Tries every name, then raises the first error."""
        first: TxFilesError | None = None
        keys: dict[str, str] = {}
        for name in names:
            try:
                keys[self._key(name)] = name
            except InputError as error:
                first = first or error
        most = self.client.deletes_at_once
        batches = [list(keys)[start : start + most] for start in range(0, len(keys), most)]
        for failed in self._map(self._delete, batches):
            for key, why in failed.items():
                first = first or self.error("delete", keys[key], why)
        if first is not None:
            raise first

    def now_us(self) -> int:
        """The store's clock, as its answer to a request says: whole seconds."""
        return self._done("look at", "", self._ask(self.client.now_us))

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]], size: int | None = None) -> list[bytes]:
        """Some ranges (offset, length) of a data file, in the order asked for, under way together."""
        key = self._key(name)
        if size is None and ranges:
            size = self._size(name)
        for offset, length in ranges:
            if offset + length > (size or 0):
                raise common.past_the_end(self.url(name), size or 0, offset + length)
        return list(self._map(lambda one: self._range(name, key, *one), ranges))

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        """Random access to a data file: each read is one request, for just the bytes that are asked for.

        If its `size` is known, no request is made now: a missing file is found by the first read.
        """
        key = self._key(name)
        known = self._size(name) if size is None else size
        return pa.PythonFile(Ranged(lambda offset, length: self._range(name, key, offset, length), known), mode="r")

    def create(self, name: str) -> ObjectSink:
        """Begin a new data file. The name is not looked up: it is unique by construction.

        Raises:
            NoAtomicCreateError: no commit could ever name the file, see `put_if_absent`.
        """
        key = self._key(name)
        self._honours_conditions()
        return ObjectSink(self, name, key)

    def url(self, name: str) -> str:
        """The object's URL; its name is not encoded."""
        return f"{self.client.root}/{self._prefix}{name}"

    def abort_uploads(self, is_own: Callable[[str], bool], before_us: int) -> int:
        """Abort uploads that began before a time; only below the root, and only of one's own names.

        Returns:
            How many are over; a warning tells of each that could not be aborted.
        """
        begun = self._done("look at", "", self._ask(lambda: self.client.uploads(self._prefix)))
        old = [
            one
            for one in begun
            if one.key.startswith(self._prefix)
            and one.began_us < before_us
            and is_own(one.key.removeprefix(self._prefix))
        ]
        ended = 0
        for one in old:
            failed = self._ask(one.upload.abort)
            if failed is None or failed.failure is Failure.ABSENT:  # it was completed or aborted meanwhile
                ended += 1
            else:
                where = f"{self.client.root}/{one.key}"
                logger.warning("the unfinished upload of %s could not be aborted: %s", where, failed.said)
        return ended

    def arrow(self) -> tuple[pafs.FileSystem, str]:
        """An Arrow file system over this store, for reading; each read is a request for just its bytes."""
        from txfiles.store import arrow_view  # here: 20 ms that only other readers need

        return arrow_view.file_system(self)

    def key(self, name: str) -> str:
        """The whole key of a name in its bucket."""
        return self._key(name)

    # ------------------------------------------------------------ for the sink

    def request(self, verb: str, name: str, request: Callable[[], T]) -> T:
        """The answer to a request about a name, tried again as needed.

        Raises:
            CorruptTableError: there is no such object; `StoreError`: whatever else went wrong.
        """
        return self._done(verb, name, self._ask(request))

    def attempt(self, request: Callable[[], T]) -> T | Failed:
        """The answer to a request, or how it failed."""
        return self._ask(request)

    def error(self, verb: str, name: str, failed: Failed) -> TxFilesError:
        """The error for a request that failed.

        Never with the library's exception behind it: that may hold what the request was signed with.
        """
        where = self.url(name) if name else self.root
        if failed.failure is Failure.ABSENT:
            return common.missing(where)
        return StoreError(
            f"could not {verb} {where}: {failed.said}",
            hint=_HINTS.get(failed.failure),
            path=where,
            failure=failed.failure.value,
        )

    def pool(self) -> ThreadPoolExecutor:
        """The threads in which this store's requests wait."""
        with self._guard:
            if self._pool is None or self._pool_process != os.getpid():  # its threads stayed in the parent
                self._pool, self._pool_process = ThreadPoolExecutor(IO_WIDTH, "txfiles-store"), os.getpid()
            return self._pool

    # ------------------------------------------------------------ inside

    def _key(self, name: str) -> str:
        common.split(name)
        return self._prefix + name

    def _honours_conditions(self) -> bool:
        """Whether the store honours conditions; if not, a lock must have been given.

        Cost: see `probe.not_honoured`.
        """
        found = probe.not_honoured(self.client, self._prefix, self._ask)
        if found is None:
            return True
        if found.failure is not Failure.UNSUPPORTED:
            raise self.error("write to", "", found)
        if self._lock is None:
            raise NoAtomicCreateError(
                f"{self.client.root} cannot create a name exactly once: {found.said}; nothing was written",
                hint="two writers could commit the same version there, and one commit would be lost: keep the table "
                "on a store that honours If-None-Match, or have every writer pass the same lock (lock=, --lock)",
                path=self.root,
            )
        return False

    def _put_under_lock(self, name: str, key: str, data: bytes) -> Put:
        """What a conditional put does, while every other writer is excluded."""
        assert self._lock is not None
        met: list[Failure] = []
        with common.holding(lock_of(self._lock), self.url(name)):
            if self.stat(name) is not None:
                return Put.EXISTS
            failed = self._ask(lambda: self.client.put(key, data), met)
        if failed is None:
            return Put.CREATED
        if not IN_DOUBT.isdisjoint(met):
            return Put.UNKNOWN
        raise self._refused(name, failed)

    def _refused(self, name: str, failed: Failed) -> TxFilesError:
        """The error for a put that was refused; see `put_if_absent` for what it says of the commit."""
        error = self.error("create", name, failed)
        error.committed = "unknown" if self.capabilities.resends or failed.resent else "no"
        return error

    def _ask(self, request: Callable[[], T], met: list[Failure] | None = None) -> T | Failed:
        outcome = self._patience.ask(request, self.client.failed, met)
        if isinstance(outcome, Failed) and outcome.failure is Failure.DENIED:
            denied.add(self.client)
        return outcome

    def _map(self, function: Callable[[Any], T], items: Sequence[Any]) -> Iterator[T]:
        return map(function, items) if len(items) < 2 else self.pool().map(function, items)  # noqa: PLR2004

    def _size(self, name: str) -> int:
        found = self.stat(name)
        if found is None:
            raise common.missing(self.url(name))
        return found.bytes

    def _range(self, name: str, key: str, offset: int, length: int) -> bytes:
        if not length:
            return b""
        found = self._ask(lambda: self._whole_range(key, offset, length))
        if isinstance(found, bytes):
            return found
        if found.failure is Failure.SHORT:
            raise common.past_the_end(self.url(name), self._size(name), offset + length)
        raise self.error("read", name, found)

    def _whole_range(self, key: str, offset: int, length: int) -> bytes | Failed:
        """The range; an answer that is too short says nothing unless the object is: something on the way cut it."""
        try:
            found = self.client.get_range(key, offset, length)
        except Exception as error:
            failed = self.client.failed(error)
            if failed.failure is not Failure.SHORT:
                raise
            found = b""
        if len(found) == length:
            return found
        if self.client.stat(key).bytes < offset + length:
            return Failed(Failure.SHORT, "the object ends before the range does")
        return Failed(Failure.UNCLEAR, f"the answer has {len(found)} bytes of a range of {length}")

    def _listed(self, prefix: str, after: str, wanted: Callable[[str], bool]) -> Iterator[Entry]:
        """What the client lists and is wanted, by our names; after a failure the listing goes on where it was."""
        whole, last = self._prefix + prefix, self._prefix + after if after else ""
        in_order = self.capabilities.lists_from_a_name
        pages = self.client.pages(whole, last)

        def next_page() -> Sequence[Entry] | None:
            nonlocal pages
            try:
                return next(pages, None)
            except Exception:
                pages = self.client.pages(whole, last)  # a generator that raised is over
                raise

        while (page := self._done("list", prefix, self._ask(next_page))) is not None:
            for entry in page:
                if in_order and entry.name <= last and _folder(entry.name) == _folder(last):
                    raise self._out_of_order(prefix)
                last = entry.name if in_order else last
                name = entry.name.removeprefix(self._prefix)
                if name > after and wanted(name):
                    yield Entry(name, entry.bytes, entry.modified_us)

    def _out_of_order(self, prefix: str) -> StoreError:
        return StoreError(
            f"{self.url(prefix)} does not list names in order, which is needed to find the newest version",
            hint="S3's directory buckets do not: use a general purpose bucket",
            path=self.url(prefix),
        )

    def _delete(self, keys: Sequence[str]) -> dict[str, Failed]:
        """Delete keys in one request; those of them that may yet go are asked for again."""
        left: dict[str, Failed | None] = dict.fromkeys(keys)

        def request() -> Failed | None:
            nonlocal left
            left = dict(self.client.delete_many(list(left)))
            return next((one for one in left.values() if one and one.failure in MAY_PASS), None)

        outcome = self._ask(request)
        return {key: failed for key, why in left.items() if (failed := why or outcome) is not None}

    def _found(self, verb: str, name: str, outcome: T | Failed) -> T | None:
        absent = isinstance(outcome, Failed) and outcome.failure is Failure.ABSENT
        return None if absent else self._done(verb, name, outcome)

    def _done(self, verb: str, name: str, outcome: T | Failed) -> T:
        if isinstance(outcome, Failed):
            raise self.error(verb, name, outcome)
        return outcome


def _is_name(name: str) -> bool:
    try:
        common.split(name)
    except InputError:
        return False
    return True


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _in_order(entries: Iterator[Entry]) -> Iterator[Entry]:
    """Each name once, in order of name (code points)."""
    found = {entry.name: entry for entry in entries}
    return (found[name] for name in sorted(found))
