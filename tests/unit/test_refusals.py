"""Values that a file or a folder would not give back: plan and write refuse them alike, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from txfiles.formats import csv

YEAR_12000 = 3_663_420


def counts(t: pa.DataType, *values: int) -> pa.Array:
    return pa.array(values, pa.int32() if t.bit_width == 32 else pa.int64()).view(t)


NOT_UTF8 = pa.array([b"ok", b"\xff"]).view(pa.string())
TIME_24 = counts(pa.time32("s"), 0, 86_400)
FAR_DATE = counts(pa.date32(), 0, YEAR_12000)
PARTITIONED = {"partition_by": ["c"]}

REFUSED: dict[str, tuple[str, pa.Array, dict[str, Any], str]] = {
    "a time of 24:00": ("parquet", TIME_24, {}, "lossy-cast"),
    "a time of 24:00 in CSV": ("csv", TIME_24, {}, "lossy-cast"),
    "a nested time of 24:00": ("parquet", pa.StructArray.from_arrays([TIME_24], ["t"]), {}, "lossy-cast"),
    "text that is not UTF-8": ("parquet", NOT_UTF8, {}, "lossy-cast"),
    "text that is not UTF-8 in CSV": ("csv", NOT_UTF8, {}, "lossy-cast"),
    "year 12000 in CSV": ("csv", FAR_DATE, {}, "lossy-cast"),
    "year 12000 with a zone in CSV": (
        "csv",
        counts(pa.timestamp("us", "UTC"), 0, YEAR_12000 * 86_400 * 10**6),
        {},
        "lossy-cast",
    ),
    "year 0 in CSV": ("csv", counts(pa.date64(), 0, -719_528 * 86_400_000), {}, "lossy-cast"),
    "a row too long for CSV": ("csv", pa.array(["x", "y" * 2_000]), {}, "unsupported-type"),
    "bytes too long for CSV": ("csv", pa.array([b"x", b"y" * 1_000]), {}, "unsupported-type"),
    "seconds that Parquet cannot hold": ("parquet", counts(pa.timestamp("s"), 0, 2**62), {}, "lossy-cast"),
    "nested seconds": ("parquet", pa.array([[], [2**62]], pa.list_(pa.timestamp("s"))), {}, "lossy-cast"),
    "a partition in year 12000": ("parquet", FAR_DATE, PARTITIONED, "lossy-cast"),
    "a partition in year 0": ("parquet", counts(pa.timestamp("s"), 0, -62_167_219_200), PARTITIONED, "lossy-cast"),
    "a partition that is not UTF-8": ("parquet", NOT_UTF8, PARTITIONED, "lossy-cast"),
    "a partition folder of 256 bytes": ("csv", pa.array(["x", "y" * 254]), PARTITIONED, "bad-input"),
    "a partition folder of 257 bytes": ("parquet", pa.array(["x", "é" * 127 + "y"]), PARTITIONED, "bad-input"),
    "a partition folder long by escapes": ("parquet", pa.array(["x", "/" * 85]), PARTITIONED, "bad-input"),
}

CALLS: dict[str, dict[str, Any]] = {
    "append": {"mode": "append"},
    "append_once": {"mode": "append_once", "keys": ["id"]},
    "upsert": {"mode": "upsert", "keys": ["id"]},
    "overwrite": {"mode": "overwrite"},
}


@pytest.mark.parametrize("exists", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", REFUSED)
def test_plan_and_write_refuse_alike(case: str, call: str, exists: bool, tmp_path: Path, monkeypatch: Any) -> None:
    """What a write refuses a plan refuses in the same words, by column and row, and nothing is written."""
    monkeypatch.setattr(csv, "ROW_LIMIT_BYTES", 1_000)
    format_name, column, options, kind = REFUSED[case]
    rows = pa.table({"c": column, "id": [1, 2]})
    path = tmp_path / "t"
    if exists:
        tx.write(rows.slice(0, 1), path, format=format_name, **options, **CALLS[call])
    before = sorted(tmp_path.rglob("*"))
    told = []
    for function in (tx.plan, tx.write):
        with pytest.raises(tx.TxFilesError) as caught:
            function(rows, path, format=format_name, **options, **CALLS[call])
        assert vars(caught.value).get("row", 1) == 1
        told.append((caught.value.kind, str(caught.value), caught.value.hint, vars(caught.value).get("row")))
        assert sorted(tmp_path.rglob("*")) == before
    assert told[0] == told[1]
    assert told[0][0] == kind
    assert "'c'" in told[0][1]
    assert told[0][2]
    assert str(tmp_path) not in told[0][1]
    assert "part-" not in told[0][1]
    if exists:
        assert tx.Table(path).version == 0
        assert tx.Table(path).to_arrow().num_rows == 1


@pytest.mark.parametrize("size", [249, 250, 251, 252, 253])
def test_partition_folders_of_up_to_255_bytes(size: int, tmp_path: Path) -> None:
    """A value whose folder's name has 251 to 255 bytes is planned, written, read and vacuumed."""
    rows = pa.table({"p": ["x" * size], "id": [1]})
    assert tx.plan(rows, tmp_path / "t", mode="append", partition_by=["p"]).committed
    tx.write(rows, tmp_path / "t", mode="append", partition_by=["p"])
    tx.write(rows, tmp_path / "t", mode="overwrite")
    table = tx.Table(tmp_path / "t")
    assert table.to_arrow().equals(rows)
    assert len(table.vacuum(retain="0", force=True).deleted) == 1
    assert table.to_arrow().equals(rows)


def test_what_hides_is_no_value(tmp_path: Path) -> None:
    """What is no value of its type, outside a slice or under a null, is nobody's: the rows are written."""
    whole = pa.StructArray.from_arrays(
        [pa.concat_arrays([TIME_24, TIME_24])], ["t"], mask=pa.array([False, True, False, False])
    )
    rows = pa.table({"c": whole.slice(0, 3), "l": pa.ListArray.from_arrays([0, 1, 1, 1], TIME_24)})
    tx.write(rows, tmp_path / "t", mode="append")
    midnight = TIME_24[0].as_py()
    assert tx.Table(tmp_path / "t").to_arrow().to_pylist() == [
        {"c": {"t": midnight}, "l": [midnight]},
        {"c": None, "l": []},
        {"c": {"t": midnight}, "l": []},
    ]
