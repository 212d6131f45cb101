"""Which library serves `s3://` in a test that does not say: s3fs, unless its module overrides the fixture."""

from __future__ import annotations

import pytest

from txfiles.store import remote


@pytest.fixture(autouse=True)
def s3_backends(monkeypatch):
    monkeypatch.setitem(remote.SCHEMES, "s3", (remote.S3FS,))
