"""What the log records of adopted CSV files: it comes back, what no adopt would record is refused, it never changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from tests.strategies import TABLE_ID
from txfiles.core import codec, replay
from txfiles.core.csv_dialect import CSV_DIALECT, CsvColumn, CsvDialect
from txfiles.core.manifest import Manifest, Metrics, Operation, TableMetadata
from txfiles.core.schema import Column
from txfiles.errors import CorruptTableError, UnsupportedTableError

DIALECT = CsvDialect(
    table_id=TABLE_ID,
    columns=(CsvColumn(id=1, type="int64", nulls=("NA",)),),
    sep=";",
    encoding="cp1252",
    decimal=",",
    na_values=("-",),
    header=False,
    quotechar="'",
)
TABLE = TableMetadata(
    format="csv",
    columns=(Column(id=1, name="a", type="int64"),),
    last_column_id=2,
    required_features=(CSV_DIALECT,),
    csv_dialect=DIALECT,
)


def manifest(table: TableMetadata | None = TABLE, version: int = 0, parent: str | None = None) -> Manifest:
    return Manifest(
        format_version=1,
        version=version,
        table_id=TABLE_ID,
        commit_id="0" * 32,
        parent_sha256=parent,
        time=f"2026-11-28T00:00:0{version}.000000Z",
        operation=Operation(name="append"),
        metrics=Metrics(),
        table=table,
    )


def changed(**fields: Any) -> bytes:
    """A sealed manifest with other fields in its dialect, or in its table action; None takes one out."""
    document = json.loads(codec.encode(manifest()))
    del document["sha256"]
    for name, value in fields.items():
        place = document["table"] if name in document["table"] else document["table"]["csv_dialect"]
        place[name] = value
        if value is None:
            del place[name]
    unsealed = json.dumps(document).encode()[:-1] + b", "
    return unsealed + b'"sha256": "' + codec.sha256(unsealed).encode() + b'"}'


def decoded(data: bytes) -> Manifest:
    return codec.decode(data, version=0, where="here")


def test_it_comes_back() -> None:
    """Every field is written and read; a table without a dialect has none in its manifest."""
    assert decoded(codec.encode(manifest())).table == TABLE
    assert b"csv_dialect" not in codec.encode(manifest(replace(TABLE, csv_dialect=None, required_features=())))


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "parquet"},
        {"required_features": []},
        {"last_column_id": 0},
        {"table_id": "0" * 16},
        {"table_id": None},
        {"sep": ";;"},
        {"sep": "\n"},
        {"sep": "\0"},
        {"sep": "é"},
        {"sep": "'"},
        {"quotechar": ";"},
        {"decimal": ";"},
        {"header": 0},
        {"na_values": "x"},
        {"encoding": "x" * 41},
    ],
    ids=str,
)
def test_what_no_adopt_would_record(fields: dict[str, Any]) -> None:
    """A dialect that contradicts its table or itself is damage, whatever the seal says."""
    with pytest.raises(CorruptTableError):
        decoded(changed(**fields))


@pytest.mark.parametrize(
    "columns",
    [
        [{"id": 1, "type": "int64"}, {"id": 1, "type": "string"}],
        [{"id": 3, "type": "int64"}],
        [{"id": 0, "type": "int64"}],
        [{"id": 1, "type": {"list": "int64"}}],
        [{"id": 1, "type": "int64", "nulls": [1]}],
    ],
    ids=str,
)
def test_columns_that_no_adopt_would_record(columns: list[Any]) -> None:
    """Each column once, with an id that was given out and a flat type."""
    document = json.loads(codec.encode(manifest()))
    del document["sha256"]
    document["table"]["csv_dialect"]["columns"] = columns
    unsealed = json.dumps(document).encode()[:-1] + b", "
    with pytest.raises(CorruptTableError):
        decoded(unsealed + b'"sha256": "' + codec.sha256(unsealed).encode() + b'"}')


@pytest.mark.parametrize("encoding", ["klingon", "zlib", "rot13", "base64", "\0", "é"])
def test_an_unknown_encoding(encoding: str) -> None:
    """An encoding that this Python does not have, or that is not one of text, is named."""
    with pytest.raises(UnsupportedTableError, match="encoding"):
        decoded(changed(encoding=encoding))


def test_releases_that_do_not_know_it_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """The required feature stops every reader that would misread the files."""
    monkeypatch.setattr(codec, "KNOWN_FEATURES", codec.KNOWN_FEATURES - {CSV_DIALECT})
    with pytest.raises(UnsupportedTableError, match="csv_dialect"):
        decoded(codec.encode(manifest()))


@pytest.mark.parametrize("later", [None, replace(DIALECT, sep=",")])
def test_it_never_changes(later: CsvDialect | None) -> None:
    """A later table action that drops or changes the dialect is damage; one that repeats it is fine."""
    state = replay.apply(None, manifest(), "0" * 64, table_id=TABLE_ID)
    same = manifest(replace(TABLE, properties={"compression": "zstd"}), 1, "0" * 64)
    assert replay.apply(state, same, "1" * 64, table_id=TABLE_ID).table.csv_dialect == DIALECT
    other = manifest(replace(TABLE, csv_dialect=later), 1, "0" * 64)
    with pytest.raises(CorruptTableError, match="how adopted CSV files are read"):
        replay.apply(state, other, "1" * 64, table_id=TABLE_ID)
