"""How the shell opens a table. A local folder says what kind of table it holds; a URL is not asked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from txfiles.cli.params import Storage

if TYPE_CHECKING:
    import txfiles as tx


def open_table(
    path: str,
    format_name: str | None = None,
    storage_options: Storage = None,
    *,
    version: int | None = None,
    at: str | None = None,
    lock: str | None = None,
) -> tx.Table:
    """The table at the requested version, by default the newest."""
    import txfiles as tx

    if version is not None and at is not None:
        raise click.UsageError("--version and --at cannot be used together", click.get_current_context())
    return tx.Table(
        path,
        format=format_name or told(path),
        version=version,
        timestamp=at,
        storage_options=storage_options,
        lock=lock,
    )


def told(path: str) -> str | None:
    """The format that a local folder tells: "delta" if it has the log of a Delta table, and none of txfiles."""
    logs = (os.path.isdir(os.path.join(os.path.expanduser(path), name)) for name in ("_txfiles", "_delta_log"))
    return "delta" if tuple(logs) == (False, True) else None
