"""The one Spark session of a run. The tests that ask for it are in this folder, whose tests share a worker of xdist.

Without Java or the jars they are skipped with the reason, or fail if `CI=true`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.hooks import pytest_collection_modifyitems, pytest_pyfunc_call
from tests.services import spark as service
from tests.services.servers import Unavailable

__all__ = ["pytest_collection_modifyitems", "pytest_pyfunc_call"]

# pyspark says so at each of a dozen calls. What it supports of pandas 3 is what these tests find out.
PANDAS_3 = "ignore:PySpark does not yet fully support pandas:FutureWarning"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Do not take Spark's own warning for an error; those of other libraries still are."""
    item.add_marker(pytest.mark.filterwarnings(PANDAS_3))


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A classic session with two threads, Delta's SQL and catalog, and UTC as its time zone; each test shares it."""
    try:
        session = service.start(tmp_path_factory.mktemp("spark"))
    except Unavailable as error:
        reason = f"NO SPARK HERE, so nothing of it is tested: {error}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    yield session
    service.stop(session)
