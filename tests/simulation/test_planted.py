"""The simulator finds bugs: each one that is planted is caught, by the invariant that it breaks."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.simulation.planted import BUGS, Bug, hunt

STATES_MAX = 5_000
"""All are found within as many states; a search that takes longer has become blind to something."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Simulated failures are logged by the thousand."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_planted(bug: Bug) -> None:
    """A planted bug is caught, and its story is told."""
    failed = hunt(bug)
    assert failed is not None, "nothing was noticed"
    assert failed.violation.invariant in bug.breaks, failed
    assert failed.states <= STATES_MAX
    assert "begins" in str(failed)
