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
from txfiles.rows import casts, dedup, filelist, types
from txfiles.rows import keys as key_codec
from txfiles.rows.widening import kind


def lookup(session: Session, snapshot: Snapshot, wanted: Any, columns: Sequence[str] | None) -> pa.Table:
    """The rows of a snapshot whose key is among `wanted`, in the table's order. See `Table.lookup`."""
    table = snapshot.state.table
    if not table.keys:
        raise KeysRequiredError(
            f"{session.store.root} has no keys recorded to look up by",
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
    """The keys as rows of the key columns: in the table's types, or in others of which the canonical bytes compare."""
    given = wanted if isinstance(wanted, pa.Table) else _from_values(table, wanted)
    arrays = []
    for name in table.keys:
        if name not in given.column_names:
            raise InputError(f"key column {name!r} not found in the keys given", hint=f"give {', '.join(table.keys)}")
        arrays.append(_comparable(given[name], schema.field(name).type, name))
    rows = pa.table(arrays, names=list(table.keys))
    return rows.drop_null()  # a null key matches nothing


def _comparable(column: pa.ChunkedArray, to: pa.DataType, name: str) -> pa.ChunkedArray:
    """A key column that compares with one of type `to`; a value beyond the range of `to` is simply not there."""
    casts.check_castable(column.type, to, name=name)
    dedup.refuse_ambiguous(column, to, name)
    if kind(types.normalise(column.type)) == kind(to):
        return column
    return casts.cast_lossless(column, to, name=name)


def _from_values(table: TableMetadata, wanted: Any) -> pa.Table:
    values = _listed(wanted, len(table.keys))
    if len(table.keys) == 1:
        columns = [[value[0] if isinstance(value, tuple) and len(value) == 1 else value for value in values]]
    else:
        for value in values:
            if not isinstance(value, tuple | list) or len(value) != len(table.keys):
                raise InputError(
                    f"a key is ({', '.join(table.keys)}), not {shown(value)}", hint="give tuples, or a table of keys"
                )
        columns = [list(column) for column in zip(*values, strict=True)] or [[] for _ in table.keys]
    try:
        return pa.table([pa.array(column) for column in columns], names=list(table.keys))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeError) as error:
        raise InputError(f"the keys are not of one type: {error}", hint="give keys of the table's own types") from error


def _listed(wanted: Any, width: int) -> list[Any]:
    """The keys one by one: a text, a value that cannot be gone through, or a tuple of all key columns is one key."""
    is_key = isinstance(wanted, tuple) and width > 1 and len(wanted) == width
    if is_key and not all(isinstance(value, tuple | list) for value in wanted):
        return [wanted]
    if wanted is None or isinstance(wanted, Mapping):
        raise InputError(
            f"{shown(wanted)} is no key", hint="give a key, a list of keys, or a table with the key columns"
        )
    if isinstance(wanted, str | bytes) or not isinstance(wanted, Iterable):
        return [wanted]
    return list(wanted)


def _distinct(rows: pa.Table, keys: Sequence[str]) -> pa.Table:
    encoded = key_codec.encode(rows, keys)
    _, first = np.unique(encoded.dictionary_encode().indices.to_numpy(zero_copy_only=False), return_index=True)
    return rows.take(pa.array(np.sort(first)))
