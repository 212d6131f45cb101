"""The conformance suite on Delta tables: every case passes, or is refused with the error declared here."""

from __future__ import annotations

from pathlib import Path

import pytest

import txfiles as tx
from tests.conformance.given import GIVE, every_case
from tests.conformance.suite import ConformanceCases, Refusal, Target

_EMPTY = Refusal(tx.InputError, "empty text, which Delta cannot tell from null")
_SET = Refusal(tx.UnsupportedVerbError, "does not support 'set'")
_PROPERTIES = Refusal(tx.OptionError, "do not take 'properties'")
_UNTYPED = Refusal(tx.UnsupportedTypeError, "of type null cannot be stored")
_COMPACT = Refusal(tx.UnsupportedVerbError, "does not support 'compact'")
_TYPES = Refusal(tx.UnsupportedTypeError, "of type uint64 cannot be stored")

REFUSES: dict[str, Refusal] = {
    "test_overwrite_partitions": Refusal(_EMPTY.error, _EMPTY.match, only="True"),
    "test_upsert_moves_rows_between_partitions": _EMPTY,
    "test_any_orderable_type_tells_the_age": Refusal(tx.UnsupportedTypeError, "of type time", only="01:00:00"),
    "test_batch_ids_are_kept_to_a_number": _PROPERTIES,
    "test_names_that_differ_in_case_only": _SET,
    "test_a_table_whose_names_differ_in_case_only_goes_on": _PROPERTIES,
    "test_merge_widens_by_type": Refusal(tx.SchemaMismatchError, "cannot become int64"),
    "test_all_null_column_takes_its_type_later": _UNTYPED,
    "test_all_null_timestamp_column": _UNTYPED,
    "test_types_come_back": _TYPES,
    "test_upsert_replaces_values_of_every_type": _TYPES,
    "test_properties": _PROPERTIES,
    "test_compact_joins_small_files": _COMPACT,
}
"""What Delta, or deltalake, truly cannot do. Each is a row in specs/9-targets.md."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The kinds of input that Delta's users have."""
    every_case(metafunc, ("delta",), ("arrow", "pandas", "polars", "reader", "path"))


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """A new folder for each case."""
    format_name, engine = request.param
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    path = tmp_path / "table"
    return Target(
        path=path,
        where={"format": format_name},
        give=lambda table: GIVE[engine](table, inputs),
        residue=lambda: sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()),
        refuses=REFUSES,
    )


class TestDelta(ConformanceCases):
    """Every case, on Delta tables."""
