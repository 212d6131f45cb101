"""Measure txfiles, its peers and a floor side by side: one run, one table, repetitions in turn.

    tools/bench peers [--quick] [--only W3,W5] [--systems deltalake …] [--rows N] [--runs N] [--json FILE] …

Each repetition is a process of its own on a fresh copy of the table, which is in the page cache; the system is warmed
up on a tiny table; opening and operation are timed; the result is read back and checked, and one that is wrong is
refused. Codec, row groups and dictionaries are the same for all, as far as a system lets its user choose; "as it comes"
is the same system by its documentation. Peers are installed from PyPI below `.services/peers/`. A large run needs a few
GB of disk for each system.

The floor is bare pyarrow with neither isolation nor fsync: `cow` reads the keys of row groups whose range meets the
batch and writes the files touched anew, `hash` probes sorted digests, `mor` writes new rows and marks old ones. Ratios
are medians of those turn by turn: to the quickest floor of the same kind, and to the quickest peer without a fault.
Treat those under 1.6 as ties.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench_child import ROOT, Child, FailedError, together
from bench_picture import growth, picture
from bench_rows import Scale
from bench_servers import S3_KINDS
from bench_systems import SYSTEMS
from bench_workloads import TABLES

TITLES = {
    "W1": "append_once, a batch of new rows",
    "W2": "append_once, the batch is there",
    "W3": "append_once by random UUIDs, half of them there",
    "W4": "upsert, a batch of neighbours",
    "W5": "upsert, a batch spread over all files",
    "W6": "upsert, few rows of one file",
    "W7": "appends of 100 rows: the first, the last, then open and plan",
    "W8": "open and plan, many files: cold, and again",
    "W9a": "read all to Arrow",
    "W9b": "read a hundredth by key",
    "W10": "processes append 20 times each",
    "W11": "processes append_once 10 batches each, the same",
    "W12": "memory and seconds, as the table grows",
    "W13": "on an S3 server: seconds, requests, MB",
    "W14a": "import",
    "W14b": "the shell: the log of many versions, an append of a row",
}
RANKED = {"W7": "last ms", "W14b": "append of a row ms"}
"""The figure by which systems are compared; elsewhere it is the seconds."""
SLOW = ("W12", "W13")
"""Left out of a quick run."""
GROWING = ("W2", "W3", "W5")
UPSERTS = ("W4", "W5", "W6")
LINKED = (".parquet", ".lance", ".npy", ".avro", ".arrow", ".bin")
"""Files that nobody changes in place: a copy of a table may share them."""
AS_IT_COMES = " as it comes"

Figures = dict[str, Any]
"""What a run gave: figure → number, or one text under `fault` or `not yet`."""


@dataclass(frozen=True)
class Side:
    """One line of a table: a system, as it is measured."""

    label: str
    system: str
    python: str = sys.executable
    codec: str | None = "snappy"
    checkout: Path = ROOT
    missing: str = ""

    @property
    def slug(self) -> str:
        """The label as a part of a file's name."""
        return self.label.replace(" ", "-")

    def takes(self, workload: str) -> bool:
        """Whether it takes part in a workload."""
        only = SYSTEMS[self.system].only
        return not only or workload in only


class Bench:
    """Runs workloads in processes, on copies of tables that it makes when they are first needed.

    Args:
        work: a folder for the tables.
        scale: their size.
        patience: seconds after which a process is ended.
    """

    s3: tuple[str, str, str] | None = None
    """The server, and its account."""
    at_once = 1
    """Processes that run together: more than one saves time, and makes the figures worthless."""

    def __init__(self, work: Path, scale: Scale, patience: float | None = None) -> None:
        self.work, self.scale, self._patience = work, scale, patience
        self._made: dict[tuple[str, str], Figures] = {}

    def measure(self, side: Side, workload: str) -> Figures:
        """One repetition."""
        if side.missing:
            return {"fault": f"NOT INSTALLED: {side.missing}"}
        place = self.place_of(f"{side.slug}-table")
        try:
            if workload in ("W10", "W11"):
                return self._race(side, workload, place)
            if workload in TABLES and (fault := self.made(side, TABLES[workload], place)):
                return fault
            return self._one(side, workload, place)
        except FailedError as error:
            return _failed(error)
        finally:
            self.clear(place)

    def made(self, side: Side, what: str, place: str) -> Figures:
        """Make the table with a key, or the long list, at its place: once, then by copies. Returns what went wrong."""
        what = what if what == "W8" or SYSTEMS[side.system].by_key else "id"
        if (side.label, what) not in self._made:
            print(f"making {side.label}, {what}", file=sys.stderr)
            try:
                made = self._one(side, "make W8" if what == "W8" else "make", place, key=what)
            except FailedError as error:
                made = _failed(error)
            self._made[side.label, what] = made
            if not made:
                self.keep(place, f"{side.slug}-{what}")
        if not self._made[side.label, what]:
            self.copy(f"{side.slug}-{what}", place)
        return self._made[side.label, what]

    def place_of(self, name: str) -> str:
        """Where a table of this name is."""
        return str(self.work / name)

    def keep(self, place: str, name: str) -> None:
        """Put a table that was made aside. Copies will stand where it stood: some systems record that."""
        os.rename(place, self.place_of(name))

    def copy(self, name: str, place: str) -> None:
        """A fresh copy of it, in the page cache."""
        shutil.copytree(self.place_of(name), place, copy_function=link_or_copy)
        for file in Path(place).rglob("*"):
            if file.suffix in LINKED:
                file.read_bytes()
        os.sync()  # an fsync that is measured must not wait for this

    def clear(self, place: str) -> None:
        """Remove a copy."""
        shutil.rmtree(place, ignore_errors=True)

    def _one(self, side: Side, workload: str, place: str, key: str = "id") -> Figures:
        child = self._child(side, workload, place, key=key)
        try:
            said = child.hear()
            if said == "ready":
                self.begins()
                child.go()
                child.hear()
                self.ended(side, workload)
                said = child.hear()
            return _judged(said)
        finally:
            child.end()

    def begins(self) -> None:
        """What is measured begins now."""

    def ended(self, side: Side, workload: str) -> None:
        """It has ended."""

    def _race(self, side: Side, workload: str, place: str) -> Figures:
        """All begin together. Then: which batches failed, which are lost though they did not, which are doubled."""
        if fault := self._one(side, f"make {workload}", place):
            return fault
        racers = range(self.scale.racers)
        children = [self._child(side, workload, place, number) for number in racers]
        try:
            seconds = together(children)
            failed = Counter(number for child in children for number in child.hear()["failed"])
        finally:
            for child in children:
                child.end()
        after = self._one(side, f"after {workload}", place)
        writers = 1 if workload == "W10" else len(racers)
        lost = [number for number in after["missing"] if failed[number] < writers]
        counts = {"batches failed": failed.total(), "batches LOST": len(lost), "rows DOUBLED": after["doubled"]}
        wrong = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        return {"seconds": seconds} | ({"but": wrong} if wrong else {})

    def _child(self, side: Side, workload: str, place: str, number: int = 0, key: str = "id") -> Child:
        settings = {
            "system": side.system,
            "workload": workload,
            "place": place,
            "key": key,
            "codec": side.codec,
            "s3": self.s3,
            "scale": asdict(self.scale),
            "number": number,
        }
        return Child(
            "bench_workloads.py",
            json.dumps(settings),
            python=side.python,
            checkout=side.checkout,
            patience=self._patience,
        )


def _judged(said: Any) -> Figures:
    """What a process told last."""
    if not isinstance(said, dict):
        return {"fault": "FAILED: it told nothing"}
    if "wrong" in said:
        return {"fault": f"WRONG: {said['wrong']}"}
    return {"fault": f"not offered: {said['not offered']}"} if "not offered" in said else said


def link_or_copy(source: str, target: str) -> None:
    """Share a file that nobody changes in place, copy any other."""
    (os.link if source.endswith(LINKED) else shutil.copy2)(source, target)


def _failed(error: FailedError) -> Figures:
    said = str(error).splitlines() or ["?"]
    return {"fault": f"FAILED: {said[-1][:200]}"}


# ---------------------------------------------------------------- installing


def side_of(name: str, codec: str | None) -> Side:
    """A system, installed; or why it is not."""
    label = name if codec is not None else name + AS_IT_COMES
    try:
        return Side(label, name, python_of(name), codec)
    except OSError as error:
        return Side(label, name, codec=codec, missing=str(error))


def python_of(name: str) -> str:
    """The Python that has a system: this one, or one with nothing of ours in it.

    Raises:
        OSError: it cannot be installed; why.
    """
    system = SYSTEMS[name]
    if not system.packages:
        return sys.executable
    venv = ROOT / ".services/peers" / re.sub(r"\[.*\]", "", system.packages[0]).replace("==", "-")
    with tempfile.TemporaryFile() as said:
        settings = {"VENV": str(venv), "PYTHON": _python(system.python)}
        venv.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [ROOT / "tools/venv", *system.packages], env=os.environ | settings, stdout=said, stderr=said, check=False
        )
        said.seek(0)
        if done.returncode:
            raise OSError(said.read().decode(errors="replace").strip().splitlines()[-1])
    return str(venv / "bin/python")


def _python(least: tuple[int, int]) -> str:
    """A Python of at least this version."""
    names = [sys.executable, *(f"python3.{minor}" for minor in range(least[1], 20))]
    homes = sorted((Path.home() / ".pyenv/versions").glob("3.*/bin/python"))
    for name in [*names, *map(str, homes)]:
        code = f"import sys; sys.exit(sys.version_info < {least})"
        if shutil.which(name) and not subprocess.run([name, "-c", code], check=False, capture_output=True).returncode:
            return name
    raise OSError(f"no Python >= {least[0]}.{least[1]} on this machine")


# ---------------------------------------------------------------- the results

Results = dict[str, list[Figures]]
"""Of each side, by its label, what each turn gave."""


def in_turn(bench: Bench, sides: Sequence[Side], workload: str, runs: int) -> Results:
    """All sides, one after the other, as often as there are runs, each run beginning with another."""
    found: Results = {}
    for turn in range(runs):
        start = turn % max(1, len(sides))
        order = [side for side in [*sides[start:], *sides[:start]] if not _fault(found.get(side.label, []))]
        with ThreadPoolExecutor(bench.at_once) as pool:
            for side, figures in zip(order, pool.map(lambda side: bench.measure(side, workload), order), strict=True):
                found.setdefault(side.label, []).append(figures)
    return {side.label: found[side.label] for side in sides}


def _fault(turns: Sequence[Figures]) -> str:
    return next((str(turn["fault"]) for turn in turns if "fault" in turn), "") or next(
        (f"not yet: {turn['not yet']}" for turn in turns if "not yet" in turn), ""
    )


def rows_of(workload: str, title: str, results: Results, systems: dict[str, str]) -> Iterator[Figures]:
    """The lines of a table: medians, and medians of the ratios turn by turn."""
    ranked = RANKED.get(workload, "seconds")
    sound = {label: [turn[ranked] for turn in turns] for label, turns in results.items() if _is_sound(turns, ranked)}

    def best(wanted: set[str]) -> str | None:
        return min(wanted & sound.keys(), key=lambda label: statistics.median(sound[label]), default=None)

    def ratio(label: str, to: str | None) -> float | None:
        return to and statistics.median(a / b for a, b in zip(sound[label], sound[to], strict=True))  # type: ignore[return-value]

    peers = {
        label for label in results if not systems[label].startswith(("floor", "txfiles")) and AS_IT_COMES not in label
    }
    for label, turns in results.items():
        row: Figures = {"workload": workload, "title": title, "system": label}
        if fault := _fault(turns):
            instead = "txfiles" if "not yet" in turns[0] and "txfiles" in sound else None
            also = f"; copy-on-write takes {statistics.median(sound[instead]):.3f}" if instead else ""
            yield row | {"fault": fault + also}
            continue
        row |= {name: statistics.median(turn[name] for turn in turns) for name in turns[0] if name != "but"}
        row |= {"turns": turns}
        if label in sound:
            style = SYSTEMS[systems[label]].style if workload in UPSERTS else None
            floors = {
                other
                for other in results
                if SYSTEMS[systems[other]].floor and style in (None, SYSTEMS[systems[other]].style)
            }
            row |= {"to floor": ratio(label, best(floors)), "to best peer": ratio(label, best(peers - {label}))}
        yield row | {"but": next((turn["but"] for turn in turns if "but" in turn), "")}


def _is_sound(turns: Sequence[Figures], ranked: str) -> bool:
    return not _fault(turns) and all(ranked in turn and "but" not in turn for turn in turns)


def show(rows: Sequence[Figures]) -> None:
    """Print the table of a workload."""
    hidden = ("workload", "title", "system", "fault", "but", "turns", "before MB")
    names = list(dict.fromkeys(name for row in rows for name in row if name not in hidden))
    print(f"\n{rows[0]['workload']}  {rows[0]['title']}\n{'':24}" + "".join(f"{name:>20}" for name in names))
    for row in rows:
        cells = row.get("fault") or "".join(f"{_shown(row.get(name)):>20}" for name in names)
        print(
            f"  {row['system']:22}{' ' * 7 if 'fault' in row else ''}{cells}  {row.get('but', '')}".rstrip(), flush=True
        )


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) or value >= 1_000 else f"{value:,.3f}"


def _of(
    workload: str, options: argparse.Namespace, sides: Sequence[Side], work: Path, bench: Bench
) -> Iterator[tuple[str, str, Results]]:
    """Of a workload: its name and title, perhaps at several sizes, and what came of it."""
    taking = [side for side in sides if side.takes(workload)]
    if workload == "W8":
        for listed in options.listed:
            at = Bench(work / f"W8-{listed}", replace(bench.scale, listed=listed), options.patience)
            yield workload, f"{TITLES[workload]}: {listed:,}", in_turn(at, taking, workload, options.runs)
    elif workload == "W12":
        for rows in options.scale:
            files = max(1, rows * bench.scale.files // bench.scale.rows)
            while rows % files:  # files of a table have the same number of rows
                files -= 1
            at = Bench(work / f"W12-{rows}", replace(bench.scale, rows=rows, files=files), options.patience)
            for part in GROWING:
                found = in_turn(at, [side for side in sides if side.takes(part)], part, options.runs)
                yield f"W12 {part}", f"{TITLES[part]}, {rows:,} rows", grown(found, rows)
            shutil.rmtree(at.work)
    elif workload == "W13":
        from bench_peers_s3 import StoreBench, served

        with served(options.server) as server:
            at = StoreBench(server, work, bench.scale, options.patience)
            for part in ("W1", "W2", "W3", "W4", "W5", "W6"):
                taking = [side for side in sides if side.takes(part) and SYSTEMS[side.system].s3_ready]
                yield f"W13 {part}", f"{TITLES[part]}, on S3", in_turn(at, taking, part, options.runs)
    else:
        yield workload, TITLES[workload], in_turn(bench, taking, workload, options.runs)


def grown(results: Results, rows: int) -> Results:
    """Results with the size of their table."""
    return {label: [turn | {"rows": rows} for turn in turns] for label, turns in results.items()}


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/bench peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="whether all of it works: a small table, one run, two processes at a time; quote nothing of it",
    )
    parser.add_argument("--only", metavar="W1,…", help="; ".join(f"{name} {title}" for name, title in TITLES.items()))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, metavar="SYSTEM", help=", ".join(SYSTEMS))
    parser.add_argument("--rows", type=int, metavar="N", help="of the table; 10,000,000")
    parser.add_argument("--files", type=int, metavar="N", help="of the table; 64")
    parser.add_argument("--runs", type=int, metavar="N", help="repetitions; 3")
    parser.add_argument("--codec", choices=("snappy", "lz4", "zstd"), default="snappy", help="of all")
    parser.add_argument("--as-it-comes", action=argparse.BooleanOptionalAction, help="each system so, too")
    parser.add_argument("--listed", nargs="+", type=int, metavar="N", help="files of W8; 10,000, 100,000, 1,000,000")
    parser.add_argument("--scale", nargs="+", type=int, metavar="N", help="rows of W12; 1, 10 and 30 million")
    parser.add_argument("--server", choices=S3_KINDS, default="weed", help="of W13")
    parser.add_argument("--patience", type=float, default=600.0, metavar="S", help="seconds for a process")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="for the tables")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them there, as SVG")
    parser.add_argument("--growth", type=Path, metavar="FILE", help="draw those of W12 there, by the table's size")
    options = parser.parse_args(words)
    small, usual = (200_000, 8, 1, False, [500], [200_000]), (10_000_000, 64, 3, True, [10**4, 10**5, 10**6], None)
    for name, value in zip(
        ("rows", "files", "runs", "as_it_comes", "listed", "scale"), small if options.quick else usual, strict=True
    ):
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.scale = options.scale or [10**6, 10**7, 3 * 10**7]
    options.only = (
        options.only.split(",") if options.only else [name for name in TITLES if not (options.quick and name in SLOW)]
    )
    if unknown := [one for one in options.only if not any(_is(name, [one]) for name in TITLES)]:
        parser.error(f"no workload {unknown[0]!r}; there are {', '.join(TITLES)}")
    if options.rows < 100 * options.files:
        parser.error(f"too few rows: at least {100 * options.files:,}")
    return options


def _is(workload: str, only: Sequence[str]) -> bool:
    """Whether a workload is among those asked for: W9 means both of it."""
    return workload in only or workload.rstrip("ab") in only


def main(words: Sequence[str]) -> int:
    """Run the workloads. Returns 1 if a result was wrong or a system could not be measured."""
    options = _options(words)
    names = options.systems or [name for name in SYSTEMS if name != "wrong"]
    sides = [side_of(name, options.codec) for name in names]
    if options.as_it_comes:
        sides += [side_of(name, None) for name in names if not SYSTEMS[name].floor and not SYSTEMS[name].only]
    systems = {side.label: side.system for side in sides}
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="txfiles-bench-", dir=options.work) as name:
        bench = Bench(Path(name), scale_of(options), options.patience)
        bench.at_once = 2 if options.quick else 1
        for workload in TITLES:
            if _is(workload, options.only):
                for part, title, results in _of(workload, options, sides, Path(name), bench):
                    rows += (lines := list(rows_of(part, title, results, systems)))
                    show(lines)
    print("\nthe same for all:\n" + "\n".join(f"  {name:22}{SYSTEMS[name].same}" for name in names))
    if options.json:
        about = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "command": list(words)}
        options.json.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        options.picture.write_text(picture(rows, RANKED), encoding="utf-8")
    if options.growth:
        options.growth.write_text(growth(rows), encoding="utf-8")
    return int(any(row.get("fault", "").startswith(("WRONG", "FAILED", "NOT INSTALLED")) for row in rows))


def scale_of(options: argparse.Namespace) -> Scale:
    """The sizes that were asked for."""
    batch = min(100_000, options.rows // options.files)
    small = {"appends": 40, "racers": 2} if options.quick else {}
    return Scale(rows=options.rows, files=options.files, batch=batch, listed=options.listed[0], **small)
