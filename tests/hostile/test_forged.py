"""Sealed and hashed nonsense: any call on a forged table gives a value or an error of ours, and reading it refuses."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import txfiles as tx
from tests.hostile import parquet_forgeries as forged
from tests.hostile import tables
from tests.hostile.fuzz_targets import sealed
from txfiles.cli.main import cli
from txfiles.core import codec, names
from txfiles.core.manifest import Actions, Add
from txfiles.errors import InputError
from txfiles.formats import parquet, parquet_writer

pytestmark = pytest.mark.guarantees("S17 S18 S20")

Document = dict[str, Any]
Forgery = Callable[[Path], Any]

NEWEST = 2
BAD_TEXT = pa.array([b"\xff\xfe"]).view(pa.string())
NESTED_PARTITION = [{"id": 1, "name": "id", "type": "int64"}, {"id": 2, "name": "p", "type": {"list": "int8"}}]
TWICE = [{"id": number, "name": "id", "type": "int64"} for number in (1, 2)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table to be copied, whose newest version names a checkpoint."""
    properties = {"checkpoint_interval": 1, "vacuum_grace": "0"}
    path = tmp_path_factory.mktemp("original") / "table"
    for number in range(NEWEST + 1):
        more = {"keys": ["id"], "partition_by": ["p"], "properties": properties} if number == 0 else {}
        tx.write(tables.rows(2 * number, 2 * number + 1), path, mode="upsert", **more)
    return path


def checkpoint(
    files: Callable[[pa.Table], pa.Table] = lambda files: files, state: Callable[[Document], Any] = lambda saved: None
) -> Forgery:
    """Change what the newest version's checkpoint holds."""

    def forge(root: Path) -> None:
        found = pq.read_table(tables.checkpoint(root, NEWEST - 1))
        saved = json.loads(found.schema.metadata[b"txfiles"])
        state(saved)
        changed = files(found).replace_schema_metadata({b"txfiles": json.dumps(saved).encode()})
        tables.vouch_checkpoint(root, NEWEST - 1, forged.written(changed))

    return forge


def column(name: str, value: Callable[[Any], Any]) -> Forgery:
    """Change a column of the checkpoint's list of files."""

    def change(files: pa.Table) -> pa.Table:
        at = files.schema.get_field_index(name)
        field = files.schema.field(at)
        return files.set_column(at, field, pa.array([value(old) for old in files[name].to_pylist()], field.type))

    return checkpoint(change)


def state(**facts: Any) -> Forgery:
    """Change the checkpoint's state."""
    return checkpoint(state=lambda saved: saved.update(facts))


def table_action(**facts: Any) -> Forgery:
    """Change the table action in the checkpoint."""
    return checkpoint(state=lambda saved: saved["table"].update(facts))


def add(**facts: Any) -> Forgery:
    """Change what the newest version says of its first file."""
    return lambda root: tables.rewrite(root, NEWEST, lambda found: found["add"][0].update(facts))


def nested(depth: int) -> Any:
    """Lists in lists."""
    return json.loads("[" * depth + "]" * depth)


def _foreign(root: Path) -> None:
    """A file of somebody else, in the table's folder and with the very content that is looked for."""

    def mine(files: pa.Table) -> pa.Table:
        paths = files["path"].to_pylist()
        shutil.copy(root / paths[0], root / "mine.parquet")
        return files.set_column(0, "path", pa.array(["mine.parquet", *paths[1:]]))

    checkpoint(mine)(root)


def _bad_hash(files: pa.Table) -> pa.Table:
    bad = pa.array([b"\xff"] * len(files)).view(pa.string())
    return files.set_column(files.schema.get_field_index("sha256"), "sha256", bad)


FORGERIES: dict[str, Forgery] = {
    "path out of the table": column("path", lambda path: f"../{path}"),
    "absolute path": column("path", lambda path: f"/{path}"),
    "path in the log": column("path", lambda path: f"_txfiles/{path}"),
    "somebody's file": column("path", lambda path: path.replace("part-", "mine-")),
    "somebody's file with the right content": _foreign,
    "another table's file": column("path", lambda path: f"p=a/part-{'0' * 16}-{path[-46:]}"),
    "a line before the path": column("path", lambda path: f"{path}\n{path}"),
    "a folder that is no partition": column("path", lambda path: f"x/{path}"),
    "added later": column("added_version", lambda _: 9),
    "added before all": column("added_version", lambda _: -1),
    "long partition value": column("partition", lambda _: ["a" * 300]),
    "text that is none": checkpoint(_bad_hash),
    "nested partition column": table_action(columns=NESTED_PARTITION, keys=[]),
    "two columns of one name": table_action(columns=TWICE, keys=[], partition_by=[]),
    "deep extra field": table_action(extra={"new": nested(100)}),
    "a table id that is a pattern": state(table_id="1\\u0000c3a5b7d2e46"),
    "a table id that fits all": state(table_id=".*"),
    "a slash more": column("path", lambda path: path.replace("/", "//")),
    "no file": column("path", lambda path: path.replace("part-", "")),
    "whole from a later version": state(oldest_readable_version=900),
    "batch of a later version": state(batch_ids=[["a", 900, "append", []]]),
    "batch of a negative version": state(batch_ids=[["a", -1, "append", []]]),
    "a segment too long for any disk": lambda root: tables.rewrite(
        root, NEWEST, lambda found: found["add"][0].update(path="p=" + "x" * 300 + "/" + found["add"][0]["path"][5:])
    ),
    "a partition value too long for a folder": add(partition=["p" * 300]),
    "a bound that is no value": add(stats={"1": {"nulls": 0, "min": "seven"}}),
}
"""All are refused by reading. What a call that looks at less makes of them is its business, but it is no crash."""


def calls(root: Path) -> dict[str, Callable[[], Any]]:
    """What a user may do with a table."""
    more = tables.rows(1, 3, 9)
    return {
        "exists": lambda: tx.exists(root),
        "read": lambda: tx.Table(root).to_arrow().to_pylist(),
        "filter": lambda: tx.Table(root).to_arrow(["x"], filter=[("id", ">", 1), ("p", "=", "p1")]),
        "pandas": lambda: tx.Table(root).to_pandas(),
        "dataset": lambda: tx.Table(root).dataset(),
        "files": lambda: tx.Table(root).files(),
        "file table": lambda: tx.Table(root).file_table(),
        "history": lambda: tx.Table(root).history(),
        "lookup": lambda: tx.Table(root).lookup([1, 3]),
        "dry vacuum": lambda: tx.Table(root).vacuum(retain="0", dry_run=True),
        "plan": lambda: tx.plan(more, root, mode="upsert"),
        "append": lambda: tx.write(more, root, mode="append"),
        "upsert": lambda: tx.write(more, root, mode="upsert"),
        "vacuum": lambda: tx.Table(root).vacuum(retain="0", force=True),
    }


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_table(original: Path, tmp_path: Path, name: str) -> None:
    """Each call gives a value or a short error that does not blame the caller; reading refuses, with exit code 13."""
    outcomes: dict[str, Any] = {}
    for call in calls(tmp_path):
        root = tmp_path / ("looked at" if call in list(calls(tmp_path))[:11] else call)
        if not root.exists():
            shutil.copytree(original, root)
            FORGERIES[name](root)
        try:
            outcomes[call] = calls(root)[call]()
        except tx.TxFilesError as error:
            outcomes[call] = error
            assert len(f"{error}{error.hint}") < 2_000
            assert not isinstance(error, InputError), error
    assert isinstance(outcomes["read"], tx.CorruptTableError), outcomes["read"]
    root = tmp_path / "looked at"
    for args in (["read"], ["read", "--json"], ["show"], ["files", "--long"]):
        result = CliRunner().invoke(cli, [args[0], str(root), *args[1:]])
        assert result.exit_code == 13 or (args[0] != "read" and result.exit_code == 0), result.stderr
        assert "internal" not in result.stderr


def test_text_that_is_none_in_a_text_column(tmp_path: Path) -> None:
    """Bytes that call themselves text are damage, not a row that breaks whoever prints it."""
    root = tmp_path / "t"
    tx.write(pa.table({"id": [1], "name": ["Ada"]}), root, mode="append")
    data = forged.written(pa.table({"id": [1], "name": BAD_TEXT}))
    tables.vouch(root, 0, data, rows=1, footer_bytes=forged.footer_bytes(data))
    with pytest.raises(tx.CorruptTableError, match="UTF"):
        tx.Table(root).to_arrow()
    assert CliRunner().invoke(cli, ["read", str(root), "--json"]).exit_code == 13
    assert tx.Table(root).to_arrow(["id"]).to_pylist() == [{"id": 1}]


@pytest.mark.parametrize(
    "options", [{}, {"partition_by": ["s"]}, {"format": "csv"}, {"format": "csv", "partition_by": ["s"]}]
)
def test_text_that_is_none_as_input(tmp_path: Path, options: dict[str, Any]) -> None:
    """Nor is it ever written: an error that names the column and shows the value, and no table comes of it."""
    rows = pa.table({"id": [1], "s": BAD_TEXT})
    pq.write_table(rows, tmp_path / "in.parquet")
    for data in (rows, str(tmp_path / "in.parquet")):
        with pytest.raises(tx.LossyCastError, match=r"column 's' holds .*xff"):
            tx.write(data, tmp_path / "t", mode="append", **options)
        assert not tx.exists(tmp_path / "t")
        assert not list((tmp_path / "t").rglob("part-*"))


LAST_MOMENT = "9999-12-31T23:59:59.999999Z"


def test_the_last_moment(original: Path, tmp_path: Path) -> None:
    """A table whose newest commit is of the last moment of the calendar can be read; nothing can follow it."""
    root = tmp_path / "t"
    shutil.copytree(original, root)
    tables.rewrite(root, NEWEST, lambda found: found.update(time=LAST_MOMENT))
    for _ in range(2):
        assert tx.Table(root, timestamp=LAST_MOMENT).to_arrow().num_rows == 6
        with pytest.raises(tx.CorruptTableError, match="no version can follow"):
            tx.write(tables.rows(9), root, mode="upsert")
    assert tables.newest(root) == NEWEST


@pytest.mark.parametrize("depth", [64, 65, 900, *range(980, 990), 100_000])
def test_fields_of_a_later_release_nest_so_deep(original: Path, tmp_path: Path, depth: int) -> None:
    """What is carried along can be written again by whoever could read it: deeper fields are refused at once."""
    root = tmp_path / "t"
    shutil.copytree(original, root)
    action = json.loads(tables.manifest_path(root, 0).read_bytes())["table"]
    tables.rewrite(root, NEWEST, lambda found: found.update(table=action))
    path = tables.manifest_path(root, NEWEST)
    text = b'"table": {"new": ' + b"[" * depth + b"]" * depth + b", "
    path.write_bytes(sealed(path.read_bytes().replace(b'"table": {', text, 1)))
    wider = tables.rows(9).append_column("y", pa.array([1]))
    if depth <= codec.EXTRA_DEPTH:
        assert tx.write(wider, root, mode="upsert", schema_mode="merge").version == NEWEST + 1
        kept = json.loads(tables.manifest_path(root, NEWEST + 1).read_bytes())["table"]["new"]
        assert str(kept).count("[") == depth
        return
    for call in (lambda: tx.Table(root), lambda: tx.write(wider, root, mode="upsert", schema_mode="merge")):
        with pytest.raises(tx.CorruptTableError):
            call()
    assert tables.newest(root) == NEWEST


def test_no_sidecar_is_written_that_nobody_would_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of actions beyond a reader's limit is an error before it is committed."""
    monkeypatch.setattr(codec, "SIDECAR_LIMIT_BYTES", 100)
    with pytest.raises(InputError, match="readers accept at most"):
        codec.encode_actions(Actions(add=(Add(path="p", rows=1, bytes=1, sha256="0" * 64),)))


@pytest.mark.parametrize("name", ["checkpoint", "sidecar"])
def test_a_size_that_memory_would_hold(original: Path, tmp_path: Path, name: str) -> None:
    """Three gigabytes are refused before they are read too, though many a machine has the memory."""
    root, size = tmp_path / "t", 3 * 1024**3
    shutil.copytree(original, root)
    ref = {"bytes": size, "sha256": "0" * 64}
    path = tables.checkpoint(root, NEWEST - 1)
    if name == "sidecar":
        unique = names.sidecar(NEWEST, "0" * 32)
        path = root / names.SIDECAR_DIR / unique
        path.parent.mkdir()
        tables.rewrite(root, NEWEST, lambda found: found.update(add=[], remove=[], sidecar={"name": unique, **ref}))
    else:
        tables.rewrite(root, NEWEST, lambda found: found["checkpoint"].update(ref))
    with path.open("wb") as file:
        file.truncate(size)
    done = tables.command("read", str(root))
    assert done.returncode == (13 if name == "sidecar" else 0), done.stderr
    assert "Traceback" not in done.stderr


def test_a_checkpoint_that_no_reader_takes_is_not_written(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that has grown beyond a reader's limit makes no checkpoint; commits and reads go on without."""
    root = tmp_path / "t"
    shutil.copytree(original, root)
    monkeypatch.setattr("txfiles.log.parts.LIMIT_BYTES", 1_000)
    before = sorted((root / names.CHECKPOINT_DIR).iterdir())
    tx.write(tables.rows(9), root, mode="upsert")
    assert sorted((root / names.CHECKPOINT_DIR).iterdir()) == before
    assert tx.Table(root).to_arrow().num_rows == 7


def test_many_columns(tmp_path: Path) -> None:
    """CommitPlan grows with the number of columns, not with its square, and messages do not grow with it."""
    root, count = tmp_path / "t", 12_000  # by the square this took minutes
    tx.write(tables.rows(1), root, mode="append")
    columns = [{"id": number, "name": f"c{number}", "type": "int8"} for number in range(10, count)]

    def widen(found: Document) -> None:
        found["add"][0]["columns"] = [column["id"] for column in found["table"]["columns"]]
        found["table"].update(columns=found["table"]["columns"] + columns, last_column_id=count)

    tables.rewrite(root, 0, widen)
    assert tx.Table(root).to_arrow().num_columns == count - 7
    assert tx.write(tables.rows(2), root, mode="append", schema_mode="merge").version == 1
    assert CliRunner().invoke(cli, ["read", str(root)]).stdout.count("\n") == 3
    with pytest.raises(InputError) as caught:
        tx.Table(root).to_arrow(["none"])
    assert len(f"{caught.value}{caught.value.hint}") < 2_000
    twice = tmp_path / "twice.csv"
    twice.write_text(",".join(f"c{number}" for number in range(100_000)) + ",c0\n")
    with pytest.raises(InputError, match="twice"):
        tx.plan(str(twice), tmp_path / "u", mode="append")


@pytest.mark.parametrize("name", ["id", "other"])
def test_a_row_group_beyond_any_writer(tmp_path: Path, name: str) -> None:
    """Rows that no writer puts into one row group are refused by the footer's word, before anything is decoded."""
    root, real, claimed = tmp_path / "t", 1_234_567, 10**8
    tx.write(pa.table({"id": [1]}), root, mode="append")
    data = forged.with_number(forged.written(pa.table({name: pa.nulls(real, pa.int64())})), real, claimed)
    tables.vouch(root, 0, data, rows=claimed, footer_bytes=forged.footer_bytes(data))
    with pytest.raises(tx.CorruptTableError, match="more than any writer"):
        tx.Table(root).to_arrow()


def test_a_row_group_larger_in_memory_than_any_writer_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are values that take more memory than a writer puts into one row group; what it does put in is read."""
    for module in (parquet, parquet_writer):
        monkeypatch.setattr(module, "GROUP_LIMIT_BYTES", 80_000)
    root = tmp_path / "t"
    constant = pa.table({"id": np.zeros(30_000, np.int64)})
    tx.write(constant, root, mode="append", properties={"row_group_rows": 30_000})
    assert tx.Table(root).to_arrow().num_rows == 30_000
    for rows in (10_000, 10_001):
        buffer = io.BytesIO()
        pq.write_table(constant.slice(0, rows), buffer, row_group_size=rows)
        data = buffer.getvalue()
        tables.vouch(root, 0, data, rows=rows, footer_bytes=forged.footer_bytes(data))
        if rows == 10_000:
            assert tx.Table(root).to_arrow().num_rows == rows
    with pytest.raises(tx.CorruptTableError, match="more than any writer"):
        tx.Table(root).to_arrow()
