"""Types in words: whatever a message writes is read as the same type, and other libraries' words too."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows_types_help import DECIMALS, SCALARS, nested

from txfiles.cli.params import typed
from txfiles.errors import LossyCastError, OptionError, SchemaMismatchError
from txfiles.inputs.declared import declared_types
from txfiles.rows import typenames
from txfiles.rows.casts import cast_lossless, check_castable
from txfiles.rows.typenames import read_type, type_text
from txfiles.rows.types import normalise, to_spec

ENCODED = [
    pa.large_string(),
    pa.string_view(),
    pa.large_binary(),
    pa.binary_view(),
    pa.decimal32(5, 2),
    pa.decimal64(12, 0),
    *(pa.dictionary(pa.int8(), t) for t in (pa.string(), pa.float32(), pa.timestamp("us", "UTC"))),
    pa.dictionary(pa.uint32(), pa.string(), ordered=True),
    *(pa.run_end_encoded(pa.int16(), t) for t in (pa.string(), pa.float32())),
]
NAMES = st.text("aé :,<>=()[]'\"\n\\{", min_size=1, max_size=4)
"""Names of struct fields, with what separates one from another."""


def wrapped(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    """Types around a type, as Arrow has them beyond those that a table records."""
    return st.one_of(
        inner.map(pa.large_list),
        inner.map(pa.list_view),
        inner.map(pa.large_list_view),
        st.builds(lambda t, name: pa.list_(pa.field(name, t, nullable=t == pa.null())), inner, NAMES),
        st.builds(pa.list_, inner, st.integers(1, 3)),
        st.dictionaries(NAMES, inner, min_size=1, max_size=3).map(lambda fields: pa.struct(list(fields.items()))),
        st.dictionaries(NAMES, inner.filter(lambda t: t != pa.null()), min_size=1, max_size=2).map(
            lambda fields: pa.struct([pa.field(name, t, nullable=False) for name, t in fields.items()])
        ),
        st.builds(lambda key, item: pa.map_(key, item, keys_sorted=True), st.sampled_from(DECIMALS), inner),
    )


TYPES = nested(st.sampled_from(SCALARS)) | st.recursive(st.sampled_from(SCALARS + ENCODED), wrapped, max_leaves=4)


@given(TYPES, st.text("a=b: ", min_size=1, max_size=3))
def test_what_a_message_writes_is_read_as_the_same_type(t: pa.DataType, name: str) -> None:
    """Any type, as a message writes it, is that type to `schema=` and to the shell's ``--schema``, encodings aside."""
    text = type_text(t)
    assert declared_types({name: text}) == pa.schema([(name, normalise(t))])
    assert typed(f"{name}={text}") == (name, text)


@given(nested(st.sampled_from(SCALARS)))
def test_what_the_log_writes_is_read_as_the_same_type(t: pa.DataType) -> None:
    """A type as `show` and the log write it, document or text of it, is that type too."""
    from txfiles.cli.output import type_text as shown

    spec = to_spec(t)
    assert declared_types({"a": spec}) == declared_types({"a": shown(spec)}) == pa.schema([("a", t)])
    assert typed(f"a={shown(spec)}") == ("a", shown(spec))


@pytest.mark.parametrize("t", [*SCALARS, pa.list_(pa.float32()), pa.struct({"a": pa.float32()})], ids=str)
def test_the_types_in_messages(t: pa.DataType) -> None:
    """The messages of a cast that never is, and of a lossy one, say a type as `schema=` reads it."""
    other = pa.map_(pa.int8(), pa.int8())
    if not pa.types.is_null(t):
        with pytest.raises(SchemaMismatchError) as caught:
            check_castable(t, other, name="a")
        assert declared_types({"a": caught.value.given}).types == [t]
        said = re.fullmatch(r"column 'a' holds (.+), which cannot become (.+)", str(caught.value))
        assert said
        assert declared_types({"a": said[1], "b": said[2]}).types == [t, other]
    if pa.types.is_floating(t):
        with pytest.raises(LossyCastError, match=rf"'a': {re.escape(type_text(t))} cannot be cast to int8"):
            cast_lossless(pa.chunked_array([pa.array([0.5], t)]), pa.int8(), name="a")


@pytest.mark.parametrize("word", typenames.WORDS)
def test_words(word: str) -> None:
    """Each word stands for its type in any case, alone or within others, with pandas' suffix or without."""
    t = typenames.WORDS[word]
    for text in (word, word.upper(), word.title(), f" {word} ", f"{word}[pyarrow]"):
        assert read_type(text) == t
    assert read_type(f"map<int8,{word}>") == pa.map_(pa.int8(), t)
    assert read_type(f"struct<{word}:{word},b:list<{word}>>") == pa.struct({word: t, "b": pa.list_(t)})


def test_a_float_is_pythons() -> None:
    """`float` has 64 bits, as Python's, numpy's and pandas' have; what has 32 is never written so."""
    assert read_type("float") == pa.float64()
    assert type_text(pa.float32()) == "float32"
    assert type_text(pa.struct([("float", pa.list_(pa.float32()))])) == "struct<float: list<item: float32>>"


@pytest.mark.parametrize(
    ("text", "word", "near"),
    [
        ("itn64", "itn64", "'int64'"),
        ("list<item: sting>", "sting", "'string'"),
        ("struct<a: int64, b: list<dbl>>", "dbl", "'double'"),
        ("timestmp[us, tz=UTC]", "timestmp[us, tz=UTC]", "'timestamp[us, UTC]'"),
        ("decimal128(99, 2)", "decimal128(99, 2)", "'decimal128(38, 2)'"),
        ("decimal", "decimal", "'decimal128(38, 2)'"),
        ("category", "category", "'string'"),
        ("object", "object", "'string'"),
        ("BIGINT", "BIGINT", "'int64'"),
        ("datetime64[h]", "datetime64[h]", "'datetime64[s]'"),
        ("month_day_nano_interval", "month_day_nano_interval", ""),
        ("int64>", "int64>", "'int64'"),
        ("list<int64", "list", "'list<int64>'"),
        ("struct<>", "struct", "'struct<a: int64>'"),
        ("map<null, int8>", "map", "'map<string, int64>'"),
        ("fixed_size_list<int8>", "fixed_size_list", "'fixed_size_list<int64>[3]'"),
        ("", "", ""),
        ("list<" * 5_000, "list<", ""),
        ("struct<" + "a:" * 3_000, "a", ""),
        ("int8" * 5_000, "int8", ""),
    ],
    ids=lambda text: text[:20],
)
def test_an_unknown_word_is_told_the_nearest(text: str, word: str, near: str) -> None:
    """What is no type is an error that names the word, and the words that are near; never a type by chance."""
    with pytest.raises(OptionError) as caught:
        read_type(text)
    assert f"'{word}" in str(caught.value)
    assert near in str(caught.value)
    assert ("did you mean" in str(caught.value)) == bool(near)
    assert "int64" in (caught.value.hint or "")
    assert len(str(caught.value)) < 1_000


def test_each_word_that_is_meant_is_one() -> None:
    """Whatever a message advises to write is read."""
    for word, ours in typenames.MEANT.items():
        assert word not in typenames.WORDS
        assert read_type(ours)


@given(st.text("ilstruc<>:, []()int64a='", max_size=30))
def test_any_text_is_a_type_or_an_error_of_ours(text: str) -> None:
    """Whatever is written: a type that reads back as itself, or an `OptionError`."""
    try:
        found = read_type(text)
    except OptionError:
        return
    assert read_type(type_text(found)) == found
