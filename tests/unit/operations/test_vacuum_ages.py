"""What a vacuum keeps, by age: a manifest is as old as the younger of its own time and the store's says."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from txfiles import environment, inputs
from txfiles.errors import SnapshotExpiredError
from txfiles.log import manifests, versions
from txfiles.log.session import Session
from txfiles.operations import vacuum
from txfiles.options import Request, VacuumOptions, check
from txfiles.reading import scan
from txfiles.store.memory import MemoryStore
from txfiles.targets.files import upkeep, writes

DAY_US = 86_400 * 1_000_000
YEAR_US = 365 * DAY_US
NOW_US = 1_800_000_000 * 1_000_000
OLD = 1_000_000_000
"""September 2001, in seconds."""


class World:
    """A table in a store and a writer with a clock each; every version replaces the one file."""

    def __init__(self) -> None:
        self.store_us = self.own_us = NOW_US
        store = MemoryStore(now_us=lambda: self.store_us)
        self.session = Session(store, replace(environment.real(), now_us=lambda: self.own_us))

    def write(self, store_us: int, own_us: int) -> None:
        """One version more, at these times."""
        self.store_us, self.own_us = store_us, own_us
        data = pa.table({"x": [own_us]})
        writes.write(self.session, check(Request(source=inputs.source(data), mode="overwrite")))

    def vacuum(self, retain: str, *, keep_versions: int = 1) -> int:
        """The oldest readable version after it."""
        options = VacuumOptions(retain=retain, keep_versions=keep_versions)
        _, after = upkeep.vacuum(self.session, versions.require_head(self.session), options)
        return after.state.oldest_readable_version

    def readable(self) -> list[int]:
        """The versions that can be read, each of which has its row."""
        head = versions.require_head(self.session).state
        found = []
        for version in range(head.version + 1):
            try:
                assert scan.read(self.session, versions.at_version(self.session, head, version), None, None)
            except SnapshotExpiredError:
                continue
            found.append(version)
        return found


def table_with_versions(path: Path) -> None:
    """Three versions that share no file."""
    for value in (1, 2, 3):
        tx.write(pa.table({"x": [value]}), path, mode="overwrite")


def old_copy(path: Path, to: Path) -> None:
    """As `cp -p` of a backup does, or an image layer."""
    shutil.copytree(path, to)
    for found in [*to.rglob("*"), to]:
        os.utime(found, (OLD, OLD))


def test_a_copy_with_old_file_times_keeps_its_versions(tmp_path: Path) -> None:
    """After a copy that gave every file a time of 2001, a vacuum with 7 days takes no version."""
    table_with_versions(tmp_path / "table")
    old_copy(tmp_path / "table", tmp_path / "copy")
    before = sorted(tmp_path.joinpath("copy").rglob("*"))
    table = tx.Table(tmp_path / "copy")
    result = table.vacuum("7d")
    assert (result.committed, result.deleted) == (False, ())
    assert sorted(tmp_path.joinpath("copy").rglob("*")) == before
    assert [table.at(version=version).to_arrow()["x"].to_pylist() for version in range(3)] == [[1], [2], [3]]
    assert len(table.vacuum("0s").deleted) == 2  # its times are in the past, and what is asked for is done


def test_the_store_forgets_and_the_manifest_does_not() -> None:
    """Versions of a copy with old file times expire when they are old by their own time."""
    world = World()
    for number in range(3):
        world.write(OLD * 1_000_000, NOW_US + number * DAY_US)
    world.store_us = NOW_US + 8 * DAY_US  # version 0 was superseded 7 days ago, version 1 six days ago
    assert world.vacuum("7d") == 1
    assert world.readable() == [1, 2, 3]


def test_a_slow_clock_expires_nothing() -> None:
    """A writer whose clock says 2001 makes no version older than the store knows it to be."""
    world = World()
    for number in range(3):
        world.write(NOW_US + number, OLD * 1_000_000 + number)
    world.store_us = NOW_US + 6 * DAY_US
    assert world.vacuum("7d") == 0
    assert world.readable() == [0, 1, 2]


def test_a_clock_ahead_does_not_stop_vacuums() -> None:
    """Ten years ahead, a writer's time says nothing: its versions, and all later ones, have the store's ages."""
    world = World()
    world.write(NOW_US, NOW_US)
    world.write(NOW_US + 1, NOW_US + 10 * YEAR_US)
    world.write(NOW_US + 2, NOW_US + 2)  # committed later, hence with a later time than its predecessor
    world.store_us = NOW_US + 6 * DAY_US
    assert world.vacuum("7d") == 0
    world.store_us = NOW_US + 8 * DAY_US
    assert world.vacuum("7d") == 2
    assert world.readable() == [2, 3]


def test_orphans_have_the_time_of_the_store_only(tmp_path: Path) -> None:
    """A file that no version names goes when the store says that it is older than the grace."""
    path = tmp_path / "table"
    table_with_versions(path)
    live = Path(tx.Table(path).files()[0])
    young, old = (live.with_name(live.name.replace("-00000.", f"-0000{number}.")) for number in (8, 9))
    for name in (young, old):
        name.write_bytes(b"x")
    os.utime(old, (OLD, OLD))
    assert tx.Table(path).vacuum("7d").deleted == (old.name,)
    assert (young.exists(), old.exists()) == (True, False)


@given(
    times=st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 30)), min_size=1, max_size=5),
    retain=st.integers(0, 12),
    keep_versions=st.integers(1, 3),
)
def test_the_rule(times: list[tuple[int, int]], retain: int, keep_versions: int) -> None:
    """Whole stay the newest versions, and each that was superseded within the retention by the younger of two times."""
    world = World()
    for store_days, own_days in times:
        world.write(NOW_US + store_days * DAY_US, NOW_US + own_days * DAY_US)
    told = [manifest.time_us for manifest in manifests.history(world.session, len(times) - 1, None)][::-1]
    now = world.store_us = NOW_US + 10 * DAY_US
    superseded = [
        max(NOW_US + store_days * DAY_US, own_us if own_us <= now else 0)
        for (store_days, _), own_us in zip(times, told, strict=True)
    ]
    kept = len(times) - 1
    while kept > 0 and (len(times) - kept < keep_versions or now - superseded[kept] < retain * DAY_US):
        kept -= 1
    assert world.vacuum(f"{retain}d", keep_versions=keep_versions) == kept
    # The vacuum itself is a version, if it had something to delete.
    assert world.readable() == list(range(kept, len(times) + (kept > 0)))


def test_a_manifest_that_the_listing_does_not_show_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a listing lags behind, the versions of manifests that it lacks are kept as if superseded just now."""
    world = World()
    for number in range(3):
        world.write(OLD * 1_000_000, OLD * 1_000_000 + number)
    world.store_us = NOW_US
    real = MemoryStore.list_from

    def lagging(self: MemoryStore, prefix: str, after: str = "") -> Any:
        return (entry for entry in real(self, prefix, after) if not entry.name.endswith("2.json"))

    head = versions.require_head(world.session)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "list_from", lagging)
        assert vacuum.find(world.session, head, vacuum.Rules(DAY_US, 1, 0, force=True)).oldest_readable_version == 1
    assert world.vacuum("1d") == 2
