"""Tables whose columns come, widen and stay away, against a plain model of rows."""

from __future__ import annotations

import datetime as dt
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from tests.model import Row, age, bag

# Columns by their first letter: types that a batch may give them, narrow ones too, and values that fit each of them.
TYPES: dict[str, tuple[list[pa.DataType], list[Any]]] = {
    "n": ([pa.int8(), pa.int64(), pa.uint8()], [0, 1, 100]),
    "f": ([pa.float32(), pa.float64()], [0.5, -0.0, float("nan")]),
    "d": ([pa.decimal128(5, 1), pa.decimal128(7, 2)], [Decimal(0), Decimal(-7)]),
    "s": ([pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ["", "a"]),
    "t": ([pa.timestamp("ms"), pa.timestamp("us")], [dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2)]),
    "u": ([pa.duration("s")], [dt.timedelta(0), dt.timedelta(1)]),
    "x": (
        [
            pa.struct([("p", pa.int8())]),
            pa.struct([("q", pa.string()), ("p", pa.int64())]),
            pa.struct([("r", pa.struct([("p", pa.int8())])), ("q", pa.string())]),
            pa.struct([("r", pa.struct([("q", pa.list_(pa.int8())), ("p", pa.int16())]))]),
        ],
        [{"p": 1, "q": "a", "r": {"p": 2, "q": [3]}}, {"p": None, "q": "", "r": None}, {"r": {"p": None, "q": []}}],
    ),
    "y": (
        [pa.list_(pa.struct([("p", pa.int8())])), pa.list_(pa.struct([("p", pa.int64()), ("q", pa.string())]))],
        [[], [{"p": 1, "q": "a"}, None], [{"p": None, "q": ""}]],
    ),
}
COLUMNS = {
    "csv": ["n1", "f1", "d1", "s1", "s2", "t1", "u1"],
    "parquet": ["n1", "f1", "d1", "s1", "s2", "t1", "u1", "x1", "y1"],
}


@st.composite
def batches(draw: st.DrawFn, columns: list[str]) -> pa.Table:
    """Rows with keys, some other columns, and for each a type of its family, or none where it is all null."""
    names = ["key", *draw(st.lists(st.sampled_from(columns), unique=True))]
    ids = draw(st.lists(st.integers(0, 4), unique=True, max_size=4))
    arrays = [pa.array(ids, draw(st.sampled_from([pa.int8(), pa.int16(), pa.int64()])))]
    for name in names[1:]:
        kinds, values = TYPES[name[0]]
        kind = draw(st.sampled_from([*kinds, pa.null()]))
        some = st.none() if pa.types.is_null(kind) else st.none() | st.sampled_from(values)
        arrays.append(pa.array(draw(st.lists(some, min_size=len(ids), max_size=len(ids))), kind))
    return pa.table(arrays, names=names)


def merged(known: Any, given_value: Any) -> Any:
    """A row, or a struct, with the values of another where that has the field."""
    if not isinstance(known, dict) or not isinstance(given_value, dict):
        return given_value
    return {**known, **{name: merged(known.get(name), value) for name, value in given_value.items()}}


def after(model: list[Row], batch: pa.Table, mode: str, timestamp_col: str | None) -> list[Row]:
    """The rows after a merge: new columns null before, missing ones kept in updated rows and null in new ones."""
    names = list(dict.fromkeys([*(model[0] if model else []), *batch.column_names]))
    rows = {row["key"]: {name: row.get(name) for name in names} for row in model}
    for given_row in batch.to_pylist():
        known = rows.get(given_row["key"])
        if known is None:
            rows[given_row["key"]] = {name: given_row.get(name) for name in names}
        elif mode == "upsert" and not (
            timestamp_col in given_row and age(given_row[timestamp_col]) < age(known[timestamp_col])
        ):
            rows[given_row["key"]] = merged(known, given_row)
    return list(rows.values())


@pytest.mark.parametrize("format_name", ["parquet", "csv"])
@given(data=st.data())
def test_columns_come_widen_and_stay_away(format_name: str, data: st.DataObject) -> None:
    """Whatever columns and types each batch has, a merge keeps every value, and the same batch again is nothing new."""
    columns = COLUMNS[format_name]
    timestamp_col = data.draw(st.sampled_from([None, "t1"]))
    first = data.draw(
        batches(columns).filter(lambda batch: timestamp_col is None or timestamp_col in batch.column_names)
    )
    model: list[Row] = []
    seen: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        options: dict[str, Any] = {"keys": ["key"], "timestamp_col": timestamp_col, "schema_mode": "merge"}
        for batch in [first, *data.draw(st.lists(batches(columns), max_size=4))]:
            mode = data.draw(st.sampled_from(["upsert", "append_once"]))
            created = {"format": format_name, "properties": {"row_group_rows": 1}} if batch is first else {}
            tx.write(batch, path, mode=mode, **options, **created)
            model = after(model, batch, mode, timestamp_col)
            seen |= set(batch.column_names)
            table = tx.Table(path)
            whole = [{name: row.get(name) for name in table.schema.names} for row in model]
            assert set(table.schema.names) == seen
            assert bag(table.to_arrow().to_pylist()) == bag(pa.Table.from_pylist(whole, table.schema).to_pylist())
            assert not tx.write(batch, path, mode=mode, **options).committed
