"""The conformance suite on SQL tables, each in a real database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest

import txfiles as tx
from tests.conformance.given import GIVE, every_case, inputs_or
from tests.conformance.suite import ConformanceCases, Refusal, Target, counts, row
from tests.services.databases import DATABASES

_PARTITIONS = Refusal(tx.OptionError, "do not take 'partition_by'")
_PROPERTIES = Refusal(tx.OptionError, "do not take 'properties'")
_AT = Refusal(tx.InputError, "does not support 'at'|do not take 'partition_by'")
_NO_TYPE = Refusal(tx.UnsupportedTypeError, "has no value")
_VALUES = Refusal(tx.InputError, "column '.*(without loss|does not store|cannot be stored)")
_COLUMNS = Refusal(tx.SchemaMismatchError, "cannot (change|replace) in a transaction")
_NAN = Refusal(tx.LossyCastError, "does not store as it is")

REFUSES: dict[str, Refusal] = {
    "test_overwrite_partitions": Refusal(tx.OptionError, "do not take 'partition_by'", only="True"),
    "test_upsert_moves_rows_between_partitions": _PARTITIONS,
    "test_partition_columns_are_fixed": _PARTITIONS,
    "test_keys_hold_beyond_the_part": _PARTITIONS,
    "test_names_that_differ_in_case_only": _PARTITIONS,
    "test_plan_counts_what_write_then_does": _PARTITIONS,
    "test_dry_run_of_a_delete": _PARTITIONS,
    "test_delete_by_filter": _AT,
    "test_batch_ids_are_kept_to_a_number": _PROPERTIES,
    "test_a_table_whose_names_differ_in_case_only_goes_on": _PROPERTIES,
    "test_properties": _PROPERTIES,
    "test_all_null_column_takes_its_type_later": _NO_TYPE,
    "test_all_null_timestamp_column": _NO_TYPE,
    "test_types_come_back": _VALUES,
    "test_upsert_replaces_values_of_every_type": _VALUES,
    "test_the_newest_of_several_stored_rows_counts": Refusal(tx.DuplicateKeyError, "lacks the columns"),
    "test_a_table_is_pinned": Refusal(tx.SnapshotExpiredError, "keeps no version 0"),
    "test_versions_stay_readable": Refusal(tx.UnsupportedVerbError, "'at'"),
    "test_compact_joins_small_files": Refusal(tx.InputError, "does not support 'files'|do not take 'partition_by'"),
}
"""What every SQL table refuses."""

OWN: dict[str, dict[str, Refusal]] = {
    "sqlite": {
        "test_retry_commits_nothing": _NAN,
        "test_upsert_is_exact": _NAN,
        "test_delete_by_filter": Refusal(tx.InputError, "does not store as it is|do not take 'partition_by'"),
        "test_any_orderable_type_tells_the_age": Refusal(tx.LossyCastError, "does not store as it is", only="nan"),
    },
    "duckdb": {},
    "postgresql": {"test_overwrite_partitions": Refusal(tx.InputError, "do not take 'partition_by'|the NUL character")},
    "mariadb": {
        "test_retry_commits_nothing": _NAN,
        "test_upsert_is_exact": _NAN,
        "test_delete_by_filter": Refusal(tx.InputError, "does not store as it is|do not take 'partition_by'"),
        "test_any_orderable_type_tells_the_age": Refusal(tx.LossyCastError, "does not store as it is", only="nan"),
        "test_keys_are_equal_whatever_their_type": _COLUMNS,
        "test_keys_are_recorded": Refusal(tx.SchemaMismatchError, "cannot replace in a transaction"),
        "test_merge_adds_columns": _COLUMNS,
        "test_merge_widens_by_type": _COLUMNS,
        "test_overwrite_of_the_schema": _COLUMNS,
    },
}
"""What one database refuses besides."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every case on each database, with Arrow tables: what comes of other inputs is decided before a target sees it."""
    every_case(metafunc, DATABASES, inputs_or("arrow"))


@pytest.fixture
def target(request: pytest.FixtureRequest, sql_url: Callable[[str], str], tmp_path: Path) -> Target:
    """A new place for each case."""
    kind, engine = request.param
    url = sql_url(kind)
    return Target(
        path=url,
        where={"format": "sql"},
        give=lambda table: GIVE[engine](table, tmp_path),
        residue=lambda: residue(url),
        refuses={**REFUSES, **OWN[kind]},
    )


def residue(url: str) -> list[str]:
    """The rows and the history, as text."""
    if not tx.exists(url):
        return []
    table = tx.Table(url)
    return [*map(str, table.history()), *map(str, table.to_arrow().to_pylist())]


class TestSql(ConformanceCases):
    """Every case, on databases."""

    def test_delete_of_everything(self, target: Target) -> None:
        """The same, but for the counts of files."""
        target.write([row(1), row(2)], mode="upsert", keys=["id"])
        assert counts(target.table().delete(pc.scalar(True)), deleted=2)
        assert target.rows() == []
        assert counts(target.write([row(2)], mode="upsert"), inserted=1)
