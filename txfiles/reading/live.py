"""The live rows of a table: the one view by which every reader and writer sees them.

A file is a sequence of groups (Parquet row groups, CSV blocks) in a fixed order. A group knows where its live rows are
in the file, and reads the columns that it is asked for, including partition columns, in the table's types. *Physical*
rows are those that a data file holds; *live* rows are those that belong to the table: all but the *marked* ones, which
the file's deletion vector names. Only this module and `reading.marked` know of vectors; everyone else asks them.

Source: specs/2-layout.md, "Data files"; specs/4-semantics.md, "Reading".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles import formats
from txfiles.core import names
from txfiles.core.manifest import ADOPTED_FILES, COLUMN_MAPPING, TableMetadata
from txfiles.core.messages import shown
from txfiles.errors import CorruptTableError, NeedsLiveViewError
from txfiles.formats.common import Group, OpenFile
from txfiles.formats.parquet_groups import Encoded
from txfiles.formats.source import FileToRead
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading.marked import NONE_MARKED, MarkedRows
from txfiles.rows import adopted_csv, filelist, types
from txfiles.rows.adopted_csv import AdoptedCsv
from txfiles.rows.filelist import DataFile
from txfiles.rows.text import from_text
from txfiles.rows.typenames import type_text


@dataclass(frozen=True)
class LiveGroup:
    """The live rows among some successive rows of a file.

    Attributes:
        first_row: position in the file of its first physical row.
        physical_rows: how many rows of the file it spans.
        marked: which of them are marked, ascending, counted from `first_row`.
    """

    first_row: int
    physical_rows: int
    marked: np.ndarray
    _group: Group
    _partition: pa.Table
    _schema: pa.Schema

    @property
    def rows(self) -> int:
        """How many live rows it has."""
        return self.physical_rows - len(self.marked)

    @cached_property
    def positions(self) -> np.ndarray:
        """Where its live rows are in the file, ascending."""
        found = np.arange(self.first_row, self.first_row + self.physical_rows)
        return found[self._is_live] if len(self.marked) else found

    @cached_property
    def _is_live(self) -> np.ndarray:
        live = np.ones(self.physical_rows, np.bool_)
        live[self.marked] = False
        return live

    def read(self, columns: Sequence[str]) -> pa.Table:
        """The live rows' values in these columns, in this order, in the table's types."""
        constant = set(self._partition.column_names)
        stored = self._group.read([name for name in columns if name not in constant])
        if len(self.marked) and stored.num_columns:
            stored = stored.filter(pa.array(self._is_live))
        arrays = [
            pa.repeat(self._partition[name][0], self.rows) if name in constant else stored[name] for name in columns
        ]
        return pa.table(arrays, schema=pa.schema([self._schema.field(name) for name in columns]))

    def expect(self, columns: Sequence[str]) -> None:
        """Announce reads of these columns: if that takes requests, the file's next read sends all of them together."""
        constant = set(self._partition.column_names)
        self._group.expect([name for name in columns if name not in constant])

    def bounds(self, column: str) -> tuple[pa.Scalar, pa.Scalar] | None:
        """Two values between which a column's values lie, or None if that is not certain."""
        if column in self._partition.column_names:
            value = self._partition[column][0]
            return (value, value) if value.is_valid else None
        return self._group.bounds(column)

    def nulls(self, column: str) -> int | None:
        """How many of a column's live values are null; None: not known without reading them."""
        if column in self._partition.column_names:
            return 0 if self._partition[column][0].is_valid else self.rows
        return None if len(self.marked) else self._group.nulls(column)

    def encoded(self) -> Encoded | None:
        """The rows as they are encoded in the file; None if they cannot be copied. See `formats.common.Group`."""
        return None if len(self.marked) else self._group.encoded()

    def locate(self, positions: np.ndarray) -> tuple[slice, np.ndarray]:
        """Find some live rows of the file in this group.

        Args:
            positions: of live rows in the file, ascending.
        Returns:
            Which of `positions` are in this group, and which of its live rows they are.
        """
        ends = np.searchsorted(positions, [self.first_row, self.first_row + self.physical_rows])
        mine = slice(int(ends[0]), int(ends[1]))
        places = positions[mine] - self.first_row
        return mine, places - np.searchsorted(self.marked, places)


@contextmanager
def opened(session: Session, table: TableMetadata, file: DataFile, marked: MarkedRows) -> Iterator[list[LiveGroup]]:
    """Open a live file: its groups that have live rows, in order, which can be read until the file is closed.

    Args:
        session: where the file is.
        table: whose file it is.
        file: the file.
        marked: which rows are marked, of this file and of those that will be opened after it.

    Raises:
        CorruptTableError: the file or its vector is missing, does not match the log, or cannot be decoded.
    Cost: opens the file once; rows are read group by group, as asked for. Its vector is read beside the footer.
    """
    name = data_name(file.path)
    schema = types.arrow_schema(table.columns)
    stored = pa.schema([field for field in schema if field.name not in table.partition_by])
    columns = _own_columns(table, file)
    to_read = FileToRead(
        name=name,
        path=session.store.url(name),
        bytes=file.bytes,
        rows=file.rows,
        sha256=file.sha256,
        footer_bytes=file.footer_bytes,
        footer_sha256=file.footer_sha256,
        columns=columns,
        csv=_adopted_csv(table, file, columns),
    )
    partition = partition_values(table, schema, file)
    with ExitStack() as stack:

        def begin() -> OpenFile:
            return stack.enter_context(formats.get(table.format).open(session.store, to_read, stored))

        if file.vector is None:
            source, positions = begin(), NONE_MARKED
        else:
            source, positions = session.both(begin, lambda: marked.of(file))
        found, first_row = [], 0
        for group in source.groups():
            low, high = np.searchsorted(positions, [first_row, first_row + group.rows])
            if high - low < group.rows or not group.rows:
                mine = positions[low:high] - first_row
                found.append(LiveGroup(first_row, group.rows, mine, group, partition, schema))
            first_row += group.rows
        yield found


def _own_columns(table: TableMetadata, file: DataFile) -> tuple[str, ...]:
    """The names by which to read the columns of a file, in its order: current names, and placeholders for dropped ones.

    Raises:
        CorruptTableError: the log names a column twice, or a partition column.
    """
    ids = table.stored_ids if file.columns is None else file.columns
    by_id = {column.id: column.name for column in table.columns}
    found = tuple(by_id.get(column, f"\0{column}") for column in ids)
    if len(set(found)) < len(found) or not set(table.partition_by).isdisjoint(found):
        raise CorruptTableError(
            f"the log says that {file.path} holds a column twice, or a partition column",
            hint="restore all of _txfiles/ from one backup",
            file=file.path,
        )
    return found


def _adopted_csv(table: TableMetadata, file: DataFile, columns: Sequence[str]) -> AdoptedCsv | None:
    """How a CSV file is read that the table did not write; None for any other file."""
    dialect = table.csv_dialect
    if dialect is None or names.is_data_path(file.path, dialect.table_id):
        return None
    return adopted_csv.of_file(dialect, table.stored_ids if file.columns is None else file.columns, columns)


def groups(
    session: Session, table: TableMetadata, file: DataFile, columns: Sequence[str], marked: MarkedRows
) -> Iterator[LiveGroup]:
    """The groups of a live file, in order, while it is open; these columns of all of them will be read."""
    with opened(session, table, file, marked) as found:
        yield from expected(found, columns)


def expected(found: Sequence[LiveGroup], columns: Sequence[str]) -> Sequence[LiveGroup]:
    """The same groups of one file; these columns of all of them will be read. Cost: nothing is read."""
    for group in found:
        group.expect(columns)
    return found


def live_rows(file: DataFile) -> int:
    """How many live rows a file has."""
    return file.live_rows


def seen_otherwise(snapshot: Snapshot) -> np.ndarray:
    """Which live files a tool that reads them on its own would see with other rows, columns or types than the table's.

    A file that names its columns has them in another way than the table, or was brought back from a version in which
    it did.

    Cost: vectorised over the files.
    """
    files, dialect = snapshot.files, snapshot.state.table.csv_dialect
    found = np.asarray(pc.or_(pc.is_valid(files["vector"]), _has_other_columns(snapshot)), np.bool_)
    if dialect is not None:  # the files that it did not write are in another form, each
        found |= filelist.foreign(files, dialect.table_id)
    found |= _adopted_apart(snapshot)
    return found


def named_otherwise(snapshot: Snapshot) -> np.ndarray:
    """Which live files may have a column under the name of another one of the table's. Cost: vectorised."""
    files, state = snapshot.files, snapshot.state
    if COLUMN_MAPPING not in state.table.required_features:
        return np.zeros(files.num_rows, np.bool_)
    brought_back = pc.and_(pc.is_valid(files["columns"]), pc.greater_equal(files["added_version"], state.columns_since))
    return np.asarray(pc.or_(pc.less(files["added_version"], state.names_since), brought_back), np.bool_)


def _has_other_columns(snapshot: Snapshot) -> pa.ChunkedArray:
    files = snapshot.files
    # After a restore the table may have the very columns again that its files say they have.
    own = pc.binary_join(files["columns"].cast(pa.list_(pa.string())), ",")
    differ = pc.fill_null(pc.not_equal(own, ",".join(map(str, snapshot.state.table.stored_ids))), fill_value=False)
    return pc.or_(differ, pc.less(files["added_version"], snapshot.state.columns_since))


def refuse_plain_readers(snapshot: Snapshot, where: str) -> None:
    """Refuse to hand out files if a tool that reads them on its own would not see the table's rows and columns.

    Raises:
        NeedsLiveViewError: rows of a live file are marked, or it has other columns or types: it was added before these
            last changed, or was adopted so, or it is an adopted CSV file.
    Cost: vectorised over the files.
    """
    marked = filelist.marked(snapshot.files)
    if marked.num_rows:
        raise NeedsLiveViewError(
            f"{filelist.marked_rows(marked)} deleted rows are still in {marked.num_rows} data file(s) of {where}: a "
            f"tool that reads the files itself would see them",
            hint="read with to_arrow(), to_batches() or dataset(), or hand the Table itself to DuckDB, polars or "
            "pandas; compact(plain=True) or `txfiles compact PATH --plain` writes such files anew; "
            "files(physical=True) or `txfiles files --physical` lists the files anyway",
            file=marked["path"][0].as_py(),
        )
    dialect = snapshot.state.table.csv_dialect
    foreign = marked
    if dialect is not None:
        foreign = snapshot.files.filter(pa.array(filelist.foreign(snapshot.files, dialect.table_id)))
    if foreign.num_rows:
        raise NeedsLiveViewError(
            f"{foreign.num_rows} adopted CSV file(s) of {where} keep their form: a tool that reads the files itself "
            "would have to be told it, and the table's own files have another one",
            hint="read with to_arrow(), to_batches() or dataset(), or hand the Table itself to DuckDB, polars or "
            "pandas; compact(plain=True) or `txfiles compact PATH --plain` writes them anew in the table's form; "
            "files(physical=True) or `txfiles files --physical` lists the files anyway",
            file=foreign["path"][0].as_py(),
        )
    apart = snapshot.files.filter(pa.array(_adopted_apart(snapshot)))
    if apart.num_rows:
        raise NeedsLiveViewError(
            f"{apart.num_rows} adopted file(s) of {where} have other columns or types than the table: a tool that "
            "reads the files itself would not see the table's",
            hint="read with to_arrow(), to_batches() or dataset(), or hand the Table itself to DuckDB, polars or "
            "pandas; compact(plain=True) or `txfiles compact PATH --plain` writes such files anew; "
            "files(physical=True) or `txfiles files --physical` lists the files anyway",
            file=apart["path"][0].as_py(),
        )
    older = snapshot.files.filter(_has_other_columns(snapshot))
    if older.num_rows:
        raise NeedsLiveViewError(
            f"{older.num_rows} data file(s) of {where} are older than version {snapshot.state.columns_since}, which "
            f"changed the columns: a tool that reads the files itself would not see the table's names and types",
            hint="read with to_arrow(), to_batches() or dataset(), or hand the Table itself to DuckDB, polars or "
            "pandas; compact(plain=True) or `txfiles compact PATH --plain` writes such files anew; "
            "files(physical=True) or `txfiles files --physical` lists the files anyway",
            file=older["path"][0].as_py(),
        )


def _adopted_apart(snapshot: Snapshot) -> np.ndarray:
    """Which files were adopted with other columns or types than the table has."""
    if ADOPTED_FILES not in snapshot.state.table.required_features:
        return np.zeros(snapshot.files.num_rows, np.bool_)
    return np.asarray(pc.is_valid(snapshot.files["columns"]), np.bool_)


def data_name(path: str) -> str:
    """The store's name of a live file. Raises `CorruptTableError` for a path that only a hostile checkpoint has."""
    name = names.decode_path(path)
    if name is None:
        raise CorruptTableError(f"{shown(path)} is not the path of a data file", file=path)
    return name


def partition_values(table: TableMetadata, schema: pa.Schema, file: DataFile) -> pa.Table:
    """The partition columns of a file, as one row in the table's types.

    Raises:
        CorruptTableError: a value is not of its column's type, or no table can be partitioned by that type.
    """
    fields = [schema.field(name) for name in table.partition_by]
    unfit = [field for field in fields if not (types.is_partition_type(field.type) or pa.types.is_null(field.type))]
    if unfit:
        raise CorruptTableError(
            f"the log of the table partitions by {unfit[0].name!r}, whose type {type_text(unfit[0].type)} cannot be "
            "in a path",
            hint="restore all of _txfiles/ from one backup",
        )
    values = [
        from_text(pa.array([text], pa.string()), field.type, error=CorruptTableError)
        for field, text in zip(fields, file.partition, strict=True)
    ]
    return pa.table(values, schema=pa.schema(fields)) if fields else pa.table({})
