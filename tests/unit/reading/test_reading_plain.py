"""Who reads the data files without the log: they are handed out only if they have the table's columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import txfiles as tx
from tests.model import bag
from txfiles.cli.main import cli


def write(path: Path, rows: dict[str, Any], schema: Any = None, **options: Any) -> tx.WriteResult:
    return tx.write(pa.table(rows, schema=schema), path, **{"mode": "append", **options})


CHANGES = {
    "a new column": lambda path: write(path, {"id": [2], "n": [1], "more": ["x"]}, schema_mode="merge"),
    "a wider type": lambda path: write(
        path, {"id": [2], "n": [1]}, pa.schema([("id", pa.int64()), ("n", pa.int64())]), schema_mode="merge"
    ),
}
SMALL = pa.schema([("id", pa.int64()), ("n", pa.int16())])


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("checkpoint_interval", [1, 100])
def test_files_of_other_columns(tmp_path: Path, change: Any, checkpoint_interval: int) -> None:
    """They are refused with the way out, however the table was opened, and listed when they are asked for as such."""
    path = tmp_path / "table"
    write(path, {"id": [1], "n": [1]}, SMALL, properties={"checkpoint_interval": checkpoint_interval})
    assert len(tx.Table(path).files()) == 1
    change(path)
    write(path, {"id": [3], "n": [1]}, schema_mode="merge")
    for table in (tx.Table(path), tx.Table(path, version=1), tx.Table(path, version=0).at(version=2)):
        for listing in (table.files, table.file_table):
            with pytest.raises(tx.NeedsLiveViewError, match=r"older than version 1") as caught:
                listing()
            assert "physical=True" in (caught.value.hint or "")
            assert caught.value.kind == "needs-live-view"
        assert len(table.files(physical=True)) == table.version + 1
        assert table.file_table(physical=True).num_rows == table.version + 1
    assert len(tx.Table(path, version=0).files()) == 1  # as the table was then, they agree


def test_the_shell(tmp_path: Path) -> None:
    """`txfiles files` says the same, ends with 2, and lists with --physical."""
    path = tmp_path / "table"
    write(path, {"id": [1], "n": [1]})
    CHANGES["a new column"](path)
    for flags in ([], ["--long"], ["--json"]):
        refused = CliRunner().invoke(cli, ["files", str(path), *flags])
        assert refused.exit_code != 0
    listed = CliRunner().invoke(cli, ["files", str(path), "--physical"])
    assert (listed.exit_code, len(listed.stdout.splitlines())) == (0, 2)
    assert CliRunner().invoke(cli, ["show", str(path)]).exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "upsert", "keys": ["id"]},
        {"mode": "overwrite"},
        {"mode": "append", "batch_id": "b"},
    ],
    ids=lambda options: options["mode"],
)
def test_what_does_not_change_the_columns(tmp_path: Path, options: dict[str, Any]) -> None:
    """Keys, properties and rows may change: plain readers still see what the table has."""
    path = tmp_path / "table"
    write(path, {"id": [1], "n": [1]})
    write(path, {"id": [2], "n": [2]}, **options)
    tx.Table(path).set(target_file_bytes=10**6)
    table = tx.Table(path)
    assert bag(ds.dataset(table.files()).to_table().to_pylist()) == bag(table.to_arrow().to_pylist())


def test_a_rewritten_table_is_plain_again(tmp_path: Path) -> None:
    """When no file of before the change is left, any tool reads the files."""
    path = tmp_path / "table"
    write(path, {"id": [1], "n": [1]}, SMALL)
    CHANGES["a wider type"](path)
    table = tx.Table(path)
    tx.write(table.to_arrow(), path, mode="overwrite")
    files = table.refresh().files()
    assert bag([row for file in files for row in pq.read_table(file).to_pylist()]) == bag(table.to_arrow().to_pylist())
