"""An index run: digests of keys in order, each with the row that has it, as one immutable file.

A run is made of blocks of fifteen entries. A block holds a checksum of itself, and what the next block begins with, so
that the one or two blocks that a probe reads prove by themselves that a key is not in the run: no other byte of the
file is believed, and none has to be read. What does not fit together is `UnusableRunError`, which means *no index*.

Source: specs/8-index.md; specs/decisions/0051-digests-and-index-runs.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from txfiles.core.manifest import RunKey
from txfiles.formats.common import Sink
from txfiles.formats.run_source import RunSource, UnusableRunError
from txfiles.rows.bytewise import Positions, Words
from txfiles.rows.digests import Digests, ascending

MAGIC = b"txindex1"

BLOCK_ENTRIES = 15

FOOTER_LIMIT_BYTES = 64 * 1024 * 1024
"""About half a million covered files; a larger footer is neither written nor read."""

TAIL_BYTES = 56
"""SHA-256, bytes of the cover, bytes of the head, magic."""

PIECE_BLOCKS = 4_096
"""Blocks that are held at once: a mebibyte, which fits the processor's cache."""

PIECE_ENTRIES = PIECE_BLOCKS * BLOCK_ENTRIES

_NARROW_ROWS = 2**32
_LAST = np.uint64(2**64 - 1)
_FACTORS: Words = np.frombuffer(hashlib.shake_256(b"txfiles index block 1").digest(40 * 8), "<u8") | np.uint64(1)

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")]


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a run, as its file has them."""

    run: Id
    key: RunKey
    entries: Count
    files: Count
    wide: bool


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """The files of which a run has every row whose key is not null.

    Attributes:
        paths: f paths as manifests write them; ``#n`` is the n-th file that the run's own commit adds.
        rows: how many physical rows each has. Rows are numbered through all files, in this order.
    """

    paths: pa.Array
    rows: Positions

    @property
    def ends(self) -> Positions:
        """The number that follows each file's last row."""
        ends: Positions = np.cumsum(self.rows)
        return ends


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known about a run once it is written.

    Attributes:
        entries: keys in it.
        bytes: size of the file.
        footer_bytes: of its last part, which is all that opening reads.
        footer_sha256: of that part.
    """

    entries: int
    bytes: int
    footer_bytes: int
    footer_sha256: str


def write_run(
    sink: Sink, run: str, key: RunKey, cover: Cover, *, digests: Digests, rows: Positions | None = None
) -> RunFacts:
    """Write a run of keys in any order, and publish it.

    Args:
        sink: a new file; it is aborted if this raises.
        run: an id that no other run has, 32 hex digits.
        key: which keys.
        cover: the files that it covers.
        digests: of all keys of these files that are not null.
        rows: the number of each in the cover; None: they are all rows, in order.
    Raises:
        ValueError: the footer would be larger than any reader accepts.
    Cost: O(n log n) for n keys; about 40 bytes of memory and 60 ns a key.
    """
    with RunWriter(sink, run, key, cover) as writer:
        writer.add(digests, rows)
        return writer.close()


class RunWriter:
    """A run being written from lists of entries, one after the other. Leaving it without `close` aborts the file."""

    def __init__(self, sink: Sink, run: str, key: RunKey, cover: Cover) -> None:
        self._sink = sink
        self._head = _Head(run=run, key=key, entries=0, files=len(cover.paths), wide=_is_wide(cover))
        self._cover = cover
        self._block = _block_type(wide=self._head.wide)
        self._waiting = _entries(0)
        self._firsts: list[Words] = []
        self._blocks = self._written = 0
        self._closed = False

    def add(self, digests: Digests, rows: Positions | None) -> None:
        """Append entries, in any order; none of them sorts before those that were there."""
        order, high = ascending(digests.high)
        for start in range(0, len(order), PIECE_ENTRIES):
            part = slice(start, start + PIECE_ENTRIES)
            self._append(high[part], digests.low[order[part]], order[part] if rows is None else rows[order[part]])

    def _append(self, high: Words, low: npt.NDArray[np.uint32], rows: Positions) -> None:
        waiting = len(self._waiting)
        entries = _entries(waiting + len(high))
        entries[:waiting] = self._waiting
        entries["high"][waiting:], entries["low"][waiting:], entries["row"][waiting:] = high, low, rows
        if (entries["high"][1:] < entries["high"][:-1]).any():
            raise ValueError("entries must come in order")
        # A block holds what the next one begins with, so the last one has to wait.
        full = max(0, len(entries) - 1) // BLOCK_ENTRIES * BLOCK_ENTRIES
        if full:
            self._emit(entries[:full], entries["high"][BLOCK_ENTRIES : full + 1 : BLOCK_ENTRIES])
        self._waiting = entries[full:].copy()

    def close(self) -> RunFacts:
        """Write what is left and publish the file."""
        count = self._blocks * BLOCK_ENTRIES + len(self._waiting)
        if len(self._waiting):
            last = _entries(BLOCK_ENTRIES)
            last["high"], last["low"], last["row"] = _LAST, 2**32 - 1, _LAST
            last[: len(self._waiting)] = self._waiting
            self._emit(last, np.array([_LAST]))
        for firsts in self._firsts:
            self._put(firsts.astype("<u8").tobytes())
        footer = _footer(msgspec.structs.replace(self._head, entries=count), self._cover)
        self._put(footer)
        self._sink.close()
        self._closed = True
        return RunFacts(count, self._written, len(footer), hashlib.sha256(footer).hexdigest())

    def _emit(self, entries: npt.NDArray[Any], following: Words) -> None:
        blocks = np.zeros(len(following), self._block)
        for name in ("high", "low", "row"):
            blocks[name] = entries[name].reshape(-1, BLOCK_ENTRIES)
        blocks["next"] = following
        numbers = np.arange(self._blocks, self._blocks + len(blocks), dtype=np.uint64)
        blocks["check"] = _checks(blocks, numbers, self._head.run)
        self._firsts.append(blocks["high"][:, 0].copy())
        self._blocks += len(blocks)
        self._put(blocks.tobytes())

    def _put(self, data: bytes) -> None:
        self._sink.write(data)
        self._written += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._closed:
            self._sink.abort()


class Run:
    """A run that is open. Safe to use from several threads.

    Attributes:
        id: its own.
        key: which keys it holds.
        cover: the files that it covers.
        entries: how many keys it has.
    """

    def __init__(self, source: RunSource, head: _Head, cover: Cover) -> None:
        self.id = head.run
        self.key = head.key
        self.cover = cover
        self.entries = head.entries
        self.blocks = -(-head.entries // BLOCK_ENTRIES)
        self._source = source
        self._type = _block_type(wide=head.wide)
        self._ends = cover.ends
        self._total = int(self._ends[-1]) if len(self._ends) else 0

    def probe(self, digests: Digests) -> tuple[Positions, Positions]:
        """Find keys.

        Args:
            digests: of m different keys, in any order.
        Returns:
            For each entry that has one of them: the key's position in `digests`, and the row's number. In no order.
        Raises:
            UnusableRunError: what was read is not what was written.
            StoreError: the store failed.
        Cost: O(m log n), about 400 ns a key in a large run that is in memory.
        """
        none = np.empty(0, np.int64)
        if not self.blocks or not len(digests):
            return none, none
        order, high = ascending(digests.high)
        needles, blocks, ends = self._to_read(high)
        found = [(none, none)]
        for start in range(0, len(blocks), PIECE_BLOCKS):
            part = slice(start, start + PIECE_BLOCKS)
            asked = needles[part]
            read = self._read(blocks[part])
            _expect_whole(read, high[asked], blocks[part], ends[part], self.blocks)
            hits = np.flatnonzero(read["high"] == high[asked][:, np.newaxis])  # four times as fast as `nonzero`
            at, entry = hits // BLOCK_ENTRIES, hits % BLOCK_ENTRIES
            positions = order[asked[at]]
            real = read["low"][at, entry] == digests.low[positions]
            real &= blocks[part][at] * BLOCK_ENTRIES + entry < self.entries
            rows = read["row"][at[real], entry[real]].astype(np.int64)
            found.append((positions[real], self._known(rows)))
        return np.concatenate([each for each, _ in found]), np.concatenate([rows for _, rows in found])

    def locate(self, rows: Positions) -> tuple[Positions, Positions]:
        """The position in the cover of each row's file, and the row's position in that file."""
        files = np.searchsorted(self._ends, rows, "right")
        return files, rows - (self._ends - self.cover.rows)[files]

    def pieces(self) -> Iterator[tuple[Digests, Positions]]:
        """All entries in order, with their rows' numbers, a mebibyte at a time."""
        after = np.uint64(0)
        for start in range(0, self.blocks, PIECE_BLOCKS):
            numbers = np.arange(start, min(start + PIECE_BLOCKS, self.blocks))
            read = self._read(numbers)
            begin = read["high"][:, 0]
            if begin[0] < after or (read["next"][:-1] != begin[1:]).any():
                raise UnusableRunError("its blocks do not follow each other")
            after = read["next"][-1]
            count = min(self.entries - start * BLOCK_ENTRIES, len(numbers) * BLOCK_ENTRIES)
            high, low, rows = (read[name].ravel()[:count] for name in ("high", "low", "row"))
            if (high[1:] < high[:-1]).any():
                raise UnusableRunError("its entries are not in order")
            yield Digests(high, low), self._known(rows.astype(np.int64))

    def _to_read(self, high: Words) -> tuple[Positions, Positions, npt.NDArray[np.int8]]:
        """Which blocks may hold some numbers, which are in order.

        Returns:
            Pairs of a number's position and a block, and for each pair whether its block is the number's first (1), its
            last (2), or both (3).
        """
        firsts = self._source.numbers(self.blocks * self._type.itemsize, self.blocks)
        # A number that begins a block may end the one before it, too.
        after = np.searchsorted(firsts, high)
        begin = np.maximum(after - 1, 0)
        at_start = np.flatnonzero(firsts[np.minimum(after, self.blocks - 1)] == high)
        after[at_start] = np.searchsorted(firsts, high[at_start], "right")
        counts = np.maximum(after, 1) - begin
        total = int(counts.sum())
        # Different numbers share at most the blocks at both ends.
        once = np.flatnonzero(np.append(True, high[1:] != high[:-1]))
        if counts.min() < 1 or int(counts[once].sum()) > self.blocks + 2 * len(once):
            raise UnusableRunError("its list of blocks is not in order")
        needles = np.repeat(np.arange(len(high)), counts)
        within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        ends = (within == 0) + 2 * (within == counts[needles] - 1).astype(np.int8)
        return needles, begin[needles] + within, ends

    def _read(self, numbers: Positions) -> npt.NDArray[Any]:
        """Some blocks, checked."""
        read = self._source.items(numbers, self._type)
        if (read["check"] != _checks(read, numbers.astype(np.uint64), self.id)).any():
            raise UnusableRunError("a block is damaged")
        return read

    def _known(self, rows: Positions) -> Positions:
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < self._total:
            raise UnusableRunError("it names rows that its files do not have")
        return rows


def expect_size(size: int, entries: int, footer_bytes: int) -> None:
    """Refuse a run of which the log says what cannot be, before a byte of it is read or mapped.

    Raises:
        UnusableRunError: no run of so many entries has that size.
    """
    if size not in (_size(entries, footer_bytes, wide=wide) for wide in (False, True)):
        raise UnusableRunError(f"the log gives it {size} bytes, but no run of {entries} entries has these")


def open_run(source: RunSource, own: Sequence[str] = ()) -> Run:
    """Open a run: one read of its end, or two if it covers hundreds of files.

    Args:
        source: the file.
        own: paths of the files that the run's own commit adds, in the manifest's order.
    Raises:
        UnusableRunError: it is not a run, is damaged, or was cut off.
        StoreError: the store failed.
    """
    tail = source.end(TAIL_BYTES)
    cover_bytes, head_bytes = (int.from_bytes(tail[at : at + 8], "little") for at in (32, 40))
    if tail[48:] != MAGIC or cover_bytes + head_bytes > min(FOOTER_LIMIT_BYTES, source.size - TAIL_BYTES):
        raise UnusableRunError("it is not an index run, or was cut off")
    footer = source.end(TAIL_BYTES + cover_bytes + head_bytes)
    if hashlib.sha256(footer[:-TAIL_BYTES] + tail[32:]).digest() != tail[:32]:
        raise UnusableRunError("its footer is damaged")
    try:
        head = _decode(footer[cover_bytes:-TAIL_BYTES])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnusableRunError(f"its footer does not have the form of one: {error}") from error
    if source.size != _size(head.entries, len(footer), wide=head.wide):
        raise UnusableRunError(f"it has {source.size} bytes, its footer says otherwise")
    return Run(source, head, _cover(footer[:cover_bytes], head, own))


_decode = msgspec.json.Decoder(_Head).decode


def _cover(data: bytes, head: _Head, own: Sequence[str]) -> Cover:
    """The files that a run covers, from their part of its footer."""
    at = 16 * head.files
    if at > len(data):
        raise UnusableRunError("its list of files is too short")
    rows, ends = np.frombuffer(data, "<u8", head.files), np.frombuffer(data, "<u8", head.files, 8 * head.files)
    offsets = np.append(np.uint64(0), ends)
    if (offsets[1:] < offsets[:-1]).any() or offsets[-1] != len(data) - at:
        raise UnusableRunError("its list of files does not fit together")
    if (rows > 2**62 // max(1, head.files)).any():
        raise UnusableRunError("its files have more rows than can be")
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data[at:])]
    paths = pa.Array.from_buffers(pa.string(), head.files, buffers)
    try:
        paths.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UnusableRunError("its list of files is not text") from error
    cover = Cover(_resolved(paths, own), rows.astype(np.int64))
    if _is_wide(cover) > head.wide:
        raise UnusableRunError("its files have more rows than its entries can name")
    return cover


def _resolved(paths: pa.Array, own: Sequence[str]) -> pa.Array:
    """Paths with the files of the run's own commit by name."""
    if not own:
        return paths
    names = {f"#{number}": path for number, path in enumerate(own)}
    return pa.array([names.get(path, path) for path in paths.to_pylist()], pa.string())


def _footer(head: _Head, cover: Cover) -> bytes:
    texts = [path.encode() for path in cover.paths.to_pylist()]
    ends = np.cumsum([len(text) for text in texts], dtype=np.uint64)
    listed = cover.rows.astype("<u8").tobytes() + ends.astype("<u8").tobytes() + b"".join(texts)
    told = msgspec.json.encode(head)
    if len(listed) + len(told) > FOOTER_LIMIT_BYTES:
        raise ValueError(f"an index run covers at most {FOOTER_LIMIT_BYTES:,} bytes of paths")
    sizes = len(listed).to_bytes(8, "little") + len(told).to_bytes(8, "little") + MAGIC
    return listed + told + hashlib.sha256(listed + told + sizes).digest() + sizes


def _is_wide(cover: Cover) -> bool:
    return bool(len(cover.rows)) and int(cover.ends[-1]) >= _NARROW_ROWS


def _entries(count: int) -> npt.NDArray[Any]:
    return np.empty(count, [("high", np.uint64), ("low", np.uint32), ("row", np.uint64)])


def _block_type(*, wide: bool) -> np.dtype[Any]:
    """How a block lies in the file: 256 bytes, or 320 if rows have numbers of 64 bits. No byte is outside a field."""
    row: list[Any] = [("gap", "<u4"), ("row", "<u8", BLOCK_ENTRIES)] if wide else [("row", "<u4", BLOCK_ENTRIES)]
    return np.dtype(
        [("high", "<u8", BLOCK_ENTRIES), ("low", "<u4", BLOCK_ENTRIES), *row, ("next", "<u8"), ("check", "<u8")]
    )


def _size(entries: int, footer_bytes: int, *, wide: bool) -> int:
    """Bytes of a run: its blocks, what each of them begins with, and its footer."""
    return -(-entries // BLOCK_ENTRIES) * (_block_type(wide=wide).itemsize + 8) + footer_bytes


def _checks(blocks: npt.NDArray[Any], numbers: Words, run: str) -> Words:
    """The checksum of each block: of its words, its number and the run. Any change to one word changes it."""
    words = blocks.view("<u8").reshape(len(blocks), -1)
    factors = _FACTORS[: words.shape[1]]
    seed = np.uint64(int(run[:16], 16))
    found: Words = np.einsum("ij,j->i", words[:, :-1], factors[:-1]) + (numbers + seed) * factors[-1]
    return found


def _expect_whole(
    read: npt.NDArray[Any], high: Words, numbers: Positions, ends: npt.NDArray[np.int8], count: int
) -> None:
    """Refuse blocks that do not prove that they are all that may hold some numbers."""
    begins_too_late = (ends & 1 != 0) & (numbers > 0) & (read["high"][:, 0] >= high)
    ends_too_early = (ends & 2 != 0) & (numbers < count - 1) & (read["next"] <= high)
    if begins_too_late.any() or ends_too_early.any():
        raise UnusableRunError("its list of blocks does not fit its blocks")
