"""One-pass inputs: read once, spooled, gone afterwards; their chunks are one batch."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from itertools import chain

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles import inputs
from txfiles.errors import InputError, LossyCastError, SchemaMismatchError, StoreError
from txfiles.inputs import spool


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where spools are made, empty at the beginning and at the end."""
    path = tmp_path / "spools"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    yield path
    assert list(path.iterdir()) == []


def read(data, **options):
    source = inputs.source(data, **options)
    try:
        return source.read(None).table.to_pydict()
    finally:
        source.close()


TABLE = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})


class Stream:
    """Any library's object that can be read as Arrow, once."""

    def __arrow_c_stream__(self, requested_schema=None):
        return TABLE.to_reader().__arrow_c_stream__(requested_schema)


ONE_PASS = [
    lambda: TABLE.to_reader(max_chunksize=2),
    lambda: ds.dataset(TABLE),
    Stream,
    lambda: iter([TABLE.slice(0, 1), TABLE.slice(1)]),
    lambda: [TABLE.slice(0, 1).to_batches()[0], TABLE.slice(1)],
    lambda: (TABLE.slice(n, 1) for n in range(3)),
    lambda: iter([TABLE.slice(0, 0), Stream()]),
]


@pytest.mark.parametrize("make", ONE_PASS)
def test_one_pass_inputs_are_read_again_and_again(folder, make):
    """Each one-pass input gives all its rows in order, equal at every read, and no file is ever seen."""
    source = inputs.source(make())
    assert list(folder.iterdir()) == []
    batch = source.read(None)
    assert batch.has_schema
    assert batch.inferred is None
    assert batch.table.equals(TABLE)
    assert source.read(TABLE.schema).table.equals(TABLE)
    assert list(folder.iterdir()) == []
    source.close()
    assert list(folder.iterdir()) == []
    source.close()


def test_mapped_not_copied():
    """The rows lie in the mapped file, not in Arrow's memory."""
    table = pa.table({"a": pa.array(range(1_000_000), pa.int64())})
    before = pa.total_allocated_bytes()
    source = inputs.source(table.to_reader())
    batch = source.read(None)
    assert batch.table.nbytes == 8_000_000
    assert pa.total_allocated_bytes() - before < 1_000_000
    source.close()


@pytest.mark.parametrize("make", [lambda: iter([]), list, lambda: (x for x in ())])
def test_no_chunk_no_schema(make):
    """An iterator that yields nothing has no schema, and says so."""
    source = inputs.source(make())
    batch = source.read(None)
    assert not batch.has_schema
    assert batch.table.num_columns == 0
    assert batch.table.num_rows == 0
    source.close()


@pytest.mark.parametrize("make", [lambda e: e.to_reader(), lambda e: iter([e]), ds.dataset])
def test_no_rows_but_a_schema(make):
    """A reader without batches, or a chunk without rows, is an ordinary empty batch."""
    source = inputs.source(make(TABLE.slice(0, 0)))
    batch = source.read(None)
    assert batch.has_schema
    assert batch.table.schema == TABLE.schema
    assert batch.table.num_rows == 0
    source.close()


@pytest.mark.parametrize("error", [ValueError("mine"), OSError(errno.EIO, "mine"), KeyboardInterrupt()])
def test_an_iterator_that_raises(folder, error):
    """What the input raises comes through unchanged once the spool is gone, and the rest is never taken for all."""

    def chunks():
        yield TABLE
        raise error

    source = inputs.source(chunks())
    with pytest.raises(type(error)) as caught:
        source.read(None)
    assert caught.value is error
    assert list(folder.iterdir()) == []
    with pytest.raises(InputError, match="only once"):
        source.read(None)


def test_a_reader_that_raises(folder):
    """A reader's own exception comes through as well, and nothing is left."""

    def batches():
        yield TABLE.to_batches()[0]
        raise LookupError("mine")

    source = inputs.source(pa.RecordBatchReader.from_batches(TABLE.schema, batches()))
    with pytest.raises(LookupError, match="mine"):
        source.read(None)
    assert list(folder.iterdir()) == []


def test_closed_source():
    """A one-pass input cannot be read after `close`, rather than be empty."""
    source = inputs.source(iter([TABLE]))
    source.read(None)
    source.close()
    with pytest.raises(InputError, match="only once"):
        source.read(None)


def test_temporary_folder_that_cannot_be_made(folder, monkeypatch):
    """A temporary folder that fails is a store error with the way out, not the input's fault."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "missing"))
    with pytest.raises(StoreError, match="temporary folder") as caught:
        read(iter([TABLE]))
    assert "TMPDIR" in caught.value.hint


def test_disk_full(monkeypatch):
    """A write to the spool that fails is a store error."""

    class Full:
        def __init__(self, *_):
            pass

        def write_table(self, table):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(spool.pa.ipc, "new_file", Full)
    with pytest.raises(StoreError, match="No space left"):
        read(iter([TABLE]))


def test_encodings_of_one_type_mix():
    """Chunks may spell one type in each of Arrow's encodings, with dictionaries of their own."""
    values = pa.array(["x", "y", None])
    chunks = [
        values,
        values.cast(pa.large_string()),
        values.cast(pa.string_view()),
        values.dictionary_encode(),
        pa.array(["z", None, "y"]).dictionary_encode(),
    ]
    expected = ["x", "y", None] * 4 + ["z", None, "y"]
    for first in range(len(chunks)):
        order = [*chunks[first:], *chunks[:first]]
        rows = read(iter([pa.table({"a": chunk}) for chunk in order]))["a"]
        assert rows == [*expected[3 * first :], *expected[: 3 * first]]


def test_dictionaries_of_a_reader():
    """A reader whose batches have dictionaries of their own is spooled whole."""
    batches = [pa.record_batch({"a": pa.array([v, v]).dictionary_encode()}) for v in "xyz"]
    assert read(pa.RecordBatchReader.from_batches(batches[0].schema, batches)) == {"a": list("xxyyzz")}


NULLS = [
    ([None, None], ["x"], ["y"]),
    (["x"], [None, None], ["y"]),
    ([None], [None], [1.5]),
    ([None], [None], [None]),
    ([[]], [[1]], [[None]]),
    ([{"p": None}], [{"p": 3}], [None]),
    ([None], [[{"p": [1]}]], [[]]),
]


@pytest.mark.parametrize("chunks", NULLS)
def test_null_columns_take_the_type_of_others(chunks):
    """A column that is null throughout a chunk takes the type of the chunk that has one, earlier or later."""
    assert read(iter([pa.table({"a": chunk, "n": [0] * len(chunk)}) for chunk in chunks]))["a"] == list(chain(*chunks))


def test_columns_bind_by_name():
    """A later chunk may have its columns in another order."""
    other = pa.table({"b": ["w"], "a": [4]})
    assert read(iter([TABLE, other])) == {"a": [1, 2, 3, 4], "b": ["x", None, "z", "w"]}


MISFITS = [
    ({"a": [1]}, "missing ['b'], added []"),
    ({"a": [1], "b": ["x"], "c": [1]}, "missing [], added ['c']"),
    ({"a": [1], "B": ["x"]}, "missing ['b'], added ['B']"),
    ({"a": [1.5], "b": ["x"]}, "column 'a' is double, but int64"),
    ({"a": pa.array([1], pa.int32()), "b": ["x"]}, "column 'a' is int32, but int64"),
    ({"a": [1], "b": [b"x"]}, "column 'b' is binary, but string"),
]


@pytest.mark.parametrize(("chunk", "message"), MISFITS)
def test_chunks_of_another_schema(folder, chunk, message):
    """A chunk with other columns or types is an error that names the chunk and the column, and leaves nothing."""
    with pytest.raises(SchemaMismatchError) as caught:
        read(iter([TABLE, TABLE, pa.table(chunk)]))
    assert "chunk 2" in caught.value.message
    assert message in caught.value.message


def test_declared_types_make_chunks_fit():
    """`schema=` casts each chunk where that loses nothing, so that chunks of several widths are one batch."""
    chunks = [pa.table({"a": pa.array([n], t)}) for n, t in enumerate([pa.int8(), pa.uint64(), pa.float64()])]
    assert read(iter(chunks), schema={"a": "int32"}) == {"a": [0, 1, 2]}
    with pytest.raises(LossyCastError, match="'a'"):
        read(iter([pa.table({"a": [2**40]})]), schema={"a": "int32"})
    with pytest.raises(SchemaMismatchError, match="'A'"):
        read(iter(chunks), schema={"A": "int32"})


@given(st.lists(st.none() | st.text(alphabet="ab", max_size=3)), st.data())
def test_any_split_into_chunks(values, data):
    """However rows are cut into chunks, pieces and encodings, they are the same batch."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    bounds = list(zip([0, *cuts], [*cuts, len(values)], strict=True))
    kinds = data.draw(
        st.lists(
            st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]),
            min_size=len(bounds),
            max_size=len(bounds),
        )
    )
    chunks = [pa.table({"a": pa.array(values[i:j], t)}) for (i, j), t in zip(bounds, kinds, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "PIECE_BYTES", data.draw(st.integers(1, 40)))
        assert read(iter(chunks)) == {"a": values}


def test_a_source_forgotten_leaves_no_file(folder):
    """A source that nobody closed leaves nothing, neither while it is there nor after."""
    source = inputs.source(iter([TABLE]))
    source.read(None)
    assert list(folder.iterdir()) == []
    del source


KILLED = """
import os, signal, sys
import pyarrow as pa
from txfiles import inputs

def chunks():
    yield pa.table({"a": range(100_000)})
    if sys.argv[1] == "within":
        os.kill(os.getpid(), int(sys.argv[2]))

source = inputs.source(chunks())
rows = source.read(None).table
os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("when", ["within", "after"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_leaves_no_file(folder, when, number):
    """Whatever ends the process while it reads or once it has read its input: nothing is left in TMPDIR."""
    command = [sys.executable, "-c", KILLED, when, str(int(number))]
    done = subprocess.run(
        command, env=os.environ | {"TMPDIR": str(folder)}, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -number, done.stderr
    assert list(folder.iterdir()) == []


VALUELESS = [
    (pa.array([None, None], pa.float64()), pa.array(["x"])),
    (pa.array([None], pa.string()), pa.array([[1]])),
    (pa.array([None], pa.struct([("p", pa.int8())])), pa.array([1])),
    (pa.array([None], pa.timestamp("us")), pa.array([None, 2.5])),
]


@pytest.mark.parametrize(("empty", "full"), VALUELESS)
def test_a_column_without_one_value_fits_every_type(empty, full):
    """Chunks of typed nulls take the type of the chunks that have values, whichever come first."""
    for chunks in ([empty, full], [full, empty], [empty, empty, full, empty]):
        source = inputs.source([pa.table({"n": [0] * len(chunk), "a": chunk}) for chunk in chunks])
        table = source.read(None).table
        assert table.schema.field("a").type == full.type
        assert table["a"].to_pylist() == [value for chunk in chunks for value in chunk.to_pylist()]
        source.close()


def test_no_rows_do_not_excuse_a_type():
    """A chunk without rows is judged by its type, like one with rows."""
    with pytest.raises(SchemaMismatchError, match="'a' is double, but int64"):
        read([TABLE, pa.table({"a": pa.array([], pa.float64()), "b": pa.array([], pa.string())})])


def test_structs_of_chunks_have_the_fields_of_all():
    """A struct has the fields of all chunks: those that a chunk lacks are null, as in one frame of the same dicts."""
    rows = [[{"p": 1}], [{"q": {"r": "x"}}, None], [{"q": {"s": [{"t": 1}]}}], [{"q": {"s": [{"u": 2.5}]}}]]
    expected = [
        {"p": 1, "q": None},
        {"p": None, "q": {"r": "x", "s": None}},
        None,
        {"p": None, "q": {"r": None, "s": [{"t": 1, "u": None}]}},
        {"p": None, "q": {"r": None, "s": [{"t": None, "u": 2.5}]}},
    ]
    assert read(iter([pa.table({"a": chunk}) for chunk in rows])) == {"a": expected}
