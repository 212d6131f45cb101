"""Edits of files: rows are left out or replaced, and all others keep their values and their order bit for bit.

What an edit becomes in the log is decided here alone (`carry_out`), by the table's `update_strategy`: the file is
rewritten without those rows (copy-on-write), or they are marked, and what replaces them goes to new files
(merge-on-read). A file of which no row stays is removed.

Source: specs/4-semantics.md, "Files".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from msgspec.structs import replace as replace_struct

from txfiles.core import properties
from txfiles.core.manifest import Add, Mark, TableMetadata
from txfiles.core.plan import Partition
from txfiles.formats.vectors import MARKABLE_ROWS
from txfiles.log.session import Session
from txfiles.operations.context import AnyContext
from txfiles.reading import scan
from txfiles.reading.live import LiveGroup, expected, live_rows, opened
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist, filters
from txfiles.rows.filelist import DataFile
from txfiles.rows.merge import replace_rows
from txfiles.writing.staging import Stage, Staging

NOWHERE = np.empty(0, np.int64)
NONE_REWRITTEN: Mapping[str, list[Add]] = MappingProxyType({})

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
    def removed(self) -> int:
        """How many rows are removed."""
        return live_rows(self.file) if isinstance(self.without, range) else len(self.without)

    @property
    def rewrites(self) -> bool:
        """Whether rows stay; if none does, the file is removed without being read again."""
        return self.removed < live_rows(self.file)

    @property
    def old(self) -> np.ndarray:
        """Where the rows are that are not in the table afterwards: those removed, and those replaced."""
        return np.sort(np.concatenate([np.asarray(self.without, np.int64), self.at]))

    def spares_many(self, groups: Sequence[LiveGroup]) -> bool:
        """Whether enough of some groups of the file stay as they are to copy them."""
        changed = sum(not self.spares(group) for group in groups)
        return COPIED_SHARE * changed <= (COPIED_SHARE - 1) * len(groups)

    def spares(self, group: LiveGroup) -> bool:
        """Whether all rows of a group of the file stay as they are."""
        return not len(group.locate(self.at)[1]) and not len(group.locate(np.asarray(self.without, np.int64))[1])


def removal(file: DataFile, positions: np.ndarray) -> Edit:
    """The removal of some rows of a file."""
    return Edit(file, positions if len(positions) < live_rows(file) else all_rows(file))


def all_rows(file: DataFile) -> range:
    """All rows of a file, marked ones too."""
    return range(file.rows)


def rows_removed(edits: Sequence[Edit]) -> int:
    """How many rows some edits remove."""
    return sum(edit.removed for edit in edits)


@dataclass(frozen=True)
class Carried:
    """What some edits become.

    Attributes:
        add: the files that are written anew.
        remove: the paths of those that they replace, and of those of which no row stays.
        mark: the new vectors of the others.
        rows: what replaces marked rows, for new files; None: nothing does.
        relies_on: path → the positions that are marked; None: all of the file.
        rewritten: how many files are written anew.
    """

    add: list[Add]
    remove: list[str]
    mark: list[Mark]
    rows: pa.Table | None
    relies_on: dict[str, np.ndarray | None]
    rewritten: int


def carry_out(
    ctx: AnyContext, table: TableMetadata, edits: Sequence[Edit], rewritten: Mapping[str, list[Add]] = NONE_REWRITTEN
) -> Carried:
    """Rewrite the files or mark their rows, as the table's property says; a file of too many rows is rewritten.

    Args:
        ctx: the pass.
        table: whose files they are.
        edits: what changes in them.
        rewritten: files for which that was done already, by path: the new files.
    Cost: as `rewrite`; marking reads and writes vectors only.
    """
    by_mark = properties.marks_rows(table.properties)
    marks = [by_mark and edit.file.rows <= MARKABLE_ROWS and edit.rewrites for edit in edits]
    marking = [edit for edit, is_marked in zip(edits, marks, strict=True) if is_marked]
    others = [edit for edit, is_marked in zip(edits, marks, strict=True) if not is_marked]
    staying = [edit for edit in marking if len(edit.old) < live_rows(edit.file)]
    relies_on: dict[str, np.ndarray | None] = {edit.file.path: None for edit in edits}
    relies_on |= {edit.file.path: edit.old for edit in staying}
    replacing = [edit.rows for edit in marking if edit.rows is not None]
    return Carried(
        add=rewrite(ctx, table, others, rewritten),
        remove=[edit.file.path for edit in edits if relies_on[edit.file.path] is None],
        mark=mark_rows(ctx.session, ctx.stage, [(edit.file, edit.old) for edit in staying]),
        rows=pa.concat_tables(replacing) if replacing else None,
        relies_on=relies_on,
        rewritten=sum(edit.rewrites for edit in others),
    )


def mark_rows(session: Session, stage: Stage, found: Sequence[tuple[DataFile, np.ndarray]]) -> list[Mark]:
    """Mark rows of files, beside those that are marked already."""
    marked = MarkedRows(session, [file for file, _ in found])

    def whole(of_file: tuple[DataFile, np.ndarray]) -> tuple[str, np.ndarray]:
        file, positions = of_file
        return file.path, np.union1d(marked.of(file), positions)

    return stage.vectors(list(session.each(whole, found)))


def unite(session: Session, stage: Staging, files: Sequence[DataFile]) -> tuple[list[Mark], list[str]]:
    """Put new vectors of some files together with those that others have given them since.

    What was staged is not read back: a vacuum may have deleted it, which the next look at the log will tell.

    Args:
        session: the table's.
        stage: has written vectors of these files, and writes others, to another file.
        files: as they are now.
    Returns:
        The vectors, and the paths of the files of which no row stays.
    Cost: their vectors are read; one file is written.
    """
    marked = MarkedRows(session, files)

    def both(file: DataFile) -> tuple[DataFile, np.ndarray]:
        return file, np.union1d(marked.of(file), stage.marked(file.path))

    found = list(session.each(both, files))
    staying = [(file.path, positions) for file, positions in found if len(positions) < file.rows]
    return stage.vectors(staying), [file.path for file, positions in found if len(positions) == file.rows]


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
    marked = MarkedRows(ctx.session, looked_in)

    def find(file: DataFile) -> Edit:
        found = [group.positions[mask] for group, mask in scan.matches(ctx.session, table, file, where, marked)]
        return removal(file, np.concatenate(found) if found else NOWHERE)

    edits = {file.path: Edit(file, all_rows(file)) for file in may if decided[file.partition]}
    for number, edit in enumerate(ctx.session.each(find, looked_in), 1):
        done(number)
        if len(edit.without):
            edits[edit.file.path] = edit
    return Matching([edits[file.path] for file in may if file.path in edits], len(looked_in))


def rewrite(
    ctx: AnyContext, table: TableMetadata, edits: Sequence[Edit], rewritten: Mapping[str, list[Add]] = NONE_REWRITTEN
) -> list[Add]:
    """Write the files anew in which rows stay, several at a time, each as a stream.

    A new file takes the place of the old one, since an upsert takes the last of several rows with one key. Where no key
    is in the table twice, it comes last: then nobody asks, and a long list of files need not be saved anew around it.

    Cost: in memory is a row group for each file under way; where reading takes requests, the bytes of the file, too.
        Several files keep the cores busy; one alone is read while it is written, up to three row groups ahead.
    """
    kept = [edit for edit in edits if edit.rewrites]
    late = [edit for edit in kept if edit.file.path not in rewritten]
    done = ctx.progress("rewriting files", len(kept))
    marked = MarkedRows(ctx.session, [edit.file for edit in kept])

    def one(edit: Edit) -> list[Add]:
        with contextlib.ExitStack() as stack:
            return rewrite_one(
                ctx,
                table,
                edit,
                lambda: stack.enter_context(opened(ctx.session, table, edit.file, marked)),
                ahead=len(late) == 1,
            )

    def in_turn() -> Generator[list[Add], None, None]:
        anew = ctx.session.each(one, late, holding=max((edit.file.bytes for edit in late), default=0))
        for edit in kept:
            yield rewritten[edit.file.path] if edit.file.path in rewritten else next(anew)

    adds: list[Add] = []
    in_place = ctx.base is not None and not ctx.base.state.unique_keys
    # Closed whatever happens: then nothing is written any more, and what was staged can be deleted.
    with contextlib.closing(in_turn()) as turns:
        for number, (edit, written) in enumerate(zip(kept, turns, strict=True), 1):
            adds += [replace_struct(add, place=edit.file.path) for add in written] if in_place else written
            done(number)
    return adds


def rewrite_one(
    ctx: AnyContext, table: TableMetadata, edit: Edit, begin: Callable[[], Sequence[LiveGroup]], *, ahead: bool
) -> list[Add]:
    """Write a file anew.

    Args:
        ctx: the pass.
        table: whose file it is.
        edit: after which rows stay.
        begin: gives the open file's groups, perhaps twice; not called if nothing is to be written.
        ahead: whether it is read while it is written.
    """
    copies = False

    def pieces() -> Generator[pa.Table | LiveGroup, None, None]:
        nonlocal copies
        stay = [group for group in begin() if len(group.locate(without)[1]) < group.rows]
        copies = edit.spares_many(stay)
        expected([group for group in stay if not (copies and edit.spares(group))], names)
        yield from ctx.session.in_turn(one, stay, ahead=ahead)

    def one(group: LiveGroup) -> pa.Table | LiveGroup:
        if copies and edit.spares(group):
            return group
        mine, places = group.locate(edit.at)
        rows = None if edit.rows is None else edit.rows[mine]
        return replace_rows(group.read(names), places, rows, group.locate(without)[1])

    names = [column.name for column in table.columns]
    without = np.asarray(edit.without, np.int64)
    return ctx.stage.file(table, edit.file.partition, pieces, like_bytes=edit.file.bytes, copies=lambda: copies)
