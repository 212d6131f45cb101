"""What is in a folder that is to become a table: its data files, their partitions, and what stands in the way.

Everything is judged by names; nothing is read. What would be lost silently is refused: links, names that no table can
have, files of another format, tables within the folder.

Source: specs/14-adopt.md, "Which files".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from txfiles.core import names, strangers
from txfiles.core.messages import listed, one_of
from txfiles.errors import (
    ConfirmationRequiredError,
    CorruptTableError,
    ForeignTableError,
    InputError,
    OptionError,
    TableExistsError,
)
from txfiles.log.session import Session
from txfiles.store import port
from txfiles.store.port import Entry

ADOPTABLE = ("parquet", "csv")

PATH_BYTES = 8_192
"""The longest path in a manifest, URL-encoded."""

TOOLS = {
    "a Delta table": "it is a table already: txfiles reads and writes it with format='delta' (--format delta)",
    "an Iceberg table": "open it with pyiceberg, or export its rows and write them to a new folder",
    "a Hudi table": "open it with Hudi's reader in Spark, or export its rows and write them to a new folder",
}


@dataclass(frozen=True, slots=True)
class Found:
    """The data files of a folder.

    Attributes:
        format: of all of them.
        files: in order of name.
        partition_by: names of the partition columns, outermost first.
        partitions: for each file, the texts of its partition values; None is null.
        ignored: names of files that are for other tools or of no data.
    """

    format: str
    files: tuple[Entry, ...]
    partition_by: tuple[str, ...]
    partitions: tuple[tuple[str | None, ...], ...]
    ignored: tuple[str, ...]


def find(session: Session, table_id: str | None, format: str | None, *, force: bool) -> Found:
    """List a folder and decide what is data.

    Args:
        session: where the folder is.
        table_id: of a table whose creation was interrupted here.
        format: of the files that are wanted; None: there is only one.
        force: take files that are named as some txfiles table's.
    Raises:
        ForeignTableError: a Delta, Iceberg or Hudi table is in it.
        TableExistsError: a folder below is a table.
        InputError: there is no data, or some that could not be taken as it is.
        ConfirmationRequiredError: files are named as a txfiles table's whose log is not there.
    Cost: one listing, and one more of names that a listing leaves out. Memory: the names of all files.
    """
    root = session.store.root
    entries = [entry for entry in session.store.list_from("") if not entry.name.startswith(names.LOG_DIR)]
    _refuse_tables(root, entries)
    _refuse_unlisted(session, root)
    data = [entry for entry in entries if not strangers.is_hidden(entry.name)]
    taken_format, files = _of_format(root, data, format)
    _refuse_names(root, files)
    _refuse_tables_own(root, files, table_id, force=force)
    partition_by, partitions = _partitions(root, files)
    taken = {entry.name for entry in files}
    ignored = tuple(entry.name for entry in entries if entry.name not in taken)
    return Found(taken_format, tuple(files), partition_by, partitions, ignored)


def _refuse_tables(root: str, entries: Iterable[Entry]) -> None:
    for entry in entries:
        found = strangers.log_of(entry.name)
        if found is not None:
            what, folder = found
            raise ForeignTableError(
                f"{root}/{folder} holds {what} ({entry.name}); nothing was written", hint=TOOLS[what], file=entry.name
            )
        folder, _, within = entry.name.partition(f"/{names.LOG_DIR}")
        if within:
            raise TableExistsError(
                f"{root}/{folder} is a txfiles table of its own; nothing was written",
                hint="adopt the other folders one by one, or move that table out of this one",
                folder=folder,
            )


def _refuse_unlisted(session: Session, root: str) -> None:
    """Refuse what a listing does not show, unless other tools would not read it either."""
    odd = [name for name in port.left_out(session.store) if not strangers.is_hidden(name)]
    if odd:
        raise InputError(
            f"{root} has {len(odd):,} entries that no table can hold, such as links, pipes and names that are not "
            f"Unicode text: {listed(odd)}; nothing was written",
            hint="a table follows no link: put the files themselves into the folder, or remove these entries",
            files=tuple(odd[:100]),
        )


def _of_format(root: str, data: Sequence[Entry], wanted: str | None) -> tuple[str, list[Entry]]:
    """The format of the data files, and these."""
    by_format: dict[str, list[Entry]] = {}
    for entry in data:
        found = strangers.format_of(entry.name)
        if found is not None:
            by_format.setdefault(found, []).append(entry)
    unnamed = by_format.pop("", [])
    if wanted is None and len(by_format) > 1:
        examples = [f"{of} ({files[0].name})" for of, files in by_format.items()]
        raise OptionError(
            f"{root} holds files of several formats: {', '.join(examples)}; nothing was written",
            hint="format= (--format) says which of them are the table; the others are left alone",
        )
    taken = wanted or next(iter(by_format), "parquet" if unnamed else None)
    if taken not in ADOPTABLE:
        what = "no data files" if taken is None else f"{taken} files ({by_format[taken][0].name})"
        raise InputError(
            f"{root} holds {what}; nothing was written",
            hint=f"a table is a folder of {one_of(ADOPTABLE)} files; check the path. To adopt a single file, move it "
            "into a folder of its own",
        )
    files = [*by_format.get(taken, ()), *(unnamed if taken == "parquet" else ())]
    if not files:
        raise InputError(f"{root} holds no {taken} files; nothing was written", hint="check the path and format=")
    return taken, sorted(files, key=lambda entry: entry.name)


def _refuse_names(root: str, files: Iterable[Entry]) -> None:
    odd = [
        one.name for one in files if not names.is_adoptable(one.name) or len(names.encode_path(one.name)) > PATH_BYTES
    ]
    if odd:
        raise InputError(
            f"{root} has names that no table can hold: {listed(odd)}; nothing was written",
            hint="rename these files or their folders",
            files=tuple(odd[:100]),
        )


def _refuse_tables_own(root: str, files: Iterable[Entry], table_id: str | None, *, force: bool) -> None:
    """Refuse files of a txfiles table that has lost its log: some of them may be superseded, or never committed."""
    named = [(entry.name, of) for entry in files if (of := names.table_of(entry.name)) is not None]
    own = [name for name, of in named if of == table_id]
    if own:
        raise CorruptTableError(
            f"{root}/{names.LOG_DIR} has no version, and {len(own):,} files are named as those of its table "
            f"({own[0]}): the log is lost, or the first write was interrupted",
            hint=f"restore {names.MANIFEST_DIR} from a backup; if these are leftovers of a first write, run that write "
            "again in an empty folder",
            file=own[0],
        )
    if named and not force:
        raise ConfirmationRequiredError(
            f"{len(named):,} files of {root} are named as those of a txfiles table whose log is not here "
            f"({named[0][0]}): some of them may hold rows that were replaced, or never committed",
            hint="restore its _txfiles/; or, if every file belongs to the data, pass force=True or --force",
            files=tuple(name for name, _ in named[:100]),
        )


def _partitions(root: str, files: Sequence[Entry]) -> tuple[tuple[str, ...], tuple[tuple[str | None, ...], ...]]:
    """The partition columns, the same for all files, and the values of each."""
    known: dict[str, tuple[tuple[str, str | None], ...]] = {}
    first: dict[tuple[str, ...], str] = {}
    for entry in files:
        folder = entry.name.rpartition("/")[0]
        if folder not in known:
            known[folder] = _folders(root, folder, entry.name)
        first.setdefault(tuple(column for column, _ in known[folder]), entry.name)
    if len(first) > 1:
        told = [f"{'/'.join(columns) or 'none'} ({name})" for columns, name in first.items()]
        raise InputError(
            f"the files of {root} have different partition columns: {'; '.join(told)}; nothing was written",
            hint="move the files that differ, or adopt the folders one by one",
        )
    columns = next(iter(first))
    if len(set(columns)) < len(columns):
        raise InputError(
            f"{next(iter(first.values()))!r} names a partition column twice; nothing was written",
            hint="rename one of its folders",
        )
    values = {folder: tuple(value for _, value in pairs) for folder, pairs in known.items()}
    return columns, tuple(values[entry.name.rpartition("/")[0]] for entry in files)


def _folders(root: str, folder: str, name: str) -> tuple[tuple[str, str | None], ...]:
    """The partition values in a file's folders; plain folders may follow them."""
    found: list[tuple[str, str | None]] = []
    plain = ""
    for segment in folder.split("/") if folder else ():
        if "=" not in segment:
            plain = plain or segment
            continue
        pair = names.foreign_partition_of(segment)
        if pair is None or plain or len(pair[1] or "") > names.SEGMENT_LIMIT_BYTES:
            why = (
                f"it is below the folder {plain!r}, which is none" if plain else "it is not spelt as Hive and Spark do"
            )
            raise InputError(
                f"{root}/{name}: {segment!r} looks like a partition folder, but {why}; nothing was written",
                hint="adopt the folder that has the partition folders in it, or rename them",
                file=name,
            )
        found.append(pair)
    return tuple(found)
