"""`lookup`: the rows that have given keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from txfiles.core.manifest import Table
from txfiles.errors import InputError, KeysRequiredError
from txfiles.rows import casts, types
from txfiles.rows import keys as key_codec
from txfiles.txn import scan
from txfiles.txn.probe import candidates, needle, probe
from txfiles.txn.session import Session
from txfiles.txn.snapshot import Snapshot
from txfiles.txn.story import chosen


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
    found = needle(table, rows, key_codec.encode(rows, table.keys))
    hits = probe(session, found, chosen(snapshot.files, candidates(found, snapshot.files)), names)
    target = pa.schema([schema.field(name).remove_metadata() for name in names])
    return pa.concat_tables([hit.stored.cast(target) for hit in hits]) if hits else target.empty_table()


def _key_rows(table: Table, schema: pa.Schema, wanted: Any) -> pa.Table:
    """The keys as rows of the key columns, in the table's types."""
    given = wanted if isinstance(wanted, pa.Table) else _from_values(table, wanted)
    arrays = []
    for name in table.keys:
        if name not in given.column_names:
            raise InputError(f"key column {name!r} not found in the keys given", hint=f"give {', '.join(table.keys)}")
        arrays.append(casts.cast_lossless(given[name], schema.field(name).type, name=name))
    rows = pa.table(arrays, names=list(table.keys))
    return rows.drop_null()  # a null key matches nothing


def _from_values(table: Table, wanted: Any) -> pa.Table:
    values = [wanted] if isinstance(wanted, str | bytes | int) else list(wanted)
    if len(table.keys) == 1:
        columns = [[value[0] if isinstance(value, tuple) and len(value) == 1 else value for value in values]]
    else:
        for value in values:
            if not isinstance(value, tuple | list) or len(value) != len(table.keys):
                raise InputError(f"a key is ({', '.join(table.keys)}), not {value!r}")
        columns = [list(column) for column in zip(*values, strict=True)] or [[] for _ in table.keys]
    try:
        return pa.table([pa.array(column) for column in columns], names=list(table.keys))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"the keys are not of one type: {error}") from error


def _distinct(rows: pa.Table, keys: Sequence[str]) -> pa.Table:
    encoded = key_codec.encode(rows, keys)
    _, first = np.unique(encoded.dictionary_encode().indices.to_numpy(zero_copy_only=False), return_index=True)
    return rows.take(pa.array(np.sort(first)))
