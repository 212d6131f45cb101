"""What every store promises, in real clouds: only where the environment names one, see tests/services/fixtures.py."""

from __future__ import annotations

import uuid

import pytest

from tests.contract import test_azure_contract as azure_contract
from tests.contract import test_s3_contract as s3_contract
from tests.services.fixtures import cloud, skip_without_a_cloud
from txfiles.store import open_store

pytestmark = pytest.mark.slow
skip_without_a_cloud()


@pytest.fixture(scope="class")
def place(request):
    with cloud(request.cls.name) as found:
        yield found


class InACloud:
    name: str

    @pytest.fixture
    def fresh(self, place):
        return lambda: open_store(f"{place.url}/{uuid.uuid4().hex}/täble a", place.options)


class TestS3(InACloud, s3_contract.S3Contract):
    name = "S3"


class TestAzure(InACloud, azure_contract.TestAzurite):
    name = "AZURE"
