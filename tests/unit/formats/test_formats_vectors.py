"""Deletion vectors as bytes: portable, strict to read, and small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.core.codec import sha256
from txfiles.core.manifest import Vector
from txfiles.errors import CorruptTableError
from txfiles.formats import vectors

pyroaring = pytest.importorskip("pyroaring")

ROWS = 400_000


@st.composite
def positions(draw: st.DrawFn) -> np.ndarray:
    """Sparse, dense and in runs, in several containers."""
    pieces = []
    for container in draw(st.sets(st.integers(0, 5), max_size=4)):
        kind = draw(st.sampled_from(["few", "many", "run"]))
        seed = draw(st.integers(0, 2**32 - 1))
        count = {"few": 20, "many": 9_000, "run": 5_000}[kind]
        low = (
            np.random.default_rng(seed).integers(0, 2**16, count)
            if kind != "run"
            else np.arange(seed % 60_000, seed % 60_000 + 5_000)
        )
        pieces.append(low + container * 2**16)
    return np.unique(np.concatenate(pieces)) if pieces else np.empty(0, np.int64)


def described(data: bytes, count: int) -> Vector:
    return Vector(file=f"{'0' * 16}-{'0' * 32}-00000.bin", offset=0, bytes=len(data), sha256=sha256(data), rows=count)


@given(positions())
def test_other_libraries_read_what_is_written(found):
    """The bytes are a portable Roaring bitmap, as another implementation reads and writes it, with runs too."""
    data = vectors.encode(found)
    theirs = pyroaring.BitMap.deserialize(data)
    assert list(theirs) == found.tolist()
    assert len(data) <= vectors.most_bytes(ROWS)
    for optimised in (False, True):
        if optimised:
            theirs.run_optimize()
        decoded = vectors.decode(theirs.serialize(), most=len(found), where="here")
        assert decoded.tolist() == found.tolist()
    assert vectors.decode(data, most=len(found), where="here").tolist() == found.tolist()


@given(positions(), st.data())
def test_damage_is_an_error(found, data):
    """Any change of the bytes is an error of ours, or another set of positions in order: never a crash."""
    whole = bytearray(vectors.encode(found))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))]) if data.draw(st.booleans()) else bytes(whole)
    try:
        decoded = vectors.decode(cut, most=ROWS, where="here")
    except CorruptTableError:
        return
    assert (np.diff(decoded) > 0).all()
    assert len(decoded) <= ROWS


@pytest.mark.parametrize(
    ("vector", "rows", "why"),
    [
        ({"sha256": "0" * 64}, 10, "not those that the log names"),
        ({"bytes": 7}, 10, "not those that the log names"),
        ({"rows": 3}, 10, "hold more rows|marks 4 rows"),
        ({"rows": 5}, 10, "marks 4 rows, the log says 5"),
        ({}, 9, "marks row 9 of a file of 9"),
        ({}, 4, "marks 4 rows in a file of 4"),
        ({}, 2**26 + 1, "in a file of"),
    ],
)
def test_what_the_log_says_is_checked(vector, rows, why):
    """A vector whose bytes, count or rows are not those of the log is damage, whatever its hash."""
    data = vectors.encode(np.array([1, 2, 3, 9]))
    fields = {name: getattr(described(data, 4), name) for name in Vector.__struct_fields__} | vector
    with pytest.raises(CorruptTableError, match=why):
        vectors.checked(data, Vector(**fields), rows, "here")
    assert vectors.checked(data, described(data, 4), 10, "here").tolist() == [1, 2, 3, 9]


def test_few_bytes_never_become_many_rows():
    """A bitmap of a few bytes whose runs would be all numbers there are is refused before they are made."""
    whole = pyroaring.BitMap(range(2**24))
    whole.run_optimize()
    data = whole.serialize()
    assert len(data) < 10_000
    with pytest.raises(CorruptTableError, match="more rows than the log says"):
        vectors.decode(data, most=1_000, where="here")
