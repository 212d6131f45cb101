"""What the tests of adopted CSV files share: files in dialects, and their rows as a table reads them."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from txfiles import environment
from txfiles.core.csv_dialect import CSV_DIALECT
from txfiles.core.manifest import Add, TableMetadata
from txfiles.core.schema import Column
from txfiles.log.session import Session
from txfiles.operations import adopt_csv
from txfiles.operations.adopt_csv import CsvFolder
from txfiles.reading.live import opened
from txfiles.reading.marked import MarkedRows
from txfiles.rows import types
from txfiles.rows.dialect import dialect
from txfiles.rows.filelist import DataFile
from txfiles.store import open_store

TABLE_ID = "1f0c9c3a5b7d2e46"


@dataclass(frozen=True)
class Adopted:
    """A folder as a table: what was found, the table action, and the files as the log has them."""

    session: Session
    folder: CsvFolder
    table: TableMetadata
    adds: tuple[Add, ...]

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, group by group, in row order; positions are checked on the way."""
        wanted = self.folder.schema.names if columns is None else columns
        return pa.concat_tables(
            [
                pa.schema([self.folder.schema.field(name) for name in wanted]).empty_table(),
                *(part for add in self.adds for part in self.parts(add, wanted)),
            ]
        )

    def parts(self, add: Add, columns: Sequence[str]) -> list[pa.Table]:
        found, row = [], 0
        file = data_file(add)
        with opened(self.session, self.table, file, MarkedRows(self.session, [file])) as groups:
            for group in groups:
                assert group.positions.tolist() == list(range(row, row + group.rows))
                row += group.rows
                part = group.read(columns)
                found.append(
                    pa.Table.from_arrays(part.columns, schema=pa.schema([(f.name, f.type) for f in part.schema]))
                )
        assert row == add.rows
        return found


def data_file(add: Add) -> DataFile:
    return DataFile(add.path, add.rows, add.bytes, add.sha256, 0, "", add.partition, add.columns)


def session_of(root: Any) -> Session:
    return Session(open_store(str(root)), environment.real())


def adopted(
    session: Session,
    files: Sequence[tuple[str, int]],
    given: dict[str, Any] | None = None,
    declared: pa.Schema | None = None,
    keys: Sequence[str] = (),
) -> Adopted:
    """The files as a table with the columns that they have."""
    folder = adopt_csv.survey(session, files, dialect(given), declared, frozenset(keys))
    columns = tuple(
        Column(id=at, name=f.name, type=types.to_spec(f.type), inferred=folder.inferred.get(f.name))
        for at, f in enumerate(folder.schema, 1)
    )
    ids = adopt_csv.column_ids(folder, columns)
    table = TableMetadata(
        format="csv",
        columns=columns,
        last_column_id=max(ids.values()),
        keys=tuple(keys),
        csv_dialect=adopt_csv.described(folder, TABLE_ID, ids),
        required_features=(CSV_DIALECT,),
    )
    return Adopted(session, folder, table, tuple(adopt_csv.add(session, table, file, ids) for file in folder.files))


def written(
    rows: Sequence[Sequence[str | None]],
    header: Sequence[str] | None,
    *,
    sep: str = ",",
    quotechar: str = '"',
    quoting: Any = csv.QUOTE_MINIMAL,
    end: str = "\n",
    encoding: str = "utf-8",
    packed: bool = False,
) -> bytes:
    """Rows as Python's csv module writes them."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=sep, quotechar=quotechar, quoting=quoting, lineterminator=end)
    writer.writerows([*([header] if header is not None else []), *rows])
    data = sink.getvalue().encode(encoding)
    return gzip.compress(data, mtime=0) if packed else data
