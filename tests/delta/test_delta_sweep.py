"""Every request of a Delta write fails in every way, on a real server: it is there once, not at all, or that is told.

The n-th request of each method is spoiled, for each n that the call has; with deltalake's own retries, and without:
what a lost answer comes to is then seen alone. What must hold is read by plain deltalake past the proxy, and by a model
of few lines. In depth, each request meets each fault; at every change, each request of an append meets one, and its
commit all; the other calls are tried less.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from deltalake import DeltaTable, write_deltalake

import txfiles as tx
from tests.delta.writer import Writer
from tests.guarantees import DEEP
from tests.services import proxy as proxies
from tests.services.fixtures import arrow_of, fresh_url, running_with_bucket
from tests.services.servers import SECRET, s3_options
from txfiles.targets.delta.client import META
from txfiles.targets.delta.options import delta_options

pytestmark = [pytest.mark.slow, pytest.mark.guarantees("S3 S4 S5 S11b")]

Row = tuple[int, str]
Rows = list[Row]

FIRST = [(1, "one"), (2, "two")]
SECOND = [(2, "zwei")]
THEIRS = (9, "theirs")
MINE = [(1, "mine"), (7, "mine")]
NEW = [(7, "mine")]

READ_METHODS = ("GET", "HEAD")
READ_FAULTS = ("drop_before", "500_before", "503_before", "cut", "hang_before", "theirs", "down_before")
WRITE_FAULTS = (
    *("drop_before", "drop_after", "500_before", "500_after", "503_before", "503_after", "late", "theirs", "cut"),
    *("hang_before", "hang_after", "down_before", "down_after"),
)
"""`theirs`: plain deltalake commits before the request goes on. `down_…`: dropped, and all that follow with it."""
OUTAGES = ("down_before", "down_after")
REQUEST_SECONDS = 1.0
COMMIT = "_delta_log/0000"


def appended(rows: Rows, new: Rows) -> Rows:
    return rows + new


def added_once(rows: Rows, new: Rows) -> Rows:
    return rows + [row for row in new if row[0] not in {old[0] for old in rows}]


def upserted(rows: Rows, new: Rows) -> Rows:
    return [row for row in rows if row[0] not in {one[0] for one in new}] + new


def replaced(_: Rows, new: Rows) -> Rows:
    return new


@dataclass(frozen=True)
class Call:
    """A write.

    Attributes:
        rows: what it is given.
        effect: the rows of the table after its commit.
        given: arguments of `write`.
        exactly_once: to run it again changes nothing.
        begins: which of the tables it begins with; "" is none.
        more: a column of its own.
    """

    rows: Rows
    effect: Callable[[Rows, Rows], Rows]
    given: dict[str, Any]
    exactly_once: bool = True
    begins: str = "keyed"
    more: bool = False

    @property
    def table(self) -> dict[str, list[Any]]:
        ids, texts = zip(*self.rows, strict=True)
        return {"id": list(ids), "v": list(texts), **({"w": [1.5] * len(ids)} if self.more else {})}


APPEND = {"mode": "append"}
CALLS = {
    "append": Call(NEW, appended, APPEND, exactly_once=False),
    "append, batch id": Call(NEW, appended, {**APPEND, "batch_id": "b"}),
    "append, checkpoint": Call(NEW, appended, APPEND, exactly_once=False, begins="checkpoint"),
    "append, new column": Call(NEW, appended, {**APPEND, "schema_mode": "merge"}, exactly_once=False, more=True),
    "append_once": Call(MINE, added_once, {"mode": "append_once"}),
    "upsert": Call(MINE, upserted, {"mode": "upsert"}),
    "upsert, first": Call(MINE, upserted, {"mode": "upsert", "keys": ["id"]}, begins="plain"),
    "overwrite": Call(MINE, replaced, {"mode": "overwrite"}),
    "create": Call(NEW, appended, APPEND, exactly_once=False, begins=""),
}
LOST = {True: ("drop_after", "late", "down_after"), False: ("drop_after", "500_after", "late")}
"""What befalls the commit of other calls at every change, without deltalake's retries and with them."""

RETRIED = ("append",)
USUAL = ("append", "append_once", "upsert", "overwrite", "create")
"""What is tried at every change without deltalake's retries."""


@dataclass
class Bench:
    """A server, the proxy before it, a process that writes, and the objects of the tables that a case begins with."""

    proxy: proxies.Proxy
    writer: Writer
    stored: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def past(self) -> dict[str, Any]:
        """Storage options of those who do not go through the proxy."""
        return s3_options(self.proxy.upstream)

    @property
    def arrow(self) -> pafs.FileSystem:
        return arrow_of("ministack", self.proxy.upstream)

    def plain(self, url: str) -> dict[str, str]:
        """deltalake's own options, past the proxy."""
        return delta_options(url, self.past)

    def keep(self, name: str, url: str) -> None:
        """Keep the objects of a table for cases to begin with."""
        root = url.partition("://")[2]
        found = self.arrow.get_file_info(pafs.FileSelector(root, recursive=True))
        self.stored[name] = {
            info.path.removeprefix(root + "/"): self.arrow.open_input_stream(info.path).readall()
            for info in found
            if info.is_file
        }

    def table(self, call: Call) -> str:
        """A new table as a call begins with it."""
        url = fresh_url()
        for name, data in self.stored.get(call.begins, {}).items():
            with self.arrow.open_output_stream(f"{url.partition('://')[2]}/{name}") as stream:
                stream.write(data)
        return url

    def write(self, url: str, call: Call, *, one_try: bool = False, through: str | None = None) -> dict[str, Any]:
        options = s3_options(through or self.proxy.upstream) | {"request_timeout": REQUEST_SECONDS}
        return self.writer.write(
            call.table,
            url,
            one_try=one_try,
            storage_options=options,
            user_metadata={"who": "mine"},
            **call.given,
        )

    def theirs(self, url: str) -> None:
        """A commit of plain deltalake."""
        write_deltalake(url, arrow([THEIRS]), mode="append", storage_options=self.plain(url))

    def log(self, url: str) -> list[dict[str, Any]]:
        """What each commit says of itself, without deltalake."""
        root = url.partition("://")[2] + "/_delta_log"
        names = self.arrow.get_file_info(pafs.FileSelector(root, allow_not_found=True))
        found = sorted(info.path for info in names if info.path.endswith(".json"))
        assert [int(path[-25:-5]) for path in found] == list(range(len(found)))
        return [_info(self.arrow.open_input_stream(path).readall().decode()) for path in found]

    def rows(self, url: str) -> Rows:
        """By plain deltalake."""
        table = DeltaTable(url, storage_options=self.plain(url))
        files = table.file_uris()
        assert len(set(files)) == len(files)
        found = pa.table(table.scan(columns=["id", "v"]))
        return sorted(zip(found["id"].to_pylist(), found["v"].to_pylist(), strict=True))


def arrow(rows: Rows) -> pa.Table:
    return pa.table({"id": [row[0] for row in rows], "v": [row[1] for row in rows]})


def _info(text: str) -> dict[str, Any]:
    lines = (json.loads(line).get("commitInfo") for line in text.splitlines())
    return next((one.get(META) or {} for one in lines if one), {})


@pytest.fixture(scope="module")
def bench(request):
    server = running_with_bucket(request, "ministack")
    writer = Writer()
    with proxies.running(server.url) as proxy:
        found = Bench(proxy, writer)
        for name in ("keyed", "plain", "checkpoint"):
            url = fresh_url()
            if name == "checkpoint":
                settings = {"delta.checkpointInterval": "2"}
                options = found.plain(url)
                write_deltalake(url, arrow(FIRST[:1]), storage_options=options, configuration=settings)
                write_deltalake(url, arrow(FIRST[1:]), storage_options=options, mode="append")
            else:
                given = {"mode": "append"} if name == "plain" else {"mode": "upsert", "keys": ["id"]}
                for rows in (FIRST, [] if name == "plain" else SECOND):
                    if rows:
                        tx.write(arrow(rows), url, format="delta", storage_options=found.past, **given)
            found.keep(name, url)
        try:
            yield found
        finally:
            writer.end()


BEGINS: dict[str, Rows] = {"": [], "plain": FIRST, "checkpoint": FIRST, "keyed": upserted(FIRST, SECOND)}


def check(bench: Bench, url: str, call: Call, said: dict[str, Any], before: int = 0) -> tuple[int, Rows]:
    """What holds after a call, by the log. Returns how many commits are mine, and the rows."""
    log = bench.log(url)
    rows, mine = BEGINS[call.begins], []
    begun = {"": 0, "plain": 1, "checkpoint": 2, "keyed": 2}[call.begins]
    for version, meta in list(enumerate(log))[begun:]:
        if meta.get("user_metadata", {}).get("who") != "mine":
            rows = appended(rows, [THEIRS])
        elif "step" not in meta:
            rows = call.effect(rows, call.rows)
            mine.append((version, meta["commit_id"]))
    if log:
        assert bench.rows(url) == sorted(rows)  # S4, S5
    new = mine[before:]
    assert len(new) <= 1, new  # S3
    if "error" not in said:
        assert new == ([(said["version"], said["commit_id"])] if said["committed"] else [])
        return len(mine), rows
    assert said["hint"]
    assert SECRET not in said["told"]
    if said["committed"] == "unknown":
        assert said["error"] == "CommitStateUnknownError"
        if log:
            found = tx.resolve(url, said["commit_id"], format="delta", storage_options=bench.past)
            assert found == tx.Resolution(committed=bool(new), version=new[0][0] if new else None)
    else:
        assert said["committed"] == "no", said
        assert not new, said
    return len(mine), rows


def sweep_one(bench: Bench, call: Call, rule: proxies.Rule, *, one_try: bool) -> tuple[str, list[proxies.Seen]]:
    """A case: a call with a fault, what holds after it, and the call again without a fault."""
    url, once, busy = bench.table(call), threading.Lock(), threading.Lock()

    def theirs() -> None:
        if once.acquire(blocking=False):
            with busy:
                bench.theirs(url)

    bench.proxy.actions["theirs"] = theirs
    bench.proxy.reset(rule)
    said = bench.write(url, call, one_try=one_try, through=bench.proxy.url)
    seen = list(bench.proxy.seen)
    bench.proxy.settle()
    with busy:  # they may still be at work if our request was given up
        bench.proxy.reset()
    made, rows = check(bench, url, call, said)
    if call.exactly_once or not made:
        again = bench.write(url, call)
        assert "error" not in again, again
        _, rows = check(bench, url, call, again, made)
    assert sorted(rows).count((7, "mine")) == 1  # S11b
    return said.get("committed") if "error" in said else "ok", seen


def nth(number: int, fault: str, method: str, part: str = "") -> proxies.Rule:
    """As `proxies.nth`; an outage drops all requests after it, too."""
    first = proxies.nth(number, fault.replace("down", "drop"), method=method, part=part)
    down = False

    def rule(request: proxies.Request) -> str | None:
        nonlocal down
        found = "drop_before" if down else first(request)
        down = down or (found is not None and fault in OUTAGES)
        return found

    return rule


def spoiled(requests: Counter[str], name: str, *, one_try: bool) -> Iterator[tuple[str, int, str, str]]:
    """Which requests meet which faults: method, number, a part of the path, fault."""
    most = [fault for fault in WRITE_FAULTS if one_try or not fault.startswith(("down", "hang"))]
    turns = itertools.count(list(CALLS).index(name))
    for method, count in sorted(requests.items()):
        faults = READ_FAULTS if method in READ_METHODS else WRITE_FAULTS
        faults = [fault for fault in faults if one_try or fault in (*most, "cut")]  # deltalake tries for minutes
        for number in range(1, count + 1):
            if DEEP:
                yield from ((method, number, "", fault) for fault in faults)
            elif one_try and (name == "append" or number % 6 == 1):
                yield method, number, "", faults[next(turns) % len(faults)]
    if not DEEP:
        yield from (("PUT", 1, COMMIT, fault) for fault in (most if name == "append" and one_try else LOST[one_try]))


@pytest.mark.parametrize("tries", ["one try", "retries"])
@pytest.mark.parametrize("name", CALLS)
def test_sweep(bench, name, tries, cases, sweep):
    """Whatever befalls whichever request: an acknowledged write is there once, an error says what became of it."""
    one_try = tries == "one try"
    if not (DEEP or (name in USUAL if one_try else name in RETRIED)):
        pytest.skip("tried in depth")
    call, ended = CALLS[name], {}
    word, seen = sweep_one(bench, call, lambda _: None, one_try=False)
    assert word == "ok"
    requests = Counter(one.request.method for one in seen)
    for method, number, part, fault in spoiled(requests, name, one_try=one_try):
        word, seen = sweep_one(bench, call, nth(number, fault, method, part), one_try=one_try)
        assert any(one.fault for one in seen), (method, number, part, fault)
        assert word == "ok" or one_try or fault == "cut", (method, number, part, fault, word)  # bodies are read once
        ended.setdefault(fault, []).append(word)
    sweep((name, "ministack through deltalake", tries), sum(requests.values()), ended)
    cases(cases=sum(map(len, ended.values())))


PLAIN = "plain deltalake"


@pytest.mark.parametrize("fault", ["drop_after", "500_after"])
@pytest.mark.parametrize("tries", ["one try", "retries", PLAIN])
def test_a_row_that_was_deleted_stays_deleted(bench, fault, tries):
    """The answer to the commit is lost, and another deletes the row before anything is tried again.

    Plain deltalake then commits the same file once more, and the row is back.
    """
    url, call = bench.table(CALLS["append"]), CALLS["append"]
    first, lost = proxies.nth(1, fault, method="PUT", part=COMMIT), []

    def rule(request: proxies.Request) -> str | None:
        if lost == [fault]:
            lost.append("deleted")
            return "delete"
        found = first(request)
        lost.extend([found] if found else [])
        return found

    def delete() -> None:
        DeltaTable(url, storage_options=bench.plain(url)).delete("id = 7")

    bench.proxy.actions["delete"] = delete
    bench.proxy.reset(rule)
    if tries == PLAIN:
        said = bench.writer.write(call.table, url, plain=True, storage_options=s3_options(bench.proxy.url))
    else:
        said = bench.write(url, call, one_try=tries == "one try", through=bench.proxy.url)
    bench.proxy.reset()
    assert lost == [fault, "deleted"]
    if tries == PLAIN:
        assert (7, "mine") in bench.rows(url)
        return
    assert (said["committed"], said["version"]) == (True, 2)
    assert len(bench.log(url)) == 4
    assert bench.rows(url) == sorted(BEGINS["keyed"])
