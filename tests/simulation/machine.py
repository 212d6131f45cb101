"""The world of the simulator: the store, the processes in it, and all that can happen next.

A `State` is a value. `moves` says what may happen in it, `apply` what it comes to. A store operation is the only thing
by which processes meet, so it is the only place where anything can go wrong:

    error          it is not done, and the answer says so
    lost           it is done, and the answer is lost
    doubt          it is done, and the answer says that this is not sure (a failed fsync of the folder)
    late           it is neither done nor answered; it may yet be done at any time, or never
    crash before   the process dies, and it is not done
    crash after    the process dies, and it is done
    crash late     the process dies, and it may yet be done at any time, or never
    interrupt      Ctrl-C hits the process before it is done; the process cleans up as it likes
    lag            a listing does not show the newest changes
    clock          the store's clock jumps, a day ahead or behind

The exhaustive search lets a process go on by itself while what it does can neither be seen nor be changed by others
(`_is_shared`): such operations commute. Random walks take every operation for a point where anybody may go first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from tests.simulation.process import Call, Life, Node, Operation, Outcome, Violation
from txfiles.core import names
from txfiles.store.port import Entry, Put

FAULTS: dict[str, tuple[str, ...]] = {
    "get": ("error",),
    "stat": ("error",),
    "list": ("error",),
    "open": ("error",),
    "settle": ("error", "crash before"),
    "put": ("error", "crash before", "crash after"),
    "publish": ("error", "lost", "crash before", "crash after"),
    "delete": ("error", "lost", "crash before", "crash after"),
    "create": ("error", "lost", "doubt", "late", "crash before", "crash after", "crash late"),
}
"""What may strike an operation; `create` is `put_if_absent`, `publish` the `close` of a data file."""

RARE: dict[str, tuple[str, ...]] = {
    "list": ("lag",),
    "now": ("clock",),
    **dict.fromkeys(("put", "publish", "delete", "create"), ("interrupt",)),
}
"""What may strike it in random walks besides."""

LAG_OPERATIONS = 4
"""How many of the last changes a lagging listing may miss."""

YEARS_US = 10 * 365 * 86_400 * 1_000_000
SKEWS_US = (0, -YEARS_US, YEARS_US, 1, -1, 86_400_000_000)
"""How wrong the clock of each process is."""


@lru_cache(65_536)
def kind_of(name: str) -> str:
    """What an object is."""
    if name == names.TABLE_FILE:
        return "table.json"
    if name == names.HINT_FILE:
        return "hint"
    if name == names.INDEX_SEED_FILE:
        return "secret"
    for folder, kind in (
        (names.MANIFEST_DIR, "manifest"),
        (names.CHECKPOINT_DIR, "checkpoint"),
        (names.SIDECAR_DIR, "sidecar"),
    ):
        if name.startswith(folder):
            return kind
    return "data"


def faults_of(verb: str, *, rare: bool) -> tuple[str, ...]:
    """What may strike an operation."""
    return (*FAULTS.get(verb, ()), *(RARE.get(verb, ()) if rare else ()))


def what(operation: Operation) -> str:
    """Verb and kind of object, as faults are counted."""
    return operation.verb if operation.verb in ("list", "now") else f"{operation.verb} {kind_of(operation.name)}"


class Last(NamedTuple):
    """What a manifest says: whose it is, and whether it is the last one."""

    table_id: str
    detached: bool


class Stored(NamedTuple):
    """An object."""

    data: bytes
    modified_us: int
    digest: int


class Late(NamedTuple):
    """A request that may yet be done."""

    process: int
    name: str
    data: bytes


class Ended(NamedTuple):
    """How a call ended, the newest version that anybody had been told of when it began, and the head at its end."""

    outcome: Outcome
    floor: int
    head: int


class Slot(NamedTuple):
    """A process: its tree, where it is in it, how its calls ended, and whether it is dead.

    `floor` is the newest version that anybody had been told of when the call did its first operation that others could
    notice, or be noticed by: the call might as well have begun right then.
    """

    life: Life
    node: Node
    floor: int | None = None
    ended: tuple[Ended, ...] = ()
    dead: bool = False

    @property
    def over(self) -> bool:
        return self.dead or self.node.operation is None


class Move(NamedTuple):
    """What may happen: a process does its operation, with a fault or "", or a late request is done or dropped."""

    slot: int
    fault: str = ""
    late: int = -1


class State(NamedTuple):
    """Everything.

    Attributes:
        objects: by name; never changed in place.
        digest: of them.
        clock_us: the store's clock.
        late: requests that may yet be done.
        slots: the processes.
        faults: how many may strike yet.
        current: the process that went last.
        recent: names that changed last, for a listing that lags.
    """

    objects: dict[str, Stored]
    digest: int = 0
    clock_us: int = 1_800_000_000_000_000
    late: tuple[Late, ...] = ()
    slots: tuple[Slot, ...] = ()
    faults: int = 0
    current: int = 0
    recent: tuple[str, ...] = ()

    def key(self) -> Any:
        """Equal for states with the same future."""
        slots = tuple(
            (id(slot.node), slot.dead, slot.floor, tuple((ended.floor, ended.head) for ended in slot.ended))
            for slot in self.slots
        )
        return self.digest, self.clock_us, self.late, self.faults, slots

    def head(self) -> int:
        """The newest version; -1 where there is none."""
        return sum(kind_of(name) == "manifest" for name in self.objects) - 1

    def ended(self) -> Iterator[Ended]:
        """All calls that have ended."""
        for slot in self.slots:
            yield from slot.ended


class Machine:
    """The rules.

    Args:
        restart: whether a process that dies is started again, at the call that it died in.
        everything: every operation is a scheduling point, and rare faults strike too.
        vacuums: whether a vacuum takes part, so that names which only their writer knows matter to others.
        leaves: whether a detach takes part, so that `table.json` may be deleted.
    """

    def __init__(
        self, *, restart: bool = False, everything: bool = False, vacuums: bool = True, leaves: bool = False
    ) -> None:
        self._restart = restart
        self.everything = everything
        self._vacuums = vacuums
        self._leaves = leaves
        self._lives: dict[Any, Life] = {}
        self._listed: dict[bytes, frozenset[str]] = {}

    def start(self, state: State, programs: Sequence[Sequence[Call]], *, first: int = 0) -> State:
        """The state with a process for each program. `first` numbers them, and ids are made of the numbers."""
        return state._replace(slots=tuple(self._slot(first + n, tuple(p)) for n, p in enumerate(programs)))

    def end(self) -> None:
        """Let go of all processes."""
        for life in self._lives.values():
            life.end()
        self._lives.clear()

    @property
    def replays(self) -> int:
        """How often the real code was run again from the start of a process."""
        return sum(life.replays for life in self._lives.values())

    def moves(self, state: State) -> list[Move]:
        """What may happen, the dull one first; nothing where the run is over."""
        waiting = [number for number, slot in enumerate(state.slots) if not slot.over]
        if not waiting:
            return [Move(-1, late=0), Move(-1, "drop", late=0)] if state.late else []
        if state.current in waiting:
            waiting.remove(state.current)
            waiting.insert(0, state.current)
        alone = next((number for number in waiting if not self._is_shared(state, _asked(state, number))), None)
        if alone is not None:
            return self._with_faults(state, alone)
        found = [move for number in waiting for move in self._with_faults(state, number)]
        return [*found, *(Move(-1, late=number) for number in range(len(state.late)))]

    def apply(self, state: State, move: Move) -> State:
        """What a move comes to.

        Raises:
            Violation: it does what must never be done.
        """
        if move.late >= 0:
            return self._late(state, move)
        slot = state.slots[move.slot]
        operation = _asked(state, move.slot)
        state = state._replace(current=move.slot, faults=state.faults - bool(move.fault))
        if slot.floor is None and (operation.verb == "over" or self._is_shared(state, operation)):
            slot = slot._replace(floor=_told(state))
            state = state._replace(slots=(*state.slots[: move.slot], slot, *state.slots[move.slot + 1 :]))
        if move.fault == "clock":
            state = state._replace(clock_us=state.clock_us + (1 if state.faults % 2 else -1) * 86_400_000_000)
        if move.fault == "crash before":
            return self._crash(state, move.slot)
        if move.fault in ("error", "interrupt"):
            return self._answered(state, move.slot, (move.fault, None))
        if operation.verb == "begin":
            return self._answered(state, move.slot, ("ok", None), floor=None)
        if operation.verb == "over":
            ended = (*slot.ended, Ended(operation.data, slot.floor if slot.floor is not None else -1, state.head()))
            return self._answered(state, move.slot, ("ok", None), ended=ended)
        state, answer = getattr(self, f"_{operation.verb}")(state, slot, operation, move.fault)
        if move.fault in ("crash after", "crash late"):
            return self._crash(state, move.slot)
        raises = move.fault == "doubt" or (move.fault == "lost" and operation.verb != "create")
        return self._answered(state, move.slot, (move.fault if raises else "ok", answer))

    # ---- operations ---------------------------------------------------------------------------

    def _get(self, state: State, slot: Slot, operation: Operation, fault: str) -> tuple[State, Any]:
        found = state.objects.get(operation.name)
        return state, found and found.data

    _open = _get

    def _stat(self, state: State, slot: Slot, operation: Operation, fault: str) -> tuple[State, Any]:
        found = state.objects.get(operation.name)
        return state, found and Entry(operation.name, len(found.data), found.modified_us)

    def _settle(self, state: State, slot: Slot, operation: Operation, fault: str) -> tuple[State, Any]:
        if operation.name not in state.objects:
            raise Violation("S4", f"P{slot.life.number} settles {operation.name}, which is not there")
        return state, None

    def _list(self, state: State, slot: Slot, operation: Operation, fault: str) -> tuple[State, Any]:
        hidden = state.recent if fault == "lag" else ()
        return state, tuple(
            Entry(name, len(held.data), held.modified_us)
            for name, held in sorted(state.objects.items())
            if name.startswith(operation.name) and name not in hidden
        )

    def _now(self, state: State, slot: Slot, operation: Operation, fault: str) -> tuple[State, Any]:
        skew = 0 if operation.name == "store" else SKEWS_US[slot.life.number % len(SKEWS_US)]
        return state, state.clock_us + skew

    def _create(self, state: State, slot: Slot, operation: Operation, fault: str) -> tuple[State, Any]:
        if fault in ("late", "crash late"):
            request = Late(slot.life.number, operation.name, operation.data)
            return state._replace(late=(*state.late, request)), Put.UNKNOWN.value
        if operation.name in state.objects:
            return state, (Put.UNKNOWN if fault == "lost" else Put.EXISTS).value
        put = Put.UNKNOWN if fault == "lost" else Put.CREATED
        return stored(state, operation.name, operation.data), put.value

    def _put(self, state: State, slot: Slot, operation: Operation, fault: str) -> tuple[State, Any]:
        kind = kind_of(operation.name)
        if kind != "hint" and (kind != "checkpoint" or operation.name in state.objects):
            raise Violation("S1", f"P{slot.life.number} writes over {operation.name}")
        return stored(state, operation.name, operation.data), None

    def _publish(self, state: State, slot: Slot, operation: Operation, fault: str) -> tuple[State, Any]:
        if operation.name in state.objects:
            raise Violation("S1", f"P{slot.life.number} writes over {operation.name}")
        return stored(state, operation.name, operation.data), None

    def _delete(self, state: State, slot: Slot, operation: Operation, fault: str) -> tuple[State, Any]:
        if operation.name not in state.objects:
            return state, False
        self._check_delete(state, slot, operation.name)
        objects = dict(state.objects)
        gone = objects.pop(operation.name)
        recent = (*state.recent, operation.name)[-LAG_OPERATIONS:]
        return state._replace(objects=objects, digest=state.digest ^ gone.digest, recent=recent), True

    def _wait(self, state: State, slot: Slot, operation: Operation, fault: str) -> tuple[State, Any]:
        """A call is as good as over: the process holds nothing but what it remembers."""
        return state, None

    def _replace(self, state: State, slot: Slot, operation: Operation, fault: str) -> tuple[State, Any]:
        """Another table takes the place of the first one.

        Not so if somebody is amid a call, for no library could notice that, nor if a commit would be lost.
        """
        if state.head() != sum(kind_of(name) == "manifest" for name in operation.data) - 1:
            return state, None
        for other in state.slots:
            asked = other.node.operation
            if other is not slot and asked is not None and asked.verb not in ("begin", "wait"):
                return state, None
        for name in list(state.objects):
            if name.startswith("_txfiles") or name not in operation.data:
                gone = state.objects[name]
                objects = {known: held for known, held in state.objects.items() if known != name}
                state = state._replace(objects=objects, digest=state.digest ^ gone.digest)
        for name, data in operation.data.items():
            state = state if name in state.objects else stored(state, name, data)
        return state, None

    def _late(self, state: State, move: Move) -> State:
        request = state.late[move.late]
        state = state._replace(late=state.late[: move.late] + state.late[move.late + 1 :])
        if move.fault == "drop" or request.name in state.objects:
            return state
        return stored(state, request.name, request.data)

    def _check_delete(self, state: State, slot: Slot, name: str) -> None:
        """S1, S14, S18: who deletes has written the file himself, a vacuum lists it, or the table was detached."""
        last = _last_version(state)
        left = last is not None and last.detached
        if kind_of(name) == "manifest" or (kind_of(name) == "table.json" and not left):
            raise Violation("S1", f"P{slot.life.number} deletes {name}, and its number could be given again")
        if kind_of(name) == "data" and name.split("-")[-2].startswith(f"{slot.life.number:02x}"):
            return
        if last is not None and left and (name.startswith("_txfiles/") or last.table_id in name):
            return
        for manifest, held in state.objects.items():
            if kind_of(manifest) == "manifest" and name in self._deletes(state, held.data):
                return
        raise Violation("S14", f"P{slot.life.number} deletes {name}, which no committed vacuum lists")

    def _deletes(self, state: State, manifest: bytes) -> frozenset[str]:
        if manifest not in self._listed:
            from tests.simulation.invariants import listed, manifest_of

            self._listed[manifest] = frozenset(listed(manifest_of(manifest, state.objects)))
        return self._listed[manifest]

    # ---- processes ----------------------------------------------------------------------------

    def _slot(self, number: int, program: tuple[Call, ...]) -> Slot:
        key = number, tuple(map(id, program))
        if key not in self._lives:
            self._lives[key] = Life(number, program)
        life = self._lives[key]
        return Slot(life, life.root)

    def _answered(self, state: State, number: int, answer: Any, **changes: Any) -> State:
        slot = state.slots[number]
        slot = slot._replace(node=slot.life.after(slot.node, answer), **changes)
        return state._replace(slots=(*state.slots[:number], slot, *state.slots[number + 1 :]))

    def _crash(self, state: State, number: int) -> State:
        slot = state.slots[number]
        slots = (*state.slots[:number], slot._replace(dead=True), *state.slots[number + 1 :])
        if self._restart:
            slots += (self._slot(len(slots), slot.life.program[len(slot.ended) :]),)
        return state._replace(slots=slots)

    def _with_faults(self, state: State, number: int) -> list[Move]:
        verb = _asked(state, number).verb
        options = faults_of(verb, rare=self.everything) if state.faults else ()
        return [Move(number), *(Move(number, fault) for fault in options)]

    def _is_shared(self, state: State, operation: Operation) -> bool:
        """Whether another process could change the answer, or see what is done.

        What stands stays as it is, but for the hint, and for what a vacuum may delete where one takes part. A data file
        is known to its writer alone until it is committed.
        """
        kind = kind_of(operation.name)
        if self.everything:
            return operation.verb != "begin"
        if operation.verb in ("begin", "over", "now", "settle"):
            return False
        if operation.verb == "list" or kind == "data":
            return self._vacuums
        if kind == "hint":
            return True
        if operation.verb in ("get", "stat"):
            stays = kind == "manifest" or (kind == "table.json" and not self._leaves)
            return operation.name not in state.objects or (not stays and self._vacuums)
        return True


@lru_cache(4_096)
def _told_by(manifest: bytes) -> Last:
    found = json.loads(manifest)
    return Last(found["table_id"], "detached" in found.get("table", {}).get("required_features", ()))


def _last_version(state: State) -> Last | None:
    """What the newest manifest says; None where there is none."""
    found = state.objects.get(names.manifest(state.head()))
    return None if found is None else _told_by(found.data)


def _asked(state: State, number: int) -> Operation:
    operation = state.slots[number].node.operation
    assert operation is not None
    return operation


def _told(state: State) -> int:
    """The newest version that anybody has been told of; -1 is none."""
    results = (ended.outcome.result for ended in state.ended() if ended.outcome.ended == "returned")
    return max((result.version for result in results if result.version is not None), default=-1)


def stored(state: State, name: str, data: bytes) -> State:
    """The state with an object more, or another one."""
    known = state.objects.get(name)
    found = Stored(data, state.clock_us, _digest(name, data, state.clock_us))
    digest = state.digest ^ found.digest ^ (known.digest if known else 0)
    recent = (*state.recent, name)[-LAG_OPERATIONS:]
    return state._replace(objects={**state.objects, name: found}, digest=digest, recent=recent)


@lru_cache(65_536)
def _digest(name: str, data: bytes, modified_us: int) -> int:
    digest = blake2b(data, digest_size=8)
    digest.update(f"\0{name}\0{modified_us}".encode())
    return int.from_bytes(digest.digest(), "big")
