"""A damaged or hostile table: right rows or a clear error, never fewer rows, never a touch outside the root."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from tests.model import bag
from txfiles.core import codec

pytestmark = pytest.mark.guarantees("S7 S17 S18 S20")

SCHEMA = pa.schema([("id", pa.int64()), ("part", pa.string()), ("x", pa.float64())])


def rows(*ids: int, x: float = 0.5) -> pa.Table:
    """Rows with these keys."""
    return pa.Table.from_pylist([{"id": i, "part": f"p{i % 2}", "x": x} for i in ids], SCHEMA)


@pytest.fixture(scope="module", params=["parquet", "csv"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with several versions, checkpoints, a sidecar and partitions."""
    path = tmp_path_factory.mktemp("original") / "table"
    patch = pytest.MonkeyPatch()
    properties = {"checkpoint_interval": 2}
    options: dict[str, Any] = {"format": request.param, "partition_by": ["part"], "properties": properties}
    tx.write(rows(1, 2), path, mode="upsert", keys=["id"], **options)
    tx.write(rows(2, 3, x=1.5), path, mode="upsert")
    patch.setattr(codec, "INLINE_ACTIONS", 1)
    tx.write(rows(4, 5), path, mode="append_once")
    patch.undo()
    tx.write(rows(6), path, mode="append", batch_id="b")
    tx.write(rows(3, x=2.5), path, mode="upsert")
    return path


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def _link(path: Path) -> None:
    """The same bytes, behind a link: as good as any attack gets."""
    aside = path.with_name(f"aside-{path.name}")
    path.rename(aside)
    path.symlink_to(aside)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], None]] = {
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "flipped": _flip,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n "),
    "noise": lambda path: path.write_bytes(b"\xff\x00{[" * 50),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "a link": _link,
    "a pipe": _fifo,
    "a folder": _folder,
}


def calls(path: Path) -> dict[str, Callable[[], Any]]:
    """What a user may do with the table."""
    return {
        "exists": lambda: tx.exists(path),
        "read": lambda: tx.Table(path).to_arrow(),
        "old": lambda: [tx.Table(path, version=v).to_arrow().num_rows for v in range(5)],
        "history": lambda: tx.Table(path).history(),
        "lookup": lambda: tx.Table(path).lookup([1, 3]),
        "dry run": lambda: [tx.Table(path).delete(dry_run=True, **what).rows_deleted for what in THREE],
        "upsert": lambda: tx.write(rows(1, 3, 6, x=9.0), path, mode="upsert"),
        "append_once": lambda: tx.write(rows(1, 9), path, mode="append_once"),
        "compact": lambda: tx.Table(path).compact(),
        "vacuum": lambda: tx.Table(path).vacuum(retain="0", force=True),
        "delete": lambda: tx.Table(path).delete(keys=[1, 2]),
    }


THREE: tuple[dict[str, Any], ...] = (
    {"where": [("x", "=", 2.5)]},
    {"where": [("part", "=", "p1")]},
    {"keys": [3, 4, 9]},
)
"""Deletes of one row, three and two."""


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_any_file(original: Path, tmp_path: Path, kind: str) -> None:
    """Whatever happens to one file, each call answers rightly or with an error of ours; the rest stays."""
    expected = bag(tx.Table(original).to_arrow().to_pylist())
    canary = tmp_path / "canary.txt"
    canary.write_text("mine")
    files = sorted(p.relative_to(original) for p in original.rglob("*") if p.is_file() and p.name != "lock")
    assert len(files) > 12
    refused = 0
    newest = Path("_txfiles/log/00000000000000000004.json")
    for number, file in enumerate(files):
        if (kind, file) == ("deleted", newest):
            continue  # nothing vouches for the newest manifest: without it, the one before it is the newest
        path = tmp_path / str(number)
        shutil.copytree(original, path)
        DAMAGE[kind](path / file)
        for name, call in calls(path).items():
            try:
                answer = call()
            except tx.TxFilesError:
                refused += 1
                continue
            if name == "read":
                assert bag(answer.to_pylist()) == expected, (kind, file)
            if name == "exists":
                assert answer is True, (kind, file)
            if name == "old":
                assert answer == [2, 3, 5, 6, 6], (kind, file)
            if name == "dry run":
                assert answer == [1, 3, 2], (kind, file)
            if name == "delete":
                assert tx.Table(path).lookup([1, 2]).num_rows == 0, (kind, file)
    assert refused > 0
    assert canary.read_text() == "mine"


@pytest.mark.parametrize("name", ["_txfiles/hint.json", "_txfiles/checkpoints"])
def test_the_log_is_lost(original: Path, tmp_path: Path, name: str) -> None:
    """A hint or a checkpoint without a manifest makes reads and writes refuse."""
    path = tmp_path / "table"
    shutil.copytree(original, path)
    shutil.rmtree(path / "_txfiles/log")
    for other in {"_txfiles/hint.json", "_txfiles/checkpoints"} - {name}:
        found = path / other
        shutil.rmtree(found) if found.is_dir() else found.unlink()
    before = sorted(path.rglob("*"))
    for call in (lambda: tx.exists(path), lambda: tx.Table(path), lambda: tx.write(rows(1), path, mode="append")):
        with pytest.raises(tx.CorruptTableError, match="lost"):
            call()
    assert sorted(path.rglob("*")) == before


def test_a_manifest_of_a_far_number(original: Path, tmp_path: Path) -> None:
    """A name of a version that is far beyond the newest is a gap in the log, told without counting up to it."""
    path = tmp_path / "table"
    shutil.copytree(original, path)
    (path / "_txfiles/hint.json").unlink()
    (path / "_txfiles/log/99999999999999999999.json").write_text("{}")
    for call in (lambda: tx.exists(path), lambda: tx.Table(path), lambda: tx.write(rows(1), path, mode="append")):
        with pytest.raises(tx.CorruptTableError, match="manifest 5 is missing"):
            call()


def test_a_copy_is_the_same_table(original: Path, tmp_path: Path) -> None:
    """A folder copied elsewhere works, and goes its own way."""
    path = tmp_path / "copy"
    shutil.copytree(original, path)
    assert tx.write(rows(1, x=7.0), path, mode="upsert").version == 5
    assert tx.Table(original).version == 4


def test_two_tables_do_not_mix(original: Path, tmp_path: Path) -> None:
    """A manifest of another table is refused."""
    other = tmp_path / "other"
    tx.write(rows(1), other, mode="append")
    path = tmp_path / "table"
    shutil.copytree(original, path)
    shutil.copy(other / "_txfiles/log/00000000000000000000.json", path / "_txfiles/log/00000000000000000005.json")
    with pytest.raises(tx.CorruptTableError):
        tx.Table(path)


def test_vacuum_takes_nothing_foreign(original: Path, tmp_path: Path) -> None:
    """Files of others stay: their own Parquet, markers, links, other tables' files, files behind a link."""
    path = tmp_path / "table"
    shutil.copytree(original, path)
    outside = tmp_path / "outside"
    outside.mkdir()
    table_id = tx.Table(path).files()[0].rsplit("part-", 1)[1][:16]
    own_name = f"part-{table_id}-{'0' * 32}-00000.parquet"
    (outside / own_name).write_text("x")
    foreign = [
        "mine.parquet",
        "_SUCCESS",
        f"part-{'f' * 16}-{'0' * 32}-00000.parquet",
        "_delta_log/00000000000000000000.json",
        "_txfiles/notes.txt",
    ]
    for name in foreign:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("x")
        os.utime(path / name, (0, 0))
    (path / "linked").symlink_to(outside)
    (path / own_name).symlink_to(outside / own_name)
    table = tx.Table(path)
    table.set(vacuum_grace="0")
    table.vacuum(retain="0", force=True)
    for name in foreign:
        assert (path / name).read_text() == "x", name
    assert (outside / own_name).read_text() == "x"
    assert (path / own_name).is_symlink()
    assert {str(p) for p in path.glob("part=*/part-*")} == set(table.files())


def test_orphans_ask_first(tmp_path: Path) -> None:
    """More than ten orphans for each live file: vacuum stops and asks."""
    path = tmp_path / "table"
    tx.write(rows(1), path, mode="append", properties={"vacuum_grace": "0"})
    live = Path(tx.Table(path).files()[0])
    for number in range(11):
        shutil.copy(live, live.with_name(live.name[:22] + f"{number:032x}-00000.parquet"))
    with pytest.raises(tx.ConfirmationRequiredError) as caught:
        tx.Table(path).vacuum()
    assert caught.value.orphans == 11
    assert len(tx.Table(path).vacuum(force=True).deleted) == 11
    assert [str(p) for p in path.glob("part-*")] == [str(live)]


def test_a_reader_of_an_expired_version_is_told(original: Path, tmp_path: Path) -> None:
    """A table opened before the vacuum says that its version has expired, rather than that it is damaged."""
    path = tmp_path / "table"
    shutil.copytree(original, path)
    old = tx.Table(path, version=0)
    tx.Table(path).vacuum(retain="0")
    with pytest.raises(tx.SnapshotExpiredError):
        old.to_arrow()
    with pytest.raises(tx.SnapshotExpiredError):
        tx.Table(path, version=0)
