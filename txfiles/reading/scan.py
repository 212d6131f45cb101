"""Reading a snapshot's rows: prune, read the live rows, keep those that match.

Source: specs/4-semantics.md, "Reading".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import TableMetadata
from txfiles.core.messages import few, nearest
from txfiles.errors import CorruptTableError, InputError
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading.live import LiveGroup, data_name, opened, partition_values, whole_files
from txfiles.rows import filelist, filters, prune, types
from txfiles.rows.filelist import DataFile
from txfiles.store import port
from txfiles.store.common import missing

if TYPE_CHECKING:
    import pyarrow.dataset as ds


def read(session: Session, snapshot: Snapshot, columns: Sequence[str] | None, where: Any) -> pa.Table:
    """All rows of a snapshot that match, in the table's order.

    Args:
        session: where the files are.
        snapshot: what to read.
        columns: which columns, in which order; None is all.
        where: None, an Arrow expression, or conditions that all hold.
    Raises:
        InputError: an unknown column, or a filter that does not fit the schema.
        CorruptTableError: a file is missing or damaged.
    Cost: the asked columns, and those of the filter, of the row groups that may match; in parallel by file.
    """
    table = snapshot.state.table
    schema = types.arrow_schema(table.columns)
    wanted = check_columns(schema, columns)
    found = filters.parse(where, schema)
    files = snapshot.files
    if found is not None:
        files = files.filter(pa.array(may_match(files, table, found)))
    pieces = [
        piece
        for of_file in session.environment.map(
            lambda file: _matching(session, table, file, wanted, found), filelist.data_files(files)
        )
        for piece in of_file
    ]
    target = pa.schema([schema.field(name).remove_metadata() for name in wanted])
    return pa.concat_tables([piece.cast(target) for piece in pieces]) if pieces else target.empty_table()


def parquet_dataset(session: Session, snapshot: Snapshot) -> ds.Dataset:
    """The live Parquet files as a pyarrow dataset that prunes by what the log knows of them.

    Raises:
        CorruptTableError: a file is missing, is not of its size, or is a link or a pipe.
    Cost: a stat for each file.
    """
    import pyarrow.dataset as ds  # here: it imports pandas where there is one, 0.2 s that only this needs

    table = snapshot.state.table
    schema = types.arrow_schema(table.columns)
    layout = ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    )
    file_system, root = port.arrow(session.store)
    fragments = []
    for file in whole_files(snapshot.files):
        values = partition_values(table, schema, file)
        guarantee = pc.scalar(value=True)
        for name in table.partition_by:
            value = values[name][0]
            guarantee &= (pc.field(name) == value) if value.is_valid else pc.field(name).is_null()
        inside = data_name(file.path)
        _check_is_file(session, file, inside)
        fragments.append(layout.make_fragment(f"{root}/{inside}", file_system, partition_expression=guarantee))
    plain = pa.schema([field.remove_metadata() for field in schema])
    return ds.FileSystemDataset(fragments, plain, layout, file_system)


def _check_is_file(session: Session, file: DataFile, name: str) -> None:
    """Arrow opens by path: it would follow a link out of the table, and wait for a pipe."""
    entry = session.store.stat(name)
    where = session.store.url(name)
    if entry is None:
        raise missing(where)
    if entry.bytes != file.bytes:
        raise CorruptTableError(
            f"{where} is damaged: it has {entry.bytes} bytes, the log says {file.bytes}", file=where
        )


def check_columns(schema: pa.Schema, columns: Sequence[str] | None) -> list[str]:
    """The columns to read. Raises `InputError` for none, for one that is not there or stands twice."""
    if not isinstance(columns, Iterable | None):
        raise InputError(f"columns is a list of names, not {columns!r}", hint=f"there are {few(schema.names)}")
    wanted = list(schema.names if columns is None else [columns] if isinstance(columns, str) else columns)
    if not wanted or len(set(wanted)) < len(wanted):
        raise InputError(
            "columns names a column twice" if wanted else "columns names no column",
            hint="name each column once, or leave columns out for all of them",
        )
    known = set(schema.names)
    for name in wanted:
        if name not in known:
            raise InputError(
                f"the table has no column {name!r}{nearest(str(name), schema.names)}",
                hint=f"its columns are {few(schema.names)}",
            )
    return wanted


def may_match(files: pa.Table, table: TableMetadata, where: filters.Filter) -> np.ndarray:
    """Which files of a list may hold a matching row."""
    by_name = {column.name: column for column in table.columns}

    def bounds(name: str) -> prune.Known:
        column = by_name[name]
        return prune.Known(*filelist.bounds(files, column), files[f"nulls.{column.id}"])

    return _judge(bounds, files.num_rows, where, types.arrow_schema(table.columns))


def mask(rows: pa.Table, where: filters.Filter) -> np.ndarray:
    """Which rows match; a row for which the filter is unknown does not."""
    marked = rows.append_column("\0row", pa.array(np.arange(rows.num_rows)))
    keep = np.zeros(rows.num_rows, bool)
    keep[marked.filter(where.expression)["\0row"].to_numpy()] = True
    return keep


def _matching(
    session: Session, table: TableMetadata, file: DataFile, wanted: list[str], where: filters.Filter | None
) -> list[pa.Table]:
    """The matching rows of one file, group by group."""
    with opened(session.store, table, file) as groups:
        if where is None:
            return [group.read(wanted) for group in groups]
        needed = list(dict.fromkeys([*wanted, *where.columns]))
        may = _groups_may_match(groups, table, where)
        return [
            groups[position].read(needed).filter(where.expression).select(wanted) for position in np.flatnonzero(may)
        ]


def _groups_may_match(groups: Sequence[LiveGroup], table: TableMetadata, where: filters.Filter) -> np.ndarray:
    schema = types.arrow_schema(table.columns)

    def bounds(name: str) -> prune.Known | None:
        found = [group.bounds(name) for group in groups]
        kind = schema.field(name).type
        if not any(found):
            return None
        low, high = zip(*((None, None) if pair is None else pair for pair in found), strict=True)
        return prune.Known(_scalars(low, kind), _scalars(high, kind))

    return _judge(bounds, len(groups), where, schema)


def _scalars(values: Sequence[pa.Scalar | None], kind: pa.DataType) -> pa.Array:
    none = pa.scalar(None, kind)
    return pa.concat_arrays([pa.repeat(none if value is None else value.cast(kind), 1) for value in values])


def _judge(bounds: prune.Bounds, count: int, where: filters.Filter, schema: pa.Schema) -> np.ndarray:
    if where.conditions is not None:
        return prune.by_conditions(bounds, count, where.conditions)
    return prune.by_expression(bounds, count, where.expression, schema, where.columns)
