"""S3 that fails: what the client makes of each answer, and tables behind a proxy that spoils requests.

Each trap that s3fs, botocore and the servers set was met in practice, and has a test here.
"""

from __future__ import annotations

import itertools
import logging
import pickle
import threading
from contextlib import contextmanager

import pyarrow as pa
import pytest
from botocore import exceptions as boto
from click.testing import CliRunner
from s3fs.errors import translate_boto_error

import txfiles as tx
from tests.services import proxy as proxies
from tests.services.fixtures import S3_KINDS, fresh_prefix, fresh_url, told
from tests.services.servers import BUCKET, free_port, s3_options
from txfiles.cli.main import cli
from txfiles.errors import CommitStateUnknownError, CorruptTableError, StoreError, TxFilesError
from txfiles.store import open_store
from txfiles.store.client import Failure
from txfiles.store.object_sink import PART_BYTES
from txfiles.store.objects import ObjectStore
from txfiles.store.patience import Patience
from txfiles.store.port import Put
from txfiles.store.s3 import S3Client

REQUEST_SECONDS = 3.0
AFTER = ("drop_after", "500_after", "503_after", "hang_after")
"""The server has done it, and the answer is lost."""
BEFORE = ("drop_before", "500_before", "503_before", "hang_before", "200_before", "late")
"""Nothing has reached the server, or not yet."""


@pytest.fixture(scope="module", params=S3_KINDS)
def proxy(request, s3):
    with proxies.running(s3(request.param).url) as running:
        yield running


@pytest.fixture(scope="module")
def client(proxy):
    return S3Client(BUCKET, s3_options(proxy.url), REQUEST_SECONDS / 3)


@pytest.fixture
def store(proxy, client):
    store = ObjectStore(client, fresh_prefix(), patience=Patience(REQUEST_SECONDS))
    store.put_if_absent("probed", b"")
    proxy.reset()
    return store


def nth_put(number, fault):
    return proxies.nth(number, fault, method="PUT")


# ---------------------------------------------------------------- answers, as botocore tells them


def answered(code, status, operation="PutObject", **said):
    error = boto.ClientError(
        {"Error": {"Code": code, "Message": "m", **said}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation
    )
    return translate_boto_error(error)


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (answered("PreconditionFailed", 412, Condition="If-None-Match"), Failure.EXISTS),  # AWS: FileExistsError
        (answered("PreconditionFailed", 412), Failure.EXISTS),  # others: OSError 22
        (answered("ConditionalRequestConflict", 409), Failure.UNDECIDED),
        (answered("OperationAborted", 409), Failure.UNDECIDED),
        (answered("NoSuchKey", 404), Failure.ABSENT),
        (answered("404", 404, "HeadObject"), Failure.ABSENT),
        (answered("404", 404, "GetObject"), Failure.REFUSED),
        (answered("NoSuchBucket", 404), Failure.REFUSED),
        (answered("NoSuchUpload", 404), Failure.ABSENT),
        (answered("InvalidRange", 416), Failure.SHORT),
        (answered("AccessDenied", 403), Failure.DENIED),
        (answered("403", 403, "HeadObject"), Failure.DENIED),
        (answered("ExpiredToken", 400), Failure.DENIED),
        (answered("InvalidToken", 400), Failure.DENIED),
        (answered("SignatureDoesNotMatch", 403), Failure.DENIED),
        (answered("RequestTimeTooSkewed", 403), Failure.DENIED),
        (answered("SlowDown", 503), Failure.THROTTLED),
        (answered("ServiceUnavailable", 503), Failure.THROTTLED),
        (answered("TooManyRequests", 429), Failure.THROTTLED),
        (answered("RequestTimeout", 400), Failure.UNCLEAR),
        (answered("InternalError", 200), Failure.UNCLEAR),
        (answered("InternalError", 500), Failure.UNCLEAR),
        (answered("Odd", 502), Failure.UNCLEAR),
        (answered("Odd", 504), Failure.UNCLEAR),
        (answered("EntityTooLarge", 400), Failure.REFUSED),
        (answered("PermanentRedirect", 301), Failure.REFUSED),
        (answered("NotImplemented", 501), Failure.REFUSED),
        (boto.EndpointConnectionError(endpoint_url="http://x"), Failure.UNREACHABLE),
        (boto.ConnectTimeoutError(endpoint_url="http://x"), Failure.UNREACHABLE),
        (boto.ReadTimeoutError(endpoint_url="http://x"), Failure.UNCLEAR),
        (boto.ConnectionClosedError(endpoint_url="http://x"), Failure.UNCLEAR),
        (boto.HTTPClientError(error="x"), Failure.UNCLEAR),
        (boto.NoCredentialsError(), Failure.DENIED),
        (boto.CredentialRetrievalError(provider="p", error_msg="e"), Failure.DENIED),
        (boto.ParamValidationError(report="r"), Failure.REFUSED),
        (OSError("anything"), Failure.UNCLEAR),
    ],
    ids=lambda value: value.value if isinstance(value, Failure) else f"{type(value).__name__}",
)
def test_what_answers_mean(error, means):
    """Every answer of S3 has one meaning, whatever s3fs raises for it; a missing bucket is not an absent key."""
    assert S3Client(BUCKET, {}, 1.0).failed(error).failure is means


# ---------------------------------------------------------------- one request a verb

slow = pytest.mark.slow


@slow
@pytest.mark.parametrize(
    ("use", "requests"),
    [
        (lambda store: store.get("a", limit=9), ["GET"]),
        (lambda store: store.get("no", limit=9), ["GET"]),
        (lambda store: store.stat("a"), ["HEAD"]),
        (lambda store: store.stat("no"), ["HEAD"]),
        (lambda store: store.put("b", b""), ["PUT"]),
        (lambda store: store.put_if_absent("c", b""), ["PUT"]),
        (lambda store: store.put_if_absent("a", b""), ["PUT"]),
        (lambda store: list(store.list_from("")), ["GET"]),
        (lambda store: list(store.list_from("", "a")), ["GET"]),
        (lambda store: store.delete_many(["d", "e", "f"]), ["POST"]),
        (lambda store: store.read_ranges("a", [(0, 1)], 3), ["GET"]),
        (lambda store: store.open_input("a", 3), []),
        (lambda store: store.open_input("a", 3).read(), ["GET"]),
        (lambda store: store.create("s").close(), ["PUT"]),
        (lambda store: store.now_us(), ["HEAD"]),
    ],
)
def test_one_request(proxy, store, use, requests):
    """Each verb is one request, also for what is not there."""
    store.put("a", b"123")
    proxy.reset()
    use(store)
    assert [seen.request.method for seen in proxy.seen] == requests


@slow
def test_the_condition_is_sent(proxy, store):
    """A conditional put carries its header: s3fs drops words that it does not know without a word."""
    store.put_if_absent("a", b"1")
    store.put("b", b"1")
    assert [seen.request.headers.get("if-none-match") for seen in proxy.seen] == ["*", None]


@slow
def test_a_put_does_not_wait_for_leave(proxy, store):
    """A put sends its body at once, not after the server has said that it may: that is a round trip."""
    store.put("a", b"1")
    sink = store.create("b")
    sink.write(b"1")
    sink.close()
    assert ["expect" in seen.request.headers for seen in proxy.seen] == [False, False]


@slow
def test_a_listing_begins_at_a_name(proxy, store):
    """What lies before a name is not asked for."""
    for name in ("l/a", "l/b", "l/c"):
        store.put(name, b"")
    proxy.reset()
    assert [entry.name for entry in store.list_from("l/", "l/b")] == ["l/c"]
    assert "start-after=" in proxy.seen[0].request.path


@slow
def test_pages(proxy, store, monkeypatch):
    """A listing is one request a page, and a page that nobody needs is not asked for."""
    for number in range(5):
        store.put(f"l/{number}", b"")
    proxy.reset()
    call = store.client._call
    monkeypatch.setattr(store.client, "_call", lambda method, **given: call(method, MaxKeys=2, **given))
    assert next(store.list_from("l/")).name == "l/0"
    assert len(proxy.seen) == 1
    assert [entry.name for entry in store.list_from("l/")] == [f"l/{number}" for number in range(5)]
    assert len(proxy.seen) == 1 + 3


@slow
def test_nothing_is_cached(store, s3_client):
    """What another writer creates, replaces or deletes is seen at once, also after a listing."""
    other = ObjectStore(S3Client(BUCKET, store.client._options, 1.0), store._prefix[:-1])
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


@slow
@pytest.mark.guarantees("S3", "S6")
@pytest.mark.parametrize("fault", AFTER)
def test_a_put_that_was_applied(proxy, store, fault):
    """A put that the server applied, and whose answer was lost, is not told as *exists*: it is our own.

    Only aiohttp, below all others, sends it again unseen: that much is said by the store's capabilities.
    """
    proxy.reset(nth_put(1, fault))
    answer = store.put_if_absent("a", b"mine")
    assert answer is (Put.EXISTS if fault == "drop_after" else Put.UNKNOWN)
    assert store.capabilities.resends
    assert len(proxy.seen) == 2
    assert store.get("a", limit=9) == b"mine"
    proxy.reset(nth_put(1, fault))
    assert store.put_if_absent("a", b"other") is not Put.CREATED
    assert store.get("a", limit=9) == b"mine"


@slow
@pytest.mark.parametrize("fault", [*BEFORE, "409"])
def test_a_put_that_was_not_applied(proxy, store, fault):
    """A put that did not reach the server is sent again; one that comes late changes nothing."""
    proxy.reset(nth_put(1, fault))
    assert store.put_if_absent("a", b"mine") in (Put.UNKNOWN, Put.CREATED)
    assert store.get("a", limit=9) == b"mine"
    assert len(proxy.seen) >= 3


@slow
def test_a_put_that_is_never_answered(proxy, store):
    """A server that stays silent ends as unknown within the time that the user gave, and one try."""
    proxy.reset(lambda request: "hang_before" if request.method == "PUT" else None)
    assert store.put_if_absent("a", b"mine") is Put.UNKNOWN
    assert 2 <= len(proxy.seen) <= 8
    assert store.get("a", limit=9) is None


@slow
def test_a_denied_put(proxy, store):
    """A put that is denied at once was not applied, and says so, if nothing below may have sent it before; one that is
    denied after a lost answer is unknown."""
    proxy.reset(nth_put(1, "403"))
    with pytest.raises(StoreError, match="403 AccessDenied") as raised:
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


@slow
@pytest.mark.parametrize("fault", [*AFTER, *BEFORE[:4], "cut", "429", "409"])
@pytest.mark.parametrize("read", READS)
def test_reads_are_tried_again(proxy, store, read, fault):
    """A read that fails in passing is asked for again, and is whole."""
    store.put("l/a", b"12345678")
    proxy.reset(proxies.nth(1, fault))
    assert READS[read](store)
    assert len(proxy.seen) >= 2 or (read, fault) == ("stat", "cut")  # a HEAD has no body to cut


@slow
@pytest.mark.parametrize(
    ("read", "fault"),
    [
        *itertools.product(("get", "list", "range"), ("403", "404", "500", "hang_before", "drop_before")),
        ("list", "200_before"),  # whatever else is served with 200 is the object: its checksum tells
    ],
)
def test_what_cannot_be_read_is_not_absent(proxy, store, read, fault):
    """A store that does not answer, denies, or answers with something else raises: nothing is taken for absent."""
    store.put("l/a", b"12345678")
    proxy.reset(lambda request: fault)
    with pytest.raises(StoreError) as raised:
        READS[read](store)
    assert raised.value.hint
    proxy.reset()
    assert READS[read](store)


@slow
def test_a_bucket_that_is_missing(proxy):
    """A bucket that is not there is an error, not an empty place."""
    url = "s3://no-such-bucket-here/t"
    options = {**s3_options(proxy.url), "request_timeout": REQUEST_SECONDS}
    for use in (
        lambda: open_store(url, options).get("a", limit=9),
        lambda: list(open_store(url, options).list_from("")),
        lambda: tx.exists(url, storage_options=options),
        lambda: tx.write(pa.table({"a": [1]}), url, mode="append", storage_options=options),
    ):
        with pytest.raises(StoreError, match="NoSuchBucket") as raised:
            use()
        assert "bucket exists" in raised.value.hint


@slow
def test_a_server_that_is_not_there():
    """An endpoint where nobody listens is told as that, after a few tries."""
    options = {**s3_options(f"http://127.0.0.1:{free_port()}"), "request_timeout": REQUEST_SECONDS}
    with pytest.raises(StoreError, match="could not read") as raised:
        tx.exists(fresh_url(), storage_options=options)
    assert "endpoint" in raised.value.hint


# ---------------------------------------------------------------- deletes and large files


@slow
@pytest.mark.parametrize("fault", [*AFTER, *BEFORE[:4]])
def test_deletes_are_tried_again(proxy, store, fault):
    """A delete whose answer was lost is sent again; what is gone by then is no error."""
    for name in ("a", "b"):
        store.put(name, b"")
    proxy.reset(proxies.nth(1, fault))
    store.delete_many(["a", "b", "no"])
    assert [entry.name for entry in store.list_from("")] == ["probed"]


@slow
@pytest.mark.parametrize("fault", ["drop_after", "500_after", "drop_before", "cut"])
@pytest.mark.parametrize("number", range(1, 6))
def test_large_files(proxy, store, number, fault):
    """An upload in parts survives the loss of any one of its requests or answers, or fails and leaves nothing."""
    body = bytes(range(256)) * (PART_BYTES // 128) + b"tail"
    proxy.reset(proxies.nth(number, fault))
    sink = store.create("large")
    try:
        sink.write(body)
        sink.close()
    except StoreError as error:
        assert error.committed == "no"
        proxy.reset()
        assert store.stat("large") is None
    else:
        assert store.open_input("large", len(body)).read() == body
    proxy.reset()
    if number > 1 or fault.endswith("before"):  # else the server began one whose id nobody knows
        found = store.client._call("list_multipart_uploads", Prefix=store._prefix).get("Uploads", [])
        assert found == []


@slow
def test_an_aborted_upload(store):
    """An upload that is given up leaves no parts on the server."""
    sink = store.create("large")
    sink.write(b"x" * (3 * PART_BYTES))
    sink.abort()
    assert store.stat("large") is None
    assert store.client._call("list_multipart_uploads", Prefix=store._prefix).get("Uploads", []) == []


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
    "append_once": lambda url, options: tx.write(BATCH, url, mode="append_once", keys=["id"], storage_options=options),
}


@slow
@pytest.mark.guarantees("S3", "S4", "S5", "S6", "S7")
@pytest.mark.parametrize(
    ("call", "fault"),
    [
        *(
            ("append", fault)
            for fault in ("drop_after", "500_after", "drop_before", "503_before", "cut", "late", "403")
        ),
        *((call, fault) for call in ("upsert", "append_once") for fault in ("drop_after", "403")),
    ],
)
@pytest.mark.parametrize("proxy", ["ministack"], indirect=True)
def test_any_request_of_a_write_fails(proxy, call, fault):
    """Whichever request of a write fails: the batch is there once if the write says so, and at most once else."""
    options = {**s3_options(proxy.url), "request_timeout": REQUEST_SECONDS}
    for number in itertools.count(1):
        url = fresh_url()
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


@slow
def test_another_commit_between_a_put_and_its_lost_answer(proxy):
    """While the answer to our commit is lost another writer commits: both stand, each once."""
    url, options = fresh_url(), {**s3_options(proxy.url), "request_timeout": 180.0}
    tx.write(pa.table({"id": [0]}), url, mode="append", storage_options=options)
    done = threading.Event()

    def theirs():
        if not done.is_set():
            done.set()
            tx.write(pa.table({"id": [1]}), url, mode="append", storage_options=s3_options(proxy.upstream))

    proxy.actions["theirs"] = theirs
    puts = proxies.nth(1, "theirs", method="PUT", part="_txfiles/log/")
    with spoiled(proxy, puts):
        assert tx.write(pa.table({"id": [2]}), url, mode="append", storage_options=options).version == 2
    assert sorted(tx.Table(url, storage_options=options).to_arrow()["id"].to_pylist()) == [0, 1, 2]


# ---------------------------------------------------------------- secrets

CANARY = "CANARY-7d1e"


@slow
@pytest.mark.guarantees("S19")
@pytest.mark.parametrize("fault", [None, "403", "500", "drop_before", "hang_before", "200_before", "404"])
def test_no_secret_is_told(proxy, fault, caplog):
    """A secret in any option comes back in no error, behind no error, in no repr and no log record of ours."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    options = {
        **s3_options(proxy.url),
        "key": f"key-{CANARY}",
        "secret": f"secret-{CANARY}",
        "token": f"token-{CANARY}",
        "s3_additional_kwargs": {"SSECustomerKey": f"sse-{CANARY}"},
        "request_timeout": 1.0,
    }
    url = fresh_url()
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
    proxy.reset()
    store = open_store(url, options)
    said += [repr(store), str(store), repr(store.client), repr(store.capabilities), caplog.text]
    assert CANARY not in "\n".join(said)


@slow
@pytest.mark.guarantees("S19")
@pytest.mark.parametrize("proxy", ["ministack"], indirect=True)  # it takes any credentials
def test_no_secret_is_written(proxy, tmp_path):
    """No object of a table, and nothing that the shell prints, has a credential or an endpoint's password in it."""
    url, options = fresh_url(), {**s3_options(proxy.url), "key": f"key-{CANARY}", "secret": f"secret-{CANARY}"}
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
    assert not any(CANARY.encode() in data for data in written)
    assert CANARY not in repr(table) + repr(table.history())
    secret = [
        "--storage-option",
        f"secret=secret-{CANARY}",
        "--storage-option",
        f"endpoint_url={options['endpoint_url']}",
    ]
    down = ["--storage-option", f"endpoint_url=http://user:{CANARY}@127.0.0.1:{free_port()}"]
    for more in (secret, [*down, "--storage-option", "request_timeout=1"]):
        for verb in ("show", "log", "read"):
            result = CliRunner().invoke(cli, [verb, url, "--json", *more, "--storage-option", f"key=key-{CANARY}"])
            assert CANARY not in result.output
            assert result.exit_code == (0 if more is secret else 14), result.output


@slow
@pytest.mark.guarantees("S19")
def test_a_server_that_repeats_the_secret():
    """A server's message is told without any value of an option that may be secret."""
    client = S3Client(BUCKET, {"key": "k" * 9, "secret": "s" * 9, "client_kwargs": {"x": "y" * 9}}, 1.0)
    failed = client.failed(answered("InvalidToken", 400, Message=f"a{'k' * 9}b{'s' * 9}c{'y' * 9}d"))
    assert failed.said == "400 InvalidToken: a…b…c…d"


@slow
def test_wrong_credentials(s3):
    """A server that checks signatures denies a wrong secret: told as that, nothing taken for absent."""
    options = {**s3_options(s3("weed").url), "secret": f"wrong-{CANARY}"}
    with pytest.raises(StoreError, match="403 SignatureDoesNotMatch") as raised:
        tx.exists(fresh_url(), storage_options=options)
    assert raised.value.failure == "denied"
    assert "credentials" in raised.value.hint
    assert CANARY not in told(raised.value)
