"""`adopt`: make a table of the files that are in a folder, without copying a byte.

Everything is looked at before anything is written, and then one manifest, version 0, names all files: there is no half
of an adoption. What it finds is decided by its siblings: `adopt_listing` (which files), `adopt_parquet` and `adopt_csv`
(which columns, rows and bounds), `adopt_keys` (are the keys unique).

Source: specs/14-adopt.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from txfiles.core import properties
from txfiles.core.csv_dialect import CSV_DIALECT
from txfiles.core.manifest import ADOPTED_FILES, Add, Metrics, PropertyValue, TableMetadata
from txfiles.core.plan import CommitPlan, Looked, ReadSet
from txfiles.core.schema import Column, refuse_case_clashes
from txfiles.errors import OptionError
from txfiles.log import identity
from txfiles.log.session import Session
from txfiles.operations import adopt_csv, adopt_keys, adopt_listing, adopt_parquet, adopt_partitions
from txfiles.operations.adopt_csv import CsvFile
from txfiles.operations.adopt_listing import Found
from txfiles.options import Progress
from txfiles.rows import dedup, types
from txfiles.rows.dialect import Dialect
from txfiles.store.port import Entry
from txfiles.verbs import AdoptOptions

KEPT = (
    "a vacuum leaves the adopted files alone, superseded or not, unless the property vacuum_adopted is true "
    "(txfiles set PATH vacuum_adopted=true)"
)

NO_TABLE = "0" * 16
"""Stands for the table's id until there is one, which is when all files have been looked at."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """What an adoption commits, and what it found.

    Attributes:
        table: what the table is.
        adds: its files.
        found: the files of the folder.
        notes: what a person should know.
    """

    table: TableMetadata
    adds: tuple[Add, ...]
    found: Found
    notes: tuple[str, ...]


def look(session: Session, options: AdoptOptions, format: str | None) -> Adoption:
    """Look at a folder, and find out what the table is that its files make. Writes nothing.

    Args:
        session: where the folder is; it is no table yet.
        options: what the caller says about it.
        format: of the files that are wanted; None: there is only one.
    Raises:
        InputError: the files cannot be one table as they are; says which and why.
    Cost: a listing, a request for each Parquet file, and the key columns if there are keys; CSV files are read twice.
    """
    found = adopt_listing.find(session, identity.table_id(session.store), format, force=options.force)
    if options.partition_by is not None:
        adopt_partitions.check_partition_by(options, found, session.store.root)
    known = properties.read_properties(options.properties)
    of_format = _parquet if found.format == "parquet" else _csv
    table, adds, told = of_format(session, options, found, known)
    if table.keys:

        def checked(done: int) -> None:
            options.progress(Progress("checking keys", done, len(adds)))

        adds = adopt_keys.check(session, table, adds, session.environment.new_id(), checked)
    empty = len(found.files) - len(adds)
    notes = (
        *told,
        *([f"{empty:,} file(s) without rows are left out"] if empty else []),
        *(() if properties.switch(known, "vacuum_adopted") else (KEPT,)),
    )
    return Adoption(table, tuple(adds), found, notes)


def plan_adoption(adoption: Adoption, table_id: Callable[[], str]) -> CommitPlan:
    """The plan of a commit; `table_id` creates the table's identity if there is none."""
    table, rows = adoption.table, sum(add.rows for add in adoption.adds)
    if table.csv_dialect is not None:
        table = replace(table, csv_dialect=replace(table.csv_dialect, table_id=table_id()))
    return CommitPlan(
        table=table,
        read_set=ReadSet(table=None, changes_table=True),
        metrics=Metrics(rows_in=rows, rows_inserted=rows, files_added=len(adoption.adds)),
        add=adoption.adds,
        looked=Looked(scanned=len(adoption.found.files), notes=adoption.notes),
    )


Table = tuple[TableMetadata, Sequence[Add], Sequence[str]]
"""What the table is, its files, and notes."""


def _parquet(session: Session, options: AdoptOptions, found: Found, known: dict[str, PropertyValue]) -> Table:
    _refuse_csv_options(options)
    total = len(found.files)
    facts = adopt_parquet.footers(
        session, found.files, lambda done: options.progress(Progress("reading footers", done, total))
    )
    case_sensitive = properties.switch(known, "case_sensitive_names")
    columns = adopt_parquet.columns_of(facts, found, options.partition_types, case_sensitive=case_sensitive)
    table = _table(options, found, known, columns.columns, columns.last_column_id)
    return table, adopt_parquet.adds(table, columns, facts, found), columns.notes


def _csv(session: Session, options: AdoptOptions, found: Found, known: dict[str, PropertyValue]) -> Table:
    files = [(entry.name, entry.bytes) for entry in found.files]
    exact = frozenset(options.keys)
    folder = adopt_csv.survey(session, files, options.csv or Dialect(), options.schema, exact)
    adopt_partitions.refuse_partition_columns(found, folder.schema.names)
    stored = [
        (name, kind, folder.inferred.get(name))
        for name, kind in zip(folder.schema.names, folder.schema.types, strict=True)
    ]
    of_partition = [
        (name, adopt_partitions.partition_type(found, at, options.partition_types, ()), None)
        for at, name in enumerate(found.partition_by)
    ]
    columns = tuple(
        Column(id=number, name=name, type=types.to_spec(kind), inferred=rule)
        for number, (name, kind, rule) in enumerate([*stored, *of_partition], 1)
    )
    if not properties.switch(known, "case_sensitive_names"):
        refuse_case_clashes((), columns)
    ids = adopt_csv.column_ids(folder, columns)
    table = _table(options, found, known, columns, max([len(columns), *ids.values()]))
    table = replace(
        table,
        required_features=(*table.required_features, CSV_DIALECT),
        csv_dialect=adopt_csv.described(folder, NO_TABLE, ids),
    )
    partitions = adopt_partitions.canonical(found, types.arrow_schema(columns))
    wanted = [item for item in zip(folder.files, found.files, partitions, strict=True) if item[0].rows]

    def add(item: tuple[CsvFile, Entry, tuple[str | None, ...]]) -> Add:
        file, entry, partition = item
        return replace(adopt_csv.add(session, table, file, ids, partition), modified_us=entry.modified_us)

    adds: list[Add] = []
    for one in session.each(add, wanted):
        adds.append(one)
        options.progress(Progress("reading files", len(adds), len(wanted)))
    return table, adds, folder.notes


def _refuse_csv_options(options: AdoptOptions) -> None:
    for name in ("schema", "csv"):
        if getattr(options, name) is not None:
            raise OptionError(
                f"{name}= describes CSV files, and the files of the folder are Parquet: they say it themselves",
                hint="leave it out; partition_by={'column': 'type'} gives types to partition columns",
            )


def _table(
    options: AdoptOptions, found: Found, known: dict[str, PropertyValue], columns: tuple[Column, ...], last_id: int
) -> TableMetadata:
    """What the table is; its keys and timestamp column are checked."""
    schema = types.arrow_schema(columns)
    for name in options.keys:
        if name not in schema.names:
            raise dedup.column_not_found("key column", name, schema.names)
    dedup.check_keys(schema.empty_table(), options.keys)
    if options.timestamp_col is not None:
        if options.timestamp_col not in schema.names:
            raise dedup.column_not_found("timestamp_col", options.timestamp_col, schema.names)
        dedup.check_timestamp_type(schema.field(options.timestamp_col).type, options.timestamp_col)
    return TableMetadata(
        format=found.format,
        columns=columns,
        last_column_id=last_id,
        partition_by=found.partition_by,
        keys=options.keys,
        timestamp_col=options.timestamp_col,
        properties=known,
        required_features=(ADOPTED_FILES,),
    )
