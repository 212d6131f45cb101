"""Spin on the model of the protocol: builds the checker of a world, runs it, and tells what it found.

A world is a set of bounds. Within them Spin tries every order of every step of every choice of calls.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[2] / "specs" / "model"
SOURCE = MODEL / "commit.pml"

PROPERTIES = {
    "n==(newest+1)": "S2",
    "committed&": "S3",
    "log[(base+1)].by==": "S4",
    "aborted&": "S5",  # also an assertion of FAULTLESS worlds, see `search`
    "live[i]&": "S7",
    "removes&": "S10",
    "keyed[i]": "S11b",
    "settled": "L1",
    "non-progress": "L1",
}
"""What an assertion says, as Spin prints it, and which property that is."""


@dataclass(frozen=True)
class World:
    """Bounds.

    Attributes:
        calls: how many, of any kinds.
        losses: how many answers are lost, of requests that are applied, not applied, or applied later.
        tries: how often a call sends a manifest again that it reads back as absent.
        passes: how often a call plans.
        spare: a vacuum may leave a file that is too young.
        empty: there is no table at first.
        faultless: no losses, and no call gives up; one may have crashed.
        bug: of those that the model lists.
    """

    calls: int
    losses: int = 0
    tries: int = 1
    passes: int = 3
    spare: bool = False
    empty: bool = False
    faultless: bool = False
    bug: str = "NONE"

    def defines(self) -> dict[str, str]:
        """For the preprocessor of the model."""
        numbers = {
            "COUNT": self.calls,
            "LAST": self.calls + 1,
            "LOSSES": self.losses,
            "TRIES": self.tries,
            "PASSES": self.passes,
            "SPARE": self.spare,
            "EMPTY": self.empty,
            "FAULTLESS": self.faultless,
        }
        return {name: str(int(number)) for name, number in numbers.items()} | {"BUG": self.bug}


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        states: how many are different.
        depth: steps of the longest run.
        broken: properties that do not hold somewhere.
        unreached: statements of the model that no run came to.
        text: all that the checker said.
    """

    states: int
    depth: int
    broken: frozenset[str]
    unreached: tuple[str, ...]
    text: str


def needed() -> None:
    """Skip the test, or fail it where CI=true, if Spin or a C compiler is missing."""
    missing = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{' and '.join(missing)} not found: tools/system spin gcc libc6-dev")
    if missing:
        pytest.skip(
            f"{' and '.join(missing)} NOT INSTALLED, so the model is not checked: tools/system spin gcc libc6-dev"
        )


def build(folder: Path, defines: dict[str, str], *flags: str) -> Path:
    """The checker for these definitions, made in a folder of its own."""
    needed()
    for source in MODEL.glob("*.pml"):
        shutil.copy(source, folder)
    told = [f"-D{name}={value}" if value else f"-D{name}" for name, value in defines.items()]
    run = subprocess.run(["spin", "-a", *told, SOURCE.name], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Error" not in run.stdout, run.stdout
    subprocess.run(["gcc", "-O1", "-w", *flags, "-o", "pan", "pan.c"], cwd=folder, check=True)
    return folder / "pan"


def search(folder: Path, world: World, *, cycles: bool = False) -> Found:
    """Go through all states of a world.

    Args:
        folder: an empty one.
        world: the bounds.
        cycles: look for runs without an end, instead of for a property that does not hold.
    """
    flags = ["-DNP" if cycles else "-DSAFETY", "-DCOLLAPSE", *(["-DNOREDUCE"] if world.faultless else [])]
    checker = build(folder, world.defines(), *flags)
    # A planted bug breaks several properties: go on after the first. A dead process is at no valid end.
    options = ["-m200000", *(["-l"] if cycles else []), *(["-E"] if world.faultless else [])]
    options += ["-c0"] if world.bug != "NONE" else []
    run = subprocess.run([checker, *options], cwd=folder, capture_output=True, text=True, check=False)
    text = run.stdout + run.stderr
    assert "max search depth too small" not in text, text
    assert "errors: " in text, text
    errors = int(re.findall(r"errors: (\d+)", text)[0])
    said = re.findall(r"pan:\d+: (.*?) \(at depth", text)
    broken = {name for line in said for words, name in PROPERTIES.items() if words in line.replace(" ", "")}
    if world.faultless and "S5" in broken:
        broken = broken - {"S5"} | {"L1"}  # without faults a call that gives up has not got its turn
    if errors and not broken:
        broken = {"something else: " + "; ".join(said)}
    return Found(
        states=int(float(re.findall(r"([\d.e+]+) states, stored", text)[0])),
        depth=int(re.findall(r"depth reached (\d+)", text)[0]),
        broken=frozenset(broken),
        unreached=_unreached(text),
        text=text,
    )


def _unreached(text: str) -> tuple[str, ...]:
    """The lines of the model that no run came to, as the model writes them."""
    lines = SOURCE.read_text(encoding="utf-8").splitlines()
    found = [int(number) for number in re.findall(r"commit\.pml:(\d+), state \d+", text)]
    return tuple(lines[number - 1].strip() for number in sorted(set(found)))
