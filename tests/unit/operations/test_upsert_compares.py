"""An upsert decodes of the stored rows what it needs to know whether they differ, and tells exactly which do."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.counting import CountingStore
from txfiles import environment, inputs
from txfiles.errors import StoreError
from txfiles.formats.parquet import ParquetFile
from txfiles.log import versions
from txfiles.log.session import Session
from txfiles.options import Request, check
from txfiles.reading import scan
from txfiles.rows import keys as key_codec
from txfiles.rows.equality import same_rows
from txfiles.rows.merge import replace_rows
from txfiles.store.memory import MemoryStore
from txfiles.targets.files import writes
from txfiles.writing.datafile import DataFileWriter

GROUP = 10


def session():
    return Session(CountingStore(MemoryStore()), environment.real())


def write(found, rows, mode="upsert", **options):
    return writes.write(found, check(Request(source=inputs.source(rows), mode=mode, **options)))


def table(count=4 * GROUP):
    ids = np.arange(count)
    texts = {name: [f"{name}{i}" for i in ids] for name in ("b", "c")}
    return pa.table({"id": ids, "a": ids * 2, **texts})


def with_changes(rows, name, places):
    """The rows with another value of a column at some places."""
    values = rows[name].to_pylist()
    for at in places:
        values[at] = -1 if name == "a" else "other"
    return rows.set_column(rows.column_names.index(name), name, pa.array(values))


ALL, SOME = range(4 * GROUP), range(0, 4 * GROUP, 2)
READS = {
    # by (column, rows) that change: the columns that are read of each row group after its key
    "a number changes": ("a", ALL, [["a"], ["a"], ["a"], ["a"]]),
    "a text changes": ("c", ALL, [["a"], ["b", "c"], ["c"], ["c"], ["c"]]),
    "some rows change": ("a", SOME, [["a"], ["b", "c"]] * 4),
    "nothing changes": ("a", (), [["a"], ["b", "c"]] * 4),
}


@pytest.mark.parametrize("case", READS)
def test_columns_are_read_until_every_row_differs(case, monkeypatch):
    """Of a row group whose rows all differ in a column, only that is read; keys are never read again."""
    changes, places, expected = READS[case]
    found, seen = session(), []
    write(found, table(), mode="append_once", keys=("id",), properties={"row_group_rows": GROUP})
    read_group = ParquetFile.read_group
    monkeypatch.setattr(
        ParquetFile, "read_group", lambda self, index, names: seen.append(list(names)) or read_group(self, index, names)
    )
    request = check(Request(source=inputs.source(with_changes(table(), changes, places)), mode="upsert"))
    plan = writes.plan(found, request)
    assert (plan.rows_updated, plan.rows_unchanged) == (len(places), 4 * GROUP - len(places))
    assert [names for names in seen if names != ["id"]] == expected


VALUES = st.tuples(
    st.one_of(st.none(), st.integers(0, 1)),
    st.sampled_from([None, 0.0, -0.0, float("nan"), 1.0]),
    st.one_of(st.none(), st.sampled_from(["", "x", "é"])),
    st.one_of(st.none(), st.lists(st.integers(0, 1), max_size=2)),
)
SCHEMA = pa.schema(
    [("id", pa.int64()), ("n", pa.int8()), ("f", pa.float64()), ("t", pa.string()), ("l", pa.list_(pa.int64()))]
)


def as_table(by_id):
    columns = zip(*[(i, *values) for i, values in by_id.items()], strict=True)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


@given(
    st.dictionaries(st.integers(0, 15), VALUES, min_size=1),
    st.dictionaries(st.integers(0, 15), VALUES, min_size=1),
    st.integers(1, 5),
)
def test_an_upsert_counts_and_writes_what_differs(stored, given_rows, group_rows):
    """However rows lie in row groups, a row counts as updated if a value differs, to the bit, and then stands so."""
    found = session()
    old, batch = as_table(stored), as_table(given_rows)
    write(found, old, mode="append_once", keys=("id",), properties={"row_group_rows": group_rows})
    result = write(found, batch)
    both = [i for i in given_rows if i in stored]
    differ = [i for i in both if not same_rows(as_table({i: stored[i]}), as_table({i: given_rows[i]}))[0]]
    counts = result.rows_updated, result.rows_unchanged, result.rows_inserted
    assert counts == (len(differ), len(both) - len(differ), len(given_rows) - len(both))
    after = scan.read(found, versions.require_head(found), None, None)
    order = [*stored, *(i for i in given_rows if i not in stored)]
    assert after["id"].to_pylist() == order
    assert same_rows(after, as_table({i: given_rows.get(i, stored.get(i)) for i in order})).all()


def test_columns_without_a_change_are_handed_on():
    """Replacing rows copies only the columns that change."""
    old = table(6)
    new = with_changes(old.slice(2, 3), "a", [1])
    found = replace_rows(old, np.array([2, 3, 4]), new, np.empty(0, np.int64))
    assert found["a"].to_pylist() == [0, 2, 4, -1, 8, 10]
    for name in ("id", "b", "c"):
        assert [b.address for b in found[name].chunk(0).buffers() if b] == [
            b.address for b in old[name].chunk(0).buffers() if b
        ]


KEYS = {
    "int32": pa.array([5, -1, None, 3], pa.int32()),
    "uint64": pa.array([2**64 - 1, 0], pa.uint64()),
    "string": pa.array(["b", "", "a\0", "a", None]),
    "long text": pa.array(["x" * 5_000, "x" * 5_001, "y" * 70]),
    "binary": pa.array([b"\xff", b"\0", b""]),
    "fixed_size_binary": pa.array([b"b" * 70, b"a" * 70], pa.binary(70)),
    "bool": pa.array([True, False]),
    "date": pa.array([3, -7], pa.date32()),
    "timestamp": pa.array([-1, 1], pa.timestamp("ns")),
    "decimal": pa.array([None, -12, 7], pa.decimal128(5, 2)),
    "null": pa.nulls(3),
    "all null": pa.nulls(3, pa.int64()),
}


@pytest.mark.parametrize("name", KEYS)
def test_the_key_range_is_that_of_the_codes(name):
    """A file's key range holds the least and the greatest code of its keys, in however many pieces they came."""
    rows, found = pa.table({"id": KEYS[name]}), session()
    write(found, rows, mode="append")
    state = versions.require_head(found).state
    path = f"part-{state.table_id}-{'0' * 32}-00007.parquet"
    with DataFileWriter(found.store, replace(state.table, keys=("id",)), (), path) as writer:
        for at in range(len(rows)):
            writer.write(rows.slice(at, 1))
        add = writer.close()
    codes = key_codec.key_range(key_codec.encode(rows, ["id"]))
    if codes is None:
        assert add.key_range is None
        return
    low, high, exact = key_codec.cut_outward(*codes)
    assert (add.key_range.min, add.key_range.max, add.key_range.exact) == (low.hex(), high.hex(), exact)


@pytest.mark.parametrize("count", [1, 2])
def test_a_file_that_is_rewritten_alone_is_read_ahead(count):
    """The row groups of one file are read beside the writing; where several files are rewritten, they are enough."""
    found, widths = session(), []
    for number in range(count):
        first = number * 4 * GROUP
        rows = table().set_column(0, "id", pa.array(range(first, first + 4 * GROUP)))
        write(found, rows, mode="append_once", keys=("id",), properties={"row_group_rows": GROUP})
    real = environment.real().map

    def watched(function, items, /, width=None):
        widths.append(width)
        return real(function, items, width)

    watching = dataclasses.replace(found, environment=dataclasses.replace(environment.real(), map=watched))
    ids = [number * 4 * GROUP for number in range(count)]
    result = write(watching, pa.table({"id": ids, "a": [-1] * count, "b": ["b"] * count, "c": ["c"] * count}))
    assert (result.rows_updated, widths.count(1)) == (count, 1 if count == 1 else 0)
    after = scan.read(found, versions.require_head(found), ["id", "a"], [("a", "<", 0)])
    assert sorted(after["id"].to_pylist()) == ids


def test_reading_ahead_ends_with_the_call(monkeypatch):
    """If a write fails, no thread reads on and the file that was read is closed, though the error is kept."""
    found, seen = session(), []
    write(found, table(), mode="append_once", keys=("id",), properties={"row_group_rows": GROUP})
    write_piece, close = DataFileWriter.write, ParquetFile.close

    def failing(self, piece):
        seen.append("write")
        if seen.count("write") == 2:
            raise StoreError("the disk is full")
        return write_piece(self, piece)

    threads = threading.active_count()
    monkeypatch.setattr(DataFileWriter, "write", failing)
    monkeypatch.setattr(ParquetFile, "close", lambda self: seen.append("close") or close(self))
    with pytest.raises(StoreError, match="disk is full") as caught:
        write(found, with_changes(table(), "a", range(0, 4 * GROUP, GROUP)))
    assert threading.active_count() == threads
    assert seen == ["close", "write", "write", "close"]  # the look for keys, the rewrite
    assert caught.value.__traceback__ is not None
