"""Files at URLs as input: fetched into a temporary folder at the first read, then read as local files are.

The temporary folder is named in no error: each says the URL. It is removed when the source is closed.

Source: specs/4-semantics.md, "Inputs".
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from txfiles.core.messages import redact
from txfiles.errors import StoreError, TxFilesError, UnreadableInputError
from txfiles.inputs.folders import is_hidden, is_input, refuse_table
from txfiles.inputs.paths import PathSource
from txfiles.rows.dialect import Dialect
from txfiles.rows.source import NO_RULES, Batch, TextRules
from txfiles.store import open_store
from txfiles.store.port import Entry, Store
from txfiles.store.remote import SCHEMES

_URL = re.compile(r"(?!file:|memory:)[A-Za-z][A-Za-z0-9+.-]*://")

CHUNK_BYTES = 8 * 1024 * 1024
CHUNKS_AT_ONCE = 8
"""Chunks of a file that are fetched together, and held until they are on the disk."""


def is_remote(path: str) -> bool:
    """Whether a path is the URL of something that is not on this machine."""
    return _URL.match(path) is not None


class RemoteSource:
    """Files, some of them at URLs, as a source.

    Args:
        paths: files, folders and URLs of either, in order.
        types: what `schema=` says.
        dialect: what `csv=` says.
        storage_options: for all the URLs.
    """

    def __init__(
        self,
        paths: Sequence[str],
        types: pa.Schema | None,
        dialect: Dialect,
        storage_options: Mapping[str, Any] | None,
    ) -> None:
        self._paths = paths
        self._arguments = types, dialect
        self._storage_options = storage_options
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._source: PathSource | None = None
        self._urls: dict[str, str] = {}

    def read(self, known: pa.Schema | None, rules: TextRules = NO_RULES) -> Batch:
        """As `PathSource.read`.

        Raises:
            StoreError: a file could not be fetched; `UnreadableInputError`: there is none, or its URL is refused.
        Cost: each file is fetched once, and held on the disk until the source is closed.
        """
        try:
            if self._source is None:
                self._source = PathSource(self._fetched(), *self._arguments)
            found = self._source.read(known, rules)
            return replace(found, notes=tuple(map(self._told, found.notes)))
        except TxFilesError as error:
            error.message = self._told(error.message)
            error.hint = error.hint and self._told(error.hint)
            error.evidence = {name: self._shown(value) for name, value in error.evidence.items()}
            error.args = (error.message,)
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget the rows and the files. May be called twice; a later read fetches them again."""
        if self._source is not None:
            self._source.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._source = self._folder = None

    def _fetched(self) -> list[str]:
        """The paths with local files in the place of URLs."""
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="txfiles-inputs-")
        except OSError as error:
            raise StoreError(f"no temporary folder for the input: {error.strerror}", hint="set TMPDIR") from error
        found: list[str] = []
        for number, path in enumerate(self._paths):
            if is_remote(path):
                found += self._fetch(path, os.path.join(self._folder.name, str(number)))
            else:
                found.append(path)
        return found

    def _fetch(self, url: str, folder: str) -> Iterator[str]:
        told = redact(url)
        if told != url or url.partition("://")[0].lower() not in SCHEMES:
            raise UnreadableInputError(
                f"{told!r} is neither a local path nor the URL of a file or folder in a bucket",
                hint=f"URLs begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)} and contain no @, ? or #; "
                "credentials belong in storage_options",
                path=told,
            )
        parent, _, last = url.rstrip("/").rpartition("/")
        store = open_store(parent, self._storage_options)
        single = None if url.endswith("/") else store.stat(last)
        entries = [single] if single else list(_inputs(store, url, f"{last}/"))
        if not entries:
            raise UnreadableInputError(f"there is no input at {told!r}", hint="check the URL", path=told)
        for entry in entries:
            local = os.path.join(folder, entry.name)
            self._urls[local] = store.url(entry.name)
            os.makedirs(os.path.dirname(local), exist_ok=True)
            _copy(store, entry.name, entry.bytes, local)
        if single:
            yield local
        else:
            self._urls[os.path.join(folder, last)] = store.url(last)
            yield os.path.join(folder, last)

    def _told(self, text: str) -> str:
        for local in sorted(self._urls, key=len, reverse=True):
            text = text.replace(local, self._urls[local])
        return text

    def _shown(self, value: Any) -> Any:
        return self._told(value) if isinstance(value, str) else value


def _inputs(store: Store, url: str, folder: str) -> Iterator[Entry]:
    """What `folders.expand` would read of a folder; likewise, a table with a log is refused."""
    for entry in store.list_from(folder):
        inner = entry.name.removeprefix(folder).split("/")[:-1]
        refuse_table(url, inner)
        if is_input(entry.name) and not any(map(is_hidden, inner)):
            yield entry


def _copy(store: Store, name: str, size: int, local: str) -> None:
    """Fetch one file, a few chunks at a time."""
    chunks = [(at, min(CHUNK_BYTES, size - at)) for at in range(0, size, CHUNK_BYTES)]
    try:
        with open(local, "xb") as file:
            for at in range(0, len(chunks), CHUNKS_AT_ONCE):
                file.writelines(store.read_ranges(name, chunks[at : at + CHUNKS_AT_ONCE], size))
    except OSError as error:
        raise StoreError(
            f"{store.url(name)} could not be copied into the temporary folder: {error.strerror}",
            hint="make room there, or set TMPDIR",
        ) from error
