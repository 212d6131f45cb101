"""Where tables live: the port (`store.port`) and its adapters."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from txfiles.core.words import listed
from txfiles.errors import OptionError, UnsupportedTableError
from txfiles.store.local import LocalStore
from txfiles.store.port import Store

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def open_store(path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Store:
    """The store at a path or URL.

    Args:
        path: a folder, or a `file://` URL of one.
        storage_options: for remote stores; a local folder takes none.
    Raises:
        OptionError: an empty path, or options that a local folder has no use for.
        UnsupportedTableError: a scheme that this release does not know.
    """
    text = os.fspath(path)
    if not isinstance(text, str) or not text:
        raise OptionError(f"a table's path is a text that is not empty, not {text!r}")
    found = _SCHEME.match(text)
    if found and found[1].lower() != "file":
        # Only the scheme is told: the rest of a URL may hold credentials.
        raise UnsupportedTableError(
            f"tables on {found[1].lower()}:// are not supported by this release", hint="give a local folder"
        )
    if storage_options:
        raise OptionError(
            f"a local folder takes no storage_options ({listed(sorted(storage_options))})", hint="leave them out"
        )
    return LocalStore(unquote(urlsplit(text).path) if found else text)
