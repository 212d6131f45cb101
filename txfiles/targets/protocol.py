"""What a target is: one small protocol, and what it can do as data that is checked before any I/O.

A target is a kind of table: plain files with txfiles' log, and later Delta and SQL. What they have in common is in the
layers above (options, inputs, results, errors). Targets are independent of each other; only a target knows its library.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from txfiles.core.manifest import PropertyValue
from txfiles.diffs import Diff
from txfiles.findings import VerifyOptions, VerifyResult
from txfiles.options import CompactOptions, IndexOptions, Request, VacuumOptions
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
)
from txfiles.verbs import AdoptOptions, ColumnChange, DeleteOptions, DetachOptions, RestoreOptions, TransactionOptions

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from txfiles.store.port import Lock


@dataclass(frozen=True)
class Place:
    """Where a table is, as the user gave it, and how to get there. It pickles; its repr contains no secret.

    Attributes:
        path: a folder or URL.
        storage_options: for remote stores.
        lock: excludes every other writer.
        format: what kind of table it is; None if the user did not say.
    """

    path: str | os.PathLike[str]
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    lock: Lock | None = field(default=None, repr=False)
    format: str | None = None

    def __repr__(self) -> str:
        """Without user, password and parameters of a URL."""
        path = re.sub(r"//.*@", "//…@", f"{self.path}", flags=re.DOTALL)
        return f"Place(path={path.partition('?')[0]!r}, format={self.format!r})"


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a target can do.

    Attributes:
        formats: the values of `format=` that mean this target.
        modes: modes of `write` that it supports.
        options: options of `write` that it takes, besides `mode` and `format`.
        verbs: methods of `Table` that it supports, besides reading its state and its rows; and `adopt`.
        engines: where the rows that it writes may be: `local`, in this process, or `spark`.
    """

    formats: tuple[str, ...]
    modes: frozenset[str]
    options: frozenset[str]
    verbs: frozenset[str]
    engines: frozenset[str] = frozenset({"local"})


@dataclass(frozen=True, kw_only=True)
class TableState:
    """What a table is at one version. Attributes as in `txfiles.Table`."""

    version: int
    format: str
    schema: pa.Schema
    keys: tuple[str, ...]
    timestamp_col: str | None
    partition_by: tuple[str, ...]
    properties: dict[str, PropertyValue]


class OpenTable(Protocol):
    """A table as a target opened it, at one version. A value: a method that moves to another version returns a new one.

    Methods as in `txfiles.Table`; those that `Capabilities.verbs` lacks are never called.
    """

    @property
    def place(self) -> Place:
        """Where it is, in a form that any process can open from any folder."""

    @property
    def path(self) -> str:
        """Where it is, for people."""

    @property
    def backend(self) -> str | None:
        """The library through which it is reached; None if txfiles reaches it itself."""

    @property
    def backend_reason(self) -> str | None:
        """Why it is not reached through a faster library; None if it is, or if the caller chose."""

    @property
    def state(self) -> TableState:
        """What it is."""

    @property
    def identity(self) -> str:
        """A text that is unique to this table and version: a table that was created again has another."""

    def row_count(self) -> int:
        """The number of rows, without reading them if possible."""

    def to_arrow(self, columns: Sequence[str] | None, filter: Any) -> pa.Table:
        """Some or all rows."""

    def to_batches(self, columns: Sequence[str] | None, filter: Any, batch_rows: int | None) -> pa.RecordBatchReader:
        """The same as a stream."""

    def to_spark(self, spark: Any, columns: Sequence[str] | None, filter: Any) -> Any:
        """The rows as a Spark frame."""

    def dataset(self) -> ds.Dataset:
        """The rows as a pyarrow dataset."""

    def files(self, *, physical: bool) -> list[str]:
        """Absolute names of its data files."""

    def file_table(self, *, physical: bool) -> pa.Table:
        """Its data files with what is known about each."""

    def history(self, limit: int | None) -> list[Commit]:
        """Its commits, newest first."""

    def lookup(self, keys: Any, columns: Sequence[str] | None) -> pa.Table:
        """The rows of some keys."""

    def diff(self, a: int | datetime | str, b: int | datetime | str | None) -> Diff:
        """How two versions differ; the second is this one unless it is said."""

    def newest(self) -> OpenTable:
        """The newest version."""

    def at(self, version: int | None, timestamp: datetime | str | None) -> OpenTable:
        """The version asked for; one of the two is given."""

    def delete(self, options: DeleteOptions) -> tuple[WriteResult, OpenTable]:
        """Delete rows, or only say which; returns what was done, and the version after that."""

    def transaction(self, options: TransactionOptions) -> tuple[TransactionResult, OpenTable]:
        """Several operations in one commit; returns what was done, and the version after that."""

    def restore(self, options: RestoreOptions) -> tuple[WriteResult, OpenTable]:
        """Make it an earlier version, or only say what that takes; returns what was done, and the version after."""

    def set(self, properties: Mapping[str, Any]) -> OpenTable:
        """Commit properties; returns the version after that."""

    def change_columns(self, change: ColumnChange) -> OpenTable:
        """Rename, drop, reorder or widen columns; returns the version after that. Each is a verb of its own."""

    def vacuum(self, options: VacuumOptions) -> tuple[VacuumResult, OpenTable]:
        """Delete what no retained version needs; returns what was deleted, and the version after that."""

    def compact(self, options: CompactOptions) -> tuple[CompactResult, OpenTable]:
        """Join small files; returns what was joined, and the version after that."""

    def index(self, options: IndexOptions) -> tuple[IndexResult, OpenTable]:
        """Build, drop, check or describe the key index; returns what it is then, and the version after that."""

    def worth_compacting(self) -> CompactResult | None:
        """What `compact` would do, if that is worth it; part of that verb."""


class Target(Protocol):
    """A kind of table."""

    @property
    def name(self) -> str:
        """Its name in messages, such as ``files``."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def claims(self, place: Place) -> bool:
        """Whether a place can only be this target's, by its look alone (a URL's scheme, say). No I/O."""

    def write(self, place: Place, request: Request) -> WriteResult:
        """One write, as one transaction. See `txfiles.write`."""

    def plan(self, place: Place, request: Request) -> Plan:
        """What the same write would do. See `txfiles.plan`."""

    def open(self, place: Place) -> OpenTable:
        """The newest version. Raises `TableNotFoundError` if there is no table."""

    def exists(self, place: Place) -> bool:
        """Whether there is a table. See `txfiles.exists`."""

    def resolve(self, place: Place, commit_id: str) -> Resolution:
        """What became of a commit. See `txfiles.resolve`."""

    def adopt(self, place: Place, options: AdoptOptions) -> AdoptResult:
        """Make a table of a folder's files. See `txfiles.adopt`. Never called if `Capabilities.verbs` lacks it."""

    def detach(self, place: Place, options: DetachOptions) -> DetachResult:
        """Leave the table as a plain folder. See `txfiles.detach`; never called if `Capabilities.verbs` lacks it."""


class Verifies(Protocol):
    """A target that has the verb `verify`: it needs no table that can be opened."""

    def verify(self, place: Place, version: int | None, options: VerifyOptions) -> VerifyResult:
        """Check a version, by default the newest that can be read, and the log. See `txfiles.verify`."""
