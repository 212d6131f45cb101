"""Every request of every call fails in every way, on real servers: each write is there once, not at all, or is told.

The n-th request of each method is spoiled, for each n that the call has. A fault strikes once, or is the beginning of
an outage that lasts. Each call runs with the retries of the store and of the libraries below it,
and without: what the log does with a lost answer is then seen alone.

What must hold is computed from the log, read past the proxy, by a model of few lines: no call is timed, and none of
what is promised is replaced by a stand-in.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp.client
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

import txfiles as tx
from tests.guarantees import DEEP
from tests.services import proxy as proxies
from tests.services.fixtures import arrow_of, copied, fresh_url, running_with_bucket, told
from tests.services.servers import AZURE_KEY, SCHEMES, SECRET, options_of
from txfiles.errors import CorruptTableError, TxFilesError
from txfiles.log.cache import SnapshotCache
from txfiles.store import open_store, probe, remote
from txfiles.store.patience import Patience
from txfiles.targets.files import target as files_target

pytestmark = [pytest.mark.slow, pytest.mark.guarantees("S3 S4 S5 S6 S7 S11 S11b S19")]

REQUEST_SECONDS = {"retries": 6.0, "one try": 1.5}
"""A third of it is one try: what a request that hangs costs here."""

READ_METHODS = ("GET", "HEAD")
WRITE_METHODS = ("PUT", "POST", "DELETE")
READ_FAULTS = ("drop_before", "500_before", "503_before", "hang_before", "cut", "theirs", "down_before")
WRITE_FAULTS = (
    *("drop_before", "drop_after", "500_before", "500_after", "503_before", "503_after", "hang_before", "hang_after"),
    *("cut", "late", "theirs", "down_before", "down_after"),
)
"""`theirs`: another writer commits before the request goes on. `down_…`: dropped, and all that follow with it."""
OUTAGES = ("down_before", "down_after")
USUAL = {
    "retries": (("cut", "theirs"), ("drop_after", "late", "theirs")),
    "one try": (
        ("drop_before", "hang_before"),
        ("drop_before", "drop_after", "hang_before", "hang_after", "late", "down_before", "down_after"),
    ),
}
"""What is tried at every change, of requests that read and that write."""
OTHERS = {
    "weed": ("retries", ("cut",), ("drop_after",)),
    "azurite": ("one try", ("drop_before",), ("drop_after", "late", "down_after")),
}
"""Likewise, on the other servers: with or without retries, and the faults."""

THIN = ("append, warm", "upsert", "create", "vacuum", "read")
"""Calls tried at every change with retries, too, and on the other servers: the protocol is under test without them."""

THINNEST = {"ministack": ("append, warm", "upsert", "create", "read"), "azurite": ("append, warm",)}
"""Likewise, through obstore with retries."""

FEW_FAULTS = 4
"""What the requests with one method of a call that is not in `THIN` meet at least; each call begins with another."""

BENCHES = [
    ("ministack", "s3fs"),
    ("weed", "s3fs"),
    ("azurite", "adlfs"),
    ("ministack", "obstore"),
    ("azurite", "obstore"),
]
"""Each server through the library that takes all options, and each protocol through obstore.

Through obstore a call meets faults at every change, each at one of its requests, and each request meets one: what
the protocol makes of a fault at *this* request is tried above, and which fault obstore takes for what does not depend
on the request. So do, through the others, the calls that are not in `THIN`. obstore has no retries of its own below a
mebibyte, so that "retries" are the store's alone, and there an outage is no more than a wait.
"""

Row = tuple[int, str, str]
Rows = list[Row]

FIRST = [(1, "a", "one"), (2, "b", "two")]
SECOND = [(2, "b", "zwei")]
MINE = [(1, "a", "mine"), (7, "a", "mine")]
THEIRS = [(7, "a", "theirs"), (9, "b", "theirs")]
KEYED = {"keys": ["id"], "partition_by": ["p"]}


def arrow(rows: Rows) -> pa.Table:
    return pa.table({name: [row[at] for row in rows] for at, name in enumerate(("id", "p", "v"))})


def rows_of(table: pa.Table) -> Rows:
    return sorted(zip(*(table[name].to_pylist() for name in ("id", "p", "v")), strict=True))


# ---------------------------------------------------------------- the model


def appended(rows: Rows, new: Rows) -> Rows:
    return rows + new


def added_once(rows: Rows, new: Rows) -> Rows:
    return rows + [row for row in new if row[0] not in {old[0] for old in rows}]


def upserted(rows: Rows, new: Rows) -> Rows:
    return [row for row in rows if row[0] not in {one[0] for one in new}] + new


def part_replaced(rows: Rows, new: Rows) -> Rows:
    return [row for row in rows if row[1] != "a"] + new


def replaced(_: Rows, new: Rows) -> Rows:
    return new


def kept(rows: Rows, _: Rows) -> Rows:
    return rows


@dataclass(frozen=True)
class Table:
    """A table of a case.

    Attributes:
        url: of it.
        options: through the proxy.
        commit_id: of version 1.
    """

    url: str
    options: dict[str, Any]
    commit_id: str

    def open(self) -> tx.Table:
        return tx.Table(self.url, storage_options=self.options)

    def write(self, rows: Rows, mode: str, who: str = "mine", **more: Any) -> tx.WriteResult:
        return tx.write(
            arrow(rows), self.url, mode=mode, storage_options=self.options, user_metadata={"who": who}, **more
        )


@dataclass(frozen=True)
class Call:
    """A public call.

    Attributes:
        use: makes it.
        rows: what it is given.
        effect: the rows of the table after its commit.
        is_right: whether a result is, by the rows of each version that there was; for reads.
        writes: whether it commits.
        exactly_once: to run it again changes nothing.
        creates: there is no table yet.
        is_first: of a process in this bucket: it is probed.
        is_warm: the process has opened the table before.
    """

    use: Callable[[Table], Any]
    rows: Rows = field(default_factory=lambda: MINE)
    effect: Callable[[Rows, Rows], Rows] = kept
    is_right: Callable[[Any, list[Rows]], bool] = lambda result, states: True
    writes: bool = True
    exactly_once: bool = True
    creates: bool = False
    is_first: bool = False
    is_warm: bool = False


NEW = [(7, "a", "mine")]


def read(use: Callable[[Table], Any], is_right: Callable[[Any, list[Rows]], bool]) -> Call:
    return Call(use, is_right=is_right, writes=False)


CALLS = {
    "append": Call(lambda table: table.write(NEW, "append"), NEW, appended, exactly_once=False),
    "append, first": Call(lambda table: table.write(NEW, "append"), NEW, appended, exactly_once=False, is_first=True),
    "append, warm": Call(lambda table: table.write(NEW, "append"), NEW, appended, exactly_once=False, is_warm=True),
    "append, batch id": Call(lambda table: table.write(NEW, "append", batch_id="new"), NEW, appended),
    "append_once": Call(lambda table: table.write(MINE, "append_once", **KEYED), MINE, added_once),
    "append_once, known": Call(
        lambda table: table.write(SECOND, "append_once", **KEYED), is_right=lambda result, _: not result.committed
    ),
    "upsert, batch id again": Call(
        lambda table: table.write(SECOND, "upsert", batch_id="second", **KEYED),
        is_right=lambda result, _: (result.version, result.committed, result.already_committed) == (1, False, True),
    ),
    "upsert": Call(lambda table: table.write(MINE, "upsert", **KEYED), MINE, upserted),
    "overwrite": Call(lambda table: table.write(MINE, "overwrite"), MINE, replaced),
    "overwrite partitions": Call(
        lambda table: table.write(NEW, "overwrite", overwrite_partitions=True), NEW, part_replaced
    ),
    "overwrite where": Call(
        lambda table: table.write(NEW, "overwrite", replace_where=[("p", "=", "a")]), NEW, part_replaced
    ),
    "create": Call(
        lambda table: table.write(NEW, "append", partition_by=["p"]), NEW, appended, exactly_once=False, creates=True
    ),
    "set": Call(lambda table: table.open().set(checkpoint_interval=7)),
    "vacuum": Call(lambda table: table.open().vacuum(retain="0s", force=True)),
    "read": read(lambda table: table.open().to_arrow(), lambda found, states: rows_of(found) in states[1:]),
    "at": read(lambda table: table.open().at(version=0).to_arrow(), lambda found, states: rows_of(found) == states[0]),
    "history": read(
        lambda table: [commit.version for commit in table.open().history()],
        lambda found, states: found == list(range(len(found)))[::-1] and 2 <= len(found) <= len(states),
    ),
    "lookup": read(lambda table: table.open().lookup([2, 404]), lambda found, _: rows_of(found) == SECOND),
    "plan": read(
        lambda table: tx.plan(arrow(MINE), table.url, mode="upsert", storage_options=table.options),
        lambda found, _: found.rows_updated + found.rows_inserted == 2,
    ),
    "exists": read(lambda table: tx.exists(table.url, storage_options=table.options), lambda found, _: found is True),
    "resolve": read(
        lambda table: tx.resolve(table.url, table.commit_id, storage_options=table.options),
        lambda found, _: found == tx.Resolution(committed=True, version=1),
    ),
    "resolve, unknown": read(
        lambda table: tx.resolve(table.url, "0" * 32, storage_options=table.options),
        lambda found, _: found == tx.Resolution(committed=False, version=None),
    ),
}


# ---------------------------------------------------------------- processes and servers


@contextmanager
def process(cache: SnapshotCache | None) -> Iterator[None]:
    """What is called meanwhile is called in a process that has opened what is in the cache."""
    before, files_target._SNAPSHOTS = files_target._SNAPSHOTS, cache
    try:
        yield
    finally:
        files_target._SNAPSHOTS = before


class OneTry(Patience):
    """No request is made again."""

    def _wait(self, *_: Any) -> None:
        return None


@contextmanager
def trying(tries: str) -> Iterator[None]:
    """Without the store's retries and those of the libraries below it, if it is to be one try."""
    with pytest.MonkeyPatch.context() as patch:
        if tries == "one try":
            patch.setattr(remote, "Patience", OneTry)
            patch.setattr(aiohttp.client, "IDEMPOTENT_METHODS", frozenset())
        yield


@dataclass
class Bench:
    """Where calls are swept.

    Attributes:
        kind: of the server.
        backend: the library through which it is reached.
        proxy: before it.
        stored: the objects of the table that each case begins with, by name.
        commit_id: of its version 1.
    """

    kind: str
    backend: str
    proxy: proxies.Proxy
    stored: dict[str, bytes]
    commit_id: str

    @property
    def options(self) -> dict[str, Any]:
        return options_of(self.kind, self.proxy.url) | {"backend": self.backend}

    @cached_property
    def arrow(self) -> pafs.FileSystem:
        """Arrow's own client, past the proxy."""
        return arrow_of(self.kind, self.proxy.upstream)

    def copied(self, table: Table, folder: Path) -> Table | None:
        """The table as it is now, copied into an empty folder; None if there are no objects."""
        return Table(str(folder), {}, "") if copied(self.arrow, table.url, folder) else None

    @property
    def past(self) -> dict[str, Any]:
        """The options of those who do not go through the proxy."""
        return options_of(self.kind, self.proxy.upstream) | {"backend": self.backend}

    def table(self, call: Call) -> Table:
        """A new table, or a place for one; as `call` wants it known."""
        url = fresh_url(SCHEMES[self.kind])
        if not call.creates:
            for name, data in self.stored.items():
                with self.arrow.open_output_stream(f"{url.partition('://')[2]}/{name}") as stream:
                    stream.write(data)
        client = open_store(url, self.options).client
        if call.is_first:
            probe._known.pop(client.identity, None)
        else:
            probe.remember(client)
        return Table(url, self.options, self.commit_id)


@pytest.fixture(scope="module", params=BENCHES, ids="-".join)
def bench(request):
    kind, backend = request.param
    with proxies.running(running_with_bucket(request, kind).url) as proxy, process(None):
        table = Table(fresh_url(SCHEMES[kind]), options_of(kind, proxy.upstream), "")
        table.write(FIRST, "upsert", **KEYED)
        commit_id = table.write(SECOND, "upsert", batch_id="second").commit_id
        store = open_store(table.url, table.options)
        stored = {entry.name: store.get(entry.name, limit=1 << 20) for entry in store.list_from("")}
        yield Bench(kind, backend, proxy, stored, commit_id)


# ---------------------------------------------------------------- one case


@dataclass(frozen=True)
class Came:
    """What a call came to: its result or its error, whether the fault was met, and its requests by method."""

    result: Any
    error: TxFilesError | None
    met: bool = False
    requests: Mapping[str, int] = field(default_factory=dict)

    @property
    def word(self) -> str:
        return "ok" if self.error is None else self.error.committed


def spoil(bench: Bench, table: Table, call: Call, rule: proxies.Rule, tries: str) -> Came:
    """Make a call behind the proxy, with a rule."""
    hasty = replace(table, options={**table.options, "request_timeout": REQUEST_SECONDS[tries]})
    once, busy = threading.Lock(), threading.Lock()

    def theirs() -> None:
        if once.acquire(blocking=False):
            with busy, process(None):
                Table(table.url, bench.past, "").write(THEIRS, "append_once", who="theirs", **KEYED)

    bench.proxy.actions["theirs"] = theirs
    bench.proxy.reset(rule)
    result = error = None
    try:
        with trying(tries):
            result = call.use(hasty)
    except TxFilesError as raised:
        error = raised
    met = any(seen.fault for seen in bench.proxy.seen)
    requests = Counter(seen.request.method for seen in bench.proxy.seen)
    bench.proxy.settle()
    with busy:  # they may still be at work if our request was given up
        bench.proxy.reset()
    return Came(result, error, met, requests)


def nth(number: int, fault: str, method: str) -> proxies.Rule:
    """As `proxies.nth`; an outage drops all requests after it, too."""
    first = proxies.nth(number, fault.replace("down", "drop"), method=method)
    down = False

    def rule(request: proxies.Request) -> str | None:
        nonlocal down
        found = "drop_before" if down else first(request)
        down = down or (found is not None and fault in OUTAGES)
        return found

    return rule


def check(bench: Bench, table: Table, call: Call, came: Came, before: int = 0) -> tuple[int, Rows]:
    """What holds after a call, by the log. Returns how many commits are mine, and the rows."""
    error = came.error
    with process(None), TemporaryDirectory() as folder:
        copy = bench.copied(table, Path(folder))
        newest = copy.open() if copy and tx.exists(copy.url) else None
        log = newest.history()[::-1] if newest else []
        rows = rows_of(newest.to_arrow()) if newest else []  # S7: and sizes and checksums are as recorded
    mine = [one for one in log if one.user_metadata.get("who") == "mine" or one.operation in ("set", "vacuum")]
    mine = [one for one in mine if call.creates or one.version > 1]
    states = [] if call.creates else [sorted(FIRST), sorted(upserted(FIRST, SECOND))]
    for commit in log[len(states) :]:
        last = states[-1] if states else []
        states.append(sorted(call.effect(last, call.rows) if commit in mine else added_once(last, THEIRS)))
    assert rows == (states[-1] if states else [])  # S4, S5
    new = mine[before:]
    assert len(new) <= 1  # S3
    if error is None:
        assert call.is_right(came.result, states), came.result
        if isinstance(came.result, tx.WriteResult) and not isinstance(came.result, tx.Plan):
            made = [(one.version, one.commit_id) for one in new]
            assert made == ([(came.result.version, came.result.commit_id)] if came.result.committed else [])
        return len(mine), rows
    assert not isinstance(error, CorruptTableError), error
    assert error.hint
    assert str(error)
    assert not any(secret in told(error) for secret in (SECRET, AZURE_KEY))
    assert error.committed in (("no", "yes", "unknown") if call.writes else ("no",)), error
    if error.committed == "unknown":
        with process(None):
            resolved = tx.resolve(table.url, error.commit_id, storage_options=table.options)
        assert resolved == tx.Resolution(committed=bool(new), version=new[0].version if new else None)
    else:
        assert len(new) == (error.committed == "yes"), error
    return len(mine), rows


def sweep_one(bench: Bench, call: Call, tries: str, rule: proxies.Rule = lambda _: None) -> Came:
    """A case: a call with a fault, what holds after it, and the call again without a fault."""
    table = bench.table(call)
    with process(SnapshotCache()):
        if call.is_warm:
            table.open()
        came = spoil(bench, table, call, rule, tries)
        made, rows = check(bench, table, call, came)
        if call.writes and (call.exactly_once or not made):
            again = Came(call.use(table), None)
            _, rows = check(bench, table, call, again, made)
        if call.writes:
            found = rows_of(table.open().to_arrow())
            assert found == rows
            if call.effect is not kept:  # S11b
                assert [row[2] for row in found if row[0] == 7].count("mine") <= 1
                assert 7 in [row[0] for row in found]
    return came


# ---------------------------------------------------------------- all cases


def is_usual(bench: Bench, tries: str, name: str) -> bool:
    """Whether a call is tried at every change."""
    if bench.backend == "obstore":
        once = CALLS if bench.kind == "ministack" else THIN
        return name in (once if tries == "one try" else THINNEST[bench.kind])
    if bench.kind in OTHERS:
        return name in THIN and tries == OTHERS[bench.kind][0]
    return name in THIN or tries == "one try"


def spoiled(bench: Bench, tries: str, name: str, method: str, requests: int) -> Iterator[tuple[int, str]]:
    """Which of a call's requests with a method meet which faults: number and fault.

    Args:
        bench: where.
        tries: with retries or without.
        name: of the call.
        method: of the requests.
        requests: how many of them the call makes.
    """
    writes = method in WRITE_METHODS
    all_faults = WRITE_FAULTS if writes else READ_FAULTS
    if DEEP:
        return itertools.product(range(1, requests + 1), all_faults)
    if bench.backend == "obstore":
        faults = [fault for fault in all_faults if tries == "one try" or fault not in OUTAGES]
    else:
        faults = list(OTHERS[bench.kind][1 + writes] if bench.kind in OTHERS else USUAL[tries][writes])
        if name in THIN:
            return itertools.product(range(1, requests + 1), faults)
    most = max(requests, len(faults) if name in THIN else FEW_FAULTS) if requests else 0
    first = list(CALLS).index(name)
    return ((number % requests + 1, faults[(number + first) % len(faults)]) for number in range(most))


@pytest.mark.parametrize("tries", REQUEST_SECONDS)
@pytest.mark.parametrize("name", CALLS)
def test_sweep(bench, name, tries, cases, sweep):
    """Whatever befalls whichever request: an acknowledged write is there once, an error says what became of it."""
    if not (DEEP or is_usual(bench, tries, name)):
        pytest.skip("tried in depth")
    call, ended = CALLS[name], {}
    requests = sweep_one(bench, call, "retries").requests  # so that nothing fails by itself
    assert requests
    for method in (*READ_METHODS, *WRITE_METHODS):
        for number, fault in spoiled(bench, tries, name, method, requests.get(method, 0)):
            came = sweep_one(bench, call, tries, nth(number, fault, method))
            assert came.met or came.error, (method, number, fault)
            assert came.error is None or tries == "one try" or fault in OUTAGES, (method, number, fault, came.error)
            if came.met:  # else a busy server was too slow for a request before
                ended.setdefault(fault, []).append(came.word)
    assert ended
    sweep((name, f"{bench.kind} through {bench.backend}", tries), sum(requests.values()), ended)
    cases(cases=sum(map(len, ended.values())))
