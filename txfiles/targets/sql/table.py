"""A SQL table as it was opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from txfiles.errors import OptionError, SnapshotExpiredError, TableNotFoundError
from txfiles.reading import lookup, scan
from txfiles.results import Commit, WriteResult
from txfiles.rows import filters, types
from txfiles.targets.lacking import Lacking
from txfiles.targets.protocol import Place, TableState
from txfiles.targets.sql import address as addresses
from txfiles.targets.sql import delete, ledger, matching, statements
from txfiles.targets.sql.address import Address
from txfiles.targets.sql.call import ledger_name
from txfiles.targets.sql.conditions import where_of
from txfiles.targets.sql.database import Database, is_there
from txfiles.targets.sql.reading import Reading, fetch
from txfiles.targets.sql.statements import CHOSEN, Shape
from txfiles.verbs import DeleteOptions

if TYPE_CHECKING:
    import pyarrow.dataset as ds


def open_table(place: Place) -> SqlTable:
    """The table as it is now. Cost: a few queries.

    Raises:
        TableNotFoundError: there is none.
    """
    found = addresses.read(place)
    entry, schema = newest(found)
    if entry is None or schema is None:
        raise TableNotFoundError(
            f"{found.shown}: there is no table", hint="check the URL; the first write creates the table"
        )
    return SqlTable(replace(place, path=found.full), found, schema, entry)


def newest(address: Address) -> tuple[ledger.Entry | None, str | None]:
    """The newest commit of the table, and the table's schema."""
    if not is_there(address):
        return None, None
    with Reading(address) as db:
        db.dialect.begin_reading(db)
        schema = address.schema if address.schema is not None else db.dialect.schema(db)
        made = db.dialect.has_table(db, schema, address.table) and ledger.exists(db, schema)
        return (ledger.newest(db, schema, ledger_name(address)) if made else None), schema


@dataclass(frozen=True, eq=False)
class SqlTable(Lacking):
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
        with Reading(self.address) as db:
            self._pin(db)
            return int(db.rows(f"SELECT count(*) FROM {self._shape(db).target}")[0][0])

    def to_arrow(self, columns: Sequence[str] | None, filter: Any) -> pa.Table:
        """The rows, in the order in which the database gives them."""
        return self.to_batches(columns, filter, None).read_all()

    def to_batches(self, columns: Sequence[str] | None, filter: Any, batch_rows: int | None) -> pa.RecordBatchReader:
        """The same as a stream. The database leaves out what it can; Arrow decides."""
        wanted = scan.check_columns(self.state.schema, columns)
        where = filters.parse(filter, self.state.schema)
        schema = pa.schema([self.state.schema.field(name) for name in wanted])
        batches = self._batches(wanted, where, batch_rows)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def _batches(
        self, wanted: list[str], where: filters.Filter | None, batch_rows: int | None
    ) -> Iterator[pa.RecordBatch]:
        needed = list(dict.fromkeys([*wanted, *(where.columns if where else ())]))
        schema = pa.schema([self.state.schema.field(name) for name in needed])
        with Reading(self.address) as db:
            self._pin(db)
            shape = self._shape(db)
            if where is not None:
                db.dialect.check_table(db, self.schema, self.address.table)
            there = where_of(shape, where)
            for rows in fetch(db, schema, statements.select(shape, needed, f"WHERE {there.sql}"), there.parameters):
                found = (rows if where is None else where.rows(rows)).select(wanted)
                yield from found.combine_chunks().to_batches(max_chunksize=batch_rows)

    def dataset(self) -> ds.Dataset:
        """A dataset of the rows in memory."""
        import pyarrow.dataset as ds

        return ds.dataset(self.to_arrow(None, None))

    def history(self, limit: int | None) -> list[Commit]:
        """The ledger's rows."""
        with Reading(self.address) as db:
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
        with Reading(self.address) as db:
            shape = replace(self._shape(db), columns=rows.schema)
            db.run(db.dialect.start)
            matching.choose(db, shape, rows)
            db.run("COMMIT")
            self._pin(db)
            db.dialect.check_table(db, self.schema, self.address.table)
            join = f"JOIN {db.dialect.temporary(CHOSEN)} AS s ON {shape.on}"
            found = list(fetch(db, schema, statements.select(self._shape(db), names, join)))
        return pa.concat_tables([schema.empty_table(), *found])

    def delete(self, options: DeleteOptions) -> tuple[WriteResult, SqlTable]:
        """In one transaction."""
        result = delete.delete(self.address, options)
        return result, self if options.dry_run else self.newest()

    def newest(self) -> SqlTable:
        """The newest version."""
        return open_table(self.given)

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
