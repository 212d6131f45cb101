"""A snapshot's list of files in segments, so that saving it costs what has changed since it was last saved.

A *part* is a file that holds some successive rows of the list as they were when it was written; it never changes. A
segment is what is left of a part, or rows that no part holds. `packed` says which parts the next checkpoint needs, by
the rule of a log-structured merge: parts are joined while they are small, so that a row is saved again a few times in
its life, not with each checkpoint, and there are few parts.

Source: specs/3-manifest.md, "Checkpoints"; specs/decisions/0055-checkpoints-in-parts.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import TableMetadata, Vector
from txfiles.rows import filelist

TAIL_FILES = 1_024
"""As many rows at the end of the list are saved in the checkpoint itself: some milliseconds' work."""

PART_FILES = 65_536
"""A part has at most this many rows, which take a tenth of a second to save."""

PART_BYTES = 64 * 1024 * 1024
"""Likewise in bytes of memory: the bounds of a wide table's files take much more than their names."""

SPARE_PARTS = 32
"""More parts than this beyond those that are full mean that the list is in fragments: it is saved anew."""

CHUNKS = 32
"""Rows of no part that are in more pieces than this are put together: each piece costs every later look at them."""

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Part:
    """Rows of the list that were saved together.

    Attributes:
        name: of its file, in the folder of checkpoints.
        bytes: size of the file.
        sha256: hash of the file.
        files: the rows, as saved.
    """

    name: str
    bytes: int
    sha256: str
    files: pa.Table


@dataclass(frozen=True, slots=True)
class Segment:
    """Some successive rows of the list.

    Attributes:
        files: the rows, with the vectors that they have now; those of the part have none.
        part: the part that holds them; None if there is none.
        positions: where in the part they are, ascending; None: they are all of it.
    """

    files: pa.Table
    part: Part | None = None
    positions: Positions | None = None

    def __len__(self) -> int:
        return int(self.files.num_rows)

    def without(self, paths: pa.Array) -> Segment:
        """What is left without some paths."""
        keep = pc.invert(pc.is_in(self.files["path"], value_set=paths))
        if pc.all(keep, min_count=0).as_py():
            return self
        files = self.files.filter(keep)
        if self.part is None:
            return Segment(files)
        before = np.arange(len(self)) if self.positions is None else self.positions
        return Segment(files, self.part, before[keep.to_numpy()])

    def marked(self, paths: pa.Array, vectors: pa.Array) -> Segment:
        """The same rows, some of which now have these vectors."""
        at = pc.index_in(self.files["path"], value_set=paths).combine_chunks()
        if at.null_count == len(at):
            return self
        known = self.files["vector"].combine_chunks()
        # One `take` of old and new ones: Arrow has no choice between structs by a mask.
        which = pc.coalesce(pc.add(pc.cast(at, pa.int64()), len(self)), pa.array(np.arange(len(self))))
        found = pa.concat_arrays([*(known.chunks if isinstance(known, pa.ChunkedArray) else [known]), vectors])
        return replace(self, files=filelist.with_vectors(self.files, found.take(which)))

    @classmethod
    def of_part(cls, part: Part, gone: bytes) -> Segment:
        """What is left of a part.

        Args:
            part: n rows.
            gone: n bits, the first one highest, set for each row that is not in the list any more; empty for none.
        """
        if not gone:
            return cls(part.files, part)
        live = ~np.unpackbits(np.frombuffer(gone, np.uint8), count=part.files.num_rows).astype(np.bool_)
        return cls(part.files.filter(pa.array(live)), part, np.flatnonzero(live))

    @property
    def gone(self) -> bytes:
        """The rows of the part that are not in the segment, as bits; empty if there are none."""
        if self.part is None or self.positions is None:
            return b""
        gone = np.ones(self.part.files.num_rows, np.bool_)
        gone[self.positions] = False
        return np.packbits(gone).tobytes()


@dataclass(frozen=True)
class FileList:
    """The files of a version, in row order.

    Attributes:
        segments: one or more.
    """

    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, files: pa.Table) -> FileList:
        """A list that no part holds."""
        return cls((Segment(files),))

    @cached_property
    def files(self) -> pa.Table:
        """The list as one table (`rows.filelist`). Cost: O(1); the pieces stay where they are."""
        if len(self.segments) == 1:
            return self.segments[0].files
        return pa.concat_tables([segment.files for segment in self.segments])

    @property
    def count(self) -> int:
        """How many files there are."""
        return sum(map(len, self.segments))

    @property
    def part_files(self) -> int:
        """How many files a part has at most."""
        size: int = sum(segment.files.nbytes for segment in self.segments)
        return max(1, min(PART_FILES, PART_BYTES * self.count // max(1, size)))

    @property
    def parts(self) -> set[str]:
        """The names of the parts that hold some of it."""
        return {segment.part.name for segment in self.segments if segment.part is not None}

    def without(self, paths: Sequence[str]) -> FileList:
        """The list without some paths. Cost: O(files), vectorised."""
        if not paths:
            return self
        removed = pa.array(paths, pa.string())
        return FileList(tuple(segment.without(removed) for segment in self.segments))

    def marked(self, marks: Mapping[str, Vector]) -> FileList | None:
        """The list with new vectors of some paths; None if one is not there.

        Cost: O(files) to look for the paths, vectorised; only segments that hold one are written anew. Parts stay.
        """
        return self.overlaid(pa.array(marks, pa.string()), filelist.vectors_of(list(marks.values()))) if marks else self

    def overlaid(self, paths: pa.Array, vectors: pa.Array) -> FileList | None:
        """As `marked`, for paths and vectors that are Arrow arrays."""
        if not len(paths):
            return self
        found = FileList(tuple(segment.marked(paths, vectors) for segment in self.segments))
        known = sum(pc.sum(pc.is_in(segment.files["path"], value_set=paths)).as_py() or 0 for segment in self.segments)
        return found if known == len(paths) else None

    def followed(self, before: TableMetadata, after: TableMetadata) -> FileList:
        """As a later table action sees it (`filelist.follow`); rows that it changes are in no part any more."""
        found = [filelist.follow(segment.files, before, after) for segment in self.segments]
        if all(files is segment.files for files, segment in zip(found, self.segments, strict=True)):
            return self
        return FileList.of(pa.concat_tables(found).combine_chunks())

    def joined(self, more: pa.Table) -> FileList:
        """With more files at its end. Cost: O(1); now and then O(files that no part holds)."""
        if not more.num_rows:
            return self
        *others, last = self.segments
        if last.part is not None:
            return FileList((*self.segments, Segment(more)))
        return FileList((*others, Segment(_together([last.files, more]))))

    def placed(self, more: pa.Table, places: Sequence[str | None], before: FileList) -> FileList:
        """With more files, some of which take the place of others; rows around a place are in no part any more.

        Args:
            more: n files.
            places: of each of them the path whose place it takes; None: it comes last.
            before: the list before some files were removed, those of the places among them.
        Cost: as `joined`; if there are places, O(files), vectorised.
        """
        if not any(places):
            return self.joined(more)
        wanted, last = pa.array(places, pa.string()), pa.array([True] * more.num_rows)
        found = []
        for kept, old in zip(self.segments, before.segments, strict=True):
            if pc.any(pc.is_in(old.files["path"], value_set=wanted)).as_py():
                here = pc.is_valid(pc.index_in(wanted, value_set=old.files["path"]))
                files = pa.concat_tables([kept.files, more.filter(here)])
                found.append(Segment(filelist.in_place(files, wanted.filter(here).to_pylist(), old.files["path"])))
                last = pc.and_not(last, here)
            else:
                found.append(kept)
        return FileList(tuple(found)).joined(more.filter(last))


def packed(listing: FileList, named: Collection[str]) -> tuple[list[Segment], pa.Table]:
    """How to save a list.

    Args:
        listing: the list.
        named: the parts that may be used again: those that the newest checkpoint names. (A vacuum may be about to
            delete any other.)
    Returns:
        The segments that parts hold, in order; those without a part need a new one. And the rows that follow.
    Cost: O(segments), plus the rows that go into new parts: amortised, O(log(files)) for each file.
    """
    pieces: list[Segment] = []
    for segment in listing.segments:
        part = segment.part
        if part is None or part.name not in named or _is_sparse(segment, part):
            before = [pieces.pop().files] if pieces and pieces[-1].part is None else []
            pieces.append(Segment(pa.concat_tables([*before, segment.files])))
        else:
            pieces.append(segment)
    most = listing.part_files
    last = pieces[-1]
    rest = last.files.slice(0, 0)
    if last.part is None and len(last) <= min(TAIL_FILES, most):
        rest = pieces.pop().files
    found: list[Segment] = []
    for piece in pieces:
        for cut in [piece] if piece.part is not None else _cut(piece.files, most):
            found.append(cut)
            while len(found) > 1 and _joins(found[-2], found[-1], most):
                second, first = found.pop(), found.pop()
                found += _cut(pa.concat_tables([first.files, second.files]), most)
    full = sum(map(len, found)) // most
    if len(found) > full + SPARE_PARTS:
        found = list(_cut(pa.concat_tables([segment.files for segment in found]), most))
    return [
        replace(segment, files=segment.files.combine_chunks()) if segment.part is None else segment for segment in found
    ], rest


def _joins(before: Segment, last: Segment, most: int) -> bool:
    """Whether new rows are saved with those before them: then that part is full, or has twice the rows of the next."""
    size = len(before) if before.part is None else int(before.part.files.num_rows)
    return last.part is None and size < min(most, 2 * len(last))


def _is_sparse(segment: Segment, part: Part) -> bool:
    """Whether most rows of the part are gone."""
    return 2 * len(segment) < int(part.files.num_rows)


def _cut(files: pa.Table, most: int) -> Iterator[Segment]:
    for start in range(0, files.num_rows, most):
        yield Segment(files.slice(start, most))


def _together(tables: list[pa.Table]) -> pa.Table:
    whole = pa.concat_tables(tables)
    return whole.combine_chunks() if whole["path"].num_chunks > CHUNKS else whole
