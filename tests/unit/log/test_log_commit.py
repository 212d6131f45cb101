"""The commit loop: a table that is not the one that was planned on any more, and puts whose answer is unclear."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from tests.model import bag
from txfiles import environment, inputs
from txfiles.core import codec, names
from txfiles.core.protocol import Next
from txfiles.errors import StoreError
from txfiles.log import commit, manifests, put
from txfiles.log.session import Session
from txfiles.options import Request, check
from txfiles.store.memory import MemoryStore
from txfiles.store.port import Capabilities, Put
from txfiles.targets.files import writes


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": ids})


@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize("versions", [1, 2, 3])
def test_a_table_that_was_deleted_and_created_again(tmp_path: Path, mode: str, versions: int) -> None:
    """A write that was planned on the old table goes to the new one, and continues its chain."""
    path = tmp_path / "table"
    keys = {"keys": ["id"]} if mode == "upsert" else {}
    for number in range(2):
        tx.write(rows(number), path, mode=mode, **keys)

    def batches() -> Iterator[pa.RecordBatch]:
        shutil.rmtree(path)
        for number in range(versions):
            tx.write(rows(100 + number), path, mode=mode, **keys)
        yield from rows(7).to_batches()

    result = tx.write(batches(), path, mode=mode, **keys)
    assert (result.committed, result.version, result.attempts) == (True, versions, 2)
    table = tx.Table(path)
    assert bag(table.to_arrow().to_pylist()) == bag([{"id": 100 + number} for number in range(versions)] + [{"id": 7}])
    documents = [(path / names.manifest(version)).read_bytes() for version in range(versions + 1)]
    assert json.loads(documents[-1])["parent_sha256"] == codec.sha256(documents[-2])
    assert len(list(path.glob("*.parquet"))) == versions + 1  # what was staged for the old table is gone


class Unclear(MemoryStore):
    """Answers the first puts of some names with UNKNOWN; each is applied or not, as told."""

    def __init__(self, *applied: bool) -> None:
        super().__init__()
        self.applied = list(applied)
        self.puts = 0

    def put_if_absent(self, name: str, data: bytes) -> Put:
        self.puts += 1
        if not self.applied:
            return super().put_if_absent(name, data)
        if self.applied.pop(0):
            super().put_if_absent(name, data)
        return Put.UNKNOWN


@pytest.mark.parametrize(
    ("applied", "puts"), [((), 1), ((True,), 1), ((False,), 2), ((False, False, True), 3), ((False,) * 4, 5)]
)
def test_an_unclear_put_is_read_back(applied: tuple[bool, ...], puts: int) -> None:
    """Sidecars too: what was applied counts, what was not is sent again under the same name."""
    store = Unclear(*applied)
    settled = put.settle(Session(store, environment.real()), "_txfiles/sidecars/x", b"data")
    assert (settled.end, settled.error, store.puts) == (Next.COMMITTED, None, puts)
    assert store.get("_txfiles/sidecars/x", limit=10) == b"data"


def test_a_put_that_stays_unclear_is_unknown() -> None:
    """It is not sent for ever, and never called done."""
    store = Unclear(*[False] * 9)
    settled = put.settle(Session(store, environment.real()), "_txfiles/sidecars/x", b"data")
    assert (settled.end, store.puts) == (Next.UNKNOWN, 5)
    assert store.get("_txfiles/sidecars/x", limit=10) is None


def test_a_sidecar_whose_answer_was_lost_serves_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost answer to a sidecar's put neither fails the call nor loses what was staged."""
    monkeypatch.setattr(codec, "INLINE_ACTIONS", 0)
    real: Any = put._put
    lost = []

    def lossy(store: Any, name: str, data: bytes) -> Any:
        answer = real(store, name, data)
        if name.startswith(names.SIDECAR_DIR) and not lost:
            lost.append(name)
            return put.Answer.UNCLEAR, None
        return answer

    monkeypatch.setattr(put, "_put", lossy)
    result = tx.write(rows(1, 2), tmp_path / "table", mode="append")
    assert (result.version, len(lost)) == (0, 1)
    assert tx.Table(tmp_path / "table").to_arrow().num_rows == 2


def test_a_sidecar_that_cannot_be_written_aborts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is committed, nothing stays behind, and the store's own error is told beneath ours."""
    monkeypatch.setattr(codec, "INLINE_ACTIONS", 0)

    def refusing(store: Any, name: str, data: bytes) -> Any:
        return put.Answer.REFUSED, StoreError("the disk is full")

    monkeypatch.setattr(put, "_put", refusing)
    with pytest.raises(StoreError, match="could not be written; nothing was committed") as caught:
        tx.write(rows(1), tmp_path / "table", mode="append")
    assert "the disk is full" in str(caught.value.__cause__)
    assert caught.value.committed == "no"
    assert not tx.exists(tmp_path / "table")
    assert not list((tmp_path / "table").glob("*.parquet"))


class Phantom(MemoryStore):
    """Says once that a manifest exists, and shows another's bytes when it is read back; after that there is none."""

    def __init__(self, requests_at_once: int) -> None:
        super().__init__()
        self.requests_at_once = requests_at_once
        self.phantom = self.read_back = ""
        self.checkpoints: list[str] = []

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(lists_from_a_name=False, requests_at_once=self.requests_at_once, resends=False)

    def put_if_absent(self, name: str, data: bytes) -> Put:
        if name != self.phantom:
            return super().put_if_absent(name, data)
        self.read_back, self.phantom = name, ""
        return Put.EXISTS

    def get(self, name: str, *, limit: int) -> bytes | None:
        if name == self.read_back:
            self.read_back = ""
            return b"another's"
        return super().get(name, limit=limit)

    def put(self, name: str, data: bytes) -> None:
        if names.checkpoint_version(name) is not None:
            self.checkpoints.append(name)
        super().put(name, data)


@pytest.mark.parametrize("requests_at_once", [1, 8])
def test_a_checkpoint_is_put_once_for_a_base(requests_at_once: int) -> None:
    """A race lost to a manifest that nobody then finds leaves no second checkpoint of the same version behind."""
    store = Phantom(requests_at_once)
    session = Session(store, environment.real())
    options: dict[str, Any] = {"mode": "append", "properties": {"checkpoint_interval": 1}}
    writes.write(session, check(Request(source=inputs.source(rows(0)), **options)))
    store.phantom = names.manifest(1)
    outcome = writes.write(session, check(Request(source=inputs.source(rows(1)), **options)))
    assert (outcome.version, outcome.attempts, outcome.committed, store.read_back) == (1, 2, True, "")
    ref = manifests.summary(store, 1).checkpoint
    assert ref is not None
    assert store.checkpoints == [names.checkpoint(0, ref.id)]


@pytest.mark.parametrize("format", ["parquet", "csv"])
@pytest.mark.parametrize("theirs", ["append", "append_once", "upsert"])
@pytest.mark.parametrize("mode", ["append_once", "upsert"])
def test_keys_that_become_text_are_found_in_fresh_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, theirs: str, format: str
) -> None:
    """Key ranges of files added since are in the order of the old type: no key is added twice for trusting them."""

    def csv(name: str, *rows: str) -> Path:
        (tmp_path / name).write_text("\n".join(["sku,who", *rows, ""]))
        return tmp_path / name

    path = tmp_path / "table"
    tx.write(csv("base.csv", "1,base", "2,base"), path, mode="upsert", keys="sku", format=format)
    real = commit._commit

    def raced(*given: Any) -> Any:
        monkeypatch.setattr(commit, "_commit", real)
        assert tx.write(csv("theirs.csv", "9,theirs", "100,theirs"), path, mode=theirs).version == 1
        return real(*given)

    monkeypatch.setattr(commit, "_commit", raced)
    mine = csv("mine.csv", "100,mine", "9,mine", "X1,mine")
    result = tx.write(mine, path, mode=mode, schema={"sku": "string"}, schema_mode="merge")
    assert (result.version, result.attempts, result.rows_inserted) == (2, 2, 1)
    assert result.rows_updated + result.rows_skipped == 2
    who = "mine" if mode == "upsert" else "theirs"
    found = {row["sku"]: row["who"] for row in tx.Table(path).to_arrow().to_pylist()}
    assert tx.Table(path).to_arrow().num_rows == 5
    assert found == {"1": "base", "2": "base", "9": who, "100": who, "X1": "mine"}
