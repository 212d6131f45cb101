"""The order of fsyncs, as the kernel sees it: a commit by the command line in a process of its own, under strace."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.disk import needs
from tests.processes.calls import perform, row
from tests.processes.scenarios import write

pytestmark = pytest.mark.guarantees("S4")

TRACED = "fsync,fdatasync,link,linkat,rename,renameat,renameat2,mkdir,mkdirat,write,openat"
_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (\d+)", re.MULTILINE)
_PATH = re.compile(r"<(/[^>]*)>")
_NAMES = re.compile(r'"([^"]*)"')

Step = tuple[str, str]
"""What was done, and to which path below the table's; `write` to a table's file or `print`."""


def trace(root: Path, command: Sequence[str]) -> list[Step]:
    """Run a command; what it did to the disk below `root`, and when it wrote to its stdout, in order."""
    strace = needs.tool("strace", "strace")
    record = root.parent / "strace"
    where = [strace, "-f", "-y", "-s", "4096", "-e", f"trace={TRACED}", "-e", "signal=none", "-o", str(record)]
    done = subprocess.run([*where, *command], capture_output=True, text=True, check=False)
    if done.returncode and "PTRACE" in done.stderr.upper():
        pytest.skip(f"NOT TESTED: this machine lets nobody trace a process: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    steps: list[Step] = []
    for name, arguments, _ in _CALL.findall(record.read_text(errors="replace")):
        paths = _PATH.findall(arguments)
        if name == "write" and arguments.startswith("1<"):
            steps.append(("print", ""))
        elif paths and (paths[-1] == str(root) or paths[-1].startswith(f"{root}/")):
            below = paths[-1].removeprefix(str(root)).removeprefix("/")
            if name == "openat" and "O_CREAT" not in arguments:
                continue
            if name.endswith(("at", "at2")):
                below = f"{below}/{_NAMES.findall(arguments)[-1]}".removeprefix("/")
            steps.append((name.removesuffix("2").removesuffix("at"), below))
    return steps


def test_order_of_a_commit(tmp_path: Path) -> None:
    """Folder, rows, their name, manifest, its name: each is durable before the next is begun, and all before a word."""
    root = tmp_path / "table"
    perform(write("append", [row(1, "a")], partition_by=["part"]) | {"path": str(root)})
    (tmp_path / "new.csv").write_text("id,part,n,time\n2,b,0,0\n")
    command = [sys.executable, "-m", "txfiles", "write", str(tmp_path / "new.csv"), "--to", str(root)]
    steps = trace(root, [*command, "--mode", "append"])

    def only(what: str, pattern: str, after: int = -1) -> int:
        """The place of the one step of that kind (after some place: of the first)."""
        found = [at for at, (name, path) in enumerate(steps) if name == what and re.fullmatch(pattern, path)]
        found = [at for at in found if at > after]
        assert found, (what, pattern, steps)
        assert after >= 0 or len(found) == 1, (what, pattern, steps)
        return found[0]

    data, manifest = r"part=b/(?:\.tmp-)?part-\S+\.parquet", "_txfiles/log/00000000000000000001.json"
    made = only("mkdir", "part=b")
    begun = only("open", data)
    written = only("fsync", data)
    named = only("link", data)
    draft = only("open", r"_txfiles/log/\.tmp-\w+")
    sealed = only("fsync", r"_txfiles/log/\.tmp-\w+")
    committed = only("link", manifest)
    order = [
        made,
        only("fsync", "", after=made),
        begun,
        written,
        named,
        only("fsync", "part=b", after=named),
        draft,
        sealed,
        committed,
        only("fsync", "_txfiles/log", after=committed),
        only("print", "", after=0),
    ]
    assert order == sorted(order), [steps[at] for at in order]
    for path, fsynced in ((data, written), (r"_txfiles/log/\.tmp-\w+", sealed)):
        last = max(at for at, (name, found) in enumerate(steps) if name == "write" and re.fullmatch(path, found))
        assert last < fsynced, "something was written after the fsync"
    assert [name for name, path in steps if path == manifest] == ["link"], "the manifest has another way to its name"
