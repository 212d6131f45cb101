"""Uploads that somebody else aborts, as rules of a bucket do: their files are written again under other names."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import txfiles as tx
from txfiles.errors import CorruptTableError, StoreError
from txfiles.store import open_store
from txfiles.store.object_sink import PART_BYTES

pytestmark = pytest.mark.slow

WAYS = [("ministack", "s3fs"), ("weed", "s3fs"), ("weed", "obstore")]
"""Azure's blocks have no upload that could be aborted."""

ROWS = 2 * PART_BYTES // 8
LARGE = pa.table({"id": np.arange(ROWS), "v": np.random.default_rng(7).integers(0, 1 << 62, ROWS)})
SMALL = pa.table({"id": [5], "v": [1]})

AT = {
    "a part": lambda request: "partNumber=2" in request.path,
    "the end": lambda request: request.method == "POST" and "uploadId=" in request.path,
}
WRITES = {
    "append": lambda url, options: tx.write(LARGE, url, mode="append", storage_options=options),
    "upsert": lambda url, options: tx.write(SMALL, url, mode="upsert", keys=["id"], storage_options=options),
}


def aborts(way, proxy, url, at, many):
    """Abort every upload below a URL before certain requests go on, so many times."""
    store = open_store(url, {**way.options(), "backend": "s3fs"})

    def abort():
        for begun in store.client.uploads(store._prefix):
            begun.upload.abort()

    left = iter(range(many))
    proxy.actions["abort"] = abort
    proxy.reset(lambda request: "abort" if AT[at](request) and next(left, None) is not None else None)


@pytest.mark.parametrize("way", WAYS, indirect=True, ids="-".join)
@pytest.mark.parametrize("at", AT)
@pytest.mark.parametrize("write", WRITES)
def test_an_upload_that_is_lost_once(way, proxy, options, at, write):
    """A file whose upload was lost is written again under another name; the table has each row once, and no more files
    than it says."""
    url, patient = way.fresh_url(), {**options, "request_timeout": 60}
    first = LARGE if write == "upsert" else LARGE.slice(0, 1)
    tx.write(first, url, mode="upsert", keys=["id"], storage_options=patient)
    aborts(way, proxy, url, at, 1)
    WRITES[write](url, patient)
    assert any(seen.fault == "abort" for seen in proxy.seen)
    proxy.reset()
    table = tx.Table(url, storage_options=patient)
    assert table.version == 1
    assert table.row_count == (ROWS if write == "upsert" else ROWS + 1)
    store = open_store(url, patient)
    there = [entry.name for entry in store.list_from("") if entry.name.endswith(".parquet")]
    assert len(there) == 2
    assert not open_store(url, {**way.options(), "backend": "s3fs"}).client.uploads(store._prefix)


@pytest.mark.parametrize("way", WAYS, indirect=True, ids="-".join)
def test_uploads_that_are_always_lost(way, proxy, options):
    """If every upload is lost, the call ends after the second, with nothing committed and nothing left."""
    url, patient = way.fresh_url(), {**options, "request_timeout": 60}
    tx.write(LARGE.slice(0, 1), url, mode="append", storage_options=patient)
    aborts(way, proxy, url, "the end", 1_000)
    with pytest.raises(StoreError, match="was lost before it was complete") as raised:
        tx.write(LARGE, url, mode="append", storage_options=patient)
    assert (raised.value.committed, isinstance(raised.value, CorruptTableError)) == ("no", False)
    assert sum(seen.fault == "abort" for seen in proxy.seen) == 2
    proxy.reset()
    assert tx.Table(url, storage_options=patient).row_count == 1
