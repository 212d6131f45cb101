"""The file list out of the log's actions: each bound stands in its own column, in its type."""

from __future__ import annotations

import pytest

from txfiles.core.manifest import Add, ColumnStats
from txfiles.core.schema import Column
from txfiles.errors import CorruptTableError
from txfiles.rows import filelist

COLUMNS = [
    Column(id=1, name="a", type="int64"),
    Column(id=2, name="b", type="string"),
    Column(id=3, name="c", type="int64"),
    Column(id=4, name="d", type={"list": "int64"}),
]


def add(path: str, **stats: ColumnStats) -> Add:
    return Add(path=path, rows=1, bytes=1, sha256="", stats={name[1:]: found for name, found in stats.items()})


def test_bounds_go_to_their_columns():
    """Columns of one type are read together, and none gets another's bounds, nor one file another's."""
    adds = [
        add(
            "x",
            _1=ColumnStats(nulls=1, min="-1", max="2"),
            _2=ColumnStats(nulls=0, min="k", max="l"),
            _3=ColumnStats(nulls=7),
        ),
        add("y", _3=ColumnStats(nulls=0, min="5", max="6"), _4=ColumnStats(nulls=3)),
    ]
    files = filelist.from_adds([(one, version) for version, one in enumerate(adds)], COLUMNS, ())
    assert files.schema == filelist.schema(COLUMNS)
    assert files["added_version"].to_pylist() == [0, 1]
    found = {name: files[name].to_pylist() for name in files.column_names if name[:3] in ("min", "max", "nul")}
    assert found == {
        "nulls.1": [1, None],
        "min.1": [-1, None],
        "max.1": [2, None],
        "nulls.2": [0, None],
        "min.2": ["k", None],
        "max.2": ["l", None],
        "nulls.3": [7, 0],
        "min.3": [None, 5],
        "max.3": [None, 6],
        "nulls.4": [None, 3],
        "min.4": [None, None],
        "max.4": [None, None],
    }


def test_a_bound_that_is_none_is_damage():
    """A bound in the log that is no value of its column's type is damage, not bad input of the caller."""
    with pytest.raises(CorruptTableError, match="'0x10' is not a value of type int64"):
        filelist.from_adds([(add("x", _1=ColumnStats(nulls=0, min="0x10", max="17")), 0)], COLUMNS, ())


def test_no_file_no_row():
    """No action makes the empty list of the same schema."""
    assert filelist.from_adds([], COLUMNS, ()).equals(filelist.empty(COLUMNS))
