"""Measure txfiles on real servers, which it starts and ends: calls, commits a second, and a retry beside its peers.

    tools/bench stores [PART …] [--server KIND …] [--versions N …] [--rows N] [--runs N] [--delay MS] [--json FILE]

    calls    each call on a table of 10 versions and on one of 10,000, through a proxy that delays every answer:
             requests, round trips (requests that waited for one another), bytes sent and received, seconds. The last
             ten versions' rows are live, in ten files; what the versions before them wrote was replaced. Each turn is
             a process of its own, warmed up on another table on the same connections; a call opens the table itself
             where it is a write, and is given an open one where it reads or vacuums.
    commits  8 processes, 20 appends each of 100 rows, to one table and to a table each: commits a second. None may
             fail or be lost. No proxy.
    retry    append_once of 100,000 rows again, over 10,000,000 rows, beside the same by deltalake's and by Lance's
             merge: seconds from the opening on, without a proxy, in turn, and the median of the ratios turn by turn;
             then once more through the proxy, for requests, round trips and bytes. deltalake gets the batch's key
             range in its condition, Lance an index of the keys. Peers are installed into `.venv-peers`.

Machines are noisy: quote ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from bench_rows import BATCH, large_part, large_rows, small_batch  # noqa: E402  # also without txfiles on the path

from tests.services import proxy as proxies  # noqa: E402
from tests.services import servers  # noqa: E402
from tests.services.proxy import Proxy  # noqa: E402

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = ("ministack", "weed")
PEERS = {"deltalake": "deltalake==1.6.6", "lance": "pylance==14.0.2"}
PEERS_VENV = ".venv-peers"
LIVE_FILES, FILE_ROWS, CALL_ROWS = 10, 1_000, 10
RACERS, RACES = 8, 20
RETRY_FILES = 40
COPIERS = 16

Row = dict[str, str | int | float]
"""One line of the result."""


# ---------------------------------------------------------------- processes


class Child:
    """A process that runs one of `CHILDREN`, and talks in lines of JSON."""

    def __init__(self, *words: object, python: str = sys.executable) -> None:
        command = [python, __file__, "--child", *map(str, words)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def hear(self) -> Any:
        """What it says next; None at its end.

        Raises:
            SystemExit: it failed.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        if self._process.wait():
            sys.exit(f"bench: a process failed: {' '.join(map(str, self._process.args))}")  # type: ignore[arg-type]
        return None

    def go(self) -> None:
        """Let it go on."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()


def say(what: object) -> None:
    """A child's word to its parent."""
    print(json.dumps(what), flush=True)


def wait_for_go() -> None:
    """A child waits until all are ready."""
    sys.stdin.readline()


def timed(name: str, call: Callable[[], object]) -> Any:
    """Let the parent count the requests of a call, and tell it how long the call took."""
    say(name)
    wait_for_go()
    began = time.perf_counter()
    result = call()
    say(time.perf_counter() - began)
    return result


def counted(child: Child, proxy: Proxy) -> Iterator[tuple[str, Row]]:
    """Of each timed call of a child: its name, and what it took."""
    while (name := child.hear()) is not None:
        proxy.reset()
        child.go()
        seconds = child.hear()
        yield name, figures(proxy) | {"seconds": seconds}


def figures(proxy: Proxy) -> Row:
    """What a proxy has seen."""
    return {
        "requests": len(proxy.seen),
        "round_trips": proxy.round_trips(),
        "sent_bytes": sum(len(seen.request.body) for seen in proxy.seen),
        "received_bytes": sum(seen.answer_bytes for seen in proxy.seen),
    }


@contextmanager
def server_of(kind: str) -> Iterator[str]:
    """The URL of a server with the bucket."""
    with servers.running(kind) as server:
        servers.make_bucket(server.url)
        yield server.url


def url_of(table: str) -> str:
    """Where a table is."""
    return f"s3://{servers.BUCKET}/{table}"


# ---------------------------------------------------------------- calls


def calls(kind: str, options: argparse.Namespace) -> Iterator[Row]:
    """See above."""
    with server_of(kind) as server, proxies.running(server) as proxy:
        proxy.delay_seconds = options.delay / 1e3
        for versions in options.versions:
            table = f"versions-{versions}"
            copy_up(versions, table, server)
            found: dict[str, list[Row]] = {}
            for turn in range(options.runs):
                for name, row in counted(Child("calls", proxy.url, table, turn), proxy):
                    found.setdefault(name, []).append(row)
            for name, rows in found.items():
                yield {"server": kind, "versions": versions, "call": name} | medians(rows)


def medians(rows: Sequence[Row]) -> Row:
    """The median of each figure."""
    return {name: statistics.median(float(row[name]) for row in rows) for name in rows[0]}


def make_history(versions: int) -> str:
    """A table in memory with so many versions, of which the last ten wrote what is live."""
    import txfiles as tx

    url = f"memory://versions-{versions}"
    if not tx.exists(url):
        print(f"making a table of {versions:,} versions", file=sys.stderr)
        for number in range(versions):
            part = max(0, number - (versions - LIVE_FILES))
            if number:
                tx.write(large_part(part, FILE_ROWS), url, mode="append" if part else "overwrite")
            else:
                tx.write(large_part(part, FILE_ROWS), url, mode="append_once", keys=["id"])
    return url


def copy_up(versions: int, table: str, server: str) -> None:
    """Copy it to a server, object by object."""
    from txfiles.store import open_store

    source = open_store(make_history(versions))
    target = open_store(url_of(table), servers.s3_options(server))

    def copy(name: str, size: int) -> None:
        data = source.get(name, limit=size)
        assert data is not None
        target.put_if_absent(name, data)

    with ThreadPoolExecutor(COPIERS) as pool:
        list(pool.map(lambda entry: copy(entry.name, entry.bytes), source.list_from("")))


def calls_child(endpoint: str, table: str, turn: str) -> None:
    """All calls once on a small table, for warmth, and then on the one that is measured."""
    import txfiles as tx

    options = servers.s3_options(endpoint)
    warm = url_of(f"warm-{table}-{turn}")
    tx.write(large_part(0, FILE_ROWS), warm, mode="append_once", keys=["id"], storage_options=options)
    every_call(warm, options, int(turn), lambda _, call: call())
    every_call(url_of(table), options, int(turn), timed)


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


def rows_from(first: int, rows: int) -> pa.Table:
    """Rows of successive keys."""
    import numpy as np

    return large_rows(np.arange(first, first + rows))


# ---------------------------------------------------------------- commits


def commits(kind: str, options: argparse.Namespace) -> Iterator[Row]:
    """See above."""
    with server_of(kind) as server:
        for tables in (1, RACERS):
            rates = [race(server, f"race-{tables}-{turn}", tables) for turn in range(options.runs)]
            yield {"server": kind, "writers": RACERS, "tables": tables, "commits_per_second": statistics.median(rates)}


def race(server: str, name: str, tables: int) -> float:
    """Commits a second of all writers together."""
    import txfiles as tx

    urls = [url_of(f"{name}/{number}") for number in range(tables)]
    racers = [Child("racer", server, urls[number % tables], str(number)) for number in range(RACERS)]
    for racer in racers:
        assert racer.hear() == "ready"
    began = time.perf_counter()
    for racer in racers:
        racer.go()
    for racer in racers:
        assert racer.hear() == "done"
    seconds = time.perf_counter() - began
    for racer in racers:
        assert racer.hear() is None
    ids = []
    for url in urls:
        table = tx.Table(url, storage_options=servers.s3_options(server))
        assert table.version == RACERS * RACES // tables - 1
        ids += table.to_arrow(columns=["id"])["id"].to_pylist()
    assert sorted(ids) == list(range(RACERS * RACES * 100))
    return RACERS * RACES / seconds


def racer_child(server: str, url: str, number: str) -> None:
    """One of the processes of a race."""
    import txfiles as tx

    options = servers.s3_options(server)
    batches = [small_batch(int(number) * RACES + turn) for turn in range(RACES)]
    tx.write(batches[0], f"{url}-warm-{number}", mode="append", storage_options=options)
    say("ready")
    wait_for_go()
    for batch in batches:
        tx.write(batch, url, mode="append", storage_options=options)
    say("done")


# ---------------------------------------------------------------- retry


def retry(kind: str, options: argparse.Namespace) -> Iterator[Row]:
    """See above."""
    sides = {"txfiles": sys.executable} | install_peers()
    with server_of(kind) as server, proxies.running(server) as proxy:
        proxy.delay_seconds = options.delay / 1e3
        for side, python in sides.items():
            print(f"{kind}: making {options.rows:,} rows of {side}", file=sys.stderr)
            assert Child("make", server, side, options.rows, python=python).hear() == "made"
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(options.runs):
            for side, python in sides.items():
                ((_, row),) = counted(Child("retry", server, side, options.rows, python=python), proxy)
                seconds[side].append(float(row["seconds"]))
        for side, python in sides.items():
            ((_, row),) = counted(Child("retry", proxy.url, side, options.rows, python=python), proxy)
            ratios = [ours / theirs for ours, theirs in zip(seconds["txfiles"], seconds[side], strict=True)]
            yield (
                {"server": kind, "rows": options.rows, "side": side}
                | row
                | {"seconds": statistics.median(seconds[side]), "ours_to_it": statistics.median(ratios)}
            )


def install_peers() -> dict[str, str]:
    """The peers and their Python, which has none of ours in it."""
    subprocess.run([ROOT / "tools/venv", *PEERS.values()], check=True, env=os.environ | {"VENV": PEERS_VENV})
    return dict.fromkeys(PEERS, str(ROOT / PEERS_VENV / "bin/python"))


def make_child(server: str, side: str, rows: str) -> None:
    """The table of one side, in 40 files, and a small one for warmth."""
    for table, count, files in ((f"warm-{side}", BATCH, 1), (side, int(rows), RETRY_FILES)):
        for number in range(files):
            APPENDS[side](large_part(number, count // files), table, server)
        if side == "lance":
            index_lance(table, server)
    say("made")


def retry_child(server: str, side: str, rows: str) -> None:
    """The rows again: first some of a small table, for warmth; none is inserted."""
    batch = rows_from(int(rows) * 9 // 16, BATCH)
    assert RETRIES[side](large_part(0, BATCH), f"warm-{side}", server) == 0
    assert timed("retry", lambda: RETRIES[side](batch, side, server)) == 0


def options_of(server: str) -> dict[str, str]:
    """The storage options of the peers."""
    return {
        "aws_endpoint": server,
        "aws_access_key_id": servers.KEY,
        "aws_secret_access_key": servers.SECRET,
        "aws_region": "us-east-1",
        "allow_http": "true",
    }


def append_txfiles(rows: pa.Table, table: str, server: str) -> None:
    """Ours: with the keys, which are indexed."""
    retry_txfiles(rows, table, server)


def retry_txfiles(rows: pa.Table, table: str, server: str) -> int:
    """Ours."""
    import txfiles as tx

    options = servers.s3_options(server)
    inserted = tx.write(rows, url_of(table), mode="append_once", keys=["id"], storage_options=options).rows_inserted
    assert inserted is not None
    return inserted


def append_deltalake(rows: pa.Table, table: str, server: str) -> None:
    """Ordinary appends."""
    import deltalake

    deltalake.write_deltalake(url_of(table), rows, mode="append", storage_options=options_of(server))


def retry_deltalake(rows: pa.Table, table: str, server: str) -> int:
    """A merge that inserts only, with the batch's key range, by which files are pruned."""
    import deltalake

    ids = rows["id"]
    result = (
        deltalake.DeltaTable(url_of(table), storage_options=options_of(server))
        .merge(
            rows,
            f"t.id = s.id AND t.id >= {ids[0].as_py()} AND t.id <= {ids[-1].as_py()}",
            source_alias="s",
            target_alias="t",
        )
        .when_not_matched_insert_all()
        .execute()
    )
    return int(result["num_target_rows_inserted"])


def append_lance(rows: pa.Table, table: str, server: str) -> None:
    """Ordinary appends."""
    import lance

    first = rows["id"][0].as_py() == 0
    mode = "create" if first else "append"
    lance.write_dataset(rows, url_of(table), mode=mode, storage_options=options_of(server))


def index_lance(table: str, server: str) -> None:
    """Lance's own index of the keys."""
    import lance

    lance.dataset(url_of(table), storage_options=options_of(server)).create_scalar_index("id", "BTREE")


def retry_lance(rows: pa.Table, table: str, server: str) -> int:
    """A merge that inserts only."""
    import lance

    dataset = lance.dataset(url_of(table), storage_options=options_of(server))
    return int(dataset.merge_insert("id").when_not_matched_insert_all().execute(rows)["num_inserted_rows"])


APPENDS: dict[str, Callable[[pa.Table, str, str], None]] = {
    "txfiles": append_txfiles,
    "deltalake": append_deltalake,
    "lance": append_lance,
}
RETRIES: dict[str, Callable[[pa.Table, str, str], int]] = {
    "txfiles": retry_txfiles,
    "deltalake": retry_deltalake,
    "lance": retry_lance,
}
CHILDREN: dict[str, Callable[..., None]] = {
    "calls": calls_child,
    "racer": racer_child,
    "make": make_child,
    "retry": retry_child,
}

# ---------------------------------------------------------------- what a person sees

PARTS: dict[str, Callable[[str, argparse.Namespace], Iterator[Row]]] = {
    "calls": calls,
    "commits": commits,
    "retry": retry,
}


def main(words: Sequence[str]) -> None:
    """Run the parts and print a table of each."""
    parser = argparse.ArgumentParser(
        prog="tools/bench stores", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="; ".join(PARTS))
    parser.add_argument("--server", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--versions", nargs="+", type=int, default=[10, 10_000])
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the table of the retry")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--delay", type=float, default=30.0, metavar="MS", help="of every answer to a call")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(words)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {unknown.pop()!r}; there are {', '.join(PARTS)}")
    if min(options.versions) < LIVE_FILES or options.rows < 4 * BATCH:
        parser.error(f"too few versions or rows: at least {LIVE_FILES} and {4 * BATCH:,}")
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
        sys.stdout.flush()
        os._exit(0)  # pyarrow's threads may abort a process that leaves by the ordinary way
    main(sys.argv[1:])
