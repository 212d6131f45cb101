"""What every store promises, on Azurite through adlfs."""

from __future__ import annotations

import pytest

from tests.contract.test_store_contract import ODD_NAMES, StoreContract, named
from tests.services.fixtures import fresh_prefix
from txfiles.store.objects import ObjectStore

pytestmark = pytest.mark.slow


class TestAzurite(StoreContract):
    clock_ticks_us = 1_000_000
    """HTTP tells times in whole seconds."""
    race_rounds = 5  # each loser costs Azurite work that it does ten minutes later, all at once

    @pytest.fixture
    def fresh(self, azure_client):
        return lambda: ObjectStore(azure_client, fresh_prefix())

    @pytest.mark.parametrize("name", [name for name in ODD_NAMES if "\\" not in name])
    def test_odd_names(self, store, name):
        """Likewise, but for the backslash, which it takes for a slash; no name of a table's files has one."""
        super().test_odd_names(store, name)

    def test_order_is_of_whole_names(self, store):
        """Likewise, but for U+FFFF, which XML cannot hold: Azurite fails to list it."""
        names = ["a-b", "a.b", "a/b/c", "a/b0", "a/c", "a0", "aé", "a\ufffd", "a😀"]
        for name in reversed(names):
            store.put_if_absent(name, b"")
        assert names == sorted(names)
        assert named(store) == names
