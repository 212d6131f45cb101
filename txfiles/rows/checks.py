"""Values that a file or folder would not give back as they are: refused by column, row and value.

`batch.prepare` checks before anything is written, so that a plan refuses what a write would; the writers of files check
again, for rows that reach them another way.

Source: specs/4-semantics.md, "Values that are refused".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.search import first_bad
from txfiles.errors import LossyCastError
from txfiles.rows import bytewise
from txfiles.rows.lists import flat_lists
from txfiles.rows.parse import per_day
from txfiles.rows.text import shown
from txfiles.rows.typenames import type_text

DAYS = (-719_162, 2_932_896)
"""The first and last day of the years 1 to 9999: other years have no text that every reader takes."""

FIRST_NOT_ASCII = 0x80


def check_column(column: pa.ChunkedArray, name: str, first_row: int) -> None:
    """Refuse invalid values, such as text that is not UTF-8, or the time 24:00.

    Raises:
        LossyCastError: names the column, the first such row and what it holds.
    Cost: O(n) once; O(n) more on failure.
    """
    if _invalid(column):
        row = first_row_of(column, _invalid)
        raise not_exact(column, name, first_row, row, f"is not a valid {type_text(column.type)}")


def check_years(column: pa.ChunkedArray, name: str, first_row: int, what: str, hint: str) -> None:
    """Refuse dates and timestamps outside the years 1 to 9999.

    Args:
        column: n values of any type.
        name: its name.
        first_row: the number of its first row.
        what: it cannot hold them, for the message.
        hint: what to do about it.
    Raises:
        LossyCastError: names the column, the first such row and what it holds.
    """
    t = column.type
    if not (pa.types.is_date(t) or pa.types.is_timestamp(t)) or (pa.types.is_timestamp(t) and t.unit == "ns"):
        return  # 64 bits of nanoseconds do not leave these years
    low, high = DAYS[0] * per_day(t), (DAYS[1] + 1) * per_day(t) - 1
    row = out_of_range(column.cast(f"int{t.bit_width}"), low, high)
    if row is not None:
        why = f"is outside the years 1 to 9999: {what} holds no others"
        raise not_exact(column, name, first_row, row, why, hint=hint)


def first_row_of(column: pa.ChunkedArray, bad: Callable[[pa.ChunkedArray], bool]) -> int:
    """Position of the first value for which a test of slices, known to fail on the whole, fails."""
    return first_bad(len(column), lambda start, end: not bad(column.slice(start, end - start)))


def not_exact(
    column: pa.ChunkedArray, name: str, first_row: int, row: int, why: str, *, hint: str | None = None
) -> LossyCastError:
    """The error for a value that would not be read back unchanged; `row` counts from the column's first."""
    value = shown(column.slice(row, 1))
    return LossyCastError(
        f"column {name!r} holds {value} in row {first_row + row}, which {why}",
        hint=hint or "correct the value, or give the column another type",
        column=name,
        row=first_row + row,
        value=value,
    )


def out_of_range(column: pa.ChunkedArray, low: int, high: int) -> int | None:
    """Position of the first integer outside [low, high]; None if there is none."""
    bounds = pc.min_max(column).as_py()
    if bounds["min"] is None or (low <= bounds["min"] and bounds["max"] <= high):
        return None
    outside = pc.or_(pc.less(column, pa.scalar(low, column.type)), pc.greater(column, pa.scalar(high, column.type)))
    return int(pc.index(outside, value=True).as_py())


def is_ascii(column: pa.ChunkedArray) -> bool:
    """Whether a column is text, well-formed, and ASCII throughout: most text is, and it is soon found out.

    Cost: O(bytes), a tenth of what a check of UTF-8 takes.
    """
    return pa.types.is_string(column.type) and all(map(_is_ascii, column.chunks))


def _is_ascii(text: pa.StringArray) -> bool:
    try:
        text.validate()  # the first and the last offset are within the data
    except pa.ArrowInvalid:
        return False
    ends, data = bytewise.offsets(text), bytewise.data(text)
    return bool((ends[:-1] <= ends[1:]).all()) and not (len(data) and int(data.max()) >= FIRST_NOT_ASCII)


def _invalid(column: pa.ChunkedArray) -> bool:
    if is_ascii(column) or not _fails(column):
        return False
    # Arrow looks into what hides outside a slice of structs, or under a null, too: that is nobody's value.
    return not pa.types.is_nested(column.type) or any(_fails(leaf) for part in column.chunks for leaf in _leaves(part))


def _fails(values: pa.Array | pa.ChunkedArray) -> bool:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return True
    return False


def _leaves(a: pa.Array) -> Iterator[pa.Array]:
    """The values at the bottom of a nested array, without those that hide."""
    if not pa.types.is_nested(a.type):
        yield a
        return
    for part in a.flatten() if pa.types.is_struct(a.type) else [flat_lists(a)[1]]:
        yield from _leaves(part)
