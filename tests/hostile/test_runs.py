"""Hostile runs of a key index: no call waits, fails or answers otherwise; and the index's secret is told to nobody."""

from __future__ import annotations

import base64
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import txfiles as tx
from tests.hostile import tables
from txfiles.cli.main import cli
from txfiles.core import names
from txfiles.store.local import LocalStore

pytestmark = [pytest.mark.guarantees("S17 S18 S19 S20"), pytest.mark.usefixtures("index_of_small_tables")]

NEWEST = 1


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two versions, each with a run."""
    path = tmp_path_factory.mktemp("original") / "table"
    properties = {"key_index": "on", "vacuum_grace": "0"}
    tx.write(tables.rows(1, 2, 50), path, mode="append_once", keys=["id"], properties=properties)
    tx.write(tables.rows(3, 4, 60), path, mode="append_once")
    return path


def run_of(root: Path, version: int = NEWEST) -> Path:
    """The run that a version added."""
    found: list[str] = []
    tables.rewrite(root, version, lambda document: found.append(document["index"][-1]["add"]["name"]))
    return root / names.INDEX_DIR / found[0]


def ref(**facts: Any) -> Callable[[Path], None]:
    """Change what the newest version says of its run."""
    return lambda root: tables.rewrite(root, NEWEST, lambda document: document["index"][-1]["add"].update(facts))


def _link(root: Path) -> None:
    path = run_of(root)
    path.rename(root.parent / "aside")
    path.symlink_to(root.parent / "aside")


def _pipe(root: Path) -> None:
    path = run_of(root)
    path.unlink()
    os.mkfifo(path)


def _folder(root: Path) -> None:
    path = run_of(root)
    path.unlink()
    path.mkdir()


def _sparse(root: Path) -> None:
    os.truncate(run_of(root), 2**40)
    ref(bytes=2**40)(root)


def _of_another_version(root: Path) -> None:
    shutil.copy(run_of(root, 0), run_of(root))


def _secret_link(root: Path) -> None:
    path = root / names.INDEX_SEED_FILE
    path.rename(root.parent / "aside")
    path.symlink_to(root.parent / "aside")


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a link to the very bytes": _link,
    "a pipe": _pipe,
    "a folder": _folder,
    "a terabyte of nothing": _sparse,
    "another version's run": _of_another_version,
    "a size beyond all": ref(bytes=2**62),
    "a footer beyond all": ref(footer_bytes=2**62),
    "entries and files beyond all": ref(entries=2**62, files=2**62),
    "a secret beside the table": _secret_link,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_run_changes_no_answer(name: str, original: Path, tmp_path: Path) -> None:
    """Keyed calls find their rows without it, or refuse as they refuse a data file that is such a thing."""
    root = tmp_path / "table"
    shutil.copytree(original, root)
    HOSTILE[name](root)
    calls: dict[str, Callable[[], Any]] = {
        "read": lambda: tx.Table(root).to_arrow()["id"].to_pylist() == [1, 2, 50, 3, 4, 60],
        "lookup": lambda: tx.Table(root).lookup([4, 2])["id"].to_pylist() == [2, 4],
        "show": lambda: tx.Table(root).index().runs == 2,
        "check": lambda: tx.Table(root).index("check").files_covered <= 2,
        "append_once": lambda: tx.write(tables.rows(2, 4), root, mode="append_once").rows_skipped == 2,
        "upsert": lambda: tx.write(tables.rows(4, 60), root, mode="upsert").rows_unchanged == 2,
        "vacuum": lambda: tx.Table(root).vacuum(retain="0").version >= NEWEST,
        "drop": lambda: tx.Table(root).index("drop").runs == 0,
        "build": lambda: tx.Table(root).index("build").files_not_covered == 0,
    }
    for call, holds in calls.items():
        try:
            assert holds(), call
        except (tx.StoreError, tx.CorruptTableError) as error:
            assert call != "read", error
            assert "link" in name or "beside" in name or name in ("a pipe", "a folder"), (call, error)
            assert error.hint
    assert (tmp_path / "aside").exists() == (name in ("a link to the very bytes", "a secret beside the table"))


def test_a_run_whose_size_cannot_be_is_not_mapped(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every process may map a terabyte, and none has to: the log itself gives the run away."""
    root = tmp_path / "table"
    shutil.copytree(original, root)
    _sparse(root)
    mapped, names_mapped = LocalStore.mapped, []
    monkeypatch.setattr(LocalStore, "mapped", lambda self, name: names_mapped.append(name) or mapped(self, name))
    assert sorted(tx.Table(root).lookup([4, 2])["id"].to_pylist()) == [2, 4]
    assert not any((root / name).stat().st_size == 2**40 for name in names_mapped)
    assert any(name.endswith(".run") for name in names_mapped)


def test_the_secret_of_an_index_is_told_to_nobody(
    original: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It stands in its own file, and in no other, no output, result, log or error."""
    caplog.set_level(logging.DEBUG)
    root = tmp_path / "table"
    shutil.copytree(original, root)
    secret = (root / names.INDEX_SEED_FILE).read_bytes()
    forms = [secret, secret.hex().encode(), base64.b64encode(secret), repr(secret)[2:-1].encode()]
    run = run_of(root)
    run.write_bytes(run.read_bytes()[:-1])
    table = tx.Table(root)
    said = [repr(table.index(action)) for action in ("show", "check")]
    said.append(repr(tx.write(tables.rows(4, 70), root, mode="upsert")))
    for words in (["index", "--check"], ["index", "--check", "--json"], ["show", "--json"], ["log", "--json"]):
        result = CliRunner().invoke(cli, [words[0], str(root), *words[1:]])
        said.append(result.output)
    other = tmp_path / "other"
    shutil.copytree(root, other)
    (other / names.INDEX_SEED_FILE).write_bytes(secret[:15])
    with pytest.raises(tx.CorruptTableError, match="secret is damaged") as caught:
        tx.Table(other).index("build")
    forms += [secret[:15], secret[:15].hex().encode(), base64.b64encode(secret[:15])]
    said += [str(caught.value), repr(caught.value.evidence), caplog.text]
    told = "\n".join(said).encode()
    files = [path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "secret"]
    assert not any(form in content for form in forms for content in (told, *files))
