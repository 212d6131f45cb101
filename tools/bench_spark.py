"""`tools/bench spark`: Spark frames into a table, beside Spark's own Delta, as it comes and at its best.

    tools/bench spark [--only W5,…] [--systems delta …] [--scale N …] [--batch N|P% …] [--runs N] [--memory 2g] …

    append   a batch of new rows, without keys
    W1       append_once, a batch of new rows that follow the table's
    W3       append_once by random UUIDs, half of them there
    W4       upsert, a batch of neighbours
    W5       upsert, a batch spread over all files
    W5-uid   upsert of the rows of W3: their keys have no order that the table has, too

The table is that of `tools/bench peers`: 10,000,000 rows by default, a file for each 156,250, made without Spark, by
this project and by deltalake. The batch is a frame on four Parquet files. Each system has a process for each workload,
with a JVM of its own: local[2], `--memory` for driver and executor, which are one here. It writes into two small tables
first. Then the systems take turns, each on a fresh copy that is in the page cache and was opened by the session; timed
is the write alone. After each turn Spark reads the table back; another number of rows, another sum over them or another
count is an error. Figures of a turn:

    CPU s         seconds of the processor, of all processes below
    jobs, tasks   that Spark ran; shuffle MB and rows are what they wrote for one another
    staged MB     rows that txfiles staged, and deleted again
    driver MB     the most that the driver's Python had; JVM MB: its JVM; workers MB: all Python workers together
    files, MB     that are there afterwards and were not before

Printed are medians, and the median of the ratios turn by turn to Delta's better side (`to Delta`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_child import Child, FailedError
from bench_peers import link_or_copy
from bench_rows import Scale, changed, ids_of, large_rows, uuids
from bench_spark_systems import SYSTEMS, make

MODES = (
    {"append": "append"} | dict.fromkeys(("W1", "W3"), "append_once") | dict.fromkeys(("W4", "W5", "W5-uid"), "upsert")
)
TITLES = {
    "append": "append, a batch of new rows",
    "W1": "append_once, a batch of new rows",
    "W3": "append_once by random UUIDs, half of them there",
    "W4": "upsert, a batch of neighbours",
    "W5": "upsert, a batch spread over all files",
    "W5-uid": "upsert by random UUIDs, half of them there",
}
RANDOM = ("W3", "W5-uid")
"""Whose keys are UUIDs."""
FILE_ROWS = 156_250
WARM = Scale(rows=20_000, files=4, batch=2_000)
WARM_TURNS = 2
PARTS = 4
"""Files of a batch."""

Turn = dict[str, Any]
"""Figure → number; or one text under `fault`."""


@dataclass(frozen=True)
class Load:
    """One workload at one size.

    Attributes:
        workload: which.
        scale: of the table and of the batch.
    """

    workload: str
    scale: Scale

    @property
    def mode(self) -> str:
        """Of the write."""
        return MODES[self.workload]

    @property
    def key(self) -> str:
        """Its key column."""
        return "uid" if self.workload in RANDOM else "id"

    @cached_property
    def ids(self) -> np.ndarray:
        """Of the batch's rows."""
        scale = self.scale
        new = np.arange(scale.rows, scale.rows + scale.batch)
        if self.workload in RANDOM:
            chance = np.random.default_rng(3)
            old = chance.choice(scale.rows, scale.batch // 2, replace=False)
            return chance.permutation(np.concatenate([old, new[: scale.batch - len(old)]]))
        return ids_of(scale.cluster if self.workload == "W4" else scale.spread) if self.mode == "upsert" else new

    @cached_property
    def batch(self) -> pa.Table:
        """What is written."""
        return changed(self.ids) if self.mode == "upsert" else large_rows(self.ids)

    @cached_property
    def counts(self) -> list[int]:
        """How many rows are to be added, how many replaced."""
        new = int((self.ids >= self.scale.rows).sum())
        return [new, len(self.ids) - new if self.mode == "upsert" else 0]

    @cached_property
    def sums(self) -> list[float]:
        """See `sums`: of the table after the write."""
        every = np.concatenate([np.arange(self.scale.rows), self.ids[self.ids >= self.scale.rows]])
        return sums(every, self.ids if self.mode == "upsert" else self.ids[:0])


def sums(ids: np.ndarray, updated: np.ndarray) -> list[float]:
    """What `bench_spark_child.SUMS` finds in a table of these ids, of which some were updated."""
    is_updated = np.isin(ids, updated)
    mix = ids * 2_654_435_761 % 1_000_003
    some = uuids(ids[ids % 997 == 0]).to_pylist()
    x = np.where(is_updated, -1.0, ids * 0.25)
    texts = sum(zlib.crc32(uid.encode()) for uid in some)
    return [len(ids), int(ids.sum()), int(mix.sum()), float(x.sum()), int(mix[is_updated].sum()), texts]


def judged(said: Turn | None, load: Load) -> Turn:
    """What a process told of a turn: its figures, if the result is right."""
    if said is None or "fault" in said:
        return said or {"fault": "FAILED: it told nothing"}
    if said["sums"] != load.sums:
        return {"fault": f"WRONG: the table has {said['sums']}, not {load.sums}"}
    for what, found, wanted in zip(("added", "replaced"), said["counts"], load.counts, strict=True):
        if found is not None and found != wanted:
            return {"fault": f"WRONG: {found} rows {what}, not {wanted}"}
    return dict(said["figures"])


class Bench:
    """Runs workloads in processes, on copies of tables that it makes when they are first needed.

    Args:
        work: a folder for copies.
        tables: a folder for tables and batches, which a later run may find there.
        memory: of a JVM.
        patience: seconds after which a process is ended.
    """

    def __init__(self, work: Path, tables: Path, memory: str, patience: float) -> None:
        self._work, self._tables, self._memory, self._patience = work, tables, memory, patience

    def measure(self, load: Load, systems: Sequence[str], runs: int) -> dict[str, list[Turn]]:
        """All systems in turn, each run beginning with another."""
        for system in systems:
            self._table(system, load.key, load.scale)
        found: dict[str, list[Turn]] = {system: [] for system in systems}
        children = {system: self._child(system, load, runs) for system in systems}
        try:
            ready = {system: _heard(child) for system, child in children.items()}
            for system, said in ready.items():
                if said != "ready":
                    found[system].append(said or {"fault": "FAILED: it told nothing"})
            print(f"ready: {load.workload}", file=sys.stderr, flush=True)
            for turn in range(runs):
                start = turn % len(systems)
                for system in [*systems[start:], *systems[:start]]:
                    if not fault_of(found[system]):
                        found[system].append(self._turn(children[system], system, load, turn))
        finally:
            for child in children.values():
                child.end()
        return found

    def _turn(self, child: Child, system: str, load: Load, turn: int) -> Turn:
        place = Path(self._place(system, turn))
        self._copy(self._table(system, load.key, load.scale), place)
        child.go()
        said = _heard(child)
        shutil.rmtree(place)
        return judged(said, load)

    def _child(self, system: str, load: Load, runs: int) -> Child:
        """A process, with the small tables that it is warmed up on."""
        warm = [f"{self._place(system, turn)}-warm" for turn in range(WARM_TURNS)]
        for place in warm:
            shutil.rmtree(place, ignore_errors=True)
            self._copy(self._table(system, load.key, WARM), Path(place))
        settings = {
            "system": system,
            "mode": load.mode,
            "key": load.key,
            "memory": self._memory,
            "warm": {"copies": warm, "batch": self._batch(Load(load.workload, WARM))},
            "batch": self._batch(load),
            "copies": [self._place(system, turn) for turn in range(runs)],
        }
        return Child("bench", "--spark", json.dumps(settings), patience=self._patience)

    def _place(self, system: str, turn: int) -> str:
        return str(self._work / f"{system}-{turn}")

    def _table(self, system: str, key: str, scale: Scale) -> Path:
        """The table that a system begins with."""
        made = self._tables / f"{SYSTEMS[system].table(key)}-{scale.rows}"
        if not made.exists():
            print(f"making {made.name}", file=sys.stderr, flush=True)
            begun = made.with_suffix(".begun")
            shutil.rmtree(begun, ignore_errors=True)
            make(system, str(begun), key, scale)
            begun.rename(made)
        return made

    def _batch(self, load: Load) -> str:
        """The folder with a batch."""
        made = self._tables / f"batch-{load.workload}-{load.scale.rows}-{load.scale.batch}"
        if not made.exists():
            made.mkdir()
            each = -(-load.batch.num_rows // PARTS)
            for part in range(PARTS):
                pq.write_table(load.batch.slice(part * each, each), made / f"{part}.parquet")
        return str(made)

    @staticmethod
    def _copy(made: Path, place: Path) -> None:
        shutil.copytree(made, place, copy_function=link_or_copy)
        for file in place.rglob("*"):
            if file.is_file():
                file.read_bytes()
        os.sync()  # an fsync that is measured must not wait for this


def _heard(child: Child) -> Any:
    try:
        return child.hear()
    except FailedError as error:
        return {"fault": f"FAILED: {(str(error).splitlines() or ['?'])[-1][:200]}"}


# ---------------------------------------------------------------- the results


def fault_of(turns: Sequence[Turn]) -> str:
    """Why there are no figures."""
    return next((str(turn["fault"]) for turn in turns if "fault" in turn), "")


def rows_of(found: dict[str, list[Turn]]) -> Iterator[Turn]:
    """The lines of a table: medians, and the median of the ratios to Delta's better side, turn by turn."""
    sound = {system: [turn["seconds"] for turn in turns] for system, turns in found.items() if not fault_of(turns)}
    peers = [system for system in sound if system.startswith("delta")]
    best = min(peers, key=lambda system: statistics.median(sound[system]), default=None)
    for system, turns in found.items():
        if fault := fault_of(turns):
            yield {"system": system, "fault": fault}
            continue
        row: Turn = {"system": system, "seconds": statistics.median(sound[system]), "to Delta": None}
        if best is not None:
            ratios = (ours / theirs for ours, theirs in zip(sound[system], sound[best], strict=True))
            row["to Delta"] = statistics.median(ratios)
        yield row | {name: statistics.median(turn[name] for turn in turns) for name in turns[0]} | {"turns": turns}


def show(title: str, rows: Sequence[Turn]) -> None:
    """Print the table of a workload."""
    names = [name for name in max(rows, key=len) if name not in ("system", "turns", "fault")]
    print(f"\n{title}\n{'':18}" + "".join(f"{name:>13}" for name in names))
    for row in rows:
        cells = row.get("fault") or "".join(f"{_shown(row[name]):>13}" for name in names)
        print(f"  {row['system']:18}{cells}", flush=True)


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.2f}"


def rows_in(text: str, table_rows: int) -> int:
    """How many rows a batch has: a number, or so many hundredths of the table's."""
    return int(float(text[:-1]) * table_rows / 100) if text.endswith("%") else int(text)


def scale_of(rows: int, batch: str) -> Scale:
    """A table of files of equal size, and a batch."""
    files = max(1, rows // FILE_ROWS)
    while rows % files:
        files -= 1
    return Scale(rows=rows, files=files, batch=rows_in(batch, rows))


def options_of(words: Sequence[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="tools/bench spark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="W1,…", help=", ".join(TITLES))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="SYSTEM")
    parser.add_argument("--scale", nargs="+", type=int, default=[10_000_000], metavar="N", help="rows of the table")
    parser.add_argument("--batch", nargs="+", default=["100000"], metavar="N", help="rows of the batch, or 1%%")
    parser.add_argument("--runs", type=int, default=3, metavar="N")
    parser.add_argument("--memory", default="2g", help="of the JVM: spark.driver.memory")
    parser.add_argument("--patience", type=float, default=1800.0, metavar="S", help="seconds for a process")
    parser.add_argument("--tables", type=Path, metavar="FOLDER", help="keep tables there, for other runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args(words)
    options.only = options.only.split(",") if options.only else list(TITLES)
    if unknown := set(options.only) - TITLES.keys():
        parser.error(f"no workload {unknown.pop()!r}; there are {', '.join(TITLES)}")
    return options


def main(words: Sequence[str]) -> int:
    """Run the workloads. Returns 1 if a result was wrong or a system could not be measured."""
    options = options_of(words)
    every: list[Turn] = []
    with tempfile.TemporaryDirectory(prefix="txfiles-bench-", dir=options.tables) as work:
        bench = Bench(Path(work), options.tables or Path(work), options.memory, options.patience)
        for rows in options.scale:
            for batch in options.batch:
                for load in (Load(name, scale_of(rows, batch)) for name in options.only):
                    lines = list(rows_of(bench.measure(load, options.systems, options.runs)))
                    title = f"{load.workload}  {TITLES[load.workload]}: {load.scale.batch:,} into {rows:,} rows"
                    show(title, lines)
                    every += ({"title": title, **line} for line in lines)
    if options.json:
        about = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "command": list(words)}
        options.json.write_text(json.dumps(about | {"rows": every}, indent=1) + "\n", encoding="utf-8")
    return int(any("fault" in row for row in every))
