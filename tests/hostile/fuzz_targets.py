"""What is fuzzed. A target takes any bytes, and comes back or raises an error of ours: nothing else may come out.

Where there is an encoder beside a decoder, what was decoded is encoded and decoded again, and must be the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import txfiles as tx
from txfiles import environment, formats, inputs, store
from txfiles.cli import params
from txfiles.core import codec, names, properties, times
from txfiles.errors import CorruptTableError, OptionError, TxFilesError, UnsupportedTypeError
from txfiles.formats import index_run as runs
from txfiles.formats import vectors
from txfiles.formats.common import WriteOptions
from txfiles.formats.run_source import Mapped, UnusableRunError
from txfiles.formats.source import FileToRead
from txfiles.log import checkpoint, identity, newest, versions
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.reading import lookup, scan
from txfiles.rows import filelist, filters, types
from txfiles.rows.digests import Digests
from txfiles.rows.text import from_text, to_text
from txfiles.store.memory import MemoryStore

TABLE_ID = "1f0c9c3a5b7d2e46"
VERSION = 3
ROOT = "memory://fuzzed"

TYPES = [
    *("int8", "int64", "uint64", "float32", "float64", "string", "bool", "binary", "date32", "date64", "null"),
    *("timestamp[us]", "timestamp[ns, UTC]", "time32[ms]", "time64[ns]", "duration[s]", "fixed_size_binary[3]"),
    *("decimal128(10, 2)", "decimal256(60, 20)"),
]
COLUMNS = {f"c{number}": types.from_spec(spec) for number, spec in enumerate(TYPES)}
TYPED = pa.schema(list(COLUMNS.items()))
CSV_SCHEMA = pa.schema(
    [("i", pa.int64()), ("s", pa.string()), ("f", pa.float64()), ("t", pa.timestamp("us", "UTC")), ("b", pa.binary())]
)


def manifest(data: bytes) -> None:
    """A manifest, as it stands."""
    with contextlib.suppress(TxFilesError):
        found = codec.decode(data, version=VERSION, where="m")
        assert codec.decode(codec.encode(found), version=VERSION, where="m") == found


def sealed_manifest(data: bytes) -> None:
    """A manifest that somebody changed, and sealed again."""
    manifest(sealed(data))


def sealed(data: bytes) -> bytes:
    """The same bytes, vouched for by their own hash."""
    body = data[:at] if (at := data.rfind(b'"sha256"')) >= 0 else data.rstrip(b"} \n") + b", "
    return body + b'"sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def opened_table(data: bytes) -> None:
    """A first manifest that somebody changed and sealed again, and all that a reader does with the table."""
    held = MemoryStore(ROOT.partition("://")[2])
    held.put(names.TABLE_FILE, json.dumps({"format_version": 1, "table_id": TABLE_ID}).encode())
    held.put(names.manifest(0), sealed(data))
    store._memories["fuzzed"] = held
    looks: list[Callable[[tx.Table], Any]] = [
        lambda table: table.schema,
        lambda table: table.properties,
        lambda table: table.files(),
        lambda table: table.file_table(),
        lambda table: table.history(),
        lambda table: table.to_arrow(),
        lambda table: table.lookup([1]),
        lambda table: table.compact(dry_run=True),
        lambda table: table.vacuum(dry_run=True),
        lambda table: table.set(checkpoint_interval=1),
    ]
    with contextlib.suppress(TxFilesError):
        table = tx.Table(ROOT)
        for look in looks:
            with contextlib.suppress(TxFilesError):
                look(table)


def sidecar(data: bytes) -> None:
    """A sidecar's actions."""
    with contextlib.suppress(TxFilesError):
        found = codec.decode_actions(data, table_id=TABLE_ID, where="s")
        assert codec.decode_actions(codec.encode_actions(found), table_id=TABLE_ID, where="s") == found


def saved_checkpoint(data: bytes) -> None:
    """A checkpoint, and what is done with the list of files in it."""
    with contextlib.suppress(TxFilesError):
        found = checkpoint.decode(data, None, where="c")
        again = checkpoint.encode(found.state, found.files)
        twice = checkpoint.decode(again, None, where="c")
        assert checkpoint.encode(twice.state, twice.files) == again
        for file in filelist.data_files(found.files):
            names.decode_path(file.path)
        filelist.total_rows(found.files)
        types.arrow_schema(found.state.table.columns)


def checkpoint_content(data: bytes) -> None:
    """A checkpoint that is well-formed Parquet with other values in it, and all that a reader does with the table."""
    try:
        document = json.loads(data)
        kinds = {field.name: field.type for field in filelist.schema(())}
        columns = {name: pa.array(found, kinds.get(name)) for name, found in document["files"].items()}
        files = pa.table(columns).replace_schema_metadata({b"txfiles": json.dumps(document["saved"]).encode()})
        sink = pa.BufferOutputStream()
        pq.write_table(files, sink)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, pa.ArrowException):
        return  # what is no table cannot be written as one
    content = sink.getvalue().to_pybytes()
    saved_checkpoint(content)
    with contextlib.suppress(TxFilesError):
        held = MemoryStore(ROOT.partition("://")[2])
        snapshot = checkpoint.decode(content, None, where="c")
        session = Session(held, environment.real(), SnapshotCache())
        for look in (
            lambda: scan.read(session, snapshot, None, None),
            lambda: scan.parquet_dataset(session, snapshot),
            lambda: lookup.lookup(session, snapshot, [1], None),
        ):
            with contextlib.suppress(TxFilesError):
                look()


def hint(data: bytes) -> None:
    """The hint is a number, or nothing."""
    held = MemoryStore()
    held.put(names.HINT_FILE, data)
    found = newest.read_hint(held)
    assert found is None or 0 <= found.version <= 2**62
    assert found is None or found.checkpoint is None or found.checkpoint.version < found.version
    with contextlib.suppress(TxFilesError):
        assert versions.head(Session(held, environment.real())) is None


def table_file(data: bytes) -> None:
    """`table.json` gives an id in the right form."""
    held = MemoryStore()
    held.put(names.TABLE_FILE, data)
    with contextlib.suppress(TxFilesError):
        assert re.fullmatch("[0-9a-f]{16}", identity.table_id(held) or "")


def path(data: bytes) -> None:
    """A manifest's path: inside the root and spelt in one way, or refused."""
    text = data.decode("utf-8", "surrogateescape")
    name = names.decode_path(text)
    if name is None:
        assert not names.is_data_path(text, TABLE_ID)
        assert not names.is_deletable(text, TABLE_ID)
        return
    assert names.encode_path(name) == text
    assert not set(name.split("/")) & {"", ".", ".."}
    assert "\0" not in name
    if names.is_deletable(text, TABLE_ID):
        assert names.manifest_version(name) is None
        assert name not in (names.TABLE_FILE, names.HINT_FILE, names.LOCK_FILE)
    if names.is_data_path(text, TABLE_ID):
        assert not name.startswith(names.LOG_DIR)
        assert TABLE_ID in name


def vector(data: bytes) -> None:
    """The bytes of a deletion vector: positions in order that come back as they are, or an error of ours."""
    with contextlib.suppress(CorruptTableError):
        found = vectors.decode(data, most=FUZZED_ROWS, where="v")
        assert len(found) <= FUZZED_ROWS
        assert vectors.decode(vectors.encode(found), most=len(found), where="v").tolist() == found.tolist()


FUZZED_ROWS = 100_000


def index_run(data: bytes) -> None:
    """A run of the key index: what it answers to one question is what it answers to another, or it is no use."""
    for content in (data, vouched(data)):
        with contextlib.suppress(UnusableRunError):
            run = runs.open_run(Mapped(content))
            total = int(run.cover.rows.sum())
            with contextlib.suppress(UnusableRunError):
                run.probe(Digests(np.arange(9, dtype=np.uint64) << np.uint64(60), np.zeros(9, np.uint32)))
            pieces = list(run.pieces())
            found = Digests.join([digests for digests, _ in pieces])
            rows = np.concatenate([np.empty(0, np.int64), *(rows for _, rows in pieces)])
            assert len(found) == run.entries
            assert ((rows >= 0) & (rows < total)).all()
            files, at = run.locate(rows)
            assert ((at >= 0) & (at < run.cover.rows[files])).all()
            told = {*zip(found.high.tolist(), found.low.tolist(), strict=True)}
            asked = Digests(*(np.array([each[at] for each in told], kind) for at, kind in enumerate(("u8", "u4"))))
            assert sorted(run.probe(asked)[1].tolist()) == sorted(rows.tolist())


def vouched(data: bytes) -> bytes:
    """A run that somebody changed, with checksums that fit again, as far as its own numbers go."""
    cover, head = (int.from_bytes(data[at : at + 8], "little") for at in (-24, -16))
    footer = len(data) - runs.TAIL_BYTES - cover - head
    if footer < 0:
        return data
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        told = json.loads(data[footer + cover : -runs.TAIL_BYTES])
        count = min(-(-told.get("entries", 0) // runs.BLOCK_ENTRIES), footer // 256)
        blocks = np.frombuffer(data, runs._block_type(wide=False), count).copy()
        blocks["check"] = runs._checks(blocks, np.arange(count, dtype=np.uint64), told.get("run"))
        data = blocks.tobytes() + data[256 * count :]
    sealed_part = data[footer : -runs.TAIL_BYTES] + data[-24:]
    return data[: -runs.TAIL_BYTES] + hashlib.sha256(sealed_part).digest() + data[-24:]


def partition(data: bytes) -> None:
    """A partition's folder: one segment, which gives back its column and value."""
    column, _, value = data.decode("utf-8", "replace").partition("\0")
    if not column:
        return
    folder = names.partition_folder(column, value)
    assert "/" not in folder
    assert folder not in (".", "..")
    name = f"{folder}/{names.data_file(TABLE_ID, '0' * 32, 0, 'csv')}"
    assert names.decode_path(names.encode_path(name)) == name
    assert names.is_data_name(name, TABLE_ID) is (len(folder.encode()) <= names.SEGMENT_LIMIT_BYTES)
    left, _, right = folder.partition("=")
    assert names._hive_unescape(left) == column
    assert names._hive_unescape(right) == (value or names.NULL_FOLDER)


class _Files:
    """One data file in memory, as a store and as a sink."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        """The file, by any name."""
        return pa.BufferReader(bytes(self.content))

    def write(self, data: Any) -> int:
        """Append."""
        self.content += memoryview(data)
        return memoryview(data).nbytes

    def close(self) -> None:
        """It stands already."""

    def abort(self) -> None:
        """Nobody asks again."""


def csv_file(data: bytes) -> None:
    """A CSV data file of declared types; its log's entry is made to fit, so that all of it is parsed."""
    sha256 = hashlib.sha256(data).hexdigest()
    with contextlib.suppress(TxFilesError):
        try:
            rows = _rows("csv", data, FileToRead("f", "f", len(data), 0, sha256))
        except CorruptTableError as error:
            told = re.search(r"it has (\d+) rows", error.message)
            if told is None:
                raise
            rows = _rows("csv", data, FileToRead("f", "f", len(data), int(told[1]), sha256))
        sink = _Files()
        with formats.get("csv").writer(sink, CSV_SCHEMA, WriteOptions()) as writer:
            writer.write(rows)
            facts = writer.close()
        again = FileToRead("f", "f", facts.bytes, facts.rows, facts.sha256)
        back = _rows("csv", bytes(sink.content), again)
        assert str(back.to_pydict()) == str(rows.to_pydict())


def parquet_file(data: bytes) -> None:
    """A Parquet data file whose footer the log vouches for, whatever stands in it.

    Not its statistics: pyarrow 26 ends the process where a column's histogram in the footer is of another length than
    its schema says. A footer is compared with its hash, so that takes somebody who may write the log.
    """
    size = min(len(data), int.from_bytes(data[-8:-4], "little") + 8)
    footer = hashlib.sha256(data[len(data) - size :]).hexdigest()
    for rows in (3, 0):
        with contextlib.suppress(TxFilesError):
            _rows("parquet", data, FileToRead("f", "f", len(data), rows, "0" * 64, size, footer))


def parquet_input(data: bytes) -> None:
    """A Parquet file that a user hands over; whether its text is text is the writer's to ask."""
    _input(data, ".parquet")


def _rows(form: str, data: bytes, file: FileToRead) -> pa.Table:
    with formats.get(form).open(_Files(data), file, CSV_SCHEMA) as opened:
        tables = [group.read(CSV_SCHEMA.names) for group in opened.groups()]
    return pa.concat_tables([CSV_SCHEMA.empty_table(), *tables])


def csv_input(data: bytes) -> None:
    """A CSV file that a user hands over, its types inferred; compressed, if it begins like gzip."""
    _input(data, ".csv.gz" if data[:2] == b"\x1f\x8b" else ".csv")


def _input(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        Path(folder, "in" + suffix).write_bytes(data)
        with contextlib.suppress(TxFilesError):
            source = inputs.source(os.path.join(folder, "in" + suffix))
            try:
                source.read(None).table.validate(full=suffix != ".parquet")
            finally:
                source.close()


def where(data: bytes) -> None:
    """The three words of `--where`, against a column of each type."""
    column, _, rest = data.decode("utf-8", "surrogateescape").partition("\0")
    op, _, value = rest.partition("\0")
    context = click.Context(click.Command("read"))
    param = click.Option(["--where"], nargs=3, multiple=True)
    with contextlib.suppress(TxFilesError, click.ClickException):
        conditions = params.conditions(context, param, ((column, op, value),))
        assert filters.parse(conditions, TYPED) is not None
        TYPED.empty_table().filter(filters.parse(conditions, TYPED).expression)


def option_values(data: bytes) -> None:
    """Values of properties, durations and points in time; what is read once is read again as the same."""
    text = data.decode("utf-8", "surrogateescape")
    values: list[Any] = [text]
    with contextlib.suppress(ValueError, RecursionError):
        values.append(json.loads(data))
    for value in values:
        for name in properties.PROPERTIES:
            with contextlib.suppress(OptionError):
                found = properties.read_properties({name: value})
                assert properties.read_properties(found) == found
        with contextlib.suppress(OptionError):
            assert properties.duration_us(value) >= 0
        with contextlib.suppress(OptionError):
            assert isinstance(times.point_us(value), int)


def typed_text(data: bytes) -> None:
    """A type's spelling in the log, and the text of a value of each type."""
    text = data.decode("utf-8", "replace")
    specs: list[Any] = [text]
    with contextlib.suppress(ValueError, RecursionError):
        specs.append(json.loads(data))
    for spec in specs:
        with contextlib.suppress(CorruptTableError):
            assert types.to_spec(types.from_spec(spec)) == spec
    for kind in COLUMNS.values():
        with contextlib.suppress(CorruptTableError, UnsupportedTypeError):
            found = from_text(pa.array([text]), kind, error=CorruptTableError)
            again = to_text(found)
            assert from_text(again, kind).equals(found) or pa.types.is_floating(kind)


TARGETS: dict[str, Callable[[bytes], None]] = {
    found.__name__: found
    for found in (
        manifest,
        sealed_manifest,
        opened_table,
        sidecar,
        saved_checkpoint,
        checkpoint_content,
        hint,
        table_file,
        path,
        vector,
        index_run,
        partition,
        csv_file,
        parquet_file,
        parquet_input,
        csv_input,
        where,
        option_values,
        typed_text,
    )
}

NATIVE = frozenset({"saved_checkpoint", "parquet_file", "parquet_input"})
"""What goes into Arrow's Parquet reader as it is: run in a process of its own, which may die without ours."""
