"""CSV files as input: what is in them comes out, or an error says where they are wrong."""

from __future__ import annotations

import gzip
import random
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles import inputs
from txfiles.errors import LossyCastError, SchemaMismatchError, UnreadableInputError, UnsupportedTypeError
from txfiles.formats import csv_bytes, csv_text
from txfiles.rows import records


def read(path, known=None, schema=None):
    """The batch, with its rows out of the spool."""
    source = inputs.source(path, schema=schema)
    try:
        batch = source.read(known)
        return batch, batch.table.to_pydict()
    finally:
        source.close()


@pytest.fixture
def file(tmp_path):
    def make(content: bytes, name: str = "in.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return make


READ = [
    (b"a,b\n1,2\n", {"a": [1], "b": [2]}),
    (b"a,b\r\n1,2\r\n", {"a": [1], "b": [2]}),
    (b"a,b\n1,2", {"a": [1], "b": [2]}),
    (b'a,b\n"x",', {"a": ["x"], "b": [None]}),
    (b'a,b\n"w",\n"x",', {"a": ["w", "x"], "b": [None, None]}),
    (b"\xef\xbb\xbfa,b\n1,2\n", {"a": [1], "b": [2]}),
    (b'a,b\n,""\n', {"a": [None], "b": [""]}),
    (b'a\nNA\nnull\n""\n', {"a": ["NA", "null", ""]}),
    (b'a,b\n"x,y","say ""hi"""\n', {"a": ["x,y"], "b": ['say "hi"']}),
    (b'a,b\n"x\ny","x\r\ny"\n', {"a": ["x\ny"], "b": ["x\r\ny"]}),
    (b'a,b\n"x\ry",1\n', {"a": ["x\ry"], "b": [1]}),
    (b"a\n001\n", {"a": ["001"]}),
    (b'a\n"7"\n', {"a": [7]}),
    (b"a\n x \n", {"a": [" x "]}),
    (b"a\n1\n\n2\n", {"a": [1, None, 2]}),
    (b"a,b\n1,2\n\n3,4\n\n", {"a": [1, 3], "b": [2, 4]}),
    (b"a,b\n", {"a": [], "b": []}),
    (b"a,b", {"a": [], "b": []}),
    (b"a,b\n\n", {"a": [], "b": []}),
    (b'"a\nb","c,""d"""\n1,2\n', {"a\nb": [1], 'c,"d"': [2]}),
    ("ä,b\u2028\nö,\U0001f600\n".encode(), {"ä": ["ö"], "b\u2028": ["\U0001f600"]}),
    (b'a\n"x\x00y"\n', {"a": ["x\x00y"]}),
]


@pytest.mark.parametrize(("content", "expected"), READ)
def test_well_formed_files(file, content, expected):
    """RFC 4180 with a header: LF or CRLF, a byte order mark skipped, nothing unquoted is null, "" is empty text."""
    assert read(file(content))[1] == expected


REFUSED = [
    (b"", "is empty"),
    (b"\xef\xbb\xbf", "is empty"),
    (b"\na,b\n", "the first line is empty"),
    (b"a,a\n1,2\n", "names column 'a' twice"),
    (b"\xff\xfea\x00\n\x00", "looks like UTF-16"),
    (b"a\xff,b\n1,2\n", "the header is not UTF-8"),
    (b"a,b\n1,2\n3\n", "row 1 has 1 values, but the header has 2"),
    (b"a,b\n1,2\n\n3,4\n5", "row 2 has 1 values, but the header has 2"),
    (b"a,b\n1,2\n\n3,4\n5\n", "row 2 has 1 values, but the header has 2"),
    (b"a,b\n1,2\n3,4,5\n", "row 1 has 3 values, but the header has 2"),
    (b"a,b\n1,2\n3,\xff,5\n", "row 1 has 3 values, but the header has 2"),
    (b'a,b\n1,"2\n', "ends within quotes"),
    (b'a,b\n1,"2', "ends within quotes"),
    (b'a,b\n1,x"y\n', "line 2: a quote within a value"),
    (b'a,b\n1,"x"y\n', "line 2: a quote within a value"),
    (b'a,b\n1, "x"\n', "line 2: a quote within a value"),
    (b"a,b\r1,2\r", "line 1: a carriage return"),
    (b"a,b\n1,2\r3,4\n", "line 2: a carriage return"),
    (b"a,b\n1,2\r", "line 2: a carriage return"),
    (b"a,b\nx,y\nx,\xff\n", "column 'b', row 1 is not UTF-8"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_malformed_files(file, content, message):
    """A file that is not RFC 4180 is refused with its name and the place, and never half read."""
    path = file(content)
    with pytest.raises(UnreadableInputError, match=re.escape(message)) as caught:
        read(path)
    assert str(path) in caught.value.message
    assert caught.value.path == str(path)


def strict_records(text: str) -> list[list[str | None]] | None:
    """RFC 4180 by the letter, one character at a time: the reference. None for what is not RFC 4180."""
    records, record, at = [], [], 0
    while at < len(text):
        value, at = _value(text, at)
        if at < 0:
            return None
        record.append(value)
        if text.startswith(("\r\n", "\n"), at) or at == len(text):
            at += 2 if text.startswith("\r\n", at) else 1
            records.append(record)
            record = []
        elif text[at] != ",":
            return None
        else:
            at += 1
            if at == len(text):
                records.append([*record, None])
    return records


def _value(text: str, at: int) -> tuple[str | None, int]:
    if text.startswith('"', at):
        found = re.compile(r'"((?:[^"]|"")*)"(?!")').match(text, at)
        return (found[1].replace('""', '"'), found.end()) if found else (None, -1)
    found = re.compile(r'[^",\r\n]*').match(text, at)
    return found[0] or None, found.end()


@given(st.text(alphabet='x",\r\n', max_size=14), st.integers(1, 6))
def test_like_the_reference(tmp_path_factory, body, block):
    """Any arrangement of quotes, commas and line ends gives what RFC 4180 says, or an error; also across blocks."""
    records = strict_records(body)
    blank = records is not None and [r for r in records if r != [None]]
    expected = blank if blank is not False and all(len(r) == 2 for r in blank) else None
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    path.write_bytes(b"a,b\n" + body.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_text, "BLOCK_BYTES", block)
        if expected is None:
            with pytest.raises(UnreadableInputError):
                read(path)
        else:
            table = read(path, schema={"a": "string", "b": "string"})[1]
            assert list(zip(table["a"], table["b"], strict=True)) == [tuple(r) for r in expected]


TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)


@given(st.lists(st.tuples(st.none() | TEXT, st.none() | TEXT, st.booleans())), st.integers(1, 64))
def test_text_comes_back(tmp_path_factory, rows, block):
    """Any text, quoted where it must be, is read as it was written, null apart from empty."""

    def quoted(value, always):
        if value is None:
            return ""
        if always or value == "" or any(c in value for c in '",\r\n'):
            return '"' + value.replace('"', '""') + '"'
        return value

    path = tmp_path_factory.mktemp("csv") / "in.csv"
    lines = "".join(f"{quoted(a, always)},{quoted(b, always)}\n" for a, b, always in rows)
    path.write_bytes(b"a,b\n" + lines.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_text, "BLOCK_BYTES", block)
        table = read(path, schema={"a": "string", "b": "string"})[1]
    assert list(zip(table["a"], table["b"], strict=True)) == [(a, b) for a, b, _ in rows]


def test_precedence_of_types(file):
    """`schema=` goes before the table's types, these before inference; only the last is reported as inferred."""
    path = file(b"a,b,c\n1,2,3\n")
    known = pa.schema([("a", pa.int8()), ("b", pa.int8()), ("d", pa.string())])
    batch, _ = read(path, known, {"a": "string"})
    assert batch.table.schema == pa.schema([("a", pa.string()), ("b", pa.int8()), ("c", pa.int64())])
    assert batch.inferred == pa.schema([("c", pa.int64())])
    assert read(path, pa.schema([("a", pa.int8()), ("b", pa.int8()), ("c", pa.int8())]))[0].inferred is None


def test_a_null_column_of_the_table_is_inferred(file):
    """A column that was all null so far has no type to go by."""
    batch, rows = read(file(b"a\n1\n"), pa.schema([("a", pa.null())]))
    assert rows == {"a": [1]}
    assert batch.inferred == pa.schema([("a", pa.int64())])


def test_read_again_as_another_type(file):
    """One source gives equal rows each time, or the same text in the types of another table; the file may be gone."""
    path = file(b"a,b\n001,1\n002,2\n")
    source = inputs.source(path)
    first = source.read(None)
    assert first.table.to_pydict() == {"a": ["001", "002"], "b": [1, 2]}
    path.unlink()
    assert source.read(None).table.equals(first.table)
    assert source.read(None).inferred == first.inferred
    typed = source.read(pa.schema([("a", pa.int32()), ("b", pa.string())]))
    assert typed.table.to_pydict() == {"a": [1, 2], "b": ["1", "2"]}
    assert typed.inferred is None
    assert source.read(None).table.equals(first.table)
    source.close()


def test_same_types_known_are_not_inferred(file):
    """What the table says is not reported as inferred, also where it is what would have been inferred."""
    source = inputs.source(file(b"a\n1\n"))
    assert source.read(None).inferred == pa.schema([("a", pa.int64())])
    assert source.read(pa.schema([("a", pa.int64())])).inferred is None
    source.close()


@pytest.mark.parametrize(
    ("value", "to", "kind"),
    [
        ("x", "int64", UnreadableInputError),
        ("300", "int8", LossyCastError),
        ("1.5", "int64", UnreadableInputError),
        ("2023-02-30", "date32", LossyCastError),
        ("2023-02-03T00:00:00", "timestamp[us, UTC]", UnreadableInputError),
        ("2023-02-03T00:00:00Z", "timestamp[us]", UnreadableInputError),
        ("Q", "binary", UnreadableInputError),
        ("10:61:00", "time64[us]", LossyCastError),
        ("1.555", "decimal128(5, 2)", LossyCastError),
    ],
)
def test_misfit_names_its_place(file, value, to, kind):
    """A value that does not fit its type is an error with file, column, row from 0 in that file, and value."""
    one = file(b"a,b\n,1\n,2\n", "1.csv")
    two = file(f"a,b\n,1\n,1\n\n{value},1\n{value},1\n".encode(), "2.csv")
    with pytest.raises(kind) as caught:
        read([one, two], schema={"a": to})
    error = caught.value
    assert (error.path, error.column, error.row, error.value) == (str(two), "a", 2, value)
    for part in (str(two), "'a'", "row 2", repr(value)):
        assert part in error.message


def test_a_type_that_csv_cannot_hold(file):
    """A nested column of the table cannot be fed from CSV; the error names it."""
    with pytest.raises(UnsupportedTypeError, match="column 'a'"):
        read(file(b"a\n1\n"), pa.schema([("a", pa.list_(pa.int64()))]))


def test_schema_names_an_unknown_column(file):
    """A name in `schema=` that the file does not have is an error with the nearest one."""
    with pytest.raises(SchemaMismatchError, match="'amout'") as caught:
        read(file(b"id,amount\n1,2\n"), schema={"amout": "int64"})
    assert "did you mean 'amount'" in str(caught.value)


def test_several_files_bind_by_name(file):
    """Files with their columns in another order are one batch; types hold for all of them together."""
    one, two = file(b"a,b\n1,x\n", "1.csv"), file(b"b,a\ny,001\n", "2.csv")
    assert read([one, two])[1] == {"a": ["1", "001"], "b": ["x", "y"]}


@pytest.mark.parametrize("header", [b"a\n", b"a,b,c\n", b"a,B\n"])
def test_several_files_with_other_columns(file, header):
    """A file that lacks a column, or has one more, is refused by its name."""
    one, two = file(b"a,b\n1,x\n", "1.csv"), file(header, "2.csv")
    with pytest.raises(SchemaMismatchError, match="different columns") as caught:
        read([one, two])
    assert str(two) in caught.value.message


def test_gzip(file):
    """A .csv.gz file is read, also one of several members."""
    content = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")
    assert read(file(content, "in.csv.gz"))[1] == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize("spoil", [lambda c: c[:-5], lambda c: c[:-9] + b"\0" + c[-8:], lambda c: b"a\n1\n"])
def test_damaged_gzip(file, spoil):
    """A .csv.gz file that is cut short, damaged or none is refused."""
    content = gzip.compress(b"a\n" + b"".join(b"%d\n" % n for n in range(1000)))
    with pytest.raises(UnreadableInputError, match=re.escape("in.csv.gz")):
        read(file(spoil(content), "in.csv.gz"))


def test_gzip_bomb(file, monkeypatch):
    """A file that inflates far beyond what text does is refused before it fills the disk."""
    monkeypatch.setattr(csv_bytes, "INFLATED_FREE_BYTES", 1000)
    monkeypatch.setattr(csv_bytes, "BLOCK_BYTES", 1000)
    with pytest.raises(UnreadableInputError, match="times its size"):
        read(file(gzip.compress(b"a\n" + b"1" * 5_000_000), "in.csv.gz"))


def test_records_longer_than_a_block(file):
    """A value of 10 MB is read whole, also between small ones."""
    long = "y" * 10_000_000
    path = file(f'a,b\n1,x\n2,"{long}"\n3,z\n'.encode())
    assert read(path)[1] == {"a": [1, 2, 3], "b": ["x", long, "z"]}


def test_a_record_that_no_block_holds(file, monkeypatch):
    """A record beyond the limit is refused."""
    monkeypatch.setattr(records, "RECORD_LIMIT_BYTES", 100)
    with pytest.raises(UnreadableInputError, match="a record of 150 bytes"):
        read(file(b"a\n1\n" + b"y" * 149 + b"\n2\n"))


def test_rows_of_many_blocks_keep_their_order(file):
    """Rows come in the file's order, and a misfit in a later block has its own row."""
    rows = [str(n) for n in range(200_000)]
    pad = "z" * 40
    lines = "".join(f"{row},{pad}\n" for row in rows)
    assert read(file(f"a,b\n{lines}".encode()))[1]["a"] == list(range(200_000))
    at = random.Random(7).randrange(150_000, 200_000)
    rows[at] = "x"
    lines = "".join(f"{row},{pad}\n" for row in rows)
    with pytest.raises(UnreadableInputError) as caught:
        read(file(f"a,b\n{lines}".encode()), schema={"a": "int64"})
    assert caught.value.row == at
