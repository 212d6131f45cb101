"""The target of plain files, as the layers above see it. its siblings do the work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from txfiles import environment
from txfiles.core import times
from txfiles.core.codec import FORMATS
from txfiles.core.properties import effective
from txfiles.diffs import Diff
from txfiles.errors import TableDetachedError
from txfiles.findings import VerifyOptions, VerifyResult
from txfiles.log import manifests, versions
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.options import DEFAULTS, MODES, CompactOptions, IndexOptions, Request, VacuumOptions
from txfiles.reading import live, lookup, scan
from txfiles.reading.live import data_name
from txfiles.results import (
    AdoptResult,
    Commit,
    CompactResult,
    DetachResult,
    IndexResult,
    Plan,
    Resolution,
    TransactionResult,
    VacuumResult,
    WriteResult,
    commit_record,
)
from txfiles.rows import filelist, types
from txfiles.spark import reading as spark_reading
from txfiles.store import open_store, port
from txfiles.targets.files import attempts, detach, diff, index, restore, strangers, upkeep, writes
from txfiles.targets.files import verify as verifying
from txfiles.targets.protocol import Capabilities, Place, TableState
from txfiles.verbs import AdoptOptions, ColumnChange, DeleteOptions, DetachOptions, RestoreOptions, TransactionOptions

if TYPE_CHECKING:
    import pyarrow.dataset as ds

_SNAPSHOTS = SnapshotCache()


def open_session(place: Place) -> Session:
    """The store at a place, the real environment, and the snapshots that this process has already opened."""
    return Session(open_store(place.path, place.storage_options, lock=place.lock), environment.real(), _SNAPSHOTS)


class FilesTarget:
    """Parquet and CSV folders with txfiles' own log."""

    name = "files"
    capabilities = Capabilities(
        formats=FORMATS,
        modes=frozenset(MODES),
        options=frozenset(DEFAULTS),
        verbs=frozenset(
            (
                "adopt",
                "at",
                "compact",
                "dataset",
                "delete",
                "detach",
                "drop_column",
                "diff",
                "file_table",
                "files",
                "history",
                "index",
                "lookup",
                "refresh",
                "rename_column",
                "reorder_columns",
                "restore",
                "set",
                "transaction",
                "to_spark",
                "vacuum",
                "verify",
                "widen_column",
            )
        ),
        engines=frozenset({"local", "spark"}),
    )

    def claims(self, place: Place) -> bool:
        """Claims no place: folders of other targets look the same."""
        return False

    def write(self, place: Place, request: Request) -> WriteResult:
        """See `writes.write`."""
        return writes.write(open_session(place), request)

    def plan(self, place: Place, request: Request) -> Plan:
        """See `writes.plan`."""
        return writes.plan(open_session(place), request)

    def open(self, place: Place) -> FilesTable:
        """The newest version. Cost: the newest checkpoint and the manifests after it."""
        session = open_session(place)
        return FilesTable(place, session, strangers.require_table(session))

    def exists(self, place: Place) -> bool:
        """Whether there is a table; an interrupted creation is not one, nor what a detach has left."""
        session = open_session(place)
        try:
            return versions.head(session) is not None
        except TableDetachedError:
            return False

    def verify(self, place: Place, version: int | None, options: VerifyOptions) -> VerifyResult:
        """See `verify.verify`."""
        return verifying.verify(open_session(place), version, options)

    def resolve(self, place: Place, commit_id: str) -> Resolution:
        """See `attempts.resolve`."""
        return attempts.resolve(open_session(place), commit_id)

    def detach(self, place: Place, options: DetachOptions) -> DetachResult:
        """See `detach.detach`."""
        return detach.detach(open_session(place), options)

    def adopt(self, place: Place, options: AdoptOptions) -> AdoptResult:
        """See `adopt.adopt`."""
        from txfiles.targets.files import adopt  # here: it imports Arrow's Parquet reader, which few calls need

        return adopt.adopt(open_session(place), options, place.format)


FILES = FilesTarget()


@dataclass(frozen=True, eq=False)
class FilesTable:
    """A table of plain files at one version.

    Attributes:
        given: where it is, as the user gave it.
        session: the place's store and its environment.
        snapshot: the version.
    """

    given: Place
    session: Session
    snapshot: Snapshot

    @property
    def place(self) -> Place:
        """Where it is, as an absolute path: another process may open it from another folder."""
        lock = self.given.lock
        return replace(
            self.given,
            path=self.path,
            lock=os.path.abspath(lock) if isinstance(lock, str | os.PathLike) else lock,
        )

    @property
    def path(self) -> str:
        """The table's folder."""
        return self.session.store.root

    @property
    def backend(self) -> str | None:
        """The library through which its bucket is reached."""
        return port.backend(self.session.store)

    @property
    def backend_reason(self) -> str | None:
        """Why it is not a faster one."""
        return port.backend_reason(self.session.store)

    @cached_property
    def state(self) -> TableState:
        """What the log says about it."""
        table = self.snapshot.state.table
        return TableState(
            version=self.snapshot.state.version,
            format=table.format,
            schema=pa.schema([field.remove_metadata() for field in types.arrow_schema(table.columns)]),
            keys=table.keys,
            timestamp_col=table.timestamp_col,
            partition_by=table.partition_by,
            properties=effective(table.properties),
        )

    @property
    def identity(self) -> str:
        """The hash of its manifest, which vouches for all before it."""
        return self.snapshot.state.sha256

    def row_count(self) -> int:
        """From the log: no data file is read."""
        return filelist.total_rows(self.snapshot.files)

    def to_arrow(self, columns: Sequence[str] | None, filter: Any) -> pa.Table:
        """See `reading.scan`."""
        with self._expiry_reported():
            return scan.read(self.session, self.snapshot, columns, filter)

    def to_batches(self, columns: Sequence[str] | None, filter: Any, batch_rows: int | None) -> pa.RecordBatchReader:
        """See `reading.scan`."""
        with self._expiry_reported():
            schema, batches = scan.stream(self.session, self.snapshot, columns, filter, batch_rows)
        return pa.RecordBatchReader.from_batches(schema, self._reported(batches))

    def to_spark(self, spark: Any, columns: Sequence[str] | None, filter: Any) -> Any:
        """See `spark.reading`."""
        with self._expiry_reported():
            wanted = spark_reading.Wanted(columns, filter, self.given.storage_options)
            return spark_reading.frame(spark, self.session, self.snapshot, wanted)

    def dataset(self) -> ds.Dataset:
        """A dataset of the live files (Parquet), or of the rows in memory (CSV, fully verified)."""
        if self.state.format == "csv":
            import pyarrow.dataset as ds

            return ds.dataset(self.to_arrow(None, None))
        with self._expiry_reported():
            return scan.parquet_dataset(self.session, self.snapshot)

    def files(self, *, physical: bool) -> list[str]:
        """Absolute paths or URLs of the live files."""
        if not physical:
            live.refuse_plain_readers(self.snapshot, self.path)
        return [self.session.store.url(data_name(path)) for path in self.snapshot.files["path"].to_pylist()]

    def file_table(self, *, physical: bool) -> pa.Table:
        """The live files with rows, bytes, version, partition and each column's nulls and bounds."""
        listed = self.snapshot.files
        columns: dict[str, Any] = {
            "path": pa.array(self.files(physical=physical), pa.string()),
            "rows": listed["rows"],
            "bytes": listed["bytes"],
            "added_version": listed["added_version"],
            "partition": listed["partition"],
        }
        for column in self.snapshot.state.table.columns:
            low, high = filelist.bounds(listed, column)
            columns |= {
                f"{column.name}.nulls": listed[f"nulls.{column.id}"],
                f"{column.name}.min": low,
                f"{column.name}.max": high,
            }
        return pa.table(columns)

    def history(self, limit: int | None) -> list[Commit]:
        """One small read for each commit."""
        found = manifests.history(self.session, self.snapshot.state.version, limit)
        return [commit_record(manifest) for manifest in found]

    def lookup(self, keys: Any, columns: Sequence[str] | None) -> pa.Table:
        """See `reading.lookup`."""
        with self._expiry_reported():
            return lookup.lookup(self.session, self.snapshot, keys, columns)

    def diff(self, a: int | datetime | str, b: int | datetime | str | None) -> Diff:
        """See `diff.diff`."""
        with self._expiry_reported():
            return diff.diff(self.session, self.snapshot, a, b)

    def newest(self) -> FilesTable:
        """The newest version. Cost: the manifests since, or the newest checkpoint where that is nearer."""
        return self._at(versions.advance(self.session, self.snapshot))

    def at(self, version: int | None, timestamp: datetime | str | None) -> FilesTable:
        """That version, which must be neither newer than the newest nor older than the oldest readable one."""
        newest = versions.advance(self.session, self.snapshot).state
        if timestamp is not None:
            return self._at(versions.at_time(self.session, newest, times.point_us(timestamp)))
        assert version is not None
        return self._at(versions.at_version(self.session, newest, version))

    def delete(self, options: DeleteOptions) -> tuple[WriteResult, FilesTable]:
        """See `writes.delete`."""
        result, after = writes.delete(self.session, self.snapshot, options)
        return result, self._at(after)

    def transaction(self, options: TransactionOptions) -> tuple[TransactionResult, FilesTable]:
        """See `writes.transaction`."""
        result, after = writes.transaction(self.session, self.snapshot, options)
        return result, self._at(after)

    def restore(self, options: RestoreOptions) -> tuple[WriteResult, FilesTable]:
        """See `restore.restore`."""
        result, after = restore.restore(self.session, self.snapshot, options)
        return result, self._at(after)

    def set(self, properties: Mapping[str, Any]) -> FilesTable:
        """See `upkeep.set_table_properties`."""
        return self._at(upkeep.set_table_properties(self.session, self.snapshot, properties))

    def change_columns(self, change: ColumnChange) -> FilesTable:
        """See `upkeep.change_columns`."""
        return self._at(upkeep.change_columns(self.session, self.snapshot, change))

    def vacuum(self, options: VacuumOptions) -> tuple[VacuumResult, FilesTable]:
        """See `upkeep.vacuum`."""
        result, after = upkeep.vacuum(self.session, self.snapshot, options)
        return result, self._at(after)

    def compact(self, options: CompactOptions) -> tuple[CompactResult, FilesTable]:
        """See `upkeep.compact`."""
        result, after = upkeep.compact(self.session, self.snapshot, options)
        return result, self._at(after)

    def index(self, options: IndexOptions) -> tuple[IndexResult, FilesTable]:
        """See `index.index`."""
        with self._expiry_reported():
            result, after = index.index(self.session, self.snapshot, options)
        return result, self._at(after)

    def worth_compacting(self) -> CompactResult | None:
        """See `upkeep.worth_compacting`."""
        return upkeep.worth_compacting(self.snapshot)

    def _at(self, snapshot: Snapshot) -> FilesTable:
        return replace(self, snapshot=snapshot)

    def _reported(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with self._expiry_reported():
            yield from batches

    def _expiry_reported(self) -> versions.ExpiryReported:
        return versions.ExpiryReported(self.session, self.snapshot.state)
