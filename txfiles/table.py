"""`Table`: a table pinned to one version, for reading and for small commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from txfiles import inputs
from txfiles.api import Path, open_session
from txfiles.core import times
from txfiles.core.manifest import PropertyValue
from txfiles.core.messages import shown
from txfiles.core.properties import effective
from txfiles.errors import OptionError
from txfiles.log import versions
from txfiles.log.snapshot import Snapshot
from txfiles.options import Progress, no_progress
from txfiles.reading import live, lookup, scan
from txfiles.reading.live import data_name
from txfiles.results import Commit, VacuumResult, commit_record
from txfiles.rows import filelist, types
from txfiles.store.port import Lock
from txfiles.targets import files

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow.dataset as ds


class Table:
    """A table as it is at one version. What others commit later is not seen until `refresh`.

    Args:
        path: the table's folder.
        version: open it as it was at this version, read-only.
        timestamp: or as it was at this time (a datetime or ISO 8601 text, with a zone), read-only.
        storage_options: for remote stores; local folders take none.
        lock: for `set` and `vacuum`, as in `write`.
    Raises:
        TableNotFoundError: there is no table, or no such version.
        SnapshotExpiredError: vacuum has removed files of that version.
        CorruptTableError: the log is damaged.
    Cost: the newest checkpoint and the manifests after it.
    """

    def __init__(
        self,
        path: Path,
        *,
        version: int | None = None,
        timestamp: datetime | str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        lock: Lock | None = None,
    ) -> None:
        self._session = open_session(path, storage_options, lock)
        newest = versions.require_head(self._session.store, self._session.cache)
        pinned = version is not None or timestamp is not None
        self._pinned = pinned
        self._snapshot = self._at(newest, version, timestamp) if pinned else newest

    def __repr__(self) -> str:
        return f"Table({self.path!r}, version={self.version})"

    @property
    def path(self) -> str:
        """The table's folder."""
        return self._session.store.root

    @property
    def version(self) -> int:
        """The version that is read."""
        return self._snapshot.state.version

    @property
    def format(self) -> str:
        """``parquet`` or ``csv``."""
        return self._snapshot.state.table.format

    @property
    def schema(self) -> pa.Schema:
        """Columns and types."""
        return pa.schema([field.remove_metadata() for field in types.arrow_schema(self._snapshot.state.table.columns)])

    @property
    def keys(self) -> tuple[str, ...]:
        """The recorded keys; empty where no keyed write was committed."""
        return self._snapshot.state.table.keys

    @property
    def timestamp_col(self) -> str | None:
        """The column that says which row is newer."""
        return self._snapshot.state.table.timestamp_col

    @property
    def partition_by(self) -> tuple[str, ...]:
        """The partition columns."""
        return self._snapshot.state.table.partition_by

    @property
    def properties(self) -> dict[str, PropertyValue]:
        """Every property with the value in force."""
        return effective(self._snapshot.state.table.properties)

    @property
    def row_count(self) -> int:
        """How many rows it has, by the log: no data file is read."""
        return live.total_rows(self._snapshot.files)

    def to_arrow(self, columns: Sequence[str] | None = None, filter: Any = None) -> pa.Table:
        """The rows as an Arrow table.

        Args:
            columns: which, in which order; None is all.
            filter: an Arrow expression, or ``[(column, op, value), …]``, all of which hold; a row for which
                it is unknown (null) is no match.
        Raises:
            InputError: an unknown column or operator, a value that does not fit.
            CorruptTableError: a file is missing or damaged.
            SnapshotExpiredError: a vacuum has removed files of this version since it was opened.
        Cost: the columns named, of the files and row groups that may match.
        """
        with self._expiry_reported():
            return scan.read(self._session, self._snapshot, columns, filter)

    def to_batches(
        self, columns: Sequence[str] | None = None, filter: Any = None, batch_rows: int | None = None
    ) -> pa.RecordBatchReader:
        """The rows as a stream of Arrow batches, in the order of `to_arrow`; `columns` and `filter` as there.

        Args:
            columns: which, in which order; None is all.
            filter: an Arrow expression or a list of conditions.
            batch_rows: rows of a batch at most; None: those of a row group.
        Returns:
            A reader, to be used once. Dropping or closing it closes the files that it has open.
        Raises:
            InputError, CorruptTableError, SnapshotExpiredError: as `to_arrow`; the last two also from the reader.
        Cost: a few row groups in memory; the first batch decodes one.
        """
        if batch_rows is not None and (
            isinstance(batch_rows, bool) or not isinstance(batch_rows, int) or batch_rows < 1
        ):
            raise OptionError(f"batch_rows is a whole number of at least 1, not {shown(batch_rows)}")
        with self._expiry_reported():
            schema, batches = scan.stream(self._session, self._snapshot, columns, filter, batch_rows)
        return pa.RecordBatchReader.from_batches(schema, self._reported(batches))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The rows as an Arrow stream: DuckDB, polars, pandas and others take a `Table` as it is."""
        return self.to_batches().__arrow_c_stream__(requested_schema)

    def to_pandas(
        self, columns: Sequence[str] | None = None, filter: Any = None, dtype_backend: str | None = None
    ) -> pd.DataFrame:
        """The rows as a pandas DataFrame; arguments as `to_arrow`.

        Integers and booleans that hold nulls get nullable dtypes, unless `dtype_backend` (``numpy_nullable``
        or ``pyarrow``) says what all columns get.
        """
        return inputs.to_pandas(self.to_arrow(columns, filter), dtype_backend)

    def to_polars(self, columns: Sequence[str] | None = None, filter: Any = None) -> pl.DataFrame:
        """The rows as a polars DataFrame; arguments as `to_arrow`."""
        return inputs.to_polars(self.to_arrow(columns, filter))

    def dataset(self) -> ds.Dataset:
        """The rows as a pyarrow dataset: of the live files (Parquet), or in memory (CSV, which is verified whole).

        Raises:
            CorruptTableError: a file is missing, or is not what the log says.
            SnapshotExpiredError: a vacuum has removed files of this version since it was opened.
        Cost: Parquet: a stat and a few objects for each file, nothing is read yet. CSV: the whole table.
        """
        if self.format == "csv":
            import pyarrow.dataset as ds

            return ds.dataset(self.to_arrow())
        with self._expiry_reported():
            return scan.parquet_dataset(self._session, self._snapshot)

    def files(self) -> list[str]:
        """Absolute paths or URLs of the live data files, ready for `duckdb.read_parquet` and its like."""
        return [self._session.store.url(data_name(path)) for path in self._snapshot.files["path"].to_pylist()]

    def file_table(self) -> pa.Table:
        """The live files as an Arrow table.

        Returns:
            `path` as in `files`, `rows`, `bytes`, `added_version`, `partition` (text), and for each column its
            `nulls`, `min` and `max`, null where they are not known.
        """
        table = self._snapshot.state.table
        listed = self._snapshot.files
        columns: dict[str, Any] = {
            "path": pa.array(self.files(), pa.string()),
            "rows": listed["rows"],
            "bytes": listed["bytes"],
            "added_version": listed["added_version"],
            "partition": listed["partition"],
        }
        for column in table.columns:
            low, high = filelist.bounds(listed, column)
            columns |= {
                f"{column.name}.nulls": listed[f"nulls.{column.id}"],
                f"{column.name}.min": low,
                f"{column.name}.max": high,
            }
        return pa.table(columns)

    def history(self, limit: int | None = None) -> list[Commit]:
        """The commits up to this version, newest first. Cost: one small read each."""
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise OptionError(f"limit is a whole number, not {shown(limit)}")
        return [commit_record(manifest) for manifest in versions.history(self._session.store, self.version, limit)]

    def at(self, *, version: int | None = None, timestamp: datetime | str | None = None) -> Table:
        """The table as it was at a version, or at a point in time: read-only."""
        other = object.__new__(Table)
        other._session = self._session
        newest = versions.advance(self._session.store, self._snapshot)
        other._snapshot = self._at(newest, version, timestamp)
        other._pinned = True
        return other

    def refresh(self) -> Table:
        """Move to the newest version. Returns the table itself."""
        self._writable("refresh")
        self._snapshot = versions.advance(self._session.store, self._snapshot)
        return self

    def lookup(self, keys: Any, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows that have these keys, in the table's order.

        Args:
            keys: scalars for one key column, tuples for several (or one of them alone), or a table or frame
                with the key columns. A key that is null, or beyond what the column can hold, is not there.
            columns: which to return; None is all.
        Raises:
            InputError: the keys are of a type that never mixes with the key columns'.
        Cost: the key columns of the row groups in whose key range one of them lies.
        """
        table = inputs.as_table(keys)
        with self._expiry_reported():
            return lookup.lookup(self._session, self._snapshot, keys if table is None else table, columns)

    def set(self, properties: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Change table properties, as a commit; the table moves to it.

        Raises:
            OptionError: an unknown name or value, with the nearest valid word.
        """
        self._writable("set")
        if not isinstance(properties, Mapping | None):
            raise OptionError(f"properties are a mapping of names to values, not {shown(properties)}")
        self._snapshot = files.set_table_properties(self._session, self._snapshot, {**(properties or {}), **more})

    def vacuum(
        self,
        retain: str | timedelta | None = None,
        *,
        keep_versions: int | None = None,
        dry_run: bool = False,
        force: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> VacuumResult:
        """Delete files that no retained version holds, as a commit; the table moves to it.

        Args:
            retain: how long superseded files are kept, such as ``7d``; the property `vacuum_retain` by default.
            keep_versions: keep the newest versions whole in any case.
            dry_run: only say what would be deleted.
            force: go on though orphans outweigh the live files ten to one.
            progress: told how many files are deleted.
        Raises:
            ConfirmationRequiredError: so many orphans look like a lost log.
        Cost: one listing of the folder, and each manifest since the oldest whole version.
        """
        self._writable("vacuum")
        result, self._snapshot = files.vacuum(
            self._session,
            self._snapshot,
            retain=retain,
            keep_versions=keep_versions,
            dry_run=dry_run,
            force=force,
            progress=progress or no_progress,
        )
        return result

    def _at(self, newest: Snapshot, version: int | None, timestamp: datetime | str | None) -> Snapshot:
        if (version is None) == (timestamp is None):
            raise OptionError("say a version or a timestamp, not both")
        if version is not None:
            return versions.at_version(self._session.store, newest.state, version)
        assert timestamp is not None
        return versions.at_time(self._session.store, newest.state, times.point_us(timestamp))

    def _writable(self, verb: str) -> None:
        if self._pinned:
            raise OptionError(
                f"{verb} does not go with a table that is pinned to version {self.version}",
                hint="open it without version or timestamp",
            )

    def _reported(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with self._expiry_reported():
            yield from batches

    def _expiry_reported(self) -> versions.ExpiryReported:
        return versions.ExpiryReported(self._session.store, self._snapshot.state)
