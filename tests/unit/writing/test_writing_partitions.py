"""Partitions are written side by side, a few files open at a time."""

from __future__ import annotations

import threading
from unittest import mock

import pyarrow as pa

import txfiles as tx
from txfiles.environment import WORKERS
from txfiles.writing.staging import Staging


def test_partitions_are_written_through_the_map(tmp_path):
    """Files of several partitions are written in several threads, a few at a time, and commit in the rows' order."""
    under_way, most, threads, guard = 0, 0, set(), threading.Lock()
    write = Staging.file

    def watched(self, *args, **options):
        nonlocal under_way, most
        with guard:
            under_way += 1
            most = max(most, under_way)
            threads.add(threading.get_ident())
        try:
            return write(self, *args, **options)
        finally:
            with guard:
                under_way -= 1

    rows = pa.table({"p": [n % 40 for n in range(400)], "id": list(range(400))})
    with mock.patch.object(Staging, "file", watched):
        tx.write(rows, tmp_path / "t", mode="append", partition_by=["p"])
    assert threading.get_ident() not in threads
    assert 1 <= most <= WORKERS
    found = tx.Table(tmp_path / "t").to_arrow()
    assert found["p"].to_pylist() == [p for p in range(40) for _ in range(10)]
    assert sorted(found["id"].to_pylist()) == list(range(400))
