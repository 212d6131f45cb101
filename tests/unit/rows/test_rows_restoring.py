"""One list of files becomes another: whatever both are, the result is the second, in its order, and little is moved."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.core.manifest import Add, ColumnStats, KeyRange, TableMetadata, Vector
from txfiles.core.schema import Column
from txfiles.rows import filelist, restoring

COLUMNS = (Column(id=1, name="id", type="int64"), Column(id=2, name="text", type="string"))
TABLE = TableMetadata(format="parquet", columns=COLUMNS, last_column_id=2, keys=("id",))


def vector(rows: int) -> Vector | None:
    return Vector(file="v", offset=0, bytes=rows, sha256="0" * 64, rows=rows) if rows else None


def listed(files: list[tuple[int, int]]) -> pa.Table:
    """Files by number, each with so many marked rows."""
    adds = [Add(path=f"f{number}", rows=9, bytes=1, sha256="", vector=vector(marked)) for number, marked in files]
    return filelist.from_adds([(add, 0) for add in adds], COLUMNS, ["id"])


def carried_out(
    head: list[tuple[int, int]], wanted: list[tuple[int, int]], back: restoring.PutBack
) -> list[tuple[int, int]]:
    """The list after removals and adds, by the rule of specs/3-manifest.md."""
    added = [wanted[at] for at in back.add]
    result: list[tuple[int, int]] = []
    for at, file in enumerate(head):
        result += [one for one, place in zip(added, back.places, strict=True) if place == at]
        result += [] if at in back.remove else [file]
    return result + [one for one, place in zip(added, back.places, strict=True) if place < 0]


FILES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2)), max_size=7, unique_by=lambda file: file[0])


@given(head=FILES, wanted=FILES)
def test_the_list_becomes_the_other_one(head: list[tuple[int, int]], wanted: list[tuple[int, int]]) -> None:
    """Paths, vectors and order are those wanted; a place is that of a file that goes; nothing is named twice."""
    back = restoring.put_back(listed(head), listed(wanted))
    assert carried_out(head, wanted, back) == wanted
    assert {int(place) for place in back.places if place >= 0} <= set(back.remove.tolist())
    assert len(set(back.add.tolist())) == len(back.add)
    assert back.moved <= len(set(head) & set(wanted))
    if head == wanted:
        assert not len(back.remove)
        assert not len(back.add)


@pytest.mark.parametrize(
    ("head", "wanted", "removed", "added"),
    [
        ("abd", "abcd", 1, 2),  # d lends its place
        ("abxd", "abcd", 1, 1),  # x goes where c belongs
        ("abcx", "abc", 1, 0),
        ("ab", "abcd", 0, 2),
        ("bd", "abcd", 2, 4),
    ],
)
def test_little_is_moved(head: str, wanted: str, removed: int, added: int) -> None:
    """At most one file that stays is moved for each place where files come back and none goes."""
    back = restoring.put_back(*(listed([(ord(one), 0) for one in files]) for files in (head, wanted)))
    assert (len(back.remove), len(back.add)) == (removed, added)


def test_a_file_comes_back_as_it_was() -> None:
    """All that a list knows of a file is in the add, which makes the same row of a list again."""
    add = Add(
        path="f",
        rows=9,
        bytes=5,
        sha256="a" * 64,
        footer_bytes=7,
        footer_sha256="b" * 64,
        stats={"1": ColumnStats(nulls=0, min="-3", max="7"), "2": ColumnStats(nulls=9)},
        key_range=KeyRange(columns=(1,), min="00", max=None),
        columns=(2, 1),
        vector=vector(2),
    )
    files = filelist.from_adds([(add, 4)], COLUMNS, ["id"])
    (back,) = restoring.adds(files, TABLE, ["g"])
    assert (back.place, back.added_version) == ("g", 4)
    assert filelist.from_adds([(back, 11)], COLUMNS, ["id"]).equals(files)
