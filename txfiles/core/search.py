"""Finding the first bad one of many values, by a test that looks at many at once."""

from __future__ import annotations

from collections.abc import Callable


def first_bad(count: int, is_good: Callable[[int, int], bool]) -> int:
    """The position of the first value that is not good.

    Args:
        count: how many values there are; at least one is not good.
        is_good: whether the values from one position up to another, exclusive, are all good.
    Cost: as long as testing all values twice.
    """
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if is_good(low, middle):
            low = middle
        else:
            high = middle
    return low
