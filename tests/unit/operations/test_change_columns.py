"""Columns that are renamed, dropped, moved and widened without touching a file, against a plain model of rows.

The world is small and searched in full: each order of up to three changes, with a file written before the first, and
after each of them by another kind of write; then every version is read.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from tests.model import bag
from txfiles.core import codec, names
from txfiles.core.manifest import COLUMN_MAPPING
from txfiles.errors import InputError, NeedsLiveViewError, OptionError, SchemaMismatchError

Row = dict[str, Any]
START = pa.schema([("k", pa.int64()), ("p", pa.string()), ("a", pa.int8()), ("b", pa.string())])


@dataclass(frozen=True)
class World:
    """What the table is, as a plain model has it.

    Attributes:
        rows: by key.
        types: of its columns, in order.
        key: what the key is called now.
        part: what the partition column is called now.
        fresh: the number of the next new value.
    """

    rows: dict[int, Row] = field(default_factory=dict)
    types: dict[str, pa.DataType] = field(default_factory=lambda: {f.name: f.type for f in START})
    key: str = "k"
    part: str = "p"
    fresh: int = 1

    def renamed(self, old: str, new: str) -> World:
        """With another name for a column."""
        found = replace(
            self,
            rows={key: {new if n == old else n: value for n, value in row.items()} for key, row in self.rows.items()},
            types={new if n == old else n: t for n, t in self.types.items()},
        )
        return replace(found, key=new if self.key == old else self.key, part=new if self.part == old else self.part)

    def dropped(self, name: str) -> World:
        """Without a column."""
        return replace(
            self,
            rows={key: {n: value for n, value in row.items() if n != name} for key, row in self.rows.items()},
            types={n: t for n, t in self.types.items() if n != name},
        )

    def added(self, name: str, t: pa.DataType) -> World:
        """With one column more, which is null so far."""
        return replace(
            self,
            rows={key: {**row, name: None} for key, row in self.rows.items()},
            types={**self.types, name: t},
        )

    def moved(self, order: Sequence[str]) -> World:
        """With its columns in another order."""
        return replace(self, types={name: self.types[name] for name in order})

    def row(self, key: int) -> Row:
        """A row with new values."""
        made: Row = {}
        for name, t in self.types.items():
            if name == self.key:
                made[name] = key
            elif name == self.part:
                made[name] = "xy"[key % 2]
            else:
                made[name] = str(self.fresh) if pa.types.is_string(t) else self.fresh
        return made

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""
        return pa.schema(list(self.types.items()))


Step = Callable[[tx.Table, World], World]


def rename(old: str, new: str) -> Step:
    """A step that renames a column, if it is there."""

    def step(table: tx.Table, world: World) -> World:
        if old not in world.types or new in world.types:
            return world
        table.rename_column(old, new)
        return world.renamed(old, new)

    return step


def rename_key(table: tx.Table, world: World) -> World:
    """A step that renames the key, and the partition column with it."""
    for old in (world.key, world.part):
        table.rename_column(old, old + "2")
        world = world.renamed(old, old + "2")
    return world


def drop(table: tx.Table, world: World) -> World:
    """A step that drops `a`, if it is there."""
    if "a" not in world.types:
        return world
    table.drop_column("a")
    return world.dropped("a")


def reverse(table: tx.Table, world: World) -> World:
    """A step that puts the columns in reverse order."""
    order = list(world.types)[::-1]
    table.reorder_columns(order)
    return world.moved(order)


def widen(table: tx.Table, world: World) -> World:
    """A step that widens `a` and the key, as far as they are narrow."""
    if world.types.get("a") != pa.int8():
        return world
    table.widen_column("a", "int32")
    return replace(world, types={**world.types, "a": pa.int32()})


def add(table: tx.Table, world: World) -> World:
    """A step that adds `a`, which an earlier step may have dropped or renamed, or else `c`, by a merge."""
    name = "c" if "a" in world.types else "a"
    if name in world.types:
        return world
    world = world.added(name, pa.int8())
    given = pa.Table.from_pylist([world.row(90)], world.schema)
    tx.write(given, table.path, mode="upsert", schema_mode="merge")
    table.refresh()
    return replace(world, rows={**world.rows, 90: world.row(90)}, fresh=world.fresh + 1)


def swap(table: tx.Table, world: World) -> World:
    """A step that gives two columns of one type each other's names: who reads by name sees a wrong value."""
    if "b" not in world.types:
        return world
    if "d" not in world.types:
        world = world.added("d", pa.string())
        tx.write(pa.Table.from_pylist([], world.schema), table.path, mode="append", schema_mode="merge")
        table.refresh()
    for old, new in (("b", "x"), ("d", "b"), ("x", "d")):
        table.rename_column(old, new)
        world = world.renamed(old, new)
    return world


STEPS: dict[str, Step] = {
    "rename": rename("a", "e"),
    "rename back": rename("e", "a"),
    "rename key": rename_key,
    "drop": drop,
    "reverse": reverse,
    "widen": widen,
    "add": add,
    "swap": swap,
}
SEQUENCES = [
    *itertools.chain.from_iterable(itertools.permutations(STEPS, n) for n in (1, 2)),
    ("drop", "add", "reverse"),
    ("drop", "add", "drop"),
    ("rename", "add", "drop"),
    ("rename", "add", "swap"),
    ("widen", "drop", "add"),
    ("swap", "reverse", "rename key"),
    ("add", "swap", "drop"),
    ("rename", "rename back", "widen"),
]
MODES = ("upsert", "append_once", "append", "overwrite")


def write(path: Path, world: World, mode: str) -> World:
    """One write under the current columns: a row changes, one is new, one is as it is."""
    if mode == "append":
        news = {key: world.row(key) for key in (max(world.rows, default=0) + 1,)}
    else:
        standing = {key: row for key, row in world.rows.items() if key == 2}
        news = {1: world.row(1), **standing, max(world.rows, default=0) + 1: world.row(max(world.rows, default=0) + 1)}
    keys = {"keys": [world.key]} if mode in ("upsert", "append_once") else {}
    where = {"replace_where": [(world.key, "<=", 1)]} if mode == "overwrite" and world.rows else {}
    if where:
        news = {1: news[1]}
    given = pa.Table.from_pylist(list(news.values()), world.schema)
    tx.write(given, path, mode=mode, **keys, **where)
    if mode in ("upsert", "append_once"):
        assert not tx.write(given, path, mode=mode, **keys).committed  # also rows in older files compare as equal
    kept = {key: row for key, row in world.rows.items() if key > 1} if where else world.rows
    rows = {**news, **kept} if mode == "append_once" else {**kept, **news}
    return replace(world, rows=rows, fresh=world.fresh + 1)


def check(table: tx.Table, world: World) -> None:
    """A version is what the model says: its rows, its columns and their order, filters and look-ups."""
    found = table.to_arrow()
    assert table.schema == world.schema
    assert found.schema == world.schema
    assert bag(found.to_pylist()) == bag(list(world.rows.values()))
    for name in world.types:
        for value in {row[name] for row in world.rows.values()} - {None}:
            wanted = [row for row in world.rows.values() if row[name] == value]
            assert bag(table.to_arrow(filter=[(name, "=", value)]).to_pylist()) == bag(wanted)
    if world.rows:
        assert bag(table.lookup([1]).to_pylist()) == bag([row for key, row in world.rows.items() if key == 1])
    assert bag(table.dataset().to_table().select(world.schema.names).to_pylist()) == bag(list(world.rows.values()))


def worlds() -> Iterator[tuple[str, str, bool, tuple[str, ...]]]:
    """Each sequence with formats, strategies and partitions in turn, so that each pair of them meets each step."""
    settings = itertools.product(("parquet", "csv"), ("copy_on_write", "merge_on_read"), (False, True))
    for sequence, (format_name, strategy, partitioned) in zip(SEQUENCES, itertools.cycle(settings), strict=False):
        yield format_name, strategy, partitioned, sequence
        if len(sequence) != 2:
            yield {"csv": "parquet", "parquet": "csv"}[format_name], strategy, not partitioned, sequence


@pytest.mark.parametrize(("format_name", "strategy", "partitioned", "sequence"), list(worlds()))
def test_every_file_under_every_schema(
    tmp_path: Path, format_name: str, strategy: str, partitioned: bool, sequence: tuple[str, ...]
) -> None:
    """Files of before, between and after changes of columns give the same rows as a table that was always that way."""
    path = tmp_path / "table"
    world = World()
    first = {key: world.row(key) for key in (1, 2, 3)}
    tx.write(
        pa.Table.from_pylist(list(first.values()), START),
        path,
        mode="upsert",
        keys=["k"],
        format=format_name,
        partition_by=["p"] if partitioned else None,
        properties={"update_strategy": strategy, "checkpoint_interval": 2, "key_index": "on"},
    )
    world = replace(world, rows=first, fresh=2)
    seen = {0: world}
    modes = itertools.cycle(MODES[len("".join(sequence)) % 4 :] + MODES[: len("".join(sequence)) % 4])
    for name in sequence:
        table = tx.Table(path)
        world = STEPS[name](table, world)
        seen[table.version] = world
        world = write(path, world, next(modes))
        seen[tx.Table(path).version] = world
    for version, known in seen.items():
        check(tx.Table(path, version=version), known)
    table = tx.Table(path)
    table.compact(plain=True)
    assert table.compact(plain=True).groups == 0
    check(table, world)
    assert len(table.files()) == table.file_table().num_rows  # plain again
    assert bag(pickle.loads(pickle.dumps(table)).to_arrow().to_pylist()) == bag(list(world.rows.values()))
    assert table.delete(keys=[1]).rows_deleted == (1 in world.rows)


def made(path: Path, rows: Any = None, **options: Any) -> tx.Table:
    """A table of three columns and a key."""
    rows = {"id": [1, 2], "n": [1, 2], "s": ["a", "b"], "at": [1, 2]} if rows is None else rows
    tx.write(pa.table(rows), path, **{"mode": "upsert", "keys": ["id"], "timestamp_col": "at", **options})
    return tx.Table(path)


def test_which_changes_older_releases_refuse(tmp_path: Path) -> None:
    """A rename, drop or reorder requires `column_mapping`, a widening does not; once there, it stays."""
    changes: dict[str, Callable[[tx.Table], None]] = {
        "rename": lambda table: table.rename_column("n", "m"),
        "drop": lambda table: table.drop_column("s"),
        "reorder": lambda table: table.reorder_columns(["s", "n", "id", "at"]),
        "widen": lambda table: table.widen_column("n", "float64"),
    }
    rows = {"id": [1], "n": pa.array([1], pa.int32()), "s": ["a"], "at": [1]}
    for name, change in changes.items():
        table = made(tmp_path / name, rows)
        change(table)
        manifest = codec.decode((tmp_path / name / names.manifest(1)).read_bytes(), version=1, where="here")
        assert manifest.table is not None
        assert manifest.table.required_features == (() if name == "widen" else (COLUMN_MAPPING,))
        assert manifest.operation.name == name
        assert (manifest.add, manifest.remove, table.version) == ((), (), 1)
        assert table.history()[0].columns == manifest.operation.columns
    table = tx.Table(tmp_path / "rename")
    tx.write(table.to_arrow(), table.path, mode="overwrite")
    table.refresh().set(row_group_rows=7)
    assert table.to_arrow().column_names == ["id", "m", "s", "at"]


REFUSED: dict[str, tuple[Callable[[tx.Table], None], type[Exception], str]] = {
    "no such column": (lambda table: table.rename_column("nn", "m"), InputError, "did you mean 'n'"),
    "a name that is taken": (lambda table: table.rename_column("n", "s"), SchemaMismatchError, "has a column 's'"),
    "a name that differs in case": (lambda table: table.rename_column("n", "S"), SchemaMismatchError, "only in case"),
    "no name": (lambda table: table.rename_column("n", ""), InputError, "not a name"),
    "a name that cannot be stored": (lambda table: table.rename_column("n", "\udc80"), InputError, "not a name"),
    "a name that is none": (lambda table: table.rename_column("n", 1), OptionError, "not the name"),  # type: ignore[arg-type]
    "a key": (lambda table: table.drop_column("id"), SchemaMismatchError, "one of the table's keys"),
    "the timestamp": (lambda table: table.drop_column("at"), SchemaMismatchError, "timestamp_col"),
    "a partial order": (lambda table: table.reorder_columns(["id"]), InputError, "lacks 'n', 's'"),
    "an order with a name twice": (
        lambda table: table.reorder_columns(["id", "n", "s", "at", "n"]),
        InputError,
        "'n' twice",
    ),
    "an order that is a text": (lambda table: table.reorder_columns("id"), OptionError, "list of column names"),
    "a narrower type": (lambda table: table.widen_column("n", "int32"), SchemaMismatchError, "does not widen to int32"),
    "another type": (lambda table: table.widen_column("n", "string"), SchemaMismatchError, "does not widen"),
    "a word that is no type": (lambda table: table.widen_column("n", "integr"), OptionError, "the type for column"),
}


@pytest.mark.parametrize(("change", "error", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(tmp_path: Path, change: Callable[[tx.Table], None], error: type[Exception], told: str) -> None:
    """A change that does not fit is an error that says why and what to do; nothing is committed."""
    table = made(tmp_path / "table")
    with pytest.raises(error, match=told) as caught:
        change(table)
    assert caught.value.hint  # type: ignore[attr-defined]
    assert tx.Table(table.path).version == 0
    assert table.to_arrow().num_rows == 2


def test_a_change_of_nothing_is_no_commit(tmp_path: Path) -> None:
    """The name, order or type that is there already commits nothing."""
    table = made(tmp_path / "table")
    table.rename_column("n", "n")
    table.reorder_columns(["id", "n", "s", "at"])
    table.widen_column("n", pa.int64())
    assert table.version == tx.Table(table.path).version == 0


def test_the_ways_out_of_a_refused_drop(tmp_path: Path) -> None:
    """After other keys and another timestamp_col are recorded, as the hints say, the columns can be dropped."""
    table = made(tmp_path / "table")
    tx.write(table.to_arrow(), table.path, mode="overwrite", keys=["s"], rekey=True, timestamp_col="n")
    table.refresh()
    table.drop_column("id")
    table.drop_column("at")
    assert bag(table.to_arrow().to_pylist()) == bag([{"n": 1, "s": "a"}, {"n": 2, "s": "b"}])


def test_the_last_columns(tmp_path: Path) -> None:
    """A partition column is not dropped, nor the last one that is in the files."""
    tx.write(pa.table({"p": ["x"], "n": [1]}), tmp_path / "t", mode="append", partition_by=["p"])
    table = tx.Table(tmp_path / "t")
    for name, told in (("p", "partition column"), ("n", "the only one")):
        with pytest.raises(SchemaMismatchError, match=told):
            table.drop_column(name)
    assert table.to_arrow().to_pylist() == [{"p": "x", "n": 1}]


def test_roles_go_with_the_column(tmp_path: Path) -> None:
    """A renamed key, timestamp_col or partition column keeps its role, also for rows that stand."""
    table = made(tmp_path / "table", partition_by=["s"])
    for old, new in (("id", "key"), ("at", "time"), ("s", "part")):
        table.rename_column(old, new)
    assert (table.keys, table.timestamp_col, table.partition_by) == (("key",), "time", ("part",))
    given = pa.table({"key": [1, 2], "n": [7, 7], "part": ["a", "b"], "time": [0, 3]})
    result = tx.write(given, table.path, mode="upsert")
    assert (result.rows_stale, result.rows_updated) == (1, 1)
    assert {row["key"]: row["n"] for row in table.refresh().to_arrow().to_pylist()} == {1: 1, 2: 7}


def test_a_partition_column_whose_folders_would_be_too_long(tmp_path: Path) -> None:
    """A rename after which a file could not be written anew is refused."""
    rows = {"p": ["x" * 200], "n": [1]}
    tx.write(pa.table(rows), tmp_path / "t", mode="append", partition_by=["p"])
    with pytest.raises(InputError, match="bytes long"):
        tx.Table(tmp_path / "t").rename_column("p", "p" * 100)
    assert tx.Table(tmp_path / "t").version == 0


def test_a_dataset_takes_only_few_bytes_of_older_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow finds columns by name: beyond a limit, files of before a rename are refused, with the way out."""
    table = made(tmp_path / "table")
    table.rename_column("n", "m")
    assert bag(table.dataset().to_table().to_pylist()) == bag(table.to_arrow().to_pylist())
    monkeypatch.setattr("txfiles.reading.scan.HELD_IN_MEMORY_BYTES", 10)
    with pytest.raises(NeedsLiveViewError, match="names of before") as caught:
        table.dataset()
    assert "compact(plain=True)" in (caught.value.hint or "")
    table.compact(plain=True)
    assert bag(table.dataset().to_table().to_pylist()) == bag(table.to_arrow().to_pylist())
    tx.write(pa.table({"new": [1]}), table.path, mode="append", schema_mode="merge")
    assert table.refresh().dataset().to_table().num_rows == 3  # a column that is added misleads nobody


def test_an_old_name(tmp_path: Path) -> None:
    """A batch under the old names is refused; the error names both."""
    table = made(tmp_path / "table")
    table.rename_column("n", "m")
    given = pa.table({"id": [3], "n": [1], "s": ["c"], "at": [3]})
    with pytest.raises(SchemaMismatchError, match="lacks 'm'; the table has no 'n'"):
        tx.write(given, table.path, mode="upsert")
    assert tx.Table(table.path).version == 1


def test_a_marker_of_inference_stays_with_its_column(tmp_path: Path) -> None:
    """A column inferred from CSV text is held to its rule under its new name, and no longer once it is widened."""
    (tmp_path / "a.csv").write_text("id,n\n1,10.10\n")
    tx.write(tmp_path / "a.csv", tmp_path / "t", mode="append")
    table = tx.Table(tmp_path / "t")
    table.rename_column("n", "price")
    (tmp_path / "b.csv").write_text("id,price\n2,1.005\n")
    with pytest.raises(InputError, match=r"1\.005"):
        tx.write(tmp_path / "b.csv", table.path, mode="append")
    table.widen_column("price", "decimal256(60, 3)")
    tx.write(tmp_path / "b.csv", table.path, mode="append")
    assert [str(row["price"]) for row in table.refresh().to_arrow().to_pylist()] == ["10.100", "1.005"]
