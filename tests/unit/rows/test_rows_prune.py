"""Pruning leaves out what cannot match, and never what does."""

from __future__ import annotations

import math
from functools import reduce
from operator import and_, or_

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from txfiles.core.manifest import Add, TableMetadata
from txfiles.core.schema import Column
from txfiles.reading import scan
from txfiles.rows import filelist, filters, prune
from txfiles.rows.stats import column_stats

pytestmark = pytest.mark.guarantees("S13")

COLUMNS = tuple(
    Column(id=number, name=name, type=kind)
    for number, (name, kind) in enumerate(
        {"i": "int32", "f": "float64", "s": "string", "d": "duration[us]", "t": "timestamp[us]"}.items(), 1
    )
)
SCHEMA = pa.schema(
    [
        ("i", pa.int32()),
        ("f", pa.float64()),
        ("s", pa.string()),
        ("d", pa.duration("us")),
        ("t", pa.timestamp("us")),
    ]
)
TABLE = TableMetadata(format="parquet", columns=COLUMNS, last_column_id=5)
FLOATS = [0.0, -0.0, 1.5, -2.0, math.inf, -math.inf, math.nan]
VALUES = {
    "i": st.integers(-4, 4),
    "f": st.sampled_from(FLOATS),
    "s": st.sampled_from(["", "a", "b", "ab", "z" * 80, "z" * 81]),
    "d": st.integers(-4, 4),
    "t": st.integers(-4, 4),
}


def file_list(files):
    """What the log says of some files."""
    adds = []
    for number, rows in enumerate(files):
        found = column_stats(rows)
        stats = {str(column.id): found[column.name] for column in COLUMNS if column.name in found}
        adds.append((Add(path=f"{number}", rows=rows.num_rows, bytes=1, sha256="0" * 64, stats=stats), 0))
    return filelist.from_adds(adds, COLUMNS, ())


@st.composite
def some_files(draw):
    """Files of a few rows; a column may lack values or be missing, as in a file older than the column."""
    return [
        pa.table(
            {
                field.name: pa.array(draw(st.lists(VALUES[field.name] | st.none(), min_size=n, max_size=n)), field.type)
                for field in SCHEMA
            }
        )
        for n in draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    ]


def literal(name, value):
    return pa.scalar(value, SCHEMA.field(name).type)


@st.composite
def comparisons(draw):
    """One comparison, of a column with a value on either side, a set, null, or a number of another type."""
    name = draw(st.sampled_from(SCHEMA.names))
    field, value = pc.field(name), literal(name, draw(VALUES[name]))
    kind = draw(st.sampled_from(["<", "<=", "==", "!=", ">", ">=", "in", "null", "valid", "wide", "sum"]))
    if kind == "in":
        return field.isin(pa.array(draw(st.lists(VALUES[name] | st.none(), max_size=3)), SCHEMA.field(name).type))
    if kind == "null":
        return field.is_null(nan_is_null=draw(st.booleans()))
    if kind == "valid":
        return field.is_valid()
    if kind == "wide":  # of another type than the column's
        return pc.field("i") >= draw(st.sampled_from([-1.5, 0.5, 2.0, 2**40]))
    if kind == "sum":
        return pc.field("i") + pc.field("f") > draw(st.integers(-4, 4))
    compare = {
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
    }[kind]
    return compare(field, value) if draw(st.booleans()) else compare(pc.scalar(value), field)


EXPRESSIONS = st.recursive(
    comparisons(),
    lambda inner: (
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: reduce(and_, parts))
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: reduce(or_, parts))
        | inner.map(lambda part: ~part)
    ),
    max_leaves=5,
)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks so small that a few files make several."""
    monkeypatch.setattr(prune, "BLOCKS", (3, 2, 1))


def test_a_file_that_is_left_out_has_no_match(small_blocks):
    """Whatever the expression and the rows, each file that pruning leaves out has no row that matches."""

    @given(files=some_files(), where=EXPRESSIONS)
    @example(files=[SCHEMA.empty_table()], where=pc.field("i") > 0)
    @example(files=[pa.Table.from_pylist([{"f": 0.0}], SCHEMA)], where=~(pc.field("f") < pa.scalar(math.nan)))
    def holds(files, where):
        may = scan.may_match(file_list(files), TABLE, filters.parse(where, SCHEMA))
        for kept, rows in zip(may, files, strict=True):
            assert kept or rows.filter(where).num_rows == 0

    holds()


@pytest.mark.parametrize("name", ["i", "f"])
@pytest.mark.parametrize("nan", [pc.scalar(math.nan), pc.scalar("NaN").cast(pa.float64()), pc.sqrt(pc.scalar(-1.0))])
def test_no_file_is_left_out_for_nan(nan, name):
    """What NaN is compared with matches as it does in a table in memory, however NaN and the comparison are written."""
    files = [SCHEMA.empty_table(), pa.table([pa.array([1]).cast(kind) for kind in SCHEMA.types], schema=SCHEMA)]
    for where in (~(pc.field(name) < nan), ~(pc.field(name) <= nan), pc.field(name) != nan, ~(pc.field(name) == nan)):
        assert files[1].filter(where).num_rows == 1
        assert scan.may_match(file_list(files), TABLE, filters.parse(where, SCHEMA))[1]


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize(
    "where",
    [
        pc.field("i") == 250,
        (pc.field("i") >= 250) & (pc.field("i") < 260),
        ~(pc.field("i") != 250) | (pc.field("i") == 255),
        pc.field("i").isin([250, 259]),
        (pc.field("t") == pa.scalar(250, pa.timestamp("us"))) & (pc.field("s") != "x"),
        (pc.field("d") <= pa.scalar(259, pa.duration("us"))) & (pc.field("d") > pa.scalar(249, pa.duration("us"))),
        pc.field("f") == 250,
        (pc.field("f") > 249.5) & (pc.field("f") < 259.5),
        (pc.field("f") == 250) & ~pc.field("f").is_null(nan_is_null=True) & (pc.field("i") + 1 > 0),
        (pc.field("i") == 250) & pc.field("i").cast(pa.decimal128(12, 2)).isin(pa.array([250], pa.decimal128(12, 2))),
    ],
)
def test_an_expression_prunes(where, gap):
    """Of 400 files, an expression that bounds a column is judged to touch the one file in its range, nulls or not."""
    files = []
    for start in range(0, 4_000, 10):
        ids = np.arange(start, start + 10)
        values = [None if gap and value % 10 == 3 else int(value) for value in ids]
        files.append(pa.table([pa.array(values, pa.int64()).cast(kind) for kind in SCHEMA.types], schema=SCHEMA))
    may = scan.may_match(file_list(files), TABLE, filters.parse(where, SCHEMA))
    assert np.flatnonzero(may).tolist() == [25]


def test_null_is_looked_for_where_there_is_one():
    """`is null` keeps the files that have a null by the log, and no others."""
    files = [pa.table([pa.array([1, null]).cast(kind) for kind in SCHEMA.types], schema=SCHEMA) for null in (2, None)]
    may = scan.may_match(file_list(files), TABLE, filters.parse(pc.field("i").is_null(), SCHEMA))
    assert may.tolist() == [False, True]


def test_only_named_columns_are_judged():
    """What a filter does not name is not looked at: the work does not grow with the number of columns."""
    asked = []

    def bounds(name):
        asked.append(name)
        return prune.Known(pa.array([1]), pa.array([2]), pa.array([0]))

    schema = pa.schema([(f"c{number}", pa.int64()) for number in range(50)])
    where = filters.parse(pc.field("c7") > 5, schema)
    assert not prune.by_expression(bounds, 1, where.expression, schema, where.columns).any()
    assert asked == ["c7"]


def test_sorted_files_are_judged_in_blocks(monkeypatch):
    """Of n files in order, only about n/64 blocks and the files of the blocks in range are judged one by one."""
    judged = []
    real = prune._may_match

    def counting(files, *rest):
        judged.append(files.num_rows)
        return real(files, *rest)

    monkeypatch.setattr(prune, "_may_match", counting)
    for count in (6_400, 12_800):
        judged.clear()
        low = np.random.default_rng(1).permutation(count) * 10
        known = prune.Known(pa.array(low), pa.array(low + 9), pa.array(np.zeros(count, np.int64)))
        schema = pa.schema([("a", pa.int64())])
        where = filters.parse(pc.field("a") == 77, schema)
        may = prune.by_expression(lambda _, found=known: found, count, where.expression, schema, ("a",))
        assert low[may].tolist() == [70]
        assert sum(judged) <= 4 + 2 * 64
