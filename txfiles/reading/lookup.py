"""`lookup`: the rows that have given keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from txfiles.core.manifest import TableMetadata
from txfiles.core.messages import shown
from txfiles.errors import InputError, KeysRequiredError
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading import scan
from txfiles.reading.key_finder import batch_keys, candidates, probe
from txfiles.rows import filelist, types
from txfiles.rows import keys as key_codec
from txfiles.rows.given import as_column


def lookup(session: Session, snapshot: Snapshot, wanted: Any, columns: Sequence[str] | None) -> pa.Table:
    """The rows of a snapshot whose key is in `wanted`, in the table's order. See `Table.lookup`."""
    table = snapshot.state.table
    if not table.keys:
        raise KeysRequiredError(
            f"{session.store.root} has no recorded keys to look up",
            hint="the first append_once or upsert with keys=[…] records them",
        )
    schema = types.arrow_schema(table.columns)
    names = scan.check_columns(schema, columns)
    rows = _distinct(_key_rows(table, schema, wanted), table.keys)
    found = batch_keys(table, rows, key_codec.encode(rows, table.keys))
    hits = probe(session, found, filelist.data_files(snapshot.files, candidates(found, snapshot.files)), names)
    target = pa.schema([schema.field(name).remove_metadata() for name in names])
    return pa.concat_tables([hit.stored.cast(target) for hit in hits]) if hits else target.empty_table()


def _key_rows(table: TableMetadata, schema: pa.Schema, wanted: Any) -> pa.Table:
    """The keys as rows of the key columns, without those that no row can have: null, or out of the column's range."""
    given = _columns(table, wanted)
    arrays = [as_column(given[name], schema.field(name).type, name, absent=True) for name in table.keys]
    return pa.table(arrays, names=list(table.keys)).drop_null()


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
