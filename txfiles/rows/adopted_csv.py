"""How the text of a table's adopted CSV files becomes values: the dialect that the log records, in the terms of a file.

Source: specs/3-manifest.md, "Adopted CSV files".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import pyarrow as pa

from txfiles.core.csv_dialect import CsvDialect
from txfiles.core.messages import shown
from txfiles.errors import CorruptTableError
from txfiles.rows import types
from txfiles.rows.csv_columns import Place, Texts, typed_column
from txfiles.rows.dialect import Dialect


@dataclass(frozen=True)
class AdoptedCsv:
    """How one adopted file is read.

    Attributes:
        dialect: its form, with the names by which to read its columns.
        columns: by name, the type that the text is read as, and how.
    """

    dialect: Dialect
    columns: Mapping[str, tuple[pa.Field, Texts]]

    def values(self, texts: pa.Table, place: Place) -> dict[str, pa.ChunkedArray]:
        """The values of some rows in the types in which they were adopted.

        Args:
            texts: strings, in any of the columns.
            place: the file and row of a row of these.
        Raises:
            UnreadableInputError: a text is not one of its column's type; `LossyCastError`: it does not fit it.
            CorruptTableError: the log does not say how a column is read.
        """
        nulled: Counter[tuple[str, str]] = Counter()
        found = {}
        for name, text in zip(texts.column_names, texts.columns, strict=True):
            if name not in self.columns:
                raise CorruptTableError(
                    f"the log does not say how the text of column {shown(name)} is read in adopted files",
                    hint="restore all of _txfiles/ from one backup",
                )
            field, how = self.columns[name]
            found[name] = pa.chunked_array(
                [
                    typed_column(field, chunk, how, nulled, partial(_later, place, first))
                    for first, chunk in zip(_starts(text), text.chunks, strict=True)
                ],
                field.type,
            )
        return found


def _starts(column: pa.ChunkedArray) -> list[int]:
    """Where its chunks begin."""
    return list(accumulate([0, *map(len, column.chunks[:-1])])) if column.chunks else []


def _later(place: Place, first: int, row: int) -> tuple[str, int]:
    return place(first + row)


def of_file(recorded: CsvDialect, ids: Sequence[int], names: Sequence[str]) -> AdoptedCsv:
    """How a file is read.

    Args:
        recorded: what the table action says.
        ids: of the file's columns, in its order.
        names: by which to read them.
    Raises:
        CorruptTableError: a type that is not one.
    """
    known = {column.id: column for column in recorded.columns}
    columns = {}
    for column, name in zip(ids, names, strict=True):
        if column in known:
            found = known[column]
            kind = types.from_spec(found.type)
            columns[name] = pa.field(name, kind), Texts(nulls=found.nulls, decimal=recorded.decimal)
    return AdoptedCsv(
        Dialect(
            sep=recorded.sep,
            encoding=recorded.encoding,
            decimal=recorded.decimal,
            na_values=recorded.na_values,
            header=recorded.header,
            names=tuple(names),
            quotechar=recorded.quotechar,
        ),
        columns,
    )
