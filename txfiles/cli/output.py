"""What the shell prints: data on stdout, everything else on stderr.

Data is UTF-8 in every locale, so that a pipe carries the same bytes everywhere.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from typing import Any, BinaryIO, Protocol, runtime_checkable

import click

from txfiles.core.messages import json_number


class OutputClosedError(Exception):
    """The reader of stdout has gone, as `head` does when it has seen enough."""


class OutputError(Exception):
    """Stdout cannot be written, for example because a redirection fills the disk."""


@contextmanager
def _stdout() -> Iterator[BinaryIO]:
    if sys.stdout is None:
        raise OutputError("cannot write to standard output: it is closed")
    try:
        yield sys.stdout.buffer
    except BrokenPipeError:
        raise OutputClosedError from None
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def write_bytes(data: bytes) -> None:
    """Write data to stdout. Raises `OutputClosedError` or `OutputError`."""
    with _stdout() as stream:
        stream.write(data)


def flush() -> None:
    """Flush stdout. Raises `OutputClosedError` or `OutputError`."""
    if sys.stdout is not None:
        with _stdout() as stream:
            stream.flush()


def write_text(text: str) -> None:
    """Write one or more lines to stdout. Bytes of a path that are not UTF-8 are written as they are on disk."""
    write_bytes(text.encode("utf-8", "surrogateescape") + b"\n")


def write_json(value: Any) -> None:
    """Write one JSON document to stdout, on one line."""
    # A lone surrogate becomes \udcXX, which is how JSON itself escapes it.
    write_bytes(to_json(value).encode("utf-8", "backslashreplace") + b"\n")


def emit(as_json: bool, document: Any, text: str) -> None:
    """Write a verb's result to stdout, for a program or for a person."""
    if as_json:
        write_json(document)
    else:
        write_text(text)


def note(text: str) -> None:
    """Tell a person something besides the data, on stderr."""
    tell("note", text)


def tell(word: str, text: str) -> None:
    """One line on stderr: ``txfiles: word: text``."""
    click.echo(f"txfiles: {word}: {one_line(text)}", err=True)


def to_json(value: Any) -> str:
    """One line of JSON in UTF-8, without NaN and the like, which JSON does not have."""
    return json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False)


def jsonable(value: Any) -> Any:
    """A value as JSON has it: times ISO 8601 (zoned ones in UTC with Z), bytes base64, NaN and infinities as text.

    Any other value becomes text, so that an error's evidence can always be printed.
    """
    if isinstance(value, Mapping):
        return {str(name): jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item) for item in value), key=str)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return _scalar(value)


@runtime_checkable
class _FromNumpy(Protocol):
    def tolist(self) -> Any: ...


def _scalar(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return json_number(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case date() | time() | timedelta():
            return _time_text(value)
        case _FromNumpy():
            return jsonable(value.tolist())
        case _:
            return str(value)


def _time_text(value: date | time | timedelta) -> str:
    if isinstance(value, timedelta):
        return f"{value.total_seconds()}s"
    if isinstance(value, datetime) and value.tzinfo is not None:
        offset = value.utcoffset() or timedelta(0)
        return (value.replace(tzinfo=None) - offset).isoformat() + "Z"
    return value.isoformat()


def type_spec(kind: Any) -> str | dict[str, Any]:
    """An Arrow type as the log and ``--schema`` write it; a document if it is nested."""
    from txfiles.rows import types

    return types.to_spec(kind)


def type_text(spec: str | dict[str, Any]) -> str:
    """The same for a person."""
    return spec if isinstance(spec, str) else to_json(spec)


def property_text(value: object) -> str:
    """A property's value as `txfiles set` accepts it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def counted(count: int, noun: str) -> str:
    """How many there are of something."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def one_line(text: str) -> str:
    """Text for a terminal: control characters, which could move its cursor or hide text, are escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def number(value: int | None) -> str:
    """``1,234``; an unknown count is ``?``."""
    return "?" if value is None else f"{value:,}"


def index_text(index: Mapping[str, Any]) -> str:
    """The facts of a key index (`tx.IndexResult`) in one line."""
    covered, other = index["files_covered"], index["files_not_covered"]
    runs = f"{index['runs']:,} run{'' if index['runs'] == 1 else 's'}"
    return f"{runs}, {index['keys']:,} keys, {index['bytes']:,} bytes; covers {covered:,} of {covered + other:,} files"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """Aligned columns for a person.

    Args:
        header: one word per column.
        rows: as many texts each.
        right: positions of the columns that are aligned to the right.
    """
    lines = [list(header), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    aligned = set(right)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at in aligned else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def fields(pairs: Iterable[tuple[str, str]], *, indent: int = 0) -> str:
    """Names and values below each other, the values aligned."""
    found = [(name, one_line(value)) for name, value in pairs]
    width = max((len(name) for name, _ in found), default=0)
    return "\n".join(f"{' ' * indent}{name.ljust(width)}  {value}".rstrip() for name, value in found)
