"""What the simulator's tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from txfiles.rows import segments


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Simulated failures are logged by the thousand."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are in parts from the third file on."""
    monkeypatch.setattr(segments, "TAIL_FILES", 2)
    monkeypatch.setattr(segments, "PART_FILES", 4)
