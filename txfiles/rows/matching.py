"""Finding the rows of a batch that have the keys of stored rows, by the codes of `keys`.

Source: specs/7-keys.md, "Matching"; specs/decisions/0028-keys-are-matched-by-a-table-that-is-kept.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.rows import bytewise
from txfiles.rows.bytewise import Positions, Words

HASHED_BYTES = 512
"""Bytes of a code that its hash looks at; what agrees in all of them is settled by comparing whole codes."""

ARROW_UP_TO = 1 / 4
"""Up to this many batch codes per stored one Arrow's look-up is faster, although each call hashes the batch again."""

WALK_STEPS = 8
"""Entries of a bucket that are looked at one by one; buckets hold about one, unless values are crowded."""

_MIX = np.uint64(0x9E3779B97F4A7C15)
_LAST_MIX = np.uint64(0xD6E8FEB86659FD93)


class Matcher:
    """Finds, for a stream of stored rows, the batch rows with the same keys. Exact.

    Codes are mapped to 64-bit numbers, which are looked up in a sorted array through a table of buckets. If all codes
    have one width and differ only in their last eight bytes (like those of an integer, a date or a timestamp), these
    bytes are the number, and equal numbers are equal keys. Otherwise the number is a hash, and hits are compared byte
    by byte. Keys of the batch whose hashes collide are looked up by Arrow, and so are all keys if the batch is small.

    Args:
        encoded: m codes, each at most once; null matches nothing.
    Cost: O(m log m), about 40 bytes a code besides the codes.
    """

    def __init__(self, encoded: pa.Array) -> None:
        self._rows = np.flatnonzero(np.asarray(encoded.is_valid()))
        self._codes = encoded.drop_null()
        view = bytewise.View(self._codes)
        self._width, self._lead = view.longest, _common_lead(self._codes, view)
        numbers = _hashes(view) if self._lead is None else view.last_words()
        ascending = bool((numbers[:-1] <= numbers[1:]).all())
        self._order = np.arange(len(numbers)) if ascending else np.argsort(numbers, kind="stable")
        self._numbers = numbers if ascending else numbers[self._order]
        self._clashing = self._find_clashing()
        self._buckets, self._shift = self._fan_out()

    def match(self, stored_encoded: pa.Array) -> Positions:
        """Look stored codes up.

        Args:
            stored_encoded: n codes; they may repeat.
        Returns:
            n numbers: the batch row with the same key, or -1.
        Cost: O(n), 30 to 90 ns a row while the batch's numbers fit the processor's cache.
        """
        found = np.full(len(stored_encoded), -1, np.int64)
        if not len(self._codes) or not len(stored_encoded):
            return found
        if len(self._codes) <= ARROW_UP_TO * len(stored_encoded):
            places = _index_in(stored_encoded, self._codes)
            return np.where(places >= 0, self._rows[places], -1)
        if stored_encoded.null_count:
            found[np.asarray(stored_encoded.is_valid())] = self.match(stored_encoded.drop_null())
            return found
        view = bytewise.View(stored_encoded)
        if self._lead is None:
            rows, at = self._look_up(_hashes(view))
            rows, positions = self._confirmed(stored_encoded, rows, self._order[at])
        else:
            alike = self._begins_alike(stored_encoded, view)
            rows, at = self._look_up(view.last_words(alike))
            rows, positions = alike[rows], self._order[at]
        found[rows] = self._rows[positions]
        return found

    def _find_clashing(self) -> Positions:
        """Entries (in sorted order) that share their number with a neighbour."""
        if self._lead is not None or len(self._numbers) <= 1:
            return np.empty(0, np.int64)
        same = self._numbers[:-1] == self._numbers[1:]
        return np.flatnonzero(np.append(same, False) | np.append(False, same))

    def _fan_out(self) -> tuple[Positions, np.uint64]:
        """Where each bucket begins in the sorted numbers; a bucket is what a number is when shifted right."""
        if not len(self._numbers):
            return np.zeros(1, np.int64), np.uint64(0)
        span = int(self._numbers[-1] - self._numbers[0])
        # Twice as many buckets as numbers keeps most of them at one entry, at 16 bytes a number.
        shift = np.uint64(max(0, span.bit_length() - len(self._numbers).bit_length() - 1))
        counts = np.bincount(((self._numbers - self._numbers[0]) >> shift).astype(np.int64))
        return np.concatenate([[0], np.cumsum(counts)]), shift

    def _look_up(self, numbers: Words) -> tuple[Positions, Positions]:
        """Which of some numbers are there, and the place of each in sorted order (the first of equal ones)."""
        least, greatest = self._numbers[0], self._numbers[-1]
        rows = np.flatnonzero((numbers >= least) & (numbers <= greatest))
        numbers = numbers[rows]
        bucket = ((numbers - least) >> self._shift).astype(np.int64)
        at, end = self._buckets[bucket], self._buckets[bucket + 1]
        hits, places = [], []
        for _ in range(WALK_STEPS):
            going = np.flatnonzero(at < end)
            if not len(going):
                break
            rows, numbers, at, end = rows[going], numbers[going], at[going], end[going]
            hit = self._numbers[at] == numbers
            hits.append(rows[hit])
            places.append(at[hit])
            at = np.where(hit, end, at + 1)
        else:
            going = np.flatnonzero(at < end)
            rows, numbers = rows[going], numbers[going]
            at = np.searchsorted(self._numbers, numbers)
            hit = self._numbers[at] == numbers
            hits.append(rows[hit])
            places.append(at[hit])
        none = [np.empty(0, np.int64)]
        return np.concatenate(hits or none), np.concatenate(places or none)

    def _confirmed(self, stored: pa.Array, rows: Positions, positions: Positions) -> tuple[Positions, Positions]:
        """Hits of hashes that are hits of codes, and what else clashing hashes hide."""
        mine, theirs = self._codes.take(pa.array(positions)), stored.take(pa.array(rows))
        equal = np.asarray(pc.equal(*_alike(mine, theirs)))
        if not len(self._clashing) or equal.all():
            return rows[equal], positions[equal]
        clashing = self._order[self._clashing]
        missed = rows[~equal]
        again = _index_in(stored.take(pa.array(missed)), self._codes.take(pa.array(clashing)))
        hit = again >= 0
        return (
            np.concatenate([rows[equal], missed[hit]]),
            np.concatenate([positions[equal], clashing[again[hit]]]),
        )

    def _begins_alike(self, stored: pa.Array, view: bytewise.View) -> Positions:
        """Stored rows of the batch's width and common beginning."""
        rows = np.flatnonzero(view.lengths == self._width)
        if len(rows) < len(stored):
            stored = stored.take(pa.array(rows))
        alike = np.ones(len(rows), np.bool_)
        # Byte by byte, since numpy is slow at many short rows.
        for column, byte in enumerate(self._lead if self._lead is not None else ()):
            alike &= bytewise.matrix(stored, self._width)[:, column] == byte
        return rows[alike]


def _common_lead(codes: pa.Array, view: bytewise.View) -> npt.NDArray[np.uint8] | None:
    """What precedes the last eight bytes, if it is the same in all codes and they are equally long."""
    if not len(codes) or view.shortest != view.longest or view.shortest < bytewise.WORD_BYTES:
        return None
    lead = bytewise.matrix(codes, view.longest)[:, :-8]
    if (lead[0] != lead[-1]).any() or (lead != lead[0]).any():
        return None
    first: npt.NDArray[np.uint8] = lead[0].copy()
    return first


def _hashes(view: bytewise.View) -> Words:
    """A number for each code, equal for equal codes. Not keyed: a collision costs time, but never changes an answer."""
    numbers = view.lengths.astype(np.uint64) * _MIX
    for at in range(0, min(view.longest, HASHED_BYTES), 8):
        rows: Any = slice(None) if at < view.shortest else np.flatnonzero(view.lengths > at)
        mixed = (numbers[rows] ^ view.words(at, rows)) * _MIX
        numbers[rows] = mixed ^ (mixed >> np.uint64(32))
    numbers *= _LAST_MIX
    numbers ^= numbers >> np.uint64(29)
    return numbers * _MIX


def _index_in(wanted: pa.Array, values: pa.Array) -> Positions:
    """For each code its place among others, or -1."""
    wanted, values = _alike(wanted, values)
    found: Positions = pc.index_in(wanted, value_set=values).fill_null(-1).to_numpy().astype(np.int64)
    return found


def _alike(a: pa.Array, b: pa.Array) -> tuple[pa.Array, pa.Array]:
    return (a, b) if a.type == b.type else (a.cast(pa.large_binary()), b.cast(pa.large_binary()))
