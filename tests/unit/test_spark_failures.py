"""What is told of a Spark job that failed."""

from __future__ import annotations

import pytest

from txfiles.spark.jobs import failure

CONNECT = """(org.apache.spark.SparkRuntimeException) [USER_RAISED_EXCEPTION] no such luck SQLSTATE: P0001

JVM stacktrace:
org.apache.spark.SparkRuntimeException
\tat org.apache.spark.util.SparkErrorUtils.tryWithSafeFinally(SparkErrorUtils.scala:64)
\tat org.apache.spark.util.SparkErrorUtils.tryWithSafeFinally$(SparkErrorUtils.scala:83)
"""
PYTHON = """An error occurred while calling o1.collectToPython.
org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "/x/SomeError.py", line 3, in work
ValueError: no such luck

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:1)
"""


@pytest.mark.parametrize("told", [CONNECT, PYTHON, "no such luck"], ids=["through Connect", "in Python", "plain"])
def test_the_cause_is_told(told: str) -> None:
    """Not a line of a stack trace, however it is called."""
    found = failure(RuntimeError(told))
    assert "no such luck" in str(found)
    assert (found.committed, found.kind) == ("no", "engine")


def test_what_executors_lack_is_said() -> None:
    """The hint says how txfiles gets there."""
    assert "spark.archives" in str(failure(RuntimeError("ModuleNotFoundError: No module named 'txfiles'")).hint)
