"""A folder in a bucket becomes a table where it is, on each server and through each library."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import txfiles as tx
from txfiles.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture
def options(way):
    return way.options()


def put(url, options, name, data):
    sink = open_store(url, options).create(name)
    sink.write(data)
    sink.close()


def parquet(*ids):
    data = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ids, "name": [f"n{one}" for one in ids]}), data)
    return data.getvalue()


def ids(table):
    return sorted(table.to_arrow()["id"].to_pylist())


def test_a_folder_in_a_bucket(way, options):
    """It is adopted in place, odd names too; then it has upserts, deletes, compaction, vacuum and time travel."""
    url = way.fresh_url()
    put(url, options, "month=01/part-00000-a b+c.snappy.parquet", parquet(1, 2))
    put(url, options, "month=02/ü%20.parquet", parquet(3))
    put(url, options, "_SUCCESS", b"")
    with pytest.raises(tx.FolderNotEmptyError, match="month=01"):
        tx.write(pa.table({"id": [1]}), url, mode="append", storage_options=options)
    planned = tx.adopt(url, keys=["id"], storage_options=options, dry_run=True)
    assert not tx.exists(url, storage_options=options)
    done = tx.adopt(url, keys=["id"], storage_options=options)
    assert (done.files, done.rows, done.ignored, done.schema) == (2, 3, ("_SUCCESS",), planned.schema)
    with pytest.raises(tx.TableExistsError):
        tx.adopt(url, storage_options=options)
    more = pa.table({"id": [2, 9], "name": ["new", "n9"], "month": ["01", "01"]})
    assert tx.write(more, url, mode="upsert", storage_options=options).rows_updated == 1
    assert tx.write(more, url, mode="append_once", storage_options=options).rows_skipped == 2
    table = tx.Table(url, storage_options=options)
    table.delete(keys=[3])
    assert ids(table) == [1, 2, 9]
    assert ids(table.at(version=0)) == [1, 2, 3]
    table.compact()
    table.set({"vacuum_adopted": True})
    deleted = set(table.vacuum("0").deleted)
    assert {"month=01/part-00000-a b+c.snappy.parquet", "month=02/ü%20.parquet"} <= deleted
    assert ids(tx.Table(url, storage_options=options)) == [1, 2, 9]


def test_a_file_that_changes_is_damage(way, options):
    """An object that is written again under its name is noticed by its size and footer."""
    url = way.fresh_url()
    put(url, options, "a.parquet", parquet(1, 2))
    tx.adopt(url, storage_options=options)
    store = open_store(url, options)
    store.delete_many(["a.parquet"])
    put(url, options, "a.parquet", parquet(3, 4))
    with pytest.raises(tx.CorruptTableError, match=r"a\.parquet"):
        tx.Table(url, storage_options=options).to_arrow()
