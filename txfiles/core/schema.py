"""Columns of a table as the log records them: no Arrow here, types are text.

The text form of a type is defined in specs/3-manifest.md and translated by `rows.types`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec

from txfiles.errors import SchemaMismatchError

TypeSpec = str | dict[str, Any]
ColumnId = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Inferred(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a column's type was inferred from CSV text, so that later files must follow the same rule.

    Attributes:
        how: ``exact`` if each stored value determines its text, ``value`` if only the value is known.
        nulls: texts that became null.
    """

    how: Literal["exact", "value"]
    nulls: tuple[str, ...] = ()


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column.

    Attributes:
        id: from 1; never changes and is never reused; also the Parquet field id (32 bits).
        name: unique in the table, exact (case matters).
        type: text such as ``"timestamp[us, UTC]"``, or a document for a nested type.
        inferred: how the type was inferred; None if it was declared or came with the data.
    """

    id: ColumnId
    name: str
    type: TypeSpec
    inferred: Inferred | None = None


def became_text(before: Sequence[Column], after: Sequence[Column]) -> frozenset[int]:
    """The ids of columns that a table action turned into text: their recorded bounds are in another order.

    Source: specs/3-manifest.md, "Columns that became text".
    """
    types = {column.id: column.type for column in before}
    return frozenset(
        column.id
        for column in after
        if column.type == "string" and types.get(column.id, "string") not in ("string", "null")
    )


def refuse_case_clashes(before: Sequence[Column], after: Sequence[Column]) -> None:
    """Refuse new pairs of names, of columns or of the fields of one struct, that differ only in case.

    Existing pairs may stay, so that every table can still be written.

    Args:
        before: the table's columns; empty for a new table.
        after: its columns after the change.
    Raises:
        SchemaMismatchError: names both spellings and where they are.
    Cost: O(names); nothing if the columns stay as they are.
    Source: specs/4-semantics.md, "Names that differ in case".
    """
    if tuple(before) == tuple(after):
        return
    _refuse_clashes([column.name for column in before], [column.name for column in after], "")
    ids, names = {column.id: column for column in before}, {column.name: column for column in before}
    for column in after:
        old = ids.get(column.id) or names.get(column.name)
        stood = dict(_structs(old.type)) if old is not None else {}
        for path, fields in _structs(column.type):
            _refuse_clashes(stood.get(path, ()), fields, column.name + "".join(path))


def _structs(spec: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Each struct within a type: where it is, in parts of a path, and the names of its fields."""
    match spec:
        case {"struct": fields}:
            yield path, [one["name"] for one in fields]
            for one in fields:
                yield from _structs(one["type"], (*path, f".{one['name']}"))
        case {"map": [key, item]}:
            yield from _structs(key, (*path, "[key]"))
            yield from _structs(item, (*path, "[]"))
        case {"list": item} | {"fixed_size_list": item}:
            yield from _structs(item, (*path, "[]"))


def _refuse_clashes(before: Sequence[str], after: Sequence[str], where: str) -> None:
    folded: dict[str, list[str]] = {}
    for name in after:
        folded.setdefault(name.casefold(), []).append(name)
    for alike in folded.values():
        new = [name for name in alike if name not in before]
        if len(alike) > 1 and new:
            pair = (next(name for name in alike if name != new[-1]), new[-1])
            raise SchemaMismatchError(
                f"{f'fields of {where!r}' if where else 'columns'} differ only in case: {pair[0]!r} and {pair[1]!r}; "
                "DuckDB, Spark and Windows lose one of them",
                hint="rename one of them; or, if only case-sensitive tools read the table, set the "
                "property case_sensitive_names: properties={'case_sensitive_names': True} at creation, or later "
                "Table.set(case_sensitive_names=True) or `txfiles set PATH case_sensitive_names=true`",
                names=pair,
                where=where,
            )
