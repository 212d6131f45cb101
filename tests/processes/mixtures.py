"""Calls of every kind by chance, told apart in the log; and what the log of them means."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import txfiles as tx
from tests.model import Model, Row, bag
from tests.processes.calls import Call, digest, play, row
from tests.processes.checks import Log, check, residue

Answers = list[list[dict[str, Any]]]

KEYED = {"keys": ["id"], "timestamp_col": "time"}
WRITING = ("write", "delete")
"""Calls that change rows."""


def write(root: Path | str, mode: str, rows: list[Any], **options: Any) -> Call:
    return {"do": "write", "path": str(root), "mode": mode, "rows": rows, **options}


def labelled(calls: Sequence[Sequence[Call]]) -> dict[str, Call]:
    """Give each write a name that its manifest repeats."""
    named = {}
    for worker, own in enumerate(calls):
        for number, call in enumerate(own):
            if call["do"] in WRITING:
                call["user_metadata"] = {"call": f"{worker}-{number}"}
                named[f"{worker}-{number}"] = call
    return named


def mixture(root: Path | str, chance: random.Random, worker: int, count: int) -> list[Call]:
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
                    {"do": "delete", "path": str(root), "where": [["part", "==", chance.choice("abc")]]},
                    {"do": "delete", "path": str(root), "where": [["id", "in", ids]]},
                    {"do": "set", "path": str(root), "row_group_rows": chance.randrange(1, 1_000)},
                    {"do": "compact", "path": str(root)},
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


def serial(root: Path, calls: Sequence[Sequence[Call]], answers: Answers, made: Sequence[Call] = ()) -> Log:
    """Assert that what happened is what the commits, one after the other, mean; and that the answers tell it.

    Args:
        root: the table, or a copy of it.
        calls: by process.
        answers: likewise.
        made: what was committed before the race, one version each.
    """
    log = check(root)
    named = {call["user_metadata"]["call"]: call for own in calls for call in own if call["do"] in WRITING}
    states, commits = replay(log, named, made)
    assert bag(tx.Table(root).to_arrow().to_pylist()) == bag(states[-1])
    by_id = {version.manifest["commit_id"]: version.number for version in log.versions}
    for own, told in zip(calls, answers, strict=True):
        reached = -1
        for call, answer in zip(own, told, strict=True):
            if call["do"] == "read" and answer.get("error") == "snapshot-expired":
                continue
            assert "error" not in answer, answer["message"]
            assert answer["version"] >= reached or call.get("back"), "a later call sees an older version"
            reached = max(reached, answer["version"])
            if call["do"] == "read":
                assert answer["digest"] == digest(states[answer["version"]])
            if call["do"] in WRITING and answer["committed"]:
                assert by_id[answer["commit_id"]] == answer["version"]
                assert commits[answer["version"]] == call["user_metadata"]["call"]
            elif call["do"] in WRITING and not answer["already_committed"]:
                unchanged = Model(keys=("id",), rows=states[answer["version"]])
                play(unchanged, call)
                assert bag(unchanged.rows) == bag(states[answer["version"]]), "a change was not committed"
    acknowledged = sum(
        call["do"] in WRITING and answer["committed"]
        for own, told in zip(calls, answers, strict=True)
        for call, answer in zip(own, told, strict=True)
    )
    labels = [label for label in commits if label is not None]
    assert len(set(labels)) == len(labels), "one call was committed twice"
    assert len(labels) == acknowledged
    return log


def nothing_is_left(log: Log) -> None:
    """Whoever lost a race has taken its files back."""
    found = residue(log)
    assert not found.data
    assert not found.temporary
    assert not found.foreign
