"""Spark Connect: files and databases are written, and tables are read; what it cannot do is refused with a way out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import txfiles as tx
from tests.services import spark as service

PROGRAM = Path(__file__).with_name("connected.py")


@pytest.mark.slow
@pytest.mark.usefixtures("spark")  # where there is no Spark, it is told in one place
def test_a_connect_session(tmp_path: Path, sql_url: Callable[[str], str]) -> None:
    """Frames of a client without a JVM of its own do what those of a classic session do."""
    pytest.importorskip("grpc", reason="pip install 'pyspark[connect]'")
    url = sql_url("postgresql")
    environment = service.environment() | {"SPARK_TESTING": "1"}  # a free port
    program = [sys.executable, "-W", "ignore", str(PROGRAM), str(tmp_path), url]
    done = subprocess.run(
        program, env=environment, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["session"].startswith("pyspark.sql.connect.")
    for seen in found["files"].values():
        assert seen["done"] == [
            [True, 10, 0, 0, 0],
            [True, 2, 0, 0, 5],
            [True, 2, 2, 0, 0],
            [True, 2, 0, 0, 0],
            [False, 0, 0, 0, 0],
        ]
        whole, some, expected = seen["read"]
        assert whole == expected
        assert len(expected) == 16
        assert some == sorted(
            str({"name": name, "id": i}) for i, name in ((12, "new"), (13, "new"), (20, "n"), (21, "n"))
        )
    assert found["sql"] == [[True, 4, 0, 0, 0], [False, 0, 0, 4, 0]]
    assert sorted(tx.Table(url).to_arrow()["id"].to_pylist()) == [0, 1, 2, 3]
    assert found["source"] == list(range(8))
    refused = found["refused"]
    assert {name: one[0] for name, one in refused.items()} == {
        "delta": "EngineError",
        "stream": "InputError",
        "duplicate": "DuplicateKeyError",
        "broken": "EngineError",
        "gone": "CorruptTableError",
    }
    assert "no such luck" in refused["broken"][1]
    assert "classic session" in refused["delta"][2]
    assert "batch_id" in refused["stream"][2]
    assert not any(one[3] for name, one in refused.items() if name != "gone")
