"""An adoption at the port: what it asks the store for, and what is left wherever it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.adopt.folders import rows
from tests.counting import CountingStore
from txfiles import environment
from txfiles.core import codec, names
from txfiles.errors import TableExistsError
from txfiles.log import versions
from txfiles.log.session import Session
from txfiles.store.memory import MemoryStore
from txfiles.targets.files.adopt import adopt
from txfiles.verbs import AdoptOptions

CHANGES = ("put_if_absent", "put", "create", "delete_many")


def filled(count: int) -> MemoryStore:
    """A store with Parquet files and nothing else."""
    store = MemoryStore()
    for number in range(count):
        data = pa.BufferOutputStream()
        pq.write_table(rows(number), data)
        sink = store.create(f"p=0{number}/f.parquet")
        sink.write(data.getvalue())
        sink.close()
    return store


def session(store: Any) -> Session:
    return Session(store, environment.real())


class Killed(BaseException):
    """The process ends here."""


class Dying:
    """A store that is never heard of again before or after one of its changes."""

    def __init__(self, store: MemoryStore, at: int, *, after: bool) -> None:
        self._store, self._left, self._after = store, at, after

    def __getattr__(self, name: str) -> Any:
        found: Callable[..., Any] = getattr(self._store, name)
        if name not in CHANGES:
            return found

        def change(*given: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left == -1 and not self._after:
                raise Killed
            answer = found(*given, **more) if self._left >= -1 else None
            if self._left <= -1:
                raise Killed
            return answer

        return change


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("sidecar", [False, True])
def test_a_kill_leaves_no_table_or_the_whole(after: bool, sidecar: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is killed, there is no table or all of it, and the same call goes on, with the same id."""
    monkeypatch.setattr(codec, "INLINE_ACTIONS", 1 if sidecar else 1_000)
    outcomes = []
    for at in range(10):
        store = filled(3)
        before = {entry.name for entry in store.list_from("")}
        try:
            adopt(session(Dying(store, at, after=after)), AdoptOptions(keys=("id",)), None)
            break
        except Killed:
            pass
        made = versions.head(session(store))
        outcomes.append(made is not None)
        if made is None:
            adopt(session(store), AdoptOptions(keys=("id",)), None)
        else:
            with pytest.raises(TableExistsError):
                adopt(session(store), AdoptOptions(keys=("id",)), None)
        found = versions.require_head(session(store))
        assert (found.state.version, found.file_count, found.state.unique_keys) == (0, 3, True)
        assert before <= {entry.name for entry in store.list_from("")}
    assert outcomes == [False] * (1 + sidecar) + [after]


def test_two_adoptions_race() -> None:
    """One wins; the other, which had looked before, gets TableExistsError, and the table is the winner's."""
    store = filled(3)

    class Late:
        """Lets another call adopt the folder just before the manifest is put."""

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def put_if_absent(self, name: str, data: bytes) -> Any:
            if name == names.manifest(0):
                adopt(session(store), AdoptOptions(keys=("id",)), None)
            return store.put_if_absent(name, data)

    with pytest.raises(TableExistsError, match="at version 0"):
        adopt(session(Late()), AdoptOptions(), None)
    found = versions.require_head(session(store))
    assert (found.state.table.keys, found.file_count) == (("id",), 3)


def test_requests_grow_with_the_files_alone() -> None:
    """One range of each file, and for n and 2n files the same few requests beside."""
    counts = []
    for count in (4, 8):
        store = CountingStore(filled(count))
        adopt(session(store), AdoptOptions(), None)
        counts.append(store.calls)
    small, large = counts
    assert (small["read_ranges"], large["read_ranges"]) == (4, 8)
    assert small["put_if_absent"] == large["put_if_absent"] == 2
    for verb in ("get", "list_from", "put", "stat", "open_input", "create", "delete_many"):
        assert small[verb] == large[verb], verb
    assert small["open_input"] == small["create"] == 0
