"""A bucket in memory behind the `Client` protocol, that fails as a script says: what `ObjectStore` makes of it."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from txfiles.store.client import Begun, Body, Failed, Failure
from txfiles.store.port import Capabilities, Entry

PAGE = 3

_numbers = itertools.count()


class Failing(Exception):
    """The library's own exception."""

    def __init__(self, failed: Failed, *, applied: bool = False) -> None:
        super().__init__("with a secret")
        self.failed = failed
        self.applied = applied


def failing(failure: Failure, *, applied: bool = False, retry_after: float | None = None) -> Failing:
    return Failing(Failed(failure, f"injected {failure.value}", retry_after), applied=applied)


class FakeClient:
    """One bucket.

    Attributes:
        script: for each method's name, what its next calls raise; None is success.
        calls: how often each method was called.
        begun: uploads that were neither completed nor aborted.
        late_parts: those that came after their upload had ended: a server would keep them.
        gate: while it is closed, parts take a while.
    """

    root = "fake://bucket"
    backend = "fake"
    reason = None
    deletes_at_once = 4
    parts_at_once = 4

    def __init__(self, *, in_order: bool = True, conditional: bool = True) -> None:
        self.capabilities = Capabilities(lists_from_a_name=in_order, requests_at_once=8, resends=False)
        self.conditional = conditional
        self.identity = f"fake {next(_numbers)}"
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.script: dict[str, list[Failing | None]] = {}
        self.calls: Counter[str] = Counter()
        self.begun: list[FakeUpload] = []
        self.late_parts: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.guard = threading.Lock()
        self.clock_us = 1_000_000

    def failed(self, error: Exception) -> Failed:
        assert isinstance(error, Failing), error
        return error.failed

    def met(self, method: str, apply: Callable[[], object] = lambda: None) -> None:
        """Count a call, and fail if the script says so."""
        with self.guard:
            self.calls[method] += 1
            planned = self.script.get(method)
            error = planned.pop(0) if planned else None
            if error is not None:
                if error.applied:
                    apply()
                raise error

    def get(self, key: str, limit: int) -> Body:
        self.met("get")
        data, _ = self._find(key)
        return Body(data if len(data) <= limit else b"", len(data))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.met("get_range")
        data, _ = self._find(key)
        if offset >= len(data):
            raise failing(Failure.SHORT)
        return data[offset : offset + length]

    def stat(self, key: str) -> Entry:
        self.met("stat")
        data, modified_us = self._find(key)
        return Entry(key, len(data), modified_us)

    def create(self, key: str, data: bytes) -> None:
        self.met("create", lambda: self._create(key, data))
        with self.guard:
            self._create(key, data)

    def put(self, key: str, data: bytes) -> None:
        self.met("put", lambda: self._put(key, data))
        self._put(key, data)

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Entry]]:
        with self.guard:
            found = [Entry(key, len(data), at) for key, (data, at) in self.objects.items() if key.startswith(prefix)]
        found.sort(key=lambda entry: entry.name)
        if self.capabilities.lists_from_a_name:
            found = [entry for entry in found if entry.name > after]
        else:
            found.reverse()
        for start in range(0, max(1, len(found)), PAGE):
            self.met("pages")
            yield found[start : start + PAGE]

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Failed]:
        assert len(keys) <= self.deletes_at_once
        self.met("delete_many")
        failed = {}
        for key in keys:
            try:
                self.met("delete " + key)
                self.objects.pop(key, None)
            except Failing as error:
                failed[key] = error.failed
        return failed

    def upload(self, key: str) -> FakeUpload:
        self.met("upload")
        self.begun.append(FakeUpload(self, key, self.clock_us))
        return self.begun[-1]

    def uploads(self, prefix: str) -> Sequence[Begun]:
        self.met("uploads")
        return [Begun(one.key, one.began_us, one) for one in self.begun]

    def now_us(self) -> int:
        self.met("now_us")
        return self.clock_us

    def _find(self, key: str) -> tuple[bytes, int]:
        if key not in self.objects:
            raise failing(Failure.ABSENT)
        return self.objects[key]

    def _create(self, key: str, data: bytes) -> None:
        if self.conditional and key in self.objects:
            raise failing(Failure.EXISTS)
        self._put(key, data)

    def _put(self, key: str, data: bytes) -> None:
        self.clock_us += 10
        self.objects[key] = (bytes(data), self.clock_us)


class FakeUpload:
    """A large object in the making."""

    def __init__(self, client: FakeClient, key: str, began_us: int) -> None:
        self._client = client
        self.key = key
        self.began_us = began_us
        self._parts: dict[int, bytes] = {}

    def part(self, number: int, data: bytes) -> None:
        self._client.met("part")
        self._client.gate.wait(0.05)
        if self not in self._client.begun:
            self._client.late_parts.append(number)
        self._parts[number] = data

    def complete(self) -> None:
        self._client.met("complete", self._complete)
        if self not in self._client.begun:
            raise failing(Failure.ABSENT)
        self._complete()

    def abort(self) -> None:
        self._client.met("abort")
        if self not in self._client.begun:
            raise failing(Failure.ABSENT)
        self._client.begun.remove(self)

    def _complete(self) -> None:
        self._client.begun.remove(self)
        self._client._put(self.key, b"".join(self._parts[number] for number in sorted(self._parts)))
