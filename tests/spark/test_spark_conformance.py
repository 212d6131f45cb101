"""The conformance suite with Spark frames: into Parquet and CSV folders, Delta tables and PostgreSQL.

A write takes Spark a second, more for Delta. So a run of the tests has some cases of each target, which between them
go through every mode, check and refusal of Spark's own code (`QUICK`); `tools/conformance` runs all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import txfiles as tx
from tests.conformance import test_conformance_delta, test_conformance_sql
from tests.conformance.suite import (
    SCHEMA,
    ConformanceCases,
    Refusal,
    Target,
    counts,
    hard_types,
    row,
)
from tests.model import bag
from txfiles.spark.types import arrow_schema, ddl

COLUMN = "spark {}"

_POSITION = "goes by the position of rows"
_NO_TIME = Refusal(tx.UnsupportedTypeError, "which Spark does not have", only="01:00:00")
_POSITIONS: dict[str, Refusal] = {
    "test_strategies": Refusal(tx.OptionError, _POSITION, only="first|last"),
    "test_equal_rows_are_one": Refusal(tx.OptionError, _POSITION, only="first|last"),
    "test_overwrite_checks_keys_it_names": Refusal(tx.OptionError, _POSITION),
}
EVERYWHERE = {**_POSITIONS, "test_any_orderable_type_tells_the_age": _NO_TIME}
"""What is refused for Spark, whatever the target: specs/12-spark.md, "What differs"."""

_DURATION = Refusal(tx.UnsupportedTypeError, "of type duration")
_EXPRESSION = Refusal(tx.OptionError, "Arrow expression|list of conditions")

REFUSES: dict[str, Mapping[str, Refusal]] = {
    "parquet": {},
    "csv": {},
    "delta": {
        **test_conformance_delta.REFUSES,
        "test_types_come_back": _DURATION,
        "test_upsert_replaces_values_of_every_type": _DURATION,
        "test_replace_where": _EXPRESSION,
    },
    "postgresql": {**test_conformance_sql.REFUSES, **test_conformance_sql.OWN["postgresql"]},
}
"""What a target refuses, of Spark as of others, and what only its way from Spark refuses."""

_KEYED = {"test_retry_commits_nothing", "test_null_keys_are_refused", "test_strategies", "test_stale_rows_are_skipped"}

QUICK: dict[str, set[str]] = {
    "parquet": {
        *_KEYED,
        *("test_first_write_creates", "test_empty_batch_commits_nothing", "test_upsert_is_exact"),
        *("test_overwrite_checks_keys_it_names", "test_overwrite_partitions", "test_replace_where"),
        *("test_upsert_moves_rows_between_partitions", "test_keys_hold_beyond_the_part", "test_equal_rows_are_one"),
        *("test_keys_are_recorded_by_the_first_keyed_write", "test_duplicates_left_by_appends_are_replaced"),
        *("test_the_newest_of_several_stored_rows_counts", "test_batch_id_of_no_change_is_committed"),
        *("test_merge_adds_columns", "test_merge_widens_by_type", "test_types_come_back", "test_plan_writes_nothing"),
        *("test_lossy_casts_are_refused", "test_options_that_make_no_sense", "test_nan_keys_are_null_keys"),
    },
    "csv": {"test_retry_commits_nothing", "test_upsert_replaces_values_of_every_type", "test_overwrite_replaces"},
    "delta": {"test_upsert_replaces_and_adds", "test_strategies", "test_nan_keys_are_null_keys"},
    "postgresql": {*_KEYED, "test_upsert_is_exact", "test_merge_adds_columns", "test_plan_writes_nothing"},
}
"""The cases of each target in every run of the tests."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each case once on each target."""
    if "target" in metafunc.fixturenames:
        case = metafunc.function.__name__
        targets = [
            pytest.param((name, "spark"), marks=[] if case in quick else [pytest.mark.whole_suite], id=f"{name}-spark")
            for name, quick in QUICK.items()
        ]
        metafunc.parametrize("target", targets, indirect=True)


@pytest.fixture
def target(request: pytest.FixtureRequest, spark: Any, tmp_path: Path) -> Target:
    """A new place for each case."""
    name, _ = request.param
    refuses = {**EVERYWHERE, **REFUSES[name]}
    for case, refusal in EVERYWHERE.items():  # a case that both refuse
        if (other := REFUSES[name].get(case)) is not None:
            refuses[case] = Refusal(tx.TxFilesError, f"{refusal.match}|{other.match}", f"{refusal.only}|{other.only}")
    if name == "postgresql":
        url = request.getfixturevalue("sql_url")(name)
        where, path = {"format": "sql"}, url

        def residue() -> list[str]:
            return test_conformance_sql.residue(url)
    else:
        where, path = {"format": name}, tmp_path / "table"

        def residue() -> list[str]:
            found = path.rglob("*")
            return sorted(str(p.relative_to(path)) for p in found if p.is_file() and p.name != "lock")

    return Target(path, where, lambda table: frame(spark, table), residue, refuses)


def frame(spark: Any, table: pa.Table) -> Any:
    """The rows as a Spark frame, in the types that Spark has for them. `UnsupportedTypeError` if it has none."""
    plain = pa.schema(
        [(f.name, getattr(f.type, "value_type", f.type) if is_coded(f) else f.type) for f in table.schema]
    )
    return spark.createDataFrame(table.cast(plain).cast(arrow_schema(plain)), ddl(plain))


def is_coded(field: pa.Field) -> bool:
    """Whether its values are in a dictionary."""
    return bool(pa.types.is_dictionary(field.type))


def held_types() -> pa.Table:
    """`hard_types`, but for what Spark has no type for, or no value: nanoseconds."""
    held = hard_types().drop_columns(["time", "decimal_big", "naive_ns"])
    return held.cast(arrow_schema(held.schema))


class TestSpark(ConformanceCases):
    """Every case. Those that differ do so as specs/12-spark.md says: there are no positions, nor some types."""

    def test_null_keys_are_refused(self, target: Target) -> None:
        """A null key names the column and the count."""
        target.write([row(1)], mode="upsert", keys=["id"])
        before = target.residue()
        with pytest.raises(tx.NullKeyError, match="'id'") as caught:
            target.write([row(2), row(None), row(3), row(None)], mode="upsert")
        assert (caught.value.column, caught.value.count) == ("id", 2)
        assert target.residue() == before

    def test_nan_keys_are_null_keys(self, target: Target) -> None:
        """A NaN among the keys of a table of integers names the column."""
        target.write([row(1)], mode="upsert", keys=["id"])
        floats = pa.Table.from_pylist([row(1), row(2), row(3)], SCHEMA).set_column(0, "id", [[1.0, float("nan"), None]])
        with pytest.raises(tx.NullKeyError, match="'id'") as caught:
            target.write(floats, mode="upsert")
        assert (caught.value.column, caught.value.count) == ("id", 2)
        assert target.holds([row(1)])

    def test_replace_where(self, target: Target) -> None:
        """The rows that match are replaced; rows outside are refused; unknown (null) is no match."""
        target.write([row(1, x=1.0), row(2, x=2.0), row(3, x=None)], mode="append")
        where = [("x", ">=", 2)]
        before = target.residue()
        for outside in (row(4, x=1.5), row(4, x=None)):
            with pytest.raises(tx.InputError, match=r"do(es)? not match replace_where"):
                target.write([row(5, x=5.0), outside], mode="overwrite", replace_where=where)
        assert target.residue() == before
        assert counts(target.write([row(5, x=5.0)], mode="overwrite", replace_where=where), inserted=1, deleted=1)
        assert target.holds([row(1, x=1.0), row(3, x=None), row(5, x=5.0)])
        assert counts(target.write([], mode="overwrite", replace_where=where), deleted=1)
        assert not target.write([], mode="overwrite", replace_where=where).committed
        assert counts(target.write([], mode="overwrite", replace_where=pc.field("x") < 2), deleted=1)
        assert target.holds([row(3, x=None)])

    def test_delete_of_everything(self, target: Target) -> None:
        """The same, but for the counts of files: as many as Spark's tasks wrote."""
        target.write([row(1), row(2)], mode="upsert", keys=["id"])
        assert counts(target.table().delete(pc.scalar(True)), deleted=2)
        assert target.rows() == []
        assert counts(target.write([row(2)], mode="upsert"), inserted=1)

    def test_types_come_back(self, target: Target) -> None:
        """Widths, zones, signs and hard values come back as they went into the frame."""
        table = held_types()
        target.write(table, mode="append")
        found = target.table().to_arrow()
        assert found.schema.equals(table.schema)
        assert bag(found.to_pylist()) == bag(table.to_pylist())

    def test_upsert_replaces_values_of_every_type(self, target: Target) -> None:
        """An upsert puts each value of each type in the place of another, rows that stay beside it."""
        table = held_types()
        keyed = table.append_column("key", pa.array(range(table.num_rows)))
        turned = table.take([1, 2, 0]).append_column("key", pa.array(range(table.num_rows)))
        target.write(keyed, mode="upsert", keys=["key"])
        assert counts(target.write(turned.slice(1), mode="upsert"), updated=2)
        assert target.holds([keyed.to_pylist()[0], *turned.slice(1).to_pylist()])
        assert not target.write(turned.slice(1), mode="upsert").committed
