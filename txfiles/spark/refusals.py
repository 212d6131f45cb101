"""What a call refuses because its rows are in Spark and have no positions, whatever kind of table they go to.

Source: specs/4-semantics.md, "Keys" and "Duplicates".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from txfiles.errors import DuplicateKeyError, NullKeyError, OptionError
from txfiles.options import Request


def refuse_positions(request: Request) -> None:
    """Refuse to choose between rows by their position.

    Raises:
        OptionError: the strategy would.
    """
    if request.dedup_strategy in ("first_wins", "last_wins"):
        raise OptionError(
            f"dedup_strategy {request.dedup_strategy!r} goes by the position of rows, which Spark's have not",
            hint="use dedup_strategy='newest_wins' with timestamp_col=…, or remove duplicates from the frame first",
        )


def refuse_lock_objects(request: Request) -> None:
    """Refuse a lock that only this process has: tasks of other processes open the table, too.

    Raises:
        OptionError: it is not a path.
    """
    if request.lock is not None and not isinstance(request.lock, str | os.PathLike):
        raise OptionError(
            "lock is an object of this process, and a Spark frame is written by others",
            hint="pass the path of a lock file that all of them can reach",
        )


def refuse_nulls(key: str, count: int) -> None:
    """Refuse rows that have no value in a key column.

    Raises:
        NullKeyError: there are some.
    """
    if count:
        what = "1 row has" if count == 1 else f"{count} rows have"
        raise NullKeyError(
            f"{what} a null in key column {key!r}; nothing was written",
            hint="drop or fill them, or choose other keys",
            column=key,
            count=count,
        )


def several_rows(keys: Sequence[Any], count: int, *, at_least: bool) -> DuplicateKeyError:
    """The error for keys that have several rows, which differ.

    Args:
        keys: some of them.
        count: how many there are.
        at_least: whether there may be more.
    """
    what = "1 key has" if count == 1 else f"{'at least ' if at_least else ''}{count} keys have"
    return DuplicateKeyError(
        f"{what} several rows in the batch that differ, such as {', '.join(map(str, keys))}; nothing was written",
        hint="remove them, or say which row wins with timestamp_col=… and dedup_strategy='newest_wins'",
        keys=list(keys),
        count=count,
    )
