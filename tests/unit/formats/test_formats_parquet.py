"""Parquet data files come back as they were written, and damage to them is noticed."""

from __future__ import annotations

import gc
import hashlib
import io

import formats_help as help_
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from formats_help import Files, cut, identical, read, to_read, write
from hypothesis import given
from hypothesis import strategies as st

from txfiles import formats
from txfiles.errors import (
    CorruptTableError,
    LossyCastError,
    OptionError,
    SchemaMismatchError,
    StoreError,
    UnsupportedTypeError,
)
from txfiles.formats import common, parquet_writer
from txfiles.formats.common import WriteOptions

pytestmark = pytest.mark.guarantees("S17 S21")

PARQUET = formats.get("parquet")
CODECS = ("none", "snappy", "gzip", "zstd", "lz4")


@given(
    table=help_.tables(help_.flat_types | help_.nested_types()),
    points=st.lists(st.integers(0, 20), max_size=4),
    group_rows=st.integers(1, 7),
    codec=st.sampled_from(CODECS),
)
def test_any_table_comes_back(table, points, group_rows, codec) -> None:
    """What is written in any pieces, groups and codec is read with the same types and values, to the bit."""
    files = Files()
    file = write(PARQUET, files, cut(table, points), table.schema, row_group_rows=group_rows, compression=codec)
    assert identical(read(PARQUET, files, file, table.schema), table)


@given(sizes=st.lists(st.integers(0, 25), max_size=6), full=st.integers(1, 12))
def test_row_groups_are_full(sizes, full) -> None:
    """All row groups but the last have the rows asked for, however the rows came, and rows keep their order."""
    files = Files()
    numbers = iter(range(1_000))
    tables = [pa.table({"a": pa.array([next(numbers) for _ in range(size)], pa.int64())}) for size in sizes]
    file = write(PARQUET, files, tables, pa.schema([("a", pa.int64())]), row_group_rows=full)
    total = sum(sizes)
    with PARQUET.open(files, file, pa.schema([("a", pa.int64())])) as opened:
        groups = list(opened.groups())
        assert [group.rows for group in groups] == [full] * (total // full) + [total % full] * (total % full > 0)
        assert [value for group in groups for value in group.read(["a"])["a"].to_pylist()] == list(range(total))


def test_row_groups_are_cut_by_size_too(monkeypatch) -> None:
    """Rows that are too large together make smaller row groups, so that they can be read back."""
    monkeypatch.setattr(parquet_writer, "GROUP_LIMIT_BYTES", 1_000)
    table = pa.table({"a": ["x" * 300] * 10 + ["y" * 5_000]})
    files = Files()
    file = write(PARQUET, files, [table], table.schema)
    with PARQUET.open(files, file, table.schema) as opened:
        assert [group.rows for group in opened.groups()] == [2, 3, 3, 1, 1, 1]
    assert identical(read(PARQUET, files, file, table.schema), table)


def test_other_tools_read_it() -> None:
    """The file is ordinary Parquet: pyarrow alone reads it, with field ids, units, zones and page checksums."""
    schema = pa.schema(
        [
            pa.field("a", pa.duration("us"), metadata={b"PARQUET:field_id": b"7"}),
            pa.field("b", pa.timestamp("us", "Europe/Berlin"), metadata={b"PARQUET:field_id": b"9"}),
        ]
    )
    table = pa.table([pa.array([1, None], pa.duration("us")), pa.array([5, 6], schema.field("b").type)], schema=schema)
    files = Files()
    write(PARQUET, files, [table], schema)
    found = pq.read_table(io.BytesIO(files.content["f"]), page_checksum_verification=True)
    assert found.equals(table)
    assert [found.schema.field(name).metadata[b"PARQUET:field_id"] for name in "ab"] == [b"7", b"9"]
    assert pq.ParquetFile(io.BytesIO(files.content["f"])).metadata.format_version == "2.6"


def test_facts_describe_the_file() -> None:
    """The facts are the size and hash of the whole file, and of its footer with length and magic."""
    files = Files()
    table = pa.table({"a": list(range(100))})
    file = write(PARQUET, files, [table], table.schema, row_group_rows=9)
    data = files.content["f"]
    footer = data[-file.footer_bytes :]
    assert (file.rows, file.bytes, file.sha256) == (100, len(data), hashlib.sha256(data).hexdigest())
    assert file.footer_sha256 == hashlib.sha256(footer).hexdigest()
    assert (int.from_bytes(footer[-8:-4], "little") + 8, footer[-4:]) == (len(footer), b"PAR1")


@pytest.mark.parametrize("codec", CODECS)
def test_compression_is_the_one_asked_for(codec) -> None:
    """The option names the codec of every page."""
    files = Files()
    write(PARQUET, files, [pa.table({"a": [1, 2]})], pa.schema([("a", pa.int64())]), compression=codec)
    found = pq.ParquetFile(io.BytesIO(files.content["f"])).metadata.row_group(0).column(0).compression
    assert found.lower() == {"none": "uncompressed"}.get(codec, codec)


@pytest.mark.parametrize(
    ("column", "dictionary"),
    [
        (pa.array([f"v{i % 25}" for i in range(100)]), True),
        (pa.array([f"v{i % 26}" for i in range(100)]), False),
        (pa.array([i % 6 for i in range(100)]), True),
        (pa.array([i % 7 for i in range(100)]), False),
        (pa.array(["x"] * 75 + [f"v{i}" for i in range(25)]), False),
        (pa.array([f"v{i}" for i in range(24)] + ["x"] * 76), True),
        (pa.array([None] * 100, pa.string()), True),
        (pa.array([i % 2 == 0 for i in range(100)]), False),
        (pa.array([[f"v{i % 2}"] for i in range(100)]), False),
        (pa.array([1.5] * 100, pa.float16()), False),
        (pa.array([None] * 100), False),
    ],
)
def test_only_columns_of_few_values_have_a_dictionary(column, dictionary) -> None:
    """A dictionary is made for a flat column that repeats its values often enough, and for no other."""
    files = Files()
    write(PARQUET, files, [pa.table({"a": column})], pa.schema([("a", column.type)]))
    chunk = pq.ParquetFile(io.BytesIO(files.content["f"])).metadata.row_group(0).column(0)
    assert ("RLE_DICTIONARY" in chunk.encodings) == dictionary


# ---------------------------------------------------------------- damage

ROWS = pa.table(
    {"id": list(range(40)), "name": ["ab", None, "cdefgh", "x"] * 10, "tags": [["p"], None, [], ["q", "r"]] * 10}
)


def damaged(data: bytes, file) -> pa.Table | None:
    files = Files()
    files.content["f"] = data
    return help_.refused(PARQUET, files, file, ROWS.schema)


@pytest.mark.parametrize("codec", ["none", "snappy"])
def test_a_flipped_byte_never_changes_a_value(codec) -> None:
    """Any one flipped byte is noticed or changes no value; in page data and in the footer it is always noticed."""
    files = Files()
    file = write(PARQUET, files, [ROWS], ROWS.schema, row_group_rows=20, compression=codec)
    data = files.content["f"]
    unnoticed = []
    for at in range(len(data)):
        found = damaged(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :], file)
        if found is not None:
            assert identical(found, ROWS), at
            unnoticed.append(at)
    assert all(at < file.bytes - file.footer_bytes for at in unnoticed)
    if codec == "none":
        first = data.index(np.arange(20, dtype="<i8").tobytes())
        assert not set(unnoticed) & set(range(first, first + 160))


@given(at=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255), length=st.integers(1, 40))
def test_a_burst_of_damage_never_changes_a_value(at, change, length) -> None:
    """Damage to several bytes in a row is noticed or changes no value."""
    files = Files()
    file = write(PARQUET, files, [ROWS], ROWS.schema, row_group_rows=20)
    data = bytearray(files.content["f"])
    start = int(at * len(data))
    for position in range(start, min(start + length, len(data))):
        data[position] ^= change
    found = damaged(bytes(data), file)
    assert found is None or identical(found, ROWS)


def test_every_truncation_is_noticed() -> None:
    """A file that is cut off anywhere, or has more bytes than it should, is damaged."""
    files = Files()
    file = write(PARQUET, files, [ROWS], ROWS.schema)
    data = files.content["f"]
    assert all(damaged(data[:size], file) is None for size in range(len(data)))
    assert damaged(data + b"\0", file) is None


def test_a_missing_file_is_damage() -> None:
    """A file that is not there is a damaged table, whether the store says so or the operating system does."""
    files = Files()
    file = write(PARQUET, files, [ROWS], ROWS.schema)
    files.content.clear()
    with pytest.raises(CorruptTableError):
        PARQUET.open(files, file, ROWS.schema)
    with pytest.raises(CorruptTableError, match="some/f is damaged: it is missing"):
        PARQUET.open(Failing(FileNotFoundError(2, "No such file")), file, ROWS.schema)


class Failing:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        raise self._error


def test_a_failing_store_is_not_damage() -> None:
    """An error of the operating system says nothing of the file: it is the store's."""
    file = to_read(common.FileFacts(1, 1, "0" * 64, 1, "0" * 64))
    with pytest.raises(StoreError, match="some/f could not be read"):
        PARQUET.open(Failing(OSError(5, "Input/output error")), file, ROWS.schema)
    with pytest.raises(StoreError, match="net"):
        PARQUET.open(Failing(StoreError("net")), file, ROWS.schema)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": 39}, "it has 40 rows, the log says 39"),
        ({"rows": 41}, "it has 40 rows, the log says 41"),
        ({"rows": 0}, "2 row groups for 0 rows"),
        ({"footer_bytes": 0}, "a footer of 0 bytes does not fit"),
        ({"footer_bytes": 2**40}, "does not fit"),
        ({"footer_bytes": 100}, "footer does not match"),
        ({"footer_sha256": "0" * 64}, "footer does not match"),
        ({"bytes": 5}, "the log says 5"),
    ],
)
def test_a_file_must_be_as_the_log_says(changed, message) -> None:
    """Size, footer and number of rows are held against the log before any page is decoded."""
    files = Files()
    write(PARQUET, files, [ROWS], ROWS.schema, row_group_rows=20)
    with PARQUET.writer(Files().create("g"), ROWS.schema, WriteOptions(row_group_rows=20)) as writer:
        writer.write(ROWS)
        facts = writer.close()
    with pytest.raises(CorruptTableError, match=message):
        PARQUET.open(files, to_read(facts, **changed), ROWS.schema)


def test_two_columns_of_one_name_are_damage() -> None:
    """A file in which a name is ambiguous is refused, not guessed at."""
    buffer = io.BytesIO()
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), buffer)
    files, file = adopted(buffer.getvalue(), 1)
    with pytest.raises(CorruptTableError, match="the same name"):
        PARQUET.open(files, file, pa.schema([("a", pa.int64())]))


def adopted(data: bytes, rows: int):
    """A file of another writer, as the log would record it."""
    files = Files()
    files.content["f"] = data
    size = int.from_bytes(data[-8:-4], "little") + 8
    hashes = hashlib.sha256(data).hexdigest(), hashlib.sha256(data[-size:]).hexdigest()
    return files, to_read(common.FileFacts(rows, len(data), hashes[0], size, hashes[1]))


# ---------------------------------------------------------------- columns and types


def test_older_files_are_read_in_the_types_of_today() -> None:
    """A column that the file lacks is null, a narrower one is widened, one without a type takes the type."""
    table = pa.table(
        {"a": pa.array([1, None], pa.int8()), "n": pa.nulls(2), "f": pa.array([0.1, 2], pa.float32()), "u": [7, 8]}
    )
    schema = pa.schema(
        [("new", pa.list_(pa.string())), ("a", pa.int64()), ("n", pa.list_(pa.int8())), ("f", pa.float64())]
    )
    files = Files()
    file = write(PARQUET, files, [table], table.schema)
    found = read(PARQUET, files, file, schema, ["f", "new", "a", "n"])
    assert found.schema.equals(pa.schema([schema.field(name) for name in ("f", "new", "a", "n")]))
    assert found.to_pydict() == {
        "f": [0.10000000149011612, 2.0],
        "new": [None, None],
        "a": [1, None],
        "n": [None, None],
    }


def test_a_value_that_does_not_fit_the_type_is_damage() -> None:
    """A file with a wider type than the table's is no file of this table, unless each value fits."""
    table = pa.table({"a": pa.array([1, 300], pa.int64())})
    files = Files()
    file = write(PARQUET, files, [table], table.schema)
    with pytest.raises(CorruptTableError, match="300"):
        read(PARQUET, files, file, pa.schema([("a", pa.int8())]))


def test_dotted_names_and_structs_are_told_apart() -> None:
    """A column "a.b" is not field b of column a."""
    table = pa.table({"a.b": [1, 2], "a": [{"b": 3, "c": 4}, None]})
    files = Files()
    file = write(PARQUET, files, [table], table.schema)
    assert read(PARQUET, files, file, table.schema, ["a.b"]).to_pydict() == {"a.b": [1, 2]}
    assert read(PARQUET, files, file, table.schema, ["a"]).to_pydict() == {"a": [{"b": 3, "c": 4}, None]}
    with PARQUET.open(files, file, table.schema) as opened:
        group = next(opened.groups())
        assert [value.as_py() for value in group.bounds("a.b")] == [1, 2]
        assert group.bounds("a") is None


def test_groups_can_be_read_alone_again_and_without_columns() -> None:
    """A group reads any columns any number of times; no column at all still has its rows."""
    files = Files()
    file = write(PARQUET, files, [ROWS], ROWS.schema, row_group_rows=15)
    with PARQUET.open(files, file, ROWS.schema) as opened:
        _, second, third = opened.groups()
        assert second.read(["id"])["id"].to_pylist() == list(range(15, 30))
        assert second.read(["name", "id"]).equals(ROWS.slice(15, 15).select(["name", "id"]))
        assert third.read([]).num_rows == 10


def test_int96_of_other_writers_is_read_in_the_columns_unit() -> None:
    """Timestamps as Spark writes them come back in the year 3000 too, and with nanoseconds where those are wanted."""
    for kind, value in ((pa.timestamp("us"), 32_503_680_000_000_001), (pa.timestamp("ns"), 1_000_000_001)):
        table = pa.table({"a": pa.array([value], kind)})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, use_deprecated_int96_timestamps=True)
        files, file = adopted(buffer.getvalue(), 1)
        assert read(PARQUET, files, file, table.schema).equals(table)


def test_categories_of_other_writers_are_text() -> None:
    """A dictionary column of another writer is read as its values."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": pa.array(["x", "y"]).dictionary_encode()}), buffer)
    files, file = adopted(buffer.getvalue(), 2)
    schema = pa.schema([("a", pa.string())])
    assert read(PARQUET, files, file, schema)["a"].to_pylist() == ["x", "y"]
    with PARQUET.open(files, file, schema) as opened:
        bounds = next(opened.groups()).bounds("a")
        assert bounds is None or [value.as_py() for value in bounds] == ["x", "y"]


# ---------------------------------------------------------------- bounds


@given(table=help_.tables(help_.flat_types, max_columns=3), full=st.integers(1, 6))
def test_bounds_hold_for_every_value(table, full) -> None:
    """No value of a group lies outside its bounds, and bounds have the column's type."""
    files = Files()
    file = write(PARQUET, files, [table], table.schema, row_group_rows=full)
    with PARQUET.open(files, file, table.schema) as opened:
        for group in opened.groups():
            for name in table.column_names:
                check_bounds(group.read([name])[name], group.bounds(name))


def check_bounds(column: pa.ChunkedArray, bounds) -> None:
    if pa.types.is_floating(column.type) or column.null_count == len(column):
        assert bounds is None
        return
    if bounds is None:
        assert pa.types.is_null(column.type)
        return
    low, high = bounds
    assert low.type == high.type == column.type
    values = [value for value in help_.plain(column) if value is not None]
    assert (plain_scalar(low), plain_scalar(high)) == (min(values), max(values))


def plain_scalar(value: pa.Scalar):
    return help_.plain(pa.array([value], value.type))[0]


def test_bounds_are_in_the_types_of_today() -> None:
    """Bounds of an older file are widened as its values are; unknown columns have none."""
    table = pa.table({"a": pa.array([3, 1], pa.int8())})
    files = Files()
    file = write(PARQUET, files, [table], table.schema)
    with PARQUET.open(files, file, pa.schema([("a", pa.int64()), ("b", pa.int64())])) as opened:
        group = next(opened.groups())
        assert group.bounds("a") == (pa.scalar(1, pa.int64()), pa.scalar(3, pa.int64()))
        assert group.bounds("b") is None
        assert group.bounds("c") is None
    with PARQUET.open(files, file, pa.schema([("a", pa.bool_())])) as opened:
        assert next(opened.groups()).bounds("a") in (None, (pa.scalar(True), pa.scalar(True)))


# ---------------------------------------------------------------- refusals, nothing published


@pytest.mark.parametrize(
    ("kind", "values", "row"),
    [
        (pa.date64(), [0, 86_400_001], 1),
        (pa.date64(), [0, 0, 86_400_000 * 2**31], 2),
        (pa.time32("s"), [86_399, None, 86_400], 2),
        (pa.time64("ns"), [-1], 0),
        (pa.timestamp("s"), [0, 2**62, 2**62], 1),
        (pa.timestamp("s", "UTC"), [-(2**62)], 0),
        (pa.list_(pa.timestamp("s")), [[1], None, [2, 2**62]], 2),
        (pa.list_(pa.date64(), 1), [[0], None, [86_400_000 * 2**31]], 2),
        (pa.struct([("x", pa.timestamp("s"))]), [{"x": None}, {"x": 2**62}], 1),
        (pa.map_(pa.string(), pa.timestamp("s")), [[("a", 1)], None, [("b", 2**62)]], 2),
    ],
)
def test_values_that_do_not_come_back_are_refused(kind, values, row) -> None:
    """A value that Parquet cannot hold is an error that names column and row; the file is not there."""
    files = Files()
    sink = files.create("f")
    with PARQUET.writer(sink, pa.schema([("t", kind)]), WriteOptions()) as writer:
        writer.write(pa.table({"t": pa.array([None], kind)}))
        with pytest.raises(LossyCastError, match="'t'") as caught:
            writer.write(pa.table({"t": pa.array(values, kind)}))
    assert (caught.value.column, caught.value.row) == ("t", row + 1)
    assert sink.aborted
    assert not files.content


def test_text_that_is_not_utf8_is_refused() -> None:
    """Bytes that call themselves text, but are none, are an error that shows them."""
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xffx"]).buffers())
    with (
        PARQUET.writer(Files().create("f"), pa.schema([("t", pa.string())]), WriteOptions()) as writer,
        pytest.raises(LossyCastError, match=r"row 1, .*valid string") as caught,
    ):
        writer.write(pa.table({"t": bad}))
    assert "xffx" in caught.value.value


@pytest.mark.parametrize(
    "kind",
    [
        pa.struct([]),
        pa.list_(pa.struct([])),
        pa.list_(pa.int8(), 0),
        pa.binary(0),
        pa.decimal128(5, -2),
        pa.map_(pa.string(), pa.struct([])),
    ],
)
def test_types_that_do_not_come_back_are_refused(kind) -> None:
    """A type that Parquet cannot hold is an error that names the column."""
    with pytest.raises(UnsupportedTypeError, match="'t'"):
        PARQUET.check_types(pa.schema([("ok", pa.int8()), ("t", kind)]))


def test_all_other_types_are_fine() -> None:
    """Flat and nested types of every kind are accepted."""
    for kind, _ in help_.FLAT:
        PARQUET.check_types(pa.schema([("a", kind), ("b", pa.list_(pa.struct([("x", kind)])))]))


@pytest.mark.parametrize("name", ["parquet", "csv"])
@pytest.mark.parametrize("fail_after", [0, 3, 30, 400])
def test_a_failing_sink_publishes_nothing(name, fail_after) -> None:
    """The store's error reaches the caller, the sink is aborted, and nothing appears, not even at collection."""
    files = Files()
    sink = files.create("f", fail_after)
    form = formats.get(name)
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    writer = form.writer(sink, schema, WriteOptions(row_group_rows=10))
    rows = pa.table({"a": list(range(100)), "b": list(range(100))})
    with pytest.raises(StoreError, match="disk is full"):
        write_and_close(writer, rows)
    assert sink.aborted
    with pytest.raises(ValueError, match="closed or aborted"):
        writer.close()
    with pytest.raises(ValueError, match="closed or aborted"):
        writer.write(rows)
    del writer
    gc.collect()
    assert not files.content


def write_and_close(writer, rows: pa.Table) -> None:
    writer.write(rows)
    writer.close()


def write_and_fail(writer, rows: pa.Table) -> None:
    with writer:
        writer.write(rows)
        raise KeyError


@pytest.mark.parametrize("name", ["parquet", "csv"])
def test_leaving_a_writer_publishes_nothing(name) -> None:
    """A file is published by `close` alone: not by abort, by an exception or by leaving the `with`."""
    files = Files()
    rows = pa.table({"a": [1]})
    form = formats.get(name)
    with form.writer(files.create("f"), rows.schema, WriteOptions(row_group_rows=1)) as writer:
        writer.write(rows)
    with form.writer(files.create("f"), rows.schema, WriteOptions(row_group_rows=1)) as writer:
        writer.write(rows)
        writer.abort()
        writer.abort()
    with pytest.raises(KeyError):
        write_and_fail(form.writer(files.create("f"), rows.schema, WriteOptions()), rows)
    del writer
    gc.collect()
    assert not files.content


@pytest.mark.parametrize("name", ["parquet", "csv"])
@pytest.mark.parametrize(
    "rows",
    [
        pa.table({"a": [1]}),
        pa.table({"a": [1], "b": [1], "c": [1]}),
        pa.table({"a": [1], "B": [1]}),
        pa.table({"a": [1], "b": [1.0]}),
    ],
)
def test_rows_must_have_the_schemas_columns_and_types(name, rows) -> None:
    """Other columns or types than the file's are an error, never a silent cast."""
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    writer = formats.get(name).writer(Files().create("f"), schema, WriteOptions())
    with pytest.raises(SchemaMismatchError):
        writer.write(rows)


@pytest.mark.parametrize("name", ["parquet", "csv"])
def test_columns_may_come_in_any_order(name) -> None:
    """Columns are bound by name; the file has the schema's order."""
    files = Files()
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    form = formats.get(name)
    file = write(form, files, [pa.table({"b": ["x"], "a": [1]})], schema)
    assert read(form, files, file, schema).to_pydict() == {"a": [1], "b": ["x"]}


@pytest.mark.parametrize("name", ["parquet", "csv"])
def test_a_file_without_rows_is_a_file(name) -> None:
    """No rows make a file that is read as no rows."""
    files = Files()
    schema = pa.schema([("a", pa.decimal128(5, 2)), ("b", pa.string())])
    for tables in ([], [schema.empty_table()]):
        file = write(formats.get(name), files, tables, schema)
        assert file.rows == 0
        with formats.get(name).open(files, file, schema) as opened:
            assert sum(group.rows for group in opened.groups()) == 0


def test_an_unknown_format_names_the_nearest() -> None:
    """A format that does not exist is an error of the caller, with the nearest word."""
    with pytest.raises(OptionError, match="parquet"):
        formats.get("parqet")
