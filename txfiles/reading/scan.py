"""Reading a snapshot's rows: prune, read the live rows, keep those that match.

Source: specs/4-semantics.md, "Reading".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import ADOPTED_FILES, TableMetadata
from txfiles.core.messages import few, nearest
from txfiles.errors import CorruptTableError, InputError, NeedsLiveViewError
from txfiles.formats.source import INT96_UNIT
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading.live import LiveGroup, data_name, expected, named_otherwise, opened, partition_values
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist, filters, prune, types
from txfiles.rows.filelist import DataFile
from txfiles.store import port
from txfiles.store.common import missing

if TYPE_CHECKING:
    import pyarrow.dataset as ds

HELD_IN_MEMORY_BYTES = 256 * 1024 * 1024
"""A dataset holds the rows of some files, since Arrow would read marked rows too, and finds columns by name. Beyond
this, it refuses."""

LISTED_FILES = 1_000
"""How many files of the list a stream turns into values at a time."""


def read(session: Session, snapshot: Snapshot, columns: Sequence[str] | None, where: Any) -> pa.Table:
    """All rows of a snapshot that match, in the table's order.

    Args:
        session: where the files are.
        snapshot: what to read.
        columns: which columns, in which order; None is all.
        where: None, an Arrow expression, or conditions that must all hold.
    Raises:
        InputError: an unknown column, or a filter that does not fit the schema.
        CorruptTableError: a file is missing or damaged.
    Cost: the requested columns, and those of the filter, of the row groups that may match; in parallel by file.
    """
    scan = _scan(snapshot, columns, where)
    files = filelist.data_files(scan.files)
    marked = MarkedRows(session, files)
    found = session.each(lambda file: _matching(session, scan, file, marked), files)
    pieces = [piece for of_file in found for piece in of_file]
    return pa.concat_tables(pieces) if pieces else scan.target.empty_table()


def stream(
    session: Session, snapshot: Snapshot, columns: Sequence[str] | None, where: Any, batch_rows: int | None
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The rows of `read`, one row group after the other.

    Args:
        session: where the files are.
        snapshot: what to read.
        columns: as in `read`.
        where: as in `read`.
        batch_rows: the most rows of a batch; None: those of a row group.
    Returns:
        The schema, and the batches; closing or dropping the iterator closes the files.
    Raises:
        InputError: as `read`; at once, not with the first batch.
    Cost: the first batch decodes one row group; from the second on, as many at once as the environment maps at a
        time. Memory: those.
    """
    scan = _scan(snapshot, columns, where)
    return scan.target, _batches(session, scan, batch_rows)


def _batches(session: Session, scan: _Scan, batch_rows: int | None) -> Generator[pa.RecordBatch, None, None]:
    files: deque[ExitStack] = deque()

    def groups() -> Iterator[tuple[ExitStack, LiveGroup]]:
        """The groups that may match, each with what keeps its file open."""
        nothing_yet = True
        for start in range(0, scan.files.num_rows, LISTED_FILES):
            listed = filelist.data_files(scan.files.slice(start, LISTED_FILES))
            marked = MarkedRows(session, listed)
            for file in listed:
                files.append(ExitStack())
                found = _may_match_of(files[-1].enter_context(opened(session, scan.table, file, marked)), scan)
                for group in _expected(found, scan.needed, first_alone=nothing_yet):
                    nothing_yet = False
                    yield files[-1], group

    def read(item: tuple[ExitStack, LiveGroup]) -> tuple[ExitStack, pa.Table]:
        return item[0], _matching_of(item[1], scan)

    def results() -> Generator[tuple[ExitStack, pa.Table], None, None]:
        todo = groups()
        yield from map(read, islice(todo, 1))  # whoever wants a few rows only gets them without look-ahead
        yield from session.each(read, todo)

    found = results()
    try:
        for file, rows in found:
            while files[0] is not file:  # results come in order: nobody reads the files before this one any more
                files.popleft().close()
            yield from rows.combine_chunks().to_batches(batch_rows)
    finally:
        found.close()  # first the readers, then their files
        for open_file in files:
            open_file.close()


def _expected(found: Sequence[LiveGroup], columns: Sequence[str], *, first_alone: bool) -> Iterator[LiveGroup]:
    """The groups of a file, whose columns will be read; the first by itself, if it may be all that is wanted."""
    cut = 1 if first_alone else 0
    yield from expected(found[:cut], columns)
    yield from expected(found[cut:], columns)


def parquet_dataset(session: Session, snapshot: Snapshot) -> ds.Dataset:
    """The live Parquet files as a pyarrow dataset that prunes by what the log knows of them.

    Some files are read into memory now: those with marked rows, since Arrow reads whole files; and those from before a
    column was renamed or dropped, and adopted ones with a column that the table ignores, since it goes by their names.

    Raises:
        CorruptTableError: a file is missing, has the wrong size, or is a link or a pipe.
        NeedsLiveViewError: such files have more than `HELD_IN_MEMORY_BYTES`.
    Cost: a stat for each file, many at a time on a slow store; an object of Arrow's for each.
    """
    import pyarrow.dataset as ds  # here: it imports pandas where there is one, 0.2 s that only this needs

    table = snapshot.state.table
    schema = types.arrow_schema(table.columns)
    layout = ds.ParquetFileFormat(
        # int96, of adopted files only: in nanoseconds it would overflow.
        read_options=ds.ParquetReadOptions(coerce_int96_timestamp_unit=INT96_UNIT),
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True),
    )
    file_system, root = port.arrow(session.store)
    files = filelist.data_files(snapshot.files)
    other_names = named_otherwise(snapshot).tolist()
    held = [other or _is_held(table, file) for file, other in zip(files, other_names, strict=True)]
    size = sum(file.bytes for file, is_held in zip(files, held, strict=True) if is_held)
    if size > HELD_IN_MEMORY_BYTES:
        raise NeedsLiveViewError(
            f"{size:,} bytes of the data files of {session.store.root} hold deleted rows, or columns that the table "
            f"ignores or that have names of before a change; a dataset takes up to {HELD_IN_MEMORY_BYTES:,} bytes of "
            "such files into memory",
            hint="read with to_batches(), or run compact(plain=True) first",
        )
    plain = pa.schema([field.remove_metadata() for field in schema])
    fragments: list[ds.Fragment] = []
    children: list[ds.Dataset] = []
    marked = MarkedRows(session, files)

    def end() -> None:
        if fragments or not children:
            children.append(ds.FileSystemDataset(list(fragments), plain, layout, file_system))
        fragments.clear()

    some_file = {file.partition: file for file in files}
    guarantees = {of: _guarantee(partition_values(table, schema, file)) for of, file in some_file.items()}
    inside_of = session.together(lambda file: _checked_name(session, file), files)
    for file, inside, is_held in zip(files, inside_of, held, strict=True):
        if is_held:
            if fragments:
                end()
            whole = _Scan(table, snapshot.files.slice(0, 0), None, plain.names, plain.names, plain)
            children.append(ds.dataset(pa.concat_tables(_matching(session, whole, file, marked))))
            continue
        holds = guarantees[file.partition]
        fragments.append(layout.make_fragment(f"{root}/{inside}", file_system, partition_expression=holds))
    end()
    return children[0] if len(children) == 1 else ds.dataset(children)


def _is_held(table: TableMetadata, file: DataFile) -> bool:
    """Whether Arrow would see other rows in a file, which a dataset therefore holds in memory.

    A file has marked rows; or it was adopted and has a column that the table ignores, perhaps one of the partition's.
    """
    if file.vector is not None:
        return True
    hides = table.partition_by and file.columns is not None and ADOPTED_FILES in table.required_features
    return bool(hides) and not {column.id for column in table.columns} >= set(file.columns or ())


def _guarantee(values: pa.Table) -> pc.Expression:
    """What holds for all rows of a partition."""
    found = pc.scalar(value=True)
    for name in values.column_names:
        value = values[name][0]
        found &= (pc.field(name) == value) if value.is_valid else pc.field(name).is_null()
    return found


def _checked_name(session: Session, file: DataFile) -> str:
    """The store's name of a file that is there and whole.

    Links and pipes are refused: Arrow opens by path, and would follow a link out of the table or block on a pipe.
    """
    name = data_name(file.path)
    entry = session.store.stat(name)
    if entry is None:
        raise missing(session.store.url(name))
    if entry.bytes != file.bytes:
        where = session.store.url(name)
        raise CorruptTableError(
            f"{where} is damaged: it has {entry.bytes} bytes, the log says {file.bytes}", file=where
        )
    return name


def check_columns(schema: pa.Schema, columns: Sequence[str] | None) -> list[str]:
    """The columns to read. Raises `InputError` if there are none, or one does not exist or is named twice."""
    if not isinstance(columns, Iterable | None):
        raise InputError(
            f"columns must be a list of names, not {columns!r}", hint=f"the columns are {few(schema.names)}"
        )
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


def matches(
    session: Session, table: TableMetadata, file: DataFile, where: filters.Filter, marked: MarkedRows
) -> Iterator[tuple[LiveGroup, np.ndarray]]:
    """The groups of a file that may hold a match, each with which of its live rows match.

    For a filter that is not the same for all rows (`same_for_all_rows`).

    Cost: reads the filter's columns of these groups.
    """
    with opened(session, table, file, marked) as groups:
        found = [groups[position] for position in np.flatnonzero(_groups_may_match(groups, table, where))]
        for group in expected(found, where.columns):
            yield group, mask(group.read(where.columns), where)


def same_for_all_rows(table: TableMetadata, file: DataFile, where: filters.Filter) -> bool | None:
    """Whether all rows of a file match, or none does, if the filter names no column but the partition's.

    None if rows have to be read. Cost: nothing is read.
    """
    if not set(where.columns) <= set(table.partition_by):
        return None
    values = partition_values(table, types.arrow_schema(table.columns), file)
    return bool(mask(values if values.num_columns else pa.table({"row": [0]}), where)[0])


def mask(rows: pa.Table, where: filters.Filter) -> np.ndarray:
    """Which rows match; a row for which the filter is unknown does not."""
    marked = rows.append_column("\0row", pa.array(np.arange(rows.num_rows)))
    keep = np.zeros(rows.num_rows, bool)
    keep[where.rows(marked)["\0row"].to_numpy()] = True
    return keep


def refuse_rows_outside(rows: pa.Table, where: filters.Filter) -> None:
    """Refuse rows of a batch that do not match the filter whose rows they are to replace.

    Raises:
        InputError: names the first of them.
    """
    outside = np.flatnonzero(~mask(rows, where))
    refuse_outside(len(outside), outside[:10].tolist())


def refuse_outside(count: int, some: Sequence[int] = ()) -> None:
    """The same for a number of such rows; some of their positions, where they have any."""
    if count:
        where = f", at {', '.join(map(str, some))}" if some else ""
        raise InputError(
            f"the batch has {count} row(s) that do not match replace_where{where}; nothing was written",
            hint="leave them out, or widen replace_where",
            rows=list(some),
        )


@dataclass(frozen=True)
class _Scan:
    """What is to be read.

    Attributes:
        table: whose rows.
        files: those that may hold a matching row.
        where: the filter.
        wanted: the columns to return.
        needed: those and the filter's.
        target: the schema of the rows returned.
    """

    table: TableMetadata
    files: pa.Table
    where: filters.Filter | None
    wanted: list[str]
    needed: list[str]
    target: pa.Schema


def _scan(snapshot: Snapshot, columns: Sequence[str] | None, where: Any) -> _Scan:
    table = snapshot.state.table
    schema = types.arrow_schema(table.columns)
    wanted = check_columns(schema, columns)
    found = filters.parse(where, schema)
    files = (
        snapshot.files if found is None else snapshot.files.filter(pa.array(may_match(snapshot.files, table, found)))
    )
    needed = list(dict.fromkeys([*wanted, *(found.columns if found else ())]))
    return _Scan(
        table, files, found, wanted, needed, pa.schema([schema.field(name).remove_metadata() for name in wanted])
    )


def _matching(session: Session, scan: _Scan, file: DataFile, marked: MarkedRows) -> list[pa.Table]:
    """The matching rows of one file, group by group."""
    with opened(session, scan.table, file, marked) as groups:
        return [_matching_of(group, scan) for group in expected(_may_match_of(groups, scan), scan.needed)]


def _matching_of(group: LiveGroup, scan: _Scan) -> pa.Table:
    rows = group.read(scan.needed)
    if scan.where is not None:
        rows = scan.where.rows(rows).select(scan.wanted)
    return rows.cast(scan.target)


def _may_match_of(groups: Sequence[LiveGroup], scan: _Scan) -> list[LiveGroup]:
    if scan.where is None:
        return list(groups)
    may = _groups_may_match(groups, scan.table, scan.where)
    return [groups[int(position)] for position in np.flatnonzero(may)]


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
