"""The workloads of `tools/bench peers`: what one process does, and how the result is checked.

Each is first run, checks and all, on a tiny table, so that the system is warm; then on the table at hand.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
from bench_base import NotOfferedError, System
from bench_child import forget_peak, leave, memory_mb, ms, say, wait_for_go
from bench_rows import TINY, Scale, changed, ids_of, large_part, large_rows, rows_from, small_batch
from bench_systems import SYSTEMS

RACE_APPENDS, RACE_ONCE, RACE_ROWS = 20, 10, 1_000


class WrongError(Exception):
    """A result is not the right one."""


@dataclass
class Case:
    """One system at one workload.

    Attributes:
        system: the system, at its table.
        scale: of the table.
        timed: calls what is measured.
        figures: what was measured.
        number: of this process among those that race.
    """

    system: System
    scale: Scale
    timed: Callable[[Callable[[], Any]], Any]
    figures: dict[str, Any] = field(default_factory=dict)
    number: int = 0

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Raise `WrongError` if a count is not the right one; None is a system that does not tell."""
        if found is not None and found != wanted:
            raise WrongError(f"{found} {what}, not {wanted}")

    def expect_rows(self, ids: np.ndarray, updated: np.ndarray | None = None) -> None:
        """The table has exactly these ids, and their values, of which `x` may have been updated."""
        found = as_arrow(self.system.read(["id", "uid", "x"]))
        wanted = ids * 0.25
        if updated is not None:
            wanted[np.isin(ids, updated)] = -1.0
        check_values(found, ids, wanted)
        some = found.take(np.linspace(0, found.num_rows - 1, min(1_000, found.num_rows)).astype(int))
        if some["uid"].to_pylist() != large_rows(some["id"].to_numpy())["uid"].to_pylist():
            raise WrongError("a uid is another row's")


def as_arrow(found: Any) -> Any:
    """What a system has read, as an Arrow table."""
    return found if isinstance(found, pa.Table) else pa.table(found)


def check_values(found: Any, ids: np.ndarray, values: np.ndarray) -> None:
    """Each id is there once, with its `x`, in whatever order."""
    got, x = found["id"].to_numpy(), found["x"].to_numpy()
    if len(got) != len(ids):
        raise WrongError(f"{len(got):,} rows, not {len(ids):,}; {len(got) - len(np.unique(got)):,} of them twice")
    order, wanted = np.argsort(got, kind="stable"), np.argsort(ids, kind="stable")
    if not np.array_equal(got[order], ids[wanted]):
        raise WrongError(f"other keys: {len(np.setdiff1d(ids, got)):,} are missing")
    if not np.array_equal(x[order], values[wanted]):
        raise WrongError(f"{int((x[order] != values[wanted]).sum()):,} rows have other values")


# ---------------------------------------------------------------- W1 to W6, W9


def append_new(case: Case) -> None:
    """W1: append_once of a batch of new, successive rows."""
    scale = case.scale
    batch = rows_from(scale.rows, scale.batch)
    case.expect("inserted", case.timed(lambda: case.system.append_once(batch)), scale.batch)
    case.expect_rows(np.arange(scale.rows + scale.batch))


def append_again(case: Case) -> None:
    """W2: append_once of a batch that is there."""
    batch = large_rows(ids_of(case.scale.cluster))
    case.expect("inserted", case.timed(lambda: case.system.append_once(batch)), 0)
    case.expect_rows(np.arange(case.scale.rows))


def append_random(case: Case) -> None:
    """W3: append_once of a batch with random UUIDs as keys, of which half are there."""
    scale = case.scale
    chance = np.random.default_rng(3)
    old = chance.choice(scale.rows, scale.batch // 2, replace=False)
    new = np.arange(scale.rows, scale.rows + scale.batch - len(old))
    batch = large_rows(chance.permutation(np.concatenate([old, new])))
    case.expect("inserted", case.timed(lambda: case.system.append_once(batch)), len(new))
    case.expect_rows(np.concatenate([np.arange(scale.rows), new]))


def upsert(which: str, case: Case) -> None:
    """W4, W5, W6: upsert of changed rows: neighbours, at equal distances, few."""
    ids = ids_of(getattr(case.scale, which))
    rows = changed(ids)
    case.expect("updated", case.timed(lambda: case.system.upsert(rows)), len(ids))
    case.expect_rows(np.arange(case.scale.rows), ids)


def read_all(case: Case) -> None:
    """W9a: read all rows to Arrow."""
    found = as_arrow(case.timed(case.system.read))
    case.expect("columns", found.num_columns, 8)
    check_values(found, np.arange(case.scale.rows), np.arange(case.scale.rows) * 0.25)


def read_range(case: Case) -> None:
    """W9b: read a hundredth of the rows by a range of ids."""
    low, high = case.scale.range
    found = as_arrow(case.timed(lambda: case.system.read(None, (low, high))))
    check_values(found, np.arange(low, high), np.arange(low, high) * 0.25)


# ---------------------------------------------------------------- W7, W8: many versions, many files


def many_appends(case: Case) -> None:
    """W7: appends of 100 rows, ms each, the first tenth and the last; then open and plan."""
    batches = [small_batch(number) for number in range(1, case.scale.appends)]
    case.system.create([small_batch(0)])
    taken = case.timed(lambda: [ms(partial(case.system.append, batch)) for batch in batches])
    tenth = max(1, len(taken) // 10)
    case.figures |= {"first ms": median(taken[:tenth]), "last ms": median(taken[-tenth:])}
    with suppress(NotOfferedError):
        case.figures["open+plan ms"] = median(ms(lambda: case.system.plan((0, 100))) for _ in range(5))
    found = np.sort(as_arrow(case.system.read(["id"]))["id"].to_numpy())
    if not np.array_equal(found, np.arange(100 * case.scale.appends)):
        raise WrongError(f"{len(found):,} rows, not {100 * case.scale.appends:,}, or others")


def listed_ranges(files: int) -> np.ndarray:
    """The least and the greatest id of each of many files of 1,000 rows."""
    low = np.arange(files) * 1_000
    return np.column_stack([low, low + 999])


def long_list(case: Case) -> None:
    """W8: open and plan a hundredth of the ids, over a list of many files: cold, and again; memory that it takes."""
    files = case.scale.listed
    wanted = max(1, files // 100)
    within = (files // 2 * 1_000, (files // 2 + wanted) * 1_000)
    before = memory_mb("VmRSS")
    found = case.timed(lambda: case.system.plan(within))
    case.figures["grows MB"] = memory_mb("VmRSS") - before
    case.figures["warm ms"] = median(ms(lambda: case.system.plan(within)) for _ in range(5))
    if not wanted <= found <= wanted + 1 and found < files:
        raise WrongError(f"{found:,} files planned, not {wanted:,}")
    case.figures["files planned"] = found


def make_list(case: Case) -> None:
    """The table of W8."""
    case.system.list_files(listed_ranges(case.scale.listed), rows_from(10**9, 1_000))


# ---------------------------------------------------------------- W10, W11: several processes


def race(case: Case) -> None:
    """W10: appends by several processes."""
    numbers = [1 + case.number * RACE_APPENDS + turn for turn in range(RACE_APPENDS)]
    case.figures = {"failed": case.timed(lambda: written(case.system.append, numbers, 100))}


def race_once(case: Case) -> None:
    """W11: append_once by several processes, all of the same batches, each in its order."""
    numbers = [1 + (turn + case.number) % RACE_ONCE for turn in range(RACE_ONCE)]
    case.figures = {"failed": case.timed(lambda: written(case.system.append_once, numbers, RACE_ROWS))}


def written(write: Callable[[Any], object], numbers: Sequence[int], rows: int) -> list[int]:
    """Write batches. Returns the numbers of those that failed."""
    failed = []
    for number in numbers:
        try:
            write(small_batch(number, rows))
        except Exception as error:  # noqa: BLE001 - whatever it raises is what is counted
            print(error, file=sys.stderr)
            failed.append(number)
    return failed


def after_race(rows: int, case: Case) -> None:
    """What became of batches of so many rows: which are missing, and how many rows are doubled."""
    batches = RACE_ONCE if rows == RACE_ROWS else RACE_APPENDS * case.scale.racers
    found = as_arrow(case.system.read(["id"]))["id"].to_numpy()
    whole = [number for number, n in Counter((np.unique(found) // rows).tolist()).items() if n == rows]
    missing = sorted(set(range(1, batches + 1)) - set(whole))
    case.figures = {"doubled": len(found) - len(np.unique(found)), "missing": missing}


def make_race(rows: int, case: Case) -> None:
    """The table of a race."""
    case.system.create([small_batch(0, rows)])


# ---------------------------------------------------------------- W14: the shell


def imports(case: Case) -> None:
    """W14a: a process that imports what a user imports."""
    code = f"import {case.system.module}"
    if case.system.module == "txfiles":
        code += "; txfiles.write; txfiles.Table"
    case.figures["seconds"] = ms(lambda: subprocess.run([sys.executable, "-c", code], check=True)) / 1e3


def shell(case: Case) -> None:
    """W14b: `txfiles log` on many versions, and an append of one row."""
    from bench_history import copy_history

    if case.system.module != "txfiles":
        raise NotOfferedError("it has no such command")

    versions = case.scale.listed
    history, case.system.place = f"{case.system.place}/history", f"{case.system.place}/table"
    copy_history(versions, history)
    command = [sys.executable, "-m", "txfiles"]

    def run(*words: str) -> str:
        return subprocess.run([*command, *words], check=True, stdout=subprocess.PIPE, text=True).stdout

    began = time.perf_counter()
    lines = run("log", history, "-n", str(versions)).splitlines()
    case.figures[f"log of {versions:,} ms"] = (time.perf_counter() - began) * 1e3
    case.expect("versions in the log", sum(line.split()[0].isdecimal() for line in lines if line.strip()), versions)
    case.system.create([small_batch(0)])
    row = Path(f"{case.system.place}.csv")
    row.write_text('id,name,value\n1000,"one",1.5\n', encoding="utf-8")
    case.figures["append of a row ms"] = ms(
        lambda: run("write", str(row), "--to", case.system.place, "--mode", "append")
    )
    case.expect("rows", as_arrow(case.system.read(["id"])).num_rows, 101)


# ---------------------------------------------------------------- the process

WORKLOADS: dict[str, Callable[[Case], None]] = {
    "W1": append_new,
    "W2": append_again,
    "W3": append_random,
    "W4": partial(upsert, "cluster"),
    "W5": partial(upsert, "spread"),
    "W6": partial(upsert, "few"),
    "W7": many_appends,
    "W8": long_list,
    "W9a": read_all,
    "W9b": read_range,
    "W10": race,
    "W11": race_once,
    "W14a": imports,
    "W14b": shell,
}
PARTS: dict[str, Callable[[Case], None]] = {
    "make W8": make_list,
    "make W10": partial(make_race, 100),
    "make W11": partial(make_race, RACE_ROWS),
    "after W10": partial(after_race, 100),
    "after W11": partial(after_race, RACE_ROWS),
}
"""What is done before and after a workload, in processes of their own."""
TABLES = dict.fromkeys(("W1", "W2", "W4", "W5", "W6", "W9a", "W9b"), "id") | {"W3": "uid", "W8": "W8"}
"""Which table a workload begins with: the large one, by its key, or the long list. The others make their own."""


def parts(scale: Scale) -> Any:
    """The large table, file by file."""
    return (large_part(number, scale.file_rows) for number in range(scale.files))


def run(workload: str, system: System, scale: Scale, timed: Callable[[Callable[[], Any]], Any], number: int = 0) -> Any:
    """One workload or part. Returns its figures.

    Raises:
        WrongError: the result is not the right one.
        NotOfferedError: the system has no such call.
    """
    case = Case(system, scale, timed, number=number)
    (WORKLOADS | PARTS)[workload](case)
    return case.figures


def warm_up(workload: str, system: System) -> None:
    """The same on a tiny table, which is made here."""
    if f"make {workload}" in PARTS:
        run(f"make {workload}", system, TINY, lambda call: call())
    elif workload in TABLES:
        system.create(parts(TINY))
    run(workload, system, TINY, lambda call: call())


def child(settings: dict[str, Any]) -> None:
    """What a process does: makes the large table, or runs a workload or a part."""
    workload, scale = settings["workload"], Scale(**settings["scale"])
    kind = SYSTEMS[settings["system"]]
    measured: dict[str, Any] = {}

    def timed(call: Callable[[], Any]) -> Any:
        say("ready")
        wait_for_go()
        forget_peak()
        measured["before MB"] = memory_mb()
        began = time.perf_counter()
        result = call()
        measured["seconds"] = time.perf_counter() - began
        measured["peak MB"] = memory_mb()
        say("done")
        return result

    def make(place: str) -> System:
        return kind(place, "uid" if workload == "W3" else "id", settings["codec"], settings["s3"])

    try:
        if workload == "make":
            kind(settings["place"], settings["key"], settings["codec"], settings["s3"]).create(parts(scale))
            say({})
            return
        if workload in WORKLOADS:
            with tempfile.TemporaryDirectory(prefix="txfiles-bench-warm-") as folder:
                warm_up(workload, make(f"{settings['place']}-warm" if settings["s3"] else f"{folder}/table"))
        figures = run(workload, make(settings["place"]), scale, timed, settings["number"])
        say(measured | figures)
    except NotOfferedError as why:
        say({"not offered" if type(why) is NotOfferedError else "not yet": str(why)})
    except WrongError as why:
        say({"wrong": str(why)})


def main(words: Sequence[str]) -> None:
    """One process."""
    child(json.loads(words[0]))
    leave()


if __name__ == "__main__":
    main(sys.argv[1:])
