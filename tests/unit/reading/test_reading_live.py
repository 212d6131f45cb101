"""The one view of live rows: where a group's rows stand in their file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from txfiles.reading import live
from txfiles.reading.live import LiveGroup
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist


@pytest.fixture
def table(tmp_path):
    """Three files of ten rows, in row groups of four."""
    for start in (0, 10, 20):
        rows = pa.table({"id": np.arange(start, start + 10)})
        tx.write(rows, tmp_path / "t", mode="append", **({"properties": {"row_group_rows": 4}} if not start else {}))
    return tx.Table(tmp_path / "t")


def test_positions_count_through_the_file(table):
    """The positions of a file's groups are 0, 1, 2 … without a gap, as the rows are read."""
    state, session = table._opened.snapshot.state, table._opened.session
    for file in filelist.data_files(table._opened.snapshot.files):
        with live.opened(session, state.table, file, MarkedRows(session, [file])) as groups:
            assert [group.rows for group in groups] == [4, 4, 2]
            assert np.concatenate([group.positions for group in groups]).tolist() == list(range(10))
            read = [value for group in groups for value in group.read(["id"])["id"].to_pylist()]
            assert read == sorted(read)
        assert live.live_rows(file) == 10
    assert filelist.total_rows(table._opened.snapshot.files) == table.row_count == 30


@given(
    first=st.integers(0, 30),
    rows=st.integers(0, 20),
    marked=st.sets(st.integers(0, 19)),
    wanted=st.sets(st.integers(0, 60)),
)
def test_locate_finds_the_positions_of_a_group(first, rows, marked, wanted):
    """`locate` gives exactly the positions that are in the group, and where among its live rows they stand."""
    dead = np.array(sorted(found for found in marked if found < rows), np.int64)
    group = LiveGroup(first, rows, dead, None, pa.table({}), pa.schema([]))
    live = [first + row for row in range(rows) if row not in marked]
    assert group.positions.tolist() == live
    assert group.rows == len(live)
    sought = np.array(sorted(found for found in wanted if found - first not in dead), np.int64)
    mine, places = group.locate(sought)
    assert sought[mine].tolist() == [found for found in sought.tolist() if first <= found < first + rows]
    assert group.positions[places].tolist() == sought[mine].tolist()
