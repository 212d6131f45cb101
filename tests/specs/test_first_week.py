"""The first week, as the specs tell it, goes as it is shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click.testing
import pyarrow.dataset as ds
import pytest

from tests.specs.test_specs import SPECS, loose
from txfiles.cli.main import cli

PAGE = SPECS / "18-first-week.md"


def test_the_first_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command says what the page shows, but for times and sizes; what is left is the rows, plain."""
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, PAGE.name, "exec"), {})
    session = "".join(re.findall(r"```console\n(.*?)```", page, re.DOTALL))
    _, *parts = re.split(r"^\$ txfiles ", session, flags=re.MULTILINE)
    for part in parts:
        command, _, shown = part.partition("\n")
        result = click.testing.CliRunner().invoke(cli, shlex.split(command))
        assert loose(result.output) == loose(shown), command
    left = ds.dataset("flights", format="parquet").to_table()
    assert (left.num_rows, "tail" in left.schema.names) == (184_107, True)
    assert sorted(path.suffix for path in Path("flights").iterdir()) == [".parquet"]
