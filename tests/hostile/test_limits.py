"""Hostile tables in a process whose memory and time are bounded: an error of ours, exit code 13, no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import txfiles as tx
from tests.hostile import parquet_forgeries as forged
from tests.hostile import tables
from tests.hostile.fuzz_targets import sealed
from tests.hostile.tables import VERBS
from txfiles.core import names

pytestmark = pytest.mark.guarantees("S17 S18 S20 S23")

DEPTH = 1_000_000
DIGITS = "9" * 100_000
GIGABYTE = 1024**3

SWEEP = """
import contextlib, io, json, resource, sys
from txfiles.cli.main import run
found = {}
for table in sys.argv[2:]:
    found[table] = {}
    for verb, words in json.loads(sys.argv[1]).items():
        told = io.TextIOWrapper(io.BytesIO())
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
            code = run([words[0], table, *words[1:]])
        told.seek(0)
        found[table][verb] = [code, told.read()]
print(json.dumps(found))
"""

Answers = dict[str, tuple[int, str]]


def sweep(folders: list[Path]) -> dict[str, Answers]:
    """The exit code and stderr of each verb on each table, all in one bounded process."""
    done = tables.child("-c", SWEEP, json.dumps(VERBS), *map(str, folders))
    assert done.returncode == 0, done.stderr[-2_000:]
    return {Path(table).name: found for table, found in json.loads(done.stdout).items()}


def field(name: str, text: str) -> Callable[[bytes], bytes]:
    """Another value of a field of the manifest, as text, so that it may be what no encoder writes; sealed again."""

    def change(data: bytes) -> bytes:
        document = json.loads(data)
        seal = document.pop("sha256")
        place = document
        *way, last = name.split(".")
        for step in way:
            place = place.setdefault(step, {})
        place[last] = "@@"
        document["sha256"] = seal  # the last field, behind which nothing may stand
        return sealed(json.dumps(document).encode().replace(b'"@@"', text.encode("utf-8", "surrogatepass")))

    return change


MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "nested without end": lambda _: b"[" * DEPTH,
    "nested objects": lambda _: b'{"a":' * DEPTH,
    "nested in an unknown field": field("later", "[" * DEPTH + "]" * DEPTH),
    "nested in the table's unknown field": field("table.later", "[" * DEPTH + "]" * DEPTH),
    "nested type": field(
        "table.columns", '[{"id":1,"name":"id","type":' + '{"list":' * DEPTH + '"null"' + "}" * DEPTH + "}]"
    ),
    "a little too nested type": field(
        "table.columns", '[{"id":1,"name":"id","type":' + '{"list":' * 100 + '"null"' + "}" * 100 + "}]"
    ),
    "digits in the version": field("version", DIGITS),
    "digits in a count": field("metrics.rows_in", DIGITS),
    "digits in the format version": field("format_version", DIGITS),
    "digits in the table's unknown field": field("table.later", DIGITS),
    "digits after the point": field("metrics.rows_in", f"0.{DIGITS}"),
    "a number beyond all": field("metrics.rows_in", "1e999999999"),
    "digits in a property": field("table.properties", f'{{"checkpoint_interval": {DIGITS}}}'),
    "two versions": lambda data: sealed(
        data.replace(b"{", b'{"version": 0, "version": 7,', 1).replace(b'"version": 0,\n', b"")
    ),
    "NaN": field("metrics.rows_in", "NaN"),
    "infinity": field("later", "Infinity"),
    "a huge version": field("version", str(2**63)),
    "a version below zero": field("version", "-1"),
    "a version that is true": field("version", "true"),
    "a version with a fraction": field("version", "0.5"),
    "a byte order mark": lambda data: sealed(b"\xef\xbb\xbf" + data),
    "a lone surrogate": field("operation.library", '"\\ud800"'),
    "a lone surrogate in a name": field("table.columns", '[{"id":1,"name":"\\udc00","type":"int64"}]'),
    "bytes of a surrogate": field("later", '"\ud800"'),
    "bytes that are no UTF-8": lambda data: sealed(data.replace(b"{", b'{"later": "\xff", ', 1)),
    "bytes after the end": lambda data: data + b"{}",
    "a feature of the future": field("table.required_features", '["x"]'),
    "a format of the future": field("format_version", "2"),
    "no document": lambda _: sealed(b""),
    "null": lambda _: b"null",
}


def test_hostile_manifests(tmp_path: Path, cases) -> None:
    """Whatever the newest manifest is, each verb ends with exit code 13 and one error, and nothing is written."""
    folders = []
    for number, change in enumerate(MANIFESTS.values()):
        table = tables.simple(tmp_path / str(number), 1)
        path = tables.manifest_path(table, 0)
        path.write_bytes(change(path.read_bytes()))
        folders.append(table)
    folders.append(tables.simple(tmp_path / "sparse", 1))
    with tables.manifest_path(folders[-1], 0).open("r+b") as file:
        file.truncate(GIGABYTE)
    before = tables.snapshot(tmp_path)
    found = sweep(folders)
    kinds = dict(zip(map(str, range(len(MANIFESTS))), MANIFESTS, strict=True)) | {"sparse": "a gigabyte"}
    for table, answers in found.items():
        for verb, (code, told) in answers.items():
            assert (code, told.count("txfiles: error: ")) == (13, 1), (kinds[table], verb, code, told[:500])
            assert "Traceback" not in told
            assert len(told) < 2_000, (kinds[table], verb)
    assert tables.snapshot(tmp_path) == before
    cases(hostile_tables=len(folders), calls=len(folders) * len(VERBS))


ODD = {
    "a property of another type": field("table.properties", '{"checkpoint_interval": "many"}'),
    "a field twice": lambda data: sealed(data.replace(b'"time":', b'"time": 1, "time":')),
    "an unknown field": field("later", '{"x": [1, null, "\\u0000"]}'),
    "a whole number with a point": field("metrics.rows_in", "3.0"),
}


def test_odd_manifests(tmp_path: Path) -> None:
    """What is odd and yet clear is read as it stands: all rows, or an error of ours."""
    folders = []
    for number, change in enumerate(ODD.values()):
        table = tables.simple(tmp_path / str(number), 1)
        path = tables.manifest_path(table, 0)
        path.write_bytes(change(path.read_bytes()))
        folders.append(table)
    for answers in sweep(folders).values():
        assert {code for code, _ in answers.values()} in ({0}, {13})


def _ids(*ids: int | None) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


NULLS = pa.table({"id": pa.nulls(1_234_567, pa.int64())})
OTHER_NULLS = NULLS.rename_columns(["other"])
HONEST = forged.written(_ids(1, 2, 3))

FILES: dict[str, tuple[bytes, int]] = {
    "a footer of nothing": (forged.with_footer_length(HONEST, 0), 3),
    "a footer longer than the file": (forged.with_footer_length(HONEST, 2**31), 3),
    "the longest footer": (forged.with_footer_length(HONEST, 2**32 - 1), 3),
    "no magic": (HONEST[:-4] + b"PARX", 3),
    "an encrypted footer": (HONEST[:-4] + b"PARE", 3),
    "only a footer's end": (HONEST[-12:], 3),
    **{
        f"a page of 2 GiB, {compression}": (
            forged.with_page_size(forged.written(_ids(1, 2, 3), compression=compression), 2**31 - 1),
            3,
        )
        for compression in ("snappy", "zstd", "gzip", "lz4", "brotli")
    },
    "a page of less than nothing": (forged.with_page_size(HONEST, -1), 3),
    "a trillion rows": (forged.with_number(forged.written(NULLS), NULLS.num_rows, forged.TRILLION), forged.TRILLION),
    "a trillion rows of other columns": (
        forged.with_number(forged.written(OTHER_NULLS), NULLS.num_rows, forged.TRILLION),
        forged.TRILLION,
    ),
    "rows below nothing": (forged.with_number(forged.written(NULLS), NULLS.num_rows, -3), 3),
    "extension types": (forged.written(pa.table({"id": pa.array([b"\0" * 16] * 3, pa.uuid())})), 3),
    "a union of names": (forged.written(pa.table([[1], [2]], names=["id", "id"])), 1),
}


def test_hostile_data_files(tmp_path: Path, cases) -> None:
    """A data file that lies, of which the log says that it is right: reading ends with exit code 13."""
    folders = []
    for number, (data, rows) in enumerate(FILES.values()):
        table = tables.simple(tmp_path / str(number), 1)
        tables.vouch(table, 0, data, rows=rows, footer_bytes=min(forged.footer_bytes(data), len(data)))
        folders.append(table)
    before = tables.snapshot(tmp_path)
    for kind, answers in zip(FILES, sweep(folders).values(), strict=True):
        for verb, (code, told) in answers.items():
            assert code == (13 if verb == "read" else 0), (kind, verb, code, told[:500])
            assert "Traceback" not in told
    assert tables.snapshot(tmp_path) == before
    cases(hostile_tables=len(folders), calls=len(folders) * len(VERBS))


def _with_content(data: bytes, **columns: Any) -> bytes:
    """A checkpoint with other columns."""
    import pyarrow.parquet as pq

    whole = pq.read_table(pa.BufferReader(data))
    for name, values in columns.items():
        at = whole.schema.get_field_index(name)
        whole = whole.set_column(at, whole.schema.field(name), pa.array(values, whole.schema.field(name).type))
    return forged.written(whole, use_dictionary=True, compression="zstd")


def _bomb(data: bytes) -> bytes:
    """A hundred thousand files in some kilobytes."""
    import pyarrow.parquet as pq

    return forged.written(
        pa.concat_tables([pq.read_table(pa.BufferReader(data))] * 100_000).combine_chunks(), use_dictionary=True
    )


CHECKPOINTS: dict[str, Callable[[bytes], bytes]] = {
    "a bomb": _bomb,
    "a page of 2 GiB": lambda data: forged.with_page_size(_with_content(data), 2**31 - 1),
    "no path": lambda data: _with_content(data, path=[None]),
    "a path outside": lambda data: _with_content(data, path=["../../etc/passwd"]),
    "no rows": lambda data: _with_content(data, rows=[None]),
    "rows below nothing": lambda data: _with_content(data, rows=[-1]),
    "too many partition values": lambda data: _with_content(data, partition=[["x"]]),
    "no partition values": lambda data: _with_content(data, partition=[None]),
    "no metadata": lambda _: HONEST,
    "noise": lambda _: b"PAR1" + b"\xff" * 100 + b"PAR1",
}


def test_hostile_checkpoints(tmp_path: Path, cases) -> None:
    """A checkpoint that a manifest vouches for, and that makes no sense, is refused whole by who asks for its files."""
    folders = []
    for number, change in enumerate(CHECKPOINTS.values()):
        table = tables.simple(tmp_path / str(number), 2, properties={"checkpoint_interval": 1})
        honest = tables.checkpoint(table, 0).read_bytes()
        tables.vouch_checkpoint(table, 0, change(honest))
        folders.append(table)
    for kind, answers in zip(CHECKPOINTS, sweep(folders).values(), strict=True):
        for verb, (code, told) in answers.items():
            lenient = verb == "log" or (kind == "a path outside" and verb in ("show", "vacuum"))
            assert code == 13 or (lenient and code == 0), (kind, verb, code, told[:500])
            assert "Traceback" not in told
    cases(hostile_tables=len(folders), calls=len(folders) * len(VERBS))


@pytest.mark.parametrize("name", ["checkpoint", "sidecar", "hint", "table.json"])
def test_sparse_files(tmp_path: Path, name: str) -> None:
    """A file that claims to be of a terabyte is not read: the hint and a checkpoint cost nothing but time."""
    table = tables.simple(tmp_path / "table", 2, properties={"checkpoint_interval": 1})
    size = 1024 * GIGABYTE
    ref: dict[str, Any] = {"bytes": size, "sha256": "0" * 64}
    path = table / "_txfiles" / name
    if name == "checkpoint":
        path = tables.checkpoint(table, 0)
        tables.rewrite(table, 1, lambda document: document["checkpoint"].update(ref))
    elif name == "sidecar":
        unique = names.sidecar(1, "0" * 32)
        path = table / names.SIDECAR_DIR / unique
        path.parent.mkdir()
        tables.rewrite(table, 1, lambda document: document.update(add=[], remove=[], sidecar={"name": unique, **ref}))
    elif name == "hint":
        path = table / names.HINT_FILE
    with path.open("ab") as file:
        file.truncate(size)
    code = 0 if name in ("checkpoint", "hint") else 13
    for verb, (found, told) in sweep([table])["table"].items():
        assert found == code, (verb, told[:300])
        assert "Traceback" not in told


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_itself(tmp_path: Path, verb: str) -> None:
    """The command, as a process of its own: exit code 13, one error and a hint on stderr, nothing on stdout."""
    table = tables.simple(tmp_path / "table", 1)
    path = tables.manifest_path(table, 0)
    path.write_bytes(MANIFESTS["nested in the table's unknown field"](path.read_bytes()))
    words = VERBS[verb]
    done = tables.command(words[0], str(table), *words[1:])
    assert (done.returncode, done.stdout) == (13, "")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["error", "hint"]


def test_the_library_itself(tmp_path: Path) -> None:
    """In this process too: hostile content never raises anything but an error of ours."""
    for number, (kind, change) in enumerate(MANIFESTS.items()):
        table = tables.simple(tmp_path / str(number), 1)
        path = tables.manifest_path(table, 0)
        path.write_bytes(change(path.read_bytes()))
        for call in (
            lambda: tx.exists(table),
            lambda: tx.Table(table).to_arrow(),
            lambda: tx.write(tables.rows(1), table, mode="append"),
            lambda: tx.resolve(table, "0" * 32),
        ):
            with pytest.raises(tx.TxFilesError):
                call()
        assert len(list((table / tables.LOG).iterdir())) == 1, kind


@pytest.mark.parametrize(
    "call",
    [
        lambda root: tx.Table(root, version=10**5_000),
        lambda root: tx.Table(root).set(row_group_rows=10**5_000),
        lambda root: tx.Table(root).set(compression=10**5_000),
        lambda root: tx.Table(root).set(vacuum_retain=10**5_000),
        lambda root: tx.Table(root).vacuum(retain=10**5_000),
        lambda root: tx.Table(root).to_arrow(filter=[("id", "=", 10**5_000)]),
        lambda root: tx.Table(root).vacuum(keep_versions=-(10**5_000)),
        lambda root: tx.Table(root).history(-(10**5_000)),
        lambda root: tx.resolve(root, 10**5_000),
        lambda root: tx.write(tables.rows(1), root, mode=10**5_000),
        lambda root: tx.write(tables.rows(1), root, mode="append", batch_id=10**5_000),
        lambda root: tx.write(tables.rows(1), root, mode="append", timeout=-(10**5_000)),
        lambda root: tx.write(tables.rows(1), root, mode="append", user_metadata={"a": 10**5_000}),
        lambda root: tx.write(tables.rows(1), root, mode="append", user_metadata={"a": b"x" * 10**6}),
        lambda root: tx.write(tables.rows(1), root, mode="upsert", keys=[10**5_000]),
        lambda root: tx.write(tables.rows(1), root, mode="append", schema={"\udc80": "int64"}),
    ],
)
def test_values_that_python_itself_will_not_write(tmp_path: Path, call: Callable[[Path], Any]) -> None:
    """A number of many thousand digits, or text that is none, is the caller's mistake and told as that."""
    table = tables.simple(tmp_path / "t", 2)
    with pytest.raises((tx.InputError, tx.TableNotFoundError)) as caught:
        call(table)
    assert len(str(caught.value)) < 1_000
