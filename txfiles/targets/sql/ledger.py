"""The ledger: one row for each commit, in the table `txfiles_commits` beside the tables, in the same transaction.

Source: specs/10-sql.md, "The ledger".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import msgspec
import pyarrow as pa

from txfiles.core import times
from txfiles.core.codec import TableAction, read_table, table_action
from txfiles.core.manifest import TableMetadata
from txfiles.errors import CorruptTableError
from txfiles.results import Commit
from txfiles.targets.sql.database import Database

LEDGER = "txfiles_commits"
COUNTS = (
    "rows_in",
    "rows_inserted",
    "rows_updated",
    "rows_unchanged",
    "rows_skipped",
    "rows_stale",
    "rows_deduplicated",
    "rows_deleted",
)
PENDING = -1
"""The version of the row that announces a creation, where making a table is not part of a transaction."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the ledger, its fields in the order of its columns.

    Attributes:
        table_name: as the database has it.
        version: from 0.
        commit_id: nobody else's.
        time_us: never earlier than its predecessor's plus one.
        operation: the mode.
        scope: what an overwrite replaced.
        batch_id: the caller's.
        key_columns: JSON.
        timestamp_col: recorded.
        read_version: the version that it was decided against.
        rows_in: counts, as in `WriteResult`.
        rows_inserted: a count.
        rows_updated: a count.
        rows_unchanged: a count.
        rows_skipped: a count.
        rows_stale: a count.
        rows_deduplicated: a count.
        rows_deleted: a count.
        metadata: JSON: the table's columns with their exact types, keys and timestamp column.
        user_metadata: JSON.
        library: that wrote it.
        writer: host and process.
    """

    table_name: str
    version: int
    commit_id: str
    time_us: int
    operation: str
    scope: str | None
    batch_id: str | None
    key_columns: str
    timestamp_col: str | None
    read_version: int | None
    rows_in: int
    rows_inserted: int
    rows_updated: int
    rows_unchanged: int
    rows_skipped: int
    rows_stale: int
    rows_deduplicated: int
    rows_deleted: int
    metadata: str
    user_metadata: str
    library: str
    writer: str

    @property
    def table(self) -> TableMetadata:
        """What the table is.

        Raises:
            CorruptTableError: somebody has changed the row.
        """
        where = f"version {self.version} of {self.table_name} in {LEDGER}"
        try:
            action = msgspec.json.decode(self.metadata, type=TableAction)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise CorruptTableError(f"{where} is damaged: {error}") from error
        return read_table(action, where, formats=("sql",))

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of that commit."""
        return tuple(msgspec.json.decode(self.key_columns, type=list[str]))

    @property
    def commit(self) -> Commit:
        """The row as the history shows it."""
        return Commit(
            version=self.version,
            time=times.moment(self.time_us),
            operation=self.operation,
            keys=self.keys,
            batch_id=self.batch_id,
            commit_id=self.commit_id,
            read_version=self.read_version,
            files_added=0,
            files_removed=0,
            bytes_written=0,
            user_metadata=msgspec.json.decode(self.user_metadata, type=dict[str, str]),
            library=self.library,
            writer=self.writer,
            **{name: getattr(self, name) for name in COUNTS},
        )


NAMES = tuple(one.name for one in fields(Entry))
_SHORT = ("table_name", "commit_id", "batch_id")
_INTEGERS = ("version", "time_us", "read_version", *COUNTS)


def encoded(table: TableMetadata) -> str:
    """A table's metadata for the ledger."""
    return msgspec.json.encode(table_action(table)).decode()


def name(db: Database, schema: str) -> str:
    """The ledger in a statement."""
    return f"{db.dialect.quote(schema)}.{db.dialect.quote(LEDGER)}"


def exists(db: Database, schema: str) -> bool:
    """Whether the schema has a ledger."""
    return db.dialect.has_table(db, schema, LEDGER)


def create(db: Database, schema: str) -> None:
    """Make the ledger, by a transaction of its own; the caller holds the ledger's lock."""
    dialect = db.dialect
    columns = []
    for one in NAMES:
        kind = "BIGINT" if one in _INTEGERS else dialect.short_text if one in _SHORT else dialect.long_text
        optional = one in ("scope", "batch_id", "timestamp_col", "read_version")
        columns.append(f"{dialect.quote(one)} {kind}{'' if optional else ' NOT NULL'}")
    columns += ["PRIMARY KEY (table_name, version)", "UNIQUE (table_name, commit_id)"]
    db.run(dialect.create_if_absent(name(db, schema), ", ".join(columns)))


def newest(db: Database, schema: str, table: str) -> Entry | None:
    """The newest commit of a table."""
    found = _entries(db, schema, "version >= 0", (table,), limit=1)
    return found[0] if found else None


def pending(db: Database, schema: str, table: str) -> Entry | None:
    """A creation that was announced and not finished."""
    found = _entries(db, schema, f"version = {PENDING}", (table,))
    return found[0] if found else None


def by_commit(db: Database, schema: str, table: str, commit_id: str) -> Entry | None:
    """The commit with that id."""
    mark = db.dialect.mark
    found = _entries(db, schema, f"version >= 0 AND commit_id = {mark}", (table, commit_id))
    return found[0] if found else None


def by_batch(db: Database, schema: str, table: str, batch_id: str, kept: int) -> Entry | None:
    """The commit of a batch id, if it is one of the newest `kept` ids."""
    mark = db.dialect.mark
    same = db.dialect.compared("batch_id", "=", mark, pa.string())
    found = _entries(db, schema, f"version >= 0 AND {same}", (table, batch_id), limit=1)
    if not found:
        return None
    later = db.rows(
        f"SELECT count(DISTINCT batch_id) FROM {name(db, schema)} WHERE table_name = {mark} AND version > {mark}",
        (table, found[0].version),
    )[0][0]
    return found[0] if later < kept else None


def history(db: Database, schema: str, table: str, version: int, limit: int | None) -> list[Entry]:
    """The commits up to a version, newest first."""
    return _entries(db, schema, f"version >= 0 AND version <= {db.dialect.mark}", (table, version), limit=limit)


def add(db: Database, schema: str, entry: Entry) -> None:
    """Add a commit."""
    marks = ", ".join([db.dialect.mark] * len(NAMES))
    values = [getattr(entry, one) for one in NAMES]
    columns = ", ".join(map(db.dialect.quote, NAMES))
    db.run(f"INSERT INTO {name(db, schema)} ({columns}) VALUES ({marks})", values)


def forget(db: Database, schema: str, table: str) -> None:
    """Drop the history of a table that somebody has dropped."""
    db.run(f"DELETE FROM {name(db, schema)} WHERE table_name = {db.dialect.mark}", (table,))


def _entries(
    db: Database, schema: str, where: str, parameters: Sequence[Any], *, limit: int | None = None
) -> list[Entry]:
    """Commits, newest first."""
    columns = ", ".join(map(db.dialect.quote, NAMES))
    sql = f"SELECT {columns} FROM {name(db, schema)} WHERE table_name = {db.dialect.mark} AND {where}"
    sql += " ORDER BY version DESC"
    if limit is not None:
        sql = db.dialect.limited(sql, int(limit))
    return [Entry(**dict(zip(NAMES, row, strict=True))) for row in db.rows(sql, parameters)]
