"""Rows of a batch in files that no version names, sorted by key, so that a task can fetch a range of keys.

A task of the first job writes one file: blobs of some thousand rows each, which follow each other in the order of their
key codes. The driver knows of each blob where it is and a sample of its codes, and cuts all of them into ranges. Equal
keys are in one range, and neighbours are together, so that few data files have to be looked into for each range.

Source: specs/12-spark.md, "Staged rows".
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.errors import CorruptTableError, EngineError
from txfiles.formats.common import Sink
from txfiles.log.session import Session
from txfiles.rows import bytewise
from txfiles.rows import keys as key_codec

BLOB_ROWS = 16_384
"""Rows in a blob, at most: what a range fetches too much at each of its ends."""

BLOBS_OF_A_CHUNK = 16
"""Few rows are cut finer: many small chunks would be fetched whole by each range."""

SAMPLE_ROWS = 1_024
"""One code of so many is kept on the driver, cut to `keys.CUT_BYTES`: about 70 bytes for a megabyte of rows."""

CODE = "\0code"
"""The column of key codes, beside the batch's own: no column of a table has such a name."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes in a staged file.

    Attributes:
        file: its name in the store.
        file_bytes: its size.
        offset: where the bytes begin.
        bytes: how many they are.
        crc: their CRC-32.
    """

    file: str
    file_bytes: int
    offset: int
    bytes: int
    crc: int


@dataclass(frozen=True, slots=True)
class Blob:
    """Some rows, in the order of their codes.

    Attributes:
        piece: where they are.
        rows: how many.
        samples: the first code and one of each `SAMPLE_ROWS` after it, cut short.
        last: the last code, cut short.
    """

    piece: Piece
    rows: int
    samples: tuple[bytes, ...]
    last: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """A range of keys.

    Attributes:
        low: the codes of its rows are not below this.
        high: they are below this; None: it is the last range.
        blobs: where rows of it may be.
    """

    low: bytes
    high: bytes | None
    blobs: tuple[Piece, ...]


class PieceWriter:
    """Writes a staged file, piece by piece. Leaving its context without `close` aborts it.

    Args:
        session: where it goes.
        name: in the store.
    """

    def __init__(self, session: Session, name: str) -> None:
        self._name = name
        self._sink: Sink | None = None
        self._store = session.store
        self._at = 0
        self._pieces: list[tuple[int, int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._sink is not None:
            self._sink.abort()

    def add(self, data: bytes) -> int:
        """Append bytes; returns their number."""
        if self._sink is None:
            self._sink = self._store.create(self._name)
        self._sink.write(data)
        self._pieces.append((self._at, len(data), zlib.crc32(data)))
        self._at += len(data)
        return len(self._pieces) - 1

    def close(self) -> list[Piece]:
        """Publish the file; returns its pieces in order. There is no file if there are none."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        return [Piece(self._name, self._at, offset, size, crc) for offset, size, crc in self._pieces]


def add_rows(writer: PieceWriter, rows: pa.Table, codes: pa.Array) -> list[tuple[int, int, tuple[bytes, ...], bytes]]:
    """Append rows, sorted by their codes.

    Returns:
        For each blob its piece, its rows, its samples and its last code.
    """
    order = pc.sort_indices(codes)
    rows = rows.append_column(CODE, pa.chunked_array([codes])).take(order)
    codes = codes.take(order)
    found = []
    each = min(BLOB_ROWS, max(SAMPLE_ROWS, rows.num_rows // BLOBS_OF_A_CHUNK))
    for start in range(0, rows.num_rows, each):
        some = codes[start : start + each]
        number = writer.add(encode(rows.slice(start, each)))
        samples = some.take(pa.array(np.arange(0, len(some), SAMPLE_ROWS)))
        found.append((number, len(some), tuple(map(_cut, samples.to_pylist())), _cut(some[-1].as_py())))
    return found


def _cut(code: bytes) -> bytes:
    return code[: key_codec.CUT_BYTES]


def cut(blobs: Sequence[Blob], rows_each: int) -> list[Part]:
    """Cut rows into ranges of about so many. Equal keys are in one range, however many they are."""
    if not blobs:
        return []
    samples = sorted(code for blob in blobs for code in blob.samples)
    step = max(1, round(len(samples) * rows_each / max(1, sum(blob.rows for blob in blobs))))
    lows = [b"", *dict.fromkeys(samples[step::step])]
    highs = [*lows[1:], None]
    return [
        Part(
            low,
            high,
            tuple(
                blob.piece
                for blob in blobs
                if blob.last >= low[: len(blob.last)] and (high is None or blob.samples[0] < high)
            ),
        )
        for low, high in zip(lows, highs, strict=True)
    ]


def searches(parts: Sequence[Part], files: pa.Table) -> int:
    """How often data files are in question for a range of keys, in all.

    Cost: O(files × log parts), vectorised.
    """
    if not parts:
        return 0
    lows = np.array([part.low for part in parts], f"S{key_codec.CUT_BYTES}")
    low, high = (files[name].combine_chunks() for name in ("key_min", "key_max"))
    first = np.searchsorted(lows, bytewise.cut(low.fill_null(b""), key_codec.CUT_BYTES), "right")
    after = np.searchsorted(lows, bytewise.cut(high.fill_null(b""), key_codec.CUT_BYTES), "right")
    after[np.asarray(high.is_null())] = len(parts)
    return int((after - np.maximum(first, 1) + 1).sum())


def rows_of(session: Session, part: Part) -> pa.Table | None:
    """The rows of a range, without their codes; None if there are none."""
    found = []
    for _, pieces in groupby(part.blobs, attrgetter("file")):
        # File by file: at its ends a range fetches rows of others, from each file some.
        for data in read(session, list(pieces)):
            rows = decode(data)
            codes = rows[CODE]
            inside = pc.greater_equal(codes, pa.scalar(part.low, codes.type))
            if part.high is not None:
                inside = pc.and_(inside, pc.less(codes, pa.scalar(part.high, codes.type)))
            found.append(rows.drop_columns([CODE]).filter(inside))
    return pa.concat_tables(found) if found else None


def read(session: Session, pieces: Sequence[Piece]) -> list[bytes]:
    """The bytes of some pieces, which are in the order of their files.

    Raises:
        EngineError: a piece is not what was written, or is gone. The table itself is not in doubt.
    Cost: one round trip a file.
    """
    found: list[bytes] = []
    for name, some in groupby(pieces, attrgetter("file")):
        mine = list(some)
        ranges = [(piece.offset, piece.bytes) for piece in mine]
        try:
            parts = session.store.read_ranges(name, ranges, mine[0].file_bytes)
        except CorruptTableError as error:
            raise _lost(session, name, error.message) from error
        if any(zlib.crc32(data) != piece.crc for piece, data in zip(mine, parts, strict=True)):
            raise _lost(session, name, "its bytes have changed")
        found += parts
    return found


def _lost(session: Session, name: str, why: str) -> EngineError:
    return EngineError(
        f"staged rows of this call in {session.store.url(name)} are lost: {why}; nothing was committed",
        hint="run the same call again; if a vacuum deleted them, give the table a longer vacuum_grace",
    )


def encode(rows: pa.Table) -> bytes:
    """Rows as bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(rows)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def decode(data: bytes) -> pa.Table:
    """Rows from bytes."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()
