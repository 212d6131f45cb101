"""The error tree: each class has a kind of its own, is documented, and says what to do next."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import txfiles as tx
from txfiles import errors
from txfiles.cli.failure import EXIT_CODES
from txfiles.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "specs/6-calls.md").read_text(encoding="utf-8")
CLASSES = {name: one for name, one in vars(errors).items() if inspect.isclass(one) and issubclass(one, Exception)}
BUILTINS = (ValueError, KeyError, TypeError, LookupError)


def test_every_kind_is_a_word_of_its_own():
    """Kinds are kebab-case, and no two classes share one."""
    kinds = [one.kind for one in CLASSES.values()]
    assert len(set(kinds)) == len(kinds)
    assert all(re.fullmatch("[a-z]+(-[a-z]+)*", kind) for kind in kinds)
    assert all("kind" in vars(one) for one in CLASSES.values())


def test_every_kind_is_documented_with_its_exit_code():
    """The page on calls lists each class with kind, exit code and Python's own classes that it is too."""
    listed = re.findall(r"^\| `([a-z-]+)` \| `(\w+)` \| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)
    told = {name: (kind, int(code), set(re.findall(r"`(\w+)`", also))) for kind, name, code, also in listed}
    for name, one in CLASSES.items():
        code = next((code for cause, code in EXIT_CODES if issubclass(one, cause)), 1)
        also = {base.__name__ for base in BUILTINS if issubclass(one, base)}
        if "KeyError" in also:
            also.remove("LookupError")
        assert told.pop(name) == (one.kind, code, also)
    assert told == {}


def test_every_exit_code_is_documented():
    """The page lists every code that a process can end with for a cause."""
    listed = {int(code) for code in re.findall(r"^\| (\d+) \| ", PAGE, re.MULTILINE)}
    assert listed >= {0, 1, 2, 130, 141, *(code for _, code in EXIT_CODES)}


def test_the_tree_is_drawn_as_it_is():
    """The module's docstring draws each class below its parent."""
    stack: list[tuple[int, str]] = []
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ((?:[│├└─ ]*))(\w+Error)\b", line)
        if found:
            depth = len(found[1])
            stack = [(d, name) for d, name in stack if d < depth]
            drawn[found[2]] = stack[-1][1] if stack else None
            stack.append((depth, found[2]))
    assert drawn == {
        name: next((base.__name__ for base in one.__bases__ if base.__name__ in CLASSES), None)
        for name, one in CLASSES.items()
    }


def test_every_error_is_public():
    """Each class can be caught by its name in the package."""
    assert all(getattr(tx, name) is one and name in tx.__all__ for name, one in CLASSES.items())


def _raised() -> list[tuple[str, int, str, set[str | None]]]:
    found = []
    for path in sorted((ROOT / "txfiles").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CLASSES:
                given = {keyword.arg for keyword in node.keywords}
                found.append((str(path.relative_to(ROOT)), node.lineno, node.func.id, given))
    return found


def test_every_conflict_says_who_won():
    """A conflict carries the version that won, and an expired snapshot the oldest readable one."""
    for where, line, name, given in _raised():
        if name == "CommitConflictError":
            assert "version" in given, (where, line)
        if name == "SnapshotExpiredError":
            assert {"version", "oldest_readable"} <= given, (where, line)


@pytest.mark.parametrize("kind", CLASSES.values())
def test_json_errors_carry_the_kind(kind, monkeypatch):
    """With --json an error is one object with kind, message, hint, committed and evidence, and the cause's code."""

    def write(*_, **__):
        raise kind("what", hint="how", committed="no", column="c")

    monkeypatch.setattr(tx, "write", write)
    done = CliRunner().invoke(cli, ["write", "in.csv", "--to", "t", "--mode", "append", "--json"])
    assert json.loads(done.stderr) == {
        "kind": kind.kind,
        "message": "what",
        "hint": "how",
        "committed": "no",
        "evidence": {"column": "c"},
    }
    assert done.exit_code == next((code for cause, code in EXIT_CODES if issubclass(kind, cause)), 1)
