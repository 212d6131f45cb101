"""`txfiles read` streams: it decodes what it prints, and prints what `to_arrow` has."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from reading_counts import counted

import txfiles as tx
from txfiles.cli.main import cli

FILES, ROWS, GROUP = 3, 40, 10


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three files of four row groups."""
    path = tmp_path_factory.mktemp("shell") / "t"
    for number in range(FILES):
        ids = np.arange(number * ROWS, (number + 1) * ROWS)
        rows = pa.table({"id": ids, "name": [f"n{i}" for i in ids]})
        options = {"properties": {"row_group_rows": GROUP}} if number == 0 else {}
        tx.write(rows, path, mode="append", **options)
    return tx.Table(path)


def shell(table, *args):
    """The bytes on stdout, and what was opened and decoded."""
    with counted() as seen:
        found = CliRunner().invoke(cli, ["read", table.path, *args], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout_bytes, seen


@pytest.mark.parametrize("kind", ["csv", "json", "to.csv", "to.parquet"])
@pytest.mark.parametrize(("limit", "opened", "groups"), [(0, 0, 0), (1, 1, 1), (10, 1, 1)])
def test_a_limit_bounds_what_is_decoded(table, tmp_path, kind, limit, opened, groups):
    """`--limit` within the first row group decodes that one, whatever the form of the output."""
    args = {"csv": [], "json": ["--json"]}.get(kind, ["--to", str(tmp_path / kind)])
    _, seen = shell(table, "--limit", str(limit), *args)
    assert (seen["opened"], seen["groups"], seen["closed"]) == (opened, groups, opened)


@pytest.mark.parametrize("limit", [None, 0, 1, 10, 15, 40, 95, 120, 500])
def test_the_output_is_the_first_rows(table, tmp_path, limit):
    """CSV, JSON lines and files hold the first rows of `to_arrow`, across row groups and files."""
    args = [] if limit is None else ["--limit", str(limit)]
    rows = table.to_arrow().slice(0, limit)
    text, _ = shell(table, *args)
    lines = ['"id","name"', *(f'{row["id"]},"{row["name"]}"' for row in rows.to_pylist())]
    assert text.decode().splitlines() == lines
    text, _ = shell(table, "--json", *args)
    assert [json.loads(line) for line in text.splitlines()] == rows.to_pylist()
    for name in ("a.parquet", "a.csv"):
        told, _ = shell(table, "--json", "--to", str(tmp_path / name), *args)
        assert json.loads(told) == {"path": str(tmp_path / name), "rows": rows.num_rows}
    assert pq.read_table(tmp_path / "a.parquet").equals(rows)
    assert (tmp_path / "a.csv").read_text().splitlines() == lines
    if rows.num_rows:
        assert pacsv.read_csv(tmp_path / "a.csv").equals(rows)


def test_filters_and_columns(table):
    """`--where` and `--column` stream likewise."""
    text, seen = shell(table, "--column", "name", "--where", "id", ">=", "55", "--limit", "2")
    assert text.decode().splitlines() == ['"name"', '"n55"', '"n56"']
    assert (seen["opened"], seen["groups"], seen["columns"]) == (1, 1, 2)
