"""Data files of a Delta table: written with the access that deltalake has, and described as its log wants it.

Source: specs/9-targets.md, "Delta".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq

from txfiles.core.environment import Environment
from txfiles.core.manifest import TableMetadata
from txfiles.core.plan import Partition
from txfiles.errors import CorruptTableError, FolderNotEmptyError
from txfiles.formats.parquet_writer import dictionary_columns
from txfiles.rows import types
from txfiles.rows.merge import replace_rows
from txfiles.targets.delta import bounds
from txfiles.targets.delta.client import Added, Client, Removed
from txfiles.targets.delta.operations import Change
from txfiles.targets.delta.probe import Edit, read
from txfiles.targets.delta.snapshot import DeltaFile, Snapshot
from txfiles.writing.staging import split

TARGET_BYTES = 512 * 1024 * 1024
"""Bytes of Arrow rows that go into one file; as Parquet they are some times smaller."""

FIRST = re.compile(r"(.*/)?part-txfiles-first-[0-9a-f]{32}\.snappy\.parquet")
"""Names of files that txfiles wrote to create a table."""

LATER = re.compile(r"(.*/)?part-txfiles-[0-9a-f]{32}\.snappy\.parquet")
"""Names of files that txfiles wrote to a table that was there."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_TEXT = 32
_FOREIGN = (".parquet", ".pq", ".csv", ".csv.gz", ".orc", ".avro", ".json", ".jsonl", ".arrow", ".feather")


@dataclass(frozen=True)
class Writer:
    """Writes the files of one attempt.

    Attributes:
        environment: for names and time.
        file_system: the table's folder.
        table: what the table will be.
        first: whether it is created.
    """

    environment: Environment
    file_system: pa_fs.FileSystem
    table: TableMetadata
    first: bool = False

    def write(self, change: Change, base: Snapshot | None) -> tuple[list[Added], list[Removed]]:
        """Write what a change adds; returns the files that come and go."""
        jobs: list[Any] = [edit for edit in change.edits if edit.rewrites]
        jobs += new_files(self.table, change.added)

        def one(job: Any) -> Added:
            if isinstance(job, Edit):
                assert base is not None
                return self._file(job.file.partition, _edited(base, job, self.table))
            return self._file(*job)

        added = list(self.environment.map(one, jobs))
        return added, [removed(edit.file, self.table) for edit in change.edits]

    def _file(self, partition: Partition, rows: pa.Table) -> Added:
        names = self.table.partition_by
        folders = [f"{_UNSAFE.sub('_', name)}={_folder(text)}/" for name, text in zip(names, partition, strict=True)]
        part = "part-txfiles-first" if self.first else "part-txfiles"
        path = f"{''.join(folders)}{part}-{self.environment.new_id()}.snappy.parquet"
        rows = rows.drop_columns([name for name in names if name in rows.column_names])
        if folders:
            self.file_system.create_dir("".join(folders), recursive=True)
        with self.file_system.open_output_stream(path) as stream:
            pq.write_table(
                rows,
                stream,
                compression="snappy",
                use_dictionary=dictionary_columns(rows),
                store_schema=False,
            )
            size = stream.tell()
        return Added(
            path,
            size,
            partition_values(self.table, partition),
            bounds.statistics(rows),
            self.environment.now_us() // 1000,
        )


def new_files(table: TableMetadata, rows: pa.Table) -> Iterator[tuple[Partition, pa.Table]]:
    """New rows file by file."""
    for partition, part in split(table, rows) if rows.num_rows else ():
        for piece in _pieces(part):
            yield partition, piece


def removed(file: DeltaFile, table: TableMetadata) -> Removed:
    """The removal of a file."""
    return Removed(file.path, file.bytes, partition_values(table, file.partition))


def partition_values(table: TableMetadata, partition: Partition) -> dict[str, str | None]:
    """The texts that Delta's log has for the values of a partition."""
    kinds = {column.name: types.from_spec(column.type) for column in table.columns}
    found: dict[str, str | None] = {}
    for name, text in zip(table.partition_by, partition, strict=True):
        is_time = text is not None and pa.types.is_timestamp(kinds[name])
        found[name] = text.replace("T", " ").rstrip("Z") if is_time and text is not None else text
    return found


def _folder(text: str | None) -> str:
    """A folder is for people: the log says the value."""
    return "__HIVE_DEFAULT_PARTITION__" if text is None else _UNSAFE.sub("_", text)[:_TEXT]


def _pieces(rows: pa.Table) -> Iterator[pa.Table]:
    size = max(1, math.ceil(rows.num_rows / max(1, math.ceil(rows.nbytes / TARGET_BYTES))))
    for start in range(0, rows.num_rows, size):
        yield rows.slice(start, size)


def _edited(base: Snapshot, edit: Edit, table: TableMetadata) -> pa.Table:
    """A file's rows after an edit, in the columns that the table will have."""
    rows = read(base, edit.file, base.schema.names)
    for column in table.columns:
        if column.name not in rows.column_names:
            rows = rows.append_column(column.name, pa.nulls(rows.num_rows, types.from_spec(column.type)))
    new = edit.rows.select(rows.column_names) if edit.rows is not None else None
    assert edit.without is not None
    return replace_rows(rows, edit.at, new, edit.without)


def refuse_foreign(client: Client) -> None:
    """Refuse to create a table among somebody's files, or over one whose log is lost.

    Files of an interrupted creation, or of one under way elsewhere, are no reason: they are named as such.
    """
    for name in sorted(client.names(), key=lambda one: not one.startswith("_txfiles/")):  # the plainest reason first
        if name.startswith("_delta_log/") or FIRST.fullmatch(name):
            continue
        if LATER.fullmatch(name):
            if client.exists():  # by now: it is planned anew
                return
            raise CorruptTableError(
                f"{client.url} holds {name}, which was written to a Delta table that was there, but no log; "
                "nothing was written",
                hint="restore its folder _delta_log from a backup, or write to a new folder",
                file=name,
            )
        if name.startswith("_txfiles/") or name.endswith(_FOREIGN):
            what = "a table of txfiles" if name.startswith("_txfiles/") else "data files"
            raise FolderNotEmptyError(
                f"{client.url} is no Delta table and holds {what} ({name}); nothing was written",
                hint="write to a new folder",
                file=name,
            )
