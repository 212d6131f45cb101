"""A run in words."""

from __future__ import annotations

from typing import Any

from tests.simulation.machine import Move, State, kind_of
from txfiles.errors import TxFilesError

SHOWN = 200
"""Characters of an error's message that a story shows."""


def tell(state: State, move: Move) -> list[str]:
    """A move as a line of a story; reading is only told where it fails."""
    if move.late >= 0:
        request = state.late[move.late]
        taken = " (it is taken)" if request.name in state.objects else ""
        ends = "is lost for good" if move.fault == "drop" else f"is done at last{taken}"
        return [f"     the late request of P{request.process} to create {short(request.name)} {ends}"]
    slot = state.slots[move.slot]
    operation = slot.node.operation
    assert operation is not None
    who = f"P{slot.life.number}"
    if operation.verb == "begin":
        return [f"{who}   {operation.call} begins"]
    if operation.verb == "over":
        return [f"{who}   {operation.call} {operation.data.ended}{_result(operation.data.result)}"]
    if not move.fault and operation.verb in ("get", "stat", "list", "open", "settle", "now"):
        return []
    taken = " (it is taken)" if operation.verb == "create" and operation.name in state.objects else ""
    fault = f" -- {move.fault}" if move.fault else ""
    return [f"{who}     {operation.verb} {short(operation.name)}{taken}{fault}"]


def short(name: str) -> str:
    """A name as a person wants it."""
    kind, last = kind_of(name), name.rpartition("/")[2]
    if kind in ("manifest", "checkpoint", "sidecar"):
        return f"{kind} {int(last[:20])}" if last else f"{kind}s"
    if last.startswith("part-"):
        _, _, commit, number = last.split("-")
        return f"file {number.split('.')[0][-2:]} of P{int(commit[:2], 16)}"
    return last or "the folder"


def _result(result: Any) -> str:
    if isinstance(result, TxFilesError):
        return f" {type(result).__name__} (committed: {result.committed}): {result.message[:SHOWN]}"
    if result is None:
        return ""
    facts = [name for name in ("committed", "already_committed") if getattr(result, name, False)]
    return ": " + ", ".join([f"version {result.version}", *facts])
