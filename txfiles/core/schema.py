"""Columns of a table, as the log records them: no Arrow here, types are text.

The text form of a type is defined in specs/3-manifest.md and translated by `rows.types`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

TypeSpec = str | dict[str, Any]
ColumnId = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Inferred(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That a column's type was inferred from CSV text, so that later files are held to the same rule.

    Attributes:
        how: ``exact`` if each stored value's text is known from the value, ``value`` if only the value is.
        nulls: texts that became null.
    """

    how: Literal["exact", "value"]
    nulls: tuple[str, ...] = ()


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column.

    Attributes:
        id: from 1; never changes and is never used again; the Parquet field id (32 bits) too.
        name: unique in the table, exact (case matters).
        type: text such as ``"timestamp[us, UTC]"``, or a document for a nested type.
        inferred: how the type was inferred; None if it was declared or came with the data.
    """

    id: ColumnId
    name: str
    type: TypeSpec
    inferred: Inferred | None = None


def became_text(before: Sequence[Column], after: Sequence[Column]) -> frozenset[int]:
    """The ids of columns that one table action turned into text: their recorded bounds are in another order.

    Source: specs/3-manifest.md, "Columns that became text".
    """
    types = {column.id: column.type for column in before}
    return frozenset(
        column.id
        for column in after
        if column.type == "string" and types.get(column.id, "string") not in ("string", "null")
    )
