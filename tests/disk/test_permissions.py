"""Who may not write, and who writes under an unusual umask: whole calls, by a process with fewer rights."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.model import bag
from tests.processes.calls import digest, row
from tests.processes.checks import check, residue, tree
from tests.processes.scenarios import BEFORE, SCENARIOS, Templates
from tests.processes.workers import Worker, workers

pytestmark = pytest.mark.guarantees("S5 S17 L3")

NOBODY = 65_534
CALLS = [case for case in SCENARIOS if case.before == BEFORE]


@pytest.fixture(scope="module")
def child() -> Iterator[Worker]:
    """A process that has made each call once: what it imports later it may not read any more."""
    with workers(1) as [started], tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(SCENARIOS):
            calls = [{**call, "path": f"{folder}/{number}"} for call in (*case.before, case.call)]
            assert not any("error" in answer for answer in started.ask({"calls": calls}))
            started.ask({"calls": [{"do": "read", "path": f"{folder}/{number}"}]})
        yield started


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A table in a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "table"
        Templates(tmp_path_factory.mktemp("template")).copy(CALLS[0], path)
        yield path
        for place, _, _ in os.walk(folder):
            os.chmod(place, 0o755)


def by_others(child: Worker, calls: list[Any], **job: Any) -> list[dict[str, Any]]:
    """The answers of somebody who is not root; where the tests are not root's, of whoever runs them."""
    user = {"user": NOBODY} if os.geteuid() == 0 else {}
    ended = child.ask({"fork": True, "calls": calls, **user, **job})
    assert ended["status"] == 0
    assert ended["answers"] is not None
    answers: list[dict[str, Any]] = ended["answers"]
    return answers


def forbid(root: Path, mode: int) -> None:
    """Take rights from all folders of a table: nobody owns them, but where the tests are not root's."""
    for place, _, _ in os.walk(root, topdown=False):
        os.chmod(place, mode)


@pytest.mark.parametrize("case", CALLS, ids=str)
def test_a_read_only_folder(child: Worker, root: Path, case: Any) -> None:
    """Who may read only reads; each call that would write says which right is missing, and leaves all as it was."""
    forbid(root, 0o555)
    before = {name: (root / name).stat().st_mtime_ns for name in tree(root)}
    answers = by_others(child, [case.at(root), {"do": "read", "path": str(root)}])
    assert (answers[0]["error"], answers[0]["committed"]) == ("store", "no"), answers
    assert "needs the right to write to its folder" in answers[0]["hint"]
    assert answers[1] == {"version": 2, "digest": digest(case.rows(times=0))}
    assert {name: (root / name).stat().st_mtime_ns for name in tree(root)} == before


def test_a_new_table_in_a_read_only_folder(child: Worker, root: Path) -> None:
    """No table is made where nothing may be made, and no folder of one."""
    forbid(root, 0o555)
    before = tree(root)
    [answer] = by_others(child, [SCENARIOS[0].at(root / "new")])
    assert (answer["error"], answer["committed"]) == ("store", "no")
    assert "right" in answer["hint"]
    assert not (root / "new").exists()
    assert tree(root) == before


@pytest.mark.parametrize("place", ["", "_txfiles", "_txfiles/log"])
def test_an_unreadable_folder_is_no_empty_one(child: Worker, root: Path, place: str) -> None:
    """Whoever may not look into the log gets an error, never an older version or a new table."""
    before = tree(root)
    (root / place).chmod(0o000)
    calls = [{"do": "read", "path": str(root)}, *(case.at(root) for case in CALLS)]
    for answer in by_others(child, calls):
        assert (answer["error"], answer["committed"]) == ("store", "no"), answer
        assert "right" in answer["hint"]
    (root / place).chmod(0o755)
    assert tree(root) == before


@pytest.mark.parametrize(("mask", "file_mode", "folder_mode"), [(0o077, 0o600, 0o700), (0, 0o666, 0o777)])
def test_umask(child: Worker, tmp_path: Path, mask: int, file_mode: int, folder_mode: int) -> None:
    """Each call works under any umask, and what it makes has the rights that the umask leaves, the lock included."""
    for case in SCENARIOS:
        root = tmp_path / case.name
        calls = [{**call, "path": str(root)} for call in (*case.before, case.call)]
        ended = child.ask({"fork": True, "umask": mask, "calls": calls})
        assert not any("error" in answer for answer in ended["answers"]), ended
        log = check(root)
        assert not residue(log).temporary
        if case.call.get("format") != "csv":
            assert bag(log.rows(len(log.versions) - 1)) == bag(case.rows(times=1))
        assert {stat.S_IMODE((root / name).stat().st_mode) for name in tree(root)} == {file_mode}
        assert {stat.S_IMODE(os.stat(place).st_mode) for place, _, _ in os.walk(root)} == {folder_mode}


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can be two users")
@pytest.mark.parametrize("mask", [0o077, 0])
def test_two_users(child: Worker, mask: int) -> None:
    """Users whose umask lets them share a table write to it in turn; one who is kept out is told so."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        root = Path(folder) / "table"
        made = child.ask({"fork": True, "umask": mask, "calls": [{**call, "path": str(root)} for call in BEFORE]})
        assert not any("error" in answer for answer in made["answers"])
        append = {"do": "write", "mode": "append", "path": str(root), "rows": [row(70, "new")]}
        [theirs] = by_others(child, [append], umask=mask)
        [mine] = child.ask({"calls": [append]})
        if mask:
            assert (theirs["error"], theirs["committed"]) == ("store", "no")
            assert mine["version"] == len(BEFORE)
        else:
            assert (theirs["version"], mine["version"]) == (len(BEFORE), len(BEFORE) + 1)
        check(root)
