"""What is promised of folders alone: where a table may be made, what stands in it, and what is left out of a search."""

from __future__ import annotations

import csv
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import txfiles as tx
from tests.model import bag

FORMATS = pytest.mark.parametrize("format_name", ["parquet", "csv"])


def rows(*ids: int, v: str = "a") -> pa.Table:
    """Rows with these keys."""
    return pa.table({"id": pa.array(ids, pa.int64()), "v": pa.array([v] * len(ids), pa.string())})


# ---- creation


LETTERS = ["a", "A", "ß", "ss", "SS", "ſs", "İ", "i\u0307", "I", "i", "ı", "σ", "Σ", "ς", "k", "\u212a"]
NAMES = st.lists(st.sampled_from(LETTERS), min_size=1, max_size=3, unique=True)


@FORMATS
@settings(max_examples=25)
@given(first=NAMES, second=NAMES, mode=st.sampled_from(["merge", "overwrite"]))
def test_no_write_brings_names_that_differ_in_case_only(
    tmp_path_factory: pytest.TempPathFactory, format_name: str, first: list[str], second: list[str], mode: Any
) -> None:
    """Whatever alphabet: two names of one case folding are never in one table, and nothing is written for them."""
    path = tmp_path_factory.mktemp("case") / "t"
    folded: list[str] = []
    for version, names in enumerate((first, second)):
        batch, before = pa.table({name: [1] for name in names}), tx.Table(path).schema.names if version else []
        after = list(dict.fromkeys([*before, *names])) if mode == "merge" else names
        how: Any = {"schema_mode": mode, "mode": "append" if mode == "merge" else "overwrite"} if version else {}
        folded = [name.casefold() for name in after]
        if len(set(folded)) == len(folded):
            tx.write(batch, path, **{"mode": "append", "format": format_name, **how})
            assert tx.Table(path).schema.names == after
            continue
        with pytest.raises(tx.SchemaMismatchError, match="differ only in case"):
            tx.write(batch, path, **{"mode": "append", "format": format_name, **how})
        assert (tx.Table(path).schema.names if version else tx.exists(path)) == (before if version else False)
        return


def test_fields_of_structs_that_differ_in_case_only(tmp_path: Path) -> None:
    """Fields are held to the rule of columns, and a merge of structs too; the property lets them be."""
    a, both = pa.table({"s": [[{"k": 1}]]}), pa.table({"s": [[{"k": 1, "\u212a": 2}]]})
    where = "fields of 's\\[\\]' differ only in case: 'k' and '\u212a'"
    with pytest.raises(tx.SchemaMismatchError, match=where):
        tx.write(both, tmp_path / "t", mode="append")
    assert not tx.exists(tmp_path / "t")
    tx.write(a, tmp_path / "t", mode="append")
    for batch in (both, both.set_column(0, "s", [[[{"\u212a": 2}]]])):
        with pytest.raises(tx.SchemaMismatchError, match=where):
            tx.write(batch, tmp_path / "t", mode="append", schema_mode="merge")
    assert tx.Table(tmp_path / "t").version == 0
    tx.write(both, tmp_path / "u", mode="append", properties={"case_sensitive_names": "true"})
    assert tx.Table(tmp_path / "u").to_arrow() == both


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("old.csv", "data files"),
        ("deep/er/part-0.parquet", "data files"),
        ("export.jsonl", "data files"),
        ("_delta_log/00000000000000000000.json", "a Delta table"),
        ("metadata/v1.metadata.json", "an Iceberg table"),
        (".hoodie/hoodie.properties", "a Hudi table"),
    ],
)
def test_a_folder_of_somebody_elses_data(tmp_path: Path, name: str, what: str) -> None:
    """A first write among somebody's data files is refused, with `adopt` as the hint; nothing is written."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("theirs")
    assert not tx.exists(tmp_path)
    for call in (tx.write, tx.plan):
        with pytest.raises(tx.FolderNotEmptyError, match=what) as caught:
            call(rows(1), tmp_path, mode="append")
        assert ("format='delta'" if "Delta" in what else "adopt") in (caught.value.hint or "")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / name]


@pytest.mark.parametrize(
    ("log", "what"),
    [
        ("metadata/00000-0a.metadata.json", "an Iceberg table"),
        ("metadata/v3.metadata.json", "an Iceberg table"),
        ("_delta_log/_last_checkpoint", "a Delta table"),
        (".hoodie/20260101.commit", "a Hudi table"),
    ],
)
def test_a_foreign_table_is_named_wherever_its_data_lies(tmp_path: Path, log: str, what: str) -> None:
    """What kind of table a folder is comes before that it has data files, in whatever order they are listed."""
    for name in ("%20/data.parquet", "data/a.parquet", "metadata/0-m0.avro", log):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("theirs")
    with pytest.raises(tx.FolderNotEmptyError, match=what) as caught:
        tx.write(rows(1), tmp_path, mode="append")
    assert caught.value.file == log
    with pytest.raises(tx.TableNotFoundError, match=what):
        tx.Table(tmp_path)
    assert not (tmp_path / "_txfiles").exists()


@pytest.mark.parametrize(
    "name", ["metadata/README.md", "metadata/owner.txt", "deep/metadata/notes.metadata", "hoodie/x"]
)
def test_a_folder_called_metadata_is_not_an_iceberg_table(tmp_path: Path, name: str) -> None:
    """Only the files of another log tell that it is one, never a folder's name alone."""
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("ours")
    assert tx.plan(rows(1), tmp_path, mode="append").committed
    assert tx.write(rows(1), tmp_path, mode="append").version == 0


def test_other_files_do_no_harm(tmp_path: Path) -> None:
    """A README, a script or an empty folder is no data."""
    (tmp_path / "README.md").write_text("ours")
    (tmp_path / "empty").mkdir()
    assert tx.write(rows(1), tmp_path, mode="append").version == 0


def test_exists(tmp_path: Path) -> None:
    """Nothing, an empty folder, an interrupted creation: no table; a file is an error; a write goes on with the id."""
    path = tmp_path / "table"
    assert not tx.exists(path)
    (path / "_txfiles").mkdir(parents=True)
    assert not tx.exists(path)
    (path / "_txfiles" / "table.json").write_text('{"format_version": 1, "table_id": "0123456789abcdef"}')
    assert not tx.exists(path)
    with pytest.raises(tx.TableNotFoundError):
        tx.Table(path)
    tx.write(rows(1), path, mode="append")
    assert tx.exists(path)
    assert "0123456789abcdef" in tx.Table(path).files()[0]
    for no_folder in (tmp_path / "file", tmp_path / "file" / "below"):
        (tmp_path / "file").write_text("")
        with pytest.raises(tx.InputError, match="is not a folder"):
            tx.exists(no_folder)


@FORMATS
def test_a_format_is_said_once(tmp_path: Path, format_name: str) -> None:
    """A table keeps the format of its creation, parquet where none is said; another one is an error."""
    tx.write(rows(1), tmp_path / "said", mode="append", format=format_name)
    tx.write(rows(2), tmp_path / "said", mode="append")
    assert {Path(file).suffix for file in tx.Table(tmp_path / "said").files()} == {f".{format_name}"}
    other = {"parquet": "csv", "csv": "parquet"}[format_name]
    with pytest.raises(tx.OptionError, match="format"):
        tx.write(rows(3), tmp_path / "said", mode="append", format=other)
    tx.write(rows(1), tmp_path / "unsaid", mode="append")
    assert tx.Table(tmp_path / "unsaid").format == "parquet"


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    """Where the second file of a write cannot be written, the first is removed again."""
    times = pa.array([0, 2**40], pa.timestamp("s"))
    tx.write(rows(1), tmp_path, mode="append", format="csv")
    before = sorted(p for p in tmp_path.rglob("*"))
    table = pa.table({"part": ["a", "b"], "t": times})
    with pytest.raises(tx.LossyCastError, match="'t'"):
        tx.write(table, tmp_path, mode="overwrite", schema_mode="overwrite", properties={})
    with pytest.raises(tx.LossyCastError, match="'t'"):
        tx.write(table, tmp_path / "new", mode="append", format="csv", partition_by="part")
    assert [p for p in tmp_path.rglob("*.csv") if p not in before] == []
    assert not tx.exists(tmp_path / "new")


def test_progress_is_told(tmp_path: Path) -> None:
    """Long work calls back, stage by stage; a callback that raises ends the write, and nothing of it stays."""
    tx.write(rows(*range(9)), tmp_path, mode="upsert", keys=["id"])
    before = tx.Table(tmp_path).files()
    told: list[tx.Progress] = []

    def fail_when_rewriting(step: tx.Progress) -> None:
        told.append(step)
        if step.stage == "rewriting files":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tx.write(rows(*range(9), v="b"), tmp_path, mode="upsert", progress=fail_when_rewriting)
    assert [(step.stage, step.done, step.total) for step in told] == [
        ("looking for keys", 1, 1),
        ("rewriting files", 1, 1),
    ]
    assert (tx.Table(tmp_path).version, tx.Table(tmp_path).files()) == (0, before)
    assert [str(path) for path in tmp_path.glob("part-*")] == before


# ---- what stands there


@FORMATS
def test_files_of_a_partitioned_table(tmp_path: Path, format_name: str) -> None:
    """Partition columns stand in the path as Hive has them and in the manifest, not in the files."""
    values = ["x", "", None, "a/b=c", "%"]
    table = pa.table({"id": range(5), "part": values})
    tx.write(table, tmp_path, mode="append", format=format_name, partition_by=["part"])
    files = tx.Table(tmp_path).file_table().to_pylist()
    found = {tuple(file["partition"]): Path(file["path"]).parent.relative_to(tmp_path).as_posix() for file in files}
    default = "part=__HIVE_DEFAULT_PARTITION__"
    folders = ["part=x", default, default, "part=a%2Fb%3Dc", "part=%25"]
    assert found == {(value,): folder for value, folder in zip(values, folders, strict=True)}
    for file in files:
        names = pq.ParquetFile(file["path"]).schema_arrow.names if format_name == "parquet" else _header(file["path"])
        assert names == ["id"]


def _header(path: str) -> list[str]:
    with Path(path).open(newline="") as file:
        return next(csv.reader(file))


@FORMATS
def test_file_table(tmp_path: Path, format_name: str) -> None:
    """The live files with rows, bytes and ranges; `files` gives the same paths, absolute."""
    for ids in ((1, 2), (3,)):
        tx.write(rows(*ids), tmp_path, mode="append", format=format_name)
    table = tx.Table(tmp_path)
    listed = table.file_table().to_pylist()
    assert [file["path"] for file in listed] == table.files()
    assert all(Path(path).is_absolute() for path in table.files())
    assert [file["bytes"] for file in listed] == [Path(path).stat().st_size for path in table.files()]
    assert [(f["rows"], f["added_version"], f["id.min"], f["id.max"], f["v.nulls"]) for f in listed] == [
        (2, 0, 1, 2, 0),
        (1, 1, 3, 3, 0),
    ]


@FORMATS
def test_only_changed_files_are_rewritten(tmp_path: Path, format_name: str) -> None:
    """A file is a candidate where some key of the batch lies in its range; only where a row changes is it rewritten."""
    for ids in ((1, 5), (3, 9), (20, 21)):
        tx.write(rows(*ids), tmp_path, mode="append_once", keys=["id"], format=format_name)
    before = tx.Table(tmp_path).files()
    batch = pa.concat_tables([rows(4), rows(9), rows(5, v="new")])
    result = tx.write(batch, tmp_path, mode="upsert")
    assert (result.files_scanned, result.files_pruned) == (2, 1)
    assert (result.files_removed, result.files_added) == (1, 2)
    after = tx.Table(tmp_path).files()
    assert set(before) - set(after) == {before[0]}
    assert bag(tx.Table(tmp_path).to_arrow().to_pylist()) == bag(
        pa.concat_tables([rows(1, 3, 4, 9, 20, 21), rows(5, v="new")]).to_pylist()
    )


def test_what_was_inferred_is_told(tmp_path: Path) -> None:
    """A CSV input has the types that `schema=` says, then the table's, else inferred ones, which the result tells."""
    (tmp_path / "in.csv").write_text('id,code,n\n1,001,\n2,"",3\n')
    first = tx.write(tmp_path / "in.csv", tmp_path / "table", mode="append", schema={"id": "int32"})
    assert first.schema_inferred == pa.schema([("code", pa.string()), ("n", pa.int64())])
    assert tx.Table(tmp_path / "table").to_arrow().to_pylist() == [
        {"id": 1, "code": "001", "n": None},
        {"id": 2, "code": "", "n": 3},
    ]
    assert tx.write(tmp_path / "in.csv", tmp_path / "table", mode="append").schema_inferred is None
    (tmp_path / "more.csv").write_text("id,n,new\n3,4,1.5\n")
    merged = tx.write(tmp_path / "more.csv", tmp_path / "table", mode="append", schema_mode="merge")
    assert merged.schema_inferred == pa.schema([("new", pa.decimal128(38, 1))])


# ---- what is left out of a search

VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "i": (pa.int32(), [0, 1, -(2**31), 2**31 - 1]),
    "u": (pa.uint64(), [0, 2**63, 2**64 - 1]),
    "f": (pa.float64(), [0.0, -0.0, 1.5, float("nan"), float("inf"), float("-inf")]),
    "s": (pa.string(), ["", "a", "a\0", "\u00e9", "z" * 64, "z" * 70, "z" * 69 + "y", "\U0010ffff" * 20]),
    "b": (pa.binary(), [b"", b"a", b"\xff" * 64, b"\xff" * 70]),
    "d": (pa.date32(), [dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(9999, 1, 1)]),
    "t": (pa.timestamp("ns", "Europe/Oslo"), [0, 1, -(10**18)]),
    "c": (pa.decimal128(6, 2), [Decimal("-1.50"), Decimal("0.00"), Decimal("99.99")]),
    "o": (pa.bool_(), [True, False]),
}


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> pc.Expression:
    """Filters as Arrow has them, nested."""
    shape = draw(st.sampled_from(["leaf", "not", "and", "or"])) if depth else "leaf"
    if shape == "not":
        return ~draw(expressions(depth - 1))
    if shape != "leaf":
        left, right = draw(expressions(depth - 1)), draw(expressions(depth - 1))
        return left & right if shape == "and" else left | right
    name = draw(st.sampled_from([*VALUES]))
    kind, values = VALUES[name]
    field, value = pc.field(name), pa.scalar(draw(st.sampled_from(values)), kind)
    some = pa.array(draw(st.lists(st.sampled_from([*values, None]), max_size=2)), kind)
    leaves = (
        *(field == value, field != value, field < value, field <= value, field > value, field >= value),
        *(field.isin(some), ~field.isin(some), field.is_null(), field.is_valid(), field.is_null(nan_is_null=True)),
    )
    return draw(st.sampled_from(leaves))


@pytest.fixture(scope="module", params=["parquet", "csv", "partitioned"])
def many_files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[tx.Table, pa.Table]:
    """A table of files of a few rows in row groups of two, so that bounds tell much; and all of its rows."""
    path = tmp_path_factory.mktemp("many") / "table"
    chance = np.random.default_rng(7)
    schema = pa.schema([(name, kind) for name, (kind, _) in VALUES.items()])
    for _ in range(6):
        few = {name: [*chance.choice(np.array(values, object), 2), None] for name, (_, values) in VALUES.items()}
        batch = [{name: few[name][chance.integers(3)] for name in VALUES} for _ in range(chance.integers(1, 6))]
        tx.write(
            pa.Table.from_pylist(batch, schema),
            path,
            mode="append",
            format="csv" if request.param == "csv" else "parquet",
            partition_by=["o"] if request.param == "partitioned" else None,
            properties={"row_group_rows": 2},
        )
    return tx.Table(path), tx.Table(path).to_arrow()


@given(where=expressions())
def test_leaving_out_files_never_changes_the_answer(
    many_files: tuple[tx.Table, pa.Table], where: pc.Expression
) -> None:
    """A filter finds in the table what it finds among all of its rows."""
    table, everything = many_files
    assert bag(table.to_arrow(filter=where).to_pylist()) == bag(everything.filter(where).to_pylist())
