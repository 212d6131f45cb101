"""Tables on Azurite, and what adlfs and Azure would do there if they were asked in another way."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas
from click.testing import CliRunner

import txfiles as tx
from tests.services import proxy as proxies
from tests.services.fixtures import azure_options, fresh_prefix, fresh_url, told
from tests.services.servers import AZURE_ACCOUNT, AZURE_KEY, BUCKET
from tests.stores.test_s3_faults import AFTER, BEFORE, READS
from tests.stores.test_s3_tables import MORE, ROWS, rows
from txfiles.cli.main import cli
from txfiles.errors import CommitStateUnknownError, StoreError, TxFilesError
from txfiles.store import open_store
from txfiles.store.adls import AzureClient
from txfiles.store.object_sink import PART_BYTES
from txfiles.store.objects import ObjectStore
from txfiles.store.patience import Patience
from txfiles.store.port import Put

pytestmark = pytest.mark.slow

REQUEST_SECONDS = 3.0
CANARY = "CANARY-7d1e"


@pytest.fixture
def options(azure):
    return azure_options(azure.url)


@pytest.fixture(scope="module")
def proxy(azure):
    with proxies.running(azure.url) as running:
        yield running


@pytest.fixture
def store(proxy):
    client = AzureClient(BUCKET, azure_options(proxy.url), REQUEST_SECONDS / 3)
    store = ObjectStore(client, fresh_prefix(), patience=Patience(REQUEST_SECONDS))
    store.put_if_absent("probed", b"")
    proxy.reset()
    return store


def blobs(options):
    return BlobServiceClient.from_connection_string(options["connection_string"]).get_container_client(BUCKET)


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("format_name", ["parquet", "csv"])
def test_a_table(options, format_name):
    """A table on Azure is one like any other: all modes, older versions, history, vacuum."""
    url = fresh_url("abfs")
    assert not tx.exists(url, storage_options=options)

    def write(data, mode, **more):
        return tx.write(data, url, mode=mode, storage_options=options, **more)

    write(ROWS, "upsert", keys=["id"], format=format_name, partition_by=["country"])
    assert write(MORE, "upsert").rows_updated == 1
    assert write(MORE, "upsert").committed is False
    assert write(MORE, "append_once").rows_skipped == 2
    first = write(ROWS.slice(0, 1), "append", batch_id="b")
    assert (first.version, write(ROWS, "append", batch_id="b").version) == (2, 2)
    table = tx.Table(url, storage_options=options)
    assert [row["name"] for row in rows(table)] == ["a", "a", "b", "C", "d"]
    assert rows(table.at(version=0)) == ROWS.to_pylist()
    assert [commit.version for commit in table.history()] == [2, 1, 0]
    assert all(name.startswith(url) for name in table.files())
    assert table.to_arrow(columns=["id"], filter=[("country", "=", "FR")]).num_rows == 2
    write(ROWS, "overwrite")
    table.refresh()
    deleted = table.vacuum(retain="0s").deleted
    assert deleted
    assert rows(table) == ROWS.to_pylist()
    listed = {entry.name for entry in open_store(url, options).list_from("")}
    assert listed.isdisjoint(deleted)


def test_one_table_by_all_its_urls(options, monkeypatch):
    """Each way to write its URL opens the same table, and a Table opens its version in another process."""
    url = fresh_url("abfs")
    tx.write(ROWS, url, mode="append", storage_options=options)
    path = url.removeprefix(f"abfs://{BUCKET}")
    for same in (f"abfss://{BUCKET}@{AZURE_ACCOUNT}.dfs.core.windows.net{path}", f"az://{BUCKET}{path}"):
        assert tx.Table(same, storage_options=options).row_count == 3
    monkeypatch.setenv("LAKE_CONNECTION", options["connection_string"])
    table = tx.Table(url, storage_options={"connection_string": "${LAKE_CONNECTION}"})
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).to_arrow().num_rows)"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(table), capture_output=True, check=True)
    assert done.stdout == b"3\n"


def test_the_shell(options, tmp_path, monkeypatch):
    """The shell opens `abfs://`, its credentials from options or from the environment, and shows none of them."""
    url = fresh_url("abfs")
    pq.write_table(ROWS, tmp_path / "in.parquet")
    given = [f"--storage-option=connection_string={options['connection_string']}"]
    write = ["write", str(tmp_path / "in.parquet"), "--to", url, "--mode", "upsert", "--key", "id"]
    ways = ((given, {}), ([], {"AZURE_STORAGE_CONNECTION_STRING": options["connection_string"]}))
    for more, env in ways:
        result = CliRunner().invoke(cli, [*write, *more, "--json"], env=env)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["version"] == 0
        for verb in ("show", "log", "files", "read", "vacuum"):
            result = CliRunner().invoke(cli, [verb, url, *more], env=env)
            assert result.exit_code == 0, result.output
            assert AZURE_KEY not in result.output


def test_writers_side_by_side(options):
    """Eight writers of one table commit all their rows, once each."""
    url = fresh_url("abfs")
    tx.write(pa.table({"id": [0]}), url, mode="append", storage_options=options)

    def write(number):
        return tx.write(pa.table({"id": [number]}), url, mode="append", storage_options=options)

    with ThreadPoolExecutor(8) as pool:
        versions = sorted(result.version for result in pool.map(write, range(1, 9)))
    assert versions == list(range(1, 9))
    assert [row["id"] for row in rows(tx.Table(url, storage_options=options))] == list(range(9))


def test_a_large_data_file(options):
    """A data file over the size of a part is uploaded in blocks, and reads back whole."""
    url = fresh_url("abfs")
    noise = pa.array([os.urandom(64) for _ in range(300_000)])
    data = pa.table({"id": range(len(noise)), "noise": noise})
    tx.write(data, url, mode="append", storage_options=options)
    table = tx.Table(url, storage_options=options)
    assert table.file_table()["bytes"][0].as_py() > 2 * PART_BYTES
    assert table.to_arrow().equals(data)


def test_folders_are_no_files(store, options):
    """What stands for a folder where names are hierarchical is not listed."""
    blobs(options).upload_blob(f"{store._prefix}l", b"", metadata={"hdi_isfolder": "true"})
    store.put("l/a", b"")
    assert [entry.name for entry in store.list_from("")] == ["l/a", "probed"]


# ---------------------------------------------------------------- one request a verb


@pytest.mark.parametrize(
    ("use", "requests"),
    [
        (lambda store: store.get("a", limit=9), ["GET"]),
        (lambda store: store.get("empty", limit=9), ["GET"]),
        (lambda store: store.get("no", limit=9), ["GET"]),
        (lambda store: store.stat("a"), ["HEAD"]),
        (lambda store: store.stat("no"), ["HEAD"]),
        (lambda store: store.put("b", b""), ["PUT"]),
        (lambda store: store.put_if_absent("c", b""), ["PUT"]),
        (lambda store: store.put_if_absent("a", b""), ["PUT"]),
        (lambda store: list(store.list_from("", "a")), ["GET"]),
        (lambda store: store.delete_many(["d", "e"]), ["DELETE", "DELETE"]),
        (lambda store: store.read_ranges("a", [(0, 1)], 3), ["GET"]),
        (lambda store: store.open_input("a", 3), []),
        (lambda store: store.open_input("a", 3).read(), ["GET"]),
        (lambda store: store.create("s").close(), ["PUT"]),
        (lambda store: store.now_us(), ["HEAD"]),
    ],
)
def test_one_request(proxy, store, use, requests):
    """Each verb is one request, also for what is empty or not there."""
    store.put("a", b"123")
    store.put("empty", b"")
    proxy.reset()
    use(store)
    assert [seen.request.method for seen in proxy.seen] == requests


def test_the_condition_is_sent(proxy, store):
    """A conditional put carries its header, also when it is empty, and another does not."""
    store.put_if_absent("a", b"1")
    store.put_if_absent("b", b"")
    store.put("c", b"1")
    assert [seen.request.headers.get("if-none-match") for seen in proxy.seen] == ["*", "*", None]


def test_an_empty_create(store):
    """An empty put does not empty what is there."""
    store.put("a", b"1")
    assert store.put_if_absent("a", b"") is Put.EXISTS
    assert store.get("a", limit=9) == b"1"


def test_nothing_is_cached(store, azure_client):
    """What another writer creates, replaces or deletes is seen at once, also after a listing."""
    other = ObjectStore(azure_client, store._prefix[:-1])
    store.put("l/a", b"1")
    assert [entry.bytes for entry in store.list_from("l/")] == [1]
    other.put("l/a", b"22")
    other.put("l/b", b"")
    assert [(entry.name, entry.bytes) for entry in store.list_from("l/")] == [("l/a", 2), ("l/b", 0)]
    assert (store.stat("l/a").bytes, store.get("l/a", limit=9)) == (2, b"22")
    other.delete_many(["l/a", "l/b"])
    assert list(store.list_from("l/")) == []
    assert (store.stat("l/a"), store.get("l/a", limit=9)) == (None, None)


def test_a_listing_after_a_name(proxy, store):
    """The server is not asked to begin at a name, which some ignore: what lies before it is left out here."""
    for name in ("l/a", "l/b", "l/c"):
        store.put(name, b"")
    proxy.reset()
    assert [entry.name for entry in store.list_from("l/", "l/b")] == ["l/c"]
    assert "startfrom" not in proxy.seen[0].request.path.lower()


# ---------------------------------------------------------------- answers that are lost


@pytest.mark.guarantees("S3", "S6")
@pytest.mark.parametrize("fault", AFTER)
def test_a_put_that_was_applied(proxy, store, fault):
    """A put that the server applied, and whose answer was lost, is not told as *exists*: it is our own.

    Only aiohttp, below all others, sends it again unseen: that much is said by the store's capabilities.
    """
    proxy.reset(proxies.nth(1, fault, method="PUT"))
    answer = store.put_if_absent("a", b"mine")
    assert answer is (Put.EXISTS if fault == "drop_after" else Put.UNKNOWN)
    assert store.capabilities.resends
    assert len(proxy.seen) == 2
    assert store.get("a", limit=9) == b"mine"


@pytest.mark.parametrize("fault", [*BEFORE, "409"])
def test_a_put_that_was_not_applied(proxy, store, fault):
    """A put that did not reach the server is sent again; one that comes late changes nothing."""
    proxy.reset(proxies.nth(1, fault, method="PUT"))
    assert store.put_if_absent("a", b"mine") in (Put.UNKNOWN, Put.CREATED)
    assert store.get("a", limit=9) == b"mine"


def test_a_put_that_is_never_answered(proxy, store):
    """A server that stays silent ends as unknown within the time that the user gave, and few tries."""
    proxy.reset(lambda request: "hang_before" if request.method == "PUT" else None)
    assert store.put_if_absent("a", b"mine") is Put.UNKNOWN
    assert 2 <= len(proxy.seen) <= 8
    assert store.get("a", limit=9) is None


@pytest.mark.parametrize("fault", ["drop_after", "500_after", "503_before", "hang_before", "cut", "429"])
@pytest.mark.parametrize("read", READS)
def test_reads_are_tried_again(proxy, store, read, fault):
    """A read that fails in passing is asked for again, by us alone, and is whole."""
    store.put("l/a", b"12345678")
    proxy.reset(proxies.nth(1, fault))
    assert READS[read](store)
    assert len(proxy.seen) == 2 or (read, fault) == ("stat", "cut")  # a HEAD has no body to cut


@pytest.mark.parametrize("fault", ["403", "404", "500", "503", "hang_before", "drop_before", "200_before"])
@pytest.mark.parametrize("read", ["get", "list", "range"])
def test_what_cannot_be_read_is_not_absent(proxy, store, read, fault):
    """A store that does not answer, denies, or answers with something else raises: nothing is taken for absent."""
    store.put("l/a", b"12345678")
    if (read, fault) == ("get", "200_before"):
        return  # whatever is served with 200 is the object: its checksum tells
    proxy.reset(lambda request: fault if request.method == "GET" else None)
    with pytest.raises(StoreError) as raised:
        READS[read](store)
    assert raised.value.hint
    proxy.reset()
    assert READS[read](store)


def test_a_container_that_is_missing(options):
    """A container that is not there is an error, not an empty place."""
    url = "abfs://no-such-container/t"
    options = {**options, "request_timeout": REQUEST_SECONDS}
    for use in (
        lambda: open_store(url, options).get("a", limit=9),
        lambda: list(open_store(url, options).list_from("")),
        lambda: tx.exists(url, storage_options=options),
        lambda: tx.write(pa.table({"a": [1]}), url, mode="append", storage_options=options),
    ):
        with pytest.raises(StoreError, match="ContainerNotFound") as raised:
            use()
        assert "bucket exists" in raised.value.hint


@pytest.mark.parametrize("fault", ["drop_after", "500_after", "drop_before", "cut"])
@pytest.mark.parametrize("number", range(1, 5))
def test_large_files(proxy, store, number, fault):
    """An upload in blocks survives the loss of any one of its requests or answers."""
    body = bytes(range(256)) * (PART_BYTES // 128) + b"tail"
    proxy.reset(proxies.nth(number, fault))
    sink = store.create("large")
    sink.write(body)
    assert store.stat("large") is None
    sink.close()
    assert store.open_input("large", len(body)).read() == body


def test_an_aborted_upload(store):
    """An upload that is given up is seen by nobody."""
    sink = store.create("large")
    sink.write(b"x" * (3 * PART_BYTES))
    sink.abort()
    assert store.stat("large") is None
    assert [entry.name for entry in store.list_from("")] == ["probed"]


@pytest.mark.guarantees("S3", "S4", "S5", "S6")
@pytest.mark.parametrize("fault", ["drop_after", "500_after", "late", "403"])
def test_any_request_of_a_write_fails(proxy, fault):
    """Whichever request of an append fails: the batch is there once if it says so, and at most once else."""
    options = {**azure_options(proxy.url), "request_timeout": REQUEST_SECONDS}
    for number in range(1, 40):
        url = fresh_url("abfs")
        tx.write(pa.table({"id": [1]}), url, mode="append", storage_options=options)
        error = None
        proxy.reset(proxies.nth(number, fault))
        try:
            tx.write(pa.table({"id": [7]}), url, mode="append", storage_options=options)
        except TxFilesError as failed:
            error = failed
        met = any(seen.fault for seen in proxy.seen)
        proxy.reset()
        ids = [row["id"] for row in rows(tx.Table(url, storage_options=options))]
        assert ids == [1, 7] if error is None else ids in ([1], [1, 7])
        if error is not None:
            assert fault == "403", error
            assert error.committed == "no" or isinstance(error, CommitStateUnknownError)
            assert error.committed == "unknown" or ids == [1]
        if not met:
            assert number > 3
            return
    pytest.fail("the write never ends")


# ---------------------------------------------------------------- secrets


@pytest.mark.guarantees("S19")
@pytest.mark.parametrize("fault", [None, "403", "500", "drop_before", "hang_before", "200_before", "404"])
@pytest.mark.parametrize("kind", ["key", "sas"])
def test_no_secret_is_told(proxy, kind, fault, caplog):
    """An account's key, or a token in the query of each request, comes back in no error, repr or log record of ours."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    parts = azure_options(proxy.url, key="Q0FOQVJZLTdkMWU=")["connection_string"].split(";")
    if kind == "sas":
        parts[2] = f"SharedAccessSignature=sv=2026-01-01&sp=rwdl&sig={CANARY}%3D"
    options = {"connection_string": ";".join(parts), "request_timeout": 1.0}
    url = fresh_url("abfs")
    proxy.reset(lambda request: fault)
    said = []
    for use in (
        lambda: tx.exists(url, storage_options=options),
        lambda: tx.write(pa.table({"a": [1]}), url, mode="append", storage_options=options),
        lambda: list(open_store(url, options).list_from("")),
    ):
        try:
            said.append(repr(use()))
        except TxFilesError as error:
            said += [told(error), told(pickle.loads(pickle.dumps(error)))]
    if kind == "sas":
        assert any(CANARY in seen.request.path for seen in proxy.seen)
    proxy.reset()
    store = open_store(url, options)
    said += [repr(store), str(store), repr(store.client), store.client.identity, caplog.text]
    for secret in (CANARY, "Q0FOQVJZLTdkMWU"):
        assert secret not in "\n".join(said)


def test_wrong_credentials(azure):
    """A server denies a wrong key: told as that, nothing taken for absent."""
    with pytest.raises(StoreError, match="403 Auth") as raised:
        tx.exists(fresh_url("abfs"), storage_options=azure_options(azure.url, key="d3Jvbmc="))
    assert raised.value.failure == "denied"
    assert "credentials" in raised.value.hint


def test_a_token_in_the_query(azure):
    """A container's SAS token is enough for a table: to write, read and delete."""
    until = datetime.now(UTC) + timedelta(hours=1)
    may = ContainerSasPermissions(read=True, write=True, delete=True, list=True, create=True)
    token = generate_container_sas(AZURE_ACCOUNT, BUCKET, account_key=AZURE_KEY, permission=may, expiry=until)
    parts = azure_options(azure.url)["connection_string"].split(";")
    options = {"connection_string": ";".join([*parts[:2], f"SharedAccessSignature={token}", parts[3]])}
    url = fresh_url("abfs")
    tx.write(ROWS, url, mode="append", storage_options=options)
    tx.write(MORE, url, mode="overwrite", storage_options=options)
    table = tx.Table(url, storage_options=options)
    assert table.vacuum(retain="0s").deleted
    assert rows(table) == MORE.to_pylist()
