"""Where the records of a CSV file end, found before it is parsed, and whether its quotes are RFC 4180's.

Arrow reads `"x"y` as xy and accepts a file that was cut inside quotes as complete, so quotes are checked first.

Source: specs/4-semantics.md, "CSV inputs"; RFC 4180.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from txfiles.errors import UnreadableInputError
from txfiles.rows.bytewise import Positions
from txfiles.rows.guess import MARKERS
from txfiles.rows.quotes import outside

Bytes = npt.NDArray[np.uint8]

RECORD_LIMIT_BYTES = 1 << 30
"""The longest CSV record: Arrow parses in blocks that hold a whole one, and sizes them with 32 bits."""

_MARKER_SIZES = sorted({len(marker) for marker in MARKERS})


@dataclass(frozen=True)
class Form:
    """A file, and the characters between and around its values."""

    path: str
    sep: str
    quote: str


@dataclass(frozen=True)
class Span:
    """Successive complete records.

    Attributes:
        start: where the first one begins.
        end: where the last one ends.
        records: how many there are.
        blank: how many of them are blank lines.
    """

    start: int
    end: int
    records: int
    blank: int


@dataclass(frozen=True)
class Records:
    """Where the records of a file are.

    Attributes:
        header: where the first one ends.
        spans: all of them, in order; the last record has a span of its own if it has no line end.
        quoted: the positions of columns and the markers (`guess.MARKERS`) that occur in quotes there.
    """

    header: int
    spans: tuple[Span, ...]
    quoted: frozenset[tuple[int, str]]


def check_records(data: Bytes, form: Form, block_bytes: int) -> Records:
    """Check the quotes of RFC 4180, and find where records end.

    With quotes numbered from 0, an even one opens, or is the second of an escaped pair; an odd one closes, or is the
    first of a pair. So the characters before an even one and after an odd one decide.

    Raises:
        UnreadableInputError: a quote or a carriage return in the wrong place, or an end within quotes.
    Cost: O(bytes), vectorised; memory for one block.
    """
    quotes, end, header, longest = 0, 0, 0, 0
    quoted: set[tuple[int, str]] = set()
    spans: list[Span] = []
    for start in range(0, data.size, block_bytes):
        block = _Block(data, start, min(start + block_bytes, data.size), quotes, form)
        block.check_quotes()
        block.check_returns()
        ends = block.outside("\n") + 1
        quoted |= block.quoted_markers(np.concatenate(([end], ends)))
        if ends.size:
            header = header or int(ends[0])
            sizes = np.diff(ends, prepend=end)
            longest = max(longest, int(sizes.max()))
            blank = (sizes == 1) | ((sizes == 2) & (data[ends - sizes] == ord("\r")))  # noqa: PLR2004
            spans.append(Span(end, int(ends[-1]), len(ends), int(blank.sum())))
            end = int(ends[-1])
        quotes += block.marks.size
    if quotes % 2:
        raise UnreadableInputError(
            f"{form.path!r} ends within quotes", hint="it was cut short, or a quote is not doubled", path=form.path
        )
    longest = max(longest, data.size - end)
    if longest > RECORD_LIMIT_BYTES:
        raise UnreadableInputError(f"{form.path!r} has a record of {longest} bytes", path=form.path)
    if end < data.size:
        spans.append(Span(end, data.size, 1, 0))
    return Records(header or data.size, tuple(spans), frozenset(quoted))


class _Block:
    """Some bytes of a file; positions are those in the whole file.

    Args:
        data: the file.
        start: where the block begins.
        end: where it ends.
        before: how many quotes precede it.
        form: of the file.
    """

    def __init__(self, data: Bytes, start: int, end: int, before: int, form: Form) -> None:
        self._data = data
        self._start = start
        self._bytes = data[start:end]
        self._before = before
        self._form = form
        self.marks = self._all(form.quote)
        self._opening = self.marks[before % 2 :: 2]
        self._closing = self.marks[1 - before % 2 :: 2]

    def outside(self, character: str) -> Positions:
        """Where a character occurs outside quotes."""
        return outside(self._all(character), self.marks, self._before)

    def check_quotes(self) -> None:
        """Refuse a quote beside anything but a separator, a line end or a quote."""
        data, form = self._data, self._form
        near = np.isin(np.arange(256), np.frombuffer(f"{form.sep}\r\n{form.quote}".encode(), np.uint8))
        opening = self._opening[self._opening > 0]
        closing = self._closing[self._closing < data.size - 1]
        bad = np.concatenate((opening[~near[data[opening - 1]]], closing[~near[data[closing + 1]]]))
        if bad.size:
            self._refuse(
                int(bad.min()),
                "a quote within a value",
                'quote a value that contains quotes, and double each of them: "a ""b"" c"',
            )

    def check_returns(self) -> None:
        """Refuse a carriage return that is not half of a line end."""
        data, returns = self._data, self._all("\r")
        returns = returns[data[np.minimum(returns + 1, data.size - 1)] != ord("\n")]
        lone = outside(returns, self.marks, self._before)
        if lone.size:
            self._refuse(
                int(lone[0]),
                "a carriage return without a line feed",
                "end lines with LF or CRLF, and quote values that have line ends",
            )

    def quoted_markers(self, ends: Positions) -> set[tuple[int, str]]:
        """The columns and markers of values that are a marker in quotes, and whose closing quote is here.

        Args:
            ends: where records begin and end; the first is before the block.
        """
        found: set[tuple[int, str]] = set()
        for size in _MARKER_SIZES:
            opens = self._closing - size - 1
            opens = opens[opens >= 0]
            opens = opens[self._data[opens] == ord(self._form.quote)]
            if not opens.size:
                continue
            texts = np.stack([self._data[opens + 1 + i] for i in range(size)], axis=1)
            for marker in (marker for marker in MARKERS if len(marker) == size):
                hits = opens[(texts == np.frombuffer(marker.encode(), np.uint8)).all(axis=1)]
                found |= {(column, marker) for column in self._columns(hits, ends)} if hits.size else set()
        return found

    def _columns(self, positions: Positions, ends: Positions) -> set[int]:
        """The columns of the values that begin at these positions."""
        separators = self.outside(self._form.sep)
        record = ends[np.searchsorted(ends, positions, side="right") - 1]
        columns = np.searchsorted(separators, positions) - np.searchsorted(separators, record)
        # The record under way when the block began has columns before it.
        earlier = self._data[int(ends[0]) : self._start]
        if earlier.size:
            marks = np.flatnonzero(earlier == ord(self._form.quote))
            at = np.flatnonzero(earlier == ord(self._form.sep))
            columns[record == ends[0]] += outside(at, marks).size
        return {int(column) for column in np.unique(columns)}

    def _all(self, character: str) -> Positions:
        return np.flatnonzero(self._bytes == ord(character)) + self._start

    def _refuse(self, position: int, what: str, hint: str) -> None:
        line = int(np.count_nonzero(self._data[:position] == ord("\n"))) + 1
        path = self._form.path
        raise UnreadableInputError(f"{path!r}, line {line}: {what}", hint=hint, path=path, line=line)
