"""Transactions: several operations on one table are one version, which is what they would have made one by one."""

from __future__ import annotations

# ruff: noqa: PT012 - the error comes from the end of a block, and the block is what is tested
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import txfiles as tx
from txfiles.core.manifest import OPERATIONS_LIMIT
from txfiles.errors import (
    BatchIdMismatchError,
    CommitConflictError,
    DuplicateKeyError,
    InputError,
    LossyCastError,
    OptionError,
    TxFilesError,
    UnsupportedVerbError,
)
from txfiles.log import commit

SCHEMA = pa.schema([("id", pa.int64()), ("p", pa.string()), ("n", pa.int64())])
KINDS = {
    "parquet": {},
    "csv": {"format": "csv"},
    "marked": {"properties": {"update_strategy": "merge_on_read", "key_index": "on"}},
    "partitioned": {"partition_by": ["p"]},
    "partitioned and marked": {"partition_by": ["p"], "properties": {"update_strategy": "merge_on_read"}},
}


def table(*rows: tuple[int, str, int]) -> pa.Table:
    return pa.table(list(zip(*rows, strict=True)) or [[], [], []], schema=SCHEMA)


def make(path: Any, **options: Any) -> tx.Table:
    """Two files, or two in each partition."""
    tx.write(table(*((k, "ab"[k % 2], 0) for k in range(6))), path, mode="upsert", keys=["id"], **options)
    tx.write(table(*((k, "ab"[k % 2], 0) for k in range(6, 9))), path, mode="append_once")
    return tx.Table(path)


def stored(path: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in tx.Table(path).to_arrow().to_pylist()]


def data_files(path: Any) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in Path(path).rglob("*part-*") if file.is_file())


class Alone:
    """The same operations, each a call of its own."""

    def __init__(self, path: Any) -> None:
        self.path = path

    def write(self, data: Any, **options: Any) -> Any:
        return tx.write(data, self.path, **options)

    def delete(self, *given: Any, **options: Any) -> Any:
        return tx.Table(self.path).delete(*given, **options)

    def set(self, **properties: Any) -> None:
        tx.Table(self.path).set(**properties)


Operation = Callable[[Any], Any]


@st.composite
def operations(draw: st.DrawFn) -> tuple[str, Operation]:
    """An operation, with what a failure says of it."""
    ids = st.lists(st.integers(0, 12), max_size=4, unique=True)
    rows = [(k, draw(st.sampled_from("abc")), draw(st.integers(0, 2))) for k in draw(ids)]
    name = draw(
        st.sampled_from(["append", "append_once", "upsert", "overwrite", "part", "where", "keys", "gone", "set"])
    )
    if name in ("append", "append_once", "upsert", "overwrite"):
        return f"{name} {rows}", lambda one: one.write(table(*rows), mode=name)
    if name == "part":
        return f"part {rows}", lambda one: one.write(table(*rows), mode="overwrite", replace_where=[("n", "=", 7)])
    if name == "where":
        least = draw(st.integers(0, 12))
        return f"where {least}", lambda one: one.delete([("id", ">", least)])
    if name == "keys":
        keys = [row[0] for row in rows] or [0]
        return f"keys {keys}", lambda one: one.delete(keys=keys)
    if name == "gone":
        part = draw(st.sampled_from("abc"))
        return f"gone {part}", lambda one: one.delete([("p", "=", part)])
    size = draw(st.integers(10, 12))
    return f"set {size}", lambda one: one.set(row_group_rows=size)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=max(4, settings.default.max_examples // 5))  # each makes two tables
@given(asked=st.lists(operations(), min_size=1, max_size=5))
def test_it_is_what_the_operations_are_one_by_one(kind: str, asked: list[tuple[str, Operation]]) -> None:
    """Same rows in the same order, same properties and counts; one version, and no file that it does not name."""
    with tempfile.TemporaryDirectory() as folder:
        path, alone = Path(folder) / "one", Path(folder) / "alone"
        made, _ = make(path, **KINDS[kind]), make(alone, **KINDS[kind])
        failure = None
        each = []
        for _, operation in asked:
            try:
                each.append(operation(Alone(alone)))
            except TxFilesError as error:
                failure = error
                break
        before = stored(path), data_files(path)
        if failure is not None:
            with pytest.raises(type(failure)), made.transaction() as transaction:
                for _, operation in asked:
                    operation(transaction)
            assert (tx.Table(path).version, stored(path), data_files(path)) == (1, *before)
            return
        with made.transaction() as transaction:
            for _, operation in asked:
                operation(transaction)
        result = transaction.result
        assert result is not None
        assert stored(path) == stored(alone)
        assert tx.Table(path).properties == tx.Table(alone).properties
        changes = tx.Table(alone).version > 1
        assert (tx.Table(path).version, result.version, made.version) == ((2 if changes else 1),) * 3
        for part, single in zip(result.parts, each, strict=True):
            if single is not None:
                names = [name for name in vars(single) if name.startswith("rows_")]
                assert [getattr(part, name) for name in names] == [getattr(single, name) for name in names]
        named = {name.rsplit("/", 1)[-1] for name in tx.Table(path).files(physical=True)}
        at_first = {name.rsplit("/", 1)[-1] for name in tx.Table(path, version=1).files(physical=True)}
        first = {name.rsplit("/", 1)[-1] for name in tx.Table(path, version=0).files(physical=True)}
        assert {name.rsplit("/", 1)[-1] for name in data_files(path)} == named | at_first | first
        assert tx.Table(path).index("check").problems == ()
        keys = [row[0] for row in stored(path)]
        found = tx.Table(path).lookup(sorted({*keys, 99}))
        assert sorted(found["id"].to_pylist()) == sorted(keys)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t"


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Let another call come first, once the next one has been planned and staged."""
    real = commit._commit

    def plant(theirs: Callable[[], Any]) -> None:
        def raced(*arguments: Any) -> Any:
            monkeypatch.setattr(commit, "_commit", real)
            theirs()
            return real(*arguments)

        monkeypatch.setattr(commit, "_commit", raced)

    return plant


def test_what_the_log_says(path: Path) -> None:
    """The manifest names the operations; the batch id makes a retry do nothing, and is not one of a write."""
    made = make(path)
    with made.transaction(batch_id="monday", user_metadata={"job": "x"}) as transaction:
        transaction.delete(keys=[0])
        transaction.write(table((0, "z", 5)), mode="append")
    (newest, *_) = made.history()
    assert (newest.operation, newest.batch_id, newest.user_metadata, newest.rows_deleted, newest.rows_inserted) == (
        "transaction",
        "monday",
        {"job": "x"},
        1,
        1,
    )
    assert '"parts": [' in (path / "_txfiles/log/00000000000000000002.json").read_text()
    with made.transaction(batch_id="monday") as again:
        again.delete(keys=[1])
    assert again.result is not None
    assert (again.result.already_committed, again.result.version, again.result.parts) == (True, 2, ())
    with pytest.raises(BatchIdMismatchError):
        tx.write(table(), path, mode="append", batch_id="monday")
    assert (made.version, (0, "z", 5) in stored(path)) == (2, True)


def test_a_batch_id_is_recorded_though_nothing_changes(path: Path) -> None:
    """As with a write; without one, nothing is committed."""
    made = make(path)
    with made.transaction() as nothing:
        nothing.write(table((1, "b", 0)), mode="append_once")
    with made.transaction() as empty:
        pass
    assert [one.result.committed for one in (nothing, empty) if one.result] == [False, False]
    with made.transaction(batch_id="b") as recorded:
        recorded.delete(keys=[99])
    assert recorded.result is not None
    assert (recorded.result.committed, made.version) == (True, 2)


def test_an_error_commits_nothing(path: Path) -> None:
    """One in the block, or one of an operation: the table and its folder are as before, and a note says which."""
    made = make(path)
    before = stored(path), data_files(path)
    with pytest.raises(ZeroDivisionError), made.transaction() as transaction:
        transaction.delete(keys=[0])
        raise ZeroDivisionError
    assert transaction.result is None
    with pytest.raises(DuplicateKeyError) as raised, made.transaction() as transaction:
        transaction.write(table((20, "a", 1)), mode="append")
        transaction.write(table((21, "a", 1), (21, "a", 2)), mode="upsert")
    assert raised.value.__notes__ == ["this is operation 2 (upsert) of a transaction; none of them was committed"]
    with pytest.raises(LossyCastError), made.transaction() as transaction:
        transaction.write(table((20, "a", 1)), mode="append")
        transaction.write(pa.table({"id": [1.5], "p": ["a"], "n": [1]}), mode="append")
    assert (made.version, tx.Table(path).version, stored(path), data_files(path)) == (1, 1, *before)


def test_it_sees_what_came_between(path: Path, between: Callable[..., None]) -> None:
    """A commit that touches none of it moves it; one that does has all of it planned again."""
    made = make(path)
    between(lambda: tx.write(table((50, "a", 1)), path, mode="upsert"))
    with made.transaction() as moved:
        moved.delete(keys=[0])
        moved.write(table((1, "b", 9)), mode="upsert")
    between(lambda: tx.Table(path).delete(keys=[50]))
    with made.transaction() as stays:
        stays.write(table((60, "a", 1)), mode="append")
    between(lambda: tx.write(table((1, "b", 4), (70, "b", 4)), path, mode="upsert"))
    with made.transaction() as again:
        again.write(table((61, "a", 1)), mode="append")
        again.write(table((70, "b", 5)), mode="upsert")
    results = [one.result for one in (moved, stays, again) if one.result]
    assert [(one.version, one.attempts, one.rows_updated) for one in results] == [(3, 1, 1), (5, 1, 0), (7, 2, 1)]
    assert {row for row in stored(path) if row[0] in (0, 1, 50, 60, 61, 70)} == {
        (1, "b", 4),
        (60, "a", 1),
        (61, "a", 1),
        (70, "b", 5),
    }


def test_an_overwrite_in_it_replaces_what_comes(path: Path, between: Callable[..., None]) -> None:
    """Rows that others add before the commit are replaced, too."""
    made = make(path, partition_by=["p"])
    between(lambda: tx.write(table((50, "a", 1), (51, "b", 1)), path, mode="append"))
    with made.transaction() as transaction:
        transaction.delete([("p", "=", "b")])
        transaction.write(table((80, "a", 8)), mode="overwrite", overwrite_partitions=True)
    assert stored(path) == [(80, "a", 8)]
    assert transaction.result is not None
    assert transaction.result.rows_deleted == 11


def test_it_gives_up_when_its_time_is_over(path: Path, between: Callable[..., None]) -> None:
    """`timeout` is that of a write."""
    made = make(path)
    between(lambda: tx.write(table((50, "a", 1)), path, mode="append"))
    with pytest.raises(CommitConflictError, match="transaction on "), made.transaction(timeout=0) as transaction:
        transaction.delete([("id", ">", 7)])
    assert transaction.result is None
    assert (tx.Table(path).version, len(stored(path))) == (2, 10)


def test_what_belongs_to_the_transaction_is_refused_inside(path: Path) -> None:
    """A batch id inside would make a retry run the others again."""
    made = make(path)
    refused: dict[str, Any] = {
        "batch_id": "x",
        "user_metadata": {"a": "b"},
        "timeout": 1.0,
        "partition_by": ["p"],
        "properties": {"compression": "zstd"},
        "format": "csv",
        "rekey": True,
        "schema_mode": "overwrite",
    }
    with pytest.raises(InputError), made.transaction() as transaction:
        for name, value in refused.items():
            mode = "overwrite" if name == "schema_mode" else "append"
            with pytest.raises(OptionError, match=name):
                transaction.write(table((1, "a", 1)), mode=mode, **{name: value})
        with pytest.raises(OptionError, match="no argument 'dedup'"):
            transaction.write(table((1, "a", 1)), mode="upsert", dedup="error")
        with pytest.raises(OptionError, match="names no rows"):
            transaction.delete()
        with pytest.raises(OptionError, match="compresion"):
            transaction.set(compresion="zstd")
        transaction.write(table((1, "a", 1)), mode="newest")
    assert (tx.Table(path).version, len(stored(path))) == (1, 9)


def test_it_is_used_once_and_inside_its_block(path: Path) -> None:
    """An operation outside would be lost without a word."""
    made = make(path)
    transaction = made.transaction()
    with pytest.raises(OptionError, match="not open"):
        transaction.delete(keys=[1])
    with transaction:
        transaction.delete(keys=[1])
    with pytest.raises(OptionError, match="not open"):
        transaction.set(compression="zstd")
    with pytest.raises(OptionError, match="used once"), transaction:
        pass
    with pytest.raises(OptionError, match="pinned"):
        made.at(version=0).transaction()
    assert (made.version, repr(transaction)) == (2, "<Transaction of 1 operations, version 2>")


def test_operations_are_limited(path: Path) -> None:
    """Each is planned again after a lost race."""
    made = make(path)
    with pytest.raises(OptionError, match=f"at most {OPERATIONS_LIMIT}"), made.transaction() as transaction:
        for _ in range(OPERATIONS_LIMIT + 1):
            transaction.set(compression="zstd")
    assert made.version == 1


def test_streams_are_read_for_each_plan(path: Path, between: Callable[..., None]) -> None:
    """A one-pass input is kept until the block ends, for the transaction may be planned again; then it is gone."""
    made = make(path)

    def chunks() -> Iterator[pa.RecordBatch]:
        yield from table((30, "a", 3)).to_batches()
        yield from table((31, "a", 3)).to_batches()

    between(lambda: tx.write(table((30, "a", 1)), path, mode="append"))
    with made.transaction() as transaction:
        transaction.write(chunks(), mode="append_once")
        transaction.delete([("id", "=", 31)])
    assert transaction.result is not None
    assert [(part.rows_in, part.rows_skipped) for part in transaction.result.parts] == [(2, 1), (0, 0)]
    assert len(stored(path)) == 10


def test_delta_tables_have_none(tmp_path: Path) -> None:
    """The error names the formats that have it."""
    tx.write(table((1, "a", 1)), tmp_path / "d", mode="append", format="delta")
    with pytest.raises(UnsupportedVerbError, match="transaction") as raised:
        tx.Table(tmp_path / "d", format="delta").transaction()
    assert "parquet" in (raised.value.hint or "")


def test_a_vacuum_that_takes_what_it_staged_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vacuum without grace deletes a file between two operations: they are planned again."""
    from txfiles.operations import transaction as module

    made = make(path)
    made.set(vacuum_grace="0")
    real, taken = module._after, []

    def after(*given: Any) -> Any:
        if not taken:
            taken.append(tx.Table(path).vacuum(retain="0", force=True))
        return real(*given)

    monkeypatch.setattr(module, "_after", after)
    with made.transaction() as transaction:
        transaction.write(table((30, "a", 1)), mode="append")
        transaction.write(table((30, "a", 2)), mode="upsert")
    assert transaction.result is not None
    assert (transaction.result.attempts, (30, "a", 2) in stored(path), len(stored(path))) == (2, True, 10)


def test_columns_that_a_later_operation_adds_are_not_in_earlier_files(path: Path) -> None:
    """Each file keeps the columns that it was written with, and no bounds in the order of another type."""
    tx.write(pa.table({"id": [1, 2]}), path, mode="upsert", keys=["id"])
    with tx.Table(path).transaction() as transaction:
        transaction.write(pa.table({"id": [3]}), mode="append")
        transaction.write(pa.table({"z": ["a", "b"], "id": [1, 4]}), mode="upsert", schema_mode="merge")
    assert stored(path) == [(1, "a"), (2, None), (3, None), (4, "b")]
    assert tx.verify(path, deep=True).problems == ()


def test_bounds_of_earlier_files_go_with_a_type_that_becomes_text(tmp_path: Path) -> None:
    """The text 10 is before 9: as numbers they are bounds of these rows, as texts they are not."""
    path, first, numbers, texts = (tmp_path / name for name in ("t", "first.csv", "numbers.csv", "texts.csv"))
    first.write_text("sku,n\n1,0\n")
    numbers.write_text("sku,n\n9,1\n10,2\n")
    texts.write_text("sku,n\n007,3\nx,4\n")
    tx.write(first, path, mode="upsert", keys=["sku"])
    with tx.Table(path).transaction() as transaction:
        transaction.write(numbers, mode="append")
        transaction.write(texts, mode="upsert", schema={"sku": "string"}, schema_mode="merge")
    assert tx.Table(path).lookup(["10", "9"]).to_pylist() == [{"sku": "9", "n": 1}, {"sku": "10", "n": 2}]
    assert tx.Table(path).to_arrow(filter=[("sku", "=", "10")])["n"].to_pylist() == [2]
    assert tx.verify(path, deep=True).problems == ()


def test_a_vector_beside_one_that_others_outdate_stays(path: Path, between: Callable[..., None]) -> None:
    """One file holds the vectors of a new file and of an old one; the latter's is written anew after a lost race."""
    made = make(path, **KINDS["marked"])
    made.delete(keys=[0])
    between(lambda: tx.Table(path).delete(keys=[1]))
    with made.transaction() as transaction:
        transaction.write(table((20, "a", 1), (21, "a", 1)), mode="append")
        transaction.delete(keys=[2, 20])
    assert transaction.result is not None
    assert transaction.result.attempts == 1  # it was not planned again
    assert [row[0] for row in stored(path)] == [3, 4, 5, 6, 7, 8, 21]
    assert tx.verify(path, deep=True).problems == ()
