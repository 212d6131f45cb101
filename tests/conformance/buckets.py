"""Which cases of the conformance suite run in which bucket, by which library, in which format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.conformance.suite import ConformanceCases, Target
from tests.guarantees import DEEP
from txfiles.store import open_store

Place = tuple[str, str, str]
"""A kind of server, a format, a library."""

MAIN = frozenset(
    {
        "test_compact_joins_small_files",
        "test_delete_by_filter",
        "test_delete_by_keys",
        "test_every_way_to_read",
        "test_history_and_results_are_records",
        "test_lookup",
        "test_overwrite_partitions",
        "test_plan_writes_nothing",
        "test_replace_where",
        "test_versions_stay_readable",
    }
)
"""With those for every input: one case of each verb and of each way to read."""
assert set(dir(ConformanceCases)) >= MAIN


def every_case(metafunc: pytest.Metafunc, whole: Sequence[Place], thinned: Sequence[Place]) -> None:
    """Every case at some places; in the others only the main ones, unless there is time.

    What a case says is about a format and a protocol, which each run as a whole somewhere. Elsewhere the main cases
    show that the pairing works.
    """
    if "target" in metafunc.fixturenames:
        case = metafunc.function
        is_main = hasattr(case, "with_every_input") or case.__name__ in MAIN
        places = [*whole, *thinned] if is_main or DEEP else whole
        metafunc.parametrize("target", places, ids=map("-".join, places), indirect=True)


def in_bucket(url: str, format_name: str, backend: str) -> Target:
    """An empty place, through one library; the rest of its options is in the environment."""
    options: dict[str, Any] = {"backend": backend}
    return Target(
        path=url,
        where={"format": format_name, "storage_options": options},
        give=lambda table: table,
        residue=lambda: sorted(entry.name for entry in open_store(url, options).list_from("")),
    )
