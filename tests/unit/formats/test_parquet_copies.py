"""Row groups of Parquet files are copied byte for byte, under a footer that any reader takes."""

from __future__ import annotations

import formats_help as help_
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from formats_help import Files, identical, read, to_read, write
from hypothesis import given
from hypothesis import strategies as st

from txfiles import formats
from txfiles.errors import CorruptTableError
from txfiles.formats import parquet_groups, thrift
from txfiles.formats.common import WriteOptions

pytestmark = pytest.mark.guarantees("S17 S21")

PARQUET = formats.get("parquet")
IDS = pa.schema([("id", pa.int64())])


def numbers(count: int, first: int = 0) -> pa.Table:
    return pa.table({"id": pa.array(range(first, first + count))})


def spliced(files: Files, file, schema: pa.Schema, replaced: dict[int, pa.Table], **options):
    """The file again as "f", with other rows in place of some row groups; and how many groups were copied."""
    options = WriteOptions(copies=True, **options)
    copied = 0
    with PARQUET.open(files, file, schema) as opened, PARQUET.writer(files.create("f"), schema, options) as writer:
        for number, group in enumerate(opened.groups()):
            if number in replaced:
                writer.write(replaced[number])
            elif (encoded := group.encoded()) is not None and writer.copy(encoded, group.rows):
                copied += 1
            else:
                writer.write(group.read(schema.names))
        return to_read(writer.close()), copied


@given(
    table=help_.tables(help_.flat_types | help_.nested_types()),
    group_rows=st.integers(1, 5),
    which=st.lists(st.integers(0, 9), max_size=4),
    codecs=st.tuples(*[st.sampled_from(["none", "snappy", "zstd"])] * 2),
    chain=st.integers(1, 3),
)
def test_any_table_comes_back(table, group_rows, which, codecs, chain) -> None:
    """Whatever groups are written anew, once or time and again, the rows are the same to the bit, also to pyarrow."""
    files = Files()
    file = write(PARQUET, files, [table], table.schema, row_group_rows=group_rows, compression=codecs[0])
    groups = -(-table.num_rows // group_rows)
    replaced = {
        number: table.slice(number * group_rows, group_rows) for number in which if number * group_rows < table.num_rows
    }
    for _ in range(chain):
        file, copied = spliced(files, file, table.schema, replaced, compression=codecs[1])
        assert copied == groups - len(replaced)
    assert identical(read(PARQUET, files, file, table.schema), table)
    readable = [field.name for field in table.schema if not is_twice_fixed(field.type)]
    table = table.select(readable)
    plain = pq.ParquetFile(pa.BufferReader(files.content["f"]), page_checksum_verification=True).read().select(readable)
    assert identical(plain.cast(help_.bare(table.schema)), table.cast(help_.bare(table.schema)))


def is_twice_fixed(kind: pa.DataType, inside: bool = False) -> bool:
    """Whether lists of a fixed size are in such lists: of a null there pyarrow's own reader makes an invalid array."""
    if pa.types.is_fixed_size_list(kind):
        return inside or is_twice_fixed(kind.value_type, True)
    return any(is_twice_fixed(kind.field(number).type, inside) for number in range(kind.num_fields))


def test_groups_keep_their_bytes_and_statistics() -> None:
    """A copied group has the bytes it had; the footer counts rows and says of each group what was said before."""
    files = Files()
    file = write(PARQUET, files, [numbers(10)], IDS, row_group_rows=4)
    before = files.content["f"]
    found, copied = spliced(files, file, IDS, {0: numbers(2, 100)})
    after = files.content["f"]
    assert (copied, found.rows) == (2, 8)
    old, new = (
        parquet_groups.read(data[-facts.footer_bytes :], len(data)) for data, facts in ((before, file), (after, found))
    )
    assert before[old.starts[1] : old.starts[3]] == after[new.starts[1] : new.starts[3]]
    metadata = pq.read_metadata(pa.BufferReader(after))
    assert metadata.num_rows == 8
    bounds = [metadata.row_group(number).column(0).statistics for number in range(3)]
    assert [(bound.min, bound.max) for bound in bounds] == [(100, 101), (4, 7), (8, 9)]


def test_other_readers_take_it(tmp_path) -> None:
    """DuckDB and polars read a spliced file, whole and by a filter."""
    duckdb = pytest.importorskip("duckdb")
    files = Files()
    table = pa.table({"id": range(100), "text": [f"t{n % 3}" for n in range(100)], "f": [n / 4 for n in range(100)]})
    file = write(PARQUET, files, [table], table.schema, row_group_rows=10)
    other = table.slice(30, 10).set_column(1, "text", pa.array(["new"] * 10))
    _, copied = spliced(files, file, table.schema, {3: other})
    assert copied == 9
    (tmp_path / "f.parquet").write_bytes(files.content["f"])
    path = str(tmp_path / "f.parquet")
    assert pl.read_parquet(path)["text"].to_list() == [
        *table["text"].to_pylist()[:30],
        *["new"] * 10,
        *table["text"].to_pylist()[40:],
    ]
    assert pl.scan_parquet(path).filter(pl.col("id") == 35).collect()["text"].to_list() == ["new"]
    assert duckdb.sql(f"select count(*), sum(f), min(text) from '{path}' where id >= 30").fetchall()[0] == (
        70,
        sum(n / 4 for n in range(30, 100)),
        "new",
    )


@pytest.mark.parametrize("at", [10, 200, -1])
def test_damage_does_not_travel(at) -> None:
    """A file with a changed byte, also in a group that nobody decodes, is reported, and nothing of it is copied."""
    files = Files()
    file = write(PARQUET, files, [numbers(400)], IDS, row_group_rows=100, compression="none")
    at = file.bytes - file.footer_bytes - 1 if at < 0 else at
    data = bytearray(files.content["f"])
    data[at] ^= 1
    files.content["f"] = bytes(data)
    with PARQUET.open(files, file, IDS) as opened:
        for group in opened.groups():
            with pytest.raises(CorruptTableError, match="sha256"):
                group.encoded()


def test_another_schema_is_written_anew() -> None:
    """A file with narrower or fewer columns than the table is not copied, and reads the same."""
    files = Files()
    narrow = pa.schema([("id", pa.int32())])
    file = write(PARQUET, files, [numbers(9).cast(narrow)], narrow, row_group_rows=3)
    for schema in (IDS, pa.schema([("id", pa.int32()), ("new", pa.string())])):
        kept = files.content["f"]
        found, copied = spliced(files, file, schema, {})
        assert copied == 0
        assert read(PARQUET, files, found, schema)["id"].to_pylist() == list(range(9))
        files.content["f"] = kept


@pytest.mark.parametrize(
    "options",
    [{"write_page_index": True}, {"store_decimal_as_integer": True, "bloom_filter_options": {"id": True}}],
    ids=["page index", "Bloom filter"],
)
def test_what_has_more_offsets_is_not_copied(options) -> None:
    """A file with offsets that this does not move is read, and its groups are not copied."""
    sink = pa.BufferOutputStream()
    pq.write_table(numbers(10), sink, row_group_size=5, **options)
    data = sink.getvalue().to_pybytes()
    size = int.from_bytes(data[-8:-4], "little") + 8
    assert parquet_groups.read(data[-size:], len(data)) is None


def test_gaps_and_strangers_are_not_copied() -> None:
    """Groups that do not lie one after the other, or were written by another library, are not copied."""
    files = Files()
    file = write(PARQUET, files, [numbers(10)], IDS, row_group_rows=5)
    tail = files.content["f"][-file.footer_bytes :]
    assert parquet_groups.read(tail, file.bytes) is not None
    assert parquet_groups.read(tail, file.bytes + 1) is None
    struct = thrift.decode(tail[:-8])
    struct[6] = thrift.Field(thrift.BINARY, b"parquet-mr version 1.15")
    other = thrift.encode(struct)
    tail = other + len(other).to_bytes(4, "little") + b"PAR1"
    assert parquet_groups.read(tail, file.bytes - file.footer_bytes + len(tail)) is None


# ---------------------------------------------------------------- Thrift


def values() -> st.SearchStrategy:
    """Any struct that the protocol can hold in its shortest form."""
    numbers = st.integers(-(2**63), 2**63 - 1)
    simple = {
        thrift.BYTE: st.integers(0, 255),
        thrift.I16: st.integers(-(2**15), 2**15 - 1),
        thrift.I32: st.integers(-(2**31), 2**31 - 1),
        thrift.I64: numbers,
        thrift.DOUBLE: st.binary(min_size=8, max_size=8),
        thrift.BINARY: st.binary(max_size=300),
    }

    def typed(structs: st.SearchStrategy) -> st.SearchStrategy:
        pairs = [st.tuples(st.just(kind), found) for kind, found in simple.items()]
        pairs += [st.tuples(st.sampled_from([thrift.TRUE, thrift.FALSE]), st.none())]
        pairs += [st.tuples(st.just(thrift.STRUCT), structs)]
        items = [
            st.lists(found, max_size=20).map(lambda found, kind=kind: thrift.List(kind, found))
            for kind, found in [*simple.items(), (thrift.TRUE, st.integers(1, 2)), (thrift.STRUCT, structs)]
        ]
        pairs += [st.tuples(st.sampled_from([thrift.LIST, thrift.SET]), one) for one in items]
        fields = st.one_of(pairs).map(lambda pair: thrift.Field(*pair))
        return st.lists(st.tuples(st.integers(1, 32_767), fields), max_size=6, unique_by=lambda pair: pair[0]).map(
            lambda found: dict(sorted(found, key=lambda pair: pair[0]))
        )

    return st.recursive(st.just({}), typed, max_leaves=6)


@given(values())
def test_thrift_comes_back(struct) -> None:
    """What was encoded is decoded to the same."""
    assert thrift.decode(thrift.encode(struct)) == struct


@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([0x19, 0x1C, 0x15, 0x18, 0xFF, 0x00, 0x2B]), max_size=40).map(bytes)
)
def test_thrift_of_any_bytes(data) -> None:
    """Any bytes are a struct that is encoded to something that decodes to the same, or a `ValueError`."""
    try:
        struct = thrift.decode(data)
    except ValueError:
        return
    assert thrift.decode(thrift.encode(struct)) == struct


def test_thrift_has_limits() -> None:
    """Neither depth nor a claimed size costs more than the bytes themselves."""
    for data in (
        b"\x1c" * 10_000,
        b"\x19\xfc\xff\xff\xff\xff\x0f",
        b"\x18\xff\xff\xff\xff\xff\xff\x7f",
        b"\x15" + b"\xff" * 50,
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever it says, it is no struct
            thrift.decode(data)
