"""Where there is no Spark to be had, the tests that need it say so, and do not pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import spark
from tests.services.servers import Unavailable


def test_without_java_there_is_no_spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Java is told of, with the package to install, and nothing is started."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(Unavailable, match="apt-get install default-jre-headless"):
        spark.start(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("ci", "outcome"), [("true", "1 error"), ("", "1 skipped")])
def test_tests_without_spark_are_skipped_or_fail(tmp_path: Path, ci: str, outcome: str) -> None:
    """Without Java a test of Spark is skipped, and said to be; where CI=true it is an error."""
    kept = {name: value for name, value in os.environ.items() if name not in {"JAVA_HOME", "PYTEST_ADDOPTS"}}
    one = "tests/spark/test_spark_surroundings.py::test_an_empty_list_is_no_rows"
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={tmp_path}/temp", one]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=spark.ROOT,
        env=kept | {"PATH": str(tmp_path), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in run.stdout.splitlines()[-1], run.stdout
    assert "NO SPARK HERE" in run.stdout
