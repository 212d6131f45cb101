"""What each way to read opens and decodes, on a table of n files and of 2n: what need not grow does not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from reading_counts import counted

import txfiles as tx

FILES, ROWS, GROUP = 6, 40, 10
GROUPS = ROWS // GROUP


def make(path, files):
    """A keyed table of files of four row groups, ids in order."""
    for number in range(files):
        ids = np.arange(number * ROWS, (number + 1) * ROWS)
        rows = pa.table({"id": ids, "a": ids * 2, "b": ids * 3, "c": ids * 4})
        options = {"properties": {"row_group_rows": GROUP}} if number == 0 else {}
        tx.write(rows, path, mode="append_once", keys=["id"], **options)
    return tx.Table(path)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A table of n files, and one of 2n."""
    folder = tmp_path_factory.mktemp("costs")
    return {files: make(folder / str(files), files) for files in (FILES, 2 * FILES)}


CALLS = {
    # by call: (files opened, reads of a row group, columns read) for n files
    "to_arrow": (lambda t: t.to_arrow(), lambda n: (n, n * GROUPS, 4 * n * GROUPS)),
    "one column": (lambda t: t.to_arrow(["a"]), lambda n: (n, n * GROUPS, n * GROUPS)),
    "conditions": (lambda t: t.to_arrow(["a"], [("id", ">=", 41), ("id", "<", 49)]), lambda n: (1, 1, 2)),
    "expression": (
        lambda t: t.to_arrow(["a"], (pc.field("id") >= 41) & (pc.field("id") < 49)),
        lambda n: (1, 1, 2),
    ),
    "no match": (lambda t: t.to_arrow(filter=pc.field("b") < 0), lambda n: (0, 0, 0)),
    "lookup": (lambda t: t.lookup([5, 85]), lambda n: (2, 4, 2 + 2 * 4)),
    "lookup of what is not there": (lambda t: t.lookup([-1, 10**6]), lambda n: (0, 0, 0)),
    "dataset": (lambda t: t.dataset(), lambda n: (0, 0, 0)),
    "to_batches": (lambda t: list(t.to_batches()), lambda n: (n, n * GROUPS, 4 * n * GROUPS)),
    "to_batches, expression": (
        lambda t: list(t.to_batches(["a"], pc.field("id") == 41)),
        lambda n: (1, 1, 2),
    ),
    "first batch": (lambda t: t.to_batches().read_next_batch(), lambda n: (1, 1, 4)),
    "row_count": (lambda t: t.row_count, lambda n: (0, 0, 0)),
}


@pytest.mark.parametrize("files", [FILES, 2 * FILES])
@pytest.mark.parametrize("call", CALLS)
def test_what_a_call_reads(tables, call, files):
    """Each call opens just the files, and decodes just the row groups and columns, that its answer needs."""
    run, expected = CALLS[call]
    run(tables[files])  # what is made once, such as the file list, is made
    with counted() as seen:
        run(tables[files])
    assert (seen["opened"], seen["groups"], seen["columns"]) == expected(files)
