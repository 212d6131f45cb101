"""Secrets planted in options, references, variables and endpoints are sought in all that calls tell, failing or not."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import txfiles as tx
from tests.guarantees import DEEP
from tests.services import proxy as proxies
from tests.services.fixtures import fresh_url, told
from tests.services.servers import free_port
from txfiles.cli.main import cli
from txfiles.errors import OptionError
from txfiles.store import open_store, remote

pytestmark = [pytest.mark.slow, pytest.mark.guarantees("S19")]

CANARY = "CANARY-5b2d"
PLANTED = {"key": f"key-{CANARY}", "secret": f"secret/{CANARY}+=", "token": f"token-{CANARY}"}
ROWS = pa.table({"id": [1, 2]})
REGION = {"client_kwargs": {"region_name": "us-east-1"}}


@pytest.fixture(autouse=True)
def s3_backends(monkeypatch):
    """Both libraries, as users have them."""
    monkeypatch.setitem(remote.SCHEMES, "s3", remote.S3)


@pytest.fixture(scope="module")
def proxy(s3):
    with proxies.running(s3("ministack").url) as running:  # it takes any credentials
        yield running


WAYS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "options": (PLANTED, {}),
    "references": (
        {name: f"${{LAKE_{name}}}" for name in PLANTED},
        {f"LAKE_{name}": value for name, value in PLANTED.items()},
    ),
    "environment": (
        {},
        {
            "AWS_ACCESS_KEY_ID": PLANTED["key"],
            "AWS_SECRET_ACCESS_KEY": PLANTED["secret"],
            "AWS_SESSION_TOKEN": PLANTED["token"],
        },
    ),
    "inner options": ({**PLANTED, "config_kwargs": {"user_agent_extra": f"agent-{CANARY}"}}, {}),
}

LIBRARY: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "exists": lambda url, given: tx.exists(url, storage_options=given),
    "write": lambda url, given: tx.write(ROWS, url, mode="append", storage_options=given),
    "plan": lambda url, given: tx.plan(ROWS, url, mode="append", storage_options=given),
    "input": lambda url, given: tx.plan(f"{url}/in.csv", "elsewhere", mode="append", storage_options=given),
    "open": lambda url, given: tx.Table(url, storage_options=given),
    "read": lambda url, given: tx.Table(url, storage_options=given).to_arrow(),
    "history": lambda url, given: tx.Table(url, storage_options=given).history(),
    "files": lambda url, given: tx.Table(url, storage_options=given).file_table(),
    "set": lambda url, given: tx.Table(url, storage_options=given).set(checkpoint_interval=2),
    "vacuum": lambda url, given: tx.Table(url, storage_options=given).vacuum(retain="0s", force=True),
    "resolve": lambda url, given: tx.resolve(url, "0" * 32, storage_options=given),
    "pickle": lambda url, given: pickle.dumps(tx.Table(url, storage_options=given)),
    "store": lambda url, given: (
        store := open_store(url, given),
        str(store),
        repr(store.client),
        vars(store.client)["_bucket"],
    ),
}
VERBS: dict[str, Callable[[str], list[str]]] = {
    **{verb: lambda url, verb=verb: [verb, url] for verb in ("show", "log", "files", "read", "vacuum")},
    "set": lambda url: ["set", url, "row_group_rows=9"],
    "resolve": lambda url: ["resolve", url, "0" * 32],
    "write": lambda url: ["write", "rows.csv", "--to", url, "--mode", "append"],
    "plan": lambda url: ["plan", "rows.csv", "--to", url, "--mode", "append"],
}
FAULTS = (None, "403", "400 ExpiredToken", "500", "drop_before", "cut", "200_before", "404")
USUAL = {"references": (None, "400 ExpiredToken"), "environment": (None, "400 ExpiredToken"), "inner options": (None,)}
"""What is tried at every change, if the secrets do not come as plain options."""


@contextmanager
def heard(caplog: pytest.LogCaptureFixture, said: list[str]) -> Iterator[None]:
    """Add to `said` all that is told meanwhile, in any way."""
    caplog.clear()
    with warnings.catch_warnings(record=True, action="always") as warned:
        try:
            yield
        except tx.TxFilesError as error:
            said += [told(error), told(pickle.loads(pickle.dumps(error))), "".join(traceback.format_exception(error))]
    said += [caplog.text, *(repr(vars(record)) for record in caplog.records if record.name.startswith("txfiles"))]
    said += [str(one.message) for one in warned]


def words(given: dict[str, Any]) -> list[str]:
    """Storage options for the shell."""
    return [
        word
        for name, value in given.items()
        for word in ("--storage-option", f"{name}={json.dumps(value) if isinstance(value, dict) else value}")
    ]


@pytest.mark.parametrize(
    ("way", "fault"),
    [(way, fault) for way in WAYS for fault in FAULTS if DEEP or way == "options" or fault in USUAL[way]],
)
def test_nothing_is_told(way, fault, proxy, caplog, monkeypatch, tmp_path):
    """Whether a call fails or not, no planted secret is in its result, its error with all that is behind it, a
    traceback, a log record, a warning, a pickle, the output of the shell, or an object of the table."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    planted, env = WAYS[way]
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TXFILES_DEBUG", "1")
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("id\n1\n")
    given = {**planted, "endpoint_url": proxy.url, **REGION}
    url = fresh_url()
    proxy.reset()
    said: list[str] = []
    tx.write(ROWS, url, mode="append", storage_options=given, properties={"checkpoint_interval": 2})
    for _ in range(2):
        tx.write(ROWS, url, mode="append", storage_options=given)
    open_store(url, given).put("in.csv", b"id\n7\n")
    proxy.reset(lambda request: fault)
    given |= {"request_timeout": 0.6} if fault else {}
    for name, call in LIBRARY.items():
        with heard(caplog, said):
            if name == "pickle" and way in ("options", "inner options") and fault is None:
                with pytest.raises(OptionError, match="may be secret: 'key', 'secret'"):
                    call(url, given)
                continue
            result = call(url, given)
            said += [repr(result), str(result), result.decode("latin-1") if isinstance(result, bytes) else ""]
    for number, call in enumerate(VERBS.values()):
        with heard(caplog, said):
            done = CliRunner().invoke(cli, [*call(url), *words(given), *(["--json"] if number % 2 else [])])
            said += [done.stdout, done.stderr]
            assert fault or done.exit_code == 0, done.output
    assert proxy.seen
    if fault is None:
        assert any(
            CANARY in str(seen.request.headers) for seen in proxy.seen
        )  # it was sent, so it was there to be told
    proxy.reset()
    store = open_store(url, {**given, "request_timeout": 30})
    written = [(store.get(entry.name, limit=1 << 20) or b"").decode("latin-1") for entry in store.list_from("")]
    assert len(written) > 6
    for one in (*said, *written):
        assert CANARY not in one
    assert len("".join(said)) > 2_000


@pytest.mark.parametrize("backend", ["s3fs", "obstore"])
@pytest.mark.parametrize(
    "endpoint",
    [
        "http://user:{canary}@127.0.0.1:{port}",
        "http://{canary}@127.0.0.1:{port}",
        "http://127.0.0.1:{port}/?sig={canary}",
        "htp:/{canary}@x",
        "127.0.0.1:{port}@{canary}",
    ],
)
def test_secrets_in_endpoints(endpoint, backend, caplog):
    """An endpoint that holds a password or a signature is not repeated, whatever a library makes of it."""
    caplog.set_level(logging.DEBUG, logger="txfiles")
    url = endpoint.format(canary=CANARY, port=free_port())
    given = {**PLANTED, "endpoint_url": url, **REGION, "request_timeout": 0.3, "backend": backend}
    said: list[str] = []
    for name in ("exists", "write", "open", "store"):
        with heard(caplog, said):
            said.append(repr(LIBRARY[name]("s3://lake/t", given)))
    for more in ([], ["--json"]):
        done = CliRunner().invoke(cli, ["show", "s3://lake/t", *words(given), *more], env={"TXFILES_DEBUG": "1"})
        assert done.exit_code in (2, 14), done.output
        said.append(done.output)
    assert CANARY not in "\n".join(said)


def test_the_list_of_processes(proxy, tmp_path):
    """The shell takes a secret from a variable that its option names: no command line holds it while it runs."""
    url = fresh_url()
    given = {**WAYS["references"][0], "endpoint_url": proxy.url, **REGION}
    proxy.reset(lambda request: "hang_before" if len(proxy.seen) == 0 else None)
    command = [sys.executable, "-m", "txfiles", "log", url, *words({**given, "request_timeout": 9})]
    running = subprocess.Popen(
        command,
        env={**os.environ, **WAYS["references"][1]},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 60
        while not proxy.seen and time.monotonic() < until:
            time.sleep(0.02)
        assert CANARY in str(proxy.seen[0].request.headers)
        assert CANARY not in Path(f"/proc/{running.pid}/cmdline").read_bytes().decode()
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
        proxy.reset()
    assert (running.returncode, out) == (10, ""), err
    assert CANARY not in err
    assert "list of processes" not in err


def test_a_secret_on_the_command_line(proxy, caplog):
    """A secret that stands in the command line all the same is named, with what to write, and not repeated."""
    tx.write(ROWS, url := fresh_url(), mode="append", storage_options={**PLANTED, "endpoint_url": proxy.url, **REGION})
    done = CliRunner().invoke(cli, ["show", url, *words({**PLANTED, "endpoint_url": proxy.url, **REGION})])
    assert done.exit_code == 0, done.output
    assert "value of 'secret' can be seen in the list of processes: write '${NAME}'" in caplog.text
    assert "endpoint_url" not in caplog.text
    for wrong in (f"secret:{CANARY}", f"={CANARY}", f"secret={{{CANARY}"):
        for more in ([], ["--json"]):
            done = CliRunner().invoke(cli, ["show", url, "--storage-option", wrong, *more])
            assert done.exit_code == 2
            assert CANARY not in done.output + caplog.text
