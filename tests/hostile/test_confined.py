"""Nothing outside the root is read, written or deleted, and nothing foreign in it, whatever a seal vouches for."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import txfiles as tx
from tests.hostile import tables
from tests.hostile.test_limits import _with_content
from txfiles.core import codec, names

pytestmark = pytest.mark.guarantees("S7 S14 S18")

OUTSIDE = "outside"
COMMIT = "0" * 32


def rows(*ids: int) -> pa.Table:
    """Rows of two partitions."""
    return tables.rows(*ids).drop_columns(["x"])


@pytest.fixture(scope="module", params=["parquet", "csv"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two partitions and four versions, with a checkpoint and a sidecar, beside files of somebody else."""
    root = tmp_path_factory.mktemp("original")
    table = root / "table"
    tx.write(
        rows(1, 2), table, mode="append", format=request.param, partition_by=["p"], properties={"vacuum_grace": "0"}
    )
    tx.write(rows(3, 4), table, mode="append")
    tx.Table(table).set(checkpoint_interval=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "INLINE_ACTIONS", 1)
        tx.write(rows(5, 6), table, mode="append")
    # A whole table outside, whose data files would be taken for this one's if a path or a link led there.
    shutil.copytree(table, root / OUTSIDE)
    for path in (root / OUTSIDE).rglob("part-*"):
        shutil.copy(path, root / OUTSIDE / path.name)
        os.utime(path, (0, 0))
    for name in ("foreign.parquet", "_SUCCESS", "p=p1/notes.txt", "_txfiles/notes.txt"):
        (table / name).write_text("mine")
        os.utime(table / name, (0, 0))
    return root


@pytest.fixture
def table(original: Path, tmp_path: Path) -> Path:
    """A copy of all of that; times of change are kept."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path / "table"


def own_name(table: Path) -> str:
    """The name of one of the table's data files, without its folders."""
    return next((table / "p=p1").glob("part-*")).name


def tricks(table: Path) -> dict[str, str]:
    """Paths that no table of this library has, most of which would lead to a file outside."""
    name = own_name(table)
    outside = f"{table.parent}/{OUTSIDE}/{name}"
    other = name.replace(name[5:21], "f" * 16)
    return {
        "up": f"../{OUTSIDE}/{name}",
        "up from a partition": f"p=p1/../../{OUTSIDE}/{name}",
        "up, encoded": f"%2E%2E/{OUTSIDE}/{name}",
        "up, encoded in lower case": f"%2e%2e/{OUTSIDE}/{name}",
        "slashes encoded": f"p=..%2F..%2F{OUTSIDE}/{name}",
        "slashes encoded twice": f"p=..%252F..%252F..%252F{OUTSIDE}/../../{OUTSIDE}/{name}",
        "absolute": outside,
        "absolute, encoded": f"%2F{outside[1:]}",
        "two slashes at the start": f"/{outside}",
        "etc": "/etc/passwd",
        "another store": f"s3://other/{name}",
        "a URL": f"file://{outside}",
        "a URL with its slashes encoded": f"file:%2F%2F{name}",
        "two slashes": f"p=p1//{name}",
        "a dot": f"p=p1/./{name}",
        "a dot at the start": f"./{name}",
        "a blank segment at the end": f"p=p1/{name}/",
        "a backslash": f"..\\{OUTSIDE}\\{name}",
        "a backslash, encoded": f"p=x%5C..%5C..%5C{name}",
        "a NUL": f"p=p1%00/{name}",
        "a bare NUL": f"p=p1\0/{name}",
        "a drive": f"C:/{name}",
        "a drive, encoded": f"C%3A/{name}",
        "a line end": f"p=p1/{name}\n",
        "a folder that is no partition": f"p1/{name}",
        "another table's": f"p=p1/{other}",
        "somebody else's": "foreign.parquet",
        "the log": names.manifest(0),
        "the table's file": names.TABLE_FILE,
        "the lock": names.LOCK_FILE,
        "the log, seen from a partition": f"p=p1/../{names.manifest(0)}",
        "the root": ".",
        "nothing": "",
        "another spelling": f"p=%70%31/{name}",
        "a home": f"~/{name}",
    }


def _add(document: dict[str, Any], path: str) -> None:
    document["add"][0]["path"] = path


def _remove(document: dict[str, Any], path: str) -> None:
    document["remove"] = [{"path": path}]


def _delete(document: dict[str, Any], path: str) -> None:
    document["vacuum"] = {"oldest_readable_version": 0, "deletes": [path]}


def _sidecar(table: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the newest version's sidecar; the manifest vouches for it."""
    import json

    [path] = (table / names.SIDECAR_DIR).iterdir()
    document = json.loads(path.read_bytes())
    change(document)
    data = json.dumps(document).encode()
    path.write_bytes(data)
    ref = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    tables.rewrite(table, tables.newest(table), lambda manifest: manifest["sidecar"].update(ref))


PLACES: dict[str, Callable[[Path, str], None]] = {
    "add": lambda table, path: tables.rewrite(table, 1, lambda manifest: _add(manifest, path)),
    "remove": lambda table, path: tables.rewrite(table, 1, lambda manifest: _remove(manifest, path)),
    "vacuum": lambda table, path: tables.rewrite(table, 1, lambda manifest: _delete(manifest, path)),
    "sidecar's add": lambda table, path: _sidecar(table, lambda found: _add(found, path)),
    "sidecar's remove": lambda table, path: _sidecar(table, lambda found: _remove(found, path)),
    "sidecar's deletes": lambda table, path: _sidecar(table, lambda found: found.__setitem__("deletes", [path])),
}


def calls(table: Path) -> dict[str, Callable[[], Any]]:
    """All that a user may do, reading first."""
    return {
        "read": lambda: tx.Table(table).to_arrow(),
        "dataset": lambda: tx.Table(table).dataset().to_table(),
        "files": lambda: [Path(name).relative_to(table) for name in tx.Table(table).files()],
        "file_table": lambda: tx.Table(table).file_table(),
        "old": lambda: tx.Table(table, version=1).to_arrow(),
        "lookup": lambda: tx.write(rows(1), table, mode="append_once", keys="id"),
        "upsert": lambda: tx.write(rows(1, 2, 3, 4, 5, 6), table, mode="upsert", keys="id"),
        "overwrite": lambda: tx.write(rows(7), table, mode="overwrite"),
        "dry run": lambda: tx.Table(table).vacuum(retain="0", force=True, dry_run=True),
        "vacuum": lambda: tx.Table(table).vacuum(retain="0", force=True),
    }


def tried(table: Path, **expected: Any) -> int:
    """Make all calls: each ends with an error of ours or a right answer, and what is not the table's stays."""
    foreign = [found for found in table.parent.iterdir() if found != table]
    inside = [table / name for name in ("foreign.parquet", "_SUCCESS", "p=p1/notes.txt", "_txfiles/notes.txt")]
    before = tables.snapshot(*foreign, *(path for path in inside if path.exists()))
    refused = 0
    for name, call in calls(table).items():
        try:
            answer = call()
        except tx.TxFilesError:
            refused += 1
        else:
            assert name not in expected or expected[name](answer), name
        assert tables.snapshot(*foreign, *(path for path in inside if path.exists())) == before, name
    return refused


@pytest.mark.parametrize("place", PLACES)
def test_paths(table: Path, tmp_path: Path, place: str, cases) -> None:
    """A path that is not this table's is refused wherever the log has it, and no call goes where it leads."""
    found = tricks(table)
    for number, path in enumerate(found.values()):
        copy = tmp_path / f"copy{number}" / "table"
        shutil.copytree(table, copy)
        PLACES[place](copy, path)
        for name in ("read", "upsert", "vacuum"):
            with pytest.raises(tx.CorruptTableError):
                calls(copy)[name]()
    outside = table.parent / OUTSIDE
    original = outside.parent / "again"
    shutil.copytree(outside, original)
    assert sorted(map(os.path.basename, outside.iterdir())) == sorted(map(os.path.basename, original.iterdir()))
    copy = tmp_path / "last" / "table"
    shutil.copytree(table, copy)
    shutil.copytree(outside, copy.parent / OUTSIDE)
    PLACES[place](copy, next(iter(tricks(copy).values())))
    assert tried(copy) >= 7
    cases(paths=len(found))


def test_paths_of_a_checkpoint(table: Path, tmp_path: Path, cases) -> None:
    """Likewise in a checkpoint that the newest manifest vouches for."""
    found = tricks(table)
    honest = tables.checkpoint(table, 2).read_bytes()
    count = pq.read_metadata(pa.BufferReader(honest)).num_rows
    for number, path in enumerate(found.values()):
        root = tmp_path / f"copy{number}"
        shutil.copytree(table, root / "table")
        shutil.copytree(table.parent / OUTSIDE, root / OUTSIDE)
        tables.vouch_checkpoint(root / "table", 2, _with_content(honest, path=[path] * count))
        assert tried(root / "table", read=lambda _: False, dataset=lambda _: False) > 0, path
    cases(paths=len(found))


LINKED = [
    "_txfiles",
    "_txfiles/log",
    "_txfiles/actions",
    "_txfiles/checkpoints",
    "_txfiles/table.json",
    "_txfiles/log/00000000000000000000.json",
    "_txfiles/log/00000000000000000003.json",
    "_txfiles/checkpoints/2",
    "_txfiles/hint.json",
    "p=p1",
    "p=p1/part",
]


def _place(table: Path, name: str) -> Path:
    if name == "_txfiles/checkpoints/2":
        return tables.checkpoint(table, 2)
    return next((table / "p=p1").glob("part-*")) if name.endswith("part") else table / name


def _is_right(answer: pa.Table) -> bool:
    return sorted(answer["id"].to_pylist()) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("kind", ["there", "nowhere", "itself", "root"])
def test_links(table: Path, name: str, kind: str) -> None:
    """A link in the place of a file or folder is not followed, though the very bytes stand behind it, nor vacuumed."""
    path = _place(table, name)
    aside = table.parent / "aside"
    path.rename(aside)
    path.symlink_to({"there": aside, "nowhere": table.parent / "nowhere", "itself": path, "root": Path("/")}[kind])
    refused = tried(table, read=_is_right, dataset=_is_right)
    assert path.is_symlink()
    assert not (table.parent / "nowhere").exists()
    if not any(word in name for word in ("hint", "checkpoints")):
        assert refused >= (3 if name.endswith("part") else 6)  # an overwrite does without the data file


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _file(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("make", [_pipe, _file, Path.mkdir])
def test_other_things(table: Path, name: str, make: Callable[[Path], None]) -> None:
    """A pipe, an empty file or an empty folder in the place of a file or folder: no call waits, nor deletes it."""
    path = _place(table, name)
    path.rename(table.parent / "aside")
    make(path)
    tried(table, read=_is_right, dataset=_is_right)
    # An empty file of a name of our own is ours to delete, once no version needs it.
    assert path.exists() or (make is _file and (name.endswith("part") or "checkpoints/" in name))


def test_links_and_pipes_beside_the_files(table: Path) -> None:
    """What is no file is not listed: a vacuum neither enters nor deletes links, pipes and folders of own names."""
    name = own_name(table).replace(own_name(table)[22:54], COMMIT)
    outside = table.parent / OUTSIDE
    (outside / name).write_text("x")
    made = [table / "p=p1" / f"{name[:54]}-0000{number}.{name.rpartition('.')[2]}" for number in range(4)]
    made[0].symlink_to(outside / name)
    made[1].symlink_to(outside)
    os.mkfifo(made[2])
    made[3].mkdir()
    links = [table / "p=linked", table / "_txfiles/log/.tmp-linked", table / "p=loop"]
    links[0].symlink_to(outside)
    links[1].symlink_to(outside)
    links[2].symlink_to(table)
    before = tables.snapshot(outside)
    done = tx.Table(table).vacuum(retain="0", force=True)
    assert not {str(path.relative_to(table)) for path in (*made, *links)} & set(done.deleted)
    assert all(os.path.lexists(path) for path in (*made, *links))
    assert tables.snapshot(outside) == before
    assert _is_right(tx.Table(table).to_arrow())


def test_the_root_may_be_a_link(table: Path) -> None:
    """The caller's own path may lead through a link: all calls work, and the files stand where it leads."""
    link = table.parent / "link"
    link.symlink_to(table)
    before = set(table.rglob("part-*"))
    assert _is_right(tx.Table(link).to_arrow())
    assert _is_right(tx.Table(link).dataset().to_table())
    tx.write(rows(7), link, mode="append")
    assert len(set(table.rglob("part-*")) - before) == 1
    assert tx.Table(table).to_arrow().num_rows == 7
    tx.Table(link).vacuum(retain="0", force=True)
    assert link.is_symlink()
    assert tx.Table(table).to_arrow().num_rows == 7


def _names() -> Iterator[str]:
    yield from ("..", ".", "../up", "a/b", "/etc", "~", "C:", "..\\x", "x\0y"[:1], "_txfiles", "%2e%2e", "%2F", "é")


def test_partition_values_stay_inside(tmp_path: Path) -> None:
    """Values of a partition column that look like paths make folders of one segment, inside the root."""
    table = tmp_path / "deep" / "table"
    values = list(_names())
    tx.write(pa.table({"id": range(len(values)), "p": values}), table, mode="append", partition_by=["p"])
    assert {path.parent.parent for path in table.rglob("part-*")} == {table}
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in table.parent.iterdir()] == ["table"]
    assert sorted(tx.Table(table).to_arrow()["p"].to_pylist()) == sorted(values)
