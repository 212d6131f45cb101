"""A Delta table at one version: what txfiles knows of it, its files, and how they are read.

Keys and timestamp column are recorded in the metadata of a column: Delta's log can create that with the first files in
one commit, every engine keeps it, and plain readers do not see it.

Source: specs/9-targets.md, "Delta".
"""

from __future__ import annotations

import json
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
    UnsupportedTableError,
)
from txfiles.rows import filters, prune, types
from txfiles.rows.text import to_text
from txfiles.targets.delta.client import META, Client

if TYPE_CHECKING:
    import pyarrow.dataset as ds

KEYS, TIMESTAMP_COL = "txfiles.keys", "txfiles.timestamp_col"
"""Facts in the metadata of a column."""

_FACTS = (KEYS, TIMESTAMP_COL)

LAST = "\U0010ffff"
"""The last character: it ends bounds that were cut, and is none of texts that go on with it."""

_COMPUTED = ("delta.invariants", "delta.generationExpression", "delta.identity.start", "delta.identity.step")
_MS_US = 1_000


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
        facts = _facts(self.described)
        names, keys, timestamp_col = self.schema.names, facts.get(KEYS), facts.get(TIMESTAMP_COL)
        recorded = tuple(json.loads(keys)) if keys else ()
        columns = tuple(
            Column(id=number, name=field.name, type=types.to_spec(field.type))
            for number, field in enumerate(self.schema, 1)
        )
        return TableMetadata(
            format="parquet",
            columns=columns,
            last_column_id=len(columns),
            partition_by=tuple(self.handle.metadata().partition_columns),
            keys=recorded if set(recorded) <= set(names) else (),
            timestamp_col=timestamp_col if timestamp_col in names else None,
        )

    @property
    def carrier(self) -> str:
        """The column with which keys are recorded."""
        return _carrier(self.described)

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

    def require_writable(self, *, rewrites: bool, removes: bool = False) -> None:
        """Refuse a table that asks more of its writers than files with the right columns.

        Args:
            rewrites: whether files of which rows stay are written anew.
            removes: whether files go.
        Raises:
            UnsupportedTableError: names what it asks.
        """
        asked = None
        if not self.is_plain:
            asked = "deletion vectors or column mapping"
        elif any(name.startswith("delta.constraints.") for name in self.configuration):
            asked = "check constraints"
        elif any(name.encode() in (field.metadata or {}) for field in self.described for name in _COMPUTED):
            asked = "computed columns or invariants"
        elif rewrites and self.configuration.get("delta.enableChangeDataFeed", "").lower() == "true":
            asked = "a change data feed"
        elif removes and self.configuration.get("delta.appendOnly", "").lower() == "true":
            raise UnsupportedTableError(
                f"the Delta table at {self.client.url} is append-only (delta.appendOnly): its rows stay as they are",
                hint="append, or use append_once",
            )
        if asked is not None:
            raise UnsupportedTableError(
                f"the Delta table at {self.client.url} has {asked}, which txfiles does not write",
                hint="write this table with deltalake or Spark",
            )

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
        kind, unknown = self.schema.field(name).type, pa.nulls(self.listed.num_rows, self.schema.field(name).type)
        if name in self.table.partition_by:
            values = self.partition_values[name].combine_chunks()
            return values, values
        if pa.types.is_decimal(kind):  # JSON has them as floats
            return unknown, unknown
        found = []
        for side in ("min", "max"):
            column = self.listed[side].combine_chunks() if side in self.listed.column_names else None
            if column is None or column.type.get_field_index(name) < 0 or not types.is_key_type(kind):
                return unknown, unknown
            found.append(column.field(name).cast(kind))
        if pa.types.is_timestamp(kind):  # some writers cut the greatest time to milliseconds
            raised = found[1].view(pa.int64()).to_numpy(zero_copy_only=False) if not found[1].null_count else None
            if raised is None:
                return unknown, unknown
            found[1] = pa.array(raised + _MS_US, pa.int64()).view(kind)
        if pa.types.is_string(kind):
            found[1] = _raised(found[1])
        return found[0], found[1]

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
            SnapshotExpiredError: one is gone.
            CorruptTableError: one cannot be decoded.
            StoreError: one cannot be read.
        """
        try:
            yield
        except FileNotFoundError as error:
            raise SnapshotExpiredError(
                f"a data file of version {self.version} of {self.client.url} is gone: {self.client.shown(error)}",
                hint="a vacuum has deleted it; open the newest version",
                version=self.version,
                oldest_readable=None,
            ) from error
        except (pa.ArrowInvalid, OSError) as error:
            found = self._unreadable([file] if file else self.files)
            if found is None:  # the filter is at fault
                raise
            raise found from error

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
                    return CorruptTableError(f"{told} has {size} bytes, not {file.bytes}", file=file.path)
                return StoreError(f"{told} cannot be read: {self.client.shown(error)}", file=file.path)
        return None

    def commits(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """What the commits up to this version say of themselves, newest first, as far back as the log goes."""
        last = -1 if limit is None else max(-1, self.version - limit)
        for version in range(self.version, last, -1):
            found = self.client.commit_info(version)
            if found is None:
                return
            yield found


def _raised(high: pa.Array) -> pa.Array:
    """Greatest values of which some were cut, or are read wrongly: above all that they may stand for, null if unknown.

    deltalake reads an escaped pair of surrogates as a lesser character where it stands for some beyond U+1FFFF.
    """
    beyond = pc.match_substring_regex(high, r"[\x{10000}-\x{10ffff}]")
    if not pc.any(beyond, min_count=0).as_py():
        return high
    return pa.array(
        [_next(text) if told else text for text, told in zip(high.to_pylist(), beyond.to_pylist(), strict=True)],
        high.type,
    )


def _next(text: str) -> str | None:
    """A text after all that begin with what a bound was cut from."""
    kept = text.rstrip(LAST)
    if not kept or max(kept) > "\uffff" or kept[-1] in "\ud7ff\uffff":  # surrogates are no characters
        return None
    return kept[:-1] + chr(ord(kept[-1]) + 1)


def _guarantee(values: pa.Table, row: int) -> pc.Expression:
    """What holds for every row of a file: its partition values."""
    found = pc.scalar(value=True)
    for name in values.column_names if values.column_names != ["\0"] else ():
        value = values[name][row]
        found &= (pc.field(name) == value) if value.is_valid else pc.field(name).is_null()
    return found


def meta_of(commit: dict[str, Any]) -> dict[str, Any]:
    """What txfiles said of a commit; empty for those of others."""
    found = commit.get(META)
    return found if isinstance(found, dict) else {}


def described(table: TableMetadata, before: pa.Schema | None, *, keeps: bool = False) -> pa.Schema:
    """The schema of a new table, or of one whose rows are replaced, with what is recorded.

    Args:
        table: the columns.
        before: the schema that is replaced.
        keeps: whether columns that stay keep their comments, and take no nulls if they took none.
    """
    fields = {column.name: pa.field(column.name, types.from_spec(column.type)) for column in table.columns}
    for field in before or () if keeps else ():
        if field.name in fields and types.normalise(field.type) == fields[field.name].type:
            others = {name: said for name, said in (field.metadata or {}).items() if name.decode() not in _FACTS}
            fields[field.name] = field.with_metadata(others)
    schema = pa.schema(fields.values())
    name = _carrier(before) if before is not None and _carrier(before) in schema.names else schema.names[0]
    facts = recorded(table)
    at = schema.get_field_index(name)
    if not any(facts.values()):
        return schema
    said = schema.field(at).metadata or {}
    return schema.set(at, schema.field(at).with_metadata({**said, **facts}))


def recorded(table: TableMetadata) -> dict[str, str]:
    """Keys and timestamp column as facts of a column."""
    return {KEYS: json.dumps(list(table.keys)) if table.keys else "", TIMESTAMP_COL: table.timestamp_col or ""}


def _carrier(schema: pa.Schema) -> str:
    found = [field.name for field in schema if KEYS.encode() in (field.metadata or {})]
    return str((found or schema.names)[0])


def _facts(schema: pa.Schema) -> dict[str, str]:
    metadata = schema.field(_carrier(schema)).metadata or {}
    return {name: metadata[name.encode()].decode() for name in _FACTS if metadata.get(name.encode())}
