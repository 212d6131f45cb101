"""Calls of every kind by chance, told apart in the log; and what the log of them means."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.model import Model, Row, bag
from tests.processes.calls import Call, play, row
from tests.processes.checks import Log

KEYED = {"keys": ["id"], "timestamp_col": "time"}


def write(root: Path, mode: str, rows: list[Any], **options: Any) -> Call:
    return {"do": "write", "path": str(root), "mode": mode, "rows": rows, **options}


def labelled(calls: Sequence[Sequence[Call]]) -> dict[str, Call]:
    """Give each write a name that its manifest repeats."""
    named = {}
    for worker, own in enumerate(calls):
        for number, call in enumerate(own):
            if call["do"] == "write":
                call["user_metadata"] = {"call": f"{worker}-{number}"}
                named[f"{worker}-{number}"] = call
    return named


def mixture(root: Path, chance: random.Random, worker: int, count: int) -> list[Call]:
    """What a process does that has no habits."""
    calls = []
    for number in range(count):
        ids = chance.sample(range(20), 4)
        rows = [row(key, chance.choice("abc"), n=100 * worker + number, at=chance.randrange(50)) for key in ids]
        calls.append(
            chance.choice(
                [
                    write(root, "append", [row(1_000 + 100 * worker + number, "c")]),
                    write(root, "append_once", rows, keys=["id"]),
                    write(root, "upsert", rows, **KEYED),
                    write(root, "upsert", rows, **KEYED),
                    write(root, "overwrite", rows),
                    write(root, "overwrite", rows, overwrite_partitions=True),
                    write(
                        root,
                        "overwrite",
                        [given | {"part": "b"} for given in rows],
                        replace_where=[["part", "==", "b"]],
                    ),
                    {"do": "set", "path": str(root), "row_group_rows": chance.randrange(1, 1_000)},
                ]
            )
        )
    return calls


def replay(log: Log, named: Mapping[str, Call], made: Sequence[Call] = ()) -> tuple[list[list[Row]], list[str | None]]:
    """Play the commits of a log on the model, and assert that each whole version holds just that.

    Args:
        log: of a table.
        named: what was done, by the name that its manifest repeats.
        made: what was committed first, one version each, without such names.
    Returns:
        The rows of each version, and the names.
    """
    model = Model(keys=("id",))
    states: list[list[Row]] = []
    commits: list[str | None] = []
    for version in log.versions:
        label = version.operation.get("user_metadata", {}).get("call")
        if version.number < len(made):
            play(model, made[version.number])
        elif label is not None:
            play(model, named[label])
        states.append(list(model.rows))
        commits.append(label)
        if version.number >= log.oldest_readable_version:
            assert bag(log.rows(version.number)) == bag(model.rows), f"version {version.number}"
    return states, commits
