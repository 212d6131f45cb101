"""CSV files as input: what `formats.csv_text` makes of a local file that has been recognised as CSV.

Source: specs/4-semantics.md, "CSV inputs".
"""

from __future__ import annotations

from txfiles.errors import UnreadableInputError
from txfiles.formats import csv_text
from txfiles.formats.csv_bytes import utf8
from txfiles.formats.csv_text import CsvText
from txfiles.rows.dialect import PLAIN, Dialect
from txfiles.temporary import mapped


def read_text(path: str, dialect: Dialect = PLAIN) -> CsvText:
    """The text of a file.

    Args:
        path: a local file; one that is compressed or in another encoding is converted into a temporary file.
        dialect: how it is written.
    Raises:
        UnreadableInputError: it cannot be read, or is not RFC 4180 in UTF-8 with a header of distinct names (or what
            the dialect says instead); says what it looks like.
    Cost: two passes over the file's bytes, one to check the quotes; memory for a block.
    """
    try:
        with open(path, "rb") as file:
            data = mapped(file)
    except OSError as error:
        raise UnreadableInputError(f"{path!r} cannot be read: {error}", path=path) from error
    text = utf8(data, path, dialect.encoding)
    csv_text.refuse_unlikely(text, path, dialect)
    return csv_text.read(text, path, dialect)
