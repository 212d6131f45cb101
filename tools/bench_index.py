"""`tools/bench index`: what digests and index runs cost, beside the plain way to do the same.

    tools/bench index [--rows 10000000] [--needles 100000] [--runs 5]

Everything runs in this process, the sides in turn. Printed are medians of the processor's time, which other programs on
the machine disturb less than the clock, in ns for each key or row (a probe: ms in all). Results are checked.

    digest   keys that are integers, and UUIDs as text; beside BLAKE2b in a loop
    build    a run of keys in any order, without the disk; beside numpy's argsort of 64-bit digests
    probe    needles in random order, half of them there, in a mapped run that is opened for it; beside numpy's
             searchsorted of sorted needles in a sorted array, and pyarrow's index_in
    merge    eight runs into one; beside numpy's sort of their digests
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import RunKey
from txfiles.formats.index_merge import merge_runs
from txfiles.formats.index_run import Cover, Run, open_run, write_run
from txfiles.formats.run_source import Mapped
from txfiles.rows import keys
from txfiles.rows.digests import Digester, Digests

KEY = RunKey(columns=(1,), kinds=("integer",), code=keys.CODE_VERSION, secret="0" * 32)
SECRET = bytes(range(16))
FILES = 64
MERGED = 8


class Nowhere:
    """A file that is not kept."""

    def write(self, data: Any) -> int:
        """Count."""
        return len(data)

    def close(self) -> None:
        """Nothing was kept."""

    def abort(self) -> None:
        """Nothing was kept."""


def main(words: list[str]) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--needles", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args(words)
    chance = np.random.default_rng(1)
    every = Digests(chance.integers(0, 2**64, given.rows, np.uint64), chance.integers(0, 2**32, given.rows, np.uint32))
    digest(given.runs)
    few = min(given.rows, 1_000_000)
    part = every.take(slice(few))
    measure(
        f"build {few:,}",
        few,
        given.runs,
        ours=lambda: write_run(Nowhere(), "0" * 32, KEY, cover("f", few), digests=part),
        argsort=lambda: np.argsort(part.high),
    )
    with tempfile.TemporaryDirectory(prefix="txfiles-bench-") as folder:
        probe(every, given.needles, given.runs, Path(folder))
        merge(every, given.runs, Path(folder))


def digest(runs: int) -> None:
    """See above."""
    count = 200_000
    digester = Digester(SECRET)
    integers = np.arange(count)
    texts = [str(uuid.UUID(int=number * 2**64 // 7)) for number in range(count)]
    for name, values in (("integers", integers), ("UUIDs", texts)):
        codes = keys.encode(pa.table({"k": values}), ["k"])
        plain = codes.to_pylist()
        measure(
            f"digest {name}",
            count,
            runs,
            ours=partial(digester.digest, codes),
            blake2b=partial(hashed, plain),
        )


def hashed(codes: list[bytes]) -> list[bytes]:
    """The plain way to make digests."""
    return [hashlib.blake2b(code, digest_size=12, key=SECRET).digest() for code in codes]


def probe(every: Digests, count: int, runs: int, folder: Path) -> None:
    """See above."""
    chance = np.random.default_rng(2)
    rows = chance.permutation(len(every))[:count]
    needles = every.take(rows)
    needles.high[::2] ^= np.uint64(1)
    written(every, folder / "run", "f")
    flat = np.sort(every.high)

    def ours() -> None:
        at, found = opened(folder / "run").probe(needles)
        assert len(at) == count // 2
        assert (rows[at] == found).all()

    measure(
        f"probe {count:,} of {len(every):,}",
        None,
        runs,
        ours=ours,
        searchsorted=lambda: np.searchsorted(flat, np.sort(needles.high)),
        index_in=lambda: pc.index_in(pa.array(needles.high), value_set=pa.array(flat)),
    )


def merge(every: Digests, runs: int, folder: Path) -> None:
    """See above."""
    size = len(every) // MERGED
    for number in range(MERGED):
        written(every.take(slice(number * size, (number + 1) * size)), folder / f"{number}", f"{number}-")

    def ours() -> None:
        inputs = [opened(folder / f"{number}") for number in range(MERGED)]
        live = {path for run in inputs for path in run.cover.paths.to_pylist()}
        assert merge_runs(Nowhere(), "1" * 32, inputs, live).entries == MERGED * size

    measure(f"merge {MERGED} runs", MERGED * size, runs, ours=ours, sort=lambda: np.sort(every.high))


def cover(prefix: str, rows: int) -> Cover:
    """As many files as have room for the rows."""
    return Cover(pa.array([f"{prefix}{number}" for number in range(FILES)]), np.full(FILES, -(-rows // FILES)))


def written(digests: Digests, path: Path, prefix: str) -> None:
    """A run on disk."""

    class File(Nowhere):
        def write(self, data: Any) -> int:
            return file.write(data)

    with path.open("wb") as file:
        write_run(File(), "0" * 32, KEY, cover(prefix, len(digests)), digests=digests)


def opened(path: Path) -> Run:
    """A run that is mapped into memory."""
    with path.open("rb") as file:
        return open_run(Mapped(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def measure(name: str, count: int | None, runs: int, **sides: Callable[[], object]) -> None:
    """The sides in turn, once more than they are counted."""
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(runs + 1):
        for side, call in sides.items():
            started = time.process_time()
            call()
            taken[side].append(time.process_time() - started)
    unit, factor = ("ns", 1e9 / count) if count else ("ms", 1e3)
    figures = (f"{side} {statistics.median(times[1:]) * factor:.1f} {unit}" for side, times in taken.items())
    print(f"{name:32} " + ", ".join(figures), flush=True)
