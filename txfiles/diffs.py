"""What `Table.diff` returns: how many rows differ between two versions, and streams of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from txfiles.errors import InputError

if TYPE_CHECKING:  # importing txfiles does not import pyarrow
    import pyarrow as pa

CHANGE = "_change_type"
"""The column of `Diff.changes` that says what happened to a row, in the words of Delta's change data feed."""


@dataclass(frozen=True, eq=False)
class ChangedRows:
    """Some of the rows that differ. They are read from the data files each time they are asked for.

    Attributes:
        count: how many.
        schema: their columns.
    """

    count: int
    schema: pa.Schema
    _read: Callable[[], Iterator[pa.RecordBatch]] = field(repr=False)

    def __len__(self) -> int:
        return self.count

    def to_batches(self) -> pa.RecordBatchReader:
        """Stream them, in the order of their version.

        Cost: the row groups that hold such a row, one at a time.
        """
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, self._read())

    def to_arrow(self) -> pa.Table:
        """Read them into an Arrow table. Cost: as `to_batches`."""
        return self.to_batches().read_all()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export them as an Arrow stream: DuckDB, polars, pandas and others accept them directly."""
        return self.to_batches().__arrow_c_stream__(requested_schema)


@dataclass(frozen=True, kw_only=True, eq=False)
class Diff:
    """How two versions differ in their rows.

    Attributes:
        old_version: the version that was compared.
        new_version: the version that it was compared with.
        keys: by which rows were matched; empty: whole rows were.
        inserted: rows of the new version.
        updated: rows of the new version, each in place of one of the old version with its key.
        updated_before: those rows of the old version, in its order.
        deleted: rows of the old version.
        files_scanned: data files that were read.
        files_same: data files that both versions have, with the same rows, and that were not.
    """

    old_version: int
    new_version: int
    keys: tuple[str, ...]
    inserted: ChangedRows
    updated: ChangedRows
    updated_before: ChangedRows
    deleted: ChangedRows
    files_scanned: int
    files_same: int

    def changes(self) -> pa.RecordBatchReader:
        """Stream all rows that differ, with a first column ``_change_type``.

        It is ``delete``, ``update_preimage``, ``update_postimage`` or ``insert``, in this order.

        Raises:
            InputError: the table has a column of that name.
        """
        import pyarrow as pa

        parts = {
            "delete": self.deleted,
            "update_preimage": self.updated_before,
            "update_postimage": self.updated,
            "insert": self.inserted,
        }
        schema = self.inserted.schema
        if CHANGE in schema.names:
            raise InputError(
                f"the table has a column {CHANGE!r}", hint="read inserted, updated and deleted, which add no column"
            )
        marked = pa.schema([pa.field(CHANGE, pa.string()), *schema])

        def batches() -> Iterator[pa.RecordBatch]:
            for kind, rows in parts.items():
                for batch in rows.to_batches() if rows.count else ():
                    said = pa.repeat(pa.scalar(kind, pa.string()), batch.num_rows)
                    yield pa.RecordBatch.from_arrays([said, *batch.columns], schema=marked)

        return pa.RecordBatchReader.from_batches(marked, batches())
