"""What is in the files of a version against what the log says of it.

Each file is read from its first byte to its last for its SHA-256, and once more for its rows: of all of them, also
those that are marked, the nulls, bounds and key range are found again and compared with the log.

Source: specs/16-verify.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core import names
from txfiles.core.manifest import TableMetadata
from txfiles.errors import CorruptTableError, InputError, StoreError
from txfiles.findings import Problem, problem
from txfiles.log.session import Session
from txfiles.log.snapshot import Listed, Snapshot
from txfiles.operations import verify_keys
from txfiles.operations.verify_files import NEW_INDEX
from txfiles.reading import index_check, live
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist, types
from txfiles.rows import keys as key_codec
from txfiles.rows.filelist import DataFile
from txfiles.rows.segments import FileList
from txfiles.rows.stats import StatsCollector
from txfiles.rows.text import from_text

PIECE_BYTES = 8 * 1024 * 1024
"""Bytes of a file that are hashed at a time."""

LOAD_AGAIN = (
    "filtered reads and keyed writes may miss its rows; an overwrite with all rows, which are read without a filter, "
    "writes it anew: tx.write(table.to_arrow(), PATH, mode='overwrite')"
)


@dataclass(frozen=True, slots=True)
class _Said:
    """What the log says of a file.

    Attributes:
        file: the file.
        version: that added it.
        facts: its row in the list of files.
    """

    file: DataFile
    version: int
    facts: dict[str, pa.Scalar]

    @property
    def name(self) -> str:
        return names.decode_path(self.file.path) or self.file.path

    def problem(self, kind: str, message: str, hint: str | None, **more: Any) -> Problem:
        return problem(kind, message, hint, version=self.version, file=self.name, **more)


def problems(
    session: Session, snapshot: Snapshot, missing: set[str], report: Callable[[str, int, int | None], None]
) -> Iterator[Problem]:
    """Check the contents of a version's files, but for those that are known to be missing."""
    table, listed = snapshot.state.table, snapshot.files
    said = [
        one
        for number, file in enumerate(filelist.data_files(listed))
        if (one := _said(listed, number, file)).name not in missing
    ]
    sound: list[str] = []
    for done, (one, found) in enumerate(session.each(lambda one: (one, _checked(session, table, one)), said), 1):
        yield from found
        if not any(each.kind in ("file-content", "vector", "unreadable") for each in found):
            sound.append(one.file.path)
        report("reading files", done, len(said))
    readable = listed.filter(pc.is_in(listed["path"], value_set=pa.array(sound, pa.string())))
    good = Snapshot(snapshot.state, Listed.of(table, FileList.of(readable)))
    try:
        yield from _index(session, good)
        if table.keys:
            yield from verify_keys.repeated(session, good, report)
    except (CorruptTableError, StoreError) as error:  # a file was damaged, or a vacuum came, after it had been read
        yield problem("unreadable", error.message, error.hint)


def _said(listed: pa.Table, number: int, file: DataFile) -> _Said:
    row = listed.slice(number, 1)
    facts = {name: row[name][0] for name in listed.column_names if name.split(".")[0] in _FACTS}
    return _Said(file, row["added_version"][0].as_py(), facts)


_FACTS = ("nulls", "min", "max", "key_min", "key_max")


def _checked(session: Session, table: TableMetadata, said: _Said) -> list[Problem]:
    """All that is wrong with one file."""
    file = said.file
    try:
        found = _hash(session, said) + _rows(session, table, said) + _folder(table, said)
    except CorruptTableError as error:
        hint = f"restore it from a backup: the file has {file.bytes} bytes and sha256 {file.sha256}"
        found = [said.problem("file-content", error.message, hint if file.sha256 else error.hint, count=file.live_rows)]
    except StoreError as error:
        found = [said.problem("unreadable", error.message, error.hint)]
    if file.vector is not None:
        try:
            MarkedRows(session, [file]).of(file)
        except CorruptTableError as error:
            found.append(said.problem("vector", error.message, error.hint, count=file.vector.rows))
        except StoreError as error:
            found.append(said.problem("unreadable", error.message, error.hint))
    return found


def _hash(session: Session, said: _Said) -> list[Problem]:
    """Compare the SHA-256 of a file, if the log has one. Raises `CorruptTableError`."""
    if not said.file.sha256:
        return []
    digest, left = hashlib.sha256(), said.file.bytes
    with session.store.open_input(live.data_name(said.file.path), said.file.bytes) as source:
        while left > 0 and (piece := source.read(min(left, PIECE_BYTES))):
            digest.update(piece)
            left -= len(piece)
    if left == 0 and digest.hexdigest() == said.file.sha256:
        return []
    raise CorruptTableError(f"{said.name} is damaged: its sha256 is not the one in the log")


def _rows(session: Session, table: TableMetadata, said: _Said) -> list[Problem]:
    """Decode all rows, and compare what the log says of them. Raises `CorruptTableError`."""
    physical = replace(said.file, vector=None)
    columns = [column.name for column in table.columns]
    own = set(table.stored_ids if physical.columns is None else physical.columns)
    stored = [column.name for column in table.columns if column.id in own and column.name not in table.partition_by]
    seen, codes = StatsCollector(), _Codes()
    for group in live.groups(session, table, physical, columns, MarkedRows(session, ())):
        rows = group.read(columns)
        seen.add(rows.select(stored))
        if table.keys:
            codes.add(key_codec.encode(rows, table.keys))
    return [*_bounds(table, said, seen, stored), *codes.problems(table, said)]


def _bounds(table: TableMetadata, said: _Said, seen: StatsCollector, stored: list[str]) -> Iterator[Problem]:
    for column in table.columns:
        if column.name not in stored or not said.file.rows:
            continue
        nulls = said.facts[f"nulls.{column.id}"].as_py()
        if nulls is not None and nulls != seen.nulls(column.name):
            message = f"{said.name} has {seen.nulls(column.name)} nulls in {column.name!r}, the log says {nulls}"
            yield said.problem("bounds", message, LOAD_AGAIN, column=column.name)
        low, high = said.facts[f"min.{column.id}"], said.facts[f"max.{column.id}"]
        if seen.exceeds(column.name, low, high):
            message = f"{said.name} has values of {column.name!r} beyond the bounds that the log states"
            yield said.problem("bounds", message, LOAD_AGAIN, column=column.name)


class _Codes:
    """The least and the greatest key of a file, and how many rows have none."""

    def __init__(self) -> None:
        self._extremes: list[bytes] = []
        self._nulls = 0

    def add(self, codes: pa.Array) -> None:
        """Take in some rows."""
        self._nulls += codes.null_count
        found = pc.min_max(codes)
        self._extremes += [found[side].as_py() for side in ("min", "max") if found[side].is_valid]
        self._extremes = [min(self._extremes), max(self._extremes)] if self._extremes else []

    def problems(self, table: TableMetadata, said: _Said) -> Iterator[Problem]:
        """What the log's key range does not contain."""
        low, high = said.facts["key_min"].as_py(), said.facts["key_max"].as_py()
        if not self._extremes:
            return
        if (low is not None and self._extremes[0] < low) or (high is not None and self._extremes[1] > high):
            message = f"{said.name} has keys outside the key range that the log states"
            yield said.problem("key-range", message, LOAD_AGAIN, column=table.keys[0])


def _folder(table: TableMetadata, said: _Said) -> list[Problem]:
    """Compare the values in a file's path, which plain readers believe, with those of the log."""
    *folders, last = said.name.split("/")
    if not table.partition_by or not last.startswith("part-"):  # an adopted file may lie anywhere
        return []
    schema = types.arrow_schema(table.columns)
    partition = live.partition_values(table, schema, said.file)
    wrong = []
    if len(folders) != len(table.partition_by):
        wrong = list(table.partition_by)
    for column, folder in zip(table.partition_by, folders, strict=False):
        value = partition[column][0]
        if _value(folder, column, schema.field(column).type) != (None if value.as_py() == "" else value.as_py()):
            wrong.append(column)
    return [
        said.problem(
            "partition",
            f"{said.name} is in a folder of another {column!r} than the log says, {said.file.partition}",
            "txfiles goes by the log; tools that take the value from the folder do not: rewrite the rows with an "
            "overwrite of that partition",
            column=column,
        )
        for column in wrong
    ]


def _value(folder: str, column: str, kind: pa.DataType) -> Any:
    """The value that a folder's name stands for; an exception's text if it stands for none."""
    name, text = names.partition_of(folder)
    if name != column:
        return folder
    if text is None or pa.types.is_null(kind):
        return None
    try:
        return from_text(pa.array([text], pa.string()), kind)[0].as_py()
    except InputError as error:
        return error.message


def _index(session: Session, snapshot: Snapshot) -> Iterator[Problem]:
    for state in index_check.states(session, snapshot, check=True) if snapshot.state.runs else ():
        if state.problem:
            message = f"the index run {state.run.path} cannot be used: {state.problem}"
            yield problem("index", message, NEW_INDEX, file=state.run.path)
