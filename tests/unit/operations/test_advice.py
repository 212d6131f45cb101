"""Whether a compaction is worth it: one rule, from the log alone, with the figures of a dry run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import txfiles as tx
from txfiles.operations import advice, compact

MARKS = {"update_strategy": "merge_on_read"}


def append(path: Path, low: int, rows: int = 4, **options: object) -> None:
    ids = np.arange(low, low + rows)
    tx.write(pa.table({"id": ids, "part": ids // 4}), path, mode="append_once", keys=["id"], **options)


@pytest.mark.parametrize(("files", "worth"), [(10, False), (11, True)])
def test_many_small_files(tmp_path: Path, files: int, worth: bool) -> None:
    """Joining is worth it from ten files fewer on; then it is told as a dry run tells it, and not once it is done."""
    for number in range(files):
        append(tmp_path / "t", 4 * number)
    table = tx.Table(tmp_path / "t")
    told = table.worth_compacting()
    assert told == (table.compact(dry_run=True) if worth else None)
    if told is not None:
        assert (told.files_before, told.files_after, told.dry_run) == (files, 1, True)
    assert tx.plan(pa.table({"id": [1], "part": [0]}), table.path, mode="upsert").compaction == told
    assert table.delete(keys=[1], dry_run=True).compaction == told
    table.compact()
    assert table.worth_compacting() is None
    assert tx.plan(pa.table({"id": [1], "part": [0]}), table.path, mode="upsert").compaction is None


def test_one_file_in_each_partition(tmp_path: Path) -> None:
    """Small files that cannot be joined are nothing to be told of."""
    append(tmp_path / "t", 0, 60, partition_by=["part"])
    table = tx.Table(tmp_path / "t")
    assert (len(table.files()), table.worth_compacting()) == (15, None)


def test_few_small_files_among_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Joining that leaves less than a tenth of the files fewer is not worth it."""
    for number in range(12):
        append(tmp_path / "t", 4 * number)
    table = tx.Table(tmp_path / "t")
    assert table.worth_compacting() is not None
    monkeypatch.setattr(advice, "SPARED_SHARE", 1)  # as if there were ten times as many files
    assert table.worth_compacting() is None


@pytest.mark.parametrize(("deleted", "worth"), [(24, False), (25, True)])
def test_marked_rows(tmp_path: Path, deleted: int, worth: bool) -> None:
    """A file is worth writing anew at the share of marked rows at which `compact` picks it, and only then."""
    append(tmp_path / "t", 0, 100, properties=MARKS)
    table = tx.Table(tmp_path / "t")
    table.delete([("id", "<", deleted)])
    told = table.worth_compacting()
    assert (told is not None) == worth == (table.compact(dry_run=True).groups > 0)
    if told is not None:
        assert (told.files_before, told.files_after, told.rows, told.rows_dropped) == (1, 1, 75, 25)
    assert compact.WORN_SHARE == 4
    assert table.compact().committed == worth


def test_no_data_file_is_read(tmp_path: Path) -> None:
    """The log is enough, also if the data files are gone."""
    for number in range(12):
        append(tmp_path / "t", 4 * number)
    for file in tx.Table(tmp_path / "t").files():
        Path(file).unlink()
    told = tx.Table(tmp_path / "t").worth_compacting()
    assert told is not None
    assert told.files_before == 12
    assert tx.plan(pa.table({"id": [1], "part": [0]}), tmp_path / "t", mode="append").compaction == told
