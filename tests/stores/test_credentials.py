"""Credentials for S3: where they are found and by which library, how they expire in mid-call, and are never told."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from tests.services import metadata as metadata_servers
from tests.services import proxy as proxies
from tests.services.fixtures import fresh_url, told
from tests.services.servers import KEY, SECRET, s3_options
from txfiles.errors import CommitStateUnknownError, StoreError, TxFilesError
from txfiles.store import open_store, probe, remote
from txfiles.targets.files import target as files_target

pytestmark = [pytest.mark.slow, pytest.mark.guarantees("S5 S7 S19")]

ROWS = pa.table({"id": [1, 2], "v": ["a", "b"]})
MORE = pa.table({"id": [2, 3], "v": ["B", "C"]})
WRONG = "CANARY-wrong-0c4e"
BACKENDS = ("obstore", "s3fs")


@pytest.fixture(autouse=True)
def s3_backends(monkeypatch):
    """Both libraries, as users have them."""
    monkeypatch.setitem(remote.SCHEMES, "s3", remote.S3)


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch, tmp_path):
    """No variables and no files of AWS' tools."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def metadata():
    with metadata_servers.running(lambda _: (KEY, SECRET, "")) as running:
        yield running


# ---------------------------------------------------------------- chains


@dataclass(frozen=True)
class Chain:
    """A way to say who one is. `{…}` in its texts is the endpoint, the key, the secret, or the metadata server.

    Attributes:
        backend: the library that serves then.
        options: storage options.
        env: variables.
        files: in the home folder.
        forced: the other library, if it understands this way as well.
    """

    backend: str
    options: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    forced: str | None = None


PLACE = {"AWS_ENDPOINT_URL": "{endpoint}", "AWS_DEFAULT_REGION": "us-east-1"}
KEYS = "aws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
CONFIG = "region = us-east-1\nendpoint_url = {endpoint}\n"

CHAINS = {
    "options": Chain("obstore", {"key": "{key}", "secret": "{secret}", "endpoint_url": "{endpoint}"}, forced="s3fs"),
    "options, by other names": Chain(
        "obstore",
        {"aws_access_key_id": "{key}", "aws_secret_access_key": "{secret}", "aws_endpoint_url": "{endpoint}"},
        forced="s3fs",
    ),
    "references": Chain(
        "obstore",
        {"key": "${{LAKE_KEY}}", "secret": "${{LAKE_SECRET}}", "endpoint_url": "{endpoint}"},
        {"LAKE_KEY": "{key}", "LAKE_SECRET": "{secret}"},
        forced="s3fs",
    ),
    "environment": Chain(
        "obstore", env={"AWS_ACCESS_KEY_ID": "{key}", "AWS_SECRET_ACCESS_KEY": "{secret}", **PLACE}, forced="s3fs"
    ),
    "options before the environment": Chain(
        "obstore",
        {"key": "{key}", "secret": "{secret}"},
        {"AWS_ACCESS_KEY_ID": "other", "AWS_SECRET_ACCESS_KEY": "other", "AWS_SESSION_TOKEN": "other", **PLACE},
        forced="s3fs",
    ),
    "profile option": Chain(
        "s3fs", {"profile": "lake"}, files={"config": "[profile lake]\n" + CONFIG, "credentials": "[lake]\n" + KEYS}
    ),
    "AWS_PROFILE": Chain(
        "s3fs",
        env={"AWS_PROFILE": "lake"},
        files={"config": "[profile lake]\n" + CONFIG, "credentials": "[lake]\n" + KEYS},
    ),
    "the default profile": Chain("s3fs", files={"credentials": "[default]\n" + CONFIG + KEYS}),
    "files elsewhere": Chain(
        "s3fs",
        env={"AWS_CONFIG_FILE": "{home}/.aws/a", "AWS_SHARED_CREDENTIALS_FILE": "{home}/.aws/b", "AWS_PROFILE": "lake"},
        files={"a": "[profile lake]\n" + CONFIG, "b": "[lake]\n" + KEYS},
    ),
    "container": Chain("s3fs", env={"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{metadata}/container", **PLACE}),
    "machine": Chain("s3fs", env={"AWS_EC2_METADATA_SERVICE_ENDPOINT": "{metadata}", **PLACE}),
}


def settle(chain: Chain, monkeypatch, **facts: str) -> dict[str, Any]:
    """Set the scene of a chain; returns the storage options."""
    home = Path(os.environ["HOME"])
    for name, content in chain.files.items():
        (home / ".aws").mkdir(exist_ok=True)
        (home / ".aws" / name).write_text(content.format(**facts))
    for name, value in chain.env.items():
        monkeypatch.setenv(name, value.format(home=home, **facts))
    return {name: value.format(**facts) for name, value in chain.options.items()}


@pytest.mark.parametrize("name", CHAINS)
def test_credentials_are_found(name, s3, metadata, monkeypatch):
    """Each usual way to give credentials opens a bucket whose server checks signatures, by the library that is named
    here; where both libraries know the way, both mean the same by it."""
    chain = CHAINS[name]
    given = settle(chain, monkeypatch, endpoint=s3("weed").url, key=KEY, secret=SECRET, metadata=metadata.url)
    url = fresh_url()
    tx.write(ROWS, url, mode="append", storage_options=given)
    table = tx.Table(url, storage_options=given)
    assert (table.backend, table.row_count) == (chain.backend, 2)
    assert bool(metadata.issued) == (name in ("container", "machine"))
    if chain.forced:
        table = tx.Table(url, storage_options={**given, "backend": chain.forced})
        assert (table.backend, table.to_arrow()) == (chain.forced, ROWS)


@pytest.mark.parametrize("name", CHAINS)
def test_wrong_credentials(name, s3, monkeypatch, caplog):
    """A wrong secret is denied whichever way it came; the error says what to do, and nobody repeats it."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    chain = CHAINS[name]
    with metadata_servers.running(lambda _: (KEY, WRONG, "")) as wrong:
        given = settle(chain, monkeypatch, endpoint=s3("weed").url, key=KEY, secret=WRONG, metadata=wrong.url)
        for backend in filter(None, (chain.backend, chain.forced)):
            with pytest.raises(StoreError, match="403 SignatureDoesNotMatch") as raised:
                tx.exists(fresh_url(), storage_options={**given, "backend": backend})
            assert raised.value.failure == "denied"
            assert "credentials" in raised.value.hint
            assert WRONG not in told(raised.value) + caplog.text


@pytest.mark.parametrize("way", ["options", "environment", "container", "machine", "profile"])
def test_session_tokens(way, s3, monkeypatch):
    """The token of temporary credentials goes with their key, whichever way they came."""
    with (
        proxies.running(s3("ministack").url) as proxy,
        metadata_servers.running(lambda _: (KEY, SECRET, "T-1")) as meta,
    ):
        chain = {
            "options": Chain("obstore", {"key": KEY, "secret": SECRET, "token": "T-1"}, PLACE, forced="s3fs"),
            "environment": Chain(
                "obstore",
                env={
                    "AWS_ACCESS_KEY_ID": KEY,
                    "AWS_SECRET_ACCESS_KEY": SECRET,
                    "AWS_SESSION_TOKEN": "T-1",
                    **PLACE,
                },
                forced="s3fs",
            ),
            "container": CHAINS["container"],
            "machine": CHAINS["machine"],
            "profile": Chain("s3fs", files={"credentials": f"[default]\n{CONFIG}{KEYS}aws_session_token = T-1\n"}),
        }[way]
        given = settle(chain, monkeypatch, endpoint=proxy.url, key=KEY, secret=SECRET, metadata=meta.url)
        for backend in filter(None, (chain.backend, chain.forced)):
            proxy.reset()
            assert not tx.exists(fresh_url(), storage_options={**given, "backend": backend})
            assert {seen.request.headers.get("x-amz-security-token") for seen in proxy.seen} == {"T-1"}


def test_no_credentials(monkeypatch):
    """Where no way leads to credentials, that is said at once, with what to do."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="NoCredentials") as raised:
        tx.exists("s3://bucket/t", storage_options={"endpoint_url": "http://127.0.0.1:1"})
    assert raised.value.failure == "denied"
    assert "storage_options" in raised.value.hint


@pytest.mark.parametrize(("options", "env"), [({"profile": "nobody"}, {}), ({}, {"AWS_PROFILE": "nobody"})])
def test_a_profile_that_is_not_there(options, env, monkeypatch):
    """A profile that no file has is an error of ours that names it."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TxFilesError, match="nobody"):
        tx.exists("s3://bucket/t", storage_options={**options, "endpoint_url": "http://127.0.0.1:1"})


# ---------------------------------------------------------------- expiry

CALLS: dict[str, Callable[[str, dict[str, Any]], tx.WriteResult]] = {
    "append": lambda url, given: tx.write(
        MORE, url, mode="append", storage_options=given, user_metadata={"who": "mine"}
    ),
    "upsert": lambda url, given: tx.write(
        MORE, url, mode="upsert", storage_options=given, user_metadata={"who": "mine"}
    ),
}
AFTER = {"append": [(1, "a"), (2, "b"), (2, "B"), (3, "C")], "upsert": [(1, "a"), (2, "B"), (3, "C")]}
EXPIRED = ("403 ExpiredToken", "400 ExpiredToken")
"""As some servers say it, and as AWS does."""


@pytest.fixture(scope="module")
def proxy(s3):
    with proxies.running(s3("ministack").url) as running:
        yield running


@pytest.fixture
def cold(monkeypatch):
    """A process that has opened no table, so that a call begins with its reads."""
    monkeypatch.setattr(files_target, "_SNAPSHOTS", None)


Rules = Callable[[int], proxies.Rule]
"""The rule for the n-th table."""


def content(url: str, given: dict[str, Any]) -> list[tuple[int, str]]:
    found = tx.Table(url, storage_options=given).to_arrow()
    return list(zip(found["id"].to_pylist(), found["v"].to_pylist(), strict=True))


def objects(url: str, given: dict[str, Any]) -> set[str]:
    return {entry.name for entry in open_store(url, given).list_from("")}


def expiring(number: int, fault: str, first: str | None) -> proxies.Rule:
    """All is denied from the n-th request on; or from the one after the n-th PUT, which meets `first`."""
    met = 0

    def rule(request: proxies.Request) -> str | None:
        nonlocal met
        met += first is None or request.method == "PUT" or met >= number
        return None if met < number else first if met == number and first else fault

    return rule


def check_expiry(
    call: str, url: Callable[[], str], given: dict[str, Any], good: dict[str, Any], proxy: proxies.Proxy, rule: Rules
) -> set[str]:
    """Make a call on tables whose credentials expire at each of its requests; returns what its errors say of it."""
    words = set()
    for number in itertools.count(1):
        where = url()
        properties = {"vacuum_grace": "0s"}
        tx.write(ROWS, where, mode="upsert", keys=["id"], storage_options=good, properties=properties)
        probe.remember(open_store(where, given).client)
        before = objects(where, good)
        proxy.reset(rule(number))
        result = error = None
        try:
            result = CALLS[call](where, given)
        except TxFilesError as raised:
            error = raised
        met = any(seen.fault for seen in proxy.seen)
        proxy.reset()
        table = tx.Table(where, storage_options=good)
        mine = [one for one in table.history() if one.user_metadata.get("who") == "mine"]
        assert sorted(content(where, good)) == sorted(AFTER[call] if mine else [(1, "a"), (2, "b")])
        if error is None:
            assert (result.committed, len(mine)) == (True, 1)
        else:
            assert isinstance(error, StoreError | CommitStateUnknownError), repr(error)
            assert "ExpiredToken" in error.message
            assert "credentials" in error.hint
            assert "CANARY" not in told(error)
            words.add(error.committed)
            if error.committed == "no":
                assert not mine
            else:
                found = tx.resolve(where, error.commit_id, storage_options=good)
                assert found == tx.Resolution(committed=bool(mine), version=1 if mine else None)
        if not mine:
            table.vacuum("0s", keep_versions=1)
            assert {name for name in objects(where, good) - before if not name.startswith("_txfiles/")} == set()
        if not met:
            assert number > 2
            return words
    raise AssertionError("unreachable")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("first", [None, "drop_after", "500_after"], ids=["", "lost answer", "500"])
def test_credentials_that_expire(backend, call, first, proxy, cold):
    """From whichever request on the credentials have expired, the call ends without a commit, or says that it does not
    know; nothing is damaged, nothing is committed unsaid or twice, and what was staged goes with a later vacuum.

    Also where the request before that was applied and its answer lost: a library that sends it again, unseen, is
    denied then, though the commit stands.
    """
    given = {**s3_options(proxy.url), "token": "CANARY-token-77", "backend": backend, "request_timeout": 9}
    words = check_expiry(
        call,
        fresh_url,
        given,
        s3_options(proxy.upstream),
        proxy,
        lambda number: expiring(number, EXPIRED[number % 2], first),
    )
    assert words == ({"no"} if backend == "obstore" and first is None else {"no", "unknown"})


@pytest.mark.parametrize("call", CALLS)
def test_credentials_that_are_renewed(call, proxy, cold, monkeypatch):
    """Where a container's credentials are renewed in mid-call the call goes on with the new ones."""
    url = fresh_url()
    tx.write(ROWS, url, mode="upsert", keys=["id"], storage_options=s3_options(proxy.upstream))
    with metadata_servers.running(lambda number: (f"key-{number}", SECRET, f"token-{number}")) as meta:
        settle(CHAINS["container"], monkeypatch, endpoint=proxy.url, metadata=meta.url)
        proxy.reset(lambda request: None if issued(request) >= meta.issued - 12 else "403 ExpiredToken")
        assert CALLS[call](url, {}).version == 1
        used = [issued(seen.request) for seen in proxy.seen]
        assert not any(seen.fault for seen in proxy.seen)
        assert len(set(used)) > 3
    proxy.reset()


def issued(request: proxies.Request) -> int:
    """Which of the credentials a request is signed with."""
    assert (
        f"Credential=key-{request.headers['x-amz-security-token'].removeprefix('token-')}/"
        in (request.headers["authorization"])
    )
    return int(request.headers["x-amz-security-token"].removeprefix("token-"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_new_credentials_after_expired_ones(backend, proxy, monkeypatch):
    """Once a store has denied something, the next call looks for credentials again, in files too."""
    url = fresh_url()
    tx.write(ROWS, url, mode="append", storage_options=s3_options(proxy.upstream))
    facts = {"endpoint": proxy.url, "key": KEY, "secret": SECRET, "metadata": ""}
    old = Chain("s3fs", files={"credentials": f"[default]\n{CONFIG}{KEYS}aws_session_token = old\n"})
    new = Chain("s3fs", files={"credentials": f"[default]\n{CONFIG}{KEYS}aws_session_token = new\n"})
    given = {}
    if backend == "obstore":
        old, new = (
            Chain("obstore", {"key": KEY, "secret": SECRET, "token": "${{LAKE_TOKEN}}"}, {**PLACE, "LAKE_TOKEN": word})
            for word in ("old", "new")
        )
    given = settle(old, monkeypatch, **facts)
    proxy.reset(lambda request: "400 ExpiredToken" if request.headers["x-amz-security-token"] == "old" else None)
    with pytest.raises(StoreError, match="ExpiredToken"):
        tx.Table(url, storage_options=given)
    settle(new, monkeypatch, **facts)
    assert tx.Table(url, storage_options=given).row_count == 2
    proxy.reset()
