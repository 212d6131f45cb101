"""What every store promises, on real S3 servers through s3fs."""

from __future__ import annotations

import pytest

from tests.contract.test_store_contract import StoreContract, named
from tests.services.fixtures import fresh_prefix
from txfiles.store.objects import ObjectStore

pytestmark = pytest.mark.slow


class S3Contract(StoreContract):
    clock_ticks_us = 1_000_000
    """S3 tells times in whole seconds."""
    kind: str

    @pytest.fixture
    def fresh(self, s3_client):
        return lambda: ObjectStore(s3_client(self.kind), fresh_prefix())


class TestMinistack(S3Contract):
    kind = "ministack"


class TestSeaweedFS(S3Contract):
    """A server that keeps objects as files in folders."""

    kind = "weed"
    race_rounds = 3  # 16 writers of one name take it seconds
    slashes = "/\\"

    def test_order_is_of_whole_names(self, store):
        """Names sort by code points within a folder; a folder's files come where the folder does."""
        names = ["a-b", "a.b", "a0", "aé", "a\uffff", "a😀", "b/b/c", "b/b0", "b/c"]
        for name in reversed(names):
            store.put_if_absent(name, b"")
        assert sorted(named(store)) == names
        assert [name for name in named(store) if "/" not in name] == names[:6]
        assert named(store, "b/") == ["b/b/c", "b/b0", "b/c"]
