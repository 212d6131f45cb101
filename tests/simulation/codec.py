"""Row files for the simulator: Arrow's own stream, since a Parquet file costs more than all else in a run.

They pass for Parquet files: the simulator is about the log. Missing, short and changed files are noticed as usual.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import pyarrow as pa

from txfiles.formats import common
from txfiles.formats.common import FileWriter, Format
from txfiles.formats.source import FileToRead, damaged, open_input


class Writer(FileWriter):
    """Keeps the rows, and writes them at the end."""

    def _append(self, table: pa.Table) -> None:
        self._kept = [*getattr(self, "_kept", []), table]

    def _finish(self) -> bytes:
        table = pa.concat_tables(self._kept) if hasattr(self, "_kept") else self._schema.empty_table()
        self._sink.write(_encode(table.combine_chunks()))
        return b""


def _encode(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@lru_cache(4096)
def decode(data: bytes) -> pa.Table:
    """The rows of a file."""
    return pa.ipc.open_stream(data).read_all()


def rows(data: bytes, called: Mapping[int, str]) -> list[dict[str, Any]]:
    """The rows of a file by the names of a version, as another reader finds its columns: by the ids in the file."""
    found = decode(data)
    ids = [int(field.metadata[b"PARQUET:field_id"]) for field in found.schema]
    return [
        {called[number]: value for number, value in zip(ids, row, strict=True) if number in called}
        for row in zip(*(column.to_pylist() for column in found.columns), strict=True)
    ]


@dataclass(frozen=True)
class Group:
    """All rows of a file."""

    _table: pa.Table
    _schema: pa.Schema

    @property
    def rows(self) -> int:
        return int(self._table.num_rows)

    def read(self, columns: Sequence[str]) -> pa.Table:
        found = {name: self._table[name] for name in columns if name in self._table.column_names}
        return common.as_schema(found, columns, self._schema, self.rows)

    def bounds(self, column: str) -> None:
        return None

    def expect(self, columns: Sequence[str]) -> None:
        """The file is read whole when it is opened."""


class OpenFile:
    """A file that is as the log says."""

    def __init__(self, files: common.Files, file: FileToRead, schema: pa.Schema) -> None:
        data = open_input(files, file).read()
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise damaged(file, "its checksum is another")
        stored = decode(data)
        self._group = Group(stored if file.columns is None else stored.rename_columns(list(file.columns)), schema)

    def groups(self) -> Iterator[Group]:
        yield self._group

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


FORMAT = Format(
    name="parquet",
    suffix="parquet",
    writer=Writer,
    open=OpenFile,
    check_types=lambda _: None,
    check_rows=lambda *_: None,
)
