"""How what a write says about the table meets what the table has recorded."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from txfiles.core.manifest import TableMetadata
from txfiles.core.schema import Column
from txfiles.errors import OptionError
from txfiles.options import WriteOptions
from txfiles.recorded import settle


def wished(**options: Any) -> WriteOptions:
    """What a caller says about the table."""
    return WriteOptions(mode="upsert", **options)


COLUMNS = tuple(Column(id=number, name=name, type="int64") for number, name in enumerate("abc", 1))
RECORDED = TableMetadata(
    format="parquet",
    columns=COLUMNS,
    last_column_id=3,
    partition_by=("c",),
    keys=("a", "b"),
    timestamp_col="b",
    properties={"row_group_rows": 7},
    extra={"new": 1},
)
PLAIN = TableMetadata(format="csv", columns=COLUMNS, last_column_id=3)


def test_a_new_table_is_what_was_wished() -> None:
    """Creation takes every wish as it is, checked; format is parquet where nothing is said."""
    wish = wished(format="csv", keys=("a",), timestamp_col="b", partition_by=("c",), properties={"row_group_rows": "7"})
    made = settle(None, wish)
    assert made == TableMetadata(
        format="csv",
        columns=(),
        last_column_id=0,
        partition_by=("c",),
        keys=("a",),
        timestamp_col="b",
        properties={"row_group_rows": 7},
    )
    assert settle(None, wished()) == TableMetadata(format="parquet", columns=(), last_column_id=0)


AGREES: dict[str, WriteOptions] = {
    "nothing said": wished(),
    "the same format": wished(format="parquet"),
    "the same keys": wished(keys=("a", "b")),
    "the same keys in another order": wished(keys=("b", "a")),
    "the same timestamp column": wished(timestamp_col="b"),
    "the same partitioning": wished(partition_by=("c",)),
    "the same property": wished(properties={"row_group_rows": 7}),
    "the same property as text": wished(properties={"row_group_rows": "7"}),
    "a default": wished(properties={"compression": "snappy"}),
    "rekey with nothing else": wished(rekey=True),
    "rekey with the same": wished(rekey=True, keys=("b", "a"), timestamp_col="b"),
}


@pytest.mark.parametrize("wish", AGREES.values(), ids=AGREES)
def test_saying_what_is_recorded_changes_nothing(wish: WriteOptions) -> None:
    """An option that agrees with the table leaves the table action as it is, so that nothing is committed for it."""
    assert settle(RECORDED, wish) == RECORDED


CONTRADICTS: dict[str, tuple[WriteOptions, str]] = {
    "another format": (wished(format="csv"), "format"),
    "other keys": (wished(keys=("a",)), "rekey"),
    "other keys of the same number": (wished(keys=("a", "c")), "rekey"),
    "another timestamp column": (wished(timestamp_col="c"), "rekey"),
    "another partitioning": (wished(partition_by=("a",)), "partition_by"),
    "no partitioning": (wished(partition_by=()), "partition_by"),
    "another property": (wished(properties={"row_group_rows": 8}), "set"),
    "another default": (wished(properties={"compression": "zstd"}), "set"),
    "an unknown property": (wished(properties={"compresion": "zstd"}), "compression"),
    "another format, with rekey": (wished(format="csv", rekey=True), "format"),
}


@pytest.mark.parametrize(("wish", "hinted"), CONTRADICTS.values(), ids=CONTRADICTS)
def test_contradicting_what_is_recorded_is_an_error(wish: WriteOptions, hinted: str) -> None:
    """The error names both, and the hint says how the change could be made."""
    with pytest.raises(OptionError) as caught:
        settle(RECORDED, wish)
    assert hinted in str(caught.value.hint)


LEARNS: dict[str, tuple[TableMetadata, WriteOptions, dict[str, Any]]] = {
    "keys, the first time": (PLAIN, wished(keys=("b", "a")), {"keys": ("b", "a")}),
    "timestamp column, the first time": (PLAIN, wished(timestamp_col="c"), {"timestamp_col": "c"}),
    "other keys by rekey": (RECORDED, wished(keys=("c",), rekey=True), {"keys": ("c",)}),
    "another timestamp column by rekey": (RECORDED, wished(timestamp_col="a", rekey=True), {"timestamp_col": "a"}),
}


@pytest.mark.parametrize(("table", "wish", "changes"), LEARNS.values(), ids=LEARNS)
def test_what_a_table_learns(table: TableMetadata, wish: WriteOptions, changes: dict[str, Any]) -> None:
    """Only what was said changes; columns, properties and unknown fields stay."""
    assert settle(table, wish) == replace(table, **changes)
