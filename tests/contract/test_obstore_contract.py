"""What every store promises, on real servers through obstore: the same contract, server by server."""

from __future__ import annotations

import pytest

from tests.contract import test_azure_contract as azure_contract
from tests.contract import test_s3_contract as s3_contract
from tests.services.fixtures import azure_options, fresh_prefix, s3_options
from tests.services.servers import BUCKET
from txfiles.store.objects import ObjectStore
from txfiles.store.obstore_azure import ObstoreAzureClient
from txfiles.store.obstore_client import ObstoreClient

pytestmark = pytest.mark.slow


class ThroughObstore:
    @pytest.fixture
    def fresh(self, s3):
        client = ObstoreClient(BUCKET, s3_options(s3(self.kind).url), 10.0)
        return lambda: ObjectStore(client, fresh_prefix())


class TestMinistack(ThroughObstore, s3_contract.TestMinistack):
    pass


class TestSeaweedFS(ThroughObstore, s3_contract.TestSeaweedFS):
    pass


class TestAzurite(azure_contract.TestAzurite):
    @pytest.fixture
    def fresh(self, azure):
        client = ObstoreAzureClient(BUCKET, azure_options(azure.url), 10.0)
        return lambda: ObjectStore(client, fresh_prefix())
