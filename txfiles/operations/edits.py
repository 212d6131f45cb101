"""Edits of files: rows are left out or replaced, and all others keep their values and their order bit for bit.

What an edit becomes in the log is decided here alone: the file is rewritten without those rows (copy-on-write).

Source: specs/4-semantics.md, "Files".
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from msgspec.structs import replace as replace_struct

from txfiles.core import properties
from txfiles.core.manifest import Add, TableMetadata
from txfiles.core.plan import Partition
from txfiles.operations.context import AnyContext
from txfiles.reading import scan
from txfiles.reading.live import LiveGroup, expected, live_rows, opened
from txfiles.rows import filelist, filters
from txfiles.rows.filelist import DataFile
from txfiles.rows.merge import replace_rows

NOWHERE = np.empty(0, np.int64)

COPIED_SHARE = 2
"""If one in so many row groups stays as it is, they are copied; with more changes, writing all of them is faster."""


@dataclass(frozen=True)
class Edit:
    """What changes in one file.

    Attributes:
        file: the file.
        without: where the rows are that are removed, ascending; `all_rows` of a file take no memory.
        at: where the rows are that are replaced, ascending.
        rows: what replaces them; None if nothing does.
    """

    file: DataFile
    without: np.ndarray | range
    at: np.ndarray = field(default_factory=lambda: NOWHERE)
    rows: pa.Table | None = None

    @property
    def rewrites(self) -> bool:
        """Whether rows stay; if none does, the file is removed without being read again."""
        return len(self.without) < live_rows(self.file)

    def spares_many(self, group_rows: int) -> bool:
        """Whether enough row groups of so many rows stay as they are to copy them. A guess, without I/O."""
        changed = np.zeros(-(-live_rows(self.file) // group_rows), bool)
        for places in (np.asarray(self.without), self.at):
            changed[places // group_rows] = True
        return COPIED_SHARE * int(np.count_nonzero(changed)) <= (COPIED_SHARE - 1) * len(changed)

    def spares(self, group: LiveGroup) -> bool:
        """Whether all rows of a group of the file stay as they are."""
        return not len(group.locate(self.at)[1]) and not len(group.locate(np.asarray(self.without))[1])


def removal(file: DataFile, positions: np.ndarray) -> Edit:
    """The removal of some rows of a file."""
    return Edit(file, positions if len(positions) < live_rows(file) else all_rows(file))


def all_rows(file: DataFile) -> range:
    """Where the rows of a file are."""
    return range(live_rows(file))


def rows_removed(edits: Sequence[Edit]) -> int:
    """How many rows some edits remove."""
    return sum(len(edit.without) for edit in edits)


@dataclass(frozen=True)
class Matching:
    """The rows that match a filter.

    Attributes:
        edits: their removal, file by file.
        scanned: files that were opened to find them.
    """

    edits: list[Edit]
    scanned: int


def matching(ctx: AnyContext, table: TableMetadata, files: pa.Table, where: filters.Filter) -> Matching:
    """Find the rows of some files that match.

    Cost: reads the filter's columns of the row groups that may hold a match; if the filter names partition columns
        only, nothing.
    """
    may = filelist.data_files(files, np.flatnonzero(scan.may_match(files, table, where)))
    decided: dict[Partition, bool | None] = {}
    for file in may:
        if file.partition not in decided:
            decided[file.partition] = scan.same_for_all_rows(table, file, where)
    looked_in = [file for file in may if decided[file.partition] is None]
    done = ctx.progress("looking for rows", len(looked_in))

    def find(file: DataFile) -> Edit:
        found = [group.positions[mask] for group, mask in scan.matches(ctx.session, table, file, where)]
        return removal(file, np.concatenate(found) if found else NOWHERE)

    edits = {file.path: Edit(file, all_rows(file)) for file in may if decided[file.partition]}
    for number, edit in enumerate(ctx.session.each(find, looked_in), 1):
        done(number)
        if len(edit.without):
            edits[edit.file.path] = edit
    return Matching([edits[file.path] for file in may if file.path in edits], len(looked_in))


def rewrite(ctx: AnyContext, table: TableMetadata, edits: Sequence[Edit]) -> list[Add]:
    """Write the files anew in which rows stay, several at a time, each as a stream.

    A new file takes the place of the old one, since an upsert takes the last of several rows with one key. Where no key
    is in the table twice, it comes last: then nobody asks, and a long list of files need not be saved anew around it.

    Cost: in memory is a row group for each file under way. Several files keep the cores busy; one alone is read while
        it is written, up to three row groups ahead.
    """
    kept = [edit for edit in edits if edit.rewrites]
    done = ctx.progress("rewriting files", len(kept))

    def one(edit: Edit) -> list[Add]:
        copies = edit.spares_many(properties.integer(table.properties, "row_group_rows"))

        def pieces() -> Generator[pa.Table | LiveGroup, None, None]:
            return _edited(ctx, table, edit, copies=copies, ahead=len(kept) == 1)

        return ctx.stage.file(table, edit.file.partition, pieces, like_bytes=edit.file.bytes, copies=copies)

    adds: list[Add] = []
    in_place = ctx.base is not None and not ctx.base.state.unique_keys
    for number, (edit, written) in enumerate(zip(kept, ctx.session.each(one, kept), strict=True), 1):
        adds += [replace_struct(add, place=edit.file.path) for add in written] if in_place else written
        done(number)
    return adds


def _edited(
    ctx: AnyContext, table: TableMetadata, edit: Edit, *, copies: bool, ahead: bool
) -> Generator[pa.Table | LiveGroup, None, None]:
    """The file's rows after the edit, group by group; if `copies`, a group that it spares as it is.

    A group of which no row stays is not read.
    """
    names = [column.name for column in table.columns]
    without = np.asarray(edit.without)

    def one(group: LiveGroup) -> pa.Table | LiveGroup:
        if copies and edit.spares(group):
            return group
        mine, places = group.locate(edit.at)
        rows = None if edit.rows is None else edit.rows[mine]
        return replace_rows(group.read(names), places, rows, group.locate(without)[1])

    with opened(ctx.session.store, table, edit.file) as groups:
        stay = [group for group in groups if len(group.locate(without)[1]) < group.rows]
        expected([group for group in stay if not (copies and edit.spares(group))], names)
        yield from ctx.session.in_turn(one, stay, ahead=ahead)
