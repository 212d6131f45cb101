"""The lowest versions that are tested are the lower bounds that pyproject.toml states."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest() -> Any:
    """`tools/lowest` as a module."""
    loader = importlib.machinery.SourceFileLoader("lowest", str(ROOT / "tools" / "lowest"))
    spec = importlib.util.spec_from_loader("lowest", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_every_dependency_has_a_tested_bound() -> None:
    """Each dependency, and each extra of users, states a lower bound and nothing else; tools/lowest installs it."""
    found = lowest().bounds(PROJECT)
    assert {"pyarrow", "numpy", "msgspec", "filelock", "click", "rich", "pandas", "polars"} <= set(found)
    assert all(version.count(".") == 2 for version in found.values()), "a bound names a release, which can be installed"


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy>=2,<3", "numpy==2.0.0"])
def test_other_bounds_are_refused(requirement: str) -> None:
    """A requirement without a lower bound, or with more than that, fails the job instead of going untested."""
    with pytest.raises(SystemExit, match="no lower bound"):
        lowest().bounds({**PROJECT, "dependencies": [requirement]})
