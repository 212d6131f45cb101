"""A system without POSIX's folders (Windows): the library is imported, and tables in local folders are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import txfiles as tx
from txfiles.errors import UnsupportedTableError

CODE = """
import os
for name in ("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "geteuid"):
    delattr(os, name)
os.supports_dir_fd = set()
import pyarrow as pa
import txfiles as tx
import txfiles.store.folders, txfiles.store.local
tx.write(pa.table({"id": [1]}), "memory://t", mode="append")
assert tx.Table("memory://t").to_arrow().num_rows == 1
import sys
from txfiles.cli.main import entry
sys.argv = ["txfiles", "show", "table"]
entry()
"""


def test_a_system_without_posix_folders(tmp_path: Path) -> None:
    """Import and tables in memory work; for a local folder the shell names the systems that have what it takes."""
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 13, done.stderr
    assert done.stderr.startswith("txfiles: error: tables in local folders need Linux or macOS")
    assert "WSL" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("missing", ["O_DIRECTORY", "O_NOFOLLOW", "supports_dir_fd"])
def test_each_need_is_looked_at(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the calls is not there, nothing is written without it."""
    if missing == "supports_dir_fd":
        monkeypatch.setattr(os, missing, set())
    else:
        monkeypatch.delattr(os, missing)
    with pytest.raises(UnsupportedTableError, match="Linux or macOS") as raised:
        tx.write(pa.table({"id": [1]}), tmp_path / "table", mode="append")
    assert raised.value.committed == "no"
    assert os.listdir(tmp_path) == []
