"""Merge-on-read: replaced rows are marked, every reader leaves them out, and the answers are those of copy-on-write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import txfiles as tx
from txfiles.core import names
from txfiles.errors import CorruptTableError, NeedsLiveViewError

FORMATS = ("parquet", "csv")


def rows(low: int, high: int, value: int = 0) -> pa.Table:
    ids = np.arange(low, high)
    return pa.table({"id": ids, "part": ids % 3, "v": np.full(len(ids), value)})


def made(path: Path, format: str = "parquet", **options: Any) -> tx.Table:
    """Two files of 100 rows."""
    properties = {"update_strategy": "merge_on_read", "row_group_rows": 16} | options.pop("properties", {})
    tx.write(rows(0, 100), path, format=format, mode="append_once", keys=["id"], properties=properties, **options)
    tx.write(rows(100, 200), path, mode="append_once")
    return tx.Table(path)


def contents(table: tx.Table) -> dict[int, int]:
    found = table.to_arrow()
    pairs = dict(zip(found["id"].to_pylist(), found["v"].to_pylist(), strict=True))
    assert len(pairs) == found.num_rows == table.row_count
    return pairs


def vector_files(path: Path) -> set[str]:
    folder = path / names.VECTOR_DIR
    return set(os.listdir(folder)) if folder.exists() else set()


@pytest.mark.parametrize("format", FORMATS)
def test_an_upsert_marks_what_it_replaces(tmp_path: Path, format: str) -> None:
    """No data file is written anew; the counts are those of copy-on-write, and each reader sees the new rows once."""
    table = made(tmp_path / "t", format)
    before = set(table.files())
    result = tx.write(rows(90, 110, 7), tmp_path / "t", mode="upsert")
    assert (result.rows_updated, result.rows_inserted, result.files_removed, result.files_added) == (20, 0, 0, 1)
    table = table.refresh()
    assert before < set(table.files(physical=True))
    expected = {number: 7 if 90 <= number < 110 else 0 for number in range(200)}
    assert contents(table) == expected
    assert len(vector_files(tmp_path / "t")) == 1
    batches = pa.Table.from_batches(table.to_batches())
    assert sorted(batches["id"].to_pylist()) == list(range(200))
    assert sorted(table.dataset().to_table()["id"].to_pylist()) == list(range(200))
    assert table.lookup([89, 90, 105, 110])["v"].to_pylist() == [0, 0, 7, 7] or set(
        table.lookup([90, 105])["v"].to_pylist()
    ) == {7}
    found = table.to_arrow(filter=[("v", "=", 0), ("id", ">=", 85), ("id", "<", 115)])
    assert found["id"].to_pylist() == [*range(85, 90), *range(110, 115)]
    again = tx.write(rows(90, 110, 7), tmp_path / "t", mode="upsert")
    assert not again.committed
    assert again.rows_unchanged == 20


@pytest.mark.parametrize("format", FORMATS)
def test_a_second_mark_contains_the_first(tmp_path: Path, format: str) -> None:
    """Rows that were marked stay marked; a file of which every row is marked is removed."""
    table = made(tmp_path / "t", format)
    for low in range(0, 100, 10):
        result = table.delete([("id", ">=", low), ("id", "<", low + 10)])
        assert result.rows_deleted == 10
        assert contents(table) == dict.fromkeys([*range(low + 10, 200)], 0)
    assert result.files_removed == 1
    assert len(table.files()) == 1
    assert contents(table.at(version=3)) == dict.fromkeys(range(20, 200), 0)
    assert table.delete([("id", "<", 100)]).rows_deleted == 0


def test_keys_that_were_marked_are_absent(tmp_path: Path) -> None:
    """append_once adds a key whose row was deleted, and skips one that is live."""
    table = made(tmp_path / "t")
    table.delete(keys=[5, 6, 150])
    result = tx.write(rows(0, 10, 3), tmp_path / "t", mode="append_once")
    assert (result.rows_inserted, result.rows_skipped) == (2, 8)
    assert contents(tx.Table(tmp_path / "t")) == {
        number: 3 if number in (5, 6) else 0 for number in range(200) if number != 150
    }


def test_readers_of_physical_files_are_refused(tmp_path: Path) -> None:
    """Plain readers would see deleted rows: files and file_table refuse and name the way out."""
    table = made(tmp_path / "t")
    table.delete(keys=[5])
    for refused in (table.files, table.file_table):
        with pytest.raises(NeedsLiveViewError, match="1 deleted rows are still in 1 data file") as told:
            refused()
        assert "to_batches" in str(told.value.hint)
    assert len(table.files(physical=True)) == 2


def test_a_dataset_holds_few_marked_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset takes marked files into memory up to a limit, in the table's order, and refuses beyond it."""
    table = made(tmp_path / "t")
    tx.write(rows(200, 300), tmp_path / "t", mode="append_once")
    table = table.refresh()
    table.delete([("id", ">=", 150), ("id", "<", 160)])
    expected = [*range(150), *range(160, 300)]
    assert table.dataset().to_table()["id"].to_pylist() == expected == table.to_arrow()["id"].to_pylist()
    monkeypatch.setattr("txfiles.reading.scan.HELD_IN_MEMORY_BYTES", 10)
    with pytest.raises(NeedsLiveViewError, match="hold deleted rows") as told:
        table.dataset()
    assert "to_batches" in str(told.value.hint)


def test_a_missing_vector_is_damage(tmp_path: Path) -> None:
    """Without its vector, a file's deleted rows cannot be told from the live ones: reading fails, and says so."""
    table = made(tmp_path / "t")
    table.delete(keys=[5])
    (name,) = vector_files(tmp_path / "t")
    vector = tmp_path / "t" / names.VECTOR_DIR / name
    data = vector.read_bytes()
    vector.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CorruptTableError, match="deletion vector"):
        table.to_arrow()
    vector.unlink()
    with pytest.raises(CorruptTableError):
        table.to_arrow()
    with pytest.raises(CorruptTableError):
        table.delete(keys=[6])


def test_vacuum_keeps_the_vectors_of_readable_versions(tmp_path: Path) -> None:
    """A vector file is deleted once no readable version needs it; that makes the versions before unreadable."""
    path = tmp_path / "t"
    table = made(path, properties={"vacuum_grace": "0", "checkpoint_interval": 2})
    table.delete(keys=[5, 105])
    first = vector_files(path)
    table.delete(keys=[6])
    assert not table.vacuum(retain="1d").committed
    assert not table.vacuum(keep_versions=1, retain="0").committed  # file 2 still has its vector in the first
    table.delete(keys=[106])
    assert len(vector_files(path)) == 3
    found = table.vacuum(keep_versions=2, retain="0")
    assert not found.committed
    found = table.vacuum(keep_versions=1, retain="0")
    assert {name.rpartition("/")[2] for name in found.deleted if name.endswith(".bin")} == first
    assert table._opened.snapshot.state.oldest_readable_version == 4
    assert contents(table) == {number: 0 for number in range(200) if number not in (5, 6, 105, 106)}
    with pytest.raises(tx.errors.SnapshotExpiredError):
        table.at(version=3)
    orphan = path / names.VECTOR_DIR / next(iter(first))
    orphan.write_bytes(b"x")
    assert names.VECTOR_DIR + next(iter(first)) in table.vacuum(retain="0").deleted
    assert contents(opened_anew(path)) == contents(table)


def test_checkpoints_hold_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is opened from a checkpoint has the same rows marked, though its parts know of no vector."""
    monkeypatch.setattr("txfiles.rows.segments.TAIL_FILES", 1)
    path = tmp_path / "t"
    properties = {"update_strategy": "merge_on_read", "checkpoint_interval": 1}
    for low in range(0, 100, 10):
        tx.write(rows(low, low + 10), path, mode="append_once", keys=["id"], properties=properties if not low else None)
    table = tx.Table(path)
    gone = []
    for key in (3, 33, 4, 77, 99):
        table.delete(keys=[key])
        gone.append(key)
        tx.write(rows(1_000 + key, 1_001 + key), path, mode="append_once")
        fresh = opened_anew(path)
        assert {number for number in contents(fresh) if number < 1_000} == set(range(100)) - set(gone)
        table = table.refresh()
    assert len(list((path / names.CHECKPOINT_DIR).iterdir())) > 5


def opened_anew(path: Path) -> tx.Table:
    """The table without what this process knows of it."""
    from txfiles.targets.files import target as files_target

    files_target._SNAPSHOTS.__init__()
    return tx.Table(path)


def test_a_compaction_drops_marked_rows(tmp_path: Path) -> None:
    """A file of which a quarter is marked is written anew in its place, large or alone; one with fewer stays."""
    path = tmp_path / "t"
    table = made(path)
    table.set(target_file_bytes=1_024)
    table.delete([("id", ">=", 100), ("id", "<", 124)])
    few = table.compact()
    assert (few.committed, few.rows_dropped) == (False, 0)
    table.delete(keys=[124])
    told = table.compact(dry_run=True)
    assert (told.rows_dropped, told.rows, told.groups) == (25, 75, 1)
    done = table.compact()
    assert (done.rows_dropped, done.rows, done.files_before, done.files_after) == (25, 75, 1, 1)
    assert table.to_arrow()["id"].to_pylist() == [*range(100), *range(125, 200)]
    assert len(table.files()) == 2
    assert not table.compact().committed
    assert contents(table.at(version=table.version - 1)) == contents(table)


@pytest.mark.parametrize("format", FORMATS)
def test_a_rewrite_leaves_marked_rows_out(tmp_path: Path, format: str) -> None:
    """A table that changes its strategy rewrites files with marked rows; groups with such rows are not copied."""
    table = made(tmp_path / "t", format)
    table.delete(keys=[0, 40, 99])
    table.set(update_strategy="copy_on_write")
    tx.write(rows(60, 61, 5), tmp_path / "t", mode="upsert")
    table = table.refresh()
    assert contents(table) == {number: 5 if number == 60 else 0 for number in range(200) if number not in (0, 40, 99)}
    assert len(table.files()) == 2
    assert table.delete(keys=[1]).rows_deleted == 1


def test_small_files_lose_their_marked_rows(tmp_path: Path) -> None:
    """Files that are joined bring only their live rows, in order."""
    table = made(tmp_path / "t")
    table.delete(keys=[0, 99, 100])
    done = table.compact()
    assert (done.rows_dropped, done.files_before, done.files_after) == (3, 2, 1)
    assert table.to_arrow()["id"].to_pylist() == [*range(1, 99), *range(101, 200)]


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[str, Any]]:
    keys = st.sets(st.integers(0, 40), min_size=1, max_size=15).map(sorted)
    steps = st.one_of(
        st.tuples(st.just("upsert"), keys),
        st.tuples(st.just("append_once"), keys),
        st.tuples(st.just("delete"), keys),
        st.tuples(st.just("filter"), st.integers(0, 40)),
        st.tuples(st.just("overwrite"), st.integers(0, 2)),
        st.tuples(st.just("compact"), st.none()),
    )
    return draw(st.lists(steps, min_size=2, max_size=8))


@pytest.mark.parametrize(("format", "partitioned"), [("parquet", True), ("csv", False)])
@settings(deadline=None, max_examples=int(os.environ.get("TXFILES_STORIES", "8")))
@given(story=stories())
def test_both_strategies_give_the_same_rows_and_counts(
    tmp_path_factory: pytest.TempPathFactory, format: str, partitioned: bool, story: list[tuple[str, Any]]
) -> None:
    """Whatever is done to two tables that differ in `update_strategy` alone, rows and counts are the same."""
    folder = tmp_path_factory.mktemp("both")
    counts = []
    for strategy in ("copy_on_write", "merge_on_read"):
        path, seen = folder / strategy, []
        tx.write(
            rows(0, 30),
            path,
            format=format,
            mode="append_once",
            keys=["id"],
            partition_by=["part"] if partitioned else None,
            properties={"update_strategy": strategy, "row_group_rows": 4, "target_file_bytes": 1_024},
        )
        for number, (what, asked) in enumerate(story, 1):
            table = tx.Table(path)
            if what in ("upsert", "append_once"):
                batch = pa.table(
                    {"id": asked, "part": [key % 3 for key in asked], "v": [number + key % 2 for key in asked]}
                )
                found = tx.write(batch, path, mode=what)
            elif what == "delete":
                found = table.delete(keys=asked)
            elif what == "filter":
                found = table.delete([("id", "<", asked), ("v", "<", number - 1)])
            elif what == "overwrite":
                batch = pa.table({"id": [100 * number], "part": [asked], "v": [number]})
                found = tx.write(batch, path, mode="overwrite", replace_where=[("part", "=", asked)])
            else:
                table.compact()
                found = None
            if found is not None:
                seen.append({name: getattr(found, name) for name in dir(found) if name.startswith("rows_")})
        table = tx.Table(path)
        whole = table.to_arrow()
        assert whole.num_rows == table.row_count
        streamed = pa.Table.from_batches(table.to_batches(), whole.schema)
        assert streamed.equals(whole)
        assert pc.count_distinct(whole["id"]).as_py() == whole.num_rows
        counts.append((seen, sorted(map(tuple, zip(*(column.to_pylist() for column in whole.columns), strict=True)))))
    assert counts[0] == counts[1]
