"""What becomes of the columns of CSV files that have no name; a first one may count the rows, as pandas' index does.

Source: specs/4-semantics.md, "CSV inputs".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from txfiles.rows.dialect import Unnamed

FIRST = "column_0"
"""The name that a first column without one is given."""

_DIGITS = 15


@dataclass
class RowNumbers:
    """Whether a column of one file counts its rows, from wherever.

    Attributes:
        counts: whether it does so far.
        start: where it begins; None before there is a row.
        rows: how many there are.
    """

    counts: bool = True
    start: int | None = None
    rows: int = 0

    def add(self, text: pa.Array) -> None:
        """Take in the next texts."""
        if not len(text) or not self.counts:
            self.rows += len(text)
            return
        if self.start is None:
            first = text[0].as_py()
            if first is None or not first.isdecimal() or len(first) > _DIGITS:
                self.counts = False
                return
            self.start = int(first)
        next_one = self.start + self.rows
        wanted = pa.array(np.arange(next_one, next_one + len(text)), pa.int64()).cast(pa.string())
        self.counts = text.equals(wanted)
        self.rows += len(text)


def count_rows(files: Iterable[RowNumbers], *, goes_on: bool) -> bool:
    """Whether the first columns of some files count rows: from 0 or 1, or, in a later part, on from anywhere.

    Args:
        files: in order.
        goes_on: whether they follow others, which a table has.
    """
    longest = 0
    for file in files:
        if not file.counts or (file.start not in (None, 0, 1) and not goes_on):
            return False
        longest, goes_on = max(longest, file.rows), True
    return longest > 1


def kept_columns(
    names: Sequence[str], unnamed: Sequence[str], how: Unnamed, files: Iterable[RowNumbers], *, goes_on: bool | None
) -> tuple[list[str], list[str]]:
    """The columns that are kept, and notes on those without a name.

    Args:
        names: all columns, in order.
        unnamed: those without a name of their own, in order.
        how: what the dialect says.
        files: of the first column of each file, if it has no name; gone through if that matters.
        goes_on: as for `count_rows`; None: the first column is no number of a row.
    """
    kept = list(names)
    if not unnamed or how == "keep":
        return kept, []
    if how == "drop":
        return [name for name in kept if name not in unnamed], []
    notes = []
    rest = list(unnamed)
    if (
        FIRST in rest
        and kept[0] == FIRST
        and len(kept) > 1
        and goes_on is not None
        and count_rows(files, goes_on=goes_on)
    ):
        kept.remove(FIRST)
        rest.remove(FIRST)
        notes.append(
            "the first column has no name and counts the rows, so it is left out; csv={'unnamed': 'keep'} keeps it"
        )
    notes += [f"column {name.removeprefix('column_')} (from 0) has no name, so it is {name!r}" for name in rest]
    return kept, notes
