"""What an import brings with it: not what only some calls, or only the command line, need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("pandas", "polars", "filelock", "click", "rich", "pyarrow.dataset", "pyarrow.csv")


@pytest.mark.parametrize(
    ("statement", "more"),
    [("import txfiles", ("pyarrow", "numpy")), ("import txfiles; txfiles.write; txfiles.Table", ())],
)
def test_imports(statement: str, more: tuple[str, ...]) -> None:
    """Importing the library, and what a write needs of it, leaves slow and optional libraries alone."""
    code = f"{statement}\nimport sys\nprint(*(name for name in {(*HEAVY, *more)!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
