"""The input side of a write: what every kind of input is turned into.

Source: specs/4-semantics.md, "Inputs".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from txfiles.core.schema import Inferred


@dataclass(frozen=True)
class TextRules:
    """What is known about a table's columns besides their types, for inputs that are text.

    Attributes:
        inferred: how columns got their types, by name; a text that would not be inferred as that type is refused.
        exact: columns to be inferred by exact text only: keys and partition columns.
    """

    inferred: Mapping[str, Inferred] = field(default_factory=dict)
    exact: frozenset[str] = frozenset()


NO_RULES = TextRules()


@dataclass(frozen=True)
class Batch:
    """The rows of one write, whole and in order.

    Attributes:
        table: n rows, types as given; may lie in a memory-mapped file rather than in memory.
        inferred: the types that were inferred (CSV only), otherwise None.
        notes: what a person should know about how the input was read, one sentence each.
        index: names in the index of a DataFrame, which is not written.
        rules: how the types in `inferred` were, by name; text and null are not in it.
        declared: columns of which `schema=` says the type.
        has_schema: False if an iterator yielded no chunk: `table` then has no columns and no rows, and says nothing
            about what the columns would have been.
    """

    table: pa.Table
    inferred: pa.Schema | None = None
    notes: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    rules: Mapping[str, Inferred] = field(default_factory=dict)
    declared: frozenset[str] = frozenset()
    has_schema: bool = True


class Source(Protocol):
    """Data that can be read more than once, since a rebase may have to plan again."""

    def read(self, known: pa.Schema | None, rules: TextRules = NO_RULES) -> Batch:
        """The rows.

        Args:
            known: the table's schema, by which a CSV input is typed; None for a new table.
            rules: what else decides how text is typed.
        """

    def close(self) -> None:
        """Remove temporary files. May be called twice."""
