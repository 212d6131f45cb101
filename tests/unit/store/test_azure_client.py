"""What is left of a client of Azure's that is not used any more: nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
import weakref

import pytest
from azure.identity.aio import ClientSecretCredential

from txfiles.store import open_store, remote
from txfiles.store.adls import AzureClient

ACCOUNT = {"account_name": "account", "account_key": "S0VZ"}
SERVICE = {"account_name": "account", "tenant_id": "t", "client_id": "c", "client_secret": "s"}


def until(met):
    """Wait for what another thread does."""
    for _ in range(500):
        if met():
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def closed(monkeypatch):
    """The ids of services and credentials that were closed, as they are; some may be of other tests' clients."""
    ids = []

    def noted(made):
        real = made.close

        async def close(self):
            ids.append(id(self))
            await real(self)

        monkeypatch.setattr(made, "close", close)

    client = AzureClient("lake", ACCOUNT, 1.0)
    noted(type(client._fs.service_client))
    noted(ClientSecretCredential)
    yield ids
    del client


@pytest.mark.parametrize("options", [ACCOUNT, SERVICE])
def test_a_client_that_nobody_uses(closed, options):
    """A client dies with its last user, and closes its connections and the credentials that were made for it."""
    client = AzureClient("lake", options, 1.0)
    left = [weakref.ref(one) for one in (client, client._fs, client._fs.service_client)]
    closes = [id(client._fs.service_client)] + [id(client._fs.credential)] * (options is SERVICE)
    closed.clear()
    del client
    gc.collect()
    assert until(lambda: set(closes) <= set(closed))
    assert until(lambda: gc.collect() is not None and all(one() is None for one in left))


def test_a_callers_own_credential(closed):
    """A credential that the caller made is the caller's to close."""
    credential = ClientSecretCredential("t", "c", "s")
    client = AzureClient("lake", {"account_name": "account", "credential": credential}, 1.0)
    service = id(client._fs.service_client)
    closed.clear()
    del client
    gc.collect()
    assert until(lambda: service in closed)
    assert id(credential) not in closed
    asyncio.run(credential.close())


def test_clients_that_are_renewed(monkeypatch):
    """However often the clients of a bucket are renewed, so that credentials are looked for again, one is left."""
    monkeypatch.setattr(remote, "_clients", [])
    monkeypatch.setattr(remote, "CLIENT_SECONDS", 0.0)
    made = [weakref.ref(open_store("abfs://lake/t", {**ACCOUNT, "backend": "adlfs"}).client) for _ in range(5)]
    assert until(lambda: gc.collect() is not None and [one() is None for one in made] == [True] * 4 + [False])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_client_that_dies_in_a_fork():
    """A forked process drops its parent's client without a word to the loop that it does not have."""
    client = AzureClient("lake", ACCOUNT, 1.0)
    child = os.fork()
    if not child:
        signal.alarm(10)
        try:
            os._exit(0 if client._end() is None else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_the_end_of_a_process():
    """A process that used a client ends without a word."""
    script = f"from txfiles.store.adls import AzureClient; client = AzureClient('lake', {ACCOUNT}, 1.0)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
