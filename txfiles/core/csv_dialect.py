"""How a table's adopted CSV files are written: what differs from the table's own form of CSV.

Source: specs/3-manifest.md, "Adopted CSV files".
"""

from __future__ import annotations

import codecs
from typing import Annotated

import msgspec

from txfiles.core import names
from txfiles.core.schema import ColumnId, TypeSpec

CSV_DIALECT = "csv_dialect"
"""The required feature of a table that has, or once had, CSV files in another form than its own."""

# ASCII, but no line end and no NUL; `$` alone would also match before a newline at the end.
_CHARACTER = r"^[\x01-\x09\x0b\x0c\x0e-\x7f]$(?!\n)"


class CsvColumn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the text of one column of the adopted files is read.

    Attributes:
        id: of the column.
        type: what the text was read as when the files were adopted; a later type is cast to from there.
        nulls: unquoted texts that are null in this column.
    """

    id: ColumnId
    type: TypeSpec
    nulls: tuple[str, ...] = ()


class CsvDialect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The form of CSV files that the table did not write itself.

    Attributes:
        table_id: the table's: files with it in their names are its own, and not in this form.
        columns: how the text of each column is read.
        sep: between values; None is a comma, and a tab in a file named .tsv or .tab.
        encoding: of the text, as Python names it.
        decimal: the decimal point of numbers.
        na_values: unquoted texts that are null in every column.
        header: whether the first record is no row.
        quotechar: around values.
    """

    table_id: Annotated[str, msgspec.Meta(pattern=names.TABLE_ID_PATTERN)]
    columns: tuple[CsvColumn, ...]
    sep: Annotated[str, msgspec.Meta(pattern=_CHARACTER)] | None = None
    encoding: Annotated[str, msgspec.Meta(max_length=40)] = "utf-8"
    decimal: Annotated[str, msgspec.Meta(pattern=r"^[.,]$(?!\n)")] = "."
    na_values: tuple[str, ...] = ()
    header: bool = True
    quotechar: Annotated[str, msgspec.Meta(pattern=_CHARACTER)] = '"'


def is_text_encoding(name: str) -> bool:
    """Whether Python knows an encoding of that name, from text to bytes."""
    try:
        codecs.lookup(name)
        "".encode(name)  # refuses those from bytes to bytes, such as zlib
    except (LookupError, ValueError):
        return False
    return True


def fault(dialect: CsvDialect) -> str | None:
    """What is wrong with a dialect that may be hostile; None if nothing is."""
    ids = [column.id for column in dialect.columns]
    if len(set(ids)) != len(ids):
        return "its CSV dialect names a column twice"
    if not all(isinstance(column.type, str) for column in dialect.columns):
        return "its CSV dialect gives a column a nested type"
    if (dialect.sep or ",") == dialect.quotechar:
        return "its CSV dialect has one character both between values and around them"
    return None
