"""What all stores have in common: which names are valid, and the errors for what is wrong with an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pyarrow as pa

from txfiles.core.names import SEGMENT_LIMIT_BYTES
from txfiles.errors import CorruptTableError, InputError, StoreError, TxFilesError


def split(name: str, *, reserved: int = 0) -> tuple[tuple[str, ...], str]:
    """The folders of a name, and its last segment.

    Args:
        name: as the store spells it.
        reserved: bytes that the last segment has to leave, for a mark while the file is being written.
    Raises:
        InputError: it could leave the root, is not a file's name, or has a segment that file systems cannot hold.
    """
    *folders, last = name.split("/")
    for position, segment in enumerate((*folders, last)):
        if segment in ("", ".", "..") or "\0" in segment:
            raise InputError(
                f"{name!r} is not a name below a table's root",
                hint="its segments, between single slashes, are neither empty nor '.' nor '..'",
            )
        limit = SEGMENT_LIMIT_BYTES - (reserved if position == len(folders) else 0)
        if _bytes(segment, name) > limit:
            raise InputError(
                f"a segment of {name!r} is longer than {limit} bytes",
                hint="a folder's name holds a partition value: use shorter ones",
            )
    return tuple(folders), last


def folder_of(prefix: str) -> tuple[str, ...]:
    """The folders of a listing's prefix: "" or "a/b/".

    Raises:
        InputError: it is not a folder below the root.
    """
    if prefix == "":
        return ()
    if not prefix.endswith("/"):
        raise InputError(f"{prefix!r} is not a folder", hint="end the prefix of a listing with a slash")
    folders, last = split(prefix[:-1])
    return (*folders, last)


def delete_each(delete: Callable[[str], object], names: Sequence[str]) -> None:
    """Delete names one after the other, all of them; the first error is raised after the last."""
    first: TxFilesError | None = None
    for name in names:
        try:
            delete(name)
        except TxFilesError as error:
            first = first or error
    if first is not None:
        raise first


def ranges_of(source: pa.NativeFile, ranges: Sequence[tuple[int, int]], where: str) -> list[bytes]:
    """Some ranges (offset, length) of an open file.

    Raises:
        CorruptTableError: the file ends before a range does.
    """
    size = source.size()
    found = []
    for offset, length in ranges:
        if offset + length > size:
            raise past_the_end(where, size, offset + length)
        source.seek(offset)
        found.append(source.read(length))
    return found


@contextmanager
def holding(lock: AbstractContextManager[Any], where: str) -> Iterator[None]:
    """Hold a lock that the caller gave, to write one name.

    Raises:
        StoreError: it could not be taken.
    """
    with ExitStack() as held:
        try:
            held.enter_context(lock)
        except (OSError, ValueError) as error:  # filelock's time-out is an OSError, a NUL in a path a ValueError
            raise StoreError(
                f"{where} was not written: the lock that was given could not be taken ({error})",
                hint="check who holds it and that its folder exists; then run the same call again",
                path=where,
            ) from error
        yield


def over_limit(where: str, size: int, limit: int) -> CorruptTableError:
    """The error for an object that is larger than anything this library writes there."""
    return CorruptTableError(
        f"{where} has {size} bytes; at most {limit} are read",
        hint="it is damaged, or was not written by txfiles: restore it from a backup",
        path=where,
    )


def past_the_end(where: str, size: int, end: int) -> CorruptTableError:
    """The error for a data file that ends before a range does."""
    return CorruptTableError(
        f"{where} has {size} bytes, but bytes up to {end} were requested",
        hint="it is damaged: restore the file from a backup",
        path=where,
    )


def missing(where: str) -> CorruptTableError:
    """The error for a data file that the log names and the store does not have."""
    return CorruptTableError(f"{where} is missing", hint="the log names it: restore the file from a backup", path=where)


def taken(where: str) -> StoreError:
    """The error for a data file's name that is taken."""
    return StoreError(
        f"{where} already exists; it was left unchanged",
        hint="names of data files are never reused: run the same call again",
        path=where,
    )


def finished(where: str) -> StoreError:
    """The error for using a sink that was closed or aborted."""
    return StoreError(f"{where} was closed or aborted, and takes no more data", hint="begin a new file", path=where)


def _bytes(segment: str, name: str) -> int:
    try:
        return len(segment.encode())
    except UnicodeEncodeError as error:
        raise InputError(f"{name!r} is not Unicode text", hint="a name is written in UTF-8") from error
