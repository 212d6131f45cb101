"""The live rows of a data file: the one way by which every reader and writer sees them.

A file is a sequence of groups (Parquet row groups, CSV blocks) in a fixed order; a group reads the
columns it is asked for, those of the partition among them, in the table's types.

Source: specs/2-layout.md, "Data files".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from txfiles import formats
from txfiles.core import names
from txfiles.core.manifest import TableMetadata
from txfiles.errors import CorruptTableError
from txfiles.formats.common import FileToRead, Group
from txfiles.rows import types
from txfiles.rows.filelist import DataFile
from txfiles.store.port import Store


@dataclass(frozen=True)
class LiveGroup:
    """Some successive rows of a file.

    Attributes:
        first_row: position of its first row in the file.
        rows: how many.
    """

    first_row: int
    rows: int
    _group: Group
    _partition: pa.Table
    _schema: pa.Schema

    def read(self, columns: Sequence[str]) -> pa.Table:
        """The rows' values in these columns, in this order, in the table's types."""
        constant = set(self._partition.column_names)
        stored = self._group.read([name for name in columns if name not in constant])
        arrays = [
            pa.repeat(self._partition[name][0], self.rows) if name in constant else stored[name] for name in columns
        ]
        return pa.table(arrays, schema=pa.schema([self._schema.field(name) for name in columns]))

    def bounds(self, column: str) -> tuple[pa.Scalar, pa.Scalar] | None:
        """The least and greatest value of a column, or None where that is not known for sure."""
        if column in self._partition.column_names:
            value = self._partition[column][0]
            return (value, value) if value.is_valid else None
        return self._group.bounds(column)


def groups(store: Store, table: TableMetadata, file: DataFile) -> Iterator[LiveGroup]:
    """The groups of a live file, in order.

    Raises:
        CorruptTableError: the file is missing, is not as the log says, or cannot be decoded.
    Cost: opens the file once; rows are read group by group, as asked for.
    """
    name = data_name(file.path)
    schema = types.arrow_schema(table.columns)
    stored = pa.schema([field for field in schema if field.name not in table.partition_by])
    to_read = FileToRead(
        name=name,
        path=store.url(name),
        bytes=file.bytes,
        rows=file.rows,
        sha256=file.sha256,
        footer_bytes=file.footer_bytes,
        footer_sha256=file.footer_sha256,
    )
    partition = partition_values(table, schema, file)
    first_row = 0
    with formats.get(table.format).open(store, to_read, stored) as opened:
        for group in opened.groups():
            yield LiveGroup(first_row, group.rows, group, partition, schema)
            first_row += group.rows


def data_name(path: str) -> str:
    """The store's name of a live file. Raises `CorruptTableError` for a path that only a hostile checkpoint holds."""
    name = names.decode_path(path)
    if name is None:
        raise CorruptTableError(f"{path[:200]!r} is no path of a data file", file=path)
    return name


def partition_values(table: TableMetadata, schema: pa.Schema, file: DataFile) -> pa.Table:
    """The partition columns of a file, as one row in the table's types.

    Raises:
        CorruptTableError: a value is none of its column's type, or the column is of no type to partition by.
    """
    fields = [schema.field(name) for name in table.partition_by]
    unfit = [field for field in fields if not (types.is_partition_type(field.type) or pa.types.is_null(field.type))]
    if unfit:
        raise CorruptTableError(
            f"the log of the table partitions by {unfit[0].name!r}, whose type {unfit[0].type} cannot stand in a path",
            hint="restore _txfiles/ from one backup",
        )
    values = [
        types.from_text(pa.array([text], pa.string()), field.type, error=CorruptTableError)
        for field, text in zip(fields, file.partition, strict=True)
    ]
    return pa.table(values, schema=pa.schema(fields)) if fields else pa.table({})
