"""Diff: what it says, done to the rows of the one version, gives those of the other; and it reads what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import txfiles as tx
from tests.model import Row, bag
from txfiles.reading import diff as reading

SCHEMA = pa.schema([("id", pa.int32()), ("part", pa.string()), ("v", pa.float64())])
ROW = st.fixed_dictionaries(
    {
        "id": st.integers(0, 6),
        "part": st.sampled_from(["a", None]),
        "v": st.sampled_from([None, 0.0, -0.0, float("nan")]),
    }
)
ROWS = st.lists(ROW, min_size=1, max_size=5)
STEP = st.one_of(
    st.tuples(st.sampled_from(["append", "upsert", "overwrite", "wider"]), ROWS),
    st.tuples(st.just("delete"), st.integers(0, 6)),
    st.tuples(st.sampled_from(["compact", "mark"]), st.none()),
    st.tuples(st.just("restore"), st.integers(0, 20)),
)


def arrow(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMA)


def unique(rows: list[Row]) -> list[Row]:
    return list({row["id"]: row for row in rows}.values())


def step(path: Path, what: str, given_: Any) -> None:
    """One change of a table."""
    table = tx.Table(path)
    if what in ("append", "overwrite"):
        tx.write(arrow(given_), path, mode=what, schema_mode="merge")
    elif what == "upsert":
        tx.write(arrow(unique(given_)), path, mode="upsert", keys=["id"], schema_mode="merge")
    elif what == "wider":
        more = arrow(given_).append_column("more", pa.array([2**40] * len(given_)))
        more = more.set_column(0, "id", more["id"].cast(pa.int64()))
        tx.write(more, path, mode="append", schema_mode="merge")
    elif what == "delete":
        table.delete([("id", "=", given_)])
    elif what == "compact":
        table.compact()
    elif what == "restore":
        table.restore(version=given_ % (table.version + 1))
    else:
        table.set(update_strategy="merge_on_read")


@settings(max_examples=40, deadline=None)
@given(first=ROWS, steps=st.lists(STEP, min_size=1, max_size=5), partitioned=st.booleans(), data=st.data())
def test_the_difference_makes_one_version_the_other(
    first: list[Row],
    steps: list[tuple[str, Any]],
    partitioned: bool,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Old rows without deleted and replaced ones, with new ones, are the new rows: of any two versions."""
    path = tmp_path_factory.mktemp("diff") / "table"
    tx.write(arrow(first), path, mode="append", partition_by=["part"] if partitioned else None)
    for what, given_ in steps:
        step(path, what, given_)
    newest = tx.Table(path)
    a, b = (data.draw(st.integers(0, newest.version)) for _ in range(2))
    old, new = newest.at(version=a), newest.at(version=b)
    found = newest.diff(a, b)
    names = new.schema.names
    rows = [{name: row.get(name) for name in names} for row in old.to_arrow().to_pylist()]
    gone = bag([*found.deleted.to_arrow().to_pylist(), *found.updated_before.to_arrow().to_pylist()])
    left = bag(rows)
    for one in gone:
        left.remove(one)
    came = bag([*found.inserted.to_arrow().to_pylist(), *found.updated.to_arrow().to_pylist()])
    assert sorted([*left, *came], key=repr) == bag(new.to_arrow().to_pylist())
    assert not {repr(one) for one in gone} & {repr(one) for one in came}
    for part in (found.inserted, found.updated, found.updated_before, found.deleted):
        assert part.to_arrow().num_rows == len(part)
    assert len(found.updated) == len(found.updated_before)
    if found.keys:
        key = [sorted(map(repr, rows.to_arrow()["id"].to_pylist())) for rows in (found.updated, found.updated_before)]
        assert key[0] == key[1]
        deleted, inserted = (set(rows.to_arrow()["id"].to_pylist()) for rows in (found.deleted, found.inserted))
        assert not deleted & inserted
    else:
        assert not len(found.updated)


def test_only_files_that_differ_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of both versions are left alone; a stream reads only files that hold a row of it."""
    path = tmp_path / "t"
    for number in range(5):
        tx.write(pa.table({"id": [number], "v": [0]}), path, mode="append_once", keys=["id"])
    tx.write(pa.table({"id": [2, 9], "v": [1, 1]}), path, mode="upsert")
    read: list[str] = []
    real = reading.opened
    monkeypatch.setattr(
        reading,
        "opened",
        lambda session, table, file, marked: read.append(file.path) or real(session, table, file, marked),
    )
    found = tx.Table(path).diff(4)
    assert (found.files_same, found.files_scanned) == (4, len(set(read)))
    assert len(read) <= 3
    assert (found.inserted.count, found.updated.count, found.deleted.count) == (1, 1, 0)
    read.clear()
    assert found.updated_before.to_arrow().to_pylist() == [{"id": 2, "v": 0}]
    assert len(read) == 1


def test_marked_rows_alone_are_compared(tmp_path: Path) -> None:
    """Of a file in which rows were marked, nothing else is compared, and its later version is not read at all."""
    path = tmp_path / "t"
    rows = pa.table({"id": list(range(100)), "v": [0] * 100})
    tx.write(rows, path, mode="upsert", keys=["id"], properties={"update_strategy": "merge_on_read"})
    table = tx.Table(path)
    table.delete(keys=[7, 8])
    found = table.diff(0)
    assert (found.files_scanned, found.files_same) == (1, 0)
    assert found.deleted.to_arrow()["id"].to_pylist() == [7, 8]
    table.delete(keys=[9])
    assert table.diff(1).deleted.to_arrow()["id"].to_pylist() == [9]
    assert table.diff(2, 1).inserted.to_arrow()["id"].to_pylist() == [9]


def test_changes_in_the_words_of_delta(tmp_path: Path) -> None:
    """One stream of all rows, by times as well; a column of that name is not hidden."""
    path = tmp_path / "t"
    tx.write(pa.table({"id": [1, 2], "v": [0, 0]}), path, mode="upsert", keys=["id"])
    tx.write(pa.table({"id": [2, 3], "v": [1, 1]}), path, mode="upsert")
    table = tx.Table(path)
    then = table.at(version=0).history(1)[0].time
    rows = table.diff(then, "2999-01-01T00:00:00Z").changes().read_all().to_pylist()
    assert rows == [
        {"_change_type": "update_preimage", "id": 2, "v": 0},
        {"_change_type": "update_postimage", "id": 2, "v": 1},
        {"_change_type": "insert", "id": 3, "v": 1},
    ]
    other = tmp_path / "o"
    tx.write(pa.table({"_change_type": [1]}), other, mode="append")
    with pytest.raises(tx.InputError, match="_change_type"):
        tx.Table(other).diff(0).changes()


def test_a_version_that_is_vacuumed_away(tmp_path: Path) -> None:
    """Before and while it is read: the error says so, and names what is readable."""
    path = tmp_path / "t"
    tx.write(pa.table({"id": [1]}), path, mode="append")
    tx.write(pa.table({"id": [2]}), path, mode="overwrite")
    found = tx.Table(path).diff(0)
    tx.Table(path).vacuum(retain="0")
    with pytest.raises(tx.SnapshotExpiredError):
        found.deleted.to_arrow()
    with pytest.raises(tx.SnapshotExpiredError):
        tx.Table(path).diff(0)
