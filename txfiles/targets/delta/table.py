"""A Delta table as the layers above see it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

import pyarrow as pa

from txfiles.core import times
from txfiles.core.properties import duration_us
from txfiles.errors import OptionError, SnapshotExpiredError, StoreError, TableNotFoundError, UnsupportedVerbError
from txfiles.options import VacuumOptions
from txfiles.reading import lookup, scan
from txfiles.results import Commit, VacuumResult, WriteResult
from txfiles.rows import filters
from txfiles.rows import keys as key_codec
from txfiles.targets.delta.client import Client, LogEntry
from txfiles.targets.delta.commit import Attempt
from txfiles.targets.delta.probe import candidates, probe
from txfiles.targets.delta.snapshot import Snapshot
from txfiles.targets.lacking import Lacking
from txfiles.targets.protocol import Place, TableState
from txfiles.verbs import DeleteOptions

if TYPE_CHECKING:
    import pyarrow.dataset as ds

_COUNTS = (
    *("rows_in", "rows_inserted", "rows_updated", "rows_unchanged", "rows_skipped", "rows_stale"),
    *("rows_deduplicated", "rows_deleted"),
)
_HOUR_US = 3_600_000_000


@dataclass(frozen=True, eq=False)
class DeltaTable(Lacking):
    """A Delta table at one version.

    Attributes:
        given: where it is, as the user gave it.
        snapshot: the version.
    """

    given: Place
    snapshot: Snapshot

    @property
    def place(self) -> Place:
        """Where it is, as an absolute path."""
        return replace(self.given, path=self.path)

    @property
    def path(self) -> str:
        """The table's folder or URL."""
        return self.snapshot.client.url

    @property
    def backend(self) -> str | None:
        """The package reaches every place itself."""
        return "deltalake"

    @property
    def backend_reason(self) -> str | None:
        """The caller has no choice."""
        return None

    @cached_property
    def state(self) -> TableState:
        """What the log says about it."""
        table = self.snapshot.table
        return TableState(
            version=self.snapshot.version,
            format="delta",
            schema=self.snapshot.schema,
            keys=table.keys,
            timestamp_col=table.timestamp_col,
            partition_by=table.partition_by,
            properties=dict(self.snapshot.configuration),
        )

    @property
    def identity(self) -> str:
        """The table's id and the version."""
        return self.snapshot.identity

    def row_count(self) -> int:
        """From the log, if it says so for every file."""
        return self.snapshot.row_count()

    def to_arrow(self, columns: Sequence[str] | None, filter: Any) -> pa.Table:
        """Some or all rows, in the order of the log's files."""
        names = scan.check_columns(self.snapshot.schema, columns)
        return self.snapshot.read(names, filters.parse(filter, self.snapshot.schema))

    def to_batches(self, columns: Sequence[str] | None, filter: Any, batch_rows: int | None) -> pa.RecordBatchReader:
        """The same as a stream."""
        names = scan.check_columns(self.snapshot.schema, columns)
        where = filters.parse(filter, self.snapshot.schema)
        sized = {} if batch_rows is None else {"batch_size": batch_rows}
        scanner = self.snapshot.dataset().scanner(
            columns=list(names), filter=where.expression if where else None, **sized
        )

        def batches() -> Iterator[pa.RecordBatch]:
            with self.snapshot.reading():
                yield from scanner.to_batches()

        return pa.RecordBatchReader.from_batches(scanner.projected_schema, batches())

    def dataset(self) -> ds.Dataset:
        """The rows as a pyarrow dataset. Its files are there now; what a vacuum takes later, Arrow says itself."""
        if self.snapshot.is_plain:
            self.snapshot.require_files()
        return self.snapshot.dataset()

    def files(self, *, physical: bool) -> list[str]:
        """Absolute names of its data files."""
        self.snapshot.require_own_files()
        if not physical:
            self.snapshot.require_plain()
        if "://" in self.path:
            return list(self.snapshot.handle.file_uris())
        return [os.path.join(self.path, unquote(name)) for name in self.snapshot.listed["path"].to_pylist()]

    def file_table(self, *, physical: bool) -> NoReturn:
        """Never called: see the capabilities."""
        raise UnsupportedVerbError("Delta tables do not support 'file_table'", verb="file_table")

    def history(self, limit: int | None) -> list[Commit]:
        """Its commits as far as the log still says."""
        return [_commit(entry) for entry in self.snapshot.log(limit)]

    def lookup(self, keys: Any, columns: Sequence[str] | None) -> pa.Table:
        """The rows of some keys."""
        base = self.snapshot
        names = scan.check_columns(base.schema, columns)
        found = lookup.given_keys(base.table, keys, self.path)
        hits = probe(base, base.table, found, candidates(base, found), wanted=names) if base.is_plain else None
        target = pa.schema([base.schema.field(name) for name in names])
        if hits is None:
            rows = base.read(base.schema.names, None)
            places = found.keys.matcher.match(key_codec.encode(rows, base.table.keys)) >= 0
            return rows.filter(pa.array(places)).select(names)
        return pa.concat_tables([hit.stored.cast(target) for hit in hits]) if hits else target.empty_table()

    def newest(self) -> DeltaTable:
        """The newest version."""
        return self._at(Snapshot(self.snapshot.client, self.snapshot.client.load()))

    def at(self, version: int | None, timestamp: datetime | str | None) -> DeltaTable:
        """The version asked for."""
        newest = self.newest().snapshot
        if timestamp is not None:
            point = times.point_us(timestamp) // 1_000
            entries = list(newest.log())
            version = next((entry.version for entry in entries if entry.time_ms <= point), None)
            if version is None:
                raise TableNotFoundError(
                    f"{self.path} has no version as old as {timestamp}",
                    hint=f"its history begins with version {entries[-1].version}" if entries else None,
                )
        if isinstance(version, bool) or not hasattr(version, "__index__"):
            raise OptionError(f"a version is a whole number, not {version!r}")
        number = int(version)  # type: ignore[arg-type]
        if not 0 <= number <= newest.version:
            raise TableNotFoundError(
                f"{self.path} has no version {number}", hint=f"the newest is {newest.version}", version=number
            )
        try:
            return self._at(Snapshot(newest.client, newest.client.load(number)))
        except (StoreError, TableNotFoundError) as error:  # the newest is there
            raise SnapshotExpiredError(
                f"version {number} of {self.path} cannot be read any more: {error.message}",
                hint="its log entries were cleaned away; open a newer version",
                version=number,
                oldest_readable=None,
            ) from error

    def delete(self, options: DeleteOptions) -> tuple[WriteResult, DeltaTable]:
        """Delete rows, or only say which."""
        attempt = Attempt(self.snapshot.client, options)
        if options.dry_run:
            return attempt.plan(), self
        return attempt.run(), self.newest()

    def set(self, properties: Mapping[str, Any]) -> NoReturn:
        """Never called: see the capabilities."""
        raise UnsupportedVerbError("Delta tables do not support 'set'", verb="set")

    def vacuum(self, options: VacuumOptions) -> tuple[VacuumResult, DeltaTable]:
        """Delete files that no version within the time needs; deltalake's own vacuum."""
        if options.keep_versions is not None:
            raise OptionError("Delta tables take no keep_versions", hint="pass retain='7d'")
        newest = self.newest()
        hours = None if options.retain is None else _hours(options.retain)
        before = newest.snapshot.version
        client, handle = newest.snapshot.client, newest.snapshot.handle
        newest.snapshot.require_own_files()
        found = client.vacuum(handle, hours, dry_run=True, force=options.force)
        client.require_own(found)
        sizes = client.sizes(found)
        if not options.dry_run:
            found = client.vacuum(handle, hours, dry_run=False, force=options.force)
        after = newest if options.dry_run else self.newest()
        result = VacuumResult(
            version=after.snapshot.version,
            committed=after.snapshot.version > before,
            deleted=tuple(found),
            bytes=sum(sizes.get(name, 0) for name in found),
            dry_run=options.dry_run,
        )
        return result, after

    def _at(self, snapshot: Snapshot) -> DeltaTable:
        return replace(self, snapshot=snapshot)


def open_table(place: Place) -> DeltaTable:
    """The newest version.

    Raises:
        TableNotFoundError: there is no table.
    """
    client = Client(place)
    handle = client.newest()
    if handle is None:
        raise TableNotFoundError(
            f"there is no Delta table at {client.url}", hint="check the path; the first write creates a table"
        )
    return DeltaTable(place, Snapshot(client, handle))


def _hours(retain: str | timedelta) -> int:
    """Whole hours, rounded up: nothing is deleted too early."""
    return -(-duration_us(retain) // _HOUR_US)


def _commit(entry: LogEntry) -> Commit:
    said, meta = entry.said, entry.meta
    counts = meta.get("counts") or {}
    added = entry.files("add")
    return Commit(
        version=entry.version,
        time=times.moment(entry.time_ms * 1_000),
        operation=str(meta.get("operation") or str(said.get("operation", "unknown")).lower()),
        keys=tuple(meta.get("keys") or ()),
        batch_id=meta.get("batch_id"),
        commit_id=str(meta.get("commit_id", "")),
        read_version=meta.get("read_version"),
        files_added=len(added),
        files_removed=len(entry.files("remove")),
        bytes_written=sum(file["size"] for file in added),
        user_metadata=dict(meta.get("user_metadata") or {}),
        library=str(meta.get("library") or said.get("engineInfo", "")),
        writer=str(meta.get("writer", "")),
        columns=(),
        **{name: int(counts.get(name, 0)) for name in _COUNTS},
    )
