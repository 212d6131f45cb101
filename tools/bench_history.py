"""A table of many versions, made in memory and copied to where it is wanted."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench_rows import large_part

LIVE_FILES, FILE_ROWS = 10, 1_000
COPIERS = 16


def make_history(versions: int) -> str:
    """A table in memory with so many versions, of which the last ten wrote what is live."""
    import txfiles as tx

    url = f"memory://versions-{versions}"
    if not tx.exists(url):
        print(f"making a table of {versions:,} versions", file=sys.stderr)
        for number in range(versions):
            part = max(0, number - (versions - LIVE_FILES))
            if number:
                tx.write(large_part(part, FILE_ROWS), url, mode="append" if part else "overwrite")
            else:
                tx.write(large_part(part, FILE_ROWS), url, mode="append_once", keys=["id"])
    return url


def copy_history(versions: int, url: str, options: Mapping[str, Any] | None = None) -> None:
    """Copy it to a folder or a server, object by object."""
    from txfiles.store import open_store

    source, target = open_store(make_history(versions)), open_store(url, options)

    def copy(name: str, size: int) -> None:
        data = source.get(name, limit=size)
        assert data is not None
        target.put_if_absent(name, data)

    with ThreadPoolExecutor(COPIERS) as pool:
        list(pool.map(lambda entry: copy(entry.name, entry.bytes), source.list_from("")))
