"""Which columns a write leads to, and the batch in their form."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows_types_help import SCALARS, chunked, types, values

from txfiles.core.schema import Column
from txfiles.errors import CorruptTableError, InputError, LossyCastError, SchemaMismatchError, UnsupportedTypeError
from txfiles.rows.equality import same
from txfiles.rows.schema import Reconciled, check_batch_schema, conform, reconcile
from txfiles.rows.types import arrow_schema, to_spec


def columns(*specs: tuple[int, str, object]) -> tuple[Column, ...]:
    return tuple(Column(id=i, name=name, type=t) for i, name, t in specs)


TABLE = columns((1, "id", "int64"), (2, "name", "string"), (5, "extra", "null"))


@pytest.mark.parametrize(
    ("schema", "error", "words"),
    [
        (pa.schema([]), InputError, ["no columns"]),
        (pa.schema([("a", pa.int8()), ("", pa.int8())]), InputError, ["column 1", "no name"]),
        (pa.schema([("a", pa.int8()), ("b", pa.int8()), ("a", pa.string())]), InputError, ["same name", "'a'"]),
        (pa.schema([("a", pa.int8()), ("u", pa.uuid())]), UnsupportedTypeError, ["'u'", "uuid"]),
        (pa.schema([("u", pa.list_(pa.month_day_nano_interval()))]), UnsupportedTypeError, ["'u'", "interval"]),
    ],
    ids=str,
)
def test_batch_that_no_table_can_hold(schema, error, words):
    """A batch without columns, with unnamed or equally named ones or an impossible type is refused by name."""
    with pytest.raises(error) as caught:
        check_batch_schema(schema)
    assert all(word in str(caught.value) for word in words)
    assert caught.value.hint


@given(st.lists(types, min_size=1, max_size=4))
def test_batch_that_a_table_can_hold(found):
    """Every type that the log can spell passes, names that differ in case only are two names."""
    check_batch_schema(pa.schema([("aAbB"[i], t) for i, t in enumerate(found)]))


CASES = {
    "strict, other order": (
        "strict",
        [("name", pa.large_string()), ("extra", pa.null()), ("id", pa.int32())],
        Reconciled(TABLE, changed=False, missing=(), added=()),
    ),
    "strict, a type for null": (
        "strict",
        [("id", pa.int64()), ("name", pa.string()), ("extra", pa.large_list(pa.int8()))],
        Reconciled((*TABLE[:2], *columns((5, "extra", {"list": "int8"}))), changed=True, missing=(), added=()),
    ),
    "merge, nothing new": (
        "merge",
        [("id", pa.int8())],
        Reconciled(TABLE, changed=False, missing=("name", "extra"), added=()),
    ),
    "merge, added and filled": (
        "merge",
        [("z", pa.int8()), ("id", pa.int64()), ("extra", pa.date32()), ("y", pa.dictionary(pa.int8(), pa.string()))],
        Reconciled(
            (*TABLE[:2], *columns((5, "extra", "date32"), (8, "z", "int8"), (9, "y", "string"))),
            changed=True,
            missing=("name",),
            added=("z", "y"),
        ),
    ),
    "overwrite": (
        "overwrite",
        [("extra", pa.int8()), ("new", pa.bool_()), ("id", pa.int64())],
        Reconciled(
            columns((8, "extra", "int8"), (9, "new", "bool"), (1, "id", "int64")),
            changed=True,
            missing=("name",),
            added=("new",),
        ),
    ),
    "overwrite, the same": (
        "overwrite",
        [("id", pa.int64()), ("name", pa.large_string()), ("extra", pa.null())],
        Reconciled(TABLE, changed=False, missing=(), added=()),
    ),
    "overwrite, other order": (
        "overwrite",
        [("name", pa.string()), ("id", pa.int64()), ("extra", pa.null())],
        Reconciled((TABLE[1], TABLE[0], TABLE[2]), changed=True, missing=(), added=()),
    ),
}


@pytest.mark.parametrize(("mode", "fields", "expected"), CASES.values(), ids=CASES)
def test_reconcile(mode, fields, expected):
    """Each mode changes what it may, and ids stay with their columns or are new."""
    assert reconcile(TABLE, pa.schema(fields), mode, last_id=7) == expected


@pytest.mark.parametrize("mode", ["strict", "merge", "overwrite"])
def test_new_table(mode):
    """A new table takes the batch's columns in every mode, ids from the last on."""
    batch = pa.schema([("a", pa.large_string()), ("b", pa.int8())])
    expected = Reconciled(columns((1, "a", "string"), (2, "b", "int8")), changed=True, missing=(), added=("a", "b"))
    assert reconcile((), batch, mode, last_id=0) == expected


def test_merge_widens_by_type():
    """Merge widens where the types say so, inside nested ones too, and keeps the table's type elsewhere."""
    table = columns((1, "i", "int32"), (2, "l", {"list": "int8"}), (3, "d", "decimal128(5, 2)"), (4, "k", "int64"))
    batch = pa.schema([("i", pa.int64()), ("l", pa.list_(pa.int32())), ("d", pa.decimal128(6, 4)), ("k", pa.uint64())])
    merged = reconcile(table, batch, "merge", last_id=4)
    assert [c.type for c in merged.columns] == ["int64", {"list": "int32"}, "decimal128(7, 4)", "int64"]
    assert [c.id for c in merged.columns] == [1, 2, 3, 4]
    assert merged.changed
    assert not reconcile(merged.columns, batch, "merge", last_id=4).changed


def test_strict_keeps_types():
    """Strict leaves the table's types to the values: nothing widens."""
    table = columns((1, "i", "int32"), (2, "l", {"list": "float32"}))
    batch = pa.schema([("i", pa.int64()), ("l", pa.list_(pa.float64()))])
    assert reconcile(table, batch, "strict", last_id=2) == Reconciled(table, changed=False, missing=(), added=())


def test_strict_lists_what_differs():
    """Strict names the missing and the surplus columns, with the name that was probably meant."""
    batch = pa.schema([("id", pa.int64()), ("nmae", pa.string()), ("extra", pa.null())])
    with pytest.raises(SchemaMismatchError) as caught:
        reconcile(TABLE, batch, "strict", last_id=7)
    assert caught.value.missing == ("name",)
    assert caught.value.extra == ("nmae",)
    assert all(word in str(caught.value) for word in ("lacks 'name'", "'nmae'", "did you mean 'name'"))
    assert "merge" in caught.value.hint


@pytest.mark.parametrize(
    "fields",
    [[("id", pa.int64())], [("id", pa.int64()), ("name", pa.string()), ("extra", pa.null()), ("x", pa.int8())]],
)
def test_strict_refuses_one_side(fields):
    """Strict refuses a missing column alone, and a surplus one alone."""
    with pytest.raises(SchemaMismatchError):
        reconcile(TABLE, pa.schema(fields), "strict", last_id=7)


@pytest.mark.parametrize("mode", ["strict", "merge"])
def test_types_that_never_mix(mode):
    """Types that never mix are refused by schema alone, rows or not."""
    batch = pa.schema([("id", pa.string()), ("name", pa.string()), ("extra", pa.null())])
    with pytest.raises(SchemaMismatchError, match="'id' holds string"):
        reconcile(TABLE, batch, mode, last_id=7)


def test_strict_says_that_a_name_is_exact():
    """A surplus name that differs from a missing one in case only is told which is meant, in struct fields too."""
    table = (*TABLE, *columns((6, "s", {"struct": [{"name": "a", "type": "int8"}]})))
    fields = [("x", pa.int8()), ("ID", pa.int64()), ("name", pa.string()), ("extra", pa.null())]
    batch = pa.schema([*fields, ("s", pa.struct({"A": pa.int8()}))])
    with pytest.raises(SchemaMismatchError, match=r"the table has no 'x', 'ID', 's\.A'") as caught:
        reconcile(table, batch, "strict", last_id=7)
    assert caught.value.hint == "names are exact: rename 'ID' to 'id' and 's.A' to 's.a'"


@pytest.mark.parametrize("mode", ["strict", "merge", "overwrite"])
def test_unsupported_type(mode):
    """A type that no table can hold is refused with its column in each mode."""
    batch = pa.schema([("id", pa.int64()), ("name", pa.string()), ("extra", pa.uuid())])
    with pytest.raises(UnsupportedTypeError, match="'extra'"):
        reconcile(TABLE, batch, mode, last_id=7)


@given(st.data())
def test_conform(data):
    """Whatever the order and the chunks, the rows come in the table's columns with the same values."""
    found = data.draw(st.lists(types, min_size=1, max_size=3))
    wanted = [Column(id=i, name=f"c{i}", type=to_spec(t)) for i, t in enumerate(found)]
    count = data.draw(st.integers(0, 4))
    arrays = [data.draw(chunked(t, data.draw(st.lists(values(t), min_size=count, max_size=count)))) for t in found]
    order = data.draw(st.permutations(range(len(found))))
    given_table = pa.table([arrays[i] for i in order], names=[f"c{i}" for i in order])
    result = conform(given_table, wanted)
    assert result.schema.equals(arrow_schema(wanted).remove_metadata())
    assert result.schema.metadata is None
    assert all(field.metadata is None for field in result.schema)
    for i, a in enumerate(arrays):
        assert same(result.column(i), a).all()


@given(st.sampled_from(SCALARS))
def test_missing_columns(t):
    """A missing column becomes nulls of its type, or is refused."""
    wanted = columns((1, "a", "int8"), (2, "b", to_spec(t)))
    given_table = pa.table({"a": pa.array([1, 2], pa.int64())}, metadata={"pandas": "{}"})
    result = conform(given_table, wanted)
    assert result.schema.types == [pa.int8(), t]
    assert result.schema.metadata is None
    assert result.column("b").null_count == result.num_rows == 2
    with pytest.raises(SchemaMismatchError, match="lacks 'b'"):
        conform(given_table, wanted, fill_missing=False)


def test_conform_refuses_what_it_would_drop_or_change():
    """A surplus column and a value that would change are errors, not silence."""
    with pytest.raises(SchemaMismatchError, match="'b'"):
        conform(pa.table({"a": [1], "b": [1]}), columns((1, "a", "int8")))
    with pytest.raises(LossyCastError, match=r"'a'.*row 1 holds 300"):
        conform(pa.table({"a": [1, 300]}), columns((1, "a", "int8")))
    with pytest.raises(LossyCastError, match="'a'"):
        conform(pa.table({"a": [Decimal("1.5")]}), columns((1, "a", "int8")))
    with pytest.raises(CorruptTableError):
        conform(pa.table({"a": [1]}), columns((1, "a", "int9")))


def test_conform_copies_nothing_in_vain():
    """A column that has its type already is handed on as it is."""
    a = pa.chunked_array([[1, 2], [3]], pa.int64())
    result = conform(pa.table({"a": a}), columns((1, "a", "int64")))
    assert [c.buffers()[1].address for c in result["a"].chunks] == [c.buffers()[1].address for c in a.chunks]
