"""A store with one defect is told by the check of that defect, and the doctor leaves nothing behind."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

import txfiles as tx
from tests.fake_client import FakeClient, failing
from txfiles import environment
from txfiles.cli.main import cli
from txfiles.errors import StoreError
from txfiles.store import doctor, open_store
from txfiles.store.client import Begun, Failure
from txfiles.store.memory import MemoryStore
from txfiles.store.objects import ObjectStore
from txfiles.store.port import Entry, Put

ENVIRONMENT = environment.real()


def examined(store) -> tuple[tx.DoctorResult, dict[str, str]]:
    """The result, and the status of each check."""
    found = doctor.examine(store, ENVIRONMENT)
    return found, {check.name: check.status for check in found.checks}


class Defect(MemoryStore):
    """A store in memory; what is in it in the end is `left`."""

    @property
    def left(self) -> set[str]:
        return set(self._objects)


class CreatesAgain(Defect):
    def put_if_absent(self, name, data):
        self.put(name, data)
        return Put.CREATED


class LuckyInTurn(Defect):
    """Right when asked by one, wrong when asked by several."""

    def put_if_absent(self, name, data):
        if "race" in name:
            self.put(name, data)
            return Put.CREATED
        return super().put_if_absent(name, data)


class LastOneStays(Defect):
    """One writer is told that it won, and another's object is there."""

    def put_if_absent(self, name, data):
        answer = super().put_if_absent(name, data)
        if "race" in name:
            self.put(name, data)
        return answer


class AllAreTold(Defect):
    """The winner's object stays, and all are told that they won."""

    def put_if_absent(self, name, data):
        answer = super().put_if_absent(name, data)
        return Put.CREATED if "race" in name else answer


class ReadsLate(Defect):
    def get(self, name, *, limit):
        return None


class Disordered(Defect):
    def list_from(self, prefix, after="") -> Iterator[Entry]:
        return iter(reversed(list(super().list_from(prefix, after))))


class ListsLate(Defect):
    def list_from(self, prefix, after=""):
        return iter(list(super().list_from(prefix, after))[:-1])


class IgnoresAfter(Defect):
    def list_from(self, prefix, after=""):
        return super().list_from(prefix)


class CannotReplace(Defect):
    def put(self, name, data):
        if self.stat(name) is None:
            super().put(name, data)


class WholeForRange(Defect):
    def read_ranges(self, name, ranges, size=None):
        return [self.get(name, limit=1 << 20) for _ in ranges]


class Publishes(Defect):
    """What is given up is there."""

    def create(self, name):
        self.put(name, b"half")
        return super().create(name + "-")


class Keeps(Defect):
    def delete_many(self, names):
        pass


def denies(verb: str) -> type[Defect]:
    def refused(self, *_, **__):
        raise StoreError(f"no right to {verb}", failure="denied")

    return type("Denies", (Defect,), {verb: refused})


DEFECTS = {
    "create": (CreatesAgain, "create", "failed"),
    "race": (LuckyInTurn, "race", "failed"),
    "race with another's object": (LastOneStays, "race", "failed"),
    "race with one object": (AllAreTold, "race", "failed"),
    "read": (ReadsLate, "read-back", "failed"),
    "order": (Disordered, "order", "failed"),
    "late listing": (ListsLate, "order", "failed"),
    "listing from the start": (IgnoresAfter, "order", "failed"),
    "replace": (CannotReplace, "replace", "failed"),
    "ranges": (WholeForRange, "ranges", "failed"),
    "abandon": (Publishes, "abandon", "failed"),
    "no listing": (denies("list_from"), "list", "denied"),
    "no reading": (denies("get"), "read-back", "denied"),
    "no writing": (denies("put_if_absent"), "create", "denied"),
    "no deleting": (denies("delete_many"), "delete", "denied"),
    "delete": (Keeps, "delete", "failed"),
}


def test_a_sound_store() -> None:
    """All is well, in every line, and nothing is left."""
    store = Defect("sound")
    found, status = examined(store)
    assert found.ok
    assert set(status.values()) == {"ok"}
    assert store.left == set()


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_told_by_its_check(name: str) -> None:
    """A missing permission is denied, not broken; what was created is deleted if that is possible."""
    kind, check, expected = DEFECTS[name]
    store = kind("defect")
    found, status = examined(store)
    assert not found.ok
    assert status[check] == expected
    assert next(one for one in found.checks if one.name == check).hint
    if check != "delete":
        assert store.left == set()


def test_without_the_right_to_write_reading_is_tried() -> None:
    """The others are skipped, and said to be."""
    _, status = examined(denies("put_if_absent")("read only"))
    assert (status["read"], status["list"], status["race"]) == ("ok", "ok", "skipped")


def test_a_clock_that_is_wrong() -> None:
    """Five minutes are a warning: tables can be kept, until the store refuses requests."""
    store = MemoryStore("clock", now_us=lambda: ENVIRONMENT.now_us() - 6 * 60 * 1_000_000)
    found, status = examined(store)
    assert found.ok
    assert status["clock"] == "warning"


def test_an_interrupted_examination_cleans_up() -> None:
    """Ctrl-C in the middle leaves nothing."""

    class Interrupted(Defect):
        def read_ranges(self, name, ranges, size=None):
            raise KeyboardInterrupt

    store = Interrupted("interrupted")
    with pytest.raises(KeyboardInterrupt):
        doctor.examine(store, ENVIRONMENT)
    assert store.left == set()


def bucket(client: FakeClient) -> ObjectStore:
    client.clock_us = ENVIRONMENT.now_us()
    return ObjectStore(client, "table")


def test_a_sound_bucket() -> None:
    """Uploads are tried there, too, and none is left."""
    client = FakeClient()
    found, status = examined(bucket(client))
    assert found.ok, found
    assert set(status.values()) == {"ok"}
    assert client.calls["abort"] == 1
    assert (client.objects, client.begun) == ({}, [])


def test_a_server_that_ignores_conditions() -> None:
    """It is refused by name, and nothing is left."""
    client = FakeClient(conditional=False)
    found, status = examined(bucket(client))
    assert status["create"] == "failed"
    assert status["race"] == "skipped"
    assert "exactly once" in next(one.found for one in found.checks if one.name == "create")
    assert client.objects == {}


def test_a_bucket_that_denies() -> None:
    """Each permission on its own."""
    client = FakeClient()
    client.script = {"pages": [failing(Failure.DENIED)] * 2}
    _, status = examined(bucket(client))
    assert status["list"] == "denied"
    assert status["create"] == "ok"
    assert client.objects == {}


def test_an_upload_that_stays() -> None:
    """A server that does not forget an aborted upload is a warning."""
    client = FakeClient()
    client.uploads = lambda prefix: [Begun(prefix, 0, None)]
    found, status = examined(bucket(client))
    assert found.ok
    assert status["abandon"] == "warning"


def test_a_folder(tmp_path: Path) -> None:
    """A new one is gone again, with those above it; one with a table is as it was."""
    found = tx.doctor(tmp_path / "a" / "b")
    assert found.ok
    assert {"fsync", "lock", "case"} <= {check.name for check in found.checks}
    assert list(tmp_path.iterdir()) == []
    table = tmp_path / "table"
    tx.write(pa.table({"id": [1]}), table, mode="append")
    before = sorted(table.rglob("*"))
    assert tx.doctor(table).ok
    assert sorted(table.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    """The missing permission is told as such, with exit code 14."""
    (tmp_path / "mine").mkdir(mode=0o500)
    answer = CliRunner().invoke(cli, ["doctor", str(tmp_path / "mine"), "--json"])
    assert answer.exit_code == 14
    status = {check["name"]: check["status"] for check in json.loads(answer.stdout)["checks"]}
    assert (status["create"], status["list"], status["read"]) == ("denied", "ok", "ok")


def test_a_folder_without_hard_links(tmp_path: Path, monkeypatch) -> None:
    """It cannot create a name exactly once, and says so."""

    def link(*_, **__):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", link)
    found, status = examined(open_store(tmp_path / "new"))
    assert not found.ok
    assert status["create"] == "failed"
    assert list(tmp_path.iterdir()) == []
