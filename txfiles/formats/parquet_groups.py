"""Row groups of Parquet files as they are encoded: what a footer says of them, and a footer for some of several files.

A group is copied as bytes, and only its offsets change. This takes only what this library writes itself: groups that
lie one after the other, without page index, Bloom filters or encryption, under the same Parquet schema.

Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift;
specs/decisions/0062-row-groups-are-copied.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa

from txfiles.formats import thrift
from txfiles.formats.thrift import Field, List, Struct

MAGIC = b"PAR1"
END_BYTES = 8
"""After the footer: its length, 4 bytes little-endian, and the magic."""

GROUPS_LIMIT = 32_767
"""Row groups of a file: their number is stored in 16 bits."""

OWN_WRITER = b"parquet-cpp-arrow"
"""Other writers' files are not looked at: some wrote statistics in an order of their own."""

# Fields of FileMetaData, RowGroup, ColumnChunk and ColumnMetaData.
_SCHEMA, _ROWS, _GROUPS, _FACTS, _WRITER, _ORDERS = 2, 3, 4, 5, 6, 7
_FILE_FIELDS = {1, _SCHEMA, _ROWS, _GROUPS, _FACTS, _WRITER, _ORDERS}
_CHUNKS, _GROUP_ROWS, _GROUP_OFFSET, _ORDINAL = 1, 3, 5, 7
_GROUP_FIELDS = {_CHUNKS, 2, _GROUP_ROWS, _GROUP_OFFSET, 6, _ORDINAL}
_CHUNK_OFFSET, _CHUNK_META = 2, 3
_CHUNK_FIELDS = {_CHUNK_OFFSET, _CHUNK_META}
_TOTAL_COMPRESSED, _DATA_PAGE, _DICTIONARY_PAGE = 7, 9, 11
_META_FIELDS = {1, 2, 3, 4, 5, 6, _TOTAL_COMPRESSED, _DATA_PAGE, _DICTIONARY_PAGE, 12, 13, 16}


@dataclass(frozen=True, slots=True)
class Footer:
    """A decoded footer of a file of this library's.

    Attributes:
        struct: its FileMetaData.
        kind: what two files must have in common for a group of one to be readable in the other.
        starts: where each group begins; n + 1 offsets, the last one where the footer begins.
    """

    struct: Struct
    kind: bytes
    starts: tuple[int, ...]

    @property
    def groups(self) -> list[Struct]:
        """What it says of each group."""
        found: list[Struct] = self.struct[_GROUPS].value.items
        return found


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row group as it is in a file.

    Attributes:
        kind: see `Footer`.
        struct: its RowGroup.
        start: where it begins in that file.
        data: its bytes.
    """

    kind: bytes
    struct: Struct
    start: int
    data: pa.Buffer


def read(tail: bytes, file_bytes: int) -> Footer | None:
    """Decode a footer; None if its file's groups cannot be copied.

    Args:
        tail: the footer with its length and the magic.
        file_bytes: size of the file.
    Cost: O(groups × columns) in Python, 15 µs for each of them.
    """
    try:
        struct = thrift.decode(tail[:-END_BYTES])
        if thrift.encode(struct) != tail[:-END_BYTES] or not _is_plain(struct):
            return None
        starts = [_start(group) for group in struct[_GROUPS].value.items]
        ends = [_start(group) + _size(group) for group in struct[_GROUPS].value.items]
    except (ValueError, LookupError, AttributeError, TypeError):
        return None  # pyarrow has read it: it is only that this module does not know all of it
    bounds = [*starts, file_bytes - len(tail)]
    if bounds[0] != len(MAGIC) or bounds[1:] != ends:
        return None
    return Footer(struct, _kind(struct), tuple(bounds))


def write(template: Footer, groups: Sequence[tuple[Struct, int]]) -> bytes:
    """A footer, with its length and the magic.

    Args:
        template: of a file of the same kind.
        groups: what another footer says of each group, and by how many bytes it has moved.
    """
    moved = [_moved(group, by, ordinal) for ordinal, (group, by) in enumerate(groups)]
    struct = dict(template.struct)
    struct[_ROWS] = Field(thrift.I64, sum(group[_GROUP_ROWS].value for group in moved))
    struct[_GROUPS] = Field(thrift.LIST, List(thrift.STRUCT, moved))
    data = thrift.encode(struct)
    return data + len(data).to_bytes(4, "little") + MAGIC


def _is_plain(struct: Struct) -> bool:
    """Whether a FileMetaData has nothing but what this module knows how to copy."""
    groups = struct[_GROUPS].value.items
    chunks = [chunk for group in groups for chunk in group[_CHUNKS].value.items]
    return (
        struct.keys() <= _FILE_FIELDS
        and struct[_WRITER].value.startswith(OWN_WRITER)
        and all(group.keys() <= _GROUP_FIELDS and group[_GROUP_ROWS].value > 0 for group in groups)
        and all(chunk.keys() <= _CHUNK_FIELDS and chunk[_CHUNK_META].value.keys() <= _META_FIELDS for chunk in chunks)
    )


def _kind(struct: Struct) -> bytes:
    return thrift.encode({number: struct[number] for number in (_SCHEMA, _FACTS, _ORDERS) if number in struct})


def _chunks(group: Struct) -> list[Struct]:
    return [chunk[_CHUNK_META].value for chunk in group[_CHUNKS].value.items]


def _chunk_start(chunk: Struct) -> int:
    dictionary: int | None = chunk[_DICTIONARY_PAGE].value if _DICTIONARY_PAGE in chunk else None
    first: int = chunk[_DATA_PAGE].value
    return first if dictionary is None else min(dictionary, first)


def _start(group: Struct) -> int:
    return _chunk_start(_chunks(group)[0])


def _size(group: Struct) -> int:
    """Bytes of a group. Raises `ValueError` if its column chunks do not follow one another."""
    chunks = _chunks(group)
    for left, right in pairwise(chunks):
        if _chunk_start(left) + left[_TOTAL_COMPRESSED].value != _chunk_start(right):
            raise ValueError("column chunks with a gap")
    return sum(int(chunk[_TOTAL_COMPRESSED].value) for chunk in chunks)


def _moved(group: Struct, by: int, ordinal: int) -> Struct:
    chunks = []
    for chunk in group[_CHUNKS].value.items:
        meta = _shifted(chunk[_CHUNK_META].value, (_DATA_PAGE, _DICTIONARY_PAGE), by)
        chunks.append({**_shifted(chunk, (_CHUNK_OFFSET,), by), _CHUNK_META: Field(thrift.STRUCT, meta)})
    found = {**_shifted(group, (_GROUP_OFFSET,), by), _CHUNKS: Field(thrift.LIST, List(thrift.STRUCT, chunks))}
    return {**found, _ORDINAL: Field(thrift.I16, ordinal)} if _ORDINAL in found else found


def _shifted(struct: Struct, numbers: Sequence[int], by: int) -> Struct:
    """The struct with some offsets moved; 0 says that there is none, and stays."""
    moved = {
        number: Field(struct[number].type, struct[number].value + by)
        for number in numbers
        if number in struct and struct[number].value
    }
    return {**struct, **moved}
