"""Values at the far ends of their types, through whole tables."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

import txfiles as tx


@pytest.mark.parametrize("narrow", [pa.float16(), pa.float32()], ids=str)
@pytest.mark.guarantees("S13")
def test_bounds_of_narrow_floats_stay_right_in_a_wider_column(narrow: pa.DataType, tmp_path: Path) -> None:
    """A float that a wider column holds since is found by its exact value, also where the log is read anew."""
    narrower = pa.table({"f": pa.array([0.1, 0.7], pa.float64()).cast(narrow, safe=False)})
    tx.write(narrower, tmp_path / "t", mode="append")
    tx.write(pa.table({"f": [5.0]}), tmp_path / "t", mode="append", schema_mode="merge")
    shutil.copytree(tmp_path / "t", tmp_path / "cold")
    for value in narrower["f"].cast(pa.float64()).to_pylist():
        for path in (tmp_path / "t", tmp_path / "cold"):
            assert tx.Table(path).to_arrow(filter=[("f", "=", value)])["f"].to_pylist() == [value]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
@pytest.mark.guarantees("S21")
def test_csv_holds_all_nanoseconds(zone: str | None, tmp_path: Path) -> None:
    """Each 64-bit nanosecond, the first and the last too, is kept in a CSV table, found and updated."""
    ticks = [-(2**63), -(2**63) + 1, -9_223_372_036_000_000_001, 0, 2**63 - 1]
    rows = pa.table({"at": pa.array(ticks, pa.int64()).view(pa.timestamp("ns", zone)), "n": list(range(5))})
    tx.write(rows, tmp_path / "t", mode="upsert", keys=["at"], format="csv")
    tx.write(rows.slice(1, 1).set_column(1, "n", [[7]]), tmp_path / "t", mode="upsert")
    found = tx.Table(tmp_path / "t").to_arrow()
    assert found["at"].equals(rows["at"])
    assert found["n"].to_pylist() == [0, 7, 2, 3, 4]
    assert tx.Table(tmp_path / "t").lookup(rows.select(["at"]).slice(0, 2))["n"].to_pylist() == [0, 7]


def test_duplicate_keys_of_any_year_are_told(tmp_path: Path) -> None:
    """A key that Python has no value for is shown, and handed over, as its text."""
    far = pa.array([3_662_645] * 2, pa.int32()).view(pa.date32())
    with pytest.raises(tx.DuplicateKeyError, match=r"\+11997-12-25 \(rows 0, 1\)") as caught:
        tx.write(pa.table({"d": far, "v": [1, 2]}), tmp_path / "t", mode="upsert", keys=["d"])
    assert caught.value.keys == ["+11997-12-25"]
    assert not (tmp_path / "t").exists()
