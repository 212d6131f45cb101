"""The rules of an adoption that look at names and types alone."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from txfiles.core import names, strangers
from txfiles.core.manifest import ColumnStats
from txfiles.rows import filelist, partition_types, stated
from txfiles.rows.stated import Stated
from txfiles.rows.unify import holding

segments = st.sampled_from(
    ["a", ".", "..", "", "_txfiles", "%41", "%20", "%2F", "%C3%84", "%00", "a b", "x" * 256, "é", "c=1"]
)


@given(st.lists(st.lists(segments | st.text(max_size=3), min_size=1, max_size=3).map("/".join), max_size=20))
@example(["a\n", "/a", "a/", "%25", "%c3%84", "_txfiles", "a/_txfiles/b", "_txfiles2/b"])
def test_many_paths_are_judged_as_one_is(paths: list[str]) -> None:
    """A checkpoint's list is held to the very rule of a manifest's paths."""
    paths = [path for path in paths if path.isprintable() or path == "a\n"]
    odd = filelist._not_adopted(pa.chunked_array([paths], pa.string())).to_pylist()
    assert sorted(odd) == sorted(path for path in paths if not names.is_adopted_path(path))


@given(st.text(min_size=1).filter(lambda text: "\0" not in text and text.isprintable()))
def test_each_name_has_one_path(name: str) -> None:
    """A name that may be adopted is written as a path and found again; no other path means it."""
    if names.is_adoptable(name):
        path = names.encode_path(name)
        assert (names.is_adopted_path(path), names.decode_path(path)) == (True, name)


@pytest.mark.parametrize(
    ("name", "hidden", "kind"),
    [
        ("a/part-00000-1b.c000.snappy.parquet", False, "parquet"),
        ("000000_0", False, ""),
        ("000012_0_copy_3", False, ""),
        ("part-00000", False, ""),
        ("part.0.parquet", False, "parquet"),
        ("A.PARQUET", False, "parquet"),
        ("x.csv.gz", False, "csv"),
        ("part-00000.txt", False, None),
        ("part-r-00000.c000", False, ""),
        ("notes.txt", False, None),
        ("12", False, None),
        ("_SUCCESS", True, None),
        ("_day=1/a.parquet", False, "parquet"),
        ("_tmp/a.parquet", True, "parquet"),
        (".hive-staging/a.parquet", True, "parquet"),
        ("a.parquet._COPYING_", True, None),
        ("a.parquet.crc", True, None),
    ],
)
def test_what_names_say(name: str, hidden: bool, kind: str | None) -> None:
    """Which files are data, and of which format, as Spark and Hive see it."""
    assert (strangers.is_hidden(name), strangers.format_of(name)) == (hidden, kind)


TYPES = [
    pa.int8(), pa.int64(), pa.uint32(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(10, 2),
    pa.decimal128(38, 0), pa.string(), pa.binary(), pa.binary(2), pa.date32(), pa.date64(), pa.timestamp("s"),
    pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("ms", "UTC"), pa.time32("s"), pa.time64("ns"), pa.bool_(),
    pa.null(),
]  # fmt: skip
NESTED = [*map(pa.list_, TYPES), *(pa.struct([("a", kind)]) for kind in TYPES)]


@pytest.mark.parametrize("one", TYPES, ids=str)
def test_joined_types_hold_both(one: pa.DataType) -> None:
    """If two types are joined, in either order, a third joins nothing new, and whole numbers fit without loss."""
    for other in TYPES:
        found, back = holding(one, other), holding(other, one)
        assert (found is None) == (back is None), (one, other)
        if found is not None:
            assert holding(found, one) == holding(found, other) == found, (one, other)
            if pa.types.is_integer(one) and not pa.types.is_null(found):
                low, high = pa.scalar(0, one), pa.scalar(2 ** (one.bit_width - 1) - 1, one)
                assert low.cast(found).cast(one) == low
                assert high.cast(found).cast(one) == high


def test_nested_types_join_part_by_part() -> None:
    """A list or a struct is joined if its parts are, and refused if one of them is not."""
    for (at, one), (of, other) in itertools.product(enumerate(TYPES), enumerate(TYPES)):
        plain = holding(one, other)
        for make in (pa.list_, lambda kind: pa.struct([("a", kind)]), lambda kind: pa.map_(pa.string(), kind)):
            found = holding(make(one), make(other))
            assert found == (None if plain is None else make(plain)), (at, of)


@given(
    st.lists(st.none() | st.sampled_from(["1", "01", "-5", "+1", "2026-11-01", "true", "x", "", "9" * 30]), max_size=4)
)
def test_partition_types_give_texts_back(texts: list[str | None]) -> None:
    """Whatever type is inferred, each text comes back from it exactly."""
    kind = partition_types.infer(texts)
    column = pa.array(texts, pa.string())
    found = partition_types.canonical(column, kind)
    assert found is not None
    assert found.equals(column)


def test_bounds_that_are_no_values_are_unknown() -> None:
    """A statement that is no value of its column does not hide those of other files."""
    found = stated.column_stats([Stated(0, b"\xff", b"b"), Stated(1, b"a", b"b"), None], pa.string(), pa.string())
    assert found[1:] == [ColumnStats(nulls=1, min="a", max="b", exact=False), None]
    assert found[0] is not None
    assert found[0].min is None
    wide = stated.column_stats([Stated(0, -5, 7)], pa.int8(), pa.float64())
    assert wide == [ColumnStats(nulls=0, min="-5", max="7")]
    long = stated.column_stats([Stated(0, b"a" * 99, b"z" * 99)], pa.string(), pa.string())[0]
    assert long is not None
    assert (long.min, len(long.max or ""), long.exact) == ("a" * 64, 64, False)
