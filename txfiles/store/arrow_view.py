"""A bucket for Arrow's own readers: an object store as an Arrow file system, for reading only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, Protocol

import pyarrow as pa
import pyarrow.fs as pafs

from txfiles.store.port import Entry


class Readable(Protocol):
    """What is needed of a store."""

    @property
    def root(self) -> str:
        """The table's URL."""

    def stat(self, name: str) -> Entry | None:
        """Size and last change."""

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        """Random access to a file."""


def file_system(store: Readable) -> tuple[pafs.FileSystem, str]:
    """A file system, and the path of the store's root in it: its URL without the scheme."""
    handler = _Handler(store)
    return pafs.PyFileSystem(handler), handler.root


class _Handler(pafs.FileSystemHandler):  # type: ignore[misc]  # pyarrow has no types
    def __init__(self, store: Readable) -> None:
        self._store = store
        self.root = store.root.partition("://")[2]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handler) and self._store.root == other._store.root

    def __hash__(self) -> int:
        return hash(self._store.root)

    def get_type_name(self) -> str:
        """For Arrow's messages."""
        return "txfiles"

    def normalize_path(self, path: str) -> str:
        """Nothing is ever normalised."""
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[pafs.FileInfo]:
        """What exists; a name that is not a file counts as not found."""
        return [self._info(path) for path in paths]

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Random access."""
        return self._store.open_input(self._name(path))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """The same, read from the start."""
        return self.open_input_file(path)

    def _name(self, path: str) -> str:
        inside = f"{self.root}/"
        if not path.startswith(inside):
            raise FileNotFoundError(path)
        return path.removeprefix(inside)

    def _info(self, path: str) -> pafs.FileInfo:
        found = self._store.stat(self._name(path))
        if found is None:
            return pafs.FileInfo(path, pafs.FileType.NotFound)
        return pafs.FileInfo(path, pafs.FileType.File, size=found.bytes, mtime_ns=found.modified_us * 1_000)

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError("tables are read through this file system, not listed or written")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse
