"""The target of SQL tables, and a table as it opens it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from txfiles.core.messages import shown, text
from txfiles.errors import OptionError, SnapshotExpiredError, StoreError, TableNotFoundError, UnsupportedVerbError
from txfiles.options import DEFAULTS, MODES, CompactOptions, IndexOptions, Request, VacuumOptions
from txfiles.reading import lookup, scan
from txfiles.results import Commit, CompactResult, IndexResult, Plan, Resolution, VacuumResult, WriteResult
from txfiles.rows import filters, types
from txfiles.targets.protocol import Capabilities, Place, TableState
from txfiles.targets.sql import address as addresses
from txfiles.targets.sql import ledger, statements, write
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.call import ledger_name, lock_name
from txfiles.targets.sql.database import Database, is_there
from txfiles.targets.sql.errors import BusyError, LostError
from txfiles.targets.sql.statements import BATCH, Shape
from txfiles.targets.sql.types import decode, encode
from txfiles.verbs import DeleteOptions

if TYPE_CHECKING:
    import pyarrow.dataset as ds

PATIENCE_SECONDS = 60.0
"""How long a reader waits for a lock."""

LACKS = ("partition_by", "overwrite_partitions", "replace_where", "properties", "lock")
"""Options of a write that SQL tables do not take."""


class SqlTarget:
    """Tables in SQL databases."""

    name = "sql"
    capabilities = Capabilities(
        formats=("sql",),
        modes=frozenset(MODES),
        options=frozenset(DEFAULTS) - frozenset(LACKS),
        verbs=frozenset(("dataset", "history", "lookup", "refresh")),
    )

    def claims(self, place: Place) -> bool:
        """Claims the URLs of databases."""
        return addresses.claims(place)

    def write(self, place: Place, request: Request) -> WriteResult:
        """See `sql.write`."""
        return write.write(addresses.read(place), request)

    def plan(self, place: Place, request: Request) -> Plan:
        """See `sql.write`."""
        return write.plan(addresses.read(place), request)

    def open(self, place: Place) -> SqlTable:
        """The table as it is now. Cost: a few queries."""
        found = addresses.read(place)
        entry, schema = _newest(found)
        if entry is None or schema is None:
            raise TableNotFoundError(
                f"{found.shown}: there is no table", hint="check the URL; the first write creates the table"
            )
        return SqlTable(replace(place, path=found.full), found, schema, entry)

    def exists(self, place: Place) -> bool:
        """Whether there is a table that txfiles created."""
        return _newest(addresses.read(place))[0] is not None

    def resolve(self, place: Place, commit_id: str) -> Resolution:
        """Whether the ledger has a commit."""
        if len(text(commit_id)) != 32 or set(text(commit_id)) - set("0123456789abcdef"):  # noqa: PLR2004 - hex digits
            raise OptionError(
                f"{shown(commit_id)} is not a commit id",
                hint="pass the 32 hex digits from the error (error.commit_id)",
            )
        found = addresses.read(place)
        if not is_there(found):
            raise TableNotFoundError(f"{found.shown}: there is no table", hint="check the URL")
        with _reading(found) as db:
            # Under the table's lock, the transaction that is asked about is over.
            schema = found.schema if found.schema is not None else db.dialect.schema(db)
            db.dialect.begin(db, lock_name(schema, found), PATIENCE_SECONDS)
            name = ledger_name(found)
            entry = ledger.by_commit(db, schema, name, commit_id) if ledger.exists(db, schema) else None
            db.run("ROLLBACK")
        return Resolution(committed=entry is not None, version=entry.version if entry else None)


SQL = SqlTarget()


class _reading(Database):  # noqa: N801 - used as a context manager
    """A connection for reading: errors that another attempt might help against are told as such."""

    def __init__(self, address: Address) -> None:
        try:
            super().__init__(address, PATIENCE_SECONDS)
        except (BusyError, LostError) as error:
            raise _failed(address, error) from None

    def __exit__(self, *raised: object) -> None:
        self.close()
        error = raised[1]
        if isinstance(error, BusyError | LostError):
            raise _failed(self.address, error) from None


def _failed(address: Address, error: Exception) -> StoreError:
    return StoreError(f"{address.shown} could not be read: {error}", hint="try again")


def _newest(address: Address) -> tuple[ledger.Entry | None, str | None]:
    """The newest commit of the table, and the table's schema."""
    if not is_there(address):
        return None, None
    with _reading(address) as db:
        db.dialect.begin_reading(db)
        schema = address.schema if address.schema is not None else db.dialect.schema(db)
        made = db.dialect.has_table(db, schema, address.table) and ledger.exists(db, schema)
        return (ledger.newest(db, schema, ledger_name(address)) if made else None), schema


@dataclass(frozen=True, eq=False)
class SqlTable:
    """A SQL table at its newest version. Databases keep no older one: reading it later than a commit is an error.

    Attributes:
        given: where it is, for any folder: the file of a database is absolute.
        address: the same, read.
        schema: the database schema that it is in.
        entry: the version's commit.
    """

    given: Place
    address: Address
    schema: str
    entry: ledger.Entry

    @property
    def place(self) -> Place:
        """Where it is, for another process.

        Raises:
            OptionError: the URL itself has a password or other parameters: a pickle goes to other machines.
        """
        if self.address.has_secret:
            raise OptionError(
                f"the Table at {self.path} cannot be pickled with a URL that may hold a secret",
                hint="write ${NAME} for the password: each process reads the environment variable NAME",
            )
        return self.given

    @property
    def path(self) -> str:
        """Its URL without user, password and options."""
        return self.address.shown

    @property
    def backend(self) -> str | None:
        """The kind of database."""
        return self.address.dialect

    @property
    def backend_reason(self) -> str | None:
        """There is one way to reach it."""
        return None

    @cached_property
    def state(self) -> TableState:
        """What the ledger says about it."""
        table = self.entry.table
        return TableState(
            version=self.entry.version,
            format="sql",
            schema=pa.schema([one.remove_metadata() for one in types.arrow_schema(table.columns)]),
            keys=table.keys,
            timestamp_col=table.timestamp_col,
            partition_by=(),
            properties={},
        )

    @property
    def identity(self) -> str:
        """The commit's id."""
        return self.entry.commit_id

    def row_count(self) -> int:
        """Counted by the database."""
        with _reading(self.address) as db:
            self._pin(db)
            return int(db.rows(f"SELECT count(*) FROM {self._shape(db).target}")[0][0])

    def to_arrow(self, columns: Sequence[str] | None, filter: Any) -> pa.Table:
        """The rows, in the order in which the database gives them."""
        return self.to_batches(columns, filter, None).read_all()

    def to_batches(self, columns: Sequence[str] | None, filter: Any, batch_rows: int | None) -> pa.RecordBatchReader:
        """The same as a stream; the filter is applied here, not by the database."""
        wanted = scan.check_columns(self.state.schema, columns)
        where = filters.parse(filter, self.state.schema)
        schema = pa.schema([self.state.schema.field(name) for name in wanted])
        batches = self._batches(wanted, where, batch_rows)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def _batches(
        self, wanted: list[str], where: filters.Filter | None, batch_rows: int | None
    ) -> Iterator[pa.RecordBatch]:
        needed = list(dict.fromkeys([*wanted, *(where.columns if where else ())]))
        with _reading(self.address) as db:
            self._pin(db)
            for rows in self._fetch(db, needed):
                found = (rows if where is None else where.rows(rows)).select(wanted)
                yield from found.combine_chunks().to_batches(max_chunksize=batch_rows)

    def _fetch(self, db: Database, columns: Sequence[str], join: str = "") -> Iterator[pa.Table]:
        """The table's rows, each column in its Arrow type."""
        schema = self.state.schema
        sql = statements.select(self._shape(db), columns, join)
        for arrays in db.dialect.fetch(db, sql, [(name, db.dialect.wire(schema.field(name).type)) for name in columns]):
            decoded = [
                decode(pa.chunked_array([array]), schema.field(name).type, name)
                for name, array in zip(columns, arrays, strict=True)
            ]
            yield pa.table(decoded, schema=pa.schema([schema.field(name) for name in columns]))

    def dataset(self) -> ds.Dataset:
        """A dataset of the rows in memory."""
        import pyarrow.dataset as ds

        return ds.dataset(self.to_arrow(None, None))

    def history(self, limit: int | None) -> list[Commit]:
        """The ledger's rows."""
        with _reading(self.address) as db:
            found = ledger.history(db, self.schema, self.entry.table_name, self.entry.version, limit)
        return [one.commit for one in found]

    def lookup(self, keys: Any, columns: Sequence[str] | None) -> pa.Table:
        """The rows of some keys, found by a join with a temporary table of them."""
        names = scan.check_columns(self.state.schema, columns)
        table = self.entry.table
        rows = lookup.key_rows(table, keys, self.path)
        schema = pa.schema([self.state.schema.field(name) for name in names])
        if not rows.num_rows:
            return schema.empty_table()
        with _reading(self.address) as db:
            shape = Shape(
                dialect=db.dialect, schema=self.schema, table=self.address.table, columns=rows.schema, keys=table.keys
            )
            staged = {
                shape.staged(name): encode(rows[name], name, db.dialect.wire(rows[name].type)) for name in table.keys
            }
            db.run(statements.create_batch(shape))
            db.run("BEGIN")
            db.dialect.load(db, BATCH, pa.table({"n": pa.array(range(rows.num_rows), pa.int64()), **staged}))
            db.run("COMMIT")
            self._pin(db)
            found = list(self._fetch(db, names, f" JOIN {BATCH} AS s ON {shape.on}"))
        return pa.concat_tables([schema.empty_table(), *found])

    def newest(self) -> SqlTable:
        """The newest version."""
        return SQL.open(self.given)

    def _shape(self, db: Database) -> Shape:
        return Shape(
            dialect=db.dialect,
            schema=self.schema,
            table=self.address.table,
            columns=self.state.schema,
            keys=self.state.keys,
        )

    def _pin(self, db: Database) -> None:
        """Begin a transaction that sees this version.

        Raises:
            SnapshotExpiredError: there is a newer one: the database does not keep this one.
        """
        db.dialect.begin_reading(db)
        newest = ledger.newest(db, self.schema, self.entry.table_name)
        if newest is None or newest.commit_id != self.entry.commit_id:
            version = newest.version if newest else None
            raise SnapshotExpiredError(
                f"{self.path} is at version {version}, and a SQL table keeps no version {self.entry.version}",
                hint="call refresh() on the table, or open it again",
                version=self.entry.version,
                oldest_readable=version,
            )

    # ---- what SQL tables lack: `Capabilities.verbs` leaves it out, so none of these is called

    def files(self, *, physical: bool) -> list[str]:
        """A SQL table has no files of its own."""
        self._lacks("files")

    def file_table(self, *, physical: bool) -> pa.Table:
        """A SQL table has no files of its own."""
        self._lacks("file_table")

    def at(self, version: int | None, timestamp: datetime | str | None) -> SqlTable:
        """A database keeps no older version."""
        self._lacks("at")

    def delete(self, options: DeleteOptions) -> tuple[WriteResult, SqlTable]:
        """Not yet."""
        self._lacks("delete")

    def set(self, properties: Mapping[str, Any]) -> SqlTable:
        """A SQL table has no properties."""
        self._lacks("set")

    def vacuum(self, options: VacuumOptions) -> tuple[VacuumResult, SqlTable]:
        """There is nothing to vacuum."""
        self._lacks("vacuum")

    def compact(self, options: CompactOptions) -> tuple[CompactResult, SqlTable]:
        """There is nothing to compact."""
        self._lacks("compact")

    def index(self, options: IndexOptions) -> tuple[IndexResult, SqlTable]:
        """A database has indexes of its own."""
        self._lacks("index")

    def worth_compacting(self) -> CompactResult | None:
        """There is nothing to compact."""
        self._lacks("compact")

    def _lacks(self, verb: str) -> NoReturn:
        raise UnsupportedVerbError(f"{self.path} is a sql table, which does not support {verb!r}", verb=verb)
