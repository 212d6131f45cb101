"""`lookup`: the rows that have given keys; and keys as callers give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from txfiles.core.manifest import TableMetadata
from txfiles.core.messages import shown
from txfiles.errors import InputError, KeysRequiredError
from txfiles.log import index
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading import scan
from txfiles.reading.find import find
from txfiles.reading.key_finder import BatchKeys, batch_keys
from txfiles.rows import dedup, types
from txfiles.rows import keys as key_codec
from txfiles.rows.given import as_column, is_null
from txfiles.rows.source import Source, TextRules


def lookup(session: Session, snapshot: Snapshot, wanted: Any, columns: Sequence[str] | None) -> pa.Table:
    """The rows of a snapshot whose key is in `wanted`, in the table's order. See `Table.lookup`."""
    table = snapshot.state.table
    schema = types.arrow_schema(table.columns)
    names = scan.check_columns(schema, columns)
    found = given_keys(table, wanted, session.store.root)
    runs = index.usable(session, snapshot.state, table)
    hits = find(session, found, snapshot.files, names, runs=runs).hits
    target = pa.schema([schema.field(name).remove_metadata() for name in names])
    return pa.concat_tables([hit.stored.cast(target) for hit in hits]) if hits else target.empty_table()


def given_keys(table: TableMetadata, wanted: Any, where: str, *, nulls: bool = True) -> BatchKeys:
    """The keys of `key_rows`, prepared for looking up."""
    rows = key_rows(table, wanted, where, nulls=nulls)
    return batch_keys(table, rows, key_codec.encode(rows, table.keys))


def key_rows(table: TableMetadata, wanted: Any, where: str, *, nulls: bool = True) -> pa.Table:
    """Keys that a caller gives, each once, without those that no row can have: null, or out of the column's range.

    Args:
        table: whose keys they are.
        wanted: see `Table.lookup`.
        where: the table, for messages.
        nulls: whether there may be nulls among them.
    Raises:
        KeysRequiredError: the table has no recorded keys.
        NullKeyError: there is a null, or NaN, and `nulls` is false.
        InputError: what is given is not keys of this table.
    """
    if not table.keys:
        raise KeysRequiredError(
            f"{where} has no recorded keys by which to find rows",
            hint="use a filter; the first append_once or upsert with keys=[…] records keys",
        )
    schema = types.arrow_schema(table.columns)
    given = _columns(table, wanted)
    if not nulls:
        for name in table.keys:
            _refuse_nulls(given[name], name)
    arrays = [as_column(given[name], schema.field(name).type, name, absent=True) for name in table.keys]
    return _distinct(pa.table(arrays, names=list(table.keys)).drop_null(), table.keys)


def keys_in(table: TableMetadata, source: Source) -> pa.Table:
    """Keys in a file, whose text is read by the types of the key columns."""
    columns = [column for column in table.columns if column.name in table.keys]
    inferred = {column.name: column.inferred for column in columns if column.inferred is not None}
    try:
        return source.read(types.arrow_schema(columns), TextRules(inferred, frozenset(table.keys))).table
    except InputError as error:
        # What a load could do about a text or a file does not help here.
        if "column" in error.evidence:
            error.hint = "write each key as the table has it; `txfiles show` tells the types of its columns"
        elif "csv=" in (error.hint or ""):
            error.hint = "write the keys as a CSV file with commas and a header, or as a Parquet file"
        raise


def _refuse_nulls(given: Any, name: str) -> None:
    if isinstance(given, pa.Array | pa.ChunkedArray):
        dedup.refuse_nulls(given if isinstance(given, pa.ChunkedArray) else pa.chunked_array([given]), name)
        return
    missing = [is_null(value) or (isinstance(value, float | np.floating) and bool(np.isnan(value))) for value in given]
    dedup.refuse_nulls(pa.chunked_array([pa.array([None if null else True for null in missing], pa.bool_())]), name)


def _columns(table: TableMetadata, wanted: Any) -> Mapping[str, Any]:
    """The keys by column, each an Arrow array or values of any kind."""
    if isinstance(wanted, pa.Table):
        for name in table.keys:
            if name not in wanted.column_names:
                raise InputError(
                    f"key column {name!r} not found in the keys given", hint=f"give {', '.join(table.keys)}"
                )
        return {name: wanted[name] for name in table.keys}
    values = _listed(wanted, len(table.keys))
    if len(table.keys) == 1:
        return {
            table.keys[0]: [value[0] if isinstance(value, tuple) and len(value) == 1 else value for value in values]
        }
    for value in values:
        if not isinstance(value, tuple | list) or len(value) != len(table.keys):
            raise InputError(
                f"a key is ({', '.join(table.keys)}), not {shown(value)}", hint="give tuples, or a table of keys"
            )
    return {name: [value[number] for value in values] for number, name in enumerate(table.keys)}


def _listed(wanted: Any, width: int) -> list[Any]:
    """The keys one by one: a text, a value that is not iterable, or a tuple of all key columns is one key."""
    is_key = isinstance(wanted, tuple) and width > 1 and len(wanted) == width
    if is_key and not all(isinstance(value, tuple | list) for value in wanted):
        return [wanted]
    if wanted is None or isinstance(wanted, Mapping):
        raise InputError(
            f"{shown(wanted)} is not a key", hint="give a key, a list of keys, or a table with the key columns"
        )
    if isinstance(wanted, str | bytes) or not isinstance(wanted, Iterable):
        return [wanted]
    return list(wanted)


def _distinct(rows: pa.Table, keys: Sequence[str]) -> pa.Table:
    encoded = key_codec.encode(rows, keys)
    _, first = np.unique(encoded.dictionary_encode().indices.to_numpy(zero_copy_only=False), return_index=True)
    return rows.take(pa.array(np.sort(first)))
