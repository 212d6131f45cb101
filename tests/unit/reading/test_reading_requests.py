"""Requests and bytes of reading where files are not in memory: one for the footer, then one batch of exact ranges."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.remote import Piece, Remote, asked, table, write
from txfiles import environment
from txfiles.core import names
from txfiles.errors import CorruptTableError
from txfiles.formats import csv, source
from txfiles.log import cache, versions
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.options import CompactOptions
from txfiles.reading import lookup, marked, scan
from txfiles.store.memory import MemoryStore
from txfiles.targets.files import upkeep, writes
from txfiles.verbs import DeleteOptions

GROUP = 10_000


def made(row_groups, **options):
    """A session of a store with a table of one file."""
    session = Session(Remote(), environment.real())
    properties = {"row_group_rows": GROUP, "compression": "none"}
    write(session, table(0, row_groups * GROUP), properties=properties, **options)
    return session


def chunks(session, column):
    """Bytes of the footer, and of a column in each row group."""
    head = versions.require_head(session)
    (path,) = head.files["path"].to_pylist()
    data = session.store._store.open_input(names.decode_path(path)).read()
    footer = pq.ParquetFile(pa.BufferReader(data)).metadata
    size = int.from_bytes(data[-8:-4], "little") + 8
    at = footer.schema.to_arrow_schema().get_field_index(column)
    return size, [footer.row_group(group).column(at).total_compressed_size for group in range(footer.num_row_groups)]


@pytest.mark.parametrize("row_groups", [4, 8])
def test_one_column(row_groups):
    """One column of a file costs one read of the footer and one batch, and no byte more than these."""
    session = made(row_groups)
    footer, column = chunks(session, "b")
    calls, found = asked(session, lambda head: scan.read(session, head, ["b"], None))
    assert found.num_rows == row_groups * GROUP
    assert calls == Counter(reads=1, batches=1, ranges=row_groups, bytes=footer + sum(column))
    assert not session.store.looks  # nothing asks for a size


@pytest.mark.parametrize("row_groups", [4, 8])
def test_all_columns_are_one_range(row_groups):
    """Neighbours are joined: a whole file is its footer and one range."""
    session = made(row_groups)
    calls, found = asked(session, lambda head: scan.read(session, head, None, None))
    assert found.num_rows == row_groups * GROUP
    assert (calls["reads"], calls["batches"], calls["ranges"]) == (1, 1, 1)


@pytest.mark.parametrize("row_groups", [4, 8])
def test_a_filtered_read(row_groups):
    """Only row groups that may match are fetched, the columns of the filter and of the answer together."""
    session = made(row_groups)
    footer, column = chunks(session, "c")
    ids = chunks(session, "id")[1]
    where = [("id", ">=", GROUP + 5), ("id", "<", 2 * GROUP + 5)]
    calls, found = asked(session, lambda head: scan.read(session, head, ["c"], where))
    assert found.num_rows == GROUP
    assert (calls["reads"], calls["batches"], calls["ranges"]) == (
        1,
        1,
        3,
    )  # one group's c, the next one's id: neighbours
    assert calls["bytes"] == footer + sum(column[1:3]) + sum(ids[1:3])


@pytest.mark.parametrize("row_groups", [4, 8])
def test_a_stream(row_groups):
    """A stream's first batch fetches one row group; the others of the file come in one batch."""
    session = made(row_groups)
    footer, column = chunks(session, "b")

    def first(head):
        return next(scan.stream(session, head, ["b"], None, None)[1])

    calls, found = asked(session, first)
    assert found.num_rows == GROUP
    assert calls == Counter(reads=1, batches=1, ranges=1, bytes=footer + column[0])
    calls, found = asked(session, lambda head: list(scan.stream(session, head, ["b"], None, None)[1]))
    assert (len(found), calls["reads"], calls["batches"]) == (row_groups, 1, 2)
    assert calls["bytes"] == footer + sum(column)


@pytest.mark.parametrize("row_groups", [4, 8])
def test_a_keyed_retry(row_groups):
    """A retried `append_once` fetches the key columns of the candidates, in one batch a file."""
    session = made(row_groups, mode="append_once", keys=("id",))
    write(session, table(row_groups * GROUP, GROUP), mode="append_once")
    ids = 8 * GROUP  # bytes, of the only candidate
    calls, found = asked(session, lambda _: write(session, table(row_groups * GROUP, GROUP), mode="append_once"))
    assert (found.committed, found.rows_skipped) == (False, GROUP)
    assert (calls["reads"], calls["batches"], calls["ranges"]) == (1, 1, 1)
    assert ids < calls["bytes"] < ids + 5_000  # and the footer


def test_what_is_held_is_bounded(monkeypatch):
    """Where a file's columns are more than is held at a time, they come in several batches, each byte once."""
    session = made(8)
    footer, column = chunks(session, "b")
    monkeypatch.setattr(source, "AHEAD_BYTES", 2 * max(column))
    calls, found = asked(session, lambda head: scan.read(session, head, ["b"], None))
    assert found.num_rows == 8 * GROUP
    assert calls == Counter(reads=1, batches=4, ranges=8, bytes=footer + sum(column))


MARKED_FILES = 6


def marked_table(cache=None):
    """A session of a store with a table of some files, a row of each marked, all by one commit."""
    session = Session(Remote(), environment.real(), cache)
    marks = {"update_strategy": "merge_on_read"}
    for number in range(MARKED_FILES):
        options = {} if number else {"properties": marks, "keys": ("id",)}
        write(session, pa.table({"id": [10 * number + at for at in range(10)]}), mode="append_once", **options)
    delete(session, [10 * number for number in range(MARKED_FILES)])
    return session


def delete(session, keys):
    return writes.delete(session, versions.require_head(session), DeleteOptions(keys=keys))[0]


WHERE_MARKED = [("id", "<", 10 * MARKED_FILES), ("id", "!=", 1)]
READS = {
    "a read": lambda s, head: scan.read(s, head, None, None).num_rows,
    "a filtered read": lambda s, head: scan.read(s, head, None, WHERE_MARKED).num_rows + 1,
    "a stream": lambda s, head: sum(batch.num_rows for batch in scan.stream(s, head, None, None, None)[1]),
    "a lookup": lambda s, head: lookup.lookup(s, head, list(range(10 * MARKED_FILES)), None).num_rows,
    "append_once": lambda s, _: write(s, pa.table({"id": [*range(1, 60, 2)]}), mode="append_once").rows_skipped + 24,
    "a delete": lambda s, _: (
        2 * MARKED_FILES + delete(s, [at for at in range(60) if at % 10 not in (1, 2)]).rows_deleted
    ),
    "a compaction": lambda s, head: upkeep.compact(s, head, CompactOptions())[0].rows,
}


@pytest.mark.parametrize("name", READS)
def test_vectors_are_read_together(name):
    """All vectors of one commit come in one request, however many marked files are opened, and only once."""
    for kept, again in ((None, 1), (SnapshotCache(), 0)):
        session = marked_table(kept)
        calls, rows = asked(session, lambda head, s=session: scan.read(s, head, None, None).num_rows)
        assert (rows, calls["vectors"], calls["vector_ranges"]) == (9 * MARKED_FILES, 1, 1)
        calls, rows = asked(session, lambda head, s=session: READS[name](s, head))
        times = 2 if name == "a delete" else 1  # it finds rows, and marks them
        assert (rows, calls["vectors"]) == (9 * MARKED_FILES, times * again)
    assert session.cache.vectors.bytes >= 8 * MARKED_FILES


def test_vectors_of_several_commits():
    """Each file of vectors is one request; only vectors in force are read."""
    session = marked_table()
    delete(session, [1, 2, 11])
    delete(session, [1, 21])
    calls, found = asked(session, lambda head: scan.read(session, head, None, None))
    assert (found.num_rows, calls["vectors"]) == (9 * MARKED_FILES - 4, 3)


def test_vectors_that_are_read_ahead_are_bounded(monkeypatch):
    """As many come together as take so much memory; what is remembered is bounded, too."""
    monkeypatch.setattr(marked, "BATCH_BYTES", 2 * 8)
    monkeypatch.setattr(cache, "VECTOR_BYTES", 4 * (8 + cache.VECTOR_OVERHEAD_BYTES))
    session = marked_table(SnapshotCache())
    calls, found = asked(session, lambda head: scan.read(session, head, None, None))
    assert (found.num_rows, calls["vectors"]) == (9 * MARKED_FILES, MARKED_FILES / 2)
    assert session.cache.vectors.bytes == cache.VECTOR_BYTES


def test_a_damaged_vector_is_told_to_who_needs_it():
    """A vector that was read ahead and is damaged fails nobody but the readers of its own file."""
    session = marked_table()
    objects = session.store._store._objects
    (name,) = [name for name in objects if name.startswith(names.VECTOR_DIR)]
    held = objects[name]
    objects[name] = replace(held, data=held.data[:-1] + bytes([held.data[-1] ^ 1]))
    head = versions.require_head(session)
    batches = scan.stream(session, head, None, None, None)[1]
    assert next(batches)["id"].to_pylist() == list(range(1, 10))
    with pytest.raises(CorruptTableError, match="deletion vector"):
        list(batches)


@given(st.binary(max_size=200), st.data())
def test_joined_ranges_are_the_ranges(data, draw):
    """Each range is given back as it was asked for, whatever it was fetched with."""
    offsets = st.integers(0, len(data))
    ranges = [
        (low, draw.draw(st.integers(0, len(data) - low)))
        for low in draw.draw(st.lists(offsets, min_size=1, max_size=9))
    ]
    gap, piece = draw.draw(st.integers(0, 20)), draw.draw(st.integers(1, 100))
    store = MemoryStore()
    store.put("x", data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "GAP_BYTES", gap)
        patch.setattr(source, "PIECE_BYTES", piece)
        found = source.read_joined(store, "x", ranges)
    assert found == [data[low : low + size] for low, size in ranges]


BLOCK, AHEAD = 1_000, 8


@pytest.fixture(params=[5, 10])
def large_csv(request, monkeypatch):
    """A CSV file that is too large to be kept, in the proportions of a real one: batches of blocks, session, size."""
    monkeypatch.setattr(csv, "KEEP_BYTES", 0)
    monkeypatch.setattr(csv, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(csv, "AHEAD_BYTES", AHEAD * BLOCK)
    monkeypatch.setattr(source, "PIECE_BYTES", 2 * BLOCK)
    monkeypatch.setattr(Piece, "alive", 0)
    monkeypatch.setattr(Piece, "most", 0)
    session = Session(Remote(), environment.real())
    rows = request.param * AHEAD * BLOCK // 10 - 1
    write(session, pa.table({"id": range(10**8, 10**8 + rows)}), format="csv")
    (size,) = versions.require_head(session).files["bytes"].to_pylist()
    assert size == len('"id"\n') + 10 * rows
    return request.param, session, size


def test_a_large_csv_file(large_csv):
    """Its blocks are asked for eight together, to compare the checksum and again to parse, and few are held at once."""
    batches, session, size = large_csv
    calls, found = asked(session, lambda head: scan.read(session, head, ["id"], None))
    assert found["id"].to_pylist() == list(range(10**8, 10**8 + found.num_rows))
    assert (calls["batches"], calls["ranges"], calls["reads"]) == (2 * batches, 8 * batches, 1)
    assert calls["bytes"] == 2 * size  # less the header where it is parsed, more where it is read by itself
    assert AHEAD * BLOCK <= Piece.most <= (AHEAD + 2) * BLOCK
    assert Piece.alive == 0


def test_all_of_a_large_csv_file_is_compared_first(large_csv):
    """A wrong last byte is found when every byte was read once, before any row is."""
    batches, session, _ = large_csv
    objects = session.store._store._objects
    ((name, held),) = [(name, held) for name, held in objects.items() if name.endswith(".csv")]
    objects[name] = replace(held, data=held.data[:-2] + b"x\n")
    with pytest.raises(CorruptTableError, match="sha256"):
        asked(session, lambda head: scan.read(session, head, ["id"], None))
    assert (session.store.calls["batches"], session.store.calls["reads"]) == (batches, 0)


RANGES = st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 10**7)), max_size=20)


@given(RANGES)
def test_coalesced_ranges(ranges):
    """Each range lies in one piece; pieces are in order; joined ones are within the limits."""
    found = source.coalesced(ranges)
    for offset, length in ranges:
        assert any(start <= offset and offset + length <= start + size for start, size in found)
    assert found == sorted(found)
    for start, size in found:
        inside = sorted(one for one in ranges if start <= one[0] and sum(one) <= start + size)
        assert inside[0][0] == start
        assert max(sum(one) for one in inside) == start + size
        assert (start, size) in ranges or size <= source.PIECE_BYTES
        end = start
        for one in inside:
            assert one[0] - end <= source.GAP_BYTES
            end = max(end, sum(one))
