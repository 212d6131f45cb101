"""Traces of the simulator's runs: what happened at the store port, as `traces` wants it told.

A call is known by how its ids begin. `head` is told when a call first finds the number after those that it has read to
be free, or does what others may notice: by then it has read what it plans on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.protocol.traces import Event
from tests.simulation.choosing import Choose
from tests.simulation.invariants import listed, manifest_of
from tests.simulation.machine import Move, State, kind_of
from tests.simulation.process import Outcome, prefix
from tests.simulation.scenes import Scene


@dataclass
class _Call:
    """What a call has shown of itself."""

    seen: int = -1
    told: bool = False
    sent: tuple[int, bytes] | None = None
    version: int | None = None
    knows: bool = False


@dataclass
class Recorder:
    """Chooses as `choose` does, and notes what that comes to in `events`."""

    scene: Scene
    choose: Choose
    events: list[Event] = field(default_factory=list)
    _calls: dict[str, _Call] = field(default_factory=dict)
    _prefixes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The table as it is given: each version by a call of its own."""
        objects = self.scene.base.objects
        for name in sorted(name for name in objects if kind_of(name) == "manifest"):
            who, version = f"given {name}", _version(name)
            self._tell(who, "head", v=version - 1)
            for path in _paths(manifest_of(objects[name].data, objects), "add"):
                self._tell(who, "stage", f=path)
            self._put(self.scene.base, who, name, objects[name].data)
            self._tell(who, "ack", v=version)

    def __call__(self, state: State, moves: Sequence[Move]) -> int:
        """Choose, and note it."""
        number = self.choose(state, moves)
        move = moves[number]
        if move.late < 0:
            self._note(state, move)
        elif move.fault != "drop":
            request = state.late[move.late]
            if kind_of(request.name) == "manifest" and request.name not in state.objects:
                who = manifest_of(request.data, state.objects)["commit_id"][:4]
                self._put(state, who, request.name, request.data)
        return number

    def _note(self, state: State, move: Move) -> None:
        slot = state.slots[move.slot]
        operation = slot.node.operation
        assert operation is not None
        who = prefix(slot.life.number, len(slot.ended))
        call = self._calls.setdefault(who, _Call())
        if operation.call.startswith("read"):
            return
        done = move.fault not in ("error", "interrupt", "crash before")
        if operation.verb == "over":
            self._over(who, call, operation.data)
        elif operation.verb == "list" and not operation.name:
            self._head(who, call)
        elif done and kind_of(operation.name) == "data" and operation.verb in ("publish", "delete"):
            self._data(state, who, call, operation.verb, operation.name)
        elif kind_of(operation.name) == "manifest" and operation.verb == "create":
            self._create(state, who, call, operation.name, operation.data, move.fault)
        elif done and kind_of(operation.name) == "manifest" and operation.verb == "get":
            self._get(state, who, call, operation.name)
        if move.fault.startswith("crash"):
            self._tell(who, "crash")

    def _data(self, state: State, who: str, call: _Call, verb: str, name: str) -> None:
        self._head(who, call)
        if verb == "publish":
            self._tell(who, "stage", f=name)
        elif name in state.objects:
            mine = name.rpartition("/")[2].split("-")[-2].startswith(who)
            self._tell(who, "unstage" if mine else "delete", f=name)

    def _create(self, state: State, who: str, call: _Call, name: str, data: bytes, fault: str) -> None:
        self._head(who, call)
        version, free = _version(name), name not in state.objects
        if fault in ("error", "interrupt", "crash before", "crash late"):
            return
        call.sent = None
        if free and fault != "late":
            self._put(state, who, name, data)
            call.version, call.knows = version, not fault
        if fault in ("lost", "late", "doubt") or (not free and not fault):
            call.sent = version, data
            self._tell(who, "lost" if fault else "exists", v=version)

    def _get(self, state: State, who: str, call: _Call, name: str) -> None:
        version, found = _version(name), state.objects.get(name)
        if call.sent is not None and call.sent[0] == version:
            read = "absent" if found is None else "mine" if found.data == call.sent[1] else "other"
            self._tell(who, "readback", v=version, r=read)
            if read == "mine":
                call.version, call.knows = version, True
            if read != "absent":
                call.sent = None
        elif found is None and version == call.seen + 1:
            self._head(who, call)
        elif found is not None and not call.told:
            call.seen = max(call.seen, version)
        elif found is not None and version == call.seen + 1 and not call.knows:
            call.seen = version
            self._tell(who, "see", v=version)

    def _over(self, who: str, call: _Call, outcome: Outcome) -> None:
        self._head(who, call)
        committed = getattr(outcome.result, "committed", None)
        version = getattr(outcome.result, "version", None)
        if outcome.ended == "interrupted":
            self._tell(who, "crash")
        elif outcome.ended == "raised":
            self._tell(who, {"no": "abort", "unknown": "unknown", "yes": "ack"}[committed], v=call.version)
        elif committed or (committed is None and call.knows):  # `set` does not say as what it was committed
            self._tell(who, "ack", v=version if committed else call.version)
        else:
            self._tell(who, "same", v=-1 if version is None else version)

    def _head(self, who: str, call: _Call) -> None:
        if not call.told:
            call.told = True
            self._tell(who, "head", v=call.seen)

    def _put(self, state: State, who: str, name: str, data: bytes) -> None:
        manifest, version = manifest_of(data, state.objects), _version(name)
        vacuum = "vacuum" in manifest
        kind = "vacuum" if vacuum else "append" if manifest.get("add") else "other"
        adds, removes = _paths(manifest, "add"), _paths(manifest, "remove")
        self._tell(who, "put", v=version, kind=kind, adds=adds, removes=removes, base=version - 1)
        if vacuum:
            files = sorted(name for name in listed(manifest) if kind_of(name) == "data")
            self._tell(who, "list", v=version, files=files)

    def _tell(self, who: str, what: str, **facts: Any) -> None:
        if what in ("abort", "unknown"):
            facts = {}
        self.events.append({"p": who, "e": what, **facts})


def _version(name: str) -> int:
    return int(name.rpartition("/")[2][:20])


def _paths(manifest: dict[str, Any], action: str) -> list[str]:
    return [unquote(one["path"]) for one in manifest.get(action, ())]
