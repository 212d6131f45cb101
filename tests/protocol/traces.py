"""Recorded runs against the model: `verdict` decides with Spin whether the model of the protocol can do the same.

A trace is a list of events, one JSON object a line, in the order in which the store did things. `p` numbers the call
(one public operation, one commit id); every event has it and `e`, which says what happened:

    head      v        p began to plan on version v, the newest that it found; -1 where there is no table. Once a call:
                       after that, it plans on what it has seen
    see       v        p read manifest v to learn what is newer than its base; before its head it does not count
    stage     f        p's data file f became visible
    unstage   f        p deleted f, which it had staged itself
    put       v, kind, adds, removes
                       the store created manifest v from what p sent, now or long ago. kind: vacuum, or any other word;
                       adds and removes are lists of files. base, where it is said, is v - 1
    list      v, files p's manifest v, a vacuum's, lists these files; stands beside its put
    exists    v        the store answered p that v is taken
    lost      v        p got no answer about v, or "unknown". If it is applied, that is a put before or after this
    readback  v, r     p read back what stands as v: r is "mine", "other" or "absent"
    delete    f        p deleted f, which the manifest of its vacuum lists
    ack       v        p's call returned: committed as v
    same      v        p's call returned without a commit of its own; v is the version that it was decided on, or -1
    abort              p's call raised an error that says: not committed
    unknown            p's call raised CommitStateUnknownError
    crash              p died

What the model does not speak of (hint, checkpoints, temporary files, tables of other names) is no event. There may be
at most 31 calls, 31 versions and 31 files.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.protocol.spin import SOURCE, build

Event = Mapping[str, Any]

MOST = 31
READ_BACK = {"mine": "MINE", "other": "OTHERS", "absent": "ABSENT"}
NEVER = 255
"""An event that the model does not know."""


@dataclass(frozen=True)
class Verdict:
    """Whether the model can do a run; if not, the first event that it cannot do, whatever it did before it."""

    accepted: bool
    refused: Event | None
    position: int


def accepted(events: Iterable[Event]) -> bool:
    """Whether the model can do these events, in this order."""
    return verdict(events).accepted


def verdict(events: Iterable[Event]) -> Verdict:
    """Judge a trace.

    Raises:
        ValueError: it is no trace: an event lacks something, or there are too many calls, versions or files.
    """
    written = _Writer(list(events))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        run.write_text(written.text(), encoding="ascii")
        told = subprocess.run(
            [_checker(), "-E", "-w18", "-m100000"],
            cwd=folder,
            env=os.environ | {"TRACE": str(run)},
            capture_output=True,
            text=True,
            check=False,
        )
    reached = [int(number) for number in re.findall(r"got to (\d+)", told.stdout)]
    assert reached, told.stdout + told.stderr
    assert "max search depth too small" not in told.stdout, told.stdout
    if reached[-1] == len(written.rows):
        return Verdict(accepted=True, refused=None, position=len(written.rows))
    assert "errors: 0" in told.stdout, told.stdout
    return Verdict(accepted=False, refused=written.origin[reached[-1]], position=reached[-1])


class _Writer:
    """A trace in numbers, as specs/model/trace.pml reads it."""

    def __init__(self, events: list[Event]) -> None:
        self._calls: dict[Any, int] = {}
        self._files: dict[Any, int] = {}
        self._seen: dict[Any, int] = {}
        self._vacuums: set[int] = set()
        self._lists = {(event["p"], event["v"]): event["files"] for event in events if event["e"] == "list"}
        self._put = {(event["p"], event["v"]) for event in events if event["e"] == "put"}
        self.rows: list[tuple[int, ...]] = []
        self.origin: list[Event] = []
        for event in events:
            row = self._row(event)
            if row is not None:
                self.rows.append(row)
                self.origin.append(event)

    def text(self) -> str:
        """The file for the checker."""
        vacuums = [int(call in self._vacuums) for call in range(len(self._calls))]
        numbers = [len(vacuums), *vacuums, len(self.rows), *(number for row in self.rows for number in row)]
        return "\n".join(map(str, numbers)) + "\n"

    def _row(self, event: Event) -> tuple[int, ...] | None:
        what, who = event["e"], event["p"]
        call = _number(self._calls, who, "calls")
        version = event["v"] + 1 if "v" in event else 0
        if not 0 <= version <= MOST:
            raise ValueError(f"version {event['v']} is beyond what the checker is built for")
        if what == "list":
            return None if (who, event["v"]) in self._put else (NEVER, call, version, 0, 0, 0)
        if what == "see" and version <= self._seen.get(who, MOST):
            return None  # on its way to the head, or for the second time
        if what == "head" and who in self._seen:
            raise ValueError(f"call {who} has two heads")
        if what in ("head", "see"):
            self._seen[who] = version
        name = READ_BACK[event["r"]] if what == "readback" else what.upper()
        if what != "put":
            return _events()[name], call, version, self._set([event["f"]] if "f" in event else []), 0, 0
        if event.get("base", event["v"] - 1) != event["v"] - 1:
            raise ValueError(f"manifest {event['v']} is not on top of the version before it")
        if event["kind"] == "vacuum":
            self._vacuums.add(call)
        lists = self._lists.get((who, event["v"]), ())
        return _events()[name], call, version, self._set(event["adds"]), self._set(event["removes"]), self._set(lists)

    def _set(self, files: Iterable[Any]) -> int:
        found = 0
        for file in files:
            found |= 1 << _number(self._files, file, "files")
        return found


def _number(known: dict[Any, int], thing: Any, what: str) -> int:
    number = known.setdefault(thing, len(known))
    if number >= MOST:
        raise ValueError(f"more than {MOST} {what}: more than the checker is built for")
    return number


@cache
def _events() -> dict[str, int]:
    """The names of the model's visible steps, by Spin's numbers: it counts them from the end."""
    found = re.search(r"mtype:event = \{.*?\n(.*?)\}", SOURCE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    names = re.findall(r"[A-Z]+", found[1])
    return {name: len(names) - place for place, name in enumerate(names)}


@cache
def _checker() -> Path:
    """The checker of traces, built once a process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build(folder, {"TRACE": ""}, "-DSAFETY", "-DVECTORSZ=8192")
