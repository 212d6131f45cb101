"""From the caller's data to rows that fit the table: the same steps for every mode.

read → columns and types → keys → duplicates

Source: specs/4-semantics.md, "Schema", "Keys", "Duplicates".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
from msgspec.structs import replace

from txfiles import formats, pages
from txfiles.core import properties
from txfiles.core.manifest import TableMetadata
from txfiles.core.schema import Inferred, refuse_case_clashes
from txfiles.errors import InputError, OptionError, UnsupportedTypeError
from txfiles.options import KEYED, Request, SchemaMode, keys_required
from txfiles.recorded import settle
from txfiles.rows import dedup, partitions, schema, types
from txfiles.rows import keys as key_codec
from txfiles.rows.source import Batch, TextRules
from txfiles.rows.typenames import type_text
from txfiles.rows.widening import FieldPath

CHECKED_ROWS = 1_048_576
"""Rows whose values are checked at a time: of an input that is on disk no more have to be in memory."""

NO_KEYS = pa.nulls(0, pa.binary())  # made without a list, from which pyarrow would import pandas


class Holds(Protocol):
    """What a kind of table can hold, as a `formats.Format` says it for files."""

    @property
    def check_types(self) -> Callable[[pa.Schema], None]:
        """Raises `UnsupportedTypeError` for a column that it cannot hold."""

    @property
    def check_rows(self) -> Callable[[pa.Table, int], None]:
        """Raises `LossyCastError` for a value that it would not give back."""


@dataclass(frozen=True)
class Prepared:
    """A batch that fits its table.

    Attributes:
        table: what the table will be if this write commits.
        rows: in the table's columns and types; if keys are checked, they are unique and never null.
        missing: columns that the batch lacks (null in `rows`); only under merge.
        missing_fields: the same for fields of structs.
        rows_in: rows given.
        rows_deduplicated: rows dropped as duplicates inside the batch.
        schema_changed: whether columns were added, widened or replaced.
        inferred: types that were inferred from a CSV input.
        notes: what a person should know about how the input was read.
        keys: the canonical key bytes of each of `rows`; empty if they are not known to be unique.
    """

    table: TableMetadata
    rows: pa.Table
    missing: tuple[str, ...] = ()
    missing_fields: tuple[FieldPath, ...] = ()
    rows_in: int = 0
    rows_deduplicated: int = 0
    schema_changed: bool = False
    inferred: pa.Schema | None = None
    notes: tuple[str, ...] = ()
    keys: pa.Array = field(default_factory=lambda: NO_KEYS)

    @property
    def rows_kept(self) -> int:
        """How many rows are to be written."""
        return self.rows_in - self.rows_deduplicated


def prepare(
    request: Request, current: TableMetadata | None, holds: Holds | None = None, *, unique: bool = True
) -> Prepared:
    """Read the batch and make it fit.

    Args:
        request: the write.
        current: the table's metadata; None for a new table.
        holds: what the table can hold; None: what its file format can.
        unique: whether keys are to be unique; False if these are some of the rows, and the caller sees to all of them.
    Raises:
        InputError: one of its kinds, by what does not fit.
    Cost: the batch once in memory (a spooled or mapped input stays on disk until it is cast).
    """
    settled = settle(current, request)
    if request.mode in KEYED and not settled.keys:
        raise keys_required(request.mode)
    _require_timestamp(request, settled)
    # Under schema_mode='overwrite' the table's columns do not count: text is typed as for a new table.
    known = types.arrow_schema(current.columns) if current and request.schema_mode != "overwrite" else None
    batch = request.source.read(known, _text_rules(settled, current if known is not None else None))
    given = batch.table
    if not batch.has_schema:
        if known is None or request.mode == "overwrite":
            raise InputError(
                "the input yielded no chunks, so its columns are unknown",
                hint="yield at least one chunk, if only an empty one with the columns",
            )
        given = known.empty_table()
    schema.check_batch_schema(given.schema)
    if known is not None:
        given = schema.without_types(given, current.columns if current else (), request.schema_mode)
    table, reconciled = _with_columns(request, settled, current, batch, given.schema)
    holds = holds or formats.get(table.format)
    holds.check_types(types.arrow_schema(table.columns))
    if request.checks_keys:
        _refuse_float_keys(given, table)
    rows = schema.conform(given, table.columns, rules=inferred_rules(current))
    _check_values(rows, table, holds)
    if request.checks_keys:
        dedup.check_keys(rows, table.keys)
    kept, encoded = _unique(request, table, rows) if request.checks_keys and unique else (rows, NO_KEYS)
    return Prepared(
        table=table,
        rows=kept,
        missing=tuple(reconciled.missing),
        missing_fields=reconciled.missing_fields,
        rows_in=given.num_rows,
        rows_deduplicated=given.num_rows - kept.num_rows,
        schema_changed=reconciled.changed,
        inferred=batch.inferred,
        notes=batch.notes,
        keys=encoded,
    )


def _check_values(rows: pa.Table, table: TableMetadata, holds: Holds) -> None:
    """Refuse values that files or folders would not give back, before anything is written; for `plan` too."""
    partitions.check(table, rows)
    stored = rows.drop_columns([*table.partition_by])
    for start in range(0, max(1, rows.num_rows), CHECKED_ROWS):
        holds.check_rows(stored.slice(start, CHECKED_ROWS), start)
        pages.forget()


def _text_rules(settled: TableMetadata, current: TableMetadata | None) -> TextRules:
    return TextRules(inferred_rules(current), frozenset((*settled.keys, *settled.partition_by)))


def inferred_rules(current: TableMetadata | None) -> dict[str, Inferred]:
    """How the table's columns were inferred, by name; those that were not are left out."""
    columns = current.columns if current is not None else ()
    return {column.name: column.inferred for column in columns if column.inferred is not None}


def _require_timestamp(request: Request, settled: TableMetadata) -> None:
    if request.dedup_strategy == "newest_wins" and settled.timestamp_col is None:
        raise OptionError(
            "dedup_strategy 'newest_wins' requires 'timestamp_col', and the table has none recorded",
            hint="pass timestamp_col='…': the column that says which row is newer",
        )


def _with_columns(
    request: Request, settled: TableMetadata, current: TableMetadata | None, batch: Batch, given: pa.Schema
) -> tuple[TableMetadata, schema.Reconciled]:
    """The table with the columns that this write leads to, and what changes."""
    for name in settled.keys if request.checks_keys else ():
        if name not in given.names:
            raise dedup.column_not_found("key column", name, given.names, batch.index)
    mode: SchemaMode = request.schema_mode if current is not None else "overwrite"
    reconciled = schema.reconcile(
        current.columns if current else (),
        given,
        mode,
        last_id=current.last_column_id if current else 0,
        index=batch.index,
        texts=schema.Texts(batch.rules, batch.declared, _fixed(settled)),
    )
    if not properties.switch(settled.properties, "case_sensitive_names"):
        refuse_case_clashes(current.columns if current else (), reconciled.columns)
    names = [column.name for column in reconciled.columns]
    table = replace(
        settled,
        columns=tuple(reconciled.columns),
        last_column_id=max([settled.last_column_id, *(column.id for column in reconciled.columns)]),
    )
    if current is not None and request.schema_mode == "overwrite":
        table = _forget_gone(request, table, names)
    _check_roles(table, names, batch.index)
    return table, reconciled


def _fixed(table: TableMetadata) -> frozenset[str]:
    """Columns that never become text: partition folders are named by their values, a time column orders rows."""
    return frozenset(table.partition_by) | ({table.timestamp_col} if table.timestamp_col is not None else set())


def _forget_gone(request: Request, table: TableMetadata, names: list[str]) -> TableMetadata:
    """Keys and a timestamp column that an overwritten schema no longer has are forgotten."""
    keys_stand = set(table.keys) <= set(names)
    timestamp_stands = table.timestamp_col in names or table.timestamp_col == request.timestamp_col
    return replace(
        table, keys=table.keys if keys_stand else (), timestamp_col=table.timestamp_col if timestamp_stands else None
    )


def _check_roles(table: TableMetadata, names: list[str], index: tuple[str, ...]) -> None:
    """Check that partition and timestamp columns exist and have suitable types."""
    by_name = {column.name: types.from_spec(column.type) for column in table.columns}
    for name in table.partition_by:
        if name not in by_name:
            raise dedup.column_not_found("partition column", name, names, index)
        if not types.is_partition_type(by_name[name]) and not pa.types.is_null(by_name[name]):
            raise UnsupportedTypeError(
                f"column {name!r} of type {type_text(by_name[name])} cannot partition a table",
                hint="integer, string, boolean, date, timestamp and decimal columns can",
                column=name,
            )
    if table.partition_by and len(table.partition_by) == len(names):
        raise OptionError(
            "partition_by names every column, so none would be left for the files",
            hint="leave at least one column out of partition_by",
        )
    if table.timestamp_col is None:
        return
    if table.timestamp_col not in by_name:
        raise dedup.column_not_found("timestamp_col", table.timestamp_col, names, index)
    dedup.check_timestamp_type(by_name[table.timestamp_col], table.timestamp_col)


def _refuse_float_keys(given: pa.Table, table: TableMetadata) -> None:
    """Refuse floats for a key of another type if they are NaN (a missing key) or too large (an ambiguous one)."""
    for column in table.columns:
        to = types.from_spec(column.type)
        if column.name not in table.keys or not types.is_key_type(to):
            continue
        if pa.types.is_floating(types.normalise(given.schema.field(column.name).type)):
            dedup.refuse_nulls(given[column.name], column.name)
            dedup.refuse_ambiguous(given[column.name], to, column.name)


def _unique(request: Request, table: TableMetadata, rows: pa.Table) -> tuple[pa.Table, pa.Array]:
    """The rows to keep, and their keys' codes."""
    encoded = key_codec.encode(rows, table.keys)
    keep = dedup.deduplicate(rows, encoded, request.dedup_strategy, table.timestamp_col, keys=table.keys)
    return (rows, encoded) if keep is None else (rows.take(keep), encoded.take(pa.array(keep)))
