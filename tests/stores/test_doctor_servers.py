"""The doctor on real servers, through each library: sound ones pass, and the one that ignores conditions is refused."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from click.testing import CliRunner

import txfiles as tx
from tests.services.fixtures import fresh_url
from tests.services.servers import make_bucket, s3_options
from txfiles.cli.main import cli
from txfiles.store import open_store, probe


def test_a_sound_server(way):
    """All checks pass, a table at the place can still be read and verified, and no object is left."""
    url, options = way.fresh_url(), way.options()
    tx.write(pa.table({"id": [1, 2]}), url, mode="upsert", keys=["id"], storage_options=options)
    store = open_store(url, options)
    before = sorted(entry.name for entry in store.list_from(""))
    found = tx.doctor(url, storage_options=options)
    assert found.ok, found
    assert {check.status for check in found.checks} == {"ok"}
    assert found.backend == way.backend
    assert sorted(entry.name for entry in store.list_from("")) == before
    checked = tx.verify(url, deep=True, storage_options=options)
    assert (checked.ok, checked.rows) == (True, 2)


def test_a_server_without_conditions(service):
    """rclone is refused for what it does, with exit code 14, and nothing is left there."""
    server = service("rclone")
    make_bucket(server)
    url, options = fresh_url("s3"), {**s3_options(server.url), "backend": "s3fs"}
    words = [
        f"--storage-option={name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in options.items()
    ]
    probe._known.clear()
    answer = CliRunner().invoke(cli, ["doctor", url, "--json", *words])
    assert answer.exit_code == 14, answer.output
    checks = {check["name"]: check for check in json.loads(answer.stdout)["checks"]}
    assert checks["create"]["status"] == "failed"
    assert "cannot create a name exactly once" in checks["create"]["found"]
    assert checks["race"]["status"] == "skipped"
    assert checks["delete"]["status"] == "ok"
    assert list(open_store(url, options).list_from("")) == []


@pytest.mark.parametrize("key", ["nobody"])
def test_credentials_that_are_denied(way, key):
    """Each permission is said to be denied, rather than broken, and no secret is told."""
    if way.kind != "weed":
        pytest.skip("only this server checks credentials")
    options = {**way.options(), "key": key, "secret": "CANARY-of-nobody"}
    found = tx.doctor(way.fresh_url(), storage_options=options)
    status = {check.name: check.status for check in found.checks}
    assert not found.ok
    assert (status["list"], status["create"], status["read"]) == ("denied", "denied", "denied")
    assert "CANARY" not in repr(found)
