"""`tools/bench adopt`: what it takes to adopt a folder of many Parquet files on a local disk.

    tools/bench adopt [--files 100000] [--folder DIR]

The files are hard links to one of 100 rows and ten columns, in a hundred partition folders. Printed are seconds, the
requests that reached the store, this process's peak of memory, and what opening the table takes afterwards. The rows
are counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.counting import CountingStore
from txfiles import environment
from txfiles.log import versions
from txfiles.log.session import Session
from txfiles.store.local import LocalStore
from txfiles.targets.files.adopt import adopt
from txfiles.verbs import AdoptOptions

ROWS = 100
FOLDERS = 100
LINKS_MAX = 50_000
"""Fewer than a file may have on common file systems."""


def main(words: list[str]) -> int:
    """Make the folder, adopt it, open it."""
    parser = argparse.ArgumentParser(prog="tools/bench adopt", description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", help="where to make it; by default among the temporary files")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        root = Path(name)
        make(root, asked.files)
        before = peak_mb()
        store = CountingStore(LocalStore(str(root)))
        begun = time.monotonic()
        found = adopt(Session(store, environment.real()), AdoptOptions(), None)
        took = time.monotonic() - begun
        begun = time.monotonic()
        head = versions.require_head(Session(LocalStore(str(root)), environment.real()))
        opened = time.monotonic() - begun
        assert (found.rows, head.file_count) == (ROWS * asked.files, asked.files)
        calls = ", ".join(f"{count:,} {call}" for call, count in sorted(store.calls.items()) if count)
        print(f"{asked.files:,} files: {took:.1f} s, peak {peak_mb()} MB (before: {before}); opening: {opened:.1f} s")
        print(f"requests: {calls}")
    return 0


def make(root: Path, files: int) -> None:
    """The folder."""
    columns = {f"c{i}": [f"text {i} {j}" for j in range(ROWS)] if i % 2 else list(range(ROWS)) for i in range(10)}
    for number in range(files):
        path = root / f"part={number % FOLDERS:02d}" / f"part-{number:06d}.parquet"
        path.parent.mkdir(exist_ok=True)
        if number % LINKS_MAX == 0:
            pq.write_table(pa.table(columns), path)
            first = path
        else:
            os.link(first, path)


def peak_mb() -> int:
    """Of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
