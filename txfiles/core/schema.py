"""Columns of a table, as the log records them: no Arrow here, types are text.

The text form of a type is defined in specs/3-manifest.md and translated by `rows.types`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

TypeSpec = str | dict[str, Any]


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column.

    Attributes:
        id: from 1; never changes and is never used again; the Parquet field id (32 bits) too.
        name: unique in the table, exact (case matters).
        type: text such as ``"timestamp[us, UTC]"``, or a document for a nested type.
    """

    id: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    name: str
    type: TypeSpec
