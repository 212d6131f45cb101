"""What plain deltalake does silently, and ours does not; and that either reads and goes on with the other's tables."""

from __future__ import annotations

import base64
import datetime as dt
import json
import struct
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

import txfiles as tx

DELTA = {"format": "delta"}
NAN = float("nan")


def rows(table: tx.Table) -> list[dict]:
    """The rows in the order of their first column."""
    return sorted(table.to_arrow().to_pylist(), key=lambda row: next(iter(row.values())))


def plain(path: Path) -> list[dict]:
    """The rows as deltalake reads them."""
    return sorted(pa.table(DeltaTable(path).scan()).to_pylist(), key=lambda row: next(iter(row.values())))


@pytest.mark.parametrize("name", ["a b", 'q"uo"te', "x.y", "`tick`", "select", "it's", "Größe"])
def test_names_of_keys_are_only_names(tmp_path, name):
    """Spaces, quotes, dots and reserved words in a key column's name change nothing."""
    first = pa.table({name: ["1' OR '1'='1", 'b"', "c"], "v": [1, 2, 3]})
    tx.write(first, tmp_path / "t", mode="upsert", keys=[name], **DELTA)
    done = tx.write(pa.table({name: ['b"', "d"], "v": [9, 4]}), tmp_path / "t", mode="upsert", **DELTA)
    assert (done.rows_updated, done.rows_inserted) == (1, 1)
    assert [row["v"] for row in rows(tx.Table(tmp_path / "t", **DELTA))] == [1, 9, 3, 4]


@pytest.mark.parametrize(
    ("column", "given", "error"),
    [
        (pa.array([1], pa.int32()), pa.array([1.5]), tx.LossyCastError),
        (pa.array([1], pa.int32()), pa.array(["7"]), tx.SchemaMismatchError),
        (pa.array([1], pa.int8()), pa.array([200]), tx.LossyCastError),
        (pa.array([0], pa.timestamp("us")), pa.array([1], pa.timestamp("ns")), tx.LossyCastError),
        (pa.array([0], pa.timestamp("us")), pa.array([0], pa.timestamp("us", "UTC")), tx.SchemaMismatchError),
        (pa.array([0], pa.timestamp("us", "UTC")), pa.array([0], pa.timestamp("us")), tx.SchemaMismatchError),
    ],
    ids=["1.5 as 1", "'7' as 7", "200 as int8", "1 ns", "zoned as naive", "naive as zoned"],
)
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_values_do_not_change(tmp_path, column, given, error, mode):
    """A value that the column cannot hold is an error, as a key too, and nothing is committed."""
    keys = ["k"] if mode == "upsert" else None
    tx.write(pa.table({"k": column}), tmp_path / "t", mode=mode, keys=keys, **DELTA)
    with pytest.raises(error, match="'k'"):
        tx.write(pa.table({"k": given}), tmp_path / "t", mode=mode, keys=keys, **DELTA)
    assert tx.Table(tmp_path / "t", **DELTA).version == 0


@pytest.mark.parametrize("mode", ["append", "append_once", "upsert", "overwrite"])
def test_no_value_beside_the_key_changes(tmp_path, mode):
    """1.5 in a column of integers, and a time with nanoseconds, are errors in every mode; 2.0 is 2."""
    first = pa.table({"id": [1], "n": pa.array([1], pa.int32()), "t": pa.array([0], pa.timestamp("us"))})
    tx.write(first, tmp_path / "t", mode="upsert", keys=["id"], **DELTA)
    keys = None if mode in ("append", "overwrite") else ["id"]
    for name, bad in (("n", pa.array([1.5])), ("t", pa.array([1_001], pa.timestamp("ns")))):
        given = first.set_column(0, "id", [[2]]).set_column(first.column_names.index(name), name, bad)
        with pytest.raises(tx.LossyCastError, match=f"'{name}'"):
            tx.write(given, tmp_path / "t", mode=mode, keys=keys, **DELTA)
    assert plain(tmp_path / "t") == first.to_pylist()
    whole = pa.table({"id": [2.0], "n": [2.0], "t": pa.array([1_000], pa.timestamp("ns"))})
    tx.write(whole, tmp_path / "t", mode=mode, keys=keys, **DELTA)
    assert plain(tmp_path / "t")[-1] == {"id": 2, "n": 2, "t": dt.datetime(1970, 1, 1, 0, 0, 0, 1)}


@pytest.mark.parametrize("mode", ["append", "append_once", "upsert"])
def test_no_column_is_dropped(tmp_path, mode):
    """A column that the table lacks is refused, or added with its values; so is one that the batch lacks."""
    tx.write(pa.table({"id": [1], "v": ["a"]}), tmp_path / "t", mode="upsert", keys=["id"], **DELTA)
    more, less = pa.table({"id": [2], "v": ["b"], "w x": [2.5]}), pa.table({"id": [3]})
    for given in (more, less):
        with pytest.raises(tx.SchemaMismatchError):
            tx.write(given, tmp_path / "t", mode=mode, **DELTA)
    for given in (more, less):
        tx.write(given, tmp_path / "t", mode=mode, schema_mode="merge", **DELTA)
    missing = {"v": None, "w x": None}
    expected = [{"id": 1, "v": "a", "w x": None}, more.to_pylist()[0], {"id": 3} | missing]
    assert rows(tx.Table(tmp_path / "t", **DELTA)) == expected == plain(tmp_path / "t")


@pytest.mark.parametrize("name", ["a b", 'q"uo"te', "x.y", "`tick`", "it's", "a=b/c", "Größe"])
def test_names_of_other_columns_are_only_names(tmp_path, name):
    """Of a partition column, of one that is filtered, and of one that is the newest."""
    given = pa.table({"id": [1, 2, 3], name: ["x", "y", "y"], f"{name}!": [1, 1, 1]})
    options = {"keys": ["id"], "partition_by": [name], "timestamp_col": f"{name}!"}
    tx.write(given, tmp_path / "t", mode="upsert", **options, **DELTA)
    stale = pa.table({"id": [1], name: ["y"], f"{name}!": [0]})
    assert tx.write(stale, tmp_path / "t", mode="upsert", **DELTA).rows_stale == 1
    assert tx.Table(tmp_path / "t", **DELTA).to_arrow(filter=[(name, "=", "y")])["id"].to_pylist() == [2, 3]
    assert tx.Table(tmp_path / "t", **DELTA).delete([(name, "=", "y"), (f"{name}!", ">", 0)]).rows_deleted == 2
    assert plain(tmp_path / "t") == given.slice(0, 1).to_pylist()


def test_a_batch_id_is_taken_once(tmp_path):
    """deltalake writes a transaction twice that it has, and records none if nothing changes: here it is recorded."""
    given = pa.table({"id": [1], "v": ["a"]})
    tx.write(given, tmp_path / "t", mode="upsert", keys=["id"], **DELTA)
    done = tx.write(given, tmp_path / "t", mode="upsert", batch_id="b", **DELTA)
    assert (done.rows_unchanged, done.committed, done.version) == (1, True, 1)
    assert DeltaTable(tmp_path / "t").transaction_version("txfiles:b") == 1
    again = tx.write(given.set_column(1, "v", [["x"]]), tmp_path / "t", mode="upsert", batch_id="b", **DELTA)
    assert (again.already_committed, again.version) == (True, 1)
    assert plain(tmp_path / "t") == given.to_pylist()


def test_nulls_in_integers_stay_integers(tmp_path):
    """In pandas, which deltalake gives floats and objects."""
    given = pa.table({"n": [1, None], "b": [True, None]})
    tx.write(given, tmp_path / "t", mode="append", **DELTA)
    assert [str(kind) for kind in tx.Table(tmp_path / "t", **DELTA).to_pandas().dtypes] == ["Int64", "boolean"]


def test_types_of_new_columns(tmp_path):
    """Each type becomes the narrowest of Delta's that holds it; values and instants stay; deltalake reads the same."""
    given = {
        "u8": pa.array([200, None], pa.uint8()),
        "u16": pa.array([60_000, None], pa.uint16()),
        "u32": pa.array([3_000_000_000, None], pa.uint32()),
        "f16": pa.array([1.5, None], pa.float16()),
        "ns": pa.array([1_000, None], pa.timestamp("ns")),
        "s": pa.array([-1, None], pa.timestamp("s")),
        "oslo": pa.array([0, None], pa.timestamp("ms", "Europe/Oslo")),
        "fixed": pa.array([b"ab", None], pa.binary(2)),
        "digits": pa.array([Decimal("-1.20"), None], pa.decimal128(38, 2)),
        "word": pa.array(["x", None]).dictionary_encode(),
        "list": pa.array([[1], None], pa.list_(pa.uint8())),
        "struct": pa.array([{"a": 1}, None]),
    }
    tx.write(pa.table(given), tmp_path / "t", mode="append", **DELTA)
    table = tx.Table(tmp_path / "t", **DELTA)
    assert [str(kind) for kind in table.schema.types] == [
        *("int16", "int32", "int64", "float", "timestamp[us]", "timestamp[us]", "timestamp[us, tz=UTC]", "binary"),
        *("decimal128(38, 2)", "string", "list<item: int16>", "struct<a: int64>"),
    ]
    first = table.to_arrow().to_pylist()[0]
    assert (first["u32"], first["ns"]) == (3_000_000_000, dt.datetime(1970, 1, 1, 0, 0, 0, 1))
    assert first["oslo"] == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert pa.table(DeltaTable(tmp_path / "t").scan()).to_pylist() == table.to_arrow().to_pylist()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1], pa.uint64()),
        pa.array([dt.time(1)]),
        pa.array([dt.timedelta(1)]),
        pa.array([Decimal(1)], pa.decimal256(39, 0)),
        pa.nulls(1),
        pa.array([{"a": None}], pa.struct([("a", pa.null())])),
    ],
    ids=lambda column: str(column.type),
)
def test_types_that_delta_lacks(tmp_path, column):
    """They are refused by name, where a table is made, and where a column is added."""
    with pytest.raises(tx.UnsupportedTypeError, match="column 'c'"):
        tx.write(pa.table({"c": column}), tmp_path / "t", mode="append", **DELTA)
    assert not tx.exists(tmp_path / "t", **DELTA)
    tx.write(pa.table({"k": [1]}), tmp_path / "t", mode="append", **DELTA)
    with pytest.raises(tx.UnsupportedTypeError, match="column 'c'"):
        tx.write(pa.table({"k": [1], "c": column}), tmp_path / "t", mode="append", schema_mode="merge", **DELTA)


def test_an_empty_partition_text_is_refused(tmp_path):
    """Delta would give it back as null."""
    with pytest.raises(tx.InputError, match="empty text"):
        tx.write(pa.table({"p": ["a", ""], "v": [1, 2]}), tmp_path / "t", mode="append", partition_by=["p"], **DELTA)
    assert not tx.exists(tmp_path / "t", **DELTA)


PARTS = {
    "text": pa.array(["a b/%25", "x=ü", None, "..", "é\n"]),
    "int": pa.array([1, -2, None, 2**60, 0]),
    "bool": pa.array([True, False, None, True, False]),
    "date": pa.array([0, 1, None, -700_000, 2_900_000], pa.date32()),
    "naive": pa.array([0, 1, None, -(2**50), 2**50], pa.timestamp("us")),
    "zoned": pa.array([0, 1, None, -(2**50), 2**50], pa.timestamp("us", "UTC")),
    "digits": pa.array([Decimal("1.20"), Decimal("-0.01"), None, Decimal(0), Decimal(9)], pa.decimal128(10, 2)),
}


@pytest.mark.parametrize("kind", PARTS)
def test_partition_values_come_back(tmp_path, kind):
    """Of every type, for deltalake too; an upsert moves rows, an overwrite replaces the partitions that it has."""
    values = PARTS[kind]
    given = pa.table({"id": range(5), "p": values})
    tx.write(given, tmp_path / "t", mode="upsert", keys=["id"], partition_by=["p"], **DELTA)
    assert rows(tx.Table(tmp_path / "t", **DELTA)) == given.to_pylist() == plain(tmp_path / "t")
    assert not tx.write(given, tmp_path / "t", mode="upsert", **DELTA).committed
    moved = given.set_column(1, "p", values.take(pa.array([1, 2, 3, 4, 0])))
    assert tx.write(moved, tmp_path / "t", mode="upsert", **DELTA).rows_updated == 5
    assert rows(tx.Table(tmp_path / "t", **DELTA)) == moved.to_pylist() == plain(tmp_path / "t")
    part = pa.table({"id": [9], "p": values.slice(2, 1)})
    done = tx.write(part, tmp_path / "t", mode="overwrite", overwrite_partitions=True, **DELTA)
    assert (done.rows_deleted, tx.Table(tmp_path / "t", **DELTA).row_count) == (1, 5)


def test_no_row_is_left_out_where_the_log_knows_no_range(tmp_path):
    """A file with NaN, infinity or long texts beside others: filters find every row, deltalake's readers too."""
    long = "ü" * 100
    tx.write(pa.table({"x": [NAN, 5.0, None], "s": [long, "a", None]}), tmp_path / "t", mode="append", **DELTA)
    tx.write(pa.table({"x": [9.0], "s": ["zz"]}), tmp_path / "t", mode="append", **DELTA)
    write_deltalake(tmp_path / "t", pa.table({"x": [float("inf"), 7.0], "s": ["m", long + "z"]}), mode="append")
    table = tx.Table(tmp_path / "t", **DELTA)
    assert sorted(table.to_arrow(filter=[("x", ">=", 5)])["x"].to_pylist()) == [5.0, 7.0, 9.0, float("inf")]
    assert sorted(table.to_arrow(filter=[("s", ">=", long)])["s"].to_pylist()) == [long, long + "z"]
    found = DeltaTable(tmp_path / "t", version=1).to_pyarrow_dataset().to_table(filter=pc.field("x") >= 5)
    assert {5.0, 9.0} <= set(found["x"].to_pylist())
    found = DeltaTable(tmp_path / "t", version=1).to_pyarrow_dataset().to_table(filter=pc.field("s") >= long)
    assert found["s"].to_pylist() == [long]


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.decimal128(38, 18)], ids=str)
def test_keys_beyond_a_range_that_was_cut(tmp_path, kind):
    """deltalake cuts the greatest time to milliseconds, and makes a float of a decimal: the key is found."""
    stored = pa.array([1, 1_000_000_123_456]).cast(kind) if pa.types.is_decimal(kind) else pa.array([1, 1_999], kind)
    write_deltalake(tmp_path / "t", pa.table({"k": stored, "v": [1, 2]}))
    done = tx.write(pa.table({"k": stored.slice(1), "v": [3]}), tmp_path / "t", mode="upsert", keys=["k"], **DELTA)
    assert (done.rows_updated, done.rows_inserted) == (1, 0)
    table = tx.Table(tmp_path / "t", **DELTA)
    assert table.lookup(stored.slice(1))["v"].to_pylist() == [3]
    assert table.to_arrow(filter=[("k", "=", stored[1])])["v"].to_pylist() == [3]


def test_each_goes_on_with_the_others_table(tmp_path):
    """A table of deltalake's is upserted, one of ours appended to and merged by deltalake, and keys stay recorded."""
    write_deltalake(tmp_path / "t", pa.table({"id": [1, 2], "v": ["a", "b"]}), partition_by=["v"])
    tx.write(pa.table({"id": [2, 3], "v": ["B", "c"]}), tmp_path / "t", mode="upsert", keys=["id"], **DELTA)
    write_deltalake(tmp_path / "t", pa.table({"id": [4], "v": ["d"]}), mode="append")
    merge = DeltaTable(tmp_path / "t").merge(pa.table({"id": [4], "v": ["D"]}), "s.id = t.id", "s", "t")
    merge.when_matched_update_all().execute()
    done = tx.write(pa.table({"id": [1, 4], "v": ["a", "x"]}), tmp_path / "t", mode="upsert", **DELTA)
    assert (done.rows_unchanged, done.rows_updated) == (1, 1)
    expected = [{"id": 1, "v": "a"}, {"id": 2, "v": "B"}, {"id": 3, "v": "c"}, {"id": 4, "v": "x"}]
    assert rows(tx.Table(tmp_path / "t", **DELTA)) == expected == plain(tmp_path / "t")
    history = tx.Table(tmp_path / "t", **DELTA).history()
    assert [commit.version for commit in history] == list(range(len(history) - 1, -1, -1))
    assert (history[0].operation, history[1].operation) == ("upsert", "merge")


def test_old_spark_times_are_read(tmp_path):
    """A file whose times are INT96, as Spark writes them, is read and rewritten."""
    given = pa.table({"id": [1, 2], "t": pa.array([1_000_000, 2_000_000], pa.timestamp("us", "UTC"))})
    write_deltalake(tmp_path / "t", given)
    path = next((tmp_path / "t").glob("*.parquet"))
    size = path.stat().st_size
    pq.write_table(given, path, use_deprecated_int96_timestamps=True)
    log = tmp_path / "t/_delta_log/00000000000000000000.json"
    log.write_text(log.read_text().replace(f'"size":{size}', f'"size":{path.stat().st_size}'))
    tx.write(given.slice(1).set_column(0, "id", [[3]]), tmp_path / "t", mode="upsert", keys=["id"], **DELTA)
    assert [row["t"].second for row in rows(tx.Table(tmp_path / "t", **DELTA))] == [1, 2, 2]


def mapped(path: Path) -> None:
    """A table with column mapping, as Spark makes it."""
    (path / "_delta_log").mkdir(parents=True)
    pq.write_table(pa.table({"col-1": [1, 2], "col-2": ["a", "b"]}), path / "p.parquet")
    fields = [
        {
            "name": name,
            "type": kind,
            "nullable": True,
            "metadata": {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": f"col-{number}"},
        }
        for number, (name, kind) in enumerate((("id", "long"), ("v", "string")), 1)
    ]
    actions = [
        {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}},
        {
            "metaData": {
                "id": "m",
                "format": {"provider": "parquet", "options": {}},
                "schemaString": json.dumps({"type": "struct", "fields": fields}),
                "partitionColumns": [],
                "configuration": {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "2"},
                "createdTime": 0,
            }
        },
        {
            "add": {
                "path": "p.parquet",
                "partitionValues": {},
                "size": (path / "p.parquet").stat().st_size,
                "modificationTime": 0,
                "dataChange": True,
            }
        },
    ]
    (path / "_delta_log/00000000000000000000.json").write_text("\n".join(map(json.dumps, actions)))


def test_mapped_columns_are_read_and_not_written(tmp_path):
    """Where deltalake's own pyarrow reader gives nulls without a word, the values come; a write is refused by name."""
    mapped(tmp_path / "t")
    table = tx.Table(tmp_path / "t", **DELTA)
    assert rows(table) == [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}]
    assert (table.row_count, table.to_arrow(filter=[("id", "=", 2)])["v"].to_pylist()) == (2, ["b"])
    assert table.dataset().to_table(columns=["v"])["v"].to_pylist() == ["a", "b"]
    with pytest.raises(tx.NeedsLiveViewError, match="column mapping"):
        table.files()
    for mode in ("append", "overwrite", "append_once", "upsert"):
        keys = ["id"] if mode in ("append_once", "upsert") else None
        with pytest.raises(tx.UnsupportedTableError, match="column mapping"):
            tx.write(pa.table({"id": [3], "v": ["c"]}), tmp_path / "t", mode=mode, keys=keys, **DELTA)
    with pytest.raises(tx.UnsupportedTableError, match="column mapping"):
        table.delete([("id", "=", 1)])


def marked(path: Path, gone: int) -> None:
    """Give the only file of a table a deletion vector for one row, within the log, as Spark may write it."""
    bitmap = struct.pack("<IIHHIH", 12346, 1, 0, 0, 16, gone)  # one container, of one value
    vector = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    vector += bytes(-len(vector) % 4)
    z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    b85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    told = base64.b85encode(vector).decode().translate(str.maketrans(b85, z85))
    log = path / "_delta_log"
    before = [json.loads(line) for line in (log / f"{0:020d}.json").read_text().splitlines()]
    add = next(line["add"] for line in before if "add" in line)
    remove = {"path": add["path"], "deletionTimestamp": 0, "dataChange": True}
    descriptor = {"storageType": "i", "pathOrInlineDv": told, "sizeInBytes": len(vector), "cardinality": 1}
    actions = [
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7} | {one: ["deletionVectors"] for one in FEATURES}},
        {"remove": remove},
        {"add": add | {"deletionVector": descriptor}},
    ]
    (log / f"{1:020d}.json").write_text("\n".join(map(json.dumps, actions)))


FEATURES = ("readerFeatures", "writerFeatures")


def test_marked_rows_are_not_read_and_not_written(tmp_path):
    """Where a file has a deletion vector its row is gone for every reader here; a write is refused by name."""
    write_deltalake(tmp_path / "t", pa.table({"id": [1, 2, 3], "v": ["a", "b", "c"]}))
    marked(tmp_path / "t", gone=1)
    table = tx.Table(tmp_path / "t", **DELTA)
    left = [{"id": 1, "v": "a"}, {"id": 3, "v": "c"}]
    assert rows(table) == left
    assert table.row_count == 2
    assert table.to_batches().read_all().to_pylist() == left
    assert table.dataset().to_table().to_pylist() == left
    assert table.to_arrow(filter=[("id", ">=", 2)])["v"].to_pylist() == ["c"]
    assert table.to_polars()["id"].to_list() == [1, 3]
    assert rows(table.at(version=0)) == [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}, {"id": 3, "v": "c"}]
    with pytest.raises(tx.NeedsLiveViewError, match="deletion vectors"):
        table.files()
    assert len(table.files(physical=True)) == 1
    for mode in ("append", "overwrite", "append_once", "upsert"):
        keys = ["id"] if mode in ("append_once", "upsert") else None
        with pytest.raises(tx.UnsupportedTableError, match="deletion vectors"):
            tx.write(pa.table({"id": [2], "v": ["x"]}), tmp_path / "t", mode=mode, keys=keys, **DELTA)
    with pytest.raises(tx.UnsupportedTableError, match="deletion vectors"):
        table.delete([("id", "=", 1)])


def test_what_else_a_table_asks_of_its_writers(tmp_path):
    """Constraints, and a change data feed where files would be rewritten, are refused by name; an append is not."""
    for name, told in (("checked", "check constraints"), ("fed", "a change data feed")):
        feed = {"delta.enableChangeDataFeed": "true"} if name == "fed" else None
        write_deltalake(tmp_path / name, pa.table({"id": [1, 2]}), configuration=feed)
        if name == "checked":
            DeltaTable(tmp_path / name).alter.add_constraint({"positive": "id > 0"})
        with pytest.raises(tx.UnsupportedTableError, match=told):
            tx.Table(tmp_path / name, **DELTA).delete([("id", "=", 1)])
        assert plain(tmp_path / name) == [{"id": 1}, {"id": 2}]
    assert tx.write(pa.table({"id": [3]}), tmp_path / "fed", mode="append", **DELTA).committed


def test_columns_that_take_no_nulls(tmp_path):
    """A null for them is an error that names the column."""
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    write_deltalake(tmp_path / "t", pa.table([[1]], schema=schema))
    with pytest.raises(tx.SchemaMismatchError, match=r"'id' .* takes no nulls"):
        tx.write(pa.table({"id": pa.array([None], pa.int64())}), tmp_path / "t", mode="append", **DELTA)


def test_vacuum_and_what_it_leaves(tmp_path):
    """A dry run deletes nothing; afterwards an old version is an error that says so, the newest is whole."""
    for value in "ab":
        tx.write(pa.table({"id": [1], "v": [value]}), tmp_path / "t", mode="upsert", keys=["id"], **DELTA)
    table = tx.Table(tmp_path / "t", **DELTA)
    found = table.vacuum(retain="0h", dry_run=True, force=True)
    assert (len(found.deleted), len(list((tmp_path / "t").glob("*.parquet")))) == (1, 2)
    with pytest.raises(tx.ConfirmationRequiredError, match="longer than 0 hours"):
        table.vacuum(retain="0h")
    assert table.vacuum(retain="0h", force=True).deleted == found.deleted
    assert rows(tx.Table(tmp_path / "t", **DELTA)) == [{"id": 1, "v": "b"}]
    with pytest.raises(tx.SnapshotExpiredError, match="version 0"):
        tx.Table(tmp_path / "t", version=0, **DELTA).to_arrow()


def test_a_folder_that_is_somebody_elses(tmp_path):
    """Files without a log, and a table of txfiles, are refused; a missing table is told as such."""
    pq.write_table(pa.table({"id": [1]}), tmp_path / "x.parquet")
    with pytest.raises(tx.FolderNotEmptyError, match=r"x\.parquet"):
        tx.write(pa.table({"id": [1]}), tmp_path, mode="append", **DELTA)
    tx.write(pa.table({"id": [1]}), tmp_path / "ours", mode="append")
    with pytest.raises(tx.FolderNotEmptyError, match="a table of txfiles"):
        tx.write(pa.table({"id": [1]}), tmp_path / "ours", mode="append", **DELTA)
    with pytest.raises(tx.TableNotFoundError):
        tx.Table(tmp_path / "none", **DELTA)
    tx.write(pa.table({"id": [1]}), tmp_path / "delta", mode="append", **DELTA)
    with pytest.raises(tx.FolderNotEmptyError, match="a Delta table"):
        tx.write(pa.table({"id": [1]}), tmp_path / "delta", mode="append")
