"""Recognising files that are not the CSV they should be, so that an error can say what they are and what to do.

Source: specs/4-semantics.md, "CSV inputs".
"""

from __future__ import annotations

import re

from txfiles.core.messages import short
from txfiles.errors import UnreadableInputError

HEAD_BYTES = 1 << 16
"""Of a file, what is looked at."""

_GZIP = b"\x1f\x8b"
_MAGIC = {
    b"PAR1": ("a Parquet file", "rename it to .parquet"),
    _GZIP: ("a file compressed with gzip", "rename it to .csv.gz"),
    b"\x28\xb5\x2f\xfd": ("a file compressed with zstd", "unpack it, or compress it with gzip"),
    b"BZh": ("a file compressed with bzip2", "unpack it, or compress it with gzip"),
    b"\xfd7zXZ": ("a file compressed with xz", "unpack it, or compress it with gzip"),
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV UTF-8"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save the sheet as CSV UTF-8"),
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8, or pass csv={'encoding': 'utf-16'}"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8, or pass csv={'encoding': 'utf-16'}"),
    b"ARROW1": ("an Arrow file", "pass pyarrow.feather.read_table(…)"),
    b"ORC": ("an ORC file", "pass pyarrow.orc.read_table(…)"),
    b"Obj\x01": ("an Avro file", "read it with its own library, and pass the table"),
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MARKUP = re.compile(rb"\s*<(!doctype|html|head|body|\?xml)", re.IGNORECASE)
_JSON = re.compile(rb'\s*(\{\s*("|\}|$)|\[\s*(\{|\[|\]|$))')
_SEPARATORS = {";": "a semicolon", "\t": "a tab", "|": "a vertical bar", ",": "a comma", " ": "a blank"}
_QUOTED_WORDS = re.compile(rb'"[^"]*"( "[^"]*")+\r?$')
"""How R's write.table writes a header. Blanks without quotes are as likely within a name."""
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?")


def kind_of_content(head: bytes, path: str) -> str:
    """The format of a file whose name does not tell, by how it begins: parquet, or csv if it can be text."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if not head.startswith((_GZIP, *_UTF16)):  # which an option may explain, or the CSV reader refuses
        refuse_other_formats(head, path)
        if b"\0" in head:
            raise UnreadableInputError(
                f"{path!r} is not text",
                hint="inputs are Parquet and CSV files; CSV may be compressed with gzip",
                path=path,
            )
    return "csv"


def is_gzip(head: bytes, path: str) -> bool:
    """Whether a CSV file must be unpacked, by its name or, if that does not tell, by its content.

    Raises:
        UnreadableInputError: it is named .csv and is compressed.
    """
    name = path.lower()
    if name.endswith(".gz"):
        return True
    packed = head.startswith(_GZIP)
    if packed and name.endswith((".csv", ".tsv")):
        raise _looks_like(path, *_MAGIC[_GZIP])
    return packed


def refuse_other_formats(head: bytes, path: str) -> None:
    """Refuse a file that begins like no CSV file.

    Raises:
        UnreadableInputError: says what it looks like and what to do.
    """
    for magic, (what, hint) in _MAGIC.items():
        if head.startswith(magic):
            raise _looks_like(path, what, hint)
    if _MARKUP.match(head):
        raise _looks_like(path, "an HTML or XML page", "open it: it may be an error page that was saved as data")
    if _JSON.match(head):
        raise _looks_like(path, "JSON", "pass pandas.read_json(…), or what else reads it")


def refuse_other_separator(head: bytes, sep: str, path: str) -> None:
    """Refuse a file that has one column by commas (or tabs), and several by another character.

    Args:
        head: how the file begins.
        sep: the separator that is taken.
        path: the file.
    Raises:
        UnreadableInputError: says which separator it looks like.
    """
    first, _, rest = head.partition(b"\n")
    if sep.encode() in first:
        return
    second = rest.split(b"\n", 1)[0]
    for other, what in _SEPARATORS.items():
        count = first.count(other.encode())
        alike = second.count(other.encode()) == count if second.strip() else True
        if count and other != sep and (_QUOTED_WORDS.match(first) if other == " " else alike):
            raise _looks_like(
                path,
                f"CSV with {what} between its values",
                f"pass csv={{'sep': {other!r}}}; csv={{'sep': {sep!r}}} takes it as one column",
            )


def refuse_data_as_header(names: list[str], path: str) -> None:
    """Refuse a first line of numbers and dates alone; 0, 1, 2 … are names that pandas gives.

    Raises:
        UnreadableInputError: says how to read a file without a header.
    """
    counted = [[str(at + first) for at in range(len(names))] for first in (0, 1)]
    if not names or names in counted or not all(_NUMBER.fullmatch(name) for name in names):
        return
    raise UnreadableInputError(
        f"{path!r} has no header: its first line looks like data ({short(', '.join(names))})",
        hint="pass csv={'header': False} or csv={'names': […]}; csv={'header': True} takes the line as names",
        path=path,
    )


def _looks_like(path: str, what: str, hint: str) -> UnreadableInputError:
    return UnreadableInputError(f"{path!r} looks like {what}", hint=hint, path=path)
