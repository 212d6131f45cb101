"""A folder of CSV files, adopted: every operation on it leaves the rows that it would leave in a table of its own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest

import txfiles as tx
from txfiles.core import names
from txfiles.errors import (
    CorruptTableError,
    DuplicateKeyError,
    NeedsLiveViewError,
    NullKeyError,
    UnreadableInputError,
)

CSV = {"sep": ";", "decimal": ",", "encoding": "cp1252"}
FILES = {
    "2024/a.csv": 'id;name;price\r\n1;Zoë;10,10\r\n2;"a;b\nc";9,99\r\n\r\n3;;NA\r\n',
    "2024/b.csv": 'name;id;price\n"";4;0,01\nx;5;7,00',
    "c.csv": "id;name;price\n6;y;1,00\n",
}
ROWS = [
    (1, "Zoë", "10.10"),
    (2, "a;b\nc", "9.99"),
    (3, None, None),
    (4, "", "0.01"),
    (5, "x", "7.00"),
    (6, "y", "1.00"),
]


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "t"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode("cp1252"))
    return root


def digests(root: Path) -> dict[str, str]:
    """The adopted files that are still there, byte for byte."""
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in FILES if (root / name).exists()}


def rows(table: tx.Table) -> list[tuple]:
    found = table.to_arrow().select(["id", "name", "price"]).to_pylist()
    return [(row["id"], row["name"], None if row["price"] is None else str(row["price"])) for row in found]


def batch(*given: tuple[int, str | None, str]) -> pa.Table:
    from decimal import Decimal

    ids, texts, prices = zip(*given, strict=True)
    return pa.table({"id": ids, "name": pa.array(texts, pa.string()), "price": [Decimal(price) for price in prices]})


@pytest.fixture(params=["copy_on_write", "merge_on_read"])
def strategy(request) -> str:
    return request.param


def test_the_table_is_what_a_write_would_have_made(folder, tmp_path) -> None:
    """Adopting says and does what a write of the same files says and does, and copies no byte."""
    before = digests(folder)
    found = tx.adopt(folder, keys="id", csv=CSV)
    tx.write(str(folder / "2024/a.csv"), tmp_path / "own", mode="append", format="csv", csv=CSV)
    table = tx.Table(folder)
    own = tx.Table(tmp_path / "own").to_arrow()
    assert (found.rows, found.files, digests(folder)) == (6, 3, before)
    assert table.to_arrow().schema.equals(own.schema)
    assert table.to_arrow().slice(0, 3).to_pydict() == own.to_pydict()
    assert rows(table) == ROWS
    assert any("'NA' is null in 1 row" in note for note in found.notes)
    action = json.loads((folder / names.manifest(0)).read_text())["table"]
    assert action["csv_dialect"]["sep"] == ";"
    assert set(action["required_features"]) == {"adopted_files", "csv_dialect"}


def test_upsert(folder, strategy) -> None:
    """Changed rows are replaced, others keep their values; the files that somebody else wrote stay as they are."""
    tx.adopt(folder, keys="id", csv=CSV, properties={"update_strategy": strategy})
    before = digests(folder)
    result = tx.write(batch((2, "new", "1.25"), (4, "", "0.01"), (9, "n", "2.00")), folder, mode="upsert")
    assert (result.rows_updated, result.rows_unchanged, result.rows_inserted) == (1, 1, 1)
    expected = {row[0]: row for row in ROWS} | {2: (2, "new", "1.25"), 9: (9, "n", "2.00")}
    assert sorted(rows(tx.Table(folder))) == sorted(expected.values())
    assert digests(folder) == before
    assert rows(tx.Table(folder).at(version=0)) == ROWS
    again = tx.write(batch((2, "new", "1.25"), (4, "", "0.01"), (9, "n", "2.00")), folder, mode="upsert")
    assert (again.committed, again.rows_unchanged) == (False, 3)


def test_append_once_and_lookup(folder) -> None:
    """Keys of adopted files are found by their ranges and their text."""
    tx.adopt(folder, keys="id", csv=CSV)
    result = tx.write(batch((6, "other", "5.00"), (7, "z", "3.00")), folder, mode="append_once")
    assert (result.rows_skipped, result.rows_inserted) == (1, 1)
    assert tx.Table(folder).lookup([2, 7])["name"].to_pylist() == ["a;b\nc", "z"]


def test_delete(folder, strategy) -> None:
    """Rows go by key and by filter; all other rows keep their values."""
    tx.adopt(folder, keys="id", csv=CSV, properties={"update_strategy": strategy})
    table = tx.Table(folder)
    assert table.delete(keys=[2, 5]).rows_deleted == 2
    assert table.delete(where=[("name", "==", "")]).rows_deleted == 1
    assert sorted(rows(table)) == [row for row in ROWS if row[0] in (1, 3, 6)]
    assert sorted(rows(table.at(version=1))) == [row for row in ROWS if row[0] not in (2, 5)]


def test_later_csv_files_follow_the_same_rule(folder, tmp_path) -> None:
    """The types were inferred when the files were adopted: a later file's text is held to them, in any dialect."""
    tx.adopt(folder, keys="id", csv=CSV)
    (tmp_path / "next.csv").write_text("id,name,price\n7,z,NA\n8,w,2.50\n")
    tx.write(str(tmp_path / "next.csv"), folder, mode="append")
    assert rows(tx.Table(folder))[6:] == [(7, "z", None), (8, "w", "2.50")]
    (tmp_path / "bad.csv").write_text("id,name,price\n9,z,2.5\n")
    with pytest.raises(UnreadableInputError, match=r"'2\.5' cannot be restored exactly"):
        tx.write(str(tmp_path / "bad.csv"), folder, mode="append")


def test_schema_merge(folder) -> None:
    """New columns are null in adopted files, and wider ones have the same values."""
    tx.adopt(folder, keys="id", csv=CSV, schema={"id": "int16"})
    more = (
        batch((2, "new", "1.25"))
        .append_column("more", pa.array(["m"]))
        .cast(
            pa.schema(
                [("id", pa.int64()), ("name", pa.string()), ("price", pa.decimal128(38, 2)), ("more", pa.string())]
            )
        )
    )
    tx.write(more, folder, mode="upsert", schema_mode="merge")
    found = tx.Table(folder).to_arrow()
    assert found.schema.field("id").type == pa.int64()
    assert sorted(zip(found["id"].to_pylist(), found["more"].to_pylist(), strict=True)) == [
        (1, None),
        (2, "m"),
        (3, None),
        (4, None),
        (5, None),
        (6, None),
    ]


def test_a_column_becomes_text(folder) -> None:
    """A column that was inferred by exact text and becomes text has the texts that the files have."""
    tx.adopt(folder, csv=CSV)
    tx.write(
        pa.table({"id": ["x"], "name": ["n"], "price": pa.array([None], pa.decimal128(38, 2))}),
        folder,
        mode="append",
        schema={"id": "string"},
        schema_mode="merge",
    )
    assert tx.Table(folder).to_arrow()["id"].to_pylist() == ["1", "2", "3", "4", "5", "6", "x"]


def test_compact(folder, strategy) -> None:
    """A compaction joins adopted files into one of the table's own, without the rows that were marked."""
    tx.adopt(folder, keys="id", csv=CSV, properties={"update_strategy": strategy})
    table = tx.Table(folder)
    table.delete(keys=[2])
    with pytest.raises(NeedsLiveViewError):
        table.files()
    table.compact()
    assert sorted(rows(table)) == [row for row in ROWS if row[0] != 2]
    (path,) = table.files()
    assert Path(path).read_text().startswith('"id","name","price"\n')


def test_vacuum(folder, strategy) -> None:
    """A vacuum leaves somebody's files alone, so the versions that need them stay readable."""
    tx.adopt(folder, keys="id", csv=CSV, properties={"update_strategy": strategy})
    table = tx.Table(folder)
    table.delete(where=[("id", "<", 3)])
    before = digests(folder)
    table.vacuum(retain="0s")
    assert digests(folder) == before
    assert sorted(rows(tx.Table(folder))) == [row for row in ROWS if row[0] >= 3]
    assert sorted(rows(tx.Table(folder).at(version=0))) == ROWS


def test_overwrite(folder) -> None:
    """An overwrite replaces the rows; the dialect stays for older versions."""
    tx.adopt(folder, keys="id", csv=CSV)
    tx.write(pa.table({"x": [1.5]}), folder, mode="overwrite", schema_mode="overwrite")
    assert tx.Table(folder).to_arrow().to_pylist() == [{"x": 1.5}]
    assert rows(tx.Table(folder).at(version=0)) == ROWS
    assert Path(tx.Table(folder).files()[0]).read_text() == '"x"\n1.5\n'


def test_checkpoints_keep_the_dialect(folder) -> None:
    """A table that is opened from a checkpoint reads its adopted files as before."""
    tx.adopt(folder, keys="id", csv=CSV, properties={"checkpoint_interval": 1})
    for number in range(10, 14):
        tx.write(batch((number, "n", "1.00")), folder, mode="append_once")
    assert rows(tx.Table(folder))[:6] == ROWS


def test_damage(folder) -> None:
    """A file that its owner changes is damage that names it, whatever its form."""
    tx.adopt(folder, keys="id", csv=CSV)
    (folder / "c.csv").write_bytes(b"id;name;price\n6;y;2,00\n")
    with pytest.raises(CorruptTableError, match=r"c\.csv is damaged"):
        tx.Table(folder).to_arrow()


@pytest.mark.parametrize(
    ("content", "error"),
    [("id;name;price\n7;a;1,00\n7;b;2,00\n", DuplicateKeyError), ("id;name;price\n;a;1,00\n", NullKeyError)],
)
def test_keys(folder, content, error) -> None:
    """A key that is missing or there twice is told by file and row, and there is no table."""
    (folder / "d.csv").write_text(content)
    with pytest.raises(error, match=r"d\.csv"):
        tx.adopt(folder, keys="id", csv=CSV)
    assert not tx.exists(folder)


def test_key_index(folder) -> None:
    """Runs of the key index cover adopted files, whose positions they name."""
    tx.adopt(folder, keys="id", csv=CSV)
    table = tx.Table(folder)
    table.index()
    result = tx.write(batch((2, "new", "1.25"), (6, "y", "1.00"), (9, "n", "2.00")), folder, mode="upsert")
    assert (result.rows_updated, result.rows_unchanged, result.rows_inserted) == (1, 1, 1)
    assert tx.Table(folder).lookup([2, 5])["name"].to_pylist() == ["x", "new"]


def test_partitions(tmp_path) -> None:
    """Partition columns come from the folders, to rows, bounds and keys."""
    root = tmp_path / "t"
    for country in ("DE", "FR"):
        (root / f"country={country}").mkdir(parents=True)
        (root / f"country={country}/x.csv").write_text("id\n1\n2\n")
    tx.adopt(root, keys=["country", "id"])
    table = tx.Table(root)
    assert table.to_arrow(filter=[("country", "==", "FR")]).num_rows == 2
    result = tx.write(pa.table({"id": [2, 3], "country": ["FR", "FR"]}), root, mode="append_once")
    assert (result.rows_skipped, result.rows_inserted) == (1, 1)
    assert sorted(table.at(version=1).to_arrow()["id"].to_pylist()) == [1, 1, 2, 2, 3]


def test_compressed_files(tmp_path) -> None:
    """Files compressed with gzip are adopted in place, and updated as others are."""
    import gzip

    root = tmp_path / "t"
    root.mkdir()
    (root / "a.csv.gz").write_bytes(gzip.compress(b"id,s\n1,a\n2,b\n"))
    tx.adopt(root, keys="id")
    tx.write(pa.table({"id": [2], "s": ["c"]}), root, mode="upsert")
    assert tx.Table(root).to_arrow().to_pydict() == {"id": [1, 2], "s": ["a", "c"]}
