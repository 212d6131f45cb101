"""Processes that `tools/bench` starts: they talk in lines of JSON, and wait for one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class FailedError(Exception):
    """A process failed; the last that it said on stderr."""


class Child:
    """A process that runs one of the scripts in `tools/` and talks in lines of JSON.

    Args:
        script: its name.
        words: its arguments.
        python: with which Python.
        checkout: whose code of txfiles it imports.
        patience: seconds after which it is ended; None is never.
    """

    def __init__(
        self,
        script: str,
        *words: object,
        python: str = sys.executable,
        checkout: Path = ROOT,
        patience: float | None = None,
    ) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`, or with the child
        self._process = subprocess.Popen(
            [python, str(ROOT / "tools" / script), *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=os.environ | {"PYTHONPATH": str(checkout)},
        )
        self._patience, self._ended = patience, threading.Timer(patience or 0, self._process.kill)
        if patience is not None:
            self._ended.daemon = True
            self._ended.start()

    def hear(self) -> Any:
        """What it says next; None at its end.

        Raises:
            FailedError: it did.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(_MARK):  # the libraries in it may print, too
                return json.loads(line.removeprefix(_MARK))
        code = self._process.wait()
        self._ended.cancel()
        if code:
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").strip()
            over = f"ended after {self._patience} s" if code < 0 and self._patience and not said else f"exit {code}"
            raise FailedError(said or over)
        return None

    def end(self) -> None:
        """End it, if it has not ended."""
        self._ended.cancel()
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def go(self) -> None:
        """Let it go on."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()


_MARK = "\x1e"


def say(what: object) -> None:
    """A child's word to its parent."""
    print(f"{_MARK}{json.dumps(what)}", flush=True)


def wait_for_go() -> None:
    """A child waits until all are ready."""
    sys.stdin.readline()


def together(children: Sequence[Child]) -> float:
    """Let children begin at the same time, each of which says that it is ready and that it is done: seconds.

    Raises:
        FailedError: one of them did, or had something else to say.
    """
    for child in children:
        if (said := child.hear()) != "ready":
            raise FailedError(said)
    began = time.perf_counter()
    for child in children:
        child.go()
    for child in children:
        assert child.hear() == "done"
    return time.perf_counter() - began


def ms(call: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def memory_mb(field: str = "VmHWM") -> float:
    """The most memory that this process had so far; getrusage would tell its parent's, where that had more."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(f"{field}:")) / 1024


def forget_peak() -> None:
    """Begin anew to look for this process's peak; where the system cannot, it is that since the process began."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def leave() -> None:
    """End the process: pyarrow's threads may abort one that leaves by the ordinary way."""
    sys.stdout.flush()
    os._exit(0)
