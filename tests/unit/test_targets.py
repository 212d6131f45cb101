"""The seam between the public calls and a kind of table: a second target fits, and what it lacks is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pyarrow as pa
import pytest

import txfiles as tx
from txfiles import options, targets
from txfiles.errors import OptionError, TableNotFoundError, UnsupportedVerbError
from txfiles.results import Plan, Resolution, WriteResult
from txfiles.targets.files.target import FILES
from txfiles.targets.protocol import Capabilities, TableState

ROWS = pa.table({"id": [1, 2], "v": ["a", "b"]})


@dataclass(frozen=True)
class Kept:
    """An open table of the other target: rows in a dict of this test."""

    place: Any
    rows: tuple[pa.Table, ...]

    @property
    def path(self):
        return self.place.path

    @property
    def state(self):
        return TableState(
            version=len(self.rows) - 1,
            format="shelf",
            schema=self.rows[-1].schema,
            keys=(),
            timestamp_col=None,
            partition_by=(),
            properties={},
        )

    @property
    def identity(self):
        return self.path

    def row_count(self):
        return sum(one.num_rows for one in self.rows)

    def to_arrow(self, columns, filter):
        return pa.concat_tables(self.rows).select(columns or self.rows[-1].schema.names)

    def newest(self):
        return replace(self, rows=tuple(Shelf.tables[self.path]))


class Shelf:
    """A target that knows appends only, and no verb but `refresh`."""

    name = "shelf"
    capabilities = Capabilities(
        formats=("shelf",), modes=frozenset({"append"}), options=frozenset({"timeout"}), verbs=frozenset({"refresh"})
    )
    tables: ClassVar[dict[str, list[pa.Table]]] = {}

    def claims(self, place):
        return str(place.path).startswith("shelf://")

    def write(self, place, request):
        found = self.tables.setdefault(str(place.path), [])
        found.append(request.source.read(None).table)
        return WriteResult(version=len(found) - 1, committed=True, already_committed=False, mode=request.mode)

    def plan(self, place, request):
        return Plan(version=None, committed=True, already_committed=False, mode=request.mode)

    def open(self, place):
        if not self.exists(place):
            raise TableNotFoundError("nothing on the shelf", hint="put something there")
        return Kept(place, tuple(self.tables[place.path]))

    def exists(self, place):
        return place.path in self.tables

    def resolve(self, place, commit_id):
        return Resolution(committed=False, version=None)


@pytest.fixture
def shelf(monkeypatch):
    monkeypatch.setattr(Shelf, "tables", {})
    monkeypatch.setattr(targets, "TARGETS", (FILES, Shelf()))
    return Shelf.tables


def test_another_target_serves_the_same_calls(shelf):
    """`write`, `plan`, `exists`, `resolve` and `Table` reach a second target, by format or by place."""
    assert not tx.exists("shelf://a")
    assert tx.plan(ROWS, "shelf://a", mode="append", format="shelf").committed
    assert tx.write(ROWS, "shelf://a", mode="append", format="shelf").version == 0
    table = tx.Table("shelf://a")
    assert tx.write(ROWS, "shelf://a", mode="append").version == 1
    assert tx.exists("shelf://a")
    assert not tx.resolve("shelf://a", "0" * 32).committed
    assert (table.format, table.version, table.row_count) == ("shelf", 0, 2)
    assert table.refresh().to_arrow(["id"])["id"].to_pylist() == [1, 2, 1, 2]


VERBS = {
    "at": lambda table: table.at(version=0),
    "compact": lambda table: table.compact(),
    "dataset": lambda table: table.dataset(),
    "delete": lambda table: table.delete([("id", "=", 1)]),
    "detach": lambda table: table.detach(),
    "drop_column": lambda table: table.drop_column("id"),
    "diff": lambda table: table.diff(0),
    "file_table": lambda table: table.file_table(),
    "files": lambda table: table.files(),
    "history": lambda table: table.history(),
    "index": lambda table: table.index(),
    "lookup": lambda table: table.lookup([1]),
    "rename_column": lambda table: table.rename_column("id", "key"),
    "reorder_columns": lambda table: table.reorder_columns(["id"]),
    "restore": lambda table: table.restore(version=0),
    "set": lambda table: table.set(compression="zstd"),
    "to_spark": lambda table: table.to_spark(None),
    "transaction": lambda table: table.transaction(),
    "vacuum": lambda table: table.vacuum(),
    "verify": lambda table: table.verify(),
    "widen_column": lambda table: table.widen_column("id", "int64"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_a_target_lacks_says_who_has_it(verb, shelf):
    """An unsupported verb is an error that names the formats whose tables have it."""
    tx.write(ROWS, "shelf://a", mode="append")
    with pytest.raises(UnsupportedVerbError, match=f"shelf table, which does not support '{verb}'") as raised:
        VERBS[verb](tx.Table("shelf://a"))
    assert raised.value.hint == "tables of format 'parquet' or 'csv' support it"
    assert (raised.value.verb, raised.value.kind) == (verb, "unsupported-verb")
    assert len(shelf["shelf://a"]) == 1


def test_each_verb_that_needs_a_capability_is_one_of_files():
    """Files have every verb that `Table` asks for."""
    assert FILES.capabilities.verbs == {*VERBS, "adopt", "refresh"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mode": "upsert", "keys": "id"}, "shelf tables have no mode 'upsert'"),
        ({"mode": "append", "partition_by": ["v"]}, "shelf tables do not take 'partition_by'"),
        ({"mode": "append", "batch_id": "x"}, "shelf tables do not take 'batch_id'"),
    ],
)
def test_what_a_target_cannot_do_is_refused_before_any_io(given, told, shelf):
    """A mode or option beyond a target's capabilities is refused before its data is read or the target is called."""

    def chunks():
        raise AssertionError("the data was read")
        yield ROWS

    with pytest.raises(OptionError, match=told) as raised:
        tx.write(chunks(), "shelf://a", **given)
    assert raised.value.hint == "tables of format 'parquet' or 'csv' support it"
    assert shelf == {}


def test_formats_are_those_of_the_targets(tmp_path, shelf):
    """An unknown format lists what there is; the list is the targets' own."""
    with pytest.raises(OptionError, match="format must be 'parquet', 'csv' or 'shelf', not 'orc'"):
        tx.write(ROWS, tmp_path / "t", mode="append", format="orc")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("given", ["iceberg", "hudi", "orc", 7, ""])
def test_an_unknown_format_says_what_there_is(given, tmp_path):
    """What is not a format of this release is refused, without promises."""
    with pytest.raises(OptionError, match=r"^format must be 'parquet', 'csv', 'sql' or 'delta', not "):
        tx.write(ROWS, tmp_path / "t", mode="append", format=given)
    assert not (tmp_path / "t").exists()


def test_the_shell_offers_every_target():
    """The formats in the options' facts are those of the targets; those of files take every option and mode."""
    assert set(options.FORMATS) == {name for one in targets.TARGETS for name in one.capabilities.formats}
    assert FILES.capabilities.options == set(options.DEFAULTS)
    assert FILES.capabilities.modes == set(options.MODES)


def test_home_is_expanded_in_table_paths(tmp_path, monkeypatch):
    """`~` in a table's path is the home folder, in each call; a folder of that name is written `./~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tx.write(ROWS, "~/t", mode="append")
    assert (tmp_path / "t/_txfiles").is_dir()
    assert tx.exists("~/t")
    assert tx.Table("~/t").path == str(tmp_path / "t")
    tx.write(ROWS, "./~", mode="append")
    assert (tmp_path / "~/_txfiles").is_dir()
