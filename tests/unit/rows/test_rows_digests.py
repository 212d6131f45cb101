"""Digests of keys (specs/8-index.md), against a plain implementation of the page."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from txfiles.rows import digests, keys
from txfiles.rows.digests import Digester, Digests, ascending

SPEC = Path(__file__).parents[3] / "specs" / "8-index.md"
SECRET = bytes(range(16))
EXAMPLES = [
    (bytes.fromhex(secret), bytes.fromhex(code) * int(times or 1), bytes.fromhex(digest))
    for secret, code, times, digest in re.findall(
        r"^\| `([0-9a-f ]{33})` \| `([0-9a-f ]*)`(?: × (\d+))? \| `([0-9a-f ]+)` \|$",
        SPEC.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
]


def plain(code: bytes, secret: bytes) -> tuple[int, int]:
    """A digest as the page describes it, number by number."""
    stream = hashlib.shake_256(b"txfiles key digest 1" + secret).digest(66 * 3 * 8)
    drawn = [int.from_bytes(stream[at : at + 8], "little") for at in range(0, len(stream), 8)]
    length = len(code)
    if length > 256:
        code = hashlib.blake2b(code, digest_size=32, key=secret).digest()
    code += bytes(-len(code) % 8)
    parts = [int.from_bytes(code[at : at + 4], "big") for at in range(0, len(code), 4)]
    halves = []
    for j in range(3):
        total = drawn[j] + drawn[3 + j] * length
        for i in range(0, len(parts), 2):
            total += (drawn[6 + 3 * i + j] + parts[i]) * (drawn[9 + 3 * i + j] + parts[i + 1])
        halves.append(total % 2**64 >> 32)
    high = halves[0] << 32 | halves[1]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        high = (high ^ high >> shift) * factor % 2**64
    return high ^ high >> 31, halves[2]


def pairs(found: Digests) -> list[tuple[int, int]]:
    return list(zip(found.high.tolist(), found.low.tolist(), strict=True))


def digested(codes: list[bytes], secret: bytes = SECRET, t: pa.DataType | None = None) -> list[tuple[int, int]]:
    return pairs(Digester(secret).digest(pa.array(codes, t or pa.binary())))


@pytest.mark.parametrize(("secret", "code", "digest"), EXAMPLES, ids=lambda text: text.hex()[:20])
def test_digests_are_those_of_the_spec(secret, code, digest):
    """Each example of the page is what the code makes of it, and what the plain implementation does."""
    expected = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
    assert digested([code], secret) == [plain(code, secret)] == [expected]


def test_the_spec_has_examples_of_every_length():
    """An empty code, short ones, whole words, and one that is hashed first."""
    lengths = {len(code) for _, code, _ in EXAMPLES}
    assert {0, 9, 12, 38} <= lengths
    assert max(lengths) > 256


LENGTHS = st.sampled_from([0, 1, 7, 8, 9, 16, 38, 64, 65, 255, 256, 257, 600]) | st.integers(0, 80)


@st.composite
def code_lists(draw) -> list[bytes]:
    """Codes of one length or of many."""
    lengths = st.just(draw(LENGTHS)) if draw(st.booleans()) else LENGTHS
    one = lengths.flatmap(lambda n: st.binary(min_size=n, max_size=n) | st.just(bytes(n)) | st.just(b"\xff" * n))
    return draw(st.lists(one, max_size=12))


@given(code_lists(), st.binary(min_size=16, max_size=16), st.integers(0, 3), st.booleans())
@example([b"", b"x" * 300], SECRET, 1, True)
def test_vectors_of_codes_digest_as_each_alone(codes, secret, skipped, large):
    """Whatever its neighbours' lengths, and wherever the array begins, a code has the digest of the page."""
    array = pa.array([b"skipped"] * skipped + codes, pa.large_binary() if large else pa.binary()).slice(skipped)
    assert pairs(Digester(secret).digest(array)) == [plain(code, secret) for code in codes]


def test_more_codes_than_fit_one_block():
    """Blocks of rows join without a seam, also if only some of them hold long codes."""
    codes = [b"%d" % i for i in range(20_000)]
    codes[9_000] = b"long" * 100
    assert digested(codes) == [plain(code, SECRET) for code in codes]


def test_each_secret_has_digests_of_its_own():
    """Another secret gives every code another digest, and has another name, which tells nothing else."""
    codes = [b"", b"a", b"\0" * 38, b"x" * 300]
    other = bytes([1, *SECRET[1:]])
    assert all(a != b for a, b in zip(digested(codes), digested(codes, other), strict=True))
    assert digests.secret_id(SECRET) != digests.secret_id(other)
    assert re.fullmatch("[0-9a-f]{32}", digests.secret_id(SECRET))
    with pytest.raises(ValueError, match="16 bytes"):
        Digester(b"short")


@pytest.mark.parametrize("secret", [bytes([i]) * 16 for i in range(6)])
@pytest.mark.parametrize("step", [1, 2**20, 1_000_003])
def test_keys_that_count_up_are_spread_evenly(secret, step):
    """No secret lets equally spaced keys crowd a few places: buckets are as full as chance makes them."""
    count = 2**16
    table = pa.table({"k": np.arange(count) * step})
    found = Digester(secret).digest(keys.encode(table, ["k"]))
    for bits in (found.high >> np.uint64(52), found.high & np.uint64(4095)):
        loads = np.bincount(bits.astype(np.int64), minlength=4096)
        chi = float(((loads - 16) ** 2).sum() / 16)
        assert abs(chi - 4095) < 8 * np.sqrt(2 * 4095), chi


def test_codes_that_differ_in_one_bit_differ_in_every_part():
    """A bit anywhere in a code changes about half of the digest's bits: no byte of it is left out."""
    code = bytes(range(100, 138))
    changed = [bytes([*code[:at], code[at] ^ 1 << bit, *code[at + 1 :]]) for at in range(len(code)) for bit in range(8)]
    first, *rest = digested([code, *changed])
    assert len({high for high, _ in rest} | {first[0]}) == len(changed) + 1
    assert all(low != first[1] for _, low in rest)


NUMBERS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5) | st.integers(2**63, 2**63 + 9), max_size=40)


@given(NUMBERS)
def test_ascending_is_a_stable_sort(numbers):
    """Numbers come back in order, with where they were; equal ones keep their order, however crowded they are."""
    high = np.array(numbers, np.uint64)
    order, found = ascending(high)
    assert order.tolist() == np.argsort(high, kind="stable").tolist()
    assert found.tolist() == sorted(numbers)


def test_ascending_on_many_numbers():
    """Numbers that agree in their leading bits, two or a thousand of them, are sorted by the others, too."""
    chance = np.random.default_rng(5)
    for crowd in (2, 1_000):
        high = chance.integers(0, 2**64, 100_000, np.uint64)
        high[:crowd] = (high[0] & ~np.uint64(2**17 - 1)) | chance.integers(0, 2**17, crowd, np.uint64)
        order, found = ascending(high)
        assert (order == np.argsort(high, kind="stable")).all()
        assert (found == np.sort(high)).all()
