"""Counts exist once: results, plans and commits have exactly those of the log."""

from __future__ import annotations

import dataclasses

import pytest

import txfiles as tx
from txfiles.core.manifest import Metrics
from txfiles.results import counts

COUNTS = set(Metrics.__struct_fields__)


@pytest.mark.parametrize("kind", [tx.WriteResult, tx.Plan, tx.Commit])
def test_results_have_the_counts_of_the_log(kind):
    """Each count of a manifest has a field of its name, and no other field begins like one."""
    fields = {one.name for one in dataclasses.fields(kind)}
    assert fields >= COUNTS
    looked = {"files_scanned", "files_pruned", "files_to_rewrite"}
    assert {name for name in fields if name.startswith(("rows_", "files_", "bytes_"))} - looked == COUNTS


def test_counts_are_copied_by_name():
    """What a manifest says of a count is what a result says."""
    given = {name: number for number, name in enumerate(sorted(COUNTS), 1)}
    assert counts(Metrics(**given)) == given
