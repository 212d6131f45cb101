"""`detach`: what has to be written before a table's folder can be left as a plain one, and the commit that leaves it.

Two commits. The first, a compaction of single files, writes those anew that a plain reader would see otherwise: it is
safe beside writers, and changes no row. The second ends the log: no version may follow it. It is planned only on a
version of which every file is plain, and planned again if anything was committed since.

Source: specs/17-detach.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from msgspec.structs import replace as replace_struct

from txfiles.core import names, strangers
from txfiles.core import plan as plans
from txfiles.core.manifest import DETACHED, Add, Metrics, Vacuum
from txfiles.core.plan import CommitPlan, Group, ReadSet
from txfiles.errors import ConfirmationRequiredError, NeedsLiveViewError
from txfiles.formats.common import Group as Encoded
from txfiles.log import manifests
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.reading.live import data_name, expected, live_rows, opened, seen_otherwise
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist, partitions
from txfiles.rows.filelist import DataFile
from txfiles.store.port import Entry, Store
from txfiles.writing.staging import Staging

ADOPT = "adopt"
"""The operation that made the table of files which other tools had written."""


class NotPlainError(Exception):
    """A plain reader would see files of this version otherwise: they have to be written anew first."""


def unlike(base: Snapshot) -> list[DataFile]:
    """The live files that a plain reader would see otherwise than the table does. Cost: the list of files."""
    return filelist.data_files(base.files, np.flatnonzero(seen_otherwise(base)))


def plan_rewrite(session: Session, base: Snapshot, stage: Staging, done: Callable[[int, int], None]) -> CommitPlan:
    """Write the files of `unlike` anew, each in its place: live rows only, in the table's columns and types.

    Cost: these files are read and written once, as a stream, several at a time.
    """
    table, files = base.state.table, unlike(base)
    marked = MarkedRows(session, files)
    columns = [column.name for column in table.columns]

    def one(file: DataFile) -> Group:
        def pieces() -> Generator[pa.Table | Encoded, None, None]:
            with opened(session, table, file, marked) as groups:
                for group in expected(groups, columns):
                    yield group.read(columns)

        adds = stage.file(table, partition_of[file.path], pieces, like_bytes=file.bytes)
        return Group((file.path,), file.bytes, tuple(adds), dropped=file.rows - live_rows(file))

    listed = base.files.filter(pa.array(seen_otherwise(base)))
    of_files = partitions.of_files(table, listed) if table.partition_by else [()] * listed.num_rows
    partition_of = dict(zip(listed["path"].to_pylist(), of_files, strict=True))
    groups = []
    for group in session.each(one, files, holding=max((file.bytes for file in files), default=0)):
        groups.append(group)
        done(len(groups), len(files))
    return plans.compaction(table, groups)


def plan_leave(base: Snapshot, stage: Staging) -> CommitPlan:
    """The last version. An empty table gets a file without rows, which tells readers its columns.

    Raises:
        NotPlainError: a file has to be written anew first.
    """
    if seen_otherwise(base).any():
        raise NotPlainError
    table = base.state.table
    left = replace_struct(table, required_features=(*table.required_features, DETACHED))
    add: tuple[Add, ...] = ()
    if not base.file_count:  # its one file is in no partition, and has all columns
        left = replace_struct(left, partition_by=())
        with stage.open(left, ()) as writer:
            add = (writer.close(even_empty=True),)
    return CommitPlan(
        table=left,
        read_set=ReadSet(table=table, changes_table=True, staged=frozenset(found.path for found in add)),
        metrics=Metrics(files_added=len(add), bytes_written=sum(found.bytes for found in add)),
        add=add,
        # What is deleted need not be listed: no later writer can bring it back. Readers of older versions are told.
        vacuum=Vacuum(oldest_readable_version=base.state.version + 1),
    )


def refuse_ambiguous(base: Snapshot, where: str) -> None:
    """Refuse a table in which the folders do not say what the manifest does.

    Raises:
        ConfirmationRequiredError: an empty text is a partition value: plain readers take it for null.
    """
    count = _empty_texts(base)
    if count:
        raise ConfirmationRequiredError(
            f"{count} data file(s) of {where} are in a partition whose value is an empty text, which folders spell as "
            f"they spell null: plain readers would read null",
            hint="give these rows another value first, or pass force=True (--force) to leave with null in its place",
            files=count,
        )


def _empty_texts(base: Snapshot) -> int:
    if not base.state.table.partition_by:
        return 0
    of_files = partitions.of_files(base.state.table, base.files)
    return sum("" in partition for partition in of_files)


def refuse_superseded(session: Session, base: Snapshot, leaving: Collection[DataFile] = ()) -> None:
    """Refuse a folder with adopted files that are superseded: they are not the table's to delete, and readers see them.

    Args:
        session: where the table is.
        base: its newest version.
        leaving: live files that are about to be superseded.
    Raises:
        NeedsLiveViewError: names the first one.
    Cost: the first manifest; if it adopted files, its sidecar, the list of files, and a request for each adopted file
        that is not live.
    """
    store = session.store
    if manifests.summary(store, 0).operation.name != ADOPT:
        return
    (first,) = manifests.require(session, [0])
    live = frozenset(base.files["path"].to_pylist()) - {file.path for file in leaving}
    gone = [
        add
        for add in first.manifest.add
        if add.path not in live and not names.is_data_path(add.path, base.state.table_id)
    ]
    found = list(session.together(lambda add: store.stat(data_name(add.path)), gone))
    # One of another size is somebody's again: it stays, and is told as such.
    left = [(add, at) for add, at in zip(gone, found, strict=True) if at is not None and at.bytes == add.bytes]
    if not left:
        return
    changed = [add.path for add, at in left if at.modified_us != add.modified_us]
    hint = (
        "table.set(vacuum_adopted=True) allows their deletion, and table.vacuum('0') deletes them; or move them away. "
        "Then run the same call again"
    )
    if changed:
        hint = (
            f"no vacuum deletes {len(changed)} of them, since their times are not those of the adoption "
            f"({changed[0]}): move these away, or delete them yourself. For others, {hint}"
        )
    raise NeedsLiveViewError(
        f"{len(left)} adopted file(s) of {store.root} hold rows that are in other files, or deleted, once the folder "
        f"is left: its readers would see these rows, too",
        hint=hint,
        file=left[0][0].path,
    )


@dataclass(frozen=True, slots=True)
class Folder:
    """What is in a table's folder besides its log and its live files.

    Attributes:
        surplus: the table's own files that are not live; a plain reader would read them.
        strangers: data files of the table's format that are not its own; they stay.
    """

    surplus: tuple[Entry, ...]
    strangers: tuple[str, ...]


def look(store: Store, base: Snapshot) -> Folder:
    """List the folder of a table. Cost: one listing; memory for the names of the files that are not live."""
    live = frozenset(base.files["path"].to_pylist())
    table_id, kind = base.state.table_id, base.state.table.format
    read_as = (kind, "") if kind == "parquet" else (kind,)  # a name without an ending is taken for Parquet
    surplus, others = [], []
    for entry in store.list_from(""):
        top = entry.name.partition("/")[0]
        if top == names.LOG_FOLDER or names.removed_log_of(top) or names.encode_path(entry.name) in live:
            continue
        if names.is_data_name(entry.name, table_id) or names.is_temporary(entry.name, table_id):
            surplus.append(entry)
        elif strangers.format_of(entry.name) in read_as and not strangers.is_hidden(entry.name):
            others.append(entry.name)
    return Folder(tuple(surplus), tuple(others))


def notes(base: Snapshot) -> list[str]:
    """What the log knew and a plain folder does not say, one sentence each."""
    table = base.state.table
    stored = [column for column in table.columns if column.name not in table.partition_by]
    found = []
    if table.format == "csv":
        told = ", ".join(f"{column.name} {column.type}" for column in stored)
        found.append(
            f"CSV files have no types, so readers infer them; the columns were {told}. Null is nothing between commas, "
            'an empty text is "", binary is base64'
        )
    if table.partition_by:
        kinds = {column.name: column.type for column in table.columns}
        told = ", ".join(f"{name} {kinds[name]}" for name in table.partition_by)
        found.append(
            f"partition values are only in the names of folders, from which readers infer types; they were {told}. "
            f"Null is {names.NULL_FOLDER}"
        )
    if _empty_texts(base):
        found.append(f"an empty text as a partition value is {names.NULL_FOLDER}, too: readers take it for null")
    odd = [path for path in base.files["path"].to_pylist() if not path.endswith("." + table.format)]
    if odd:
        found.append(
            f"{len(odd)} adopted file(s) have names that do not end in .{table.format} ({odd[0]}): readers that "
            "look for that ending do not see them"
        )
    if not filelist.total_rows(base.files):
        found.append("the table is empty: one file without rows tells readers its columns")
    roles = [f"keys ({', '.join(table.keys)})"] if table.keys else []
    roles += [f"timestamp_col ({table.timestamp_col})"] if table.timestamp_col is not None else []
    if roles:
        found.append(f"nothing in the folder tells its {' and '.join(roles)}")
    return found
