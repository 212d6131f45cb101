"""`Table.to_batches` and what takes a `Table` as a stream: the rows of `to_arrow`, a few row groups at a time."""

from __future__ import annotations

import gc

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading_counts import counted

import txfiles as tx
from txfiles.environment import WORKERS
from txfiles.errors import CorruptTableError, InputError, OptionError, SnapshotExpiredError

FILES, ROWS, GROUP = 8, 60, 10
LOOK_AHEAD = WORKERS + 3
"""Row groups that may have been decoded though nobody asked for them yet."""


@pytest.fixture(scope="module", params=["parquet", "csv"])
def table(request, tmp_path_factory):
    """Eight files of six row groups (Parquet), partitioned, with nulls and text beyond ASCII."""
    path = tmp_path_factory.mktemp("stream") / "t"
    for number in range(FILES):
        ids = np.arange(number * ROWS, (number + 1) * ROWS)
        rows = pa.table(
            {
                "id": ids,
                "part": pa.array(["a" if number % 2 else None] * ROWS, pa.string()),
                "text": [None if n % 7 == 3 else f"tëxt {n}" for n in ids],
            }
        )
        options = {"format": request.param, "partition_by": ["part"], "properties": {"row_group_rows": GROUP}}
        tx.write(rows, path, mode="append", **(options if number == 0 else {}))
    return tx.Table(path)


@given(
    columns=st.none() | st.lists(st.sampled_from(["id", "part", "text"]), min_size=1, unique=True),
    low=st.integers(-10, FILES * ROWS + 10),
    span=st.none() | st.integers(0, 200),
    batch_rows=st.none() | st.integers(1, 100),
)
def test_a_stream_has_the_rows_of_to_arrow(table, columns, low, span, batch_rows):
    """Whatever columns, filter and size of batch: the same rows, order and types, in batches of that size."""
    where = None if span is None else [("id", ">=", low), ("id", "<", low + span)]
    reader = table.to_batches(columns, where, batch_rows)
    expected = table.to_arrow(columns, where)
    batches = list(reader)
    assert reader.schema == expected.schema
    assert pa.Table.from_batches(batches, reader.schema).equals(expected)
    assert all(0 < batch.num_rows <= (batch_rows or 10**9) for batch in batches)


def test_the_first_batch_decodes_one_row_group(table):
    """Who wants the first rows pays for one row group, and for a few more from the second batch on."""
    if table.format == "csv":
        pytest.skip("a CSV file has no row groups")
    with counted() as seen:
        reader = table.to_batches()
        assert reader.read_next_batch().num_rows == GROUP
        assert seen["groups"] == 1
        reader.read_next_batch()
        assert seen["groups"] <= 2 + LOOK_AHEAD < FILES * ROWS // GROUP
        reader.close()


def test_a_reader_that_is_left_closes_its_files(table):
    """However many batches were taken, a reader that is closed or dropped leaves no file open and reads no more."""
    if table.format == "csv":
        pytest.skip("files of CSV are read when they are opened")
    for batches in range(0, 20, 3):
        for leave in ("close", "drop"):
            with counted() as seen:
                reader = table.to_batches()
                for _ in range(batches):
                    reader.read_next_batch()
                assert seen["opened"] - seen["closed"] <= LOOK_AHEAD
                if leave == "close":
                    reader.close()
                del reader
                gc.collect()
                assert seen["opened"] == seen["closed"] <= FILES


def test_memory_stays_bounded(table):
    """While a stream is read to its end, no more row groups are decoded ahead than a few, at any time."""
    if table.format == "csv":
        pytest.skip("a CSV file has no row groups")
    with counted() as seen:
        for number, _ in enumerate(table.to_batches(), 1):
            assert seen["groups"] <= number + LOOK_AHEAD
        assert seen["groups"] == FILES * ROWS // GROUP
        assert seen["opened"] == seen["closed"] == FILES


def test_bad_arguments_are_told_at_once(table):
    """What is wrong with a stream's arguments is an error of the call, not of the first batch."""
    with pytest.raises(InputError, match="no column 'nope'"):
        table.to_batches(["nope"])
    with pytest.raises(InputError, match="'nope'"):
        table.to_batches(filter=[("nope", "=", 1)])
    for wrong in (0, -1, True, 1.5, "many"):
        with pytest.raises(OptionError, match="batch_rows"):
            table.to_batches(batch_rows=wrong)


def test_others_take_a_table_as_it_is(table):
    """Arrow, polars and pandas read a `Table` by Arrow's stream protocol, again and again."""
    expected = table.to_arrow()
    for _ in range(2):
        assert pa.table(table).equals(expected)
        assert pl.DataFrame(table).height == expected.num_rows
        assert pa.RecordBatchReader.from_stream(table).read_all().equals(expected)
    if hasattr(pd.DataFrame, "from_arrow"):
        assert len(pd.DataFrame.from_arrow(table)) == expected.num_rows


def test_damage_ends_a_stream_with_our_error(tmp_path):
    """A damaged file in the middle of a stream is `CorruptTableError` by name, after rows that come before it."""
    for number in range(4):
        tx.write(pa.table({"id": [number]}), tmp_path / "t", mode="append")
    table = tx.Table(tmp_path / "t")
    broken = table.files()[2]
    with open(broken, "r+b") as file:
        file.truncate(10)
    reader = table.to_batches()
    read = []
    with pytest.raises(CorruptTableError, match="damaged: it has 10 bytes") as found:
        read.extend(batch["id"][0].as_py() for batch in reader)
    assert read in ([0], [0, 1])  # files are opened ahead
    assert broken in str(found.value)


def test_an_expired_version_is_told_in_a_stream(tmp_path):
    """Where a vacuum takes the files of a pinned version, the stream says that the version has expired."""
    tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="append")
    old = tx.Table(tmp_path / "t")
    reader = old.to_batches()
    tx.write(pa.table({"id": [2]}), tmp_path / "t", mode="overwrite")
    tx.Table(tmp_path / "t").vacuum(retain="0s")
    with pytest.raises(SnapshotExpiredError):
        reader.read_all()
