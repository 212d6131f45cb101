"""CSV data files have one exact form, come back bit for bit, and any damage to them is noticed."""

from __future__ import annotations

import csv as stdlib_csv
import hashlib
import io
from decimal import Decimal

import formats_help as help_
import pyarrow as pa
import pytest
from formats_help import Files, cut, identical, read, to_read, write
from hypothesis import given
from hypothesis import strategies as st

from txfiles import formats
from txfiles.errors import CorruptTableError, LossyCastError, UnsupportedTypeError
from txfiles.formats import common, csv
from txfiles.formats.common import WriteOptions

pytestmark = pytest.mark.guarantees("S17 S21")

CSV = formats.get("csv")


@pytest.fixture
def small_blocks(monkeypatch):
    """Files are hashed and parsed 16 bytes at a time, and are not kept."""
    monkeypatch.setattr(csv, "BLOCK_BYTES", 16)
    monkeypatch.setattr(csv, "KEEP_BYTES", 0)


# ---------------------------------------------------------------- the form


@pytest.mark.parametrize(
    ("kind", "values", "lines"),
    [
        (pa.null(), [None, None], ["", ""]),
        (pa.bool_(), [True, False, None], ["true", "false", ""]),
        (pa.int8(), [-128, 127, None], ["-128", "127", ""]),
        (pa.uint64(), [0, 2**64 - 1], ["0", "18446744073709551615"]),
        (
            pa.float64(),
            [0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, 1e22, float("nan"), float("inf"), -float("inf")],
            ["0", "-0", "1", "0.1", "1e+300", "5e-324", "1e+22", "nan", "inf", "-inf"],
        ),
        (pa.float32(), [0.5, 0.1, None], ["0.5", "0.10000000149011612", ""]),
        (pa.float16(), [0.5, 65504, -0.0], ["0.5", "65504", "-0"]),
        (
            pa.string(),
            ["", None, "001", "NA", 'say "hi"', "a,b", "a\r\nb", "é", "=1+1", " x ", "\0"],
            ['""', "", '"001"', '"NA"', '"say ""hi"""', '"a,b"', '"a\r\nb"', '"é"', '"=1+1"', '" x "', '"\0"'],
        ),
        (pa.binary(), [b"", None, b"\xff\x00", b"abc"], ['""', "", '"/wA="', '"YWJj"']),
        (pa.binary(2), [b"\xff\x00", None], ['"/wA="', ""]),
        (pa.date32(), [-719_162, 15_706, 2_932_896, None], ["0001-01-01", "2013-01-01", "9999-12-31", ""]),
        (pa.date64(), [0, None], ["1970-01-01", ""]),
        (pa.time32("s"), [36_000], ["10:00:00"]),
        (pa.time32("ms"), [36_000_500], ["10:00:00.500"]),
        (pa.time64("us"), [36_000_500_000], ["10:00:00.500000"]),
        (pa.time64("ns"), [86_399_999_999_999], ["23:59:59.999999999"]),
        (pa.timestamp("s"), [0, -1, None], ["1970-01-01T00:00:00", "1969-12-31T23:59:59", ""]),
        (pa.timestamp("ms"), [1], ["1970-01-01T00:00:00.001"]),
        (pa.timestamp("us"), [1_357_034_400_000_001], ["2013-01-01T10:00:00.000001"]),
        (pa.timestamp("ns"), [-1], ["1969-12-31T23:59:59.999999999"]),
        (pa.timestamp("us", "Europe/Berlin"), [0, None], ["1970-01-01T00:00:00.000000Z", ""]),
        (pa.timestamp("s", "+05:30"), [0], ["1970-01-01T00:00:00Z"]),
        (pa.duration("ms"), [-5, None], ["-5", ""]),
        (pa.decimal128(5, 2), [Decimal("1.5"), Decimal("-0.05"), Decimal(0), None], ["1.50", "-0.05", "0.00", ""]),
        (pa.decimal128(9, 8), [Decimal("1E-8"), Decimal("-1E-8")], ["0.00000001", "-0.00000001"]),
        (pa.decimal128(38, 0), [Decimal(10**38 - 1), Decimal(-7)], ["9" * 38, "-7"]),
        (pa.decimal256(76, 76), [Decimal("1E-76")], ["0." + "0" * 75 + "1"]),
    ],
    ids=str,
)
def test_the_form_of_values(kind, values, lines) -> None:
    """Each type has exactly one text, which comes back as the value that it was."""
    table = pa.table({"a": pa.array(values, kind)})
    files = Files()
    file = write(CSV, files, [table], table.schema)
    assert files.content["f"].decode() == "\n".join(['"a"', *lines, ""])
    assert identical(read(CSV, files, file, table.schema), table)


def test_the_form_of_a_file() -> None:
    """UTF-8, quoted names in the first line, LF, commas, null is nothing, an empty text is two quotes."""
    table = pa.table({"id": [1, 2, None], 'the "é", name': ["x", "", None], "t": pa.array([0, None, 1], pa.date32())})
    files = Files()
    file = write(CSV, files, cut(table, [1, 1]), table.schema)
    text = '"id","the ""é"", name","t"\n1,"x",1970-01-01\n2,"",\n,,1970-01-02\n'
    assert files.content["f"] == text.encode()
    facts = (file.bytes, file.rows, file.sha256, file.footer_bytes, file.footer_sha256)
    assert facts == (len(text.encode()), 3, hashlib.sha256(text.encode()).hexdigest(), 0, "")


@given(table=help_.tables(help_.flat_types))
def test_other_tools_split_it_into_the_same_fields(table) -> None:
    """Python's csv module finds as many records and fields as there are, and the same text."""
    files = Files()
    write(CSV, files, [table], table.schema)
    text = files.content["f"].decode()
    header, *records = list(stdlib_csv.reader(io.StringIO(text, newline=""), strict=True))
    assert header == table.column_names
    assert len(records) == table.num_rows
    for position, column in enumerate(table.columns):
        if pa.types.is_string(column.type) and table.num_columns > 1:
            assert [record[position] for record in records] == [value or "" for value in column.to_pylist()]


# ---------------------------------------------------------------- round trip


@given(
    table=help_.tables(help_.flat_types),
    points=st.lists(st.integers(0, 20), max_size=4),
    block=st.sampled_from([1, 2, 7, 64, 4 * 1024 * 1024]),
    keep=st.sampled_from([0, 64 * 1024 * 1024]),
    text=st.sampled_from([1, 50, 2**24]),
)
def test_any_table_comes_back(table, points, block, keep, text) -> None:
    """What is written in any pieces is read in any blocks with the same types and values, to the bit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "BLOCK_BYTES", block)
        patch.setattr(csv, "KEEP_BYTES", keep)
        patch.setattr(csv, "TEXT_SLICE_BYTES", text)
        files = Files()
        file = write(CSV, files, cut(table, points), table.schema)
        assert identical(read(CSV, files, file, table.schema), table)
        wanted = table.column_names[::-2]
        assert identical(read(CSV, files, file, table.schema, wanted), table.select(wanted))


@given(values=st.lists(st.none() | st.text('\n",\r', max_size=40), max_size=12), block=st.integers(1, 30))
def test_records_are_found_among_quotes_and_newlines(values, block) -> None:
    """Blocks end where records do, whatever quotes and newlines the values hold, and say how many rows they have."""
    table = pa.table({"a": pa.array(values, pa.string())})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "BLOCK_BYTES", block)
        files = Files()
        file = write(CSV, files, [table], table.schema)
        with CSV.open(files, file, table.schema) as opened:
            groups = list(opened.groups())
            found = [value for group in groups for value in group.read(["a"])["a"].to_pylist()]
            assert sum(group.rows for group in groups) == len(values)
            assert found == values


def test_a_value_may_be_longer_than_a_block() -> None:
    """A value of 10 MB with quotes and newlines comes back."""
    table = pa.table({"a": ['x"\n' * 3_500_000, None, "y"], "b": [1, 2, 3]})
    files = Files()
    file = write(CSV, files, [table], table.schema)
    assert file.bytes > 2 * csv.BLOCK_BYTES
    assert identical(read(CSV, files, file, table.schema), table)


def test_types_are_declared_never_inferred() -> None:
    """Text that looks like another type stays text, also where all of it does; nulls keep their type."""
    table = pa.table(
        {
            "a": ["001", "1e5", "NA", "true", "2013-01-01", "null", "nan", ""],
            "b": pa.nulls(8, pa.string()),
            "c": pa.nulls(8, pa.int8()),
        }
    )
    files = Files()
    file = write(CSV, files, [table], table.schema)
    assert identical(read(CSV, files, file, table.schema), table)


def test_large_rows_are_written_in_slices(monkeypatch) -> None:
    """Values of which the text passes the size of a slice make more slices, not another file."""
    table = pa.table({"a": [f"{i:050}" for i in range(200)], "i": list(range(200))})
    files = Files()
    file = write(CSV, files, [table], table.schema)
    whole = files.content["f"]
    monkeypatch.setattr(csv, "TEXT_SLICE_BYTES", 100)
    assert write(CSV, files, [table], table.schema) == file
    assert files.content["f"] == whole


# ---------------------------------------------------------------- groups


def test_groups_can_be_read_alone_again_and_without_columns(small_blocks) -> None:
    """A block reads any columns any number of times; its rows are known before; it has no bounds."""
    table = pa.table({"a": list(range(100)), "b": [str(i) for i in range(100)]})
    files = Files()
    file = write(CSV, files, [table], table.schema)
    with CSV.open(files, file, table.schema) as opened:
        groups = list(opened.groups())
        assert len(groups) > 10
        start = sum(group.rows for group in groups[:7])
        for columns in (["b"], ["a"], ["b", "a"]):
            assert groups[7].read(columns).equals(table.slice(start, groups[7].rows).select(columns))
        assert groups[7].read([]).num_rows == groups[7].rows
        assert groups[7].bounds("a") is None


@pytest.mark.parametrize(
    ("values", "then", "now"),
    [
        ([1, -128, None], pa.int8(), pa.int64()),
        ([1, 255, None], pa.uint8(), pa.int16()),
        ([1, 2, None], pa.int32(), pa.float64()),
        ([0.1, None, -0.0], pa.float32(), pa.float64()),
        ([0.1, None, 65504], pa.float16(), pa.float64()),
        ([Decimal("1.5"), None], pa.decimal128(5, 2), pa.decimal128(12, 4)),
        ([Decimal("1.5"), None], pa.decimal128(5, 2), pa.decimal256(50, 4)),
        ([7, None], pa.int32(), pa.decimal128(12, 2)),
        ([None, None], pa.null(), pa.string()),
        ([None, None], pa.null(), pa.timestamp("us", "UTC")),
        ([None, None], pa.null(), pa.binary()),
    ],
    ids=str,
)
def test_older_files_are_read_in_the_types_of_today(values, then, now) -> None:
    """A column that was narrower, or had no type yet, is read as exactly the values that it held, widened."""
    table = pa.table({"a": pa.array(values, then)})
    files = Files()
    file = write(CSV, files, [table], table.schema)
    found = read(CSV, files, file, pa.schema([("new", pa.list_(pa.int8())), ("a", now)]))
    assert identical(found.select(["a"]), pa.table({"a": pa.array(values, then).cast(now)}))
    assert found["new"].null_count == len(values)


# ---------------------------------------------------------------- damage

ROWS = pa.table({"id": [1, 2, 3], "name": ["ab", None, 'c"d\n,'], "x": [0.5, None, 2.0]})


def noticed(data: bytes, file) -> bool:
    files = Files()
    files.content["f"] = data
    return help_.refused(CSV, files, file, ROWS.schema) is None


@pytest.mark.parametrize("change", [0x01, 0x20, 0x55, 0xFF])
def test_every_flipped_byte_is_noticed(change, small_blocks) -> None:
    """Any one changed byte is noticed when the file is opened, before any row is returned."""
    files = Files()
    file = write(CSV, files, [ROWS], ROWS.schema)
    data = files.content["f"]
    assert not noticed(data, file)
    assert all(noticed(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :], file) for at in range(len(data)))


def test_every_truncation_is_noticed() -> None:
    """A file cut off anywhere, at the end of a line too, or with more bytes, is damaged."""
    files = Files()
    file = write(CSV, files, [ROWS], ROWS.schema)
    data = files.content["f"]
    assert all(noticed(data[:size], file) for size in range(len(data)))
    assert noticed(data + b"4,,\n", file)


@pytest.mark.parametrize("keep", [0, 2**26])
def test_a_file_that_ends_early_is_noticed(keep, monkeypatch) -> None:
    """A store that gives fewer bytes than it says is not believed."""

    class Short(pa.PythonFile):
        def size(self) -> int:
            return 100

    class Store:
        def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
            return Short(io.BytesIO(b'"a"\n1\n'), mode="r")

        def read_ranges(self, name: str, ranges: list[tuple[int, int]], size: int | None = None) -> list[bytes]:
            return [b'"a"\n1\n']

    monkeypatch.setattr(csv, "KEEP_BYTES", keep)
    file = to_read(common.FileFacts(1, 100, "0" * 64))
    with pytest.raises(CorruptTableError, match="ends after 6 bytes"):
        CSV.open(Store(), file, pa.schema([("a", pa.int64())]))


@pytest.mark.parametrize(
    ("text", "rows", "message"),
    [
        (b"", 0, "last line is incomplete"),
        (b'"a","b"', 0, "last line is incomplete"),
        (b'"a","b"\n1,"x"', 1, "last line is incomplete"),
        (b'"a","b"\n1,"x\n', 1, "last line is incomplete"),
        (b"a,b\n1,x\n", 1, "not a list of quoted column names"),
        (b'"a","b",\n1,"x"\n', 1, "not a list of quoted column names"),
        (b'"a";"b"\n1,"x"\n', 1, "not a list of quoted column names"),
        (b'\xef\xbb\xbf"a","b"\n1,"x"\n', 1, "not a list of quoted column names"),
        (b'"a","b"\r\n1,"x"\r\n', 1, "not a list of quoted column names"),
        (b'"a","\xff"\n1,"x"\n', 1, "cannot be decoded"),
        (b'"a","a"\n1,2\n', 1, "the same name"),
        (b'"a","B"\n1,"x"\n', 1, "its column 'B' is not in the table"),
        (b'"a","b","c"\n1,"x",2\n', 1, "its column 'c' is not in the table"),
        (b'"a","b"\n1,"x"\n', 2, "it has 1 rows, the log says 2"),
        (b'"a","b"\n1,"x"\n2,"y"\n', 1, "it has 2 rows, the log says 1"),
        (b'"a","b"\nx,"x"\n', 1, "invalid value 'x'"),
        (b'"a","b"\n1.0,"x"\n', 1, "invalid value '1.0'"),
        (b'"a","b"\n99999999999999999999,"x"\n', 1, "invalid value"),
        (b'"a","b"\n"","x"\n', 1, "invalid value"),
        (b'"a","b"\n1\n', 1, "Expected 2 columns"),
        (b'"a","b"\n1,"x",\n', 1, "Expected 2 columns"),
        (b'"a","b"\n1,"\xff"\n', 1, "UTF"),
        (b'"b"\nx"\ny"\n', 1, "1 lines at byte 4 hold 2 records"),
    ],
)
def test_hostile_content_is_refused(text, rows, message) -> None:
    """Content that is not in the form, its checksum made to fit, is damage: nothing is guessed or skipped."""
    files = Files()
    files.content["f"] = text
    file = to_read(common.FileFacts(rows, len(text), hashlib.sha256(text).hexdigest()))
    with pytest.raises(CorruptTableError, match=message):
        read(CSV, files, file, pa.schema([("a", pa.int64()), ("b", pa.string())]))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (pa.bool_(), "1"),
        (pa.bool_(), "True"),
        (pa.timestamp("us"), "2013-01-01T00:00:00Z"),
        (pa.timestamp("us", "UTC"), "2013-01-01T00:00:00"),
        (pa.timestamp("s"), "2013-01-01T00:00:00.5"),
        (pa.timestamp("us"), "01/02/2013"),
        (pa.date32(), "2013-13-01"),
        (pa.time32("s"), "25:00:00"),
        (pa.decimal128(3, 1), "1.23"),
        (pa.decimal256(50, 1), "x"),
        (pa.binary(), '"not base64!"'),
        (pa.binary(2), '"YWJj"'),
        (pa.float64(), "1,5"),
        (pa.null(), "x"),
        (pa.duration("s"), "1.5"),
    ],
    ids=str,
)
def test_a_text_that_is_none_of_its_type_is_damage(kind, text) -> None:
    """A value that the declared type does not have is never read as something near it."""
    data = f'"a"\n{text}\n'.encode()
    files = Files()
    files.content["f"] = data
    file = to_read(common.FileFacts(1, len(data), hashlib.sha256(data).hexdigest()))
    with pytest.raises(CorruptTableError):
        read(CSV, files, file, pa.schema([("a", kind)]))


# ---------------------------------------------------------------- refusals

YEAR_1, YEAR_10000 = -62_135_596_800, 253_402_300_800


@pytest.mark.parametrize(
    ("kind", "fine", "bad"),
    [
        (pa.date32(), [-719_162, 2_932_896], [-719_163, 2_932_897, 2**31 - 1]),
        (pa.date64(), [-719_162 * 86_400_000], [-719_163 * 86_400_000, 2_932_897 * 86_400_000, 1]),
        (pa.timestamp("s"), [YEAR_1, YEAR_10000 - 1], [YEAR_1 - 1, YEAR_10000, 2**62]),
        (pa.timestamp("ms", "UTC"), [YEAR_10000 * 1_000 - 1], [YEAR_1 * 1_000 - 1, YEAR_10000 * 1_000]),
        (pa.timestamp("us", "Asia/Tokyo"), [YEAR_1 * 10**6], [YEAR_1 * 10**6 - 1, YEAR_10000 * 10**6]),
        (pa.timestamp("ns"), [-(2**63), -9_223_372_036 * 10**9 - 1, 2**63 - 1], []),
        (pa.timestamp("ns", "UTC"), [None, -(2**63) + 1, 0], []),
        (pa.time32("s"), [0, 86_399], [-1, 86_400]),
        (pa.time64("ns"), [0], [86_400 * 10**9]),
    ],
    ids=str,
)
def test_times_that_do_not_come_back_are_refused(kind, fine, bad) -> None:
    """A time that the text cannot hold is an error naming column, row and value; the last ones that can come back."""
    table = pa.table({"t": pa.array(fine, kind)})
    files = Files()
    assert identical(read(CSV, files, write(CSV, files, [table], table.schema), table.schema), table)
    for value in bad:
        files = Files()
        with CSV.writer(files.create("f"), table.schema, WriteOptions()) as writer:
            writer.write(table)
            with pytest.raises(LossyCastError, match="'t'") as caught:
                writer.write(pa.table({"t": pa.array([None, fine[0], value, value], kind)}))
        assert (caught.value.column, caught.value.row) == ("t", len(fine) + 2)
        assert caught.value.value
        assert caught.value.value in str(caught.value)
        assert not files.content


def test_text_that_is_not_utf8_is_refused() -> None:
    """Bytes that call themselves text, but are none, are an error at write, not at read."""
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xed\xa0\x80"]).buffers())
    with (
        CSV.writer(Files().create("f"), pa.schema([("t", pa.string())]), WriteOptions()) as writer,
        pytest.raises(LossyCastError, match="row 1"),
    ):
        writer.write(pa.table({"t": bad}))


def test_a_row_that_could_not_be_read_back_is_refused(monkeypatch) -> None:
    """A row longer than the parser takes is an error that names the row and its longest column."""
    monkeypatch.setattr(csv, "ROW_LIMIT_BYTES", 200)
    rows = pa.table({"a": [1, 2, 3], "t": ["x", "y" * 50, "z" * 50 + '"' * 50]})
    with CSV.writer(Files().create("f"), rows.schema, WriteOptions()) as writer:
        writer.write(rows.slice(0, 2))
        writer.write(rows.slice(0, 1))
        with pytest.raises(UnsupportedTypeError, match=r"row 5 .*'t'") as caught:
            writer.write(rows)
    assert "parquet" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        (pa.list_(pa.int8()), "nested types need format parquet"),
        (pa.list_(pa.int8(), 2), "nested types need format parquet"),
        (pa.struct([("x", pa.int8())]), "nested types need format parquet"),
        (pa.map_(pa.string(), pa.int8()), "nested types need format parquet"),
        (pa.decimal128(5, -2), "cast the column"),
        (pa.month_day_nano_interval(), "cast the column"),
    ],
    ids=str,
)
def test_types_without_a_text_are_refused(kind, hint) -> None:
    """A type that CSV cannot hold is an error that names the column and the way out."""
    with pytest.raises(UnsupportedTypeError, match="'t'") as caught:
        CSV.check_types(pa.schema([("ok", pa.int8()), ("t", kind)]))
    assert caught.value.hint == hint


def test_all_flat_types_are_fine() -> None:
    """Every flat type that a table can have is accepted."""
    CSV.check_types(pa.schema([(str(number), kind) for number, (kind, _) in enumerate(help_.FLAT)]))
