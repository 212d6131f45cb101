"""Temporary files without a name: nothing stays in the temporary folder however the process ends, even by SIGKILL.

What is written to one is mapped to memory afterwards, so that it can be larger than memory.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa

from txfiles import pages
from txfiles.errors import StoreError


def temporary_file() -> IO[bytes]:
    """An empty file without a name, in the temporary folder; gone once it and its mappings are closed.

    Raises:
        StoreError: the system refused.
    """
    with writing("the temporary folder"):
        return tempfile.TemporaryFile(prefix="txfiles-")


def mapped(file: IO[bytes]) -> pa.Buffer:
    """What a file holds, mapped rather than read; it stays readable after the file is closed.

    Raises:
        StoreError: what was buffered cannot be written.
    """
    with writing("a temporary file"):
        file.flush()
    if not file.seek(0, 2):
        return pa.py_buffer(b"")  # nothing cannot be mapped
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    pages.remember(data)
    return pa.py_buffer(data)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Distinguish the temporary folder's failures from those of the input.

    Raises:
        StoreError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{what} cannot be written: {error}", hint="free space there, or set TMPDIR to another folder"
        ) from error
