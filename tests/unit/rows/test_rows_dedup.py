"""Key checks, duplicate keys in a batch, and which rows are older (specs/4-semantics.md)."""

from __future__ import annotations

import math
from datetime import date, time, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.errors import (
    DuplicateKeyError,
    KeyColumnNotFoundError,
    NullKeyError,
    OptionError,
    SchemaMismatchError,
    UnsupportedTypeError,
)
from txfiles.rows import dedup, keys

NAN = float("nan")


def kept(table: pa.Table, strategy: str, timestamp_col: str | None = None, by: tuple[str, ...] = ("k",)) -> list[int]:
    found = dedup.deduplicate(table, keys.encode(table, by), strategy, timestamp_col, keys=by)
    return list(range(table.num_rows)) if found is None else found.tolist()


# ---- keys


def test_good_keys_pass():
    """Keys that are there, of types that serve, without nulls, are accepted; so is an empty column of no type."""
    batch = pa.table({"a": [1, 2], "b": pa.array(["x", "y"]).dictionary_encode()})
    dedup.check_keys(batch, ["a", "b"])
    dedup.check_keys(pa.table({"a": pa.nulls(0)}), ["a"])


def test_a_missing_key_column_names_what_there_is():
    """A key column that is not there is a KeyError that says "not found", the columns and the nearest one."""
    with pytest.raises(KeyColumnNotFoundError, match=r"'custmer_id' not found.*'customer_id'") as caught:
        dedup.check_keys(pa.table({"customer_id": [1], "name": ["x"]}), ["custmer_id"])
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, ValueError)
    assert "customer_id, name" in caught.value.hint
    assert caught.value.column == "custmer_id"


@pytest.mark.parametrize("t", [pa.float64(), pa.float32(), pa.list_(pa.int64()), pa.time32("s"), pa.duration("s")])
def test_a_key_type_that_does_not_serve_is_named(t):
    """A key column of an unsupported type is an error that names the column, its type and the types that serve."""
    with pytest.raises(UnsupportedTypeError) as caught:
        dedup.check_keys(pa.table({"k": pa.nulls(1, t)}), ["k"])
    assert "'k'" in caught.value.message
    assert str(t) in caught.value.message
    assert "integer, string, binary, boolean, date, timestamp and decimal" in caught.value.hint


DICTIONARY_WITH_NULL = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array(["x", None]))


@pytest.mark.parametrize(
    ("column", "rows"),
    [
        (pa.array([1, None, 3, None]), [1, 3]),
        (pa.chunked_array([["a"], [None, "b"], [None]]), [1, 3]),
        (pa.nulls(2), [0, 1]),
        (DICTIONARY_WITH_NULL, [1]),
        (pa.nulls(25, pa.int64()), list(range(10))),
    ],
)
def test_null_keys_name_column_count_and_rows(column, rows):
    """Nulls in a key column are an error with the column, their count and their first ten positions."""
    with pytest.raises(NullKeyError) as caught:
        dedup.check_keys(pa.table({"other": pa.nulls(len(column)), "k": column}), ["k"])
    count = 25 if len(column) == 25 else len(rows)
    assert (caught.value.column, caught.value.count, caught.value.rows) == ("k", count, rows)
    assert f"{count} row" in caught.value.message
    assert f" {rows[0]}" in caught.value.message
    assert ("and 15 more" in caught.value.message) == (count == 25)


# ---- duplicates

BATCH = pa.table(
    {
        "k": ["a", "b", "a", "c", "b", "a"],
        "t": [2, 1, 3, 1, 1, None],
        "v": [0, 1, 2, 3, 4, 5],
    }
)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("first_wins", [0, 1, 3]), ("last_wins", [3, 4, 5]), ("newest_wins", [2, 3, 4])],
)
def test_who_wins(strategy, expected):
    """By position, or by time with nulls oldest and ties to the later row; the rest stay in input order."""
    assert kept(BATCH, strategy, "t") == expected


@pytest.mark.parametrize("strategy", dedup.STRATEGIES)
def test_unique_keys_are_all_kept(strategy):
    """Without repeated keys, sorted or not, every row is kept: the answer is None."""
    for order in ([0, 1, 2], [2, 0, 1], [], [0]):
        batch = pa.table({"k": pa.array(order, pa.int64()), "t": pa.array(order, pa.int64())})
        assert dedup.deduplicate(batch, keys.encode(batch, ["k"]), strategy, "t") is None


@pytest.mark.parametrize("strategy", dedup.STRATEGIES)
def test_equal_rows_are_one(strategy):
    """Rows equal in every column (NaN, null and nested values too) are one row under each strategy."""
    batch = pa.table(
        {
            "k": [2, 1, 2, 2],
            "t": pa.array([NAN, 1.0, NAN, NAN]),
            "n": [None, 1, None, None],
            "l": [[{"x": None}], [], [{"x": None}], [{"x": None}]],
        }
    )
    found = kept(batch, strategy, "t")
    assert len(found) == 2
    assert 1 in found


@pytest.mark.parametrize(
    ("a", "b"),
    [(0.0, -0.0), (NAN, None), (1.0, 1.5)],
)
def test_rows_that_differ_at_all_are_not_one(a, b):
    """-0.0 is not 0.0 and NaN is not null: such rows of one key are an error."""
    batch = pa.table({"k": [1, 1], "v": pa.array([a, b], pa.float64())})
    with pytest.raises(DuplicateKeyError):
        kept(batch, "error")


def test_the_error_names_keys_and_rows():
    """Duplicated keys are named by value and row positions, in input order; keys of equal rows are not."""
    batch = pa.table({"k": ["z", "b", "z", "b", "eq", "eq"], "n": [1, 1, 1, 1, 2, 2], "v": [1, 2, 3, 4, 5, 5]})
    with pytest.raises(DuplicateKeyError, match=r"2 keys .*'z' \(rows 0, 2\); 'b' \(rows 1, 3\); nothing") as caught:
        kept(batch, "error")
    assert caught.value.keys == ["z", "b"]
    assert caught.value.rows == [[0, 2], [1, 3]]
    assert caught.value.count == 2
    with pytest.raises(DuplicateKeyError) as caught:
        kept(batch, "error", by=("k", "n"))
    assert caught.value.keys == [("z", 1), ("b", 1)]


def test_the_error_stays_short():
    """Of many keys five are named, of many rows ten, and of a long value its beginning."""
    batch = pa.table({"k": [f"{i % 8}" + "x" * 10_000 for i in range(100)], "v": range(100)})
    with pytest.raises(DuplicateKeyError, match=r"8 keys .*and 3 more") as caught:
        kept(batch, "error")
    assert len(caught.value.keys) == 5
    assert all(len(rows) == 10 for rows in caught.value.rows)
    assert len(caught.value.message) < 2_000


@pytest.mark.parametrize(
    ("strategy", "timestamp_col", "error", "says"),
    [
        ("newest", "t", OptionError, "newest_wins"),
        ("newest_wins", None, OptionError, "requires 'timestamp_col'"),
        ("newest_wins", "tt", SchemaMismatchError, "'tt' not found"),
        ("newest_wins", "l", UnsupportedTypeError, "'l'.*cannot be ordered"),
    ],
)
def test_wrong_options_are_refused_without_duplicates_too(strategy, timestamp_col, error, says):
    """A wrong strategy or timestamp column is an error whatever the rows are."""
    batch = pa.table({"k": [1], "t": [1], "l": [[1]]})
    with pytest.raises(error, match=says):
        kept(batch, strategy, timestamp_col)


ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.none() | st.sampled_from([1.0, 2.0, NAN]), st.integers(0, 2)), max_size=14
)


def _age(value: float | None) -> float:
    return float("-inf") if value is None or math.isnan(value) else value


@given(ROWS, st.sampled_from(dedup.STRATEGIES))
def test_deduplicate_agrees_with_its_definition(rows, strategy):
    """Each key stands once, in input order, and its row is the one that the strategy names."""
    batch = pa.table(
        {
            "k": pa.array([r[0] for r in rows], pa.int64()),
            "t": pa.array([r[1] for r in rows], pa.float64()),
            "v": pa.array([r[2] for r in rows], pa.int64()),
        }
    )
    by_key: dict[int, list[int]] = {}
    for position, row in enumerate(rows):
        by_key.setdefault(row[0], []).append(position)
    if strategy == "error" and any(len({repr(rows[p]) for p in group}) > 1 for group in by_key.values()):
        with pytest.raises(DuplicateKeyError):
            kept(batch, strategy)
        return
    choose = {
        "error": lambda group: group[0],
        "first_wins": lambda group: group[0],
        "last_wins": lambda group: group[-1],
        "newest_wins": lambda group: max(group, key=lambda p: (_age(rows[p][1]), p)),
    }[strategy]
    assert kept(batch, strategy, "t") == sorted(choose(group) for group in by_key.values())


# ---- older

ORDERED = {
    pa.int8(): [-3, 2],
    pa.uint64(): [1, 2**64 - 1],
    pa.float16(): [np.float16(-1.5), np.float16(2.5)],
    pa.float32(): [-1.5, 2.5],
    pa.float64(): [float("-inf"), -1.0],
    pa.bool_(): [False, True],
    pa.string(): ["Z", "a"],
    pa.large_string(): ["\uffff", "\U00010000"],
    pa.string_view(): ["a", "ab"],
    pa.dictionary(pa.int8(), pa.string()): ["a", "b"],
    pa.binary(): [b"\x7f", b"\x80"],
    pa.binary(1): [b"\x7f", b"\x80"],
    pa.date32(): [date(1800, 1, 1), date(2024, 1, 1)],
    pa.date64(): [date(1800, 1, 1), date(2024, 1, 1)],
    pa.timestamp("ns"): [0, 1],
    pa.timestamp("s", "Asia/Tokyo"): [0, 1],
    pa.time32("s"): [time(1), time(2)],
    pa.time64("us"): [time(1), time(2)],
    pa.duration("ms"): [timedelta(1), timedelta(2)],
    pa.decimal128(5, 2): [Decimal("-1.25"), Decimal("0.10")],
    pa.decimal256(50, 2): [Decimal("-1.25"), Decimal("0.10")],
}


@pytest.mark.parametrize("t", ORDERED, ids=str)
def test_older_and_ranks_of_every_orderable_type(t):
    """Null is older than any value, a lesser value than a greater one, and nothing than its equal."""
    low, high = ORDERED[t]
    a = pa.array([None, None, low, low, high, high, low], t)
    b = pa.array([None, low, None, high, low, high, low], t)
    expected = [False, True, False, True, False, False, False]
    assert dedup.older(a, b).tolist() == expected
    assert dedup.older(pa.chunked_array([a[:2], a[2:]]), pa.chunked_array([b[:5], b[5:]])).tolist() == expected
    found = dedup.ranks(pa.chunked_array([pa.array([high, low], t), pa.array([None, low], t)]))
    assert (found.argsort(kind="stable").tolist(), found[1] == found[3]) == ([2, 1, 3, 0], True)


def test_nan_is_as_old_as_null():
    """NaN and null are equally old, and older than minus infinity; -0.0 is as old as 0.0."""
    a = pa.array([NAN, NAN, None, float("-inf"), -0.0, 0.0])
    b = pa.array([None, float("-inf"), NAN, NAN, 0.0, -0.0])
    assert dedup.older(a, b).tolist() == [False, True, False, False, False, False]
    found = dedup.ranks(pa.array([0.0, NAN, None, -0.0, float("-inf")]))
    assert found[1] == found[2] < found[4] < found[0] == found[3]


def test_a_timestamp_column_of_no_type_is_all_equally_old():
    """Where the whole column is null, the later row wins."""
    batch = pa.table({"k": [1, 1], "t": pa.nulls(2), "v": [1, 2]})
    assert kept(batch, "newest_wins", "t") == [1]
    assert dedup.older(pa.nulls(2), pa.nulls(2)).tolist() == [False, False]
