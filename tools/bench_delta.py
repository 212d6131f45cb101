"""`tools/bench delta`: an upsert into a Delta table, beside the merge of plain deltalake.

    tools/bench delta [CASE …] [--rows 5000000] [--files 10] [--runs 5]

The table is plain deltalake's: ids one after the other, and seven other columns. Each turn is a process of its own for
each side, on a fresh copy that is in the page cache, after a warm-up on a tiny table. Printed are medians of seconds,
of the processor's seconds and of peak MB, and the medians of their ratios, turn by turn, to the best of deltalake's two
ways: without streaming, which prunes files (`streamed_exec=False`), and with the batch's key range in its condition as
well. Results are checked.

    cluster  100,000 changed rows with neighbouring keys
    few      as many, spread over two neighbouring files
    spread   as many, spread over all files
    same     those of `spread`, of which every second one is in the table as it is
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bench_child import Child, leave, memory_mb, say
from bench_rows import BATCH, changed, large_part, large_rows

CASES = ("cluster", "few", "spread", "same")
SIDES = ("ours", "merge", "bounds")
FIGURES = ("seconds", "CPU", "MB")

Turn = tuple[float, ...]
"""What was measured once, by `FIGURES`."""


def main(words: list[str]) -> None:
    """Measure in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="; ".join(CASES))
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="txfiles-bench-") as work:
        table = Path(work) / "table"
        make(table, given.rows, given.files)
        print(f"{'case':8} {'figure':7} {'ours':>8} {'merge':>8} {'bounds':>8} {'ratio':>6}")
        for case in given.cases or CASES:
            found: dict[str, list[Turn]] = {side: [] for side in SIDES}
            for turn in range(given.runs):
                for side in SIDES if turn % 2 else SIDES[::-1]:
                    found[side].append(measured(side, case, table, given))
            for number, figure in enumerate(FIGURES):
                print(f"{case:8} {figure:7}", line({side: [turn[number] for turn in found[side]] for side in SIDES}))
            sys.stdout.flush()


def make(table: Path, rows: int, files: int) -> None:
    """The table, by plain deltalake."""
    from deltalake import write_deltalake

    for number in range(files):
        write_deltalake(table, large_part(number, rows // files), mode="append")


def measured(side: str, case: str, table: Path, given: argparse.Namespace) -> Turn:
    """One turn of one side, on a copy of the table."""
    copy = table.with_name("copy")
    shutil.copytree(table, copy, copy_function=os.link)
    turn = Child("bench", "--delta", side, case, copy, given.rows, given.files)
    try:
        return tuple(turn.hear())
    finally:
        turn.end()
        shutil.rmtree(copy)


def line(found: dict[str, list[float]]) -> str:
    """Medians, and the median of the ratios."""
    best = map(min, found["merge"], found["bounds"])
    ratio = statistics.median(ours / plain for ours, plain in zip(found["ours"], best, strict=True))
    return " ".join(f"{statistics.median(found[side]):8.2f}" for side in SIDES) + f" {ratio:6.2f}"


def batch(case: str, rows: int, files: int) -> pa.Table:
    """What is upserted."""
    of_file, size = rows // files, min(BATCH, rows // 10)
    if case == "cluster":
        return changed(np.arange(of_file, of_file + size))
    within = 2 * of_file if case == "few" else rows
    ids = np.arange(size) * (within // size) + (of_file if case == "few" else 0)
    if case != "same":
        return changed(ids)
    some, others = changed(ids[::2]), large_rows(ids[1::2])
    return pa.concat_tables([some, others.cast(some.schema)])


def child(side: str, case: str, table: str, rows: str, files: str) -> None:
    """One turn of one side, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="txfiles-bench-") as warm:
        make(Path(warm) / "t", 400, 4)
        upsert(side, Path(warm) / "t", changed(np.arange(40)))
    given = batch(case, int(rows), int(files))
    began, used = time.perf_counter(), time.process_time()
    upsert(side, Path(table), given)
    seconds = time.perf_counter() - began, time.process_time() - used
    peak = memory_mb()
    check(Path(table), given, int(rows))
    say((*seconds, peak))
    leave()


def upsert(side: str, table: Path, rows: pa.Table) -> Any:
    """The call that is measured."""
    if side == "ours":
        import txfiles as tx

        return tx.write(rows, table, mode="upsert", keys=["id"], format="delta")
    from deltalake import DeltaTable

    where = "t.id = s.id"
    if side == "bounds":
        low, high = (pc.min_max(rows["id"])[end].as_py() for end in ("min", "max"))
        where += f" AND t.id >= {low} AND t.id <= {high}"
    merge = DeltaTable(table).merge(rows, where, source_alias="s", target_alias="t", streamed_exec=False)
    return merge.when_matched_update_all().when_not_matched_insert_all().execute()


def check(table: Path, rows: pa.Table, count: int) -> None:
    """What was upserted is there."""
    from deltalake import DeltaTable

    found = DeltaTable(table).to_pyarrow_dataset().to_table(columns=["id", "x"])
    assert found.num_rows == count
    took = found["x"].to_numpy()[np.argsort(found["id"].to_numpy())][rows["id"].to_numpy()]
    assert (took == rows["x"].to_numpy()).all()
