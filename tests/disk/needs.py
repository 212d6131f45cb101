"""What some tests need of the machine. Where it is missing they are skipped, and say so; in CI they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import NoReturn

import pytest


def tool(name: str, package: str) -> str:
    """The path of a program."""
    found = shutil.which(name)
    return found or _missing(f"there is no {name}: apt-get install {package}")


def can_mount() -> None:
    """The right to mount a file system in memory, which not each container gives to its root."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can mount a file system")
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"NOT TESTED: this machine does not let root mount a file system: {done.stderr.strip()}")
        subprocess.run(["umount", place], check=True)


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(f"NOT TESTED: {what}")
