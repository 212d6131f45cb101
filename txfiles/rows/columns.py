"""Changes of a table's columns that touch no file: what the table is after each of them.

A column is an id, and files are read through the ids of their columns, so a new name, place or wider type changes the
table's own description and nothing that was written before.

Source: specs/4-semantics.md, "Changing columns".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
from msgspec.structs import replace

from txfiles.core import properties
from txfiles.core.manifest import TableMetadata
from txfiles.core.messages import few, is_unicode, listed, nearest, short, shown
from txfiles.core.schema import Column, refuse_case_clashes
from txfiles.errors import InputError, SchemaMismatchError, UnsupportedTypeError
from txfiles.rows import types
from txfiles.rows.typenames import type_text
from txfiles.rows.types import from_spec, to_spec
from txfiles.rows.widening import widen


def rename(table: TableMetadata, old: str, new: str) -> TableMetadata:
    """The table with another name for a column. Keys and other roles stay with it.

    Raises:
        InputError: there is no such column, or the new name is not one.
        SchemaMismatchError: another column has that name, or one that differs only in case.
    """
    _column(table, old)
    if not new or not is_unicode(new):
        raise InputError(f"{shown(new)} is not a name for a column", hint="give a text that is not empty")
    if new != old and any(column.name == new for column in table.columns):
        raise SchemaMismatchError(
            f"the table has a column {new!r} already", hint=f"drop or rename {new!r} first", column=new
        )
    columns = tuple(replace(column, name=new) if column.name == old else column for column in table.columns)
    if not properties.switch(table.properties, "case_sensitive_names"):
        refuse_case_clashes(table.columns, columns)
    return replace(
        table,
        columns=columns,
        keys=_renamed(table.keys, old, new),
        partition_by=_renamed(table.partition_by, old, new),
        timestamp_col=new if table.timestamp_col == old else table.timestamp_col,
    )


def drop(table: TableMetadata, name: str) -> TableMetadata:
    """The table without a column. Its id is never used again, so no later column brings its values back.

    Raises:
        InputError: there is no such column.
        SchemaMismatchError: it is a key, the timestamp_col or a partition column, or no column would be left for files.
    """
    _column(table, name)
    _refuse_in_use(table, name)
    columns = tuple(column for column in table.columns if column.name != name)
    if len(columns) == len(table.partition_by):
        raise SchemaMismatchError(
            f"column {name!r} is the only one that is in the data files",
            hint="a table needs one; to put another in its place, add that one first, with a write under "
            "schema_mode='merge'",
            column=name,
        )
    return replace(table, columns=columns)


def reorder(table: TableMetadata, names: Sequence[str]) -> TableMetadata:
    """The table with its columns in this order.

    Raises:
        InputError: a column is missing, named twice, or not there.
    """
    for name in names:
        _column(table, name)
    twice = [name for name, count in Counter(names).items() if count > 1]
    missing = [column.name for column in table.columns if column.name not in names]
    if twice or missing:
        raise InputError(
            f"the new order names {listed(twice)} twice" if twice else f"the new order lacks {listed(missing)}",
            hint=f"name each column once; they are {few([column.name for column in table.columns])}",
        )
    by_name = {column.name: column for column in table.columns}
    return replace(table, columns=tuple(by_name[name] for name in names))


def widen_column(table: TableMetadata, name: str, after: pa.DataType) -> TableMetadata:
    """The table with a wider type for a column, by the rules of a merge.

    Args:
        table: what it is.
        name: the column's.
        after: the type, normal.
    Raises:
        InputError: there is no such column.
        SchemaMismatchError: the type does not hold every value of the column's.
        UnsupportedTypeError: it does not suit the column's role.
    """
    column = _column(table, name)
    before = from_spec(column.type)
    found = widen(before, after)
    if found != after:
        wider = f"; the type that holds both is {short(type_text(found))}" if found not in (None, before) else ""
        raise SchemaMismatchError(
            f"column {name!r} is {short(type_text(before))}, which does not widen to {short(type_text(after))}{wider}",
            hint="integers widen to larger ones and up to 32 bits to float64, float32 to float64, decimals to more "
            "digits; for any other type, write the table anew with mode='overwrite', schema_mode='overwrite'",
            column=name,
        )
    if after == before:
        return table
    _refuse_for_role(table, name, after)
    wider_column = Column(id=column.id, name=name, type=to_spec(after))
    return replace(table, columns=tuple(wider_column if one is column else one for one in table.columns))


def _column(table: TableMetadata, name: str) -> Column:
    found = next((column for column in table.columns if column.name == name), None)
    if found is None:
        names = [column.name for column in table.columns]
        raise InputError(
            f"the table has no column {name!r}{nearest(name, names)}", hint=f"its columns are {few(names)}"
        )
    return found


def _renamed(names: tuple[str, ...], old: str, new: str) -> tuple[str, ...]:
    return tuple(new if name == old else name for name in names)


def _refuse_in_use(table: TableMetadata, name: str) -> None:
    if name in table.partition_by:
        raise SchemaMismatchError(
            f"column {name!r} is a partition column: the data files are in folders of its values",
            hint="write the rows that you want to keep to a new table with other partition columns",
            column=name,
        )
    if name in table.keys:
        raise SchemaMismatchError(
            f"column {name!r} is one of the table's keys",
            hint="give the table other keys first: write(table.to_arrow(), path, mode='overwrite', keys=[…], "
            "rekey=True)",
            column=name,
        )
    if name == table.timestamp_col:
        raise SchemaMismatchError(
            f"column {name!r} is the table's timestamp_col",
            hint="give the table another one first, with a keyed write: timestamp_col='…', rekey=True",
            column=name,
        )


def _refuse_for_role(table: TableMetadata, name: str, after: pa.DataType) -> None:
    role = next(
        (
            role
            for role, columns, suits in (
                ("partition a table", table.partition_by, types.is_partition_type),
                ("be a key", table.keys, types.is_key_type),
                ("be the timestamp_col", (table.timestamp_col,), types.is_orderable),
            )
            if name in columns and not suits(after)
        ),
        None,
    )
    if role is not None:
        raise UnsupportedTypeError(
            f"column {name!r} cannot become {type_text(after)}: a column of that type cannot {role}",
            hint="integers widen to larger integers, and decimals to more digits",
            column=name,
        )
