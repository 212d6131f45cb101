"""What only Azure has: several URLs of one table, folders that are blobs, tokens in queries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

import txfiles as tx
from tests.services.servers import AZURE_ACCOUNT, AZURE_KEY, BUCKET, azure_options
from tests.stores.test_tables import MORE, ROWS, rows

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("way", [("azurite", "adlfs")], indirect=True)]


def test_one_table_by_all_its_urls(way, options):
    """Each way to write its URL opens the same table."""
    url = way.fresh_url()
    tx.write(ROWS, url, mode="append", storage_options=options)
    path = url.removeprefix(f"abfs://{BUCKET}")
    for same in (f"abfss://{BUCKET}@{AZURE_ACCOUNT}.dfs.core.windows.net{path}", f"az://{BUCKET}{path}"):
        assert tx.Table(same, storage_options=options).row_count == 3


def test_folders_are_no_files(way, store):
    """What stands for a folder where names are hierarchical is not listed."""
    with BlobServiceClient.from_connection_string(azure_options(way.server.url)["connection_string"]) as service:
        service.get_container_client(BUCKET).upload_blob(f"{store._prefix}l", b"", metadata={"hdi_isfolder": "true"})
    store.put("l/a", b"")
    assert [entry.name for entry in store.list_from("")] == ["l/a", "probed"]


def test_a_token_in_the_query(way):
    """A container's SAS token is enough for a table: to write, read and delete."""
    until = datetime.now(UTC) + timedelta(hours=1)
    may = ContainerSasPermissions(read=True, write=True, delete=True, list=True, create=True)
    token = generate_container_sas(AZURE_ACCOUNT, BUCKET, account_key=AZURE_KEY, permission=may, expiry=until)
    parts = azure_options(way.server.url)["connection_string"].split(";")
    options = way.options() | {"connection_string": ";".join([*parts[:2], f"SharedAccessSignature={token}", parts[3]])}
    url = way.fresh_url()
    tx.write(ROWS, url, mode="append", storage_options=options)
    tx.write(MORE, url, mode="overwrite", storage_options=options)
    table = tx.Table(url, storage_options=options)
    assert table.vacuum(retain="0s").deleted
    assert rows(table) == MORE.to_pylist()
