"""Digests of keys: 96 bits in place of a code of any length, under a secret of the table.

Two keys with the same digest would be taken for one, so it must never happen, not even to somebody who picks keys with
care. For any two codes, whatever they are, one draw of secret numbers in 2⁹⁶ gives them the same digest: a proof, not a
hope. A billion probes of a hundred million keys (10¹⁷ pairs) meet a pair with a probability of 1.3 · 10⁻¹². That holds
as long as nobody who chooses keys knows the secret or sees digests: neither leaves the table's folder.

Source: specs/8-index.md, "Digests"; specs/decisions/0051-digests-and-index-runs.md; Lemire and Kaser, Strongly
universal string hashing is fast, 2014 (Multilinear-HM).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.rows import bytewise
from txfiles.rows.bytewise import Positions, Words

SECRET_BYTES = 16

LONG_BYTES = 256
"""A code longer than this is hashed to 32 bytes first, so that the numbers drawn from a secret are few."""

_BLOCK_ROWS = 16_384
"""Rows that are digested together: what they need fits the processor's cache."""

_DOMAIN = b"txfiles key digest 1"
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_MIX = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_SWAPS = 8
"""Rounds in which neighbours are put in order; more are needed only for a handful of keys in 2⁶⁴."""


@dataclass(frozen=True, slots=True, eq=False)
class Digests:
    """Digests of n keys, in their order.

    Attributes:
        high: their first 64 bits.
        low: the other 32.
    """

    high: Words
    low: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.high)

    def take(self, positions: Positions | slice) -> Digests:
        """Some of them; successive ones are not copied."""
        return Digests(self.high[positions], self.low[positions])

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Digests:
        """One after the other."""
        return Digests(
            np.concatenate([np.empty(0, np.uint64), *(part.high for part in parts)]),
            np.concatenate([np.empty(0, np.uint32), *(part.low for part in parts)]),
        )


def secret_id(secret: bytes) -> str:
    """A name for a secret that does not give it away, 32 hex digits."""
    return hashlib.sha256(b"txfiles index secret 1" + secret).hexdigest()[:32]


class Digester:
    """Digests under one secret.

    Args:
        secret: 16 bytes of the system's random source.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
        self._secret = secret
        count = 2 + LONG_BYTES // 4
        stream = hashlib.shake_256(_DOMAIN + secret).digest(count * 3 * 8)
        self._numbers: Words = np.frombuffer(stream, "<u8").reshape(count, 3).astype(np.uint64)

    def digest(self, codes: pa.Array) -> Digests:
        """Digest codes.

        Args:
            codes: n byte strings, `binary` or `large_binary`, none of them null.
        Cost: O(bytes), vectorised; about 40 ns a row for integers, 70 for a UUID as text, a microsecond for a code of
            more than 256 bytes.
        Source: specs/8-index.md, "Digests".
        """
        found = Digests(np.empty(len(codes), np.uint64), np.empty(len(codes), np.uint32))
        for start in range(0, len(codes), _BLOCK_ROWS):
            block = codes.slice(start, _BLOCK_ROWS)
            end = start + len(block)
            sums = self._sums(block)
            found.high[start:end] = _mixed((sums[0] & ~_LOW) | (sums[1] >> _HALF))
            found.low[start:end] = sums[2] >> _HALF
        return found

    def _sums(self, codes: pa.Array) -> list[Words]:
        """Three sums of products for each code; their upper halves are the digest."""
        view = bytewise.View(codes)
        alike = view.shortest == view.longest
        lengths = view.lengths[: 1 if alike else None].astype(np.uint64)
        if view.longest > LONG_BYTES:
            view = bytewise.View(self._shortened(codes, view.lengths > LONG_BYTES))
        first, per_length = self._numbers[:2]
        sums = [first[j] + per_length[j] * lengths for j in range(3)]
        for at in range(0, view.longest, bytewise.WORD_BYTES):
            even, odd = self._numbers[2 + at // 4], self._numbers[3 + at // 4]
            rows = None if at < view.shortest else np.flatnonzero(view.lengths > at)
            words = view.words(at) if rows is None else view.words(at, rows)
            left = words >> _HALF
            words &= _LOW
            for j in range(3):
                product = left + even[j]
                product *= words + odd[j]
                if rows is None:
                    product += sums[j]
                    sums[j] = product
                else:
                    sums[j][rows] += product
        return [np.broadcast_to(each, len(codes)) for each in sums]

    def _shortened(self, codes: pa.Array, long: npt.NDArray[np.bool_]) -> pa.Array:
        """The codes with the long ones hashed, one by one: their bytes cost more than the loop."""
        hashed = [
            hashlib.blake2b(code.as_buffer(), digest_size=32, key=self._secret).digest()
            for code in codes.filter(pa.array(long))
        ]
        return pc.replace_with_mask(codes, pa.array(long), pa.array(hashed, codes.type))


def ascending(high: Words) -> tuple[Positions, Words]:
    """Numbers in order, and where each of them was; equal ones keep their order.

    Args:
        high: n numbers, spread evenly over all 64 bits, as digests are; or many equal ones.
    Cost: O(n log n), less than half of what `np.argsort` takes: the leading bits are sorted together with the positions
        as plain numbers, and the few neighbours that these bits do not tell apart are swapped.
    """
    mask = np.uint64((1 << max(1, len(high) - 1).bit_length()) - 1)
    packed = np.arange(len(high), dtype=np.uint64)
    packed |= high & ~mask
    packed.sort()
    packed &= mask
    order: Positions = packed.view(np.int64)
    found = high[order]
    for _ in range(_SWAPS):
        wrong = np.flatnonzero(found[1:] < found[:-1])
        if not len(wrong):
            return order, found
        wrong = wrong[np.append(True, np.diff(wrong) > 1)]  # pairs that do not overlap
        for numbers in (order, found):
            numbers[wrong], numbers[wrong + 1] = numbers[wrong + 1], numbers[wrong]
    order = np.argsort(high, kind="stable")
    return order, high[order]


def _mixed(words: Words) -> Words:
    """Each number as another one, none of two as the same: keys that count up leave a pattern, which this breaks."""
    for shift, factor in _MIX:
        words ^= words >> shift
        words *= factor
    words ^= words >> np.uint64(31)
    return words
