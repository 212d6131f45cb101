"""What every store promises, on real S3 servers through obstore: the same contract, server by server."""

from __future__ import annotations

import pytest

from tests.contract import test_s3_contract as s3_contract
from tests.services.fixtures import fresh_prefix, s3_options
from tests.services.servers import BUCKET
from txfiles.store.objects import ObjectStore
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
