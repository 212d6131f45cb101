"""Rewrites copy the row groups in which nothing changes, and the log says the same of the file as if they did not."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from txfiles.errors import CorruptTableError
from txfiles.formats import parquet_groups
from txfiles.operations import edits

pytestmark = pytest.mark.guarantees("S12 S13")

ROWS, GROUP_ROWS = 60, 10
FLOATS = st.sampled_from([0.0, -0.0, 1.5, -7.25, math.nan, math.inf, None])
TEXTS = st.sampled_from(["", "a", "b" * 70, "ü", None])


def table(ids: list[int], floats, texts, turn: int = 0) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "part": pa.array([f"k{number % 3}" for number in ids]),
            "f": pa.array([floats[number % len(floats)] for number in ids], pa.float64()),
            "t": pa.array([texts[number % len(texts)] for number in ids], pa.string()),
            "l": pa.array([[number] * (number % 2) for number in ids], pa.list_(pa.int64())),
            "n": pa.nulls(len(ids), pa.int32()),
            "turn": pa.array([turn] * len(ids), pa.int8()),
        }
    )


@given(
    keys=st.sampled_from([["id"], ["part", "id"], ["id", "part"]]),
    floats=st.lists(FLOATS, min_size=1, max_size=7),
    texts=st.lists(TEXTS, min_size=1, max_size=7),
    changes=st.lists(
        st.tuples(st.sampled_from(["upsert", "delete"]), st.integers(0, ROWS - 1), st.integers(1, 12)),
        min_size=1,
        max_size=3,
    ),
)
def test_copies_change_nothing_else(keys, floats, texts, changes, tmp_path_factory) -> None:
    """Upserts and deletes leave the same rows in the same order, and files of the same statistics and key ranges."""
    found = []
    for share in (1, ROWS):
        path = str(tmp_path_factory.mktemp("table"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edits, "COPIED_SHARE", share)
            tx.write(
                table(list(range(ROWS)), floats, texts), path, mode="upsert", keys=keys,
                properties={"row_group_rows": GROUP_ROWS},
            )  # fmt: skip
            for turn, (what, first, size) in enumerate(changes, 1):
                ids = list(range(first, min(first + size, ROWS)))
                if what == "upsert":
                    tx.write(table(ids, floats, texts, turn), path, mode="upsert")
                else:
                    tx.Table(path).delete([("id", "in", ids)])
        opened = tx.Table(path)
        listed = opened._opened.snapshot.files.drop_columns(
            ["path", "bytes", "sha256", "footer_bytes", "footer_sha256"]
        )
        found.append((opened.to_arrow(), listed, opened.files()))
    (rows, listed, _), (other_rows, other_listed, files) = found
    assert rows.schema == other_rows.schema
    assert str(rows.to_pylist()) == str(other_rows.to_pylist())  # NaN is NaN
    assert listed.to_pylist() == other_listed.to_pylist()
    for file in files:
        assert pq.ParquetFile(file, page_checksum_verification=True).read().num_rows


def test_only_what_changes_is_encoded(tmp_path) -> None:
    """Of six row groups one is changed: the other five have the bytes they had, in their order."""
    path = str(tmp_path)
    rows = table(list(range(ROWS)), [0.5], ["a"])
    tx.write(rows, path, mode="upsert", keys=["id"], properties={"row_group_rows": GROUP_ROWS, "compression": "none"})
    before = Path(tx.Table(path).files()[0]).read_bytes()
    tx.write(table([25], [0.5], ["a"], 7), path, mode="upsert")
    after = Path(tx.Table(path).files()[0]).read_bytes()
    old, new = (_groups(data) for data in (before, after))
    assert [a == b for a, b in zip(old, new, strict=True)] == [True, True, False, True, True, True]
    assert tx.Table(path).to_arrow()["turn"].to_pylist() == [0] * 25 + [7] + [0] * 34


@pytest.mark.parametrize("later", [3, 100])
def test_groups_are_those_of_the_file(later, tmp_path) -> None:
    """Copies are decided on by the groups that a file has, whatever size the table's new ones are to have."""
    path = str(tmp_path)
    rows = table(list(range(ROWS)), [0.5], ["a"])
    tx.write(rows, path, mode="upsert", keys=["id"], properties={"row_group_rows": GROUP_ROWS})
    before = Path(tx.Table(path).files()[0]).read_bytes()
    tx.Table(path).set(row_group_rows=later)
    tx.write(table([*range(23, 28)], [0.5], ["a"], 7), path, mode="upsert")
    after = Path(tx.Table(path).files()[0]).read_bytes()
    old, new = (_groups(data) for data in (before, after))
    assert (old[:2], old[3:]) == (new[:2], new[-3:])


def test_a_damaged_file_is_not_rewritten(tmp_path) -> None:
    """A byte that has changed in a group that the upsert would copy is reported; nothing is committed or left."""
    path = str(tmp_path)
    tx.write(
        table(list(range(ROWS)), [0.5], ["a"]), path, mode="upsert", keys=["id"], properties={"row_group_rows": 10}
    )
    file = tx.Table(path).files()[0]
    data = np.fromfile(file, np.uint8)
    start = pq.ParquetFile(file).metadata.row_group(4).column(2).data_page_offset
    data[start + 40] ^= 1
    data.tofile(file)
    with pytest.raises(CorruptTableError, match="sha256") as refused:
        tx.write(table([5], [0.5], ["a"], 7), path, mode="upsert")
    assert refused.value.file == file
    assert tx.Table(path).version == 0
    assert len(list(tmp_path.glob("*.parquet"))) == 1


def _groups(data: bytes) -> list[bytes]:
    size = int.from_bytes(data[-8:-4], "little") + 8
    starts = parquet_groups.read(data[-size:], len(data)).starts
    return [data[start:end] for start, end in pairwise(starts)]
