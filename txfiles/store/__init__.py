"""Where a table is: from a path or URL, as a person writes it, to a store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import unquote_to_bytes

from txfiles.core.messages import URL_SCHEME, redact
from txfiles.errors import InputError, OptionError, UnsupportedTableError
from txfiles.store import remote
from txfiles.store.local import LocalStore
from txfiles.store.memory import MemoryStore
from txfiles.store.port import Lock, Store

_URL = re.compile(rf"\s*{URL_SCHEME}(/?)(.*)", re.DOTALL)

_memories: dict[str, MemoryStore] = {}


def open_store(
    path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None, *, lock: Lock | None = None
) -> Store:
    """The store of the table at `path`. Nothing is read or written yet.

    Args:
        path: a folder, a `file://` URL, `memory://name` (one store for each name in this process), or the URL of a
            prefix in a bucket.
        storage_options: for a bucket: those of its library, `request_timeout` and `backend`; others take none.
        lock: excludes every other writer; used if the store cannot create a name atomically.
    Raises:
        InputError: the path is empty or malformed; `OptionError`: a storage option is unknown.
        UnsupportedTableError: it is on a store that this release does not know.
        StoreError: the library for it is not installed.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str):
        raise InputError(f"a table's path must be text or a pathlib.Path, not {text!r}", hint="name the table's folder")
    if not isinstance(storage_options, Mapping | None):
        raise OptionError("storage_options must be a mapping of names to values")  # not shown: it may be a secret
    if not isinstance(lock, str | os.PathLike | AbstractContextManager | None):
        raise OptionError(
            f"lock must be a path or a context manager, not {lock!r}",
            hint="give a filelock.FileLock, or the path of one",
        )
    found = _URL.match(text)
    if found is None or found[1].lower() == "file":
        store: Store = LocalStore(text if found is None else _file_path(text, found[2], found[3]), lock=lock)
    elif found[2] and found[1].lower() in remote.SCHEMES:
        return remote.open_bucket(text, found[1].lower(), found[3], storage_options or {}, lock)
    else:
        store = _from_url(text, found[1].lower(), found[2], found[3])
    if storage_options:
        options = ", ".join(sorted(map(str, storage_options)))
        raise OptionError(f"{store.root} takes no storage options; these were given: {options}")
    return store


def _from_url(url: str, scheme: str, second_slash: str, rest: str) -> Store:
    if scheme == "memory" and second_slash:
        return _memory(url, rest.rstrip("/"))
    hint = (
        f"give a folder's path, or a URL that begins with file://, {', '.join(f'{one}://' for one in remote.SCHEMES)}"
    )
    if not second_slash:
        hint = "give a URL as text: pathlib takes one of its slashes; a folder of that name is written ./name"
    raise UnsupportedTableError(f"this release does not support tables at {redact(url)}", hint=hint)


def _memory(url: str, name: str) -> MemoryStore:
    if not name or redact(url) != url:
        raise InputError(f"{redact(url)} is not the name of an in-memory store", hint="write memory://name")
    return _memories.setdefault(name, MemoryStore(name))


def _file_path(url: str, second_slash: str, rest: str) -> str:
    """The path in `file:/path`, `file:///path` or `file://localhost/path`."""
    host, slash, path = rest.partition("/") if second_slash else ("", "/", rest)
    if host not in ("", "localhost") or not slash or "?" in path or "#" in path:
        raise InputError(
            f"{redact(url)} is not the URL of a local folder",
            hint="write file:///folder, with %3F for a question mark and %23 for a hash; or the plain path",
        )
    # As the file system spells it: bytes that are not UTF-8 are preserved.
    return os.fsdecode(b"/" + unquote_to_bytes(path))
