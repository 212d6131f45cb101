"""From what a person writes to a store, and what an error may repeat of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from txfiles.errors import InputError, OptionError, StoreError, TxFilesError, UnsupportedTableError
from txfiles.store import deadline, open_store, remote
from txfiles.store.local import LocalStore
from txfiles.store.memory import MemoryStore
from txfiles.store.object_sink import PART_BYTES
from txfiles.store.objects import ObjectStore
from txfiles.store.s3 import s3fs_options

CANARY = "CANARY-1"


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/data/table", "/data/table"),
        ("/data/table/", "/data/table"),
        (Path("/data/table"), "/data/table"),
        ("file:///data/table", "/data/table"),
        ("FILE:///data/table", "/data/table"),
        ("file://localhost/data/table", "/data/table"),
        ("file:/data/table", "/data/table"),
        ("file:///data/a%20b%23%3F%25", "/data/a b#?%"),
        ("file:///data/%C3%A9", "/data/é"),
        ("/data/a%20b?#", "/data/a%20b?#"),
        ("/data/c:/x", "/data/c:/x"),
    ],
)
def test_local_folders(path, root):
    """A plain path is taken literally, a file URL decoded."""
    store = open_store(path)
    assert isinstance(store, LocalStore)
    assert store.root == root


@pytest.mark.parametrize("path", ["table", "./s3:/x", "a:b", "c:/x", "~", "time 10:30/x"])
def test_relative_paths(path, tmp_path, monkeypatch):
    """A relative path begins in the current folder, colons and tildes included."""
    monkeypatch.chdir(tmp_path)
    assert open_store(path).root == str(tmp_path / path)


def test_memory_stores_are_found_by_name():
    """One name is one store in this process, with or without a slash at the end; another name is another."""
    store = open_store("memory://open-store")
    store.put("a", b"1")
    assert isinstance(store, MemoryStore)
    assert open_store("memory://open-store/") is store
    assert open_store("memory://open-store/sub").get("a", limit=1) is None


@pytest.mark.parametrize(
    "url",
    [
        "gs://b/t",
        "https://host/t",
        "hdfs:///t",
        "dbfs:/t",
        Path("s3://b/t"),
    ],
)
def test_other_stores_are_refused(url):
    """A place that this release does not know is refused, by name, and no folder of that name is made."""
    with pytest.raises(UnsupportedTableError, match="does not support tables at") as raised:
        open_store(url)
    assert str(url) in str(raised.value)
    assert raised.value.hint


def test_a_url_that_pathlib_took_a_slash_from():
    """The error says what became of the URL."""
    with pytest.raises(UnsupportedTableError) as raised:
        open_store(Path("s3://bucket/table"))
    assert "pathlib" in raised.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "s3://KEY:CANARY@bucket/t",
        "s3://KEY:CAN@CANARY@bucket/t",
        "s3://KEY:CANARY/more@bucket/t",
        "s3://KEY:CANARY?more@bucket/t",
        "https://host/t?sig=CANARY",
        "https://host/t?sig=a@CANARY",
        "https://host/t#CANARY",
        "abfss://CANARY@account.dfs.core.windows.net/t",
        "file://u:CANARY@host/t",
        "file:///t?sig=CANARY",
        "memory://u:CANARY@x",
        "memory://x?CANARY",
        "s3:/KEY:CANARY@bucket/t",
    ],
)
def test_credentials_are_not_repeated(url):
    """No part of a secret in a URL comes back in an error."""
    with pytest.raises(TxFilesError) as raised:
        open_store(url)
    assert "CANARY" not in f"{raised.value!r} {raised.value.hint} {raised.value.evidence} {raised.value.__context__!r}"


@pytest.mark.parametrize(
    "path", ["", "memory://", "memory:///", "file://host/t", "file://", "a\0b", "a\ud800b", b"/data", None, 5]
)
def test_malformed(path):
    """What names no folder is the caller's mistake."""
    with pytest.raises(InputError):
        open_store(path)


def test_storage_options():
    """Options that a store would ignore are refused, by name and without their values; none at all is fine."""
    with pytest.raises(OptionError, match="key, secret") as raised:
        open_store("/data/table", {"secret": "CANARY", "key": "CANARY"})
    assert "CANARY" not in f"{raised.value!r} {raised.value.evidence}"
    with pytest.raises(OptionError) as raised:
        open_store("/data/table", "secret=CANARY")
    assert "CANARY" not in f"{raised.value!r} {raised.value.evidence}"
    assert open_store("/data/table", {}).root == open_store("/data/table", None).root


# ---------------------------------------------------------------- buckets


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("s3://bucket/table", "s3://bucket/table"),
        ("S3A://bucket/table/", "s3://bucket/table"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://my.bucket-1/a b/täble%20=x", "s3://my.bucket-1/a b/täble%20=x"),
    ],
)
def test_buckets(url, root):
    """A URL names a bucket and a prefix, taken literally; opening it asks nobody."""
    store = open_store(url, {"endpoint_url": "http://127.0.0.1:1"})
    assert isinstance(store, ObjectStore)
    assert (store.root, store.client.backend) == (root, "s3fs")


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///t", "s3://b/t//u", "s3://b/../t", "s3://b/./t", "s3://b b/t", "s3://-b/t"]
)
def test_no_buckets(url):
    """A URL without a bucket, or with a folder that could leave its place, is the caller's mistake."""
    with pytest.raises(InputError):
        open_store(url)


def test_a_library_that_is_missing(monkeypatch):
    """Without s3fs the error says what to install."""
    monkeypatch.setitem(sys.modules, "txfiles.store.s3", None)
    with pytest.raises(StoreError, match="need the package s3fs") as raised:
        open_store("s3://bucket/table")
    assert raised.value.hint == "pip install 'txfiles[s3]'"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"secrt": CANARY}, "did you mean 'secret'"),
        ({"asynchronous": CANARY}, "'asynchronous' is not a storage option"),
        ({"backend": CANARY}, "'backend' must be 'obstore' or 's3fs'"),
        ({"client_kwargs": CANARY}, "'client_kwargs' must be a mapping"),
        ({"config_kwargs": [CANARY]}, "'config_kwargs' must be a mapping"),
        ({"anon": CANARY}, "'anon' must be true or false"),
        ({"use_ssl": 2}, "'use_ssl' must be true or false"),
        ({"request_timeout": CANARY}, "'request_timeout' is a number of seconds"),
        ({"request_timeout": 0}, "'request_timeout' is a number of seconds"),
        ({"request_timeout": True}, "'request_timeout' is a number of seconds"),
        ({"request_timeout": "inf"}, "'request_timeout' is a number of seconds"),
    ],
)
def test_wrong_storage_options(options, told):
    """An option that is unknown or wrong is refused by name, with the nearest one, never with its value."""
    with pytest.raises(OptionError, match=told) as raised:
        open_store("s3://bucket/table", options)
    assert CANARY not in f"{raised.value!r} {raised.value.hint} {raised.value.evidence}"


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ({"key": "k", "secret": "s", "token": "t"}, {"key": "k", "secret": "s", "token": "t"}),
        ({"aws_access_key_id": "k", "aws_secret_access_key": "s"}, {"key": "k", "secret": "s"}),
        ({"aws_region": "eu"}, {"client_kwargs": {"region_name": "eu"}}),
        (
            {"region": "eu", "client_kwargs": {"verify": False}},
            {"client_kwargs": {"region_name": "eu", "verify": False}},
        ),
        ({"endpoint": "http://h", "use_listings_cache": True}, {"endpoint_url": "http://h"}),
        ({"anon": "false", "config_kwargs": None, "client_kwargs": None}, {"anon": False}),
        ({"region": "eu", "client_kwargs": None}, {"client_kwargs": {"region_name": "eu"}}),
        ({"anon": True, "profile": "p", "config_kwargs": {}}, {"anon": True, "profile": "p", "config_kwargs": {}}),
    ],
)
def test_storage_options_of_s3(given, means):
    """s3fs' options are taken as they are, those of polars and delta-rs by their meaning; nothing turns caches on."""
    assert s3fs_options(given) == means


def test_request_timeout():
    """The time for a request is shared by its tries, and the shell may give it as text."""
    store = open_store("s3://bucket/t", {"request_timeout": "9"})
    assert store.client._answer_seconds == 3.0
    assert store.client._fs.config_kwargs["read_timeout"] == deadline.seconds(3.0, PART_BYTES)
    assert store.client._fs.config_kwargs["retries"] == {"total_max_attempts": 1}
    assert store.client._fs.retries == 1


def test_clients_are_used_again(monkeypatch):
    """The same bucket with the same options and environment has one client, which keeps its connections."""
    options = {"endpoint_url": "http://127.0.0.1:1", "key": "k", "secret": "s", "backend": "s3fs"}
    first = open_store("s3://bucket/t", options).client
    assert open_store("s3://bucket/u", {**options}).client is first
    assert open_store("s3://bucket/u", {**options, "backend": "obstore"}).client is not first
    for url, given in (("s3://other/t", options), ("s3://bucket/t", {**options, "secret": "S"}), ("s3://bucket/t", {})):
        assert open_store(url, given).client is not first
    monkeypatch.setenv("AWS_PROFILE", "p")
    assert open_store("s3://bucket/t", options).client is not first
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setattr(remote, "CLIENT_SECONDS", 0.0)
    assert open_store("s3://bucket/t", options).client is not first
