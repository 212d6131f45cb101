"""One schema for files that were written apart: by type alone, so that every value of every file fits.

Columns go by their exact names. Widening is stricter than for a batch, whose values are judged: here nobody has read
them.

Source: specs/14-adopt.md, "Schemas".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from txfiles.core.messages import listed
from txfiles.errors import SchemaMismatchError
from txfiles.rows.typenames import type_text
from txfiles.rows.types import normalise
from txfiles.rows.widening import widen

_is = pa.types
_UNITS = ("s", "ms", "us")
"""Units between which a timestamp's range is no matter: the finest of them holds 290,000 years."""

NAMED = 3
"""Files that a message names for each type of a column."""


@dataclass(frozen=True, slots=True)
class Part:
    """Files that have the same columns.

    Attributes:
        schema: theirs, without encodings.
        files: the first few names, for messages.
        count: how many they are.
    """

    schema: pa.Schema
    files: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class United:
    """The schema of all, and what it means for some.

    Attributes:
        schema: every column of any file: the first file's in their order, then those that others add.
        notes: which columns some files lack, and which have narrower types there.
    """

    schema: pa.Schema
    notes: tuple[str, ...] = ()


def unite(parts: Sequence[Part]) -> United:
    """The schema that holds every value of some files.

    Args:
        parts: in the order of their first files.
    Raises:
        SchemaMismatchError: types that no type holds; names the column, its types and the files that have each.
    Cost: O(parts × columns).
    """
    found: dict[str, pa.DataType | None] = {}
    for part in parts:
        for field in part.schema:
            known = found.get(field.name, field.type)
            found[field.name] = None if known is None else holding(known, field.type)
    refused = [name for name, kind in found.items() if kind is None]
    if refused:
        raise SchemaMismatchError(
            "the files do not fit together: " + "; ".join(_told(parts, name) for name in refused),
            hint="rewrite the files that differ with one type, or adopt them in folders of their own",
            columns=tuple(refused),
        )
    schema = pa.schema(list(found.items()))
    return United(schema, tuple(_notes(parts, schema)))


def holding(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds every value of both; None if there is none."""
    a, b = normalise(one), normalise(other)
    if a == b or _is.is_null(b):
        return a
    if _is.is_null(a):
        return b
    if _is.is_nested(a) or _is.is_nested(b):
        return _nested(a, b)
    if _is.is_timestamp(a) and _is.is_timestamp(b):
        return _timestamp(a, b)
    return widen(a, b) or widen(b, a)


def _timestamp(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if (a.tz is None) != (b.tz is None):
        return None
    if a.unit == b.unit:
        return a
    if "ns" in (a.unit, b.unit):  # it has digits that the other lacks, and lacks most of its years
        return None
    return pa.timestamp(max(a.unit, b.unit, key=_UNITS.index), a.tz)


def _nested(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if a.id != b.id or (_is.is_fixed_size_list(a) and a.list_size != b.list_size):
        return None
    if _is.is_struct(a):
        mine, given = ({field.name: field.type for field in one} for one in (a, b))
        fields = {name: holding(kind, given.get(name, kind)) for name, kind in mine.items()}
        fields |= {name: kind for name, kind in given.items() if name not in mine}
        return None if None in fields.values() else pa.struct(list(fields.items()))
    if _is.is_map(a):
        key, item = holding(a.key_type, b.key_type), holding(a.item_type, b.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    value = holding(a.value_type, b.value_type)
    if value is None:
        return None
    return pa.list_(value, a.list_size) if _is.is_fixed_size_list(a) else pa.list_(value)


def files_of(parts: Sequence[Part]) -> str:
    """Some files, for messages: the first few, and how many more."""
    named = [name for part in parts for name in part.files][:NAMED]
    more = sum(part.count for part in parts) - len(named)
    return listed(named) + (f" and {more:,} more" if more else "")


def _by_type(parts: Sequence[Part], name: str) -> dict[str, list[Part]]:
    found: dict[str, list[Part]] = {}
    for part in parts:
        if name in part.schema.names:
            found.setdefault(type_text(part.schema.field(name).type), []).append(part)
    return found


def _told(parts: Sequence[Part], name: str) -> str:
    return f"column {name!r} is " + ", ".join(f"{kind} in {files_of(of)}" for kind, of in _by_type(parts, name).items())


def _notes(parts: Sequence[Part], schema: pa.Schema) -> list[str]:
    notes = []
    for field in schema:
        without = [part for part in parts if field.name not in part.schema.names]
        if without:
            notes.append(f"column {field.name!r} is null in files that lack it: {files_of(without)}")
        if len(_by_type(parts, field.name)) > 1:
            notes.append(f"{_told(parts, field.name)}; in the table it is {type_text(field.type)}")
    return notes
