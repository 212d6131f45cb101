"""The conformance suite on Parquet and CSV folders, with each kind of input."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

import txfiles as tx
from tests.conformance.given import GIVE, every_case
from tests.conformance.suite import ConformanceCases, Target


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each format."""
    every_case(metafunc, ("parquet", "csv"))


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
        residue=lambda: sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file() and p.name != "lock"),
    )


class TestFiles(ConformanceCases):
    """Every case, on folders."""

    def test_a_widened_partition_column(self, target: Target) -> None:
        """An overwrite of partitions goes by their values, however the type of the day spells them."""
        for text in ("1.0", "1.00"):
            table = pa.table({"part": [Decimal(text), Decimal("2." + text[2:])], "v": [text, text]})
            target.write(table, mode="append", partition_by=["part"], schema_mode="merge")
        result = target.write(table.slice(0, 1), mode="overwrite", overwrite_partitions=True)
        assert (result.rows_inserted, result.rows_deleted) == (1, 2)
        two = Decimal("2.00")
        assert target.holds([*table.slice(0, 1).to_pylist(), {"part": two, "v": "1.0"}, {"part": two, "v": "1.00"}])

    @pytest.mark.parametrize(
        "far", [pa.array([2**31 - 1], pa.int32()).view(pa.date32()), pa.array([2**40], pa.timestamp("s"))]
    )
    def test_a_partition_value_far_away(self, target: Target, far: pa.Array) -> None:
        """A date outside the years 1 to 9999 cannot be a folder: an error names the row, and nothing is written."""
        with pytest.raises(tx.LossyCastError, match=r"column 'part' .* row 0.* a folder's name"):
            target.write(pa.table({"part": far, "v": [1]}), mode="append", partition_by=["part"])
        assert not target.exists()
