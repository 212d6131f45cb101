"""Measure txfiles on real servers, which it starts and ends: calls, and commits a second.

    tools/bench stores [PART …] [--server KIND …] [--versions N …] [--runs N] [--delay MS] [--json FILE]

    calls    each call on a table of 10 versions and on one of 10,000, through a proxy that delays every answer:
             requests, round trips (requests that waited for one another), bytes sent and received, seconds. The last
             ten versions' rows are live, in ten files; what the versions before them wrote was replaced. Each turn is
             a process of its own, warmed up on another table on the same connections; a call opens the table itself
             where it is a write, and is given an open one where it reads or vacuums.
    commits  8 processes, 20 appends each of 100 rows, to one table and to a table each: commits a second. None may
             fail or be lost. No proxy.

Peers: `tools/bench peers --only W13`. Machines are noisy: quote ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_child import Child, leave, say, together, wait_for_go
from bench_history import FILE_ROWS, LIVE_FILES, copy_history
from bench_rows import large_part, rows_from, small_batch
from bench_servers import KINDS, Row, counted, options_of, server_of, timed, url_of

from tests.services import proxy as proxies

if TYPE_CHECKING:
    import pyarrow as pa

    import txfiles as tx

CALL_ROWS = 10
RACERS, RACES = 8, 20
SCRIPT = "bench_stores.py"

# ---------------------------------------------------------------- calls


def calls(kind: str, options: argparse.Namespace) -> Iterator[Row]:
    """See above."""
    with server_of(kind) as server, proxies.running(server) as proxy:
        proxy.delay_seconds = options.delay / 1e3
        for versions in options.versions:
            table = f"versions-{versions}"
            copy_history(versions, url_of(kind, table), options_of(kind, server))
            found: dict[str, list[Row]] = {}
            for turn in range(options.runs):
                for name, row in counted(Child(SCRIPT, "--child", "calls", kind, proxy.url, table, turn), proxy):
                    found.setdefault(name, []).append(row)
            for name, rows in found.items():
                yield {"server": kind, "versions": versions, "call": name} | medians(rows)


def medians(rows: Sequence[Row]) -> Row:
    """The median of each figure."""
    return {name: statistics.median(float(row[name]) for row in rows) for name in rows[0]}


def calls_child(kind: str, endpoint: str, table: str, turn: str) -> None:
    """All calls once on a small table, for warmth, and then on the one that is measured."""
    import txfiles as tx

    options = options_of(kind, endpoint)
    warm = url_of(kind, f"warm-{table}-{turn}")
    tx.write(large_part(0, FILE_ROWS), warm, mode="append_once", keys=["id"], storage_options=options)
    every_call(warm, options, int(turn), lambda _, call: call())
    every_call(url_of(kind, table), options, int(turn), timed)


def every_call(url: str, options: dict[str, Any], turn: int, measure: Callable[[str, Callable[[], Any]], Any]) -> None:
    """Each call once, on a table that this process has not opened before; checks what came of it."""
    import txfiles as tx

    def write(rows: pa.Table, mode: str) -> tx.WriteResult:
        return tx.write(rows, url, mode=mode, storage_options=options)

    def opened() -> tx.Table:
        return tx.Table(url, storage_options=options)

    known = rows_from(FILE_ROWS // 2, CALL_ROWS)
    changed = known.set_column(known.column_names.index("x"), "x", [[-1.0 - turn] * CALL_ROWS])
    measure("open cold", opened)
    before = measure("open warm", opened).version
    measure("append", lambda: write(rows_from(10**9 + turn * CALL_ROWS, CALL_ROWS), "append"))
    assert measure("append_once retry", lambda: write(known, "append_once")).rows_skipped == CALL_ROWS
    assert measure("upsert", lambda: write(changed, "upsert")).rows_updated == CALL_ROWS
    table = opened()
    assert table.version == before + 2
    read = measure("read a column", lambda: table.to_arrow(columns=["x"]))
    assert read["x"].to_pylist().count(-1.0 - turn) == CALL_ROWS
    measure("vacuum", table.vacuum)


# ---------------------------------------------------------------- commits


def commits(kind: str, options: argparse.Namespace) -> Iterator[Row]:
    """See above."""
    with server_of(kind) as server:
        for tables in (1, RACERS):
            rates = [race(kind, server, f"race-{tables}-{turn}", tables) for turn in range(options.runs)]
            yield {"server": kind, "writers": RACERS, "tables": tables, "commits_per_second": statistics.median(rates)}


def race(kind: str, server: str, name: str, tables: int) -> float:
    """Commits a second of all writers together."""
    import txfiles as tx

    urls = [url_of(kind, f"{name}/{number}") for number in range(tables)]
    racers = [
        Child(SCRIPT, "--child", "racer", kind, server, urls[number % tables], str(number)) for number in range(RACERS)
    ]
    seconds = together(racers)
    for racer in racers:
        assert racer.hear() is None
    ids = []
    for url in urls:
        table = tx.Table(url, storage_options=options_of(kind, server))
        assert table.version == RACERS * RACES // tables - 1
        ids += table.to_arrow(columns=["id"])["id"].to_pylist()
    assert sorted(ids) == list(range(RACERS * RACES * 100))
    return RACERS * RACES / seconds


def racer_child(kind: str, server: str, url: str, number: str) -> None:
    """One of the processes of a race."""
    import txfiles as tx

    options = options_of(kind, server)
    batches = [small_batch(int(number) * RACES + turn) for turn in range(RACES)]
    tx.write(batches[0], f"{url}-warm-{number}", mode="append", storage_options=options)
    say("ready")
    wait_for_go()
    for batch in batches:
        tx.write(batch, url, mode="append", storage_options=options)
    say("done")


CHILDREN: dict[str, Callable[..., None]] = {
    "calls": calls_child,
    "racer": racer_child,
}

# ---------------------------------------------------------------- what a person sees

PARTS: dict[str, Callable[[str, argparse.Namespace], Iterator[Row]]] = {
    "calls": calls,
    "commits": commits,
}


def main(words: Sequence[str]) -> None:
    """Run the parts and print a table of each."""
    parser = argparse.ArgumentParser(
        prog="tools/bench stores", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="; ".join(PARTS))
    parser.add_argument("--server", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--versions", nargs="+", type=int, default=[10, 10_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--delay", type=float, default=30.0, metavar="MS", help="of every answer to a call")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(words)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {unknown.pop()!r}; there are {', '.join(PARTS)}")
    if min(options.versions) < LIVE_FILES:
        parser.error(f"too few versions: at least {LIVE_FILES}")
    result: dict[str, list[Row]] = {}
    for part in options.parts or PARTS:
        result[part] = []
        for kind in options.server:
            for row in PARTS[part](kind, options):
                if not result[part]:
                    print(f"\n{part}\n" + "".join(f"{name:>19}" for name in row))
                print("".join(f"{shown(value):>19}" for value in row.values()), flush=True)
                result[part].append(row)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def shown(value: str | float) -> str:
    """A figure as text: whole numbers whole, others to three digits after the point."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3f}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        CHILDREN[sys.argv[2]](*sys.argv[3:])
        leave()
    main(sys.argv[1:])
