"""Two bags of rows compared: which rows are gone, which are new, and which new one takes the place of which old one.

Rows that are in both, as often as they are in both, are no difference. Of the others, an old and a new one with the
same key are an update; if a key has several, as many as there are pairs. What is left was deleted or inserted.

Source: specs/4-semantics.md, "Diff".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from txfiles.rows.digests import Digests

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Bag:
    """Rows by their digests.

    Attributes:
        rows: of n whole rows.
        keys: of their keys; anything where there is none.
        has_key: which of them have a key.
    """

    rows: Digests
    keys: Digests
    has_key: Mask


@dataclass(frozen=True, slots=True, eq=False)
class Fates:
    """What became of the rows of both bags; each flag for a row.

    Attributes:
        deleted: old rows that are gone.
        replaced: old rows that a new one of the same key replaces.
        updated: new rows that replace one.
        inserted: new rows that do not.
    """

    deleted: Mask
    replaced: Mask
    updated: Mask
    inserted: Mask


def compare(old: Bag, new: Bag) -> Fates:
    """Compare two bags. Cost: O((n + m) log (n + m))."""
    kept, stays = _paired(*_numbered(old.rows, new.rows))
    gone, came = ~kept, ~stays
    before, after = np.flatnonzero(gone & old.has_key), np.flatnonzero(came & new.has_key)
    replaced, updated = np.zeros(len(gone), np.bool_), np.zeros(len(came), np.bool_)
    replaced[before], updated[after] = _paired(*_numbered(old.keys.take(before), new.keys.take(after)))
    return Fates(gone & ~replaced, replaced, updated, came & ~updated)


def _numbered(old: Digests, new: Digests) -> tuple[Positions, Positions]:
    """A number for each digest, the same for the same ones, from 0 without gaps."""
    both = Digests.join([old, new])
    order = np.lexsort((both.low, both.high))
    high, low = both.high[order], both.low[order]
    other = np.ones(len(order), np.int64)
    other[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(other) - 1
    return numbers[: len(old)], numbers[len(old) :]


def _paired(old: Positions, new: Positions) -> tuple[Mask, Mask]:
    """Which items of both have a partner with the same number on the other side: the first ones of each number."""
    count = int(max(old.max(initial=-1), new.max(initial=-1))) + 1
    common = np.minimum(np.bincount(old, minlength=count), np.bincount(new, minlength=count))
    return _rank(old, count) < common[old], _rank(new, count) < common[new]


def _rank(numbers: Positions, count: int) -> Positions:
    """How many items with the same number come before each."""
    order = np.argsort(numbers, kind="stable")
    starts = np.cumsum(np.bincount(numbers, minlength=count)) - np.bincount(numbers, minlength=count)
    ranks = np.empty(len(numbers), np.int64)
    ranks[order] = np.arange(len(numbers)) - starts[numbers[order]]
    return ranks
