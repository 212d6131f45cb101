"""Azure's URLs and storage options: what is taken, what is refused, and what no error repeats."""

from __future__ import annotations

import pickle
import sys

import pytest
from azure.core import exceptions as azure
from azure.core.pipeline.transport import AioHttpTransportResponse

from txfiles.core.messages import redact
from txfiles.errors import InputError, OptionError, StoreError
from txfiles.store import open_store
from txfiles.store.adls import AzureClient, adlfs_options
from txfiles.store.client import Failure
from txfiles.store.objects import ObjectStore

CANARY = "CANARY-7d1e"
KEY = "S0VZLUNBTkFSWQ=="
ACCOUNT = {"account_name": "account", "account_key": KEY}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("ACCOUNT_NAME", "ACCOUNT_KEY", "CONNECTION_STRING", "SAS_TOKEN", "CLIENT_ID", "ANON"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("abfs://lake/a/table", "abfs://lake/a/table"),
        ("ABFSS://lake/table/", "abfs://lake/table"),
        ("az://lake", "abfs://lake"),
        ("abfs://lake@account.dfs.core.windows.net/täble a", "abfs://lake@account.dfs.core.windows.net/täble a"),
        ("abfss://lake@account.blob.core.windows.net/t", "abfs://lake@account.blob.core.windows.net/t"),
    ],
)
@pytest.mark.parametrize("backend", ["adlfs", "obstore"])
def test_containers(url, root, backend):
    """A URL names a container and a prefix, with or without the account; opening it asks nobody."""
    store = open_store(url, {**ACCOUNT, "backend": backend})
    assert isinstance(store, ObjectStore)
    assert (store.root, store.client.backend) == (root, backend)
    assert store.client.identity == "azure account.blob.core.windows.net lake"
    assert redact(root) == root


@pytest.mark.parametrize(
    "url",
    [
        "abfs://",
        "abfs:///t",
        "abfs://Lake/t",
        "abfs://lake/t//u",
        "abfs://lake/../t",
        f"abfs://{CANARY}@account.dfs.core.windows.net/t",
        f"abfs://lake:{CANARY}@account.dfs.core.windows.net/t",
        f"abfs://lake@account.dfs.core.windows.net/t?sig={CANARY}",
        f"abfs://lake@{CANARY}@account.dfs.core.windows.net/t",
        f"abfs://lake@account.dfs.core.windows.net/t@{CANARY}",
        f"az://lake/t?sig={CANARY}",
    ],
)
def test_no_containers(url):
    """A URL without a container, that could leave its place, or that may hold a secret is refused and not repeated."""
    with pytest.raises(InputError) as raised:
        open_store(url, ACCOUNT)
    assert CANARY not in f"{raised.value!r} {raised.value.hint} {raised.value.evidence}"


def test_a_library_that_is_missing(monkeypatch):
    """Without adlfs the error says what to install."""
    monkeypatch.setitem(sys.modules, "txfiles.store.adls", None)
    with pytest.raises(StoreError, match="need the package adlfs") as raised:
        open_store("abfs://lake/table")
    assert raised.value.hint == "pip install 'txfiles[azure]'"


@pytest.mark.parametrize(
    ("bucket", "given", "means"),
    [
        ("lake", ACCOUNT, ACCOUNT),
        ("lake", {"connection_string": "c", "use_listings_cache": True}, {"connection_string": "c"}),
        ("lake", {"azure_storage_account_name": "a", "sas_key": "s"}, {"account_name": "a", "sas_token": "s"}),
        ("lake", {"exclude_cli_credential": True}, {"exclude_cli_credential": True}),
        ("lake", {"anon": "false"}, {"anon": False}),
        ("lake", {"anon": "true"}, {"anon": True}),
        ("lake", {"exclude_cli_credential": "no"}, {"exclude_cli_credential": False}),
        ("lake@a.dfs.core.windows.net", {}, {"account_name": "a"}),
        (
            "lake@a.dfs.core.usgovcloudapi.net",
            {},
            {"account_name": "a", "account_host": "a.blob.core.usgovcloudapi.net"},
        ),
    ],
)
def test_storage_options(bucket, given, means):
    """adlfs' options are taken as they are, those of polars and delta-rs by their meaning, and the URL's account."""
    assert adlfs_options(bucket, given) == means


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"acount_key": CANARY}, "did you mean 'account_key'"),
        ({"asynchronous": CANARY}, "'asynchronous' is not a storage option"),
        ({"backend": CANARY}, "'backend' must be 'obstore' or 'adlfs'"),
        ({"connection_string": f"AccountName=a;{CANARY}"}, "no client for abfs://lake"),
        ({**ACCOUNT, "anon": CANARY}, "'anon' must be true or false"),
        ({"account_name": "a", "credential": 7.5}, "no client for abfs://lake"),
        ({"account_key": CANARY}, "no client for abfs://lake"),
    ],
)
def test_wrong_storage_options(options, told):
    """An option that is unknown, wrong or missing is told by name, never with its value."""
    with pytest.raises(OptionError, match=told) as raised:
        open_store("abfs://lake/table", options)
    assert raised.value.hint or {"backend", "anon"} & set(options)
    assert CANARY not in f"{raised.value!r} {raised.value.hint} {raised.value.evidence} {raised.value.__cause__!r}"


def test_two_accounts():
    """A URL of one account and options of another are refused: nobody knows which was meant."""
    url = "abfs://lake@other.dfs.core.windows.net/t"
    connection = f"AccountName=account;AccountKey={KEY}"
    for options in (ACCOUNT, {"connection_string": connection}, {**ACCOUNT, "backend": "adlfs"}):
        with pytest.raises(OptionError, match="different accounts"):
            open_store(url, options)


def test_request_timeout():
    """Each request is tried once by the SDK, for its share of the time; the user's own times are kept."""
    once = open_store("abfs://lake/t", {**ACCOUNT, "backend": "adlfs", "request_timeout": "9"}).client._once
    assert once == {"connection_timeout": 3.0, "read_timeout": 3.0, "retry_total": 0}
    assert open_store("abfs://lake/t", {**ACCOUNT, "read_timeout": 7}).client._once["read_timeout"] == 7


def test_a_store_pickles(monkeypatch):
    """A store pickles, and opens the same container elsewhere."""
    monkeypatch.setenv("LAKE_SECRET", KEY)
    store = open_store("abfs://lake@account.dfs.core.windows.net/t", {"account_key": "${LAKE_SECRET}"})
    again = pickle.loads(pickle.dumps(store))
    assert (again.root, again.client.identity) == (store.root, store.client.identity)


# ---------------------------------------------------------------- answers


class Answer(AioHttpTransportResponse):
    def __init__(self, status, code=None, reason="r", **headers):
        self.status_code, self.reason = status, reason
        self.headers = {**({"x-ms-error-code": code} if code else {}), **headers}


def answered(status, code=None, kind=azure.HttpResponseError, **more):
    error = kind("m")
    error.response = Answer(status, code, **more)
    return error


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (answered(409, "BlobAlreadyExists", azure.ResourceExistsError), Failure.EXISTS),
        (answered(412, "ConditionNotMet", azure.ResourceModifiedError), Failure.EXISTS),
        (answered(412, "LeaseIdMissing"), Failure.EXISTS),
        (answered(409, "BlobImmutableDueToPolicy", azure.ResourceExistsError), Failure.EXISTS),
        (answered(409, None, azure.ResourceExistsError), Failure.UNDECIDED),
        (answered(409, "ContainerBeingDeleted", azure.ResourceExistsError), Failure.REFUSED),
        (answered(409, "PublicAccessNotPermitted", azure.ResourceExistsError), Failure.DENIED),
        (answered(404, "BlobNotFound", azure.ResourceNotFoundError), Failure.ABSENT),
        (answered(404, "PathNotFound", azure.ResourceNotFoundError), Failure.ABSENT),
        (answered(404, "ContainerNotFound", azure.ResourceNotFoundError), Failure.REFUSED),
        (answered(404, None, azure.ResourceNotFoundError), Failure.REFUSED),
        (answered(416, "InvalidRange"), Failure.SHORT),
        (answered(401, "NoAuthenticationInformation", azure.ClientAuthenticationError), Failure.DENIED),
        (answered(403, "AuthenticationFailed", azure.ClientAuthenticationError), Failure.DENIED),
        (answered(403, "AuthorizationPermissionMismatch"), Failure.DENIED),
        (answered(400, "InvalidBlockList"), Failure.REFUSED),
        (answered(408), Failure.UNCLEAR),
        (answered(429), Failure.THROTTLED),
        (answered(503, "ServerBusy"), Failure.THROTTLED),
        (answered(500, "InternalError"), Failure.UNCLEAR),
        (answered(500, "OperationTimedOut"), Failure.UNCLEAR),
        (answered(502), Failure.UNCLEAR),
        (answered(504), Failure.UNCLEAR),
        (answered(200, kind=azure.DecodeError), Failure.UNCLEAR),
        (answered(501), Failure.UNSUPPORTED),
        (azure.ServiceRequestError("m"), Failure.UNREACHABLE),
        (azure.ServiceRequestTimeoutError("m"), Failure.UNREACHABLE),
        (azure.ServiceResponseError("m"), Failure.UNCLEAR),
        (azure.ServiceResponseTimeoutError("m"), Failure.UNCLEAR),
        (azure.IncompleteReadError("m"), Failure.UNCLEAR),
        (azure.ClientAuthenticationError("m"), Failure.DENIED),
        (OSError("anything"), Failure.UNCLEAR),
    ],
    ids=lambda value: value.value if isinstance(value, Failure) else f"{type(value).__name__}",
)
def test_what_answers_mean(error, means):
    """Every answer of Azure has one meaning: a 409 may say that a name is taken, and a missing container is no 404."""
    assert AzureClient("lake", ACCOUNT, 1.0).failed(error).failure is means


def test_what_is_said_of_an_answer():
    """The server's reason, its wish to wait, and no secret: neither an option's nor the environment's."""
    client = AzureClient("lake", {"account_name": "account", "sas_token": f"?sv=1&sig={CANARY}"}, 1.0)
    failed = client.failed(answered(503, "ServerBusy", reason=f"busy {CANARY}", **{"retry-after": "7"}))
    assert (failed.said, failed.retry_after) == ("503 ServerBusy: busy …", 7.0)


def test_secrets_of_the_environment(monkeypatch):
    """A key that adlfs took from the environment is not shown either."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"AccountName=account;SharedAccessSignature=sig={CANARY}")
    client = AzureClient("lake", {}, 1.0)
    assert client.failed(azure.ServiceRequestError(f"https://h/?sig={CANARY}")).said.endswith("https://h/?…")
