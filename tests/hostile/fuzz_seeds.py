"""Valid bytes for each target to begin with, made here, and pieces that are worth putting anywhere."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.fuzz_targets import CSV_SCHEMA, TABLE_ID, TYPES, VERSION, _Files
from txfiles import formats
from txfiles.core import codec, names
from txfiles.core.manifest import (
    Actions,
    Add,
    CheckpointRef,
    ColumnStats,
    KeyRange,
    Manifest,
    Mark,
    Metrics,
    Operation,
    Remove,
    RunKey,
    SidecarRef,
    TableMetadata,
    Vacuum,
    Vector,
)
from txfiles.core.replay import BatchRecord, State
from txfiles.core.schema import Column
from txfiles.formats import vectors
from txfiles.formats.common import WriteOptions
from txfiles.formats.index_run import Cover, write_run
from txfiles.log import checkpoint
from txfiles.rows import filelist
from txfiles.rows.digests import Digests

ID = "0123456789abcdef" * 2
HASH = "a" * 64
PART = f"p=x%2525/{names.data_file(TABLE_ID, ID, 0, 'parquet')}"
OTHER = f"p=x%2525/{names.data_file(TABLE_ID, ID, 1, 'parquet')}"
NESTED = {"struct": [{"name": "l", "type": {"list": "string"}}, {"name": "m", "type": {"map": ["int32", "date32"]}}]}

PIECES = [
    *(b"null true false NaN Infinity -Infinity -0.0 1e400 -1 0 1.5 4611686018427387905 18446744073709551616".split()),
    *(b'" "" \\ \\u0000 \\ud800 \\udc00 {} [] {"a":1} , : ; \n \r \r\n \t = % %2F %2e%2e .. . / // ../'.split(b" ")),
    *(b"\0", b"\xef\xbb\xbf", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8", b"\x80" * 8),
    *(b"s3://b/x", b"file:///etc/passwd", b"/etc/passwd", b"C:\\x", b"a=__HIVE_DEFAULT_PARTITION__", b"0x10", b"1_0"),
    *(b"9" * 400, b"1" * 5_000, b"[" * 2_000, b'{"a":' * 2_000, b"a" * 9_000, b"1e5", b"0001-01-01", b"9999-99-99"),
    *(b"2026-11-24T03:44:00.000001Z", b"24:00:00", b"23:59:60", b"\xd9\xa1\xd9\xa2d", b"99999999999999d", b"7d", b"0"),
]

JSON_VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**62, 2**62 + 1, 2**63, 2**64, 10**400, 0.5, 1e300, "", "a"),
    *([], {}, [[]], [None], {"": ""}, "../x", "/etc/passwd", "\0", "é", "A" * 5_000, "int32", "parquet", "csv", HASH),
    *(ID, TABLE_ID, PART, OTHER, NESTED, "2026-11-24T03:44:00.000001Z", "9999-99-99T99:99:99.999999Z", "zz", "\ud800"),
    *("_txfiles/log/00000000000000000000.json", "checkpoint_interval", "decimal128(99, 1)", {"list": {"list": "null"}}),
]


def _table(**changed: Any) -> TableMetadata:
    columns = [Column(id=number, name=f"c{number}", type=spec) for number, spec in enumerate([*TYPES, NESTED], 1)]
    known: dict[str, Any] = {
        "format": "parquet",
        "columns": (*columns, Column(id=99, name="p", type="string")),
        "last_column_id": 99,
        "partition_by": ("p",),
        "keys": ("c2", "p"),
        "properties": {"checkpoint_interval": 20, "vacuum_retain": "7d", "compression": "zstd"},
        "extra": {"later": [1, {"x": None}]},
    }
    return TableMetadata(**(known | changed))


def _add(path: str = PART) -> Add:
    return Add(
        path=path,
        rows=3,
        bytes=1_000,
        sha256=HASH,
        footer_bytes=100,
        footer_sha256=HASH,
        partition=("x%25",),
        stats={"2": ColumnStats(nulls=0, min="-1", max="7"), "6": ColumnStats(nulls=1, min="a", exact=False)},
        key_range=KeyRange(columns=(2, 99), min="80", max="ff00"),
    )


def _manifest(version: int, **changed: Any) -> bytes:
    known: dict[str, Any] = {
        "format_version": 1,
        "version": version,
        "table_id": TABLE_ID,
        "commit_id": ID,
        "parent_sha256": HASH if version else None,
        "time": "2026-11-24T03:44:00.000001Z",
        "operation": Operation(name="upsert", keys=("c2",), batch_id="b", user_metadata={"who": "me"}),
        "metrics": Metrics(rows_in=3, rows_inserted=3, files_added=1),
        "table": None if version else _table(),
        "add": (_add(),),
    }
    return codec.encode(Manifest(**(known | changed)))


def _state() -> tuple[State, pa.Table]:
    table = _table()
    files = filelist.from_adds([(_add(), 1), (_add(OTHER), 2)], table.columns, table.keys)
    batches = {"b": BatchRecord(1, "upsert", (2,))}
    return State(VERSION, TABLE_ID, ID, HASH, 1_700_000_000_000_000, table, batches, 0, None), files


def _checkpoint_content() -> bytes:
    """A checkpoint of a table of one partition column, as a document."""
    table = _table(columns=(Column(id=1, name="p", type="string"),), last_column_id=1, keys=(), extra={})
    files = filelist.from_adds([(_add(), 1), (_add(OTHER), 2)], table.columns, table.keys)
    saved = pq.read_schema(pa.BufferReader(checkpoint.encode(replace(_state()[0], table=table), files))).metadata
    bounds = {"key_min": ["a", None], "key_max": ["b", None], "min.1": [None, "a"], "max.1": ["z", None]}
    listed = {name: bounds.get(name) or files[name].to_pylist() for name in files.column_names}
    return json.dumps({"saved": json.loads(saved[b"txfiles"]), "files": listed}).encode()


def _rows() -> pa.Table:
    columns = [[1, None, -5], ["a", '"x",\n', ""], [0.5, None, -0.0], [0, 1, None], [b"\0\xff", b"", None]]
    return pa.table([pa.array(found, kind) for found, kind in zip(columns, CSV_SCHEMA.types, strict=True)], CSV_SCHEMA)


def _data_file(form: str, rows: pa.Table) -> bytes:
    sink = _Files()
    with formats.get(form).writer(sink, rows.schema, WriteOptions()) as writer:
        writer.write(rows)
        writer.close()
    return bytes(sink.content)


def _plain_parquet(**options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(_rows(), buffer, **options)
    return buffer.getvalue()


def _mark() -> Mark:
    vector = Vector(file=names.vectors(TABLE_ID, ID, 1), offset=0, bytes=20, sha256=HASH, rows=1)
    return Mark(path=OTHER, vector=vector)


def _index_run(keys: int, files: int) -> bytes:
    """A run of some keys in some files, a few of them there twice."""
    sink = _Files()
    counts = np.array([keys + 2] + [1] * (files - 1), np.int64)[:files]
    cover = Cover(pa.array([PART, OTHER, "p=x/ü"][:files], pa.string()), counts)
    high = np.sort(np.arange(keys, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    digests = Digests(np.repeat(high, 2)[:keys], np.arange(keys, dtype=np.uint32))
    key = RunKey(columns=(1,), kinds=("integer",), code=1, secret=ID)
    write_run(sink, ID, key, cover, digests=digests, rows=np.arange(keys, dtype=np.int64))
    return bytes(sink.content)


def seeds() -> dict[str, list[bytes]]:
    """For each target, valid bytes to begin with."""
    later = [
        _manifest(VERSION),
        _manifest(
            VERSION,
            add=(),
            remove=(Remove(path=PART),),
            checkpoint=CheckpointRef(version=1, id=ID, bytes=9, sha256=HASH),
        ),
        _manifest(VERSION, add=(), sidecar=SidecarRef(name=names.sidecar(VERSION, ID), bytes=9, sha256=HASH)),
        _manifest(VERSION, table=_table(), vacuum=Vacuum(oldest_readable_version=2, deletes=(OTHER,))),
        _manifest(VERSION, add=(), mark=(_mark(),)),
    ]
    csv_file = _data_file("csv", _rows())
    parquet_files = [
        _data_file("parquet", _rows()),
        _data_file("parquet", _rows().slice(0, 0)),
        *(_plain_parquet(compression=codec_name) for codec_name in ("none", "gzip", "zstd", "lz4", "brotli")),
        _plain_parquet(data_page_version="2.0", use_dictionary=True, row_group_size=1),
    ]
    csv_input = b'a,b,c\n1,"x ""y""",2026-11-24\n,,\n-7,"",2026-01-01T00:00:00Z\r\n'
    return {
        "manifest": later,
        "sealed_manifest": later,
        "opened_table": [_manifest(0), _manifest(0, add=()), _manifest(0, table=_table(format="csv", keys=()), add=())],
        "sidecar": [
            codec.encode_actions(Actions(add=(_add(),), remove=(Remove(path=OTHER),))),
            codec.encode_actions(Actions(add=(_add(),), mark=(_mark(),))),
            codec.encode_actions(Actions(deletes=(PART, "_txfiles/log/.tmp-" + ID))),
        ],
        "saved_checkpoint": [checkpoint.encode(*_state())],
        "checkpoint_content": [_checkpoint_content()],
        "hint": [b'{"version": 3}', b'{"version":12345678901}\n'],
        "table_file": [json.dumps({"format_version": 1, "table_id": TABLE_ID}).encode()],
        "path": [
            PART.encode(),
            OTHER.encode(),
            b"_txfiles/checkpoints/" + b"0" * 20 + b"-" + b"0" * 32 + b".parquet",
            b"a/./b",
            b"../x",
        ],
        "vector": [vectors.encode(np.arange(*given)) for given in ((0,), (1, 2), (5_000,), (9, 200_000, 7))],
        "index_run": [_index_run(*given) for given in ((0, 0), (0, 1), (3, 2), (15, 1), (40, 3))],
        "partition": [b"country\0DE", b"a=b\0x/y%2F", b"p\0", b"..\0..", "é\0ß".encode()],
        "csv_file": [csv_file, csv_file[: csv_file.index(b"\n") + 1], _data_file("csv", _rows().slice(1, 1))],
        "parquet_file": parquet_files,
        "parquet_input": parquet_files,
        "csv_input": [csv_input, b"\xef\xbb\xbf" + csv_input, gzip.compress(csv_input, mtime=0), b"a\n\n1\n"],
        "where": [
            f"c{number}\0{op}\0{value}".encode()
            for number, (op, value) in enumerate(
                [
                    ("=", "1"),
                    ("<=", "-1"),
                    (">", "0"),
                    ("!=", "1.5"),
                    ("in", "1,2"),
                    ("not in", 'a,"b,c"'),
                    ("is", "null"),
                ]
            )
        ]
        + [b"c11\0>=\x002026-11-24T03:44:00", b"c8\0=\x002026-11-24", b"c17\0=\x001.25", b"c7\0=\0AP8="],
        "option_values": [*(b"7d 12h 0 zstd 1_000 2147483648 true 1.5 2026-11-24T03:44:00+01:00".split()), b'{"a":1}'],
        "typed_text": [
            json.dumps(NESTED).encode(),
            *(b"decimal128(10, 2)", b"timestamp[us, UTC]", b"fixed_size_binary[3]", b"2026-11-24 03:44:00.5"),
            *(b"12.50", b"-0", b"1e5", b"NaN", b"true", b"10:00:00.123"),
            b"2026-11-24T03:44:00.000001Z",
            b"AP8=",
        ],
    }
