"""A Delta table at one version: what txfiles knows of it, its files, and how they are read.

Source: specs/9-targets.md, "Delta".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import TableMetadata
from txfiles.core.plan import Partition
from txfiles.core.schema import Column
from txfiles.errors import (
    CorruptTableError,
    NeedsLiveViewError,
    SnapshotExpiredError,
    StoreError,
    TxFilesError,
)
from txfiles.rows import filters, prune, types
from txfiles.rows.text import to_text
from txfiles.targets.delta import bounds, recorded
from txfiles.targets.delta.client import Client, LogEntry

if TYPE_CHECKING:
    import pyarrow.dataset as ds


@dataclass(frozen=True, eq=False)
class DeltaFile:
    """A data file.

    Attributes:
        path: relative to the table's folder.
        bytes: its size.
        rows: None if the log does not say.
        partition: the text of each partition value.
        fragment: reads it.
    """

    path: str
    bytes: int
    rows: int | None
    partition: Partition
    fragment: Any


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A version.

    Attributes:
        client: where it is.
        handle: deltalake's.
    """

    client: Client
    handle: Any

    @cached_property
    def version(self) -> int:
        """Its number."""
        return int(self.handle.version())

    @cached_property
    def described(self) -> pa.Schema:
        """Columns and types, with Delta's metadata."""
        return pa.schema(self.handle.schema().to_arrow())

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns and types, in normal form."""
        return pa.schema([pa.field(field.name, types.normalise(field.type)) for field in self.described])

    @cached_property
    def table(self) -> TableMetadata:
        """What it is, in the words of every target."""
        names = self.schema.names
        keys, timestamp_col = recorded.roles(self.described)
        columns = tuple(
            Column(id=number, name=field.name, type=types.to_spec(field.type))
            for number, field in enumerate(self.schema, 1)
        )
        return TableMetadata(
            format="parquet",
            columns=columns,
            last_column_id=len(columns),
            partition_by=tuple(self.handle.metadata().partition_columns),
            keys=keys if set(keys) <= set(names) else (),
            timestamp_col=timestamp_col if timestamp_col in names else None,
        )

    @property
    def carrier(self) -> str:
        """The column with which keys are recorded."""
        return recorded.carrier(self.described)

    @cached_property
    def identity(self) -> str:
        """A text that a table created anew does not share."""
        return f"{self.handle.metadata().id} {self.version}"

    @cached_property
    def configuration(self) -> dict[str, str]:
        """Its Delta properties."""
        return dict(self.handle.metadata().configuration)

    @cached_property
    def is_plain(self) -> bool:
        """Whether data files hold exactly the table's columns by name, and only live rows."""
        features = set(self.handle.protocol().reader_features or ())
        mapped = self.configuration.get("delta.columnMapping.mode", "none") != "none"
        return not mapped and not features & {"deletionVectors", "columnMapping"}

    def require_plain(self) -> None:
        """Refuse to list files that a plain reader would read wrongly.

        Raises:
            NeedsLiveViewError: they have deletion vectors or other names of columns.
        """
        if not self.is_plain:
            raise NeedsLiveViewError(
                f"the files of the Delta table at {self.client.url} are not its rows: it has deletion vectors or "
                "column mapping",
                hint="read it with to_arrow, to_pandas or to_polars, or pass physical=True",
                file=self.client.url,
            )

    def require_own_files(self) -> None:
        """Refuse a table that has its rows in files of another.

        Raises:
            UnsupportedTableError: it is a shallow clone.
        """
        self.client.require_own(self.listed["path"].to_pylist())

    @cached_property
    def listed(self) -> pa.Table:
        """What the log says of each file."""
        return pa.table(self.handle.get_add_actions(flatten=False))

    @cached_property
    def files(self) -> list[DeltaFile]:
        """The data files, in the log's order.

        deltalake's own dataset is not used: it leaves out rows of files of which the log does not say a column's range,
        or says it in milliseconds.
        """
        import pyarrow.dataset as ds

        self.require_own_files()
        listed = self.listed
        paths = [unquote(path) for path in listed["path"].to_pylist()]
        sizes = listed["size_bytes"].to_pylist()
        layout = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(coerce_int96_timestamp_unit="us"))
        file_system = self.client.file_system(dict(zip(paths, sizes, strict=True)))
        partitions, values = self._partitions(), self.partition_values
        return [
            DeltaFile(path, size, rows, partition, layout.make_fragment(path, file_system, _guarantee(values, number)))
            for number, (path, size, rows, partition) in enumerate(
                zip(paths, sizes, listed["num_records"].to_pylist(), partitions, strict=True)
            )
        ]

    @cached_property
    def partition_values(self) -> pa.Table:
        """The partition values of each file; one column of nulls if there are none."""
        if not self.table.partition_by:
            return pa.table({"\0": pa.nulls(self.listed.num_rows)})
        values = self.listed["partition"].combine_chunks()
        names = self.table.partition_by
        return pa.table({name: values.field(name).cast(self.schema.field(name).type) for name in names})

    def _partitions(self) -> Iterable[Partition]:
        names = self.table.partition_by
        if not names:
            return [()] * self.listed.num_rows
        return zip(*(to_text(self.partition_values[name]).to_pylist() for name in names), strict=True)

    def may_match(self, where: filters.Filter) -> list[DeltaFile]:
        """The files that may hold a matching row, by the log alone."""

        def known(name: str) -> prune.Known | None:
            low, high = self.bounds(name)
            return None if low.null_count == len(low) else prune.Known(low, high)

        count = len(self.files)
        if not count:
            return []
        if where.conditions is not None:
            may = prune.by_conditions(known, count, where.conditions)
        else:
            may = prune.by_expression(known, count, where.expression, self.schema, where.columns)
        return [self.files[number] for number in np.flatnonzero(may).tolist()]

    def bounds(self, name: str) -> tuple[pa.Array, pa.Array]:
        """The least and the greatest value of a column in each file; null where they are not known."""
        if name in self.table.partition_by:
            values = self.partition_values[name].combine_chunks()
            return values, values
        return bounds.listed(self.listed, name, self.schema.field(name).type)

    @cached_property
    def _dataset(self) -> ds.Dataset:
        import pyarrow.dataset as ds

        layout = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(coerce_int96_timestamp_unit="us"))
        return ds.FileSystemDataset(
            [file.fragment for file in self.files], self.schema, layout, self.client.file_system()
        )

    def dataset(self) -> ds.Dataset:
        """The rows as a dataset: of the files, or in memory where plain readers would not see the table's rows."""
        if self.is_plain:
            return self._dataset
        import pyarrow.dataset as ds

        return ds.dataset(self._scanned(self.schema.names))

    def read(self, names: Sequence[str], where: filters.Filter | None) -> pa.Table:
        """Some columns of the rows that match."""
        target = pa.schema([self.schema.field(name) for name in names])
        if not self.is_plain:
            needed = list(dict.fromkeys([*names, *(where.columns if where else ())]))
            rows = self._scanned(needed)
            return (where.rows(rows) if where else rows).select(list(names)).cast(target)
        with self.reading():
            found = self._dataset.to_table(columns=list(names), filter=where.expression if where else None)
        return found.cast(target)

    def _scanned(self, names: Sequence[str]) -> pa.Table:
        """By deltalake's own reader, which knows column mapping and deletion vectors."""
        self.require_own_files()
        with self.client.failures("read"):
            rows = pa.table(self.handle.scan(columns=list(names)))
        return rows.cast(pa.schema([self.schema.field(name) for name in names]))

    def row_count(self) -> int:
        """From the log, if it says so for every file."""
        counts = self.listed["num_records"]
        if counts.null_count or not self.is_plain:
            return int(self.read(self.schema.names[:1], None).num_rows)
        return int(np.sum(counts.to_numpy())) if len(counts) else 0

    @contextmanager
    def reading(self, file: DeltaFile | None = None) -> Iterator[None]:
        """Context manager that tells what a failure to read one or all data files means.

        Raises:
            SnapshotExpiredError: one is gone, and a newer version has others.
            CorruptTableError: one of the newest version is gone, or one cannot be decoded.
            StoreError: one cannot be read.
        """
        try:
            yield
        except FileNotFoundError as error:
            raise self._gone(self.client.shown(error)) from error
        except (pa.ArrowInvalid, OSError) as error:
            found = self._unreadable([file] if file else self.files)
            if found is None and isinstance(error, pa.ArrowInvalid):  # the filter is at fault
                raise
            told = f"data files of the Delta table at {self.client.url} could not be read: {self.client.shown(error)}"
            raise found or StoreError(told) from error

    def _gone(self, which: str) -> TxFilesError:
        """The error for a data file that is not there."""
        told = f"a data file of version {self.version} of {self.client.url} is gone: {which}"
        if Snapshot(self.client, self.client.load()).identity == self.identity:
            return CorruptTableError(told)
        return SnapshotExpiredError(
            told, hint="a vacuum has deleted it; open the newest version", version=self.version, oldest_readable=None
        )

    def require_files(self) -> None:
        """Check that every data file is there, with the bytes that the log says.

        Raises:
            SnapshotExpiredError, CorruptTableError: as `reading`.
        """
        sizes = self.client.sizes([file.path for file in self.files])
        for file in self.files:
            if file.path not in sizes:
                raise self._gone(file.path)
            if sizes[file.path] != file.bytes:
                raise self._resized(file, sizes[file.path])

    def _resized(self, file: DeltaFile, size: int | None) -> CorruptTableError:
        told = f"{file.path} of the Delta table at {self.client.url} has {size} bytes, not {file.bytes}"
        return CorruptTableError(told, file=file.path)

    def _unreadable(self, files: Iterable[DeltaFile]) -> TxFilesError | None:
        """The error for the first file that cannot be read whole."""
        for file in files:
            told = f"{file.path} of the Delta table at {self.client.url}"
            try:
                file.fragment.to_table(schema=self.schema)
            except pa.ArrowInvalid as error:
                return CorruptTableError(f"{told} cannot be decoded: {self.client.shown(error)}", file=file.path)
            except OSError as error:
                size = self.client.sizes([file.path]).get(file.path)
                if size != file.bytes:
                    return self._resized(file, size)
                return StoreError(f"{told} cannot be read: {self.client.shown(error)}", file=file.path)
        return None

    def log(self, limit: int | None = None) -> Iterator[LogEntry]:
        """The commits up to this version, newest first, as far back as the log goes."""
        last = -1 if limit is None else max(-1, self.version - limit)
        for version in range(self.version, last, -1):
            found = self.client.log_entry(version)
            if found is None:
                return
            yield found


def _guarantee(values: pa.Table, row: int) -> pc.Expression:
    """What holds for every row of a file: its partition values."""
    found = pc.scalar(value=True)
    for name in values.column_names if values.column_names != ["\0"] else ():
        value = values[name][row]
        found &= (pc.field(name) == value) if value.is_valid else pc.field(name).is_null()
    return found
