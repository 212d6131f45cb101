"""Structured Streaming into a table: each row once, whenever the query dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import txfiles as tx
from tests.spark import streams
from txfiles.errors import InputError

FILES = 5
ROWS = 4
KILLED_AT = 2


def test_a_killed_query_delivers_each_row_once(spark: Any, tmp_path: Path) -> None:
    """SIGKILL between the table's commit and the checkpoint's: the restart delivers that batch again, to no effect.

    Another query, with a checkpoint of its own, has other ids: what it delivers counts.
    """
    source, table, checkpoint = tmp_path / "in", tmp_path / "t", tmp_path / "checkpoint"
    source.mkdir()
    for number in range(FILES):
        lines = [json.dumps({"id": number * ROWS + row}) for row in range(ROWS)]
        (source / f"{number}.json").write_text("\n".join(lines))
    command = [sys.executable, streams.__file__, str(source), str(table), str(checkpoint), str(KILLED_AT)]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    with (tmp_path / "child.log").open("w") as log:
        child = subprocess.Popen(command, start_new_session=True, env=environment, stdout=log, stderr=log)
        try:
            assert child.wait(240) == -signal.SIGKILL, (tmp_path / "child.log").read_text()
        finally:
            os.killpg(child.pid, signal.SIGKILL)  # Spark's own process
            child.wait()
    assert tx.Table(table).row_count == (KILLED_AT + 1) * ROWS

    results = streams.run(spark, source, table, checkpoint)

    assert [result.already_committed for result in results] == [True, False, False]
    found = tx.Table(table)
    assert sorted(found.to_arrow()["id"].to_pylist()) == list(range(FILES * ROWS))
    ids = [commit.batch_id for commit in found.history()]
    assert len(set(ids)) == FILES
    query = {text.rpartition("-")[0] for text in map(str, ids)}
    assert len(query) == 1

    streams.run(spark, source, table, tmp_path / "another checkpoint")
    assert tx.Table(table).row_count == 2 * FILES * ROWS


def test_only_a_micro_batch_has_an_id(spark: Any) -> None:
    """A frame of no query gets an error, and not an id that others share."""
    with pytest.raises(InputError, match="not a micro-batch"):
        tx.streaming_batch_id(spark.range(1), 0)
    with pytest.raises(InputError, match="does not tell"):
        tx.streaming_batch_id(object(), 0)


def test_the_readme_runs(spark: Any, tmp_path: Path) -> None:
    """What the README shows of Spark does what its comments say."""
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = page.partition("\n## With Spark\n")[2].partition("\n## ")[0]
    [block] = re.findall(r"```py\n(.*?)```", section, re.DOTALL)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.json").write_text('{"id": 7}')
    data = spark.createDataFrame([(1, "Ada"), (2, "Bo")], "id BIGINT, name STRING")
    stream = spark.readStream.schema("id BIGINT").json(f"{tmp_path}/in")
    scope: dict[str, Any] = {"tx": tx, "spark": spark, "df": data, "stream": stream}

    exec(compile(block.replace('"/lake/', f'"{tmp_path}/'), "README.md", "exec"), scope)

    scope["query"].processAllAvailable()
    scope["query"].stop()
    assert scope["people"].count() == scope["first"].count() == 2
    assert tx.Table(tmp_path / "people").version == 0
    assert tx.Table(tmp_path / "events").to_arrow()["id"].to_pylist() == [7]
