"""How a list of files is cut into parts, so that saving it again costs what has changed."""

from __future__ import annotations

from itertools import count
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.core.manifest import Add, TableMetadata
from txfiles.core.schema import Column
from txfiles.rows import filelist, segments
from txfiles.rows.segments import FileList, Part, Segment, packed

COLUMNS = (Column(id=1, name="id", type="int64"),)
TABLE = TableMetadata(format="parquet", columns=COLUMNS, last_column_id=1)
TAIL, MOST = 3, 16


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts, so that there are many."""
    monkeypatch.setattr(segments, "TAIL_FILES", TAIL)
    monkeypatch.setattr(segments, "PART_FILES", MOST)
    monkeypatch.setattr(segments, "SPARE_PARTS", 4)


def rows(numbers: Any) -> pa.Table:
    """Files named by number."""
    adds = [
        (Add(path=f"f{number}", rows=1, bytes=1, sha256="0" * 64, footer_bytes=1, footer_sha256="0" * 64), 0)
        for number in numbers
    ]
    return filelist.from_adds(adds, COLUMNS, ())


def paths(files: pa.Table) -> list[str]:
    return files["path"].to_pylist()


class Saver:
    """Saves lists as checkpoints do, and counts the rows that it writes."""

    def __init__(self) -> None:
        self.names = count()
        self.written = 0

    def save(self, listing: FileList) -> FileList:
        """The same list, in the parts that hold it now."""
        found, rest = packed(listing, listing.parts)
        saved = []
        for segment in found:
            if segment.part is None:
                self.written += len(segment)
                part = Part(f"p{next(self.names)}", 1, "0" * 64, segment.files)
                saved.append(Segment(part.files, part))
            else:
                saved.append(Segment.of_part(segment.part, segment.gone))
        self.written += rest.num_rows
        assert rest.num_rows <= TAIL
        assert all(0 < len(segment) <= MOST for segment in saved)
        assert len(saved) <= listing.count // MOST + 1 + 4 + 1
        return FileList((*saved, Segment(rest)))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 40)),
        st.tuples(st.just("remove"), st.lists(st.integers(0, 10_000), max_size=12)),
        st.tuples(st.just("join"), st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 3)), max_size=3)),
        st.just(("save", 0)),
    ),
    max_size=30,
)


def joined(
    listing: FileList, expected: list[str], groups: list[tuple[int, int]], number: Any
) -> tuple[FileList, list[str]]:
    """Some neighbours become one file each, as in a compaction, and another file comes last."""
    places: list[str | None] = []
    more = rows(next(number) for _ in range(len(groups) + 1))
    names, removed, found = paths(more), list[str](), list(expected)
    for (at, length), name in zip(groups, names, strict=False):
        run = [path for path in expected[at % max(1, len(expected)) :][:length] if path not in removed]
        places.append(run[0] if run else None)
        if run:
            found[found.index(run[0])] = name
            found = [path for path in found if path not in run]
        else:
            found.append(name)
        removed += run
    return listing.without(removed).placed(more, [*places, None], listing), [*found, names[-1]]


@given(STEPS)
def test_a_list_in_parts_is_the_list(steps: list[tuple[str, Any]]) -> None:
    """Whatever is added and removed between checkpoints, the list is what it would be in one piece, in its order."""
    saver, listing, expected, number = Saver(), FileList.of(rows([])), list[str](), count()
    for what, given_ in steps:
        if what == "add":
            more = rows(next(number) for _ in range(given_))
            expected += paths(more)
            listing = listing.joined(more)
        elif what == "remove":
            gone = {expected[at % len(expected)] for at in given_ if expected}
            expected = [path for path in expected if path not in gone]
            listing = listing.without(sorted(gone))
        elif what == "join":
            listing, expected = joined(listing, expected, given_, number)
        else:
            listing = saver.save(listing)
        assert paths(listing.files) == expected
        assert listing.count == len(expected)


@pytest.mark.parametrize("files", [400, 800, 1_600])
def test_saving_costs_what_was_added(files: int) -> None:
    """Each file is written a few times in its life, however long the list: with the tail, and as parts are joined."""
    saver, listing = Saver(), FileList.of(rows([]))
    for number in range(files):
        listing = saver.save(listing.joined(rows([number])))
    assert paths(listing.files) == [f"f{number}" for number in range(files)]
    assert saver.written <= files * 6
    assert len(listing.segments) - 1 <= files // MOST + 4


def test_only_named_parts_are_used_again() -> None:
    """A part that the newest checkpoint does not name may be deleted by a vacuum: its rows are saved anew."""
    listing = Saver().save(FileList.of(rows(range(2 * MOST))))
    first, second = (segment.part for segment in listing.segments[:2])
    assert first is not None
    assert second is not None
    found, rest = packed(listing, {first.name})
    assert [segment.part for segment in found] == [first, None]
    assert paths(found[1].files) == [f"f{number}" for number in range(MOST, 2 * MOST)]
    assert rest.num_rows == 0


def test_a_part_that_has_lost_most_of_its_files_is_given_up() -> None:
    """Otherwise a list that shrinks would stay as long as it has ever been."""
    saver = Saver()
    listing = saver.save(FileList.of(rows(range(2 * MOST))))
    half = listing.without([f"f{number}" for number in range(MOST // 2)])
    assert saver.save(half).parts == listing.parts
    less = listing.without([f"f{number}" for number in range(MOST // 2 + 1)])
    assert saver.save(less).parts != listing.parts


def test_another_schema_leaves_the_parts() -> None:
    """A table action that changes bounds or columns changes every row; one that does not, none."""
    listing = Saver().save(FileList.of(rows(range(2 * MOST))))
    wider = TableMetadata(format="parquet", columns=(*COLUMNS, Column(id=2, name="x", type="string")), last_column_id=2)
    assert listing.followed(TABLE, TABLE) is listing
    found = listing.followed(TABLE, wider)
    assert found.parts == set()
    assert paths(found.files) == paths(listing.files)
    assert "min.2" in found.files.schema.names


def test_a_part_is_no_larger_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide rows make shorter parts."""
    listing = FileList.of(rows(range(MOST)))
    monkeypatch.setattr(segments, "PART_BYTES", listing.files.nbytes // 4)
    assert 2 <= listing.part_files <= 4
    found, rest = packed(listing, ())
    assert all(len(segment) <= listing.part_files for segment in found)
    assert sum(map(len, found)) + rest.num_rows == MOST


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_bits_say_which_rows_are_gone(live: list[bool]) -> None:
    """What is left of a part is read back as it was saved."""
    part = Part("p", 1, "0" * 64, rows(range(len(live))))
    left = FileList((Segment(part.files, part),)).without([f"f{n}" for n, kept in enumerate(live) if not kept])
    segment = left.segments[0]
    again = Segment.of_part(part, segment.gone)
    assert paths(again.files) == [f"f{n}" for n, kept in enumerate(live) if kept]
    assert again.gone == segment.gone
    assert (segment.gone == b"") == all(live)


@given(st.integers(1, 9), st.lists(st.integers(0, 19), max_size=12), st.booleans())
def test_files_are_taken_from_a_list_in_pieces(size: int, positions: list[int], ordered: bool) -> None:
    """The files at some positions are the same, in the same order, in however many pieces the list is."""
    whole = rows(range(20)).combine_chunks()
    pieces = pa.concat_tables([whole.slice(start, size) for start in range(0, 20, size)])
    wanted = sorted(positions) if ordered else positions
    assert filelist.data_files(pieces, wanted) == filelist.data_files(whole, wanted)
    assert [file.path for file in filelist.data_files(pieces, wanted)] == [f"f{at}" for at in wanted]
