"""The text of a CSV file that is being adopted: what does not fit is explained by file and line.

Source: specs/2-layout.md, "Adopted CSV files".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from txfiles.errors import CorruptTableError, InputError, UnreadableInputError
from txfiles.formats import csv_adopted, csv_text
from txfiles.formats.csv_bytes import utf8
from txfiles.formats.csv_text import CsvText
from txfiles.formats.source import FileToRead, decoding, open_input
from txfiles.log.session import Session
from txfiles.rows.dialect import Dialect


def read(session: Session, name: str, size: int, dialect: Dialect, *, unlikely: bool = False) -> tuple[CsvText, str]:
    """The text of a file and the SHA-256 of its bytes.

    Args:
        session: where it is.
        name: for the store.
        size: as it was listed.
        dialect: how it is written.
        unlikely: whether to refuse what looks like something else than CSV in this dialect.
    Raises:
        UnreadableInputError: it is not CSV in this dialect, or changed.
        StoreError: the store failed.
    """
    path = session.store.url(name)
    file = FileToRead(name, path, size, 0, "")
    try:
        source = open_input(session.store, file, csv_adopted.AHEAD_BYTES)
        try:
            with decoding(file, source):
                data, sha256 = csv_adopted.content(source, size)
        finally:
            source.close()
    except CorruptTableError as error:
        raise changed(path) from error
    if data.size != size:
        raise changed(path)
    content = utf8(data, path, dialect.encoding)
    if unlikely:
        csv_text.refuse_unlikely(content, path, dialect)
    return csv_text.read(content, path, dialect), sha256


def changed(path: str) -> UnreadableInputError:
    """The error for a file that is not as it was when it was listed, or read before."""
    return UnreadableInputError(
        f"{path!r} changed while it was read", hint="adopt the folder when nobody writes to it any more", path=path
    )


@contextmanager
def with_line(text: CsvText) -> Iterator[None]:
    """Context manager that adds to an error about a row the line of the file in which it is."""
    try:
        yield
    except InputError as error:
        row = error.evidence.get("row")
        if isinstance(row, int) and row < text.rows:
            line = text.line_of(row)
            error.message += f" (line {line} of the file)"
            error.args = (error.message,)
            error.evidence["line"] = line
        raise
