"""Through which library a container is reached: obstore where it would do the same as adlfs, and only there."""

from __future__ import annotations

import logging
import os

import fsspec.config
import pytest

from tests.unit.store.test_backends import told
from txfiles.errors import OptionError, StoreError
from txfiles.store import obstore_azure_options as rules
from txfiles.store import obstore_client, open_store
from txfiles.store.client import Failure
from txfiles.store.obstore_azure import ObstoreAzureClient

CANARY = "CANARY-2f7a"
KEY = "S0VZLUNBTkFSWQ=="
ACCOUNT = {"account_name": "account", "account_key": KEY}
CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=account;AccountKey={KEY}"


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch):
    """No variables of Azure's tools."""
    for name in os.environ:
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)


def client(options, bucket="lake"):
    return open_store(f"abfs://{bucket}/t", options).client


@pytest.mark.parametrize(
    ("options", "environment", "bucket"),
    [
        (ACCOUNT, {}, "lake"),
        ({**ACCOUNT, "request_timeout": 5, "use_listings_cache": False, "client_id": None, "anon": False}, {}, "lake"),
        ({"azure_storage_account_name": "account", "sas_key": "?sv=1&sig=s%3D"}, {}, "lake"),
        ({"account_key": KEY}, {}, "lake@account.dfs.core.windows.net"),
        ({"account_key": KEY}, {}, "lake@account.blob.core.usgovcloudapi.net"),
        ({**ACCOUNT, "account_host": "account.blob.core.usgovcloudapi.net"}, {}, "lake"),
        ({"account_name": "account", "anon": True}, {}, "lake"),
        ({"account_name": "account", "anon": "true"}, {}, "lake"),
        ({"connection_string": CONNECTION}, {}, "lake"),
        ({"connection_string": f"{CONNECTION};EndpointSuffix=core.chinacloudapi.cn;"}, {}, "lake"),
        ({"connection_string": f"{CONNECTION};BlobEndpoint=http://127.0.0.1:9/account;QueueEndpoint=x"}, {}, "lake"),
        ({"connection_string": "accountname=account;SharedAccessSignature=sv=1&sig=s%3D"}, {}, "lake"),
        ({"connection_string": CONNECTION, "account_name": "other", "account_key": "x"}, {}, "lake"),
        ({}, {"CONNECTION_STRING": CONNECTION}, "lake"),
        ({"account_name": "account"}, {"ACCOUNT_KEY": KEY}, "lake"),
        ({}, {"ACCOUNT_NAME": "account", "SAS_TOKEN": "sv=1&sig=s"}, "lake"),
        (ACCOUNT, {"CONNECTION_STRING": CONNECTION.replace("account", "another")}, "lake"),
    ],
)
def test_options_that_map(options, environment, bucket, monkeypatch):
    """A key, a token or none, and an account that is named, lead both libraries to one place: obstore is used by
    itself."""
    for name, value in environment.items():
        monkeypatch.setenv(f"AZURE_STORAGE_{name}", value)
    ours, theirs = client(options, bucket), client({**options, "backend": "adlfs"}, bucket)
    assert (ours.backend, theirs.backend) == ("obstore", "adlfs")
    assert ours._place == theirs._container.url.partition("?")[0]
    assert ours.identity == theirs.identity
    found = (rules.credentials(ours._config) or dict)()
    credential = theirs._fs.service_client.credential
    assert found.get("access_key") == getattr(credential, "account_key", None)
    token = theirs._container.url.partition("?")[2]
    assert (found.get("sas_token") or "") == token


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({**ACCOUNT, "credential": CANARY}, "'credential' has no counterpart"),
        ({**ACCOUNT, "client_secret": CANARY}, "'client_secret' has no counterpart"),
        ({**ACCOUNT, "location_mode": "secondary"}, "'location_mode' has no counterpart"),
        ({**ACCOUNT, "account_host": "h.example.org"}, "'account_host' does not begin with the account"),
        ({"account_name": "account"}, "it takes an account's key or a SAS token"),
        ({"connection_string": f"{CONNECTION};Odd={CANARY}"}, "has a part that has no counterpart"),
        ({"connection_string": f"BlobEndpoint=http://h/a;SharedAccessSignature={CANARY}"}, "has no AccountName"),
        (
            {"connection_string": f"{CONNECTION};BlobEndpoint=http://u:{CANARY}@h/a"},
            "is not an http:// or https:// URL",
        ),
    ],
)
def test_options_that_do_not_map(options, why, caplog):
    """An option that obstore cannot take as adlfs would leaves it to adlfs, and a debug log says why; forced, it is an
    error. Neither shows a value."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    with pytest.raises(OptionError, match=why) as raised:
        client({**options, "backend": "obstore"})
    assert CANARY not in f"{raised.value!r} {raised.value.hint} {raised.value.evidence}"
    assert rules.unmapped(options)
    try:
        assert client(options).backend == "adlfs"
    except OptionError as error:  # nor can adlfs
        assert CANARY not in f"{error!r} {error.hint} {error.evidence}"
    assert "obstore is not used for abfs://" in caplog.text
    assert CANARY not in caplog.text


def test_an_environment_that_differs(monkeypatch):
    """A variable that only one of the two reads leaves it to adlfs; whoever forces obstore knows."""
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    assert client(ACCOUNT).backend == "adlfs"
    assert client({**ACCOUNT, "backend": "obstore"}).backend == "obstore"


def test_without_adlfs(monkeypatch):
    """Without adlfs obstore is not used by itself: nothing could be deleted; forced, a delete says what to install."""
    monkeypatch.setattr(rules.importlib.util, "find_spec", lambda _: None)
    assert client(ACCOUNT).backend == "adlfs"
    with pytest.raises(StoreError, match=r"txfiles\[azure\]"):
        open_store("abfs://lake/t", {**ACCOUNT, "backend": "obstore"}).delete_many(["a"])


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (obstore_client.raised.AlreadyExistsError(told(409, "BlobAlreadyExists")), Failure.EXISTS),
        (obstore_client.raised.AlreadyExistsError(told(409, "Odd")), Failure.UNDECIDED),
        (obstore_client.raised.AlreadyExistsError(told(409, "ContainerBeingDeleted")), Failure.REFUSED),
        (FileNotFoundError(told(404, "BlobNotFound")), Failure.ABSENT),
        (FileNotFoundError(told(404, None, "HEAD")), Failure.ABSENT),
        (FileNotFoundError(told(404, None, "GET")), Failure.REFUSED),
        (FileNotFoundError(told(404, "ContainerNotFound")), Failure.REFUSED),
        (obstore_client.raised.PermissionDeniedError(told(403, "AuthorizationFailure")), Failure.DENIED),
        (obstore_client.raised.GenericError(told(503, "ServerBusy")), Failure.THROTTLED),
        (obstore_client.raised.GenericError(told(500, "InternalError")), Failure.UNCLEAR),
    ],
)
def test_what_answers_mean(error, means):
    """An answer means what Azure's code and status say, whatever obstore raises."""
    assert ObstoreAzureClient("lake", ACCOUNT, 1.0).failed(error).failure is means


@pytest.mark.parametrize("protocol", ["abfs", "abfss", "az"])
def test_what_fsspec_is_configured_to_do(monkeypatch, protocol):
    """Options that fsspec's own configuration sets leave a container to adlfs, which follows them."""
    monkeypatch.setattr(fsspec.config, "conf", {protocol: {"location_mode": "secondary"}})
    store = open_store("abfs://lake/t", ACCOUNT)
    assert store.backend == "adlfs"
    assert store.client._fs.location_mode == "secondary"
    assert store.backend_reason == "not through obstore: fsspec's configuration sets 'location_mode'"
