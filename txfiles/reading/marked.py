"""Which rows of data files are marked: vectors are read together, and remembered.

A commit writes all its vectors to one file, so those that a scan needs lie side by side: neighbours come in one
request, and files of vectors at the same time. A vector never changes, so what was read of one holds for every version
and every table of this process.

Source: specs/2-layout.md, "Deletion vectors"; specs/decisions/0063-vectors-are-read-together.md.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from txfiles.core import names
from txfiles.core.manifest import Vector
from txfiles.errors import TxFilesError
from txfiles.formats import source, vectors
from txfiles.log.cache import VectorCache
from txfiles.log.session import Session
from txfiles.rows.filelist import DataFile

NONE_MARKED = np.empty(0, np.int64)

BATCH_BYTES = 16 * 1024 * 1024
"""Vectors are read ahead until their positions take so much memory: a quarter of what is remembered."""


class MarkedRows:
    """Which rows of some files are marked. Safe for threads.

    A vector is read together with those of its neighbours, when the first of them is asked for.

    Args:
        session: where the vectors are.
        files: all that will be asked for, about in that order. Files without a vector may be among them.
    """

    def __init__(self, session: Session, files: Sequence[DataFile]) -> None:
        self._session = session
        self._kept = session.cache.vectors if session.cache else VectorCache()
        self._batches: list[list[tuple[DataFile, Vector]]] = []
        self._batch_of: dict[str, int] = {}
        self._guard = threading.Lock()
        size = BATCH_BYTES
        for file in files:
            if file.vector is not None:
                if size >= BATCH_BYTES:
                    self._batches.append([])
                    size = 0
                self._batches[-1].append((file, file.vector))
                self._batch_of[file.path] = len(self._batches) - 1
                size += file.vector.rows * NONE_MARKED.itemsize

    def of(self, file: DataFile) -> np.ndarray:
        """Which rows of one of the files are marked, ascending.

        Raises:
            CorruptTableError: its vector is missing, or not what the log says of it: marked rows never come back for
                that.
        Cost: nothing if it is remembered; otherwise one round trip, for as many vectors as `BATCH_BYTES` allow.
        """
        if file.vector is None:
            return NONE_MARKED
        with self._guard:
            found = self._kept.get(self._key(file, file.vector))
            return self._read_with_others(file, file.vector) if found is None else found

    def _read_with_others(self, file: DataFile, vector: Vector) -> np.ndarray:
        others = [
            (other, of_other)
            for other, of_other in self._batches[self._batch_of[file.path]]
            if other.path != file.path and self._kept.get(self._key(other, of_other)) is None
        ]
        try:
            return self._read([(file, vector), *others])
        except TxFilesError:
            return self._read([(file, vector)])  # what fails may be another file's: who needs that one is told

    def _read(self, batch: Sequence[tuple[DataFile, Vector]]) -> np.ndarray:
        """Read some vectors, and remember them; the first one's positions."""
        together: dict[str, list[tuple[DataFile, Vector]]] = {}
        for file, vector in batch:
            self._refuse_long(file, vector)
            together.setdefault(vector.file, []).append((file, vector))
        first = NONE_MARKED
        for of_file in self._session.together(self._decoded, together.values()):
            for file, vector, positions in of_file:
                positions.flags.writeable = False
                self._kept.keep(self._key(file, vector), positions)
                if file is batch[0][0]:
                    first = positions
        return first

    def _decoded(self, batch: Sequence[tuple[DataFile, Vector]]) -> list[tuple[DataFile, Vector, np.ndarray]]:
        """The vectors in one file of them."""
        name = names.VECTOR_DIR + batch[0][1].file
        where = self._session.store.url(name)
        found = source.read_joined(self._session.store, name, [(vector.offset, vector.bytes) for _, vector in batch])
        return [
            (file, vector, vectors.checked(data, vector, file.rows, where))
            for (file, vector), data in zip(batch, found, strict=True)
        ]

    def _refuse_long(self, file: DataFile, vector: Vector) -> None:
        if vector.bytes > vectors.most_bytes(min(file.rows, vectors.MARKABLE_ROWS)):
            raise vectors.corrupt(
                self._session.store.url(names.VECTOR_DIR + vector.file),
                f"the log says that it has {vector.bytes} bytes, for {file.rows} rows",
            )

    def _key(self, file: DataFile, vector: Vector) -> tuple[str, Vector, int]:
        return self._session.store.root, vector, file.rows  # what is checked of a vector depends on the file's rows
