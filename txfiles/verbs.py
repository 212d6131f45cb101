"""What a caller may ask of the verbs of a `Table` that commit, checked before anything is opened or read.

Source: specs/4-semantics.md, "Delete".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from txfiles.core.manifest import PropertyValue
from txfiles.core.messages import shown
from txfiles.errors import OptionError
from txfiles.options import (
    CompactOptions,
    Progress,
    Request,
    VacuumOptions,
    check_calling,
    check_common,
    check_option,
    check_pairs,
    check_switch,
    check_text,
    no_progress,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from txfiles.rows.source import Source


@dataclass(frozen=True, kw_only=True)
class DeleteOptions:
    """What a caller may ask of a delete; one of the first three is given. See `Table.delete`.

    Attributes:
        where: a filter.
        keys: keys as `Table.lookup` takes them; a frame is an Arrow table here.
        source: keys in a file.
    """

    where: Any = None
    keys: Any = None
    source: Source | None = None
    batch_id: str | None = None
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    dry_run: bool = False
    progress: Callable[[Progress], None] = no_progress

    @property
    def mode(self) -> str:
        """What results and the log call it."""
        return "delete"

    @property
    def scope(self) -> str:
        """How the rows are named."""
        return "keys" if self.where is None else "filter"


@dataclass(frozen=True, kw_only=True)
class DetachOptions:
    """What a caller may ask of a detach. See `txfiles.detach`."""

    dry_run: bool = False
    purge: bool = False
    force: bool = False
    timeout: float = 60.0
    progress: Callable[[Progress], None] = no_progress


def check_detach(options: DetachOptions) -> DetachOptions:
    """Refuse unknown values."""
    check_switch("dry_run", options.dry_run)
    check_switch("purge", options.purge)
    check_switch("force", options.force)
    check_calling(options)
    return options


@dataclass(frozen=True, kw_only=True)
class AdoptOptions:
    """What a caller may say about a folder that is to become a table. See `txfiles.adopt`.

    Attributes:
        partition_by: names of the partition columns; None: as the folders say.
        partition_types: types of some of them (Arrow's).
        schema: of columns of CSV files (Arrow's).
        csv: how CSV files are written (`rows.dialect.Dialect`).
    """

    keys: tuple[str, ...] = ()
    partition_by: tuple[str, ...] | None = None
    partition_types: Mapping[str, Any] = field(default_factory=dict)
    timestamp_col: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    schema: Any = None
    csv: Any = None
    timeout: float = 60.0
    dry_run: bool = False
    force: bool = False
    progress: Callable[[Progress], None] = no_progress


def check_adopt(options: AdoptOptions) -> AdoptOptions:
    """Refuse unknown values; columns are checked where the files' are known.

    Raises:
        OptionError: names what is valid.
    """
    check_option("keys", options.keys)
    check_option("partition_by", options.partition_by)
    check_option("timestamp_col", options.timestamp_col)
    check_option("properties", options.properties)
    check_switch("dry_run", options.dry_run)
    check_switch("force", options.force)
    check_calling(options)
    return options


@dataclass(frozen=True, kw_only=True)
class SetOptions:
    """New values of properties, as a part of a transaction."""

    properties: Mapping[str, PropertyValue]
    mode: str = "set"


@dataclass(frozen=True, kw_only=True)
class TransactionOptions:
    """What a transaction does, in order. See `Table.transaction`."""

    parts: tuple[Request | DeleteOptions | SetOptions, ...] = ()
    batch_id: str | None = None
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    progress: Callable[[Progress], None] = no_progress

    @property
    def mode(self) -> str:
        """What results and the log call it."""
        return "transaction"

    @property
    def scope(self) -> None:
        """Its parts have theirs."""


def check_transaction(options: TransactionOptions) -> TransactionOptions:
    """Refuse unknown values; the parts are checked as they come.

    Raises:
        OptionError: names what is valid.
    """
    if options.batch_id is not None:
        check_text("batch_id", options.batch_id)
    check_pairs("user_metadata", options.user_metadata)
    check_common(options)
    return options


@dataclass(frozen=True, kw_only=True)
class ColumnChange:
    """A change of a table's columns that touches no file.

    Attributes:
        action: rename, drop, reorder or widen, as the log calls it.
        columns: of a rename the old name and the new one, of a drop or widen the column, of a reorder all.
        type: of a widen, the new one.
    """

    action: str
    columns: tuple[str, ...]
    type: pa.DataType | None = None


def check_columns(action: str, columns: Any, type: pa.DataType | None = None) -> ColumnChange:
    """Refuse what cannot be names of columns. Raises `OptionError`."""
    if isinstance(columns, str) or not isinstance(columns, Iterable):
        raise OptionError(f"{action} needs a list of column names, not {shown(columns)}", hint="pass ['a', 'b', …]")
    names = tuple(columns)
    for name in names:
        if not isinstance(name, str):
            raise OptionError(f"{shown(name)} is not the name of a column", hint="names of columns are texts")
    return ColumnChange(action=action, columns=names, type=type)


@dataclass(frozen=True, kw_only=True)
class RestoreOptions:
    """What a caller may ask of a restore; `version` or `timestamp` is given. See `Table.restore`."""

    version: int | None = None
    timestamp: datetime | str | None = None
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    dry_run: bool = False
    progress: Callable[[Progress], None] = no_progress

    @property
    def mode(self) -> str:
        """What results and the log call it."""
        return "restore"

    @property
    def scope(self) -> None:
        """All of the table."""

    @property
    def batch_id(self) -> None:
        """It has none: restoring the version again changes nothing."""


def check_restore(options: RestoreOptions) -> RestoreOptions:
    """Refuse a restore that does not say what it restores, or says it twice, and unknown values.

    Raises:
        OptionError: names what is valid.
    """
    if (options.version is None) == (options.timestamp is None):
        what = "has both 'version' and 'timestamp'; it takes one of them"
        raise OptionError(
            f"the restore {what if options.version is not None else 'does not say which version'}",
            hint="pass version=… or timestamp='…'; history() lists the versions",
        )
    check_pairs("user_metadata", options.user_metadata)
    check_switch("dry_run", options.dry_run)
    check_common(options)
    return options


def check_delete(options: DeleteOptions) -> DeleteOptions:
    """Refuse a delete that does not say which rows, or says it twice, and unknown values.

    Raises:
        OptionError: names what is valid.
    """
    has_keys = options.keys is not None or options.source is not None
    names_none = options.where is None or (isinstance(options.where, Sequence) and not len(options.where))
    if names_none if not has_keys else options.where is not None:
        what = "has both 'where' and 'keys'; it takes one of them" if has_keys else "names no rows"
        raise OptionError(
            f"the delete {what}",
            hint="pass where=[('column', '=', value)] or keys=[…]; to delete every row, write an empty batch: "
            "txfiles.write(table.schema.empty_table(), path, mode='overwrite')",
        )
    if options.batch_id is not None:
        check_text("batch_id", options.batch_id)
    check_pairs("user_metadata", options.user_metadata)
    check_switch("dry_run", options.dry_run)
    check_common(options)
    return options


def check_vacuum(options: VacuumOptions) -> VacuumOptions:
    """Refuse unknown values; times and versions are checked where the table's own are known."""
    check_switch("dry_run", options.dry_run)
    check_switch("force", options.force)
    check_calling(options)
    return options


def check_compact(options: CompactOptions) -> CompactOptions:
    """Refuse unknown values; sizes and filters are checked where the table's own are known."""
    check_switch("sort", options.sort)
    check_switch("plain", options.plain)
    check_switch("dry_run", options.dry_run)
    check_calling(options)
    return options
