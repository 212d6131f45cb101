"""Tables as an attacker makes them: any content, under valid hashes and seals; and processes that open them."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

import txfiles as tx
from tests.hostile.fuzz_targets import sealed
from txfiles.core import names

LOG = Path("_txfiles/log")
SPACE_BYTES = 2 * 1024**3
CPU_SECONDS = 60

VERBS: dict[str, list[str]] = {
    "read": ["read"],
    "log": ["log"],
    "show": ["show"],
    "files": ["files"],
    "compact": ["compact"],
    "vacuum": ["vacuum", "--retain", "0", "--force"],
}


def rows(*ids: int) -> pa.Table:
    """Rows with these keys."""
    return pa.table({"id": pa.array(ids, pa.int64()), "p": [f"p{i % 2}" for i in ids], "x": [0.5] * len(ids)})


def manifest_path(table: Path, version: int) -> Path:
    """Where a version's manifest stands."""
    return table / names.manifest(version)


def newest(table: Path) -> int:
    """The number of the newest manifest."""
    return max(int(found.stem) for found in (table / LOG).glob("*.json"))


def rewrite(table: Path, version: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest's document and seal it again; those after it name its new hash, all but the last link true."""
    path = manifest_path(table, version)
    document = json.loads(path.read_bytes())
    seal = document.pop("sha256")
    change(document)
    document["sha256"] = seal
    path.write_bytes(sealed(json.dumps(document).encode()))
    if manifest_path(table, version + 1).exists():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rewrite(table, version + 1, lambda after: after.__setitem__("parent_sha256", digest))


def vouch(table: Path, version: int, data: bytes, *, rows: int = 3, footer_bytes: int = 0) -> Path:
    """Put bytes in the place of a version's first data file, and let the manifest say that they are right."""
    found: list[Path] = []

    def change(document: dict[str, Any]) -> None:
        add = document["add"][0]
        name = names.decode_path(add["path"])
        assert name is not None
        found.append(table / name)
        add |= {"bytes": len(data), "rows": rows, "sha256": hashlib.sha256(data).hexdigest()}
        if footer_bytes:
            add |= {"footer_bytes": footer_bytes, "footer_sha256": hashlib.sha256(data[-footer_bytes:]).hexdigest()}

    rewrite(table, version, change)
    found[0].write_bytes(data)
    return found[0]


def checkpoint(table: Path, version: int) -> Path:
    """The checkpoint at a version that its successor wrote."""
    (path,) = (table / names.CHECKPOINT_DIR).glob(f"{version:020d}-*.parquet")
    return path


def vouch_checkpoint(table: Path, version: int, data: bytes) -> None:
    """Put bytes in the place of a checkpoint, and let the newest manifest name them."""
    unique = "0" * 32
    path = table / names.checkpoint(version, unique)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    ref = {"version": version, "id": unique, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rewrite(table, newest(table), lambda document: document.__setitem__("checkpoint", ref))


def child(*arguments: str, space_bytes: int = SPACE_BYTES) -> subprocess.CompletedProcess[str]:
    """Run Python in a process whose memory and time are bounded."""

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (space_bytes, space_bytes))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return subprocess.run(
        [sys.executable, *arguments],
        preexec_fn=bound,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in such a process."""
    return child("-m", "txfiles", *arguments)


def simple(path: Path, versions: int = 2, **options: Any) -> Path:
    """A table of a few appends."""
    for number in range(versions):
        tx.write(rows(number, number + 10, number + 20), path, mode="append", **options)
    return path


def snapshot(*roots: Path) -> dict[str, tuple[str, int]]:
    """What stands below some folders: kind and content (or target), and when it was changed."""
    found = {}
    for root in roots:
        for path in [root, *root.rglob("*")]:
            status = path.lstat()
            if path.is_symlink():
                what = f"link to {path.readlink()}"
            elif path.is_file():
                what = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                what = oct(status.st_mode)
            found[str(path)] = (what, 0 if path.is_dir() and not path.is_symlink() else status.st_mtime_ns)
    return found
