"""The input side of a write: what every engine turns its data into.

Source: specs/4-semantics.md, "Inputs".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True)
class Batch:
    """The rows of one write, whole and in order.

    Attributes:
        table: n rows, types as given; may lie in a memory-mapped file rather than in memory.
        inferred: the types that were guessed because nothing said them (CSV only), else None.
        notes: what a person should know of how the input was read, one sentence each.
        index: names in the index of a DataFrame, which is not written.
        has_schema: False where an iterator yielded no chunk: `table` then has no column and no row, and
            says nothing about what the columns would have been.
    """

    table: pa.Table
    inferred: pa.Schema | None = None
    notes: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    has_schema: bool = True


class Source(Protocol):
    """Data that can be read more than once, since a rebase may have to plan again."""

    def read(self, known: pa.Schema | None) -> Batch:
        """The rows.

        Args:
            known: the table's schema, by which a CSV input is typed; None where the table is new.
        """

    def close(self) -> None:
        """Remove temporary files. May be called twice."""
