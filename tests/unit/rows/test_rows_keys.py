"""Key codes, their ranges, pruning and matching (specs/7-keys.md)."""

from __future__ import annotations

import itertools
import json
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from txfiles.errors import UnsupportedTypeError
from txfiles.rows import keys, matching, types
from txfiles.rows.text import from_text

SPEC = Path(__file__).parents[3] / "specs" / "7-keys.md"


def _vectors() -> list[tuple[list[str], list[str], bytes]]:
    row = re.compile(r"^\| (`.+`) \| `(\[.*\])` \| `([0-9a-f ]+)` \|$", re.MULTILINE)
    return [
        (re.findall("`(.+?)`", columns), json.loads(values), bytes.fromhex(code))
        for columns, values, code in row.findall(SPEC.read_text(encoding="utf-8"))
    ]


VECTORS = _vectors()

# ---- values of each key type, in the order of their keys


DECIMALS = st.decimals(min_value=-(10**20), max_value=10**20, places=4, allow_nan=False, allow_infinity=False)
TEXTS = st.one_of(st.text(max_size=6), st.text(alphabet="\0\1ab\U0010ffff", max_size=6), st.text(max_size=90))
BYTES = st.one_of(st.binary(max_size=6), st.lists(st.sampled_from([0, 1, 255]), max_size=6).map(bytes))
COLUMNS = {
    "int64": (pa.int64(), st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))),
    "uint64": (pa.uint64(), st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "bool": (pa.bool_(), st.booleans()),
    "date": (pa.date32(), st.dates()),
    "timestamp": (pa.timestamp("us"), st.datetimes()),
    "decimal": (pa.decimal128(30, 4), DECIMALS),
    "string": (pa.string(), TEXTS),
    "binary": (pa.binary(), BYTES),
    "fixed": (pa.binary(3), st.binary(min_size=3, max_size=3)),
}


@st.composite
def keyed_tables(draw):
    """A table of one to three key columns, and its rows as tuples of values that order as the keys do."""
    kinds = [COLUMNS[name] for name in draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=3))]
    rows = draw(st.lists(st.tuples(*(values for _, values in kinds)), max_size=12))
    arrays = [pa.array([row[i] for row in rows], t) for i, (t, _) in enumerate(kinds)]
    table = pa.table(arrays, names=[f"k{i}" for i in range(len(kinds))])
    return table, [tuple(v.encode() if isinstance(v, str) else v for v in row) for row in rows]


def encoded(values, t=None) -> pa.Array:
    return keys.encode(pa.table({"k": pa.array(values, t)}), ["k"])


def codes(table: pa.Table) -> list[bytes | None]:
    return keys.encode(table, table.column_names).to_pylist()


# ---- encoding


def test_the_spec_has_examples_of_every_type():
    """The table of examples is found, and no type of key is missing in it."""
    assert len(VECTORS) > 25
    named = {spec for columns, _, _ in VECTORS for spec in columns}
    kinds = ("int", "uint64", "bool", "date32", "date64", "timestamp", "decimal", "string", "binary", "fixed_size")
    assert all(any(spec.startswith(kind) for spec in named) for kind in kinds)


@pytest.mark.parametrize(("columns", "values", "code"), VECTORS, ids=lambda v: str(v)[:40])
def test_codes_are_those_of_the_spec(columns, values, code):
    """Each example of specs/7-keys.md encodes to its bytes."""
    table = pa.table(
        [from_text(pa.array([v]), types.from_spec(c)) for c, v in zip(columns, values, strict=True)],
        names=[f"k{i}" for i in range(len(columns))],
    )
    assert codes(table) == [code]


def test_kinds_are_what_has_codes_in_common():
    """Two types have codes of one kind exactly where the table of codes has them in one row."""
    page = SPEC.read_text(encoding="utf-8").partition("\n## Codes")[2].partition("\n### ")[0]
    rows = [line.split("|")[1] for line in page.splitlines() if re.match(r"\| [a-z]", line)][1:]
    forms = {"integer": "int8 int32 int64 uint8 uint64", "bool": "bool", "date32": "date32 date64"}
    forms |= {
        "timestamp": "timestamp[s] timestamp[ns] timestamp[us,UTC]",
        "decimal128": "decimal128(9,2) decimal128(3,0)",
    }
    forms |= {"string": "string binary fixed_size_binary[4]"}
    assert [row.split()[0].strip(",") for row in rows] == list(forms)
    kinds = [{keys.kind(types.from_spec(t.replace(",", ", "))) for t in names.split()} for names in forms.values()]
    assert [len(found) for found in kinds] == [1] * len(rows)
    assert len(set.union(*kinds)) == len(rows)
    assert keys.kind(pa.dictionary(pa.int8(), pa.large_string())) == keys.kind(pa.string())


@given(keyed_tables())
def test_codes_order_as_keys_do(case):
    """Codes compare as the key tuples do, and are equal exactly where they are."""
    table, rows = case
    found = codes(table)
    for a, code_a in zip(rows, found, strict=True):
        for b, code_b in zip(rows, found, strict=True):
            assert (code_a < code_b, code_a == code_b) == (a < b, a == b)


@given(keyed_tables())
def test_codes_are_prefix_free(case):
    """No code is a proper prefix of another one of the same columns."""
    table, _ = case
    found = sorted(set(codes(table)))
    assert not any(b.startswith(a) for a, b in itertools.pairwise(found))


INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
SAME = {
    "integers of any width": [pa.array([0, 5, 127], t) for t in INTEGERS],
    "timestamps of any unit and zone": [
        pa.array([-1_227_815_694, 1_704_067_200]).cast(pa.timestamp("s")).cast(pa.timestamp(unit)).cast(t)
        for unit in ("s", "ms", "us", "ns")
        for t in (pa.timestamp(unit), pa.timestamp(unit, "UTC"))
    ]
    + [pa.array([-1_227_815_694, 1_704_067_200]).cast(pa.timestamp("s", "Asia/Tokyo"))],
    "dates of any width": [pa.array([date(1800, 1, 1), date(2300, 1, 1)], t) for t in (pa.date32(), pa.date64())],
    "decimals of any scale": [
        pa.array([Decimal("-1.5"), Decimal(2)], t)
        for t in (pa.decimal128(3, 1), pa.decimal128(38, 30), pa.decimal64(10, 2), pa.decimal32(5, 1))
    ],
    "texts of any Arrow encoding": [
        pa.array(["a\0b", "", "é", "é"]).cast(t)
        for t in (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())
    ]
    + [
        pa.array(["a\0b", "", "é", "é"]).dictionary_encode(),
        pa.array(["a\0b", "", "é", "é"], pa.large_string()).dictionary_encode(),
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 4], pa.int32()), pa.array(["a\0b", "", "é"])),
    ],
    "binary of a fixed size": [pa.array([b"ab", b"\0\0"], t) for t in (pa.binary(2), pa.binary(), pa.large_binary())],
    "encoded integers": [
        pa.array([7, 7, 8]),
        pa.array([7, 7, 8]).dictionary_encode(),
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([7, 8])),
    ],
    "slices and chunks": [
        pa.array(["x", "yy", "", "zzz"]),
        pa.array(["?", "x", "yy", "", "zzz", "?"]).slice(1, 4),
        pa.chunked_array([["x"], [], ["yy", "", "zzz"]], pa.string()),
    ],
    "slices and chunks of numbers": [
        pa.array([-1, 2, 3]),
        pa.array([9, -1, 2, 3, 9]).slice(1, 3),
        pa.chunked_array([[-1], [], [2, 3]], pa.int64()),
    ],
    "slices and chunks of booleans and decimals": [
        pa.array([Decimal(1), Decimal(2)]),
        pa.array([Decimal(9), Decimal(1), Decimal(2)]).slice(1),
    ],
}


@pytest.mark.parametrize("forms", SAME.values(), ids=SAME.keys())
def test_one_key_has_one_code_however_it_is_stored(forms):
    """Width, unit, zone, scale, Arrow encoding, offset and chunks leave a code as it is."""
    found = [codes(pa.table({"k": form})) for form in forms]
    assert found == [found[0]] * len(found)


@pytest.mark.parametrize(
    "t", [pa.int64(), pa.string(), pa.date32(), pa.timestamp("ns"), pa.decimal128(5, 1), pa.null()]
)
def test_no_rows_and_all_nulls(t):
    """A table without rows, or without chunks, has no codes; nulls have null codes."""
    assert codes(pa.table({"k": pa.array([], t)})) == []
    assert codes(pa.table({"k": pa.chunked_array([], t)})) == []
    assert codes(pa.table({"k": pa.nulls(3, t)})) == [None] * 3


@pytest.mark.parametrize(
    "others", [pa.array([1, 2, None]), pa.array(["a", "b", None]), pa.array(["a", "b", None]).dictionary_encode()]
)
def test_a_null_in_any_column_has_no_code(others):
    """A row's code is null where any of its key columns is, and only there."""
    found = codes(pa.table({"a": pa.array([1, None, 3]), "b": others, "c": pa.array([True, True, True])}))
    assert [code is None for code in found] == [False, True, True]


@pytest.mark.parametrize(
    "t", [pa.float64(), pa.time32("s"), pa.list_(pa.int8()), pa.decimal256(40, 2), pa.decimal128(5, -2)]
)
def test_types_that_are_no_keys_are_refused(t):
    """A column that cannot be a key is refused by name and type."""
    with pytest.raises(UnsupportedTypeError, match="'k'") as caught:
        codes(pa.table({"k": pa.nulls(1, t)}))
    assert caught.value.column == "k"
    assert str(t) in caught.value.message


def test_codes_beyond_2_gib_are_large(monkeypatch):
    """Where 32-bit offsets might not reach, the codes are `large_binary`, and the same bytes."""
    table = pa.table({"a": [1, None, 3], "b": ["x\0", "", "zzz"], "c": pa.array([b"ab", b"cd", b"ef"], pa.binary(2))})
    small = [keys.encode(table, names) for names in (["a"], ["b"], ["c"], ["a", "b", "c"])]
    monkeypatch.setattr(keys, "OFFSET_LIMIT_BYTES", 5)
    large = [keys.encode(table, names) for names in (["a"], ["b"], ["c"], ["a", "b", "c"])]
    assert {a.type for a in small} == {pa.binary()}
    assert {a.type for a in large} == {pa.large_binary()}
    assert [a.to_pylist() for a in small] == [a.to_pylist() for a in large]
    for array in (*small, *large):
        array.validate(full=True)


# ---- ranges


def test_key_range():
    """The range is the least and greatest code; nulls are left out; no code, no range."""
    assert keys.key_range(pa.array([b"b", None, b"a", b"c"])) == (b"a", b"c")
    assert keys.key_range(pa.array([b"b"], pa.large_binary())) == (b"b", b"b")
    assert keys.key_range(pa.array([None], pa.binary())) is None
    assert keys.key_range(pa.array([], pa.binary())) is None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ("", "", ("", "", True)),
        ("61626364", "61626364", ("61626364", "61626364", True)),
        ("6162636465", "6162ffff01", ("61626364", "6163", False)),
        ("6162636465", "62", ("61626364", "62", False)),
        ("61", "6162636465", ("61", "61626365", False)),
        ("61", "ffffffff", ("61", "ffffffff", True)),
        ("61", "ffffffff00", ("61", None, False)),
    ],
)
def test_cut_outward_table(low, high, expected):
    """Bounds within the limit stay; longer ones are cut outward, to nothing if need be."""
    found = keys.cut_outward(bytes.fromhex(low), bytes.fromhex(high), 4)
    assert (found[0].hex(), None if found[1] is None else found[1].hex(), found[2]) == expected


CROWDED = st.lists(st.sampled_from([0, 1, 254, 255]), max_size=7).map(bytes)


@given(CROWDED, CROWDED, st.integers(1, 5))
def test_cut_outward_is_outward_and_short(a, b, limit):
    """Cut bounds hold the range and are within the limit; exact says that nothing was cut."""
    low, high = min(a, b), max(a, b)
    cut_low, cut_high, exact = keys.cut_outward(low, high, limit)
    assert cut_low <= low
    assert cut_high is None or cut_high >= high
    assert len(cut_low) <= limit
    assert cut_high is None or len(cut_high) <= limit
    assert exact == ((cut_low, cut_high) == (low, high))


# ---- pruning


@given(st.lists(TEXTS, max_size=8))
def test_prefixes_are_the_sorted_cut_codes(texts):
    """Prefixes are the first 64 bytes of the codes in byte order; nulls are left out."""
    found = keys.prefixes(encoded([*texts, None], pa.string()))
    expected = sorted(code[:64] for code in encoded(texts, pa.string()).to_pylist())
    assert [bytes(item) for item in found] == [code.rstrip(b"\0") for code in expected]
    assert found.dtype.itemsize <= 64


LONG = st.one_of(
    st.text(alphabet="ab\0", max_size=3),
    st.integers(60, 66).flatmap(lambda n: st.text(alphabet="ab", max_size=3).map(lambda tail: "x" * n + tail)),
    st.text(alphabet="\U0010ffff", min_size=15, max_size=17),
)


@st.composite
def ranges(draw):
    """The bounds of a file of text keys, as the log would state them: cut, exact, or unknown."""
    inside = encoded(sorted(draw(st.lists(LONG, min_size=1, max_size=3))), pa.string())
    found = keys.key_range(inside)
    assert found is not None
    low, high = found
    if draw(st.booleans()):
        low, high, _ = keys.cut_outward(low, high)
    return draw(st.sampled_from([low, low, None])), draw(st.sampled_from([high, high, None]))


@given(st.lists(LONG, max_size=6), st.lists(ranges(), max_size=6), st.booleans())
@example(["x" * 64 + "b"], [(b"x" * 64 + b"b\0\0", b"x" * 64 + b"b\0\0")], False)
@example(["x" * 70], [(b"x" * 64, b"x" * 63 + b"y")], False)
@example(["a\0"], [(b"a\0\xff\0\0", b"a\0\xff\0\0")], False)
def test_no_candidate_is_missed(batch, files, chunked):
    """A file is left out only if no key of the batch lies in its range, whatever was cut."""
    batch_codes = encoded(batch, pa.string())
    low, high = (pa.array([bounds[side] for bounds in files], pa.binary()) for side in (0, 1))
    if chunked:
        low, high = pa.chunked_array([low[:2], low[2:]]), pa.chunked_array([high[:1], high[1:]])
    may = keys.candidates(keys.prefixes(batch_codes), low, high)
    assert len(may) == len(files)
    for flag, (least, greatest) in zip(may, files, strict=True):
        holds = any(
            (least is None or least <= code) and (greatest is None or code <= greatest)
            for code in batch_codes.to_pylist()
        )
        assert flag or not holds


@given(
    st.lists(st.integers(-20, 20), max_size=6),
    st.lists(st.tuples(st.integers(-20, 20), st.integers(0, 10)), max_size=8),
)
def test_candidates_are_exact_for_short_keys(batch, files):
    """Where nothing is cut, a file is a candidate exactly if a key of the batch lies in its range."""
    low, high = encoded([f[0] for f in files], pa.int64()), encoded([f[0] + f[1] for f in files], pa.int64())
    may = keys.candidates(keys.prefixes(encoded(batch, pa.int64())), low, high)
    assert may.tolist() == [any(f[0] <= key <= f[0] + f[1] for key in batch) for f in files]


def test_candidates_take_large_bounds_and_unknown_ones():
    """Bounds may be `large_binary`; null bounds are unbounded, but a batch without keys has no candidate."""
    low = encoded([5, None, None], pa.int64()).cast(pa.large_binary())
    high = encoded([None, 5, None], pa.int64()).cast(pa.large_binary())
    some, none = keys.prefixes(encoded([4])), keys.prefixes(encoded([], pa.int64()))
    assert keys.candidates(some, low, high).tolist() == [False, True, True]
    assert keys.candidates(none, low, high).tolist() == [False, False, False]


# ---- matching


def _expected(batch: pa.Array, stored: pa.Array) -> list[int]:
    known = {code: row for row, code in enumerate(batch.to_pylist()) if code is not None}
    return [known.get(code, -1) for code in stored.to_pylist()]


def _unique(values: list) -> list:
    return list(dict.fromkeys(values))


START = datetime.fromisoformat("2024-01-01")
MATCHED = {
    "integers": (pa.int64(), st.one_of(st.integers(-9, 9), st.integers(-(2**63), 2**63 - 1))),
    "unsigned": (pa.uint64(), st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1])),
    "booleans": (pa.bool_(), st.booleans()),
    "timestamps": (pa.timestamp("us"), st.integers(0, 9).map(lambda n: START + timedelta(days=n * 20_000))),
    "texts": (pa.string(), TEXTS),
    "long texts": (pa.string(), st.text(alphabet="ab", max_size=3).map(lambda tail: "x" * 600 + tail)),
    "crowded bytes": (pa.binary(), BYTES),
}


@pytest.mark.parametrize("kind", MATCHED)
@given(data=st.data())
def test_match_finds_the_row_with_the_same_key(kind, data):
    """For each stored row the batch row of its key, or -1; null matches nothing; stored keys may repeat."""
    t, values = MATCHED[kind]
    mine = data.draw(st.lists(st.none() | values, max_size=12).map(_unique))
    theirs = data.draw(st.lists(st.one_of(st.none(), values, *([st.sampled_from(mine)] if mine else [])), max_size=12))
    batch, stored = encoded(mine, t), encoded(theirs, t)
    cuts = data.draw(st.integers(0, len(theirs)))
    assert matching.Matcher(batch).match(stored).tolist() == _expected(batch, stored)
    matcher = matching.Matcher(batch.cast(pa.large_binary()))
    assert matcher.match(stored[cuts:]).tolist() == _expected(batch, stored[cuts:])
    assert matcher.match(stored[:cuts]).dtype == np.int64


@given(st.lists(TEXTS, max_size=12).map(_unique), st.lists(TEXTS, max_size=8), st.integers(1, 4))
def test_match_is_exact_where_hashes_clash(mine, theirs, hashes):
    """However bad the hash is, the right rows are found."""
    batch, stored = encoded(mine, pa.string()), encoded([*theirs, *mine], pa.string())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_hashes", lambda view: (view.lengths % hashes).astype(np.uint64))
        matcher = matching.Matcher(batch)
        assert matcher.match(stored).tolist() == _expected(batch, stored)


def test_match_is_exact_where_values_are_crowded():
    """A few far-off values, which put all others into one bucket, cost time only."""
    batch = encoded([-(2**62), *range(0, 300, 3), 2**62], pa.int64())
    stored = encoded([2**62, 2**62 - 1, -(2**62), -(2**63), 2**63 - 1, *range(-5, 305)], pa.int64())
    assert matching.Matcher(batch).match(stored).tolist() == _expected(batch, stored)


def test_match_of_many_rows():
    """Thousands of rows, in no order, of integers, of texts and of tuples, are found as a dictionary finds them."""
    rng = np.random.default_rng(7)
    numbers = rng.permutation(9_000)
    table = pa.table({"n": numbers, "t": pa.array(numbers).cast(pa.string()), "m": numbers % 7})
    for names in (["n"], ["t"], ["m", "n"], ["t", "n"], ["n", "m"]):
        batch, stored = keys.encode(table[:5_000], names), keys.encode(table[2_000:], names)
        assert matching.Matcher(batch).match(stored).tolist() == _expected(batch, stored)


def test_stored_keys_of_another_width_match_nothing():
    """Codes of another width, or with another beginning, than those of the batch are no match."""
    batch = pa.array([b"lead-00000001", b"lead-00000002"])
    stored = pa.array([b"lead-00000002", b"lea_-00000002", b"00000002", b"", b"x", b"lead-00000002\0"])
    assert matching.Matcher(batch).match(stored).tolist() == [1, -1, -1, -1, -1, -1]
    assert matching.Matcher(batch).match(stored[:2]).tolist() == [1, -1]


def test_keys_makes_ready_once():
    """`Keys` makes its prefixes and its matcher when first asked, and keeps them."""
    found = keys.Keys(encoded([3, 1]))
    assert found.prefixes is found.prefixes
    assert found.matcher is found.matcher
    assert found.matcher.match(encoded([1, 2, 3])).tolist() == [1, -1, 0]
