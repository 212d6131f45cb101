"""Types of CSV text: inferred only where each text comes back, parsed without guessing where they are said."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.errors import UnsupportedTypeError
from txfiles.rows.guess import first_unlike, without
from txfiles.rows.guess import infer as guess
from txfiles.rows.guesser import Guesser
from txfiles.rows.inference import first_unfit, is_text_of, parse

START = datetime.fromisoformat("0001-01-01")
US, UTC_US = pa.timestamp("us"), pa.timestamp("us", "UTC")


def column(*values: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())], pa.string())


def infer(text: pa.ChunkedArray) -> pa.DataType:
    """The type alone."""
    return guess(text).type


INFERRED = [
    (["1", "-2", None, "0"], pa.int64()),
    (["9223372036854775807", "-9223372036854775808"], pa.int64()),
    (["9223372036854775808"], pa.string()),
    (["001"], pa.string()),
    (["-0", "1"], pa.float64()),
    (["+1"], pa.string()),
    (["1_0"], pa.string()),
    (["0x10"], pa.string()),
    ([" 1"], pa.string()),
    (["1", "2.5", "-0"], pa.float64()),
    (["1.0", "2.5", "-0.0"], pa.float64()),
    (["1", "2.0"], pa.string()),
    (["1.50"], pa.decimal128(38, 2)),
    (["10.10", "-9.99", "0.00"], pa.decimal128(38, 2)),
    (["10.10", "9.9"], pa.string()),
    (["1.10", "1.9"], pa.string()),
    (["-0.00", "1.50"], pa.string()),
    (["01.50"], pa.string()),
    (["1" * 36 + ".50"], pa.decimal128(38, 2)),
    (["1" * 37 + ".50"], pa.string()),
    (["1e5"], pa.float64()),
    ([".5"], pa.float64()),
    ([".3945", "5e-04", "1E5", "2"], pa.float64()),
    ([".50"], pa.string()),
    (["+.5"], pa.string()),
    (["1.", "2.5"], pa.string()),
    (["0.1234567890123456", "0.5"], pa.float64()),
    (["0.1234567890123456789012345", "0.5"], pa.string()),
    (["1e-400", "0.5"], pa.string()),
    (["1e+16", "1e-05", "2.0"], pa.float64()),
    (["0.00001", "1.0"], pa.float64()),
    (["1e+15", "1.0"], pa.float64()),
    (["0.00001", "1e+15"], pa.float64()),
    (["9007199254740993", "0.5"], pa.string()),
    (["nan", "inf", "-inf", "1.5"], pa.float64()),
    (["NaN"], pa.string()),
    (["1e999"], pa.string()),
    (["NA", "1"], pa.int64()),
    (["NA", "NA"], pa.string()),
    (["NA", "null", "1"], pa.string()),
    (["NA", "true"], pa.string()),
    (["NA", "2024-01-01"], pa.date32()),
    (["-", "1"], pa.string()),
    (["true", "false", None], pa.bool_()),
    (["True"], pa.string()),
    (["0", "true"], pa.string()),
    (["2024-02-29", "1600-01-01", "9999-12-31"], pa.date32()),
    (["2023-02-29"], pa.string()),
    (["0000-01-01"], pa.string()),
    (["2024-1-01"], pa.string()),
    (["20240101"], pa.int64()),
    (["2024-01-01T10:00:00", "3000-01-01T00:00:00"], US),
    (["2024-01-01 10:00:00"], US),
    (["2024-01-01T10:00:00", "2024-01-01 10:00:00"], pa.string()),
    (["2024-01-01", "2024-01-01T10:00:00"], pa.string()),
    (["2024-01-01T10:00"], pa.string()),
    (["2024-01-01T24:00:00"], pa.string()),
    (["2024-01-01T10:00:00.120", "2024-01-01T10:00:00.000"], US),
    (["2024-01-01T10:00:00.12", "2024-01-01T10:00:00"], US),
    (["2024-01-01T10:00:00.120000", "2024-01-01T10:00:00"], US),
    (["2024-01-01T10:00:00.120", "2024-01-01T10:00:00.1"], pa.string()),
    (["2024-01-01T10:00:00.1234567"], pa.string()),
    (["2024-01-01T10:00:00Z"], UTC_US),
    (["2024-01-01 10:00:00.5+00:00"], UTC_US),
    (["2024-01-01T10:00:00+01:00"], pa.string()),
    (["2024-01-01T10:00:00Z", "2024-01-01T10:00:00+00:00"], pa.string()),
    (["2024-01-01T10:00:00Z", "2024-01-01T10:00:00"], pa.string()),
    ([""], pa.string()),
    (["", "1"], pa.string()),
    ([None, None], pa.null()),
    ([], pa.null()),
    ([None, "x"], pa.string()),
]


@pytest.mark.parametrize(("values", "expected"), INFERRED)
def test_inferred_type(values, expected):
    """A column gets a type only if nothing that may be an identifier changes."""
    assert infer(column(*values)) == expected


def test_last_value_decides():
    """One value at the very end of the last block makes a column of numbers text."""
    blocks = [pa.array(["1"] * 1000), pa.array(["2"] * 999 + ["x"])]
    assert infer(pa.chunked_array(blocks[:1])) == pa.int64()
    assert infer(pa.chunked_array(blocks)) == pa.string()


def restored(values: list[str], to: pa.DataType) -> set[tuple[str, ...]]:
    """The texts that values of a type are written as, in each form; by Python's own formatters."""
    found = parse(pa.array(values, pa.string()), to).to_pylist()
    if pa.types.is_string(to):
        return {tuple(found)}
    if pa.types.is_integer(to):
        return {tuple(map(str, found))}
    if pa.types.is_boolean(to):
        return {tuple(str(v).lower() for v in found)}
    if pa.types.is_date(to):
        return {tuple(v.isoformat() for v in found)}
    if pa.types.is_decimal(to):
        return {tuple(f"{v:f}" for v in found)}
    forms = set()
    for separator in "T ":
        for zone in ("", "Z", "+00:00"):
            fractions = [lambda v, n=n: f".{v.microsecond:06}"[: n + 1] if n else "" for n in range(7)]
            fractions.append(lambda v: f".{v.microsecond:06}".rstrip("0").rstrip("."))
            fractions.append(lambda v: f".{v.microsecond:06}" if v.microsecond else "")
            for fraction in fractions:
                forms.add(tuple(f"{v:%Y-%m-%d}{separator}{v:%H:%M:%S}{fraction(v)}{zone}" for v in found))
    return forms


SPELT = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(repr),
    st.floats().map(lambda v: pa.scalar(v, pa.float64()).cast(pa.string()).as_py()),
    st.from_regex(r"[-+]?[0-9]{0,3}\.?[0-9]{0,3}(e[-+]?[0-9])?", fullmatch=True),
    st.from_regex(
        r"(1999|2024)-(0[1-3]|13)-(01|29|31)([T ][0-2]0:0[0-6]:0[0-6](\.[0-9]{1,7})?(Z|\+00:00|\+01:00)?)?",
        fullmatch=True,
    ),
    st.sampled_from(["true", "false", "True", "", "NA", "nan", "inf"]),
)


@given(st.lists(SPELT, min_size=1, max_size=3))
def test_inferred_text_comes_back(values):
    """Of exact types the texts come back in one form, of doubles the decimal values; markers are null and told."""
    found = guess(column(*values))
    nulls = found.inferred.nulls if found.inferred else ()
    assert found.nulled == sum(v in nulls for v in values)
    kept = [v for v in values if v not in nulls]
    if pa.types.is_floating(found.type):
        back = parse(pa.array(kept, pa.string()), found.type).to_pylist()
        assert found.inferred.how == "value"
        assert [Decimal(v) for v in kept] == [Decimal(repr(v)) for v in back]
        assert not any(re.match(r"[+]|-?0[0-9]", v) for v in kept)
    else:
        assert tuple(kept) in restored(kept, found.type)


@given(st.lists(SPELT, min_size=1, max_size=3), st.lists(SPELT, min_size=1, max_size=3))
def test_later_text_is_held_to_the_rule(first, later):
    """Texts that go on to give a type on their own, or with the first ones, are the only ones that it is held to."""
    found = guess(column(*first))
    if found.inferred is None:
        return
    fits = first_unlike(without(pa.array(later), found.inferred.nulls), found.type) is None
    both, alone = guess(column(*first, *later)), guess(column(*later))
    if both.type == found.type and both.inferred == found.inferred:
        assert fits
    if fits and found.inferred.how == "exact":
        assert alone.type in (found.type, pa.null()) or alone.inferred is None
        assert both.type == found.type


def test_markers_in_quotes_are_text():
    """A marker that stands in quotes is no missing number, so the column is text."""
    assert guess(column("NA", "1"), quoted={"NA"}).type == pa.string()
    assert guess(column("NA", "1"), quoted={"null"}).type == pa.int64()


def test_keys_are_inferred_by_exact_text_only():
    """A key is never a double, and none of its texts becomes null."""
    assert guess(column("NA", "1"), exact=True).type == pa.string()
    assert guess(column(".5", "1e5"), exact=True).type == pa.string()
    assert guess(column("7", "8"), exact=True).type == pa.int64()
    assert guess(column("7.10", "8.25"), exact=True).type == pa.decimal128(38, 2)


def test_decimal_commas():
    """With a decimal comma, `1,5` is a number and `1.5` is text; what the text was is then not known."""
    found = guess(column("1,5", "10,25"), decimal=",")
    assert (found.type, found.inferred.how) == (pa.float64(), "value")
    found = guess(column("1,50", "10,25"), decimal=",")
    assert (found.type, found.inferred.how) == (pa.decimal128(38, 2), "value")
    assert guess(column("1,5", "1.000"), decimal=",").type == pa.string()
    assert guess(column("1", "2"), decimal=",").inferred.how == "exact"


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_stay_exact(values):
    """Integers are inferred as such, and are never off by one."""
    text = column(*map(str, values))
    assert infer(text) == pa.int64()
    assert parse(text.chunk(0), pa.int64()).to_pylist() == values


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_floats_of_python_are_floats(values):
    """What Python writes for floats is inferred as floats (as decimals if alike in decimals), and comes back."""
    text = column(*map(repr, values))
    found = infer(text)
    if pa.types.is_decimal(found):
        assert list(map(str, parse(text.chunk(0), found).to_pylist())) == list(map(repr, values))
        return
    assert found == pa.float64()
    assert list(map(repr, parse(text.chunk(0), pa.float64()).to_pylist())) == list(map(repr, values))


@given(st.lists(st.datetimes(min_value=START), min_size=1))
def test_times_of_python_are_times(values):
    """What Python's isoformat writes is inferred as times, and comes back to the microsecond."""
    text = column(*(v.isoformat() for v in values))
    assert infer(text) == US
    assert parse(text.chunk(0), US).to_pylist() == values


PARSED = [
    ("001", pa.int64(), 1),
    ("+7", pa.uint8(), 7),
    ("1.50", pa.float64(), 1.5),
    ("1e5", pa.float32(), 1e5),
    (".5", pa.float64(), 0.5),
    ("-inf", pa.float64(), float("-inf")),
    ("True", pa.bool_(), True),
    ("FALSE", pa.bool_(), False),
    ("1.50", pa.decimal128(6, 2), Decimal("1.50")),
    ("1.500", pa.decimal128(6, 2), Decimal("1.50")),
    ("2024-02-29", pa.date32(), date(2024, 2, 29)),
    ("2024-02-29", pa.date64(), date(2024, 2, 29)),
    ("2024-02-29", US, datetime.fromisoformat("2024-02-29")),
    ("2024-02-29 10:00", US, datetime.fromisoformat("2024-02-29T10:00:00")),
    ("2024-02-29T10:00:00.5000000", US, datetime.fromisoformat("2024-02-29T10:00:00.500000")),
    ("2024-02-29T10:00:00.000", pa.timestamp("s"), datetime.fromisoformat("2024-02-29T10:00:00")),
    ("2024-02-29T10:00:00Z", UTC_US, datetime(2024, 2, 29, 10, tzinfo=UTC)),
    ("2024-02-29 10:00:00+05:30", UTC_US, datetime(2024, 2, 29, 4, 30, tzinfo=UTC)),
    ("2024-02-29 10:00:00+0100", pa.timestamp("ms", "Europe/Berlin"), datetime(2024, 2, 29, 9, tzinfo=UTC)),
    ("QQ==", pa.binary(), b"A"),
    ("", pa.binary(), b""),
    ("QUI=", pa.binary(2), b"AB"),
    ("", pa.string(), ""),
    ("-5", pa.duration("s"), None),
]


@pytest.mark.parametrize(("text", "to", "expected"), PARSED)
def test_declared_text_is_parsed(text, to, expected):
    """Text of a type that is said may be spelt in more ways than would be inferred; null stays null."""
    parsed = parse(pa.array([text, None], pa.string()), to)
    assert parsed.type == to
    assert parsed.null_count == 1
    if expected is not None:
        assert parsed[0].as_py() == expected


REFUSED = [
    ("x", pa.int64(), False),
    ("", pa.int64(), False),
    ("0x10", pa.int64(), False),
    (" 1", pa.int64(), False),
    ("1.0", pa.int64(), False),
    ("300", pa.int8(), True),
    ("-1", pa.uint8(), True),
    ("1e999", pa.float64(), True),
    ("9007199254740993", pa.float64(), True),
    ("16777217", pa.float32(), True),
    ("1", pa.bool_(), False),
    ("1.555", pa.decimal128(6, 2), True),
    ("123456", pa.decimal128(6, 2), True),
    ("2023-02-29", pa.date32(), True),
    ("2024-01-01T00:00:00", pa.date32(), False),
    ("2024-01-01T00:00:00Z", US, False),
    ("2024-01-01T00:00:00", UTC_US, False),
    ("2024-01-01", UTC_US, False),
    ("2024-01-01T00:00:00.5", pa.timestamp("s"), True),
    ("3000-01-01T00:00:00", pa.timestamp("ns"), True),
    ("QQ=", pa.binary(), False),
    ("QUJD", pa.binary(2), True),
    ("x", pa.null(), False),
]


@pytest.mark.parametrize(("text", "to", "is_text"), REFUSED)
def test_misfits_are_refused(text, to, is_text):
    """Text that is no value of the type, or does not fit it, is refused, and the two are told apart."""
    values = pa.array([text], pa.string())
    with pytest.raises(ValueError, match=r"."):
        parse(values, to)
    assert is_text_of(values, to) is is_text


def test_float32_takes_the_nearest_but_not_for_whole_numbers():
    """A fraction is rounded to the nearest float; a whole number that would change is refused."""
    assert parse(pa.array(["0.1"]), pa.float32()).to_pylist() == pa.array([0.1], pa.float32()).to_pylist()
    with pytest.raises(ValueError, match="16777217"):
        parse(pa.array(["16777217"]), pa.float32())


def test_nested_types_have_no_text():
    """A list cannot be had from CSV, and the error says so rather than calling the value wrong."""
    with pytest.raises(UnsupportedTypeError, match="list"):
        parse(pa.array(["[1]"]), pa.list_(pa.int64()))


@given(st.lists(st.booleans(), min_size=1).filter(lambda flags: not all(flags)))
def test_first_unfit_value_is_found(flags):
    """The position of the first value that does not parse, wherever it is."""
    text = pa.array(["1" if fits else "x" for fits in flags])
    assert first_unfit(text, pa.int64()) == flags.index(False)


TEXTS = [
    *("1", "-7", "007", "1.5", "1.50", "2.0", ".5", "5e-04", "-0", "1,5", "NA", ".", "nan", "x", "true", "false"),
    *("2024-02-29", "2024-02-29 10:00:00", "2024-02-29 10:00:00.5", "2024-02-29T10:00:00Z"),
]


@given(
    st.lists(
        st.lists(
            st.lists(
                st.sampled_from(TEXTS) | st.none(),
                max_size=3,
            ),
            max_size=3,
        ),
        max_size=3,
    ),
    st.sets(st.sampled_from(["NA", "nan"])),
    st.booleans(),
    st.sampled_from([".", ","]),
)
def test_guessing_by_parts(parts, quoted, exact, decimal):
    """Text that streams by, in parts that are merged, is given the type that it is given as a whole."""
    chunks = [pa.array(chunk, pa.string()) for part in parts for chunk in part]
    whole = guess(pa.chunked_array(chunks, pa.string()), quoted=quoted, exact=exact, decimal=decimal)
    merged = Guesser(exact=exact, decimal=decimal)
    for part in parts:
        guesser = Guesser(exact=exact, decimal=decimal)
        for chunk in part:
            guesser.add(pa.array(chunk, pa.string()))
        merged.merge(guesser)
    assert merged.guess(quoted) == whole


@pytest.mark.parametrize(
    ("texts", "quoted"), [(["1", "NA"], {"NA"}), (["1", "NA"], set()), (["1", "NA", "nan"], set())]
)
def test_guessing_markers_by_parts(texts, quoted):
    """A marker that occurs in quotes is text, and so are two different ones."""
    guesser = Guesser()
    guesser.add(pa.array(texts, pa.string()))
    assert guesser.guess(quoted) == guess(column(*texts), quoted=quoted)
    assert (guesser.guess(quoted).type == pa.int64()) == (texts == ["1", "NA"] and not quoted)
