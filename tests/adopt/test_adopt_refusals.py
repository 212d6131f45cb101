"""What stands in the way of an adoption is named, with the way out; the folder stays as it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import txfiles as tx
from tests.adopt.folders import put, rows
from txfiles.cli.main import cli
from txfiles.core import codec, names


def tree(root: Path) -> dict[str, bytes | str]:
    """Everything below a folder."""
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def _text(name: str, text: str = "x") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    return make


def _truncated(root: Path) -> None:
    path = put(root, "cut.parquet", rows(2))
    path.write_bytes(path.read_bytes()[:-20])


def _own_name(root: Path) -> None:
    put(root, names.data_file("0" * 16, "1" * 32, 0, "parquet"), rows(5))


def _lost_log(root: Path) -> None:
    (root / "_txfiles").mkdir()
    (root / "_txfiles/table.json").write_text('{"format_version": 1, "table_id": "' + "0" * 16 + '"}')
    _own_name(root)


def _nested(root: Path) -> None:
    tx.write(rows(9), root / "sub/table", mode="append")


def _renamed(root: Path) -> None:
    os.rename(root / "a.parquet", os.fsencode(root) + b"/\xff.parquet")


REFUSED: dict[str, tuple[Callable[[Path], object], type[tx.TxFilesError], str]] = {
    "a Delta table": (_text("_delta_log/00000000000000000000.json"), tx.ForeignTableError, "a Delta table"),
    "an Iceberg table": (_text("metadata/v1.metadata.json"), tx.ForeignTableError, "an Iceberg table"),
    "a Hudi table": (_text(".hoodie/hoodie.properties"), tx.ForeignTableError, "a Hudi table"),
    "a Delta table below": (_text("sub/_delta_log/0.json"), tx.ForeignTableError, "sub/ holds a Delta"),
    "a table below": (_nested, tx.TableExistsError, "sub/table is a txfiles table of its own"),
    "a table": (tx.adopt, tx.TableExistsError, "is a txfiles table already, at version 0"),
    "a lost log": (_lost_log, tx.CorruptTableError, "the log is lost"),
    "another table's files": (_own_name, tx.ConfirmationRequiredError, "whose log is not here"),
    "a link to a file": (lambda root: (root / "l.parquet").symlink_to("a.parquet"), tx.InputError, "l.parquet"),
    "a link to a folder": (lambda root: (root / "l").symlink_to("/tmp"), tx.InputError, "links"),
    "a pipe": (lambda root: os.mkfifo(root / "p.parquet"), tx.InputError, "p.parquet"),
    "a name that is no text": (_renamed, tx.InputError, "Unicode"),
    "CSV beside Parquet": (_text("b.csv", "a\n1\n"), tx.OptionError, "several formats"),
    "ORC beside Parquet": (_text("b.orc"), tx.OptionError, "several formats"),
    "an empty file": (_text("empty.parquet", ""), tx.UnreadableInputError, "empty.parquet.*it has 0 bytes"),
    "no Parquet": (_text("lie.parquet", "x" * 100), tx.UnreadableInputError, "lie.parquet.*does not end as"),
    "a file that is cut off": (_truncated, tx.UnreadableInputError, "cut.parquet.*does not end as"),
    "an encrypted file": (_text("e.parquet", "x" * 90 + "PARE"), tx.UnreadableInputError, "encrypted"),
    "a footer beyond the file": (
        _text("e.parquet", "PAR1\xff" + "\x7f" * 3 + "PAR1"),
        tx.UnreadableInputError,
        "claims",
    ),
    "a footer of noise": (_text("e.parquet", "PAR1" + "x" * 9 + "\t\0\0\0PAR1"), tx.UnreadableInputError, "decoded"),
    "a column twice": (lambda root: put(root, "t.parquet", _twice()), tx.InputError, "t.parquet|same name"),
    "partitions here and there": (lambda root: put(root, "p=1/b.parquet", rows(2)), tx.InputError, "none"),
    "partitions below a folder": (
        lambda root: put(root, "x/p=1/b.parquet", rows(2)),
        tx.InputError,
        "below the folder",
    ),
    "a partition twice": (lambda root: put(root, "p=1/p=2/b.parquet", rows(2)), tx.InputError, "different|twice"),
    "a partition that is not text": (
        lambda root: put(root, "p=%FF/b.parquet", rows(2)),
        tx.InputError,
        "as Hive and Spark do",
    ),
}


def _twice() -> pa.Table:
    return pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    """The error says what is in the way, and has a hint; not a byte is written, by a dry run neither."""
    make, kind, told = REFUSED[case]
    put(tmp_path, "a.parquet", rows(1))
    make(tmp_path)
    before = None if case == "a pipe" else tree(tmp_path)
    for dry_run in (True, False):
        with pytest.raises(kind, match=told) as raised:
            tx.adopt(tmp_path, dry_run=dry_run)
        assert raised.value.hint
        assert raised.value.committed == "no"
    assert before is None or tree(tmp_path) == before


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda root: None, "no data files"),
        (lambda root: root.mkdir(), "no data files"),
        (lambda root: put(root, "only.orc", rows(1)), "orc files"),
        (lambda root: put(root, "_SUCCESS", rows(1)), "no data files"),
        (lambda root: pq.write_table(rows(1), root), "is not a folder"),
    ],
)
def test_no_data(make: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    """A folder without data, without a folder, and a single file are refused with what to do; nothing is created."""
    root = tmp_path / "t"
    make(root)
    before = tree(tmp_path)
    with pytest.raises(tx.InputError, match=told):
        tx.adopt(root)
    assert tree(tmp_path) == before


def test_the_shell_names_the_tool(tmp_path: Path) -> None:
    """In a Delta table's folder the shell says that it is one, and how to open it."""
    put(tmp_path, "a.parquet", rows(1))
    _text("_delta_log/00000000000000000000.json")(tmp_path)
    result = CliRunner().invoke(cli, ["adopt", str(tmp_path)])
    assert result.exit_code == 2
    assert "a Delta table" in result.stderr
    assert "--format delta" in result.stderr


def test_ways_out(tmp_path: Path) -> None:
    """Whoever follows a hint gets out: force takes a table's files, format picks among several."""
    _own_name(tmp_path / "own")
    assert tx.adopt(tmp_path / "own", force=True).rows == 1
    tx.Table(tmp_path / "own").compact()
    put(tmp_path / "both", "a.parquet", rows(1))
    (tmp_path / "both/b.csv").write_text("id,name\n5,x\n")
    assert tx.adopt(tmp_path / "both", format="parquet").ignored == ("b.csv",)
    with pytest.raises(tx.FolderNotEmptyError) as raised:
        tx.write(rows(1), put(tmp_path / "theirs", "a.parquet", rows(1)).parent, mode="append")
    assert raised.value.hint.startswith(f"`txfiles adopt {tmp_path / 'theirs'}`")
    assert CliRunner().invoke(cli, ["adopt", str(tmp_path / "theirs")]).exit_code == 0


@pytest.mark.parametrize("where", ["delta", "sql"])
def test_other_targets_lack_the_verb(where: str, tmp_path: Path) -> None:
    """Delta and SQL tables are refused with the verb error, which says who has it."""
    place = f"sqlite:///{tmp_path}/db::t" if where == "sql" else str(tmp_path)
    with pytest.raises(tx.UnsupportedVerbError, match="adopt") as raised:
        tx.adopt(place, format=where)
    assert raised.value.verb == "adopt"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_a_table_is_not_adopted(tmp_path: Path) -> None:
    """Two logs would hold the same file, and a vacuum of the inner table would delete what the outer one has."""
    inner = tmp_path / "t" / "a" / "b"
    inner.mkdir(parents=True)
    pq.write_table(pa.table({"id": [1]}), inner / "x.parquet")
    tx.adopt(tmp_path / "t")
    for dry_run in (True, False):
        with pytest.raises(tx.TableExistsError, match="is inside of the txfiles table") as caught:
            tx.adopt(inner, dry_run=dry_run)
        assert caught.value.outer == str(tmp_path / "t")
    assert sorted(path.name for path in inner.iterdir()) == ["x.parquet"]
    assert tx.adopt(inner, force=True).files == 1
    assert tx.Table(tmp_path / "t").to_arrow().num_rows == 1


def test_interrupted_creation_goes_on_with_its_id(tmp_path: Path) -> None:
    """A folder with table.json alone is adopted under that id."""
    put(tmp_path, "a.parquet", rows(1))
    (tmp_path / "_txfiles").mkdir()
    (tmp_path / "_txfiles/table.json").write_text('{"format_version": 1, "table_id": "' + "5" * 16 + '"}')
    tx.adopt(tmp_path)
    assert json.loads((tmp_path / names.manifest(0)).read_text())["table_id"] == "5" * 16


def test_a_file_that_changes_is_damage(tmp_path: Path) -> None:
    """A file that is written again, cut, or gone after its adoption is reported by name, never read."""
    for name in ("a", "b", "c"):
        put(tmp_path, f"{name}.parquet", rows(1, 2))
    tx.adopt(tmp_path)
    put(tmp_path, "a.parquet", rows(3, 4))
    (tmp_path / "b.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-1])
    (tmp_path / "c.parquet").unlink()
    for name in ("a", "b", "c"):
        table = tx.Table(tmp_path)
        with pytest.raises(tx.CorruptTableError, match=r"[abc]\.parquet"):
            table.to_arrow()
        table.delete([("id", "=", 99)])
        assert name


def _manifest(root: Path, version: int, change: Callable[[dict], None]) -> None:
    path = root / names.manifest(version)
    found = json.loads(path.read_text())
    del found["sha256"]
    change(found)
    unsealed = json.dumps(found).encode()[:-1] + b", "
    path.write_bytes(unsealed + b'"sha256": "' + codec.sha256(unsealed).encode() + b'"}')


@pytest.mark.parametrize(
    "path", ["../a.parquet", "/etc/passwd", "_txfiles/x", "sub/_txfiles/x.parquet", "a/../b", "a%2fb"]
)
def test_a_forged_adoption_stays_in_its_folder(path: str, tmp_path: Path) -> None:
    """An adoption names no path outside its folder, nor in a log."""
    put(tmp_path, "a.parquet", rows(1))
    tx.adopt(tmp_path)
    _manifest(tmp_path, 0, lambda found: found["add"][0].update(path=path))
    with pytest.raises(tx.CorruptTableError, match="not a data file of this table"):
        tx.Table(tmp_path)


def test_only_an_adoption_adds_such_names(tmp_path: Path) -> None:
    """Another operation, a later version, or a table without the feature that adds a foreign name is damage."""
    put(tmp_path, "a.parquet", rows(1))
    tx.adopt(tmp_path)
    before = (tmp_path / names.manifest(0)).read_bytes()
    for change in (
        lambda found: found["operation"].update(name="append"),
        lambda found: found["table"].update(required_features=[]),
        lambda found: found["add"][0].pop("footer_sha256"),
    ):
        (tmp_path / names.manifest(0)).write_bytes(before)
        assert tx.Table(tmp_path).version == 0
        _manifest(tmp_path, 0, change)
        with pytest.raises(tx.CorruptTableError):
            tx.Table(tmp_path)


def test_a_forged_vacuum_deletes_nothing(tmp_path: Path) -> None:
    """A list of a vacuum that names somebody's file is damage without adopted files, and idle with them."""
    tx.write(rows(1), tmp_path / "own", mode="append")
    put(tmp_path / "adopted", "a.parquet", rows(1))
    tx.adopt(tmp_path / "adopted", properties={"vacuum_adopted": True, "vacuum_grace": "0"})
    for name in ("own", "adopted"):
        root = tmp_path / name
        (root / "notes.parquet").write_text("mine")
        tx.Table(root).set({"row_group_rows": 7})
        _manifest(
            root, 1, lambda found: found.update(vacuum={"oldest_readable_version": 0, "deletes": ["notes.parquet"]})
        )
    with pytest.raises(tx.CorruptTableError, match="names files of other tools"):
        tx.Table(tmp_path / "own")
    tx.Table(tmp_path / "adopted").vacuum("0")
    assert (tmp_path / "adopted/notes.parquet").read_text() == "mine"


def test_vacuum_needs_leave_and_evidence(tmp_path: Path) -> None:
    """An adopted file is deleted if the property allows it and it is as it was adopted; else it stays."""
    for name in ("a", "b", "c"):
        put(tmp_path, f"{name}.parquet", rows(1))
    done = tx.adopt(tmp_path)
    assert any("vacuum_adopted" in note for note in done.notes)
    tx.write(rows(5), tmp_path, mode="overwrite")
    table = tx.Table(tmp_path)
    assert table.vacuum("0").deleted == ()
    assert [row["id"] for row in table.at(version=0).to_arrow().to_pylist()] == [1, 1, 1]
    table.set({"vacuum_adopted": True})
    assert set(table.vacuum("7d").deleted) == set()
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes() + b"more")
    status = (tmp_path / "b.parquet").stat()
    os.utime(tmp_path / "b.parquet", ns=(status.st_atime_ns, status.st_mtime_ns + 5_000_000))
    assert table.vacuum("0").deleted == ("c.parquet",)
    assert sorted(path.name for path in tmp_path.glob("?.parquet")) == ["a.parquet", "b.parquet"]
    with pytest.raises(tx.SnapshotExpiredError):
        table.at(version=0)
    assert table.to_arrow()["id"].to_pylist() == [5]
