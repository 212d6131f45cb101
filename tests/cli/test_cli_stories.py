"""The command line as stories: one script per file, each run in a folder of its own.

A script's lines::

    $ txfiles …           a command that ends well
    ! txfiles …           a command that fails
    stdin FILE            what the next command reads
    exit 2                the exit code of the last command
    stdout 'regex'        its output has a match (multi-line); `! stdout 'regex'` has none
    stderr 'regex'        likewise
    exists PATTERN        a file matches; `! exists PATTERN` none does
    cmp stdout FILE       its output is exactly that file
    cp FROM TO            copies a file
    save NAME             the first group of the last regex is $NAME from here on
    -- name --            all below, up to the next such line, is the file of that name

The stories run in one process through click's runner; those whose first line is ``# process`` run real ones.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from txfiles.cli.main import cli

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))
_FILE = re.compile(r"^-- (\S+) --\n", re.MULTILINE)


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    stdout: bytes
    stderr: str


def in_process(args: list[str], stdin: bytes) -> Outcome:
    """Run through click's runner: cheap, and by the same function as the real process."""
    result = CliRunner().invoke(cli, args, input=stdin)
    return Outcome(result.exit_code, result.stdout_bytes, result.stderr)


def as_process(args: list[str], stdin: bytes) -> Outcome:
    """Run as a shell would."""
    done = subprocess.run([sys.executable, "-m", "txfiles", *args], input=stdin, capture_output=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr.decode())


@dataclass
class Play:
    """One story under way."""

    folder: Path
    run: Callable[[list[str], bytes], Outcome]
    last: Outcome = field(default_factory=lambda: Outcome(0, b"", ""))
    stdin: bytes = b""
    found: str = ""
    names: dict[str, str] = field(default_factory=dict)

    def step(self, line: str) -> None:
        """One line of the script."""
        for name, value in self.names.items():
            line = line.replace(f"${name}", value)
        word, _, rest = line.partition(" ")
        negated = word == "!" and not rest.startswith("txfiles ")
        if negated:
            word, _, rest = rest.partition(" ")
        args = shlex.split(rest)
        match word:
            case "$" | "!":
                self.command(args, fails=word == "!")
            case "stdout" | "stderr":
                self.look(self.last.stdout.decode() if word == "stdout" else self.last.stderr, args[0], negated)
            case "exists":
                assert bool(list(self.folder.glob(args[0]))) is not negated, sorted(self.folder.rglob("*"))
            case "exit":
                assert self.last.code == int(args[0]), self.last
            case "cmp":
                assert self.last.stdout.decode() == (self.folder / args[1]).read_text()
            case _:
                self.prepare(word, args)

    def prepare(self, word: str, args: list[str]) -> None:
        """A line that sets up what later ones use."""
        match word:
            case "stdin":
                self.stdin = (self.folder / args[0]).read_bytes()
            case "cp":
                shutil.copyfile(self.folder / args[0], self.folder / args[1])
            case "save":
                self.names[args[0]] = self.found
            case _:
                raise AssertionError(f"no such word: {word!r}")

    def command(self, args: list[str], *, fails: bool) -> None:
        """Run one command line and see that it succeeds or fails as the script says."""
        assert args[0] == "txfiles", args
        self.last = self.run(args[1:], self.stdin)
        self.stdin = b""
        assert (self.last.code != 0) is fails, self.last
        assert "Traceback" not in self.last.stderr
        if fails and "--json" not in args:
            assert re.match(r"txfiles: error: .+\n(txfiles: hint: .+\n)?\Z", self.last.stderr), self.last.stderr

    def look(self, text: str, pattern: str, negated: bool) -> None:
        """See that the text has, or has not, a match."""
        match = re.search(pattern, text, re.MULTILINE)
        assert (match is None) is negated, f"{pattern!r} in:\n{text}"
        self.found = match[1] if match and match.groups() else ""


def steps(script: str) -> Iterator[str]:
    """The lines that do something."""
    return (line for line in map(str.strip, script.splitlines()) if line and not line.startswith("#"))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.stem)
def test_story(story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person types gives what the story says: output, errors, exit codes and files."""
    script, *files = _FILE.split(story.read_text())
    for name, content in zip(files[::2], files[1::2], strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    play = Play(tmp_path, as_process if script.startswith("# process\n") else in_process)
    for number, line in enumerate(steps(script)):
        try:
            play.step(line)
        except AssertionError as error:
            raise AssertionError(f"step {number + 1} of {story.name}, {line!r}: {error}") from error
