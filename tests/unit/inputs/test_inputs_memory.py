"""What a write holds of an input that it has put on disk does not grow with the input."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import txfiles as tx
from txfiles import batch
from txfiles.writing import staging
from txfiles.writing.datafile import DataFileWriter

STATUS = Path("/proc/self/status")
STEP = 10_000

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells what is held of mapped files")


def held() -> int:
    """Bytes of mapped files that count as memory of this process."""
    return int(re.search(r"RssFile:\s+(\d+) kB", STATUS.read_text())[1]) * 1024


def chunks(count):
    for first in range(0, count * STEP, STEP):
        ids = np.arange(first, first + STEP)
        yield pa.table({"id": ids, **{name: ids + number for number, name in enumerate("abcdefgh")}})


@pytest.mark.parametrize("count", [60, 120])
def test_pages_that_were_read_are_let_go(count, tmp_path, monkeypatch):
    """At no piece that is written is more mapped than a few pieces."""
    monkeypatch.setattr(staging, "SLICE_ROWS", STEP)
    monkeypatch.setattr(batch, "CHECKED_ROWS", STEP)
    found, write = [], DataFileWriter.write
    monkeypatch.setattr(DataFileWriter, "write", lambda self, piece: write(self, piece) or found.append(held()))
    tx.write(chunks(1), tmp_path / "first", mode="append")  # libraries that are loaded are mapped, too
    gc.collect()
    before = held()
    found.clear()
    result = tx.write(chunks(count), tmp_path / "t", mode="append")
    assert (result.rows_inserted, len(found)) == (count * STEP, count)
    assert max(found) - before < 20 * STEP * 9 * 8 < count * STEP * 9 * 8 / 2
