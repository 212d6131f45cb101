"""The footers of Parquet files that other tools wrote: what they hold, without reading their rows.

Source: specs/14-adopt.md, "Parquet"; https://github.com/apache/parquet-format.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from txfiles.core.messages import one_line
from txfiles.errors import CorruptTableError, UnreadableInputError
from txfiles.formats.parquet import int96_columns, shape_fault
from txfiles.formats.parquet_groups import END_BYTES, MAGIC
from txfiles.formats.parquet_writer import leaves
from txfiles.formats.source import INT96_UNIT, Files
from txfiles.rows.stated import Stated, integer_behind
from txfiles.rows.types import normalise

GUESS_BYTES = 64 * 1024
"""How much of a file's end is asked for at first: most footers are in it, so that one request gets them."""

ENCRYPTED = b"PARE"
_ARROW = b"ARROW:schema"


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What files have in common that one tool wrote with the same columns. Few objects for many files.

    Attributes:
        schema: names and types as they are read, encodings dropped.
        int96: columns that hold int96 timestamps.
    """

    schema: pa.Schema
    int96: frozenset[str]


@dataclass(frozen=True, slots=True)
class FooterFacts:
    """What the footer of one file says.

    Attributes:
        layout: its columns.
        rows: physical rows.
        footer_bytes: its length, with the length and the magic.
        footer_sha256: of those bytes.
        stated: for each column, in order, its nulls and bounds; None: not known.
    """

    layout: Layout
    rows: int
    footer_bytes: int
    footer_sha256: str
    stated: tuple[Stated | None, ...]


class FooterReader:
    """Reads footers of many files, of few layouts. Safe to use from several threads."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: list[tuple[Any, bytes | None, Layout, tuple[tuple[int, pa.DataType | None], ...]]] = []
        self._guard = threading.Lock()

    def read(self, name: str, size: int, path: str) -> FooterFacts:
        """The footer of one file.

        Args:
            name: for the store.
            size: of the file, as it was listed.
            path: for messages.
        Raises:
            UnreadableInputError: it is not a whole Parquet file, or one that no table can hold.
            StoreError: the store failed.
        Cost: one request for `GUESS_BYTES`, another if the footer is longer; 0.2 ms.
        """
        tail = self._tail(name, size, path)
        try:
            metadata = pq.read_metadata(pa.BufferReader(tail))
            layout, columns = self._layout(metadata, tail)
            fault = shape_fault(metadata, layout.schema)
        except (pa.ArrowException, OSError, ValueError) as error:  # a name may not be text
            raise _unreadable(path, f"its footer cannot be decoded: {one_line(error)}") from error
        if fault is not None:
            raise _unreadable(path, fault)
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        return FooterFacts(
            layout=layout,
            rows=metadata.num_rows,
            footer_bytes=len(tail),
            footer_sha256=hashlib.sha256(tail).hexdigest(),
            stated=tuple(_stated(groups, leaf, kind) for leaf, kind in columns),
        )

    def _tail(self, name: str, size: int, path: str) -> bytes:
        """The footer with its length and magic."""
        if size < len(MAGIC) + END_BYTES:
            raise _unreadable(path, f"it has {size} bytes, fewer than any Parquet file")
        try:
            length = min(size, GUESS_BYTES)
            end = self._files.read_ranges(name, [(size - length, length)], size)[0]
            if end[-len(MAGIC) :] == ENCRYPTED:
                raise _unreadable(path, "it is encrypted")
            if end[-len(MAGIC) :] != MAGIC:
                raise _unreadable(path, "it does not end as a Parquet file does")
            footer = int.from_bytes(end[-END_BYTES : -len(MAGIC)], "little") + END_BYTES
            if footer > size - len(MAGIC):
                raise _unreadable(path, f"its footer claims {footer:,} bytes, and the file has {size:,}")
            return (
                end[-footer:] if footer <= length else self._files.read_ranges(name, [(size - footer, footer)], size)[0]
            )
        except CorruptTableError as error:  # it is shorter than it was listed
            raise _unreadable(path, "it changed while it was read") from error

    def _layout(
        self, metadata: pq.FileMetaData, tail: bytes
    ) -> tuple[Layout, tuple[tuple[int, pa.DataType | None], ...]]:
        schema = metadata.schema
        arrow = (metadata.metadata or {}).get(_ARROW)
        for known, said, layout, columns in self._known:
            if said == arrow and schema.equals(known):
                return layout, columns
        file = pq.ParquetFile(pa.BufferReader(tail), metadata=metadata, coerce_int96_timestamp_unit=INT96_UNIT)
        stored = file.schema_arrow
        plain = pa.schema([(field.name, normalise(field.type)) for field in stored])
        int96 = int96_columns(metadata, stored)
        first = leaves(stored)
        columns = tuple(
            (first[field.name], None if field.name in int96 or pa.types.is_nested(field.type) else field.type)
            for field in plain
        )
        layout = Layout(plain, int96)
        with self._guard:
            self._known.append((schema, arrow, layout, columns))
        return layout, columns


def _is_bounded(kind: pa.DataType) -> bool:
    """Whether a file's bounds mean what a table's do: those of floats ignore NaN, say."""
    is_ = pa.types
    return not (is_.is_floating(kind) or is_.is_null(kind) or is_.is_interval(kind))


def _stated(groups: list[Any], leaf: int, kind: pa.DataType | None) -> Stated | None:
    """What the row groups say of a column. Nested columns and int96 have no statement: their leaves count otherwise."""
    if kind is None:
        return None
    nulls, low, high, bounded = 0, None, None, _is_bounded(kind)
    for group in groups:
        statistics = group.column(leaf).statistics
        if statistics is None or not statistics.has_null_count:
            return None
        nulls += statistics.null_count
        if bounded and statistics.has_min_max:
            pair = _pair(statistics, kind)
            low = pair[0] if low is None else min(low, pair[0])
            high = pair[1] if high is None else max(high, pair[1])
        elif statistics.null_count < group.num_rows:
            bounded = False
    return Stated(nulls, low if bounded else None, high if bounded else None)


def _pair(statistics: Any, kind: pa.DataType) -> tuple[Any, Any]:
    """Both bounds as Python values, in the order of the column's."""
    is_ = pa.types
    if integer_behind(kind) is None and (is_.is_decimal(kind) or is_.is_integer(kind) or is_.is_boolean(kind)):
        return statistics.min, statistics.max
    return statistics.min_raw, statistics.max_raw


def _unreadable(path: str, why: str) -> UnreadableInputError:
    return UnreadableInputError(
        f"{path!r} cannot be read as Parquet: {why}; nothing was written",
        hint="wait until its writer is done, restore it from a backup, or move it out of the folder; then adopt again",
        path=path,
    )
