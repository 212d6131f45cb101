"""The recipes for other engines: each block of the page is a program, which leaves the tables that it says."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import txfiles as tx

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "specs" / "15-recipes.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```py (\w+)\n(.*?)```", PAGE, re.DOTALL))

LEAVES = {
    "duckdb": {"orders": [*range(1, 11), *range(10, 1_000)]},
    "polars": {"orders": [*range(1, 11), *range(10, 1_000)]},
    "processes": {"orders": [*range(1_000)], "doubled": [*range(0, 2_000, 2)]},
    "dask": {"orders": [*range(1_000)], "copy": [*range(1_000)]},
    "ray": {"orders": [*range(1_000)], "copy": [*range(1_000)]},
}
"""The amounts in each table that a block leaves, by id."""

PACKAGES = {"processes": "pyarrow"}
"""What a block needs, where that is not its name."""


def test_every_block_is_run() -> None:
    """There is none on the page whose outcome is not known here."""
    assert set(BLOCKS) == set(LEAVES)
    assert PAGE.count("```py") == len(BLOCKS)


@pytest.mark.parametrize("name", [pytest.param(one, marks=[pytest.mark.slow] * (one == "ray")) for one in LEAVES])
def test_recipes(name: str, tmp_path: Path) -> None:
    """Each does what it shows, if what it needs is installed."""
    package = PACKAGES.get(name, name)
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed, so its recipe is not run")
    program = tmp_path / "recipe.py"
    program.write_text(BLOCKS[name], encoding="utf-8")
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    for table, amounts in LEAVES[name].items():
        found = tx.Table(tmp_path / "lake" / table).to_arrow().sort_by("id").to_pydict()
        assert found == {"id": list(range(1_000)), "amount": amounts}
