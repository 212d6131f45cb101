"""Deletes on real folders: which files they touch, what becomes of the other rows, and keys in files."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from tests.model import Row, frozen
from txfiles import inputs
from txfiles.rows import types
from txfiles.targets.protocol import Place

pytestmark = pytest.mark.guarantees("S12 S13")

SCHEMA = pa.schema([("id", pa.int64()), ("part", pa.string()), ("x", pa.float64())])
VALUES = [None, 0.0, -0.0, 1.5, float("nan"), float("-inf")]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.one_of(st.none(), st.integers(0, 9)),
            "part": st.sampled_from(["a", "b", "", None]),
            "x": st.sampled_from(VALUES),
        }
    ),
    max_size=8,
)
COMPARED = {"<": lambda a, b: a < b, ">=": lambda a, b: a >= b, "=": lambda a, b: a == b, "!=": lambda a, b: a != b}
CONDITION = st.one_of(
    st.tuples(st.just("id"), st.sampled_from(list(COMPARED)), st.integers(0, 9)),
    st.tuples(st.just("part"), st.sampled_from(list(COMPARED)), st.sampled_from(["a", "b", ""])),
    st.tuples(st.just("x"), st.sampled_from(list(COMPARED)), st.sampled_from(VALUES[1:])),
    st.tuples(st.sampled_from(SCHEMA.names), st.sampled_from(["is null", "is not null"]), st.none()),
)


def arrow(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMA)


def names(path: Path) -> set[str]:
    """The live files, by their last segments."""
    return {Path(name).name for name in tx.Table(path).files(physical=True)}


def holds(condition: tuple[str, str, Any], row: Row) -> bool:
    column, op, value = condition
    if op in ("is null", "is not null"):
        return (row[column] is None) == (op == "is null")
    return row[column] is not None and bool(COMPARED[op](row[column], value))


@given(
    writes=st.lists(ROWS, min_size=1, max_size=3),
    conditions=st.lists(CONDITION, min_size=1, max_size=2),
    form=st.sampled_from(["parquet", "csv"]),
    partitioned=st.booleans(),
    row_group_rows=st.sampled_from([1, 3, 100]),
)
def test_what_is_left(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[list[Row]],
    conditions: list[tuple[str, str, Any]],
    form: str,
    *,
    partitioned: bool,
    row_group_rows: int,
) -> None:
    """The rows that do not match are left, each value bit for bit, in their order."""
    path = tmp_path_factory.mktemp("t") / "table"
    options: dict[str, Any] = {"format": form, "properties": {"row_group_rows": row_group_rows}}
    for number, rows in enumerate(writes):
        first = options | {"partition_by": ["part"] if partitioned else None} if number == 0 else {}
        tx.write(arrow(rows), path, mode="append", **first)
    table = tx.Table(path)
    before, files = table.to_arrow().to_pylist(), names(path)
    left = [row for row in before if not all(holds(condition, row) for condition in conditions)]
    result = table.delete(conditions)
    after = tx.Table(path)
    assert result.rows_deleted == len(before) - len(left)
    assert result.committed == (len(left) < len(before))
    assert after.row_count == len(left)
    assert (result.files_removed, result.files_added) == (len(files - names(path)), len(names(path) - files))
    assert [frozen(row) for row in after.to_arrow().to_pylist()] == [frozen(row) for row in left]


@pytest.mark.parametrize("edit", ["delete", "upsert", "overwrite"])
def test_the_last_row_of_a_key_stays_the_last(tmp_path: Path, edit: str) -> None:
    """A file that is written anew takes its place: of several rows with one key, an upsert still takes the last."""
    path = tmp_path / "t"
    tx.write(pa.table({"k": [9], "v": ["z"]}), path, mode="upsert", keys=["k"])
    tx.write(pa.table({"k": [1, 2], "v": ["old", "x"]}), path, mode="append")
    tx.write(pa.table({"k": [1], "v": ["new"]}), path, mode="append")
    if edit == "delete":
        tx.Table(path).delete(keys=[2])
    elif edit == "upsert":
        tx.write(pa.table({"k": [2], "v": ["y"]}), path, mode="upsert")
    else:
        tx.write(pa.table({"k": [2], "v": ["y"]}), path, mode="overwrite", replace_where=[("k", "=", 2)])
    assert [row["v"] for row in tx.Table(path).to_arrow().to_pylist() if row["k"] == 1] == ["old", "new"]
    tx.write(pa.table({"k": [1], "w": [5]}), path, mode="upsert", schema_mode="merge")
    assert tx.Table(path).lookup(1).to_pylist() == [{"k": 1, "v": "new", "w": 5}]


def test_a_dry_run_leaves_the_table_where_it_is(tmp_path: Path) -> None:
    """A handle moves with its own commits, and with no look at what they would be."""
    path = tmp_path / "t"
    tx.write(pa.table({"k": [1, 2]}), path, mode="append_once", keys=["k"])
    table = tx.Table(path)
    tx.write(pa.table({"k": [3]}), path, mode="append_once")
    table.delete(keys=[1], dry_run=True)
    table.compact(dry_run=True)
    table.vacuum(dry_run=True)
    assert table.version == 0
    assert table.delete(keys=[1]).version == table.version == 2


@pytest.mark.parametrize("name", ["gone.csv", "GONE.PARQUET"])
def test_a_key_that_looks_like_a_file_is_refused(tmp_path: Path, name: str) -> None:
    """The silent way would be to delete nothing: the caller says which of the two is meant."""
    path = tmp_path / "t"
    tx.write(pa.table({"k": ["a", name]}), path, mode="append_once", keys=["k"])
    with pytest.raises(tx.InputError, match="may be a key or the name of a file") as raised:
        tx.Table(path).delete(keys=name)
    assert "pathlib.Path" in (raised.value.hint or "")
    assert tx.Table(path).delete(keys=[name]).rows_deleted == 1


def test_a_file_of_which_all_rows_move_is_not_rewritten(tmp_path: Path) -> None:
    """`files_to_rewrite` counts files of which rows stay."""
    path = tmp_path / "t"
    tx.write(pa.table({"k": [9], "v": [0]}), path, mode="upsert", keys=["k"])
    for value in range(2):
        tx.write(pa.table({"k": [1], "v": [value]}), path, mode="append")
    plan = tx.plan(pa.table({"k": [1], "v": [5]}), path, mode="upsert")
    assert plan.files_added - plan.files_to_rewrite in (0, 1)
    assert plan.files_to_rewrite <= 1


@given(rows=ROWS, wanted=st.lists(st.integers(-1, 12), max_size=6), form=st.sampled_from(["parquet", "csv"]))
def test_what_keys_take(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], wanted: list[int], form: str
) -> None:
    """All rows with one of the keys go, also where appends left a key twice; those without a key stay."""
    path = tmp_path_factory.mktemp("t") / "table"
    tx.write(arrow([{"id": 100, "part": "a", "x": 1.0}]), path, mode="append_once", keys=["id"], format=form)
    tx.write(arrow(rows), path, mode="append")
    result = tx.Table(path).delete(keys=wanted)
    left = [row for row in rows if row["id"] not in wanted]
    assert result.rows_deleted == len(rows) - len(left)
    found = tx.Table(path).to_arrow().to_pylist()
    assert [frozen(row) for row in found if row["id"] != 100] == [frozen(row) for row in left]


@pytest.fixture(params=["parquet", "csv"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A table of three files, in two partitions, one of which came with a second version."""
    found = tmp_path / "table"
    rows = [{"id": n, "part": "ab"[n % 2], "x": float(n)} for n in range(6)]
    tx.write(arrow(rows[:4]), found, mode="upsert", keys=["id"], partition_by=["part"], format=request.param)
    tx.write(arrow(rows[4:5]), found, mode="upsert")
    return found


@pytest.mark.parametrize(
    ("rows", "deleted", "added", "removed", "scanned", "pruned"),
    [
        ({"where": [("x", "=", 1.0)]}, 1, 1, 1, 2, 1),
        ({"where": [("x", "<=", 1.0)]}, 2, 2, 2, 2, 1),
        ({"where": [("x", ">", 3.5)]}, 1, 0, 1, 1, 2),
        ({"where": [("part", "=", "a")]}, 3, 0, 2, 0, 3),
        ({"where": [("part", "=", "a"), ("x", "<", 1)]}, 1, 1, 1, 1, 2),
        ({"where": [("x", ">", 9)]}, 0, 0, 0, 0, 3),
        ({"keys": [4]}, 1, 0, 1, 1, 2),
        ({"keys": [3, 4]}, 2, 1, 2, 2, 1),
        ({"keys": [9]}, 0, 0, 0, 0, 3),
    ],
    ids=str,
)
def test_only_files_with_such_a_row_are_touched(
    path: Path, rows: dict[str, Any], deleted: int, added: int, removed: int, scanned: int, pruned: int
) -> None:
    """Others are neither opened nor written; a file of which no row stays is removed; the counts say so."""
    was, standing = names(path), tx.Table(path).row_count
    result = tx.Table(path).delete(**rows)
    assert (result.rows_deleted, result.files_added, result.files_removed) == (deleted, added, removed)
    assert (result.files_scanned, result.files_pruned) == (scanned, pruned)
    assert len(was & names(path)) == 3 - removed
    newest = tx.Table(path)
    assert newest.row_count == newest.to_arrow().num_rows == standing - deleted
    assert newest.version == 1 + result.committed
    if result.committed:
        commit = newest.history(1)[0]
        assert (commit.operation, commit.rows_deleted, commit.rows_in) == ("delete", deleted, 0)
        assert commit.keys == (("id",) if "keys" in rows else ())


def test_a_damaged_file_of_a_partition_that_goes(path: Path) -> None:
    """A delete by partition reads no file, so that it also removes one that cannot be read."""
    for name in tx.Table(path).files():
        if "part=b" in name:
            Path(name).write_bytes(b"")
    with pytest.raises(tx.CorruptTableError):
        tx.Table(path).delete([("x", "=", 1.0)])
    assert tx.Table(path).version == 1
    assert tx.Table(path).delete([("part", "=", "b")]).rows_deleted == 2
    assert sorted(tx.Table(path).to_arrow()["id"].to_pylist()) == [0, 2, 4]


def test_it_deletes_from_the_newest_version(path: Path) -> None:
    """A table opened before others wrote deletes their rows too, and moves to its own commit."""
    table = tx.Table(path)
    tx.write(arrow([{"id": 7, "part": "a", "x": 0.0}]), path, mode="append")
    assert table.delete([("x", "=", 0)]).rows_deleted == 2
    assert table.version == 3
    assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 2, 3, 4]


def test_files_that_are_older_than_a_column(path: Path) -> None:
    """A rewritten file has the table's columns; a column that came later is null in its rows, and ids stay."""
    more = arrow([{"id": 8, "part": "a", "x": 8.0}]).append_column("more", pa.array(["m"]))
    tx.write(more, path, mode="append", schema_mode="merge")
    before = tx.Table(path).to_arrow()
    assert tx.Table(path).delete(keys=[0, 1, 8]).rows_deleted == 3
    after = tx.Table(path).to_arrow()
    assert after.schema.equals(before.schema)
    assert sorted(after.to_pylist(), key=lambda row: row["id"]) == [
        {"id": n, "part": "ab"[n % 2], "x": float(n), "more": None} for n in (2, 3, 4)
    ]
    if tx.Table(path).format == "parquet":
        for name in tx.Table(path).files(physical=True):
            ids = [int(field.metadata[b"PARQUET:field_id"]) for field in pq.read_schema(name)]
            assert ids in ([1, 3], [1, 3, 4])


def test_values_of_every_type_stay(tmp_path: Path) -> None:
    """A rewritten file gives back each value of the rows that stay, nested ones too."""
    rows = pa.table(
        {
            "id": [1, 2, 3],
            "l": pa.array([[1.0, None], None, []], pa.list_(pa.float64())),
            "s": pa.array([{"a": None}, None, {"a": "é"}], pa.struct([("a", pa.string())])),
            "m": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8())),
            "d": pa.array([0, None, -1], pa.timestamp("ns", "Europe/Oslo")),
            "n": pa.nulls(3),
        }
    )
    tx.write(rows, tmp_path / "t", mode="append")
    tx.Table(tmp_path / "t").delete([("id", "=", 1)])
    assert tx.Table(tmp_path / "t").to_arrow().equals(rows.slice(1))
    assert types.normalise(rows.schema.field("d").type) == rows.schema.field("d").type


# ---- keys in files ------------------------------------------------------------------------------


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A table whose keys are texts and numbers as CSV files have them, the numbers inferred."""
    (tmp_path / "first.csv").write_text("sku,shop,n\n007,1,5\n7,1,6\n007,2,7\n")
    tx.write(tmp_path / "first.csv", tmp_path / "t", mode="upsert", keys=["sku", "shop"], schema={"sku": "string"})
    return tmp_path / "t"


def left(path: Path) -> list[int]:
    found: list[int] = sorted(tx.Table(path).to_arrow()["n"].to_pylist())
    return found


def test_keys_in_a_csv_file(texts: Path, tmp_path: Path) -> None:
    """The text of a key column is read by the table's type; other columns do not matter."""
    (tmp_path / "gone.csv").write_text("why,shop,sku,n\nx,1,007,no\ny,1,007,no\nz,3,7,no\n")
    assert tx.Table(texts).delete(keys=tmp_path / "gone.csv").rows_deleted == 1
    assert left(texts) == [6, 7]


def test_keys_in_a_parquet_file(texts: Path, tmp_path: Path) -> None:
    """Types are reconciled as those of a look-up are."""
    keys = pa.table({"shop": pa.array([1, 300], pa.int16()), "sku": pa.array(["7", "7"]).dictionary_encode()})
    pq.write_table(keys, tmp_path / "gone.parquet")
    assert tx.Table(texts).delete(keys=tmp_path / "gone.parquet").rows_deleted == 1
    assert left(texts) == [5, 7]


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("sku\n007\n", "bad-input", "'shop' not found"),
        ("sku,shop\n007,\n", "null-key", "'shop'"),
        ("sku,shop\n007,1\n007,01\n", "unreadable-input", "'shop'"),
        ("sku,shop\n007,one\n", "unreadable-input", "'shop'"),
        (None, "unreadable-input", "gone.csv"),
    ],
    ids=str,
)
def test_files_that_do_not_fit(texts: Path, tmp_path: Path, text: str | None, kind: str, told: str) -> None:
    """A column that lacks, a null, a spelling that loads would refuse, no file: an error, and nothing is written."""
    if text is not None:
        (tmp_path / "gone.csv").write_text(text)
    with pytest.raises(tx.InputError, match=told) as caught:
        tx.Table(texts).delete(keys=tmp_path / "gone.csv")
    assert caught.value.kind == kind
    assert "schema=" not in (caught.value.hint or "")
    assert tx.Table(texts).version == 0
    assert left(texts) == [5, 6, 7]


def test_a_known_batch_id_needs_no_file(texts: Path, tmp_path: Path) -> None:
    """The id is looked up before the file is read, so that a retry works when it has gone."""
    (tmp_path / "gone.csv").write_text("sku,shop\n7,1\n")
    first = tx.Table(texts).delete(keys=tmp_path / "gone.csv", batch_id="b")
    (tmp_path / "gone.csv").unlink()
    again = tx.Table(texts).delete(keys=tmp_path / "gone.csv", batch_id="b")
    assert (again.already_committed, again.version) == (True, first.version)
    assert left(texts) == [5, 7]


class StoppedError(Exception):
    """Raised by a caller's progress."""


def test_a_delete_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    """A caller who stops it while files are rewritten finds no file of it, and none is written afterwards."""
    for number in range(8):
        ids = range(20_000 * number, 20_000 * (number + 1))
        tx.write(pa.table({"id": ids, "x": [i % 2 for i in ids]}), tmp_path, mode="append_once", keys=["id"])
    before = sorted(tmp_path.rglob("*"))

    def stop(step: tx.Progress) -> None:
        if step.stage == "rewriting files" and step.done == 1:
            raise StoppedError

    with pytest.raises(StoppedError) as stopped:
        tx.Table(tmp_path).delete([("x", "=", 1)], progress=stop)
    assert stopped.traceback  # it is held, with all that its frames hold
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("path", "keys", "given", "taken"),
    [
        ("s3://b/table", "s3://b/keys.csv", None, {"key": "own"}),
        ("s3://b/table", "s3://b/keys.csv", {}, {}),
        ("s3://b/table", "abfs://c/keys.csv", None, None),
        ("s3://b/table", "s3://b/keys.csv", {"key": "other"}, {"key": "other"}),
    ],
)
def test_whose_options_open_a_file_of_keys(path, keys, given, taken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are given for it; else the table's, if both are at one kind of store: no other store gets them."""

    class Opened(Exception):
        pass

    def source(data: object, *, storage_options: object) -> None:
        raise Opened(data, storage_options)

    table = object.__new__(tx.Table)
    table._opened = SimpleNamespace(place=Place(path, {"key": "own"}), pinned=None)
    monkeypatch.setattr(tx.Table, "_require_writable", lambda *_: None)
    monkeypatch.setattr(inputs, "source", source)
    with pytest.raises(Opened) as opened:
        table.delete(keys=KeysAt(keys), storage_options=given)
    assert opened.value.args[1] == taken


class KeysAt:
    """A file of keys at a URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __fspath__(self) -> str:
        return self.url
