"""What txfiles records of a Delta table: its keys and its timestamp column, in the metadata of a column.

Delta's log can create that with the first files in one commit, every engine keeps it, and plain readers do not see it.

Source: specs/9-targets.md, "Delta".
"""

from __future__ import annotations

import json

import pyarrow as pa

from txfiles.core.manifest import TableMetadata
from txfiles.rows import types

KEYS, TIMESTAMP_COL = "txfiles.keys", "txfiles.timestamp_col"
"""Facts in the metadata of a column."""


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
            others = {
                name: said
                for name, said in (field.metadata or {}).items()
                if name.decode() not in (KEYS, TIMESTAMP_COL)
            }
            fields[field.name] = field.with_metadata(others)
    schema = pa.schema(fields.values())
    name = carrier(before) if before is not None and carrier(before) in schema.names else schema.names[0]
    new = facts(table)
    at = schema.get_field_index(name)
    if not any(new.values()):
        return schema
    said = schema.field(at).metadata or {}
    return schema.set(at, schema.field(at).with_metadata({**said, **new}))


def facts(table: TableMetadata) -> dict[str, str]:
    """Keys and timestamp column as facts of a column."""
    return {KEYS: json.dumps(list(table.keys)) if table.keys else "", TIMESTAMP_COL: table.timestamp_col or ""}


def roles(schema: pa.Schema) -> tuple[tuple[str, ...], str | None]:
    """The keys and the timestamp column that a schema records."""
    said = schema.field(carrier(schema)).metadata or {}
    keys, timestamp_col = (said.get(name.encode(), b"").decode() for name in (KEYS, TIMESTAMP_COL))
    return tuple(json.loads(keys)) if keys else (), timestamp_col or None


def carrier(schema: pa.Schema) -> str:
    """The column whose metadata has them: by default the first."""
    found = [field.name for field in schema if KEYS.encode() in (field.metadata or {})]
    return str((found or schema.names)[0])
