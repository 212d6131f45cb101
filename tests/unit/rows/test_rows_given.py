"""Values of any kind in filters and look-ups: used, or refused with an error of ours."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from txfiles.rows import filters
from txfiles.rows.given import as_column

NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
NAIVE = dt.datetime(2026, 11, 24, 12)
TYPES = [
    pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.string(), pa.binary(), pa.bool_(),
    pa.date32(), pa.timestamp("us"), pa.timestamp("ns", "UTC"), pa.timestamp("s", "Europe/Berlin"), pa.time64("ns"),
    pa.duration("us"), pa.decimal128(10, 2), pa.decimal256(60, 3),
]  # fmt: skip


class Word(enum.StrEnum):
    """A text of a subclass."""

    DE = "DE"


ODD = [
    None, pd.NaT, pd.NA, np.datetime64("NaT"), np.timedelta64("NaT"), float("nan"), np.float32("nan"), float("inf"),
    -0.0, Decimal("Infinity"), Decimal("NaN"), Decimal("sNaN"), Decimal("1e400"), Decimal("-0"), Decimal("1.005"),
    10**400, -(2**63) - 1, 2**64, True, np.bool_(True), np.int64(7), np.uint8(7), 7, 7.0, np.float16(1.5),
    "x", "", "\ud800", Word.DE, b"", b"x", bytearray(b"x"), memoryview(b"x"), np.str_("x"), np.bytes_(b"x"),
    dt.date(1, 1, 1), dt.date.max, NOON, NAIVE, dt.time(23, 59), dt.time(1, tzinfo=dt.UTC), dt.timedelta.max,
    pd.Timestamp("2026-11-24"), pd.Timestamp("1677-09-21T00:12:43.145224193"), pd.Timestamp(NOON),
    pd.Timedelta(1, "ns"), [1], (1, 2),
    pd.Period("2026-11"), pd.Interval(0, 1), np.timedelta64(1, "Y"), np.timedelta64(5), object(), lambda: 0,
    {1}, {"a": 1}, np.array([1, 2]), np.array(5), pa.scalar(7), pa.scalar("x"), pa.scalar(None), pa.array([1]),
    pa.scalar([1]), range(3), 1j, Exception, type, ...,
    *(np.datetime64("2026", unit) for unit in ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "as")),
    np.datetime64("100000", "Y"), np.datetime64(2**62, "D"),
]  # fmt: skip
"""Values that have made libraries stumble."""

VALUES = st.one_of(
    st.integers(0, len(ODD) - 1).map(lambda number: ODD[number]),  # not all of them can be hashed
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.decimals(),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC])),
    st.dates(),
    st.times(),
    st.timedeltas(),
)


def used_or_refused(call: Callable[[], Any]) -> Any:
    """What a call returns; an error of ours is an answer too, any other is not."""
    try:
        return call()
    except tx.InputError as error:
        assert error.message
        assert error.hint
        return error


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[pa.DataType, tx.Table]:
    """A keyed table (where its type is a key's) of one null-free and one null row for each type."""
    made = {}
    for number, t in enumerate(TYPES):
        path = tmp_path_factory.mktemp("tables") / str(number)
        rows = pa.table({"id": [1, 2], "v": pa.array([None, None], t)})
        tx.write(rows, path, mode="append")
        made[t] = tx.Table(path)
    return made


@given(VALUES, st.sampled_from(TYPES), st.sampled_from(["=", "!=", "<", ">=", "in", "not in"]))
def test_any_value_in_a_condition(tables: dict[Any, tx.Table], value: Any, t: pa.DataType, op: str) -> None:
    """A condition with any value gives rows or an error of ours that has a hint."""
    wrapped = [value] if "in" in op else value
    found = used_or_refused(lambda: tables[t].to_arrow(filter=[("v", op, wrapped)]))
    assert isinstance(found, tx.InputError) or found.num_rows == 0  # null compares with nothing


@given(VALUES, st.sampled_from(TYPES))
def test_any_value_in_an_expression(tables: dict[Any, tx.Table], value: Any, t: pa.DataType) -> None:
    """What Arrow makes an expression of gives rows or an error of ours."""
    try:
        where = pc.field("v") == value
    except Exception:
        return
    if isinstance(where, pc.Expression):
        used_or_refused(lambda: tables[t].to_arrow(filter=where))


KEY_TYPES = [t for t in TYPES if not pa.types.is_floating(t) and not pa.types.is_time(t) and not pa.types.is_duration(t)
             and not pa.types.is_decimal256(t)]  # fmt: skip


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> dict[pa.DataType, tx.Table]:
    """An empty table for each type of a key."""
    made = {}
    for number, t in enumerate(KEY_TYPES):
        path = tmp_path_factory.mktemp("keyed") / str(number)
        tx.write(pa.table({"k": pa.array([], t), "v": pa.array([], pa.int64())}), path, mode="upsert", keys=["k"])
        made[t] = tx.Table(path)
    return made


@given(VALUES, st.sampled_from(KEY_TYPES))
def test_any_value_that_is_looked_up(keyed: dict[Any, tx.Table], value: Any, t: pa.DataType) -> None:
    """A look-up of any value gives rows or an error of ours that has a hint."""
    for wanted in (value, [value], [value, None]):
        found = used_or_refused(lambda wanted=wanted: keyed[t].lookup(wanted))
        assert isinstance(found, tx.InputError) or found.num_rows == 0


@pytest.mark.parametrize("null", [None, pd.NaT, pd.NA, np.datetime64("NaT"), pa.scalar(None)], ids=repr)
def test_a_null_key_is_not_there(keyed: dict[Any, tx.Table], tmp_path: Path, null: Any) -> None:
    """Whatever spells null, no row has it as its key; the other keys are found."""
    assert keyed[pa.timestamp("us")].lookup([null]).num_rows == 0
    tx.write(pa.table({"k": [1]}), tmp_path / "t", mode="upsert", keys=["k"])
    assert tx.Table(tmp_path / "t").lookup([1, null]).num_rows == 1


@pytest.mark.parametrize(
    ("value", "t", "stands"),
    [
        (np.datetime64("2026-11-24", "D"), pa.timestamp("us"), dt.datetime(2026, 11, 24)),
        (np.datetime64("2026-11", "M"), pa.date32(), dt.date(2026, 11, 1)),
        (pd.Timestamp(NOON), pa.timestamp("ns", "UTC"), pd.Timestamp(NOON)),
        (pd.Timedelta(1, "us"), pa.duration("us"), dt.timedelta(microseconds=1)),
        (Decimal("1.50"), pa.decimal128(10, 2), Decimal("1.50")),
        (7.0, pa.int64(), 7),
        (np.uint8(7), pa.decimal128(10, 2), Decimal("7.00")),
        (2**64 - 1, pa.uint64(), 2**64 - 1),
        ("2026-11-24", pa.date32(), dt.date(2026, 11, 24)),
        (Word.DE, pa.string(), "DE"),
        (bytearray(b"x"), pa.binary(), b"x"),
        (pa.scalar(7, pa.int8()), pa.int64(), 7),
    ],
    ids=repr,
)
def test_values_are_used(value: Any, t: pa.DataType, stands: Any) -> None:
    """A value that the column can hold is the column's value, whoever's type it has."""
    found = as_column([value], t, "v", texts=True)
    assert (found.type, found.to_pylist()) == (t, [stands])


@pytest.mark.parametrize(
    "value", [pd.NaT, Decimal("Infinity"), decimal.Decimal("sNaN"), np.timedelta64(1, "Y")], ids=repr
)
@pytest.mark.parametrize("op", ["=", "<", "in"])
def test_the_hint_leads_out(value: Any, op: str) -> None:
    """The error names the column and the type to give."""
    schema = pa.schema([("v", pa.timestamp("us"))])
    with pytest.raises(tx.InputError, match="'v'") as caught:
        filters.parse([("v", op, [value] if op == "in" else value)], schema)
    assert "timestamp[us]" in (caught.value.hint or "") or "is null" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("op", "meant"), [("<>", "!="), ("eq", "="), ("isin", "in"), ("gte", ">="), ("notnull", "is not null")]
)
def test_operators_of_others_are_told_by_meaning(op: str, meant: str) -> None:
    """The error names our operator of the same meaning, not the nearest spelling."""
    with pytest.raises(tx.InputError, match=rf"{meant!r}"):
        filters.parse([("v", op, 1)], pa.schema([("v", pa.int64())]))
