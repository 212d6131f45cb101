"""A configuration file whose connection is a bucket, on a real server."""

from __future__ import annotations

import pyarrow as pa
import pytest

import txfiles as tx
from tests.services import servers
from tests.services.fixtures import fresh_url

pytestmark = pytest.mark.slow

ROWS = pa.table({"customer_id": [1, 2], "updated_at": [10, 20]})
TEXT = """
connections:
  my_datalake:
    url: "%s"
    storage_options: {endpoint_url: "http://${LAKE_HOST}", key: "${LAKE_KEY}", secret: "${LAKE_SECRET}"}
write:
  connection: my_datalake
  format: %s
  path: "silver/customers"
  mode: upsert
  keys: ["customer_id"]
  dedup_strategy: "newest_wins"
  timestamp_col: "updated_at"
"""


@pytest.mark.parametrize("format_name", ["delta", "parquet"])
def test_the_block_runs_as_it_stands(s3, tmp_path, monkeypatch, format_name):
    """Three runs to the same table commit one version, with credentials that the environment has."""
    monkeypatch.setenv("LAKE_HOST", s3("ministack").url.removeprefix("http://"))
    monkeypatch.setenv("LAKE_KEY", servers.KEY)
    monkeypatch.setenv("LAKE_SECRET", servers.SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    (tmp_path / "pipeline.yaml").write_text(TEXT % (fresh_url(), format_name), encoding="utf-8")
    runs = [tx.load_config(tmp_path / "pipeline.yaml").write(ROWS) for _ in range(3)]
    assert [(one.committed, one.version, one.rows_unchanged) for one in runs] == [(True, 0, 0), *[(False, 0, 2)] * 2]
    table = tx.load_config(tmp_path / "pipeline.yaml").table()
    assert (table.row_count, table.version, table.format) == (2, 0, format_name)
    assert all("/silver/customers/" in file for file in table.files())
