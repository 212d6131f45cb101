"""Writing one data file, in any process: everything that its `Add` states is collected while it is written.

A `DataFileWriter` needs no session, no snapshot and no log. A process that coordinates a write makes the writers, sends
them to its workers (they pickle), and commits the `Add` actions that come back. If it abandons the write, it deletes
the files. Until the commit no reader sees them.

Source: specs/5-commit.md, "Staging".
"""

from __future__ import annotations

from typing import Any, Self

import pyarrow as pa

from txfiles import formats
from txfiles.core import names, properties
from txfiles.core.manifest import Add, TableMetadata
from txfiles.core.plan import Partition
from txfiles.errors import InputError
from txfiles.formats.common import FileWriter, Group, WriteOptions
from txfiles.rows import partitions, types
from txfiles.store.port import Store
from txfiles.writing.facts import RowFacts
from txfiles.writing.index_runs import FileKeys

ScalarBounds = tuple[pa.Scalar, pa.Scalar]

FOOTER_ROWS = 4_096
"""From about this many rows on, reading a file's own statistics of its texts takes less time than making them anew."""


class DataFileWriter:
    """A data file being written, with the facts that its `Add` will state.

    It pickles until the first row is written, if its store does. For one thread at a time. If its context exits without
    `close`, it is aborted.

    Args:
        store: where the table is.
        table: the table that the file is for.
        partition: text of each partition value.
        name: for the store; see `name`. No other file may ever have it.
        copies: whether `copy` will be called.
        keys: collects the keys for the key index, if a run is to cover the file.
    """

    def __init__(
        self,
        store: Store,
        table: TableMetadata,
        partition: Partition,
        name: str,
        *,
        copies: bool = False,
        keys: FileKeys | None = None,
    ) -> None:
        self._store = store
        self._name = name
        self._table = table
        self._partition = partition
        self._copies = copies
        self._stored = [column.name for column in table.columns if column.name not in table.partition_by]
        self._facts = RowFacts(table, keys)
        self._rows = 0
        self._writer: FileWriter | None = None
        self._bounded: frozenset[str] = frozenset()
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process. Raises `InputError` once a row is written: an open file cannot be moved."""
        if self._writer is not None:
            raise InputError(
                f"the writer of {self._name} has already begun its file and cannot be pickled",
                hint="send it to the other process before its first row, or send its Add after close()",
            )
        return {
            **vars(self),
            "_facts": RowFacts(self._table),
        }  # the index of a call is its own: this file will be covered by no run

    @property
    def bytes(self) -> int:
        """Bytes written so far; rows that wait for a full row group are not among them."""
        return 0 if self._writer is None else int(self._writer.bytes)

    def write(self, piece: pa.Table) -> None:
        """Append rows of the partition; the first ones begin the file.

        Args:
            piece: n rows: all columns of the table, in its types.
        Raises:
            LossyCastError: a value would not be read back unchanged.
            StoreError: the store failed, or the name is taken.
        """
        self._check_open()
        if not piece.num_rows:
            return
        writer = self._begin(piece.num_rows) if self._writer is None else self._writer
        self._facts.add(piece, self._bounded)
        self._rows += piece.num_rows
        writer.write(piece.select(self._stored))

    def copy(self, group: Group) -> bool:
        """Append rows of the partition as they are encoded in another file; False if they have to be written.

        The writer was made to copy (`copies`).

        Args:
            group: of the table's format; it reads all columns of the table.
        Raises:
            CorruptTableError: the group's file is damaged.
            StoreError: the store failed.
        Cost: reads a column only if its nulls or bounds are not known without, as those of floats, or if the codes of
            its keys are wanted.
        """
        self._check_open()
        encoded = group.encoded()
        if encoded is None:
            return False
        writer = self._begin(group.rows) if self._writer is None else self._writer
        if not writer.copy(encoded, group.rows):
            return False
        self._rows += group.rows
        names = [column.name for column in self._table.columns]
        known = {name: facts for name in names if (facts := self._known(group, name)) is not None}
        for name, (nulls, bounds) in known.items():
            self._facts.columns.take(name, nulls, bounds)
        keys = self._table.keys if self._facts.looks_at_keys else ()
        unknown = [name for name in names if name not in known]
        read = group.read([*unknown, *(key for key in keys if key not in unknown)]) if unknown or keys else None
        if read is not None:
            self._facts.columns.add(read.select(unknown), self._bounded)
            self._facts.add_keys(read)
        return True

    def complete(self) -> None:
        """All rows are written: from now on the key index may count them. `close` says so, too."""
        self._facts.complete()

    def close(self, *, even_empty: bool = False) -> Add:
        """Publish the file, durably; returns the action that makes it part of a table.

        Args:
            even_empty: publish it without a row, too: it holds the names of the columns and their types.
        Raises:
            InputError: no row was written, so there is no file.
            StoreError: the store failed; the file does not exist.
        """
        self._check_open()
        if self._writer is None and even_empty:
            self._writer = self._begin(0)
        if self._writer is None:
            raise InputError(f"{self._name} has no rows", hint="a commit needs no file for them: leave it out")
        self.complete()
        facts = self._writer.close()
        self._over = True
        for name in self._bounded:
            self._facts.columns.know(name, self._writer.bounds(name))
        return Add(
            path=names.encode_path(self._name),
            rows=self._rows,
            bytes=facts.bytes,
            sha256=facts.sha256,
            footer_bytes=facts.footer_bytes,
            footer_sha256=facts.footer_sha256,
            partition=self._partition,
            stats=self._facts.stats(),
            key_range=self._facts.key_range() if self._rows else None,
        )

    def abort(self) -> None:
        """Drop what was written. Does nothing after `close`: the file stays. Never raises."""
        if not self._over and self._writer is not None:
            self._writer.abort()
        self._over = True

    def _check_open(self) -> None:
        if self._over:
            raise InputError(f"the writer of {self._name} is closed or aborted", hint="make a new one with a new name")

    def _begin(self, rows: int) -> FileWriter:
        """Begin the file, whose first piece has so many rows."""
        options = WriteOptions(
            compression=properties.text(self._table.properties, "compression"),
            row_group_rows=properties.integer(self._table.properties, "row_group_rows"),
            copies=self._copies,
        )
        stored = set(self._stored)
        schema = pa.schema([field for field in types.arrow_schema(self._table.columns) if field.name in stored])
        self._writer = formats.get(self._table.format).writer(self._store.create(self._name), schema, options)
        if rows >= FOOTER_ROWS:  # a key's bounds have to be known, however long they are
            self._bounded = self._writer.bounded - {*self._table.keys}
        return self._writer

    def _known(self, group: Group, column: str) -> tuple[int, ScalarBounds | None] | None:
        """The nulls and, if they are needed, the bounds of a column of a group; None if not all is known."""
        nulls = group.nulls(column)
        if column in self._bounded or nulls is None or nulls == group.rows:
            return None if nulls is None else (nulls, None)
        bounds = group.bounds(column)
        return None if bounds is None else (nulls, bounds)


def name(
    table: TableMetadata, partition: Partition, table_id: str, commit_id: str, number: int, *, folder: str | None = None
) -> str:
    """The name of a new data file, for the store: its partition's folders, and a unique last segment.

    Args:
        table: the table that the file is for.
        partition: text of each partition value.
        table_id: of the table.
        commit_id: of the call that writes the file.
        number: no other file of that call has it.
        folder: of the partition, if there is one that is spelt otherwise.
    Raises:
        InputError: a value makes a folder name longer than file systems allow.
    """
    last = names.data_file(table_id, commit_id, number, formats.get(table.format).suffix)
    return "/".join([*(partitions.folders(table, partition) if folder is None else [folder]), last])
