"""Names, bounds, rules and files of a table that were handled without care: each case is a table that came to harm."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field, Schema, write_deltalake
from deltalake.schema import PrimitiveType

import txfiles as tx
from txfiles.targets.delta.client import Client

DELTA = {"format": "delta"}
LAST = "\U0010ffff"


def test_a_folder_with_an_escape_is_no_other_folder(tmp_path):
    """deltalake takes "x%20y" for "x y": refused, whatever the call; a percent sign alone is a name like any other."""
    tx.write(pa.table({"id": [1]}), tmp_path / "x y", mode="append", **DELTA)
    path = tmp_path / "x%20y"
    for call in (
        lambda: tx.write(pa.table({"id": [2]}), path, mode="append", **DELTA),
        lambda: tx.Table(path, **DELTA),
        lambda: tx.exists(path, **DELTA),
    ):
        with pytest.raises(tx.InputError, match="holds a %-escape"):
            call()
    assert not path.exists()
    tx.write(pa.table({"id": [3]}), tmp_path / "100%", mode="append", **DELTA)
    assert tx.Table(tmp_path / "100%", **DELTA).to_arrow()["id"].to_pylist() == [3]


def test_a_file_url_is_unquoted(tmp_path):
    """As pathlib writes it; an escape that is left after that is refused."""
    path = tmp_path / "f g ü"
    tx.write(pa.table({"id": [1]}), path.as_uri(), mode="append", **DELTA)
    assert tx.Table(path, **DELTA).to_arrow()["id"].to_pylist() == [1]
    assert [one.name for one in tmp_path.iterdir()] == ["f g ü"]
    with pytest.raises(tx.InputError, match="holds a %-escape"):
        tx.exists((tmp_path / "x%20y").as_uri(), **DELTA)


@pytest.mark.parametrize("name", ["a b", "ü", "#1", "what?", "100%"])
def test_files_are_named_as_they_are(tmp_path, name):
    """Whatever the folder's name, and that of a partition."""
    write_deltalake(tmp_path / name, pa.table({"id": [1], "p": ["a b/%25"]}), partition_by=["p"])
    tx.write(pa.table({"id": [2], "p": ["ü"]}), tmp_path / name, mode="append", **DELTA)
    found = tx.Table(tmp_path / name, **DELTA).files()
    assert sorted(found) == sorted(str(path) for path in (tmp_path / name).rglob("*.parquet"))


KEYS = [
    "a" * 32 + LAST + "b",
    "a" * 32 + LAST * 3,
    "a" * 33,
    LAST * 40,
    "a" * 31 + "\ud7ff" + LAST + "b",
    "short",
    "𠀀",
]


@pytest.mark.parametrize("key", KEYS, ids=map(ascii, KEYS))
def test_keys_beyond_a_bound_that_was_cut(tmp_path, key):
    """A key that goes on with the last character is found: by our bounds, and by those of others, who cut like that."""
    tx.write(pa.table({"k": [key], "v": [1]}), tmp_path / "ours", mode="upsert", keys=["k"], **DELTA)
    shutil.copytree(tmp_path / "ours", tmp_path / "theirs")
    log = tmp_path / "theirs/_delta_log/00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "add" in line:
            stats = json.loads(line["add"]["stats"])  # dumped with escapes, which deltalake misreads
            assert stats["maxValues"]["k"] >= key
            stats["maxValues"]["k"] = key if len(key) <= 32 else key[:32] + LAST
            line["add"]["stats"] = json.dumps(stats)
    log.write_text("\n".join(map(json.dumps, lines)))
    for path in (tmp_path / "ours", tmp_path / "theirs"):
        table = tx.Table(path, **DELTA)
        assert table.lookup([key])["v"].to_pylist() == [1]
        assert table.to_arrow(filter=[("k", "=", key)]).num_rows == 1
        done = tx.write(pa.table({"k": [key], "v": [2]}), path, mode="upsert", **DELTA)
        assert (done.rows_updated, done.rows_inserted) == (1, 0)
        assert tx.Table(path, **DELTA).delete([("k", "=", key)]).rows_deleted == 1


def cleaned(path: Path) -> list[str]:
    """A table whose log no longer has its first entry; the ids of its commits."""
    ids = [tx.write(pa.table({"id": [number]}), path, mode="append", **DELTA).commit_id for number in (1, 2)]
    DeltaTable(path).create_checkpoint()
    (path / "_delta_log/00000000000000000000.json").unlink()
    return ids


def test_what_a_cleaned_log_cannot_tell(tmp_path):
    """`resolve` of a commit that may be in an entry that is gone says so; an old version has expired."""
    first, second = cleaned(tmp_path / "t")
    assert tx.resolve(tmp_path / "t", second, **DELTA).version == 1
    for unknown in (first, "0" * 32):
        with pytest.raises(tx.CommitStateUnknownError, match="cannot be known") as caught:
            tx.resolve(tmp_path / "t", unknown, **DELTA)
        assert (caught.value.committed, caught.value.commit_id) == ("unknown", unknown)
    with pytest.raises(tx.SnapshotExpiredError):
        tx.Table(tmp_path / "t", **DELTA).at(version=0)


def test_vacuum_deletes_only_what_commits_removed(tmp_path):
    """Not a file of somebody else, nor one of a writer under way; it says how many bytes went."""
    path = tmp_path / "t"
    for value in "ab":
        tx.write(pa.table({"id": [1], "v": [value]}), path, mode="upsert", keys=["id"], **DELTA)
    old = tx.Table(path, version=0, **DELTA)
    size = Path(old.files()[0]).stat().st_size
    others = [path / "notes.txt", path / "x.parquet", path / f"part-txfiles-{'0' * 32}.snappy.parquet"]
    for other in others:
        other.write_bytes(b"x")
    for dry_run in (True, False):
        found = tx.Table(path, **DELTA).vacuum(retain="0h", dry_run=dry_run, force=True)
        assert (len(found.deleted), found.bytes) == (1, size)
    assert all(other.exists() for other in others)
    with pytest.raises(tx.SnapshotExpiredError, match="is gone"):
        old.to_batches().read_all()
    with pytest.raises(tx.SnapshotExpiredError, match="is gone"):
        old.to_arrow()
    with pytest.raises(tx.SnapshotExpiredError, match=r"version 0 of .* is gone") as caught:
        old.dataset()
    assert "open the newest version" in str(caught.value.hint)


def test_a_file_of_the_newest_version_that_is_gone(tmp_path):
    """No vacuum takes it: the table is damaged, whatever reads it."""
    tx.write(pa.table({"id": [1], "v": [1]}), tmp_path / "t", mode="upsert", keys=["id"], **DELTA)
    table = tx.Table(tmp_path / "t", **DELTA)
    Path(table.files()[0]).unlink()
    for call in (
        table.to_arrow,
        table.dataset,
        lambda: tx.write(pa.table({"id": [1], "v": [2]}), tmp_path / "t", mode="upsert", **DELTA),
    ):
        with pytest.raises(tx.CorruptTableError, match="is gone"):
            call()


def test_history_counts_files(tmp_path):
    """Of every writer, by the log itself."""
    path = tmp_path / "t"
    tx.write(pa.table({"id": [1, 2], "p": ["a", "b"]}), path, mode="upsert", keys=["id"], partition_by=["p"], **DELTA)
    tx.write(pa.table({"id": [1], "p": ["b"]}), path, mode="upsert", **DELTA)
    write_deltalake(path, pa.table({"id": [3], "p": ["c"]}), mode="append")
    tx.write(pa.table({"id": [4], "p": ["d"]}), path, mode="overwrite", **DELTA)
    found = tx.Table(path, **DELTA).history()[::-1]
    assert [(one.files_added, one.files_removed) for one in found] == [(2, 0), (1, 1), (1, 0), (1, 3)]
    sizes = [file.stat().st_size for file in path.rglob("*.parquet")]
    assert sum(one.bytes_written for one in found) == sum(sizes)


@pytest.mark.parametrize("keys", [None, ["id"]], ids=["no keys", "keys"])
def test_an_overwrite_keeps_what_columns_say(tmp_path, keys):
    """NOT NULL and comments stay where the columns do, unless the schema is overwritten too."""
    number, text = PrimitiveType("integer"), PrimitiveType("string")
    fields = [Field("id", number, nullable=False, metadata={"comment": "the key"}), Field("v", text)]
    DeltaTable.create(tmp_path / "t", schema=Schema(fields))
    given = pa.table({"id": pa.array([1], pa.int32()), "v": ["a"]})
    tx.write(given, tmp_path / "t", mode="overwrite", keys=keys, **DELTA)
    found = DeltaTable(tmp_path / "t").schema().fields[0]
    assert (found.nullable, found.metadata["comment"]) == (False, "the key")
    assert tx.Table(tmp_path / "t", **DELTA).keys == tuple(keys or ())
    with pytest.raises(tx.SchemaMismatchError, match="takes no nulls"):
        tx.write(given.set_column(0, "id", [pa.nulls(1, pa.int32())]), tmp_path / "t", mode="overwrite", **DELTA)
    tx.write(given, tmp_path / "t", mode="overwrite", schema_mode="overwrite", **DELTA)
    assert DeltaTable(tmp_path / "t").schema().fields[0].nullable


STRICT = pa.struct([pa.field("a", pa.int64(), nullable=False)])


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (STRICT, [None, {"a": 1}], [{"a": None}]),
        (pa.list_(STRICT), [[{"a": 1}], None, [None]], [[{"a": 1}, {"a": None}]]),
        (pa.list_(pa.field("element", pa.int64(), nullable=False)), [[1], None, []], [[1, None]]),
        (pa.map_(pa.string(), pa.field("value", STRICT)), [[("k", {"a": 1})], None], [[("k", {"a": None})]]),
        (pa.map_(pa.string(), pa.field("value", pa.int64(), nullable=False)), [[("k", 1)]], [[("k", None)]]),
    ],
    ids=str,
)
def test_parts_of_columns_that_take_no_nulls(tmp_path, kind, good, bad):
    """A null there is refused; one above it is none there."""
    DeltaTable.create(tmp_path / "t", schema=Schema.from_arrow(pa.schema([("c", kind)])))

    def loose(values):
        plain = {str(STRICT): pa.struct([("a", pa.int64())])}
        inner = plain[str(STRICT)] if "struct" in str(kind) else pa.int64()
        if pa.types.is_map(kind):
            return pa.table({"c": pa.array(values, pa.map_(pa.string(), inner))})
        return pa.table({"c": pa.array(values, pa.list_(inner) if pa.types.is_list(kind) else inner)})

    tx.write(loose(good), tmp_path / "t", mode="append", **DELTA)
    tx.write(loose(good), tmp_path / "t", mode="overwrite", **DELTA)
    for mode in ("append", "overwrite"):
        with pytest.raises(tx.SchemaMismatchError, match="takes no nulls"):
            tx.write(loose(bad), tmp_path / "t", mode=mode, **DELTA)
    assert tx.Table(tmp_path / "t", **DELTA).to_arrow()["c"].to_pylist() == loose(good)["c"].to_pylist()


def test_an_append_only_table(tmp_path):
    """What would remove rows is refused for good, before files are written; what only adds is not."""
    write_deltalake(tmp_path / "t", pa.table({"id": [1, 2]}), configuration={"delta.appendOnly": "true"})
    before = sorted((tmp_path / "t").iterdir())
    for removes in (
        lambda: tx.write(pa.table({"id": [3]}), tmp_path / "t", mode="overwrite", **DELTA),
        lambda: tx.Table(tmp_path / "t", **DELTA).delete([("id", "=", 1)]),
        lambda: tx.Table(tmp_path / "t", **DELTA).delete([("id", ">", 0)]),
    ):
        with pytest.raises(tx.UnsupportedTableError, match="append-only") as caught:
            removes()
        assert caught.value.committed == "no"
    assert sorted((tmp_path / "t").iterdir()) == before
    assert tx.write(pa.table({"id": [2, 3]}), tmp_path / "t", mode="append_once", keys=["id"], **DELTA).committed


def test_a_refusal_of_deltalakes_is_no_unknown(tmp_path, monkeypatch):
    """What deltalake refuses by its rules, at once, is not committed; after another failure that is not certain."""
    from txfiles.targets.delta import commit as commits
    from txfiles.targets.delta import operations

    write_deltalake(tmp_path / "t", pa.table({"id": [1]}), configuration={"delta.appendOnly": "true"})
    for module in (commits, operations):
        monkeypatch.setattr(module, "require_writable", lambda base, **_: None)
    with pytest.raises(tx.UnsupportedTableError, match="refuses to commit") as caught:
        tx.Table(tmp_path / "t", **DELTA).delete([("id", "=", 1)])
    assert caught.value.committed == "no"
    commit, failed = Client.commit, []

    def fails_first(self, *args, **given):
        if not failed:
            failed.append(True)
            raise OSError("connection reset")
        commit(self, *args, **given)

    monkeypatch.setattr(Client, "commit", fails_first)
    with pytest.raises(tx.CommitStateUnknownError):
        tx.Table(tmp_path / "t", **DELTA).delete([("id", "=", 1)])


def test_a_folder_that_is_gone_stays_gone(tmp_path):
    """Reading and deleting say that there is no table, and make no folder."""
    tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="append", **DELTA)
    table = tx.Table(tmp_path / "t", **DELTA)
    shutil.rmtree(tmp_path / "t")
    for call in (lambda: table.delete([("id", "=", 1)]), table.to_arrow, table.history):
        with pytest.raises(tx.TableNotFoundError):
            call()
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("content", [b"PAR1 nothing PAR1", b""], ids=["no Parquet", "empty"])
def test_a_damaged_file_is_told_by_name(tmp_path, content):
    """Whatever reads it."""
    tx.write(pa.table({"id": [1], "v": [1]}), tmp_path / "t", mode="upsert", keys=["id"], **DELTA)
    path = Path(tx.Table(tmp_path / "t", **DELTA).files()[0])
    path.write_bytes(content)
    table = tx.Table(tmp_path / "t", **DELTA)
    for call in (
        table.to_arrow,
        lambda: table.to_arrow(filter=[("id", "=", 1)]),
        lambda: table.to_batches().read_all(),
        lambda: table.lookup([1]),
        lambda: tx.write(pa.table({"id": [1], "v": [2]}), tmp_path / "t", mode="upsert", **DELTA),
    ):
        with pytest.raises(tx.CorruptTableError, match=path.name):
            call()


def test_a_log_that_is_lost(tmp_path):
    """No new table begins over the files of later commits; those of an interrupted creation are no reason."""
    tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="append", **DELTA)
    shutil.rmtree(tmp_path / "t/_delta_log")
    for _ in range(2):
        tx.write(pa.table({"id": [2]}), tmp_path / "t", mode="append", **DELTA)
    assert tx.Table(tmp_path / "t", **DELTA).to_arrow()["id"].to_pylist() == [2, 2]
    shutil.rmtree(tmp_path / "t/_delta_log")
    with pytest.raises(tx.CorruptTableError, match="but no log"):
        tx.write(pa.table({"id": [3]}), tmp_path / "t", mode="append", **DELTA)
    assert not tx.exists(tmp_path / "t", **DELTA)
