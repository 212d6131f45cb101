"""The keys of files that are to become a table: each row must have one, and no two rows the same.

Only the key columns are read, and memory does not grow with their number: each key leaves 24 bytes (a digest under a
secret of this call, its file and row), which are dealt to buckets by the digest, and on to disk if there are many.
Equal keys meet in one bucket. Two different keys meet in one digest with a probability below 10⁻¹², for a billion keys.

Source: specs/14-adopt.md, "Keys".
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from txfiles.core import names
from txfiles.core.manifest import Add, KeyRange, TableMetadata
from txfiles.errors import DuplicateKeyError, NullKeyError
from txfiles.log.session import Session
from txfiles.reading.live import data_name, groups
from txfiles.reading.marked import MarkedRows
from txfiles.rows import dedup
from txfiles.rows import keys as key_codec
from txfiles.rows.digests import SECRET_BYTES, Digester, Digests
from txfiles.rows.filelist import DataFile

BUCKETS = 64
"""Parts of the keys that are compared one after the other: a billion keys need 400 MB at a time."""

IN_MEMORY_BYTES = 1024 * 1024
"""Of each bucket, before it goes to disk: 64 MB in all, some three million keys."""

SHOWN = 3
"""Repeated keys that the message names."""

_ROW = np.dtype([("high", "<u8"), ("low", "<u4"), ("file", "<u4"), ("row", "<u8")])

Place = tuple[int, int]
"""The number of a file, and a row in it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the key columns of one file hold.

    Attributes:
        nulls: how many rows lack a key, and the first of them.
        bounds: the least and the greatest code.
    """

    nulls: tuple[int, int]
    bounds: tuple[bytes, bytes] | None


def check(
    session: Session, table: TableMetadata, adds: Sequence[Add], secret: str, done: Callable[[int], None]
) -> list[Add]:
    """The same files with their key ranges, if their keys are present and unique.

    Args:
        session: where the files are.
        table: with the keys.
        adds: of all files.
        secret: 32 random hex digits.
        done: told how many files have been read.
    Raises:
        NullKeyError: a key is null or NaN.
        DuplicateKeyError: rows have the same key; names the files and rows.
        CorruptTableError: a file cannot be decoded.
    Cost: reads the key columns of all files; 24 bytes of disk for each row beyond some millions.
    """
    digester = Digester(bytes.fromhex(secret)[:SECRET_BYTES])
    files = [_data_file(add) for add in adds]
    no_marks = MarkedRows(session, [])

    with _Buckets() as buckets:

        def look(item: tuple[int, DataFile]) -> _Seen:
            number, file = item
            bounds: list[tuple[bytes, bytes]] = []
            nulls, first_null = 0, -1
            for group in groups(session, table, file, table.keys, no_marks):
                rows = group.read(table.keys)
                missing = _nulls(rows, table.keys)
                if missing.any():
                    first_null = group.first_row + int(np.argmax(missing)) if first_null < 0 else first_null
                    nulls += int(missing.sum())
                    continue
                codes = key_codec.encode(rows, table.keys)
                buckets.add(digester.digest(codes), number, group.first_row)
                bounds += [found] if (found := key_codec.key_range(codes)) else []
            return _Seen((nulls, first_null), _joined(bounds))

        found: list[Add] = []
        for number, seen in enumerate(session.each(look, enumerate(files))):
            if seen.nulls[0]:
                raise _null_keys(session, table, files[number], seen.nulls)
            found.append(replace(adds[number], key_range=_key_range(table, seen.bounds)))
            done(number + 1)
        count, repeated = buckets.repeated()
    if count:
        raise _repeats(session, table, files, count, repeated)
    return found


def _joined(bounds: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
    return (min(low for low, _ in bounds), max(high for _, high in bounds)) if bounds else None


class _Buckets:
    """Digests of keys with their places, dealt by their leading bits. Safe to add to from several threads."""

    def __init__(self) -> None:
        self._opened = ExitStack()
        self._files: list[Any] = []
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        for _ in range(BUCKETS):
            spool = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, prefix="txfiles-")
            self._files.append(self._opened.enter_context(spool))
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def add(self, digests: Digests, file: int, first_row: int) -> None:
        """Deal the keys of some successive rows of a file."""
        rows = np.empty(len(digests), _ROW)
        rows["high"], rows["low"], rows["file"], rows["row"] = (
            digests.high,
            digests.low,
            file,
            first_row + np.arange(len(digests)),
        )
        bucket = (digests.high >> np.uint64(58)).astype(np.int64)
        order = np.argsort(bucket, kind="stable")
        ends = np.searchsorted(bucket[order], np.arange(BUCKETS + 1))
        with self._guard:
            for number in np.unique(bucket):
                self._files[number].write(rows[order[ends[number] : ends[number + 1]]].tobytes())

    def repeated(self) -> tuple[int, list[list[Place]]]:
        """How many keys there are more than once, and the first few, each with some of its places."""
        count = 0
        first: list[list[Place]] = []
        for file in self._files:
            file.seek(0)
            rows = np.frombuffer(file.read(), _ROW)
            rows = rows[np.lexsort((rows["row"], rows["file"], rows["low"], rows["high"]))]
            same = (rows["high"][1:] == rows["high"][:-1]) & (rows["low"][1:] == rows["low"][:-1])
            starts = np.flatnonzero(same & np.append(True, ~same[:-1])) if len(same) else np.empty(0, np.int64)
            count += len(starts)
            for start in starts[np.lexsort((rows["row"][starts], rows["file"][starts]))[:SHOWN]]:
                end = int(start) + 1
                while end < len(same) and same[end] and end - start < SHOWN:
                    end += 1
                first.append([(int(one["file"]), int(one["row"])) for one in rows[start : end + 1]])
            first = sorted(first)[:SHOWN]
        return count, first


def _nulls(rows: pa.Table, keys: Sequence[str]) -> np.ndarray:
    """Which rows lack a part of their key."""
    found = np.zeros(rows.num_rows, np.bool_)
    for name in keys:
        found |= dedup.nulls(rows[name])
    return found


def _key_range(table: TableMetadata, bounds: tuple[bytes, bytes] | None) -> KeyRange | None:
    if bounds is None:
        return None
    low, high, exact = key_codec.cut_outward(*bounds)
    return KeyRange(columns=table.ids(table.keys), min=low.hex(), max=None if high is None else high.hex(), exact=exact)


def _data_file(add: Add) -> DataFile:
    return DataFile(
        path=add.path,
        rows=add.rows,
        bytes=add.bytes,
        sha256=add.sha256,
        footer_bytes=add.footer_bytes,
        footer_sha256=add.footer_sha256,
        partition=add.partition,
        columns=add.columns,
    )


def _null_keys(session: Session, table: TableMetadata, file: DataFile, nulls: tuple[int, int]) -> NullKeyError:
    name = data_name(file.path)
    return NullKeyError(
        f"{nulls[0]:,} row(s) of {session.store.url(name)} have a null in the key {', '.join(table.keys)}, first row "
        f"{nulls[1]}; nothing was written",
        hint="choose other keys, or adopt without keys",
        column=table.keys[0],
        count=nulls[0],
        rows=[nulls[1]],
        file=name,
    )


def _repeats(
    session: Session, table: TableMetadata, files: Sequence[DataFile], count: int, repeated: Sequence[Sequence[Place]]
) -> DuplicateKeyError:
    keys, told = [], []
    for places in repeated:
        file, row = places[0]
        rows = _row(session, table, files[file], row)
        keys.append(dedup.key_of(rows, 0, table.keys))
        where = ", ".join(f"{names.decode_path(files[number].path)} row {at}" for number, at in places)
        told.append(f"{dedup.shown_key(rows, 0, table.keys)} in {where}")
    return DuplicateKeyError(
        f"{count:,} key(s) are in the files of {session.store.root} more than once: {'; '.join(told)}; nothing was "
        "written",
        hint="choose other keys, or adopt without keys; an upsert of these rows then keeps one of each",
        keys=keys,
        count=count,
    )


def _row(session: Session, table: TableMetadata, file: DataFile, row: int) -> pa.Table:
    """The key columns of one row."""
    for group in groups(session, table, file, table.keys, MarkedRows(session, [])):
        if row < group.first_row + group.physical_rows:
            return group.read(table.keys).slice(row - group.first_row, 1)
    raise AssertionError("the row was read before")  # pragma: no cover
