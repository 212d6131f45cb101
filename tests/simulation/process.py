"""A process of the simulator: real public calls in a greenlet, which stops at each operation on the store.

What a process does next follows from the answers that it has had, and from nothing else: clock, ids and sleep are
answers too. So its life is a tree, a node for each operation and a branch for each answer. A node that is known is
not run again; the real code runs where an answer is new, after a replay of the answers before it, which must ask for
the same operations again (a library that is not deterministic fails here).
"""

from __future__ import annotations

import contextlib
import itertools
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import greenlet
import pyarrow as pa

from tests.simulation import codec
from txfiles import formats
from txfiles.core import names
from txfiles.core.environment import Environment
from txfiles.errors import StoreError, TxFilesError
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.store import common
from txfiles.store.port import Capabilities, Entry, Put
from txfiles.targets.files import target as files_target

ROOT = "memory://simulation"

OPERATIONS_MAX = 400
"""Of one call: far more than any needs, so that one which reaches it does not end."""


class Violation(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


class Dead(BaseException):
    """Unwinds a process that is not wanted any more."""


class Call(Protocol):
    """What a process does: a whole public call."""

    @property
    def name(self) -> str:
        """A row of the matrix."""

    def do(self, path: str, who: int) -> Any:
        """Call the library."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a process asks of the world: a verb of the store port, `now`, or that a call `begin`s or is `over`."""

    verb: str
    name: str = ""
    data: Any = None
    call: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended. Equal where a replay comes to the same end: what was returned or raised is another object then.

    Attributes:
        call: what was called.
        process: its number.
        ended: returned, raised, interrupted.
        result: what it returned, or raised.
        prefix: of all ids given out in the call; its commit id is one of them.
        faulted: whether a fault had struck the process by then.
        unclear: whether it had been left without an answer.
    """

    call: Any
    process: int
    ended: str
    result: Any = field(compare=False)
    prefix: str
    faulted: bool
    unclear: bool


@dataclass(eq=False, slots=True)
class Node:
    """A process about to do an operation; `operation` is None where it has come to its end."""

    operation: Operation | None
    parent: Node | None
    answer: Any
    children: dict[Any, Node] = field(default_factory=dict)
    live: Any = None

    def answers(self) -> list[Any]:
        """All answers that led here, the first first."""
        found, node = [], self
        while node.parent is not None:
            found.append(node.answer)
            node = node.parent
        return found[::-1]


def prefix(process: int, position: int) -> str:
    """How the ids of a call begin, by its process and its place in the program."""
    return f"{process:02x}{position:02x}"


class Life:
    """The tree of a process.

    Args:
        number: of the process; its ids begin with it.
        program: the calls that it makes, one after the other.
    """

    def __init__(self, number: int, program: Sequence[Call]) -> None:
        self.number = number
        self.program = tuple(program)
        self.replays = 0
        greenlet_, first = self._birth()
        self.root = Node(first, None, None, live=greenlet_)

    def after(self, node: Node, answer: Any) -> Node:
        """Where the process is once its operation is answered."""
        found = node.children.get(answer)
        if found is None:
            live = node.live or self._replayed(node)
            node.live = None
            found = Node(live.switch(answer), node, answer)
            if found.operation is not None:
                found.live = live
            node.children[answer] = found
        return found

    def end(self) -> None:
        """Let go of all greenlets."""
        pending = [self.root]
        while pending:
            node = pending.pop()
            pending += node.children.values()
            _bury(node.live)
            node.live = None

    def _birth(self) -> tuple[Any, Operation]:
        body = Body(self.number, self.program)
        living = greenlet.greenlet(body.live)
        living.body = body
        body.hub = greenlet.getcurrent()
        return living, living.switch()

    def _replayed(self, node: Node) -> Any:
        self.replays += 1
        living, asked = self._birth()
        known = self.root
        for answer in node.answers():
            if asked != known.operation:
                raise Violation("S20", f"the library is not deterministic: {asked} was {known.operation}")
            asked = living.switch(answer)
            known = known.children[answer]
        return living


def _bury(living: Any) -> None:
    if living is not None and not living.dead:
        living.body.dead = True
        with contextlib.suppress(BaseException):
            living.throw(Dead)


@contextmanager
def library_in_the_simulator() -> Iterator[None]:
    """Let public calls find the store and environment of the greenlet that they are made in."""
    known = files_target.open_session, formats.get
    files_target.open_session = lambda place: greenlet.getcurrent().body.session
    formats.get = lambda name: codec.FORMAT
    try:
        yield
    finally:
        files_target.open_session, formats.get = known


def _started(function: Callable[[], Any], /) -> Callable[[], Any]:
    """Do it at once: of all orders, the one that leaves most time for others before it is asked for."""
    try:
        result = function()
    except TxFilesError as error:
        return partial(_raise, error)
    return lambda: result


def _raise(error: TxFilesError) -> Any:
    raise error


class Body:
    """The inside of a process: its calls, its view of the store, its environment."""

    def __init__(self, number: int, program: Sequence[Call]) -> None:
        self.number = number
        self.program = program
        self.hub: Any = None
        self.dead = False
        self.call = ""
        self.asked = 0
        self.faulted = False
        self.unclear = False
        self.prefix = ""
        self.session = Session(SimulatedStore(self), self._environment(), SnapshotCache())

    def ask(self, verb: str, name: str = "", data: Any = None) -> Any:
        """Hand an operation to the world; its answer is a value, or the word for a fault to raise."""
        if self.dead:
            raise Dead
        self.asked += 1
        if self.asked > OPERATIONS_MAX:
            raise Violation("L2", f"{self.call} does not end: {verb} {name} is its operation {self.asked}")
        kind, answer = self.hub.switch(Operation(verb, name, data, self.call))
        if self.dead:
            raise Dead
        if kind == "ok":
            return answer
        self.faulted = True
        if kind == "interrupt":
            raise KeyboardInterrupt
        raise StoreError(
            f"{verb} of {ROOT}/{name} failed (simulated: {kind})",
            hint="there is none: this is a simulation",
            committed="unknown" if kind == "doubt" else "no",
        )

    def live(self) -> None:
        """The whole life."""
        for position, call in enumerate(self.program):
            self.call, self.asked, self.prefix = call.name, 0, prefix(self.number, position)
            self.ask("begin")
            ended, result = self._do(call)
            self.ask("over", data=Outcome(call, self.number, ended, result, self.prefix, self.faulted, self.unclear))

    def _do(self, call: Call) -> tuple[str, Any]:
        try:
            return "returned", call.do("simulated", self.number)
        except KeyboardInterrupt:
            return "interrupted", None
        except TxFilesError as error:
            return "raised", error.with_traceback(None)
        except (Violation, Dead):
            raise
        except Exception as error:
            raise Violation("S20", f"{call.name} ended in no error of ours:\n{traceback.format_exc()}") from error

    def _environment(self) -> Environment:
        numbers = itertools.count()
        slept = [0.0]

        def sleep(seconds: float) -> None:
            slept[0] += seconds

        return Environment(
            now_us=lambda: self.ask("now"),
            monotonic=lambda: slept[0],
            sleep=sleep,
            random=lambda: 0.5,
            new_id=lambda: f"{self.prefix}{next(numbers):028x}",
            map=lambda function, items, /, width=None: map(function, items),
            start=_started,
            writer=f"simulated:{self.number}",
        )


class SimulatedStore:
    """The store port of one process: each method asks the world, see `machine`."""

    root = ROOT

    def __init__(self, body: Body) -> None:
        self._body = body

    def get(self, name: str, *, limit: int) -> bytes | None:
        data = self._body.ask("get", name)
        if data is not None and len(data) > limit:
            raise common.over_limit(self.url(name), len(data), limit)
        return data

    def stat(self, name: str) -> Entry | None:
        return self._body.ask("stat", name)

    def put_if_absent(self, name: str, data: bytes) -> Put:
        put = Put(self._body.ask("create", name, bytes(data)))
        self._body.unclear |= put is Put.UNKNOWN
        self._body.faulted |= put is Put.UNKNOWN and name == names.TABLE_FILE  # which is not sent again
        return put

    def put(self, name: str, data: bytes) -> None:
        self._body.ask("put", name, bytes(data))

    def ensure_durable(self, name: str) -> None:
        """What can be read lasts; a disk where it does not is simulated elsewhere. But it may fail here too."""
        self._body.ask("settle", name)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(lists_from_a_name=False, requests_at_once=1, resends=True)

    def list_from(self, prefix: str, after: str = "") -> Iterator[Entry]:
        return (entry for entry in self._body.ask("list", prefix) if entry.name > after)

    def delete(self, name: str) -> bool:
        return bool(self._body.ask("delete", name))

    def delete_many(self, names: Sequence[str]) -> None:
        """One after the other, since others may see, and anything may strike, between any two."""
        common.delete_each(self.delete, names)

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]], size: int | None = None) -> list[bytes]:
        return common.ranges_of(self.open_input(name, size), ranges, self.url(name))

    def now_us(self) -> int:
        return int(self._body.ask("now", "store"))

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        data = self._body.ask("open", name)
        if data is None:
            raise common.missing(self.url(name))
        return pa.BufferReader(data)

    def create(self, name: str) -> SimulatedSink:
        return SimulatedSink(self._body, name)

    def url(self, name: str) -> str:
        return f"{ROOT}/{name}"

    @contextmanager
    def lock(self, timeout_seconds: float) -> Iterator[bool]:
        """It excludes nobody, since all interleavings are wanted; every other process believes that it holds it."""
        yield self._body.number % 2 == 0


class SimulatedSink:
    """A data file in the making."""

    def __init__(self, body: Body, name: str) -> None:
        self._body = body
        self._name = name
        self._data = bytearray()

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        view = memoryview(data)
        self._data += view
        return view.nbytes

    def tell(self) -> int:
        return len(self._data)

    def close(self) -> None:
        self._body.ask("publish", self._name, bytes(self._data))

    def abort(self) -> None:
        self._data.clear()
