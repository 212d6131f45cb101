"""A configuration file whose connection is a database, on real servers."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest

import txfiles as tx
from tests.services.databases import PASSWORD, SERVERS, USER

ROWS = pa.table({"customer_id": [1, 2], "updated_at": [10, 20]})


@pytest.mark.parametrize("kind", SERVERS)
def test_three_runs_write_one_version(kind, sql_url, tmp_path, monkeypatch):
    """User and password stay references, which each use reads: the table pickles, and no text has them."""
    url, _, table = sql_url(kind).partition("?table=")
    monkeypatch.setenv("DB_USER", USER)
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    url = url.replace(f"{USER}:{PASSWORD}@", "${DB_USER}:${DB_PASSWORD}@")
    (tmp_path / "c.yaml").write_text(
        f"connections: {{db: {{url: '{url}'}}}}\n"
        f"write: {{connection: db, format: sql, table: {table}, mode: upsert, keys: customer_id}}\n",
        encoding="utf-8",
    )
    config = tx.load_config(tmp_path / "c.yaml")
    assert [config.write(ROWS).committed for _ in range(3)] == [True, False, False]
    data = pickle.dumps(config.table())
    assert PASSWORD.encode() not in data
    assert PASSWORD not in f"{vars(config)}{config.connections['db'].url}"
    assert pickle.loads(data).to_arrow() == ROWS
