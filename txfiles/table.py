"""`Table`: a table pinned to one version, a handle on what a target opened. What commits is in `changes`."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from txfiles import inputs, targets
from txfiles.api import Path, place
from txfiles.arguments import public
from txfiles.changes import Changes
from txfiles.core.manifest import PropertyValue
from txfiles.core.messages import shown
from txfiles.diffs import Diff
from txfiles.errors import OptionError, TableNotFoundError
from txfiles.findings import VerifyOptions, VerifyResult
from txfiles.options import Progress, check_switch, no_progress
from txfiles.results import Commit, CompactResult
from txfiles.store import secret_options
from txfiles.store.port import Lock
from txfiles.targets.protocol import OpenTable, Place, TableState, Target

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import pyarrow.dataset as ds


class Table(Changes):
    """A table at one version. Later commits by others are not visible until `refresh`.

    It pickles with its version, for process pools, dask and ray; see `__reduce__`.

    Args:
        path: the table's folder.
        format: what kind of table it is, as in `write`; it is needed only where a folder does not tell.
        version: open it as it was at this version, read-only.
        timestamp: or as it was at this time (a datetime or ISO 8601 text, with a zone), read-only.
        storage_options: for a bucket: those of its library (s3fs), and `request_timeout` in seconds; folders take none.
        lock: for `delete`, `set`, `compact`, `index` and `vacuum`, as in `write`.
    Raises:
        TableNotFoundError: there is no table, or no such version.
        SnapshotExpiredError: a vacuum has deleted files of that version.
        CorruptTableError: the log is damaged.
    Cost: the newest checkpoint and the manifests after it.
    """

    @public
    def __init__(
        self,
        path: Path,
        *,
        format: str | None = None,
        version: int | None = None,
        timestamp: datetime | str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        lock: Lock | None = None,
    ) -> None:
        where = place(path, storage_options, lock, format)
        self._target: Target = targets.for_place(where)
        self._opened: OpenTable = self._target.open(where)
        if format not in {None, self.format}:
            raise OptionError(f"the table's format is {self.format!r}, not {format!r}", hint="leave format out")
        self._read_only = version is not None or timestamp is not None
        if self._read_only:
            self._opened = self._at(version, timestamp)

    def __repr__(self) -> str:
        return f"Table({self.path!r}, version={self.version})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the place and the version; unpickling opens the table again, in any process.

        The pickle contains the storage options, `${NAME}` as it was given: each process reads its own environment.

        Raises:
            OptionError: a storage option may be secret, or the lock cannot be pickled.
        """
        where = self._opened.place
        secret_options.require_none(where.storage_options or {}, f"the Table at {self.path}")
        _require_picklable(where.lock)
        return _reopen, (where, self.version, self._opened.identity, self._read_only)

    def __copy__(self) -> Table:
        return _handle(self._target, self._opened, read_only=self._read_only)

    def __deepcopy__(self, _: object) -> Table:
        return self.__copy__()  # what was opened is a value

    @property
    def backend(self) -> str | None:
        """The library through which a bucket is reached, such as `s3fs`; None for a folder."""
        return self._opened.backend

    @property
    def backend_reason(self) -> str | None:
        """Why a bucket is not reached through a faster library; None if it is, or if the storage options chose."""
        return self._opened.backend_reason

    @property
    def format(self) -> str:
        """``parquet`` or ``csv``."""
        return self._state.format

    @property
    def schema(self) -> pa.Schema:
        """Columns and types."""
        return self._state.schema

    @property
    def keys(self) -> tuple[str, ...]:
        """The recorded keys; empty until a keyed write is committed."""
        return self._state.keys

    @property
    def timestamp_col(self) -> str | None:
        """The column that says which row is newer."""
        return self._state.timestamp_col

    @property
    def partition_by(self) -> tuple[str, ...]:
        """The partition columns."""
        return self._state.partition_by

    @property
    def properties(self) -> dict[str, PropertyValue]:
        """Every property with the value in force."""
        return dict(self._state.properties)

    @property
    def row_count(self) -> int:
        """The number of rows, from the log: no data file is read."""
        return self._opened.row_count()

    @public
    def to_arrow(self, columns: Sequence[str] | None = None, filter: Any = None) -> pa.Table:
        """Read the rows into an Arrow table.

        Args:
            columns: which columns, in which order; None is all.
            filter: an Arrow expression, or ``[(column, op, value), …]``, all of which must hold; a row for which
                it is unknown (null) does not match.
        Raises:
            InputError: an unknown column or operator, or a value that does not fit.
            CorruptTableError: a file is missing or damaged.
            SnapshotExpiredError: a vacuum has deleted files of this version since it was opened.
        Cost: the columns named, of the files and row groups that may match.
        """
        return self._opened.to_arrow(columns, filter)

    @public
    def to_batches(
        self, columns: Sequence[str] | None = None, filter: Any = None, batch_rows: int | None = None
    ) -> pa.RecordBatchReader:
        """Stream the rows as Arrow batches, in the order of `to_arrow`; `columns` and `filter` as there.

        Args:
            columns: which columns, in which order; None is all.
            filter: an Arrow expression or a list of conditions.
            batch_rows: the most rows of a batch; None: those of a row group.
        Returns:
            A reader, to be used once. Dropping or closing it closes the files that it has open.
        Raises:
            InputError, CorruptTableError, SnapshotExpiredError: as `to_arrow`; the last two also from the reader.
        Cost: a few row groups in memory; the first batch decodes one.
        """
        if batch_rows is not None and (
            isinstance(batch_rows, bool) or not isinstance(batch_rows, int) or batch_rows < 1
        ):
            raise OptionError(f"batch_rows must be a whole number of at least 1, not {shown(batch_rows)}")
        return self._opened.to_batches(columns, filter, batch_rows)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export the rows as an Arrow stream: DuckDB, polars, pandas and others accept a `Table` directly."""
        return self.to_batches().__arrow_c_stream__(requested_schema)

    @public
    def to_pandas(
        self, columns: Sequence[str] | None = None, filter: Any = None, dtype_backend: str | None = None
    ) -> pd.DataFrame:
        """Read the rows into a pandas DataFrame; arguments as in `to_arrow`.

        Integers and booleans that hold nulls get nullable dtypes, unless `dtype_backend` (``numpy_nullable``
        or ``pyarrow``) says what all columns get.
        """
        return inputs.to_pandas(self.to_arrow(columns, filter), dtype_backend)

    @public
    def to_polars(self, columns: Sequence[str] | None = None, filter: Any = None) -> pl.DataFrame:
        """Read the rows into a polars DataFrame; arguments as in `to_arrow`."""
        return inputs.to_polars(self.to_arrow(columns, filter))

    @public
    def to_spark(self, spark: Any, columns: Sequence[str] | None = None, filter: Any = None) -> Any:
        """Return the rows as a Spark DataFrame of this version; `columns` and `filter` as in `to_arrow`.

        Spark's own Parquet reader reads the files if it would see exactly the table's rows and columns in them.
        Otherwise tasks read them with txfiles, which every executor then needs.

        Args:
            spark: the session.
            columns: which columns, in which order; None is all.
            filter: an Arrow expression or a list of conditions; what is filtered in Spark afterwards is pruned less.
        Raises:
            InputError: an unknown column or operator, or a value that does not fit.
            UnsupportedTypeError: Spark has no type for a column, such as a time of day; it is named.
            UnsupportedVerbError: the table is not of Parquet or CSV files.
        Cost: nothing is read yet but the list of files. A column in nanoseconds, or of unsigned integers, keeps
            Spark's own reader from reading any.
        """
        return self._with("to_spark").to_spark(spark, columns, filter)

    @public
    def dataset(self) -> ds.Dataset:
        """Return a pyarrow dataset of the live files (Parquet), or of the rows in memory (CSV, fully verified).

        Raises:
            CorruptTableError: a file is missing, or does not match the log.
            SnapshotExpiredError: a vacuum has deleted files of this version since it was opened.
        Cost: Parquet: a stat and a few objects for each file, nothing is read yet. CSV: the whole table.
        """
        return self._with("dataset").dataset()

    @public
    def files(self, *, physical: bool = False) -> list[str]:
        """List the live data files as absolute paths or URLs, ready for `duckdb.read_parquet` and the like.

        Args:
            physical: list them even if their columns differ from the table's.
        Raises:
            NeedsLiveViewError: some files are older than a change of the columns, so a tool that reads them on its own
                would not see the table's names and types.
        """
        return self._with("files").files(physical=physical)

    @public
    def file_table(self, *, physical: bool = False) -> pa.Table:
        """List the live data files as an Arrow table.

        Args:
            physical: as in `files`.
        Returns:
            `path` as in `files`, `rows`, `bytes`, `added_version`, `partition` (text), and for each column its
            `nulls`, `min` and `max`, null if they are not known.
        """
        return self._with("file_table").file_table(physical=physical)

    @public
    def history(self, limit: int | None = None) -> list[Commit]:
        """List the commits up to this version, newest first; at most `limit`. Cost: one small read each."""
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise OptionError(f"limit must be a whole number, not {shown(limit)}")
        return self._with("history").history(limit)

    @public
    def at(self, *, version: int | None = None, timestamp: datetime | str | None = None) -> Table:
        """Return the table as it was at a version or at a point in time, read-only.

        Args:
            version: a version number.
            timestamp: a datetime or ISO 8601 text, with a zone: the last version committed at or before it.
        Raises:
            TableNotFoundError: no such version.
            SnapshotExpiredError: a vacuum has deleted files of that version.
        """
        return _handle(self._target, self._at(version, timestamp), read_only=True)

    @public
    def diff(self, a: int | datetime | str, b: int | datetime | str | None = None) -> Diff:
        """Compare the rows of two versions.

        With keys, rows are matched by them; without, whole rows are, as often as they occur. Rows are in the columns of
        the second version: columns that it adds are null in rows of the first, those that it drops do not count. Where
        a type has changed, it is the wider one.

        Args:
            a: a version, or a datetime or ISO 8601 text, with a zone: the last version committed at or before it.
            b: what it is compared with, in the same way; by default the version of this table.
        Returns:
            A `Diff`: `inserted`, `updated` and `deleted` with their `count` and streams of rows, `updated_before`, and
            `changes()` with all of them.
        Raises:
            TableNotFoundError: no such version.
            SnapshotExpiredError: a vacuum has deleted files of one of them.
            UnsupportedVerbError: the table is not of Parquet or CSV files.
        Cost: reads all columns of the files that differ, once, and keeps about 26 bytes for each of their rows in
            memory; of a file in which other rows are marked, only those. Each stream reads the row groups with its
            rows.
        """
        return self._with("diff").diff(a, b)

    @public
    def refresh(self) -> Table:
        """Move to the newest version, and return the table itself."""
        self._require_writable("refresh")
        self._opened = self._with("refresh").newest()
        return self

    @public
    def lookup(self, keys: Any, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the rows that have these keys, in the table's order.

        Args:
            keys: scalars for one key column, tuples for several (or one of them alone), or a table or frame
                with the key columns. A key that is null, or out of the column's range, matches nothing.
            columns: which columns to return; None is all.
        Raises:
            InputError: the keys have a type that never mixes with that of the key columns.
        Cost: the key columns of the row groups whose key range contains one of them.
        """
        table = inputs.as_table(keys)
        return self._with("lookup").lookup(keys if table is None else table, columns)

    @public
    def verify(self, *, deep: bool = False, progress: Callable[[Progress], None] | None = None) -> VerifyResult:
        """Check the log, and the files of this version. Nothing is written, and no cache is believed.

        `txfiles.verify` does the same for a table that is so damaged that it cannot be opened.

        Args:
            deep: read the data files, too, and compare their rows with what the log says of them.
            progress: called with how far it is.
        Returns:
            What was checked, and each problem with a hint that says how to mend it.
        Raises:
            SnapshotExpiredError: a vacuum has deleted files of this version since it was opened.
            StoreError: the folder cannot be listed.
        Cost: as `txfiles.verify`.
        """
        check_switch("deep", deep)
        where, options = self._opened.place, VerifyOptions(deep=deep, progress=progress or no_progress)
        return targets.verifier(where).verify(where, self.version, options)

    def worth_compacting(self) -> CompactResult | None:
        """What `compact()` would do to this version, as a dry run says it, if that is worth it; None if it is not.

        It is worth it if a quarter of the rows of some file are deleted, or if it would leave ten files fewer, and a
        tenth of all files.

        Cost: the list of files; no data file is read.
        """
        return self._with("compact").worth_compacting()

    @property
    def _state(self) -> TableState:
        return self._opened.state

    def _at(self, version: int | None, timestamp: datetime | str | None) -> OpenTable:
        if version is None and timestamp is None:
            raise OptionError("at() needs a version or a timestamp", hint="pass version=… or timestamp='…'")
        if version is not None and timestamp is not None:
            raise OptionError("version and timestamp cannot be combined", hint="pass one of them")
        return self._with("at").at(version, timestamp)


def _handle(target: Target, opened: OpenTable, *, read_only: bool) -> Table:
    table = object.__new__(Table)
    table._target, table._opened, table._read_only = target, opened, read_only
    return table


def _reopen(where: Place, version: int, identity: str, read_only: bool) -> Table:  # noqa: FBT001 - so pickle calls it
    """Unpickle a `Table`."""
    target = targets.for_place(where)
    opened = target.open(where)
    if opened.state.version != version:
        opened = opened.at(version, None)
    if opened.identity != identity:
        raise TableNotFoundError(
            f"the table at {opened.path} is not the one that was pickled: version {version} is another commit",
            hint="it was deleted and created again in the meantime; open it again",
            version=version,
        )
    return _handle(target, opened, read_only=read_only)


def _require_picklable(lock: Lock | None) -> None:
    if lock is None or isinstance(lock, str | os.PathLike):
        return
    try:
        pickle.dumps(lock)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise OptionError(
            f"a Table whose lock is a {type(lock).__qualname__} cannot be pickled: {error}",
            hint="give the path of the lock file as lock=…, or open the table in the other process",
        ) from error
