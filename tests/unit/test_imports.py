"""What an import brings with it: not what only some calls, or only the command line, need.

Counted in modules, not in time: what is imported is the same on a slow machine. `python -X importtime -c "import
txfiles"` shows what each of them takes.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SLOW = {"asyncio", "concurrent", "email", "http", "multiprocessing", "pydoc", "sqlite3", "ssl", "unittest"}
"""Of the standard library, what is slow to import; pyarrow's compute module brings some of them."""

LATER = {
    *("pyarrow.csv", "pyarrow.dataset", "pyarrow.feather", "pyarrow.flight", "pyarrow.fs", "pyarrow.orc"),
    *("pyarrow.parquet", "pyarrow.pandas_compat", "pyarrow.substrait"),
}
"""Parts of pyarrow that are imported by the first call that needs them."""


def imported(statement: str, before: str = "pass") -> set[str]:
    """The modules that a statement brings into a fresh interpreter that has run `before`."""
    code = (
        f"import json, sys\n{before}\nbefore = set(sys.modules)\n{statement}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def foreign(modules: set[str]) -> set[str]:
    """The packages of modules that are neither Python's nor ours."""
    packages = {name.split(".")[0] for name in modules if not name.startswith("_")}
    return packages - set(sys.stdlib_module_names) - {"txfiles"}


def test_import() -> None:
    """`import txfiles` brings two modules of ours, no other package, and nothing slow."""
    found = imported("import txfiles")
    assert {name for name in found if name.startswith("txfiles")} == {"txfiles", "txfiles.errors", "txfiles.version"}
    assert foreign(found) == set()
    assert SLOW.isdisjoint(found)
    assert len(found) < 25


def test_calls() -> None:
    """What `write` and `Table` need is pyarrow, numpy, msgspec and our modules; other parts come with calls.

    pyarrow takes cloudpickle if it is installed.
    """
    found = imported("import txfiles; txfiles.write; txfiles.plan; txfiles.Table; txfiles.WriteResult")
    assert foreign(found) <= {"pyarrow", "numpy", "msgspec", "typing_extensions", "cython_runtime", "cloudpickle"}
    assert LATER.isdisjoint(found)


def test_nothing_slow_is_ours() -> None:
    """Beside what pyarrow and msgspec import themselves, nothing slow is imported but threads."""
    theirs = "import concurrent.futures.thread, msgspec, msgspec.json, numpy, pyarrow.compute"
    found = imported("import txfiles; txfiles.write; txfiles.plan; txfiles.Table", theirs)
    assert foreign(found) <= {"numpy"}
    assert SLOW.isdisjoint(found)
    assert len({name for name in found if not name.startswith("txfiles")}) < 40


@pytest.mark.parametrize("words", [["--help"], ["write", "--help"]], ids=" ".join)
def test_help_needs_no_data(words: list[str]) -> None:
    """Help is told without pyarrow, numpy or what else only data needs."""
    found = imported(
        "import contextlib, io, os\n"
        "os._exit = lambda code: None\n"
        "from txfiles.cli.main import cli\n"
        "with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.suppress(SystemExit):\n"
        f"    cli({words!r})\n"
        "assert 'txfiles' in told.getvalue()"
    )
    assert {"click"} <= foreign(found)
    assert {"pyarrow", "numpy", "pandas", "polars", "filelock", "duckdb", "rich"}.isdisjoint(found)
