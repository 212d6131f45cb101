"""What every store promises, on Azurite through adlfs."""

from __future__ import annotations

import pytest

from tests.contract.test_store_contract import StoreContract
from tests.services.fixtures import fresh_prefix
from txfiles.store.objects import ObjectStore

pytestmark = pytest.mark.slow


class TestAzurite(StoreContract):
    clock_ticks_us = 1_000_000
    """HTTP tells times in whole seconds."""
    race_rounds = 5  # each loser costs Azurite work that it does ten minutes later, all at once
    slashes = "/\\"
    ordered = ("a-b", "a.b", "a/b/c", "a/b0", "a/c", "a0", "aé", "a\ufffd", "a😀")
    """Likewise, but for U+FFFF, which XML cannot hold: Azurite fails to list it."""

    @pytest.fixture
    def fresh(self, azure_client):
        return lambda: ObjectStore(azure_client, fresh_prefix())
