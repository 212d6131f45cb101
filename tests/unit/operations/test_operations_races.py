"""What operations say that their plans stand on: another commit between planning and the put, on real tables."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from tests.model import bag
from txfiles.errors import CommitConflictError, DuplicateKeyError
from txfiles.log import commit
from txfiles.reading.marked import MarkedRows

Row = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the table is."""
    return tmp_path / "table"


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], tx.WriteResult]], None]:
    """Let another write come first, once the next one has been planned and staged."""
    real = commit._commit

    def plant(theirs: Callable[[], tx.WriteResult]) -> None:
        def raced(*given: Any) -> Any:
            monkeypatch.setattr(commit, "_commit", real)
            assert theirs().committed
            return real(*given)

        monkeypatch.setattr(commit, "_commit", raced)

    return plant


def table(*rows: Row) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


def stored(path: Path) -> list[Row]:
    found: list[Row] = tx.Table(path).to_arrow().to_pylist()
    return found


@pytest.mark.parametrize("mode", ["upsert", "append_once"])
def test_a_batch_that_changed_no_row_is_applied_if_its_row_goes(
    path: Path, between: Callable[..., None], mode: str
) -> None:
    """A plan that only records its batch id is made again if the file goes in which it found its row."""
    mine = table({"id": 1, "n": "mine"})
    tx.write(table({"id": 1, "n": "mine"}, {"id": 2, "n": "x"}), path, mode="upsert", keys=["id"])
    nothing = mine.slice(0, 0)
    between(lambda: tx.write(nothing, path, mode="overwrite", replace_where=[("id", "=", 1)]))
    result = tx.write(mine, path, mode=mode, batch_id="b")
    assert (result.version, result.attempts, result.rows_inserted) == (2, 2, 1)
    assert bag(stored(path)) == bag([{"id": 1, "n": "mine"}, {"id": 2, "n": "x"}])


def test_a_batch_that_changed_no_row_replaces_a_row_that_comes(path: Path, between: Callable[..., None]) -> None:
    """An upsert that only records its batch id looks for its keys in fresh files all the same."""
    mine = table({"id": 1, "n": "mine"})
    tx.write(mine, path, mode="upsert", keys=["id"])
    between(lambda: tx.write(table({"id": 1, "n": "theirs"}), path, mode="append"))
    result = tx.write(mine, path, mode="upsert", batch_id="b")
    assert (result.version, result.attempts) == (2, 2)
    assert stored(path) == [{"id": 1, "n": "mine"}]


def _parts(path: Path) -> None:
    tx.write(table({"id": 1, "p": "a"}, {"id": 2, "p": "b"}), path, mode="append", partition_by=["p"])


def test_keys_that_a_part_gives_the_table_hold_for_rows_that_come(path: Path, between: Callable[..., None]) -> None:
    """An overwrite of partitions that names the first keys checks rows that others add elsewhere."""
    _parts(path)
    between(lambda: tx.write(table({"id": 2, "p": "b"}), path, mode="append"))
    with pytest.raises(DuplicateKeyError):
        tx.write(table({"id": 3, "p": "a"}), path, mode="overwrite", overwrite_partitions=True, keys=["id"])
    assert (tx.Table(path).version, tx.Table(path).keys) == (1, ())
    assert bag(stored(path)) == bag([{"id": 1, "p": "a"}, {"id": 2, "p": "b"}, {"id": 2, "p": "b"}])


@pytest.mark.parametrize(("part", "stands"), [("a", True), ("b", False)])
def test_rows_that_come_into_a_replaced_partition_do_not_matter(
    path: Path, between: Callable[..., None], part: str, *, stands: bool
) -> None:
    """With keys, an overwrite of partitions stands if the same key comes into them; elsewhere it is a duplicate."""
    tx.write(table({"id": 1, "p": "a"}), path, mode="upsert", keys=["id"], partition_by=["p"])
    options: dict[str, Any] = {"mode": "overwrite", "overwrite_partitions": True, "keys": ["id"]}
    mine = table({"id": 3, "p": "a"})
    between(lambda: tx.write(table({"id": 3, "p": part}), path, mode="append"))
    if not stands:
        with pytest.raises(DuplicateKeyError):
            tx.write(mine, path, **options)
        assert bag(stored(path)) == bag([{"id": 1, "p": "a"}, {"id": 3, "p": "b"}])
        return
    result = tx.write(mine, path, **options)
    assert (result.version, result.attempts, result.rows_deleted) == (2, 1, 2)
    assert stored(path) == [{"id": 3, "p": "a"}]


@pytest.mark.parametrize("texts", [("1.0", "1.00"), ("-7.5", "-7.500")])
def test_a_row_stays_in_its_partition_when_its_type_is_widened(path: Path, texts: tuple[str, str]) -> None:
    """Partition values are compared as values: another number of decimals does not move a row to another folder."""

    def rows(ids: list[int], value: str, n: str) -> pa.Table:
        scale = len(value.split(".")[1])
        values = pa.array([Decimal(value)] * len(ids), pa.decimal128(10, scale))
        return pa.table({"id": ids, "p": values, "n": [n] * len(ids)})

    tx.write(rows([1, 2], texts[0], "old"), path, mode="upsert", keys=["id"], partition_by=["p"])
    tx.write(rows([3], "2.2500", "x"), path, mode="append", schema_mode="merge")
    result = tx.write(rows([1], texts[1], "new"), path, mode="upsert")
    assert (result.rows_updated, result.files_added, result.files_removed) == (1, 1, 1)
    assert {Path(name).parent.name for name in tx.Table(path).files()} == {f"p={texts[0]}", "p=2.2500"}
    assert {row["id"]: row["n"] for row in stored(path)} == {1: "new", 2: "old", 3: "x"}


def _small(path: Path) -> None:
    """Two files in each of two partitions, with unique keys."""
    for number in range(2):
        batch = table({"id": number, "p": "a", "n": 0}, {"id": 10 + number, "p": "b", "n": 0})
        tx.write(batch, path, mode="upsert", keys=["id"], partition_by=["p"])


def _data(path: Path) -> set[str]:
    """The data files that stand there."""
    return {str(file) for file in path.rglob("part-*") if file.is_file()}


def test_a_compaction_beside_an_append(path: Path, between: Callable[..., None]) -> None:
    """It is committed as it was planned; the rows that came stay behind those that were there."""
    _small(path)
    between(lambda: tx.write(table({"id": 5, "p": "a", "n": 5}), path, mode="append"))
    compacted = tx.Table(path)
    done = compacted.compact()
    assert (done.version, done.groups, done.groups_skipped, done.files_before) == (3, 2, 0, 4)
    assert compacted.to_arrow(["id"], [("p", "==", "a")])["id"].to_pylist() == [0, 1, 5]
    assert len(compacted.files()) == 3


def test_a_group_that_another_write_changed_is_left_out(path: Path, between: Callable[..., None]) -> None:
    """The other group is committed, what was staged for the lost one is deleted, and the changed row stays changed."""
    _small(path)
    between(lambda: tx.write(table({"id": 1, "p": "a", "n": 9}), path, mode="upsert"))
    standing = _data(path)
    compacted = tx.Table(path)
    done = compacted.compact()
    assert (done.committed, done.version, done.groups, done.groups_skipped) == (True, 3, 1, 1)
    assert (done.files_before, done.files_after, done.rows) == (2, 1, 2)
    assert {row["id"]: row["n"] for row in stored(path)} == {0: 0, 1: 9, 10: 0, 11: 0}
    [new] = [file for file in compacted.files() if "p=b" in file]
    theirs = {file for file in compacted.files() if "p=a" in file}
    assert _data(path) == standing | theirs | {new}
    assert compacted.compact().groups == 1


def test_a_compaction_that_lost_every_group_commits_nothing(path: Path, between: Callable[..., None]) -> None:
    """It is no error, and nothing of it stays."""
    _small(path)
    between(lambda: tx.write(table({"id": 7, "p": "a", "n": 7}), path, mode="overwrite"))
    compacted = tx.Table(path)
    done = compacted.compact()
    assert (done.committed, done.version, done.groups, done.groups_skipped) == (False, 2, 0, 2)
    assert (done.commit_id, compacted.version) == (None, 2)
    assert len(_data(path)) == 5
    assert stored(path) == [{"id": 7, "p": "a", "n": 7}]


def test_a_compaction_is_planned_again_for_other_columns(path: Path, between: Callable[..., None]) -> None:
    """Its files would lack a column that the table has by now."""
    _small(path)
    more = table({"id": 1, "p": "a", "n": 0, "more": 1})
    between(lambda: tx.write(more, path, mode="upsert", schema_mode="merge"))
    done = tx.Table(path).compact()
    assert (done.version, done.groups, done.groups_skipped, done.rows) == (3, 2, 0, 4)
    assert {row["id"]: row["more"] for row in stored(path)} == {0: None, 1: 1, 10: None, 11: None}


def test_a_compaction_never_makes_an_upsert_fail(path: Path, between: Callable[..., None]) -> None:
    """An upsert whose rows were moved plans again, even without patience; one whose rows were changed gives up."""
    _small(path)
    mine = table({"id": 1, "p": "a", "n": 5})
    between(lambda: tx.Table(path).compact())
    result = tx.write(mine, path, mode="upsert", timeout=0)
    assert (result.version, result.attempts, result.rows_updated) == (3, 2, 1)
    assert {row["id"]: row["n"] for row in stored(path)} == {0: 0, 1: 5, 10: 0, 11: 0}
    between(lambda: tx.write(table({"id": 1, "p": "a", "n": 6}), path, mode="upsert"))
    with pytest.raises(CommitConflictError):
        tx.write(table({"id": 1, "p": "a", "n": 7}), path, mode="upsert", timeout=0)
    assert tx.Table(path).version == 4


def test_append_once_beside_a_compaction(path: Path, between: Callable[..., None]) -> None:
    """A key that was found, and has moved since, is found again."""
    _small(path)
    between(lambda: tx.Table(path).compact())
    both = table({"id": 1, "p": "a", "n": 5}, {"id": 2, "p": "a", "n": 5})
    result = tx.write(both, path, mode="append_once", timeout=0)
    assert (result.version, result.rows_inserted, result.rows_skipped) == (3, 1, 1)
    assert sorted(row["id"] for row in stored(path)) == [0, 1, 2, 10, 11]


def _three(path: Path) -> None:
    rows = [{"id": 1, "n": 1}, {"id": 2, "n": 2}, {"id": 3, "n": 3}]
    tx.write(table(*rows[:2]), path, mode="upsert", keys=["id"])
    tx.write(table(*rows[2:]), path, mode="upsert")


@pytest.mark.parametrize("rows", [{"where": [("n", "<", 2)]}, {"keys": [1, 9]}], ids=str)
@pytest.mark.parametrize(
    ("theirs", "mode", "attempts", "left"),
    [
        ({"id": 9, "n": 0}, "append", 2, {2: 2, 3: 3}),  # a fresh row that is to go, too
        ({"id": 8, "n": 7}, "append", 2, {2: 2, 3: 3, 8: 7}),  # after which a key may be there twice
        ({"id": 3, "n": 7}, "upsert", 1, {2: 2, 3: 7}),  # in a file without such a row
        ({"id": 2, "n": 7}, "upsert", 2, {2: 7, 3: 3}),  # in the file of such a row
    ],
    ids=str,
)
def test_a_delete_beside_another_write(
    path: Path,
    between: Callable[..., None],
    rows: dict[str, Any],
    theirs: Row,
    mode: str,
    attempts: int,
    left: dict[int, int],
) -> None:
    """A delete is planned again if its file went or a fresh file has such a row; otherwise it stands."""
    _three(path)
    between(lambda: tx.write(table(theirs), path, mode=mode))
    opened = tx.Table(path)
    result = opened.delete(**rows)
    assert (result.version, opened.version, result.attempts) == (3, 3, attempts)
    assert {found["id"]: found["n"] for found in stored(path)} == left
    assert len(stored(path)) == len(left)


@pytest.mark.parametrize("rows", [{"where": [("n", "=", 9)]}, {"keys": [9]}], ids=str)
def test_a_delete_that_found_nothing_deletes_a_row_that_comes(
    path: Path, between: Callable[..., None], rows: dict[str, Any]
) -> None:
    """A delete that only records its batch id looks into fresh files all the same."""
    _three(path)
    between(lambda: tx.write(table({"id": 9, "n": 9}), path, mode="append"))
    result = tx.Table(path).delete(**rows, batch_id="b")
    assert (result.version, result.attempts, result.rows_deleted) == (3, 2, 1)
    assert {found["id"] for found in stored(path)} == {1, 2, 3}


def test_the_same_delete_twice_at_once(path: Path, between: Callable[..., None]) -> None:
    """Of two deletes with one batch id one is applied, and the other is told so; its table moves to what there is."""
    _three(path)
    between(lambda: tx.Table(path).delete(keys=1, batch_id="b"))
    opened = tx.Table(path)
    result = opened.delete(keys=1, batch_id="b")
    assert (result.already_committed, result.version, opened.version) == (True, 2, 2)
    assert tx.Table(path).version == 2


def test_a_delete_beside_a_new_column(path: Path, between: Callable[..., None]) -> None:
    """A change of the columns means planning again: rewritten files have the new column, and no value is lost."""
    _three(path)
    more = table({"id": 2, "n": 2, "more": "x"})
    between(lambda: tx.write(more, path, mode="upsert", schema_mode="merge"))
    result = tx.Table(path).delete(keys=1)
    assert (result.version, result.attempts) == (3, 2)
    assert bag(stored(path)) == bag([{"id": 2, "n": 2, "more": "x"}, {"id": 3, "n": 3, "more": None}])


@pytest.mark.parametrize("rows", [{"where": [("id", "=", 1)]}, {"keys": [1]}], ids=str)
def test_a_delete_beside_a_compaction(path: Path, between: Callable[..., None], rows: dict[str, Any]) -> None:
    """The row has moved to another file, and is deleted there; that takes none of the delete's patience."""
    _small(path)
    between(lambda: tx.Table(path).compact())
    result = tx.Table(path).delete(**rows, timeout=0)
    assert (result.version, result.attempts, result.rows_deleted) == (3, 2, 1)
    assert {row["id"] for row in stored(path)} == {0, 10, 11}


def test_a_delete_without_patience_gives_up(path: Path, between: Callable[..., None]) -> None:
    """It says which version won; no row is deleted, and nothing that it staged stays."""
    _three(path)
    between(lambda: tx.write(table({"id": 2, "n": 7}), path, mode="upsert"))
    with pytest.raises(CommitConflictError, match=r"delete on .* version 2") as caught:
        tx.Table(path).delete(keys=1, timeout=0)
    assert (caught.value.version, caught.value.committed) == (2, "no")
    assert {row["id"]: row["n"] for row in stored(path)} == {1: 1, 2: 7, 3: 3}
    live = {Path(file).name for number in range(3) for file in tx.Table(path, version=number).files()}
    assert {Path(file).name for file in _data(path)} == live


def test_a_rewritten_file_keeps_its_place_once_a_key_may_be_there_twice(
    path: Path, between: Callable[..., None]
) -> None:
    """A delete that loses to an append of a known key plans again: the newer row of the key stays behind the older."""
    tx.write(table({"id": 1, "n": "old"}, {"id": 2, "n": "x"}), path, mode="upsert", keys=["id"])
    between(lambda: tx.write(table({"id": 1, "n": "new"}), path, mode="append"))
    result = tx.Table(path).delete([("id", "==", 2)])
    assert (result.rows_deleted, result.attempts) == (1, 2)
    assert stored(path) == [{"id": 1, "n": "old"}, {"id": 1, "n": "new"}]


def test_a_vacuum_that_takes_a_staged_vector_is_no_damage(
    path: Path, between: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vector whose file a vacuum deletes while it is united with another's is written again, from what was marked."""
    monkeypatch.setattr(commit, "LOCK_SECONDS", 0)
    properties = {"update_strategy": "merge_on_read", "vacuum_grace": "0"}
    tx.write(table(*[{"id": n} for n in range(8)]), path, mode="upsert", keys=["id"], properties=properties)
    tx.Table(path).delete(keys=[7])
    read = MarkedRows.of

    def vacuumed(*given: Any) -> Any:
        monkeypatch.setattr(MarkedRows, "of", read)
        assert tx.Table(path).vacuum("0", force=True).committed
        return read(*given)

    def theirs() -> tx.WriteResult:
        done = tx.Table(path).delete(keys=[2])
        monkeypatch.setattr(MarkedRows, "of", vacuumed)
        return done

    between(theirs)
    assert tx.Table(path).delete(keys=[1]).rows_deleted == 1
    assert [found["id"] for found in stored(path)] == [0, 3, 4, 5, 6]
