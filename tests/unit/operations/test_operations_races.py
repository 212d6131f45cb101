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
from txfiles.errors import DuplicateKeyError
from txfiles.log import commit

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
