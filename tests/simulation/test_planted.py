"""Bugs planted into the real code: the simulator catches each, by the invariant that it breaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.planted import BUGS, Bug, hunt

pytestmark = pytest.mark.guarantees("S1 S2 S3 S5 S6 S7 S8 S9 S10 S11 S12 S14 S15 L1")

STATES_MAX = 5_000
"""All are found within as many states; a search that takes longer has become blind to something."""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_planted(bug: Bug, cases: Callable[..., None]) -> None:
    """A planted bug is caught, and its story is told."""
    failed = hunt(bug)
    assert failed is not None, "nothing was noticed"
    cases(bugs=1, states_until_caught=failed.states)
    assert failed.violation.invariant in bug.breaks, failed
    assert failed.states <= STATES_MAX
    assert "begins" in str(failed)
