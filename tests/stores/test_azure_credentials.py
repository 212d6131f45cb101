"""Credentials for Azure: where they are found, and how they expire in mid-call."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

import txfiles as tx
from tests.services import proxy as proxies
from tests.services.fixtures import azure_options, fresh_url, told
from tests.services.servers import AZURE_ACCOUNT, AZURE_KEY, BUCKET
from tests.stores.test_credentials import CALLS, ROWS, check_expiry, expiring
from txfiles.errors import StoreError
from txfiles.store.adls import AzureClient
from txfiles.targets.files import target as files_target

pytestmark = [pytest.mark.slow, pytest.mark.guarantees("S5 S7 S19")]

WRONG = "Q0FOQVJZLXdyb25n"
VARIABLE = "AZURE_STORAGE_CONNECTION_STRING"


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch):
    """No variables of Azure's tools."""
    for name in list(os.environ):
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)


def signed(url: str, hours: float = 1.0) -> str:
    """A connection string with a signature for the container."""
    may = ContainerSasPermissions(read=True, write=True, create=True, delete=True, list=True)
    until = datetime.now(UTC) + timedelta(hours=hours)
    token = generate_container_sas(AZURE_ACCOUNT, BUCKET, account_key=AZURE_KEY, permission=may, expiry=until)
    return f"BlobEndpoint={url}/{AZURE_ACCOUNT};SharedAccessSignature={token}"


def keyed(url: str, key: str = AZURE_KEY) -> str:
    return azure_options(url, key)["connection_string"]


@pytest.mark.parametrize("way", ["option", "another name", "reference", "environment"])
@pytest.mark.parametrize("what", [keyed, signed])
def test_credentials_are_found(what, way, azure, monkeypatch):
    """An account's key and a signature open a container, as an option, by another library's name for it, as a
    reference, or in the environment."""
    given = {
        "option": {"connection_string": what(azure.url)},
        "another name": {"azure_storage_connection_string": what(azure.url)},
        "reference": {"connection_string": "${LAKE_CONNECTION}"},
        "environment": {},
    }[way]
    monkeypatch.setenv("LAKE_CONNECTION" if way == "reference" else "UNUSED", what(azure.url))
    if way == "environment":
        monkeypatch.setenv(VARIABLE, what(azure.url))
    url = fresh_url("abfs")
    tx.write(ROWS, url, mode="append", storage_options=given)
    assert tx.Table(url, storage_options=given).to_arrow() == ROWS


@pytest.mark.parametrize("way", ["option", "environment"])
@pytest.mark.parametrize("what", ["key", "expired signature", "another signature"])
def test_wrong_credentials(what, way, azure, monkeypatch):
    """A wrong key, a signature that has expired and one that is forged are denied and not repeated."""
    connection = {
        "key": keyed(azure.url, WRONG),
        "expired signature": signed(azure.url, hours=-1),
        "another signature": signed(azure.url).partition("&sig=")[0] + f"&sig={WRONG}",
    }[what]
    if way == "environment":
        monkeypatch.setenv(VARIABLE, connection)
    given = {"connection_string": connection} if way == "option" else {}
    with pytest.raises(StoreError, match="403 Auth") as raised:
        tx.exists(fresh_url("abfs"), storage_options=given)
    assert raised.value.failure == "denied"
    assert "credentials" in raised.value.hint
    signature = connection.rpartition("sig=")[2] if "sig=" in connection else WRONG
    assert signature not in told(raised.value)


@pytest.mark.parametrize(
    ("options", "env"),
    [
        ({"account_name": "acct", "account_key": AZURE_KEY}, {}),
        ({"azure_storage_account_name": "acct", "access_key": AZURE_KEY}, {}),
        ({}, {"AZURE_STORAGE_ACCOUNT_NAME": "acct", "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY}),
        ({"account_name": "acct", "account_key": AZURE_KEY}, {"AZURE_STORAGE_ACCOUNT_KEY": WRONG}),
        ({"account_name": "acct", "sas_token": "sv=1&sig=abcd"}, {}),
        ({"account_name": "acct", "sas_key": "?sv=1&sig=abcd"}, {}),
        ({"account_name": "acct"}, {"AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=abcd"}),
    ],
)
def test_keys_and_signatures_of_accounts(options, env, monkeypatch):
    """A key or a signature beside an account's name signs requests to that account. Azurite has no address of this
    form, so that it is seen only what the SDK is given."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    container = AzureClient("lake", options, 1.0)._container
    assert container.primary_hostname == "acct.blob.core.windows.net"
    if "sig" in f"{options}{env}":
        assert container.url == "https://acct.blob.core.windows.net/lake?sv=1&sig=abcd"
    else:
        assert container.credential.account_key == AZURE_KEY


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("first", [None, "drop_after"], ids=["", "lost answer"])
def test_credentials_that_expire(call, first, azure, monkeypatch):
    """As on S3: no commit, or an error that says that it does not know; nothing is damaged, lost or there twice."""
    monkeypatch.setattr(files_target, "_SNAPSHOTS", None)
    with proxies.running(azure.url) as proxy:
        words = check_expiry(
            call,
            lambda: fresh_url("abfs"),
            {**azure_options(proxy.url), "request_timeout": 3},
            azure_options(proxy.upstream),
            proxy,
            lambda number: expiring(number, "403 ExpiredToken", first),
        )
    assert words == {"no", "unknown"}
