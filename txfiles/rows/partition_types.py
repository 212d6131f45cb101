"""The types of partition columns, which only the texts of folders tell.

Source: specs/14-adopt.md, "Partitions".
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from txfiles.errors import InputError
from txfiles.rows.text import from_text, to_text

_EXACT = (pa.int64(), pa.date32(), pa.bool_())
"""Types that are taken if they give each text back as it is: '01' is no integer, since it would come back as '1'."""


def infer(texts: Sequence[str | None]) -> pa.DataType:
    """The type of a partition column by its texts; string where in doubt, null if there is none.

    Cost: O(n), vectorised.
    """
    column = pa.array(texts, pa.string())
    if column.null_count == len(column):
        return pa.null()
    for kind in _EXACT:
        found = canonical(column, kind)
        if found is not None and found.equals(column):
            return kind
    return pa.string()


def canonical(column: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """The texts as the log writes values of a type; None if one of them is no value of it."""
    try:
        return to_text(from_text(column, kind))
    except InputError:
        return None
