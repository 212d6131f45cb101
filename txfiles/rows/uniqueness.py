"""Keys after an overwrite of a part of a table that names them: each is once in the rows that stay, or in the batch.

Source: specs/4-semantics.md, "Modes".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.errors import DuplicateKeyError, NullKeyError
from txfiles.rows import dedup

_OTHERS = "choose other keys, or overwrite the whole table"


def refuse_standing(rows: pa.Table, keys: Sequence[str], standing: np.ndarray) -> None:
    """Refuse rows of a batch whose keys are in rows that stay.

    Args:
        rows: the batch.
        keys: its keys.
        standing: the numbers of such rows.
    Raises:
        DuplicateKeyError: there is one.
    """
    if len(standing):
        raise standing_keys(rows.slice(int(standing[0]), 1), keys, len(standing))


def standing_keys(first: pa.Table, keys: Sequence[str], count: int) -> DuplicateKeyError:
    """The error for keys of a batch that are in rows that stay.

    Args:
        first: one row that has such a key.
        keys: the columns.
        count: how many there are.
    """
    return DuplicateKeyError(
        f"{count} keys of the batch are also in rows that stay; the first is "
        f"{dedup.shown_key(first, 0, keys)}; nothing was written",
        hint="an overwrite of a part must not bring keys that the rest of the table has",
        keys=[dedup.key_of(first, 0, keys)],
        count=count,
    )


def refuse_null(codes: pa.Array, keys: Sequence[str], file: str) -> None:
    """Refuse keys that a row which stays does not have.

    Raises:
        NullKeyError: a code is null.
    """
    refuse_nulls(codes.null_count, keys, file)


def refuse_nulls(count: int, keys: Sequence[str], file: str) -> None:
    """The same for a count of such rows."""
    if count:
        raise NullKeyError(
            f"{count} rows that stay in the table have a null in {', '.join(keys)}",
            hint=_OTHERS,
            column=keys[0],
            count=count,
            file=file,
        )


def refuse_repeated(codes: Sequence[pa.Array], keys: Sequence[str]) -> None:
    """Refuse keys that several rows which stay have.

    Raises:
        DuplicateKeyError: there is one.
    Cost: all codes in memory.
    """
    whole = pa.chunked_array(codes, codes[0].type) if codes else pa.chunked_array([], pa.binary())
    refuse_repeats(len(whole) - pc.count_distinct(whole).as_py(), keys)


def refuse_repeats(count: int, keys: Sequence[str]) -> None:
    """The same for a count of such rows."""
    if count:
        raise DuplicateKeyError(
            f"{count} rows that stay in the table repeat a key in {', '.join(keys)}",
            hint=_OTHERS,
            count=count,
            keys=[],
        )
