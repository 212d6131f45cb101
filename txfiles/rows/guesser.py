"""Inferring the type of CSV text that streams by, file by file, without holding it.

Source: specs/4-semantics.md, "CSV types".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.schema import Inferred
from txfiles.rows.guess import FIRST, MARKERS, Candidate, Guess, candidates, how_inferred, pointed, without


class Guesser:
    """`infer` for text that streams by: of a column, chunk by chunk, in whatever order.

    The guesses of several files are merged into that of all their text. Memory: the candidates, no text.

    Args:
        exact: as for `infer`.
        decimal: as for `infer`.
    """

    def __init__(self, *, exact: bool = False, decimal: str = ".") -> None:
        self._exact = exact
        self._decimal = decimal
        self._candidates: list[Candidate] | None = None
        self._markers: Counter[str] = Counter()

    def add(self, chunk: pa.Array) -> None:
        """Take in some texts. Cost: O(n) for each type that is still possible."""
        if chunk.null_count == len(chunk):
            return
        hits = pc.is_in(chunk, value_set=pa.array(MARKERS, pa.string()))
        if pc.any(hits, min_count=0).as_py():
            counts = pc.value_counts(chunk.filter(hits))
            self._markers.update(dict(zip(*(part.to_pylist() for part in counts.flatten()), strict=True)))
            chunk = without(chunk, MARKERS)
        texts = pointed(chunk.drop_null(), self._decimal)
        if not len(texts):
            return
        if self._candidates is None:
            self._candidates = list(candidates(texts[0].as_py()))
        for values in (texts.slice(0, FIRST), texts):
            self._candidates = [one for one in self._candidates if one.fits(values)]

    def merge(self, later: Guesser) -> None:
        """Take in all that another one has seen."""
        self._markers.update(later._markers)
        if self._candidates is None or later._candidates is None:
            self._candidates = later._candidates if self._candidates is None else self._candidates
            return
        forms = {one.form for one in later._candidates}
        self._candidates = [one for one in self._candidates if one.form in forms]

    def guess(self, quoted: Collection[str] = ()) -> Guess:
        """What `infer` would say of all the text.

        Args:
            quoted: markers that occur in quotes in this column, and so are text.
        """
        if self._candidates is None and not self._markers:
            return Guess(pa.null())
        kinds = [one.type for one in self._candidates or ()]
        found = next((kind for kind in kinds if not (self._exact and pa.types.is_floating(kind))), None)
        if found is None:
            return Guess(pa.string())
        if not self._markers:
            return Guess(found, Inferred(how=how_inferred(found, self._decimal)))
        marker, nulled = next(iter(self._markers.items()))
        if self._exact or len(self._markers) > 1 or marker in quoted or pa.types.is_boolean(found):
            return Guess(pa.string())
        return Guess(found, Inferred(how=how_inferred(found, self._decimal), nulls=(marker,)), nulled)
