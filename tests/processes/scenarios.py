"""The public calls as cases: a table as it was before, one call, and what the rows are after it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.model import Model, Row
from tests.processes.calls import Call, perform, play, row

PROPERTIES = {"checkpoint_interval": 1, "vacuum_grace": "0"}
"""Each commit writes a checkpoint, and a vacuum takes orphans of any age."""

KEYED = {"keys": ["id"], "timestamp_col": "time"}
CREATION = [row(1, "a"), row(2, "b")]
BATCH = [row(2, "b", n=7, at=5), row(3, "b", n=7, at=5), row(9, "c", n=7, at=5)]


def write(mode: str, rows: list[Row], **options: Any) -> Call:
    return {"do": "write", "mode": mode, "rows": rows, **options}


BEFORE = (
    write("append", [row(1, "a"), row(2, "b"), row(3, "b"), row(4, "c")], partition_by=["part"], properties=PROPERTIES),
    write("upsert", [row(1, "a", n=1, at=1), row(5, "a", n=1, at=1)], **KEYED),
    write("append_once", [row(6, "c")]),
)

MARKS = {**PROPERTIES, "update_strategy": "merge_on_read", "key_index": "on"}
"""Rows are marked instead of files rewritten, and every commit adds a run to the key index."""

MARKED = (
    {**BEFORE[0], "properties": MARKS},
    *BEFORE[1:],
    write("upsert", [row(2, "b", n=2, at=2), row(7, "b", n=2, at=2)]),
)


@dataclass(frozen=True)
class Scenario:
    """One public call.

    Attributes:
        name: for the test's id.
        call: what is done.
        operations: at least so many changes of the disk it makes.
        before: what was done before.
        repeats: whether doing it twice adds its rows twice.
    """

    name: str
    call: Call
    operations: int
    before: tuple[Call, ...] = field(default=BEFORE, repr=False)
    repeats: bool = False

    def __str__(self) -> str:
        return self.name

    def rows(self, *, times: int) -> list[Row]:
        """The rows once the call was made so many times."""
        model = Model(keys=("id",))
        for call in (*self.before, *[self.call] * (min(times, 1) if not self.repeats else times)):
            play(model, call)
        return model.rows

    def at(self, root: Path) -> Call:
        """The call on a table."""
        return {**self.call, "path": str(root)}

    def prepare(self, root: Path) -> None:
        """Make the table as it was before."""
        for call in self.before:
            answer = perform({**call, "path": str(root)})
            assert "error" not in answer, answer


TRANSACTION: Call = {
    "do": "transaction",
    "parts": [{"do": "delete", "keys": [1, 4]}, write("upsert", [*BATCH, row(4, "c", n=8, at=9)])],
    "batch_id": "four",
}

SCENARIOS = [
    Scenario("create", write("append_once", CREATION, keys=["id"], properties=PROPERTIES), 20, before=()),
    Scenario("create csv", write("append", CREATION, format="csv", batch_id="1", partition_by=["part"]), 20, before=()),
    Scenario("append", write("append", BATCH), 25, repeats=True),
    Scenario("append a batch", write("append", BATCH, batch_id="one"), 25),
    Scenario("append_once", write("append_once", BATCH), 20),
    Scenario("upsert", write("upsert", BATCH), 25),
    Scenario("overwrite", write("overwrite", BATCH), 25),
    Scenario("overwrite partitions", write("overwrite", BATCH, overwrite_partitions=True), 25),
    Scenario("replace", write("overwrite", [row(30, n=0, at=9)], replace_where=[["n", "==", 0]], batch_id="two"), 24),
    Scenario("delete", {"do": "delete", "where": [["id", "in", [2, 77]]]}, 20),
    Scenario("delete a batch", {"do": "delete", "keys": [1, 2, 77], "batch_id": "three"}, 20),
    Scenario("transaction", TRANSACTION, 30),
    Scenario("restore", {"do": "restore", "version": 0, "rows": BEFORE[0]["rows"]}, 15),
    Scenario("set", {"do": "set", "row_group_rows": 77}, 15),
    Scenario("compact", {"do": "compact"}, 20, before=(*BEFORE, write("append", [row(7, "c")]))),  # beside another
    Scenario("build an index", {"do": "index", "action": "build"}, 20),
    Scenario("vacuum", {"do": "vacuum", "retain": "0"}, 15),
    Scenario("upsert, marked", write("upsert", BATCH), 30, before=MARKED),
    Scenario("delete, marked", {"do": "delete", "keys": [1, 2, 77]}, 20, before=MARKED),
    Scenario("transaction, marked", TRANSACTION, 30, before=MARKED),
    Scenario("compact, marked", {"do": "compact"}, 20, before=MARKED),
    Scenario("vacuum, marked", {"do": "vacuum", "retain": "0"}, 12, before=(*MARKED, {"do": "delete", "keys": [3, 2]})),
]


class Templates:
    """Tables as they were before each call, made once and copied."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, ...], Path] = {}

    def copy(self, scenario: Scenario, root: Path) -> None:
        """Put the table at `root`, which is replaced."""
        key = tuple(map(str, scenario.before))
        if key not in self._made:
            self._made[key] = self._folder / str(len(self._made))
            scenario.prepare(self._made[key])
        shutil.rmtree(root, ignore_errors=True)
        if scenario.before:
            shutil.copytree(self._made[key], root, symlinks=True)
