"""Stores that fail: what comes of each request that is spoiled, and tables behind a proxy that spoils them.

The same for each server and each library: every trap that a library or a server set was met in practice, and has a
test here, or in a module of its own where it has no counterpart.
"""

from __future__ import annotations

import functools
import itertools
import logging
import pickle
import threading
from contextlib import contextmanager

import pyarrow as pa
import pytest
from click.testing import CliRunner

import txfiles as tx
from tests.services import proxy as proxies
from tests.services.fixtures import told
from tests.services.servers import BUCKET, azure_options, free_port
from tests.stores.conftest import REQUEST_SECONDS
from txfiles.cli.main import cli
from txfiles.errors import CommitStateUnknownError, CorruptTableError, StoreError, TxFilesError
from txfiles.store import open_store
from txfiles.store.object_sink import PART_BYTES
from txfiles.store.port import Put

pytestmark = pytest.mark.slow

AFTER = ("drop_after", "500_after", "503_after", "hang_after")
"""The server has done it, and the answer is lost."""
BEFORE = ("drop_before", "500_before", "503_before", "hang_before", "200_before", "late")
"""Nothing has reached the server, or not yet."""

HASTY_SECONDS = 0.5
"""How long a request may take if it is to fail."""

ways = functools.partial(pytest.mark.parametrize, "way", indirect=True, ids="-".join)


def nth_put(number, fault):
    return proxies.nth(number, fault, method="PUT")


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
        (lambda store: list(store.list_from("")), ["GET"]),
        (lambda store: list(store.list_from("", "a")), ["GET"]),
        (lambda store: store.delete_many(["d", "e", "f"]), ["DELETE"]),
        (lambda store: store.read_ranges("a", [(0, 1)], 3), ["GET"]),
        (lambda store: store.open_input("a", 3), []),
        (lambda store: store.open_input("a", 3).read(), ["GET"]),
        (lambda store: store.create("s").close(), ["PUT"]),
        (lambda store: store.now_us(), ["HEAD"]),
    ],
)
def test_one_request(way, proxy, store, use, requests):
    """Each verb is one request, also for what is empty or not there; Azure deletes blob by blob."""
    store.put("a", b"123")
    store.put("empty", b"")
    if requests == ["DELETE"]:
        requests = requests * 3 if way.kind == "azurite" else ["POST"]
    proxy.reset()
    use(store)
    assert [seen.request.method for seen in proxy.seen] == requests


def test_the_condition_is_sent(proxy, store):
    """A conditional put carries its header, also when it is empty: s3fs drops words that it does not know."""
    store.put_if_absent("a", b"1")
    store.put_if_absent("b", b"")
    store.put("c", b"1")
    assert [seen.request.headers.get("if-none-match") for seen in proxy.seen] == ["*", "*", None]


def test_an_empty_create(store):
    """An empty put does not empty what is there."""
    store.put("a", b"1")
    assert store.put_if_absent("a", b"") is Put.EXISTS
    assert store.get("a", limit=9) == b"1"


def test_a_put_does_not_wait_for_leave(proxy, store):
    """A put sends its body at once, not after the server has said that it may: that is a round trip."""
    store.put("a", b"1")
    sink = store.create("b")
    sink.write(b"1")
    sink.close()
    assert ["expect" in seen.request.headers for seen in proxy.seen] == [False, False]


def test_a_listing_begins_at_a_name(proxy, store):
    """What lies before a name is not asked for, and not listed where the server cannot begin at a name."""
    for name in ("l/a", "l/b", "l/c"):
        store.put(name, b"")
    proxy.reset()
    assert [entry.name for entry in store.list_from("l/", "l/b")] == ["l/c"]
    path = proxy.seen[0].request.path.lower()
    assert ("start-after=" in path) == store.capabilities.lists_from_a_name
    assert "startfrom=" not in path  # Azure's own, which some servers ignore


def test_nothing_is_cached(way, store):
    """What another writer creates, replaces or deletes is seen at once, also after a listing."""
    other = open_store(store.root, way.options())
    assert other.client is not store.client
    store.put("l/a", b"1")
    assert [entry.bytes for entry in store.list_from("l/")] == [1]
    other.put("l/a", b"22")
    other.put("l/b", b"")
    assert [(entry.name, entry.bytes) for entry in store.list_from("l/")] == [("l/a", 2), ("l/b", 0)]
    assert (store.stat("l/a").bytes, store.get("l/a", limit=9)) == (2, b"22")
    other.delete_many(["l/a", "l/b"])
    assert list(store.list_from("l/")) == []
    assert (store.stat("l/a"), store.get("l/a", limit=9)) == (None, None)


# ---------------------------------------------------------------- puts whose answers are lost


@pytest.mark.guarantees("S3", "S6")
@pytest.mark.parametrize("fault", AFTER)
def test_a_put_that_was_applied(proxy, store, fault):
    """A put that the server applied, and whose answer was lost, is not told as *exists*: it is our own.

    Only aiohttp, below s3fs and adlfs, sends it again unseen: that much is said by the store's capabilities.
    """
    proxy.reset(nth_put(1, fault))
    answer = store.put_if_absent("a", b"mine")
    assert store.capabilities.resends == (store.backend != "obstore")
    assert answer is (Put.EXISTS if fault == "drop_after" and store.capabilities.resends else Put.UNKNOWN)
    assert len(proxy.seen) == 2
    assert store.get("a", limit=9) == b"mine"
    proxy.reset(nth_put(1, fault))
    assert store.put_if_absent("a", b"other") is not Put.CREATED
    assert store.get("a", limit=9) == b"mine"


@pytest.mark.parametrize("fault", [*BEFORE, "409"])
def test_a_put_that_was_not_applied(proxy, store, fault):
    """A put that did not reach the server is sent again; one that comes late changes nothing."""
    proxy.reset(nth_put(1, fault))
    assert store.put_if_absent("a", b"mine") in (Put.UNKNOWN, Put.CREATED)
    assert store.get("a", limit=9) == b"mine"
    assert len(proxy.seen) >= 3


def test_a_put_that_is_never_answered(proxy, store):
    """A server that stays silent ends as unknown within the time that the user gave, and one try."""
    proxy.reset(lambda request: "hang_before" if request.method == "PUT" else None)
    assert store.put_if_absent("a", b"mine") is Put.UNKNOWN
    assert 2 <= len(proxy.seen) <= 8
    assert store.get("a", limit=9) is None


def test_a_denied_put(proxy, store):
    """A put that is denied at once was not applied, and says so, if nothing below may have sent it before; one that is
    denied after a lost answer is unknown."""
    proxy.reset(nth_put(1, "403"))
    with pytest.raises(StoreError, match="403") as raised:
        store.put_if_absent("a", b"mine")
    assert (raised.value.committed, raised.value.failure) == (
        "unknown" if store.capabilities.resends else "no",
        "denied",
    )
    faults = iter(["500_after", "403"])
    proxy.reset(lambda request: next(faults, None))
    assert store.put_if_absent("b", b"mine") is Put.UNKNOWN


# ---------------------------------------------------------------- reads and listings

READS = {
    "get": lambda store: store.get("l/a", limit=9) == b"12345678",
    "stat": lambda store: store.stat("l/a").bytes == 8,
    "list": lambda store: [entry.name for entry in store.list_from("l/")] == ["l/a"],
    "range": lambda store: store.read_ranges("l/a", [(2, 3)], 8) == [b"345"],
    "file": lambda store: store.open_input("l/a", 8).read() == b"12345678",
}


@pytest.mark.parametrize("fault", [*BEFORE[:4], "cut", "429", "409"])
@pytest.mark.parametrize("read", READS)
def test_reads_are_tried_again(proxy, store, read, fault):
    """A read that fails in passing is asked for again, and is whole."""
    store.put("l/a", b"12345678")
    proxy.reset(proxies.nth(1, fault))
    assert READS[read](store)
    assert len(proxy.seen) >= 2 or (read, fault) == ("stat", "cut")  # a HEAD has no body to cut


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        *itertools.product(("get", "list", "range"), ("403", "404", "500", "hang_before", "drop_before")),
        ("list", "200_before"),  # whatever else is served with 200 is the object: its checksum tells
    ],
)
def test_what_cannot_be_read_is_not_absent(proxy, store, options, read, fault):
    """A store that does not answer, denies, or answers with something else raises: nothing is taken for absent."""
    store.put("l/a", b"12345678")
    hasty = open_store(
        store.root, {**options, "request_timeout": HASTY_SECONDS}
    )  # each of these waits until it is over
    proxy.reset(lambda request: fault)
    with pytest.raises(StoreError) as raised:
        READS[read](hasty)
    assert raised.value.hint
    proxy.reset()
    assert READS[read](store)


def test_a_bucket_that_is_missing(way, options):
    """A bucket that is not there is an error, not an empty place."""
    url = way.fresh_url().replace(BUCKET, "no-such-bucket-here")
    for use in (
        lambda: open_store(url, options).get("a", limit=9),
        lambda: list(open_store(url, options).list_from("")),
        lambda: tx.exists(url, storage_options=options),
        lambda: tx.write(pa.table({"a": [1]}), url, mode="append", storage_options=options),
    ):
        with pytest.raises(StoreError, match=r"NoSuchBucket|ContainerNotFound") as raised:
            use()
        assert "bucket exists" in raised.value.hint


def test_a_server_that_is_not_there(way):
    """An endpoint where nobody listens is told as that, after a few tries."""
    options = {**way.options(f"http://127.0.0.1:{free_port()}"), "request_timeout": REQUEST_SECONDS}
    with pytest.raises(StoreError, match="could not read") as raised:
        tx.exists(way.fresh_url(), storage_options=options)
    assert "endpoint" in raised.value.hint


# ---------------------------------------------------------------- deletes and large files


@pytest.mark.parametrize("fault", [*AFTER, *BEFORE[:4]])
def test_deletes_are_tried_again(proxy, store, fault):
    """A delete whose answer was lost is sent again; what is gone by then is no error."""
    for name in ("a", "b"):
        store.put(name, b"")
    proxy.reset(proxies.nth(1, fault))
    store.delete_many(["a", "b", "no"])
    assert [entry.name for entry in store.list_from("")] == ["probed"]


@pytest.mark.parametrize("fault", ["drop_after", "500_after", "drop_before", "cut"])
@pytest.mark.parametrize("number", [1, 2, 4, 5])  # on S3: begin, two of three parts, complete; on Azure less the first
def test_large_files(way, proxy, store, number, fault):
    """An upload in parts survives the loss of any one of its requests or answers, or fails and leaves nothing.

    On Azure it survives: blocks have the blob's own name, so that no answer carries an id that can be lost.
    """
    body = bytes(range(256)) * (PART_BYTES // 128) + b"tail"
    proxy.reset(proxies.nth(number, fault))
    sink = store.create("large")
    try:
        sink.write(body)
        sink.close()
    except StoreError as error:
        assert (error.committed, way.kind != "azurite") == ("no", True)
        proxy.reset()
        assert store.stat("large") is None
    else:
        assert store.open_input("large", len(body)).read() == body
    proxy.reset()
    if number > 1 or fault.endswith("before"):  # else the server began one whose id nobody knows
        assert not store.client.uploads(store._prefix)


def test_an_aborted_upload(store):
    """An upload that is given up is seen by nobody, and leaves no parts on the server."""
    sink = store.create("large")
    sink.write(b"x" * (3 * PART_BYTES))
    sink.abort()
    assert store.stat("large") is None
    assert [entry.name for entry in store.list_from("")] == ["probed"]
    assert not store.client.uploads(store._prefix)


# ---------------------------------------------------------------- whole calls


@contextmanager
def spoiled(proxy, rule):
    proxy.reset(rule)
    try:
        yield
    finally:
        proxy.reset()


BATCH = pa.table({"id": [7], "v": ["new"]})
CALLS = {
    "append": lambda url, options: tx.write(BATCH, url, mode="append", storage_options=options),
    "upsert": lambda url, options: tx.write(BATCH, url, mode="upsert", keys=["id"], storage_options=options),
}


@pytest.mark.guarantees("S3", "S4", "S5", "S6", "S7")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["500_after", "403"])
def test_any_request_of_a_write_fails(way, proxy, options, call, fault):
    """Whichever request of a write fails: the batch is there once if the write says so, and at most once else.

    What else may befall a request is told by test_sweep.py, which leaves out what no store does in passing.
    """
    for number in itertools.count(1):
        url = way.fresh_url()
        tx.write(pa.table({"id": [1], "v": ["old"]}), url, mode="upsert", keys=["id"], storage_options=options)
        error = None
        with spoiled(proxy, proxies.nth(number, fault)):
            try:
                result = CALLS[call](url, options)
            except TxFilesError as failed:
                error = failed
            met = any(seen.fault for seen in proxy.seen)
        table = tx.Table(url, storage_options=options)
        new = [row for row in table.to_arrow().to_pylist() if row["id"] == 7]
        assert len(new) <= 1
        assert table.to_arrow().num_rows == 1 + len(new)
        if error is None:
            assert (result.committed, result.version, len(new)) == (True, 1, 1)
        else:
            assert not isinstance(error, CorruptTableError), error
            assert error.committed in ("no", "unknown")
            assert new == [] or isinstance(error, CommitStateUnknownError)
            assert fault == "403", error
        if not met:
            assert number > 3
            return


def test_another_commit_between_a_put_and_its_lost_answer(way, proxy):
    """While the answer to our commit is lost another writer commits: both stand, each once."""
    url, options = way.fresh_url(), {**way.options(proxy.url), "request_timeout": 180.0}
    tx.write(pa.table({"id": [0]}), url, mode="append", storage_options=options)
    done = threading.Event()

    def theirs():
        if not done.is_set():
            done.set()
            tx.write(pa.table({"id": [1]}), url, mode="append", storage_options=way.options())

    proxy.actions["theirs"] = theirs
    puts = proxies.nth(1, "theirs", method="PUT", part="_txfiles/log/")
    with spoiled(proxy, puts):
        assert tx.write(pa.table({"id": [2]}), url, mode="append", storage_options=options).version == 2
    assert sorted(tx.Table(url, storage_options=options).to_arrow()["id"].to_pylist()) == [0, 1, 2]


# ---------------------------------------------------------------- secrets

CANARY = "CANARY-7d1e"
CANARY_KEY = "Q0FOQVJZLTdkMWU="
"""The same, as an account's key."""


def with_canaries(way, url):
    """Options that are secrets of each kind, an Azure token in the query of each request among them."""
    if way.kind == "azurite":
        parts = azure_options(url, key=CANARY_KEY)["connection_string"].split(";")
        token = f"SharedAccessSignature=sv=2026-01-01&sp=rwdl&sig={CANARY}%3D"
        found = [{"connection_string": ";".join(parts)}, {"connection_string": ";".join([*parts[:2], token, parts[3]])}]
    else:
        found = [{**way.options(url), **{name: f"{name}-{CANARY}" for name in ("key", "secret", "token")}}]
    if way.backend == "s3fs":
        found[0]["s3_additional_kwargs"] = {"SSECustomerKey": f"sse-{CANARY}"}
    return [{**options, "backend": way.backend, "request_timeout": HASTY_SECONDS} for options in found]


@pytest.mark.guarantees("S19")
@pytest.mark.parametrize("fault", [None, "403", "500", "drop_before", "hang_before", "200_before", "404"])
def test_no_secret_is_told(way, proxy, fault, caplog):
    """A secret in any option comes back in no error, behind no error, in no repr and no log record of ours."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    url = way.fresh_url()
    for options in with_canaries(way, proxy.url):
        proxy.reset(lambda request: fault)
        said = []
        for use in (
            lambda: tx.exists(url, storage_options=options),
            lambda: tx.write(pa.table({"a": [1]}), url, mode="append", storage_options=options),
            lambda: tx.Table(url, storage_options=options),
            lambda: list(open_store(url, options).list_from("")),
        ):
            try:
                said.append(repr(use()))
            except TxFilesError as error:
                said += [told(error), told(pickle.loads(pickle.dumps(error)))]
        if "SharedAccess" in options.get("connection_string", ""):
            assert any(CANARY in seen.request.path for seen in proxy.seen)
        proxy.reset()
        store = open_store(url, options)
        said += [repr(store), str(store), repr(store.client), store.client.identity, repr(store.capabilities)]
        for secret in (CANARY, CANARY_KEY.rstrip("=")):
            assert secret not in "\n".join([*said, caplog.text])


@pytest.mark.guarantees("S19")
def test_no_secret_is_written(way, options):
    """No object of a table, and nothing that the shell prints, has a credential or an endpoint's password in it."""
    url = way.fresh_url()
    tx.write(pa.table({"a": [1]}), url, mode="append", storage_options=options)
    table = tx.Table(url, storage_options=options)
    table.set(checkpoint_interval=2)
    for number in range(3):
        tx.write(pa.table({"a": [number]}), url, mode="append", storage_options=options)
    table.refresh()
    table.vacuum(retain="0s", force=True)
    store = open_store(url, options)
    written = [store.get(entry.name, limit=1 << 20) for entry in store.list_from("")]
    assert len(written) > 8
    assert not any(way.secret.encode() in data for data in written)
    assert way.secret not in repr(table) + repr(table.history())
    down = f"http://user:{CANARY}@127.0.0.1:{free_port()}"
    is_taken = way.backend != "obstore"  # which refuses an endpoint with a password
    for words, code in (
        (way.words(), 0),
        ([*way.words(down), "--storage-option=request_timeout=1"], 14 if is_taken else 2),
    ):
        for verb in ("show", "log", "read"):
            result = CliRunner().invoke(cli, [verb, url, "--json", *words])
            assert CANARY not in result.output
            assert way.secret not in result.output
            assert result.exit_code == code, result.output


@ways([("weed", "s3fs"), ("weed", "obstore"), ("azurite", "adlfs"), ("azurite", "obstore")])
def test_wrong_credentials(way):
    """A server that checks signatures denies a wrong secret: told as that, nothing taken for absent."""
    options = way.options()
    wrong = {"connection_string": options.get("connection_string", "").replace(way.secret, CANARY_KEY)}
    options |= wrong if way.kind == "azurite" else {"secret": f"wrong-{CANARY}"}
    with pytest.raises(StoreError, match=r"403 SignatureDoesNotMatch|403 Auth") as raised:
        tx.exists(way.fresh_url(), storage_options=options)
    assert raised.value.failure == "denied"
    assert "credentials" in raised.value.hint
    assert CANARY not in told(raised.value)
