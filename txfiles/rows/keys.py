"""Keys as bytes: one canonical, order-preserving, prefix-free code, and operations on such codes.

A key's code does not depend on integer width, time unit, zone or Arrow encoding: int32 5 and uint64 5 are
one key. Comparing codes as bytes compares keys as tuples; no code is a prefix of another one of the same
columns. Everything that compares keys (ranges, deduplication, probing) compares codes.

Source: specs/7-keys.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.errors import UnsupportedTypeError
from txfiles.rows import bytewise, types
from txfiles.rows.bytewise import Words
from txfiles.rows.matching import Matcher
from txfiles.rows.parse import PER_SECOND

CUT_BYTES = 64
"""Bounds and prefixes are at most this long: room for a UUID as text and more, and small in the log."""

CODE_VERSION = 1
"""Of the codes of specs/7-keys.md. Digests that were kept of another version's codes are of no use."""

OFFSET_LIMIT_BYTES = 2**31 - 1
"""What 32-bit offsets reach; more code bytes than this need a `large_binary`."""

Mask = npt.NDArray[np.bool_]

_SIGN = np.uint64(1 << 63)
_END = b"\x00\x00"


# ---- encoding --------------------------------------------------------------------------------


def encode(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """One code for each row: the codes of the key columns one after the other.

    Args:
        table: n rows; key columns in any Arrow encoding, any chunks.
        columns: the keys, at least one, in the order of the code.
    Returns:
        n codes, `binary`, or `large_binary` if they might exceed 2 GiB; null where any key column is null.
    Raises:
        UnsupportedTypeError: a column of a type that cannot be a key.
    Cost: O(bytes), vectorised; about 5 ns a row for one integer column, 25 to 60 with text.
    Source: specs/7-keys.md, "Codes".
    """
    parts = [_part(table[name], name) for name in columns]
    size = sum(2 * part.nbytes if isinstance(part, pa.Array) else part.width * table.num_rows for part in parts)
    binary = pa.large_binary() if size > OFFSET_LIMIT_BYTES else pa.binary()
    pieces: list[Any] = []
    for is_text, group in groupby(parts, lambda part: isinstance(part, pa.Array)):
        if is_text:
            pieces += [piece for text in group for piece in (_escaped(text, binary), pa.scalar(_END, binary))]
        else:
            pieces.append(_block(list(group), table.num_rows, binary))
    return pieces[0] if len(pieces) == 1 else pc.binary_join_element_wise(*pieces, pa.scalar(b"", binary))


def kind(t: pa.DataType) -> str:
    """Which row of the table of codes a key type is in: two types have it in common iff they have codes in common."""
    t, is_ = types.normalise(t), pa.types
    judges = {
        "integer": is_.is_integer,
        "bool": is_.is_boolean,
        "date": is_.is_date,
        "timestamp": is_.is_timestamp,
        "decimal": is_.is_decimal,
        "text": _is_text,
    }
    return next(name for name, judge in judges.items() if judge(t))


@dataclass(frozen=True)
class _Fixed:
    """A column whose codes all have one width.

    Attributes:
        words: unsigned numbers to be written one after the other, each with its width in bytes.
        valid: where the column is not null; None is everywhere.
    """

    words: tuple[tuple[npt.NDArray[Any] | int, int], ...]
    valid: Mask | None

    @property
    def width(self) -> int:
        return sum(size for _, size in self.words)


def _part(column: pa.ChunkedArray, name: str) -> _Fixed | pa.Array:
    """The column as numbers, or, if it is text, as bytes that are not escaped yet."""
    t = types.normalise(column.type)
    if pa.types.is_null(t):
        return _Fixed(((0, 1),), np.zeros(len(column), np.bool_))
    if not types.is_key_type(t) or (pa.types.is_decimal(t) and not 0 <= t.scale <= t.precision):
        raise UnsupportedTypeError(
            f"column {name!r} of type {column.type} cannot be a key",
            hint="integer, string, binary, boolean, date, timestamp and decimal columns can",
            column=name,
            type=str(column.type),
        )
    if not _is_text(t):
        values = _whole([types.decode(chunk) for chunk in column.chunks], t)
        valid = np.asarray(values.is_valid()) if values.null_count else None
        return _Fixed(_words(values), valid)
    large = pa.types.is_dictionary(column.type) or 2 * column.nbytes > OFFSET_LIMIT_BYTES
    binary = pa.large_binary() if large else pa.binary()
    return _whole([_as_bytes(chunk, binary) for chunk in column.chunks], binary)


def _is_text(t: pa.DataType) -> bool:
    return bool(pa.types.is_string(t) or pa.types.is_binary(t) or pa.types.is_fixed_size_binary(t))


def _as_bytes(chunk: pa.Array, binary: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(chunk.type):
        return _as_bytes(chunk.dictionary, binary).take(chunk.indices)
    return (types.decode(chunk) if pa.types.is_run_end_encoded(chunk.type) else chunk).cast(binary)


def _whole(chunks: list[pa.Array], t: pa.DataType) -> pa.Array:
    if len(chunks) == 1:
        return chunks[0]
    return pa.concat_arrays(chunks) if chunks else pa.array([], t)


def _escaped(texts: Any, binary: pa.DataType) -> pa.Array:
    texts = texts.cast(binary)
    data = bytewise.data(texts)
    if np.count_nonzero(data) == len(data):
        return texts
    return pc.replace_substring(texts, b"\x00", b"\x00\xff")


def _words(values: pa.Array) -> tuple[tuple[npt.NDArray[Any] | int, int], ...]:
    """The numbers of which the codes of a column are made, and their widths in bytes."""
    t, is_ = values.type, pa.types
    if is_.is_boolean(t):
        return ((_raw(values.cast(pa.uint8()), "u1"), 1),)
    if is_.is_uint64(t):
        numbers = _raw(values, "<u8")
        return ((numbers >> np.uint64(63), 1), (numbers ^ _SIGN, 8))
    if is_.is_integer(t):
        return ((0, 1), (_biased(_raw(values.cast(pa.int64()), "<i8")), 8))
    if is_.is_date32(t):
        return ((_biased(_raw(values, "<i4").astype(np.int64)), 8),)
    if is_.is_date64(t):
        return ((_biased(_raw(values, "<i8") // 86_400_000), 8),)
    if is_.is_timestamp(t):
        return _moments(_raw(values, "<i8"), PER_SECOND[t.unit])
    # The only type left is decimal128, and scaled by 10^38 each of them fits 76 digits.
    quarters = _raw(values.cast(pa.decimal256(76, 38)), "<u8", 4).reshape(-1, 4)
    return ((quarters[:, 3] ^ _SIGN, 8), (quarters[:, 2], 8), (quarters[:, 1], 8), (quarters[:, 0], 8))


def _moments(ticks: npt.NDArray[np.int64], ticks_per_second: int) -> tuple[tuple[npt.NDArray[Any] | int, int], ...]:
    seconds = ticks // ticks_per_second
    nanoseconds = (ticks - seconds * ticks_per_second) * (10**9 // ticks_per_second)
    return ((_biased(seconds), 8), (nanoseconds, 4))


def _biased(numbers: npt.NDArray[np.int64]) -> Words:
    return numbers.view(np.uint64) ^ _SIGN


def _raw(values: pa.Array, dtype: str, each: int = 1) -> npt.NDArray[Any]:
    """The values as they are in memory; those that are null may hold anything."""
    start, count = values.offset * each, len(values) * each
    buffer = values.buffers()[1]
    return np.frombuffer(buffer, dtype, count, start * np.dtype(dtype).itemsize) if count else np.empty(0, dtype)


def _block(parts: list[Any], count: int, binary: pa.DataType) -> pa.Array:
    """Neighbouring columns of fixed width as one array of codes."""
    words = [word for part in parts for word in part.words]
    rows = np.empty(count, np.dtype([(f"f{i}", f">u{size}") for i, (_, size) in enumerate(words)]))
    for name, (numbers, _) in zip(rows.dtype.names or (), words, strict=True):
        rows[name] = numbers
    offsets = np.arange(count + 1) * rows.dtype.itemsize
    if not pa.types.is_large_binary(binary):
        offsets = offsets.astype(np.int32)
    masks = [part.valid for part in parts if part.valid is not None]
    nulls = pa.array(np.logical_and.reduce(masks)).buffers()[1] if masks and count else None
    return pa.Array.from_buffers(binary, count, [nulls, pa.py_buffer(offsets), pa.py_buffer(rows.view(np.uint8))])


# ---- ranges and pruning ----------------------------------------------------------------------


def prefixes(codes: pa.Array) -> npt.NDArray[np.bytes_]:
    """The codes' first 64 bytes (fewer if all are shorter), padded with zeros, sorted.

    Args:
        codes: m codes; nulls are left out.
    Cost: O(m log m), O(m) if they are already sorted; at most 64 bytes per code.
    """
    codes = codes.drop_null()
    longest = pc.max(pc.binary_length(codes)).as_py() or 0
    found = bytewise.cut(codes, min(CUT_BYTES, max(8, -(-longest // 8) * 8)))
    return found if (found[:-1] <= found[1:]).all() else np.sort(found)


@dataclass(frozen=True, eq=False)
class Keys:
    """A batch's keys, prepared for pruning and looking up when first needed.

    Attributes:
        encoded: their codes.
    """

    encoded: pa.Array

    @cached_property
    def prefixes(self) -> npt.NDArray[np.bytes_]:
        """As `candidates` wants them."""
        return prefixes(self.encoded)

    @cached_property
    def matcher(self) -> Matcher:
        """Finds the rows with the same keys elsewhere."""
        return Matcher(self.encoded)


def key_range(encoded: pa.Array | pa.ChunkedArray) -> tuple[bytes, bytes] | None:
    """The least and the greatest code; None if there is none. Nulls are left out. Cost: O(bytes)."""
    found = pc.min_max(encoded).as_py()
    return None if found["min"] is None else (found["min"], found["max"])


def cut_outward(low: bytes, high: bytes, limit: int = CUT_BYTES) -> tuple[bytes, bytes | None, bool]:
    """Bounds of at most `limit` bytes that hold between them all that `low` and `high` do.

    Returns:
        The lower bound, the upper one (None is unbounded), and whether both are as they were.
    Source: specs/7-keys.md, "Bounds".
    """
    if len(high) <= limit:
        return low[:limit], high, len(low) <= limit
    kept = high[:limit].rstrip(b"\xff")
    return low[:limit], kept[:-1] + bytes([kept[-1] + 1]) if kept else None, False


def candidates(
    prefixes: npt.NDArray[np.bytes_], key_min: pa.Array | pa.ChunkedArray, key_max: pa.Array | pa.ChunkedArray
) -> Mask:
    """Which files may hold a key of the batch: those whose range contains at least one of them.

    Args:
        prefixes: of the batch's codes, as `prefixes` makes them.
        key_min: a lower bound for each of f files; null is unbounded.
        key_max: an upper bound for each, in the same way.
    Returns:
        f flags. False is certain: cutting and padding both preserve order, so a key in a range stays in it.
    Cost: O(f) for files outside the batch's own range, O(log m) for each of the others; vectorised.
    """
    if not len(prefixes):
        return np.zeros(len(key_min), np.bool_)
    width = prefixes.dtype.itemsize
    # numpy drops the zeros at an item's end: right for the least prefix, but the greatest has to have them.
    least, greatest = bytes(prefixes[0]), bytes(prefixes[-1]).ljust(width, b"\x00")
    low, high = _binary(key_min), _binary(key_max)
    # A cut prefix represents all codes that begin with it, so it is compared with equally cut bounds.
    too_high = pc.greater(pc.binary_slice(low, 0, width), pa.scalar(greatest, low.type))
    too_low = pc.less(high, pa.scalar(least, high.type))
    may = ~_true(too_high) & ~_true(too_low)
    rows = np.flatnonzero(may)
    low, high = low.take(pa.array(rows)), high.take(pa.array(rows))
    first = np.searchsorted(prefixes, bytewise.cut(low.fill_null(b""), width), "left")
    after = np.searchsorted(prefixes, bytewise.cut(high.fill_null(b""), width), "right")
    after[np.asarray(high.is_null())] = len(prefixes)
    may[rows] = first < after
    return may


def _true(judged: pa.Array) -> Mask:
    return np.asarray(judged.fill_null(fill_value=False), np.bool_)


def _binary(bounds: pa.Array | pa.ChunkedArray) -> pa.Array:
    return _whole(bounds.chunks, bounds.type) if isinstance(bounds, pa.ChunkedArray) else bounds
