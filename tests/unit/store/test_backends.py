"""Through which library a bucket is reached: obstore where it would do the same as s3fs, and only there."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys

import fsspec.config
import pytest
from botocore.exceptions import ProfileNotFound

from txfiles.errors import OptionError, StoreError
from txfiles.store import obstore_client, obstore_options, open_store, remote
from txfiles.store.client import Failure, denied
from txfiles.store.obstore_client import ObstoreClient

CANARY = "CANARY-2f7a"
ELSEWHERE = ["cn-north-1", "us-iso-east-1", "us-isob-east-1", "eusc-de-east-1", "eu-isoe-west-1", "aws-global", "x"]
"""Regions whose endpoints are not below amazonaws.com, or not known to be."""
WHOLE = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:1"}


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch, tmp_path):
    """No variables and no files of AWS' tools, and no client of the test before."""
    monkeypatch.setattr(remote, "_clients", [])
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SWITCHED_OFF", "false")


@pytest.fixture
def configured(monkeypatch):
    """fsspec's own configuration, as its users' variables and files set it for the time of a test."""
    monkeypatch.setattr(fsspec.config, "conf", {})
    return fsspec.config.conf


def backend(options):
    return open_store("s3://bucket/t", options).client.backend


@pytest.mark.parametrize(
    "options",
    [
        WHOLE,
        {**WHOLE, "token": "t", "request_timeout": 5, "use_listings_cache": False, "profile": None},
        {"aws_access_key_id": "k", "aws_secret_access_key": "s", "aws_region": "eu-central-1"},
        {"client_kwargs": {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "eu-west-1"}},
        {"anon": True, "endpoint": "https://h"},
        {"anon": "true", "endpoint": "https://h"},
        {**WHOLE, "anon": False, "client_kwargs": {}, "config_kwargs": {}},
        {**WHOLE, "anon": "${SWITCHED_OFF}", "client_kwargs": None, "config_kwargs": None},
        {**WHOLE, "endpoint_url": "http://[::1]:9000/s3/"},
    ],
)
def test_options_that_map(options):
    """Credentials and a place that are named are the same to both libraries: obstore is used by itself."""
    assert backend(options) == "obstore"
    assert backend({**options, "backend": "s3fs"}) == "s3fs"


@pytest.mark.parametrize("anon", [True, "true", "${SWITCHED_ON}", False, "False", "0", "${SWITCHED_OFF}"])
def test_a_switch_in_words(anon, monkeypatch):
    """Text for yes or no means what it says, to both libraries: any text that is not empty is a yes to Python."""
    monkeypatch.setenv("SWITCHED_ON", "TRUE")
    on = anon in (True, "true", "${SWITCHED_ON}")
    ours, theirs = (
        open_store("s3://bucket/t", {**WHOLE, "anon": anon, "backend": name}).client for name in ("obstore", "s3fs")
    )
    assert ours._store.config["skip_signature"] == str(on).lower()
    assert theirs._fs.anon is on


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({**WHOLE, "profile": CANARY}, "'profile' has no counterpart"),
        ({**WHOLE, "s3_additional_kwargs": {"SSECustomerKey": CANARY}}, "'s3_additional_kwargs' has no"),
        ({**WHOLE, "config_kwargs": {"proxies": CANARY}}, "'config_kwargs' has no counterpart"),
        ({**WHOLE, "client_kwargs": {"verify": CANARY}}, r"client_kwargs\['verify'\]"),
        ({**WHOLE, "token": b"t"}, "'token' is not text"),
        ({**WHOLE, "endpoint_url": f"htp:/{CANARY}"}, "the endpoint is not a plain"),
        ({**WHOLE, "endpoint_url": f"127.0.0.1:1@{CANARY}"}, "the endpoint is not a plain"),
        ({**WHOLE, "endpoint_url": f"http://user:{CANARY}@h"}, "the endpoint is not a plain"),
        ({**WHOLE, "endpoint_url": f"http://h:1/?{CANARY}"}, "the endpoint is not a plain"),
        ({"key": CANARY, "endpoint_url": "http://h"}, "'key' and 'secret' come together"),
        ({"token": CANARY, "endpoint_url": "http://h"}, "'key' and 'secret' come together"),
        *(({"key": "k", "secret": "s", "region": region}, "an endpoint of its own") for region in ELSEWHERE),
    ],
)
def test_options_that_do_not_map(options, why, caplog):
    """An option that obstore cannot take as s3fs would leaves it to s3fs, and a debug log says why; forced, it is an
    error. Neither shows a value."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    with pytest.raises(OptionError, match=why) as raised:
        open_store("s3://bucket/t", {**options, "backend": "obstore"})
    assert CANARY not in f"{raised.value!r} {raised.value.hint} {raised.value.evidence}"
    if options.get("token") != b"t":
        assert backend(options) == "s3fs"
        assert "obstore is not used for s3://" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("options", "environment", "why"),
    [
        ({}, {}, "looks for credentials in other places"),
        ({"key": "k", "secret": "s"}, {}, "does not find out a bucket's region"),
        ({"key": "k", "secret": "s"}, {"AWS_REGION": "eu-west-1"}, "does not find out a bucket's region"),
        (WHOLE, {"AWS_PROFILE": CANARY}, "reads AWS_PROFILE differently"),
        (WHOLE, {"AWS_SKIP_SIGNATURE": "true"}, "reads AWS_SKIP_SIGNATURE differently"),
        ({**WHOLE, "endpoint_url": "https://h"}, {"AWS_CA_BUNDLE": CANARY}, "reads AWS_CA_BUNDLE differently"),
    ],
)
def test_an_environment_that_differs(options, environment, why, monkeypatch, caplog):
    """What only s3fs finds outside of the options leaves it to s3fs; whoever forces obstore knows."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert backend({**options, "backend": "obstore"}) == "obstore"
    try:
        assert backend(options) == "s3fs"
    except ProfileNotFound:
        assert "AWS_PROFILE" in environment
    assert why in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize("name", ["config", "credentials"])
def test_a_configuration_file(tmp_path, name):
    """A file of AWS' tools may say anything, the one of credentials too: it leaves a bucket to s3fs."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / name).write_text("[default]\nregion = eu-central-1\n")
    assert backend(WHOLE) == "s3fs"


@pytest.mark.parametrize("token", ["", "T"])
def test_the_environment(monkeypatch, token):
    """Credentials, region and endpoint of the environment are taken as botocore takes them; a key of the options
    never goes with a token of the environment."""
    for name, value in (
        ("ACCESS_KEY_ID", "K"),
        ("SECRET_ACCESS_KEY", "S"),
        ("SESSION_TOKEN", token),
        ("DEFAULT_REGION", "r"),
        ("REGION", "other"),
        ("ENDPOINT_URL", "http://general"),
        ("ENDPOINT_URL_S3", "http://special"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    assert backend({}) == "obstore"
    config = obstore_options.config_of({})
    assert (config["region_name"], config["endpoint_url"]) == ("r", "http://special")
    means = {"access_key_id": "K", "secret_access_key": "S", "token": token or None, "expires_at": None}
    assert obstore_options.credentials(config)() == means
    given = obstore_options.credentials(obstore_options.config_of({"key": "k", "secret": "s"}))()
    assert given == {"access_key_id": "k", "secret_access_key": "s", "token": None, "expires_at": None}
    assert obstore_options.credentials(obstore_options.config_of({"anon": True})) is None


def endpoint(options):
    """Where a request goes, and the region that it is signed for, by each library."""
    ours, theirs = (open_store("s3://bucket/t", {**options, "backend": name}).client for name in ("obstore", "s3fs"))
    about = theirs._fs.s3.meta
    return (ours._endpoint, ours._store.config["region"]), (about.endpoint_url, about.region_name)


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        ({"region": "eu-west-1"}, {"AWS_REGION": "eu-central-1"}),
        ({}, {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "ap-south-1"}),
        ({"region": "us-gov-west-1"}, {}),
        ({"endpoint_url": "http://h:1"}, {"AWS_REGION": "eu-central-1"}),
        ({"endpoint_url": "http://h:1", "region": "cn-north-1"}, {}),
    ],
)
def test_the_same_place(options, environment, monkeypatch):
    """Where obstore is used by itself it sends its requests to the endpoint, and signs them for the region, that s3fs
    would: the variable AWS_REGION, which s3fs does not read, changes neither."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = {"key": "k", "secret": "s", **options}
    assert backend(options) == "obstore"
    ours, theirs = endpoint(options)
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1] or (theirs[1] in (None, "aws-global") and ours[1] == "us-east-1")


@pytest.mark.parametrize("protocol", ["s3", "s3a"])
@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_what_fsspec_is_configured_to_do(configured, caplog, protocol, scheme):
    """Options that fsspec's own configuration sets are s3fs' alone: they leave a bucket to it, which follows them, and
    the store says which ones; none is shown. Those of the call go first."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    assert backend(WHOLE) == "obstore"
    configured[protocol] = {"endpoint_url": f"http://{CANARY}:1", "token": CANARY, "config_kwargs": {"user_agent": "u"}}
    store = open_store(f"{scheme}://bucket/t", {"key": "k", "secret": "s"})
    assert store.backend == "s3fs"
    assert store.client._fs.token == CANARY
    assert store.client._fs.s3.meta.config.user_agent.startswith("u")
    assert store.client._fs.s3.meta.config.retries["total_max_attempts"] == 1
    assert "fsspec's configuration sets 'config_kwargs', 'endpoint_url', 'token'" in store.backend_reason
    assert CANARY not in store.backend_reason + caplog.text + store.client.failed(OSError(f"a {CANARY} b")).said
    assert open_store("s3://bucket/t", WHOLE).client._fs.endpoint_url == WHOLE["endpoint_url"]


def test_a_configuration_of_fsspec_that_changes(configured):
    """A client is used again only while fsspec's configuration is the same."""
    first = open_store("s3://bucket/t", {**WHOLE, "backend": "s3fs"}).client
    configured["s3"] = {"requester_pays": True}
    second = open_store("s3://bucket/t", {**WHOLE, "backend": "s3fs"}).client
    assert second is not first
    assert second._fs.req_kw == {"RequestPayer": "requester"}


def test_a_client_that_is_shared(monkeypatch):
    """Whoever chose a library is not told why another was not used, though the one before shares the client."""
    monkeypatch.setenv("AWS_UNKNOWN", "1")
    first = open_store("s3://bucket/t", WHOLE)
    chosen = open_store("s3://bucket/t", {**WHOLE, "backend": "s3fs"})
    assert chosen.client is first.client
    assert "AWS_UNKNOWN" in first.backend_reason
    assert chosen.backend_reason is None


ASKED = """
import sys
from txfiles.store import open_store
store = open_store("s3://bucket/t", {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:1"})
print(store.backend, "fsspec" in sys.modules, store.backend_reason)
"""


@pytest.mark.parametrize(
    ("environment", "files", "said"),
    [
        ({}, {}, "obstore False None"),
        ({"FSSPEC_S3_KEY": CANARY}, {}, "s3fs True not through obstore: fsspec's configuration sets 'key'"),
        ({"FSSPEC_S3": '{"anon": true}'}, {}, "s3fs True not through obstore: fsspec's configuration sets 'anon'"),
        ({}, {"c.json": '{"s3": {"key": "x"}}'}, "s3fs True not through obstore: fsspec's configuration sets 'key'"),
        ({}, {"c.ini": "[s3a]\nkey=x\n"}, "s3fs True not through obstore: fsspec's configuration sets 'key'"),
        ({}, {"c.json": '{"gcs": {"key": "x"}}'}, "obstore True None"),
        ({}, {"c.json": "{"}, "OptionError: the configuration of fsspec cannot be read"),
    ],
)
def test_where_fsspec_is_configured(tmp_path, environment, files, said):
    """Variables and files of fsspec are found where fsspec finds them; it is imported only if there are any."""
    (tmp_path / ".config/fsspec").mkdir(parents=True) if files else None
    for name, text in files.items():
        (tmp_path / ".config/fsspec" / name).write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FSSPEC"))}
    ran = subprocess.run(
        [sys.executable, "-c", ASKED],
        check=False,
        env={**kept, "HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said in ran.stdout + ran.stderr
    assert CANARY not in ran.stdout + ran.stderr


@pytest.mark.parametrize("environment", [{}, {"FSSPEC_S3_KEY": "k"}])
def test_a_configuration_that_nobody_follows(tmp_path, environment):
    """Without fsspec, what would configure it changes nothing."""
    (tmp_path / ".config/fsspec").mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FSSPEC"))}
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['fsspec'] = None\n{ASKED}"],
        check=False,
        env={**kept, "HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.startswith("obstore"), ran.stderr


def test_obstore_is_missing(monkeypatch, caplog):
    """Where obstore is not installed s3fs serves, and a debug log says so; forced, the error says what to install."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    monkeypatch.setitem(sys.modules, "txfiles.store.obstore_client", None)
    monkeypatch.delattr("txfiles.store.obstore_client", raising=False)
    assert backend(WHOLE) == "s3fs"
    assert "cannot be imported" in caplog.text
    with pytest.raises(StoreError, match="need the package obstore") as raised:
        backend({**WHOLE, "backend": "obstore"})
    assert raised.value.hint == "pip install 'txfiles[obstore]'"


def test_files_that_change(monkeypatch, tmp_path):
    """A file of AWS' tools that has changed, or another one, is looked at by the next call."""
    (tmp_path / ".aws").mkdir()
    clients = []
    for word in ("one", "one", "another"):
        if not clients or word != "one":
            (tmp_path / ".aws/credentials").write_text(f"[default]\naws_access_key_id = {word}\n")
        clients.append(open_store("s3://bucket/t", {}).client)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "elsewhere"))
    clients.append(open_store("s3://bucket/t", {}).client)
    assert clients[0] is clients[1]
    assert len(set(map(id, clients))) == 3


def test_a_client_that_was_denied_something():
    """The call after one that was denied looks for credentials again: it gets a client of its own, which is kept."""
    first = open_store("s3://bucket/t", WHOLE).client
    denied.add(first)
    second = open_store("s3://bucket/t", WHOLE).client
    assert second is not first
    assert open_store("s3://bucket/t", WHOLE).client is second


def test_a_forked_process(monkeypatch):
    """obstore's threads stay in the parent: a process that was forked after they began is served by s3fs."""
    monkeypatch.setattr(obstore_client, "_runtime_process", os.getpid() + 1)
    assert backend(WHOLE) == "s3fs"
    monkeypatch.setattr(obstore_client, "_runtime_process", os.getpid())
    assert backend(WHOLE) == "obstore"


def test_pickling(monkeypatch):
    """A client pickles as what it was made of, and shows no secret."""
    monkeypatch.setenv("LAKE_SECRET", CANARY)
    store = open_store("s3://bucket/t", {**WHOLE, "key": "${LAKE_SECRET}", "secret": "${LAKE_SECRET}"})
    again = pickle.loads(pickle.dumps(store))
    assert (again.root, again.client.backend) == (store.root, "obstore")
    assert again.client._config == store.client._config
    for shown in (store, store.client, store.client._store, again, again.client):
        assert CANARY not in f"{shown!r} {shown}"
    assert CANARY not in repr(store.client._store.config)


def test_one_bucket():
    """Both libraries are known to reach the same bucket, which is probed once."""
    ways = [open_store("s3://bucket/t", {**WHOLE, "backend": name}).client for name in ("obstore", "s3fs")]
    assert ways[0].identity == ways[1].identity


# ---------------------------------------------------------------- answers, as obstore tells them


def told(status, code, method="PUT"):
    xml = f"<Error><Code>{code}</Code><Message>m</Message></Error>" if code else ""
    return (
        f"Generic S3 error: Error performing {method} http://h/b/k in 1.5ms - Server returned non-2xx status code: "
        f"{status} Some Reason: {xml}\n\nDebug source:\nGeneric {{ kind: Connect }}"
    )


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (obstore_client.raised.AlreadyExistsError(told(412, "PreconditionFailed")), Failure.EXISTS),
        (obstore_client.raised.AlreadyExistsError(told(409, "ConditionalRequestConflict")), Failure.UNDECIDED),
        (obstore_client.raised.AlreadyExistsError("Object at location a already exists"), Failure.UNCLEAR),
        (FileNotFoundError(told(404, "NoSuchKey")), Failure.ABSENT),
        (FileNotFoundError(told(404, None, "HEAD")), Failure.ABSENT),
        (FileNotFoundError(told(404, None, "GET")), Failure.REFUSED),
        (FileNotFoundError(told(404, "NoSuchBucket")), Failure.REFUSED),
        (FileNotFoundError("whatever"), Failure.UNCLEAR),
        (obstore_client.raised.GenericError(told(416, "InvalidRange")), Failure.SHORT),
        (obstore_client.raised.PermissionDeniedError(told(403, "AccessDenied")), Failure.DENIED),
        (obstore_client.raised.UnauthenticatedError(told(401, "x")), Failure.DENIED),
        (obstore_client.raised.GenericError(told(400, "ExpiredToken")), Failure.DENIED),
        (obstore_client.raised.GenericError(told(429, "TooManyRequests")), Failure.THROTTLED),
        (obstore_client.raised.GenericError(told(503, "SlowDown")), Failure.THROTTLED),
        (obstore_client.raised.GenericError(told(500, "InternalError")), Failure.UNCLEAR),
        (obstore_client.raised.GenericError(told(502, "Odd")), Failure.UNCLEAR),
        (obstore_client.raised.GenericError(told(400, "EntityTooLarge")), Failure.REFUSED),
        (obstore_client.raised.GenericError("HTTP error\n\nDebug source:\nkind: Connect,"), Failure.UNREACHABLE),
        (obstore_client.raised.GenericError("HTTP error\n\nDebug source:\nkind: Timeout,"), Failure.UNCLEAR),
        (obstore_client.raised.GenericError("PUT http://169.254.169.254/latest/api/token"), Failure.DENIED),
        (obstore_client.raised.InvalidPathError("x"), Failure.REFUSED),
        (ValueError("Could not parse path"), Failure.REFUSED),
        (OSError("anything"), Failure.UNCLEAR),
    ],
)
def test_what_answers_mean(error, means):
    """An answer means what its status and code say, whatever obstore raises; without one nothing is decided."""
    failed = ObstoreClient("bucket", WHOLE, 1.0).failed(error)
    assert failed.failure is means
    assert "Debug source" not in failed.said
    assert "None" not in failed.said


def test_what_is_said_of_an_answer():
    """An answer is told with what it said: its status and code, or reason, and its message."""
    client = ObstoreClient("bucket", WHOLE, 1.0)
    said = [client.failed(obstore_client.raised.GenericError(told(503, code))).said for code in ("SlowDown", None)]
    assert said == ["503 SlowDown: m", "503 Some Reason"]


def test_a_server_that_repeats_the_secret(monkeypatch):
    """A server's message is told without any value that may be secret, of the options or of the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k" * 9)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s" * 9)
    client = ObstoreClient("bucket", {}, 1.0)
    said = client.failed(obstore_client.raised.GenericError(told(400, f"a{'s' * 9}b{'k' * 9}c"))).said
    assert said == "400 a…b…c: m"


def test_a_head_without_a_reason_says_nothing_of_the_bucket():
    """A HEAD that is answered by 400 goes to the usual library, once; a redirect sends it there from then on."""
    client = ObstoreClient("bucket", WHOLE, 1.0)
    bare = obstore_client.raised.GenericError(told(400, None, "HEAD"))
    assert client.is_elsewhere(bare)
    assert client.backend == "obstore"
    assert not client.is_elsewhere(obstore_client.raised.GenericError(told(400, "ExpiredToken")))
    assert client.is_elsewhere(obstore_client.raised.GenericError(told(301, "PermanentRedirect")))
    assert client.backend == "s3fs"
