"""A process of `tools/bench spark`: one session, one system, one workload, as often as asked for."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from bench_child import ROOT, forget_peak, leave, memory_mb, say, wait_for_go
from bench_spark_systems import SYSTEMS, SparkSystem

sys.path.insert(0, str(ROOT))

SAMPLED_SECONDS = 0.05
"""What lives for a shorter time may be missed in a peak that is sampled."""
PAGE = os.sysconf("SC_PAGE_SIZE")
MB = 1e6

SUMS = """
    SELECT count(*), sum(id), sum(pmod(id * 2654435761, 1000003)), sum(x),
           sum(CASE WHEN x = -1 THEN pmod(id * 2654435761, 1000003) ELSE 0 END),
           sum(CASE WHEN id % 997 = 0 THEN crc32(CAST(uid AS BINARY)) ELSE 0 END)
    FROM checked
"""
"""What is compared with the same sums over the rows that ought to be there: see `bench_spark.sums`."""


def child(told: str) -> None:
    """Start a session, warm the system up, say so; then write into a copy of the table, each time that it is told to.

    Args:
        told: a JSON object: `system`, `mode`, `key`, `memory`, `warm` with a table and a batch, `batch`, and `copies`,
            the copies of the table, one for each turn.
    """
    settings = json.loads(told)
    from tests.services import spark as service

    system = SYSTEMS[settings["system"]]
    with tempfile.TemporaryDirectory(prefix="txfiles-bench-spark-") as folder:
        own = {"spark.driver.memory": settings["memory"], "spark.sql.shuffle.partitions": "4"}
        spark = service.start(Path(folder), own | dict(system.settings))
        try:
            for place in settings["warm"]["copies"]:
                measured(spark, system, settings["warm"]["batch"], place, settings)
            say("ready")
            for place in settings["copies"]:
                wait_for_go()
                say(measured(spark, system, settings["batch"], place, settings))
        except Exception as error:  # noqa: BLE001 - whatever it raises is the result
            traceback.print_exc()
            say({"fault": f"FAILED: {cause(str(error))}"[:300]})
        finally:
            service.stop(spark)
    leave()


def cause(told: str) -> str:
    """The last cause in what Java tells, or what it raised; the first line of what tells neither."""
    lines = [line.strip() for line in told.splitlines() if line.strip()] or ["?"]
    return next((line for mark in ("Caused by", ": ") for line in reversed(lines) if line.startswith(mark)), lines[0])


def measured(spark: Any, system: SparkSystem, batch: str, place: str, settings: dict[str, Any]) -> dict[str, Any]:
    """One turn: its figures, what the system counted, and what is in the table now."""
    system.prepare(spark, place)
    frame = spark.read.parquet(batch)
    before, jobs = files_of(place), Jobs(spark)
    with Watch(spark.sparkContext._gateway.proc.pid, Path(place)) as watch:
        began = time.perf_counter()
        counts = system.write(frame, place, settings["key"], settings["mode"])
        seconds = time.perf_counter() - began
    written = files_of(place) - before
    figures = {"seconds": seconds, **watch.figures, **jobs.figures()}
    figures |= {"files": len(written), "MB written": sum(size for _, size, _ in written) / MB}
    system.frame(spark, place).createOrReplaceTempView("checked")
    return {"figures": figures, "counts": counts, "sums": list(spark.sql(SUMS).first())}


def files_of(place: str) -> set[tuple[str, int, int]]:
    """Every file, with its size and time; without the checksums that Hadoop puts beside each on a local disk."""
    found = set()
    for path in Path(place).rglob("*"):
        if path.suffix != ".crc" and path.is_file():
            stat = path.stat()
            found.add((str(path), stat.st_size, stat.st_mtime_ns))
    return found


class Jobs:
    """What Spark has to tell of the jobs since this was made."""

    def __init__(self, spark: Any) -> None:
        self._context = spark.sparkContext._jsc.sc()
        self._before = max((job.jobId() for job in self._all()), default=-1)

    def _all(self) -> Iterator[Any]:
        self._context.listenerBus().waitUntilEmpty()
        return _each(self._context.statusStore().jobsList(None))

    def figures(self) -> dict[str, float]:
        """Jobs, their tasks, and what was shuffled; a stage counts once, whichever jobs use it."""
        jobs = [job for job in self._all() if job.jobId() > self._before]
        stages = {number for job in jobs for number in _each(job.stageIds())}
        store = self._context.statusStore()
        ran = [stage for stage in map(store.lastStageAttempt, stages) if stage.numCompleteTasks()]
        return {
            "jobs": len(jobs),
            "tasks": sum(stage.numCompleteTasks() for stage in ran),
            "shuffle MB": sum(stage.shuffleWriteBytes() for stage in ran) / MB,
            "shuffle rows": sum(stage.shuffleWriteRecords() for stage in ran),
        }


def _each(some: Any) -> Iterator[Any]:
    """The members of a sequence of Scala's."""
    return (some.apply(number) for number in range(some.size()))


class Watch:
    """Looks at a driver's processes while something runs: this one, its JVM, and the Python workers below that.

    Args:
        jvm: the process.
        place: of the table.
    """

    def __init__(self, jvm: int, place: Path) -> None:
        self._jvm, self._staged = jvm, place / "_txfiles" / "staged"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._workers = self._bytes = 0.0
        self.figures: dict[str, float] = {}

    def __enter__(self) -> Self:
        forget_peak()
        with suppress(OSError):
            Path(f"/proc/{self._jvm}/clear_refs").write_text("5", encoding="ascii")
        self._used = self._cpu()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.figures = {
            "CPU s": self._cpu() - self._used,
            "driver MB": memory_mb(),
            "JVM MB": _field(self._jvm, "VmHWM") / 1024,
            "workers MB": self._workers / MB,
            "staged MB": self._bytes / MB,
        }

    def _look(self) -> None:
        while not self._done.wait(SAMPLED_SECONDS):
            workers = (pid for pid in _below(self._jvm) if _or_0(_is_python, pid))
            self._workers = max(self._workers, sum(_or_0(_resident, pid) for pid in workers))
            self._bytes = max(self._bytes, _or_0(_size, self._staged))

    def _cpu(self) -> float:
        """Seconds of the processor that all processes have used, with those that have ended."""
        return sum(_or_0(_used, pid) for pid in (os.getpid(), self._jvm, *_below(self._jvm)))


def _or_0(measure: Callable[[Any], float], of: Any) -> float:
    """What may be gone when it is looked at."""
    try:
        return measure(of)
    except OSError:
        return 0.0


def _below(pid: int) -> list[int]:
    """The descendants of a process."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, children.read_text(encoding="ascii").split())
    return found + [below for one in found for below in _below(one)]


def _is_python(pid: int) -> bool:
    """A JVM that starts a program is there twice for a moment."""
    return b"python" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]


def _resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _field(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _size(folder: Path) -> float:
    with os.scandir(folder) as entries:
        return sum(entry.stat().st_size for entry in entries)
