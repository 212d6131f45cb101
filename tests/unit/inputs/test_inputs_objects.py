"""Python objects within lists and dicts of a pandas column: kept as they are, or refused by column and row."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from txfiles import inputs
from txfiles.errors import InputError, SchemaMismatchError
from txfiles.rows.casts import cast_lossless

NAIVE, ZONED = datetime(2024, 1, 1, 5), datetime(2024, 1, 1, 5, tzinfo=timezone(timedelta(hours=2)))
NANO = pd.Timestamp("2024-01-01 00:00:00.000000001")


def column(values):
    source = inputs.source(pd.DataFrame({"id": range(len(values)), "v": pd.Series(values, dtype=object)}))
    try:
        return source.read(None).table["v"]
    finally:
        source.close()


WRAPS = [
    lambda one: [one],
    lambda one: (None, one),
    lambda one: {"k": one},
    lambda one: {"k": [{"deep": [one]}]},
    lambda one: [[], [one]],
]

MIXTURES = [
    (date(2024, 1, 1), NAIVE),
    (NAIVE, date(2024, 1, 1)),
    (ZONED, NAIVE),
    (NAIVE, ZONED),
    (NANO, ZONED),
    ("x", b"x"),
    (b"x", "x"),
    (1, True),
    (1.5, True),
    (True, 1),
    (time(1), time(1, tzinfo=UTC)),
    (Decimal("1.5"), True),
]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("pair", MIXTURES)
def test_mixtures_are_refused_at_any_depth(tmp_path, wrap, pair):
    """What pyarrow would cut, shift or recode is refused, naming the column and the row; nothing is written."""
    frame = pd.DataFrame({"v": pd.Series([None, wrap(pair[0]), wrap(pair[1])], dtype=object)})
    with pytest.raises(SchemaMismatchError, match=r"column 'v'.*row [12] ") as caught:
        tx.write(frame, tmp_path / "t", mode="append")
    assert caught.value.row in {1, 2}
    assert not tx.exists(tmp_path / "t")


def test_a_mixture_within_one_list():
    """A list that mixes types itself is refused by its row, after rows that do not."""
    with pytest.raises(SchemaMismatchError, match="row 2 holds a datetime") as caught:
        column([[date(2024, 1, 1)], [], [date(2024, 1, 1), NAIVE]])
    assert caught.value.value == NAIVE


@pytest.mark.parametrize("bad", [{b"k": 1}, {"k": {b"x": 2}}])
def test_names_of_fields_are_text(bad):
    """A dict with other keys than text is refused, rather than its keys decoded."""
    with pytest.raises(SchemaMismatchError, match=r"row 1.*not all text"):
        column([{"k": None}, bad])


def test_arrays_of_numpy_keep_their_values():
    """Arrays of one dtype are taken as they are; integers that a double does not hold are refused."""
    kept = [np.array(["2024-01-01T00:00:00.000000001"], "M8[ns]"), None, np.array([], "M8[ns]")]
    assert column(kept).type == pa.list_(pa.timestamp("ns"))
    assert column(kept).to_pylist()[0] == [NANO]
    with pytest.raises(InputError, match="column 'v'"):
        column([np.array([1.5]), np.array([2**53 + 1])])
    assert column([np.array([1.5]), np.array([2])]).to_pylist() == [[1.5], [2.0]]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("value", [NANO, NANO.tz_localize("Europe/Paris"), pd.Timedelta(1, "ns")])
def test_nanoseconds_are_kept_at_any_depth(wrap, value):
    """Nanoseconds of pandas' objects are kept; with a time that nanoseconds cannot hold they are refused."""
    assert canonical(column([wrap(value), wrap(None)]).to_pylist()) == canonical([wrap(value), wrap(None)])
    far = timedelta(days=200_000) if isinstance(value, timedelta) else datetime(9999, 1, 1, tzinfo=value.tzinfo)
    with pytest.raises(InputError, match="column 'v' has both nanoseconds"):
        column([wrap(value), wrap(far)])


def canonical(value):
    """Values such that those that differ in class or in any digit differ; null fields count as missing."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, dict):
        return {name: canonical(one) for name, one in value.items() if canonical(one) is not None}
    if isinstance(value, list | tuple):
        return [canonical(one) for one in value]
    if isinstance(value, datetime):
        return "time", value.tzinfo is None, pd.Timestamp(value).as_unit("ns").value
    if isinstance(value, timedelta):
        return "span", pd.Timedelta(value).as_unit("ns").value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number", value
    return type(value).__name__, value


LEAVES = st.one_of(
    st.none(),
    st.sampled_from([pd.NA, pd.NaT, float("nan"), True, 1, 2**62, 2.5, "x", b"x", date(2024, 1, 1), NAIVE, ZONED]),
    st.sampled_from([NANO, NANO.tz_localize("UTC"), pd.Timedelta(1, "ns"), timedelta(1), time(1), Decimal("1.50")]),
)


def _nested(inner):
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("pq"), inner, max_size=2)


@given(st.lists(st.none() | _nested(st.recursive(LEAVES, _nested, max_leaves=4)), min_size=1, max_size=4))
def test_any_nested_objects(values):
    """Whatever lists and dicts hold, each value comes out as it went in, or the column is refused."""
    try:
        kept = column(values).to_pylist()
    except InputError as error:
        assert "'v'" in error.message
        return
    assert canonical(kept) == canonical(values)


UNITS = st.sampled_from(["s", "ms", "us", "ns"])
TYPES = st.recursive(
    st.one_of(
        UNITS.map(pa.timestamp),
        UNITS.map(lambda unit: pa.timestamp(unit, "Europe/Paris")),
        UNITS.map(pa.duration),
        st.sampled_from([pa.int8(), pa.float64(), pa.string(), pa.date32()]),
    ),
    lambda inner: st.one_of(
        inner.map(pa.list_), st.tuples(inner, inner).map(lambda pair: pa.struct([("p", pair[0]), ("q", pair[1])]))
    ),
    max_leaves=4,
)


def _values(t):
    if pa.types.is_struct(t):
        return st.none() | st.fixed_dictionaries({f.name: _values(f.type) for f in t})
    if pa.types.is_nested(t):
        return st.none() | st.lists(_values(t.value_type), max_size=3)
    if pa.types.is_temporal(t):
        ticks = st.integers(0, 10_000) if pa.types.is_date(t) else st.integers(0, 2**31)
        return st.none() | ticks.map(lambda n: pa.scalar(n, pa.int32() if pa.types.is_date(t) else pa.int64()).cast(t))
    if pa.types.is_string(t):
        return st.none() | st.text("ab", max_size=2)
    return st.none() | st.integers(0, 100)


@given(st.data())
def test_what_is_read_is_written_back_unchanged(data):
    """Nested values of every unit, read with `to_pandas` and given back, are the very values of the table."""
    t = pa.list_(data.draw(TYPES))
    values = data.draw(st.lists(_values(t), min_size=1, max_size=4))
    table = pa.table({"v": pa.array(values, t)})
    given_back = inputs.as_table(inputs.to_pandas(table))
    assert given_back is not None
    assert cast_lossless(given_back["v"], t, name="v").equals(table["v"])


def test_a_table_of_nested_nanoseconds(tmp_path):
    """An upsert of what `to_pandas` gave changes no row."""
    t = pa.struct([("at", pa.timestamp("ns")), ("spans", pa.list_(pa.duration("ns")))])
    rows = pa.array([{"at": NANO, "spans": [pd.Timedelta(1, "ns"), None]}, None, {"at": None, "spans": []}], t)
    tx.write(pa.table({"id": [1, 2, 3], "v": rows}), tmp_path, mode="upsert", keys=["id"])
    result = tx.write(tx.Table(tmp_path).to_pandas(), tmp_path, mode="upsert")
    assert not result.committed
    assert result.rows_unchanged == 3
