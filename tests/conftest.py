"""What all tests share: how many examples Hypothesis tries, and what makes small tables stand for large ones.

In the profile `ci` the examples of a test are always the same, so that a failure is of the change and not of the
day. `HYPOTHESIS_PROFILE=deep tools/test` looks at new ones, and longer; the blob that a failure prints brings its
example back with `@reproduce_failure`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import guarantees
from tests.guarantees import cases, sweep
from tests.scheduling import pytest_xdist_make_scheduler
from tests.services.databases import database_server, sql_url
from tests.services.fixtures import azure, azure_client, s3, s3_client, service, way
from txfiles.reading import key_index

__all__ = [
    "azure",
    "azure_client",
    "cases",
    "database_server",
    "pytest_xdist_make_scheduler",
    "s3",
    "s3_client",
    "service",
    "sql_url",
    "sweep",
    "way",
]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would each process that a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "ci",
    settings(
        max_examples=100,
        deadline=None,
        derandomize=True,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    ),
)
settings.register_profile("quick", settings(settings.get_profile("ci"), max_examples=20))
settings.register_profile("deep", settings(settings.get_profile("ci"), max_examples=2_000, derandomize=False))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="module")
def index_of_small_tables() -> Iterator[None]:
    """A key index is asked even where searching the files, with their few rows, would take less time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "SEARCHED_ROWS", 0)
        patch.setattr(key_index, "SEARCHED_ROWS_REMOTE", 0)
        yield


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Note which tests check guarantees."""
    guarantees.mark(items)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of guarantees."""
    reports = [
        report
        for outcome in ("passed", "failed", "skipped", "error", "")
        for report in terminalreporter.stats.get(outcome, ())
        if hasattr(report, "user_properties")
    ]
    for title, lines in (
        ("guarantees", guarantees.table(reports)),
        ("calls with failing requests", guarantees.swept(reports)),
    ):
        if lines:
            terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
