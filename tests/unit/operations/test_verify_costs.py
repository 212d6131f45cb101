"""What a verification asks of the store, and what it makes of others who work meanwhile."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest

from tests.counting import CountingStore
from txfiles import environment, inputs
from txfiles.core import names
from txfiles.errors import SnapshotExpiredError, StoreError
from txfiles.findings import VerifyOptions
from txfiles.log import versions
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.operations import verify_files
from txfiles.options import Request, VacuumOptions, check
from txfiles.store.memory import MemoryStore
from txfiles.targets.files import upkeep, verify, writes

WRITES = {"put_if_absent", "put", "delete_many", "create"}


def session(cache: SnapshotCache | None = None) -> Session:
    return Session(CountingStore(MemoryStore()), environment.real(), cache)


def write(at: Session, rows: int, mode: str = "append", **options) -> None:
    source = inputs.source(pa.table({"id": range(rows), "p": range(rows)}))
    writes.write(at, check(Request(source=source, mode=mode, **options)))


def asked(at: Session, *, deep: bool = False) -> Counter[str]:
    at.store.calls.clear()
    assert verify.verify(at, None, VerifyOptions(deep=deep)).ok
    return Counter(at.store.calls)


def test_no_request_for_a_file() -> None:
    """Twice as many files cost the same requests: two listings, and one read for each manifest."""
    counts = []
    for files in (20, 40):
        at = session()
        write(at, files, partition_by=["p"])
        counts.append(asked(at))
    few, many = counts
    for calls in counts:
        del calls["listed"]
    assert few == many
    assert few["list_from"] == 2
    assert few.keys().isdisjoint(WRITES | {"open_input", "read_ranges"})


def test_a_deep_check_reads_each_file_twice() -> None:
    """Once as bytes, once as rows, and its keys; nothing is written."""
    at = session()
    write(at, 20, mode="upsert", keys=["id"], partition_by=["p"])
    calls = asked(at, deep=True)
    assert calls["open_input"] == 3 * 20
    assert calls.keys().isdisjoint(WRITES)


def test_expired_versions_are_not_read() -> None:
    """After a vacuum, manifests from the last checkpoint before the oldest readable version are read; deep, all."""
    at = session()
    write(at, 2, properties={"checkpoint_interval": 2})
    for _ in range(19):
        write(at, 2, mode="overwrite")
    upkeep.vacuum(at, versions.require_head(at), VacuumOptions(retain="0"))
    assert asked(at)["get"] <= 10
    assert asked(at, deep=True)["get"] > 20


def test_no_cache_is_believed() -> None:
    """A process that has the table in memory sees that a file is gone, and a manifest."""
    at = session(SnapshotCache())
    for _ in range(3):
        write(at, 3)
    head = versions.require_head(at)
    at.store.delete_many([head.files["path"][0].as_py()])
    assert [one.kind for one in verify.verify(at, 2, VerifyOptions()).problems] == ["file-missing"]
    at.store.delete_many([names.manifest(1)])
    assert "manifest-missing" in {one.kind for one in verify.verify(at, 2, VerifyOptions()).problems}


def test_a_vacuum_beside_it_is_no_damage(monkeypatch) -> None:
    """Files that a vacuum deletes between the log and the listing have expired; they are not missing."""
    at = session()
    write(at, 3)
    old = versions.require_head(at)
    reading = verify_files.Listing.read

    def read(store):
        write(at, 2, mode="overwrite")
        upkeep.vacuum(at, versions.require_head(at), VacuumOptions(retain="0"))
        return reading(store)

    monkeypatch.setattr(verify_files.Listing, "read", read)
    with pytest.raises(SnapshotExpiredError):
        verify.verify(at, old.state.version, VerifyOptions())


def test_a_store_that_fails_is_not_damage(monkeypatch) -> None:
    """A listing that fails is an error of the store; a file that cannot be read is told as unreadable."""
    at = session()
    write(at, 3)

    def fails(*_, **__):
        raise StoreError("the network is down")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "open_input", fails)
        found = verify.verify(at, None, VerifyOptions(deep=True))
        assert [one.kind for one in found.problems] == ["unreadable"]
        assert (found.problems[0].severity, found.ok) == ("unreadable", False)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "list_from", fails)
        with pytest.raises(StoreError, match="network"):
            verify.verify(at, None, VerifyOptions())
