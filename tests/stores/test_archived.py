"""Objects in archive tiers, on the servers that have such tiers: ministack's and Azurite's."""

from __future__ import annotations

import pyarrow as pa
import pytest

import txfiles as tx
from txfiles.errors import CorruptTableError, StoreError
from txfiles.store import open_store
from txfiles.store.client import denied

pytestmark = pytest.mark.slow

WAYS = [("ministack", "s3fs"), ("ministack", "obstore"), ("azurite", "adlfs"), ("azurite", "obstore")]
TIERS = {"ministack": "GLACIER", "azurite": "Archive"}


def archive(way, url, name):
    """Move an object to the server's archive tier, as a rule of its owner would."""
    usual = open_store(url, {**way.options(), "backend": "s3fs" if way.kind == "ministack" else "adlfs"})
    key = usual._key(name)
    if way.kind == "ministack":
        data = usual.client.get(key, 1 << 20).data
        usual.client._call("put_object", Key=key, Body=data, StorageClass="GLACIER")
    else:
        usual.client._run(lambda: usual.client._blob(key).set_standard_blob_tier("Archive"))


@pytest.mark.parametrize("way", WAYS, indirect=True, ids="-".join)
@pytest.mark.parametrize("what", ["a data file", "the newest manifest"])
def test_what_was_archived(way, proxy, options, what):
    """A table of which something was archived says so, names the tier and the way out, and asks for it once: it is not
    damaged, denied or missing."""
    url = way.fresh_url()
    tx.write(pa.table({"id": [1]}), url, mode="append", storage_options=options)
    store = open_store(url, options)
    (data,) = (file.name for file in store.list_from("") if file.name.endswith(".parquet"))
    *_, manifest = (file.name for file in store.list_from("_txfiles/log/"))
    archive(way, url, data if what == "a data file" else manifest)
    proxy.reset()
    with pytest.raises(StoreError, match=f"it is in the archive tier {TIERS[way.kind]}: 40") as raised:
        tx.Table(url, storage_options=options).to_arrow()
    assert not isinstance(raised.value, CorruptTableError)
    assert raised.value.failure == "archived"
    assert "restore the object" in raised.value.hint
    assert store.client not in denied
    refused = [seen.request.path for seen in proxy.seen if seen.status in (403, 409)]
    assert len(refused) == len(set(refused)) > 0
