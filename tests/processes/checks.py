"""What must hold of a table's folder, found out without the library: JSON, SHA-256 and Arrow's own readers."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
from pyroaring import BitMap

from tests.model import Row

_DATA = re.compile(r"(?:.*/)?part-([0-9a-f]{16})-[0-9a-f]{32}-[0-9]{5}\.(parquet|csv)")
_TEMPORARY = re.compile(r"(?:.*/)?\.tmp-.*")
_ALWAYS = {"_txfiles/table.json", "_txfiles/lock", "_txfiles/hint.json", "_txfiles/index/secret"}


@dataclass(frozen=True)
class Version:
    """One manifest, its sidecar's actions filled in, and the files that are live after it, in order.

    A file that has marked rows has its newest `vector`; `runs` are those of the key index, by name.
    """

    number: int
    manifest: dict[str, Any]
    live: dict[str, dict[str, Any]]
    runs: dict[str, dict[str, Any]]

    @property
    def files(self) -> set[str]:
        """The names of all data files, vectors and runs that it holds."""
        vectors = {f"_txfiles/vectors/{add['vector']['file']}" for add in self.live.values() if "vector" in add}
        return {*map(unquote, self.live), *vectors, *(f"_txfiles/index/{name}" for name in self.runs)}

    @property
    def operation(self) -> dict[str, Any]:
        return self.manifest["operation"]


@dataclass
class Log:
    """A table as it stands on disk."""

    root: Path
    versions: list[Version] = field(default_factory=list)
    _rows: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def oldest_readable_version(self) -> int:
        return max(
            (version.manifest.get("vacuum", {}).get("oldest_readable_version", 0) for version in self.versions),
            default=0,
        )

    def rows(self, number: int) -> list[Row]:
        """The rows of a whole version, with the columns of the partition."""
        return [row for path, add in self.versions[number].live.items() for row in self._file(path, add)]

    def _file(self, path: str, add: dict[str, Any]) -> list[Row]:
        if path not in self._rows:
            table = self.versions[0].manifest["table"]
            by_id = {column["id"]: column["name"] for column in table["columns"]}
            partition_by = [by_id[column] for column in table["partition_by"]]
            partition = dict(zip(partition_by, add.get("partition", ()), strict=True))
            found = pq.ParquetFile(self.root / unquote(path)).read().to_pylist()
            assert len(found) == add["rows"]
            self._rows[path] = [row | partition for row in found]
        marked = BitMap() if "vector" not in add else BitMap.deserialize(_vector(self.root, add["vector"]))
        return [row for at, row in enumerate(self._rows[path]) if at not in marked]


@dataclass
class Residue:
    """What stands in the folder and belongs to no version that is whole."""

    data: set[str] = field(default_factory=set)
    temporary: set[str] = field(default_factory=set)
    log: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)


def check(root: Path, *, lost_power: bool = False) -> Log:
    """Assert everything that must hold whatever happened to writers: the chain, and that whole versions are whole.

    Args:
        root: of the table.
        lost_power: a checkpoint may then be torn: it is put without an fsync, and losing it costs no data.
    """
    log = Log(root)
    folder = root / "_txfiles/log"
    names = sorted(os.listdir(folder)) if folder.exists() else []
    numbers = [name for name in names if not name.startswith(".tmp-")]
    assert numbers == [f"{number:020d}.json" for number in range(len(numbers))], "versions have gaps"
    live: dict[str, dict[str, Any]] = {}
    runs: dict[str, dict[str, Any]] = {}
    parent = None
    for number, name in enumerate(numbers):
        data = (folder / name).read_bytes()
        manifest = _manifest(root, data, lost_power=lost_power)
        assert manifest["version"] == number
        assert manifest["parent_sha256"] == parent, f"the chain is broken at {number}"
        parent = hashlib.sha256(data).hexdigest()
        live = _after(live, manifest)
        for action in manifest.get("index", ()):
            runs = {name: run for name, run in runs.items() if name != action.get("remove")}
            runs |= {run["name"]: run for run in [action.get("add")] if run is not None}
        log.versions.append(Version(number, manifest, live, runs))
    _check_series(log)
    _check_files(log)
    return log


def residue(log: Log) -> Residue:
    """What a vacuum has not taken, or may not take."""
    table_id = json.loads((log.root / "_txfiles/table.json").read_bytes())["table_id"]
    whole = log.versions[log.oldest_readable_version :]
    held = {name for version in whole for name in version.files}
    sidecars = {f"_txfiles/actions/{v.manifest['sidecar']['name']}" for v in log.versions if "sidecar" in v.manifest}
    checkpoints = {_checkpoint_name(v.manifest["checkpoint"]) for v in whole if "checkpoint" in v.manifest}
    manifests = {f"_txfiles/log/{version.number:020d}.json" for version in log.versions}
    found = Residue()
    for name in tree(log.root) - held - sidecars - checkpoints - manifests - _ALWAYS:
        data = _DATA.fullmatch(name)
        if data and data[1] == table_id:
            found.data.add(name)
        elif _TEMPORARY.fullmatch(name):
            found.temporary.add(name)
        elif name.startswith("_txfiles/"):
            found.log.add(name)
        else:
            found.foreign.add(name)
    return found


def tree(root: Path) -> set[str]:
    """All names below a folder that are no folders, links not followed."""
    return {
        str(Path(folder, name).relative_to(root))
        for folder, folders, files in os.walk(root)
        for name in (*files, *(name for name in folders if Path(folder, name).is_symlink()))
    }


def age(root: Path, names: set[str], seconds: int = 2 * 3_600) -> None:
    """Make files look older than they are."""
    for name in names:
        modified = (root / name).stat().st_mtime - seconds
        os.utime(root / name, (modified, modified))


def _manifest(root: Path, data: bytes, *, lost_power: bool) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(data)
    at = data.rindex(b'"sha256"')
    assert manifest["sha256"] == hashlib.sha256(data[:at]).hexdigest(), "the seal does not hold"
    if "sidecar" in manifest:
        ref = manifest["sidecar"]
        actions = (root / "_txfiles/actions" / ref["name"]).read_bytes()
        assert (len(actions), hashlib.sha256(actions).hexdigest()) == (ref["bytes"], ref["sha256"])
        found = json.loads(actions)
        manifest |= {name: found[name] for name in ("add", "remove", "mark") if name in found}
        if "vacuum" in manifest:
            manifest["vacuum"] |= {"deletes": found["deletes"]}
    if "checkpoint" in manifest:
        ref = manifest["checkpoint"]
        path = root / _checkpoint_name(ref)
        if path.exists() and not lost_power:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == ref["sha256"]
    return manifest


def _checkpoint_name(ref: dict[str, Any]) -> str:
    return f"_txfiles/checkpoints/{ref['version']:020d}-{ref['id']}.parquet"


def _after(live: dict[str, dict[str, Any]], manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    removed = {action["path"] for action in manifest["remove"]}
    assert removed <= live.keys(), "a file is removed that is not there"
    kept = {path: add for path, add in live.items() if path not in removed}
    added = {add["path"]: add for add in manifest["add"]}
    assert not added.keys() & live.keys(), "a file is added twice"
    after = kept | added
    for mark in manifest.get("mark", ()):
        known = after[mark["path"]]
        assert known.get("vector", {"rows": 0})["rows"] < mark["vector"]["rows"] < known["rows"]
        after[mark["path"]] = known | {"vector": mark["vector"]}
    metrics = manifest["metrics"]
    there, then = (sum(map(_live_rows, files.values())) for files in (live, after))
    assert then == there + metrics.get("rows_inserted", 0) - metrics.get("rows_deleted", 0), "rows are lost or doubled"
    return after


def _live_rows(add: dict[str, Any]) -> int:
    rows: int = add["rows"] - add.get("vector", {"rows": 0})["rows"]
    return rows


def _vector(root: Path, vector: dict[str, Any]) -> bytes:
    data = (root / "_txfiles/vectors" / vector["file"]).read_bytes()
    found = data[vector["offset"] : vector["offset"] + vector["bytes"]]
    assert (len(found), hashlib.sha256(found).hexdigest()) == (vector["bytes"], vector["sha256"]), "a vector is damaged"
    return found


def _check_series(log: Log) -> None:
    manifests = [version.manifest for version in log.versions]
    for name in ("commit_id", "time"):
        values = [manifest[name] for manifest in manifests]
        assert len(set(values)) == len(values), f"a {name} is there twice"
    assert [manifest["time"] for manifest in manifests] == sorted(manifest["time"] for manifest in manifests)
    batch_ids = Counter(version.operation.get("batch_id") for version in log.versions)
    assert all(count == 1 for name, count in batch_ids.items() if name is not None), "a batch is there twice"
    ids = {manifest["table_id"] for manifest in manifests}
    if manifests:
        ids |= {json.loads((log.root / "_txfiles/table.json").read_bytes())["table_id"]}
        assert len(ids) == 1
    deleted: set[str] = set()
    for version in log.versions:
        assert not deleted & version.files, "a version holds a file that a vacuum before it listed"
        deleted |= set(map(unquote, version.manifest.get("vacuum", {}).get("deletes", ())))


def _check_files(log: Log) -> None:
    seen = set()
    for version in log.versions[log.oldest_readable_version :]:
        for add in version.live.values():
            assert (
                "vector" not in add
                or len(BitMap.deserialize(_vector(log.root, add["vector"]))) == add["vector"]["rows"]
            )
        for name, run in version.runs.items():
            assert (log.root / "_txfiles/index" / name).stat().st_size == run["bytes"], f"{name} is damaged"
        for path, add in version.live.items():
            if path in seen:
                continue
            seen.add(path)
            data = (log.root / unquote(path)).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (add["bytes"], add["sha256"]), f"{path} is damaged"
