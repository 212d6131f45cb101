"""Any object that speaks Arrow is an input; whatever a call opens or goes through is closed when the call ends."""

from __future__ import annotations

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import txfiles as tx
from txfiles import inputs
from txfiles.errors import InputError, SchemaMismatchError, UnsupportedTypeError

TABLE = pa.table({"id": [1, 2], "v": ["x", None]})


def rows(data):
    source = inputs.source(data)
    try:
        return source.read(None).table.to_pydict()
    finally:
        source.close()


class AnArray:
    """What nanoarrow and arro3 give for one batch."""

    def __init__(self, batch):
        self.batch = batch

    def __arrow_c_array__(self, requested_schema=None):
        return self.batch.__arrow_c_array__(requested_schema)


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one], lambda one: iter([one])])
def test_an_arrow_array(wrap):
    """An object with ``__arrow_c_array__`` is one batch, alone or as a chunk."""
    assert rows(wrap(AnArray(TABLE.to_batches()[0]))) == TABLE.to_pydict()


def test_an_arrow_array_of_one_column():
    """An array that has no fields is not a table."""
    with pytest.raises(InputError, match="AnArray is a single unnamed column"):
        rows(AnArray(pa.array([1])))


@pytest.fixture
def connection():
    with duckdb.connect() as made:
        made.execute("create table t as select range id, 'x' || range v from range(10000)")
        yield made


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one]])
def test_a_relation(tmp_path, connection, wrap):
    """A DuckDB relation is written as it is, and its connection is free for the next query."""
    result = tx.write(wrap(connection.sql("select * from t order by id")), tmp_path, mode="upsert", keys=["id"])
    assert result.rows_inserted == 10000
    connection.execute("drop table t")


REFUSED = [
    {"mode": "upsert", "keys": ["nothing"]},
    {"mode": "append", "schema": {"nothing": "int64"}},
    {"mode": "append", "schema": {"v": "int64"}},
    {"mode": "upsert", "keys": ["v"], "schema": {"id": "int8"}},
]


@pytest.mark.parametrize("options", REFUSED)
@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one], lambda one: one.to_arrow_reader(1000)])
def test_a_refused_write_frees_the_connection(tmp_path, connection, options, wrap):
    """After a write that is refused the same connection goes on, also while the error and its traceback are kept."""
    with pytest.raises(InputError) as kept:
        tx.write(wrap(connection.table("t")), tmp_path / "t", **options)
    connection.execute("drop table t")
    assert kept.tb is not None
    assert not tx.exists(tmp_path / "t")


class Chunks:
    """An iterator that, as a reader of some library, is closed by a method."""

    def __init__(self, chunks):
        self.chunks = iter(chunks)
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        self.closed = True


BAD = [
    pa.table({"id": [3]}),
    pa.table({"id": ["3"], "v": ["x"]}),
    pd.DataFrame({"id": [1], "v": [object()]}),
    pl.DataFrame({"id": [1], "v": pl.Series([object()], dtype=pl.Object)}),
    3,
]


@pytest.mark.parametrize("bad", BAD)
def test_a_refused_write_closes_what_it_goes_through(tmp_path, bad):
    """The `finally` of a caller's generator has run, and `close` was called, when a refused write returns."""
    ended = []

    def generator():
        try:
            yield TABLE
            yield bad
            yield TABLE
        finally:
            ended.append(True)

    with pytest.raises(InputError) as kept:
        tx.write(generator(), tmp_path / "t", mode="append")
    assert ended == [True]
    assert kept.tb is not None
    chunks = Chunks([TABLE, bad, TABLE])
    with pytest.raises(InputError):
        tx.write(chunks, tmp_path / "t", mode="append")
    assert chunks.closed
    assert not tx.exists(tmp_path / "t")


def test_a_write_closes_what_it_goes_through(tmp_path):
    """Likewise after a write that commits; what was not begun, because the batch id is known, is left alone."""
    for _ in range(2):
        chunks = Chunks([TABLE])
        first = tx.write(chunks, tmp_path, mode="append", batch_id="once")
        assert chunks.closed is not first.already_committed


def test_a_batch_reader_is_closed(tmp_path):
    """A reader, a dataset and a stream are closed after the write, whether it is refused or not."""
    closed = []

    class Reader:
        def __init__(self):
            self.schema = TABLE.schema

        def __iter__(self):
            return iter(TABLE.to_batches())

        def close(self):
            closed.append(True)

    for chunk in inputs._stream(Reader()):
        assert chunk
    assert closed == [True]
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    reader = pa.table({"a": union}).to_reader()
    with pytest.raises(UnsupportedTypeError, match="column 'a'"):
        rows(reader)
    assert rows(ds.dataset(TABLE)) == TABLE.to_pydict()


def test_a_generator_that_has_ended(tmp_path):
    """A generator that a failed write has gone through is refused, rather than taken for an empty batch."""
    tx.write(TABLE, tmp_path, mode="append")
    generator = (chunk for chunk in [TABLE, pa.table({"z": [1]})])
    with pytest.raises(SchemaMismatchError):
        tx.write(generator, tmp_path, mode="append")
    with pytest.raises(InputError, match="was exhausted"):
        tx.write(generator, tmp_path, mode="append")
    assert tx.Table(tmp_path).version == 0
