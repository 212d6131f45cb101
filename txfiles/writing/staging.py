"""Writing data files that no commit names yet.

`Staging` writes them and can delete them again; `Estimate` only says what would be written, for `plan`. Both split rows
by partition, and close a file when it has reached the table's target size.

Source: specs/4-semantics.md, "Files"; specs/5-commit.md, "Staging".
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Protocol

import numpy as np
import pyarrow as pa

from txfiles import pages
from txfiles.core import codec, names, properties
from txfiles.core.manifest import ADOPTED_FILES, Add, Mark, RunRef, TableMetadata, Vector
from txfiles.core.plan import Partition
from txfiles.errors import StoreError
from txfiles.formats import vectors
from txfiles.formats.common import Group
from txfiles.log import identity, index
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.rows import partitions
from txfiles.rows.text import to_text
from txfiles.store import port
from txfiles.writing import datafile
from txfiles.writing.datafile import DataFileWriter
from txfiles.writing.index_runs import FileKeys, IndexRuns

logger = logging.getLogger("txfiles")

SLICE_ROWS = 65_536
"""Rows handed to a file writer at a time: bounds both memory and how far a file overshoots its target size."""


Pieces = Callable[[], Generator[pa.Table | Group, None, None]]
"""Begins the pieces of some files; what was lost is written again from the beginning."""


class Stage(Protocol):
    """What an operation needs in order to write, or to find out what writing would take."""

    def rows(self, table: TableMetadata, rows: pa.Table) -> list[Add]:
        """Write rows into new files, split by partition, in their order."""

    def file(
        self,
        table: TableMetadata,
        partition: Partition,
        pieces: Pieces,
        *,
        like_bytes: int,
        copies: Callable[[], bool] = lambda: False,
    ) -> list[Add]:
        """Write pieces into new files of one partition; those that are groups of other files are copied, if possible.

        Args:
            table: whose files they are.
            partition: of all of them.
            pieces: begins the rows, in order.
            like_bytes: the size of the file that they replace.
            copies: whether some pieces are groups; asked when the first one is there.
        """

    def vectors(self, marked: Sequence[tuple[str, np.ndarray]]) -> list[Mark]:
        """Write deletion vectors, all into one file: paths of data files, each with all its marked positions."""

    def drop(self, paths: Collection[str]) -> None:
        """Delete some of what was written: no manifest will name it."""


class Staging:
    """Files written for one pass of one call. All of them are deleted by `discard` unless `keep` came first.

    Args:
        session: where the table is.
        commit_id: of the call; file names begin with it.
        numbers: distinguish its files.
        table_id: of the table; None if it is to be created.
        begin: called before each file is begun.
    """

    def __init__(
        self,
        session: Session,
        commit_id: str,
        numbers: Iterator[int],
        table_id: str | None = None,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._session = session
        self._begin = begin
        self._commit_id = commit_id
        self._numbers = numbers
        self._table_id = table_id
        self._marked: dict[str, np.ndarray] = {}
        self._names: dict[str, None] = {}  # in order; threads add to it and drop from it
        self._kept = False
        self._has_runs = False
        self._folders: dict[Partition, str] = {}
        self._runs = IndexRuns(session, self._run_name)

    @property
    def table_id(self) -> str:
        """The table's id; creates `table.json` if there is none, since it must be durable before any data file."""
        if self._table_id is None:
            store = self._session.store
            found = identity.table_id(store)
            self._table_id = found or identity.claim_table_id(store, self._session.environment.new_id()[:16])
            port.ensure_durable(store, names.TABLE_FILE)
        return self._table_id

    def rows(self, table: TableMetadata, rows: pa.Table) -> list[Add]:
        """Write rows into new files, split by partition, in their order. Cost: sorts the rows' partitions."""
        waiting, last = 0, False

        def parts() -> Iterator[tuple[Partition, pa.Table]]:
            nonlocal waiting, last
            for part in split(table, rows):
                with guard:
                    waiting += 1
                yield part
            last = True
            complete(0)

        def complete(count: int = 1) -> None:
            nonlocal waiting
            with guard:
                waiting -= count
                over = last and not waiting
            if over:  # these files are an operation's last: their run can be written beside them
                self._runs.start()

        def one(part: tuple[Partition, pa.Table]) -> list[Add]:
            return self.file(table, part[0], lambda: _slices(part[1]), like_bytes=0, complete=complete)

        guard = threading.Lock()
        written = self._session.each(one, parts())
        return [add for adds in written for add in adds]

    def file(
        self,
        table: TableMetadata,
        partition: Partition,
        pieces: Pieces,
        *,
        like_bytes: int,
        copies: Callable[[], bool] = lambda: False,
        complete: Callable[[], None] = lambda: None,
    ) -> list[Add]:
        """See `Stage.file`. Pieces are in the table's schema, one in memory at a time.

        If the store loses a file on the way, all are written again, once, under other names.

        `complete` is called when the writers have all rows, before the last file is published.
        """
        adds: list[Add] = []
        try:
            return self._file(table, partition, pieces, adds, copies=copies, complete=complete)
        except StoreError as error:
            if not port.is_lost_upload(error):
                raise
            logger.warning("%s; it is written again", error)
        self.drop({add.path for add in adds})
        return self._file(table, partition, pieces, [], copies=copies, complete=complete)

    def _file(
        self,
        table: TableMetadata,
        partition: Partition,
        pieces: Pieces,
        adds: list[Add],
        *,
        copies: Callable[[], bool],
        complete: Callable[[], None],
    ) -> list[Add]:
        """Write pieces; `adds` takes the files as they are closed."""
        target = properties.integer(table.properties, "target_file_bytes")
        current: DataFileWriter | None = None
        try:
            with closing(pieces()) as begun:
                for piece in begun:
                    if isinstance(piece, pa.Table) and not piece.num_rows:
                        continue
                    current = current or self.open(table, partition, copies=copies())
                    if isinstance(piece, pa.Table):
                        current.write(piece)
                    elif not current.copy(piece):
                        current.write(piece.read([column.name for column in table.columns]))
                    if current.bytes >= target:
                        adds.append(current.close())
                        current = None
            if current is not None:
                current.complete()
            complete()
            if current is not None:
                adds.append(current.close())
        except BaseException:
            if current is not None:
                current.abort()
            raise
        return adds

    def vectors(self, marked: Sequence[tuple[str, np.ndarray]]) -> list[Mark]:
        """Write deletion vectors, all into one file, durably. Cost: O(positions); one file, or none."""
        if not marked:
            return []
        self._begin()
        last = names.vectors(self.table_id, self._commit_id, next(self._numbers))
        name = names.VECTOR_DIR + last
        self._names[name] = None
        marks, offset = [], 0
        sink = self._session.store.create(name)
        try:
            for path, positions in marked:
                data = vectors.encode(positions)
                sink.write(data)
                digest = codec.sha256(data)
                vector = Vector(file=last, offset=offset, bytes=len(data), sha256=digest, rows=len(positions))
                marks.append(Mark(path=path, vector=vector))
                self._marked[path] = positions
                offset += len(data)
            sink.close()
        except BaseException:
            sink.abort()
            raise
        return marks

    def marked(self, path: str) -> np.ndarray:
        """The positions in the newest vector that was written for a data file."""
        return self._marked[path]

    def discard(self) -> None:
        """Delete what was staged, unless it is kept. Best effort; what stays is an orphan for vacuum."""
        if not self._kept:
            self._runs.abandon()
            self._delete(list(self._names))
            self._names.clear()

    def drop(self, paths: Collection[str]) -> None:
        """Delete some of what was staged: no manifest will name it. Best effort, as `discard`."""
        self._runs.drop(paths)
        decoded = (names.decode_path(path) for path in paths)
        dropped = [name for name in decoded if name is not None and name in self._names]
        self._delete(dropped)
        for name in dropped:
            self._names.pop(name, None)

    def _delete(self, staged: Sequence[str]) -> None:
        if not staged:
            return
        try:
            self._session.store.delete_many(list(staged))
        except StoreError as error:
            logger.warning("what was staged stays behind until a vacuum: %s", error)

    def adopt(
        self, table: TableMetadata, paths: Iterable[str], vectors: Iterable[str], runs: Sequence[RunRef] = ()
    ) -> None:
        """Take over what other processes have written for this pass.

        Args:
            table: whose files they are.
            paths: of data files.
            vectors: the last segments of the names of files of vectors.
            runs: of the key index.
        """
        named = (*paths, *(names.VECTOR_DIR + last for last in vectors), *(run.path for run in runs))
        decoded = (names.decode_path(path) for path in named)
        self._names |= dict.fromkeys(name for name in decoded if name is not None)
        self._runs.adopt(table, self.table_id, runs)

    def keep(self) -> None:
        """From now on the files belong to a commit, or may do so."""
        self._kept = True

    def give_up(self) -> None:
        """It is now certain that no manifest names the files."""
        self._kept = False

    def open(self, table: TableMetadata, partition: Partition, *, copies: bool = False) -> DataFileWriter:
        """Begin a new file of one partition."""
        self._begin()
        folder = self._folders.get(partition) if table.partition_by else None
        name = datafile.name(table, partition, self.table_id, self._commit_id, next(self._numbers), folder=folder)
        self._names[name] = None
        keys = None
        if index.wants_runs(table, has_runs=self._has_runs):
            keys = self._runs.begin(table, self.table_id, names.encode_path(name))
        return DataFileWriter(self._session.store, table, partition, name, copies=copies, keys=keys)

    def cover(self, table: TableMetadata, path: str) -> FileKeys:
        """Collect the keys of a live file for the key index, whose secret `runs` knows."""
        self._begin()
        keys = self._runs.begin(table, self.table_id, path)
        assert keys is not None
        return keys

    def keep_index(self, runs: Sequence[RunRef]) -> None:
        """Say which runs the key index has in the version that this pass is planned on."""
        index.renew_secret(self._session, runs)
        self._has_runs = bool(runs)

    def keep_folders(self, snapshot: Snapshot) -> None:
        """Have new files go into the partition folders of the version that this pass is planned on, as they are spelt.

        Cost: nothing unless the table was adopted; else as `partitions.spellings`.
        """
        table = snapshot.state.table
        if ADOPTED_FILES in table.required_features and table.partition_by:
            self._folders = partitions.spellings(table, snapshot.files)

    @property
    def runs(self) -> IndexRuns:
        """The runs of the key index that cover the files; there are none if the table is not to have any."""
        return self._runs

    def _run_name(self) -> str:
        name = names.index_run(self.table_id, self._commit_id, next(self._numbers))
        self._names[name] = None
        return name


class Estimate:
    """What `plan` uses: nothing is written; sizes are those of the replaced files and of the rows in memory."""

    def rows(self, table: TableMetadata, rows: pa.Table) -> list[Add]:
        """One file for each partition that the rows have."""
        return [_imagined(partition, part.num_rows, part.nbytes) for partition, part in split(table, rows)]

    def file(
        self,
        table: TableMetadata,
        partition: Partition,
        pieces: Pieces,
        *,
        like_bytes: int,
        copies: Callable[[], bool] = lambda: False,
    ) -> list[Add]:
        """One file as large as the one that it replaces; the pieces are not read."""
        return [_imagined(partition, 0, like_bytes)]

    def drop(self, paths: Collection[str]) -> None:
        """Nothing was written."""

    def vectors(self, marked: Sequence[tuple[str, np.ndarray]]) -> list[Mark]:
        """One mark for each file."""
        return [
            Mark(path=path, vector=Vector(file="", offset=0, bytes=0, sha256="", rows=len(positions)))
            for path, positions in marked
        ]


def split(table: TableMetadata, rows: pa.Table) -> Iterator[tuple[Partition, pa.Table]]:
    """The rows by partition: the text of the partition values, and the rows that have them, in their order."""
    if not rows.num_rows:
        return
    if not table.partition_by:
        yield (), rows
        return
    texts = [to_text(rows[name]) for name in table.partition_by]
    codes = np.zeros(rows.num_rows, np.int64)
    for text in texts:
        encoded = text.dictionary_encode(null_encoding="encode")
        codes = codes * (len(encoded.dictionary) + 1) + encoded.indices.to_numpy(zero_copy_only=False)
        codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        positions = order[start:end]
        partition = tuple(text[int(positions[0])].as_py() for text in texts)
        yield partition, rows.take(positions)


def _slices(rows: pa.Table) -> Generator[pa.Table, None, None]:
    for start in range(0, rows.num_rows, SLICE_ROWS):
        yield rows.slice(start, SLICE_ROWS)
        pages.forget()


def _imagined(partition: Partition, rows: int, size: int) -> Add:
    return Add(path="", rows=rows, bytes=size, sha256="", partition=partition)
