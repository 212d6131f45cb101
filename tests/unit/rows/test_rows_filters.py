"""Filters: conditions and expressions, checked and bound (specs/4-semantics.md, "Filters")."""

from __future__ import annotations

import operator
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.errors import InputError, LossyCastError, SchemaMismatchError, UnsupportedTypeError
from txfiles.rows import filters

NAN = float("nan")
NAIVE = datetime.fromisoformat("2024-01-02T03:04:05")

ROWS = pa.table(
    {
        "i": pa.array([1, 2, None, 4], pa.int32()),
        "f": pa.array([0.0, -0.0, NAN, None]),
        "s": ["a", "b", None, "7"],
        "b": pa.array([True, False, None, True]),
        "d": pa.array([date(2024, 1, 1), date(2024, 1, 2), None, date(2024, 1, 3)]),
        "t": pa.array([NAIVE, None, NAIVE, NAIVE], pa.timestamp("us")),
        "z": pa.array([NAIVE, None, NAIVE, NAIVE], pa.timestamp("ms", "Europe/Berlin")),
        "m": pa.array([Decimal("1.50"), Decimal("2.00"), None, Decimal("3.25")], pa.decimal128(10, 2)),
        "x": pa.array([b"ab", b"", None, b"\0"]),
        "l": [[1], [], None, [2]],
        "a.b c": [1, 2, 3, None],
        "h": pa.array([np.float16(1), None, None, None], pa.float16()),
    }
)


def matching(given, rows: pa.Table = ROWS) -> list[int]:
    found = filters.parse(given, rows.schema)
    assert found is not None
    numbered = rows.append_column("row", pa.array(range(rows.num_rows)))
    return numbered.filter(found.expression)["row"].to_pylist()


CONDITIONS = [
    (("i", "=", 2), [1]),
    (("i", "==", 2), [1]),
    (("i", "!=", 2), [0, 3]),
    (("i", "<", 2), [0]),
    (("i", "<=", 2), [0, 1]),
    (("i", ">", 2), [3]),
    (("i", ">=", 2), [1, 3]),
    (["i", "=", 2], [1]),
    (("i", "in", [1, 4]), [0, 3]),
    (("i", "in", (1,)), [0]),
    (("i", "in", {4}), [3]),
    (("i", "in", np.array([4])), [3]),
    (("i", "in", pa.array([4], pa.int8())), [3]),
    (("i", "in", pa.chunked_array([[4]])), [3]),
    (("i", "in", []), []),
    (("i", "not in", [1, 4]), [1]),
    (("i", "NOT  IN", []), [0, 1, 3]),
    (("i", "is null", None), [2]),
    (("i", "is null"), [2]),
    (("i", "IS NOT NULL", "ignored"), [0, 1, 3]),
    (("i", "=", 2.0), [1]),
    (("i", "=", np.int64(2)), [1]),
    (("i", "=", pa.scalar(2, pa.uint8())), [1]),
    (("i", "=", "2"), [1]),
    (("i", "in", ["2", "4"]), [1, 3]),
    (("f", "=", 0), [0, 1]),
    (("f", "in", [0.0]), [0, 1]),
    (("f", "in", [-0.0]), [0, 1]),
    (("f", "in", [NAN]), []),
    (("f", "=", NAN), []),
    (("f", "!=", 0.0), [2]),
    (("f", "not in", [0.0]), [2]),
    (("f", "not in", [NAN]), [0, 1, 2]),
    (("f", ">=", "0"), [0, 1]),
    (("s", "=", "7"), [3]),
    (("s", ">", "a"), [1]),
    (("s", "=", pa.scalar("b", pa.large_string())), [1]),
    (("b", "=", True), [0, 3]),
    (("b", "=", "false"), [1]),
    (("d", ">=", date(2024, 1, 2)), [1, 3]),
    (("d", "=", "2024-01-02"), [1]),
    (("t", "=", NAIVE), [0, 2, 3]),
    (("t", "=", "2024-01-02T03:04:05"), [0, 2, 3]),
    (("z", "=", NAIVE.replace(tzinfo=UTC)), [0, 2, 3]),
    (("z", "=", "2024-01-02T03:04:05Z"), [0, 2, 3]),
    (("m", "=", Decimal("1.5")), [0]),
    (("m", ">", 1), [0, 1, 3]),
    (("m", "in", [Decimal(2)]), [1]),
    (("m", "=", "3.25"), [3]),
    (("x", "=", b"ab"), [0]),
    (("x", "=", "YWI="), [0]),
    (("l", "is null", None), [2]),
    (("a.b c", "=", 2), [1]),
    (("h", "is not null", None), [0]),
]


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS, ids=lambda v: str(v)[:40])
def test_conditions(condition, expected):
    """Each operator matches the rows that it should, and no row in which it is unknown."""
    assert matching([condition]) == expected


def test_all_conditions_hold():
    """A row matches if all conditions do; without conditions every row does."""
    assert matching([("i", ">", 1), ("s", "!=", "b")]) == [3]
    assert matching([]) == [0, 1, 2, 3]
    assert matching(()) == [0, 1, 2, 3]


def test_no_filter_is_none():
    """None is no filter."""
    assert filters.parse(None, ROWS.schema) is None


def test_conditions_come_back_normal():
    """A filter tells its columns and its conditions, with values of the column's type, for pruning."""
    found = filters.parse([("i", "=", "2"), ("i", "in", [1, 4]), ("s", "IS NULL", 5)], ROWS.schema)
    assert found.columns == ("i", "s")
    (first, second, third) = found.conditions
    assert first == ("i", "==", pa.scalar(2, pa.int32()))
    assert second[:2] == ("i", "in")
    assert second[2].equals(pa.array([1, 4], pa.int32()))
    assert third == ("s", "is null", None)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ([("ii", "=", 1)], InputError, r"'ii'.*'i'"),
        ([(3, "=", 1)], InputError, "3"),
        ([("i", "=>", 1)], InputError, "'=>' .*'i' is unknown"),
        ([("i", "like", 1)], InputError, "'like'"),
        ([("i", "=", None)], InputError, "null"),
        ([("i", "in", [1, None])], InputError, "null"),
        ([("i", "in", "12")], InputError, "'in'"),
        ([("i", "in", 12)], InputError, "'in'"),
        ([("i", "=", 2.5)], LossyCastError, "'i'.*2.5"),
        ([("i", "=", 2**31)], LossyCastError, "'i'"),
        ([("i", "=", 2**70)], InputError, "'i'"),
        ([("i", "in", [1, "x"])], InputError, "'i'"),
        pytest.param([("i", "=", object())], InputError, "'i'", id="an object"),
        ([("i", "=", "two")], InputError, "'i'.*two"),
        ([("s", "=", "\ud800")], InputError, "'s'"),
        ([("i", "=", True)], SchemaMismatchError, "'i'"),
        ([("s", "=", 7)], SchemaMismatchError, "'s'"),
        ([("m", "=", 1.5)], SchemaMismatchError, "'m'"),
        ([("d", "=", NAIVE)], SchemaMismatchError, "'d'"),
        ([("t", "=", NAIVE.replace(tzinfo=UTC))], SchemaMismatchError, "'t'"),
        ([("z", "=", NAIVE)], SchemaMismatchError, "'z'"),
        ([("z", "=", "2024-01-02T03:04:05")], InputError, "'z'"),
        ([("l", "=", [1])], UnsupportedTypeError, "list"),
        ([("h", "<", 1.0)], UnsupportedTypeError, "halffloat"),
        ([("i", "=")], InputError, "is not a filter"),
        ([("i", "=", 1, 2)], InputError, "is not a filter"),
        ([1], InputError, "is not a filter"),
        ("i = 1", InputError, "is not a filter"),
        (("i", "=", 1), InputError, "is not a filter"),
        ({"i": 1}, InputError, "is not a filter"),
        ([[("i", "=", 1)]], InputError, "is not a filter"),
        (pc.field("ii") > 1, InputError, r"'ii'.*'i'"),
        (pc.field("i") > "x", UnsupportedTypeError, "does not fit"),
        (pc.field("i") + 1, InputError, "does not fit"),
        (pc.field("i"), InputError, "does not fit"),
        (pc.field("l", "q") == 1, InputError, "does not fit"),
        (pc.field(0) > 1, InputError, "position"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_what_does_not_fit_is_refused(given, error, says):
    """An unknown column or operator, a null, a lossy or foreign value, a wrong form: an error that names it."""
    with pytest.raises(error, match=says) as caught:
        filters.parse(given, ROWS.schema)
    assert isinstance(caught.value, InputError)
    assert caught.value.hint
    assert len(caught.value.message) < 1_000


@pytest.mark.parametrize(
    ("given", "columns", "expected"),
    [
        (pc.field("i") > 1, ("i",), [1, 3]),
        ((pc.field("i") > 1) | (pc.field("s") == "a"), ("i", "s"), [0, 1, 3]),
        (pc.field("a.b c").is_null(), ("a.b c",), [3]),
        (pc.field("s") == "FieldPath(0)", ("s",), []),
        (pc.field("i").isin([1]), ("i",), [0]),
        (pc.scalar(True), (), [0, 1, 2, 3]),
    ],
    ids=str,
)
def test_an_expression_stays_as_it_is(given, columns, expected):
    """An Arrow expression is checked, and comes back with the columns that it looks at, and no conditions."""
    found = filters.parse(given, ROWS.schema)
    assert found.expression.equals(given)
    assert (found.columns, found.conditions) == (columns, None)
    assert matching(given) == expected


COMPARE = {"=": operator.eq, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le}
COMPARE |= {">": operator.gt, ">=": operator.ge}
COMPARE |= {"in": lambda v, vs: any(v == w for w in vs), "not in": lambda v, vs: all(v != w for w in vs)}
FLOATS = st.sampled_from([0.0, -0.0, 1.5, NAN, float("inf")])


@given(
    st.lists(st.none() | FLOATS, max_size=6), st.sampled_from(sorted(COMPARE)), st.lists(FLOATS, min_size=1, max_size=3)
)
def test_filters_mean_what_python_means(values, op, operands):
    """On floats, NaN and signed zeros included, each operator is Python's; null matches none."""
    rows = pa.table({"v": pa.array(values, pa.float64())})
    operand = operands if "in" in op else operands[0]
    expected = [i for i, v in enumerate(values) if v is not None and COMPARE[op](v, operand)]
    assert matching([("v", op, operand)], rows) == expected
