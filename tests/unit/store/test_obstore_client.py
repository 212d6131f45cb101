"""What the clients on obstore do themselves: the usual library in its place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fake_client import FakeClient, failing
from txfiles.errors import StoreError
from txfiles.store import probe
from txfiles.store.client import Failure
from txfiles.store.objects import ObjectStore
from txfiles.store.obstore_client import ObstoreClient

WHOLE = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:1"}
NOT_XML = "a\x01b"
"""A name that goes through the usual library."""


@pytest.fixture
def client():
    client = ObstoreClient("bucket", WHOLE, 1.0)
    probe.remember(client)
    return client


@pytest.mark.parametrize("resends", [True, False])
def test_a_denied_put_through_the_usual_library(client, monkeypatch, resends):
    """Where the library in obstore's place may have sent a put before, one that is denied is unknown."""
    theirs = FakeClient()
    theirs.capabilities = replace(theirs.capabilities, resends=resends)
    theirs.script["create"] = [failing(Failure.DENIED, applied=True)]
    monkeypatch.setattr(client, "_connect_other", lambda: theirs)
    with pytest.raises(StoreError, match="injected denied") as raised:
        ObjectStore(client, "t").put_if_absent(NOT_XML, b"1")
    assert raised.value.committed == ("unknown" if resends else "no")
    assert list(theirs.objects) == [f"t/{NOT_XML}"]
